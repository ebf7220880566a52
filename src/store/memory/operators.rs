//! What operators do in memory.

use super::{All, Known, MemoryStore};
use crate::{
    domain::joblog::{JobLog, Level, Message, Status},
    domain::{InterfaceName, Job, Place, PlaceKind, Queue, Transition},
    store::{
        By, Counts, InterfaceCounts, Remains, Result, SavedSchedule, Store, StoreError, Traces,
    },
};

impl MemoryStore {
    pub(super) fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for interface in self.interfaces() {
            counts.of.insert(interface, InterfaceCounts::default());
        }
        for (job, known) in &self.lock().jobs {
            let Some(of) = known.place.interface() else {
                match known.place == Place::Refused {
                    true => counts.refused += 1,
                    false => counts.failed += 1,
                }
                continue;
            };
            let of = counts.of.entry(of.clone()).or_default();
            match known.place.kind() {
                PlaceKind::Bak => of.done.add(job.id()),
                PlaceKind::Deferred => of.deferred.add(job.id()),
                PlaceKind::Queue => of.queued.add(job.id()),
                PlaceKind::Work => of.running.add(job.id()),
                PlaceKind::JobErrors | PlaceKind::Refused => {}
            }
        }
        counts
    }

    pub(super) fn interface(&self, interface: &InterfaceName) -> Result<()> {
        match self.interfaces.contains(interface) {
            true => Ok(()),
            false => Err(StoreError::NotFound(format!(
                "there is no interface {interface}"
            ))),
        }
    }

    pub(super) fn send(&self, job: &Job, to: &Queue, by: &By) -> Result<Job> {
        self.interface(&to.interface)?;
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        let step = Transition::Requeue(to.clone());
        all.may(job, &step)?;
        let text = format!("requeued to {} by {by}", to.interface);
        let known = all.step(&job.name, &step);
        (known.attempts, known.started_ms) = (0, None);
        match known.log.take() {
            Some(log) => known.log = Some(with(log, vec![said(now_ms, text)])),
            None => known.notes.push(said(now_ms, text)),
        }
        Ok(Job {
            place: known.place.clone(),
            name: job.name.clone(),
        })
    }

    pub(super) fn discard(&self, job: &Job, by: &By) -> Result<()> {
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        all.may(job, &Transition::Discard)?;
        let message = said(now_ms, format!("removed by {by}"));
        if let Some(known) = all.jobs.remove(&job.name) {
            let log = match known.log.clone() {
                Some(log) => with(log, vec![message]),
                None => known.log_of(&job.name, Status::Error, now_ms, vec![message]),
            };
            let remains = Remains {
                record: Some(known.new.record(known.received_ms)),
                log: Some(log),
            };
            all.removed.insert(job.name.clone(), remains);
        }
        Ok(())
    }

    pub(super) fn still_wrong(
        &self,
        job: &Job,
        interface: &InterfaceName,
        findings: Vec<Message>,
        by: &By,
    ) -> Result<()> {
        let (now_ms, mut all) = (self.now_ms(), self.lock());
        all.may(job, &Transition::Discard)?;
        if job.place != Place::Refused {
            return Err(StoreError::Conflict(format!(
                "{} was not refused",
                job.name
            )));
        }
        let text = format!("validated again for {interface} by {by}: still wrong");
        let messages = [said(now_ms, text)].into_iter().chain(findings).collect();
        if let Some(known) = all.jobs.get_mut(&job.name) {
            known.log = known.log.take().map(|log| with(log, messages));
        }
        Ok(())
    }
}

impl All {
    /// How much there is of a submitter.
    pub(super) fn traces_of(&self, submitter: &str) -> Traces {
        let his = |known: &&Known| known.new.submitter == submitter;
        let (mut traces, of) = (Traces::default(), self.jobs.values().filter(his));
        for known in of {
            traces.jobs += 1;
            match known.place.kind() {
                PlaceKind::Deferred | PlaceKind::Queue | PlaceKind::Work => traces.waiting += 1,
                PlaceKind::Bak | PlaceKind::JobErrors | PlaceKind::Refused => {
                    traces.documents += 1;
                }
            }
            traces.logs += usize::from(known.log.is_some());
            traces.results += usize::from(!known.results.is_empty());
        }
        let his = |saved: &&SavedSchedule| saved.schedule.submitter == submitter;
        traces.schedules = self.schedules.values().filter(his).count();
        let keys = self.keys.values().filter(|keyed| {
            let known = self.jobs.get(&keyed.job);
            known.is_some_and(|known| known.new.submitter == submitter)
        });
        traces.keys = keys.count();
        traces
    }

    /// Is the job where it was seen, and can it be moved so?
    fn may(&self, job: &Job, by: &Transition) -> Result<()> {
        let gone = || StoreError::NotFound(format!("there is no job {} any more", job.name));
        let known = self.jobs.get(&job.name).ok_or_else(gone)?;
        let text = match (&known.place, known.place.step(by)) {
            (place, _) if *place != job.place => format!("{} has moved meanwhile", job.name),
            (_, Err(illegal)) => illegal.to_string(),
            (_, Ok(_)) => return Ok(()),
        };
        Err(StoreError::Conflict(text))
    }
}

fn said(at_ms: i64, text: String) -> Message {
    Message::new(at_ms, Level::Info, text)
}

/// A log with more messages.
fn with(earlier: JobLog, messages: Vec<Message>) -> JobLog {
    let log = JobLog {
        messages,
        ..earlier.clone()
    };
    log.after(Some(earlier), Vec::new())
}
