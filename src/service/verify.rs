//! Is a document what an interface takes? The rules of an upload, asked again when an operator sends a
//! refused document to a queue: the schema may be another one by now, or the document mended.

use super::{Direction, Interface, upload::message_of};
use crate::{
    domain::InterfaceName,
    domain::joblog::Message,
    xml::{self, Finding, InspectError, Root, Schemas, Source, Unavailable, XmlLimits},
};
use std::{collections::BTreeMap, sync::Arc};

/// Knows what the interfaces of a tenant take. Blocks.
pub struct Verifier {
    interfaces: BTreeMap<InterfaceName, Interface>,
    schemas: Arc<Schemas>,
}

impl Interface {
    /// Can partners upload to it?
    pub fn takes_uploads(&self) -> bool {
        self.direction == Direction::In
    }

    /// Does the interface take documents with this root element?
    pub(super) fn takes(&self, root: &Root) -> bool {
        let Some(wanted) = &self.root else {
            return true;
        };
        *wanted == root.name && self.namespace == root.namespace
    }

    /// What is wrong with a document with this root element, if it is not for the interface.
    pub(super) fn misfit(&self, name: &InterfaceName, root: &Root) -> Option<Finding> {
        if self.takes(root) {
            return None;
        }
        let wanted = self.root.as_deref().unwrap_or_default();
        let text = format!(
            "the root element is {}, but {name} takes {wanted}",
            root.name
        );
        Some(root.finding(&text))
    }
}

impl Verifier {
    pub fn new(interfaces: BTreeMap<InterfaceName, Interface>, schemas: Arc<Schemas>) -> Self {
        Self {
            interfaces,
            schemas,
        }
    }

    /// The interface that takes documents with the root element of this one.
    pub fn recognise(&self, document: &Source<'_>) -> Option<InterfaceName> {
        let root = xml::root_of(document, &XmlLimits::default()).ok()?;
        let mut known = self.interfaces.iter();
        let known = known.find(|(_, interface)| {
            interface.direction == Direction::In
                && interface.root.is_some()
                && interface.takes(&root)
        });
        known.map(|(name, _)| name.clone())
    }

    /// The same as [`Verifier::findings`], as messages of the moment `now_ms`.
    ///
    /// # Errors
    /// As there.
    pub fn verify(
        &self,
        document: &Source<'_>,
        bytes: u64,
        name: &InterfaceName,
        now_ms: i64,
    ) -> Result<Vec<Message>, String> {
        let findings = self.findings(document, bytes, name)?;
        Ok(findings.iter().map(|f| message_of(f, now_ms)).collect())
    }

    /// What is wrong with a document of so many bytes for an interface; nothing when it would be accepted.
    ///
    /// # Errors
    /// When it cannot be said, with the reason.
    pub fn findings(
        &self,
        source: &Source<'_>,
        bytes: u64,
        name: &InterfaceName,
    ) -> Result<Vec<Finding>, String> {
        let Some(interface) = self.interfaces.get(name) else {
            return Err(format!("{name} is not configured"));
        };
        let root = match xml::root_of(source, &XmlLimits::default()) {
            Ok(root) => root,
            Err(InspectError::NotWellFormed(finding)) => return Ok(vec![finding]),
            Err(InspectError::Io(error)) => return Err(error.to_string()),
        };
        if let Some(finding) = interface.misfit(name, &root) {
            return Ok(vec![finding]);
        }
        if bytes > interface.bytes_max {
            let text = format!("the document has {bytes} bytes, more than {name} takes");
            return Ok(vec![Finding::new(0, 0, &text)]);
        }
        let Some(schema) = &interface.schema else {
            let found = self.schemas.check(None, source);
            return found.map_err(|error| error.to_string());
        };
        let found = match self.schemas.validate(schema, source) {
            Err(Unavailable::Unknown) => {
                // Nobody has loaded it yet: no service runs.
                let loaded = self.schemas.load(schema, &format!("{schema}.xsd"));
                loaded.map_err(|reason| format!("schema {schema}: {reason}"))?;
                self.schemas.validate(schema, source)
            }
            found => found,
        };
        found.map_err(|error| format!("schema {schema}: {error}"))
    }
}

#[cfg(test)]
impl Interface {
    /// Takes anything.
    pub(crate) fn any() -> Self {
        Self {
            direction: Direction::In,
            root: None,
            namespace: None,
            schema: None,
            bytes_max: 1 << 20,
            aliases: Vec::new(),
            questions: Vec::new(),
            visible: super::Visible::Interface,
            order_by: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::XsdSchema;

    const SCHEMA: &str = r#"<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
        <xs:element name="a"><xs:complexType><xs:attribute name="n" type="xs:int"/>
        </xs:complexType></xs:element></xs:schema>"#;

    #[test]
    fn a_document_is_looked_at_as_at_its_upload() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("schemas")).unwrap();
        std::fs::write(dir.path().join("schemas/a.xsd"), SCHEMA).unwrap();
        let interface = |direction, root: &str| Interface {
            direction,
            root: Some(root.into()),
            bytes_max: 30,
            schema: Some("a".into()),
            ..Interface::any()
        };
        let a: InterfaceName = "a_in".parse().unwrap();
        let interfaces = [
            (a.clone(), interface(Direction::In, "a")),
            ("b_out".parse().unwrap(), interface(Direction::Out, "b")),
        ];
        let schemas = Schemas::open(&dir.path().join("schemas"), Box::new(XsdSchema));
        let verifier = Verifier::new(interfaces.into(), Arc::new(schemas));
        let said = |text: &str| {
            let document = Source::Memory(text.as_bytes());
            let said = verifier
                .verify(&document, text.len() as u64, &a, 5)
                .unwrap();
            let said: Vec<String> = said.into_iter().map(|message| message.text).collect();
            (verifier.recognise(&document), said.join("\n"))
        };
        assert_eq!(said("<a n='1'/>"), (Some(a.clone()), String::new()));
        for (text, known, words) in [
            ("<a n='x'/>", true, "n"),
            ("<a n='1'>", true, ""),
            ("<b/>", false, "the root element is b, but a_in takes a"),
            (
                "<a n='1'/><!-- 0123456789abcdef -->",
                true,
                "bytes, more than a_in takes",
            ),
        ] {
            let (recognised, said) = said(text);
            assert!(!said.is_empty() && said.contains(words), "{text}: {said}");
            assert_eq!(recognised.is_some(), known, "{text}");
        }
        let nowhere = "nowhere".parse().unwrap();
        let document = Source::Memory(b"<a n='1'/>");
        assert!(verifier.verify(&document, 10, &nowhere, 5).is_err());
        let unreadable = || Err(std::io::ErrorKind::PermissionDenied.into());
        let unreadable = Source::Reader(&unreadable);
        assert!(verifier.verify(&unreadable, 10, &a, 5).is_err());
    }
}
