//! The `Authorization` header: read as RFC 7617 says, or no one's.

use super::*;
use crate::domain::{any_text, settings};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use proptest::{collection::vec, prelude::*};

fn header(scheme: &str, pair: &str) -> HeaderValue {
    format!("{scheme} {}", STANDARD.encode(pair))
        .parse()
        .unwrap()
}

fn read(header: &HeaderValue) -> Option<(String, String)> {
    LoginAttempt::read(header).map(|attempt| (attempt.user, attempt.password))
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn whoever_can_be_a_user_is_read_as_sent(
        scheme in "[Bb][Aa][Ss][Ii][Cc]",
        user in "[A-Za-z0-9._@-]{1,64}",
        password in "[^\\p{Cc}]{1,60}",
    ) {
        let sent = header(&scheme, &format!("{user}:{password}"));
        prop_assert_eq!(read(&sent), Some((user, password)));
    }

    #[test]
    fn what_is_read_can_be_a_user_and_is_what_was_sent(pair in any_text()) {
        if let Some((user, password)) = read(&header("Basic", &pair)) {
            prop_assert_eq!(format!("{user}:{password}"), pair);
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
            prop_assert!((1..=64).contains(&user.len()) && user.bytes().all(plain));
            prop_assert!((1..=PASSWORD_BYTES_MAX).contains(&password.len()));
            prop_assert!(!password.contains(char::is_control));
        }
    }

    #[test]
    fn what_could_not_be_typed_is_nobodys(
        user in "[A-Za-z0-9._@-]{1,9}",
        password in "[a-z]{1,9}",
        bad in "[\0-\x1f\x7f\u{80}-\u{9f}]",
        other in "[^A-Za-z0-9._@:-]",
        scheme in "[A-Za-z]{0,9}",
    ) {
        for pair in [
            format!("{user}:{bad}{password}"),
            format!("{user}:{password}{bad}"),
            format!("{user}{other}:{password}"),
            format!("{user}:"),
            format!(":{password}"),
            format!("{user}{password}"),
        ] {
            prop_assert_eq!(read(&header("Basic", &pair)), None, "{:?}", pair);
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            prop_assert_eq!(read(&header(&scheme, &format!("{user}:{password}"))), None);
        }
    }

    #[test]
    fn any_header_is_read_or_nobodys(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..600),
            "(Basic|basic|Bearer)? {0,2}[A-Za-z0-9+/=:]{0,40}".prop_map(String::into_bytes),
        ],
    ) {
        let Ok(header) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        if let Some((user, password)) = read(&header) {
            prop_assert!(bytes.len() <= HEADER_BYTES_MAX);
            let sent = bytes.split(|b| *b == b' ').nth(1).and_then(|code| STANDARD.decode(code).ok());
            prop_assert_eq!(sent, Some(format!("{user}:{password}").into_bytes()));
        }
    }
}
