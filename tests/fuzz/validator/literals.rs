//! Values near the bounds of simple types, on both sides of them.

/// Interesting literals of a built-in type, right and wrong ones.
pub(crate) fn built_in(name: &str) -> &'static [&'static str] {
    match name {
        "boolean" => &["true", "false", "1", "0", " true\n", "True", "", "00"],
        "float" | "double" => &[
            "0",
            "-0",
            "1e2",
            "100",
            "1E-5",
            "INF",
            "-INF",
            "+INF",
            "NaN",
            "nan",
            ".5",
            "5.",
            "+1",
            "1e400",
            "1e-400",
            "3.4028235e38",
            "3.4028236e38",
            "16777217",
            "1e",
            "1e1.5",
            "0x1",
            "",
            "1_0",
            "infinity",
            "1.0000000596046448",
        ],
        "decimal" => &[
            "0",
            "-0",
            "+0.0",
            "1",
            "1.",
            ".5",
            "-.5",
            "00012.3400",
            "1e2",
            "",
            ".",
            "+",
            "1 2",
            "123456789012345678901234567890.12345678901234567890",
            "1_0",
            "0.10",
            "-1.5",
            "100",
        ],
        "integer" => &[
            "0",
            "-0",
            "+7",
            "007",
            "1.0",
            "1.",
            "",
            "-",
            "12345678901234567890123",
            "1_0",
        ],
        "nonPositiveInteger" => &["0", "-0", "+0", "-1", "1"],
        "negativeInteger" => &["-1", "0", "-0", "-12345678901234567890123"],
        "nonNegativeInteger" => &["0", "-0", "+1", "-1", "12345678901234567890123", "1_0"],
        "positiveInteger" => &["1", "0", "+1", "-1", "0001"],
        "long" => &[
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "-9223372036854775809",
            "0",
        ],
        "int" => &[
            "2147483647",
            "2147483648",
            "-2147483648",
            "-2147483649",
            "+5",
            "007",
            "1.0",
            "5 ",
            "",
        ],
        "short" => &["32767", "32768", "-32768", "-32769", "+1"],
        "byte" => &["127", "128", "-128", "-129", "0127", "+0"],
        "unsignedLong" => &[
            "18446744073709551615",
            "18446744073709551616",
            "-0",
            "-1",
            "+1",
        ],
        "unsignedInt" => &["4294967295", "4294967296", "-1", "-0", "+1"],
        "unsignedShort" => &["65535", "65536", "-1", "-0"],
        "unsignedByte" => &["255", "256", "-1", "-0", "+3", "0255"],
        "dateTime" => &[
            "2026-11-27T10:00:00",
            "2026-11-27T10:00:00Z",
            "2026-11-27T24:00:00",
            "2026-11-27T24:00:01",
            "2026-11-27T10:00:00.123456789012",
            "2026-11-27T10:00:00+14:00",
            "2026-11-27T10:00:00-14:01",
            "2026-02-29T10:00:00",
            "2024-02-29T10:00:60",
            "-0001-01-01T00:00:00",
            "0000-01-01T00:00:00",
            "12026-01-01T00:00:00Z",
            "2026-11-27 10:00:00",
            "2026-11-27T10:00",
            "2026-03-01T00:00:00Z",
            "2026-02-28T23:59:59.50Z",
            "2026-02-28T24:00:00Z",
            "2026-03-01T13:59:59.5",
            "2026-03-01T14:00:00",
        ],
        "date" => &[
            "2026-11-27",
            "2026-11-27Z",
            "2026-11-27+14:00",
            "2026-11-27-13:59",
            "2026-13-01",
            "2026-02-29",
            "2024-02-29",
            "1900-02-29",
            "2000-02-29",
            "-2026-01-01",
            "0000-01-01",
            "02026-01-01",
            "12026-01-01",
            "2026-1-1",
            "26-01-01",
            "",
            "2026-11-26+12:00",
            "2026-11-28-12:00",
        ],
        "time" => &[
            "10:00:00",
            "10:00:00Z",
            "24:00:00",
            "00:00:00",
            "24:00:00.0",
            "24:00:01",
            "23:59:59.999",
            "10:00",
            "10:00:00+01:00",
            "08:30:00",
            "08:29:59.999",
            "17:00:00",
            "17:00:00.001",
            "12:00:00Z",
            "30:00:00",
        ],
        "gYear" => &[
            "2026",
            "1999",
            "-0001",
            "0000",
            "12026",
            "026",
            "2026Z",
            "2026+14:00",
            "2026-14:01",
            "02026",
        ],
        "gYearMonth" => &["2026-11", "2026-13", "2026-00", "-2026-01Z", "2026-11-01"],
        "gMonth" => &[
            "--11",
            "--12Z",
            "--13",
            "--11--",
            "-11",
            "--00",
            "--02+01:00",
        ],
        "gMonthDay" => &[
            "--12-25", "--02-29", "--02-30", "--04-31", "--12-25Z", "--1-1",
        ],
        "gDay" => &["---31", "---32", "---01Z", "---00", "--01", "---1"],
        "duration" => &[
            "P1Y",
            "P12M",
            "P1M",
            "P30D",
            "P31D",
            "P1DT1H",
            "PT90M",
            "PT1.5S",
            "-P1D",
            "P",
            "PT",
            "P1S",
            "P1YT",
            "P1Y2M3DT4H5M6.7S",
            "P-1D",
            "P1.5D",
            "+P1D",
            "PT0S",
            "P0Y",
            "P1D ",
            "PT.5S",
            "PT5.S",
            "P99999999999999999999D",
        ],
        "hexBinary" => &["", "0F", "0f", "0fA", "0G", "0F 0F", "0F0F", " 0f0F00 "],
        "base64Binary" => &[
            "",
            "AA==",
            "AAA=",
            "AAAA",
            "A A = =",
            "AAAA AAAA",
            "AB==",
            "AAB=",
            "A",
            "AA",
            "A===",
            "AAAA\nAAAA",
            "AAAAAA==",
            "AA==AAAA",
            "=",
            "A-A=",
            "AAAAAAAAAA==",
        ],
        "QName" => &[
            "a",
            "e:every",
            "o:thing",
            "x:a",
            ":a",
            "a:",
            "e:a:b",
            "1a",
            " e:every ",
            "xml:lang",
            "xmlns:a",
        ],
        "anyURI" => &[
            "",
            "urn:a",
            "http://a/b c",
            "%zz",
            "http://[",
            "ä",
            "a#b#c",
            ":",
            "http://b/",
        ],
        "language" => &[
            "de",
            "de-DE",
            "x-123456789",
            "abcdefghi",
            "de-",
            "1a",
            "en-a1",
            "",
        ],
        "Name" => &["a", ":a", "a:b:c", "1a", "-a", "ä1", "a b", ""],
        "NCName" | "ID" | "IDREF" | "ENTITY" => {
            &["a", "b", "_1", "a:b", "1a", "ä", "a b", "", " a "]
        }
        "IDREFS" | "ENTITIES" => &["a", "a b", " b  a ", "a a", "", "a 1"],
        "NMTOKEN" => &["a", "1", "-", ":", "a b", "", "ä.b"],
        "NMTOKENS" => &["a", "a 1", "", " ", "a ! b"],
        _ => &[
            "",
            " ",
            "a",
            "a  b",
            " a",
            "ä",
            "\u{10000}",
            "a\nb",
            "a\tb",
            "0",
        ],
    }
}

