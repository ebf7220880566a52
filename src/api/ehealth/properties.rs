//! Whatever a client sends: it is a command or a fault, and an answer that is JSON.

use super::*;
use crate::{api::golden::assert_answered, domain::settings, service::Submit};
use http::Request;
use proptest::{collection::vec, prelude::*};

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_request_is_answered(
        prefix in prop_oneof!["", "/api"],
        root in prop_oneof!["/jobs", "/oauth/tokens", "/patients", "/patients/composition"],
        rest in prop_oneof!["[ -~]{0,30}", "(/|job|sign|cancel|%[0-9a-f]{0,2}|[?]|=){0,6}"],
        method in prop_oneof!["GET", "HEAD", "PATCH", "POST"],
        body in vec(any::<u8>(), 0..60),
    ) {
        assert_answered(&EHealth, &method, &format!("{prefix}{root}{rest}"), &body);
    }

    /// Which composition is signed or cancelled stands beside the document, as the client wrote it;
    /// what is no UUID is none.
    #[test]
    fn the_composition_is_a_parameter(
        id in "[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9A-F]{12}",
        odd in "[^/]{1,40}",
        what in prop_oneof!["sign", "cancel"],
    ) {
        let parsed = |id: &str| {
            let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let uri = format!("/patients/composition/{encoded}/{what}");
            let head = Request::patch(uri).body(()).unwrap();
            EHealth.parse(&head.into_parts().0, &[])
        };
        let Ok(Command::Submit(Submit { options, .. })) = parsed(&id) else {
            return Err(TestCaseError::fail(id));
        };
        let params: serde_json::Value = serde_json::from_str(&options.params.unwrap()).unwrap();
        prop_assert_eq!(&params["compositionId"], &id);
        let no_uuid = Fault::Field {
            field: "compositionId".into(),
            reason: "must be a UUID".into(),
        };
        prop_assert_eq!(parsed(&odd), Err(no_uuid));
    }
}
