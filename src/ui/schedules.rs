//! The schedules: the next moment of each, and what came of the last; how one is ended, or set right after the clock was.

use super::{
    arrivals::{self, Expected},
    form::Form,
    layout::{Frame, Section},
    look::{Html, job_link, relative, said, state},
    respond::{Answer, Trouble, page_of, redirect},
    visit::Visit,
};
use crate::{
    cron_schedule::ScheduleId,
    ops::{admin::Operation, selection::JobState},
    store::{Of, SavedSchedule, Viewer, Want},
};
use askama::Template;

#[derive(Template)]
#[template(path = "schedules.html")]
struct SchedulesPage {
    frame: Frame,
    title: String,
    n_ended: usize,
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
    when: String,
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
        .find_map(|row| Some((&row.process, row.next_ms?)));
    let title = match next {
        Some((process, ms)) => format!("Next: {process}, {}", relative(visit.clock.now_ms - ms)),
        None => "Nothing is scheduled".into(),
    };
    Ok(page_of(&SchedulesPage {
        n_ended: rows.iter().filter(|row| row.next_ms.is_none()).count(),
        title,
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
        when: String::new(),
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
    let last = match progress.last {
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
    let when = match &plan.quartz {
        Some(quartz) => format!("{quartz} ({})", plan.time_zone),
        None => "once".to_owned(),
    };
    Ok(Row {
        next_ms,
        next: next_ms.map_or(Html::default(), |ms| clock.age(ms)),
        next_full: next_ms.map_or(String::new(), |ms| clock.full(ms)),
        process: schedule.interface.to_string(),
        when: said(&when),
        submitter: said(&schedule.submitter),
        runs: progress.runs,
        last,
        ..nothing_of(id)
    })
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
