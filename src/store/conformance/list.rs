//! Lists: pages of the jobs of an interface.

use super::{accept::refused, *};
use crate::domain::{Place, PlaceKind, Reference};
use crate::store::InterfaceCounts;
use std::collections::BTreeSet;

/// A job in every state in which one can be, oldest first.
async fn one_of_each<B: Bench>(bench: &B) -> Vec<(JobName, State)> {
    let store = bench.store();
    let mut jobs = Vec::new();
    for _ in 0..7 {
        jobs.push(accept(&*store, &plain(), "ada", b"<a/>").await.job);
    }
    for job in &jobs[1..6] {
        bench.run(job).await;
    }
    bench.finish(&jobs[2], &[], Map::new()).await;
    bench.fail(&jobs[3], "no paper").await;
    bench.cancel(&jobs[4], "olga").await;
    bench.defer(&jobs[5]).await;
    bench.cancel(&jobs[6], "olga").await;
    let states = [
        State::Waiting,
        State::Running,
        State::Done,
        State::Failed,
        State::Cancelled,
        State::Waiting,
        State::Cancelled,
    ];
    jobs.into_iter().zip(states).collect()
}

pub(super) async fn a_list_has_each_state_that_is_asked_for<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = one_of_each(&bench).await;
    let shown = listed(&*store, &Viewer::all(), &filter(plain())).await;
    let told = shown.iter().map(|one| (one.job.name.clone(), one.state));
    assert_eq!(told.collect::<Vec<_>>(), jobs);
    let deleted: Vec<bool> = shown.iter().map(|one| one.is_deleted).collect();
    assert_eq!(deleted, [false, false, false, false, false, false, true]);
    assert!(shown.iter().all(|one| one.interface == Some(plain())));
    let wanted = [
        vec![State::Waiting],
        vec![State::Running],
        vec![State::Done],
        vec![State::Failed],
        vec![State::Cancelled],
        vec![State::Done, State::Waiting],
        vec![],
    ];
    for states in wanted {
        for at in [&[][..], &PlaceKind::ACTIVE] {
            for newest_first in [false, true] {
                let filter = Filter {
                    at: at.to_vec(),
                    states: states.clone(),
                    newest_first,
                    ..filter(plain())
                };
                let is_meant = |state: State| {
                    (states.is_empty() || states.contains(&state))
                        && (at.is_empty() || !state.is_settled())
                };
                let meant = jobs.iter().filter(|(_, state)| is_meant(*state));
                let mut meant: Vec<JobName> = meant.map(|(job, _)| job.clone()).collect();
                if newest_first {
                    meant.reverse();
                }
                assert_eq!(
                    names(&*store, &Viewer::all(), &filter).await,
                    meant,
                    "{filter:?}"
                );
            }
        }
    }
}

pub(super) async fn a_list_has_each_place_that_is_asked_for<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = one_of_each(&bench).await;
    let mut all: Vec<JobName> = jobs.into_iter().map(|(job, _)| job).collect();
    // Of another interface, and of none.
    all.push(accept(&*store, &other(), "ada", b"<a/>").await.job);
    all.push(refused(&*store, None).await.job);
    let mut places = Vec::new();
    for job in &all {
        places.push(self::job(&*store, job).await.place);
    }
    let (queue, bak, failed) = (PlaceKind::Queue, PlaceKind::Bak, PlaceKind::JobErrors);
    for at in [
        vec![],
        vec![PlaceKind::Refused],
        vec![PlaceKind::Work],
        vec![PlaceKind::Deferred, queue],
        vec![bak],
        vec![failed],
        vec![failed, queue],
    ] {
        for interface in [None, Some(plain())] {
            let filter = Filter {
                interface: interface.clone(),
                at: at.clone(),
                ..filter(plain())
            };
            let is_of = |n: usize| interface.is_none() || n < 7;
            let is_at = |place: &Place| at.is_empty() || at.contains(&place.kind());
            let meant = (0..all.len()).filter(|n| is_of(*n) && is_at(&places[*n]));
            let meant: Vec<JobName> = meant.map(|n| all[n].clone()).collect();
            assert_eq!(
                names(&*store, &Viewer::all(), &filter).await,
                meant,
                "{filter:?}"
            );
        }
    }
    // Of all interfaces, too, a viewer sees his own.
    let every = Filter {
        interface: None,
        ..filter(plain())
    };
    assert_eq!(
        names(&*store, &viewer("ada", Sight::Own), &every).await,
        all
    );
    assert_eq!(names(&*store, &viewer("eve", Sight::Own), &every).await, []);
    assert_eq!(
        names(&*store, &viewer("ada", Sight::Nothing), &every).await,
        []
    );
}

