//! The rules of the house, checked: who may import whom, how long a function may be, and that
//! the documents say what the code says.
//!
//! It reads the source as text, with comments and literals blanked, and knows as much of Rust as
//! it needs. The layer table stands in ARCHITECTURE.md, the tables of keys, commands and variables
//! in the pages of docs; all are read from there, so a change of one side alone fails here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

const FUNCTION_LINES_MAX: usize = 70;
const README_LINES_MAX: usize = 150;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files below `dir`, as paths from the repository's root, sorted.
fn files(dir: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(dir)).unwrap_or_else(|error| panic!("{dir}: {error}"));
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.expect("a directory that was opened can be read");
        let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn rust_files(dir: &str) -> Vec<String> {
    let mut all = files(dir);
    all.retain(|path| path.ends_with(".rs"));
    all
}

/// The documents: those of the top level, and the pages of `docs`.
fn documents() -> Vec<String> {
    let top = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
        "SECURITY.md",
    ];
    let mut pages = files("docs");
    pages.retain(|path| path.ends_with(".md"));
    top.map(str::to_owned).into_iter().chain(pages).collect()
}

/// A file of `src`: its module path, and its code without tests, comments and literals.
struct Source {
    path: String,
    module: Vec<String>,
    code: String,
}

impl Source {
    fn read(path: &str) -> Self {
        let text = read(path);
        let code = blank(&text);
        let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
        module.retain(|part| part != "mod" && part != "lib");
        let end = inline_tests(&code).unwrap_or(code.len());
        Self {
            path: path.to_owned(),
            module,
            code: code[..end].to_owned(),
        }
    }

    /// Everything that is compiled into the product.
    fn product() -> Vec<Self> {
        let all: Vec<Self> = rust_files("src").iter().map(|p| Self::read(p)).collect();
        let mut tests = BTreeSet::new();
        for source in &all {
            for name in test_modules(&source.code) {
                tests.insert([source.module.as_slice(), &[name]].concat());
            }
        }
        let is_test = |module: &[String]| tests.iter().any(|test| module.starts_with(test));
        all.into_iter().filter(|s| !is_test(&s.module)).collect()
    }
}

/// Where `#[cfg(test)] mod … {` begins; by house style nothing but tests follows.
fn inline_tests(code: &str) -> Option<usize> {
    code.match_indices("#[cfg(test)]").map(|m| m.0).find(|at| {
        let rest = code[at + "#[cfg(test)]".len()..].trim_start();
        let item = rest.split(['{', ';']).next().unwrap_or_default();
        item.starts_with("mod ") && rest[item.len()..].starts_with('{')
    })
}

/// Modules that are declared for tests only and live in files of their own.
fn test_modules(code: &str) -> Vec<String> {
    let marks = code.split("#[cfg(test)]").skip(1);
    marks
        .filter_map(|rest| rest.trim_start().strip_prefix("mod ")?.split_once(';'))
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| name.chars().all(is_word))
        .collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The code with the insides of comments, strings and characters as spaces; lines stay lines.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        }
        for c in &chars[at..end.max(at)] {
            code.push(if *c == '\n' { '\n' } else { ' ' });
        }
        at = end.max(at);
    }
    code
}

/// The end of the comment or literal that begins at `at`; `at` itself when none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let from = |n: usize| chars[(at + n).min(chars.len())..].iter();
    let starts = |text: &str| text.chars().eq(from(0).copied().take(text.len()));
    let until = |n: usize, end: &str| {
        let end: Vec<char> = end.chars().collect();
        let rest = &chars[(at + n).min(chars.len())..];
        let found = rest.windows(end.len()).position(|w| w == end);
        found.map_or(chars.len(), |p| at + n + p + end.len())
    };
    let in_word = at > 0 && is_word(chars[at - 1]);
    if starts("//") {
        return until(0, "\n").saturating_sub(1).max(at);
    }
    if starts("/*") {
        return until(2, "*/");
    }
    let prefix = from(0).take_while(|c| "brc".contains(**c)).count();
    if !in_word && prefix <= 2 && chars[at..at + prefix].contains(&'r') {
        let hashes = from(prefix).take_while(|c| **c == '#').count();
        if from(prefix + hashes).next() == Some(&'"') {
            let end = format!("\"{}", "#".repeat(hashes));
            return until(prefix + hashes + 1, &end);
        }
    }
    match chars[at] {
        '"' => closing(chars, at, '"'),
        // A lifetime has no closing quote after one character.
        '\'' if from(1).next() == Some(&'\\') || from(2).next() == Some(&'\'') => {
            closing(chars, at, '\'')
        }
        _ => at,
    }
}

