//! Any declared encoding in, UTF-8 out, with the place of every byte known.
//!
//! The encoding is determined by the byte order mark, by the shape of the first bytes, or by the XML
//! declaration; a declaration that contradicts what the bytes are is refused, and so are an
//! unknown encoding, malformed bytes and characters that XML does not allow. Such a fault is an
//! `io::Error` that carries a [`Finding`] ([`finding_in`] takes it out), delivered after all the
//! text before it. The mark is dropped and nothing else is changed, unless the consumer would be
//! confused by a label that is no longer true: [`Decoder::unlabelled`] puts spaces in its place.
//!
//! Streaming: what is held is one chunk of input and one of output, whatever the document.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::ops::Range;
use std::rc::Rc;

use encoding_rs::{DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::declaration;
use super::names::is_space;
use super::position::{Meter, Position};
use super::{Finding, Source};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The XML declaration must lie within this, also in UTF-16; real ones have about 60 characters.
const HEAD_BYTES: usize = 4096;

/// Decoded text that waits for the consumer. Holds all that `HEAD_BYTES` can become.
const TEXT_BYTES: usize = 16 * 1024;

/// Bytes that are examined together.
const SUSPECT_BLOCK: usize = 64;

/// A [`Finding`] on its way through `io::Error`.
#[derive(Debug)]
struct Malformed(Finding);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Malformed {}

/// What a reading error says about the document, if it is not an error of the device.
pub(super) fn finding_in(error: &io::Error) -> Option<&Finding> {
    let malformed = error.get_ref()?.downcast_ref::<Malformed>()?;
    Some(&malformed.0)
}

/// The whole text of a small document, unlabelled.
pub(super) fn to_text(bytes: &[u8]) -> Result<String, Finding> {
    let mut text = String::new();
    let read = Decoder::open(&Source::Memory(bytes))
        .and_then(|decoder| decoder.unlabelled().read_to_string(&mut text));
    match read {
        Ok(_) => Ok(text),
        Err(error) => Err(match finding_in(&error) {
            Some(finding) => finding.clone(),
            None => Finding::new(0, 0, &error.to_string()),
        }),
    }
}

/// A document that is in UTF-8 already, without its byte order mark. Whether it is what it says is
/// not looked at.
pub(super) fn as_utf8(document: &[u8]) -> Option<&[u8]> {
    let head = &document[..document.len().min(HEAD_BYTES)];
    let known = recognise(head).ok()?;
    known.is_utf8().then(|| &document[known.mark_bytes..])
}

/// The document in UTF-8 without a byte order mark, from its first byte on: as it is where it says
/// that it is in UTF-8, else decoded and without the label that is wrong then.
///
/// # Errors
/// When it cannot be read; reading fails in the same way, or with what [`finding_in`] takes out.
pub(super) fn in_utf8<'a>(source: &Source<'a>) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut input = source.open()?;
    let mut head = Vec::new();
    input
        .by_ref()
        .take(HEAD_BYTES as u64)
        .read_to_end(&mut head)?;
    let mark_bytes = match recognise(&head) {
        Ok(known) if known.is_utf8() => Some(known.mark_bytes),
        Ok(_) | Err(_) => None,
    };
    head.drain(..mark_bytes.unwrap_or(0));
    let whole = io::Cursor::new(head).chain(input);
    Ok(match mark_bytes {
        Some(_) => Box::new(whole),
        None => Box::new(Decoder::of(Box::new(whole))?.unlabelled()),
    })
}

pub(super) struct Decoder<'a> {
    charset: Charset,
    done: bool,
    failure: Option<Finding>,
    input: Box<dyn BufRead + 'a>,
    /// What to overwrite in the first piece of text, which is never shorter than the head.
    label: Option<Range<usize>>,
    meter: Rc<Meter>,
    text: Box<[u8]>,
    /// The part of `text` that is not consumed yet.
    pending: Range<usize>,
    unlabelled: bool,
}

/// How bytes become characters. ASCII and ISO 8859-1 are ours because encoding_rs, being made
/// for browsers, reads both labels as windows-1252.
enum Charset {
    Ascii,
    Latin1,
    Other(Box<encoding_rs::Decoder>),
}

