//! Reading documents and results.

use super::*;

pub(super) async fn parts_of_a_document_can_be_read<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for n_bytes in [0, 1, 1000, 200_000] {
        let body = noise(n_bytes);
        let name = accept(&*store, &plain(), "ada", &body).await.job;
        let content = open(&*store, &name).await;
        let end = n_bytes as u64;
        for range in [
            0..end,
            0..0,
            end..end,
            end / 3..end / 2,
            end / 2..end,
            0..end.min(1),
        ] {
            let read = content.read(range.clone()).await.unwrap();
            let meant = &body[range.start as usize..range.end as usize];
            assert!(read == meant, "{range:?} of {n_bytes}");
        }
        let beyond = content.read(end / 2..end + 1).await;
        assert!(beyond.is_err(), "there are no such bytes");
        assert!(all_of(content.reader()) == body);
        // Two readers and reads between them have places of their own.
        let (mut one, other) = (content.reader().unwrap(), content.reader().unwrap());
        let mut first = vec![0; n_bytes / 2];
        one.read_exact(&mut first).unwrap();
        assert!(content.read(0..end).await.unwrap() == body);
        assert!(all_of(Ok(other)) == body);
        assert!(all_of(Ok(one)) == body[n_bytes / 2..]);
        assert!(first == body[..n_bytes / 2]);
    }
}

pub(super) async fn an_open_document_stays_as_it_was<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    for n_bytes in [10, 200_000] {
        let body = noise(n_bytes);
        let name = accept(&*store, &plain(), "ada", &body).await.job;
        let queued = job(&*store, &name).await;
        let content = store.open(&queued).await.unwrap().unwrap();
        let is_whole = async || {
            let copy = content.clone();
            assert!(bytes_of(&copy).await == body);
            assert!(all_of(copy.reader()) == body);
            // Who asks by an earlier place is told that it moved, or gets the same.
            let by_place = store.open(&queued).await.unwrap();
            if let Some(again) = by_place {
                assert!(bytes_of(&again).await == body);
            }
        };
        is_whole().await;
        bench.run(&name).await;
        is_whole().await;
        assert!(bytes_of(&open(&*store, &name).await).await == body);
        bench.finish(&name, &[], Map::new()).await;
        is_whole().await;
        let done = open(&*store, &name).await;
        assert!(bytes_of(&done).await == body);
        assert_eq!((done.bytes, &done.sha256), (content.bytes, &content.sha256));
        remove(&*store, &name).await;
        is_whole().await;
    }
}

pub(super) async fn a_job_that_is_gone_cannot_be_opened<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    let queued = job(&*store, &name).await;
    remove(&*store, &name).await;
    assert!(store.open(&queued).await.unwrap().is_none());
    assert!(store.open_result(&name, "a.txt").await.unwrap().is_none());
    assert_eq!(look(&*store, &Viewer::all(), &name).await, None);
    assert_eq!(store.waiting(&plain()), 0);
}

pub(super) async fn results_are_those_of_a_job_that_is_done<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
        bench.run(&name).await;
        jobs.push(name);
    }
    let large = noise(150_000);
    let files: [(&str, &[u8]); 3] = [("z.csv", &large), ("a b.txt", b"a"), ("empty", b"")];
    let variables = Map::from_iter([("pages".to_owned(), 7.into())]);
    bench.finish(&jobs[0], &files, variables.clone()).await;
    bench.finish(&jobs[1], &[], Map::new()).await;
    bench.fail(&jobs[2], "no paper").await;
    let results = detail(&*store, &jobs[0]).await.results;
    assert_eq!(results.files, ["a b.txt", "empty", "z.csv"]);
    assert_eq!(results.variables, variables);
    for (name, bytes) in files {
        let result = store.open_result(&jobs[0], name).await.unwrap().unwrap();
        assert_eq!(result.bytes, bytes.len() as u64);
        assert!(bytes_of(&result).await == bytes, "{name}");
        assert!(all_of(result.reader()) == bytes, "{name}");
    }
    for job in &jobs[1..] {
        assert_eq!(detail(&*store, job).await.results, Default::default());
        assert!(store.open_result(job, "a b.txt").await.unwrap().is_none());
    }
    // A new life has none until it is done.
    requeue(&*store, &jobs[0], &plain().into()).await;
    assert_eq!(detail(&*store, &jobs[0]).await.results, Default::default());
}

pub(super) async fn what_is_no_result_cannot_be_opened_as_one<B: Bench>() {
    let bench = B::new().await;
    let store = bench.store();
    let name = accept(&*store, &plain(), "ada", b"<a/>").await.job;
    bench.run(&name).await;
    let made: [(&str, &[u8]); 1] = [("a.txt", b"a")];
    bench.finish(&name, &made, Map::new()).await;
    let document = format!("../../../bak/plain/{}/{name}", name.day());
    let around = format!("../{name}/a.txt");
    let mut wrong = Vec::new();
    for no_name in [
        "b.txt",
        "",
        ".",
        "..",
        "./a.txt",
        "a.txt/",
        "/etc/hostname",
        &around,
        &document,
    ] {
        // Not a fault of the engine's either: there is no such file.
        match store.open_result(&name, no_name).await {
            Ok(None) => {}
            opened => wrong.push((no_name, opened)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
