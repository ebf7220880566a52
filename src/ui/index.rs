//! The first page of operators: what needs somebody, what waits, and the interfaces.

use super::{
    arrivals::{self, Expected},
    census::Picture,
    charts,
    layout::{Frame, Section},
    look::{Html, count, number, said},
    respond::{Answer, page_of},
    visit::Visit,
};
use crate::{
    domain::InterfaceName,
    ops::health::{HealthFinding, Subject},
    store::{ErrorGroup, Tally},
};
use askama::Template;

/// So many causes of failures are told on the first page.
const GROUPS_TOLD: usize = 5;
const HOURS: usize = 24;

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage {
    frame: Frame,
    verdict: String,
    /// What has come and ended today.
    today: String,
    needs: Vec<Need>,
    waiting: String,
    ages: Html,
    day: Html,
    rows: Vec<Row>,
    expected: Vec<Expected>,
}

/// Something that somebody has to look at.
struct Need {
    mark: Html,
    text: String,
    /// What happened to so many jobs, and where they are.
    jobs: Option<(String, String)>,
    cause: Option<Cause>,
}

/// When and where jobs failed of the same.
struct Cause {
    /// How many failed and how many are deferred, and in which interfaces.
    words: String,
    first: Html,
    last: Html,
    /// Its group among the errors.
    href: String,
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
    /// For how long the oldest has waited, and whether that is late; what is held waits on purpose.
    oldest: Option<(Html, &'static str)>,
    hour: Html,
    hold: Option<Html>,
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
            count(picture.all_today().done as usize, "job")
        ),
        1 => "1 thing needs you".to_owned(),
        n => format!("{n} things need you"),
    };
    let rows = visit.interfaces.keys();
    Ok(page_of(&IndexPage {
        frame,
        verdict,
        today: today(&picture.all_today(), &visit.clock.zone_name()),
        needs,
        waiting: match picture.waiting.total() + picture.waiting.total_held() {
            1 => "1 job waits".to_owned(),
            n => format!("{} wait", count(n, "job")),
        },
        ages: charts::ages(&picture.waiting),
        day: day(visit, &picture),
        rows: rows.map(|name| row(visit, &picture, name)).collect(),
        expected: arrivals::rows(visit, &picture),
    }))
}

/// What needs somebody, the worst first.
async fn needs(visit: &Visit<'_>, picture: &Picture) -> Vec<Need> {
    let report = visit.report().await;
    let warn = |class, word, finding: &HealthFinding| Need {
        mark: super::look::mark(class, word),
        text: visit.clock.said(&finding.to_string()),
        jobs: None,
        cause: None,
    };
    let mut needs: Vec<Need> = Vec::new();
    needs.extend(report.down.iter().map(|why| warn("failed", "down", why)));
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
            cause: Some(cause(visit, group)),
        });
    }
    for (expectation, arrivals) in &picture.expected {
        let missing = arrivals::missing(&visit.clock, expectation, arrivals);
        needs.extend(missing.map(|(mark, text)| Need {
            mark,
            text,
            jobs: None,
            cause: None,
        }));
    }
    needs.extend(picture.held.iter().map(|of| hold(visit, picture, of)));
    let tenant = (visit.base != super::ROOT).then_some(&*visit.spool.name);
    let is_told = |finding: &&HealthFinding| {
        let is_of = |name: &InterfaceName| finding.of == Subject::Hold(name.to_string());
        finding.tenant.as_deref() == tenant && picture.held.keys().any(is_of)
    };
    let others = report.warnings.iter().filter(|finding| !is_told(finding));
    needs.extend(others.map(|finding| warn("warning", "look", finding)));
    needs
}

/// What an interface that is held keeps waiting, and why.
fn hold(
    visit: &Visit<'_>,
    picture: &Picture,
    (interface, text): (&InterfaceName, &String),
) -> Need {
    let waiting = picture
        .counts
        .of
        .get(interface)
        .map_or(0, |counts| counts.queued.jobs + counts.deferred.jobs);
    let jobs = [
        ("place", Some("queued")),
        ("interface", Some(interface.as_str())),
    ];
    Need {
        mark: super::look::mark("held", "held"),
        text: visit.clock.said(&format!("in {interface}, {text}")),
        jobs: (waiting > 0).then(|| (count(waiting, "job"), visit.to("jobs", jobs))),
        cause: None,
    }
}

fn cause(visit: &Visit<'_>, group: &ErrorGroup) -> Cause {
    let mut words = Vec::new();
    if group.failed > 0 {
        words.push(format!("{} failed", number(group.failed as u64)));
    }
    if group.deferred > 0 {
        let n = number(group.deferred as u64);
        words.push(format!("{n} to be tried again"));
    }
    let interfaces = group.interfaces.iter().map(InterfaceName::as_str);
    let interfaces = interfaces.collect::<Vec<_>>();
    if !interfaces.is_empty() {
        words.push(format!("in {}", interfaces.join(", ")));
    }
    Cause {
        words: words.join(", "),
        first: visit.clock.at(group.first_ms),
        last: visit.clock.at(group.last_ms),
        href: visit.to("errors", []) + "#g-" + &group.fingerprint,
    }
}

/// What has come and ended since midnight.
fn today(of: &Tally, zone: &str) -> String {
    let n = |n: u32| number(u64::from(n));
    format!(
        "Since midnight {zone}: {} came, {} done, {} failed, {} refused.",
        n(of.came),
        n(of.done),
        n(of.failed),
        n(of.refused)
    )
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
    let held = picture.held.get(name);
    Row {
        name: name.clone(),
        about: about.map_or(String::new(), ToString::to_string),
        held: held.map(|text| visit.clock.said(text)),
        href: jobs(None),
        queued: cell(counts.queued.jobs, "queued"),
        running: cell(counts.running.jobs, "running"),
        deferred: cell(counts.deferred.jobs, "deferred"),
        done: cell(today.done as usize, "done"),
        failed: cell(today.failed as usize, "failed"),
        refused: cell(today.refused as usize, "refused"),
        error_rate: percentage(today),
        oldest: oldest.map(|id| {
            let lateness = match held {
                Some(_) => "",
                None => visit.clock.lateness(id.unix_ms()),
            };
            (visit.clock.age(id.unix_ms()), lateness)
        }),
        hour: charts::minutes(&picture.activity.of(name).minutes(visit.clock.now_ms)),
        hold: visit.hold_form(name, held.is_some(), None),
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
fn percentage(today: Tally) -> String {
    match today.ended() {
        0 => String::new(),
        _ => format!("{:.1} %", today.error_rate() * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_told_in_a_line() {
        let of = Tally {
            came: 4407,
            done: 4318,
            failed: 37,
            refused: 14,
        };
        let told =
            "Since midnight CET: 4\u{202f}407 came, 4\u{202f}318 done, 37 failed, 14 refused.";
        assert_eq!(today(&of, "CET"), told);
    }

    #[test]
    fn the_share_of_what_ends_badly_is_said_when_something_has_ended() {
        let today = |done, failed, refused| Tally {
            done,
            failed,
            refused,
            came: 0,
        };
        assert_eq!(percentage(today(0, 0, 0)), "");
        assert_eq!(percentage(today(9, 0, 0)), "0.0 %");
        assert_eq!(percentage(today(2914, 37, 8)), "1.5 %");
        assert_eq!(percentage(today(0, 1, 0)), "100.0 %");
    }
}
