//! The checker sees each kind of violation, and none where there is none.
//!
//! All begin with a world in which everything went well; each mistake is made in it alone.

use super::{
    checker::{Kind, check},
    document::{Lane, Traits, result_text, sha256},
    history::{Answer, Done, Fetched, History, Moment, Repeat, Run, Upload},
    tree::{Content, File, Phase, Tree},
};

const DAY: &str = "2026-11-22";

/// The number of a job is also the order in which it was uploaded.
fn job(number: usize, reference: &str) -> String {
    format!("20261122T100000.000Z-{number:05}-{reference}.xml")
}

fn plain(number: usize) -> String {
    job(number, "c1-1-n")
}

/// One job of every sort, all of it as it should be after one cut.
struct World {
    history: History,
    tree: Tree,
}

/// What is expected of a job of a sort.
struct Sort {
    number: usize,
    reference: &'static str,
    lane: Lane,
    letters: &'static str,
    place: &'static str,
    /// Exit codes of its runs.
    codes: &'static [i32],
}

const SORTS: [Sort; 9] = [
    sort(1, "c1-1-n", Lane::Plain, "", "queue/plain_in", &[]),
    sort(2, "c1-2-n", Lane::Archive, "", "bak/archive_in", &[]),
    sort(3, "c1-3-er", Lane::Least, "er", "bak/least_in", &[0]),
    sort(4, "c1-4-f", Lane::Least, "f", "joberrors", &[1]),
    sort(5, "c1-5-t", Lane::Least, "t", "bak/least_in", &[75, 0]),
    sort(6, "c1-6-n", Lane::Once, "", "bak/once_in", &[0]),
    sort(7, "c1-7-n", Lane::Ordered, "", "bak/ordered_in", &[0]),
    sort(8, "c1-8-n", Lane::Ordered, "", "bak/ordered_in", &[0]),
    sort(9, "c1-9-b", Lane::Plain, "b", "joberrors", &[]),
];

const fn sort(
    number: usize,
    reference: &'static str,
    lane: Lane,
    letters: &'static str,
    place: &'static str,
    codes: &'static [i32],
) -> Sort {
    Sort {
        number,
        reference,
        lane,
        letters,
        place,
        codes,
    }
}

impl Sort {
    fn job(&self) -> String {
        job(self.number, self.reference)
    }
}

