//! What others wrote, on one line.

use std::fmt;

/// With a space for each control character: for answers and other programs.
pub fn spaced(text: &str) -> impl Iterator<Item = char> + Clone + '_ {
    text.chars().map(|c| if c.is_control() { ' ' } else { c })
}

/// With escapes for what a terminal would obey, and for what would show the line in another order
/// than it has: for logs and terminals. Tabs stay.
pub fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    // Nothing fails that is written to a string.
    let _ = write_escaped(text, &mut line);
    line
}

/// The same, to where it goes.
///
/// # Errors
/// Those of `to`.
pub fn write_escaped(text: &str, to: &mut impl fmt::Write) -> fmt::Result {
    if text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return to.write_str(text);
    }
    let mut begin = 0;
    for (at, escaped) in text.match_indices(is_escaped) {
        to.write_str(&text[begin..at])?;
        for c in escaped.chars() {
            write!(to, "{}", c.escape_default())?;
        }
        begin = at + escaped.len();
    }
    to.write_str(&text[begin..])
}

fn is_escaped(c: char) -> bool {
    match c {
        '\t' | ' '..='~' => false,
        _ => c.is_control() || is_unseen(c),
    }
}

/// Line and paragraph separators, and marks that take no room but change direction or order, or
/// hide in a name.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        for c in [
            '\u{202e}',
            '\u{2066}',
            '\u{200b}',
            '\u{feff}',
            '\u{2028}',
            '\u{e0041}',
        ] {
            let expected = format!("a\\u{{{:x}}}b é漢👍", u32::from(c));
            assert_eq!(escaped(&format!("a{c}b é漢👍")), expected);
        }
        assert_eq!(
            escaped("a\tb\nc\u{1b}[2Jé\u{85}"),
            "a\tb\\nc\\u{1b}[2Jé\\u{85}"
        );
    }

    #[test]
    fn a_control_character_becomes_a_space() {
        let line: String = spaced("a\r\nb\tc\u{9b}ü").collect();
        assert_eq!(line, "a  b c ü");
    }
}
