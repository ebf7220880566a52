//! The schedules: the next moment of each, and what came of the last; how one is ended, or set right after the clock was.

use super::{
    arrivals::{self, Expected},
    charts,
    form::Form,
    layout::{Frame, Section},
    look::{Html, count, job_link, relative, said, state},
    respond::{Answer, Trouble, page_of, redirect},
    visit::Visit,
};
use crate::{
    cron_schedule::{Missed, Progress, Schedule, ScheduleId},
    ops::{admin::Operation, selection::JobState},
    store::{Of, SavedSchedule, Viewer, Want},
};
use askama::Template;
use jiff::Timestamp;

/// Into so many parts the next day is cut, the one that has begun and the one that it ends in among them, …
const PARTS: usize = 97;
const PART_MS: i64 = 15 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// … and so many moments in it are counted.
const MOMENTS_MAX: usize = 96;

#[derive(Template)]
#[template(path = "schedules.html")]
struct SchedulesPage {
    frame: Frame,
    title: String,
    /// The process that is next, and when.
    next: Option<(String, Html)>,
    n_running: usize,
    n_ended: usize,
    missed: &'static str,
    rows: Vec<Row>,
    expected: Vec<Expected>,
}

struct Row {
    id: String,
    /// Of the Unix epoch; `None`: it has ended.
    next_ms: Option<i64>,
    next: Html,
    next_full: String,
    process: String,
    /// Where its jobs are.
    href: String,
    day_ahead: Html,
    /// In plain words, if there are few enough.
    words: Option<String>,
    /// Its expression, and the time zone.
    expression: Option<String>,
    submitter: String,
    runs: u64,
    last: Option<(Html, Html, Html)>,
    /// Why it cannot be read.
    broken: Option<String>,
}

pub(super) async fn page(visit: &Visit<'_>) -> Answer {
    visit.for_operators()?;
    let mut rows = Vec::new();
    for id in visit.spool.store.schedules().await? {
        match visit.spool.store.schedule(id).await {
            Ok(Some(saved)) => rows.push(row(visit, id, saved).await?),
            Ok(None) => {}
            Err(error) => rows.push(Row {
                broken: Some(said(&error.to_string())),
                ..nothing_of(id)
            }),
        }
    }
    // Those that have ended come last.
    rows.sort_by_key(|row| (row.next_ms.is_none(), row.next_ms));
    let next = rows
        .iter()
        .find_map(|row| Some((row.process.clone(), row.next_ms?)));
    let title = match &next {
        Some((process, ms)) => format!("Next: {process}, {}", relative(visit.clock.now_ms - ms)),
        None => "Nothing is scheduled".into(),
    };
    let n_ended = rows.iter().filter(|row| row.next_ms.is_none()).count();
    Ok(page_of(&SchedulesPage {
        next: next.map(|(process, ms)| (process, visit.clock.age(ms))),
        title,
        n_running: rows.len() - n_ended,
        n_ended,
        missed: match visit.config.missed_schedules {
            Missed::Each => "Missed moments have a job each.",
            Missed::Once => "Missed moments have one job together.",
            Missed::Skip => "Missed moments have no job.",
        },
        rows,
        expected: arrivals::rows(visit, &*visit.picture().await?),
        frame: visit.frame(Section::Schedules).await,
    }))
}

fn nothing_of(id: ScheduleId) -> Row {
    Row {
        id: id.to_string(),
        next_ms: None,
        next: Html::default(),
        next_full: String::new(),
        process: String::new(),
        href: String::new(),
        day_ahead: Html::default(),
        words: None,
        expression: None,
        submitter: String::new(),
        runs: 0,
        last: None,
        broken: None,
    }
}

