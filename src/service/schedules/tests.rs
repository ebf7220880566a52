//! Schedules on a real spool by a clock that the tests set: saved, followed, restarted, removed.

use super::*;
use crate::store::fs::PlacePath;
use crate::{
    auth::{Grants, Right, Scope},
    domain::{Job, JobName, KEY_BYTES, Place, Priority, Seal},
    service::{
        AdmissionLimits, Cancelling, InFlight, Interface, JobRef, JsonCheck, Parts, ScheduleSpec,
        Slots, State, Visible, WorkerHandle,
    },
    store::{
        By, Cancelled,
        fs::{FileStore, Spool, testing::TestSpool},
    },
    xml::{Schemas, Stylesheets, XsdSchema},
};
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// Of one user: more than any other test here saves.
const SCHEDULES_MAX: usize = 12;
/// A Wednesday at noon UTC.
const NOON: &str = "2026-11-25T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

/// A spool with its clock; the service on it comes and goes.
struct World {
    root: TempDir,
    clock: Arc<AtomicI64>,
    missed: Missed,
}

/// A service since some moment.
struct Run {
    service: Arc<Service>,
    spool: Arc<Spool>,
    agenda: Option<Agenda>,
    since: Timestamp,
}

/// No worker.
struct Nobody;

impl WorkerHandle for Nobody {
    fn arrived(&self, _: &InterfaceName, _: &JobName) {}

    fn cancel(&self, _: JobName, _: By) -> Cancelling<'_> {
        Box::pin(std::future::ready(Ok(Cancelled::NotActive)))
    }

    fn eta_ms(&self, _: &Job) -> Option<i64> {
        None
    }
}

impl World {
    fn new(missed: Missed) -> Self {
        let clock = Arc::new(AtomicI64::new(at(NOON).as_millisecond()));
        Self {
            root: TempDir::new().unwrap(),
            clock,
            missed,
        }
    }

    fn set(&self, now: &str) {
        self.clock.store(at(now).as_millisecond(), Ordering::SeqCst);
    }

    fn start(&self) -> Run {
        let interface = |direction, alias: &str| Interface {
            direction,
            root: None,
            namespace: None,
            schema: None,
            bytes_max: 1000,
            aliases: vec![alias.into()],
            questions: Vec::new(),
            visible: Visible::Interface,
            order_by: None,
        };
        let clock = self.clock.clone();
        let spool = TestSpool::at(self.root.path())
            .interface("in")
            .interface("out")
            .clock(move || clock.load(Ordering::SeqCst));
        let spool = spool.journal().open().unwrap();
        spool.recover().unwrap();
        let schemas = Schemas::open(&self.root.path().join("schemas"), Box::new(XsdSchema));
        let service = Service::new(Parts {
            metrics: crate::metrics::Tenant::default(),
            seal: Seal::new([7; KEY_BYTES]),
            store: Arc::new(FileStore::new(spool.clone())),
            interfaces: [
                (name("in"), interface(Direction::In, "nightly")),
                (name("out"), interface(Direction::Out, "daily")),
            ]
            .into(),
            schemas: Arc::new(schemas),
            stylesheets: Arc::new(Stylesheets::open(&self.root.path().join("xslt"))),
            limits: AdmissionLimits {
                free_bytes_min: 0,
                free_inodes_min: 0,
                queue_jobs_max: 5,
                schedules_per_user_max: SCHEDULES_MAX,
                ..AdmissionLimits::default()
            },
            in_flight: Arc::new(InFlight::default()),
            transforms: Slots::new(4, 2),
            worker: Box::new(Nobody),
            schedules: ScheduleRules {
                time_zone: "Europe/Berlin".parse().unwrap(),
                clock_changes: Default::default(),
                missed: self.missed,
                saved: Box::new(|_| ()),
            },
        });
        let since = Timestamp::from_millisecond(self.clock.load(Ordering::SeqCst)).unwrap();
        Run {
            service: Arc::new(service),
            spool,
            agenda: Some(Agenda::default()),
            since,
        }
    }
}

fn caller(user: &str) -> Caller {
    let mut grants = Grants::default();
    grants.set_rights(Scope::Interface(name("in")), [Right::Upload].into());
    Caller::new(user, grants)
}

fn json(_: &mut dyn std::io::Read) -> Result<(), String> {
    Ok(())
}