fn closing(chars: &[char], at: usize, quote: char) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Every path that the code names: those of `use`, written out, and those in between.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = word(rest, "use") {
        inline_paths(&rest[..at], &mut found);
        let end = rest[at..].find(';').map_or(rest.len(), |n| at + n);
        expand(rest[at + "use".len()..end].trim(), "", &mut found);
        rest = &rest[end..];
    }
    inline_paths(rest, &mut found);
    found
}

/// `a::{b, c::{d}}` as `a::b`, `a::c::d`.
fn expand(tree: &str, before: &str, found: &mut Vec<String>) {
    let Some((head, inside)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        found.push(format!("{before}{path}"));
        return;
    };
    let before = format!("{before}{}", head.trim());
    let inside = inside.trim_end();
    let inside = inside.strip_suffix('}').unwrap_or(inside);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(inside[start..at].trim(), &before, found);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inside[start..].trim().is_empty() {
        expand(inside[start..].trim(), &before, found);
    }
}

fn inline_paths(code: &str, found: &mut Vec<String>) {
    let tokens = code.split(|c: char| !is_word(c) && c != ':');
    found.extend(tokens.filter(|t| t.contains("::")).map(str::to_owned));
}

/// Where `wanted` stands as a word of its own.
fn word(code: &str, wanted: &str) -> Option<usize> {
    code.match_indices(wanted).map(|m| m.0).find(|at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + wanted.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The rows of the Markdown table under `heading`, each a list of cells, without the head.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let section = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("{document} has no heading {heading:?}"))
        .1;
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    rows.take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim().trim_matches('|').replace("\\|", "\u{1}");
            let cells = cells
                .split('|')
                .map(|cell| cell.trim().replace('\u{1}', "|"));
            cells.collect()
        })
        .collect()
}

/// The words in backticks of a text.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn nothing(mistakes: &[String]) {
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

fn same(of: &str, code: &BTreeSet<String>, document: &BTreeSet<String>) {
    let missing: Vec<_> = code.difference(document).collect();
    let stale: Vec<_> = document.difference(code).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "{of}: not documented: {missing:?}; documented, but not there: {stale:?}"
    );
}

struct Layer {
    number: u32,
    may: BTreeSet<String>,
    never: Vec<String>,
}

fn layers() -> BTreeMap<String, Layer> {
    let owned = |cell: &str| quoted(cell).into_iter().map(str::to_owned).collect();
    let rows = table("ARCHITECTURE.md", "## Layers");
    let layer = |row: Vec<String>| {
        let may: Vec<String> = owned(&row[2]);
        let number = row[0]
            .parse()
            .expect("the first cell is the layer's number");
        let layer = Layer {
            number,
            may: may.into_iter().collect(),
            never: owned(&row[3]),
        };
        (quoted(&row[1])[0].to_owned(), layer)
    };
    rows.into_iter().map(layer).collect()
}

