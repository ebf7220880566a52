//! Idempotency keys: of one key there is one job, or schedule, or refused document.

use super::{schedules::schedule, *};
use crate::{
    domain::joblog::{Level, Message},
    store::{Key, Keyed, Saved},
};

fn key() -> Key {
    Key::new("ada", "1")
}

async fn commit(store: &dyn Store, body: &[u8], key: &Key) -> Receipt {
    let sealed = sealed(store, &[body]).await;
    let (job, to) = (of("ada"), plain());
    store.commit(sealed, job, &to, Some(key)).await.unwrap()
}

async fn refuse(store: &dyn Store, body: &[u8], key: &Key) -> Receipt {
    let sealed = sealed(store, &[body]).await;
    let findings = vec![Message::new(1, Level::Error, "not in order")];
    let (job, to) = (of("ada"), plain());
    let refused = store.refuse(sealed, job, Some(&to), findings, Some(key));
    refused.await.unwrap()
}

fn new(receipt: Receipt) -> Stored {
    match receipt {
        Receipt::New(stored) => stored,
        Receipt::Same(_) | Receipt::Different => panic!("not new: {receipt:?}"),
    }
}

/// What a key says of a job that it made.
fn keyed(stored: &Stored, refused: bool) -> Keyed {
    Keyed {
        job: stored.job.clone(),
        interface: Some(plain()),
        sha256: stored.sha256.clone(),
        bytes: stored.bytes,
        refused,
    }
}

async fn jobs(store: &dyn Store) -> Vec<JobName> {
    names(store, &Viewer::all(), &filter(plain())).await
}

pub(super) async fn one_key_makes_one_job<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for (n, n_bytes) in [4, 100_000].into_iter().enumerate() {
        let key = Key::new("ada", &n.to_string());
        let (body, another) = (noise(n_bytes), noise(n_bytes + 1));
        assert_eq!(store.find_key(&key).await.unwrap(), None);
        let first = new(commit(&*store, &body, &key).await);
        let there = jobs(&*store).await;
        let keyed = keyed(&first, false);
        assert_eq!(store.find_key(&key).await.unwrap().as_ref(), Some(&keyed));
        for _ in 0..2 {
            let same = Receipt::Same(keyed.clone());
            assert_eq!(commit(&*store, &body, &key).await, same);
            assert_eq!(commit(&*store, &another, &key).await, Receipt::Different);
            assert_eq!(refuse(&*store, &another, &key).await, Receipt::Different);
        }
        assert_eq!(jobs(&*store).await, there);
        // The same of another user is another key.
        let theirs = new(commit(&*store, &body, &Key::new("eve", &n.to_string())).await);
        assert_ne!(theirs.job, first.job);
    }
}

pub(super) async fn a_key_outlives_its_job<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let first = new(commit(&*store, b"<a/>", &key()).await);
    let same = Receipt::Same(keyed(&first, false));
    bench.run(&first.job).await;
    assert_eq!(commit(&*store, b"<a/>", &key()).await, same);
    bench.finish(&first.job, &[], Map::new()).await;
    assert_eq!(commit(&*store, b"<a/>", &key()).await, same);
    remove(&*store, &first.job).await;
    assert_eq!(commit(&*store, b"<a/>", &key()).await, same);
    assert_eq!(commit(&*store, b"<b/>", &key()).await, Receipt::Different);
    assert_eq!(jobs(&*store).await, []);
}

/// What comes of eight commits at one moment.
async fn commit_eight(store: &Arc<dyn Store>, bodies: [&[u8]; 8], key: &Key) -> Vec<Receipt> {
    let mut commits = Vec::new();
    for body in bodies {
        // Complete before the moment, so that all of them really meet.
        let sealed = sealed(&**store, &[body]).await;
        let (store, key) = (store.clone(), key.clone());
        commits.push(async move {
            let receipt = store.commit(sealed, of("ada"), &plain(), Some(&key)).await;
            receipt.unwrap()
        });
    }
    together(commits).await
}

pub(super) async fn eight_commits_under_one_key_make_one_job<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for (n, n_bytes) in [4, 4, 4, 100_000].into_iter().enumerate() {
        let body = noise(n_bytes);
        let key = Key::new("ada", &n.to_string());
        let receipts = commit_eight(&store, [&body; 8], &key).await;
        let (made, others): (Vec<_>, Vec<_>) =
            (receipts.into_iter()).partition(|receipt| matches!(receipt, Receipt::New(_)));
        assert_eq!(made.len(), 1, "{made:?} {others:?}");
        let same = Receipt::Same(keyed(&new(made[0].clone()), false));
        assert!(others.iter().all(|other| *other == same), "{others:?}");
        assert_eq!(jobs(&*store).await.len(), n + 1);
    }
}

