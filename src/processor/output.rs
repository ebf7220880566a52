//! A command's output, turned into messages line by line. Pure: bytes and the time come in.

use crate::domain::joblog::{Level, MESSAGES_MAX, Message, TEXT_BYTES_MAX};

/// Lines that are kept; the log has room left for what we have to say ourselves.
const LINES_MAX: usize = MESSAGES_MAX - 10;

/// Which lines of a command are in the joblog, which partners read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PartnersSee {
    #[default]
    All,
    /// Only those that are JSON; the others are in the service's log.
    Json,
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Output,
    Errors,
}

/// A line that has not ended.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// The cursor went back to its beginning: what comes replaces what is there.
    returned: bool,
}

#[derive(Debug)]
pub(super) struct Output {
    see: PartnersSee,
    job: String,
    messages: Vec<Message>,
    output: Line,
    errors: Line,
    n_lines: usize,
}

impl Output {
    /// `of`: the job, for the log.
    pub(super) fn new(see: PartnersSee, of: impl ToString) -> Self {
        Self {
            see,
            job: of.to_string(),
            messages: Vec::new(),
            output: Line::default(),
            errors: Line::default(),
            n_lines: 0,
        }
    }

    fn line(&mut self, source: Source) -> &mut Line {
        match source {
            Source::Output => &mut self.output,
            Source::Errors => &mut self.errors,
        }
    }

    /// Takes the next bytes of a source, which came at `now_ms`. Of a line that was written over
    /// and over, as the progress of something is, the last state counts.
    pub(super) fn take(&mut self, source: Source, bytes: &[u8], now_ms: i64) {
        for piece in bytes.split_inclusive(|byte| b"\n\r".contains(byte)) {
            let text = piece.strip_suffix(b"\n").or(piece.strip_suffix(b"\r"));
            let text = text.unwrap_or(piece);
            let line = self.line(source);
            if line.returned && !text.is_empty() {
                line.bytes.clear();
                line.returned = false;
            }
            // A line without an end must not fill the memory.
            let room = (TEXT_BYTES_MAX + 1).saturating_sub(line.bytes.len());
            line.bytes.extend_from_slice(&text[..text.len().min(room)]);
            match piece.last() {
                Some(b'\n') => self.end_line(source, now_ms),
                Some(b'\r') => line.returned = true,
                Some(_) | None => {}
            }
        }
    }

    /// What is to be said besides.
    pub(super) fn note(&mut self, now_ms: i64, level: Level, text: &str) {
        self.messages.push(Message::new(now_ms, level, text));
    }

    /// The messages, once the command has ended.
    pub(super) fn end(mut self, now_ms: i64) -> Vec<Message> {
        for source in [Source::Output, Source::Errors] {
            if !self.line(source).bytes.is_empty() {
                self.end_line(source, now_ms);
            }
        }
        if let Some(more) = self.n_lines.checked_sub(LINES_MAX + 1) {
            let text = format!("{} more lines were not kept", more + 1);
            self.note(now_ms, Level::Warning, &text);
        }
        self.messages
    }

    fn end_line(&mut self, source: Source, now_ms: i64) {
        let line = std::mem::take(self.line(source));
        let text = String::from_utf8_lossy(&line.bytes);
        if text.trim().is_empty() {
            return;
        }
        self.n_lines += 1;
        if self.n_lines > LINES_MAX {
            return;
        }
        match (Message::structured(now_ms, &text), self.see) {
            (Some(message), _) => self.messages.push(message),
            (None, PartnersSee::All) => {
                let level = match source {
                    Source::Output => Level::Info,
                    Source::Errors => Level::Warning,
                };
                self.note(now_ms, level, &text);
            }
            (None, PartnersSee::Json) => {
                tracing::info!(job = self.job, line = %text, "said");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(see: PartnersSee) -> Output {
        Output::new(see, "20261122T045748.123Z-00042.xml")
    }

    fn texts(output: Output) -> Vec<String> {
        output.end(9).into_iter().map(|m| m.text).collect()
    }

    #[test]
    fn lines_come_in_any_pieces() {
        let whole =
            b"one\r\n\ntwo \xff\n10 %\r20 %\r100 %\r\n{\"text\":\"three\",\"level\":\"error\"}\nfour\rfive";
        for size in 1..whole.len() {
            let mut output = output(PartnersSee::All);
            for piece in whole.chunks(size) {
                output.take(Source::Output, piece, 1);
            }
            assert_eq!(
                texts(output),
                ["one", "two \u{fffd}", "100 %", "three", "five"],
                "{size}"
            );
        }
    }

    #[test]
    fn progress_without_an_end_is_its_last_state() {
        let mut output = output(PartnersSee::All);
        for n in 0..10_000 {
            output.take(Source::Output, format!("{n} of many\r").as_bytes(), 1);
        }
        assert!(output.output.bytes.len() < 100);
        assert_eq!(texts(output), ["9999 of many"]);
    }

    #[test]
    fn errors_are_warnings_and_lines_of_two_sources_do_not_mix() {
        let mut output = output(PartnersSee::All);
        output.take(Source::Output, b"half ", 1);
        output.take(Source::Errors, b"Traceback\n", 1);
        output.take(Source::Output, b"whole\n", 1);
        output.take(Source::Errors, b"{\"text\":\"a\",\"level\":\"info\"}", 1);
        let said = output.end(9).into_iter().map(|m| (m.level, m.text));
        let expected = [
            (Level::Warning, "Traceback"),
            (Level::Info, "half whole"),
            (Level::Info, "a"),
        ];
        let expected = expected.map(|(level, text)| (level, text.to_owned()));
        assert_eq!(said.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn partners_can_be_shown_what_is_meant_for_them_only() {
        let mut output = output(PartnersSee::Json);
        output.take(
            Source::Output,
            b"/srv/secret\n{\"text\":\"hello\"}\n{oops\n",
            1,
        );
        output.take(Source::Errors, b"Traceback\n", 1);
        assert_eq!(texts(output), ["hello"]);
    }

    #[test]
    fn endless_output_costs_bounded_memory() {
        let mut output = output(PartnersSee::All);
        for _ in 0..1000 {
            output.take(Source::Output, &[b'x'; 4096], 1);
        }
        assert!(output.output.bytes.len() <= TEXT_BYTES_MAX + 1);
        output.take(Source::Output, b"\n", 1);
        for _ in 0..MESSAGES_MAX + 10 {
            output.take(Source::Output, b"y\n", 1);
        }
        let texts = texts(output);
        assert!(texts.len() < MESSAGES_MAX);
        assert_eq!(texts.last().unwrap(), "21 more lines were not kept");
    }
}