#[test]
fn modules_import_what_the_layer_table_allows() {
    let layers = layers();
    let mut mistakes = Vec::new();
    for (name, layer) in &layers {
        for below in &layer.may {
            if layers[below].number >= layer.number {
                mistakes.push(format!("layer table: {below} is not below {name}"));
            }
        }
    }
    for source in Source::product() {
        let Some(top) = source.module.first().filter(|top| *top != "main") else {
            continue;
        };
        let Some(layer) = layers.get(top) else {
            mistakes.push(format!("{}: {top} is not in the layer table", source.path));
            continue;
        };
        for path in paths(&source.code) {
            let supers = path.split("::").take_while(|part| *part == "super").count();
            if supers >= source.module.len() {
                mistakes.push(format!(
                    "{}: {path} leaves its module; write crate::",
                    source.path
                ));
            }
            if let Some(rest) = path.strip_prefix("crate::") {
                let used = rest.split("::").next().unwrap_or_default();
                if used != top && !layer.may.contains(used) {
                    mistakes.push(format!("{}: {top} may not use {path}", source.path));
                }
            }
            let full = format!("{path}::");
            if layer
                .never
                .iter()
                .any(|n| full.starts_with(&format!("{n}::")))
            {
                mistakes.push(format!("{}: {top} never uses {path}", source.path));
            }
        }
    }
    nothing(&mistakes);
}

#[test]
fn only_the_modules_that_say_why_touch_files() {
    let files = ["std::fs", "std::path", "std::os"];
    let cannot = |layer: &Layer| {
        files
            .iter()
            .all(|file| layer.never.iter().any(|n| n == file))
    };
    let layers = layers();
    let touching = layers.iter().filter(|(_, layer)| !cannot(layer));
    let touching: BTreeSet<String> = touching.map(|(name, _)| name.clone()).collect();
    let rows = table("ARCHITECTURE.md", "### Who touches files");
    let reasons = rows.into_iter().map(|row| quoted(&row[0])[0].to_owned());
    let reasons: BTreeSet<String> = reasons.collect();
    // Files that are part of the program.
    let touching = &touching - &BTreeSet::from(["assets".to_owned()]);
    same("module that touches files", &touching, &reasons);
}

#[test]
fn the_layer_table_has_every_module() {
    let declared = declared(&Source::read("src/lib.rs").code);
    same("layer table", &declared, &layers().into_keys().collect());
}

/// The modules that are declared one by one, or in the list of `dialects!`.
fn declared(code: &str) -> BTreeSet<String> {
    let lines = code.lines().filter_map(|line| {
        let line = line.trim().strip_suffix(';')?;
        let name = line.rsplit_once("mod ")?.1;
        Some(name.to_owned())
    });
    let list = code
        .split_once("\ndialects! {")
        .map_or("", |(_, list)| list);
    let list = list.split('}').next().unwrap_or_default().lines();
    let listed = list.filter_map(|line| {
        let (folder, _) = line.trim().split_once("::")?;
        folder.rsplit(' ').next().map(str::to_owned)
    });
    lines.chain(listed).collect()
}

#[test]
fn every_file_is_declared_as_a_module_and_says_what_it_is() {
    let mut mistakes = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests/it")) {
        let text = read(&path);
        if !text.starts_with("//!") {
            mistakes.push(format!("{path} does not open with //!"));
        }
        let module = path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let (dir, name) = module.rsplit_once('/').expect("every path has a directory");
        if matches!(name, "lib" | "main") {
            continue;
        }
        let parents = [
            format!("{dir}.rs"),
            format!("{dir}/mod.rs"),
            format!("{dir}/lib.rs"),
            format!("{dir}/main.rs"),
        ];
        let parent = parents.iter().find(|parent| root().join(parent).is_file());
        let known = parent.is_some_and(|parent| declared(&blank(&read(parent))).contains(name));
        if !known {
            mistakes.push(format!("{path} is declared nowhere"));
        }
    }
    nothing(&mistakes);
}

#[test]
fn functions_are_short() {
    let mut mistakes = Vec::new();
    for source in Source::product() {
        let code = &source.code;
        let mut from = 0;
        while let Some(at) = word(&code[from..], "fn").map(|at| from + at) {
            from = at + 2;
            let Some(body) = body(code, at) else { continue };
            let lines = code[at..body.1].lines().count();
            if lines > FUNCTION_LINES_MAX {
                let line = code[..at].lines().count();
                let name = code[at + 2..].trim_start();
                let name = name.split(|c| !is_word(c)).next().unwrap_or_default();
                mistakes.push(format!(
                    "{}:{line}: fn {name} has {lines} lines",
                    source.path
                ));
            }
        }
    }
    nothing(&mistakes);
}

