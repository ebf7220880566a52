//! What compositions are sent as: the composition itself, a JSON object; or, to sign or cancel it, an
//! object with base64 in `data`.
//!
//! `data` is in memory as a whole while it is looked at; decoded, it never is.

use crate::api::json;
use base64::{engine::general_purpose::STANDARD, read::DecoderReader};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::{fmt, io};

const DATA: &str = "data";

/// Is a body a composition? To be the check of a document, see [`crate::service::JsonCheck`].
///
/// # Errors
/// What is wrong with it, in words for the client.
pub(super) fn is_composition(body: &mut dyn io::Read) -> Result<(), String> {
    read(body, Composition)
}

/// Is a body a signed composition, or the signed wish to cancel one? To be the check of a document.
///
/// # Errors
/// What is wrong with it, in words for the client.
pub(super) fn is_signed(body: &mut dyn io::Read) -> Result<(), String> {
    read(body, Signed)
}

fn read(
    body: &mut dyn io::Read,
    what: impl for<'de> Visitor<'de, Value = ()>,
) -> Result<(), String> {
    let text = json::Text::new(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let mut reader = serde_json::Deserializer::from_reader(text);
    let read = reader.deserialize_map(what);
    read.and_then(|()| reader.end()).map_err(|error| {
        let what = if error.is_data() {
            "no composition"
        } else {
            "not JSON"
        };
        format!("the body is {what}: {error}")
    })
}

struct Composition;

impl<'de> Visitor<'de> for Composition {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

struct Signed;

impl<'de> Visitor<'de> for Signed {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(name) = map.next_key::<String>()? {
            if name != DATA {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if found {
                return Err(de::Error::duplicate_field(DATA));
            }
            map.next_value_seed(Base64)?;
            found = true;
        }
        found
            .then_some(())
            .ok_or_else(|| de::Error::missing_field(DATA))
    }
}

struct Base64;

impl<'de> DeserializeSeed<'de> for Base64 {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Base64 {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64 in data")
    }

    fn visit_str<E: de::Error>(self, data: &str) -> Result<(), E> {
        let mut decoded = DecoderReader::new(data.as_bytes(), &STANDARD);
        match io::copy(&mut decoded, &mut io::sink()) {
            Ok(0) => Err(E::custom("data is empty")),
            Ok(_) => Ok(()),
            Err(error) => Err(E::custom(format_args!("data is not base64: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings;
    use base64::Engine;
    use proptest::{collection::vec, prelude::*};

    fn checked(body: &str) -> Result<(), String> {
        is_signed(&mut body.as_bytes())
    }

    #[test]
    fn a_composition_is_any_object() {
        let composition = |body: &str| is_composition(&mut body.as_bytes());
        for good in [
            "{}",
            "\u{feff}{\"type\": {\"coding\": [{\"code\": \"NEWBORN\"}]}, \"data\": null} ",
            r#"{"data":"not base64"}"#,
        ] {
            assert_eq!(composition(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "not JSON: EOF"),
            ("{", "not JSON: EOF"),
            ("{}x", "not JSON: trailing"),
            (
                "[]",
                "no composition: invalid type: sequence, expected an object",
            ),
            ("\"YQ==\"", "no composition: invalid type: string"),
            ("null", "no composition: invalid type: null"),
        ] {
            let error = composition(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128));
        assert!(composition(&deep).unwrap_err().contains("deeper than 128"));
    }

    #[test]
    fn a_signed_composition_has_base64_in_data() {
        for good in [
            r#"{"data":"YQ=="}"#,
            r#" {"x": [{"data": 1}], "data" : "YWI\u003d", "y": null} "#,
            r#"{"data":"\/\/\/\/"}"#,
        ] {
            assert_eq!(checked(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "not JSON: EOF"),
            ("{", "not JSON: EOF"),
            (r#"{"data":"YQ=="}x"#, "not JSON: trailing"),
            ("[]", "expected an object with data"),
            (r#""YQ==""#, "expected an object with data"),
            ("{}", "missing field `data`"),
            (r#"{"Data":"YQ=="}"#, "missing field `data`"),
            (r#"{"data":"YQ==","data":"YQ=="}"#, "duplicate field `data`"),
            (r#"{"data":null}"#, "expected base64 in data"),
            (r#"{"data":["YQ=="]}"#, "expected base64 in data"),
            (r#"{"data":""}"#, "data is empty"),
            (r#"{"data":"YQ"}"#, "data is not base64"),
            (r#"{"data":"YQ= ="}"#, "data is not base64"),
            (r#"{"data":"Y-_="}"#, "data is not base64"),
        ] {
            let error = checked(bad).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn whatever_is_encoded_is_base64(
            bytes in vec(any::<u8>(), 1..200),
            text in "[A-Za-z0-9+/= -]{0,12}",
        ) {
            let data = STANDARD.encode(bytes);
            prop_assert_eq!(checked(&format!("{{\"data\":\"{data}\"}}")), Ok(()));
            let fine = STANDARD.decode(&text).is_ok_and(|bytes| !bytes.is_empty());
            prop_assert_eq!(checked(&format!("{{\"data\":\"{text}\"}}")).is_ok(), fine);
        }
    }
}
