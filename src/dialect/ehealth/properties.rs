//! Whatever a client sends: it is a command or a fault, and an answer that is JSON.

use super::*;
use crate::{dialect::golden::assert_answered, gateway::Submit, job::settings};
use http::Request;
use proptest::{collection::vec, prelude::*};

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_request_is_answered(
        prefix in prop_oneof!["", "/api"],
        root in prop_oneof!["/jobs", "/oauth/token", "/patients", "/patients/composition"],
        rest in prop_oneof!["[ -~]{0,30}", "(/|job|sign|%[0-9a-f]{0,2}|[?]|=){0,6}"],
        method in prop_oneof!["GET", "HEAD", "PATCH", "POST"],
        body in vec(any::<u8>(), 0..60),
    ) {
        assert_answered(&EHealth, &method, &format!("{prefix}{root}{rest}"), &body);
    }

    /// Which composition is signed stands beside the document, as the client wrote it.
    #[test]
    fn the_composition_is_a_parameter(id in "[^/]{1,40}") {
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let head = Request::patch(format!("/patients/composition/{encoded}/sign")).body(()).unwrap();
        let parsed = EHealth.parse(&head.into_parts().0, &[]).unwrap();
        let Command::Submit(Submit { terms, .. }) = parsed else {
            return Err(TestCaseError::fail(format!("{parsed:?}")));
        };
        let params: serde_json::Value = serde_json::from_str(&terms.params.unwrap()).unwrap();
        prop_assert_eq!(&params["compositionId"], &id);
    }
}
