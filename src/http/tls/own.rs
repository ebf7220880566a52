//! Certificates of our own making: an authority of ten years and, signed by it, the server's own
//! certificate of 397 days, which renews itself.
//!
//! `cert.pem` has the server's certificate first and the authority's after it, so that a client that
//! trusts a copy of that file trusts also what the authority signs later. The authority may sign
//! for the names of the first certificate only, and below it there is no other authority. A
//! renewal keeps names and key and replaces `cert.pem` by a rename, so that certificate and key
//! fit at every moment. A certificate of anyone else's is never touched.

use super::{
    CERTIFICATE_FILE, KEY_FILE, TlsError,
    facts::{DAY_S, Facts},
    io_error, read_chain, read_key,
};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
    SanType, date_time_ymd,
};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// The authority's key, beside the certificate.
const AUTHORITY_KEY_FILE: &str = "ca-key.pem";
/// What an authority of our own making is called, before the digits that are its alone.
const AUTHORITY: &str = "Spoolgate authority ";
const AUTHORITY_YEARS: i64 = 10;
/// What browsers and Apple's systems accept at most.
const DAYS: i64 = 397;
/// With fewer days left it is renewed.
const RENEWAL_DAYS: i64 = 30;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// Makes an authority and a certificate for `names`, 127.0.0.1 and ::1, signed by it, as
/// [`CERTIFICATE_FILE`], [`KEY_FILE`] and `ca-key.pem` in `dir`. Replaces nothing; makes all
/// files or none.
///
/// # Errors
///
/// When one of the files is there, a name cannot be in a certificate, or a file not be written.
pub(crate) fn generate(dir: &Path, names: &[String]) -> Result<(), TlsError> {
    let mut subjects: Vec<String> = names.to_vec();
    for own in ["127.0.0.1", "::1"] {
        if !names.iter().any(|name| name == own) {
            subjects.push(own.into());
        }
    }
    let bad_name = |error: rcgen::Error| TlsError::BadName {
        name: names.join(", "),
        reason: error.to_string(),
    };
    let now_s = jiff::Timestamp::now().as_second();
    // The default algorithm is ECDSA P-256: a quarter of the server's time of an RSA handshake.
    let authority_key = KeyPair::generate().map_err(setup)?;
    let params = authority(&subjects, now_s).map_err(bad_name)?;
    let authority = params.self_signed(&authority_key).map_err(setup)?;
    let issuer = Issuer::from_params(&params, &authority_key);
    let key = KeyPair::generate().map_err(setup)?;
    let params = server(&subjects, now_s, i64::MAX).map_err(bad_name)?;
    let certificate = params.signed_by(&key, &issuer).map_err(setup)?;
    let chain = certificate.pem() + &authority.pem();
    let files = [
        (KEY_FILE, key.serialize_pem(), 0o600),
        (AUTHORITY_KEY_FILE, authority_key.serialize_pem(), 0o600),
        (CERTIFICATE_FILE, chain, 0o640),
    ];
    for (n, (file, text, mode)) in files.iter().enumerate() {
        if let Err(error) = write_new(&dir.join(file), text, *mode) {
            for (file, ..) in &files[..n] {
                // It belongs to no certificate and was made a moment ago.
                let path = dir.join(file);
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
            return Err(error);
        }
    }
    sync(dir)
}

/// Renews a certificate of our own making that has fewer than `RENEWAL_DAYS` left, or whose time
/// has not come because the clock was wrong when it was made. `None`: there is nothing to do, or
/// it is someone else's.
///
/// # Errors
///
/// When a file cannot be read or written, or one of the keys does not fit.
pub(crate) fn renew(certificate: &Path, key: &Path, now_s: i64) -> Result<Option<Facts>, TlsError> {
    let chain = read_chain(certificate)?;
    let [old, issuer] = &chain[..] else {
        return Ok(None);
    };
    let bad = |reason: String| TlsError::BadCertificate {
        path: certificate.into(),
        reason,
    };
    let old = Facts::of(old).map_err(bad)?;
    let authority = Facts::of(issuer).map_err(bad)?;
    let authority_key = certificate.with_file_name(AUTHORITY_KEY_FILE);
    if !is_ours(&old, &authority) || !authority_key.exists() || !due(&old, &authority, now_s) {
        return Ok(None);
    }
    let (key, signing) = (pair(key, &old)?, pair(&authority_key, &authority)?);
    let params = server(&old.names, now_s, authority.not_after_s).map_err(setup)?;
    let signing = Issuer::from_ca_cert_der(issuer, signing).map_err(setup)?;
    let new = params.signed_by(&key, &signing).map_err(setup)?;
    let facts = Facts::of(new.der()).map_err(bad)?;
    let pem = fs::read_to_string(certificate).map_err(io_error("read", certificate))?;
    let authority = pem.rfind(BEGIN).map_or("", |at| &pem[at..]);
    replace(certificate, &(new.pem() + authority))?;
    Ok(Some(facts))
}

/// Is it a certificate of our own making, with what its renewal needs?
pub(crate) fn is_renewed(certificate: &Path) -> bool {
    let Ok(chain) = read_chain(certificate) else {
        return false;
    };
    let [own, authority] = &chain[..] else {
        return false;
    };
    let (Ok(own), Ok(authority)) = (Facts::of(own), Facts::of(authority)) else {
        return false;
    };
    is_ours(&own, &authority) && certificate.with_file_name(AUTHORITY_KEY_FILE).exists()
}

fn is_ours(own: &Facts, authority: &Facts) -> bool {
    own.issuer == authority.subject && authority.subject.contains(AUTHORITY)
}

/// Nothing is won by an end that is no later.
fn due(old: &Facts, authority: &Facts, now_s: i64) -> bool {
    let end_s = (now_s + (DAYS - 1) * DAY_S).min(authority.not_after_s);
    let soon = old.days_left(now_s) < RENEWAL_DAYS && end_s > old.not_after_s + DAY_S;
    now_s < old.not_before_s || soon
}

/// The key in a file, if it is that of the certificate.
fn pair(path: &Path, of: &Facts) -> Result<KeyPair, TlsError> {
    let bad = |reason: String| TlsError::BadKey {
        path: path.into(),
        reason,
    };
    let pem = read_key(path)?;
    let pair = KeyPair::from_pem(&String::from_utf8_lossy(&pem));
    let pair = pair.map_err(|error| bad(error.to_string()))?;
    if pair.subject_public_key_info() != of.public_key {
        return Err(bad(format!("it is not that of {}", of.subject)));
    }
    Ok(pair)
}

fn authority(names: &[String], now_s: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    let mut digits = [0; 4];
    getrandom::fill(&mut digits).map_err(|_| rcgen::Error::RingUnspecified)?;
    let name = format!("{AUTHORITY}{:08x}", u32::from_be_bytes(digits));
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let names = CertificateParams::new(names)?.subject_alt_names.into_iter();
    let permitted = names.filter_map(|name| {
        if let SanType::DnsName(name) = name {
            return Some(GeneralSubtree::DnsName(name.to_string()));
        }
        let SanType::IpAddress(address) = name else {
            return None;
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let net = CidrSubnet::from_addr_prefix(address, bits);
        Some(GeneralSubtree::IpAddress(net))
    });
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted.collect(),
        excluded_subtrees: Vec::new(),
    });
    set_days(
        &mut params,
        now_s - DAY_S,
        now_s + AUTHORITY_YEARS * 365 * DAY_S,
    );
    Ok(params)
}

