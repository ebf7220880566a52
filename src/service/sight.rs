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

use super::{Direction, Fault, Service, Visibility, spool_fault, view::is_curator};
use crate::{
    auth::{Caller, Right, Role},
    domain::{InterfaceName, Job, JobName, Place, Queue},
};
use serde::{Deserialize, Serialize};

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
        known.is_some_and(|known| known.visible.is_shared()) && !self.spool.is_addressed(interface)
    }

    /// Is a job the caller's?
    ///
    /// # Errors
    /// When what was recorded of the job cannot be read.
    pub(super) fn owns(&self, caller: &Caller, job: &Job) -> Result<bool, Fault> {
        let owner = self.owner_of(job)?;
        Ok(owner.is_some_and(|owner| caller.is(&owner)))
    }

    /// Whose a job is.
    ///
    /// # Errors
    /// When what was recorded of the job cannot be read.
    pub(super) fn owner_of(&self, job: &Job) -> Result<Option<String>, Fault> {
        if self.is_addressed(job) {
            let user = self.spool.addressee_of(job).map_err(|e| spool_fault(&e))?;
            return Ok(user.map(|user| user.to_string()));
        }
        let known = self.spool.accepted_of(job).map_err(|e| spool_fault(&e))?;
        Ok(known.map(|known| known.submitter.clone()))
    }

    /// Is the job one of those that are for one user each?
    pub(super) fn is_addressed(&self, job: &Job) -> bool {
        let spool = &self.spool;
        match job.place.interface() {
            Some(interface) => spool.is_addressed(interface),
            // Not asked for where it makes no difference.
            None => {
                spool.addressed_interfaces().next().is_some()
                    && (spool.interface_of(job)).is_some_and(|i| spool.is_addressed(&i))
            }
        }
    }

    /// Is a job kept from the caller, whatever he may see of its interface?
    pub(super) fn is_hidden(&self, caller: &Caller, job: &Job) -> bool {
        self.spool.is_astray(&job.place) && !caller.has(Role::Operator)
    }

    /// Leaves the jobs of an interface that are shown to a caller, who sees all or his own.
    ///
    /// # Errors
    /// As those of [`Service::owns`].
    pub(super) fn keep_shown(
        &self,
        caller: &Caller,
        interface: &InterfaceName,
        sees_all: bool,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Fault> {
        let is_addressed = self.spool.is_addressed(interface);
        if is_addressed {
            jobs.retain(|job| !self.is_hidden(caller, job));
        }
        match (sees_all, is_addressed) {
            (true, _) => Ok(()),
            (false, true) => self.keep_addressed(caller, jobs),
            (false, false) => self.keep_own(caller, jobs),
        }
    }

    /// Leaves the jobs that are for the caller.
    fn keep_addressed(&self, caller: &Caller, jobs: &mut Vec<Job>) -> Result<(), Fault> {
        let known = self.spool.addressees_of_all(jobs);
        let known = known.map_err(|e| spool_fault(&e))?;
        let user = |job: &Job| known.get(&job.name.id());
        jobs.retain(|job| user(job).is_some_and(|user| caller.is(user.as_str())));
        Ok(())
    }

    /// Leaves the jobs that the caller has submitted.
    fn keep_own(&self, caller: &Caller, jobs: &mut Vec<Job>) -> Result<(), Fault> {
        let known = self.spool.accepted_of_all(jobs);
        let known = known.map_err(|e| spool_fault(&e))?;
        let owner = |job: &Job| known.get(&job.name.id()).map(|known| &known.submitter);
        jobs.retain(|job| owner(job).is_some_and(|owner| caller.is(owner)));
        Ok(())
    }

    /// The names of the jobs that wait in an interface and are shown to a caller with a right on it.
    pub(super) fn listed(
        &self,
        caller: &Caller,
        interface: &InterfaceName,
    ) -> Result<Vec<JobName>, Fault> {
        let sees_all = self.sees_all(caller, interface);
        if !sees_all && self.spool.is_addressed(interface) {
            // Whoever is no user has no such directory.
            let Ok(user) = caller.user.parse() else {
                return Ok(Vec::new());
            };
            let names = self.spool.list_for(&Queue::of_user(interface, user));
            return names.map_err(|e| spool_fault(&e));
        }
        let jobs = self.spool.list(interface);
        let mut jobs = jobs.map_err(|e| spool_fault(&e))?;
        self.keep_shown(caller, interface, sees_all, &mut jobs)?;
        Ok(jobs.into_iter().map(|job| job.name).collect())
    }

    /// A job that the caller may know of.
    pub(super) fn visible(&self, caller: &Caller, name: &JobName) -> Result<Job, Fault> {
        let unknown = || Fault::UnknownJob {
            job: name.to_string(),
        };
        let found = self.spool.find(name).map_err(|e| spool_fault(&e))?;
        let job = Job {
            place: found.ok_or_else(unknown)?,
            name: name.clone(),
        };
        let visible = caller.has(Role::Operator)
            || match self.spool.interface_of(&job) {
                Some(interface) => {
                    caller.may_any(&interface)
                        && !self.is_hidden(caller, &job)
                        && (self.sees_all(caller, &interface) || self.owns(caller, &job)?)
                }
                None => self.owns(caller, &job)?,
            };
        visible.then_some(job).ok_or_else(unknown)
    }

    /// Is what is somebody's on an interface shown to the caller?
    pub(super) fn reaches(
        &self,
        caller: &Caller,
        interface: Option<&InterfaceName>,
        owner: &str,
        visibility: Visibility,
    ) -> bool {
        let own = caller.is(owner);
        match (visibility, interface) {
            (Visibility::Curator, _) => is_curator(caller),
            (Visibility::Own, _) => own || is_curator(caller),
            (Visibility::Interface, None) => own || caller.has(Role::Operator),
            (Visibility::Interface, Some(interface)) => {
                caller.may_any(interface) && (own || self.sees_all(caller, interface))
            }
        }
    }

    /// Whether a job goes to `bak` when a caller with the right to fetch from its interface has fetched
    /// it; `None`: it is not shown to that caller. Where partners see their own jobs alone, nobody but
    /// a job's owner takes it away. Source: the dStore contract, "Life of a job".
    ///
    /// # Errors
    /// As those of [`Service::owns`].
    pub(super) fn takes(
        &self,
        caller: &Caller,
        interface: &InterfaceName,
        job: &Job,
    ) -> Result<Option<bool>, Fault> {
        let Some(known) = self.interfaces.get(interface) else {
            return Ok(None);
        };
        let is_theirs = self.is_shared(interface) || self.owns(caller, job)?;
        if !is_theirs && !self.sees_all(caller, interface) || self.is_hidden(caller, job) {
            return Ok(None);
        }
        let is_queued = matches!(job.place, Place::Queue(_));
        Ok(Some(
            is_theirs && is_queued && known.direction == Direction::Out,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        AdmissionLimits, Cancelling, InFlight, Interface, JobRef, Parts, Places, ScheduleRules,
        WorkerHandle,
    };
    use super::*;
    use crate::{
        auth::{Grants, Scope},
        domain::{KEY_BYTES, Kind, Seal},
        store::fs::{Attributes, Cancelled, DropRules, Moved, RealFs, Rules, Spool},
        xml::{Schemas, Stylesheets, XsdSchema},
    };
    use std::{path::Path, sync::Arc};

    /// No worker.
    struct Nobody;

    impl WorkerHandle for Nobody {
        fn arrived(&self, _: &InterfaceName, _: &JobName) {}

        fn cancel(&self, _: JobName, _: Arc<str>) -> Cancelling<'_> {
            Box::pin(std::future::ready(Ok(Cancelled::NotActive)))
        }

        fn eta_ms(&self, _: &Job) -> Option<i64> {
            None
        }
    }

    fn out() -> InterfaceName {
        "out".parse().unwrap()
    }

    fn service(root: &Path, visible: Visible, addressed: bool) -> Service {
        let interface = Interface {
            direction: Direction::Out,
            root: None,
            namespace: None,
            schema: None,
            bytes_max: 1000,
            aliases: Vec::new(),
            questions: Vec::new(),
            visible,
        };
        let rules = Rules {
            attempts_max: 1,
            at_most_once: false,
            drops: DropRules {
                addressed,
                ..DropRules::default()
            },
        };
        let clock = Box::new(|| 1_795_323_468_123);
        let spool = Spool::open(RealFs::new(root), [(out(), rules)].into(), clock).unwrap();
        spool.know_users(|user| user.as_str() != "nobody");
        Service::new(Parts {
            seal: Seal::new([7; KEY_BYTES]),
            spool: Arc::new(spool),
            interfaces: [(out(), interface)].into(),
            schemas: Arc::new(Schemas::open(&root.join("schemas"), Box::new(XsdSchema))),
            stylesheets: Arc::new(Stylesheets::open(&root.join("xslt"))),
            limits: AdmissionLimits::default(),
            in_flight: Arc::new(InFlight::default()),
            transforms: Places::new(4, 2),
            validations: Arc::default(),
            worker: Box::new(Nobody),
            schedules: ScheduleRules {
                time_zone: "UTC".parse().unwrap(),
                clock_changes: Default::default(),
                missed: Default::default(),
                saved: Box::new(|_| ()),
            },
        })
    }

    fn caller(user: &str, right: Right, role: Option<Role>) -> Caller {
        let mut grants = Grants::default();
        grants.set_rights(Scope::Interface(out()), [right].into());
        grants.set_roles(role.into_iter().collect());
        Caller::new(user, grants)
    }

    #[test]
    fn a_job_is_shown_to_its_owner_and_to_those_who_see_all() {
        for visible in [Visible::Interface, Visible::Own] {
            let dir = tempfile::tempdir().unwrap();
            let service = service(dir.path(), visible, false);
            let spool = &service.spool;
            let name = JobName::new(spool.next_id(), None, Kind::Xml);
            let mut part = spool.begin(name).unwrap();
            part.write(b"<a/>").unwrap();
            let sealed = part.seal(&Attributes {
                submitter: "ada".into(),
                ..Attributes::default()
            });
            let (of_ada, _) = spool.enqueue(sealed.unwrap(), &out(), None).unwrap();
            std::fs::write(dir.path().join("queue/out/x"), "<a/>").unwrap();
            // Not before it rests.
            let name = loop {
                if let Some(arrival) = spool.scan(&out()).unwrap().arrived.pop() {
                    break arrival.job.name;
                }
                std::thread::yield_now();
            };
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
                assert_eq!(service.listed(&caller, &out()).unwrap(), seen, "{user}");
                for (job, sees) in both {
                    assert_eq!(service.visible(&caller, &job.name).is_ok(), sees, "{user}");
                    let takes = service.takes(&caller, &out(), job).unwrap();
                    let is_hers = **user == *"ada" && *job == of_ada;
                    assert_eq!(takes, sees.then_some(all || is_hers), "{user}");
                }
                let reached = service.reaches(&caller, Some(&out()), "ada", Visibility::Interface);
                assert_eq!(reached, sees_hers, "{user}");
            }
        }
    }

    /// In its user's directory, after it has left that, beside it, and in that of somebody who is none.
    #[test]
    fn an_addressed_job_is_shown_to_its_user_and_to_those_who_see_all() {
        let dir = tempfile::tempdir().unwrap();
        let service = service(dir.path(), Visible::Interface, true);
        let spool = &service.spool;
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
        let Moved::Done(fetched) = spool.archive(&put("out/@ada"), "ada").unwrap() else {
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
            assert_eq!(service.listed(&caller, &out()).unwrap(), listed, "{user}");
            for (job, sees) in [
                (&of_ada, sees_hers),
                (&fetched, sees_hers),
                (&beside, sees_nobodys),
                (&nobodys, sees_nobodys),
            ] {
                assert_eq!(service.visible(&caller, &job.name).is_ok(), sees, "{user}");
                let takes = service.takes(&caller, &out(), job).unwrap();
                let is_hers = **user == *"ada" && *job == of_ada;
                assert_eq!(takes, sees.then_some(is_hers), "{user}");
                for visibility in [Visibility::Own, Visibility::Interface] {
                    let of = JobRef::Name(job.name.clone());
                    let shown = service.shown(&caller, &of, visibility).is_ok();
                    assert_eq!(
                        shown,
                        sees && (visibility == Visibility::Interface || **user != *"mia")
                    );
                }
            }
        }
    }
}
