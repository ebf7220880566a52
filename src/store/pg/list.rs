//! Lists and counts.

use super::{
    Inner,
    db::Param,
    known::{Known, count, id_of, known, parsed},
};
use crate::{
    domain::{InterfaceName, JobId, JobName, Place, PlaceKind, UserName},
    store::{AtPlace, Counts, Filter, InterfaceCounts, JobSummary, Page, Result, Viewer},
};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use std::collections::HashMap;

/// So many rows are read at once at least, since some may not be meant.
const ROWS_MIN: usize = 50;
const ROWS_MAX: usize = 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// One page of those that may be meant, of the ids from `$1` up to `$2`.
macro_rules! page {
    ($order:literal) => {
        concat!(
            "with at as (select id from job where id >= $1 and id < $2 and ($3::text is null or interface = $3) \
             and ($4::text[] is null or place = any($4)) union all select id from ended where id >= $1 and id < $2 \
             and ($3::text is null or interface = $3) and ($4::text[] is null or place = any($4))) ",
            known!(
                "false",
                "r.id in (select id from at where $5::text is null or exists \
                 (select from record s where s.id = at.id and s.submitter = $5)"
            ),
            " order by id ", $order, " limit $6) order by r.id ", $order
        )
    };
}
const OLDEST_FIRST: &str = page!("asc");
const NEWEST_FIRST: &str = page!("desc");

const COUNTS: &str = "select place, interface, count(*), min(id) from job group by place, interface \
     union all select place, interface, sum(jobs)::int8, null from ended_count group by place, interface";
const OLDEST_DONE: &str = "select i.name, (select min(id) from ended where place = 'bak' and interface = i.name) \
     from unnest($1::text[]) as i(name)";

fn name_of(kind: PlaceKind) -> &'static str {
    match kind {
        PlaceKind::Bak => "bak",
        PlaceKind::Deferred => "deferred",
        PlaceKind::JobErrors => "joberrors",
        PlaceKind::Queue => "queue",
        PlaceKind::Refused => "refused",
        PlaceKind::Work => "work",
    }
}

/// The first id of a moment.
pub(super) fn first_of(unix_ms: i64) -> i64 {
    JobId::at(unix_ms).map_or(if unix_ms > 0 { i64::MAX } else { 0 }, |id| id.get() as i64)
}

