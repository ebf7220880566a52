//! What a mistake in `spoolgate.toml` is called: its line, the whole key, what stands there, and
//! what may stand there, in words for people. Pure.
//!
//! Serde says what it expected in words of Rust. Here they are translated, with the key and the
//! value looked up in the text by the place that serde names; words that are not known stay.

use super::files::{Files, Mistake, Unread};
use crate::util::nearest;
use std::{borrow::Cow, ops::Range};
use toml::de::{DeTable, DeValue};

/// How much of a wrong value is shown.
const VALUE_CHARS_MAX: usize = 60;

/// What the parser makes of a date where a table is expected: a table with this key.
const DATE_KEY: &str = "$__toml_private_datetime";

const TABLE: &str = "a table, such as { KEY = VALUE }";

/// A key of the file, or an entry of a list.
struct Entry<'a> {
    /// As people write it, with dots; `entry 2 of server.worker_tags`.
    name: String,
    key: Range<usize>,
    span: Range<usize>,
    value: &'a DeValue<'a>,
}

/// What a TOML error is called, in one or two lines.
pub(super) fn explain(error: &toml::de::Error, files: &Files) -> Mistake {
    let table = files.table().unwrap_or_default();
    let entries = entries(&table);
    let message = error.message().trim();
    let span = error.span();
    let said = translate(message, &entries, &span.clone().unwrap_or_default(), files);
    Mistake {
        at: span.map(|span| span.start),
        text: said.unwrap_or_else(|| message.to_owned()),
    }
}

/// Finds the place of a message that begins with a key of the file, or with a key that is missing in one of
/// its tables.
pub(super) fn locate(message: &str, files: &Files) -> Mistake {
    let table = files.table().unwrap_or_default();
    let begins = |name: &str| {
        let rest = message.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let entries = entries(&table);
    let named = entries.iter().filter(|entry| begins(&entry.name));
    let named = named.max_by_key(|entry| entry.name.len());
    let text = match named {
        Some(entry) if message.contains(DATE_KEY) => no_table(entry),
        Some(_) | None => message.to_owned(),
    };
    Mistake {
        at: named.map(|entry| entry.key.start),
        text,
    }
}

fn no_table(entry: &Entry<'_>) -> String {
    format!(
        "{} is {}; it must be {TABLE}",
        entry.name,
        given(entry.value)
    )
}

/// All keys of a file, and the entries of its lists.
fn entries<'a>(table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let mut all = Vec::new();
    walk(table, "", &mut all);
    all
}

fn walk<'a>(table: &'a DeTable<'a>, prefix: &str, all: &mut Vec<Entry<'a>>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        all.push(Entry {
            name: name.clone(),
            key: key.span(),
            span: value.span(),
            value: value.get_ref(),
        });
        walk_into(value.get_ref(), &name, all);
    }
}

/// What is in a value of that name. The keys of a list of tables are called as those of one table.
fn walk_into<'a>(value: &'a DeValue<'a>, name: &str, all: &mut Vec<Entry<'a>>) {
    if let Some(table) = value.as_table() {
        walk(table, &format!("{name}."), all);
    }
    for (n, value) in value.as_array().into_iter().flatten().enumerate() {
        let entry = format!("entry {} of {name}", n + 1);
        all.push(Entry {
            name: entry.clone(),
            key: value.span(),
            span: value.span(),
            value: value.get_ref(),
        });
        let is_table = value.get_ref().is_table();
        walk_into(value.get_ref(), if is_table { name } else { &entry }, all);
    }
}