fn at(ms: u64) -> Moment {
    Moment::default().plus_ms(ms)
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            history: History {
                round: 1,
                cuts: vec![(at(1_000_000), at(1_000_000))],
                ..History::default()
            },
            tree: Tree {
                phase: Phase::Drained,
                files: Vec::new(),
            },
        };
        for sort in &SORTS {
            world.add(sort);
        }
        let emitted = job(10, "c1-3-er-out");
        world.put_job("bak/emitted_out", &emitted, "emitted");
        world.put_log("bak/emitted_out", &emitted, None);
        world.history.fetched.push(Fetched {
            job: emitted.clone(),
            sha256: sha256(b"emitted"),
            round: 0,
            at: at(2_900),
        });
        world.told(&emitted, "bak/emitted_out");
        let done = SORTS[2].job();
        world.put(&format!("results/{DAY}/{done}/copy.xml"), "c1-3-er");
        let text = result_text("c1-3-er");
        world.put(&format!("results/{DAY}/{done}/result.json"), &text);
        world.told(&done, "bak/least_in");
        let lines = SORTS.iter().map(|sort| line(&sort.job()));
        world.put(
            &format!("records/{DAY}/accepted.jsonl"),
            &lines.collect::<String>(),
        );
        world.put(&format!("records/{DAY}/ended.jsonl"), &line(&done));
        world.put(&format!("idem/{DAY}/0a.json"), "{\"job\":\"x\"}");
        world.put("queue/plain_in/.hold", "");
        world
    }

    fn add(&mut self, sort: &Sort) {
        let (job, has) = (sort.job(), |letter| sort.letters.contains(letter));
        let sent = sort.number as u64 * 100;
        let answer = if has('b') {
            Answer::Refused { job: job.clone() }
        } else {
            Answer::Accepted {
                job: job.clone(),
                at: at(sent + 50),
            }
        };
        self.history.uploads.push(Upload {
            reference: sort.reference.into(),
            lane: sort.lane,
            traits: Traits {
                broken: has('b'),
                emits: has('e'),
                fails: has('f'),
                results: has('r'),
                retries: has('t'),
            },
            sha256: sha256(sort.reference.as_bytes()),
            emitted_sha256: sha256(b"emitted"),
            keyed: true,
            round: 0,
            sent: at(sent),
            answer: answer.clone(),
        });
        self.history.repeats.push(Repeat {
            reference: sort.reference.into(),
            before: answer,
            after: Ok(job.clone()),
        });
        for (n, code) in (1..).zip(sort.codes) {
            self.run(&job, sort.lane, n, *code);
        }
        self.put_job(sort.place, &job, sort.reference);
        if !sort.place.starts_with("queue/") {
            self.put_log(sort.place, &job, Some(sort.reference));
        }
    }

    fn run(&mut self, job: &str, lane: Lane, attempt: u32, code: i32) {
        let reference = super::history::reference_of(job).unwrap();
        self.history.runs.push(Run {
            job: job.into(),
            interface: lane.interface().into(),
            attempt,
            round: 0,
            started: at(2_000),
            end: Some((sha256(reference.as_bytes()), code)),
        });
    }

    fn told(&mut self, job: &str, place: &str) {
        self.history.done.push(Done {
            job: job.into(),
            place: place.into(),
            by: "jobstatus",
            round: 0,
            at: at(3_000),
        });
    }

    fn put(&mut self, path: &str, text: &str) {
        self.tree.files.push(File {
            path: path.into(),
            content: Some(Content {
                sha256: sha256(text.as_bytes()),
                text: text.into(),
            }),
        });
    }

    fn put_job(&mut self, place: &str, job: &str, text: &str) {
        let day = if place.starts_with("queue/") {
            String::new()
        } else {
            format!("{DAY}/")
        };
        self.put(&format!("{place}/{day}{job}"), text);
    }

    fn put_log(&mut self, place: &str, job: &str, text: Option<&str>) {
        let status = if place == "joberrors" { "error" } else { "ok" };
        let sha256 = text.map_or(String::new(), |text| {
            format!(" SHA256=\"{}\"", sha256(text.as_bytes()))
        });
        let log = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<JobLog Jobname=\"{job}\" \
             Interfacename=\"least_in\" Status=\"{status}\" Received=\"2026-11-22T10:00:00.000Z\" \
             Finished=\"2026-11-22T10:00:01.000Z\" Attempts=\"1\" Bytes=\"1\"{sha256}>\n\
             </JobLog>\n"
        );
        self.put(&format!("joblog/{DAY}/{job}.xml"), &log);
    }

    /// The files whose path contains a text.
    fn remove(&mut self, part: &str) {
        let before = self.tree.files.len();
        self.tree.files.retain(|file| !file.path.contains(part));
        assert!(self.tree.files.len() < before, "nothing is called {part}");
    }

    fn write(&mut self, part: &str, text: &str) {
        let mut files = self.tree.files.iter_mut();
        let file = files.find(|file| file.path.contains(part)).unwrap();
        file.content = Some(Content {
            sha256: sha256(text.as_bytes()),
            text: text.into(),
        });
    }

    fn moved(&mut self, from: &str, to: &str) {
        let mut files = self.tree.files.iter_mut();
        let file = files.find(|file| file.path == from).unwrap();
        file.path = to.into();
    }

    fn upload(&mut self, reference: &str) -> &mut Upload {
        let mut uploads = self.history.uploads.iter_mut();
        uploads.find(|u| u.reference == reference).unwrap()
    }

    /// The kinds that are found, each once.
    fn found(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = check(&self.history, &self.tree)
            .into_iter()
            .map(|violation| violation.kind)
            .collect();
        kinds.dedup();
        kinds
    }
}

