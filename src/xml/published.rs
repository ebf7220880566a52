//! Schemas as they are published: what a schema's files look like, where they are found, and what
//! the schema says of a document then.

use std::fs;
use std::path::Path;

use super::{Catalog, CatalogEntry, SchemaFiles, Schemas, Source, XsdSchema};

const HEAD: &str = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'";

/// The table of these URLs and their paths.
fn catalog(entries: &[(&str, &str)]) -> Catalog {
    let entries = entries.iter().map(|(url, path)| CatalogEntry {
        file: Default::default(),
        line: 1,
        path: (*path).to_owned(),
        url: (*url).to_owned(),
    });
    Catalog::parse(entries).unwrap()
}

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

/// A schema of an element `name` that imports and includes what `links` says.
fn schema(name: &str, links: &str, content: &str) -> String {
    format!(
        "{HEAD} xmlns:g='urn:g' xmlns:xlink='http://www.w3.org/1999/xlink'>{links}\
         <xs:element name='{name}'><xs:complexType>{content}</xs:complexType></xs:element></xs:schema>"
    )
}

/// A schema of `p`, an integer, in the namespace `urn:g`.
fn integers(links: &str) -> String {
    format!(
        "{HEAD} targetNamespace='urn:g' xmlns:g='urn:g'>{links}\
         <xs:element name='p' type='xs:int'/></xs:schema>"
    )
}

fn import(namespace: &str, location: &str) -> String {
    format!("<xs:import namespace='{namespace}' schemaLocation=\"{location}\"/>")
}

const P: &str = "<xs:sequence><xs:element ref='g:p'/></xs:sequence>";

fn p(text: &str) -> String {
    format!("<a><p xmlns='urn:g'>{text}</p></a>")
}

/// Does `a.xsd` load, and does it know `p`?
fn knows_p(location: &str, files: &[(&str, &str)]) {
    let main = schema("a", &import("urn:g", location), P);
    let files: Vec<_> = files
        .iter()
        .copied()
        .chain([("a.xsd", main.as_str())])
        .collect();
    let (_dir, schemas, reports) = loaded(&files);
    assert_eq!(reports, ["a: loaded"], "{location}");
    assert!(is_valid(&schemas, "a", &p("1")), "{location}");
    assert!(!is_valid(&schemas, "a", &p("x")), "{location}");
}

/// What the only report says of a schema with these files.
fn refused(files: &[(&str, &str)]) -> String {
    let (dir, _schemas, reports) = loaded(files);
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].starts_with("a: refused: "), "{reports:?}");
    reports[0].replace(&dir.path().display().to_string(), "DIR")
}

#[test]
fn a_url_is_found_in_the_mirror_and_what_it_names_from_there() {
    let main = integers("<xs:include schemaLocation='../../2.0/more.xsd'/>");
    let more = format!(
        "{HEAD} targetNamespace='urn:g'><xs:include schemaLocation='https://h.example/g/1.0/deep/g.xsd'/>{}</xs:schema>",
        import("urn:back", "back.xsd"),
    );
    let back = format!(
        "{HEAD} targetNamespace='urn:back' xmlns:g='urn:g'>{}<xs:element name='b'><xs:complexType>{P}\
         </xs:complexType></xs:element></xs:schema>",
        import("urn:g", "http://h.example/g/1.0/deep/g.xsd"),
    );
    knows_p(
        "http://H.example/g/1.0/deep/g.xsd#top",
        &[
            ("h.example/g/1.0/deep/g.xsd", &main),
            ("h.example/g/2.0/more.xsd", &more),
            ("h.example/g/2.0/back.xsd", &back),
        ],
    );
}

fn by_catalog(catalog: Catalog) -> SchemaFiles {
    SchemaFiles {
        catalog,
        ..SchemaFiles::default()
    }
}

#[test]
fn a_url_is_found_by_the_catalogue_before_the_mirror() {
    let catalog = catalog(&[("https://h/g/", "own/"), ("urn:g:2", "own/two.xsd")]);
    for location in ["http://h/g/one.xsd", "urn:g:2"] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("own")).unwrap();
        fs::create_dir_all(dir.path().join("h/g")).unwrap();
        let main = schema("a", &import("urn:g", location), P);
        fs::write(dir.path().join("a.xsd"), main).unwrap();
        for file in ["own/one.xsd", "own/two.xsd"] {
            fs::write(dir.path().join(file), integers("")).unwrap();
        }
        fs::write(dir.path().join("h/g/one.xsd"), "<no-schema/>").unwrap();
        let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
        let schemas = schemas.with_files(by_catalog(catalog.clone()));
        assert_eq!(schemas.reload()[0].to_string(), "a: loaded");
        assert!(is_valid(&schemas, "a", &p("1")) && !is_valid(&schemas, "a", &p("x")));
    }
}