/// A value that stands in a schema, and what is next to it.
pub(crate) fn neighbours(value: &str) -> Vec<String> {
    let mut all = vec![value.to_owned()];
    for (at, c) in value.char_indices().filter(|(_, c)| c.is_ascii_digit()) {
        let behind = &value[at + 1..];
        let digit = c.to_digit(10).unwrap_or(0);
        for other in [digit + 1, digit.wrapping_sub(1)]
            .into_iter()
            .filter(|d| *d < 10)
        {
            all.push(format!("{}{other}{behind}", &value[..at]));
        }
    }
    for around in ["-", "+", "0", " "] {
        all.push(format!("{around}{value}"));
    }
    for behind in [
        ".0", ".01", ".001", "0", "Z", "+14:00", "-14:00", "-00:01", " ", "x", "e0",
    ] {
        all.push(format!("{value}{behind}"));
    }
    if let Some(number) = value
        .parse::<i128>()
        .ok()
        .filter(|n| n.abs() < i128::MAX / 2)
    {
        all.extend([number - 1, number + 1, -number].map(|n| n.to_string()));
        all.extend([format!("{}.999", number - 1), format!("{number}.")]);
    }
    let mut chars = value.chars();
    chars.next_back();
    all.extend([
        chars.as_str().to_owned(),
        value.to_lowercase(),
        value.to_uppercase(),
    ]);
    all.push(value.replace(' ', "  "));
    all.push(value.replace(' ', "\n"));
    all
}

