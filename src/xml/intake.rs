//! Is this a well-formed document by XML 1.0 and Namespaces in XML 1.0, and what is its root?
//!
//! One streaming pass over the events of quick-xml, which finds the markup but checks little:
//! names, references, attributes, namespaces, what may stand where and what may be declared is
//! checked here. Document type declarations are refused, so there are no entities to expand and
//! nothing outside the document to read.
//!
//! A hostile document costs no more than a good one of its size: an event ends the pass before
//! it outgrows [`XmlLimits`], and no check looks at anything twice. The first fault ends the
//! pass; it is reported with its line and column.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::errors::{Error, IllFormedError};
use quick_xml::events::Event;

use super::decode::{Decoder, finding_in};
use super::locate::locate;
use super::names::{is_ncname, is_space, resolve_reference};
use super::position::Position;
use super::scopes::Scopes;
use super::tag::{self, RawAttribute};
use super::{Finding, Root, Source, XmlLimits, declaration};

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("the document cannot be read: {0}")]
    Io(io::Error),
    #[error("{0}")]
    NotWellFormed(Finding),
}

impl From<io::Error> for InspectError {
    fn from(error: io::Error) -> InspectError {
        match finding_in(&error) {
            Some(finding) => InspectError::NotWellFormed(finding.clone()),
            None => InspectError::Io(error),
        }
    }
}

impl From<Finding> for InspectError {
    fn from(finding: Finding) -> InspectError {
        InspectError::NotWellFormed(finding)
    }
}

/// Checks the whole document and names its root element.
///
/// # Errors
/// When the document cannot be read, is not well-formed, or breaks a limit.
pub fn inspect(source: &Source<'_>, limits: &XmlLimits) -> Result<Root, InspectError> {
    // Lines and columns are counted only where one has to be reported.
    match pass(source, limits, Positions::ToTheRoot, &mut |_| Ok(())) {
        Err(InspectError::NotWellFormed(_)) => {
            walk(source, limits, &mut |_| Ok(())).map_err(|error| located(source, limits, error))
        }
        other => other,
    }
}

/// Names the root element and looks at nothing behind its tag.
///
/// # Errors
/// As with [`inspect`], for what comes before.
pub fn root_of(source: &Source<'_>, limits: &XmlLimits) -> Result<Root, InspectError> {
    let mut root = None;
    let seen = walk(source, limits, &mut |element| {
        root = Some(element.root());
        Err(element.finding("enough is known"))
    });
    match root {
        Some(root) => Ok(root),
        None => seen.map_err(|error| located(source, limits, error)),
    }
}

/// The value of an attribute without a namespace of the root element; nothing behind its tag is looked at.
///
/// # Errors
/// As with [`root_of`].
pub fn root_attribute(
    source: &Source<'_>,
    name: &str,
    limits: &XmlLimits,
) -> Result<Option<String>, InspectError> {
    let mut found = None;
    let seen = walk(source, limits, &mut |element| {
        found = Some(element.attribute(name));
        Err(element.finding("enough is known"))
    });
    match found {
        Some(value) => Ok(value),
        None => seen
            .map(|_| None)
            .map_err(|error| located(source, limits, error)),
    }
}

fn located(source: &Source<'_>, limits: &XmlLimits, error: InspectError) -> InspectError {
    match error {
        InspectError::NotWellFormed(finding) => {
            let mut located = locate(source, limits, vec![finding.clone()]);
            InspectError::NotWellFormed(located.pop().unwrap_or(finding))
        }
        InspectError::Io(_) => error,
    }
}

/// How far a pass knows lines and columns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Positions {
    All,
    /// Findings after the root's tag have no position that could be reported.
    ToTheRoot,
}

/// An element whose tag is well-formed and whose names are resolved.
pub(super) struct Element<'e> {
    pub(super) attributes: Vec<Attribute<'e>>,
    /// That of the root is 1.
    pub(super) depth: usize,
    pub(super) is_root: bool,
    pub(super) name: &'e str,
    pub(super) namespace: Option<&'e str>,
    pub(super) scopes: &'e Scopes,
    at: Position,
    text: &'e str,
}

