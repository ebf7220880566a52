//! What a stylesheet may contain, and what kind of answer it says it makes.
//!
//! Accepted is XSLT 1.0 with the EXSLT functions that only compute. Refused, with the place: every
//! element that is not of XSLT 1.0, extension elements, functions that read a document or run
//! text as code, and functions of unknown kind. An expression is not parsed: a function's name
//! before a parenthesis counts wherever it stands, also in a literal, so the check may refuse a
//! harmless text but cannot be talked round. The sandbox stands behind it.

use super::intake::{Attribute, Element, walk};
use super::names::{XML_NAMESPACE, is_space};
use super::snapshot::Snapshot;
use super::{Finding, Source, XmlLimits};

const XSLT_NAMESPACE: &str = "http://www.w3.org/1999/XSL/Transform";
/// How much of a result is searched for its first element.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const EXSLT_PREFIX: &str = "http://exslt.org/";

/// Their functions compute and do nothing else.
const PURE_NAMESPACES: [&str; 5] = [
    "http://exslt.org/common",
    "http://exslt.org/dates-and-times",
    "http://exslt.org/math",
    "http://exslt.org/sets",
    "http://exslt.org/strings",
];

#[rustfmt::skip]
const XSLT_ELEMENTS: [&str; 35] = [
    "apply-imports", "apply-templates", "attribute", "attribute-set", "call-template", "choose",
    "comment", "copy", "copy-of", "decimal-format", "element", "fallback", "for-each", "if",
    "import", "include", "key", "message", "namespace-alias", "number", "otherwise", "output",
    "param", "preserve-space", "processing-instruction", "sort", "strip-space", "stylesheet",
    "template", "text", "transform", "value-of", "variable", "when", "with-param",
];

/// Judges an element of a stylesheet and says to which file it links.
pub(super) fn examine(element: &Element<'_>) -> Result<Option<String>, Finding> {
    let is_xslt = element.namespace == Some(XSLT_NAMESPACE);
    if element.is_root {
        check_root(element, is_xslt)?;
    }
    if is_xslt && !XSLT_ELEMENTS.contains(&element.name) {
        let message = format!("xsl:{} is not accepted", element.name);
        return Err(element.finding(&message));
    }
    if element
        .namespace
        .is_some_and(|uri| uri.starts_with(EXSLT_PREFIX))
    {
        let message = format!("the extension element \"{}\" is not accepted", element.name);
        return Err(element.finding(&message));
    }
    for attribute in &element.attributes {
        check_attribute(element, attribute, is_xslt)?;
    }
    if is_xslt && matches!(element.name, "import" | "include") {
        return Ok(element.attribute("href"));
    }
    Ok(None)
}

/// What `xsl:output` asks for. What a file leaves out, an imported one may say.
#[derive(Default)]
pub(super) struct Output {
    encoding: Option<String>,
    media_type: Option<String>,
    method: Option<String>,
}

impl Output {
    pub(super) fn of(stylesheet: &Snapshot) -> Output {
        let mut output = Output::default();
        for text in stylesheet.texts() {
            let mut see = |element: &Element<'_>| {
                if element.namespace == Some(XSLT_NAMESPACE) && element.name == "output" {
                    let fill = |known: &mut Option<String>, attribute: &str| {
                        *known = known.take().or_else(|| element.attribute(attribute));
                    };
                    fill(&mut output.encoding, "encoding");
                    fill(&mut output.media_type, "media-type");
                    fill(&mut output.method, "method");
                }
                Ok(())
            };
            let source = Source::Memory(text.as_bytes());
            // The text of a snapshot has been walked before, and without a fault.
            let _ = walk(&source, &XmlLimits::default(), &mut see);
        }
        // Both come into a header line, so neither may contain what could end one.
        output.media_type = output.media_type.filter(|value| is_media_type(value));
        output.encoding = output.encoding.filter(|value| is_token(value));
        output
    }

    /// The content type of what the stylesheet made.
    pub(super) fn content_type(&self, made: &[u8]) -> String {
        let by_method = match self.method.as_deref() {
            Some("html") => "text/html",
            Some("text") => "text/plain",
            None if is_html(made) => "text/html",
            Some(_) | None => "application/xml",
        };
        format!(
            "{}; charset={}",
            self.media_type.as_deref().unwrap_or(by_method),
            self.encoding.as_deref().unwrap_or("UTF-8")
        )
    }
}

