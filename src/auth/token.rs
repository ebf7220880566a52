//! Bearer tokens, API keys and sessions: what a program or a browser shows instead of a user's password.
//!
//! A token says whose it is, until when, and which scopes it is limited to, in plain text; its
//! code covers that and the stored hash of the user's password. A session is a token without scopes for a browser, and
//! its form token a code of it. An API key is the code of user
//! and hash alone. So nothing is kept: all survive a restart, and all are void as soon as the
//! user has another password, or is gone.
//!
//! A code has 192 bits or more and none can be guessed, so failures are not counted: throttling
//! them would only let strangers lock out a partner. Codes are compared in constant time. Pure.
//!
//! Source: RFC 6750 (how a token is sent and written), RFC 6749 3.3 (how a scope is written).

use super::cache::joined;
use super::parse::check_user;
use crate::domain::Seal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

/// How long a token is good for unless something else is asked for, in seconds.
pub const TOKEN_LIFETIME_S: u32 = 3600;
/// How long a browser stays logged in, in seconds.
pub const SESSION_LIFETIME_S: u32 = 8 * 3600;
/// Longest scope.
pub const SCOPE_BYTES_MAX: usize = 64;
/// Most scopes of a token.
pub const SCOPES_MAX: usize = 16;
/// Longer than any token that is issued.
const TOKEN_BYTES_MAX: usize = 2048;
const API_KEY_BYTES: usize = 24;
const FORM_TOKEN_BYTES: usize = 24;

/// Who is to show it; one is of no use where the other is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Bearer,
    Session,
}

impl Use {
    /// What its code is for.
    fn purpose(self) -> &'static str {
        match self {
            Self::Bearer => "token",
            Self::Session => "session",
        }
    }
}

/// What a token says. Whether it is true, only [`Token::is_genuine`] knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token<'t> {
    pub(super) user: String,
    /// In seconds of the Unix epoch: from this moment on it is void.
    pub(super) expires_s: i64,
    /// Empty: not limited.
    pub(super) scopes: Vec<String>,
    claims: &'t str,
    code: &'t str,
}

/// A token for `user` whose stored hash is `stored`: `<claims>.<code>`, both in base64url.
pub(super) fn issue(
    seal: &Seal,
    by: Use,
    user: &str,
    stored: &str,
    expires_s: i64,
    scopes: &[String],
) -> String {
    let mut claims = format!("{expires_s} {user}");
    for scope in scopes {
        claims.push(' ');
        claims += scope;
    }
    let claims = URL_SAFE_NO_PAD.encode(claims);
    let code = code(seal, by, &claims, stored);
    format!("{claims}.{code}")
}

impl<'t> Token<'t> {
    /// `None` for whatever has not the form of a token.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let (claims, code) = (text.len() <= TOKEN_BYTES_MAX)
            .then(|| text.split_once('.'))
            .flatten()?;
        let said = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let said = String::from_utf8(said).ok()?;
        let mut words = said.split(' ');
        let expires_s = words.next()?.parse().ok()?;
        let user = words.next().filter(|user| check_user(user).is_ok())?;
        Some(Self {
            user: user.to_owned(),
            expires_s,
            scopes: words.map(str::to_owned).collect(),
            claims,
            code,
        })
    }

    /// Was it issued to its user, whose stored hash is `stored` now?
    pub(super) fn is_genuine(&self, seal: &Seal, by: Use, stored: &str) -> bool {
        let code = code(seal, by, self.claims, stored);
        code.as_bytes().ct_eq(self.code.as_bytes()).into()
    }
}

fn code(seal: &Seal, by: Use, claims: &str, stored: &str) -> String {
    let parts = joined(&[claims.as_bytes(), stored.as_bytes()]);
    URL_SAFE_NO_PAD.encode(seal.code(by.purpose(), &parts))
}

/// What the forms have that are given to who shows this session.
pub(super) fn form_token(seal: &Seal, session: &str) -> String {
    URL_SAFE_NO_PAD.encode(&seal.code("form", session.as_bytes())[..FORM_TOKEN_BYTES])
}

pub(super) fn is_form_token(seal: &Seal, session: &str, given: &str) -> bool {
    let token = form_token(seal, session);
    token.as_bytes().ct_eq(given.as_bytes()).into()
}

/// 32 characters that a header and a shell can hold.
pub(super) fn api_key(seal: &Seal, user: &str, stored: &str) -> String {
    let parts = joined(&[user.as_bytes(), stored.as_bytes()]);
    URL_SAFE_NO_PAD.encode(&seal.code("api-key", &parts)[..API_KEY_BYTES])
}

pub(super) fn is_api_key(seal: &Seal, user: &str, stored: &str, given: &str) -> bool {
    let key = api_key(seal, user, stored);
    key.as_bytes().ct_eq(given.as_bytes()).into()
}