/// The body of the function that begins at `at`; none for a declaration or a type.
fn body(code: &str, at: usize) -> Option<(usize, usize)> {
    let mut depth = 0;
    let mut start = None;
    for (n, c) in code[at..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' if depth == 0 => return None,
            ')' | ']' => depth -= 1,
            ';' | ',' | '}' if depth == 0 && start.is_none() => return None,
            '{' => {
                start = start.or((depth == 0).then_some(at + n));
                depth += 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some((start?, at + n + 1));
                }
            }
            _ => {}
        }
    }
    None
}

/// They panic when nobody reads.
#[test]
fn nothing_is_printed_by_macros_that_panic() {
    let mut mistakes = Vec::new();
    for source in Source::product() {
        for name in ["print!", "println!", "eprint!", "eprintln!"] {
            let mut all = source.code.match_indices(name);
            if all.any(|(at, _)| !source.code[..at].ends_with(is_word)) {
                mistakes.push(format!("{}: {name}", source.path));
            }
        }
    }
    nothing(&mistakes);
}

#[test]
fn nothing_is_left_over() {
    let macros = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!"));
    // Put together here, so that this file does not find itself.
    let notes = [["FIX", "ME"].concat(), "X".repeat(3)];
    let mut mistakes = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        let text = read(&path);
        let code = blank(&text);
        let called = |name: &str| {
            let mut all = code.match_indices(name);
            all.any(|(at, _)| !code[..at].ends_with(is_word))
        };
        let macros = macros.iter().filter(|name| called(name));
        let notes = notes.iter().filter(|note| word(&text, note).is_some());
        mistakes.extend(macros.chain(notes).map(|left| format!("{path}: {left}")));
    }
    nothing(&mistakes);
}

/// The fields of `struct name { … }`, in order, with their types.
fn fields(code: &str, name: &str) -> Option<Vec<(String, String)>> {
    let start = code.find(&format!("struct {name} {{"))?;
    let inside = code[start..].split_once('{')?.1.split_once("\n}")?.0;
    let lines = inside
        .lines()
        .map(str::trim)
        .filter(|l| !l.starts_with('#'));
    let fields = lines.filter_map(|line| {
        let (name, kind) = line.trim_end_matches(',').split_once(": ")?;
        let name = name.rsplit(' ').next()?;
        Some((name.to_owned(), kind.to_owned()))
    });
    Some(fields.collect())
}

/// Every key of the configuration file, walked from `ConfigFile` down. A table that is known
/// from another place already (those of a tenant) counts as one key.
fn configuration_keys() -> BTreeMap<String, Option<String>> {
    let code: String = [
        "src/config/file.rs",
        "src/config.rs",
        "src/processor/backoff.rs",
        "src/processor/command.rs",
        "src/store/fs/retention.rs",
    ]
    .map(|path| blank(&read(path)))
    .join("\n");
    let mut keys = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![(String::new(), "ConfigFile".to_owned())];
    while !open.is_empty() {
        let (prefix, name) = open.remove(0);
        let fields = fields(&code, &name).unwrap_or_else(|| panic!("no struct {name}"));
        for (field, kind) in fields {
            let key = format!("{prefix}{field}");
            let bare = kind.trim_start_matches("Option<").trim_end_matches('>');
            let (of, map) = match bare.strip_prefix("BTreeMap<String, ") {
                Some(of) => (of, true),
                None => (bare, false),
            };
            let is_table = code.contains(&format!("struct {of} {{"));
            if is_table && seen.insert(of.to_owned()) {
                let between = if map { ".NAME." } else { "." };
                open.push((format!("{key}{between}"), of.to_owned()));
            } else {
                keys.insert(key, default_of(&name, &field));
            }
        }
    }
    keys
}