impl Inner {
    pub(super) async fn list(
        &self,
        viewer: &Viewer,
        filter: &Filter,
        after: Option<JobName>,
        limit: usize,
    ) -> Result<Page> {
        let mut from = filter.since_ms.map_or(0, first_of);
        let mut before = filter.before_ms.map_or(i64::MAX, first_of);
        let mut last = after.as_ref().map(id_of);
        let mut page = Page::default();
        let rows = limit.saturating_add(1).clamp(ROWS_MIN, ROWS_MAX) as i64;
        let interface = filter.interface.as_ref().map(ToString::to_string);
        let at: Vec<&str> = filter.at.iter().map(|kind| name_of(*kind)).collect();
        let at = (!at.is_empty()).then_some(at);
        let sql = match filter.newest_first {
            false => OLDEST_FIRST,
            true => NEWEST_FIRST,
        };
        loop {
            match (filter.newest_first, last) {
                (_, None) => {}
                (false, Some(last)) => from = from.max(last + 1),
                (true, Some(last)) => before = before.min(last),
            }
            let meant: [Param<'_>; 6] = [&from, &before, &interface, &at, &filter.submitter, &rows];
            let found = self.db.rows(sql, &meant).await?;
            for row in &found {
                let known = Known::read(row)?;
                last = Some(id_of(&known.name));
                let Some(shown) = self.shown(viewer, filter, &known) else {
                    continue;
                };
                if page.jobs.len() == limit {
                    page.next = page.jobs.last().map(|last| last.job.name.clone());
                    return Ok(page);
                }
                page.jobs.push(shown);
            }
            if (found.len() as i64) < rows {
                return Ok(page);
            }
        }
    }

    /// What a list shows of a job, if that is meant and seen.
    fn shown(&self, viewer: &Viewer, filter: &Filter, known: &Known) -> Option<JobSummary> {
        let (state, failure) = (known.state().0, known.failure());
        let is_meant = (filter.states.is_empty() || filter.states.contains(&state))
            && filter.takes_ms(known.name.id().unix_ms())
            && self.is_seen(viewer, known)
            && filter.takes(&JobSummary {
                failure: failure.clone(),
                ..self.summary(known, true)
            });
        let want_failure = filter.want_failure || filter.asks_for_failures();
        is_meant.then(|| JobSummary {
            failure: failure.filter(|_| want_failure),
            ..self.summary(known, filter.want_record)
        })
    }

    pub(super) async fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for interface in self.interfaces.load().keys() {
            counts
                .of
                .insert(interface.clone(), InterfaceCounts::default());
        }
        for row in self.db.rows(COUNTS, &[]).await? {
            let (place, interface): (&str, &str) = (row.get(0), row.get(1));
            let jobs = count(row.get::<_, i64>(2)) as usize;
            let oldest: Option<i64> = row.get(3);
            let at = AtPlace {
                jobs,
                oldest: oldest.map(|id| JobId::from_number(count(id))),
            };
            match place {
                "joberrors" => counts.failed += jobs,
                "refused" => counts.refused += jobs,
                _ if jobs == 0 => {}
                _ => {
                    let of = counts.of.entry(parsed(interface)?).or_default();
                    match place {
                        "bak" => of.done = at,
                        "deferred" => of.deferred = at,
                        "queue" => of.queued = at,
                        _ => of.running = at,
                    }
                }
            }
        }
        let names: Vec<String> = counts.of.keys().map(ToString::to_string).collect();
        for row in self.db.rows(OLDEST_DONE, &[&names]).await? {
            let (interface, oldest): (&str, Option<i64>) = (row.get(0), row.get(1));
            if let Some(of) = counts.of.get_mut(&parsed::<InterfaceName>(interface)?) {
                of.done.oldest = oldest.map(|id| JobId::from_number(count(id)));
            }
        }
        Ok(counts)
    }

    pub(super) async fn uploaded_bytes(&self, day: Date) -> Result<HashMap<String, u64>> {
        let begin = TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0));
        let begin_ms = begin.map_or(0, Timestamp::as_millisecond);
        let sql = "select submitter, sum(bytes)::int8 from record \
                   where id >= $1 and id < $2 and is_upload group by submitter";
        let (first, end) = (first_of(begin_ms), first_of(begin_ms + DAY_MS));
        let rows = self.db.rows(sql, &[&first, &end]).await?;
        let sent = rows
            .iter()
            .map(|row| (row.get(0), count(row.get::<_, i64>(1))));
        Ok(sent.collect())
    }

    /// In whose parts of an interface's queue jobs lie for nobody, and what does in its directories here.
    pub(super) async fn astray(&self, interface: &InterfaceName) -> Result<Vec<(String, String)>> {
        if !self.is_addressed(interface) {
            return Ok(Vec::new());
        }
        let sql = "select distinct case when for_user then addressee end from job \
                   where interface = $1 and place = 'queue' order by 1";
        let mut told = self.astray_drops(interface).await.unwrap_or_default();
        for row in self.db.rows(sql, &[&interface.as_str()]).await? {
            let addressee: Option<UserName> = super::known::parsed_if(row.get(0))?;
            let queue = crate::domain::Queue {
                interface: interface.clone(),
                addressee,
            };
            let why = match &queue.addressee {
                Some(user) => format!("there is no user {user}"),
                None => "it is for no user".into(),
            };
            let at = format!("queue/{queue}");
            if self.is_astray(&Place::Queue(queue)) {
                told.push((at, why));
            }
        }
        Ok(told)
    }
}
