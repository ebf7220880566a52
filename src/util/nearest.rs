//! Which known word somebody may have meant.

/// Letters two words must have in common to be taken for each other.
const LIKENESS_MIN: f64 = 0.7;

/// The known word that is most like the one given, if one is.
pub(crate) fn nearest<'k>(given: &str, known: &[&'k str]) -> Option<&'k str> {
    let known = known.iter();
    known
        .map(|word| (strsim::jaro_winkler(given, word), *word))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_word_is_named() {
        assert_eq!(
            nearest("lisen", &["listen", "plain_listen"]),
            Some("listen")
        );
        assert_eq!(nearest("zzz", &["listen"]), None);
        assert_eq!(nearest("", &["listen"]), None);
    }
}