pub(super) async fn counts_are_those_of_the_lists<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let none = store.counts().await.unwrap();
    assert_eq!(
        none.of.keys().collect::<Vec<_>>(),
        [&mail(), &other(), &plain()]
    );
    assert!(none.of.values().all(|of| *of == InterfaceCounts::default()));
    assert_eq!((none.failed, none.refused), (0, 0));
    let jobs = one_of_each(&bench).await;
    let young = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    refused(&*store, None).await;
    address(&bench, &"bob".parse().unwrap(), "ada").await;
    {
        let counts = store.counts().await.unwrap();
        let one = |n: usize| [jobs[n].0.id()].into_iter().collect();
        let of_plain = InterfaceCounts {
            queued: [young.id(), jobs[0].0.id()].into_iter().collect(),
            running: one(1),
            deferred: one(5),
            done: one(2),
        };
        assert_eq!(counts.of[&plain()], of_plain);
        assert_eq!(
            (
                counts.of[&mail()].queued.jobs,
                counts.of[&other()].queued.jobs
            ),
            (1, 0)
        );
        assert_eq!((counts.failed, counts.refused), (3, 1));
    }
    // The older one goes, and the count with it.
    bench.cancel(&jobs[0].0, "olga").await;
    let counts = store.counts().await.unwrap();
    assert_eq!(
        counts.of[&plain()].queued,
        [young.id()].into_iter().collect()
    );
    assert_eq!(counts.failed, 4);
}

/// What a walk does between two pages.
struct Moving<'b, B> {
    bench: &'b B,
    /// Not for ever, else a walk towards the newest has no end.
    n_to_come: usize,
    /// They wait, and are taken from the end.
    to_fetch: Vec<JobName>,
    to_cancel: Vec<JobName>,
    to_remove: Vec<JobName>,
    /// These move, and stay on the list all the while.
    to_run: Vec<JobName>,
}

impl<B: Bench> Moving<'_, B> {
    async fn go_on(&mut self) {
        let store = self.bench.store();
        if self.n_to_come > 0 {
            self.n_to_come -= 1;
            accept(&*store, &plain(), "ada", b"<new/>").await;
        }
        if let Some(name) = self.to_fetch.pop() {
            let job = job(&*store, &name).await;
            store.fetched(&job, &By::operator("ada")).await.unwrap();
        }
        if let Some(job) = self.to_cancel.pop() {
            self.bench.cancel(&job, "olga").await;
        }
        if let Some(job) = self.to_remove.pop() {
            remove(&*store, &job).await;
        }
        if let Some(job) = self.to_run.pop() {
            self.bench.run(&job).await;
        }
    }
}

/// All pages of a list, with moves between them.
async fn walk<B: Bench>(filter: &Filter, limit: usize, moving: &mut Moving<'_, B>) -> Vec<JobName> {
    let (store, all) = (moving.bench.store(), Viewer::all());
    let (mut shown, mut after) = (Vec::new(), None);
    for _ in 0..100 {
        let page = store.list(&all, filter, after, limit).await.unwrap();
        assert!(page.jobs.len() <= limit);
        shown.extend(page.jobs.into_iter().map(|one| one.job.name));
        after = page.next;
        if after.is_none() {
            return shown;
        }
        moving.go_on().await;
    }
    panic!("the walk has no end");
}

pub(super) async fn a_walk_shows_each_job_once_whatever_moves<B: Bench>() {
    let active = &PlaceKind::ACTIVE[..];
    for (limit, at) in [(1, &[][..]), (2, &[]), (2, active), (7, &[])] {
        for newest_first in [false, true] {
            let filter = Filter {
                at: at.to_vec(),
                newest_first,
                ..filter(plain())
            };
            walk_in_pages::<B>(&filter, limit).await;
        }
    }
}

