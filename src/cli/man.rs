//! `spoolgate man`: the manual pages, made of what `--help` says and of the page of the configuration.

use super::{Cli, output::print_line};
use anyhow::Context;
use clap::{Args, CommandFactory};
use std::{fs, path::PathBuf, process::ExitCode};

/// The table of its keys is the only list of them.
const CONFIGURATION: &str = include_str!("../../docs/configuration.md");

/// Writes the manual pages into a directory: one of each command, for section 1, and spoolgate.toml(5).
#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate man /usr/local/share/man")]
pub(super) struct Man {
    /// Where `man1` and `man5` are, or are to be made
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let made = |section: &str| {
            let dir = self.dir.join(section);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            anyhow::Ok(dir)
        };
        let commands = made("man1")?;
        clap_mangen::generate_to(Cli::command(), &commands)
            .with_context(|| format!("cannot write into {}", commands.display()))?;
        let page = made("man5")?.join("spoolgate.toml.5");
        fs::write(&page, configuration_page(CONFIGURATION))
            .with_context(|| format!("cannot write {}", page.display()))?;
        print_line!("{}", self.dir.display())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// spoolgate.toml(5) in roff, of the Markdown page that has the table of keys.
fn configuration_page(markdown: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(
        ".TH spoolgate.toml 5 \"\" \"spoolgate {version}\"\n\
         .SH NAME\nspoolgate.toml \\- configuration of spoolgate\n\
         .SH DESCRIPTION\n\
         The file is TOML. Relative paths in it are relative to the file. \\fBspoolgate check\\fR says what is \
         wrong with it.\n.SH KEYS\n"
    );
    for [key, kind, default, meaning] in keys(markdown) {
        page += &format!(".TP\n\\fB{}\\fR ({})\n", roff(&key), roff(&kind));
        let meaning = match meaning.is_empty() {
            true => String::new(),
            false => format!("{}. ", sentence(&meaning)),
        };
        page += &format!("{}Default: {}.\n", roff(&meaning), roff(&default));
    }
    page += ".SH SEE ALSO\n\\fBspoolgate\\fR(1), \\fBspoolgate-check\\fR(1)\n";
    page
}

/// The rows of the table of keys, as plain text.
fn keys(markdown: &str) -> impl Iterator<Item = [String; 4]> {
    let table = markdown
        .split_once("\n## The keys\n")
        .map_or("", |(_, rest)| rest);
    let table = table.split("\n## ").next().unwrap_or_default();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| {
        let cells: Vec<String> = row.trim_matches('|').split(" | ").map(plain).collect();
        let mut cells = cells.into_iter();
        let [key, kind, default] = [cells.next()?, cells.next()?, cells.next()?];
        let meaning: Vec<String> = cells.collect();
        Some([key, kind, default, meaning.join(" | ")])
    })
}

/// Markdown without code marks and the addresses of links.
fn plain(cell: &str) -> String {
    let mut text = String::new();
    let mut rest = cell.trim();
    while let Some((before, link)) = rest.split_once('[') {
        let Some((shown, after)) = link.split_once("](") else {
            break;
        };
        let Some((_, after)) = after.split_once(')') else {
            break;
        };
        text += before;
        text += shown;
        rest = after;
    }
    text += rest;
    text.replace('`', "")
}

/// With a capital letter, and without its end.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    match chars.next() {
        // Not of a value that stands first.
        Some(first) if !text.contains(": ") => first.to_uppercase().chain(chars).collect(),
        Some(_) | None => text.to_owned(),
    }
}

/// Text of which nothing is a request or an escape.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_file_has_every_key_of_the_table() {
        let page = configuration_page(CONFIGURATION);
        let rows = CONFIGURATION.lines().filter(|line| line.starts_with("| `"));
        let mut n_keys = 0;
        for row in rows {
            let key = row.split('`').nth(1).unwrap();
            assert!(
                page.contains(&format!("\n\\fB{}\\fR (", roff(key))),
                "{key}"
            );
            n_keys += 1;
        }
        assert!(n_keys > 80, "{n_keys}");
        assert_eq!(page.matches("\n.TP\n").count(), n_keys);
    }

    #[test]
    fn cells_are_plain_text_and_no_request() {
        let row = "\n## The keys\n| `a.b` | number | `-1` | see [Limits](x.md#limits); `'q` | or more |\n## Next\n";
        let rows: Vec<_> = keys(row).collect();
        let expected = ["a.b", "number", "-1", "see Limits; 'q | or more "];
        assert_eq!(rows, [expected.map(|cell| cell.trim().to_owned())]);
        assert_eq!(roff(".so \\x"), "\\&.so \\ex");
        assert_eq!(sentence("at most."), "At most");
    }
}