fn line(job: &str) -> String {
    format!("{{\"job\":\"{job}\"}}\n")
}

/// What is found after a change of the good world.
fn after(change: impl FnOnce(&mut World)) -> Vec<Kind> {
    let mut world = World::new();
    change(&mut world);
    world.found()
}

#[test]
fn a_good_world_has_no_violations() {
    let found = check(&World::new().history, &World::new().tree);
    assert_eq!(found, []);
    let unchanged = after(|world| {
        for file in &mut world.tree.files {
            file.content = None;
        }
    });
    assert_eq!(unchanged, [], "files that are as they were");
}

#[test]
fn what_was_acknowledged_and_is_gone_is_lost() {
    assert_eq!(
        after(|world| world.remove("queue/plain_in/2")),
        [Kind::Lost]
    );
    let refused = after(|world| world.remove("c1-9-b"));
    assert_eq!(refused, [Kind::Lost], "refusals are promises, too");
    let unanswered = after(|world| {
        world.remove("queue/plain_in/2");
        world.upload("c1-1-n").answer = Answer::None;
    });
    assert_eq!(unanswered, [], "nobody was told of it");
}

#[test]
fn each_job_that_was_acknowledged_has_one_line_that_is_whole() {
    let others = |world: &mut World| {
        let lines = SORTS[1..].iter().map(|sort| line(&sort.job()));
        world.write("accepted.jsonl", &lines.collect::<String>());
    };
    assert_eq!(after(others), [Kind::NoLine]);
    let twice = after(|world| {
        let lines = SORTS.iter().map(|sort| line(&sort.job()));
        world.write(
            "accepted.jsonl",
            &(lines.collect::<String>() + &line(&plain(1))),
        );
    });
    assert_eq!(twice, [Kind::NoLine]);
    for torn in ["{\"job\":\"x", "x\n", "{}\n"] {
        assert_eq!(
            after(|world| world.write("ended.jsonl", torn)),
            [Kind::Torn]
        );
    }
}

#[test]
fn one_job_in_two_places_is_doubled() {
    let name = plain(1);
    let two = |place: &'static str| {
        let name = name.clone();
        move |world: &mut World| {
            world.put(&format!("{place}{name}"), "c1-1-n");
        }
    };
    let waiting = two("deferred/plain_in/20261122T100000.000Z@");
    assert_eq!(after(waiting), [Kind::Doubled]);
    let failed = after(two("joberrors/2026-11-22/"));
    assert_eq!(failed, [Kind::Doubled]);
}

#[test]
fn other_bytes_are_torn() {
    for (path, text) in [
        ("queue/plain_in/2", ""),
        ("bak/archive_in", "c1-2-\0"),
        ("bak/emitted_out", "emitt"),
        ("copy.xml", "c1-3"),
        ("result.json", ""),
        ("0a.json", ""),
        ("joblog/", ""),
        ("joblog/", "<?xml version=\"1.0\"?>\n<JobLog Jobname=\"x"),
        ("joblog/", "<?xml version=\"1.0\"?>\n<JobLog></JobLog>"),
    ] {
        assert_eq!(
            after(|world| world.write(path, text)),
            [Kind::Torn],
            "{path}"
        );
    }
    let half = after(|world| world.remove("result.json"));
    assert_eq!(half, [Kind::Torn], "results appear together");
    let unanswered = after(|world| {
        world.write("queue/plain_in/2", "c1");
        world.upload("c1-1-n").answer = Answer::None;
    });
    assert_eq!(unanswered, [Kind::Torn], "also what no one was told of");
    let fetched = after(|world| world.history.fetched[0].sha256 = sha256(b"emit"));
    assert_eq!(fetched, [Kind::Torn]);
}

