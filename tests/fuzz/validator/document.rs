//! A document as a tree of what is written: nothing is resolved, so that it is written again as it
//! was read.

use std::mem;

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Element(Element),
    /// Text, a comment, a CDATA section or a processing instruction.
    Other(String),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Element {
    /// With its prefix.
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Node>,
}

#[derive(Clone, Debug)]
pub(crate) struct Document {
    before: String,
    pub(crate) root: Element,
    after: String,
}

/// Which child of which child, from the root on.
pub(crate) type Way = Vec<usize>;

impl Document {
    /// Nothing for what is not well-formed, or nearly.
    pub(crate) fn parse(text: &str) -> Option<Document> {
        let mut open: Vec<Element> = Vec::new();
        let mut document: Option<Document> = None;
        let (mut before, mut rest) = (String::new(), text);
        while !rest.is_empty() {
            let length = token_length(rest)?;
            let (token, behind) = rest.split_at(length);
            rest = behind;
            let mut whole = None;
            match kind_of(token) {
                Kind::End => whole = Some(open.pop()?),
                Kind::Start => {
                    let element = start_tag(token)?;
                    if token.ends_with("/>") {
                        whole = Some(element);
                    } else {
                        open.push(element);
                    }
                }
                Kind::Other => match (open.last_mut(), &mut document) {
                    (Some(parent), _) => parent.children.push(Node::Other(token.to_owned())),
                    (None, Some(document)) => document.after.push_str(token),
                    (None, None) => before.push_str(token),
                },
            }
            match (whole, open.last_mut()) {
                (None, _) => {}
                (Some(child), Some(parent)) => parent.children.push(Node::Element(child)),
                (Some(_), None) if document.is_some() => return None,
                (Some(root), None) => {
                    document = Some(Document {
                        before: mem::take(&mut before),
                        root,
                        after: String::new(),
                    });
                }
            }
        }
        document.filter(|_| open.is_empty())
    }

    pub(crate) fn write(&self) -> String {
        let mut text = self.before.clone();
        self.root.write(&mut text);
        text.push_str(&self.after);
        text
    }

    /// The ways to all elements below the root.
    pub(crate) fn ways(&self) -> Vec<Way> {
        let mut ways = Vec::new();
        self.root.collect_ways(&mut Vec::new(), &mut ways);
        ways
    }

    pub(crate) fn at(&mut self, way: &[usize]) -> Option<&mut Element> {
        let mut element = &mut self.root;
        for n in way {
            match element.children.get_mut(*n)? {
                Node::Element(child) => element = child,
                Node::Other(_) => return None,
            }
        }
        Some(element)
    }
}

impl Element {
    pub(crate) fn local(&self) -> &str {
        local(&self.name)
    }

    /// It has no element inside.
    pub(crate) fn is_leaf(&self) -> bool {
        let is_other = |child: &Node| matches!(child, Node::Other(_));
        self.children.iter().all(is_other)
    }

    /// What is inside, as it is written.
    pub(crate) fn inside(&self) -> String {
        let mut text = String::new();
        for child in &self.children {
            child.write(&mut text);
        }
        text
    }

    pub(crate) fn set_inside(&mut self, text: String) {
        self.children = vec![Node::Other(text)];
    }

    pub(crate) fn set_attribute(&mut self, name: &str, value: String) {
        match self.attributes.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
    }

    fn write(&self, text: &mut String) {
        text.push('<');
        text.push_str(&self.name);
        for (name, value) in &self.attributes {
            let quote = if value.contains('"') { '\'' } else { '"' };
            text.extend([" ", name, "="]);
            text.push(quote);
            text.push_str(value);
            text.push(quote);
        }
        if self.children.is_empty() {
            text.push_str("/>");
            return;
        }
        text.push('>');
        for child in &self.children {
            child.write(text);
        }
        text.extend(["</", &self.name, ">"]);
    }

    fn collect_ways(&self, here: &mut Way, ways: &mut Vec<Way>) {
        for (n, child) in self.children.iter().enumerate() {
            if let Node::Element(child) = child {
                here.push(n);
                ways.push(here.clone());
                child.collect_ways(here, ways);
                here.pop();
            }
        }
    }
}

impl Node {
    fn write(&self, text: &mut String) {
        match self {
            Node::Element(element) => element.write(text),
            Node::Other(other) => text.push_str(other),
        }
    }
}

/// Without its prefix.
pub(crate) fn local(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, local)| local)
}

enum Kind {
    End,
    Other,
    Start,
}

fn kind_of(token: &str) -> Kind {
    match token.as_bytes() {
        [b'<', b'/', ..] => Kind::End,
        [b'<', b'!' | b'?', ..] => Kind::Other,
        [b'<', ..] => Kind::Start,
        _ => Kind::Other,
    }
}

/// Of the text or markup at the beginning.
fn token_length(text: &str) -> Option<usize> {
    let until = |end: &str| text.find(end).map(|at| at + end.len());
    if text.starts_with("<!--") {
        until("-->")
    } else if text.starts_with("<![CDATA[") {
        until("]]>")
    } else if text.starts_with("<?") {
        until("?>")
    } else if text.starts_with('<') {
        let mut quote = None;
        for (at, byte) in text.bytes().enumerate() {
            match (quote, byte) {
                (None, b'>') => return Some(at + 1),
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), _) if open == byte => quote = None,
                (None | Some(_), _) => {}
            }
        }
        None
    } else {
        Some(text.find('<').unwrap_or(text.len()))
    }
}

fn start_tag(token: &str) -> Option<Element> {
    let inside = token.strip_prefix('<')?.strip_suffix('>')?;
    let inside = inside.strip_suffix('/').unwrap_or(inside);
    let end = inside.find(char::is_whitespace).unwrap_or(inside.len());
    let (name, mut rest) = inside.split_at(end);
    let mut attributes = Vec::new();
    while !rest.trim().is_empty() {
        let (name, value) = rest.split_once('=')?;
        let value = value.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, behind) = value[1..].split_once(quote)?;
        attributes.push((name.trim().to_owned(), value.to_owned()));
        rest = behind;
    }
    (!name.is_empty()).then(|| Element {
        name: name.to_owned(),
        attributes,
        children: Vec::new(),
    })
}