/// The default of a key, from the types that know it.
fn default_of(table: &str, field: &str) -> Option<String> {
    use spoolgate::{config, processor, store};
    let defaults = match table {
        "ExitCodes" => serde_json::to_value(processor::ExitCodes::default()),
        "Limits" => serde_json::to_value(config::Limits::default()),
        "LogConfig" => serde_json::to_value(config::LogConfig::default()),
        "Retention" => serde_json::to_value(store::fs::Retention::default()),
        "Retry" => serde_json::to_value(processor::Retry::default()),
        _ => return None,
    };
    let defaults = defaults.expect("a plain struct can be printed");
    let default = &defaults[field];
    Some(if default.is_null() {
        "–".into()
    } else {
        format!("`{default}`")
    })
}

#[test]
fn the_page_of_configuration_has_every_key_and_its_default() {
    let page = "docs/configuration.md";
    let rows = table(page, "## The keys");
    let documented = rows.iter().map(|row| quoted(&row[0])[0].to_owned());
    let keys = configuration_keys();
    same(
        "configuration",
        &keys.keys().cloned().collect(),
        &documented.collect(),
    );
    let mut mistakes = Vec::new();
    for row in &rows {
        let key = quoted(&row[0])[0];
        if let Some(default) = &keys[key]
            && *default != row[2]
        {
            mistakes.push(format!(
                "{key}: the default is {default}, {page} says {}",
                row[2]
            ));
        }
    }
    nothing(&mistakes);
}

/// The commands that `--help` lists.
fn commands(of: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_spoolgate"))
        .args(of)
        .arg("--help")
        .output()
        .expect("the program that was just built can be run");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let (_, list) = help.split_once("\nCommands:\n").expect("it has commands");
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| {
        let entry = line.strip_prefix("  ")?;
        entry
            .starts_with(|c: char| c != ' ')
            .then(|| entry.split(' ').next())?
    });
    let prefix: String = of.iter().map(|word| format!("{word} ")).collect();
    let names = names.filter(|name| *name != "help");
    names.map(|name| format!("{prefix}{name}")).collect()
}

#[test]
fn the_page_of_operations_has_every_command() {
    let mut known = commands(&[]);
    for group in ["schedule", "user"] {
        known.remove(group);
        known.extend(commands(&[group]));
    }
    let rows = table("docs/operations.md", "## Commands");
    let documented = rows.iter().map(|row| {
        let words = quoted(&row[0])[0].split(' ').skip(1);
        let plain = |c: char| c.is_ascii_lowercase() || c == '-';
        let plain = |w: &&str| !w.is_empty() && w.chars().all(plain);
        words.take_while(plain).collect::<Vec<_>>().join(" ")
    });
    same("commands", &known, &documented.collect());
}

/// The words that begin with `SPOOLGATE_`.
fn variables(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !is_word(c));
    let named = words.filter(|w| w.len() > "SPOOLGATE_".len() && w.starts_with("SPOOLGATE_"));
    named.map(str::to_owned).collect()
}

#[test]
fn the_page_of_processors_has_every_variable_of_a_command() {
    let text = read("src/processor/command.rs");
    let product = text.split("#[cfg(test)]").next().unwrap_or_default();
    let rows = table("docs/processors.md", "## What the command gets");
    let documented = rows.iter().flat_map(|row| variables(&row[0])).collect();
    same("variables of a command", &variables(product), &documented);
}

#[test]
fn the_documents_name_variables_that_something_reads() {
    let known: BTreeSet<String> = ["src", "tests", "benches"]
        .iter()
        .flat_map(|dir| rust_files(dir))
        .flat_map(|path| variables(&read(&path)))
        .collect();
    for document in documents() {
        let named = variables(&read(&document));
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{document} names {unknown:?}");
    }
}