#[test]
fn a_name_may_have_any_letters() {
    let text = integers("");
    for (location, file) in [
        ("d/my types.xsd", "d/my types.xsd"),
        ("d/my%20types.xsd", "d/my types.xsd"),
        ("d/100%25.xsd", "d/100%.xsd"),
        ("d/%2520.xsd", "d/%20.xsd"),
        ("d/a+b'c.xsd", "d/a+b'c.xsd"),
        ("d/\u{e4}%C3%B6.xsd", "d/\u{e4}\u{f6}.xsd"),
        (" ./d/../g.inc ", "g.inc"),
        ("http://h/a%20b/%C3%A4+&amp;.xsd", "h/a b/\u{e4}+&.xsd"),
    ] {
        knows_p(location, &[(file, &text)]);
    }
}

#[test]
fn what_is_not_there_is_missed_only_where_something_refers_to_it() {
    let unused = import("urn:never", "http://h/never.xsd");
    let (_dir, schemas, reports) = loaded(&[("a.xsd", &schema("a", &unused, ""))]);
    assert_eq!(reports, ["a: loaded"]);
    assert!(is_valid(&schemas, "a", "<a/>"));
    // Another import supplies the namespace, before or after.
    let both = [import("urn:g", "none.xsd"), import("urn:g", "d/g.xsd")];
    for links in [
        both.concat(),
        both.iter().rev().map(String::as_str).collect(),
    ] {
        let main = schema("a", &links, P);
        let (_dir, schemas, reports) = loaded(&[("a.xsd", &main), ("d/g.xsd", &integers(""))]);
        assert_eq!(reports, ["a: loaded"]);
        assert!(is_valid(&schemas, "a", &p("1")) && !is_valid(&schemas, "a", &p("x")));
    }
    let missing = |links: &str| refused(&[("a.xsd", &schema("a", links, P))]);
    let place = "a: refused: a.xsd:1:115: ";
    let of = "what this refers to in namespace urn:g is not there: ";
    assert_eq!(
        missing(&import("urn:g", "http://h/g/g%20.xsd")),
        format!("{place}{of}looked for \"http://h/g/g%20.xsd\" in schemas.catalog, DIR/h/g/g .xsd")
    );
    assert_eq!(
        missing(&import("urn:g", "d/g.xsd")),
        format!("{place}{of}looked for DIR/d/g.xsd")
    );
    assert_eq!(
        missing("<xs:import namespace='urn:g'/>"),
        format!("{place}{of}it has no schemaLocation")
    );
    assert_eq!(
        missing("<xs:include schemaLocation='http://h/g.xsd'/>"),
        format!(
            "{place}it is not there: looked for \"http://h/g.xsd\" in schemas.catalog, DIR/h/g.xsd"
        )
    );
    // A directory is no schema, and neither is what lies below a file.
    let main = schema("a", &import("urn:g", "http://h/g/"), P);
    assert!(refused(&[("a.xsd", &main), ("h/g/g.xsd", "")]).ends_with("DIR/h/g"));
    let main = schema("a", &import("urn:g", "b.inc/c.xsd"), P);
    assert!(refused(&[("a.xsd", &main), ("b.inc", "")]).ends_with("DIR/b.inc/c.xsd"));
}

#[test]
fn nothing_outside_of_the_directory_is_read() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("g.xsd"), integers("")).unwrap();
    let path = outside.path().join("g.xsd").display().to_string();
    let up = format!("{}{path}", "../".repeat(20));
    for location in [
        &path,
        &up,
        &format!("file://{path}"),
        &format!("http://..{path}"),
    ] {
        for encoded in [location.clone(), location.replace("..", "%2e%2E")] {
            let said = refused(&[("a.xsd", &schema("a", &import("urn:g", &encoded), P))]);
            assert!(said.contains(" is not there: "), "{said}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("a.xsd"),
        schema("a", &import("urn:g", "in/g.xsd"), P),
    )
    .unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("in")).unwrap();
    let schemas = Schemas::open(dir.path(), Box::new(XsdSchema));
    assert_eq!(
        schemas.reload()[0].to_string(),
        "a: refused: in/g.xsd: a symbolic link leaves the directory"
    );
}

