//! Which jobs a caller may know of.
//!
//! Partners share an interface as the original has it: who has a right on it sees all of its jobs.
//! Where an interface shows its partners their own jobs alone, a job is its submitter's, as the day's
//! record says; an emitted one is its parent's submitter's. A file that was dropped is nobody's.
//! Where jobs are addressed, a job is the user's in whose directory it lies, or lay last. What lies there
//! where it is for nobody, operators alone see.
//! Operators, curators and who has the right `manage` on an interface see all of it.
//!
//! Invariant: a record that cannot be read is no answer: the caller is told to ask again.

use super::{Direction, Fault, Service, Visibility, store_fault, view::is_curator};
use crate::{
    auth::{Caller, Right, Role},
    domain::{InterfaceName, JobName, PlaceKind},
    store::{Filter, JobDetail, JobSummary, Of, Sight, Viewer, Want},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// So many names of a list are looked for at once.
const LIST_JOBS_MAX: usize = 10_000;

/// Which jobs of an interface its partners see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Visible {
    /// All of them.
    #[default]
    Interface,
    /// Those that they submitted, and what was emitted from those.
    Own,
}

impl Visible {
    /// Do partners see each other's jobs?
    pub fn is_shared(self) -> bool {
        self == Self::Interface
    }
}

impl Service {
    /// Is every job of an interface shown to a caller with a right on it? Of an interface that is
    /// not configured any more, only to those who see all everywhere.
    pub(super) fn sees_all(&self, caller: &Caller, interface: &InterfaceName) -> bool {
        self.is_shared(interface) || is_curator(caller) || caller.may(Right::Manage, interface)
    }

    /// Do the partners of an interface see each other's jobs?
    fn is_shared(&self, interface: &InterfaceName) -> bool {
        let known = self.interfaces.get(interface);
        known.is_some_and(|known| known.visible.is_shared()) && !self.store.is_addressed(interface)
    }

    /// A caller's eyes.
    pub(super) fn viewer(
        self: &Arc<Self>,
        caller: &Caller,
        sight: impl Fn(&Self, &Caller, Option<&InterfaceName>) -> Sight + Send + Sync + 'static,
    ) -> Viewer {
        let (this, who) = (self.clone(), caller.clone());
        Viewer {
            user: caller.user.clone(),
            sight: Arc::new(move |interface| sight(&this, &who, interface)),
            sees_astray: caller.has(Role::Operator),
        }
    }

    /// What a caller sees of what is on an interface.
    fn sight(
        &self,
        caller: &Caller,
        visibility: Visibility,
        interface: Option<&InterfaceName>,
    ) -> Sight {
        let sees_all = match (visibility, interface) {
            (Visibility::Curator, _) if !is_curator(caller) => return Sight::Nothing,
            (Visibility::Curator | Visibility::Own, _) => is_curator(caller),
            (Visibility::Interface, None) => caller.has(Role::Operator),
            (Visibility::Interface, Some(interface)) => {
                if !caller.may_any(interface) {
                    return Sight::Nothing;
                }
                self.sees_all(caller, interface)
            }
        };
        match sees_all {
            true => Sight::All,
            false => Sight::Own,
        }
    }

    /// The eyes of a caller who is shown jobs so.
    pub(super) fn viewer_by(self: &Arc<Self>, caller: &Caller, visibility: Visibility) -> Viewer {
        self.viewer(caller, move |this, caller, interface| {
            this.sight(caller, visibility, interface)
        })
    }

    /// Is what is somebody's on an interface shown to the caller?
    pub(super) fn reaches(
        &self,
        caller: &Caller,
        interface: Option<&InterfaceName>,
        owner: &str,
        visibility: Visibility,
    ) -> bool {
        match self.sight(caller, visibility, interface) {
            Sight::All => true,
            Sight::Own => caller.is(owner),
            Sight::Nothing => false,
        }
    }

