//! The integrity fields of RFC 9530, `Content-Digest` and `Repr-Digest`, SHA-256 and SHA-512.
//!
//! A field is a dictionary of RFC 9651 with one digest per algorithm: `sha-256=:<base64>:,
//! sha-512=:…:`. Of an algorithm that is named twice, the last digest counts. Parameters mean
//! nothing yet, and other algorithms are ignored, as RFC 9530 asks.

use sfv::{BareItem, Dictionary, Item, ItemSerializer, ListEntry, Parser};

/// What a body must have, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    pub sha256: Option<[u8; 32]>,
    pub sha512: Option<[u8; 64]>,
}

impl Digests {
    /// Reads the lines of a field; `None` if it is malformed.
    pub fn parse<'l>(lines: impl IntoIterator<Item = &'l [u8]>) -> Option<Self> {
        let field = lines.into_iter().collect::<Vec<_>>().join(&b", "[..]);
        let members: Dictionary = Parser::new(&field).parse().ok()?;
        let mut digests = Self::default();
        for (algorithm, member) in members {
            let ListEntry::Item(Item {
                bare_item: BareItem::ByteSequence(digest),
                ..
            }) = member
            else {
                return None;
            };
            match algorithm.as_str() {
                "sha-256" => digests.sha256 = Some(digest.try_into().ok()?),
                "sha-512" => digests.sha512 = Some(digest.try_into().ok()?),
                _ => {}
            }
        }
        Some(digests)
    }
}

/// The field of a SHA-256.
pub fn digest_field(sha256: &[u8; 32]) -> String {
    let digest = ItemSerializer::new().bare_item(&sha256[..]).finish();
    format!("sha-256={digest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings;
    use proptest::prelude::*;

    fn parse(lines: &[&str]) -> Option<Digests> {
        Digests::parse(lines.iter().map(|line| line.as_bytes()))
    }

    fn of(sha256: [u8; 32]) -> Option<Digests> {
        let sha256 = Some(sha256);
        Some(Digests {
            sha256,
            sha512: None,
        })
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn a_field_is_read_as_it_was_written(digest in any::<[u8; 32]>()) {
            let field = digest_field(&digest);
            prop_assert_eq!(parse(&[&field]), of(digest));
            // Padding may be left out (RFC 9651, 4.2.7).
            let bare = field.replace("=:", ":").replacen("sha-256:", "sha-256=:", 1);
            prop_assert_eq!(parse(&["md5=:AAAA:;x", &bare]), of(digest));
        }
    }

    /// RFC 9651, 4.2.2: all but the last instance of a key are ignored.
    #[test]
    fn the_last_digest_of_an_algorithm_counts() {
        let (one, two) = (digest_field(&[1; 32]), digest_field(&[2; 32]));
        assert_eq!(parse(&[&format!("{one}, {two}")]), of([2; 32]));
        assert_eq!(parse(&[&two, &one]), of([1; 32]));
        assert_eq!(parse(&[&format!("sha-256, {one}")]), of([1; 32]));
    }

    #[test]
    fn what_is_no_dictionary_of_digests_is_malformed() {
        let good = digest_field(&[1; 32]);
        let quoted = format!("{good};x=1; y=\"a,\\\";b\" , md5=:AAAA:;z");
        assert_eq!(parse(&[&quoted]), of([1; 32]));
        assert_eq!(parse(&[]), Some(Digests::default()));
        for bad in [
            "sha-256".to_owned(),
            "sha-256=:AAAA:".to_owned(),
            "sha-512=::".to_owned(),
            "sha-256=:\u{e4}:".to_owned(),
            "md5=abc".to_owned(),
            good.to_uppercase(),
            good.replace(':', ""),
            format!("{good},"),
            format!("{good} ;x"),
            format!("{good};x="),
            format!("{good};x=\"a\tb\""),
        ] {
            assert_eq!(parse(&[&bad]), None, "{bad}");
        }
    }
}
