//! The rules of the house, checked: who may import whom, how long a function may be, and that
//! the documents say what the code says.
//!
//! The source is parsed by `syn`, so a comment or a text is never taken for code. The layer table
//! stands in ARCHITECTURE.md, the tables of keys, commands and variables in the pages of docs; all
//! are read from there, so a change of one side alone fails here.

use proc_macro2::{Ident, TokenStream, TokenTree};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};
use syn::{
    Attribute, Block, LitStr, Meta, Signature, UseTree, punctuated::Punctuated, visit::Visit,
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

/// What is asked of a file of Rust: its module path, and what its code has, without that of tests.
#[derive(Default)]
struct Source {
    path: String,
    module: Vec<String>,
    /// By name: the line of each function, and how many lines it has.
    functions: Vec<(String, usize, usize)>,
    literals: Vec<String>,
    /// The names of the macros that are called.
    macros: Vec<String>,
    /// The modules that have files of their own.
    modules: BTreeSet<String>,
    named: Vec<Named>,
    /// By name: the fields, in order, with their types.
    structs: BTreeMap<String, Vec<(String, syn::Type)>>,
    /// The modules that have files of their own and are for tests only.
    test_modules: BTreeSet<String>,
    /// How many inline modules are around what is looked at.
    inline: usize,
}

/// A path that the code names; one of `use`, written out.
struct Named {
    path: String,
    is_import: bool,
}

impl Source {
    fn read(path: &str) -> Self {
        Self::parse(path, &read(path))
    }

    fn parse(path: &str, text: &str) -> Self {
        let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
        let module = inside.split('/').map(str::to_owned);
        let mut source = Self {
            path: path.to_owned(),
            module: module
                .filter(|part| part != "mod" && part != "lib")
                .collect(),
            ..Self::default()
        };
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        source.visit_file(&file);
        source
    }

    /// Everything that is compiled into the product.
    fn product() -> Vec<Self> {
        let all: Vec<Self> = rust_files("src").iter().map(|p| Self::read(p)).collect();
        let of_tests = |source: &Self| {
            let names = source.test_modules.iter().cloned();
            let module = source.module.clone();
            let paths = names.map(move |name| [module.as_slice(), &[name]].concat());
            paths.collect::<Vec<_>>()
        };
        let tests: Vec<Vec<String>> = all.iter().flat_map(of_tests).collect();
        let is_test = |module: &[String]| tests.iter().any(|test| module.starts_with(test));
        all.into_iter().filter(|s| !is_test(&s.module)).collect()
    }

    fn module_file(&mut self, attributes: &[Attribute], name: String) {
        match is_for_tests(attributes) {
            true => self.test_modules.insert(name),
            false => self.modules.insert(name),
        };
    }

    /// Its own name, and those of the modules that it declares.
    fn module_names(&self) -> impl Iterator<Item = &str> {
        let names = self.modules.iter().chain(self.module.last());
        names.map(String::as_str)
    }

    fn declares(&self, module: &str) -> bool {
        self.modules.contains(module) || self.test_modules.contains(module)
    }

    fn name(&mut self, segments: &[String], is_import: bool) {
        // What is above an inline module is still this file.
        let supers = segments.iter().take_while(|part| *part == "super").count();
        let path = segments[supers.min(self.inline)..].join("::");
        let path = path.trim_end_matches("::self").to_owned();
        self.named.push(Named { path, is_import });
    }

    fn import(&mut self, tree: &UseTree, before: &[String]) {
        let with = |ident: &Ident| [before, &[ident.to_string()]].concat();
        match tree {
            UseTree::Glob(_) => self.name(before, true),
            UseTree::Group(group) => {
                let trees = group.items.iter();
                trees.for_each(|tree| self.import(tree, before));
            }
            UseTree::Name(name) => self.name(&with(&name.ident), true),
            UseTree::Path(path) => self.import(&path.tree, &with(&path.ident)),
            UseTree::Rename(rename) => self.name(&with(&rename.ident), true),
        }
    }

    fn function(&mut self, signature: &Signature, block: &Block) {
        let first = signature.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        let name = signature.ident.to_string();
        self.functions.push((name, first, last + 1 - first));
    }

    /// What a macro or an attribute is given has no grammar of its own: paths, calls of macros and
    /// literals are found among its tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let trees: Vec<TokenTree> = tokens.into_iter().collect();
        let is = |at: usize, c: char| match trees.get(at) {
            Some(TokenTree::Punct(punct)) => punct.as_char() == c,
            _ => false,
        };
        let mut at = 0;
        while at < trees.len() {
            match &trees[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut path = vec![first.to_string()];
                    while is(at + 1, ':')
                        && is(at + 2, ':')
                        && let Some(TokenTree::Ident(next)) = trees.get(at + 3)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    if is(at + 1, '!') && !is(at + 2, '=') {
                        self.macros.extend(path.last().cloned());
                    }
                    if path.len() > 1 {
                        self.name(&path, false);
                    }
                }
                TokenTree::Literal(literal) => {
                    let text = syn::parse_str::<LitStr>(&literal.to_string());
                    self.literals.extend(text.ok().map(|text| text.value()));
                }
                TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }
}

/// Is the item compiled for tests only?
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.parse_args::<Ident>();
            condition.is_ok_and(|condition| condition == "test")
        }
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(_) | Meta::NameValue(_) => false,
    })
}

