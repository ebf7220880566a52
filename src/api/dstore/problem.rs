//! The answer to a fault as a problem (RFC 9457), for requests that ask for JSON.

use super::render::{findings_of, shown};
use crate::{api::Payload, service::Fault, xml::Finding};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde_json::{Value, json};

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Does a request ask for JSON rather than for text? It has to name a type of JSON: what takes
/// anything gets text, and so does what wants text as much.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let (mut json, mut text, mut any) = (0.0_f32, None::<f32>, 0.0_f32);
    for value in headers.get_all(ACCEPT) {
        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        for range in value.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            match name {
                "application/json" | "application/problem+json" => json = json.max(weight),
                "text/plain" => text = Some(weight),
                "*/*" | "text/*" => any = any.max(weight),
                _ => {}
            }
        }
    }
    json > 0.0 && text.map_or(json >= any, |text| json > text)
}

/// `said`: one line about the fault.
pub(super) fn response(status: StatusCode, said: &str, fault: &Fault) -> Response<Payload> {
    let mut body = json!({
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": said,
    });
    let findings = findings_of(fault);
    if !findings.is_empty() {
        body["findings"] = findings.iter().map(finding).collect();
    }
    if let Fault::Refused { job, .. } = fault {
        body["job"] = job.to_string().into();
    }
    let mut response = Response::new(Payload::Bytes(body.to_string().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM);
    response
}

/// Without what is not known.
fn finding(finding: &Finding) -> Value {
    let mut one = json!({ "message": shown(&finding.message) });
    for (name, number) in [("line", finding.line), ("column", finding.column)] {
        if number > 0 {
            one[name] = number.into();
        }
    }
    if let Some(path) = &finding.path {
        one["path"] = shown(path).into();
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_name_it() {
        let wanted = |accept: &[&str]| {
            let each = accept.iter().map(|value| (ACCEPT, value.parse().unwrap()));
            is_wanted(&each.collect())
        };
        for accept in [
            "application/json",
            "Application/Problem+JSON; charset=utf-8",
            "application/json, */*",
            "application/json, */*;q=0.5",
            "application/json;q=0.9, text/plain;q=0.5",
            "application/xml, application/problem+json;q=0.1",
        ] {
            assert!(wanted(&[accept]), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/*",
            "application/xml",
            "application/json;q=0",
            "application/json;q=x",
            "application/json;q=nan",
            "application/json;q=0.1, */*",
            "application/json, text/plain, */*",
            "text/plain, application/json;q=0.9",
        ] {
            assert!(!wanted(&[accept]), "{accept}");
        }
        assert!(wanted(&["text/html", "application/json"]));
        assert!(!wanted(&[]));
    }
}