pub(super) async fn eight_commits_of_eight_documents_under_one_key_make_one_job<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let sizes: [usize; 8] = std::array::from_fn(|n| n * 20_000);
    let bodies = sizes.map(noise);
    let receipts = commit_eight(&store, bodies.each_ref().map(Vec::as_slice), &key()).await;
    let count = |wanted: fn(&Receipt) -> bool| receipts.iter().filter(|r| wanted(r)).count();
    assert_eq!(count(|r| matches!(r, Receipt::New(_))), 1, "{receipts:?}");
    assert_eq!(count(|r| *r == Receipt::Different), 7, "{receipts:?}");
    assert_eq!(jobs(&*store).await.len(), 1);
}

pub(super) async fn a_key_of_a_refused_document_replays_as_refused<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let first = new(refuse(&*store, b"<a>", &key()).await);
    let keyed = keyed(&first, true);
    assert_eq!(store.find_key(&key()).await.unwrap().as_ref(), Some(&keyed));
    let same = Receipt::Same(keyed);
    assert_eq!(refuse(&*store, b"<a>", &key()).await, same);
    // It would be in order by now.
    assert_eq!(commit(&*store, b"<a>", &key()).await, same);
    assert_eq!(commit(&*store, b"<a/>", &key()).await, Receipt::Different);
    assert_eq!(jobs(&*store).await, [first.job]);
}

pub(super) async fn a_key_of_a_schedule_makes_no_job<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let (schedule, id) = (schedule(), store.new_schedule_id());
    let saved = store.save_schedule(id, &schedule, Some(&key())).await;
    assert_eq!(saved.unwrap(), Saved::New);
    let keyed = store.find_key(&key()).await.unwrap().unwrap();
    assert_eq!(keyed.job, JobName::new(id.get(), None, Kind::Json));
    assert_eq!(keyed.bytes, schedule.document.len() as u64);
    let again = store.new_schedule_id();
    let saved = store.save_schedule(again, &schedule, Some(&key())).await;
    assert_eq!(saved.unwrap(), Saved::Same(id));
    let mut changed = schedule.clone();
    changed.document.push(' ');
    let saved = store.save_schedule(again, &changed, Some(&key())).await;
    assert_eq!(saved.unwrap(), Saved::Different);
    assert_eq!(store.schedules().await.unwrap(), [id]);
    let receipt = commit(&*store, b"<a/>", &key()).await;
    assert_eq!(receipt, Receipt::Different);
    let receipt = commit(&*store, schedule.document.as_bytes(), &key()).await;
    assert_eq!(receipt, Receipt::Same(keyed));
    assert_eq!(jobs(&*store).await, []);
}

pub(super) async fn a_key_that_is_used_makes_no_schedule<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let schedule = schedule();
    for (n, body) in [b"<a/>", schedule.document.as_bytes()]
        .into_iter()
        .enumerate()
    {
        let key = Key::new("ada", &n.to_string());
        new(commit(&*store, body, &key).await);
        let id = store.new_schedule_id();
        let saved = store.save_schedule(id, &schedule, Some(&key)).await;
        assert_eq!(saved.unwrap(), Saved::Different);
        assert_eq!(store.schedules().await.unwrap(), []);
    }
}

pub(super) async fn keys_survive_a_restart<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let refused_key = Key::new("ada", "2");
    let schedule_key = Key::new("ada", "3");
    let made = new(commit(&*store, b"<a/>", &key()).await);
    let refused = new(refuse(&*store, b"<a>", &refused_key).await);
    let (schedule, id) = (schedule(), store.new_schedule_id());
    let saved = store
        .save_schedule(id, &schedule, Some(&schedule_key))
        .await;
    assert_eq!(saved.unwrap(), Saved::New);
    drop(store);
    let bench = bench.restart().await;
    let store = bench.store();
    let same = Receipt::Same(keyed(&made, false));
    assert_eq!(commit(&*store, b"<a/>", &key()).await, same);
    let same = Receipt::Same(keyed(&refused, true));
    assert_eq!(refuse(&*store, b"<a>", &refused_key).await, same);
    assert_eq!(commit(&*store, b"<b/>", &key()).await, Receipt::Different);
    let again = store.new_schedule_id();
    let saved = store
        .save_schedule(again, &schedule, Some(&schedule_key))
        .await;
    assert_eq!(saved.unwrap(), Saved::Same(id));
    assert_eq!(jobs(&*store).await, [made.job, refused.job]);
}
