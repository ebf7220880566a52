//! What happened: the acts of operators and administrators, as the audit has them, the latest first.

use super::{
    layout::{Frame, Section},
    look::{Html, mark, number, said},
    respond::{Answer, page_of},
    visit::Visit,
};
use crate::store::audit::{AuditRecord, Deed, Ending, Entry, Outcome};
use askama::Template;
use std::collections::HashMap;

/// So many records are looked at; an act has two.
const RECORDS_MAX: usize = 400;

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    frame: Frame,
    rows: Vec<Row>,
}

struct Row {
    number: u64,
    at: Html,
    act: String,
    about: String,
    outcome: Html,
    said: Option<String>,
    by: String,
    from: String,
}

pub(super) async fn page(visit: &Visit<'_>) -> Answer {
    visit.for_operators()?;
    let records = visit.spool.store.audited(RECORDS_MAX).await?;
    let mut endings: HashMap<u64, Ending> = HashMap::new();
    let mut rows = Vec::new();
    // The end of an act comes after its beginning.
    for AuditRecord {
        number, at, entry, ..
    } in records.into_iter().rev()
    {
        match entry {
            Entry::Ended(ending) => {
                endings.insert(ending.of, ending);
            }
            Entry::Begun(deed) => {
                let ending = endings.remove(&number);
                rows.push(row(visit, (number, at.as_millisecond()), &deed, ending));
            }
        }
    }
    Ok(page_of(&EventsPage {
        rows,
        frame: visit.frame(Section::Events).await,
    }))
}

fn row(visit: &Visit<'_>, (number, at_ms): (u64, i64), deed: &Deed, ending: Option<Ending>) -> Row {
    let outcome = match (&ending, &deed.removed) {
        (Some(ending), _) => of_outcome(ending.outcome),
        // Retention does no more than that.
        (None, Some(_)) => of_outcome(Outcome::Done),
        (None, None) => mark("warning", "no outcome"),
    };
    let told = ending.and_then(|ending| ending.said);
    Row {
        number,
        at: visit.clock.age(at_ms),
        act: said(&deed.act),
        about: about(deed),
        outcome,
        said: told.filter(|said| said != "done").map(|text| said(&text)),
        by: match &deed.login {
            Some(login) => said(&format!("{login} by way of sudo")),
            None => said(&deed.by),
        },
        from: said(&deed.from),
    }
}

fn of_outcome(outcome: Outcome) -> Html {
    match outcome {
        Outcome::Done => mark("done", "done"),
        Outcome::Partly => mark("warning", "partly"),
        Outcome::Refused => mark("refused", "refused"),
        Outcome::Failed => mark("failed", "failed"),
    }
}

/// What it was done to, and why.
fn about(deed: &Deed) -> String {
    let things = [&deed.interface, &deed.schedule, &deed.filter, &deed.with];
    let things = things.into_iter().flatten();
    let named = things.chain(&deed.users).chain(deed.jobs.first());
    let mut text = named.map(|thing| said(thing)).collect::<Vec<_>>().join(" ");
    if let Some(count @ 2..) = deed.count {
        text += &format!(" and {} more", number(count - 1));
    }
    if let Some(removed) = &deed.removed {
        text += &format!("{} through record {}", said(&removed.day), removed.through);
    }
    if let Some(why) = &deed.why {
        text += &format!(": {}", said(why));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::By;

    #[test]
    fn what_was_done_to_what_is_said_in_a_line() {
        let by = By {
            why: Some("paper\nis out".into()),
            ..By::operator("olga")
        };
        let hold = Deed {
            interface: Some("orders_in".into()),
            ..Deed::new("hold", &by)
        };
        assert_eq!(about(&hold), "orders_in: paper\nis out");
        let jobs = [
            "20261126T133502.870Z-00000.xml",
            "20261126T133502.870Z-00001.xml",
        ];
        let jobs = jobs.map(|job| job.parse().unwrap());
        let rm = Deed::new("rm", &By::operator("olga")).jobs(2, &jobs);
        assert_eq!(about(&rm), format!("{} and 1 more", jobs[0]));
    }
}
