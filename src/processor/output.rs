//! A command's output, turned into messages line by line. Pure: bytes and the time come in.

use crate::joblog::{MESSAGES_MAX, Message, TEXT_BYTES_MAX};

/// Lines that are kept; the log has room left for what we have to say ourselves.
const LINES_MAX: usize = MESSAGES_MAX - 10;

#[derive(Debug, Default)]
pub(super) struct Output {
    messages: Vec<Message>,
    line: Vec<u8>,
    left_out: usize,
}

impl Output {
    /// Takes the next bytes, which came at `now_ms`.
    pub(super) fn take(&mut self, bytes: &[u8], now_ms: i64) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = piece.ends_with(b"\n");
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            // A line without an end must not fill the memory.
            let room = (TEXT_BYTES_MAX + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.end_line(now_ms);
            }
        }
    }

    /// The messages, once the command has ended.
    pub(super) fn end(mut self, now_ms: i64) -> Vec<Message> {
        if !self.line.is_empty() {
            self.end_line(now_ms);
        }
        if self.left_out > 0 {
            let text = format!("{} more lines were not kept", self.left_out);
            let level = crate::joblog::Level::Warning;
            self.messages.push(Message::new(now_ms, level, text));
        }
        self.messages
    }

    fn end_line(&mut self, now_ms: i64) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\r');
        if text.trim().is_empty() {
            return;
        }
        if self.messages.len() < LINES_MAX {
            self.messages.push(Message::from_output(now_ms, text));
        } else {
            self.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(output: Output) -> Vec<String> {
        output.end(9).into_iter().map(|m| m.text).collect()
    }

    #[test]
    fn lines_come_in_any_pieces() {
        let whole = b"one\r\n\ntwo \xff\n{\"text\":\"three\",\"level\":\"error\"}\nfour";
        for size in 1..whole.len() {
            let mut output = Output::default();
            for piece in whole.chunks(size) {
                output.take(piece, 1);
            }
            assert_eq!(
                texts(output),
                ["one", "two \u{fffd}", "three", "four"],
                "{size}"
            );
        }
    }

    #[test]
    fn endless_output_costs_bounded_memory() {
        let mut output = Output::default();
        for _ in 0..1000 {
            output.take(&[b'x'; 4096], 1);
        }
        assert!(output.line.len() <= TEXT_BYTES_MAX + 1);
        output.take(b"\n", 1);
        for _ in 0..MESSAGES_MAX + 10 {
            output.take(b"y\n", 1);
        }
        let texts = texts(output);
        assert!(texts.len() < MESSAGES_MAX);
        assert_eq!(texts.last().unwrap(), "21 more lines were not kept");
    }
}