#[test]
fn a_log_that_tells_of_something_else_is_torn() {
    let job = SORTS[1].job();
    let log = format!("joblog/{DAY}/{job}");
    let of_another = after(|world| {
        world.remove(&log);
        world.put_log("joberrors", &job, Some("c1-2-n"));
    });
    assert_eq!(of_another, [Kind::Torn], "an error of a job that is done");
    let bytes = after(|world| {
        world.remove(&log);
        world.put_log("bak/archive_in", &job, Some("c1-2-x"));
    });
    assert_eq!(bytes, [Kind::Torn], "other bytes");
    assert_eq!(after(|world| world.remove(&log)), [Kind::NoLog]);
}

#[test]
fn what_a_client_saw_done_must_not_come_back() {
    let emitted = job(10, "c1-3-er-out");
    let from = format!("bak/emitted_out/{DAY}/{emitted}");
    let queued = after(|world| world.moved(&from, &format!("queue/emitted_out/{emitted}")));
    assert_eq!(queued, [Kind::CameBack], "queued");
    let failed = after(|world| {
        world.moved(&from, &format!("joberrors/{DAY}/{emitted}"));
        world.write(&format!("joblog/{DAY}/{emitted}"), "");
    });
    assert!(failed.contains(&Kind::CameBack), "failed: {failed:?}");
    let run = |round: u32, started: Moment| {
        after(|world| {
            world.run(&SORTS[2].job(), Lane::Least, 2, 0);
            let run = world.history.runs.last_mut().unwrap();
            (run.round, run.started) = (round, started);
        })
    };
    assert_eq!(run(1, at(0)), [Kind::CameBack], "run after the cut");
    assert_eq!(run(0, at(3_100)), [Kind::CameBack], "run before the cut");
    assert_eq!(run(0, at(2_900)), [], "run before it was seen done");
}

#[test]
fn names_and_keys_are_given_once() {
    let twice = after(|world| {
        let Answer::Accepted { at, .. } = world.upload("c1-1-n").answer else {
            panic!("it was accepted");
        };
        let job = SORTS[1].job();
        world.upload("c1-1-n").answer = Answer::Accepted { job, at };
    });
    assert!(twice.contains(&Kind::NameTwice), "{twice:?}");
    let second = after(|world| world.put_job("queue/plain_in", &plain(77), "c1-1-n"));
    assert_eq!(second, [Kind::SecondJob]);
    let another = after(|world| world.history.repeats[0].after = Ok(plain(77)));
    assert_eq!(another, [Kind::KeyForgotten]);
    let refused = after(|world| world.history.repeats[0].after = Err("503".into()));
    assert_eq!(refused, [Kind::KeyForgotten]);
    let first = after(|world| world.history.repeats[0].before = Answer::None);
    assert_eq!(first, [], "the first answer that was received");
}

#[test]
fn every_job_is_run_with_its_bytes() {
    let without = |number: usize, end_only: bool| {
        after(|world| {
            let job = SORTS[number - 1].job();
            if end_only {
                let runs = world.history.runs.iter_mut();
                runs.filter(|run| run.job == job)
                    .for_each(|run| run.end = None);
            } else {
                world.history.runs.retain(|run| run.job != job);
            }
        })
    };
    assert_eq!(without(4, false), [Kind::NeverRan]);
    assert_eq!(without(5, true), [Kind::NeverRan], "begun only");
    assert_eq!(
        without(6, false),
        [Kind::NeverRan],
        "at most once, and done"
    );
    assert_eq!(without(8, false), [Kind::NeverRan]);
    let other = after(|world| world.history.runs[0].end = Some((sha256(b""), 0)));
    assert_eq!(other, [Kind::RanOther]);
    let elsewhere = after(|world| world.history.runs[0].interface = "once_in".into());
    assert_eq!(elsewhere, [Kind::RanOther]);
    let nobodys = after(|world| world.run(&job(88, "c9-9-n"), Lane::Least, 1, 0));
    assert_eq!(nobodys, [Kind::Stranger]);
}