fn request(quartz: &str) -> ScheduleRequest {
    ScheduleRequest {
        submit: Submit {
            interface: Some(name("nightly")),
            dialect: "robusta",
            document: DocumentFormat::Json {
                check: JsonCheck(json),
                empty: None,
            },
            ..Submit::default()
        },
        spec: ScheduleSpec {
            quartz: Some(quartz.into()),
            time_zone: Some("UTC".into()),
            ..ScheduleSpec::default()
        },
    }
}

fn immediately() -> ScheduleRequest {
    let mut request = request("");
    request.spec = ScheduleSpec {
        run_once: true,
        run_immediately: true,
        ..ScheduleSpec::default()
    };
    request
}

impl Run {
    async fn save(&self, request: ScheduleRequest) -> Result<ScheduleId, Fault> {
        let body = Bytes::from_static(b"{\"n\": 1}");
        let saved = self.service.schedule(&caller("ada"), request, body).await?;
        let Reply::Scheduled { uuid } = saved else {
            panic!("{saved:?}");
        };
        let id = *self.spool.schedules().unwrap().last().unwrap();
        assert_eq!(uuid, self.service.seal.uuid(id.get()).to_string());
        Ok(id)
    }

    async fn follow(&mut self, touched: Touched) {
        let mut touched = touched;
        loop {
            let agenda = self.agenda.take().unwrap();
            let agenda = (self.service).follow_schedules(agenda, touched, self.since);
            let agenda = agenda.await;
            let next = agenda.next();
            self.agenda = Some(agenda);
            touched = Touched::These(BTreeSet::new());
            if next.is_none_or(|next| next > self.service.now()) {
                break;
            }
        }
    }

    /// Follows what is due after a look at everything.
    async fn look(&mut self) {
        self.follow(Touched::All).await;
    }

    /// Moments of the jobs that wait, oldest job first.
    fn moments(&self) -> Vec<String> {
        let spool = &self.spool;
        let jobs = spool.list(&name("in")).unwrap();
        let moments = jobs.into_iter().map(|job| {
            let accepted = spool.accepted_of(&job).unwrap().unwrap();
            let params = accepted.params.as_deref().unwrap();
            let params: serde_json::Value = serde_json::from_str(params).unwrap();
            params["moment"].as_str().unwrap()[11..19].to_owned()
        });
        moments.collect()
    }

    async fn show(
        &self,
        user: &str,
        id: ScheduleId,
    ) -> Option<(Option<Box<View>>, Option<Timestamp>)> {
        let uuid = self.service.seal.uuid(id.get());
        let shown = self
            .service
            .shown_schedule(&caller(user), uuid, Visibility::Own)
            .await;
        let Reply::ShownSchedule {
            latest, next_ms, ..
        } = shown.unwrap()?
        else {
            panic!("not a schedule");
        };
        let next = next_ms.map(|ms| Timestamp::from_millisecond(ms).unwrap());
        Some((latest, next))
    }

    /// As `kill -9`: nothing is closed.
    fn die(self) {
        // Without threads of its own, a journal that is dropped is just left.
        drop(self);
    }
}

#[tokio::test]
async fn each_moment_gets_one_job_that_holds_the_document() {
    let world = World::new(Missed::Once);
    let mut run = world.start();
    let mut wanted = request("0 0/10 * * * ?");
    wanted.submit.options = JobOptions {
        priority: Priority::High,
        worker: Some("robot".parse().unwrap()),
        retries: Some(2),
        params: None,
    };
    let id = run.save(wanted).await.unwrap();
    run.look().await;
    assert_eq!(run.moments(), [""; 0]);
    assert_eq!(
        run.agenda.as_ref().unwrap().next(),
        Some(at("2026-11-25T12:10:00Z"))
    );
    let (latest, next) = run.show("ada", id).await.unwrap();
    assert_eq!((latest, next), (None, Some(at("2026-11-25T12:10:00Z"))));
    for (now, made) in [
        ("2026-11-25T12:10:00Z", 1),
        ("2026-11-25T12:15:00Z", 1),
        ("2026-11-25T12:20:00.5Z", 2),
    ] {
        world.set(now);
        run.follow(Touched::These(BTreeSet::new())).await;
        assert_eq!(run.moments().len(), made, "{now}");
    }
    assert_eq!(run.moments(), ["12:10:00", "12:20:00"]);
    let (latest, next) = run.show("ada", id).await.unwrap();
    let latest = latest.unwrap();
    assert_eq!(next, Some(at("2026-11-25T12:30:00Z")));
    assert_eq!(latest.state, State::Waiting);
    assert_eq!(
        (latest.priority, latest.worker.as_deref()),
        (Priority::High, Some("robot"))
    );
    assert_eq!(&*latest.submitter, "ada");
    let spool = &run.spool;
    let job = Job {
        place: Place::Queue(name("in").into()),
        name: latest.job,
    };
    assert_eq!(spool.retries_of(&job), Some(2));
    let accepted = spool.accepted_of(&job).unwrap().unwrap();
    assert_eq!(accepted.dialect, "robusta");
    assert_eq!(accepted.came, crate::store::Came::Scheduled);
    let bytes = std::fs::read(world.root.path().join(job.place.path(&job.name))).unwrap();
    assert_eq!(bytes, b"{\"n\": 1}");
    // Others do not see it.
    assert!(run.show("bob", id).await.is_none());
}