pub(super) struct Attribute<'e> {
    pub(super) name: &'e str,
    pub(super) namespace: Option<&'e str>,
    end: usize,
    offset: usize,
    raw: &'e str,
}

impl Attribute<'_> {
    pub(super) fn value(&self) -> String {
        tag::resolve(self.raw)
    }
}

impl Element<'_> {
    /// The value of an attribute without a namespace.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        self.plain(name).map(Attribute::value)
    }

    /// The bytes of the document that are this attribute, with the white space before it.
    pub(super) fn attribute_span(&self, name: &str) -> Option<Range<usize>> {
        let attribute = self.plain(name)?;
        let before = self.text[..attribute.offset].trim_end_matches(is_space);
        Some(self.in_document(before.len())..self.in_document(attribute.end))
    }

    /// Where in the document its name ends.
    pub(super) fn name_end(&self) -> usize {
        let end = self.text.find(is_space).unwrap_or(self.text.len());
        self.in_document(end)
    }

    fn root(&self) -> Root {
        let place = self.finding("");
        Root {
            line: place.line,
            column: place.column,
            namespace: self.namespace.map(str::to_owned),
            name: self.name.to_owned(),
        }
    }

    fn plain(&self, name: &str) -> Option<&Attribute<'_>> {
        let mut plain = self.attributes.iter().filter(|a| a.namespace.is_none());
        plain.find(|a| a.name == name)
    }

    fn in_document(&self, offset: usize) -> usize {
        usize::try_from(inside(self.at, self.text, offset).offset).unwrap_or(usize::MAX)
    }

    pub(super) fn finding(&self, message: &str) -> Finding {
        self.at.finding(message)
    }

    pub(super) fn finding_at(&self, attribute: &Attribute<'_>, message: &str) -> Finding {
        inside(self.at, self.text, attribute.offset).finding(message)
    }
}

/// [`inspect`] that shows every element to `see`; what `see` objects to ends the pass.
pub(super) fn walk(
    source: &Source<'_>,
    limits: &XmlLimits,
    see: &mut dyn FnMut(&Element<'_>) -> Result<(), Finding>,
) -> Result<Root, InspectError> {
    pass(source, limits, Positions::All, see)
}

fn pass(
    source: &Source<'_>,
    limits: &XmlLimits,
    positions: Positions,
    see: &mut dyn FnMut(&Element<'_>) -> Result<(), Finding>,
) -> Result<Root, InspectError> {
    let decoder = Decoder::open(source)?;
    let meter = decoder.meter();
    let mut reader = Reader::from_reader(decoder);
    let mut buffer = Vec::new();
    let mut walk = Walk {
        depth: 0,
        limits,
        root: None,
        scopes: Scopes::default(),
        see,
        text_bytes: 0,
    };
    loop {
        buffer.clear();
        // One byte more than the longest text: the parser has to see what ends it.
        meter.begin_event(limits.text_bytes_max.saturating_add(1));
        let at = meter.position();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Eof) => return Ok(walk.end(at)?),
            Ok(event) => {
                walk.event(&event, at)?;
                if positions == Positions::ToTheRoot && walk.root.is_some() {
                    meter.skim();
                }
            }
            Err(error) => return Err(parser_error(error, at)),
        }
    }
}

struct Walk<'w> {
    depth: usize,
    limits: &'w XmlLimits,
    root: Option<Root>,
    scopes: Scopes,
    see: &'w mut dyn FnMut(&Element<'_>) -> Result<(), Finding>,
    /// Text since the last tag, in however many events.
    text_bytes: usize,
}