impl<'a> Decoder<'a> {
    pub(super) fn open(source: &Source<'a>) -> io::Result<Decoder<'a>> {
        Decoder::of(source.open()?)
    }

    /// Decodes a document from its first byte on.
    pub(super) fn of(mut input: Box<dyn BufRead + 'a>) -> io::Result<Decoder<'a>> {
        let mut head = Vec::new();
        input
            .by_ref()
            .take(HEAD_BYTES as u64)
            .read_to_end(&mut head)?;
        let known = recognise(&head).map_err(malformed)?;
        head.drain(..known.mark_bytes);
        Ok(Decoder {
            charset: known.charset,
            done: false,
            failure: None,
            input: Box::new(io::Cursor::new(head).chain(input)),
            label: known.label,
            meter: Rc::new(Meter::new()),
            text: vec![0; TEXT_BYTES].into_boxed_slice(),
            pending: 0..0,
            unlabelled: false,
        })
    }

    /// Gives spaces in place of `encoding="…"`, which is wrong once the text is UTF-8.
    pub(super) fn unlabelled(mut self) -> Self {
        self.unlabelled = true;
        self
    }

    pub(super) fn meter(&self) -> Rc<Meter> {
        Rc::clone(&self.meter)
    }

    /// Decodes until there is text, an end or a failure. All earlier text has been consumed.
    fn refill(&mut self) -> io::Result<()> {
        self.pending = 0..0;
        while self.pending.is_empty() && !self.done && self.failure.is_none() {
            let bytes = self.input.fill_buf()?;
            let last = bytes.is_empty();
            let (step, read, written) = self.charset.decode(bytes, &mut self.text, last);
            self.input.consume(read);
            self.pending = 0..written;
            match step {
                Step::Malformed => self.fail(written, "the bytes do not fit the encoding"),
                Step::More => self.done = last,
                Step::Full => {}
            }
        }
        self.refuse_forbidden();
        if let Some(label) = self.label.take()
            && self.unlabelled
            && label.end <= self.pending.end
        {
            self.text[label].fill(b' ');
        }
        Ok(())
    }

    /// Ends the text before the first character that XML does not allow.
    fn refuse_forbidden(&mut self) {
        let text = &self.text[self.pending.clone()];
        if let Some((offset, code)) = first_forbidden(text) {
            self.pending = 0..offset;
            self.fail(
                offset,
                &format!("the character U+{code:04X} is not allowed in XML"),
            );
        }
        let at_start = self.meter.position() == Position::start();
        if at_start && self.text[self.pending.clone()].starts_with(BYTE_ORDER_MARK) {
            self.pending = 0..0;
            self.fail(0, "a second byte order mark");
        }
    }

    fn fail(&mut self, offset: usize, message: &str) {
        let place = self.meter.position().after(&self.text[..offset]);
        self.failure = Some(place.finding(message));
    }
}

impl BufRead for Decoder<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.pending.is_empty() {
            if self.failure.is_none() && !self.done {
                self.refill()?;
            }
            if self.pending.is_empty()
                && let Some(finding) = &self.failure
            {
                return Err(malformed(finding.clone()));
            }
        }
        let budget = self.meter.budget();
        if budget == 0 && !self.pending.is_empty() {
            let place = self.meter.event();
            return Err(malformed(place.finding("too long without an end")));
        }
        let end = self
            .pending
            .end
            .min(self.pending.start.saturating_add(budget));
        Ok(&self.text[self.pending.start..end])
    }