#[test]
fn at_most_once_is_once_or_an_unknown_outcome() {
    let job = SORTS[5].job();
    let again = |world: &mut World| world.run(&SORTS[5].job(), Lane::Once, 2, 0);
    assert_eq!(after(again), [Kind::RanTwice]);
    let failed = |world: &mut World| {
        let from = format!("bak/once_in/{DAY}/{job}");
        world.moved(&from, &format!("joberrors/{DAY}/{job}"));
        world.remove(&format!("joblog/{DAY}/{job}"));
        world.put_log("joberrors", &job, Some("c1-6-n"));
        world.history.runs.retain(|run| run.job != job);
    };
    assert_eq!(after(failed), [], "a cut made its outcome unknown");
    let since = after(|world| {
        failed(world);
        world.upload("c1-6-n").round = 1;
    });
    assert_eq!(
        since,
        [Kind::FailedUnjustly, Kind::NeverRan],
        "no cut since"
    );
}

#[test]
fn an_attempt_counts() {
    let again = after(|world| world.run(&SORTS[4].job(), Lane::Least, 2, 0));
    assert_eq!(again, [Kind::Uncounted]);
    assert_eq!(
        after(|world| world.run(&SORTS[4].job(), Lane::Least, 3, 0)),
        []
    );
}

#[test]
fn what_is_ordered_runs_in_order() {
    let (first, second) = (SORTS[6].job(), SORTS[7].job());
    let swap = |world: &mut World| {
        let mut runs = world.history.runs.iter_mut();
        let earlier = runs.find(|run| run.job == first).unwrap();
        let later = runs.find(|run| run.job == second).unwrap();
        std::mem::swap(earlier, later);
    };
    assert_eq!(after(swap), [Kind::OutOfOrder]);
    let again = after(|world| world.run(&first, Lane::Ordered, 2, 0));
    assert_eq!(again, [Kind::OutOfOrder], "the first ran once more");
    let at_once = after(|world| {
        swap(world);
        world.upload("c1-8-n").sent = at(749);
    });
    assert_eq!(at_once, [], "sent before the other was answered");
    let never = after(|world| world.history.runs.retain(|run| run.job != first));
    assert_eq!(never, [Kind::NeverRan, Kind::OutOfOrder]);
}

#[test]
fn results_and_emitted_jobs_come_with_success() {
    let missing = after(|world| world.remove("results/"));
    assert_eq!(missing, [Kind::NoResult]);
    let no_success = after(|world| {
        let job = SORTS[2].job();
        let mut runs = world.history.runs.iter_mut();
        let run = runs.find(|run| run.job == job).unwrap();
        run.end = Some((sha256(b"c1-3-er"), 75));
    });
    assert_eq!(no_success, [Kind::Early], "results and an emitted job");
    let emitted = job(10, "c1-3-er-out");
    let lost = after(|world| world.remove(&emitted));
    assert_eq!(
        lost,
        [Kind::CameBack, Kind::FetchedAndGone, Kind::NoEmitted]
    );
    let twice = after(|world| {
        world.put_job("queue/emitted_out", &job(11, "c1-3-er-out"), "emitted");
    });
    assert_eq!(twice, [Kind::Early], "two for one run");
    let two_runs = after(|world| {
        world.put_job("queue/emitted_out", &job(11, "c1-3-er-out"), "emitted");
        world.history.done.retain(|done| done.job != SORTS[2].job());
        world.run(&SORTS[2].job(), Lane::Least, 2, 0);
    });
    assert_eq!(two_runs, [], "a crash at the moment of publishing");
}

