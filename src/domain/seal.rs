//! Sealed ids: what a tenant gives out for a job's id, and takes back, without a table.
//!
//! Each is a view of the [`JobId`] and a code (HMAC-SHA256) under the tenant's key, one kind of
//! view by another code. What was not given out is found out by the code before any directory is
//! looked at, and codes are compared in constant time.
//!
//! A UUID (version 8) holds the 53 bits of the id and 69 of its code; 24 hexadecimal digits hold
//! them and 43; a runner, which is a capability for one job, is 192 bits of a code alone.

use super::JobId;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;
use uuid::{Builder, Uuid, fmt::Hyphenated};

/// Bytes of a tenant's key.
pub const KEY_BYTES: usize = 32;
/// What an id has until 2089-09-06: 41 bits of milliseconds and a counter of 12. A later one
/// would lose its upper bits here, and its views would lead back to no job.
const ID_BITS: u32 = 53;
const RUNNER_BYTES: usize = 24;

/// Makes codes under a tenant's key.
#[derive(Clone)]
pub struct Seal {
    key: [u8; KEY_BYTES],
}

/// Without the key.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        Self { key }
    }

    /// The code of some bytes. `purpose` keeps apart what is sealed for different uses: none of
    /// them may be the beginning of another, nor contain a zero byte.
    pub fn code(&self, purpose: &str, bytes: &[u8]) -> [u8; 32] {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key);
        let mut mac = mac.expect("HMAC takes a key of any length");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }

    fn id_code(&self, purpose: &str, id: JobId) -> [u8; 32] {
        self.code(purpose, &id.get().to_be_bytes())
    }

    /// The id as a UUID of version 8 (RFC 9562, 5.8).
    pub fn uuid(&self, id: JobId) -> Uuid {
        let code = self.id_code("uuid", id);
        // 48 bits of the id, version, its other 5, 7 of the code, variant, 62 more of the code.
        let id = id.get();
        let mut bits = (u128::from(id >> 5) & ((1 << 48) - 1)) << 80;
        bits |= u128::from(id & 0x1f) << 71;
        bits |= u128::from(code[8] & 0x7f) << 64;
        let tail = u64::from_be_bytes([
            code[0], code[1], code[2], code[3], code[4], code[5], code[6], code[7],
        ]);
        bits |= u128::from(tail >> 2);
        Builder::from_custom_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// The id that [`Seal::uuid`] was given.
    pub fn job_of_uuid(&self, uuid: Uuid) -> Option<JobId> {
        let id = id_in_uuid(uuid);
        let expected = self.uuid(id);
        bool::from(expected.as_bytes().ct_eq(uuid.as_bytes())).then_some(id)
    }

    /// The id as the bytes of 24 hexadecimal digits.
    pub fn hex(&self, id: JobId) -> [u8; 12] {
        let code = self.id_code("hex", id);
        let code = u64::from_be_bytes([0, 0, code[0], code[1], code[2], code[3], code[4], code[5]]);
        let code_bits = 96 - ID_BITS;
        let id = u128::from(id.get()) & ((1 << ID_BITS) - 1);
        let bits = id << code_bits | u128::from(code >> (48 - code_bits));
        let mut hex = [0; 12];
        hex.copy_from_slice(&bits.to_be_bytes()[4..]);
        hex
    }

    /// The id that [`Seal::hex`] was given.
    pub fn job_of_hex(&self, hex: &[u8; 12]) -> Option<JobId> {
        let id = id_in_hex(hex);
        bool::from(self.hex(id).ct_eq(hex)).then_some(id)
    }

    /// The capability for a job, in characters that stand for themselves in an address.
    pub fn runner(&self, id: JobId) -> String {
        URL_SAFE_NO_PAD.encode(&self.id_code("runner", id)[..RUNNER_BYTES])
    }

    /// Is this the job's [`Seal::runner`]?
    pub fn is_runner(&self, id: JobId, given: &str) -> bool {
        self.runner(id).as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// The id that is in a UUID, whoever has made it: for those who see all jobs anyway.
pub fn id_in_uuid(uuid: Uuid) -> JobId {
    let (high, _) = uuid.as_u64_pair();
    JobId::from_number((high >> 16) << 5 | (high >> 7) & 0x1f)
}

/// The same of 24 hexadecimal digits.
pub fn id_in_hex(hex: &[u8; 12]) -> JobId {
    let mut bits = [0; 8];
    bits.copy_from_slice(&hex[..8]);
    JobId::from_number(u64::from_be_bytes(bits) >> (64 - ID_BITS))
}

/// A UUID as it is written with its four hyphens, in either case.
pub fn parse_uuid(text: &str) -> Option<Uuid> {
    let uuid = text.parse::<Hyphenated>().ok()?;
    Some(uuid.into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::properties::settings;
    use proptest::prelude::*;

    fn seal(byte: u8) -> Seal {
        Seal::new([byte; KEY_BYTES])
    }

    fn any_id() -> impl Strategy<Value = JobId> {
        prop_oneof![0..1_u64 << ID_BITS, Just((1 << ID_BITS) - 1), 0..100_u64]
            .prop_map(JobId::from_number)
    }

    proptest! {
        #![proptest_config(settings())]

        #[test]
        fn views_lead_back_and_forged_ones_nowhere(id in any_id(), bit in 0..128_usize) {
            let seal = seal(1);
            let (uuid, hex, runner) = (seal.uuid(id), seal.hex(id), seal.runner(id));
            prop_assert_eq!(seal.job_of_uuid(uuid), Some(id));
            prop_assert_eq!(seal.job_of_hex(&hex), Some(id));
            prop_assert!(seal.is_runner(id, &runner));
            let other = self::seal(2);
            prop_assert_eq!(other.job_of_uuid(uuid), None);
            prop_assert_eq!(other.job_of_hex(&hex), None);
            prop_assert!(!other.is_runner(id, &runner));
            let forged = Uuid::from_u128(uuid.as_u128() ^ 1 << bit);
            prop_assert_eq!(seal.job_of_uuid(forged), None);
            let mut forged = runner.into_bytes();
            forged[bit / 4] ^= 1 << (bit % 7);
            prop_assert!(!seal.is_runner(id, &String::from_utf8(forged).unwrap()));
            let (mut forged, bit) = (hex, bit % 96);
            forged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(seal.job_of_hex(&forged), None);
        }

        #[test]
        fn texts_read_back_in_either_case(bits in any::<u128>()) {
            let uuid = Uuid::from_u128(bits);
            let text = uuid.to_string();
            prop_assert_eq!(parse_uuid(&text), Some(uuid));
            prop_assert_eq!(parse_uuid(&text.to_uppercase()), Some(uuid));
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,40}|[0-9a-f-]{36}") {
            if let Some(uuid) = parse_uuid(&text) {
                prop_assert_eq!(uuid.to_string(), text.to_lowercase());
            }
        }
    }

    #[test]
    fn a_uuid_says_that_it_is_one_and_a_runner_fits_an_address() {
        let id = JobId::from_number((1 << ID_BITS) - 1);
        let text = seal(1).uuid(id).to_string();
        assert_eq!(text.as_bytes()[14], b'8', "{text}");
        assert!(matches!(text.as_bytes()[19], b'8'..=b'b'), "{text}");
        let runner = seal(1).runner(id);
        assert_eq!(runner.len(), 32);
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        assert!(runner.bytes().all(plain), "{runner}");
        assert!(!seal(1).is_runner(JobId::from_number(1), &runner));
    }

    /// Partners keep these: a change of the arithmetic must not go unnoticed. Computed by other
    /// means.
    #[test]
    fn views_stay_as_they_are() {
        let id = JobId::from_number(0x12_3456_789a_bcde);
        assert_eq!(
            seal(1).uuid(id).to_string(),
            "91a2b3c4-d5e6-8f5c-a292-13ba12e17e46"
        );
        assert_eq!(hex::encode(seal(1).hex(id)), "91a2b3c4d5e6f1c62fdf0506");
        assert_eq!(seal(1).runner(id), "D0_lGFqgqJ6a6VaWC2DPqE5qQhq8AZSL");
    }

    #[test]
    fn ids_fit_until_2089() {
        let last: crate::domain::JobName = "20890906T154735.551Z-04095.json".parse().unwrap();
        assert_eq!(last.id().get(), (1 << ID_BITS) - 1);
        let later = JobId::from_number(1 << ID_BITS);
        assert_eq!(seal(1).job_of_uuid(seal(1).uuid(later)), None);
        assert_eq!(seal(1).job_of_hex(&seal(1).hex(later)), None);
    }

    #[test]
    fn codes_for_different_purposes_differ() {
        let seal = seal(1);
        assert_ne!(seal.code("a", b"b"), seal.code("ab", b""));
        assert_ne!(seal.code("a", b"b"), seal.code("b", b"b"));
    }
}
