//! A text as a Quartz cron expression: it is refused with a place inside the text, or its moments
//! rise and end.

#![no_main]

use jiff::{Timestamp, tz::TimeZone};
use libfuzzer_sys::{Corpus, fuzz_target};
use spoolgate::cron_schedule::cron::{Changes, Cron};

/// A leap year in the middle of a century.
const FROM_S: i64 = 1_709_164_800;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else {
        return Corpus::Reject;
    };
    let cron = match Cron::parse(text) {
        Ok(cron) => cron,
        Err(error) => {
            assert!(error.position <= text.chars().count() + 1, "{error}");
            return Corpus::Keep;
        }
    };
    let zone = TimeZone::get("Europe/Berlin").expect("a known zone");
    for changes in [Changes::Once, Changes::Wall] {
        let mut moment = Timestamp::from_second(FROM_S).expect("a moment");
        for _ in 0..5 {
            let Some(next) = cron.next_after(moment, &zone, changes) else {
                break;
            };
            assert!(next > moment, "{next} after {moment}");
            moment = next;
        }
    }
    Corpus::Keep
});
