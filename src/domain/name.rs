//! Names and ids: what a job, an interface and a reference may be called, and the arithmetic
//! between a job's id and its name.
//!
//! A job name is `<UTC time to the millisecond>-<sequence>[-<reference>].xml`, for example
//! `20261122T045748.123Z-00042-order-10834.xml`. Time and sequence are the two halves of the
//! [`JobId`], so name → id is arithmetic, ids stay below 2^53 (exact in JSON), and names sort by
//! arrival. Parsing accepts only what printing makes: every name has exactly one spelling.
//!
//! Source: the dStore contract, "Job names".

use std::{fmt, str::FromStr};

/// Longest job name in bytes.
pub const NAME_BYTES_MAX: usize = 200;
/// Longest reference part in bytes.
pub const REFERENCE_BYTES_MAX: usize = 64;
const INTERFACE_BYTES_MAX: usize = 64;
/// Longest user name in bytes.
pub const USER_BYTES_MAX: usize = 64;
/// 2020-01-01T00:00:00Z in milliseconds of the Unix epoch: where ids start counting.
const EPOCH_MS: i64 = 1_577_836_800_000;
pub(super) const SEQUENCE_BITS: u32 = 12;
pub(super) const SEQUENCE_MAX: u64 = (1 << SEQUENCE_BITS) - 1;
const TIME_BITS: u32 = 41;
const STAMP_BYTES: usize = "20261122T045748.123Z".len();

/// Why a text is not a name. The message says what to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("byte {byte:#04x} at {at} is not allowed; use A-Z a-z 0-9 . _ -")]
    BadByte { at: usize, byte: u8 },
    #[error("the name is empty")]
    Empty,
    #[error("the name starts with a dot")]
    LeadingDot,
    #[error("not a job name: expected <time>-<sequence>[-<reference>].xml as the upload answered")]
    NotAJobName,
    #[error("the name has {len} bytes, at most {max} are allowed")]
    TooLong { len: usize, max: usize },
}

fn check(text: &str, max: usize) -> Result<(), NameError> {
    check_length(text, max)?;
    if text.starts_with('.') {
        return Err(NameError::LeadingDot);
    }
    check_bytes(text, allowed)
}

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        len if len > max => Err(NameError::TooLong { len, max }),
        _ => Ok(()),
    }
}

fn check_bytes(text: &str, allowed: impl Fn(u8) -> bool) -> Result<(), NameError> {
    match text.bytes().enumerate().find(|(_, b)| !allowed(*b)) {
        Some((at, byte)) => Err(NameError::BadByte { at, byte }),
        None => Ok(()),
    }
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// A queue's name: the `<interface>` of `queue/<interface>`.
/// Invariant: 1..=64 bytes of `[A-Za-z0-9._-]`, no leading dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(std::sync::Arc<str>);

impl InterfaceName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        check(text, INTERFACE_BYTES_MAX).map(|()| Self(text.into()))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user's name, which also names the directory `@<user>` of what is addressed to him.
/// Invariant: 1..=64 bytes of `[A-Za-z0-9._@-]`. With the `@` before it, none is a way out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(std::sync::Arc<str>);

impl UserName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The user of a directory `@<user>`.
    pub fn of_dir(dir: &str) -> Option<Self> {
        dir.strip_prefix('@')?.parse().ok()
    }
}

impl FromStr for UserName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let length = check_length(text, USER_BYTES_MAX);
        length.and_then(|()| check_bytes(text, |b| allowed(b) || b == b'@'))?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The part of a job name that the submitter chose.
/// Invariant: 1..=64 bytes of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference(Box<str>);

impl Reference {
    /// Reduces any text to the alphabet: each run of other characters becomes one `-`, the ends
    /// are trimmed of `-`, and what is longer than [`REFERENCE_BYTES_MAX`] is cut. `None` when
    /// nothing is left.
    pub fn reduce(text: &str) -> Option<Self> {
        Self::cut(&alphabet(text))
    }

    /// The reference of a file that someone or a processor made: its name without the ending.
    pub fn of_dropped_file(name: &str) -> Option<Self> {
        let ending = Kind::of_file(name).extension();
        let stem = name.len().checked_sub(ending.len());
        let stem = stem.and_then(|at| name.split_at_checked(at));
        let stem = stem.filter(|(_, end)| end.eq_ignore_ascii_case(ending));
        Self::of_text(stem.map_or(name, |(stem, _)| stem))
    }

