//! Transformation of a document by one of the server's stylesheets, in an `xsltproc` process.
//!
//! [`Stylesheets`] keeps a directory of `<name>.xsl` files in force (see `shelf`); what a
//! stylesheet may contain is checked when it is loaded (`stylesheet`). A transformation unpacks
//! the files of the stylesheet, which are all that the process can read, and has limits on time,
//! memory and output (`child`). A document that intake would refuse never gets there, because
//! the program would expand the entities that it declares.
//!
//! Without `xsltproc` stylesheets load and are kept, and every transformation is
//! [`XsltError::Missing`].

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::child::{self, ChildError, ChildLimits, ChildOutput};
use super::intake::{InspectError, inspect};
use super::reloadable_dir::{ReloadReport, ReloadableDir};
use super::snapshot::Snapshot;
use super::stylesheet::{Output, examine};
use super::{Finding, Source, XmlLimits};

const PROGRAM: &str = "xsltproc";

/// The templates that may wait for each other; recursion without an end stops here.
const TEMPLATE_DEPTH_MAX: &str = "1000";

/// The exit status of `xsltproc` for a stylesheet that does not compile.
const STYLESHEET_FAULT: i32 = 5;

/// How `xsltproc` says that its memory is used up.
const OUT_OF_MEMORY: [&str; 2] = ["out of memory", "Memory allocation failed"];

#[derive(Debug, Clone, Copy)]
pub struct XsltLimits {
    pub memory_bytes_max: u64,
    pub output_bytes_max: u64,
    pub time: Duration,
    pub xml: XmlLimits,
}