async fn row(visit: &Visit<'_>, id: ScheduleId, saved: SavedSchedule) -> Result<Row, Trouble> {
    let SavedSchedule {
        schedule, progress, ..
    } = saved;
    let clock = &visit.clock;
    let next_ms = schedule.next(&progress).map(|next| next.as_millisecond());
    let last = match &progress.last {
        None => None,
        Some(firing) => {
            let of = Of::Name(firing.job.clone());
            let store = &visit.spool.store;
            let found = store.find(&Viewer::all(), of, Want::RECORD).await?;
            let became = match found {
                Some(found) => state(JobState::of(&found.summary)),
                None => Html("<span class=\"dim\">gone</span>".into()),
            };
            let at = clock.age(firing.moment.as_millisecond());
            Some((became, at, job_link(&visit.base, &firing.job)))
        }
    };
    let plan = &schedule.plan;
    let expression = plan.quartz.as_ref();
    let expression = expression.map(|quartz| format!("{quartz} ({})", plan.time_zone));
    Ok(Row {
        next_ms,
        next: next_ms.map_or(Html::default(), |ms| clock.age(ms)),
        next_full: next_ms.map_or(String::new(), |ms| clock.chosen(ms)),
        href: visit.to("jobs", [("interface", Some(schedule.interface.as_str()))]),
        process: schedule.interface.to_string(),
        day_ahead: day_ahead(&schedule, &progress, clock.now_ms),
        words: plan.in_words(),
        expression: expression.as_deref().map(said),
        submitter: said(&schedule.submitter),
        runs: progress.runs,
        last,
        ..nothing_of(id)
    })
}

/// When it has moments in the next day, from the last quarter of an hour on.
fn day_ahead(schedule: &Schedule, progress: &Progress, now_ms: i64) -> Html {
    let begin_ms = now_ms - now_ms.rem_euclid(PART_MS);
    let at = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
    let (mut parts, mut n) = ([false; PARTS], 0);
    let mut next = schedule.next(progress);
    while let Some(moment) = next {
        // One that is due comes now.
        let ms = moment.as_millisecond().max(now_ms);
        let part = usize::try_from((ms - begin_ms) / PART_MS).unwrap_or(PARTS);
        if part >= PARTS || ms >= now_ms + DAY_MS {
            break;
        }
        parts[part] = true;
        n += 1;
        let end_ms = begin_ms + (part as i64 + 1) * PART_MS - 1;
        // Of very many it is enough to know in which parts they are.
        let through = if n > MOMENTS_MAX { at(end_ms) } else { at(ms) };
        next = schedule.next_after(progress, through);
    }
    let n = match n {
        0..=MOMENTS_MAX => count(n, "moment"),
        _ => format!("more than {MOMENTS_MAX} moments"),
    };
    charts::ahead(&parts, &format!("{n} in the next 24 hours"))
}

/// Ends a schedule, or lets it follow the clock.
pub(super) async fn act(visit: &Visit<'_>, form: &Form) -> Answer {
    visit.for_operators()?;
    let operation = match (form.parsed("end"), form.parsed("reset")) {
        (Some(schedule), None) => Operation::RemoveSchedule { schedule },
        (None, Some(schedule)) => Operation::ResetSchedule { schedule },
        (Some(_), Some(_)) | (None, None) => {
            return Err(Trouble::Invalid(
                "say which schedule to end or to reset".into(),
            ));
        }
    };
    visit.spool.admin.act(&operation, &visit.by()).await?;
    Ok(redirect(&visit.to("schedules", [])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moments_of_the_next_day_are_seen_however_many_they_are() {
        let now: Timestamp = "2026-11-26T13:35:46Z".parse().unwrap();
        let seen = |quartz: &str| {
            let text = format!(
                r#"{{"interface":"a","submitter":"erp","dialect":"robusta","created":"2026-11-01T00:00:00Z",
                "plan":{{"quartz":"{quartz}"}},"document":"{{}}"}}"#
            );
            let schedule = Schedule::from_json(text.as_bytes()).unwrap();
            let progress = Progress::default().skipped(now);
            let html = day_ahead(&schedule, &progress, now.as_millisecond()).0;
            let (_, label) = html.split_once("aria-label=\"").unwrap();
            let label = label.split('"').next().unwrap().to_owned();
            (label, html.matches("v12").count())
        };
        let of = |n: &str, ticks| (format!("{n} in the next 24 hours"), ticks);
        assert_eq!(seen("0 0 6 * * ?"), of("1 moment", 1));
        assert_eq!(seen("0 0/15 8-17 ? * *"), of("40 moments", 40));
        assert_eq!(seen("* * * * * ?"), of("more than 96 moments", PARTS));
        assert_eq!(seen("0 0 0 1 1 ? 2090"), of("0 moments", 0));
    }
}
