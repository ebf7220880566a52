//! What every engine promises, as tests that run against each of them.
//!
//! A case is a function over a [`Bench`]: an engine of its own, with what workers do to jobs. [`conformance!`] makes one test of each case. A case asks for what the trait says and no more:
//! where that leaves an engine free, it takes either answer.

mod accept;
mod events;
mod file;
mod keys;
mod list;
mod look;
mod memory;
mod operators;
mod out;
#[cfg(feature = "cluster")]
mod pg;
mod read;
mod runs;
mod schedules;

use super::{
    By, Claimed, Content, Filter, JobDetail, JobSummary, Lease, NewJob, NewName, Of, Receipt,
    RunLog, Sealed, Settled, Settlement, Sight, State, Store, Stored, Viewer, Want, Workspace,
    events::{EventKind, Wants},
};
use crate::{
    cron_schedule::ScheduleId,
    domain::joblog::{Level, Message},
    domain::{InterfaceName, Job, JobName, Kind, Queue, UserName},
};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    sync::Arc,
};

/// An engine with an empty store that is its own. It serves [`plain`], [`other`] and [`mail`], of which
/// the last is addressed, and everybody but [`nobody`] is a user.
///
/// What changes a job expects it in a state in which that is legal.
trait Bench: Sized {
    /// Is there what it needs? Where not, its cases are left out.
    fn is_there() -> bool {
        true
    }

    async fn new() -> Self;

    fn store(&self) -> Arc<dyn Store>;

    /// The same store, in a new life of its process.
    async fn restart(self) -> Self;

    /// Who works on its jobs.
    fn worker(&self) -> &Worker;

    /// The worker begins with a job that waits.
    async fn run(&self, job: &JobName) {
        self.worker().run(&*self.store(), job).await;
    }

    /// A running job is done: this is what was made of it.
    async fn finish(&self, job: &JobName, files: &[(&str, &[u8])], variables: Map<String, Value>) {
        let worker = self.worker();
        worker.leave(job, files);
        if !variables.is_empty() {
            let variables = Value::Object(variables).to_string();
            worker.leave(job, &[("result.json", variables.as_bytes())]);
        }
        let last = Message::new(now_ms(), Level::Info, "processed");
        let store = self.store();
        worker.settle(&*store, job, Settlement::Done, last).await;
    }

    /// A running job has failed for good, with this as its reason.
    async fn fail(&self, job: &JobName, why: &str) {
        let last = Message::new(now_ms(), Level::Error, why);
        let store = self.store();
        let worker = self.worker();
        worker.settle(&*store, job, Settlement::Failed, last).await;
    }

    /// A running job is to be tried again at a moment far away.
    async fn defer(&self, job: &JobName) {
        let due_ms = now_ms() + 3_600_000;
        let last = Message::new(now_ms(), Level::Error, "not now");
        let (store, what) = (self.store(), Settlement::Deferred { due_ms });
        self.worker().settle(&*store, job, what, last).await;
    }

    /// Somebody cancels a job that waits or runs.
    async fn cancel(&self, name: &JobName, by: &str) {
        let store = self.store();
        if self.worker().has(name) {
            let last = Message::cancelled(now_ms(), by);
            let worker = self.worker();
            worker.settle(&*store, name, Settlement::Failed, last).await;
        } else {
            let job = job(&*store, name).await;
            assert!(store.cancel(&job, &By::operator(by)).await.unwrap());
        }
    }

    /// How many calls of the disk, or statements, there have been, beside what the engine does on its own.
    fn calls(&self) -> u64;
}

/// What workers do, with the leases that they have.
#[derive(Default)]
struct Worker(Mutex<HashMap<JobName, (Lease, Workspace, i64)>>);

impl Worker {
    async fn run(&self, store: &dyn Store, job: &JobName) {
        let interface = detail(store, job).await.summary.interface.unwrap();
        match store.claim(&interface, job, true).await.unwrap() {
            Claimed::Taken(lease, workspace) => {
                let run = (lease, *workspace, now_ms());
                self.0.lock().insert(job.clone(), run);
            }
            none @ (Claimed::Busy | Claimed::Gone) => panic!("{job} cannot be claimed: {none:?}"),
        }
    }

