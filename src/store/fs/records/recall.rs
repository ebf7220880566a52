//! What came and ended lately. What is recorded now is counted as it is told; what was recorded before this process is
//! counted from the lines of two days, once somebody asks. The moment at which this process began tells them apart.

use super::{
    super::{Fs, Spool, SpoolError},
    Act, Said, accepted_path, ended_path,
    failures::{Glance, Member},
    line::id_of,
};
use crate::{
    domain::{InterfaceName, JobId, JobName, Kind},
    store::activity::{Activity, Happened},
};
use std::collections::HashMap;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What is counted by this process.
#[derive(Debug)]
pub(super) struct Counting {
    /// What came or ended earlier is in the lines.
    since_ms: i64,
    has_recalled: bool,
    activity: Activity,
}

impl Counting {
    pub(super) fn since(since_ms: i64) -> Self {
        Self {
            since_ms,
            has_recalled: false,
            activity: Activity::default(),
        }
    }

    /// Counts what is recorded now. `came_to`: the interface of a job that came just now.
    pub(super) fn tell(&mut self, said: &Said, came_to: Option<&InterfaceName>) {
        match said {
            Said::Accepted(accepted) => {
                let interface = accepted.interface.as_ref();
                let at_ms = accepted.job.id().unix_ms();
                self.activity.count(interface, at_ms, Happened::Came);
            }
            Said::Audited(_) | Said::Event(_) => {}
            Said::Ended(ended) => {
                let interface = ended.was_in.as_ref().or(came_to);
                if let Some(what) = happened(ended.act, ended.by.is_some()) {
                    self.activity.count(interface, ended.at_ms, what);
                }
            }
        }
    }
}

/// What is counted of an end; one that was validated again was refused before.
fn happened(act: Act, is_by_somebody: bool) -> Option<Happened> {
    match act {
        Act::Done | Act::Fetched => Some(Happened::Done),
        Act::Failed => Some(Happened::Failed),
        Act::Refused => (!is_by_somebody).then_some(Happened::Refused),
        Act::Cancelled
        | Act::CutOff
        | Act::Deferred
        | Act::GivenBack
        | Act::Noted
        | Act::Removed
        | Act::Requeued => None,
    }
}

impl<F: Fs> Spool<F> {
    /// What came and ended in the last day; what was recorded before this process, of jobs of the last two days.
    ///
    /// # Errors
    /// When what was recorded then cannot be read.
    pub fn activity(&self) -> Result<Activity, SpoolError> {
        let counting = &self.records.counting;
        if !counting.lock().has_recalled {
            let _one = self.records.reading.lock();
            let since_ms = counting.lock().since_ms;
            if !counting.lock().has_recalled {
                let mut before = Activity::default();
                for at_ms in [since_ms - DAY_MS, since_ms] {
                    self.recall(at_ms, since_ms, &mut before)?;
                }
                let mut counting = counting.lock();
                counting.activity.add(&before);
                counting.has_recalled = true;
            }
        }
        Ok(counting.lock().activity.clone())
    }

    /// Counts what the lines of the jobs of one day say of the time before.
    fn recall(&self, at_ms: i64, since_ms: i64, before: &mut Activity) -> Result<(), SpoolError> {
        let Some(id) = JobId::at(at_ms) else {
            return Ok(());
        };
        let day = JobName::new(id, None, Kind::Xml).day();
        let [interface, by] = ["interface", "by"].map(Member::new);
        let name = |line: &[u8]| interface.of(line)?.parse::<InterfaceName>().ok();
        let mut of = HashMap::new();
        self.each_line(&accepted_path(&day), &mut |_, line| {
            if let Some(id) = id_of(line) {
                let (interface, at_ms) = (name(line), JobId::from_number(id).unix_ms());
                if at_ms < since_ms {
                    before.count(interface.as_ref(), at_ms, Happened::Came);
                }
                of.extend(interface.map(|interface| (id, interface)));
            }
            Ok(())
        })?;
        self.each_line(&ended_path(&day), &mut |_, line| {
            let Some(glance) = Glance::at(line) else {
                return Ok(());
            };
            let (id, at_ms) = (glance.id, glance.at_ms);
            // Where it is from now on, or has ended.
            of.extend(name(glance.rest).map(|interface| (id, interface)));
            if let Some(what) = happened(glance.act, by.of(glance.rest).is_some())
                && at_ms < since_ms
            {
                before.count(of.get(&id), at_ms, what);
            }
            Ok(())
        })
    }
}
