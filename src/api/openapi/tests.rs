//! The description of the dialects' methods is true: each method of it is a dialect's, each request
//! of the examples is one of its methods, and each answer of the examples is one of its answers.

use super::{DIALECTS, SHARED, description};
use crate::api::{Intake, golden, of};
use serde_json::Value;
use std::{fs, path::Path, sync::LazyLock};

static DESCRIPTION: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(description()).unwrap());
/// Statuses that a dialect has an answer with, and that no method of it leads to.
const NEVER: [(&str, &str); 4] = [
    ("dstore", "404"),
    ("dstore", "409"),
    ("ehealth", "409"),
    ("robusta", "409"),
];
const METHODS: [&str; 5] = ["get", "head", "post", "patch", "delete"];

/// What a `$ref` stands for; anything else is itself.
fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let found = DESCRIPTION.pointer(reference.trim_start_matches('#'));
            found.unwrap_or_else(|| panic!("{reference} is nothing"))
        }
        None => value,
    }
}

/// Path, method and operation.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DESCRIPTION["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

/// Why a value is not as a schema says; knows the words that the description uses, and no others.
fn mismatch(schema: &Value, value: &Value) -> Option<String> {
    let schema = resolved(schema);
    for (word, says) in schema.as_object().unwrap() {
        let wrong = match word.as_str() {
            "type" => !is_of(says, value),
            "enum" => !says.as_array().unwrap().contains(value),
            "anyOf" => (says.as_array().unwrap().iter()).all(|any| mismatch(any, value).is_some()),
            "items" => {
                let mut items = value.as_array().into_iter().flatten();
                items.any(|item| mismatch(says, item).is_some())
            }
            "required" => {
                let mut names = says.as_array().unwrap().iter();
                value.is_object() && names.any(|name| value.get(name.as_str().unwrap()).is_none())
            }
            "properties" => {
                let mut named = says.as_object().unwrap().iter();
                named.any(|(name, schema)| {
                    value
                        .get(name)
                        .is_some_and(|v| mismatch(schema, v).is_some())
                })
            }
            "additionalProperties" => others(schema, value).any(|other| match says.as_bool() {
                Some(allowed) => !allowed,
                None => mismatch(says, other).is_some(),
            }),
            "minimum" => value.as_f64().is_some_and(|n| n < says.as_f64().unwrap()),
            "maximum" => value.as_f64().is_some_and(|n| n > says.as_f64().unwrap()),
            "minLength" => {
                let length = value.as_str().map(|text| text.chars().count() as u64);
                length.is_some_and(|length| length < says.as_u64().unwrap())
            }
            "pattern" if says == "^[0-9a-fA-F]{24}$" => {
                let text = value.as_str().unwrap_or_default();
                text.len() != 24 || !text.bytes().all(|b| b.is_ascii_hexdigit())
            }
            "format" | "description" | "patternProperties" | "contentEncoding" => false,
            other => panic!("the test does not know the word {other}"),
        };
        if wrong {
            return Some(format!("{value} is not as {word} {says} says"));
        }
    }
    None
}

fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("there is no type {other}"),
    };
    types
        .as_array()
        .map_or_else(|| is(types), |types| types.iter().any(is))
}

/// The members that the schema does not name.
fn others<'v>(schema: &'v Value, value: &'v Value) -> impl Iterator<Item = &'v Value> {
    let prefixed = schema["patternProperties"].is_object();
    let members = value.as_object().into_iter().flatten();
    members
        .filter(move |(name, _)| schema["properties"].get(name).is_none())
        .filter(move |(name, _)| !(prefixed && name.starts_with("__out_")))
        .map(|(_, value)| value)
}

/// Asserts that an answer, as the examples write it, is one of the dialect's.
pub(in crate::api) fn assert_described(dialect: &str, answer: &str) {
    let (head, body) = answer.split_once("\n\n").unwrap();
    let (status, headers) = head.split_once('\n').unwrap();
    let status = status.split(' ').next().unwrap();
    if NEVER.contains(&(dialect, status)) {
        return;
    }
    let kind = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-type: "));
    let kind = kind.unwrap().split(';').next().unwrap();
    let mut why = vec![format!("{dialect} has no answer {status} of {kind}")];
    for (path, method, operation) in operations() {
        let response = resolved(&operation["responses"][status]);
        if operation["tags"][0] != dialect || response.is_null() {
            continue;
        }
        let content = &response["content"];
        let mismatch = match (&content[kind], &content["*/*"]) {
            (Value::Null, Value::Null) => continue,
            (Value::Null, _) => return,
            (described, _) if matches!(kind, "application/json" | "application/problem+json") => {
                mismatch(&described["schema"], &serde_json::from_str(body).unwrap())
            }
            (_, _) => return,
        };
        match mismatch {
            None => return,
            Some(mismatch) => why.push(format!("{method} {path}: {mismatch}")),
        }
    }
    panic!("{answer}\nis not described:\n{}", why.join("\n"));
}

