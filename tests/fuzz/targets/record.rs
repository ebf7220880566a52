//! A line of a day's record, or of the audit: it is nothing, or it is read the same again when it is written, on one
//! line, and its names stay inside the spool.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spoolgate::store::{
    audit::AuditRecord,
    fs::{Accepted, Ended},
};

fuzz_target!(|data: &[u8]| {
    if let Some(accepted) = Accepted::from_line(data) {
        let line = accepted.to_line();
        assert!(!line.contains('\n'), "{line}");
        assert!(stays_inside(&accepted.job.to_string()), "{line}");
        let interface = accepted.interface.as_ref().map(ToString::to_string);
        assert!(interface.is_none_or(|name| stays_inside(&name)), "{line}");
        assert_eq!(
            Accepted::from_line(line.as_bytes()).as_ref(),
            Some(&accepted)
        );
        assert!(accepted.note().is_none_or(|note| !note.is_empty()));
    }
    if let Some(ended) = Ended::from_line(data) {
        let line = ended.to_line();
        assert!(!line.contains('\n'), "{line}");
        assert!(stays_inside(&ended.job.to_string()), "{line}");
        assert_eq!(Ended::from_line(line.as_bytes()), Some(ended));
    }
    if let Some(record) = AuditRecord::from_line(data) {
        let line = record.to_line();
        assert!(!line.contains('\n'), "{line}");
        assert_eq!(AuditRecord::from_line(line.as_bytes()), Some(record));
    }
});

fn stays_inside(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && !name.starts_with('.')
}
