//! Patterns (Part 2, appendix F) as automata over bytes, with today's Unicode.
//!
//! A pattern is written again in the syntax of `regex-automata`. What is doubtful, or would become
//! too large, has no automaton; values of its type are then left to the full engine.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, meta};

mod blocks;
mod translate;

/// A dense automaton takes one step for each byte, but may be large.
const DENSE_BYTES_MAX: usize = 256 * 1024;

/// Bounds what numbers such as `{1,10000}` inside each other may cost.
const NFA_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) enum Pattern {
    Dense(Box<dense::DFA<Vec<u32>>>),
    /// Where a dense automaton would be too large.
    Lazy(Box<meta::Regex>),
}

impl Pattern {
    /// The patterns of one step of derivation, one of which has to match.
    pub(super) fn new(alternatives: &[&str]) -> Option<Pattern> {
        let translated: Option<Vec<String>> = alternatives
            .iter()
            .map(|p| translate::translate(p))
            .collect();
        let expression = format!(r"\A(?:{})\z", translated?.join("|"));
        let dense = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Anchored)
                    .dfa_size_limit(Some(DENSE_BYTES_MAX))
                    .determinize_size_limit(Some(2 * DENSE_BYTES_MAX)),
            )
            .thompson(thompson::Config::new().nfa_size_limit(Some(NFA_BYTES_MAX)))
            .build(&expression);
        if let Ok(automaton) = dense {
            return Some(Pattern::Dense(Box::new(automaton)));
        }
        let lazy = meta::Builder::new()
            .configure(meta::Config::new().nfa_size_limit(Some(NFA_BYTES_MAX)))
            .build(&expression);
        lazy.ok().map(|regex| Pattern::Lazy(Box::new(regex)))
    }

    pub(super) fn matches(&self, value: &[u8]) -> bool {
        match self {
            Pattern::Dense(automaton) => {
                let input = Input::new(value).anchored(Anchored::Yes);
                automaton
                    .try_search_fwd(&input)
                    .is_ok_and(|found| found.is_some())
            }
            Pattern::Lazy(regex) => regex.is_match(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let pattern = Pattern::new(&[pattern]).unwrap();
        for value in matching {
            assert!(pattern.matches(value.as_bytes()), "{value:?}");
        }
        for value in others {
            assert!(!pattern.matches(value.as_bytes()), "{value:?}");
        }
    }

    #[test]
    fn the_whole_value_has_to_match() {
        check("a|ab", &["a", "ab"], &["", "b", "abb", "xa", "a\n"]);
        check("^a$", &["^a$"], &["a"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn classes() {
        check("[^a-c-[x]]", &["d"], &["a", "x", ""]);
        check("[a-z-[aeiou]]+", &["bcd"], &["bad"]);
        check("[-+]?[0-9.,]+", &["-1", "+1.5,"], &["*1"]);
        check(r"[a\-z]", &["a", "-", "z"], &["b"]);
        check(r"[\^\]\[]+", &["^]["], &["a"]);
        check("[.~&|]{2}", &["~&", ".|"], &["aa"]);
        check(".", &["ä", "\t"], &["\n", "\r", ""]);
    }

    #[test]
    fn escapes_know_the_letters_of_today() {
        check(r"\d{2}", &["12", "٣٤"], &["1a"]);
        check(r"\w+", &["Größe", "ꟸ"], &["a b", "a-b"]);
        check(r"\i\c*", &["_a:1", "ä-1"], &["1", "-"]);
        check(r"\p{Lu}\P{Lu}", &["Aa", "Ä1"], &["AA"]);
        check(r"[\p{L}\s]+", &["a b\n"], &["1"]);
        check(r"\p{IsGreek}+", &["αβ"], &["a"]);
        check(r"\P{IsBasicLatin}", &["ä"], &["a"]);
        check(r"\n\t\\\.\S\D\W\I\C", &["\n\t\\.aa-- "], &["n"]);
    }

    #[test]
    fn numbers() {
        check("(ab){2,3}", &["abab", "ababab"], &["ab", "abababab"]);
        check("a{0}b{2,}", &["bb", "bbb"], &["b", "abb"]);
        check(
            r"[0-9]{1,4}(\.[0-9]{0,3})?",
            &["1", "12.5"],
            &["12345", ".5"],
        );
    }

    #[test]
    fn what_is_doubtful_has_no_automaton() {
        for pattern in [
            "a**",
            "a+?",
            "[a-c-e]",
            r"[\d-x]",
            "[]",
            "[a",
            "(a",
            "a)",
            r"\p{IsNoBlock}",
            r"\p{X}",
            r"\q",
            "[a[b]",
            "a{1",
            "a{,2}",
            "((a{1,1000}){1,1000}){1,1000}",
            "]",
            "}",
            "[z-a]",
        ] {
            assert!(Pattern::new(&[pattern]).is_none(), "{pattern}");
        }
    }

    #[test]
    fn large_automata_are_built_lazily() {
        let pattern = Pattern::new(&[r"[\p{L}\p{Nd}]{1,30}"]).unwrap();
        assert!(matches!(pattern, Pattern::Lazy(_)));
        assert!(pattern.matches("ä1".as_bytes()));
        assert!(!pattern.matches("ä ".as_bytes()));
    }

    #[test]
    fn one_of_the_patterns_of_a_step_is_enough() {
        let pattern = Pattern::new(&["a|b", "c"]).unwrap();
        assert!(pattern.matches(b"b") && pattern.matches(b"c"));
        assert!(!pattern.matches(b"bc"));
    }
}