/// Visits the nodes of these kinds unless they are for tests.
macro_rules! visit_product {
    ($($visit:ident: $node:ident,)*) => {
        $(fn $visit(&mut self, node: &'ast syn::$node) {
            if !is_for_tests(&node.attrs) {
                syn::visit::$visit(self, node);
            }
        })*
    };
}

impl<'ast> Visit<'ast> for Source {
    visit_product! {
        visit_arm: Arm,
        visit_expr_block: ExprBlock,
        visit_expr_call: ExprCall,
        visit_expr_if: ExprIf,
        visit_expr_method_call: ExprMethodCall,
        visit_field: Field,
        visit_field_value: FieldValue,
        visit_impl_item_const: ImplItemConst,
        visit_item_const: ItemConst,
        visit_item_enum: ItemEnum,
        visit_item_impl: ItemImpl,
        visit_item_static: ItemStatic,
        visit_item_trait: ItemTrait,
        visit_item_type: ItemType,
        visit_local: Local,
        visit_stmt_macro: StmtMacro,
        visit_variant: Variant,
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if attribute.path().is_ident("doc") {
            return;
        }
        let known = self.literals.len();
        match &attribute.meta {
            Meta::List(list) => self.tokens(list.tokens.clone()),
            meta @ (Meta::NameValue(_) | Meta::Path(_)) => syn::visit::visit_meta(self, meta),
        }
        // `#[serde(with = "…")]` names what it uses in a text.
        for text in self.literals.split_off(known) {
            if let Ok(path) = syn::parse_str::<syn::Path>(&text) {
                self.visit_path(&path);
            }
        }
    }

    fn visit_file(&mut self, file: &'ast syn::File) {
        if !is_for_tests(&file.attrs) {
            syn::visit::visit_file(self, file);
        }
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        if !is_for_tests(&node.attrs) {
            self.function(&node.sig, &node.block);
            syn::visit::visit_impl_item_fn(self, node);
        }
    }