#[test]
fn what_the_documents_name_exists() {
    let all: String = Source::product().iter().map(|s| s.code.as_str()).collect();
    let mut mistakes = Vec::new();
    let kept = [
        "benches/",
        "contrib/",
        "docs/",
        "examples/",
        "src/",
        "tests/",
    ];
    for document in documents() {
        let text = read(&document);
        let prose: String = text.split("```").step_by(2).collect();
        for name in quoted(&prose) {
            let is_file = kept.iter().any(|dir| name.starts_with(dir));
            if is_file && !name.contains(['<', '*', ' ']) && !root().join(name).exists() {
                mistakes.push(format!("{document} names {name}, which does not exist"));
            }
            let function = name
                .rsplit_once("::")
                .map(|(_, f)| f.trim_end_matches("()"));
            if let Some(function) = function
                && function.starts_with(|c: char| c.is_ascii_lowercase())
                && function.chars().all(is_word)
                && !all.contains(&format!("fn {function}"))
                && !all.contains(&format!("mod {function}"))
            {
                mistakes.push(format!(
                    "{document} names {name}, and there is no fn {function}"
                ));
            }
        }
    }
    nothing(&mistakes);
}

/// A document without its blocks of code.
fn without_code(text: &str) -> String {
    let mut open = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        open ^= fence;
        !open && !fence
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The anchors of a document's headings, as the usual renderers of Markdown make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in without_code(text).lines() {
        let title = line.trim_start_matches('#');
        if title == line || !title.starts_with(' ') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let anchor: String = title.trim().to_lowercase().chars().filter(kept).collect();
        let anchor = anchor.replace(' ', "-");
        let again = (1..).map(|n| format!("{anchor}-{n}"));
        let mut names = std::iter::once(anchor.clone()).chain(again);
        found.extend(names.find(|name| !found.contains(name)));
    }
    found
}

/// Where the links of a document lead, as they are written.
fn links(text: &str) -> Vec<String> {
    let prose = without_code(text);
    // A span of code may stand in the words of a link, and is none itself.
    let prose: String = prose.split('`').step_by(2).collect();
    let after = prose.split("](").skip(1);
    after
        .map(|rest| rest.split(')').next().unwrap_or_default().to_owned())
        .filter(|link| !link.contains("://"))
        .collect()
}

/// The file that a relative link means, as a path from the repository's root, and its anchor.
fn destination(document: &str, link: &str) -> (String, Option<String>) {
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (link, None),
    };
    if path.is_empty() {
        return (document.to_owned(), anchor);
    }
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            // Above the root there is nothing to point at.
            ".." if parts.pop().is_none() => parts.push(".."),
            ".." => {}
            part => parts.push(part),
        }
    }
    (parts.join("/"), anchor)
}

/// What is wrong with the links of a document.
fn broken_links(document: &str, text: &str) -> Vec<String> {
    let mut mistakes = Vec::new();
    for link in links(text) {
        let (path, anchor) = destination(document, &link);
        let here = path == document;
        if path.starts_with("..") || !here && !root().join(&path).exists() {
            mistakes.push(format!("{document}: {link} leads to no file"));
            continue;
        }
        if let Some(anchor) = anchor {
            let there = if here {
                anchors(text)
            } else {
                anchors(&read(&path))
            };
            if !there.contains(&anchor) {
                mistakes.push(format!("{document}: {link} leads to no heading"));
            }
        }
    }
    mistakes
}

#[test]
fn links_lead_to_what_is_there() {
    let mut mistakes = Vec::new();
    let mut led_to = BTreeSet::from(["README.md".to_owned()]);
    for document in documents() {
        let text = read(&document);
        mistakes.extend(broken_links(&document, &text));
        led_to.extend(
            links(&text)
                .iter()
                .map(|link| destination(&document, link).0),
        );
    }
    let lost = documents()
        .into_iter()
        .filter(|path| !led_to.contains(path));
    mistakes.extend(lost.map(|path| format!("{path}: no link leads there")));
    nothing(&mistakes);
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let text = "# One `two`, three\n## Again\n## Again\n```sh\n# [none](none.md)\n```\n\
                `[none](none.md)` [good](#one-two-three) [`c`](#again-1) [up](../README.md)\n\
                [web](https://example.org/none.md#none) [dir](dialects/../../src)\n";
    assert_eq!(broken_links("docs/page.md", text), Vec::<String>::new());
    for bad in [
        "none.md",
        "#none",
        "#again-2",
        "../../README.md",
        "../README.md#none",
        "/README.md",
    ] {
        let found = broken_links("docs/page.md", &format!("{text}[bad]({bad})"));
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
    }
}