async fn walk_in_pages<B: Bench>(filter: &Filter, limit: usize) {
    let bench = B::new().await;
    let store = bench.store();
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(accept(&*store, &plain(), "ada", b"<a/>").await.job);
    }
    let every = |n: usize| {
        let jobs = all.iter().skip(n).step_by(5);
        jobs.cloned().collect::<Vec<JobName>>()
    };
    let mut moving = Moving {
        bench: &bench,
        n_to_come: 10,
        to_fetch: every(0),
        to_cancel: every(1),
        to_remove: every(2),
        to_run: every(3),
    };
    let shown = walk(filter, limit, &mut moving).await;
    let what = format!("{limit} {filter:?}");
    match filter.newest_first {
        false => assert!(shown.is_sorted_by(|one, next| one < next), "{what}"),
        true => assert!(shown.is_sorted_by(|one, next| one > next), "{what}"),
    }
    // Of those that end meanwhile a list of active jobs says nothing.
    let there = match filter.at.is_empty() {
        true => [every(0), every(1), every(3), every(4)].concat(),
        false => [every(3), every(4)].concat(),
    };
    let shown: BTreeSet<JobName> = shown.into_iter().collect();
    let missing: Vec<_> = there.iter().filter(|job| !shown.contains(*job)).collect();
    assert!(missing.is_empty(), "{what} lacks {missing:?}");
}

pub(super) async fn a_page_begins_after_a_job_that_is_gone<B: Bench>() {
    let bench = B::new().await;
    let (store, all) = (bench.store(), Viewer::all());
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(accept(&*store, &plain(), "ada", b"<a/>").await.job);
    }
    remove(&*store, &jobs[1]).await;
    for (newest_first, meant) in [
        (false, [&jobs[2], &jobs[3]].to_vec()),
        (true, vec![&jobs[0]]),
    ] {
        let filter = Filter {
            newest_first,
            ..filter(plain())
        };
        let page = store.list(&all, &filter, Some(jobs[1].clone()), 9).await;
        let page = page.unwrap();
        let names: Vec<&JobName> = page.jobs.iter().map(|one| &one.job.name).collect();
        assert_eq!((names, page.next), (meant, None));
    }
}

pub(super) async fn a_list_of_an_unknown_interface_is_empty<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    accept(&*store, &plain(), "ada", b"<a/>").await;
    let unknown: InterfaceName = "unknown".parse().unwrap();
    for at in [&[][..], &PlaceKind::ACTIVE] {
        let filter = Filter {
            at: at.to_vec(),
            ..filter(unknown.clone())
        };
        assert_eq!(listed(&*store, &Viewer::all(), &filter).await, []);
    }
    assert_eq!(store.waiting(&unknown), 0);
    assert!(!store.is_held(&unknown).await.unwrap() && !store.is_addressed(&unknown));
}

pub(super) async fn a_list_shows_a_viewer_what_he_sees<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut mine = Vec::new();
    for user in ["ada", "eve", "ada", "eve", "ada"] {
        let job = accept(&*store, &plain(), user, b"<a/>").await.job;
        if user == "ada" {
            mine.push(job);
        }
    }
    bench.run(&mine[0]).await;
    bench.fail(&mine[0], "no paper").await;
    bench.run(&mine[1]).await;
    let all = filter(plain());
    assert_eq!(names(&*store, &viewer("ada", Sight::Own), &all).await, mine);
    assert_eq!(names(&*store, &viewer("bob", Sight::Own), &all).await, []);
    assert_eq!(
        names(&*store, &viewer("ada", Sight::Nothing), &all).await,
        []
    );
    assert_eq!(
        names(&*store, &viewer("bob", Sight::All), &all).await.len(),
        5
    );
    // Pages are of what he sees, so their size tells nothing of the others.
    let own = viewer("ada", Sight::Own);
    let page = store.list(&own, &all, None, 2).await.unwrap();
    let (shown, next): (Vec<_>, _) = (
        page.jobs.into_iter().map(|one| one.job.name).collect(),
        page.next,
    );
    assert_eq!((shown, &next), (mine[..2].to_vec(), &Some(mine[1].clone())));
    let page = store.list(&own, &all, next, 2).await.unwrap();
    assert_eq!((page.jobs.len(), page.next), (1, None));
}

pub(super) async fn the_record_is_on_a_list_that_asks_for_it<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    one_of_each(&bench).await;
    let all = Viewer::all();
    for shown in listed(&*store, &all, &filter(plain())).await {
        assert_eq!(shown.record, None);
    }
    let filter = Filter {
        want_record: true,
        ..filter(plain())
    };
    for shown in listed(&*store, &all, &filter).await {
        assert_eq!(shown.owner.as_deref(), Some("ada"));
        let of = Of::Name(shown.job.name.clone());
        let found = store.find(&all, of, Want::RECORD).await.unwrap().unwrap();
        assert_eq!(shown, found.summary);
        assert_eq!(shown.record.unwrap().submitter.as_deref(), Some("ada"));
    }
}

