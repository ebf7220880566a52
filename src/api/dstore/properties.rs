//! Whatever a client sends: parameters are read as the standard says or refused, digests are
//! bytes, and an answer is one line of text that a terminal survives.

use super::{
    digest::{self, CONTENT_DIGEST},
    parameters::Parameters,
    *,
};
use crate::{
    api::headers::{self, REPR_DIGEST},
    domain::{any_interface, any_job_name, any_text, settings},
    service::Submit,
    xml::Finding,
};
use http::{HeaderMap, HeaderValue, Request, header::LOCATION};
use proptest::{collection::vec, option, prelude::*};
use std::collections::BTreeMap;

fn any_query() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..60),
        "[&=+%a-cA-C0-9\u{e4}]{0,60}".prop_map(String::into_bytes),
        "(%[0-9a-fA-F]{2}|[&=ab]){0,20}".prop_map(String::into_bytes),
        "([ab]=(a|%61|b)?&){0,4}".prop_map(String::into_bytes),
    ]
}

/// What the standard reads, if nothing had to be guessed at: every `%` has its two digits, and
/// everything decoded is UTF-8.
fn standard(query: &[u8]) -> Option<Vec<(String, String)>> {
    let whole = query
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| {
            let digits = query.get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        });
    let decoded = query.split(|b| matches!(b, b'&' | b'=')).map(|half| {
        let mut bytes = Vec::new();
        let mut rest = half;
        while let [byte, after @ ..] = rest {
            let coded = (*byte == b'%').then(|| after.split_at_checked(2)).flatten();
            let (byte, after) = coded.map_or((*byte, after), |(digits, after)| {
                let digits = str::from_utf8(digits).unwrap();
                (u8::from_str_radix(digits, 16).unwrap(), after)
            });
            bytes.push(byte);
            rest = after;
        }
        String::from_utf8(bytes).is_ok()
    });
    if !whole || !decoded.into_iter().all(|half| half) {
        return None;
    }
    Some(form_urlencoded::parse(query).into_owned().collect())
}

/// Every byte as `%XX`, in either case.
fn all_encoded(text: &str, upper: bool) -> String {
    let encode = |byte: u8| {
        if upper {
            format!("%{byte:02X}")
        } else {
            format!("%{byte:02x}")
        }
    };
    text.bytes().map(encode).collect()
}

fn headers(values: &[(http::HeaderName, &str)]) -> HeaderMap {
    let pairs = values
        .iter()
        .map(|(name, value)| (name.clone(), value.parse().unwrap()));
    pairs.collect()
}

/// The text of an answer, with what every one of them has checked.
fn text_of(response: Response<Payload>) -> String {
    assert!(response.status().is_client_error() || response.status().is_server_error());
    for (name, value) in response.headers() {
        let visible = value.to_str().is_ok_and(|value| !value.is_empty());
        assert!(visible, "{name}: {value:?}");
    }
    match response.into_body() {
        Payload::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other @ (Payload::Completing(..)
        | Payload::File(_)
        | Payload::HeadOf(_)
        | Payload::Stream(_)) => {
            panic!("{other:?} is no text")
        }
    }
}

fn is_lines_of_text(text: &str, n_lines: usize) -> bool {
    let lines: Vec<&str> = text.split_terminator('\n').collect();
    text.ends_with('\n')
        && lines.len() == n_lines
        && lines
            .iter()
            .all(|line| !line.contains(char::is_control) && line.chars().count() <= 1001)
}

