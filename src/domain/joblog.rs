//! A job's log: what happened to it, as XML that always validates against `joblog.xsd`. Pure.
//!
//! The log is written before the job is moved, so anyone who sees a settled job finds its log. Text
//! comes from processors and partners and is never trusted: quick-xml escapes it, and characters
//! that XML cannot hold become U+FFFD. A job that runs again keeps its earlier messages.
//!
//! Source of the format: the dStore contract, "joblog".

use crate::domain::{InterfaceName, JobName, Place};
use quick_xml::{
    Reader, Writer, XmlVersion,
    events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event},
};
use std::{io, str::FromStr};

/// Most messages that a log keeps; what comes after is counted, not kept.
pub const MESSAGES_MAX: usize = 10_000;
/// Longest text of one message in bytes.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Tools that are ours begin so; a processor's output cannot speak as one of them.
const OUR_TOOLS: &str = "spoolgate-";
/// The tool that says who cancelled a job.
const CANCEL_TOOL: &str = "spoolgate-cancel";
/// The same of a job that waited.
const DELETE_TOOL: &str = "spoolgate-delete";
/// The tool that says that a job is not tried again.
const GIVEN_UP_TOOL: &str = "spoolgate-retry";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLog {
    pub job: JobName,
    /// `None` when the type of a refused document was not recognised.
    pub interface: Option<InterfaceName>,
    pub status: Status,
    pub received_ms: i64,
    pub started_ms: Option<i64>,
    pub finished_ms: i64,
    pub attempts: u32,
    pub bytes: u64,
    pub sha256: Option<String>,
    pub messages: Vec<Message>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Error,
    Ok,
}

impl Status {
    /// Of a job whose end nobody has logged, by where it lies.
    pub fn at(place: &Place) -> Self {
        match place {
            Place::Bak(_) => Self::Ok,
            Place::Deferred { .. }
            | Place::JobErrors
            | Place::Queue(_)
            | Place::Refused
            | Place::Work { .. } => Self::Error,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub time_ms: i64,
    pub level: Level,
    /// A line in the job's document.
    pub line: Option<u64>,
    /// Which part of a processor speaks.
    pub tool: Option<String>,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Info,
    Warning,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Info => "info",
            Self::Warning => "warning",
        }
    }
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Ok => "ok",
        }
    }
}

impl Message {
    pub fn new(time_ms: i64, level: Level, text: impl Into<String>) -> Self {
        Self {
            time_ms,
            level,
            line: None,
            tool: None,
            text: text.into(),
        }
    }

    /// The last message of a cancelled job, by which [`JobLog::is_cancelled`] knows it.
    pub fn cancelled(time_ms: i64, user: &str) -> Self {
        Self {
            tool: Some(CANCEL_TOOL.into()),
            ..Self::new(time_ms, Level::Error, format!("cancelled by {user}"))
        }
    }

    /// The last message of a job that was cancelled while it waited.
    pub fn deleted(time_ms: i64, user: &str) -> Self {
        Self {
            tool: Some(DELETE_TOOL.into()),
            ..Self::cancelled(time_ms, user)
        }
    }

    /// The last message of a job that has failed as often as it may: it says nothing of why.
    pub fn given_up(time_ms: i64, text: impl Into<String>) -> Self {
        Self {
            tool: Some(GIVEN_UP_TOOL.into()),
            ..Self::new(time_ms, Level::Error, text)
        }
    }

    /// Is this a [`Message::given_up`]?
    pub fn is_given_up(&self) -> bool {
        self.tool.as_deref() == Some(GIVEN_UP_TOOL)
    }

    /// One line of a processor's output that is a JSON object with `text`. It may carry `level`,
    /// `line` and `tool`, which is left out if it is one of ours.
    pub fn structured(time_ms: i64, line: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Structured {
            text: String,
            level: Option<Level>,
            line: Option<u64>,
            tool: Option<serde_json::Value>,
        }
        if !line.starts_with('{') {
            return None;
        }
        let said = serde_json::from_str::<Structured>(line).ok()?;
        Some(Self {
            time_ms,
            level: said.level.unwrap_or(Level::Info),
            line: said.line.filter(|line| *line > 0),
            tool: (said.tool)
                .map(|tool| tool.as_str().map_or_else(|| tool.to_string(), Into::into))
                .filter(|tool| !tool.starts_with(OUR_TOOLS)),
            text: said.text,
        })
    }
}

