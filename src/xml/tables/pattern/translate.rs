//! From the regular expressions of XML Schema (Part 2, appendix F) to those of `regex-syntax`.

use std::fmt::Write;

use super::blocks::block;

/// `NameStartChar` of XML 1.0, as the inside of a class.
const NAME_START: &str = r":A-Z_a-z\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{2FF}\x{370}-\x{37D}\x{37F}-\x{1FFF}\x{200C}-\x{200D}\x{2070}-\x{218F}\x{2C00}-\x{2FEF}\x{3001}-\x{D7FF}\x{F900}-\x{FDCF}\x{FDF0}-\x{FFFD}\x{10000}-\x{EFFFF}";

/// What `NameChar` has beside `NameStartChar`.
const NAME_MORE: &str = r"\-.0-9\x{B7}\x{300}-\x{36F}\x{203F}-\x{2040}";

const CATEGORIES: [&str; 36] = [
    "C", "Cc", "Cf", "Cn", "Co", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So",
    "Z", "Zl", "Zp", "Zs",
];

/// The pattern as a group; `None` where its meaning is not sure.
pub(super) fn translate(pattern: &str) -> Option<String> {
    let mut translator = Translator {
        rest: pattern,
        out: "(?:".to_owned(),
    };
    let mut open = 0_usize;
    while let Some(c) = translator.next() {
        match c {
            '(' => {
                open += 1;
                translator.out.push_str("(?:");
            }
            ')' => {
                open = open.checked_sub(1)?;
                translator.out.push(')');
                translator.quantifier()?;
            }
            '|' => translator.out.push('|'),
            '[' => {
                let class = translator.class()?;
                translator.out.push_str(&class);
                translator.quantifier()?;
            }
            '.' => {
                translator.out.push_str(r"[^\n\r]");
                translator.quantifier()?;
            }
            '\\' => {
                let class = translator.escape()?.class();
                translator.out.push_str(&class);
                translator.quantifier()?;
            }
            '*' | '+' | '?' | '{' | '}' | ']' => return None,
            c => {
                translator.out.push_str(&literal(c));
                translator.quantifier()?;
            }
        }
    }
    translator.out.push(')');
    (open == 0).then_some(translator.out)
}

struct Translator<'p> {
    rest: &'p str,
    out: String,
}

/// What stands behind a backslash.
enum Escape {
    One(char),
    /// A class with its brackets.
    Many(String),
}

impl Escape {
    fn class(self) -> String {
        match self {
            Escape::One(c) => literal(c),
            Escape::Many(class) => class,
        }
    }
}

impl Translator<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    /// One quantifier or none; two behind each other mean something else elsewhere.
    fn quantifier(&mut self) -> Option<()> {
        match self.peek() {
            Some(c @ ('*' | '+' | '?')) => {
                self.next();
                self.out.push(c);
            }
            Some('{') => {
                let (numbers, rest) = self.rest[1..].split_once('}')?;
                let (least, most) = numbers.split_once(',').unwrap_or((numbers, numbers));
                let is_number = |n: &str| n.bytes().all(|b| b.is_ascii_digit());
                if least.is_empty() || !is_number(least) || !is_number(most) {
                    return None;
                }
                let _ = write!(self.out, "{{{numbers}}}");
                self.rest = rest;
            }
            _ => return Some(()),
        }
        (!matches!(self.peek(), Some('*' | '+' | '?' | '{'))).then_some(())
    }

    fn escape(&mut self) -> Option<Escape> {
        let many = |class: &str| Some(Escape::Many(class.to_owned()));
        match self.next()? {
            'n' => Some(Escape::One('\n')),
            'r' => Some(Escape::One('\r')),
            't' => Some(Escape::One('\t')),
            c @ ('\\' | '|' | '.' | '-' | '^' | '?' | '*' | '+' | '{' | '}' | '(' | ')' | '['
            | ']') => Some(Escape::One(c)),
            's' => many(r"[\x20\t\n\r]"),
            'S' => many(r"[^\x20\t\n\r]"),
            'd' => many(r"\p{gc=Nd}"),
            'D' => many(r"\P{gc=Nd}"),
            'w' => many(r"[^\p{gc=P}\p{gc=Z}\p{gc=C}]"),
            'W' => many(r"[\p{gc=P}\p{gc=Z}\p{gc=C}]"),
            'i' => many(&format!("[{NAME_START}]")),
            'I' => many(&format!("[^{NAME_START}]")),
            'c' => many(&format!("[{NAME_START}{NAME_MORE}]")),
            'C' => many(&format!("[^{NAME_START}{NAME_MORE}]")),
            'p' => self.category("").map(Escape::Many),
            'P' => self.category("^").map(Escape::Many),
            _ => None,
        }
    }

    /// The braces behind `\p`, or with `^` behind `\P`.
    fn category(&mut self, not: &str) -> Option<String> {
        let (name, rest) = self.rest.strip_prefix('{')?.split_once('}')?;
        self.rest = rest;
        match name.strip_prefix("Is") {
            Some(name) => {
                let (first, last) = block(name)?;
                Some(format!(r"[{not}\x{{{first:X}}}-\x{{{last:X}}}]"))
            }
            None if CATEGORIES.contains(&name) => Some(format!(r"[{not}\p{{gc={name}}}]")),
            None => None,
        }
    }

    /// A class behind its opening bracket (F.1): ranges, characters and escapes, then maybe what is
    /// taken away. A hyphen that is neither first, last nor in a range has no sure meaning.
    fn class(&mut self) -> Option<String> {
        let is_negative = self.peek() == Some('^');
        if is_negative {
            self.next();
        }
        let mut members = String::new();
        let mut without = None;
        loop {
            match self.next()? {
                ']' => break,
                '[' => return None,
                '-' if members.is_empty() || self.peek() == Some(']') => members.push_str(r"\-"),
                '-' => {
                    if self.next()? != '[' {
                        return None;
                    }
                    without = Some(self.class()?);
                    if self.next()? != ']' {
                        return None;
                    }
                    break;
                }
                '\\' => match self.escape()? {
                    Escape::Many(class) => members.push_str(&class),
                    Escape::One(c) => self.range(c, &mut members)?,
                },
                c => self.range(c, &mut members)?,
            }
        }
        if members.is_empty() {
            return None;
        }
        let not = if is_negative { "^" } else { "" };
        Some(match without {
            Some(without) => format!("[[{not}{members}]--{without}]"),
            None => format!("[{not}{members}]"),
        })
    }

    /// A character of a class, and the end of the range that it begins.
    fn range(&mut self, first: char, members: &mut String) -> Option<()> {
        members.push_str(&literal(first));
        let Some(behind) = self.rest.strip_prefix('-') else {
            return Some(());
        };
        // A subtraction, or a hyphen at the end.
        if behind.starts_with(['[', ']']) {
            return Some(());
        }
        self.rest = behind;
        let last = match self.next()? {
            '\\' => match self.escape()? {
                Escape::One(c) => c,
                Escape::Many(_) => return None,
            },
            '-' => return None,
            c => c,
        };
        members.push('-');
        members.push_str(&literal(last));
        Some(())
    }
}

/// A character that means itself, wherever it stands.
fn literal(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        c.to_string()
    } else {
        format!(r"\x{{{:X}}}", u32::from(c))
    }
}