    /// The reference that a person or program gave a document, or its file's name: letters become
    /// their usual ASCII form, a closing `.xml` in any case is dropped, and the rest is reduced.
    /// Source: the dStore contract, `RefName`.
    pub fn of_text(text: &str) -> Option<Self> {
        let mut reduced = &*alphabet(&ascii(text));
        while let Some(stem) = without_xml(reduced) {
            reduced = stem;
        }
        Self::cut(reduced)
    }

    fn cut(reduced: &str) -> Option<Self> {
        let end = reduced.len().min(REFERENCE_BYTES_MAX);
        let reduced = reduced[..end].trim_matches('-');
        (!reduced.is_empty()).then(|| Self(reduced.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text in the alphabet of names, each run of other characters as one `-`.
fn alphabet(text: &str) -> String {
    let mut reduced = String::new();
    for c in text.chars() {
        let keep = u8::try_from(c).is_ok_and(allowed);
        if keep {
            reduced.push(c);
        } else if !reduced.ends_with('-') {
            reduced.push('-');
        }
    }
    reduced.trim_matches('-').to_owned()
}

/// A text with the letters of all scripts in their usual ASCII form.
fn ascii(text: &str) -> String {
    /// What combines with the letter before it.
    const DIAERESIS: char = '\u{308}';
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{e4}' | '\u{e6}' => ascii.push_str("ae"),
            '\u{f6}' | '\u{153}' => ascii.push_str("oe"),
            '\u{fc}' => ascii.push_str("ue"),
            '\u{df}' => ascii.push_str("ss"),
            '\u{c4}' | '\u{c6}' => ascii.push_str("Ae"),
            '\u{d6}' | '\u{152}' => ascii.push_str("Oe"),
            '\u{dc}' => ascii.push_str("Ue"),
            '\u{1e9e}' => ascii.push_str("SS"),
            DIAERESIS if ascii.ends_with(['a', 'o', 'u', 'A', 'O', 'U']) => ascii.push('e'),
            // Other marks that combine with a letter are lost with nothing in their place.
            '\u{300}'..='\u{36f}' => {}
            c if c.is_control() => ascii.push('-'),
            _ => ascii.push_str(deunicode::deunicode_char(c).unwrap_or("-")),
        }
    }
    ascii
}

/// What stands before a closing `.xml`, if there is one.
fn without_xml(reduced: &str) -> Option<&str> {
    let (stem, extension) = reduced.split_at_checked(reduced.len().checked_sub(4)?)?;
    let is_xml = extension.eq_ignore_ascii_case(".xml");
    is_xml.then(|| stem.trim_end_matches('-'))
}

/// Milliseconds since 2020-01-01 (41 bits) and a counter (12 bits): below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u64);

impl JobId {
    pub(super) fn new(unix_ms: i64, sequence: u64) -> Option<Self> {
        let ms = u64::try_from(unix_ms.checked_sub(EPOCH_MS)?).ok()?;
        (ms >> TIME_BITS == 0 && sequence <= SEQUENCE_MAX)
            .then_some(Self(ms << SEQUENCE_BITS | sequence))
    }

    /// The first id of a moment, in milliseconds of the Unix epoch; `None`: no job comes then.
    pub fn at(unix_ms: i64) -> Option<Self> {
        Self::new(unix_ms, 0)
    }

    /// That of the job that is called so, without the rest of the name; `None`: no job is.
    pub fn of_name(text: &str) -> Option<Self> {
        Some(Parts::of(text).ok()?.id)
    }

    /// The id that [`JobId::get`] gave.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub fn get(self) -> u64 {
        self.0
    }

    /// When the id was given, in milliseconds of the Unix epoch.
    pub fn unix_ms(self) -> i64 {
        (self.0 >> SEQUENCE_BITS) as i64 + EPOCH_MS
    }

    fn sequence(self) -> u64 {
        self.0 & SEQUENCE_MAX
    }
}

/// What a job's file holds; printed as the extension of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Json,
    Xml,
}

impl Kind {
    /// By the ending of a file's name; XML unless it says otherwise.
    pub fn of_file(name: &str) -> Self {
        match name.rsplit_once('.') {
            Some((_, ending)) if ending.eq_ignore_ascii_case("json") => Self::Json,
            Some(_) | None => Self::Xml,
        }
    }

