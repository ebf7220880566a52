//! A line on the operators' socket: it is refused with words, or it is a request that is written
//! and read the same again, whose names stay inside the spool.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spoolgate::{
    ops::admin::{Jobs, Operation},
    ops::control::protocol::{Ask, VERSION, request},
};

fuzz_target!(|data: &[u8]| {
    let asked = match request(data) {
        Ok(asked) => asked,
        Err(text) => {
            assert!(!text.is_empty());
            return;
        }
    };
    assert_eq!(asked.version, VERSION);
    let written = serde_json::to_vec(&asked).expect("a request can be written");
    assert_eq!(request(&written).as_ref(), Ok(&asked));
    let names: Vec<String> = match &asked.ask {
        // What these have is for the audit, and names nothing.
        Ask::Act(Operation::Forget { .. } | Operation::Redeliver { .. } | Operation::Reload)
        | Ask::Begin(_)
        | Ask::Differences
        | Ask::End { .. }
        | Ask::Ping => return,
        Ask::Act(Operation::Hold { interface, .. } | Operation::Release { interface }) => {
            vec![interface.to_string()]
        }
        Ask::Act(
            Operation::RemoveSchedule { schedule } | Operation::ResetSchedule { schedule },
        ) => vec![schedule.to_string()],
        Ask::Bulk(bulk) => match &bulk.jobs {
            Jobs::Named(names) => names.iter().map(ToString::to_string).collect(),
            Jobs::Selected(selection) => {
                let interface = selection.interface.iter();
                interface.map(ToString::to_string).collect()
            }
        },
    };
    for name in names {
        assert!(
            !name.contains(['/', '\0']) && !name.starts_with('.'),
            "{name}"
        );
    }
});