#[test]
fn the_schemas_that_everyone_imports_come_with_the_binary() {
    let attributes = "<xs:attribute ref='xml:lang'/><xs:attribute ref='xlink:href'/>";
    let document = |lang: &str| {
        format!("<a xml:lang='{lang}' xmlns:x='http://www.w3.org/1999/xlink' x:href='b'/>")
    };
    let xml = "http://www.w3.org/XML/1998/namespace";
    let xlink = "http://www.w3.org/1999/xlink";
    for (of_xml, of_xlink) in [
        (
            format!("<xs:import namespace='{xml}'/>"),
            format!("<xs:import namespace='{xlink}'/>"),
        ),
        (
            import(xml, "http://www.w3.org/2009/01/xml.xsd"),
            import(xlink, "http://www.w3.org/1999/xlink.xsd"),
        ),
        (import(xml, "xml.xsd"), import(xlink, "../xlink/xlink.xsd")),
    ] {
        let main = schema("a", &format!("{of_xml}{of_xlink}"), attributes);
        let (_dir, schemas, reports) = loaded(&[("a.xsd", &main)]);
        assert_eq!(reports, ["a: loaded"], "{of_xml}");
        assert!(is_valid(&schemas, "a", &document("de")));
        assert!(!is_valid(&schemas, "a", &document("-")));
    }
    // A file of the operator's own is used instead, wherever it is found, and for what is built in, too.
    let own = format!(
        "{HEAD} targetNamespace='{xml}'><xs:attribute name='lang' type='xs:int'/>\
         <xs:attribute name='base' type='xs:int'/></xs:schema>"
    );
    for (location, file) in [
        ("d/own.xsd", "d/own.xsd"),
        ("none.xsd", "www.w3.org/2001/xml.xsd"),
    ] {
        let links = format!("{}{}", import(xml, location), import(xlink, "none.xsd"));
        let main = schema("a", &links, attributes);
        let (_dir, schemas, reports) = loaded(&[("a.xsd", &main), (file, &own)]);
        assert_eq!(reports, ["a: loaded"], "{location}");
        assert!(!is_valid(&schemas, "a", &document("de")));
        assert!(is_valid(&schemas, "a", &document("7")));
    }
    let dsig = "http://www.w3.org/2000/09/xmldsig#";
    let main = schema(
        "a",
        &import(
            dsig,
            "http://www.w3.org/TR/2002/REC-xmldsig-core-20020212/xmldsig-core-schema.xsd",
        ),
        &format!("<xs:sequence><xs:element ref='d:KeyName' xmlns:d='{dsig}'/></xs:sequence>"),
    );
    let (_dir, schemas, reports) = loaded(&[("a.xsd", &main)]);
    assert_eq!(reports, ["a: loaded"]);
    assert!(is_valid(
        &schemas,
        "a",
        &format!("<a><KeyName xmlns='{dsig}'>k</KeyName></a>")
    ));
    assert!(!is_valid(
        &schemas,
        "a",
        &format!("<a><KeyValue xmlns='{dsig}'>k</KeyValue></a>")
    ));
}

/// XSD 1.0 Part 1, 3.2.7 and 3.14.7: every schema has them.
#[test]
fn the_namespaces_of_xsd_itself_need_no_file() {
    let xsi = "http://www.w3.org/2001/XMLSchema-instance";
    for link in [
        format!("<xs:import namespace='{xsi}'/>"),
        import(xsi, "http://www.w3.org/2001/XMLSchema-instance.xsd"),
        import(
            "http://www.w3.org/2001/XMLSchema",
            "http://www.w3.org/2001/XMLSchema.xsd",
        ),
    ] {
        let content = "<xs:attribute name='n' type='xs:int'/>";
        let (_dir, schemas, reports) = loaded(&[("a.xsd", &schema("a", &link, content))]);
        assert_eq!(reports, ["a: loaded"], "{link}");
        assert!(is_valid(&schemas, "a", "<a n='1'/>"));
        assert!(!is_valid(&schemas, "a", "<a n='x'/>"));
    }
}

#[test]
fn a_schema_may_have_many_files_but_not_any_number() {
    let with = |n_parts: usize| {
        let link = |n: usize| format!("<xs:include schemaLocation='q{n}.xsd'/>");
        let links: String = (0..n_parts).map(link).collect();
        let mut files = vec![("d/g.xsd".to_owned(), integers(&links))];
        let empty = format!("{HEAD} targetNamespace='urn:g'/>");
        files.extend((0..n_parts).map(|n| (format!("d/q{n}.xsd"), empty.clone())));
        files.push((
            "a.xsd".to_owned(),
            schema("a", &import("urn:g", "d/g.xsd"), P),
        ));
        files
    };
    let (few, many) = (with(300), with(4095));
    let few: Vec<_> = few
        .iter()
        .map(|(file, text)| (file.as_str(), text.as_str()))
        .collect();
    let (_dir, schemas, reports) = loaded(&few);
    assert_eq!(reports, ["a: loaded"]);
    assert!(is_valid(&schemas, "a", &p("1")) && !is_valid(&schemas, "a", &p("x")));
    let many: Vec<_> = many
        .iter()
        .map(|(file, text)| (file.as_str(), text.as_str()))
        .collect();
    assert!(refused(&many).contains("it consists of more than 4096 files"));
}