pub(super) async fn details_keep_their_order_and_lack_what_is_gone<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = one_of_each(&bench).await;
    let shown = listed(&*store, &Viewer::all(), &filter(plain())).await;
    let mut shown: Vec<Job> = shown.into_iter().map(|one| one.job).collect();
    let moved = &jobs[0].0;
    bench.run(moved).await;
    bench.finish(moved, &[], Map::new()).await;
    remove(&*store, &jobs[3].0).await;
    shown.swap(0, 5);
    for want in [Want::PLACE, Want::RECORD, Want::ALL] {
        let details = store.details(shown.clone(), want).await.unwrap();
        let mut meant = Vec::new();
        for one in shown.iter().filter(|job| job.name != jobs[3].0) {
            let of = Of::Name(one.name.clone());
            meant.extend(store.find(&Viewer::all(), of, want).await.unwrap());
        }
        assert_eq!(details, meant);
        assert_eq!(details.len(), 6);
    }
    assert_eq!(store.details(Vec::new(), Want::ALL).await.unwrap(), []);
}

/// A job that was tried once, and then fails with this error.
async fn failing<B: Bench>(bench: &B, why: &str) -> JobName {
    let name = accept(&*bench.store(), &plain(), "ada", b"<a/>").await.job;
    bench.run(&name).await;
    bench.fail(&name, why).await;
    name
}

pub(super) async fn a_list_has_those_that_have_failed_so<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let jobs = one_of_each(&bench).await;
    let at = |n: usize| jobs[n].0.clone();
    let wrong = refused(&*store, Some(&plain())).await.job;
    let alike = failing(&bench, "no paper in 12").await;
    let other_number = failing(&bench, "no paper in 7").await;
    let of = |error: Option<&str>, fingerprint: Option<String>| Filter {
        error: error.map(str::to_owned),
        fingerprint,
        want_failure: true,
        ..filter(plain())
    };
    let all = Viewer::all();
    let with = async |error: &str| names(&*store, &all, &of(Some(error), None)).await;
    assert_eq!(
        with("No PAPER").await,
        [at(3), alike.clone(), other_number.clone()]
    );
    assert_eq!(with("not now").await, [at(5)], "it is deferred");
    assert_eq!(with("no end of").await, std::slice::from_ref(&wrong));
    // Whoever has cancelled it is no error.
    assert_eq!(with("olga").await, []);
    assert_eq!(with("no ink").await, []);
    let shown = listed(&*store, &all, &of(Some("no paper in"), None)).await;
    let failures: Vec<_> = shown
        .iter()
        .map(|one| one.failure.clone().unwrap())
        .collect();
    let reasons: Vec<_> = failures.iter().map(|one| one.reason.as_deref()).collect();
    assert_eq!(reasons, [Some("no paper in 12"), Some("no paper in 7")]);
    assert!(
        failures.iter().all(|one| one.attempt == Some(1)),
        "{failures:?}"
    );
    // They differ in a number only.
    let fingerprint = failures[0].fingerprint.clone();
    assert_eq!(failures[1].fingerprint, fingerprint);
    let found = names(&*store, &all, &of(None, fingerprint.clone())).await;
    assert_eq!(found, [alike.clone(), other_number.clone()]);
    assert_eq!(
        names(&*store, &all, &of(None, Some("0".repeat(16)))).await,
        []
    );
    // Pages of one, and only what a viewer sees.
    let filter = of(None, fingerprint.clone());
    let page = store.list(&all, &filter, None, 1).await.unwrap();
    assert_eq!((page.jobs.len(), &page.next), (1, &Some(alike.clone())));
    let page = store.list(&all, &filter, page.next, 1).await.unwrap();
    assert_eq!((&page.jobs[0].job.name, &page.next), (&other_number, &None));
    assert_eq!(
        names(&*store, &viewer("eve", Sight::Own), &filter).await,
        []
    );
    // What was sent again has not failed, and what is asked for alone is shown.
    requeue(&*store, &alike, &plain().into()).await;
    assert_eq!(
        names(&*store, &all, &filter).await,
        std::slice::from_ref(&other_number)
    );
    let every = listed(&*store, &all, &super::filter(plain())).await;
    assert!(every.iter().all(|one| one.failure.is_none()));
    drop(store);
    let bench = bench.restart().await;
    assert_eq!(names(&*bench.store(), &all, &filter).await, [other_number]);
}