/// A parameter's example as text, percent-encoded.
fn example(parameter: &Value) -> String {
    let given = &parameter["example"];
    let text = given
        .as_str()
        .map_or_else(|| given.to_string(), str::to_owned);
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The request of an operation, made of the examples in it.
fn request_of(path: &str, method: &str, operation: &Value) -> String {
    let mut uri = path.to_owned();
    let mut query = vec![];
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    for parameter in parameters.map(resolved) {
        let name = parameter["name"].as_str().unwrap();
        match (parameter["in"].as_str().unwrap(), &parameter["example"]) {
            ("path", _) => uri = uri.replace(&format!("{{{name}}}"), &example(parameter)),
            ("query", given) if !given.is_null() => {
                query.push(format!("{name}={}", example(parameter)));
            }
            _ => {}
        }
    }
    let content = operation["requestBody"]["content"].as_object();
    let (kind, body) = match content.into_iter().flatten().next() {
        Some((kind, described)) if kind == "application/x-www-form-urlencoded" => {
            let members = described["example"].as_object().into_iter().flatten();
            let pairs = members.map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
            let mut form = form_urlencoded::Serializer::new(String::new());
            (kind.as_str(), form.extend_pairs(pairs).finish())
        }
        Some((kind, described)) => (kind.as_str(), described["example"].to_string()),
        None => ("*/*", String::new()),
    };
    let query = query.join("&");
    let method = method.to_uppercase();
    format!("{method} {uri}?{query}\nContent-Type: {kind}\n\n{body}")
}

/// The method and path of the description that a request is one of.
fn described(method: &str, path: &str) -> Option<(&'static str, &'static str)> {
    // Other spellings that the dialects accept.
    let path = path.to_lowercase().replace("//", "/");
    let path = path.strip_suffix('/').unwrap_or(&path);
    let bare = path.strip_prefix("/api").unwrap_or(path);
    let method = method.to_lowercase();
    let method = if method == "head" { "get" } else { &method };
    let fits = |template: &str, path: &str| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template
                .zip(path)
                .all(|(t, p)| t.starts_with('{') || t.to_lowercase() == p)
    };
    operations()
        .map(|(template, known, _)| (known, template))
        .find(|(known, template)| {
            *known == method && (fits(template, path) || fits(template, bare))
        })
}

/// Every member of these two levels below `paths` and `components`, as a pointer.
fn members(description: &Value) -> Vec<String> {
    let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let paths = object(&description["paths"]);
    let kinds = object(&description["components"]);
    let components = kinds.iter().flat_map(|(kind, named)| {
        let names = object(named).into_iter();
        names.map(move |(name, _)| format!("{kind}/{name}"))
    });
    components
        .chain(paths.into_iter().map(|(path, _)| path))
        .collect()
}

#[test]
fn nothing_is_described_twice() {
    let files = DIALECTS.iter().map(|dialect| dialect.openapi());
    let each = files.chain([SHARED]).flat_map(|text| {
        let one: Value = serde_json::from_str(text).unwrap();
        members(&one)
    });
    let mut each: Vec<String> = each.collect();
    let mut all = members(&DESCRIPTION);
    each.sort();
    all.sort();
    assert_eq!(each, all);
}

#[test]
fn every_method_is_a_dialects() {
    for (path, method, operation) in operations() {
        assert!(METHODS.contains(&method), "{method} {path}");
        let text = request_of(path, method, operation);
        let (head, body) = golden::request(&text);
        let dialect = of(head.uri.path()).unwrap_or_else(|| panic!("{path} is no one's"));
        assert_eq!(operation["tags"][0], dialect.name(), "{path}");
        let small = match dialect.intake(&head) {
            Intake::Small { .. } => body,
            Intake::Stream => vec![],
        };
        let parsed = dialect.parse(&head, &small);
        assert!(parsed.is_ok(), "{text}\n{parsed:?}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            let described = resolved(response)["description"].is_string();
            assert!(described, "{method} {path}: {status}");
        }
    }
}

#[test]
fn every_request_of_the_examples_is_a_method() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut n_requests = 0;
    for entry in walkdir::WalkDir::new(directory)
        .into_iter()
        .map(Result::unwrap)
    {
        if !entry.file_type().is_file() {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        for example in text.split("### ").skip(1) {
            let (_, content) = example.split_once('\n').unwrap();
            let Some((asked, _)) = content.split_once("\n=> ") else {
                continue;
            };
            let (head, body) = golden::request(asked.trim_end());
            let dialect = of(head.uri.path()).unwrap();
            let small = match dialect.intake(&head) {
                Intake::Small { .. } => body,
                Intake::Stream => vec![],
            };
            let parsed = dialect.parse(&head, &small);
            let (method, path) = (head.method.as_str(), head.uri.path());
            match (parsed, described(method, path)) {
                (Ok(_), Some(_)) => n_requests += 1,
                (Ok(command), None) => panic!("{method} {path} is not described: {command:?}"),
                (Err(_), _) => {}
            }
        }
    }
    assert!(n_requests > 50, "{n_requests}");
}