    pub fn extension(self) -> &'static str {
        match self {
            Self::Json => ".json",
            Self::Xml => ".xml",
        }
    }
}

/// A job's file name. Orders by arrival. Holds no heap memory unless it has a reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobName {
    id: JobId,
    reference: Option<Reference>,
    kind: Kind,
}

impl JobName {
    pub fn new(id: JobId, reference: Option<Reference>, kind: Kind) -> Self {
        Self {
            id,
            reference,
            kind,
        }
    }

    pub fn id(&self) -> JobId {
        self.id
    }

    /// The same name with another id.
    pub fn with_id(&self, id: JobId) -> Self {
        Self::new(id, self.reference.clone(), self.kind)
    }

    /// The same job under another name, for when its own is taken where it has to go.
    pub fn variant(&self, number: u32) -> Self {
        let number = number.to_string();
        let reference = match &self.reference {
            None => number,
            Some(Reference(text)) => {
                let keep = text.len().min(REFERENCE_BYTES_MAX - 1 - number.len());
                format!("{}.{number}", &text[..keep])
            }
        };
        Self::new(self.id, Reference::reduce(&reference), self.kind)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn reference(&self) -> Option<&str> {
        self.reference.as_ref().map(Reference::as_str)
    }

    /// The name with another extension, without its dot: what is made of a job is called so.
    pub fn with_extension(&self, extension: &str) -> String {
        let name = self.to_string();
        let stem = name.strip_suffix(self.kind.extension());
        format!("{}.{extension}", stem.unwrap_or(&name))
    }

    /// `YYYY-MM-DD`, the day directory of this job in `bak`, `joberrors`, `joblog` and `results`.
    pub fn day(&self) -> String {
        let stamp = stamp(self.id.unix_ms());
        format!("{}-{}-{}", &stamp[..4], &stamp[4..6], &stamp[6..8])
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = stamp(self.id.unix_ms());
        text.push('-');
        push_digits(&mut text, 5, self.id.sequence());
        if let Some(reference) = &self.reference {
            text.push('-');
            text.push_str(reference.as_str());
        }
        text.push_str(self.kind.extension());
        f.write_str(&text)
    }
}

impl FromStr for JobName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let Parts {
            id,
            reference,
            kind,
        } = Parts::of(text)?;
        Ok(Self::new(
            id,
            reference.map(|text| Reference(text.into())),
            kind,
        ))
    }
}

/// What a job's name says.
struct Parts<'t> {
    id: JobId,
    reference: Option<&'t str>,
    kind: Kind,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Result<Self, NameError> {
        check(text, NAME_BYTES_MAX)?;
        Self::of_checked(text).ok_or(NameError::NotAJobName)
    }

    fn of_checked(text: &'t str) -> Option<Self> {
        let (stem, kind) = [Kind::Json, Kind::Xml]
            .into_iter()
            .find_map(|kind| Some((text.strip_suffix(kind.extension())?, kind)))?;
        let (time, rest) = stem.split_at_checked(STAMP_BYTES)?;
        let rest = rest.strip_prefix('-')?;
        let (sequence, reference) = match rest.split_once('-') {
            None => (rest, None),
            Some((sequence, reference)) => (sequence, Some(reference)),
        };
        if sequence.len() != 5 || !sequence.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let id = JobId::new(parse_stamp(time)?, sequence.parse().ok()?)?;
        // One spelling per name: a reference that reduction would change is not one of ours.
        let is_reduced = reference.is_none_or(|text| {
            (1..=REFERENCE_BYTES_MAX).contains(&text.len())
                && !text.starts_with('-')
                && !text.ends_with('-')
        });
        is_reduced.then_some(Self {
            id,
            reference,
            kind,
        })
    }
}

/// `20261122T045748.123Z`: a moment as it stands in names, sortable and free of `:`. One
/// before the year 0 begins with a minus sign, and is in no name.
pub fn stamp(unix_ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let t = jiff::tz::Offset::UTC.to_datetime(moment);
    let mut text = String::with_capacity(1 + STAMP_BYTES);
    if t.year() < 0 {
        text.push('-');
    }
    push_digits(&mut text, 4, t.year().unsigned_abs().into());
    push_digits(&mut text, 2, t.month().unsigned_abs().into());
    push_digits(&mut text, 2, t.day().unsigned_abs().into());
    text.push('T');
    push_digits(&mut text, 2, t.hour().unsigned_abs().into());
    push_digits(&mut text, 2, t.minute().unsigned_abs().into());
    push_digits(&mut text, 2, t.second().unsigned_abs().into());
    text.push('.');
    push_digits(&mut text, 3, t.millisecond().unsigned_abs().into());
    text.push('Z');
    text
}

