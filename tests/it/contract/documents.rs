//! The sample documents, each with the place of its mistake as their README has it.

use crate::harness::{Daemon, document};
use std::{collections::BTreeMap, fs};

/// What a validator that reads a stream learns only further down.
const LATER: [&str; 4] = [
    "items_in/list-empty",
    "orders_out/header-missing",
    "orders_in/content-missing",
    "orders_in/text-stray",
];

/// By name, such as `items_in/list-empty`.
fn files(ending: &str) -> Vec<String> {
    let mut names = Vec::new();
    for dir in fs::read_dir(document("")).unwrap() {
        let dir = dir.unwrap();
        if !dir.file_type().unwrap().is_dir() {
            continue;
        }
        for file in fs::read_dir(dir.path()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            if let Some(name) = file.strip_suffix(ending) {
                names.push(format!("{}/{name}", dir.file_name().to_str().unwrap()));
            }
        }
    }
    names.sort();
    names
}

/// The lines of the README's table of invalid documents.
fn lines() -> BTreeMap<String, u32> {
    let readme = fs::read_to_string(document("README.md")).unwrap();
    let mut lines = BTreeMap::new();
    for row in readme.lines() {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        if let [name, .., line] = cells[..]
            && cells.len() == 3
            && let Ok(line) = line.parse()
        {
            lines.insert(name.trim_matches('`').to_owned(), line);
        }
    }
    lines
}

/// Interfaces that take the documents of the `out` interfaces, by name only.
fn start() -> Daemon {
    Daemon::start_with(|text| {
        let for_name = |name: &str| {
            format!("\n[interfaces.{name}_check]\ndirection = \"in\"\nschema = \"{name}\"\n")
        };
        text + &for_name("orders_out") + &for_name("persons_out")
    })
}

fn query(name: &str) -> String {
    match name.split('/').next().unwrap() {
        out if out.ends_with("_out") => format!("?Interfacename={out}_check"),
        _ => String::new(),
    }
}

#[test]
fn every_valid_document_goes_to_its_interface() {
    let daemon = start();
    let names = files(".valid.xml");
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        let answer = daemon.upload(&document(&format!("{name}.valid.xml")), &query(&name));
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        let interface = name.split('/').next().unwrap();
        let place = daemon.place(&answer.job());
        let interface = match interface.strip_suffix("_out") {
            Some(_) => format!("{interface}_check"),
            None => interface.to_owned(),
        };
        assert_eq!(place.rsplit('/').next(), Some(&*interface), "{name}");
    }
}

#[test]
fn documents_for_out_interfaces_are_not_taken() {
    let daemon = Daemon::start();
    for (name, out) in [
        ("orders_out/orders", "orders_out"),
        ("persons_out/persons", "persons_out"),
    ] {
        let path = document(&format!("{name}.valid.xml"));
        let explicit = daemon.upload(&path, &format!("?Interfacename={out}"));
        assert_eq!(explicit.status, 400, "{}", explicit.text());
        // By their root they are taken for the `in` interface's, whose schema refuses them.
        let recognised = daemon.upload(&path, "");
        assert_eq!(recognised.status, 400, "{}", recognised.text());
        let job = recognised.header("x-job-name").unwrap();
        assert_eq!(daemon.place(job), "joberrors");
    }
    assert!(daemon.files("queue").is_empty());
}

#[test]
fn every_invalid_document_is_refused_at_its_line() {
    let daemon = start();
    let lines = lines();
    let names = files(".invalid.xml");
    assert!(names.len() >= 39 && names.len() == lines.len(), "{names:?}");
    let mut wrong = Vec::new();
    for name in names {
        let answer = daemon.upload(&document(&format!("{name}.invalid.xml")), &query(&name));
        assert_eq!(answer.status, 400, "{name}: {}", answer.text());
        let text = answer.text();
        let finding = text.lines().nth(1).unwrap_or_default();
        let line: u32 = finding.split(':').next().unwrap().parse().unwrap();
        let expected = lines[&name];
        let later = LATER.contains(&name.as_str()) && line >= expected;
        if line != expected && !later {
            wrong.push(format!("{name}: line {expected} expected, but {finding}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_hostile_document_is_refused_for_its_doctype() {
    let daemon = Daemon::start();
    let names = files(".xml");
    let hostile: Vec<_> = names
        .iter()
        .filter(|name| name.contains("/hostile-"))
        .collect();
    assert_eq!(hostile.len(), 3);
    for name in hostile {
        let answer = daemon.upload(&document(&format!("{name}.xml")), "");
        assert_eq!(answer.status, 400);
        let text = answer.text();
        assert!(
            text.lines().nth(1).unwrap().starts_with("2:"),
            "{name}: {text}"
        );
        assert_eq!(text.lines().count(), 2, "{name}: {text}");
        assert!(
            text.contains("document type declarations"),
            "{name}: {text}"
        );
    }
}