/// A job with a reference, which was sent in other letters.
async fn referred(store: &dyn Store, user: &str, as_sent: &str) -> JobName {
    let mut upload = store.begin(NewName {
        kind: Kind::Xml,
        reference: Reference::of_text(as_sent),
    });
    upload.append("<a/>".into()).await.unwrap();
    let job = NewJob {
        reference_as_sent: Some(as_sent.into()),
        ..of(user)
    };
    let sealed = upload.seal().await.unwrap();
    match store.commit(sealed, job, &plain(), None).await.unwrap() {
        Receipt::New(stored) => stored.job,
        receipt @ (Receipt::Same(_) | Receipt::Different) => panic!("without a key: {receipt:?}"),
    }
}

pub(super) async fn a_list_has_those_that_are_called_so<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let order = referred(&*store, "ada", "Order \"10\" grün").await;
    let other = referred(&*store, "bob", "order 11").await;
    let plain_one = accept(&*store, &plain(), "order", b"<a/>").await.job;
    bench.run(&other).await;
    bench.finish(&other, &[], Map::new()).await;
    let all = Viewer::all();
    let with = |text: &str, submitter: Option<&str>| Filter {
        interface: None,
        text: Some(text.into()),
        submitter: submitter.map(str::to_owned),
        ..Filter::default()
    };
    for newest_first in [false, true] {
        let found = async |text: &str, submitter| {
            let filter = Filter {
                newest_first,
                ..with(text, submitter)
            };
            let mut found = names(&*store, &all, &filter).await;
            if newest_first {
                found.reverse();
            }
            found
        };
        let both = [order.clone(), other.clone()];
        assert_eq!(found("ORDER", None).await, both);
        assert_eq!(found("order", Some("bob")).await, both[1..]);
        assert_eq!(found("order", Some("eve")).await, []);
        assert_eq!(
            found("\"10\" GRün", None).await,
            both[..1],
            "as it was sent"
        );
        assert_eq!(found("order-11.x", None).await, both[1..], "its name");
        assert_eq!(found("order 1\\", None).await, []);
        assert_eq!(found("order 12", None).await, []);
        let stamp = &plain_one.to_string()[..8];
        assert_eq!(found(stamp, None).await.len(), 3);
        assert_eq!(found("", None).await.len(), 3);
    }
    // Pages, and only what a viewer sees.
    let page = store.list(&all, &with("order", None), None, 1).await;
    let page = page.unwrap();
    assert_eq!((page.jobs.len(), &page.next), (1, &Some(order.clone())));
    let of_bob = viewer("bob", Sight::Own);
    assert_eq!(
        names(&*store, &of_bob, &with("order", None)).await,
        std::slice::from_ref(&other)
    );
    let done = Filter {
        at: vec![PlaceKind::Bak],
        ..with("order", None)
    };
    assert_eq!(
        names(&*store, &all, &done).await,
        std::slice::from_ref(&other)
    );
    drop(store);
    let bench = bench.restart().await;
    let found = names(&*bench.store(), &all, &with("order", None)).await;
    assert_eq!(found, [order, other]);
}

pub(super) async fn a_list_has_those_that_came_then_or_from_him<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    for user in ["ada", "bob", "ada"] {
        jobs.push(accept(&*store, &plain(), user, b"<a/>").await.job);
    }
    bench.run(&jobs[2]).await;
    bench.finish(&jobs[2], &[], Map::new()).await;
    let all = Viewer::all();
    let of = |user: &str| Filter {
        submitter: Some(user.into()),
        ..filter(plain())
    };
    assert_eq!(
        names(&*store, &all, &of("ada")).await,
        [jobs[0].clone(), jobs[2].clone()]
    );
    assert_eq!(names(&*store, &all, &of("bob")).await, [jobs[1].clone()]);
    assert_eq!(names(&*store, &all, &of("eve")).await, []);
    let ms = |n: usize| jobs[n].id().unix_ms();
    let between = |since_ms, before_ms| Filter {
        since_ms,
        before_ms,
        ..filter(plain())
    };
    let meant = |since: Option<i64>, before: Option<i64>| {
        let is_meant = |name: &&JobName| {
            let ms = name.id().unix_ms();
            since.is_none_or(|since| ms >= since) && before.is_none_or(|before| ms < before)
        };
        jobs.iter().filter(is_meant).cloned().collect::<Vec<_>>()
    };
    let day = 24 * 60 * 60 * 1000;
    for (since, before) in [
        (None, None),
        (Some(ms(0)), None),
        (Some(ms(2)), None),
        (Some(ms(2) + day), None),
        (None, Some(ms(2))),
        (None, Some(ms(0) - day)),
        (Some(ms(0)), Some(ms(2) + 1)),
    ] {
        let found = names(&*store, &all, &between(since, before)).await;
        assert_eq!(found, meant(since, before), "{since:?} {before:?}");
    }
}