    fn consume(&mut self, bytes: usize) {
        let end = self.pending.start + bytes;
        self.meter.consume(&self.text[self.pending.start..end]);
        self.pending.start = end;
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let bytes = available.len().min(into.len());
        into[..bytes].copy_from_slice(&available[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

enum Step {
    Full,
    Malformed,
    More,
}

impl Charset {
    /// Returns what came of it, the bytes read and the bytes written.
    fn decode(&mut self, bytes: &[u8], text: &mut [u8], last: bool) -> (Step, usize, usize) {
        match self {
            Charset::Ascii => {
                let fitting = bytes.len().min(text.len());
                let good = bytes[..fitting]
                    .iter()
                    .position(|b| !b.is_ascii())
                    .unwrap_or(fitting);
                text[..good].copy_from_slice(&bytes[..good]);
                let step = if good < fitting {
                    Step::Malformed
                } else {
                    Step::More
                };
                (step, good, good)
            }
            Charset::Latin1 => {
                let (read, written) = encoding_rs::mem::convert_latin1_to_utf8_partial(bytes, text);
                (Step::More, read, written)
            }
            Charset::Other(decoder) => {
                let (result, read, written) =
                    decoder.decode_to_utf8_without_replacement(bytes, text, last);
                let step = match result {
                    DecoderResult::InputEmpty => Step::More,
                    DecoderResult::Malformed(..) => Step::Malformed,
                    DecoderResult::OutputFull => Step::Full,
                };
                (step, read, written)
            }
        }
    }
}

struct Known {
    charset: Charset,
    label: Option<Range<usize>>,
    mark_bytes: usize,
}

impl Known {
    fn is_utf8(&self) -> bool {
        match &self.charset {
            Charset::Ascii | Charset::Latin1 => false,
            Charset::Other(decoder) => decoder.encoding() == UTF_8,
        }
    }
}

/// Determines the encoding from the head of a document.
fn recognise(head: &[u8]) -> Result<Known, Finding> {
    let (shape, mark_bytes) = shape_of(head)?;
    let text = ascii_of(&head[mark_bytes..], shape);
    let declared = declared_in(&text)?;
    let charset = match (&declared, shape) {
        (None, shape) => Charset::Other(unmarked(shape.unwrap_or(UTF_8))),
        (Some((label, span)), shape) => charset_of(label, shape).map_err(|message| {
            Position::start()
                .after(&text[..span.start])
                .finding(&message)
        })?,
    };
    Ok(Known {
        charset,
        label: declared.map(|(_, span)| span),
        mark_bytes,
    })
}

/// What a byte order mark or the bytes of `<?` say, and the length of the mark.
fn shape_of(head: &[u8]) -> Result<(Option<&'static Encoding>, usize), Finding> {
    Ok(match head {
        [0xFF, 0xFE, 0, 0, ..]
        | [0, 0, 0xFE, 0xFF, ..]
        | [0, 0, 0, b'<', ..]
        | [b'<', 0, 0, 0, ..] => {
            return Err(Finding::new(1, 1, "UTF-32 is not accepted"));
        }
        [0x4C, 0x6F, 0xA7, 0x94, ..] => {
            return Err(Finding::new(1, 1, "EBCDIC is not accepted"));
        }
        [0xEF, 0xBB, 0xBF, ..] => (Some(UTF_8), BYTE_ORDER_MARK.len()),
        [0xFF, 0xFE, ..] => (Some(UTF_16LE), 2),
        [0xFE, 0xFF, ..] => (Some(UTF_16BE), 2),
        [b'<', 0, b'?', 0, ..] => (Some(UTF_16LE), 0),
        [0, b'<', 0, b'?', ..] => (Some(UTF_16BE), 0),
        _ => (None, 0),
    })
}

/// The head with one byte for each code unit; what is not ASCII becomes DEL, which is in no rule.
fn ascii_of(head: &[u8], shape: Option<&'static Encoding>) -> Vec<u8> {
    let unit = |high: u8, low: u8| {
        if high == 0 && low.is_ascii() {
            low
        } else {
            0x7F
        }
    };
    match shape {
        Some(encoding) if encoding == UTF_16LE => {
            head.chunks_exact(2).map(|u| unit(u[1], u[0])).collect()
        }
        Some(encoding) if encoding == UTF_16BE => {
            head.chunks_exact(2).map(|u| unit(u[0], u[1])).collect()
        }
        _ => head.iter().map(|&b| unit(0, b)).collect(),
    }
}

/// The encoding that the declaration names, and the bytes it stands in. A declaration that is
/// not well-formed declares nothing here; the check of the document refuses it.
fn declared_in(head: &[u8]) -> Result<Option<(String, Range<usize>)>, Finding> {
    let text = str::from_utf8(head).unwrap_or_default();
    let Some(rest) = text.strip_prefix("<?") else {
        return Ok(None);
    };
    if !rest
        .strip_prefix("xml")
        .is_some_and(|rest| rest.starts_with(is_space))
    {
        return Ok(None);
    }
    let Some(end) = rest.find("?>") else {
        return Err(Finding::new(1, 1, "the XML declaration is not closed"));
    };
    Ok(declaration::parse(&rest[..end]).ok().and_then(|declared| {
        let span = declared.encoding_span;
        let label = declared.encoding?.to_owned();
        Some((label, span.start + 2..span.end + 2))
    }))
}

/// The decoder for a label, unless the label contradicts what the bytes are.
fn charset_of(label: &str, shape: Option<&'static Encoding>) -> Result<Charset, String> {
    let lower = label.to_ascii_lowercase();
    let unknown = || format!("the encoding \"{label}\" is not known");
    let named = Encoding::for_label_no_replacement(lower.as_bytes()).ok_or_else(unknown)?;
    let wide = named == UTF_16LE || named == UTF_16BE;
    let fits = match shape {
        Some(shape) if shape == UTF_8 => named == UTF_8,
        // "UTF-16" alone leaves the order of the bytes to the mark.
        Some(shape) => wide && (lower == "utf-16" || named == shape),
        None => !wide,
    };
    if !fits {
        let found = shape.map_or("in no form of UTF-16", |shape| shape.name());
        return Err(format!(
            "the document is declared as \"{label}\" but it is {found}"
        ));
    }
    Ok(match lower.as_str() {
        "ascii" | "us-ascii" => Charset::Ascii,
        "iso-8859-1" | "iso_8859-1" | "latin1" | "l1" => Charset::Latin1,
        _ => Charset::Other(unmarked(shape.unwrap_or(named))),
    })
}

fn unmarked(encoding: &'static Encoding) -> Box<encoding_rs::Decoder> {
    Box::new(encoding.new_decoder_without_bom_handling())
}

/// The first character that is no `Char`. The text is UTF-8, so surrogates cannot occur.
fn first_forbidden(text: &[u8]) -> Option<(usize, u32)> {
    // A block without a suspect is passed by as one.
    let suspect = |b: u8| (b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r')) || b == 0xEF;
    for (block_start, block) in (0..).step_by(SUSPECT_BLOCK).zip(text.chunks(SUSPECT_BLOCK)) {
        if !block.iter().fold(false, |any, &b| any | suspect(b)) {
            continue;
        }
        for (offset, _) in block.iter().enumerate().filter(|(_, b)| suspect(**b)) {
            let at = block_start + offset;
            match text[at..] {
                [0xEF, 0xBF, low @ (0xBE | 0xBF), ..] => {
                    return Some((at, 0xFF40 + u32::from(low)));
                }
                [0xEF, ..] | [] => {}
                [control, ..] => return Some((at, u32::from(control))),
            }
        }
    }
    None
}

fn malformed(finding: Finding) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed(finding))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, little: bool, mark: bool) -> Vec<u8> {
        let mark = if mark { "\u{FEFF}" } else { "" };
        format!("{mark}{text}")
            .encode_utf16()
            .flat_map(|u| {
                if little {
                    u.to_le_bytes()
                } else {
                    u.to_be_bytes()
                }
            })
            .collect()
    }

    fn labelled(bytes: &[u8]) -> Result<String, String> {
        let mut text = String::new();
        Decoder::open(&Source::Memory(bytes))
            .and_then(|mut d| d.read_to_string(&mut text))
            .map_err(|e| finding_in(&e).expect("a finding").to_string())?;
        Ok(text)
    }

    #[test]
    fn the_declared_encoding_is_decoded_and_nothing_else_changes() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n<r>ä€𝄞</r>";
        for little in [true, false] {
            assert_eq!(labelled(&utf16(text, little, true)).unwrap(), text);
            assert_eq!(labelled(&utf16(text, little, false)).unwrap(), text);
        }
        assert_eq!(
            labelled(&utf16("<r>ä</r>", true, true)).unwrap(),
            "<r>ä</r>"
        );
        assert_eq!(labelled(b"\xEF\xBB\xBF<r/>").unwrap(), "<r/>");
        let latin = |label: &str, byte: u8| {
            let mut bytes = format!("<?xml version='1.0' encoding='{label}'?><r>").into_bytes();
            bytes.push(byte);
            labelled(&bytes).map(|text| text.chars().next_back().unwrap())
        };
        assert_eq!(latin("ISO-8859-1", 0xFC).unwrap(), 'ü');
        assert_eq!(latin("iso-8859-1", 0x80).unwrap(), '\u{80}');
        assert_eq!(latin("windows-1252", 0x80).unwrap(), '€');
        assert_eq!(latin("ISO-8859-15", 0xA4).unwrap(), '€');
        assert_eq!(
            latin("US-ASCII", 0xFC).unwrap_err(),
            "1:45: the bytes do not fit the encoding"
        );
    }

    #[test]
    fn a_label_that_is_no_longer_true_becomes_spaces() {
        let bytes = utf16("<?xml version='1.0' encoding='UTF-16' ?><r/>", true, true);
        let expected = format!("<?xml version='1.0' {} ?><r/>", " ".repeat(17));
        assert_eq!(to_text(&bytes).unwrap(), expected);
    }

    #[test]
    fn a_label_that_contradicts_the_bytes_is_refused() {
        let declared = |label: &str| format!("<?xml version='1.0' encoding='{label}'?><r/>");
        let cases = [
            (
                declared("UTF-16").into_bytes(),
                "1:21: the document is declared as \"UTF-16\" but it is in no form of UTF-16",
            ),
            (
                utf16(&declared("UTF-8"), true, true),
                "1:21: the document is declared as \"UTF-8\" but it is UTF-16LE",
            ),
            (
                utf16(&declared("UTF-16LE"), false, true),
                "1:21: the document is declared as \"UTF-16LE\" but it is UTF-16BE",
            ),
            (
                [b"\xEF\xBB\xBF", declared("ISO-8859-1").as_bytes()].concat(),
                "1:21: the document is declared as \"ISO-8859-1\" but it is UTF-8",
            ),
            (
                declared("klingon").into_bytes(),
                "1:21: the encoding \"klingon\" is not known",
            ),
            (
                declared("hz-gb-2312").into_bytes(),
                "1:21: the encoding \"hz-gb-2312\" is not known",
            ),
            (
                b"\xFF\xFE\0\0<\0\0\0".to_vec(),
                "1:1: UTF-32 is not accepted",
            ),
            (
                [b"<?xml version='1.0'", " ".repeat(9000).as_bytes()].concat(),
                "1:1: the XML declaration is not closed",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(labelled(&bytes).unwrap_err(), expected);
        }
    }

    #[test]
    fn faults_are_located_after_all_good_text() {
        let cases: [(&[u8], &str); 8] = [
            (
                b"<r>\n\xC3\xA4\xFF</r>",
                "2:2: the bytes do not fit the encoding",
            ),
            (b"<r>\xC3", "1:4: the bytes do not fit the encoding"),
            (
                b"<r>\n a\x00",
                "2:3: the character U+0000 is not allowed in XML",
            ),
            (
                b"<r>\x1B",
                "1:4: the character U+001B is not allowed in XML",
            ),
            (
                b"<r>\xEF\xBF\xBF",
                "1:4: the character U+FFFF is not allowed in XML",
            ),
            (
                b"<r>\xEF\xBF\xBD\xEF\xBF\xBE",
                "1:5: the character U+FFFE is not allowed in XML",
            ),
            (b"<r>\xED\xA0\x80", "1:4: the bytes do not fit the encoding"),
            (
                b"\xEF\xBB\xBF\xEF\xBB\xBF<r/>",
                "1:1: a second byte order mark",
            ),
        ];
        for (bytes, expected) in cases {
            assert_eq!(labelled(bytes).unwrap_err(), expected);
        }
        let odd = &utf16("<r>ä</r>", true, true)[..7];
        assert_eq!(
            labelled(odd).unwrap_err(),
            "1:3: the bytes do not fit the encoding"
        );
    }

    #[test]
    fn long_text_is_decoded_in_pieces() {
        let text = format!("<r>{}</r>", "grüß 𝄞\n".repeat(20_000));
        assert_eq!(labelled(text.as_bytes()).unwrap(), text);
        assert_eq!(labelled(&utf16(&text, false, true)).unwrap(), text);
    }

    #[test]
    fn an_event_cannot_outgrow_its_budget() {
        let text = format!("<r>{}", "x".repeat(100_000));
        let mut decoder = Decoder::open(&Source::Memory(text.as_bytes())).unwrap();
        decoder.consume_exactly(3);
        decoder.meter().begin_event(50_000);
        let error = io::copy(&mut decoder, &mut io::sink()).unwrap_err();
        assert_eq!(
            finding_in(&error).unwrap().to_string(),
            "1:4: too long without an end"
        );
        assert_eq!(decoder.meter().position().offset, 50_003);
    }

    impl Decoder<'_> {
        fn consume_exactly(&mut self, bytes: usize) {
            let mut buffer = vec![0; bytes];
            self.read_exact(&mut buffer).unwrap();
        }
    }
}
