//! XML at the gate: is a document well-formed, is it valid, what does a stylesheet make of it.
//!
//! `schema` checks a document by a schema of the server's. The `tables` that were compiled from it
//! say in one pass that a document is well-formed and valid. What they doubt is looked at by
//! `intake`, which refuses what is not namespace-well-formed, and then by the engine (`xsd`), which
//! says what is wrong and where. `decode` turns any declared encoding into UTF-8 and keeps count of
//! lines, `xslt` transforms. `reloadable_dir` and `snapshot` keep a directory of schemas or
//! stylesheets in memory and in force, also when a file becomes bad.
//!
//! Everything is synchronous and is called from blocking threads, many at a time. Nothing here
//! opens a network connection or a file that a document names, and nothing keeps a document.
//! Whatever bytes come in, memory and time stay within [`XmlLimits`], and what is wrong with the
//! document is a [`Finding`] with its place and path (`locate`), never an error of the server.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::util::plain::{self, Links};

mod budget;
mod built_in;
#[cfg(test)]
mod cases;
mod catalog;
mod child;
mod declaration;
mod decode;
mod doctype;
mod elsewhere;
mod intake;
#[cfg(test)]
mod literals;
mod locate;
mod location;
#[cfg(test)]
mod messages;
mod names;
mod one_pass;
mod position;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod published;
mod reloadable_dir;
mod schema;
mod schema_files;
mod schema_part;
mod scopes;
mod snapshot;
mod stylesheet;
#[cfg(test)]
mod suites;
mod tables;
mod tag;
#[cfg(test)]
mod xmllint;
mod xsd;
mod xslt;

pub use budget::Budget;
pub use catalog::{Catalog, CatalogEntry};
pub use intake::{InspectError, inspect, root_attribute, root_of};
pub use reloadable_dir::{ReloadOutcome, ReloadReport};
pub use schema::{
    CompiledSchema, Keys, Room, SchemaEngine, SchemaError, Schemas, Unavailable, ValidateError,
};
pub use schema_files::SchemaFiles;
pub use snapshot::{Edition, Snapshot};
pub use tables::{Doubt, Tables, Validation, Verdict};
#[cfg(test)]
pub use xmllint::{Xmllint, xmllint_present};
pub use xsd::XsdSchema;
pub use xslt::{Stylesheets, Transformed, XsltError, XsltLimits, xsltproc_present};

/// Long enough for every message of the engines, short enough for a log line.
const MESSAGE_CHARS_MAX: usize = 400;

/// Reads of a document file; fewer system calls matter more than the memory.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// What is wrong with a document, and where. Lines and columns count from 1, columns in
/// characters; 0 means that the place is not known. The message is one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub line: u64,
    pub column: u64,
    /// The element that it is about, as `/order/line[3]/price`, where that is known.
    pub path: Option<Box<str>>,
    pub message: String,
}

impl Finding {
    pub fn new(line: u64, column: u64, message: &str) -> Finding {
        Finding {
            line,
            column,
            path: None,
            message: one_line(message),
        }
    }

    /// Takes a text apart that may begin with a path, as [`Finding`]s are written. No message of ours
    /// begins like one, and no path has white space in it.
    pub fn read(line: u64, column: u64, text: &str) -> Finding {
        let is_path =
            |path: &str| path.starts_with(['/', '…']) && !path.contains(char::is_whitespace);
        match text.split_once(": ") {
            Some((path, message)) if is_path(path) => {
                Finding::new(line, column, message).with_path(path)
            }
            Some(_) | None => Finding::new(line, column, text),
        }
    }

    /// There are `count` more mistakes than findings are made, of which the first is here.
    fn of_more(line: u64, column: u64, count: u64) -> Finding {
        let message = match count {
            1 => "one more mistake".to_owned(),
            _ => format!("{count} more mistakes, of which this is the first"),
        };
        Finding::new(line, column, &message)
    }

    /// The same about the element of this path, which has no white space in it.
    #[must_use]
    pub fn with_path(self, path: &str) -> Finding {
        Finding {
            path: Some(path.into()),
            ..self
        }
    }
}