/// `None`: it has none of the forms that are known.
fn translate(
    message: &str,
    entries: &[Entry<'_>],
    span: &Range<usize>,
    files: &Files,
) -> Option<String> {
    if message.contains(DATE_KEY) {
        return Some(no_table(holder(entries, span)?));
    }
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let entry = entries.iter().find(|entry| entry.key == *span)?;
        return Some(unknown(&entry.name, rest));
    }
    let mut at = entries.iter().filter(|entry| entry.span == *span);
    if let Some(rest) = message.strip_prefix("missing field ") {
        let missing = rest.split('`').nth(1)?;
        // A table that spans several places is known by the last of its names that fits.
        let entry = at.next_back().or_else(|| holder(entries, span))?;
        return Some(format!("{}.{missing} is missing", entry.name));
    }
    let entry = at.next_back().or_else(|| table_of(entries, span))?;
    let must = must(message, entry, span, files)?;
    Some(format!("{} is {}; {must}", entry.name, given(entry.value)))
}

/// The innermost entry whose key or value has the place.
fn holder<'a, 'e>(entries: &'e [Entry<'a>], span: &Range<usize>) -> Option<&'e Entry<'a>> {
    let has = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
    let holders = (entries.iter()).filter(|entry| has(&entry.key) || has(&entry.span));
    holders.min_by_key(|entry| entry.span.len())
}

/// The table in which the key at that place stands.
fn table_of<'a, 'e>(entries: &'e [Entry<'a>], span: &Range<usize>) -> Option<&'e Entry<'a>> {
    let entry = entries.iter().find(|entry| entry.key == *span)?;
    let (table, _) = entry.name.rsplit_once('.')?;
    entries.iter().find(|entry| entry.name == table)
}

fn unknown(name: &str, rest: &str) -> String {
    let given = rest.split('`').nth(1).unwrap_or_default();
    let known: Vec<&str> = match rest.split_once("expected") {
        Some((_, expected)) => expected.split('`').skip(1).step_by(2).collect(),
        None => Vec::new(),
    };
    let place = match name.rsplit_once('.') {
        Some((table, _)) => format!(" in {table}"),
        None => String::new(),
    };
    match nearest(given, &known) {
        Some(near) => format!("{name} is not a key; did you mean `{near}`?"),
        None => format!("{name} is not a key; those{place} are {}", known.join(", ")),
    }
}

/// What may stand there.
fn must(message: &str, entry: &Entry<'_>, span: &Range<usize>, files: &Files) -> Option<String> {
    if message.starts_with("unknown variant") {
        let (_, expected) = message.split_once("expected ")?;
        let words = expected.split('`').skip(1).step_by(2);
        let words: Vec<String> = words.map(|word| format!("{word:?}")).collect();
        return Some(format!("use {}", words.join(" or ")));
    }
    if message == "wanted string or table" {
        // One of several words; serde tells which when it gets another text.
        let other = files.with(span, "\"\"");
        let Err(Unread::Unfit(error)) = other.parse::<super::ConfigFile>() else {
            return None;
        };
        let words = error.message();
        let is_word = words.starts_with("unknown variant");
        return is_word.then(|| must(words, entry, span, files)).flatten();
    }
    if message.contains("socket address") {
        return Some(address(entry));
    }
    let (_, expected) = message.rsplit_once("expected ")?;
    let kind: Cow<'_, str> = match expected {
        "a boolean" => "true or false".into(),
        "a map" => TABLE.into(),
        "a sequence" => "a list, such as [\"A\", \"B\"]".into(),
        "a string" | "path string" => "a text in quotes".into(),
        "f32" | "f64" => "a number, such as 1.5".into(),
        "u64" | "usize" | "u128" => "a whole number, 0 or more".into(),
        "u32" => format!("a whole number, 0 to {}", u32::MAX).into(),
        "u16" => format!("a whole number, 0 to {}", u16::MAX).into(),
        "u8" => format!("a whole number, 0 to {}", u8::MAX).into(),
        "i8" | "i16" | "i32" | "i64" | "i128" => "a whole number".into(),
        table if table.starts_with("struct ") => TABLE.into(),
        other => other.to_owned().into(),
    };
    Some(format!("it must be {kind}"))
}