/// Is the first element `html` in any case and without a namespace, and nothing but white space
/// before it? That is what makes a result HTML where the method is left open (XSLT 1.0, 16).
fn is_html(made: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&made[..made.len().min(HEAD_BYTES_MAX)]);
    let mut rest = text.trim_start_matches(is_space);
    loop {
        let end = match rest {
            comment if comment.starts_with("<!--") => "-->",
            instruction if instruction.starts_with("<?") => "?>",
            doctype if doctype.starts_with("<!") => ">",
            _ => break,
        };
        let Some((_, after)) = rest.split_once(end) else {
            return false;
        };
        rest = after.trim_start_matches(is_space);
    }
    let tag = rest.split('>').next().unwrap_or_default();
    let mut words = tag.trim_end_matches('/').split(is_space);
    words
        .next()
        .is_some_and(|name| name.eq_ignore_ascii_case("<html"))
        && !words.any(|word| word.starts_with("xmlns="))
}

fn check_root(element: &Element<'_>, is_xslt: bool) -> Result<(), Finding> {
    if !is_xslt || !matches!(element.name, "stylesheet" | "transform") {
        return Err(element.finding("the root element is not xsl:stylesheet"));
    }
    if element.attribute("version").as_deref() != Some("1.0") {
        return Err(element.finding("only XSLT version 1.0 is accepted"));
    }
    Ok(())
}

fn check_attribute(
    element: &Element<'_>,
    attribute: &Attribute<'_>,
    is_xslt: bool,
) -> Result<(), Finding> {
    let value = attribute.value();
    let refuse = |message: &str| Err(element.finding_at(attribute, message));
    if attribute.namespace == Some(XML_NAMESPACE) && attribute.name == "base" {
        return refuse("xml:base is not accepted");
    }
    let holder = if is_xslt { None } else { Some(XSLT_NAMESPACE) };
    if attribute.name == "extension-element-prefixes" && attribute.namespace == holder {
        let pure = |prefix: &str| is_pure(element, prefix);
        if !value.split(is_space).filter(|p| !p.is_empty()).all(pure) {
            return refuse("extension elements are not accepted");
        }
    }
    // Literal elements hold expressions in braces; everything else in them is output.
    let expression = match value.find('{') {
        Some(brace) if !is_xslt => &value[brace..],
        None if !is_xslt => return Ok(()),
        _ => value.as_str(),
    };
    for function in functions_in(expression) {
        let accepted = match function.split_once(':') {
            Some((prefix, _)) => is_pure(element, prefix),
            None => {
                !matches!(function, "collection" | "doc" | "document")
                    && !function.starts_with("unparsed-")
            }
        };
        if !accepted {
            return refuse(&format!("the function {function}() is not accepted"));
        }
    }
    Ok(())
}

fn is_pure(element: &Element<'_>, prefix: &str) -> bool {
    let namespace = element.scopes.namespace(prefix);
    namespace.is_some_and(|uri| PURE_NAMESPACES.contains(&uri))
}

/// The names that stand before an opening parenthesis, prefix included.
fn functions_in(expression: &str) -> impl Iterator<Item = &str> {
    let is_part =
        |c: char| c.is_alphanumeric() || !c.is_ascii() || matches!(c, ':' | '.' | '_' | '-');
    expression.match_indices('(').filter_map(move |(at, _)| {
        let before = expression[..at].trim_end_matches(is_space);
        let start = before.trim_end_matches(is_part).len();
        // An axis before a node test is not a prefix.
        let name = before[start..].rsplit("::").next().unwrap_or_default();
        (!name.is_empty()).then_some(name)
    })
}

