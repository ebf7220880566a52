//! Whatever a client sends: it is a command or a fault, and an answer that is JSON.

use super::*;
use crate::{
    api::golden::assert_answered,
    domain::{any_text, settings},
    service::{JobRef, PageRequest},
};
use http::Request;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
        prop_oneof!["[Hh]igh", "robot-1", ""].prop_map(Value::from),
        Just(json!({"a": "b"})),
        vec(any_text(), 0..3).prop_map(|names| {
            let question = |name| json!({"name": name, "value": 1});
            names.into_iter().map(question).collect()
        }),
    ]
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let name = "questions|[qQ]uestions|priority|PRIORITY|workerTag|credentialId|[a-z]{1,3}";
    let members = vec((name, any_value()), 0..6);
    prop_oneof![
        vec(any::<u8>(), 0..60),
        "(grant_type=client_credentials|client_id=a|client_secret=%6|scope=+|&){0,7}"
            .prop_map(String::into_bytes),
        members.prop_map(|members| {
            let member = |(name, value): (String, Value)| format!("{}:{value}", json!(name));
            let members: Vec<String> = members.into_iter().map(member).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        }),
    ]
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_request_is_answered(
        path in prop_oneof!["[ -~]{0,30}", "([vV]3|v1|/|jobs|Workflows|output|messages|oauth2|token|[0-9a-f]{24}|%[0-9a-f]{0,2}){0,7}"],
        query in "((status|limit|offset|sortField|direction|resultCode|format|includeMessages|[a-z])(=|=(Queued|Raw|true|desc|-?[0-9]{1,12}|[ -~]{0,6}))?&){0,4}",
        method in prop_oneof!["GET", "HEAD", "POST", "PUT", "DELETE"],
        body in any_body(),
    ) {
        let uris = [
            format!("/webapi/{path}?{query}"),
            format!("/WEBAPI/v3/workflows/x/jobs?{query}"),
            format!("/webapi/v3/jobs/0cb0c0de0123456789abcdef?{query}"),
            format!("/webapi/v1/jobs/0cb0c0de0123456789abcdef/output/{path}?{query}"),
            "/webapi/oauth2/token".to_owned(),
        ];
        for uri in uris {
            assert_answered(&Alteryx, &method, &uri, &body);
        }
    }

    /// An id means the same in every case.
    #[test]
    fn a_job_is_its_digits(id in any::<[u8; 12]>(), upper in any::<bool>()) {
        let mut digits = hex::encode(id);
        if upper {
            digits.make_ascii_uppercase();
        }
        let uri = format!("/webapi/v3/jobs/{digits}");
        let (head, ()) = Request::delete(uri).body(()).unwrap().into_parts();
        let parsed = Alteryx.parse(&head, b"");
        prop_assert_eq!(parsed, Ok(Command::Cancel { job: JobRef::Hex(id) }));
    }

    /// A page is what was asked for, and never larger than an answer may be.
    #[test]
    fn a_page_is_what_was_asked_for(offset in any::<u32>(), limit in any::<u32>()) {
        let uri = format!("/webapi/v3/workflows/x/jobs?offset={offset}&limit={limit}");
        let (head, ()) = Request::get(uri).body(()).unwrap().into_parts();
        let parsed = Alteryx.parse(&head, b"");
        let Ok(Command::Jobs { page, .. }) = parsed else {
            panic!("{parsed:?}");
        };
        let expected = PageRequest {
            offset: offset as usize,
            limit: Some(limit.min(1000) as usize),
            ..PageRequest::default()
        };
        prop_assert_eq!(page, expected);
    }
}
