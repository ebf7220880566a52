//! What waits in a queue, as a worker is to see it.

use super::Inner;
use crate::{
    domain::{InterfaceName, Job, JobName, Place},
    store::{
        Asked, Came, Precedence, Waiting,
        fs::{Accepted, REST, Scan, SpoolError},
    },
};
use std::{collections::BTreeSet, time::Duration};

/// Jobs that wait for others, which arrived before them and have later names, are looked at so often.
const HELD_BACK_EVERY: Duration = Duration::from_secs(2);

impl Inner {
    /// None when it was not `wanted` any more before all was known.
    pub(super) fn waiting_jobs(
        &self,
        interface: &InterfaceName,
        asked: Asked,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Option<Waiting>, SpoolError> {
        let horizon = self.spool.horizon();
        let mut scan = self.spool.scan_while(interface, wanted)?;
        // Before the first scan nobody knows what is new.
        let first = self.scanned.lock().insert(interface.clone());
        scan.arrived.retain(|a| !first || a.dropped_as.is_some());
        let arrived: Vec<Job> = scan.arrived.iter().map(|a| a.job.clone()).collect();
        if let Err(error) = self.spool.saw(&arrived) {
            tracing::error!(%interface, %error, "what was dropped may not survive a power cut");
        }
        for arrival in &scan.arrived {
            self.record_arrival(&arrival.job, arrival.dropped_as.as_deref());
        }
        if !wanted() {
            return Ok(None);
        }
        if asked.in_order {
            // A listing may show a job that came while it was read, and lack an older one.
            let n_ready = scan.ready.len();
            scan.ready.retain(|job| horizon.has(job.id()));
            if scan.ready.len() < n_ready {
                scan.look_again(REST);
            }
            if self.hold_back(&mut scan) {
                scan.look_again(HELD_BACK_EVERY);
            }
        }
        let deferred = scan.deferred.iter().map(|(_, job)| job);
        let found = scan.ready.iter().chain(deferred);
        self.precedences.keep(interface, &horizon, found);
        let queued = |name| Job {
            place: Place::Queue(interface.into()),
            name,
        };
        let ready: Vec<Job> = scan.ready.into_iter().map(queued).collect();
        let deferred = scan.deferred.into_iter().map(|(due_ms, name)| {
            let interface = interface.clone();
            let place = Place::Deferred { interface, due_ms };
            (due_ms, Job { place, name })
        });
        let deferred: Vec<(i64, Job)> = deferred.collect();
        let whose = asked.whose;
        let of_deferred = deferred.iter().filter(|_| asked.in_order);
        let all = ready.iter().chain(of_deferred.map(|(_, job)| job));
        self.precedences.read(&self.spool, interface, all, whose);
        let known = |job: &Job| self.known_precedence(interface, job, whose);
        let of_deferred = |job: &Job| known(job).filter(|_| asked.in_order);
        Ok(Some(Waiting {
            held: scan.held,
            ready: (ready.into_iter())
                .map(|job| (known(&job), job.name))
                .map(|(precedence, name)| (name, precedence))
                .collect(),
            deferred: (deferred.into_iter())
                .map(|(due_ms, job)| (due_ms, of_deferred(&job), job.name))
                .map(|(due_ms, precedence, name)| (due_ms, name, precedence))
                .collect(),
            again: scan.again,
        }))
    }

    fn known_precedence(
        &self,
        interface: &InterfaceName,
        job: &Job,
        whose: bool,
    ) -> Option<Precedence> {
        match self.precedences.of(&self.spool, interface, job, whose) {
            Ok(precedence) => Some(precedence),
            Err(error) => {
                // Asked again by the next scan.
                tracing::warn!(job = %job.name, %error, "its record cannot be read");
                None
            }
        }
    }

    /// Leaves out what arrived after jobs with later names, so that the order of the names is that of
    /// arrival. Says whether anything was left out.
    fn hold_back(&self, scan: &mut Scan) -> bool {
        let deferred = scan.deferred.iter().map(|(_, job)| job);
        let mut jobs: Vec<JobName> = scan.ready.iter().chain(deferred).cloned().collect();
        self.spool.sort_by_arrival(&mut jobs);
        let in_order = jobs.windows(2).take_while(|two| two[0] < two[1]).count() + 1;
        let later: BTreeSet<JobName> = jobs.drain(in_order.min(jobs.len())..).collect();
        scan.ready.retain(|job| !later.contains(job));
        scan.deferred.retain(|(_, job)| !later.contains(job));
        !later.is_empty()
    }

    fn record_arrival(&self, job: &Job, dropped: Option<&str>) {
        let Place::Queue(queue) = &job.place else {
            return;
        };
        let (name, interface) = (&job.name, &queue.interface);
        // Without the user: another one may read the log later.
        let text = match dropped {
            Some(old) => format!("taken in from queue/{interface}, where it was dropped as {old}"),
            None => format!("moved by hand to queue/{interface}"),
        };
        let user = queue.addressee.as_ref().map(tracing::field::display);
        tracing::info!(job = %name, %interface, user, "{text}");
        // What is recorded of it says so.
        let taken_in = |accepted: &Accepted| matches!(accepted.came, Came::Dropped { .. });
        if dropped.is_some() && matches!(self.spool.accepted(name), Ok(Some(a)) if taken_in(&a)) {
            return;
        }
        if let Err(error) = self.spool.note(job, &text) {
            tracing::warn!(job = %name, %error, "the note could not be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::PlacePath;
    use crate::util::until::until;
    use crate::{
        domain::Kind,
        store::{
            Store as _,
            fs::{
                FileStore, Rules,
                engine::SCANS_MAX,
                testing::{START_MS, TestSpool},
            },
        },
    };
    use std::path::Path;
    use std::sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    };

    /// Jobs of a clock that was a year ahead, between two of the true time.
    #[tokio::test]
    async fn an_ordered_interface_keeps_the_order_of_arrival_over_a_leap() {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let clock = Arc::new(AtomicI64::new(START_MS));
        let shown = clock.clone();
        let spool = TestSpool::at(dir.path()).interface(interface.as_str());
        let spool = spool.clock(move || shown.load(Ordering::SeqCst));
        let spool = spool.open().unwrap();
        let queue = |ms| {
            clock.store(ms, Ordering::SeqCst);
            let name = JobName::new(spool.next_id(), None, Kind::Xml);
            let sealed = spool.begin(name.clone()).unwrap();
            let sealed = sealed.seal(&crate::store::NewJob::default()).unwrap();
            let (_, ticket) = spool.enqueue(sealed, &interface, None).unwrap();
            spool.wait(ticket).unwrap();
            name
        };
        let year_ms = 365 * 24 * 60 * 60 * 1000;
        let first = queue(START_MS);
        let ahead = [queue(START_MS + year_ms), queue(START_MS + year_ms + 1)];
        let last = queue(START_MS + 2_000);
        assert!(last < ahead[0], "the names alone tell another order");
        let store = FileStore::new(spool.clone());
        let listed = async || {
            let asked = Asked {
                in_order: true,
                ..Asked::default()
            };
            let waiting = store.waiting_jobs(&interface, asked).await.unwrap();
            let jobs = waiting.ready.into_iter().map(|(job, _)| job);
            jobs.collect::<Vec<JobName>>()
        };
        assert_eq!(
            listed().await,
            [first.clone(), ahead[0].clone(), ahead[1].clone()]
        );
        for gone in [&first, &ahead[0], &ahead[1]] {
            let path = Place::Queue(interface.clone().into()).path(gone);
            std::fs::remove_file(dir.path().join(path)).unwrap();
        }
        assert_eq!(listed().await, [last]);
    }

    /// However many interfaces there are: each scan takes a thread.
    #[tokio::test(flavor = "multi_thread")]
    async fn few_queues_are_scanned_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let interfaces = (0..3 * SCANS_MAX).map(|n| format!("a{n}").parse().unwrap());
        let interfaces: Vec<InterfaceName> = interfaces.collect();
        let mut spool = TestSpool::at(dir.path());
        for interface in &interfaces {
            let addressed = |rules: &mut Rules| rules.drops.addressed = true;
            spool = spool.interface_with(interface.as_str(), addressed);
        }
        let spool = spool.open().unwrap();
        for interface in &interfaces {
            std::fs::create_dir(dir.path().join(format!("queue/{interface}/@ada"))).unwrap();
        }
        let most = Arc::new(AtomicUsize::new(0));
        let (now, seen) = (AtomicUsize::new(0), most.clone());
        // Each scan asks once.
        spool.know_users(move |_| {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
            now.fetch_sub(1, Ordering::SeqCst);
            true
        });
        let store = Arc::new(FileStore::new(spool));
        let mut scans = tokio::task::JoinSet::new();
        for interface in interfaces {
            let store = store.clone();
            let asked = Asked::default();
            scans.spawn(async move { store.waiting_jobs(&interface, asked).await.unwrap() });
        }
        while let Some(scanned) = scans.join_next().await {
            scanned.unwrap();
        }
        let most = most.load(Ordering::SeqCst);
        assert!((1..=SCANS_MAX).contains(&most), "{most}");
    }

    /// A queue of a spool whose every scan asks whether ada is known, and is told so by `ask`.
    fn asking(dir: &Path, ask: impl Fn() + Send + Sync + 'static) -> Arc<FileStore> {
        let addressed = |rules: &mut Rules| rules.drops.addressed = true;
        let spool = TestSpool::at(dir).interface_with("a", addressed);
        let spool = spool.open().unwrap();
        std::fs::create_dir(dir.join("queue/a/@ada")).unwrap();
        std::fs::write(dir.join("queue/a/dropped.xml"), "<a/>").unwrap();
        spool.know_users(move |_| {
            ask();
            true
        });
        Arc::new(FileStore::new(spool))
    }

    /// A stop would wait for it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_scan_that_nobody_asks_for_any_more_is_broken_off() {
        let dir = tempfile::tempdir().unwrap();
        let (begun, begins) = std::sync::mpsc::channel();
        let (goes_on, go_on) = std::sync::mpsc::channel::<()>();
        let go_on = parking_lot::Mutex::new(go_on);
        let store = asking(dir.path(), move || {
            begun.send(()).unwrap();
            let _ = go_on.lock().recv();
        });
        let interface: InterfaceName = "a".parse().unwrap();
        let (asked, of) = (store.clone(), interface.clone());
        let scan = tokio::spawn(async move { asked.waiting_jobs(&of, Asked::default()).await });
        tokio::task::spawn_blocking(move || begins.recv().unwrap())
            .await
            .unwrap();
        scan.abort();
        assert!(scan.await.unwrap_err().is_cancelled());
        // Whoever asks from now on is answered at once.
        drop(goes_on);
        until("the scan ends", || {
            store.0.scans.available_permits() == SCANS_MAX
        })
        .await;
        assert!(!store.0.spool.has_scanned_all(), "it went on");
        assert!(dir.path().join("queue/a/dropped.xml").exists());
    }
}