#[test]
fn jobs_end_where_they_belong() {
    let job = SORTS[2].job();
    let from = format!("bak/least_in/{DAY}/{job}");
    let to = |path: String| {
        after(|world| {
            world.history.done.retain(|done| done.job != job);
            world.moved(&from, &path);
        })
    };
    let failed = to(format!("joberrors/{DAY}/{job}"));
    assert_eq!(
        failed,
        [Kind::FailedUnjustly, Kind::Torn],
        "its log says ok"
    );
    assert_eq!(to(format!("bak/once_in/{DAY}/{job}")), [Kind::Misplaced]);
    assert_eq!(to(format!("queue/least_in/{job}")), [Kind::Stuck]);
    assert_eq!(to(format!("work/least_in/{job}.a1")), [Kind::Stuck]);
    let waiting = format!("deferred/least_in/20261122T100000.000Z@{job}");
    assert_eq!(to(waiting), [Kind::Stuck]);
    let done = format!("bak/plain_in/{DAY}/{}", plain(1));
    let done = after(|world| {
        world.moved(&format!("queue/plain_in/{}", plain(1)), &done);
        world.put_log("bak/plain_in", &plain(1), None);
    });
    assert_eq!(done, [Kind::Misplaced], "nobody works on it");
    let held = after(|world| {
        world.tree.phase = Phase::Recovered;
        world.history.done.retain(|done| done.job != job);
        world.moved(&from, &format!("queue/least_in/{job}"));
    });
    assert_eq!(held, [], "not worked off yet");
}

#[test]
fn nothing_lies_where_it_must_not() {
    let put = |path: &str| after(|world| world.put(path, "c1-1-n"));
    for path in [
        "tmp/x.part",
        "work/least_in/x.lock",
        "work/least_in/x.run/emit/y",
    ] {
        assert_eq!(put(path), [Kind::Leftover], "{path}");
    }
    for path in [
        "tmp/deep/",
        "work/least_in/x.run/",
        "work/least_in/x.run/emit/",
    ] {
        assert_eq!(put(path), [Kind::Leftover], "{path}");
    }
    for path in ["bak/least_in/.probe.1", "queue/plain_in/.x"] {
        assert_eq!(put(path), [Kind::Litter], "{path}");
    }
    let name = plain(1);
    for path in [
        "queue/plain_in/x.xml".to_owned(),
        format!("queue/other_in/{name}"),
        format!("deferred/plain_in/{name}"),
        format!("bak/plain_in/{name}"),
        format!("bak/plain_in/2026-11-23/{name}"),
        format!("joblog/2026-11-23/{name}.xml"),
        format!("joblog/{DAY}/{name}"),
        "results/x".to_owned(),
        "idem/x".to_owned(),
    ] {
        assert_eq!(put(&path), [Kind::Illegal], "{path}");
    }
    for path in [
        "queue/plain_in/",
        "bak/plain_in/2026-11-22/",
        "work/least_in/",
        "tmp/",
    ] {
        assert_eq!(put(path), [], "{path}");
    }
    let stranger = job(99, "c7-7-n");
    let nobodys = after(|world| world.put_job("queue/plain_in", &stranger, "x"));
    assert_eq!(nobodys, [Kind::Stranger]);
}

/// The record that the processors write is read back as it was meant.
#[test]
fn runs_are_read_from_the_processors_lines() {
    let mut history = History {
        round: 3,
        ..History::default()
    };
    history.record_runs("start J i 1 12.34\nstart K i 2 12.35\nend J i 1 ab 75\n");
    history.record_runs("end K i 2 cd 0\nstart J i 2 12.40\n");
    let runs: Vec<String> = (history.runs.iter())
        .map(|run| format!("{} {} {} {:?}", run.job, run.attempt, run.round, run.end))
        .collect();
    assert_eq!(
        runs,
        [
            "J 1 3 Some((\"ab\", 75))",
            "K 2 3 Some((\"cd\", 0))",
            "J 2 3 None"
        ]
    );
    assert_eq!(history.runs[0].started, at(12_340));
}
