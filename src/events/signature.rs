//! Signatures as Standard Webhooks has them: HMAC-SHA256 over the id, the moment and the body, with dots between.
//! Pure but for the reading of the secrets.

use crate::util::secret;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::path::Path;

const PREFIX: &str = "whsec_";
/// Shorter ones can be guessed; the verifiers of others take no longer ones.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The keys to sign with: several while one follows another.
pub(super) struct Keys(Vec<Vec<u8>>);

impl Keys {
    /// Reads the file of a receiver's secrets, one a line.
    ///
    /// # Errors
    /// What to change: it cannot be read, others may read it, or a line is no secret.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = secret::read(path)?;
        let at = path.display();
        Self::parse(&text).map_err(|what| {
            format!(
                "the secret {at} {what}: one a line, whsec_ and base64 of {} to {} bytes",
                KEY_BYTES.start(),
                KEY_BYTES.end()
            )
        })
    }

    fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(text).map_err(|_| "is no text")?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines.map(|line| {
            let key = line.strip_prefix(PREFIX).map(|key| STANDARD.decode(key));
            match key {
                Some(Ok(key)) if KEY_BYTES.contains(&key.len()) => Ok(key),
                Some(_) | None => Err("has a line that is none"),
            }
        });
        let keys: Vec<Vec<u8>> = keys.collect::<Result<_, _>>()?;
        match keys.is_empty() {
            true => Err("is empty"),
            false => Ok(Self(keys)),
        }
    }

    /// The value of `webhook-signature`, for a moment in seconds of the Unix epoch: one for each key.
    pub(super) fn sign(&self, id: &str, moment_s: i64, body: &str) -> String {
        let signed = self.0.iter().filter_map(|key| {
            // Keys of every length do.
            let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
            mac.update(format!("{id}.{moment_s}.{body}").as_bytes());
            Some(format!(
                "v1,{}",
                STANDARD.encode(mac.finalize().into_bytes())
            ))
        });
        signed.collect::<Vec<String>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in the specification's example of its libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_signature_is_that_of_the_published_example() {
        let keys = Keys::parse(SECRET.as_bytes()).unwrap();
        let signed = keys.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_line_signs() {
        let other = format!("{PREFIX}{}", STANDARD.encode([7; 24]));
        let both = format!("{SECRET}\r\n\n{other}\n");
        let signed = |text: &str| Keys::parse(text.as_bytes()).unwrap().sign("a", 1, "b");
        let (first, second) = (signed(SECRET), signed(&other));
        assert_eq!(signed(&both), format!("{first} {second}"));
        assert_ne!(first, second);
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let short = format!("{PREFIX}{}", STANDARD.encode([7; 23]));
        let long = format!("{PREFIX}{}", STANDARD.encode([7; 65]));
        for text in [
            "",
            "\n",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_!",
            &short,
            &long,
        ] {
            assert!(Keys::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Keys::parse(b"\xff").is_err());
    }
}