#[tokio::test]
async fn what_is_to_run_at_once_does_and_ends() {
    let world = World::new(Missed::Skip);
    let mut run = world.start();
    let id = run.save(immediately()).await.unwrap();
    let read = Touched::These([id].into());
    run.follow(read).await;
    assert_eq!(run.moments(), ["12:00:00"]);
    world.set("2026-11-26T12:00:00Z");
    run.look().await;
    assert_eq!(run.moments().len(), 1);
    let (latest, next) = run.show("ada", id).await.unwrap();
    assert!(latest.is_some() && next.is_none());
}

#[tokio::test]
async fn a_restart_doubles_nothing_and_follows_the_policy() {
    for (missed, expected) in [
        (Missed::Once, &["12:10:00", "12:40:00", "12:50:00"][..]),
        (
            Missed::Each,
            &["12:10:00", "12:20:00", "12:30:00", "12:40:00", "12:50:00"],
        ),
        (Missed::Skip, &["12:10:00", "12:50:00"]),
    ] {
        let world = World::new(missed);
        let mut run = world.start();
        let id = run.save(request("0 0/10 * * * ?")).await.unwrap();
        world.set("2026-11-25T12:10:00Z");
        run.look().await;
        run.die();
        // At the same moment again.
        let mut run = world.start();
        run.look().await;
        assert_eq!(run.moments(), ["12:10:00"]);
        run.die();
        world.set("2026-11-25T12:45:00Z");
        let mut run = world.start();
        run.look().await;
        world.set("2026-11-25T12:50:00Z");
        run.look().await;
        assert_eq!(run.moments(), expected, "{missed:?}");
        let spool = &run.spool;
        assert_eq!(spool.progress(id).unwrap().runs, expected.len() as u64);
    }
}

#[tokio::test]
async fn a_moment_finds_its_job_when_the_progress_was_lost() {
    let world = World::new(Missed::Each);
    let mut run = world.start();
    let id = run.save(request("0 0/10 * * * ?")).await.unwrap();
    for now in ["2026-11-25T12:10:00Z", "2026-11-25T12:20:00Z"] {
        world.set(now);
        run.look().await;
    }
    let progress = run.spool.progress(id).unwrap();
    let fired = world.root.path().join(format!("schedules/{id}.fired"));
    std::fs::remove_file(fired).unwrap();
    run.look().await;
    assert_eq!(run.moments(), ["12:10:00", "12:20:00"]);
    assert_eq!(run.spool.progress(id).unwrap(), progress);
}

#[tokio::test]
async fn a_schedule_that_is_removed_makes_no_job_and_one_that_comes_back_goes_on() {
    let world = World::new(Missed::Skip);
    let mut run = world.start();
    let id = run.save(request("0 0/10 * * * ?")).await.unwrap();
    run.look().await;
    let file = world.root.path().join(format!("schedules/{id}.json"));
    let away = world.root.path().join("away");
    std::fs::rename(&file, &away).unwrap();
    world.set("2026-11-25T12:10:00Z");
    // Nobody has said that it is gone.
    run.follow(Touched::These(BTreeSet::new())).await;
    assert_eq!(run.moments(), [""; 0]);
    assert_eq!(run.agenda.as_ref().unwrap().next(), None);
    // Nor does a replay bring it back, once the journal's committer has had its turn.
    let spool = &run.spool;
    spool.wait(spool.latest()).unwrap();
    run.die();
    let mut run = world.start();
    run.look().await;
    assert!(!file.exists());
    std::fs::rename(&away, &file).unwrap();
    world.set("2026-11-25T12:20:00Z");
    run.follow(Touched::These([id].into())).await;
    assert_eq!(run.moments(), ["12:20:00"]);
    // For ever.
    assert!(run.spool.remove_schedule(id).unwrap());
    assert!(!run.spool.remove_schedule(id).unwrap());
    world.set("2026-11-25T12:30:00Z");
    run.look().await;
    assert_eq!(run.moments().len(), 1);
    assert!(run.show("ada", id).await.is_none());
}

