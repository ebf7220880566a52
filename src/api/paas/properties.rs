//! Whatever a client sends: it is a command or a fault, and an answer that is JSON.

use super::*;
use crate::{api::golden::assert_answered, domain::settings, service::JobRef};
use http::Request;
use proptest::{collection::btree_map, prelude::*};

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_request_is_answered(
        path in prop_oneof!["[ -~]{0,30}", "([a-z]{0,2}|/|process|status|download|[0-9]{1,20}|%[0-9a-f]{0,2}|[?&=]|guid){0,9}"],
        method in prop_oneof!["GET", "HEAD", "POST", "PUT"],
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        for root in [ROOT, "/api/v1/main/", "/api/v1/main/status/", "/api/v1/main/process/"] {
            assert_answered(&Paas, &method, &format!("{root}{path}"), &body);
        }
    }

    /// What is asked beside the body is kept, up to its limit; names and values as they were.
    #[test]
    fn a_task_has_the_parameters_that_were_sent(
        given in btree_map(".{0,4}", ".{0,40}", 0..30),
    ) {
        let query: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&given)
            .finish();
        let uri = format!("/api/v1/main/process/x?{query}");
        let (head, ()) = Request::post(uri).body(()).unwrap().into_parts();
        let text = serde_json::to_string(&given).unwrap();
        match Paas.parse(&head, b"") {
            Ok(Command::Submit(submit)) => {
                let expected = (!given.is_empty()).then_some(text);
                prop_assert_eq!(submit.options.params, expected);
            }
            Err(Fault::Invalid { .. }) => prop_assert!(text.len() > 1024),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// A number is a task in one spelling only.
    #[test]
    fn a_task_is_its_number(id in any::<u64>(), before in "[+0 ]{0,1}") {
        let uri = format!("/api/v1/main/status/{}{id}?guid=g", before.replace(' ', "%20"));
        let (head, ()) = Request::get(uri).body(()).unwrap().into_parts();
        match Paas.parse(&head, b"") {
            Ok(Command::Show { job, .. }) => {
                prop_assert_eq!(before, "");
                prop_assert_eq!(job, JobRef::Task { id, runner: Some("g".into()) });
            }
            other => prop_assert!(!before.is_empty(), "{:?}", other),
        }
    }
}
