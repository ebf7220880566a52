//! What a mistake in `spoolgate.toml` is called: its line, and for an unknown key the nearest
//! known one. Pure.

/// Names two words must have in common to be taken for each other.
const LIKENESS_MIN: f64 = 0.7;

/// The message of a TOML error, in one or two lines.
pub(super) fn explain(error: &toml::de::Error, text: &str) -> String {
    let place = match error.span() {
        Some(span) => {
            let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
            format!("line {line}: ")
        }
        None => String::new(),
    };
    let message = error.message().trim();
    match nearest(message) {
        Some(known) => format!("{place}{message}\ndid you mean `{known}`?"),
        None => format!("{place}{message}"),
    }
}

/// The nearest known word, if the message names an unknown one and those that are expected.
fn nearest(message: &str) -> Option<&str> {
    let (given, expected) = message.split_once("expected")?;
    let given = given.split('`').nth(1)?;
    let known = expected.split('`').skip(1).step_by(2);
    known
        .map(|word| (strsim::jaro_winkler(given, word), word))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_named() {
        let message = "unknown field `lisen`, expected one of `listen`, `plain_listen`";
        assert_eq!(nearest(message), Some("listen"));
        assert_eq!(nearest("unknown field `zzz`, expected `listen`"), None);
        assert_eq!(nearest("invalid type"), None);
    }
}