    fn visit_item_extern_crate(&mut self, node: &'ast syn::ItemExternCrate) {
        if !is_for_tests(&node.attrs) {
            self.name(&[node.ident.to_string()], true);
        }
    }

    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        if !is_for_tests(&node.attrs) {
            self.function(&node.sig, &node.block);
            syn::visit::visit_item_fn(self, node);
        }
    }

    fn visit_item_macro(&mut self, node: &'ast syn::ItemMacro) {
        if is_for_tests(&node.attrs) {
            return;
        }
        if node.mac.path.is_ident("dialects") {
            let listed = Punctuated::<Dialect, syn::Token![,]>::parse_terminated;
            let listed = node.mac.parse_body_with(listed);
            for dialect in listed.expect("a list of folder::Dialect") {
                self.module_file(&dialect.attributes, dialect.folder);
            }
        }
        syn::visit::visit_item_macro(self, node);
    }

    fn visit_item_mod(&mut self, node: &'ast syn::ItemMod) {
        if node.content.is_none() {
            self.module_file(&node.attrs, node.ident.to_string());
        } else if !is_for_tests(&node.attrs) {
            self.inline += 1;
            syn::visit::visit_item_mod(self, node);
            self.inline -= 1;
        }
    }

    fn visit_item_struct(&mut self, node: &'ast syn::ItemStruct) {
        if is_for_tests(&node.attrs) {
            return;
        }
        let named = node.fields.iter().filter_map(|field| {
            let name = field.ident.as_ref()?.to_string();
            Some((name, field.ty.clone()))
        });
        self.structs.insert(node.ident.to_string(), named.collect());
        syn::visit::visit_item_struct(self, node);
    }

    fn visit_item_use(&mut self, node: &'ast syn::ItemUse) {
        if !is_for_tests(&node.attrs) {
            self.import(&node.tree, &[]);
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast LitStr) {
        self.literals.push(literal.value());
    }

    fn visit_macro(&mut self, node: &'ast syn::Macro) {
        let name = node.path.segments.last().map(|last| last.ident.to_string());
        self.macros.extend(name);
        self.tokens(node.tokens.clone());
        syn::visit::visit_macro(self, node);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let segments = path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string());
            self.name(&segments.collect::<Vec<_>>(), false);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if !is_for_tests(&node.attrs) {
            if let Some(block) = &node.default {
                self.function(&node.sig, block);
            }
            syn::visit::visit_trait_item_fn(self, node);
        }
    }
}

/// A line of `dialects!`.
struct Dialect {
    attributes: Vec<Attribute>,
    folder: String,
}

impl syn::parse::Parse for Dialect {
    fn parse(input: syn::parse::ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let path: syn::Path = input.parse()?;
        Ok(Self {
            attributes,
            folder: path.segments[0].ident.to_string(),
        })
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
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
        mistakes.extend(forbidden_uses(&source, &layers));
    }
    nothing(&mistakes);
}

/// What a file names that its module may not use.
fn forbidden_uses(source: &Source, layers: &BTreeMap<String, Layer>) -> Vec<String> {
    let mut mistakes = Vec::new();
    let Some(top) = source.module.first().filter(|top| *top != "main") else {
        return mistakes;
    };
    let file = &source.path;
    let Some(layer) = layers.get(top) else {
        mistakes.push(format!("{file}: {top} is not in the layer table"));
        return mistakes;
    };
    for Named { path, is_import } in &source.named {
        let parts: Vec<&str> = path.split("::").collect();
        let supers = parts.iter().take_while(|part| **part == "super").count();
        if supers >= source.module.len() {
            mistakes.push(format!("{file}: {path} leaves its module; write crate::"));
        }
        if parts[0] == "crate" {
            let used = parts.get(1).copied().unwrap_or_default();
            if used != top && !layer.may.contains(used) {
                mistakes.push(format!("{file}: {top} may not use {path}"));
            }
        }
        let is_never = layer.never.iter().any(|never| {
            let never: Vec<&str> = never.split("::").collect();
            // Who imports all of `std` has `std::fs`, under whatever name.
            parts.starts_with(&never) || *is_import && never.starts_with(&parts)
        });
        if is_never {
            mistakes.push(format!("{file}: {top} never uses {path}"));
        }
    }
    mistakes
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
    let declared = Source::read("src/lib.rs").modules;
    same("layer table", &declared, &layers().into_keys().collect());
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
        let known = parent.is_some_and(|parent| Source::read(parent).declares(name));
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
        let long = source.functions.iter();
        let long = long.filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX);
        mistakes.extend(long.map(|(name, line, lines)| {
            format!("{}:{line}: fn {name} has {lines} lines", source.path)
        }));
    }
    nothing(&mistakes);
}

