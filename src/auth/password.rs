//! Passwords: making random ones, hashing them, verifying them with Argon2id.
//!
//! The parameters are those that OWASP names as its minimum for Argon2id: 19 MiB, two passes,
//! one lane. A stored hash carries its own parameters, so [`check_hash`] bounds them before a
//! users file is accepted: one entry must not be able to cost a gigabyte per request.
//! Nothing here keeps or prints a password.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The most that a stored hash may ask for.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 8;
/// 24 bytes are 192 bits and print as 32 characters without padding.
const RANDOM_BYTES: usize = 24;
/// Longer ones are refused: no one types them, and they would only make each check dearer.
pub(super) const PASSWORD_BYTES_MAX: usize = 256;

/// What an unknown user's password is verified against. Its output is all zeros, which no
/// password is known to give, and its cost is that of a hash made by [`hash_password`].
pub(super) const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$\
    c3Bvb2xnYXRlLWR1bW15LQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    #[error("the password contains a control character")]
    ControlCharacter,
    #[error("the password is empty")]
    Empty,
    #[error("hashing failed: {0}")]
    Hash(String),
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
}

/// A fresh password of 192 random bits in the URL-safe alphabet.
pub fn random_password() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes::<RANDOM_BYTES>())
}

/// Bytes from the system's random generator. It cannot fail on a running Linux; were it to, no
/// secret could be made and going on would be worse than stopping.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's random generator answers");
    bytes
}

/// The PHC string to store for `password`: `$argon2id$v=19$m=19456,t=2,p=1$…`.
///
/// # Errors
/// When the password is empty, too long or holds a control character; another one has to be chosen.
pub fn hash_password(password: &str) -> Result<String, HashError> {
    if password.is_empty() {
        return Err(HashError::Empty);
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(HashError::TooLong);
    }
    if password.chars().any(char::is_control) {
        return Err(HashError::ControlCharacter);
    }
    let failed = |e: &dyn std::fmt::Display| HashError::Hash(e.to_string());
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| failed(&e))?;
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.as_bytes())
        .map_err(|e| failed(&e))?;
    Ok(hash.to_string())
}

/// Slow on purpose (tens of milliseconds, 19 MiB): never on an async thread.
pub(super) fn verify(stored: &str, password: &str) -> bool {
    PasswordHash::new(stored).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// Whether `stored` is an Argon2 hash at a bearable price; otherwise what to do about it.
pub(super) fn check_hash(stored: &str) -> Result<(), &'static str> {
    const MAKE_ONE: &str =
        "the password is not an Argon2 hash; set one with `spoolgate user passwd`";
    let hash = PasswordHash::new(stored).map_err(|_| MAKE_ONE)?;
    let params = Params::try_from(&hash).map_err(|_| MAKE_ONE)?;
    if !hash.algorithm.as_str().starts_with("argon2") || hash.hash.is_none() || hash.salt.is_none()
    {
        return Err(MAKE_ONE);
    }
    let dear = params.m_cost() > MEMORY_KIB_MAX
        || params.t_cost() > PASSES_MAX
        || params.p_cost() > LANES_MAX;
    if dear {
        return Err("the password's hash asks for more than 256 MiB, 16 passes or 8 lanes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_verifies_its_password_and_no_other() {
        let stored = hash_password("correct horse").unwrap();
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        assert_eq!(check_hash(&stored), Ok(()));
        assert!(verify(&stored, "correct horse"));
        assert!(!verify(&stored, "correct horsf"));
        assert_ne!(stored, hash_password("correct horse").unwrap());
    }

    #[test]
    fn the_dummy_is_a_real_hash_that_no_password_meets() {
        assert_eq!(check_hash(DUMMY_HASH), Ok(()));
        let hash = PasswordHash::new(DUMMY_HASH).unwrap();
        let params = Params::try_from(&hash).unwrap();
        let cost = (params.m_cost(), params.t_cost(), params.p_cost());
        assert_eq!(cost, (MEMORY_KIB, PASSES, LANES));
        assert!(!verify(DUMMY_HASH, "x"));
    }

    #[test]
    fn hashes_from_the_file_are_bounded() {
        for bad in [
            "secret",
            "",
            "$2y$10$abcdefghijklmnopqrstuv",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2id$v=19$m=4194304,t=2,p=1$c3Bvb2xnYXRlLWR1bW15LQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=999,p=1$c3Bvb2xnYXRlLWR1bW15LQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(check_hash(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn random_passwords_are_long_and_safe_in_a_url() {
        let (one, two) = (random_password(), random_password());
        assert_ne!(one, two);
        assert_eq!(one.len(), 32);
        let safe = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        assert!(one.bytes().all(safe), "{one}");
    }

    #[test]
    fn passwords_that_no_header_can_carry_are_not_hashed() {
        assert_eq!(hash_password(""), Err(HashError::Empty));
        assert_eq!(hash_password("a\nb"), Err(HashError::ControlCharacter));
        assert_eq!(hash_password(&"x".repeat(257)), Err(HashError::TooLong));
    }
}
