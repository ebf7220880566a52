//! The first page of operators: what needs somebody, what waits, and the interfaces, with hold and release.

use super::{
    arrivals::{self, Expected},
    census::{Picture, Today},
    charts,
    form::Form,
    layout::{Frame, Section},
    look::{Html, count, number, said},
    respond::{Answer, Trouble, page_of, redirect},
    visit::Visit,
};
use crate::{domain::InterfaceName, ops::admin::Operation};
use askama::Template;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// So many causes of failures are told on the first page.
const GROUPS_TOLD: usize = 5;
const HOURS: usize = 24;

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage {
    frame: Frame,
    verdict: String,
    needs: Vec<Need>,
    waiting: String,
    ages: Html,
    day: Html,
    rows: Vec<Row>,
    expected: Vec<Expected>,
    zone: String,
}

/// Something that somebody has to look at.
struct Need {
    mark: Html,
    text: String,
    /// What happened to so many jobs, and where they are.
    jobs: Option<(String, String)>,
}

/// An interface.
struct Row {
    name: InterfaceName,
    about: String,
    held: Option<String>,
    href: String,
    queued: Cell,
    running: Cell,
    deferred: Cell,
    done: Cell,
    failed: Cell,
    refused: Cell,
    error_rate: String,
    oldest: Option<Html>,
    hour: Html,
    may_manage: bool,
}

/// A number that leads to its jobs.
struct Cell {
    n: usize,
    text: String,
    href: String,
}

pub(super) async fn page(visit: &Visit<'_>) -> Answer {
    let frame = visit.frame(Section::Index).await;
    let picture = visit.picture().await?;
    let needs = needs(visit, &picture).await;
    let verdict = match needs.len() {
        0 => format!(
            "Nothing needs you. {} done today.",
            count(picture.all_today().done, "job")
        ),
        1 => "1 thing needs you".to_owned(),
        n => format!("{n} things need you"),
    };
    let rows = visit.interfaces.keys();
    Ok(page_of(&IndexPage {
        frame,
        verdict,
        needs,
        waiting: match picture.waiting.total() + picture.waiting.total_held() {
            1 => "1 job waits".to_owned(),
            n => format!("{} wait", count(n, "job")),
        },
        ages: charts::ages(&picture.waiting),
        day: day(visit, &picture),
        rows: rows.map(|name| row(visit, &picture, name)).collect(),
        expected: arrivals::rows(visit, &picture),
        zone: visit.clock.zone_name(),
    }))
}

/// What needs somebody, the worst first.
async fn needs(visit: &Visit<'_>, picture: &Picture) -> Vec<Need> {
    let report = visit.report().await;
    let warn = |class, word, text: &String| Need {
        mark: super::look::mark(class, word),
        text: visit.clock.said(text),
        jobs: None,
    };
    let mut needs: Vec<Need> = Vec::new();
    needs.extend(report.down.iter().map(|text| warn("failed", "down", text)));
    for group in picture.groups.iter().take(GROUPS_TOLD) {
        let n = group.failed + group.deferred;
        let fingerprint = Some(group.fingerprint.as_str());
        needs.push(Need {
            mark: match group.failed {
                0 => super::look::mark("deferred", "deferred"),
                _ => super::look::mark("failed", "failed"),
            },
            text: said(group.text.as_deref().unwrap_or("without a word")),
            jobs: Some((
                count(n, "job"),
                visit.to("jobs", [("fingerprint", fingerprint)]),
            )),
        });
    }
    for (expectation, arrivals) in &picture.expected {
        let missing = arrivals::missing(&visit.clock, expectation, arrivals);
        needs.extend(missing.map(|(mark, text)| Need {
            mark,
            text,
            jobs: None,
        }));
    }
    if !visit.sees_service {
        for (interface, text) in &picture.held {
            needs.push(warn("held", "held", &format!("{interface}: {text}")));
        }
    }
    needs.extend(
        report
            .warnings
            .iter()
            .map(|text| warn("warning", "look", text)),
    );
    needs
}