/// `line:column: path: message`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Where the bytes of a document are. It can be opened more than once.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    File(&'a Path),
    Memory(&'a [u8]),
    /// What gives the document from its first byte on, each time that it is called.
    Reader(&'a Reopen<'a>),
}

/// Opens a document anew.
pub type Reopen<'a> = dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync + 'a;

impl<'a> Source<'a> {
    /// Opens the document at its beginning.
    ///
    /// # Errors
    /// When the file cannot be opened, or is not a plain file.
    pub fn open(&self) -> io::Result<Box<dyn BufRead + 'a>> {
        match self {
            Source::Memory(bytes) => Ok(Box::new(*bytes)),
            Source::File(_) | Source::Reader(_) => Ok(self.open_for_another_thread()?),
        }
    }

    /// The same for a thread that may outlive what is borrowed: bytes in memory, which a small
    /// document has, are copied.
    ///
    /// # Errors
    /// As with [`Source::open`].
    fn open_for_another_thread(&self) -> io::Result<Box<dyn BufRead + Send>> {
        Ok(match self {
            // The path is an operator's own, in the spool.
            Source::File(path) => Box::new(BufReader::with_capacity(
                READ_BUFFER_BYTES,
                plain::open(path, Links::Follow)?,
            )),
            Source::Memory(bytes) => Box::new(io::Cursor::new(bytes.to_vec())),
            Source::Reader(open) => Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, open()?)),
        })
    }
}

/// The root element's expanded name, which determines the type of a document, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    pub line: u64,
    pub column: u64,
    pub namespace: Option<String>,
    pub name: String,
}

impl Root {
    /// What is wrong with the root element.
    pub fn finding(&self, message: &str) -> Finding {
        Finding::new(self.line, self.column, message).with_path(&format!("/{}", self.name))
    }
}

/// What one document may make us hold in memory. The size of the whole document is the
/// concern of the caller that accepted it; these limits make its cost linear and its memory constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XmlLimits {
    /// Bytes of one attribute value: a value is held whole by every engine.
    pub attribute_bytes_max: usize,
    /// Attributes of one element, namespace declarations included.
    pub attributes_max: usize,
    /// Nesting of elements: libxml2 refuses more than 256, and recursion must stay bounded.
    pub depth_max: usize,
    /// Findings of one validation, without the one that says how many more there are: a partner
    /// reads the first few, a hostile one makes millions.
    pub findings_max: usize,
    /// Bytes of an element or attribute name, prefix included.
    pub name_bytes_max: usize,
    /// Namespace declarations in force at the same time: the engines copy them for each element.
    pub namespaces_max: usize,
    /// Bytes of one start tag, all its attributes together.
    pub tag_bytes_max: usize,
    /// Bytes of text between two tags, and of one comment or processing instruction.
    pub text_bytes_max: usize,
}

impl Default for XmlLimits {
    fn default() -> XmlLimits {
        XmlLimits {
            attribute_bytes_max: 64 * 1024,
            attributes_max: 1000,
            depth_max: 256,
            findings_max: 100,
            name_bytes_max: 1024,
            namespaces_max: 256,
            tag_bytes_max: 1024 * 1024,
            text_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// The message with every run of white space and control characters as one space, cut to length.
fn one_line(message: &str) -> String {
    let mut line = String::new();
    for word in message.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MESSAGE_CHARS_MAX * 4 {
            break;
        }
    }
    if line.chars().count() > MESSAGE_CHARS_MAX {
        line = line.chars().take(MESSAGE_CHARS_MAX - 1).collect();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        let finding = Finding::new(3, 7, "\tfirst\r\nsecond \u{7} third\n");
        assert_eq!(finding.to_string(), "3:7: first second third");
        let long = Finding::new(1, 1, &"ä".repeat(5000));
        assert_eq!(long.message.chars().count(), MESSAGE_CHARS_MAX);
        assert!(long.message.ends_with('…'));
    }
}
