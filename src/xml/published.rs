//! Schemas as they are published: what a schema's files look like, where they are found, and what
//! the schema says of a document then.

use std::fs;
use std::path::Path;

use super::{Schemas, Source, XsdSchema};

const HEAD: &str = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'";

/// A directory of schemas with these files, and what its first reload reported.
fn loaded(files: &[(&str, &str)]) -> (tempfile::TempDir, Schemas, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    }
    let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
    let reports = schemas.reload().iter().map(ToString::to_string).collect();
    (dir, schemas, reports)
}

fn is_valid(schemas: &Schemas, name: &str, document: &str) -> bool {
    let findings = schemas.validate(name, &Source::Memory(document.as_bytes()));
    findings.unwrap().is_empty()
}

#[test]
fn a_schema_with_a_document_type_declaration_loads_and_a_document_is_still_refused() {
    let signature = format!(
        "<!DOCTYPE xs:schema PUBLIC '-//W3C//DTD XMLSCHEMA 200102//EN' 'http://www.w3.org/2001/XMLSchema.dtd' [\n\
         <!ATTLIST xs:schema xmlns:s CDATA #FIXED 'urn:signature'>\n<!ENTITY s 'urn:signature'>\n\
         <!ENTITY % p ''>]>\n{HEAD} targetNamespace='&s;' xmlns:s='&s;'>\
         <xs:element name='Signature' type='s:T'/>\
         <xs:simpleType name='T'><xs:restriction base='xs:int'/></xs:simpleType></xs:schema>"
    );
    let main = format!(
        "{HEAD} xmlns:s='urn:signature'>\
         <xs:import namespace='urn:signature' schemaLocation='signature.inc'/><xs:element name='a'>\
         <xs:complexType><xs:sequence><xs:element ref='s:Signature'/></xs:sequence></xs:complexType>\
         </xs:element></xs:schema>"
    );
    let (_dir, schemas, reports) = loaded(&[("signature.inc", &signature), ("a.xsd", &main)]);
    assert_eq!(reports, ["a: loaded"]);
    let signed = |text: &str| format!("<a><Signature xmlns='urn:signature'>{text}</Signature></a>");
    assert!(is_valid(&schemas, "a", &signed("1")));
    assert!(!is_valid(&schemas, "a", &signed("x")));
    assert!(!is_valid(
        &schemas,
        "a",
        &format!("<!DOCTYPE a>{}", signed("1"))
    ));
    let wrong = signature.replace("xs:int", "xs:number");
    let (_dir, _schemas, reports) = loaded(&[("signature.inc", &wrong), ("a.xsd", &main)]);
    assert!(reports[0].contains("signature.inc:5:"), "{reports:?}");
}