/// Appends so many last digits of a number: a list has many names, and `format!` costs several times as much.
fn push_digits(text: &mut String, n_digits: u32, number: u64) {
    for position in (0..n_digits).rev() {
        let digit = number / 10_u64.pow(position) % 10;
        text.push(char::from(b'0' + digit as u8));
    }
}

/// The inverse of [`stamp`], in milliseconds of the Unix epoch; `None` for any other spelling.
pub fn parse_stamp(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != STAMP_BYTES || bytes[8] != b'T' || bytes[15] != b'.' || bytes[19] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i16> {
        let digits = &bytes[from..to];
        digits.iter().all(u8::is_ascii_digit).then(|| {
            digits
                .iter()
                .fold(0, |n, digit| n * 10 + i16::from(digit - b'0'))
        })
    };
    let small = |from, to| i8::try_from(number(from, to)?).ok();
    let moment = jiff::civil::DateTime::new(
        number(0, 4)?,
        small(4, 6)?,
        small(6, 8)?,
        small(9, 11)?,
        small(11, 13)?,
        small(13, 15)?,
        i32::from(number(16, 19)?) * 1_000_000,
    )
    .ok()?;
    let moment = jiff::tz::Offset::UTC.to_timestamp(moment).ok()?;
    Some(moment.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_reject_what_a_path_would_mean() {
        for bad in ["", ".", "..", ".hold", "a/b", "a\0b", "a b", "é"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(65).parse::<InterfaceName>().is_err());
        for good in ["a", "a..b", "orders_in", "x.y-z"] {
            assert!(good.parse::<InterfaceName>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn job_names_have_one_spelling() {
        for good in [
            "20261122T045748.123Z-00042.xml",
            "20261122T045748.123Z-00042-order-10834.xml",
            "20261122T045748.123Z-04095-a.xml.xml",
            "20261122T045748.123Z-00000.json",
        ] {
            assert_eq!(
                good.parse::<JobName>().map(|n| n.to_string()),
                Ok(good.into())
            );
            let id = good.parse::<JobName>().map(|name| name.id()).ok();
            assert_eq!(JobId::of_name(good), id);
        }
        for bad in [
            "order.xml",
            "20261122T045748.123Z-42.xml",
            "20261122T045748.123Z-00042",
            "20261122T045748.123Z-00042.txt",
            "20261122T045748.123Z-04096.xml",
            "20261322T045748.123Z-00042.xml",
            "20261122T045748.123Z-00042-.xml",
            "20261122T045748.123Z-00042--a.xml",
            "20261122T045748.123Z-00042-a/../b.xml",
            "20261122T045748.123Z-+0042.xml",
            "20191231T235959.999Z-00000.xml",
            "20261122T045748.123Z-00042.xml.a1",
        ] {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
            assert_eq!(JobId::of_name(bad), None, "{bad}");
        }
        let reference = "x".repeat(REFERENCE_BYTES_MAX);
        for (end, is_one) in [("", true), ("x", false), ("-", false), ("--x", false)] {
            let name = format!("20261122T045748.123Z-00042-{reference}{end}.xml");
            assert_eq!(name.parse::<JobName>().is_ok(), is_one, "{name}");
        }
    }

    #[test]
    fn the_id_is_the_name_and_fits_json() {
        let name: JobName = "20261122T045748.123Z-00042-x.xml".parse().unwrap();
        assert_eq!(stamp(name.id().unix_ms()), "20261122T045748.123Z");
        // Before the year 0: no name has it, and it is not read for another moment.
        assert_eq!(parse_stamp(&stamp(-200_000_000_000_000)), None);
        assert_eq!(name.id().sequence(), 42);
        assert!(name.id().get() < 1 << 53);
        assert_eq!(name.day(), "2026-11-22");
        assert_eq!(name.reference(), Some("x"));
    }

    #[test]
    fn what_is_made_of_a_job_keeps_all_but_its_extension() {
        for (name, expected) in [
            (
                "20261126T133502.870Z-00000.json",
                "20261126T133502.870Z-00000.csv",
            ),
            (
                "20261126T133502.870Z-00000-a.xml.xml",
                "20261126T133502.870Z-00000-a.xml.csv",
            ),
        ] {
            let job: JobName = name.parse().unwrap();
            assert_eq!(job.with_extension("csv"), expected);
        }
    }

    #[test]
    fn references_are_reduced_not_refused() {
        let reduced = |text| Reference::reduce(text).map(|r| r.as_str().to_owned());
        assert_eq!(reduced("order-10834"), Some("order-10834".into()));
        assert_eq!(reduced("a & b.xml"), Some("a-b.xml".into()));
        assert_eq!(reduced("../../etc/passwd"), Some("..-..-etc-passwd".into()));
        assert_eq!(reduced("\u{e4}\u{f6}\u{fc}"), None);
        assert_eq!(reduced(&"x".repeat(500)).map(|r| r.len()), Some(64));
        let dropped = Reference::of_dropped_file("order-10834.xml").unwrap();
        assert_eq!(dropped.as_str(), "order-10834");
        for (name, kind) in [
            ("a.xml", Kind::Xml),
            ("a.json", Kind::Json),
            ("a.JSON", Kind::Json),
            ("a.XML", Kind::Xml),
            ("a", Kind::Xml),
            ("json", Kind::Xml),
        ] {
            assert_eq!(Kind::of_file(name), kind, "{name}");
            let reference = Reference::of_dropped_file(name).unwrap();
            assert!(["a", "json"].contains(&reference.as_str()), "{name}");
        }
        let dropped = Reference::of_dropped_file("ü.json").unwrap();
        assert_eq!(dropped.as_str(), "ue");
    }

    #[test]
    fn letters_of_all_scripts_are_written_in_ascii() {
        for (text, expected) in [
            ("order-10834.xml", "order-10834"),
            ("M\u{fc}ller & S\u{f6}hne", "Mueller-Soehne"),
            ("Gr\u{f6}\u{df}e 1", "Groesse-1"),
            ("\u{c4}\u{d6}\u{dc}\u{1e9e}", "AeOeUeSS"),
            // The same letters, composed otherwise.
            ("Gro\u{308}\u{df}e", "Groesse"),
            ("cafe\u{301} \u{e9}t\u{e9}", "cafe-ete"),
            ("\u{6f22}\u{5b57}", "Han-Zi"),
            ("\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}", "Privet"),
            ("smørrebrød", "smorrebrod"),
            ("x.xml", "x"),
            ("c.XML", "c"),
            ("d.Xml.xML", "d"),
            ("e.xml ", "e"),
            ("f .xml", "f"),
            ("g.xmlx", "g.xmlx"),
            ("../../etc/passwd.xml", "..-..-etc-passwd"),
        ] {
            let of_text = Reference::of_text(text).unwrap();
            assert_eq!(of_text.as_str(), expected, "{text}");
        }
        for nothing in ["", ".xml", " .XML", "---", "-.xml-", "\u{301}\u{0}"] {
            assert_eq!(Reference::of_text(nothing), None, "{nothing:?}");
        }
        let long = |text: &str| Reference::of_text(text).unwrap().as_str().to_owned();
        assert_eq!(long(&"x".repeat(500)).len(), 64);
        // The extension is dropped before the cut, and no cut leaves half a letter.
        assert_eq!(long(&format!("{}.xml", "x".repeat(64))), "x".repeat(64));
        assert_eq!(
            long(&format!("{}.xml", "\u{e4}".repeat(40))),
            "ae".repeat(32)
        );
    }

    #[test]
    fn any_reduced_reference_makes_a_name_that_parses() {
        for text in ["a", "-a-", "a--b", ".a", "a b", &"x-".repeat(80), "x.json"] {
            let name = JobName::new(
                JobId::from_number(1 << SEQUENCE_BITS),
                Reference::reduce(text),
                Kind::Xml,
            );
            let variant = name.variant(12);
            assert_ne!(variant, name);
            assert_eq!(variant.id(), name.id());
            for name in [name, variant] {
                assert_eq!(name.to_string().parse(), Ok(name));
            }
        }
    }
}