#[test]
fn a_mere_part_is_no_schema_of_its_own_unless_it_is_used() {
    let part = "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'><xs:element name='b' type='Here'/></xs:schema>";
    let include = "<xs:include schemaLocation='part.xsd'/>";
    let here = "<xs:simpleType name='Here'><xs:restriction base='xs:int'/></xs:simpleType>";
    let main = format!("{HEAD}>{include}<xs:include schemaLocation='d/up.xsd'/>{here}</xs:schema>");
    let up = format!("{HEAD}><xs:include schemaLocation='../odd%20name.xsd'/></xs:schema>");
    let odd = format!("{HEAD}/>");
    let files = [
        ("a.xsd", main.as_str()),
        ("part.xsd", part),
        ("d/up.xsd", &up),
        ("odd name.xsd", &odd),
        ("d/no-schema.xsd", "<x>"),
    ];
    let (dir, schemas, reports) = loaded(&files);
    assert_eq!(reports, ["a: loaded"]);
    assert!(is_valid(&schemas, "a", "<b>1</b>") && !schemas.is_in_force("part"));
    // A part that has a mistake is reported of the schema, and once.
    fs::write(dir.path().join("part.xsd"), "<x").unwrap();
    let reports = schemas.reload();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(
        reports[0].to_string().contains("in force: part.xsd:1:1: "),
        "{reports:?}"
    );
    // Used by an interface, it is a schema, and what includes it is one, too.
    fs::write(dir.path().join("part.xsd"), part.replace("Here", "xs:int")).unwrap();
    let used = Schemas::open(dir.path(), Box::new(XsdSchema)).with_files(SchemaFiles {
        used: ["part".to_owned()].into(),
        ..SchemaFiles::default()
    });
    let reports: Vec<_> = used.reload().iter().map(ToString::to_string).collect();
    assert_eq!(reports, ["a: loaded", "part: loaded"]);
    // What becomes a part is in force no more.
    fs::write(dir.path().join("b.xsd"), part.replace("Here", "xs:int")).unwrap();
    schemas.reload();
    assert!(schemas.is_in_force("b"));
    fs::write(
        dir.path().join("a.xsd"),
        format!("{HEAD}>{}</xs:schema>", include.replace("part", "b")),
    )
    .unwrap();
    schemas.reload();
    assert!(schemas.is_in_force("a") && schemas.is_in_force("part") && !schemas.is_in_force("b"));
}

#[test]
fn it_is_told_where_each_file_was_found_and_what_was_assumed() {
    let catalog = catalog(&[("http://h/c.xsd", "c.xsd"), ("urn:n", "n.xsd")]);
    let empty = |namespace: &str| format!("{HEAD} targetNamespace='{namespace}'/>");
    let links = [
        import("urn:b", "d/b.xsd"),
        import("urn:b", "gone.xsd"),
        import("urn:c", "http://h/c.xsd"),
        import("urn:m", "http://h/m.xsd"),
        "<xs:import namespace='urn:n'/>".to_owned(),
        import("http://www.w3.org/XML/1998/namespace", "http://h/xml.xsd"),
        import("urn:never", "never.xsd"),
    ];
    let main = schema(
        "a",
        &links.concat(),
        "<xs:attribute ref='n:n' xmlns:n='urn:n'/>",
    );
    let of_n = format!(
        "{HEAD} targetNamespace='urn:n'><xs:attribute name='n' type='xs:int'/></xs:schema>"
    );
    let files = [
        ("a.xsd", main),
        ("d/b.xsd", empty("urn:b")),
        ("c.xsd", empty("urn:c")),
        ("h/m.xsd", empty("urn:m")),
        ("n.xsd", of_n),
    ];
    let files = files.each_ref().map(|(file, text)| (*file, text.as_str()));
    let (_dir, schemas, reports) = loaded(&files);
    assert!(
        reports[0].contains("in namespace urn:n is not there: it has no schemaLocation"),
        "{reports:?}"
    );
    let schemas = schemas.with_files(by_catalog(catalog));
    assert_eq!(schemas.reload()[0].to_string(), "a: loaded");
    assert!(is_valid(&schemas, "a", "<a n:n='1' xmlns:n='urn:n'/>"));
    assert!(!is_valid(&schemas, "a", "<a n:n='x' xmlns:n='urn:n'/>"));
    assert_eq!(
        schemas.account("a").unwrap(),
        "built in www.w3.org/2001/xml.xsd; by schemas.catalog c.xsd (http://h/c.xsd), n.xsd (urn:n); \
         mirrored h/m.xsd (http://h/m.xsd); with d/b.xsd; \
         assumed: gone.xsd is not there and namespace urn:b taken from d/b.xsd; \
         assumed: nothing in a.xsd refers to namespace urn:never, which is not there; \
         libxml2 and Xerces refuse it: a.xsd:1: an import of namespace urn:n without a schemaLocation"
    );
    assert_eq!(schemas.account("b"), None);
}