fn row(visit: &Visit<'_>, picture: &Picture, name: &InterfaceName) -> Row {
    let counts = picture.counts.of.get(name).cloned().unwrap_or_default();
    let today = picture.today_in(name);
    let jobs = |place| {
        let values = [("place", place), ("interface", Some(name.as_str()))];
        visit.to("jobs", values)
    };
    let cell = |n: usize, place| Cell {
        n,
        text: number(n as u64),
        href: jobs(Some(place)),
    };
    let oldest = [counts.queued.oldest, counts.deferred.oldest];
    let oldest = oldest.into_iter().flatten().min();
    let about = visit.interfaces.get(name);
    Row {
        name: name.clone(),
        about: about.map_or(String::new(), ToString::to_string),
        held: picture.held.get(name).map(|text| visit.clock.said(text)),
        href: jobs(None),
        queued: cell(counts.queued.jobs, "queued"),
        running: cell(counts.running.jobs, "running"),
        deferred: cell(counts.deferred.jobs, "deferred"),
        done: cell(today.done, "done"),
        failed: cell(today.failed, "failed"),
        refused: cell(today.refused, "refused"),
        error_rate: error_rate(today),
        oldest: oldest.map(|id| visit.clock.age(id.unix_ms())),
        hour: charts::minutes(&picture.activity.of(name).minutes(visit.clock.now_ms)),
        may_manage: visit.may_manage(Some(name)),
    }
}

/// What ended in each of the last hours.
fn day(visit: &Visit<'_>, picture: &Picture) -> Html {
    let moments = visit.clock.hours(HOURS);
    let hours = moments.windows(2).map(|of| {
        let tally = picture.activity.all.between(of[0], of[1]);
        (visit.clock.hour(of[0]), tally)
    });
    charts::day(&hours.collect::<Vec<_>>())
}

/// How many of a hundred did not end well; empty when none has ended.
fn error_rate(today: Today) -> String {
    let bad = today.failed + today.refused;
    match (bad, bad + today.done) {
        (_, 0) => String::new(),
        (0, _) => "0 %".into(),
        (bad, all) => format!("{:.1} %", bad as f64 * 100.0 / all as f64),
    }
}

/// Holds an interface, or ends its hold.
pub(super) async fn act(visit: &Visit<'_>, form: &Form) -> Answer {
    let operation = match (form.parsed("hold"), form.parsed("release")) {
        (Some(interface), None) => Operation::Hold {
            until: until(form.get("until"), &visit.clock.zone)?,
            reason: form.get("reason").unwrap_or_default().to_owned(),
            interface,
        },
        (None, Some(interface)) => Operation::Release { interface },
        (Some(_), Some(_)) | (None, None) => {
            return Err(Trouble::Invalid(
                "say which interface to hold or to release".into(),
            ));
        }
    };
    let (Operation::Hold { interface, .. } | Operation::Release { interface }) = &operation else {
        return Err(Trouble::Invalid("nothing else is done here".into()));
    };
    if !visit.may_manage(Some(interface)) {
        let text = format!("you have no right to manage {interface}");
        return Err(Trouble::Forbidden(text));
    }
    visit.spool.admin.act(&operation, &visit.by()).await?;
    visit.spool.census.forget().await;
    Ok(redirect(&visit.base))
}

/// The moment of a field of a form, which has no zone.
fn until(given: Option<&str>, zone: &TimeZone) -> Result<Option<Timestamp>, Trouble> {
    let Some(given) = given else { return Ok(None) };
    let moment = given.parse::<DateTime>().ok();
    let moment = moment.and_then(|moment| zone.to_timestamp(moment).ok());
    match moment {
        Some(moment) => Ok(Some(moment)),
        None => Err(Trouble::Invalid(format!(
            "{given} is no moment; write it as 2026-11-26T18:00"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_what_ends_badly_is_said_when_something_has_ended() {
        let today = |done, failed, refused| Today {
            done,
            failed,
            refused,
        };
        assert_eq!(error_rate(today(0, 0, 0)), "");
        assert_eq!(error_rate(today(9, 0, 0)), "0 %");
        assert_eq!(error_rate(today(2914, 37, 8)), "1.5 %");
        assert_eq!(error_rate(today(0, 1, 0)), "100.0 %");
    }

    #[test]
    fn a_hold_ends_at_a_moment_of_the_readers_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let at = |text| until(text, &zone).ok().flatten().map(|at| at.to_string());
        assert_eq!(at(None), None);
        assert_eq!(
            at(Some("2026-11-26T18:00")).as_deref(),
            Some("2026-11-26T17:00:00Z")
        );
        assert!(until(Some("<b>"), &zone).is_err());
    }
}