/// What an address must be, with the one that was probably meant.
fn address(entry: &Entry<'_>) -> String {
    let port = match entry.name.rsplit('.').next() {
        Some("ops_listen") => 9090,
        Some("plain_listen") => 8080,
        Some(_) | None => 8443,
    };
    let given = entry.value.as_str().unwrap_or_default();
    let (lacks, ip) = match given.trim_matches(['[', ']']).parse() {
        Ok(ip) => ("its port is missing, ", ip),
        Err(_) => ("", std::net::Ipv4Addr::LOCALHOST.into()),
    };
    let example = std::net::SocketAddr::new(ip, port);
    format!("{lacks}it must be an IP address and a port, such as \"{example}\"")
}

/// What stands there.
fn given(value: &DeValue<'_>) -> String {
    let text = match value {
        DeValue::Array(_) => return "a list".into(),
        DeValue::Table(_) => return "a table".into(),
        DeValue::Boolean(value) => return value.to_string(),
        DeValue::Datetime(value) => return format!("the date {value}"),
        DeValue::Float(value) => value.as_str().to_owned(),
        DeValue::Integer(value) => value.to_string(),
        DeValue::String(value) => format!("{value:?}"),
    };
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use std::path::Path;

    fn said(text: &str) -> String {
        let path = Path::new("/etc/spoolgate/spoolgate.toml");
        Config::parse(text, path).map(drop).unwrap_err()
    }

    #[test]
    fn a_mistake_is_told_with_its_line_its_key_and_what_may_stand_there() {
        let a = "[interfaces.a]\ndirection = \"in\"\n";
        for (text, expected) in [
            (
                "[server]\nlisten = \"127.0.0.1\"",
                "line 2: server.listen is \"127.0.0.1\"; its port is missing, it must be an IP \
                 address and a port, such as \"127.0.0.1:8443\"",
            ),
            (
                "[server]\n\nops_listen = \"[::1]\"",
                "line 3: server.ops_listen is \"[::1]\"; its port is missing, it must be an IP \
                 address and a port, such as \"[::1]:9090\"",
            ),
            (
                "server.plain_listen = 8080",
                "line 1: server.plain_listen is 8080; it must be an IP address and a port, such \
                 as \"127.0.0.1:8080\"",
            ),
            (
                "[server]\nclock_changes = \"never\"",
                "line 2: server.clock_changes is \"never\"; use \"once\" or \"wall\"",
            ),
            (
                "[server]\nclock_changes = 3",
                "line 2: server.clock_changes is 3; use \"once\" or \"wall\"",
            ),
            (
                "[server]\nworker_tags = [\"a\", 5]",
                "line 2: entry 2 of server.worker_tags is 5; it must be a text in quotes",
            ),
            (
                &format!("{a}retry = {{ factor = \"x\" }}"),
                "line 3: interfaces.a.retry.factor is \"x\"; it must be a number, such as 1.5",
            ),
            (
                &format!("{a}retry = {{ attempts = -1 }}"),
                "line 3: interfaces.a.retry.attempts is -1; it must be a whole number, \
                 0 to 4294967295",
            ),
            (
                &format!("{a}ordered = \"yes\""),
                "line 3: interfaces.a.ordered is \"yes\"; it must be true or false",
            ),
            (
                &format!("{a}retry = 3"),
                "line 3: interfaces.a.retry is 3; it must be a table, such as { KEY = VALUE }",
            ),
            (
                "\n[interfaces.a]\nroot = \"A\"",
                "line 2: interfaces.a.direction is missing",
            ),
            (
                "[schemas.a]\nxsd = \"1.2\"",
                "line 2: schemas.a.xsd is \"1.2\"; use \"1.0\" or \"1.1\"",
            ),
            (
                "[schemas.a]\nxds = \"1.1\"",
                "line 2: schemas.a.xds is not a key; those in schemas.a are xsd",
            ),
            (
                "\n[schemas]\na = \"1.1\"",
                "line 3: schemas.a is \"1.1\"; it must be a table, such as { KEY = VALUE }",
            ),
            (
                "[limts]\n",
                "line 1: limts is not a key; did you mean `limits`?",
            ),
            (
                &format!("{a}zzz = 1"),
                "line 3: interfaces.a.zzz is not a key; those in interfaces.a are direction",
            ),
            (
                &format!("{a}max_bytes = 0"),
                "line 3: interfaces.a.max_bytes is 0",
            ),
            (
                &format!("{a}\n[limits]\nuploads_max = 0"),
                "line 5: limits.uploads_max is 0",
            ),
            (
                &format!("{a}[tenants.default]\nhosts = [\"h\"]"),
                "line 3: tenants.default needs another name",
            ),
            (
                &format!("{a}[interfaces.b]\ndirection = \"in\"\naliases = [\"a\"]"),
                "line 5: interfaces.b.aliases: a is taken",
            ),
        ] {
            let error = said(text);
            assert!(error.starts_with(expected), "{text}\n{error}\n{expected}");
        }
    }

    /// An entry of a list of tables with all that it needs but this key; `None`: the key is of no such list.
    fn entry_without(key: &str, before: &str) -> Option<String> {
        let (list, key) = key.split_once('.')?;
        let keys = match list {
            "events" => [
                ("name", "name = \"a\"\n"),
                ("on", "on = [\"job.done\"]\n"),
                ("url", "url = \"https://h\"\n"),
            ],
            "expect" => [
                ("interface", "interface = \"a\"\n"),
                ("submitter", "submitter = \"a\"\n"),
                ("by", "by = \"06:00\"\n"),
            ],
            _ => return None,
        };
        let is_other = |name: &str| name != key && (name, key) != ("url", "command");
        let others = keys.iter().filter(|(name, _)| is_other(name));
        let others: String = others.map(|(_, line)| *line).collect();
        Some(format!("{before}[[{list}]]\n{others}"))
    }

    /// Whatever stands in place of a value, the message names the line and the whole key, and no
    /// type of Rust.
    #[test]
    fn no_key_answers_in_the_words_of_the_parser() {
        let interface = "interfaces.a.direction = \"in\"\n";
        let documented = include_str!("../../docs/configuration.md").lines();
        let rows = documented.skip_while(|line| *line != "## The keys");
        let rows = rows.skip(1).take_while(|line| !line.starts_with("## "));
        let keys = rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut tried = 0;
        for key in keys.filter(|key| key.contains('.')) {
            let key = key.replace("NAME", "a");
            let entry = entry_without(&key, interface);
            let name = match &entry {
                Some(_) => key.split_once('.').map_or("", |(_, name)| name),
                None => &key,
            };
            let others = match key.as_str() {
                _ if entry.is_some() => entry.as_deref().unwrap_or_default(),
                "interfaces.a.direction" => "",
                key if key.starts_with("tenants.") && key != "tenants.a.hosts" => {
                    "tenants.a.hosts = [\"h\"]\n"
                }
                _ => interface,
            };
            for value in [
                "-1",
                "1.5",
                "true",
                "\"\\u0001 ?\"",
                "[[1]]",
                "{ zzz = 1 }",
                "1979-05-27",
                "99999999999999999999",
            ] {
                let text = format!("{others}\n{name} = {value}");
                let path = Path::new("/etc/spoolgate/spoolgate.toml");
                let Err(error) = Config::parse(&text, path) else {
                    continue;
                };
                tried += 1;
                let line = text.lines().count();
                assert!(
                    error.starts_with(&format!("line {line}: ")),
                    "{text}\n{error}"
                );
                let alone = error.contains("interfaces.a.processor must have command");
                assert!(error.contains(&key) || alone, "{text}\n{error}");
                for word in [
                    "f64",
                    "u32",
                    "u64",
                    "usize",
                    "i32",
                    "i64",
                    "sequence",
                    "map",
                    "struct",
                    "variant",
                    "invalid type",
                    "invalid value",
                    "syntax",
                    "boolean",
                    "wanted",
                    "datetime",
                    "enum",
                    "string",
                ] {
                    assert!(!error.contains(word), "{text}\n{error}");
                }
            }
        }
        assert!(tried > 200, "only {tried} mistakes were found");
    }
}
