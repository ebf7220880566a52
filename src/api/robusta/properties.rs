//! Whatever a client sends: it is a command or a fault, and an answer that is JSON.

use super::*;
use crate::{
    api::golden::assert_answered,
    domain::{any_text, settings},
};
use http::Request;
use proptest::{collection::btree_map, prelude::*};
use serde_json::{Value, json};

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
        Just(json!([])),
        Just(json!({"a": "b"})),
        Just(json!({"a": null})),
        prop_oneof!["[yYnN]", "0 6 6 \\? \\* FR", "[0-9]{1,12}"].prop_map(Value::from),
    ]
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just("name".to_owned()),
        Just("values".to_owned()),
        Just("quartzDef".to_owned()),
        Just("startDate".to_owned()),
        Just("endDate".to_owned()),
        Just("timeZone".to_owned()),
        Just("runOnce".to_owned()),
        Just("runImmediately".to_owned()),
        Just("retryCount".to_owned()),
        Just("worker".to_owned()),
        any_text(),
    ];
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..60),
        btree_map(name, any_value(), 0..8).prop_map(|members| {
            let mut members: serde_json::Map<_, _> = members.into_iter().collect();
            members.entry("name").or_insert("p".into());
            Value::Object(members).to_string().into_bytes()
        }),
    ]
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn any_request_is_answered(
        path in prop_oneof!["[ -~]{0,30}", "(process|start|status|/|%[0-9a-f]{0,2}){0,6}"],
        method in prop_oneof!["GET", "HEAD", "POST", "PUT"],
        body in any_body(),
    ) {
        assert_answered(&Robusta, &method, &format!("/scheduler/connector-api/{path}"), &body);
        assert_answered(&Robusta, "POST", "/scheduler/connector-API/process/start", &body);
    }

    /// What is started is the process that is named, with all that was asked for it.
    #[test]
    fn a_start_has_what_was_sent(
        members in btree_map("[a-z]{1,3}", "[ -~]{0,9}", 0..4),
        retries in any::<u32>(),
        quartz in proptest::option::of("[ -~]{1,20}"),
        run_once in any::<bool>(),
    ) {
        let body = json!({
            "name": "mail", "values": members, "retryCount": retries.to_string(),
            "worker": "robot", "quartzDef": quartz, "runOnce": if run_once { "Y" } else { "n" },
        });
        let head = Request::post("/scheduler/connector-api/process/start").body(()).unwrap();
        let parsed = Robusta.parse(&head.into_parts().0, body.to_string().as_bytes()).unwrap();
        let submit = match (parsed, quartz) {
            (Command::Submit(submit), None) => submit,
            (Command::Schedule(schedule), Some(quartz)) => {
                prop_assert_eq!(schedule.spec.quartz, Some(quartz));
                prop_assert_eq!(schedule.spec.run_once, run_once);
                prop_assert!(!schedule.spec.run_immediately);
                schedule.submit
            }
            (other, _) => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        let interface = submit.interface.map(|name| name.to_string());
        prop_assert_eq!(interface.as_deref(), Some("mail"));
        prop_assert_eq!(submit.options.retries, Some(retries));
        let worker = submit.options.worker.map(|tag| tag.to_string());
        prop_assert_eq!(worker.as_deref(), Some("robot"));
    }
}