impl Walk<'_> {
    fn event(&mut self, event: &Event<'_>, at: Position) -> Result<(), Finding> {
        match event {
            Event::CData(text) => self.character_data(text.len(), at),
            Event::Comment(text) => comment(text, at),
            Event::Decl(text) => xml_declaration(text, at),
            Event::DocType(_) => Err(at.finding("document type declarations are not accepted")),
            Event::Empty(tag) => {
                self.open(tag, at)?;
                self.close();
                Ok(())
            }
            Event::End(_) => {
                self.close();
                Ok(())
            }
            Event::Eof => Ok(()),
            Event::GeneralRef(name) => self.reference(name, at),
            Event::PI(instruction) => processing_instruction(instruction, at),
            Event::Start(tag) => self.open(tag, at),
            Event::Text(text) => self.text(text, at),
        }
    }

    fn end(self, at: Position) -> Result<Root, Finding> {
        match self.root {
            Some(root) if self.depth == 0 => Ok(root),
            Some(_) => Err(at.finding("the document ends inside an element")),
            None => Err(at.finding("the document has no element")),
        }
    }

    fn open(&mut self, text: &str, at: Position) -> Result<(), Finding> {
        if self.depth == 0 && self.root.is_some() {
            return Err(at.finding("a second root element"));
        }
        if self.depth == self.limits.depth_max {
            let what = "the elements are nested too deeply";
            return Err(beyond(at, what, self.limits.depth_max, " levels"));
        }
        if text.len() > self.limits.tag_bytes_max {
            let what = "the start tag is too long";
            return Err(beyond(at, what, self.limits.tag_bytes_max, " bytes"));
        }
        self.depth += 1;
        self.text_bytes = 0;
        let tag = tag::parse(text, self.limits)
            .map_err(|bad| inside(at, text, bad.offset).finding(&bad.message))?;
        let refused = |attribute: &RawAttribute<'_>, message: &str| {
            inside(at, text, attribute.offset).finding(message)
        };
        for attribute in &tag.attributes {
            self.scopes
                .declare(attribute, self.depth)
                .map_err(|message| refused(attribute, message))?;
        }
        if self.scopes.len() > self.limits.namespaces_max {
            let what = "too many namespace declarations are in force";
            return Err(beyond(at, what, self.limits.namespaces_max, ""));
        }
        let (namespace, name) = self
            .scopes
            .element_name(tag.name)
            .map_err(|message| at.finding(&message))?;
        let mut attributes = Vec::with_capacity(tag.attributes.len());
        for attribute in &tag.attributes {
            let resolved = self.scopes.attribute_name(attribute.name);
            let (namespace, name) = resolved.map_err(|message| refused(attribute, &message))?;
            attributes.push(Attribute {
                end: attribute.end,
                name,
                namespace,
                offset: attribute.offset,
                raw: attribute.value,
            });
        }
        let element = Element {
            attributes,
            depth: self.depth,
            is_root: self.depth == 1,
            name,
            namespace,
            scopes: &self.scopes,
            at,
            text,
        };
        unique_attributes(&element)?;
        if element.is_root {
            self.root = Some(element.root());
        }
        (self.see)(&element)
    }

    fn close(&mut self) {
        self.scopes.close(self.depth);
        self.depth = self.depth.saturating_sub(1);
        self.text_bytes = 0;
    }

    fn text(&mut self, text: &str, at: Position) -> Result<(), Finding> {
        if self.depth == 0 {
            return match text.find(|c| !is_space(c)) {
                Some(offset) => Err(at
                    .after(&text.as_bytes()[..offset])
                    .finding("text outside the root element")),
                None => Ok(()),
            };
        }
        let closes = |at: &usize| text.as_bytes()[..*at].ends_with(b"]]");
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'>');
        if let Some(offset) = ends.map(|(at, _)| at).find(closes).map(|at| at - 2) {
            let place = at.after(&text.as_bytes()[..offset]);
            return Err(place.finding("\"]]>\" in text"));
        }
        self.character_data(text.len(), at)
    }

    fn reference(&mut self, name: &str, at: Position) -> Result<(), Finding> {
        if resolve_reference(name).is_none() {
            return Err(at.finding(&tag::unknown_reference(name)));
        }
        self.character_data(name.len() + "&;".len(), at)
    }

    fn character_data(&mut self, bytes: usize, at: Position) -> Result<(), Finding> {
        if self.depth == 0 {
            return Err(at.finding("text outside the root element"));
        }
        self.text_bytes += bytes;
        if self.text_bytes > self.limits.text_bytes_max {
            let what = "the text is too long";
            return Err(beyond(at, what, self.limits.text_bytes_max, " bytes"));
        }
        Ok(())
    }
}