/// Of any request: no answer depends on it.
fn head() -> http::request::Parts {
    Request::get("/xml/job").body(()).unwrap().into_parts().0
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn parameters_are_what_the_standard_reads_or_are_refused(
        query in any_query(),
        form in any_query(),
    ) {
        let parsed = Parameters::parse(&[&query, &form]);
        let Some((query, form)) = standard(&query).zip(standard(&form)) else {
            let refused = matches!(parsed, Err(Fault::Invalid { .. }));
            prop_assert!(refused);
            return Ok(());
        };
        let parsed = parsed.unwrap();
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in query.into_iter().chain(form) {
            values.entry(name).or_default().push(value);
        }
        for (name, mut values) in values {
            values.dedup();
            match &values[..] {
                [only] => {
                    prop_assert_eq!(parsed.optional(&name), Ok(Some(only.as_str())));
                    prop_assert_eq!(parsed.required(&name).is_ok(), !only.is_empty());
                }
                _ => prop_assert!(parsed.optional(&name).is_err(), "{} is {:?}", name, values),
            }
        }
        prop_assert_eq!(parsed.optional("no such name"), Ok(None));
        prop_assert!(parsed.required("no such name").is_err());
    }

    #[test]
    fn any_text_arrives_however_it_is_encoded(
        name in any_text(),
        value in any_text(),
        upper in any::<bool>(),
    ) {
        let standard = form_urlencoded::Serializer::new(String::new())
            .append_pair(&name, &value)
            .finish();
        let full = format!("{}={}", all_encoded(&name, upper), all_encoded(&value, !upper));
        for encoded in [standard, full] {
            let parsed = Parameters::parse(&[encoded.as_bytes()]).unwrap();
            prop_assert_eq!(parsed.optional(&name), Ok(Some(value.as_str())), "{}", encoded);
        }
    }

    #[test]
    fn a_digest_is_written_and_read_alike(bytes in any::<[u8; 32]>(), other in any::<[u8; 32]>()) {
        let field = headers::repr_digest(&hex::encode(bytes)).unwrap();
        let value = field.to_str().unwrap();
        let expected = |headers: HeaderMap| digest::expected(&headers).map(|wanted| wanted.sha256);
        prop_assert_eq!(expected(headers(&[(CONTENT_DIGEST, value)])), Ok(Some(bytes)));
        let listed = format!("md5=:kAFQmDzST7DWlj99KOF/cg==: ,\t{}", value.replace('=', "").replacen("sha-256", "sha-256=", 1));
        prop_assert_eq!(expected(headers(&[(REPR_DIGEST, &listed)])), Ok(Some(bytes)));
        let other = headers::repr_digest(&hex::encode(other)).unwrap();
        let both = [(CONTENT_DIGEST, value), (REPR_DIGEST, other.to_str().unwrap())];
        prop_assert_eq!(expected(headers(&both)).is_ok(), value == other);
    }

    #[test]
    fn only_64_digits_are_a_digest(
        text in prop_oneof![any_text(), "[0-9a-fA-F]{62,66}", "[0-9a-f+-]{64}"],
    ) {
        let is_digest = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        prop_assert_eq!(headers::repr_digest(&text).is_some(), is_digest);
    }

    #[test]
    fn a_field_of_a_digest_is_read_or_refused(
        value in prop_oneof![
            vec(any::<u8>(), 0..80),
            "(sha-256|md5|)=?:?[A-Za-z0-9+/]{42,44}=?:?[, ]?".prop_map(String::into_bytes),
        ],
    ) {
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_DIGEST, value);
        if let Err(fault) = digest::expected(&headers) {
            prop_assert!(is_lines_of_text(&text_of(DStore.render_fault(&head(), &fault)), 1));
        }
    }

    #[test]
    fn a_fault_is_one_line_whatever_a_client_chose(
        reason in prop_oneof![any_text(), "[\0-\u{9f}]{0,40}", "\\PC{990,1010}"],
        job in any_job_name(),
        retry_after_s in any::<u32>(),
        findings in vec((any::<u64>(), any::<u64>(), any_text()), 0..4),
    ) {
        for fault in [
            Fault::Busy { retry_after_s, reason: reason.clone() },
            Fault::Forbidden { reason: reason.clone() },
            Fault::Invalid { reason: reason.clone() },
            Fault::TooMany { retry_after_s, reason: reason.clone() },
            Fault::Field { field: reason.clone(), reason: reason.clone() },
            Fault::UnknownInterface { interface: reason.clone() },
            Fault::UnknownJob { job: reason.clone() },
            Fault::UnknownTenant { tenant: reason.clone() },
        ] {
            let text = text_of(DStore.render_fault(&head(), &fault));
            prop_assert!(is_lines_of_text(&text, 1), "{:?}", text);
        }
        let n_lines = findings.len() + 1;
        let finding = |(line, column, message): (u64, u64, String)| Finding { line, column, path: None, message };
        let findings = findings.into_iter().map(finding).collect();
        let text = text_of(DStore.render_fault(&head(), &Fault::Refused { job, sha256: String::new(), findings }));
        prop_assert!(is_lines_of_text(&text, n_lines), "{:?}", text);
    }

    /// Where an accepted job is to be looked for, it is looked for.
    #[test]
    fn the_location_of_a_job_asks_for_its_status(
        job in any_job_name(),
        interface in any_interface(),
        replayed in any::<bool>(),
    ) {
        let (bytes, sha256) = (3, "0".repeat(64));
        let reply = Reply::Accepted { job: job.clone(), interface, bytes, sha256, replayed };
        let response = DStore.render(&head(), reply);
        let location = response.headers()[LOCATION].to_str().unwrap();
        let (head, ()) = Request::get(location).body(()).unwrap().into_parts();
        prop_assert_eq!(DStore.parse(&head, &[]), Ok(Command::Status { job }));
    }

    /// Parameters count alike in a query and in a form.
    #[test]
    fn a_query_and_a_form_are_the_same(
        interface in prop_oneof![any_interface().prop_map(|name| name.to_string()), any_text()],
        job in prop_oneof![any_job_name().prop_map(|name| name.to_string()), any_text()],
        xslt in option::of(prop_oneof!["[A-Za-z0-9._-]{0,9}", any_text()]),
    ) {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.append_pair("Interfacename", &interface).append_pair("Jobname", &job);
        pairs.extend_pairs(xslt.iter().map(|sheet| ("xslt", sheet)));
        let pairs = pairs.finish();
        for path in ["/xml/job", "/xml/joblog", "/xml/jobqueue", "/xml/jobstatus"] {
            let get = Request::get(format!("{path}?{pairs}")).body(()).unwrap();
            let post = Request::post(path).body(()).unwrap();
            let (get, post) = (get.into_parts().0, post.into_parts().0);
            prop_assert_eq!(DStore.intake(&get), Intake::Stream);
            prop_assert_ne!(DStore.intake(&post), Intake::Stream);
            prop_assert_eq!(DStore.parse(&get, &[]), DStore.parse(&post, pairs.as_bytes()));
        }
    }

    /// A command holds nothing that a path, a header or a log would interpret.
    #[test]
    fn a_command_holds_names_only(
        key in option::of(prop_oneof![
            vec(any::<u8>(), 0..9),
            "[ -~]{0,9}".prop_map(String::into_bytes),
            "[!-~]{250,260}".prop_map(String::into_bytes),
        ]),
        reference in any_text(),
        sheet in any_text(),
        job in any_job_name(),
    ) {
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let query = |name: &str, value: &str| {
            form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
        };
        let mut upload = Request::post(format!("/xml/upload?{}", query("RefName", &reference)));
        if let Some(key) = key.and_then(|key| HeaderValue::from_bytes(&key).ok()) {
            upload = upload.header("idempotency-key", key);
        }
        let (head, ()) = upload.body(()).unwrap().into_parts();
        if let Ok(Command::Submit(Submit { reference, idempotency_key, .. })) = DStore.parse(&head, &[]) {
            prop_assert!(reference.is_none_or(|reference| plain(reference.as_str())));
            let printable = |key: &String| {
                (1..=255).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b))
            };
            prop_assert!(idempotency_key.as_ref().is_none_or(printable), "{:?}", idempotency_key);
        }
        let uri = format!("/xml/job?Interfacename=a&Jobname={job}&{}", query("xslt", &sheet));
        let (head, ()) = Request::get(uri).body(()).unwrap().into_parts();
        match DStore.parse(&head, &[]) {
            Ok(Command::Fetch { stylesheet, .. }) => {
                prop_assert_eq!(stylesheet.as_ref(), Some(&sheet));
                prop_assert!(plain(&sheet) && !sheet.starts_with('.') && !sheet.is_empty());
            }
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(_) => prop_assert!(!plain(&sheet) || sheet.starts_with('.') || sheet.is_empty()),
        }
    }
}