/// One less, as many and one more: characters, octets in both spellings, and items.
pub(crate) fn of_length(length: usize, items: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for n in [length.saturating_sub(1), length, length + 1] {
        all.extend(["x", "ä", "\u{10000}", "0F", "1"].map(|unit| unit.repeat(n)));
        all.push(format!(" {} ", "x".repeat(n)));
        all.push(format!("{} ", "x ".repeat(n / 2)));
        let octets = "A".repeat(n * 4 / 3 + usize::from(n % 3 > 0));
        all.push(format!("{octets}{}", "=".repeat((3 - n % 3) % 3)));
        let items = items
            .iter()
            .filter(|item| !item.contains(' ') && !item.is_empty());
        let items: Vec<&str> = items.map(String::as_str).cycle().take(n).collect();
        all.push(items.join(" "));
        let first = items.first().copied().unwrap_or_default();
        all.push(vec![first; items.len()].join("  "));
    }
    all
}

pub(crate) fn of_total_digits(digits: usize) -> Vec<String> {
    let mut all = Vec::new();
    for n in [digits.saturating_sub(1), digits, digits + 1] {
        let ones = "1".repeat(n);
        all.extend([
            ones.clone(),
            format!("-00{ones}"),
            format!("{ones}.0"),
            format!("{ones}.1"),
        ]);
        all.extend([
            format!("0.{ones}"),
            format!(".{}1", "0".repeat(n)),
            format!("1{}", "0".repeat(n)),
        ]);
    }
    all
}

pub(crate) fn of_fraction_digits(digits: usize) -> Vec<String> {
    let mut all = Vec::new();
    for n in [digits.saturating_sub(1), digits, digits + 1] {
        let ones = "1".repeat(n);
        all.extend([
            format!("1.{ones}"),
            format!("0.{ones}00"),
            format!("-.{ones}"),
        ]);
        all.push(format!("1.{}1", "0".repeat(n)));
    }
    all
}

/// Some of one, two and three items.
pub(crate) fn lists(items: &[String]) -> Vec<String> {
    let mut all: Vec<String> = vec![String::new(), " ".to_owned()];
    let good = |item: &&String| !item.is_empty() && !item.contains(' ');
    let items: Vec<&String> = items.iter().filter(good).collect();
    for (n, item) in items.iter().enumerate() {
        all.push((*item).clone());
        let next = items[(n + 1) % items.len()];
        all.extend([
            format!("{item} {next}"),
            format!(" {item}\n{next}  {item} "),
        ]);
    }
    all
}

/// Values that a simple pattern takes, each with the least, one more and the most of what may be
/// repeated. What is not understood stays as it is written.
pub(crate) fn of_pattern(pattern: &str) -> Vec<String> {
    let branch = pattern.split('|').next().unwrap_or_default();
    let mut all: Vec<String> = vec![String::new(); 4];
    let mut rest = branch.chars().peekable();
    while let Some(c) = rest.next() {
        let unit = match c {
            '\\' => match rest.next() {
                Some('d') => '7',
                Some('w' | 'i' | 'c') => 'a',
                Some('p') => {
                    let _ = rest.by_ref().find(|c| *c == '}');
                    'A'
                }
                Some('s') => ' ',
                Some('S') => 'S',
                Some(other) => other,
                None => break,
            },
            '[' => {
                let class: String = rest.by_ref().take_while(|c| *c != ']').collect();
                class
                    .chars()
                    .find(|c| !matches!(c, '\\' | '^'))
                    .unwrap_or('a')
            }
            '.' => 'x',
            '(' | ')' | ']' => continue,
            other => other,
        };
        let mut counts = [1, 1, 1, 1];
        match rest.peek() {
            Some('*') => counts = [0, 1, 3, 9],
            Some('+') => counts = [0, 1, 2, 9],
            Some('?') => counts = [0, 1, 1, 2],
            Some('{') => {
                let inside: String = rest.by_ref().take_while(|c| *c != '}').collect();
                let inside = inside.trim_start_matches('{');
                let (least, most) = inside.split_once(',').unwrap_or((inside, inside));
                let least = least.parse::<usize>().unwrap_or(1).min(64);
                let most = most.parse().unwrap_or(least + 3).min(64);
                counts = [least.saturating_sub(1), least, most, most + 1];
            }
            Some(_) | None => {}
        }
        if matches!(rest.peek(), Some('*' | '+' | '?')) {
            rest.next();
        }
        for (value, n) in all.iter_mut().zip(counts) {
            value.extend(std::iter::repeat_n(unit, n));
        }
    }
    all
}