fn is_media_type(value: &str) -> bool {
    let parts = value.split_once('/');
    parts.is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

fn is_token(value: &str) -> bool {
    !value.is_empty()
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::InspectError;

    const HEAD: &str = "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform' \
        xmlns:exsl='http://exslt.org/common' xmlns:dyn='http://exslt.org/dynamic' \
        xmlns:func='http://exslt.org/functions' xmlns:saxon='http://icl.com/saxon'>";

    fn verdict(body: &str) -> Result<(), String> {
        let text = format!("{HEAD}<xsl:template match='/'>{body}</xsl:template></xsl:stylesheet>");
        verdict_of(&text)
    }

    fn verdict_of(text: &str) -> Result<(), String> {
        let mut see = |element: &Element<'_>| examine(element).map(|_| ());
        match walk(
            &Source::Memory(text.as_bytes()),
            &XmlLimits::default(),
            &mut see,
        ) {
            Ok(_) => Ok(()),
            Err(InspectError::NotWellFormed(finding)) => Err(finding.message),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_reaches_outside_is_refused() {
        for (body, expected) in [
            (
                "<xsl:value-of select=\"document('/etc/passwd')\"/>",
                "the function document() is not accepted",
            ),
            (
                "<xsl:value-of select=\"&#100;ocument\n ('x')\"/>",
                "the function document() is not accepted",
            ),
            (
                "<xsl:copy-of select=\"x[document('a')]\"/>",
                "the function document() is not accepted",
            ),
            (
                "<a href=\"{document('x')}\"/>",
                "the function document() is not accepted",
            ),
            (
                "<xsl:value-of select=\"unparsed-text('x')\"/>",
                "the function unparsed-text() is not accepted",
            ),
            (
                "<xsl:value-of select=\"dyn:evaluate(@x)\"/>",
                "the function dyn:evaluate() is not accepted",
            ),
            (
                "<xsl:value-of select=\"saxon:evaluate(@x)\"/>",
                "the function saxon:evaluate() is not accepted",
            ),
            (
                "<xsl:value-of select=\"nobody:knows(@x)\"/>",
                "the function nobody:knows() is not accepted",
            ),
            (
                "<exsl:document href='x'/>",
                "the extension element \"document\" is not accepted",
            ),
            (
                "<func:function name='x'/>",
                "the extension element \"function\" is not accepted",
            ),
            ("<xsl:document href='x'/>", "xsl:document is not accepted"),
            (
                "<xsl:result-document href='x'/>",
                "xsl:result-document is not accepted",
            ),
            (
                "<a xsl:extension-element-prefixes='saxon'/>",
                "extension elements are not accepted",
            ),
            ("<a xml:base='file:///'/>", "xml:base is not accepted"),
        ] {
            assert_eq!(verdict(body), Err(expected.to_owned()), "{body}");
        }
        assert_eq!(
            verdict_of("<html/>"),
            Err("the root element is not xsl:stylesheet".to_owned())
        );
        assert_eq!(
            verdict_of(&HEAD.replace("1.0", "2.0")),
            Err("only XSLT version 1.0 is accepted".to_owned())
        );
    }

    #[test]
    fn what_only_computes_is_accepted() {
        for body in [
            "<xsl:value-of select=\"count(exsl:node-set($x)/a) + sum(b) or (c)\"/>",
            "<xsl:for-each select=\"child::node()[position() = last()] | key('document', @id)\"/>",
            "<a xsl:extension-element-prefixes='exsl' title='a document (copy)'>document('x')</a>",
        ] {
            assert_eq!(verdict(body), Ok(()), "{body}");
        }
    }
}