impl JobLog {
    /// True when the job's end was that someone cancelled it.
    pub fn is_cancelled(&self) -> bool {
        let by = self.messages.last().and_then(|last| last.tool.as_deref());
        self.status == Status::Error && matches!(by, Some(CANCEL_TOOL | DELETE_TOOL))
    }

    /// Why the job ended badly: what the processor called an error in its last run says more than
    /// how that ended.
    pub fn reason(&self) -> Option<&str> {
        self.telling().map(|message| message.text.as_str())
    }

    /// The message that says so.
    pub fn telling(&self) -> Option<&Message> {
        let is_error = |message: &&Message| message.level == Level::Error;
        // That it was the last attempt is no reason.
        let said = match self.messages.split_last() {
            Some((end, said)) if end.is_given_up() => said,
            Some(_) | None => &self.messages,
        };
        let (end, before) = said.split_last()?;
        let last = said.iter().rfind(is_error);
        match end.level == Level::Error && !self.is_cancelled() {
            true => {
                let of_run = |message: &&Message| Some(message.time_ms) >= self.started_ms;
                let mut of_run = before.iter().rev().take_while(of_run);
                let said = self.started_ms.and_then(|_| of_run.find(is_error));
                said.or(last)
            }
            false => last.or(Some(end)),
        }
    }

    /// Puts the messages of earlier runs before this one's, which all keep their place, and what was noted since then
    /// where its moment is. How the run ended stays the last word.
    pub fn after(mut self, earlier: Option<JobLog>, noted: Vec<Message>) -> Self {
        for note in noted {
            let says = |log: &JobLog| log.says(&note);
            if says(&self) || earlier.as_ref().is_some_and(says) {
                continue;
            }
            let is_later = |said: &Message| said.time_ms >= note.time_ms;
            let later = self.messages.iter().position(is_later);
            let at = later.unwrap_or(self.messages.len().saturating_sub(1));
            self.messages.insert(at, note);
        }
        if let Some(mut earlier) = earlier {
            let room = MESSAGES_MAX.saturating_sub(self.messages.len());
            earlier.messages.truncate(room);
            let now = std::mem::replace(&mut self.messages, earlier.messages);
            self.messages.extend(now);
        }
        self
    }

    /// The same with what was noted since it was written.
    pub fn noted(mut self, noted: Vec<Message>) -> Self {
        for note in noted {
            if !self.says(&note) {
                self.messages.push(note);
            }
        }
        self
    }

    /// Has it the same words of the same moment?
    fn says(&self, note: &Message) -> bool {
        let is_same =
            |said: &Message| said.time_ms == note.time_ms && said.text == clean(&note.text);
        self.messages.iter().any(is_same)
    }

    /// The log as a document that validates against `joblog.xsd`.
    pub fn to_xml(&self) -> String {
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 1);
        // Writing to a vector cannot fail.
        let written = self.write(&mut writer);
        debug_assert!(written.is_ok());
        let mut text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
        text.push('\n');
        text
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        let mut root = BytesStart::new("JobLog");
        let interface = self.interface.as_ref().map_or("", |i| i.as_str());
        root.push_attribute(("Jobname", self.job.to_string().as_str()));
        root.push_attribute(("Interfacename", interface));
        root.push_attribute(("Status", self.status.as_str()));
        root.push_attribute(("Received", rfc3339(self.received_ms).as_str()));
        if let Some(started_ms) = self.started_ms {
            root.push_attribute(("Started", rfc3339(started_ms).as_str()));
        }
        root.push_attribute(("Finished", rfc3339(self.finished_ms).as_str()));
        root.push_attribute(("Attempts", self.attempts.to_string().as_str()));
        root.push_attribute(("Bytes", self.bytes.to_string().as_str()));
        if let Some(sha256) = self.sha256.as_ref().filter(|text| is_sha256(text)) {
            root.push_attribute(("SHA256", sha256.as_str()));
        }
        writer.write_event(Event::Start(root))?;
        for message in self.messages.iter().take(MESSAGES_MAX) {
            message.write(writer)?;
        }
        if let Some(more) = self.messages.len().checked_sub(MESSAGES_MAX + 1) {
            let text = format!("{} more messages were not kept", more + 1);
            Message::new(self.finished_ms, Level::Warning, text).write(writer)?;
        }
        writer.write_event(Event::End(BytesEnd::new("JobLog")))
    }

    /// Reads what [`JobLog::to_xml`] wrote. The error says what is wrong, for the log.
    ///
    /// # Errors
    /// When the text is not such a log.
    pub fn from_xml(text: &str) -> Result<Self, String> {
        let mut reader = Reader::from_str(text);
        let mut log: Option<JobLog> = None;
        let mut open: Option<Message> = None;
        loop {
            match reader.read_event().map_err(|e| e.to_string())? {
                Event::Start(e) if e.name().as_ref() == "JobLog" => log = Some(read_root(&e)?),
                Event::Empty(e) if e.name().as_ref() == "JobLog" => log = Some(read_root(&e)?),
                Event::Start(e) if e.name().as_ref() == "Message" => {
                    open = Some(read_message(&e)?);
                }
                Event::Empty(e) if e.name().as_ref() == "Message" => {
                    let log = log.as_mut().ok_or("a Message before JobLog")?;
                    log.messages.push(read_message(&e)?);
                }
                Event::Text(text) => {
                    if let Some(message) = &mut open {
                        message.text.push_str(&text);
                    }
                }
                Event::GeneralRef(entity) => {
                    if let Some(message) = &mut open {
                        let character = entity.resolve_char_ref().map_err(|e| e.to_string())?;
                        match character {
                            Some(character) => message.text.push(character),
                            None => message.text.push_str(
                                quick_xml::escape::resolve_predefined_entity(&entity)
                                    .ok_or("an unknown entity")?,
                            ),
                        }
                    }
                }
                Event::End(e) if e.name().as_ref() == "Message" => {
                    let log = log.as_mut().ok_or("a Message before JobLog")?;
                    log.messages.extend(open.take());
                }
                Event::Eof => return log.ok_or_else(|| "no JobLog element".into()),
                Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::DocType(_)
                | Event::Empty(_)
                | Event::End(_)
                | Event::PI(_)
                | Event::Start(_) => {}
            }
        }
    }
}