/// What breaks a limit.
fn beyond(at: Position, what: &str, most: usize, unit: &str) -> Finding {
    at.finding(&format!("{what}; expected are at most {most}{unit}"))
}

/// Sorting finds doubles in any number of attributes without comparing each with each, which is
/// quicker for a few only.
fn unique_attributes(element: &Element<'_>) -> Result<(), Finding> {
    let alike =
        |a: &Attribute<'_>, b: &Attribute<'_>| a.name == b.name && a.namespace == b.namespace;
    if let few @ ([] | [_] | [_, _] | [_, _, _]) = &element.attributes[..]
        && (few.iter().enumerate()).all(|(n, a)| few[..n].iter().all(|b| !alike(a, b)))
    {
        return Ok(());
    }
    let mut sorted: Vec<_> = element.attributes.iter().collect();
    sorted.sort_by_key(|a| (a.namespace, a.name, a.offset));
    let same = |pair: &&[&Attribute<'_>]| alike(pair[0], pair[1]);
    match sorted.windows(2).find(same) {
        Some(pair) => Err(element.finding_at(
            pair[1],
            &format!("the attribute \"{}\" appears twice", pair[1].name),
        )),
        None => Ok(()),
    }
}

fn comment(text: &str, at: Position) -> Result<(), Finding> {
    if text.contains("--") || text.ends_with('-') {
        return Err(at.finding("\"--\" in a comment"));
    }
    Ok(())
}

fn xml_declaration(text: &str, at: Position) -> Result<(), Finding> {
    if at.offset != 0 {
        return Err(at.finding("the XML declaration must be the very beginning of the document"));
    }
    match declaration::parse(text) {
        Ok(_) => Ok(()),
        Err(bad) => Err(at
            .after(b"<?")
            .after(&text.as_bytes()[..bad.offset])
            .finding(bad.message)),
    }
}

fn processing_instruction(text: &str, at: Position) -> Result<(), Finding> {
    let target = text.split(is_space).next().unwrap_or_default();
    if target.eq_ignore_ascii_case("xml") {
        return Err(at.finding("the target \"xml\" is reserved"));
    }
    if !is_ncname(target) {
        return Err(at.finding("the target of the processing instruction is not a name"));
    }
    Ok(())
}

/// The position of a byte of a tag that begins at `at`.
fn inside(at: Position, text: &str, offset: usize) -> Position {
    at.after(b"<").after(&text.as_bytes()[..offset])
}

fn parser_error(error: Error, at: Position) -> InspectError {
    let message = match error {
        Error::Io(error) => {
            return match Arc::try_unwrap(error) {
                Ok(error) => error.into(),
                Err(shared) => InspectError::Io(io::Error::new(shared.kind(), shared)),
            };
        }
        Error::IllFormed(IllFormedError::MismatchedEndTag { expected, found }) => {
            format!("the end tag of \"{expected}\" is expected, not that of \"{found}\"")
        }
        Error::IllFormed(IllFormedError::UnmatchedEndTag(found)) => {
            format!("the end tag of \"{found}\" has no start tag")
        }
        Error::IllFormed(IllFormedError::UnclosedReference) => {
            "'&' without the ';' of a reference".to_owned()
        }
        fault @ (Error::Encoding(_)
        | Error::Escape(_)
        | Error::IllFormed(_)
        | Error::InvalidAttr(_)
        | Error::Namespace(_)
        | Error::Syntax(_)) => fault.to_string(),
    };
    at.finding(&message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_of_the_root_is_found_without_a_look_behind_its_tag() {
        let value = |document: &str, name: &str| {
            let source = Source::Memory(document.as_bytes());
            root_attribute(&source, name, &XmlLimits::default())
        };
        let document =
            "<?xml version='1.0'?><!-- a --><r xmlns:p='u' p:b='1' a=' x&amp;y '><broken";
        assert_eq!(value(document, "a").unwrap().as_deref(), Some(" x&y "));
        assert_eq!(value(document, "b").unwrap(), None, "it has a namespace");
        assert_eq!(value("<r><s a='1'/></r>", "a").unwrap(), None);
        assert!(value("<r a='1'", "a").is_err());
        assert!(value("", "a").is_err());
    }

    /// Where the path is made, it has tests of its own.
    fn without_path(finding: Finding) -> String {
        let finding = Finding {
            path: None,
            ..finding
        };
        finding.to_string()
    }

    fn refused_with(document: &[u8], limits: &XmlLimits) -> String {
        match inspect(&Source::Memory(document), limits) {
            Err(InspectError::NotWellFormed(finding)) => without_path(finding),
            other => panic!(
                "{other:?}: {}",
                String::from_utf8_lossy(&document[..document.len().min(200)])
            ),
        }
    }

    fn refused(document: &str) -> String {
        refused_with(document.as_bytes(), &XmlLimits::default())
    }

    fn root(document: &str) -> Root {
        inspect(&Source::Memory(document.as_bytes()), &XmlLimits::default())
            .unwrap_or_else(|error| panic!("{error}: {document}"))
    }

    #[test]
    fn good_documents_and_their_roots() {
        let plain = root(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<!-- c - c -->\
             <?style x?>\r\n<ListOfItems\n a='&#x41;&lt;>' b=\"'\"><b/>x &amp; y]] ><![CDATA[<&]]></ListOfItems >\n<!--e--><?p?>\n",
        );
        assert_eq!(
            (plain.namespace, plain.name.as_str()),
            (None, "ListOfItems")
        );
        let spaced = root(
            "<p:r xmlns:p='urn:a' xmlns='urn:b'><p:x xml:lang='de' p:y='' y=''/><z xmlns=''/></p:r>",
        );
        assert_eq!(
            (spaced.namespace.as_deref(), spaced.name.as_str()),
            (Some("urn:a"), "r")
        );
        assert_eq!(
            root("<größe xmlns='urn:b&amp;c'/>").namespace.as_deref(),
            Some("urn:b&c")
        );
    }

    #[test]
    fn what_may_stand_where() {
        for (document, expected) in [
            ("", "1:1: the document has no element"),
            (" \n", "2:1: the document has no element"),
            ("<!-- only -->", "1:14: the document has no element"),
            ("<a/><b/>", "1:5: a second root element"),
            ("<a></a>\n <b>", "2:2: a second root element"),
            ("x<a/>", "1:1: text outside the root element"),
            ("<a/>\n x", "2:2: text outside the root element"),
            ("<a/>&#32;", "1:5: text outside the root element"),
            ("<a/><![CDATA[]]>", "1:5: text outside the root element"),
            ("<a>", "1:4: the document ends inside an element"),
            (
                "<a><b></a></b>",
                "1:7: the end tag of \"b\" is expected, not that of \"a\"",
            ),
            (
                "<a></b></a>",
                "1:4: the end tag of \"a\" is expected, not that of \"b\"",
            ),
            (
                "<a></a x=''>",
                "1:4: the end tag of \"a\" is expected, not that of \"a x=''\"",
            ),
            ("</a>", "1:1: the end tag of \"a\" has no start tag"),
            (
                " <?xml version='1.0'?><a/>",
                "1:2: the XML declaration must be the very beginning of the document",
            ),
            (
                "<a><?xml version='1.0'?></a>",
                "1:4: the XML declaration must be the very beginning of the document",
            ),
            (
                "<?xml version='1.1'?><a/>",
                "1:20: only XML version 1.0 is accepted",
            ),
            (
                "<?xml version='1.0' standalone='jein'?><a/>",
                "1:38: standalone must be \"yes\" or \"no\"",
            ),
            (
                "<!DOCTYPE a><a/>",
                "1:1: document type declarations are not accepted",
            ),
            (
                "<a/>\n<!doctype a>",
                "2:1: document type declarations are not accepted",
            ),
        ] {
            assert_eq!(refused(document), expected, "{document}");
        }
    }

    #[test]
    fn markup_by_the_letter() {
        for (document, expected) in [
            ("<a>]]></a>", "1:4: \"]]>\" in text"),
            ("<a>ü\n]]></a>", "2:1: \"]]>\" in text"),
            ("<1/>", "1:1: \"1\" is not a name"),
            ("<a:/>", "1:1: \"a:\" is not a name"),
            ("<a:b:c/>", "1:1: \"a:b:c\" is not a name"),
            ("< a/>", "1:2: a name is missing after '<'"),
            ("<a b/>", "1:4: the attribute \"b\" has no value"),
            (
                "<a\n  b='<'/>",
                "2:6: '<' in the value of the attribute \"b\"",
            ),
            (
                "<a ü='' b='1' b='2'/>",
                "1:15: the attribute \"b\" appears twice",
            ),
            ("<a 1='2'/>", "1:4: \"1\" is not a name"),
            ("<a>&nbsp;</a>", "1:4: the entity \"nbsp\" is not declared"),
            (
                "<a>x&#0;</a>",
                "1:5: \"&#0;\" stands for no character that XML allows",
            ),
            ("<a b='&x;'/>", "1:7: the entity \"x\" is not declared"),
            ("<a>a & b</a>", "1:6: '&' without the ';' of a reference"),
            ("<a><!-- a -- b --></a>", "1:4: \"--\" in a comment"),
            ("<a><!-- a ---></a>", "1:4: \"--\" in a comment"),
            ("<a><?XmL x?></a>", "1:4: the target \"xml\" is reserved"),
            (
                "<a><?1?></a>",
                "1:4: the target of the processing instruction is not a name",
            ),
            (
                "<a><?a:b?></a>",
                "1:4: the target of the processing instruction is not a name",
            ),
        ] {
            assert_eq!(refused(document), expected, "{document}");
        }
        for cut in [
            "<a",
            "<a b='",
            "<!-- ",
            "<a><![CDATA[",
            "<?x",
            "<a>&am",
            "<",
            "<!",
            "<a><!x></a>",
            "<a><![cdata[x]]></a>",
            "<!D",
            "<??><a/>",
        ] {
            refused(cut);
        }
    }

    #[test]
    fn namespaces_by_the_letter() {
        for (document, expected) in [
            ("<p:a/>", "1:1: the namespace prefix \"p\" is not declared"),
            (
                "<a p:b=''/>",
                "1:4: the namespace prefix \"p\" is not declared",
            ),
            (
                "<a><b xmlns:p='u'/><p:c/></a>",
                "1:20: the namespace prefix \"p\" is not declared",
            ),
            (
                "<xmlns:a/>",
                "1:1: the namespace prefix \"xmlns\" is not declared",
            ),
            (
                "<a xmlns:p=''/>",
                "1:4: the declaration of a namespace prefix cannot be empty",
            ),
            (
                "<a xmlns:xml='u'/>",
                "1:4: the prefix \"xml\" and its namespace belong together",
            ),
            (
                "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
                "1:4: the prefix \"xml\" and its namespace belong together",
            ),
            (
                "<a xmlns:xmlns='u'/>",
                "1:4: the prefix \"xmlns\" and its namespace cannot be declared",
            ),
            (
                "<a xmlns:p='u' xmlns:q='u' p:x='1' q:x='2'/>",
                "1:36: the attribute \"x\" appears twice",
            ),
            (
                "<a xmlns:p='u' xmlns:p='u'/>",
                "1:16: the attribute \"p\" appears twice",
            ),
        ] {
            assert_eq!(refused(document), expected, "{document}");
        }
    }

    /// A document of any size that is made while it is read.
    fn endless(start: &str, piece: &str) -> (std::path::PathBuf, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("document");
        let text = start.to_owned() + &piece.repeat(3 * 1024 * 1024 / piece.len());
        std::fs::write(&path, text).unwrap();
        (path, dir)
    }

    #[test]
    fn no_event_outgrows_the_limits() {
        let limits = XmlLimits {
            tag_bytes_max: 100_000,
            text_bytes_max: 200_000,
            ..XmlLimits::default()
        };
        for (start, piece, expected) in [
            ("<a b='", "x", "1:1: too long without an end"),
            ("<a ", "b", "1:1: too long without an end"),
            ("<a", " b='1'", "1:1: too long without an end"),
            ("<a>", "text ", "1:4: too long without an end"),
            ("<a><!--", "c", "1:4: too long without an end"),
            ("<a><![CDATA[", "c", "1:4: too long without an end"),
            ("<a>&", "a", "1:4: too long without an end"),
            ("<?p ", "i", "1:1: too long without an end"),
            (
                "<!DOCTYPE a [",
                "<!ENTITY a 'b'>",
                "1:1: too long without an end",
            ),
            (
                "<a>",
                "x&amp;",
                "1:200003: the text is too long; expected are at most 200000 bytes",
            ),
            (
                "<a>",
                "x<!---->",
                "1:1600004: the text is too long; expected are at most 200000 bytes",
            ),
        ] {
            let (path, _dir) = endless(start, piece);
            match inspect(&Source::File(&path), &limits) {
                Err(InspectError::NotWellFormed(finding)) => {
                    assert_eq!(without_path(finding), expected, "{start}{piece}");
                }
                other => panic!("{start}{piece}: {other:?}"),
            }
        }
    }

    #[test]
    fn limits_of_elements() {
        let depth = |n: usize| "<a>".repeat(n) + &"</a>".repeat(n);
        root(&depth(256));
        assert_eq!(
            refused(&depth(257)),
            "1:769: the elements are nested too deeply; expected are at most 256 levels"
        );
        assert_eq!(
            refused(&"<a>".repeat(100_000)),
            "1:769: the elements are nested too deeply; expected are at most 256 levels"
        );
        let attributes = |n: usize| {
            let list: String = (0..n).map(|i| format!(" a{i}=''")).collect();
            format!("<a{list}/>")
        };
        root(&attributes(1000));
        assert!(
            refused(&attributes(1001)).ends_with("too many attributes; expected are at most 1000")
        );
        let wide = format!(
            "<a{}/>",
            format!(" {}='{}'", "b", "x".repeat(60_000)).repeat(20)
        );
        assert_eq!(
            refused(&wide),
            "1:1: the start tag is too long; expected are at most 1048576 bytes"
        );
        assert!(refused(&format!("<{}/>", "n".repeat(1025))).contains("too long"));
        let spaces: String = (0..257).map(|i| format!(" xmlns:p{i}='u'")).collect();
        assert!(refused(&format!("<a{spaces}/>")).contains("namespace declarations"));
    }

    #[test]
    fn a_text_of_exactly_the_limit_passes() {
        let limits = XmlLimits {
            text_bytes_max: 100,
            ..XmlLimits::default()
        };
        let text = |n: usize| format!("<a>{}</a>", "x".repeat(n));
        assert!(inspect(&Source::Memory(text(100).as_bytes()), &limits).is_ok());
        assert_eq!(
            refused_with(text(101).as_bytes(), &limits),
            "1:4: too long without an end"
        );
    }

    #[test]
    fn an_entity_bomb_is_not_even_lit() {
        let mut bomb = "<!DOCTYPE a [<!ENTITY l0 'lol'>".to_owned();
        for n in 1..10 {
            bomb += &format!("<!ENTITY l{n} '{}'>", format!("&l{};", n - 1).repeat(10));
        }
        bomb += "]><a>&l9;</a>";
        assert_eq!(
            refused(&bomb),
            "1:1: document type declarations are not accepted"
        );
    }

    #[test]
    fn a_missing_file_is_no_fault_of_the_document() {
        let missing = std::path::Path::new("no-such-file");
        let result = inspect(&Source::File(missing), &XmlLimits::default());
        assert!(matches!(result, Err(InspectError::Io(_))));
    }
}