impl Default for XsltLimits {
    fn default() -> XsltLimits {
        XsltLimits {
            // A document of 10 MB with sorting and keys takes 120 MB.
            memory_bytes_max: 1 << 30,
            // The result is held in memory until it is sent.
            output_bytes_max: 64 << 20,
            // A document of 10 MB takes a second; partners wait for the answer.
            time: Duration::from_secs(20),
            xml: XmlLimits::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transformed {
    pub body: Vec<u8>,
    pub content_type: String,
}

#[derive(Debug, thiserror::Error)]
pub enum XsltError {
    /// The message is for the operator; it may quote the stylesheet.
    #[error("the transformation failed: {message}")]
    Failed { message: String },
    #[error("xsltproc is not installed; install it with `apt-get install xsltproc`")]
    Missing,
    #[error("the document is not well-formed: {0}")]
    NotWellFormed(Finding),
    #[error("the transformation took too long")]
    TimedOut,
    #[error("the transformation's result is too large")]
    TooLarge,
    #[error("the stylesheet has a mistake and was not loaded; the reason was logged then")]
    Refused,
    #[error("there is no stylesheet of this name in force")]
    Unknown,
}

pub fn xsltproc_present() -> bool {
    child::find(PROGRAM).is_some()
}

pub struct Stylesheets {
    /// Beside each stylesheet what it says of its output.
    reloadable_dir: ReloadableDir<Output>,
}

impl Stylesheets {
    /// Nothing is in force before the first [`Stylesheets::reload`].
    pub fn open(dir: &Path) -> Stylesheets {
        Stylesheets {
            reloadable_dir: ReloadableDir::new(dir, "xsl"),
        }
    }

    /// Loads what is new or has changed. Call it at start and whenever the directory changes.
    pub fn reload(&self) -> Vec<ReloadReport> {
        let read =
            |dir: &Path, names: &BTreeSet<String>| Snapshot::read_each(dir, names, "xsl", examine);
        self.reloadable_dir.reload(&read, &|snapshot| {
            if xsltproc_present() {
                probe(snapshot)?;
            }
            Ok(Output::of(snapshot))
        })
    }

    /// The names of the files that the last reload could not load, sorted.
    pub fn refused(&self) -> Vec<String> {
        self.reloadable_dir.all_refused()
    }

    /// The names of the stylesheets in force, sorted.
    pub fn names(&self) -> Vec<String> {
        self.reloadable_dir.names()
    }

    /// Is there a stylesheet of this name, and if not, why?
    ///
    /// # Errors
    /// When there is none, or the one that there is was refused.
    pub fn check(&self, name: &str) -> Result<(), XsltError> {
        if self.reloadable_dir.find(name).is_some() {
            Ok(())
        } else if self.reloadable_dir.is_refused(name) {
            Err(XsltError::Refused)
        } else {
            Err(XsltError::Unknown)
        }
    }

    /// Transforms a document by the stylesheet of this name.
    ///
    /// # Errors
    /// When there is no usable stylesheet of that name, the document is not well-formed, or the
    /// transformation fails or breaks a limit.
    pub fn transform(
        &self,
        name: &str,
        source: &Source<'_>,
        limits: &XsltLimits,
    ) -> Result<Transformed, XsltError> {
        let kept = self.reloadable_dir.find(name).ok_or(XsltError::Unknown)?;
        inspect(source, &limits.xml).map_err(|error| match error {
            InspectError::Io(error) => XsltError::Failed {
                message: format!("the document cannot be read: {error}"),
            },
            InspectError::NotWellFormed(finding) => XsltError::NotWellFormed(finding),
        })?;
        let body = run(&kept.snapshot, source, limits)?;
        Ok(Transformed {
            content_type: kept.value.content_type(&body),
            body,
        })
    }
}

/// Finds the mistakes that only the program sees, by compiling the stylesheet. The document is
/// none, so that the program stops after that: what a stylesheet does may take its time.
fn probe(stylesheet: &Snapshot) -> Result<(), String> {
    match execute(stylesheet, &Source::Memory(b"<"), &XsltLimits::default()) {
        Ok(ended) if ended.status.code() == Some(STYLESHEET_FAULT) => Err(messages(&ended)),
        Err(error @ ChildError::Run(_)) => Err(error.to_string()),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn run(
    stylesheet: &Snapshot,
    source: &Source<'_>,
    limits: &XsltLimits,
) -> Result<Vec<u8>, XsltError> {
    let ended = execute(stylesheet, source, limits).map_err(|error| match error {
        ChildError::Run(cause) if cause.kind() == io::ErrorKind::NotFound => XsltError::Missing,
        ChildError::TimedOut => XsltError::TimedOut,
        ChildError::TooLarge => XsltError::TooLarge,
        ChildError::Input(_) | ChildError::Run(_) => XsltError::Failed {
            message: error.to_string(),
        },
    })?;
    if ended.status.success() {
        return Ok(ended.output);
    }
    let messages = messages(&ended);
    // The result is made in memory before a byte of it is written.
    if OUT_OF_MEMORY.iter().any(|said| messages.contains(said)) {
        return Err(XsltError::TooLarge);
    }
    let message = format!("xsltproc ended with {}: {messages}", ended.status);
    Err(XsltError::Failed { message })
}

fn execute(
    stylesheet: &Snapshot,
    source: &Source<'_>,
    limits: &XsltLimits,
) -> Result<ChildOutput, ChildError> {
    let missing = || ChildError::Run(io::ErrorKind::NotFound.into());
    let program = child::find(PROGRAM).ok_or_else(missing)?;
    let dir = stylesheet.unpack().map_err(|error| {
        // Not to be taken for a missing program.
        ChildError::Run(io::Error::other(error))
    })?;
    let arguments = [
        "--nonet",
        "--nowrite",
        "--nomkdir",
        "--novalid",
        "--maxdepth",
        TEMPLATE_DEPTH_MAX,
        stylesheet.main(),
        "-",
    ];
    let limits = ChildLimits {
        memory_bytes: limits.memory_bytes_max,
        output_bytes_max: limits.output_bytes_max,
        time: limits.time,
    };
    child::run(
        &program,
        &arguments.map(OsStr::new),
        dir.path(),
        source,
        &limits,
    )
}

fn messages(ended: &ChildOutput) -> String {
    super::one_line(&String::from_utf8_lossy(&ended.messages))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const XSL: &str = "xmlns:xsl='http://www.w3.org/1999/XSL/Transform' version='1.0'";

    fn sheet(content: &str) -> String {
        format!(
            "<xsl:stylesheet {XSL} xmlns:exsl='http://exslt.org/common'>{content}</xsl:stylesheet>"
        )
    }

    fn template(content: &str) -> String {
        sheet(&format!("<xsl:template match='/'>{content}</xsl:template>"))
    }

    /// Tests that need the program fail in continuous integration when it is missing.
    fn runnable() -> bool {
        let present = xsltproc_present();
        assert!(
            present || std::env::var_os("CI").is_none(),
            "xsltproc is not installed"
        );
        if !present {
            println!("skipped: xsltproc is not installed");
        }
        present
    }

    fn snapshot(text: &str) -> Snapshot {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("s.xsl"), text).unwrap();
        // The static check is left out, so that what stands behind it can be seen.
        Snapshot::read(dir.path(), "s.xsl", |_| Ok(None)).unwrap()
    }

    /// Where the time is not what ends it, whatever else the machine does.
    const NO_TEST_TAKES: Duration = Duration::from_secs(600);

    fn unchecked(text: &str, document: &[u8]) -> Result<String, XsltError> {
        let limits = XsltLimits {
            output_bytes_max: 1 << 20,
            time: NO_TEST_TAKES,
            ..XsltLimits::default()
        };
        let body = run(&snapshot(text), &Source::Memory(document), &limits)?;
        Ok(String::from_utf8(body).unwrap())
    }

    #[test]
    fn a_document_is_transformed_with_an_imported_stylesheet() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lib")).unwrap();
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        write(
            "page.xsl",
            &sheet(
                "<xsl:import href='lib/part.xsl'/><xsl:output method='html' encoding='ISO-8859-1'/>",
            ),
        );
        write(
            "lib/part.xsl",
            &template("<html><p><xsl:value-of select='/r'/></p></html>"),
        );
        write(
            "plain.xsl",
            &sheet(
                "<xsl:output method='text' media-type='text/csv'/><xsl:template match='/'>a;b</xsl:template>",
            ),
        );
        let sheets = Stylesheets::open(dir.path());
        let reports: Vec<_> = sheets.reload().iter().map(ToString::to_string).collect();
        assert_eq!(reports, ["page: loaded", "plain: loaded"]);
        if !runnable() {
            return;
        }
        let utf16: Vec<u8> = "\u{FEFF}<?xml version='1.0' encoding='UTF-16'?><r>ü</r>"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        let transform = |name: &str, document: &[u8]| {
            sheets.transform(name, &Source::Memory(document), &XsltLimits::default())
        };
        let page = transform("page", &utf16).unwrap();
        assert_eq!(page.content_type, "text/html; charset=ISO-8859-1");
        assert!(page.body.windows(6).any(|w| w == b"<p>\xFC</"), "{page:?}");
        let plain = transform("plain", b"<r/>").unwrap();
        assert_eq!(
            (plain.content_type.as_str(), &plain.body[..]),
            ("text/csv; charset=UTF-8", &b"a;b"[..])
        );
        assert!(matches!(
            transform("none", b"<r/>"),
            Err(XsltError::Unknown)
        ));
        let bomb = b"<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><r>&x;</r>";
        assert!(matches!(
            transform("page", bomb),
            Err(XsltError::NotWellFormed(_))
        ));
    }

    #[test]
    fn bad_stylesheets_are_refused_and_the_old_one_serves() {
        let dir = tempfile::tempdir().unwrap();
        let write = |text: &str| fs::write(dir.path().join("s.xsl"), text).unwrap();
        let sheets = Stylesheets::open(dir.path());
        let reload = || {
            sheets
                .reload()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        };
        write(&template("old"));
        assert_eq!(reload(), "s: loaded");
        let mut bad = vec![
            (
                template("<xsl:value-of select=\"document('/etc/passwd')\"/>"),
                "document()",
            ),
            (template("<exsl:document href='x'/>"), "extension element"),
            (
                sheet("<xsl:import href='../other.xsl'/>"),
                "not a plain relative path",
            ),
            (
                sheet("<xsl:include href='http://example.org/x.xsl'/>"),
                "not a plain relative path",
            ),
            (
                format!("<!DOCTYPE x>{}", template("")),
                "document type declarations",
            ),
            ("<html/>".to_owned(), "not xsl:stylesheet"),
            ("<xsl:stylesheet".to_owned(), "s.xsl:1:1:"),
        ];
        if runnable() {
            bad.push((template("<xsl:value-of select='(('/>"), "s.xsl"));
        }
        for (text, expected) in bad {
            write(&text);
            let report = reload();
            assert!(
                report.starts_with("s: refused, the version before it stays in force"),
                "{report}"
            );
            assert!(report.contains(expected), "{report}");
        }
        if runnable() {
            let source = Source::Memory(b"<r/>");
            let body = sheets
                .transform("s", &source, &XsltLimits::default())
                .unwrap()
                .body;
            assert!(String::from_utf8(body).unwrap().ends_with("old\n"));
        }
    }

    #[test]
    fn the_sandbox_stands_behind_the_check() {
        if !runnable() || !crate::util::sandbox::testable() {
            return;
        }
        // Well-formed, so that only the sandbox can keep it from being read.
        let secret = tempfile::Builder::new()
            .prefix("secret")
            .suffix(".xml")
            .tempfile()
            .unwrap();
        fs::write(secret.path(), "<secret>hush</secret>").unwrap();
        let path = secret.path().display();
        let read = template(&format!(
            "<a><xsl:value-of select=\"document('{path}')\"/></a>"
        ));
        // The call goes through, the file does not.
        let body = unchecked(&read, b"<r/>").unwrap();
        assert!(body.contains("<a") && !body.contains("hush"), "{body}");
        let target = tempfile::tempdir().unwrap();
        let file = target.path().join("written");
        let write = sheet(&format!(
            "<xsl:template match='/' xmlns:e='http://exslt.org/common' xsl:extension-element-prefixes='e'>\
             <e:document href='{}'>x</e:document></xsl:template>",
            file.display()
        ));
        let _ = unchecked(&write, b"<r/>");
        assert!(!file.exists());
        let entity = b"<!DOCTYPE r [<!ENTITY x SYSTEM '/etc/hostname'>]><r>&x;</r>";
        let copied = unchecked(&template("<xsl:copy-of select='.'/>"), entity);
        let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
        if let (Ok(body), false) = (&copied, host.trim().is_empty()) {
            assert!(!body.contains(host.trim()), "{body}");
        }
    }

    #[test]
    fn recursion_without_an_end_ends() {
        if !runnable() {
            return;
        }
        let endless =
            sheet("<xsl:template match='/' name='t'><xsl:call-template name='t'/></xsl:template>");
        let error = unchecked(&endless, b"<r/>").unwrap_err();
        assert!(
            matches!(&error, XsltError::Failed { message } if message.contains("recursion")),
            "{error}"
        );
    }

    /// Only by running it could loading a stylesheet take long.
    #[test]
    fn a_stylesheet_is_loaded_without_being_run() {
        if !runnable() {
            return;
        }
        let nested =
            |body: String| format!("<xsl:for-each select='str:split($s)'>{body}</xsl:for-each>");
        let mut body = "<xsl:if test='count(//n) = 1'>x</xsl:if>".to_owned();
        for _ in 0..8 {
            body = nested(body);
        }
        let words = "x ".repeat(100);
        let slow = sheet(&format!(
            "<xsl:variable name='s' select=\"'{words}'\"/>\
             <xsl:template match='/' xmlns:str='http://exslt.org/strings'>{body}</xsl:template>"
        ));
        let begun = std::time::Instant::now();
        assert_eq!(probe(&snapshot(&slow)), Ok(()));
        assert!(begun.elapsed() < XsltLimits::default().time / 2);
        let bad = template("<xsl:value-of select='(('/>");
        assert!(probe(&snapshot(&bad)).is_err());
    }

    #[test]
    fn without_a_method_the_first_element_decides() {
        if !runnable() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let sheets = Stylesheets::open(dir.path());
        for (text, expected) in [
            (template("<html><br/></html>"), "text/html; charset=UTF-8"),
            (
                template("<xsl:comment>c</xsl:comment><HTML lang='de'/>"),
                "text/html; charset=UTF-8",
            ),
            (
                template("<html xmlns='urn:x'/>"),
                "application/xml; charset=UTF-8",
            ),
            (template("<htmlx/>"), "application/xml; charset=UTF-8"),
            (template("text<html/>"), "application/xml; charset=UTF-8"),
            (
                sheet(
                    "<xsl:output method='xml' omit-xml-declaration='yes'/><xsl:template match='/'><html/></xsl:template>",
                ),
                "application/xml; charset=UTF-8",
            ),
            (
                sheet(
                    "<xsl:output doctype-public='-//W3C//DTD HTML 4.01//EN'/><xsl:template match='/'><html/></xsl:template>",
                ),
                "text/html; charset=UTF-8",
            ),
        ] {
            fs::write(dir.path().join("s.xsl"), &text).unwrap();
            sheets.reload();
            let made = sheets.transform("s", &Source::Memory(b"<r/>"), &XsltLimits::default());
            let made = made.unwrap();
            let body = String::from_utf8_lossy(&made.body);
            assert_eq!(made.content_type, expected, "{text}\n{body}");
        }
    }

    #[test]
    fn an_output_bomb_is_too_large_and_a_slow_one_times_out() {
        if !runnable() {
            return;
        }
        let nodes = format!("<r>{}</r>", "<n/>".repeat(600));
        let bomb = sheet(
            "<xsl:output method='text'/><xsl:template match='/'><xsl:for-each select='//n'>\
             <xsl:for-each select='//n'>0123456789</xsl:for-each></xsl:for-each></xsl:template>",
        );
        let result = unchecked(&bomb, nodes.as_bytes());
        assert!(matches!(result, Err(XsltError::TooLarge)), "{result:?}");
        let grows = sheet(
            "<xsl:template match='/'><r><xsl:for-each select='//n'><xsl:for-each select='//n'>\
             <a>0123456789</a></xsl:for-each></xsl:for-each></r></xsl:template>",
        );
        let little = XsltLimits {
            memory_bytes_max: 64 << 20,
            time: NO_TEST_TAKES,
            ..XsltLimits::default()
        };
        let source = Source::Memory(nodes.as_bytes());
        let result = run(&snapshot(&grows), &source, &little);
        assert!(matches!(result, Err(XsltError::TooLarge)), "{result:?}");
        let slow = sheet(
            "<xsl:template match='/'><xsl:for-each select='//n'><xsl:for-each select='//n'>\
             <xsl:if test='count(//n) = 1'>x</xsl:if></xsl:for-each></xsl:for-each></xsl:template>",
        );
        let limits = XsltLimits {
            time: Duration::from_millis(200),
            ..XsltLimits::default()
        };
        let result = run(&snapshot(&slow), &Source::Memory(nodes.as_bytes()), &limits);
        assert!(matches!(result, Err(XsltError::TimedOut)), "{result:?}");
    }
}