impl Message {
    fn write(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let mut element = BytesStart::new("Message");
        element.push_attribute(("Time", rfc3339(self.time_ms).as_str()));
        element.push_attribute(("Level", self.level.as_str()));
        if let Some(line) = self.line {
            element.push_attribute(("Line", line.to_string().as_str()));
        }
        if let Some(tool) = &self.tool {
            element.push_attribute(("Tool", clean(tool).as_str()));
        }
        writer.write_event(Event::Start(element))?;
        writer.write_event(Event::Text(BytesText::new(&clean(&self.text))))?;
        writer.write_event(Event::End(BytesEnd::new("Message")))
    }
}

/// Cuts to [`TEXT_BYTES_MAX`] and replaces what XML 1.0 cannot hold.
fn clean(text: &str) -> String {
    let mut clean = String::new();
    for c in text.chars() {
        let c = match c {
            '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'.. => c,
            _ => '\u{fffd}',
        };
        if clean.len() + c.len_utf8() > TEXT_BYTES_MAX {
            clean.push('…');
            break;
        }
        clean.push(c);
    }
    clean
}

/// An attribute of a file can be anything; the schema knows 64 digits.
fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A moment in milliseconds of the Unix epoch, as `2026-11-22T04:57:48.123Z`.
pub fn rfc3339(unix_ms: i64) -> String {
    let moment = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{moment:.3}")
}

fn read_root(element: &BytesStart) -> Result<JobLog, String> {
    Ok(JobLog {
        job: required(element, "Jobname")?,
        interface: attribute(element, "Interfacename")?
            .filter(|name| !name.is_empty())
            .map(|name| name.parse().map_err(|e| format!("Interfacename: {e}")))
            .transpose()?,
        status: match attribute(element, "Status")?.as_deref() {
            Some("ok") => Status::Ok,
            Some("error") => Status::Error,
            other => return Err(format!("Status is {other:?}")),
        },
        received_ms: moment(element, "Received")?.ok_or("Received is missing")?,
        started_ms: moment(element, "Started")?,
        finished_ms: moment(element, "Finished")?.ok_or("Finished is missing")?,
        attempts: required(element, "Attempts")?,
        bytes: required(element, "Bytes")?,
        sha256: attribute(element, "SHA256")?,
        messages: Vec::new(),
    })
}

fn read_message(element: &BytesStart) -> Result<Message, String> {
    Ok(Message {
        time_ms: moment(element, "Time")?.ok_or("Time is missing")?,
        level: match attribute(element, "Level")?.as_deref() {
            Some("error") => Level::Error,
            Some("info") => Level::Info,
            Some("warning") => Level::Warning,
            other => return Err(format!("Level is {other:?}")),
        },
        line: attribute(element, "Line")?
            .map(|line| line.parse().map_err(|e| format!("Line: {e}")))
            .transpose()?,
        tool: attribute(element, "Tool")?,
        text: String::new(),
    })
}