#[test]
fn the_readme_stays_short() {
    let lines = read("README.md").lines().count();
    assert!(
        lines <= README_LINES_MAX,
        "README.md has {lines} lines: what is for one kind of readers belongs into docs"
    );
}

#[test]
fn what_is_shipped_is_what_lies_in_spool() {
    let text = read("src/assets.rs");
    for dir in ["spool/schemas", "spool/xslt"] {
        let list = text
            .split_once(&format!("files!(\"{dir}\":"))
            .and_then(|(_, rest)| rest.split_once(')'))
            .unwrap_or_else(|| panic!("src/assets.rs does not ship {dir}"))
            .0;
        let listed = list.split('"').skip(1).step_by(2);
        let lying = files(dir).into_iter();
        let lying = lying.map(|path| path[dir.len() + 1..].to_owned());
        same(dir, &lying.collect(), &listed.map(str::to_owned).collect());
    }
}

/// The files that git tracks; none outside of a repository.
fn tracked() -> Vec<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files", "-z"])
        .output();
    let output = output.ok().filter(|output| output.status.success());
    let list = output.map_or(Vec::new(), |output| output.stdout);
    let list = String::from_utf8_lossy(&list).into_owned();
    list.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn the_top_level_is_known() {
    let needed = [
        ".ci",
        ".gitignore",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "SECURITY.md",
        "benches",
        "certs",
        "contrib",
        "deny.toml",
        "docs",
        "examples",
        "spool",
        "src",
        "tests",
    ];
    let mut mistakes = Vec::new();
    for name in needed {
        if !root().join(name).exists() {
            mistakes.push(format!("{name} is missing"));
        }
    }
    for path in tracked() {
        let top = path.split('/').next().unwrap_or_default();
        if !needed.contains(&top) {
            mistakes.push(format!("{path}: {top} is not a part of the top level"));
        }
    }
    nothing(&mistakes);
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // Put together here, so that this file does not find itself.
    let local = ["work", "root", "home", "farm", "tmp"].map(|dir| format!("/{dir}/"));
    let mut mistakes = Vec::new();
    for path in tracked() {
        let Ok(text) = fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (n, line) in text.lines().enumerate() {
            if local.iter().any(|dir| names_directory(line, dir)) {
                mistakes.push(format!("{path}:{}: {}", n + 1, line.trim()));
            }
        }
    }
    nothing(&mistakes);
}

/// Does the line name that directory of the machine, and not one below something else?
fn names_directory(line: &str, dir: &str) -> bool {
    line.match_indices(dir).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| is_word(c) || matches!(c, '.' | '}' | '>' | '*'))
    })
}

#[test]
fn the_reader_of_rust_reads_rust() {
    let code =
        blank("let a = \"x // }\"; // todo!\nlet b = '{'; let c: &'static str = r#\"\"{\"#;");
    assert!(
        !code.contains(['{', '}', 'x']) && code.contains("'static"),
        "{code}"
    );
    let mut found = paths("use a::{b, c::{d, e as f}};\nfn g() { h::i(); }");
    found.sort();
    assert_eq!(found, ["a::b", "a::c::d", "a::c::e", "h::i"]);
    assert_eq!(
        paths("use crate::{store::fs::{Fs, look::Scan}};"),
        ["crate::store::fs::Fs", "crate::store::fs::look::Scan"]
    );
    assert_eq!(
        body("fn a(b: [u8; 2]) { { } } fn c", 0).map(|b| b.1),
        Some(24)
    );
    assert_eq!(body("fn a(&self) -> u8;", 0), None);
    let tests = inline_tests("a #[cfg(test)]\nfn b() {} #[cfg(test)]\nmod tests { }");
    assert_eq!(tests, Some(25));
    assert_eq!(
        test_modules("#[cfg(test)]\nmod cases;\nmod real;"),
        ["cases"]
    );
}
