//! When the jobs that wait or run will be done.

use super::{Core, Handle};
use crate::{
    domain::{InterfaceName, Job, OrderBy, Place},
    scheduler::Ahead,
    store::Beside,
};

impl Handle {
    /// When a job will be done, in milliseconds of the Unix epoch: an estimate from the recent runs of
    /// its interface and the jobs before it, always in the future. `None`: it has ended. Blocks for a
    /// look at the disk.
    pub fn eta_ms(&self, job: &Job) -> Option<i64> {
        let core: &Core = &self.0;
        let interface = job.place.interface()?;
        let beside = || {
            let whose = core.asks_whose(interface);
            core.store.waiting_beside(interface, &job.name, whose)
        };
        let (ahead, is_held) = match &job.place {
            Place::Bak(_) | Place::JobErrors | Place::Refused => return None,
            Place::Work { .. } => {
                let started_ms = core.runs.of(&job.name).and_then(|run| run.started_ms());
                (Ahead::Running { started_ms }, false)
            }
            Place::Deferred { interface, due_ms } => {
                let now = core.clocks();
                let left_ms = core.waits().left_ms(interface, &job.name, now);
                let due_ms = left_ms.map_or(*due_ms, |left_ms| now.wall_ms + left_ms);
                (Ahead::Deferred { due_ms }, beside().is_none())
            }
            Place::Queue(_) => {
                let beside = beside();
                let ahead = core.ahead(interface, beside.as_ref());
                (ahead, beside.is_none())
            }
        };
        let rules = core.rules.load();
        let lane = rules.lanes.get(interface);
        let at_once = lane.map_or(0, |lane| lane.rules.running_max.min(rules.running_max));
        let at_once = if is_held { 0 } else { at_once };
        let now_ms = core.store.now_ms();
        Some(core.pace_of(interface).eta_ms(now_ms, ahead, at_once))
    }
}

impl Core {
    /// About what has its turn before a job that waits.
    fn ahead(&self, interface: &InterfaceName, beside: Option<&Beside>) -> Ahead {
        let rules = self.rules.load();
        let lane = rules.lanes.get(interface);
        let is_fair = lane.is_some_and(|lane| lane.rules.fair);
        let nothing = Beside::default();
        let beside = beside.unwrap_or(&nothing);
        let partner = beside.submitter.as_ref();
        let before = match is_fair {
            false => beside.before,
            true => (rules.partners).turns_before(partner, beside.own, &beside.others),
        };
        let own_at_once = rules.partners.running_max(partner);
        let in_series = match lane.and_then(|lane| lane.order_by.as_ref()) {
            Some(OrderBy::Submitter) => beside.own,
            Some(OrderBy::Attribute(_)) => beside.same_key.max(beside.own / own_at_once),
            Some(OrderBy::Reference) | None => beside.own / own_at_once,
        };
        Ahead::Waiting {
            jobs: before + self.runs.count(interface),
            in_series,
        }
    }
}
