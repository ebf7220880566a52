//! Schemas and documents that are in use: UBL, XRechnung, Factur-X, ISO 20022, FatturaPA, SEPA.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use walkdir::WalkDir;

use super::{Case, Group, Verdict, index, run};

/// A schema in use with documents that are meant for it.
#[derive(Deserialize)]
struct RealSchema {
    documents: Vec<String>,
    schema: String,
}

/// All of them are published as good; what is not, is on the list.
fn real_schemas(dir: &Path) -> Vec<Group> {
    let group = |real: RealSchema| {
        let document = |file: &String| Case {
            expected: Verdict::Accepted,
            file: file.clone(),
            name: format!("{} {file}", real.schema),
        };
        Group {
            documents: real.documents.iter().map(document).collect(),
            edition: None,
            schema: Some(Case {
                expected: Verdict::Accepted,
                file: real.schema.clone(),
                name: real.schema,
            }),
        }
    };
    give_locations(dir);
    index(dir).into_iter().map(group).collect()
}

/// Schemas that one collection of UBL imports without a location, because its program brings them
/// along, and where they are, which is what UBL itself says.
const NEIGHBOURS: [(&str, &str); 4] = [
    ("http://uri.etsi.org/01903/v1.3.2#", "UBL-XAdESv132-2.1.xsd"),
    ("http://uri.etsi.org/01903/v1.4.1#", "UBL-XAdESv141-2.1.xsd"),
    (
        "http://www.w3.org/2000/09/xmldsig#",
        "UBL-xmldsig-core-schema-2.1.xsd",
    ),
    (
        "urn:un:unece:uncefact:data:specification:CoreComponentTypeSchemaModule:2",
        "CCTS_CCT_SchemaModule-2.1.xsd",
    ),
];

/// Gives the imports of that collection their locations.
pub(in crate::xml) fn give_locations(dir: &Path) {
    let neighbours = "factur_x/facturx/xsd_and_schematron/ubl-2.1/common";
    for file in WalkDir::new(dir.join("phax+ph-ubl")) {
        let file = file.unwrap();
        if file
            .path()
            .extension()
            .is_none_or(|extension| extension != "xsd")
        {
            continue;
        }
        let mut text = fs::read_to_string(file.path()).unwrap();
        for (namespace, neighbour) in NEIGHBOURS {
            let import = format!("namespace=\"{namespace}\"");
            let up = "../".repeat(file.depth());
            for at in text
                .rmatch_indices(&import)
                .map(|found| found.0)
                .collect::<Vec<_>>()
            {
                let end = at + import.len();
                if text[end..].trim_start().starts_with("/>") {
                    let location = format!(" schemaLocation=\"{up}{neighbours}/{neighbour}\"");
                    text.insert_str(end, &location);
                }
            }
        }
        fs::write(file.path(), text).unwrap();
    }
}

#[test]
fn real_schemas_and_documents_are_accepted() {
    run("real", real_schemas);
}