    /// The names of the jobs that wait in an interface and are shown to a caller with a right on it.
    ///
    /// # Errors
    /// When the store cannot be read: that is no answer.
    pub(super) async fn listed(
        self: &Arc<Self>,
        caller: &Caller,
        interface: &InterfaceName,
    ) -> Result<Vec<JobName>, Fault> {
        let viewer = self.viewer(caller, |this, caller, interface| match interface {
            Some(interface) if this.sees_all(caller, interface) => Sight::All,
            Some(_) | None => Sight::Own,
        });
        let filter = Filter {
            interface: Some(interface.clone()),
            at: PlaceKind::ACTIVE.to_vec(),
            ..Filter::default()
        };
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.list(&viewer, &filter, after, LIST_JOBS_MAX);
            let page = page.await.map_err(|e| store_fault(&e))?;
            names.extend(page.jobs.into_iter().map(|summary| summary.job.name));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(names),
            }
        }
    }

    /// A job that the caller may know of.
    ///
    /// # Errors
    /// [`Fault::UnknownJob`], or when the store cannot be read: that is no answer.
    pub(super) async fn visible(
        self: &Arc<Self>,
        caller: &Caller,
        name: &JobName,
        want: Want,
    ) -> Result<JobDetail, Fault> {
        let viewer = self.viewer_of(caller);
        self.found(&viewer, Of::Name(name.clone()), want, name)
            .await
    }

    /// The eyes of a caller by his rights alone: what he may know of, wherever it is.
    pub fn viewer_of(self: &Arc<Self>, caller: &Caller) -> Viewer {
        self.viewer(caller, |this, caller, interface| {
            match caller.has(Role::Operator) {
                true => Sight::All,
                false => this.sight(caller, Visibility::Interface, interface),
            }
        })
    }

    /// A job for these eyes.
    ///
    /// # Errors
    /// [`Fault::UnknownJob`], or when the store cannot be read: that is no answer.
    pub(super) async fn found(
        &self,
        viewer: &Viewer,
        of: Of,
        want: Want,
        called: &impl ToString,
    ) -> Result<JobDetail, Fault> {
        let found = self.store.find(viewer, of, want).await;
        let found = found.map_err(|e| store_fault(&e))?;
        found.ok_or_else(|| Fault::UnknownJob {
            job: called.to_string(),
        })
    }

    /// A job that the caller may fetch from an interface, and whether it goes to `bak` when he has: where
    /// partners see their own jobs alone, nobody but a job's owner takes it away. Source: the dStore
    /// contract, "Life of a job".
    ///
    /// # Errors
    /// As those of [`Service::visible`].
    pub(super) async fn fetchable(
        self: &Arc<Self>,
        caller: &Caller,
        interface: &InterfaceName,
        name: &JobName,
    ) -> Result<(JobSummary, bool), Fault> {
        let from = interface.clone();
        let viewer = self.viewer(caller, move |this, caller, interface| match interface {
            Some(interface) if *interface != from => Sight::Nothing,
            Some(interface) if this.sees_all(caller, interface) => Sight::All,
            Some(_) | None => Sight::Own,
        });
        let is_shared = self.is_shared(interface);
        let want = match is_shared {
            true => Want::PLACE,
            false => Want::RECORD,
        };
        let found = self
            .found(&viewer, Of::Name(name.clone()), want, name)
            .await?;
        let summary = found.summary;
        let known = self.interfaces.get(interface);
        let (Some(known), true) = (known, summary.job.place.interface() == Some(interface)) else {
            let job = name.to_string();
            return Err(Fault::UnknownJob { job });
        };
        let is_theirs = is_shared || summary.owner.as_deref().is_some_and(|o| caller.is(o));
        let taken = is_theirs && summary.is_queued() && known.direction == Direction::Out;
        Ok((summary, taken))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        AdmissionLimits, Cancelling, InFlight, Interface, JobRef, Parts, ScheduleRules, Slots,
        WorkerHandle,
    };
    use super::*;
    use crate::store::fs::PlacePath;
    use crate::{
        auth::{Grants, Scope},
        cron_schedule::{Progress, Schedule, ScheduleId},
        domain::{Job, JobId, KEY_BYTES, Kind, Place, Queue, Seal},
        store::{
            By, Cancelled,
            fs::{FileStore, Moved, Rules, Spool, faults::Faults, testing::TestSpool},
        },
        xml::{Schemas, Stylesheets, XsdSchema},
    };
    use std::path::Path;

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

    fn out() -> InterfaceName {
        "out".parse().unwrap()
    }

    /// On which nobody here has a right.
    fn shared() -> InterfaceName {
        "shared".parse().unwrap()
    }

    fn service(root: &Path, visible: Visible, addressed: bool) -> (Arc<Service>, Arc<Spool>) {
        let interface = |visible| Interface {
            direction: Direction::Out,
            root: None,
            namespace: None,
            schema: None,
            bytes_max: 1000,
            aliases: Vec::new(),
            questions: Vec::new(),
            visible,
            order_by: None,
        };
        let addressed = |rules: &mut Rules| rules.drops.addressed = addressed;
        let spool = TestSpool::at(root).interface_with("out", addressed);
        let spool = spool.interface_with(shared().as_str(), addressed);
        let spool = spool.open().unwrap();
        spool.know_users(|user| user.as_str() != "nobody");
        let service = Service::new(Parts {
            metrics: crate::metrics::Tenant::default(),
            seal: Seal::new([7; KEY_BYTES]),
            store: Arc::new(FileStore::new(spool.clone())),
            interfaces: [
                (out(), interface(visible)),
                (shared(), interface(Visible::Interface)),
            ]
            .into(),
            schemas: Arc::new(Schemas::open(&root.join("schemas"), Box::new(XsdSchema))),
            stylesheets: Arc::new(Stylesheets::open(&root.join("xslt"))),
            limits: AdmissionLimits::default(),
            in_flight: Arc::new(InFlight::default()),
            transforms: Slots::new(4, 2),
            worker: Box::new(Nobody),
            schedules: ScheduleRules {
                time_zone: "UTC".parse().unwrap(),
                clock_changes: Default::default(),
                missed: Default::default(),
                saved: Box::new(|_| ()),
            },
        });
        (Arc::new(service), spool)
    }

    fn caller(user: &str, right: Right, role: Option<Role>) -> Caller {
        let mut grants = Grants::default();
        grants.set_rights(Scope::Interface(out()), [right].into());
        grants.set_roles(role.into_iter().collect());
        Caller::new(user, grants)
    }

    /// A job of ada's.
    fn accept(spool: &Arc<Spool>, to: &InterfaceName) -> Job {
        let name = JobName::new(spool.next_id(), None, Kind::Xml);
        let mut part = spool.begin(name).unwrap();
        part.write(b"<a/>").unwrap();
        let sealed = part.seal(&crate::store::NewJob {
            submitter: "ada".into(),
            ..crate::store::NewJob::default()
        });
        spool.enqueue(sealed.unwrap(), to, None).unwrap().0
    }

    #[tokio::test]
    async fn a_job_is_shown_to_its_owner_and_to_those_who_see_all() {
        for visible in [Visible::Interface, Visible::Own] {
            let dir = tempfile::tempdir().unwrap();
            let (service, spool) = service(dir.path(), visible, false);
            let of_ada = accept(&spool, &out());
            std::fs::write(dir.path().join("queue/out/x"), "<a/>").unwrap();
            // Not before it rests.
            let name = crate::util::until::blocking("what was dropped", || {
                let arrival = spool.scan(&out()).unwrap().arrived.pop()?;
                Some(arrival.job.name)
            });
            let place = Place::Queue(out().into());
            let dropped = Job { place, name };
            let all = visible.is_shared();
            for (caller, sees_hers, sees_dropped) in [
                (caller("ada", Right::Download, None), true, all),
                (caller("bob", Right::Download, None), all, all),
                (caller("", Right::Download, None), all, all),
                (caller("mia", Right::Manage, None), true, true),
                (caller("cleo", Right::List, Some(Role::Curator)), true, true),
                (Caller::operator("olga"), true, true),
            ] {
                let user = &caller.user;
                let both = [(&of_ada, sees_hers), (&dropped, sees_dropped)];
                let seen = both.iter().filter(|(_, sees)| *sees);
                let seen: Vec<JobName> = seen.map(|(job, _)| job.name.clone()).collect();
                assert_eq!(
                    service.listed(&caller, &out()).await.unwrap(),
                    seen,
                    "{user}"
                );
                for (job, sees) in both {
                    let visible = service.visible(&caller, &job.name, Want::PLACE).await;
                    assert_eq!(visible.is_ok(), sees, "{user}");
                    let takes = service.fetchable(&caller, &out(), &job.name).await;
                    let takes = takes.ok().map(|(_, takes)| takes);
                    let is_hers = **user == *"ada" && *job == of_ada;
                    assert_eq!(takes, sees.then_some(all || is_hers), "{user}");
                }
                let reached = service.reaches(&caller, Some(&out()), "ada", Visibility::Interface);
                assert_eq!(reached, sees_hers, "{user}");
            }
        }
    }

    /// In its user's directory, after it has left that, beside it, and in that of somebody who is none.
    #[tokio::test]
    async fn an_addressed_job_is_shown_to_its_user_and_to_those_who_see_all() {
        let dir = tempfile::tempdir().unwrap();
        let (service, spool) = service(dir.path(), Visible::Interface, true);
        let put = |queue: &str| {
            let queue: Queue = queue.parse().unwrap();
            spool.make_queue(&queue).unwrap();
            let (place, name) = (
                Place::Queue(queue),
                JobName::new(spool.next_id(), None, Kind::Xml),
            );
            let job = Job { place, name };
            std::fs::write(dir.path().join(job.place.path(&job.name)), "<a/>").unwrap();
            job
        };
        let (of_ada, beside, nobodys) = (put("out/@ada"), put("out"), put("out/@nobody"));
        spool.scan(&out()).unwrap();
        let Moved::Done(fetched) = spool
            .archive(&put("out/@ada"), &By::operator("ada"))
            .unwrap()
        else {
            panic!("it is gone");
        };
        let operator = Caller::operator("olga");
        for (caller, sees_hers, sees_nobodys) in [
            (caller("ada", Right::Download, None), true, false),
            (caller("bob", Right::Download, None), false, false),
            (caller("", Right::Download, None), false, false),
            (caller("mia", Right::Manage, None), true, false),
            (
                caller("cleo", Right::List, Some(Role::Curator)),
                true,
                false,
            ),
            (operator, true, true),
        ] {
            let user = &caller.user;
            let listed = [(&of_ada, sees_hers), (&nobodys, sees_nobodys)];
            let listed = listed.iter().filter(|(_, sees)| *sees);
            let listed: Vec<JobName> = listed.map(|(job, _)| job.name.clone()).collect();
            assert_eq!(
                service.listed(&caller, &out()).await.unwrap(),
                listed,
                "{user}"
            );
            for (job, sees) in [
                (&of_ada, sees_hers),
                (&fetched, sees_hers),
                (&beside, sees_nobodys),
                (&nobodys, sees_nobodys),
            ] {
                let visible = service.visible(&caller, &job.name, Want::PLACE).await;
                assert_eq!(visible.is_ok(), sees, "{user}");
                let takes = service.fetchable(&caller, &out(), &job.name).await;
                let takes = takes.ok().map(|(_, takes)| takes);
                let is_hers = **user == *"ada" && *job == of_ada;
                assert_eq!(takes, sees.then_some(is_hers), "{user}");
                for visibility in [Visibility::Own, Visibility::Interface] {
                    let of = JobRef::Name(job.name.clone());
                    let shown = service.shown(&caller, &of, visibility).await.is_ok();
                    assert_eq!(
                        shown,
                        sees && (visibility == Visibility::Interface || **user != *"mia")
                    );
                }
            }
        }
    }

    /// Every request that names a job, with what it calls it.
    const REQUESTS: [(&str, &str); 16] = [
        ("GET", "/xml/jobstatus?Jobname=NAME"),
        ("GET", "/xml/joblog?Jobname=NAME"),
        ("GET", "/xml/joblog?Interfacename=out&Jobname=NAME"),
        ("GET", "/xml/job?Interfacename=out&Jobname=NAME"),
        ("HEAD", "/xml/job?Interfacename=out&Jobname=NAME"),
        ("GET", "/webapi/v3/jobs/HEX"),
        ("DELETE", "/webapi/v3/jobs/HEX"),
        ("GET", "/webapi/v3/jobs/HEX/messages"),
        ("GET", "/webapi/v1/jobs/HEX/output/000000000000000000000000"),
        ("GET", "/api/v1/main/status/NUMBER"),
        ("GET", "/api/v1/main/download/NUMBER/0"),
        ("GET", "/patients/composition/job/UUID"),
        ("GET", "/jobs/UUID"),
        ("GET", "/scheduler/connector-api/process/status/UUID"),
        ("HEAD", "/scheduler/connector-api/process/status/UUID"),
        ("GET", "/toy/UUID"),
    ];

    /// The answer to a request in its dialect, without what it calls the job, and the calls of the disk.
    async fn asked(
        service: &Arc<Service>,
        disk: &Faults,
        caller: &Caller,
        (method, path): (&str, &str),
        job: &JobName,
    ) -> (String, u64) {
        let (id, seal) = (job.id(), Seal::new([7; KEY_BYTES]));
        let names = [
            ("NAME", job.to_string()),
            ("HEX", hex::encode(seal.hex(id))),
            ("NUMBER", id.get().to_string()),
            ("UUID", seal.uuid(id).to_string()),
        ];
        let (known, name) = names
            .iter()
            .find(|(known, _)| path.contains(known))
            .unwrap();
        let path = path.replace(known, name);
        let dialect = crate::api::of(&path).unwrap();
        let request = http::Request::builder().method(method).uri(path);
        let (head, ()) = request.body(()).unwrap().into_parts();
        let command = dialect.parse(&head, b"").unwrap();
        let before = disk.calls();
        let fault = service.execute(caller, command).await.unwrap_err();
        let calls = disk.calls() - before;
        let answer = dialect.render_fault(&head, &fault);
        (format!("{answer:?}").replace(name, known), calls)
    }

    /// The same of a schedule, which is asked for as a job is.
    #[tokio::test]
    async fn a_foreign_schedule_is_answered_like_an_unknown_one() {
        let dir = tempfile::tempdir().unwrap();
        let (service, spool) = service(dir.path(), Visible::Own, false);
        let disk = Faults::of(dir.path());
        let id = ScheduleId::new(spool.next_id());
        let schedule = br#"{"interface":"out","submitter":"ada","dialect":"robusta",
            "created":"2026-11-25T12:00:00Z","plan":{"time_zone":"UTC"},"document":"{}"}"#;
        let schedule = Schedule::from_json(schedule).unwrap();
        spool
            .wait(spool.save_schedule(id, &schedule, None).unwrap())
            .unwrap();
        let fired = Progress::default().skipped("2026-11-25T13:00:00Z".parse().unwrap());
        spool
            .wait(spool.save_progress(id, &fired).unwrap())
            .unwrap();
        let job = JobName::new(id.get(), None, Kind::Json);
        let unknown = job.with_id(JobId::from_number(job.id().get() + 2048));
        let request = REQUESTS[13];
        assert!(request.1.ends_with("process/status/UUID"));
        let bob = caller("bob", Right::Download, None);
        // What is read once in a day.
        asked(&service, &disk, &bob, request, &unknown).await;
        for caller in [bob, Caller::new("eve", Grants::default())] {
            let unknown = asked(&service, &disk, &caller, request, &unknown).await;
            let foreign = asked(&service, &disk, &caller, request, &job).await;
            assert_eq!(foreign, unknown, "{caller:?}");
        }
    }

    /// In each dialect, as many calls and the same answer, for those without a right on the interface too.
    #[tokio::test]
    async fn a_foreign_job_is_answered_like_an_unknown_one_in_each_dialect() {
        let dir = tempfile::tempdir().unwrap();
        let (service, spool) = service(dir.path(), Visible::Own, false);
        let disk = Faults::of(dir.path());
        let (mut jobs, mut running) = (Vec::new(), Vec::new());
        for interface in [out(), shared()] {
            let all: Vec<Job> = (0..4).map(|_| accept(&spool, &interface)).collect();
            running.extend(spool.claim(&interface, &all[1].name).unwrap());
            spool.archive(&all[2], &By::operator("ada")).unwrap();
            spool.cancel(&all[3], &By::operator("ada")).unwrap();
            jobs.extend(all.into_iter().map(|job| job.name));
        }
        assert_eq!(running.len(), 2);
        for name in crate::api::DIALECTS.iter().map(|dialect| dialect.name()) {
            let is_asked = |path| crate::api::of(path).is_some_and(|of| of.name() == name);
            assert!(REQUESTS.iter().any(|(_, path)| is_asked(path)), "{name}");
        }
        let bob = caller("bob", Right::Download, None);
        for caller in [
            bob,
            caller("bob", Right::List, None),
            Caller::new("eve", Grants::default()),
        ] {
            for request in REQUESTS {
                for job in &jobs {
                    let unknown = job.with_id(JobId::from_number(job.id().get() + 2048));
                    let unknown = asked(&service, &disk, &caller, request, &unknown).await;
                    let foreign = asked(&service, &disk, &caller, request, job).await;
                    assert_eq!(foreign, unknown, "{caller:?}, {request:?}, {job}");
                }
            }
        }
    }
}