/// They panic when nobody reads.
#[test]
fn nothing_is_printed_by_macros_that_panic() {
    let mut mistakes = Vec::new();
    for source in Source::product() {
        let panics = ["eprint", "eprintln", "print", "println"];
        let called = source.macros.iter();
        let called = called.filter(|name| panics.contains(&name.as_str()));
        mistakes.extend(called.map(|name| format!("{}: {name}!", source.path)));
    }
    nothing(&mistakes);
}

/// Digits by `hex` and `percent_encoding`; locks that know no poison by `parking_lot`.
#[test]
fn what_a_library_does_is_not_written_again() {
    let mut mistakes = Vec::new();
    for source in Source::product() {
        let file = &source.path;
        let digits = |text: &&String| text.contains(":02x}") || text.contains(":02X}");
        let written = source.literals.iter().filter(digits);
        mistakes.extend(written.map(|text| format!("{file}: {text:?}; use hex::encode")));
        let locks = ["Condvar", "Mutex", "PoisonError", "RwLock"];
        let named = source.named.iter().map(|named| &named.path);
        let named = named.filter(|path| {
            let name = path.strip_prefix("std::sync::");
            name.is_some_and(|name| locks.contains(&name))
        });
        mistakes.extend(named.map(|path| format!("{file}: {path}; use parking_lot")));
    }
    nothing(&mistakes);
}

#[test]
fn nothing_is_left_over() {
    // Put together here, so that this file does not find itself.
    let notes = [["FIX", "ME"].concat(), "X".repeat(3)];
    let mut mistakes = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        let text = read(&path);
        let left = notes.iter().filter(|note| word(&text, note).is_some());
        mistakes.extend(left.map(|left| format!("{path}: {left}")));
    }
    nothing(&mistakes);
}

/// What a field holds: the name of its type, and whether that is in a map.
fn held(kind: &syn::Type) -> (String, bool) {
    let syn::Type::Path(path) = kind else {
        return (String::new(), false);
    };
    let last = path.path.segments.last().expect("a path has a segment");
    let name = last.ident.to_string();
    let syn::PathArguments::AngleBracketed(of) = &last.arguments else {
        return (name, false);
    };
    match (name.as_str(), of.args.last()) {
        ("BTreeMap", Some(syn::GenericArgument::Type(of))) => (held(of).0, true),
        ("Option" | "Vec", Some(syn::GenericArgument::Type(of))) => held(of),
        _ => (name, false),
    }
}