fn attribute(element: &BytesStart, name: &str) -> Result<Option<String>, String> {
    let found = element
        .try_get_attribute(name)
        .map_err(|e| format!("{name}: {e}"))?;
    found
        .map(|found| {
            let value = found.normalized_value(XmlVersion::Implicit1_0);
            value
                .map(|v| v.into_owned())
                .map_err(|e| format!("{name}: {e}"))
        })
        .transpose()
}

fn required<T: FromStr>(element: &BytesStart, name: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    let text = attribute(element, name)?.ok_or_else(|| format!("{name} is missing"))?;
    text.parse().map_err(|e| format!("{name}: {e}"))
}

fn moment(element: &BytesStart, name: &str) -> Result<Option<i64>, String> {
    let Some(text) = attribute(element, name)? else {
        return Ok(None);
    };
    let moment: jiff::Timestamp = text.parse().map_err(|e| format!("{name}: {e}"))?;
    Ok(Some(moment.as_millisecond()))
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn log(messages: Vec<Message>) -> JobLog {
        JobLog {
            job: "20261122T045748.123Z-00042-x.xml".parse().unwrap(),
            interface: Some("orders_in".parse().unwrap()),
            status: Status::Error,
            received_ms: 1_795_323_468_123,
            started_ms: None,
            finished_ms: 1_795_323_469_000,
            attempts: 2,
            bytes: 77,
            sha256: Some("ab".repeat(32)),
            messages,
        }
    }

    #[test]
    fn a_log_reads_back_whatever_its_messages_say() {
        let hostile = "</Message><x a=\"&'>]]> & &amp; <!-- ü";
        let mut message = Message::new(1_795_323_468_200, Level::Warning, hostile);
        message.tool = Some("t\"<>".into());
        message.line = Some(7);
        let log = log(vec![
            message,
            Message::new(1_795_323_468_300, Level::Info, ""),
        ]);
        assert_eq!(JobLog::from_xml(&log.to_xml()), Ok(log));
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced_and_long_text_is_cut() {
        let text = format!("a\0b\u{1b}c\u{ffff}{}", "ä".repeat(TEXT_BYTES_MAX));
        let log = log(vec![Message::new(0, Level::Info, text)]);
        let read = JobLog::from_xml(&log.to_xml()).unwrap();
        let text = &read.messages[0].text;
        assert!(
            text.starts_with("a\u{fffd}b\u{fffd}c\u{fffd}ä"),
            "{text:.20}"
        );
        assert!(text.len() <= TEXT_BYTES_MAX + 8);
        assert!(text.ends_with('…'));
    }

    #[test]
    fn too_many_messages_are_counted() {
        let many = vec![Message::new(0, Level::Info, "x"); MESSAGES_MAX + 5];
        let read = JobLog::from_xml(&log(many).to_xml()).unwrap();
        assert_eq!(read.messages.len(), MESSAGES_MAX + 1);
        assert!(read.messages[MESSAGES_MAX].text.starts_with("5 more"));
    }

    #[test]
    fn a_later_run_keeps_what_was_said_before() {
        let first = log(vec![Message::new(1, Level::Info, "first")]);
        let second =
            log(vec![Message::new(2, Level::Info, "second")]).after(Some(first), Vec::new());
        let texts: Vec<&str> = second.messages.iter().map(|m| m.text.as_str()).collect();
        assert_eq!(texts, ["first", "second"]);
        let full = log(vec![Message::new(1, Level::Info, "old"); MESSAGES_MAX]);
        let third = log(vec![Message::new(2, Level::Info, "new")]).after(Some(full), Vec::new());
        assert_eq!(third.messages.len(), MESSAGES_MAX);
        assert_eq!(third.messages[MESSAGES_MAX - 1].text, "new");
    }

    #[test]
    fn what_was_noted_is_said_once_and_where_its_moment_is() {
        let info = |ms, text: &str| Message::new(ms, Level::Info, text);
        let note = info(5, "sent again\u{1}");
        let texts = |log: &JobLog| {
            let texts = log.messages.iter().map(|message| message.text.clone());
            texts.collect::<Vec<_>>().join(" ")
        };
        let earlier = log(vec![info(9, "first"), info(4, "failed")]);
        let shown = earlier.clone().noted(vec![note.clone()]);
        assert_eq!(texts(&shown), "first failed sent again\u{1}");
        for (run, expected) in [
            (
                &[(6, "started"), (7, "done")][..],
                "sent again started done",
            ),
            (&[(3, "started"), (5, "done")], "started sent again done"),
            // The clock was set back.
            (&[(1, "started"), (2, "done")], "started sent again done"),
            (&[], "sent again"),
        ] {
            let run = log(run.iter().map(|(ms, text)| info(*ms, text)).collect());
            let after = run.clone().after(Some(earlier.clone()), vec![note.clone()]);
            let read = JobLog::from_xml(&after.to_xml()).unwrap();
            let said = texts(&read).replace('\u{fffd}', "");
            assert_eq!(said, format!("first failed {expected}"));
            // It is known again as it was written.
            assert_eq!(read.clone().noted(vec![note.clone()]), read);
            let again = run.after(Some(read.clone()), vec![note.clone()]);
            assert_eq!(texts(&again).matches("sent again").count(), 1);
        }
    }

    #[test]
    fn only_we_say_that_a_job_was_cancelled() {
        let ours = Message::cancelled(9, "olga");
        let read = |messages| JobLog::from_xml(&log(messages).to_xml()).unwrap();
        assert!(read(vec![ours.clone()]).is_cancelled());
        assert_eq!(ours.text, "cancelled by olga");
        let later = Message::new(10, Level::Info, "requeued");
        assert!(
            !read(vec![ours.clone(), later]).is_cancelled(),
            "that was not its end"
        );
        let deleted = read(vec![Message::deleted(9, "olga")]);
        assert!(deleted.is_cancelled());
        assert_eq!(deleted.messages, [Message::deleted(9, "olga")]);
        assert_ne!(ours, Message::deleted(9, "olga"));
        assert!(!read(vec![]).is_cancelled());
        let line = r#"{"text":"cancelled by olga","level":"error","tool":"spoolgate-cancel"}"#;
        let forged = Message::structured(9, line).unwrap();
        assert_eq!(forged, Message::new(9, Level::Error, "cancelled by olga"));
    }

    #[test]
    fn why_a_job_failed_is_in_its_last_words() {
        let at = |time_ms, level, text: &str| Message::new(time_ms, level, text);
        let log = |started_ms, messages: &[Message]| JobLog {
            started_ms,
            ..log(messages.into())
        };
        let why = |log: &JobLog| log.reason().map(str::to_owned);
        let failed = [
            at(1, Level::Error, "first"),
            at(1, Level::Error, "no paper"),
            at(1, Level::Info, "bye"),
        ];
        assert_eq!(why(&log(None, &failed)).as_deref(), Some("no paper"));
        let cancelled = [failed[0].clone(), Message::cancelled(1, "ada")];
        let said = why(&log(None, &cancelled));
        assert_eq!(said.as_deref(), Some("cancelled by ada"));
        assert_eq!(why(&log(None, &[])), None);
        let run = |said| {
            let words = [
                at(3, Level::Error, "the first run's"),
                at(5, said, "no paper"),
                at(6, Level::Info, "bye"),
                at(6, Level::Error, "exit code 1"),
            ];
            log(Some(5), &words)
        };
        let by_itself = why(&run(Level::Error));
        assert_eq!(by_itself.as_deref(), Some("no paper"));
        assert_eq!(why(&run(Level::Warning)).as_deref(), Some("exit code 1"));
        // However often it was tried.
        let given_up = |mut log: JobLog| {
            let end = Message::given_up(7, "given up after 2 attempts");
            log.messages.push(end);
            why(&log)
        };
        assert_eq!(given_up(run(Level::Error)).as_deref(), Some("no paper"));
        assert_eq!(given_up(run(Level::Info)).as_deref(), Some("exit code 1"));
        assert_eq!(given_up(log(None, &[])), None);
    }

    #[test]
    fn output_lines_may_be_structured() {
        let line = r#"{"text":"odd","level":"warning","line":3,"tool":9}"#;
        let said = Message::structured(5, line).unwrap();
        assert_eq!((said.level, said.line), (Level::Warning, Some(3)));
        assert_eq!(said.tool.as_deref(), Some("9"));
        for plain in ["{", "{\"level\":\"info\"}", "hello", "{\"text\":1}"] {
            assert_eq!(Message::structured(5, plain), None, "{plain}");
        }
    }
}