#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let world = World::new(Missed::Each);
    let mut run = world.start();
    run.save(request("0 * * * * ?")).await.unwrap();
    for minute in 1..=7 {
        world.set(&format!("2026-11-25T12:0{minute}:00Z"));
        run.look().await;
    }
    assert_eq!(run.moments().len(), 5, "as many as the queue takes");
    let first = run.spool.list(&name("in")).unwrap().remove(0).name;
    let first = Job {
        place: Place::Queue(name("in").into()),
        name: first,
    };
    run.spool.remove(&first, &By::operator("olga")).unwrap();
    run.spool.forget_ready(&name("in").into(), &first.name);
    run.look().await;
    let all = ["12:02:00", "12:03:00", "12:04:00", "12:05:00", "12:06:00"];
    assert_eq!(run.moments(), all);
}

#[tokio::test]
async fn what_cannot_be_a_schedule_is_refused_with_its_member() {
    let world = World::new(Missed::Once);
    let run = world.start();
    let refused = async |request| run.save(request).await.unwrap_err();
    let field = |fault| {
        let Fault::Field { field, reason } = fault else {
            panic!("{fault:?}");
        };
        (field, reason)
    };
    let (member, reason) = field(refused(request("0 0 25 * * ?")).await);
    assert_eq!(member, "quartzDef");
    assert!(reason.contains("hours, character 5"), "{reason}");
    let mut late = request("0 0 12 * * ?");
    late.spec.end = Some("2026-11-25 11:00:00".into());
    assert_eq!(field(refused(late).await).0, "endDate");
    let mut other = immediately();
    other.submit.interface = Some(name("unknown"));
    assert!(matches!(
        refused(other).await,
        Fault::UnknownInterface { .. }
    ));
    let mut fetched = immediately();
    fetched.submit.interface = Some(name("out"));
    // Without any right there it looks like none.
    assert!(matches!(
        refused(fetched).await,
        Fault::UnknownInterface { .. }
    ));
    let ada = caller("ada");
    let large = Bytes::from(vec![b' '; 1001]);
    let refused = run.service.schedule(&ada, immediately(), large);
    assert!(matches!(
        refused.await,
        Err(Fault::TooLarge { bytes_max: 1000 })
    ));
    assert_eq!(run.spool.schedules().unwrap(), []);
    let unknown = JobRef::Uuid(run.service.seal.uuid(run.spool.next_id()));
    let shown = run.service.shown(&ada, &unknown, Visibility::Own);
    assert!(matches!(shown.await, Err(Fault::UnknownJob { .. })));
}

#[tokio::test]
async fn a_repeated_request_finds_its_schedule() {
    let world = World::new(Missed::Once);
    let mut run = world.start();
    let keyed = |key: &str| {
        let mut keyed = request("0 0 12 * * ?");
        keyed.submit.idempotency_key = Some(key.into());
        keyed
    };
    let first = run.save(keyed("one")).await.unwrap();
    assert_eq!(run.save(keyed("one")).await.unwrap(), first);
    run.look().await;
    run.die();
    let run = world.start();
    assert_eq!(run.save(keyed("one")).await.unwrap(), first);
    let ada = caller("ada");
    let other = Bytes::from_static(b"{}");
    let other = run.service.schedule(&ada, keyed("one"), other).await;
    assert!(matches!(other, Err(Fault::Invalid { .. })), "{other:?}");
    assert_eq!(run.spool.schedules().unwrap(), [first]);
    assert_ne!(run.save(keyed("two")).await.unwrap(), first);
}