/// `end_s`: when it ends at the latest.
fn server(names: &[String], now_s: i64, end_s: i64) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    let first = names.first().map_or("localhost", String::as_str);
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, first);
    // rustls clients refuse an authority's certificate as a server's own.
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // From yesterday: clocks of clients may be behind.
    let begin_s = now_s - DAY_S;
    set_days(&mut params, begin_s, end_s.min(begin_s + DAYS * DAY_S));
    Ok(params)
}

/// From the beginning of a day to the beginning of a day, in UTC.
fn set_days(params: &mut CertificateParams, begin_s: i64, end_s: i64) {
    let day = |unix_s: i64| {
        let moment = jiff::Timestamp::from_second(unix_s).unwrap_or(jiff::Timestamp::MAX);
        let date = moment.to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        date_time_ymd(date.year().into(), month, day)
    };
    (params.not_before, params.not_after) = (day(begin_s), day(end_s));
}

fn setup(error: rcgen::Error) -> TlsError {
    TlsError::Setup(error.to_string())
}

/// Replaces the certificate, keeping its mode, owner and group as far as that is allowed.
fn replace(path: &Path, text: &str) -> Result<(), TlsError> {
    let new = path.with_extension("pem.new");
    // What an earlier renewal left that was cut off.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error("remove", &new)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let old = fs::metadata(path).map_err(io_error("read", path))?;
    write_new(&new, text, 0o640)?;
    let kept = fs::set_permissions(&new, old.permissions());
    kept.map_err(io_error("set the mode of", &new))?;
    // Only root may give a file away, and only root has to.
    let _ = std::os::unix::fs::chown(&new, Some(old.uid()), Some(old.gid()));
    fs::rename(&new, path).map_err(io_error("replace", path))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

fn sync(dir: &Path) -> Result<(), TlsError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(io_error("sync", dir))
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(TlsError::Exists { path: path.into() });
        }
        Err(error) => return Err(io_error("create", path)(error)),
    };
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn made() -> tempfile::TempDir {
        let dir = tempfile::TempDir::new().unwrap();
        generate(dir.path(), &["localhost".into(), "a.example".into()]).unwrap();
        dir
    }

    fn now_s() -> i64 {
        jiff::Timestamp::now().as_second()
    }

    fn paths(dir: &tempfile::TempDir) -> (std::path::PathBuf, std::path::PathBuf) {
        (dir.path().join(CERTIFICATE_FILE), dir.path().join(KEY_FILE))
    }

    fn days(facts: &Facts) -> i64 {
        (facts.not_after_s - facts.not_before_s) / DAY_S
    }

    #[test]
    fn what_is_made_is_private_and_says_whose_it_is_and_for_how_long() {
        let dir = made();
        for (file, expected) in [
            (KEY_FILE, 0o600),
            (AUTHORITY_KEY_FILE, 0o600),
            (CERTIFICATE_FILE, 0o640),
        ] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777 & !expected, 0, "{file}");
        }
        let chain = read_chain(&paths(&dir).0).unwrap();
        let (server, authority) = (Facts::of(&chain[0]).unwrap(), Facts::of(&chain[1]).unwrap());
        assert_eq!(server.names, ["localhost", "a.example", "127.0.0.1", "::1"]);
        assert_eq!(server.issuer, authority.subject);
        assert!(authority.subject.contains(AUTHORITY), "{authority:?}");
        assert_eq!(days(&server), DAYS);
        let other = Facts::of(&read_chain(&paths(&made()).0).unwrap()[1]).unwrap();
        assert_ne!(
            authority.subject, other.subject,
            "each is an authority of its own"
        );
    }

    #[test]
    fn it_is_renewed_before_its_end_and_for_who_trusts_the_old_file() {
        let dir = made();
        let (certificate, key) = paths(&dir);
        let first = read_chain(&certificate).unwrap();
        let before = Facts::of(&first[0]).unwrap();
        let end_s = before.not_after_s;
        let early_s = end_s - (RENEWAL_DAYS + 1) * DAY_S;
        assert_eq!(renew(&certificate, &key, early_s).unwrap(), None);
        let due_s = end_s - (RENEWAL_DAYS - 1) * DAY_S;
        let told = renew(&certificate, &key, due_s).unwrap().unwrap();
        let second = read_chain(&certificate).unwrap();
        let after = Facts::of(&second[0]).unwrap();
        assert_eq!(told, after);
        assert!(after.not_after_s >= due_s + (DAYS - 2) * DAY_S && days(&after) <= DAYS);
        assert_eq!(second[1], first[1], "the authority stays");
        assert_eq!(after.names, before.names);
        assert_eq!(after.public_key, before.public_key);
        super::super::Certificate::load(&certificate, &key).unwrap();
        assert_eq!(renew(&certificate, &key, due_s).unwrap(), None);
        // A clock that was a year ahead when it was renewed.
        let healed = renew(&certificate, &key, now_s()).unwrap().unwrap();
        assert!(healed.not_before_s < now_s());
    }

    #[test]
    fn what_is_not_ours_or_does_not_fit_is_not_touched() {
        let dir = made();
        let (certificate, key) = paths(&dir);
        let late_s = now_s() + 390 * DAY_S;
        let untouched = fs::read(&certificate).unwrap();
        let authority_key = dir.path().join(AUTHORITY_KEY_FILE);
        let kept = fs::read(&authority_key).unwrap();
        fs::copy(made().path().join(AUTHORITY_KEY_FILE), &authority_key).unwrap();
        let error = renew(&certificate, &key, late_s).unwrap_err();
        assert!(matches!(error, TlsError::BadKey { .. }), "{error}");
        fs::remove_file(&authority_key).unwrap();
        assert_eq!(renew(&certificate, &key, late_s).unwrap(), None);
        fs::write(&authority_key, kept).unwrap();
        fs::set_permissions(&authority_key, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fs::read(&certificate).unwrap(), untouched);
        // Past the authority's own end there is nothing to win.
        let end_s = Facts::of(&read_chain(&certificate).unwrap()[1])
            .unwrap()
            .not_after_s;
        renew(&certificate, &key, end_s - 40 * DAY_S)
            .unwrap()
            .unwrap();
        assert_eq!(renew(&certificate, &key, end_s - DAY_S).unwrap(), None);
        let foreign = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        fs::write(&certificate, foreign.cert.pem()).unwrap();
        assert_eq!(renew(&certificate, &key, i64::MAX / 2).unwrap(), None);
    }
}
