//! How many jobs came and ended in the last day.

use super::{
    Inner,
    known::{count, parsed_if},
};
use crate::store::{Activity, Result, activity::Happened};

/// What the outcome of a retrieval is called.
pub(super) const FETCHED: &str = "fetched";
/// A day can have 25 hours, and a quarter of an hour more is shown.
const LATELY_MS: i64 = 26 * 60 * 60 * 1000;
const MINUTE_MS: i64 = 60 * 1000;

const HAPPENED: &str = "
select 'came', interface, received_ms / 60000, count(*) from record where id >= $1 group by 2, 3
union all select 'refused', interface, received_ms / 60000, count(*) from record
  where id >= $1 and is_refused group by 2, 3
union all select outcome, interface, ended_ms / 60000, count(*) from attempt
  where ended_ms >= $2 and outcome in ('done', 'failed', 'fetched') group by 1, 2, 3";

impl Inner {
    pub(super) async fn activity(&self) -> Result<Activity> {
        let since_ms = self.now_ms() - LATELY_MS;
        let first = super::list::first_of(since_ms);
        let mut activity = Activity::default();
        for row in self.db.rows(HAPPENED, &[&first, &since_ms]).await? {
            let what = match row.get(0) {
                "came" => Happened::Came,
                "refused" => Happened::Refused,
                "failed" => Happened::Failed,
                _ => Happened::Done,
            };
            let interface = parsed_if(row.get(1))?;
            let at_ms = row.get::<_, i64>(2) * MINUTE_MS;
            for _ in 0..count(row.get::<_, i64>(3)) {
                activity.count(interface.as_ref(), at_ms, what);
            }
        }
        Ok(activity)
    }
}