#[tokio::test]
async fn an_edited_file_is_followed_and_a_broken_one_left_alone() {
    let world = World::new(Missed::Once);
    let mut run = world.start();
    let id = run.save(request("0 0/10 * * * ?")).await.unwrap();
    run.look().await;
    let file = world.root.path().join(format!("schedules/{id}.json"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("0/10", "7/10")).unwrap();
    run.follow(Touched::These([id].into())).await;
    assert_eq!(
        run.agenda.as_ref().unwrap().next(),
        Some(at("2026-11-25T12:07:00Z"))
    );
    std::fs::write(&file, text.replace("0/10", "0/100")).unwrap();
    run.follow(Touched::These([id].into())).await;
    assert_eq!(run.agenda.as_ref().unwrap().next(), None);
    assert!(
        run.spool
            .schedule(id)
            .unwrap_err()
            .to_string()
            .contains("minutes")
    );
    std::fs::write(&file, &text).unwrap();
    run.look().await;
    assert_eq!(
        run.agenda.as_ref().unwrap().next(),
        Some(at("2026-11-25T12:10:00Z"))
    );
}

#[tokio::test]
async fn a_user_has_so_many_schedules() {
    let world = World::new(Missed::Skip);
    let run = world.start();
    let nightly = || request("0 0 0 * * ?");
    let first = run.save(nightly()).await.unwrap();
    for _ in 1..SCHEDULES_MAX {
        run.save(nightly()).await.unwrap();
    }
    let refused = |saved| matches!(saved, Err(Fault::TooMany { .. }));
    assert!(refused(run.save(nightly()).await));
    let spool = &run.spool;
    spool.wait(spool.latest()).unwrap();
    run.die();
    // They are counted again after a restart, and one that is gone counts no more.
    let mut run = world.start();
    run.look().await;
    assert!(refused(run.save(nightly()).await));
    assert!(run.spool.remove_schedule(first).unwrap());
    run.look().await;
    run.save(nightly()).await.unwrap();
    assert!(refused(run.save(nightly()).await));
}

#[tokio::test]
async fn a_schedule_that_has_ended_goes_with_its_last_job() {
    let world = World::new(Missed::Once);
    let mut run = world.start();
    let id = run.save(immediately()).await.unwrap();
    run.look().await;
    let sweep = async |run: &mut Run| {
        let agenda = run.agenda.take().unwrap();
        run.agenda = Some(run.service.sweep_schedules(agenda).await);
        run.spool.schedules().unwrap().len()
    };
    world.set("2026-11-28T12:00:00Z");
    assert_eq!(sweep(&mut run).await, 1, "its job is there");
    let job = Job {
        place: Place::Queue(name("in").into()),
        name: run.spool.progress(id).unwrap().last.unwrap().job,
    };
    run.spool.remove(&job, &By::operator("olga")).unwrap();
    assert_eq!(sweep(&mut run).await, 1, "its log is there");
    std::fs::remove_dir_all(world.root.path().join("joblog")).unwrap();
    assert_eq!(sweep(&mut run).await, 0);
    let left = std::fs::read_dir(world.root.path().join("schedules")).unwrap();
    assert_eq!(left.count(), 0);
}

/// Of every second; the clock leaps by half an hour while the service is up.
#[tokio::test]
async fn moments_that_a_clock_jumps_over_get_one_job_together() {
    let world = World::new(Missed::Once);
    let mut run = world.start();
    run.save(request("* * * * * ?")).await.unwrap();
    run.look().await;
    world.set("2026-11-25T12:30:00.5Z");
    // As the service does when it sees the leap.
    run.since = run.service.now();
    run.look().await;
    assert_eq!(run.moments(), ["12:30:00"]);
}

#[tokio::test]
async fn a_schedule_that_waits_for_the_clock_can_be_reset() {
    let world = World::new(Missed::Once);
    let mut run = world.start();
    let id = run.save(request("0 0 * * * ?")).await.unwrap();
    world.set("2027-11-25T12:30:00Z");
    run.since = run.service.now();
    run.look().await;
    assert_eq!(run.moments().len(), 1);
    let next = |run: &Run| run.agenda.as_ref().unwrap().next().unwrap();
    world.set("2026-11-25T12:31:00Z");
    run.look().await;
    assert_eq!(next(&run), at("2027-11-25T13:00:00Z"), "it waits");
    assert!(run.agenda.as_ref().unwrap().ahead.contains(&id));
    assert!(run.spool.ask_reset(id, "").unwrap());
    run.follow(Touched::These([id].into())).await;
    assert_eq!(next(&run), at("2026-11-25T13:00:00Z"));
    assert!(run.agenda.as_ref().unwrap().ahead.is_empty());
    assert!(!run.spool.is_reset_asked(id).unwrap());
    // Also for a service that comes later.
    run.die();
    let mut run = world.start();
    run.look().await;
    assert_eq!(next(&run), at("2026-11-25T13:00:00Z"));
    let none = ScheduleId::new(run.spool.next_id());
    assert!(!run.spool.ask_reset(none, "").unwrap());
}
