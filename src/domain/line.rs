//! What others wrote, on one line.

/// With a space for each control character: for answers and other programs.
pub fn spaced(text: &str) -> impl Iterator<Item = char> + Clone + '_ {
    text.chars().map(|c| if c.is_control() { ' ' } else { c })
}

/// With escapes for what a terminal would obey, and for what would show the line in another order
/// than it has: for logs and terminals. Tabs stay.
pub fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut begin = 0;
    for (at, escaped) in text.match_indices(is_escaped) {
        line.push_str(&text[begin..at]);
        line.extend(escaped.escape_default());
        begin = at + escaped.len();
    }
    line + &text[begin..]
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