/// Scopes are 1..=64 of printable ASCII without space, quote and backslash.
///
/// # Errors
/// When it is not one; the text says what a scope may hold.
pub fn check_scope(scope: &str) -> Result<(), String> {
    let allowed = |b: u8| matches!(b, b'!' | b'#'..=b'[' | b']'..=b'~');
    if (1..=SCOPE_BYTES_MAX).contains(&scope.len()) && scope.bytes().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "`{}` is not a scope; use 1 to {SCOPE_BYTES_MAX} of printable ASCII without space, quote \
         and backslash, as in composition:read",
        scope.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{KEY_BYTES, any_text, settings};
    use proptest::{collection::vec, prelude::*, sample::Index};

    fn seal(byte: u8) -> Seal {
        Seal::new([byte; KEY_BYTES])
    }

    fn scopes(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn the_longest_token_is_not_too_long() {
        let (user, all) = ("u".repeat(64), vec!["s".repeat(64); SCOPES_MAX]);
        let text = issue(&seal(1), Use::Bearer, &user, "hash", i64::MAX, &all);
        let token = Token::read(&text).unwrap();
        assert_eq!((&token.user, &token.scopes), (&user, &all));
        assert!(token.is_genuine(&seal(1), Use::Bearer, "hash"));
    }

    #[test]
    fn a_token_is_good_under_its_key_and_with_its_password_only() {
        let text = issue(
            &seal(1),
            Use::Bearer,
            "shop",
            "hash",
            100,
            &scopes(&["a:read"]),
        );
        let token = Token::read(&text).unwrap();
        assert!(token.is_genuine(&seal(1), Use::Bearer, "hash"));
        assert!(!token.is_genuine(&seal(2), Use::Bearer, "hash"));
        assert!(!token.is_genuine(&seal(1), Use::Bearer, "hasH"));
        // Longer life, other user, more scopes: under the code of the first.
        for (user, expires_s, more) in [
            ("shop", 101, &["a:read"][..]),
            ("shoq", 100, &["a:read"]),
            ("shop", 100, &[]),
            ("shop", 100, &["a:read", "b"]),
        ] {
            let other = issue(
                &seal(1),
                Use::Bearer,
                user,
                "hash",
                expires_s,
                &scopes(more),
            );
            let (claims, _) = other.split_once('.').unwrap();
            let (_, code) = text.split_once('.').unwrap();
            let forged = format!("{claims}.{code}");
            assert!(
                !Token::read(&forged)
                    .unwrap()
                    .is_genuine(&seal(1), Use::Bearer, "hash")
            );
        }
        // A key is no token, and a token's code no key.
        let key = api_key(&seal(1), "shop", "hash");
        assert!(Token::read(&key).is_none());
        assert!(!is_api_key(&seal(1), "shop", "hash", token.code));
    }

    #[test]
    fn a_session_is_no_token_and_its_forms_are_its_own() {
        let session = issue(&seal(1), Use::Session, "shop", "hash", 100, &[]);
        let read = Token::read(&session).unwrap();
        assert!(read.is_genuine(&seal(1), Use::Session, "hash"));
        assert!(!read.is_genuine(&seal(1), Use::Bearer, "hash"));
        let token = issue(&seal(1), Use::Bearer, "shop", "hash", 100, &[]);
        let read = Token::read(&token).unwrap();
        assert!(!read.is_genuine(&seal(1), Use::Session, "hash"));
        let form = form_token(&seal(1), &session);
        assert!(is_form_token(&seal(1), &session, &form));
        assert!(!is_form_token(&seal(2), &session, &form));
        assert!(!is_form_token(&seal(1), &token, &form));
        assert!(!is_form_token(&seal(1), &session, ""));
    }

    #[test]
    fn an_api_key_is_of_one_user_with_one_password() {
        let key = api_key(&seal(1), "shop", "hash");
        assert_eq!(key.len(), 32);
        assert!(is_api_key(&seal(1), "shop", "hash", &key));
        assert!(!is_api_key(&seal(1), "shop", "hash", ""));
        assert!(!is_api_key(&seal(1), "shop", "hash", &key[..31]));
        assert!(!is_api_key(&seal(1), "shop", "hasH", &key));
        assert!(!is_api_key(&seal(1), "shoph", "ash", &key));
        assert!(!is_api_key(&seal(2), "shop", "hash", &key));
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn tokens_read_back_and_a_flipped_bit_voids_them(
            user in "[A-Za-z0-9._@-]{1,64}",
            stored in any_text(),
            expires_s in any::<i64>(),
            scopes in vec("[!#-\\[\\]-~]{1,64}", 0..4),
            at in any::<Index>(),
            bit in 0..7_u32,
        ) {
            let seal = seal(1);
            let text = issue(&seal, Use::Bearer, &user, &stored, expires_s, &scopes);
            let token = Token::read(&text).unwrap();
            prop_assert_eq!((&token.user, token.expires_s), (&user, expires_s));
            prop_assert_eq!(&token.scopes, &scopes);
            prop_assert!(token.is_genuine(&seal, Use::Bearer, &stored));
            let mut altered = text.clone().into_bytes();
            altered[at.index(text.len())] ^= 1 << bit;
            let altered = String::from_utf8(altered).unwrap();
            let read = Token::read(&altered);
            prop_assert!(!read.is_some_and(|token| token.is_genuine(&seal, Use::Bearer, &stored)));
        }

        #[test]
        fn no_text_is_too_odd(text in any_text(), claims in any_text()) {
            let made = format!("{}.{text}", URL_SAFE_NO_PAD.encode(claims));
            for text in [text, made] {
                let token = Token::read(&text);
                prop_assert!(!token.is_some_and(|token| token.is_genuine(&seal(1), Use::Bearer, "hash")));
            }
        }

        #[test]
        fn a_scope_is_what_the_standard_calls_one(scope in any_text()) {
            let plain = |c: char| c.is_ascii_graphic() && !"\"\\".contains(c);
            let is_scope = (1..=SCOPE_BYTES_MAX).contains(&scope.len()) && scope.chars().all(plain);
            prop_assert_eq!(check_scope(&scope).is_ok(), is_scope, "{}", scope);
        }
    }
}