    fn has(&self, job: &JobName) -> bool {
        self.0.lock().contains_key(job)
    }

    /// Leaves files as results of a running job.
    fn leave(&self, job: &JobName, files: &[(&str, &[u8])]) {
        let runs = self.0.lock();
        for (name, bytes) in files {
            std::fs::write(runs[job].1.dir.join("results").join(name), bytes).unwrap();
        }
    }

    /// What the processor of a running job says.
    fn say(&self, job: &JobName, line: &str) {
        let runs = self.0.lock();
        writeln!(&runs[job].1.output, "{line}").unwrap();
    }

    async fn settle(&self, store: &dyn Store, job: &JobName, what: Settlement, last: Message) {
        let run = self.0.lock().remove(job);
        let (lease, _, started_ms) = run.unwrap();
        let log = RunLog {
            started_ms,
            cancelled_by: None,
            messages: vec![last],
        };
        let settled = store.settle(&lease, what, Some(log)).await.unwrap();
        assert_eq!(settled, Settled::Done { emitted: vec![] });
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn plain() -> InterfaceName {
    "plain".parse().unwrap()
}

fn other() -> InterfaceName {
    "other".parse().unwrap()
}

fn mail() -> InterfaceName {
    "mail".parse().unwrap()
}

fn nobody() -> UserName {
    "nobody".parse().unwrap()
}

/// The receivers of events that every bench has: one wants all, the other what becomes of [`other`]'s jobs.
fn receivers() -> Vec<Wants> {
    let every = Wants {
        receiver: "every".into(),
        on: EventKind::ALL.into(),
        interfaces: [].into(),
    };
    let some = Wants {
        receiver: "some".into(),
        on: [EventKind::JobDone, EventKind::ArrivalMissing].into(),
        interfaces: [other()].into(),
    };
    vec![every, some]
}

/// What a user submits.
fn of(submitter: &str) -> NewJob {
    NewJob {
        dialect: "dstore".into(),
        submitter: submitter.into(),
        ..NewJob::default()
    }
}

fn a_name() -> NewName {
    NewName {
        kind: Kind::Xml,
        reference: None,
    }
}

/// A document that was uploaded, as its bytes come.
async fn sealed(store: &dyn Store, pieces: &[&[u8]]) -> Sealed {
    let mut upload = store.begin(a_name());
    for piece in pieces {
        upload.append(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    upload.seal().await.unwrap()
}

/// A job that waits in an interface.
async fn accept(store: &dyn Store, to: &InterfaceName, user: &str, body: &[u8]) -> Stored {
    let sealed = sealed(store, &[body]).await;
    match store.commit(sealed, of(user), to, None).await.unwrap() {
        Receipt::New(stored) => stored,
        receipt @ (Receipt::Same(_) | Receipt::Different) => panic!("without a key: {receipt:?}"),
    }
}

/// A job that waits for one user alone.
async fn address<B: Bench>(bench: &B, to: &UserName, from: &str) -> JobName {
    let store = bench.store();
    let job = accept(&*store, &plain(), from, b"<a/>").await.job;
    requeue(&*store, &job, &Queue::of_user(&mail(), to.clone())).await;
    job
}

fn olga() -> By {
    By::operator("olga (uid 1000)")
}

/// An operator sends a job that does not run to a queue.
async fn requeue(store: &dyn Store, name: &JobName, to: &Queue) {
    let seen = job(store, name).await;
    let there = store.requeue(&seen, to, &olga()).await.unwrap();
    assert_eq!(there.name, *name);
}

/// An operator removes a job that does not run.
async fn remove(store: &dyn Store, name: &JobName) {
    let seen = job(store, name).await;
    store.remove(&seen, &olga()).await.unwrap();
}

async fn look(store: &dyn Store, viewer: &Viewer, job: &JobName) -> Option<JobDetail> {
    let of = Of::Name(job.clone());
    store.find(viewer, of, Want::ALL).await.unwrap()
}

/// All that is known of a job that is there.
async fn detail(store: &dyn Store, job: &JobName) -> JobDetail {
    let found = look(store, &Viewer::all(), job).await;
    found.unwrap_or_else(|| panic!("{job} is not there"))
}

async fn job(store: &dyn Store, name: &JobName) -> Job {
    detail(store, name).await.summary.job
}

async fn state(store: &dyn Store, job: &JobName) -> State {
    detail(store, job).await.summary.state
}

/// Somebody to whom every interface shows the same.
fn viewer(user: &str, sight: Sight) -> Viewer {
    Viewer {
        user: user.into(),
        sight: Arc::new(move |_| sight),
        sees_astray: false,
    }
}

/// All jobs of an interface.
fn filter(interface: InterfaceName) -> Filter {
    Filter {
        interface: Some(interface),
        ..Filter::default()
    }
}

/// All that a list has, in one page.
async fn listed(store: &dyn Store, viewer: &Viewer, filter: &Filter) -> Vec<JobSummary> {
    let page = store.list(viewer, filter, None, 1000).await.unwrap();
    assert_eq!(page.next, None);
    page.jobs
}

async fn names(store: &dyn Store, viewer: &Viewer, filter: &Filter) -> Vec<JobName> {
    let jobs = listed(store, viewer, filter).await.into_iter();
    jobs.map(|shown| shown.job.name).collect()
}

/// The texts of a job's log.
fn said(detail: &JobDetail) -> Vec<&str> {
    let messages = detail.log.iter().flat_map(|log| &log.messages);
    messages.map(|message| message.text.as_str()).collect()
}

/// The document of a job that is there.
async fn open(store: &dyn Store, name: &JobName) -> Content {
    let opened = store.open(&job(store, name).await).await.unwrap();
    opened.unwrap_or_else(|| panic!("{name} cannot be opened"))
}

async fn bytes_of(content: &Content) -> Bytes {
    content.read(0..content.bytes).await.unwrap()
}

/// What a reader gives, to its end. It blocks.
fn all_of(reader: std::io::Result<Box<dyn std::io::Read + Send>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    reader.unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Bytes that are not alike anywhere, so that none can be in another's place.
fn noise(n_bytes: usize) -> Vec<u8> {
    let mut number = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number.to_le_bytes()[3]
    };
    (0..n_bytes).map(|_| next()).collect()
}

/// What calls give that are made at one moment, each by a task of its own.
async fn together<F>(calls: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let calls: Vec<F> = calls.into_iter().collect();
    let begin = Arc::new(tokio::sync::Barrier::new(calls.len()));
    let mut tasks = tokio::task::JoinSet::new();
    for call in calls {
        let begin = begin.clone();
        tasks.spawn(async move {
            begin.wait().await;
            call.await
        });
    }
    tasks.join_all().await
}

/// One test of each case, against an engine.
macro_rules! conformance {
    ($bench:ty) => {
        conformance! { $bench:
            accept {
                a_committed_job_is_seen_by_every_call
                a_document_of_another_engine_is_refused
                a_job_is_named_as_it_was_asked_for
                a_refused_document_is_kept_with_its_findings
                a_refused_document_of_no_interface_is_on_no_list
                a_restart_loses_nothing_that_was_committed
                documents_of_every_size_come_back_whole
                nothing_is_seen_before_commit
                the_record_says_what_was_told_at_commit
                uploads_of_a_day_count_whatever_becomes_of_them
            }
            events {
                a_hold_is_reported
                an_event_of_no_job_is_recorded_once
                dead_events_wait_again_when_that_is_asked
                each_end_of_a_job_is_reported
                events_outlive_a_restart_until_they_end
                failed_attempts_count_across_a_restart
                only_what_is_wanted_waits
                who_waits_hears_of_an_event
            }
            keys {
                a_key_of_a_refused_document_replays_as_refused
                a_key_of_a_schedule_makes_no_job
                a_key_outlives_its_job
                a_key_that_is_used_makes_no_schedule
                eight_commits_of_eight_documents_under_one_key_make_one_job
                eight_commits_under_one_key_make_one_job
                keys_survive_a_restart
                one_key_makes_one_job
            }
            list {
                a_list_has_each_place_that_is_asked_for
                a_list_has_each_state_that_is_asked_for
                a_list_has_those_that_are_called_so
                a_list_has_those_that_came_then_or_from_him
                a_list_has_those_that_have_failed_so
                a_list_of_an_unknown_interface_is_empty
                a_list_shows_a_viewer_what_he_sees
                a_page_begins_after_a_job_that_is_gone
                a_walk_shows_each_job_once_whatever_moves
                counts_are_those_of_the_lists
                details_keep_their_order_and_lack_what_is_gone
                the_record_is_on_a_list_that_asks_for_it
            }
            look {
                a_foreign_job_is_answered_like_an_unknown_one
                a_hold_is_seen
                a_job_is_known_as_long_as_its_log_is_there
                a_job_lies_astray_for_nobody_but_operators
                a_job_that_is_addressed_is_its_addressees
                a_viewer_sees_his_own_job_in_every_state
                a_run_is_heard_while_it_lasts
                a_sound_engine_passes_its_probe
                every_state_is_told
                half_of_a_name_is_no_name
                how_a_job_is_now_is_told_of_each_state
                nothing_is_read_that_was_not_asked_for
                only_those_that_wait_are_still_waiting
                the_engine_is_healthy_at_first
                what_calls_have_made_has_no_flaw
                what_is_not_ready_says_why
                what_remains_of_a_job_outlives_it
            }
            operators {
                a_batch_has_an_outcome_for_each_of_its_jobs
                a_batch_outlives_a_restart
                a_hold_ends_when_its_moment_has_come
                a_hold_says_by_whom_since_when_and_why
                a_job_that_runs_is_neither_sent_nor_removed
                a_job_that_was_never_one_is_not_found
                a_refused_document_is_validated_again
                a_removed_job_is_gone_for_ever_but_its_log
                a_schedule_is_reset_and_removed_by_one
                a_sent_job_begins_anew_from_every_state
                what_is_audited_is_numbered_and_stays
                a_submitter_is_forgotten_once_nothing_of_his_waits
                an_unknown_interface_is_told
                each_act_outlives_a_restart
                it_is_known_for_whom_a_job_is
                it_is_known_how_jobs_failed_last
                it_is_known_how_each_attempt_ended
                what_came_and_ended_is_counted
                errors_are_grouped_as_a_list_would_have_them
                of_eight_who_do_the_same_one_does_it
                what_moved_meanwhile_is_left_alone
            }
            out {
                eight_fetches_at_once_are_one
                fetched_ends_a_job_that_waits
                fetched_leaves_every_other_job_alone
                the_log_of_each_end_says_how_it_ended
            }
            read {
                a_job_that_is_gone_cannot_be_opened
                an_open_document_stays_as_it_was
                parts_of_a_document_can_be_read
                results_are_those_of_a_job_that_is_done
                what_is_no_result_cannot_be_opened_as_one
            }
            runs {
                a_batch_of_cancels_leaves_alone_what_runs
                a_cancelled_job_never_runs
                a_claim_and_a_cancel_have_one_outcome
                a_held_interface_gives_nothing
                a_job_of_another_interface_is_not_given
                a_job_that_runs_is_not_cancelled_by_the_store
                a_job_whose_runs_are_cut_off_fails_at_last
                a_lease_of_another_store_settles_nothing
                a_lease_says_what_its_run_needs
                a_lease_that_is_dropped_gives_its_job_back
                a_restart_after_each_call_of_a_run_keeps_what_it_did
                a_restart_in_a_run_counts_it_and_loses_nothing
                a_run_that_is_not_done_publishes_nothing
                a_run_that_was_left_behind_can_be_taken_up
                a_run_whose_lease_is_lost_is_left_behind
                a_take_counts_its_attempt_unless_it_is_given_back
                eight_claims_of_a_job_give_one_lease
                settling_again_is_answered_as_before
                what_a_run_makes_is_there_with_its_end
                what_cannot_be_published_fails_its_job
            }
            schedules {
                a_moment_has_one_job
                a_moment_has_one_job_over_a_restart
                a_removed_schedule_is_gone
                a_reset_is_asked_for_until_it_is_made
                a_saved_schedule_is_there
                a_schedule_costs_what_an_unknown_one_costs
                eight_fires_of_a_moment_make_one_job
                progress_is_kept
            }
        }
    };
    ($bench:ty: $($part:ident { $($case:ident)* })*) => {
        $(mod $part {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if !<$bench as crate::store::conformance::Bench>::is_there() {
                        return;
                    }
                    crate::store::conformance::$part::$case::<$bench>().await;
                }
            )*
        })*
    };
}
use conformance;