/// Every key of the configuration file, walked from `ConfigFile` down. A table that is known
/// from another place already (those of a tenant) counts as one key.
fn configuration_keys() -> BTreeMap<String, Option<String>> {
    let files = [
        "src/config/file.rs",
        "src/config.rs",
        "src/config/partner.rs",
        "src/config/expect.rs",
        "src/config/receiver.rs",
        "src/processor/backoff.rs",
        "src/processor/command.rs",
        "src/store/fs/retention.rs",
    ];
    let structs = files.map(|path| Source::read(path).structs);
    let structs: BTreeMap<_, _> = structs.into_iter().flatten().collect();
    let mut keys = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![(String::new(), "ConfigFile".to_owned())];
    while !open.is_empty() {
        let (prefix, name) = open.remove(0);
        let fields = structs.get(&name);
        for (field, kind) in fields.unwrap_or_else(|| panic!("no struct {name}")) {
            let key = format!("{prefix}{field}");
            let (of, map) = held(kind);
            let is_table = structs.contains_key(&of);
            if is_table && seen.insert(of.clone()) {
                let table = match (map, field.as_str()) {
                    // Every other key of the table is a name.
                    (true, "named") => format!("{prefix}NAME."),
                    (true, _) => format!("{key}.NAME."),
                    (false, _) => format!("{key}."),
                };
                open.push((table, of));
            } else {
                keys.insert(key, default_of(&name, field));
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
        "MetricsConfig" => serde_json::to_value(config::MetricsConfig::default()),
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
    for group in ["audit", "events", "expect", "schedule", "store", "user"] {
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
    let literals = Source::read("src/processor/command.rs").literals;
    let rows = table("docs/processors.md", "## What the command gets");
    let documented = rows.iter().flat_map(|row| variables(&row[0])).collect();
    same(
        "variables of a command",
        &variables(&literals.join(" ")),
        &documented,
    );
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
    let product = Source::product();
    let functions = product.iter().flat_map(|source| &source.functions);
    let functions: BTreeSet<&str> = functions.map(|(name, ..)| name.as_str()).collect();
    let modules: BTreeSet<&str> = product.iter().flat_map(Source::module_names).collect();
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
                && !name.starts_with("std::")
                && function.starts_with(|c: char| c.is_ascii_lowercase())
                && function.chars().all(is_word)
                && !functions.contains(function)
                && !modules.contains(function)
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
        ".containerignore",
        ".gitignore",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "Containerfile",
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
        "templates",
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
fn a_forbidden_use_is_found_wherever_it_stands() {
    let layers = layers();
    let found = |text: &str| forbidden_uses(&Source::parse("src/domain/x.rs", text), &layers);
    for forbidden in [
        "use std::fs;",
        "use std::{fmt, fs as files};",
        "use std::{self as all};",
        "use std::*;",
        "use crate::{domain::Job, store::{self as all}};",
        "pub use crate::store::Spool;",
        "use super::super::store;",
        "extern crate tokio;",
        "fn f() { std::fs::read(\"x\"); }",
        "fn f() -> ::std::time::Instant { g() }",
        "fn f() { g::<hyper::Body>(); }",
        "fn f() { <u8 as crate::store::Fs>::read(); }",
        "struct S { #[serde(with = \"crate::store::text\")] field: u8 }",
        "#[derive(tokio::Debug)] struct S;",
        "fn f() { log!(a = 1, \"{}\", [std::fs::read(path)]); }",
        "macro_rules! m { () => { $crate::store::x() }; }",
        "#[cfg(not(test))] use std::fs;",
        "#[cfg(test)] mod tests { } use std::fs;",
        "mod inner { use super::super::super::store; }",
    ] {
        assert_eq!(
            found(forbidden).len(),
            1,
            "{forbidden}: {:?}",
            found(forbidden)
        );
    }
    for allowed in [
        "use std::{fmt, io}; use super::Job; use crate::domain::Job;",
        "mod inner { use super::super::Job; }",
        "#[cfg(test)] use std::fs; #[cfg(test)] mod tests { use std::fs; }",
        "#[cfg(test)] fn f() { std::fs::read() } #[test] fn g() { std::fs::read() }",
        "impl S { #[cfg(test)] fn f() { std::fs::read() } }",
        "/// Not `std::fs::read`. \n fn f() { g(\"std::fs\"); /* std::fs::read */ }",
        "fn f(std: S) { fs::read(std.fs) }",
    ] {
        assert_eq!(found(allowed), Vec::<String>::new(), "{allowed}");
    }
}

#[test]
fn the_reader_of_rust_reads_rust() {
    let text = "impl S {\n fn long(\n) {\n \"}\";\n}\n}\nfn f() { if a != b { tell!(x!()) } }\n\
                trait T { fn g(); }\nmod one; #[cfg(test)] mod two; mod three {}\n\
                dialects! { a::A, #[cfg(test)] b::B }";
    let source = Source::parse("src/a/mod.rs", text);
    let functions = [("long".to_owned(), 2, 4), ("f".to_owned(), 7, 1)];
    assert_eq!(source.functions, functions);
    assert_eq!(source.module, ["a"]);
    assert_eq!(source.modules, ["a", "one"].map(str::to_owned).into());
    assert_eq!(source.test_modules, ["b", "two"].map(str::to_owned).into());
    assert_eq!(source.macros, ["tell", "x", "dialects"]);
    assert_eq!(source.literals, ["}"]);
}
