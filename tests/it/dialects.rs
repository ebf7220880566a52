//! One job, five dialects: whichever one a job came by, all of them, the operator's commands and
//! the directories say the same of it, from its first moment to its end.

use crate::harness::{Daemon, shell};
use hex::FromHex;
use serde_json::{Value, json};
use spoolgate::domain::{JobId, JobName, Seal};
use std::fs;

/// An interface that takes anything, and is the one of eHealth's first route as well.
const TASKS: &str = "tasks";
/// While it is there, the running job goes on running; its text is how it ends.
const GATE: &str = "gate";

/// What a job is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    Failed,
    Cancelled,
}

/// The moments at which all dialects are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Waits,
    Runs,
    Ended(End),
}

const DIALECTS: [&str; 5] = ["alteryx", "dstore", "ehealth", "paas", "robusta"];

struct World {
    daemon: Daemon,
    seal: Seal,
    /// Alteryx's has no scopes, eHealth's has to.
    token: String,
    scoped: String,
    api_key: String,
}

impl World {
    fn new() -> Self {
        let script = r#"
            while [ -e gate ]; do sleep 0.01; done
            [ -e fails ] && { echo '{"text": "no paper", "level": "error"}'; exit 1; }
            echo a,b > "$SPOOLGATE_RESULTS/report.csv"
            echo '{"total": 3, "links": [{"entity": "eHealth/composition", "href": "composition/1"}]}' \
                > "$SPOOLGATE_RESULTS/result.json""#;
        let daemon = Daemon::start_with(|text| {
            let tasks = format!(
                "\n[interfaces.{TASKS}]\ndirection = \"in\"\nschema = \"\"\n\
                 aliases = [\"composition\", \"Printing\"]\n{}\n",
                shell(script, "")
            );
            text + &tasks
        });
        let key = daemon.key();
        let seal = Seal::new(FromHex::from_hex(key.trim()).unwrap());
        let last = |line: String| line.trim().rsplit(' ').next().unwrap().to_owned();
        let token = last(daemon.operator(&["user", "token", "admin"]));
        let scopes = ["composition:read", "composition:create", "job:read"];
        let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
        let scoped: Vec<&str> = ["user", "token", "admin"]
            .into_iter()
            .chain(scopes)
            .collect();
        let scoped = last(daemon.operator(&scoped));
        let api_key = last(daemon.operator(&["user", "api-key", "admin"]));
        Self {
            daemon,
            seal,
            token,
            scoped,
            api_key,
        }
    }

    fn bearer(&self, arguments: &[&str]) -> (u16, Value) {
        let path = arguments.last().unwrap();
        let token = match path.starts_with("/webapi") {
            true => &self.token,
            false => &self.scoped,
        };
        let authorization = format!("Authorization: Bearer {token}");
        let key = format!("api-key: {}", self.api_key);
        let mut all = vec!["-H", &authorization, "-H", &key];
        all.extend(arguments);
        let answer = self.daemon.bare_curl(&all);
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    fn basic(&self, arguments: &[&str]) -> (u16, Value) {
        let answer = self.daemon.curl(arguments);
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// Brings a job in by a dialect; gives its name, which the dialect's own id stands for.
    fn submit(&self, dialect: &str) -> JobName {
        let (said, expected): (Value, fn(&Self, &JobName) -> Value) = match dialect {
            "alteryx" => {
                let path = format!("/webapi/v3/workflows/{TASKS}/jobs");
                let (status, said) = self.bearer(&["--json", "{}", &path]);
                assert_eq!(status, 200, "{said}");
                (said["id"].clone(), |world, job| json!(world.hex(job)))
            }
            "dstore" => {
                let query = format!("?Interfacename={TASKS}");
                let said = self.daemon.upload_text("<a/>", &query).job();
                (json!(said), |_, job| json!(job.to_string()))
            }
            "ehealth" => {
                let body = "{\"type\": {\"coding\": []}}";
                let (status, said) = self.bearer(&["--json", body, "/api/patients/composition"]);
                assert_eq!(status, 202, "{said}");
                (said["data"]["id"].clone(), |world, job| {
                    json!(world.uuid(job))
                })
            }
            "paas" => {
                let path = "/api/v1/default/process/Printing";
                let (status, said) = self.basic(&["--json", "{\"copies\": 2}", path]);
                assert_eq!(status, 201, "{said}");
                (said, |world, job| {
                    let runner = world.seal.runner(job.id());
                    json!({"task": job.id().get(), "runner": runner})
                })
            }
            "robusta" => {
                let body = json!({"name": TASKS, "runOnce": "Y", "runImmediately": "Y"});
                let path = "/scheduler/connector-API/process/start";
                let (status, said) = self.basic(&["--json", &body.to_string(), path]);
                assert_eq!(status, 200, "{said}");
                (said["robustaSpid"].clone(), |world, job| {
                    json!(world.uuid(job))
                })
            }
            other => panic!("no dialect {other}"),
        };
        // It is held, so it is the one that waits.
        let queue = self.daemon.queue(TASKS);
        let [job] = &queue[..] else {
            panic!("{dialect}: {queue:?}");
        };
        let job: JobName = job.parse().unwrap();
        assert_eq!(said, expected(self, &job), "{dialect}");
        job
    }

    fn hex(&self, job: &JobName) -> String {
        hex::encode(self.seal.hex(job.id()))
    }

    fn uuid(&self, job: &JobName) -> String {
        self.seal.uuid(job.id()).to_string()
    }

    /// What all dialects say of a job, and what they should.
    fn assert_alike(&self, job: &JobName, moment: Moment, context: &str) {
        let (place, paas, robusta, alteryx, ehealth, older) = match moment {
            Moment::Waits => ("queue/tasks", 0, "WAITING", "Queued", "PENDING", "pending"),
            Moment::Runs => (
                "queue/tasks",
                102,
                "RUNNING",
                "Running",
                "PENDING",
                "pending",
            ),
            Moment::Ended(End::Done) => (
                "bak/tasks",
                200,
                "SUCCEEDED",
                "Completed",
                "DONE",
                "processed",
            ),
            Moment::Ended(End::Failed) => {
                ("joberrors", 400, "FAILED", "Completed", "FAILED", "failed")
            }
            Moment::Ended(End::Cancelled) => {
                ("joberrors", 400, "FAILED", "Cancelled", "FAILED", "failed")
            }
        };
        let name = job.to_string();
        assert_eq!(self.daemon.place(&name), place, "{context}");
        let listed = self.daemon.queue(TASKS).contains(&name);
        assert_eq!(listed, place.starts_with("queue"), "{context}");

        let (id, runner) = (job.id().get(), self.seal.runner(job.id()));
        let path = format!("/api/v1/default/status/{id}");
        let by_right = self.basic(&[&path]);
        let answer = self.daemon.bare_curl(&[&format!("{path}?guid={runner}")]);
        let by_runner = (answer.status, serde_json::from_slice(&answer.body).unwrap());
        assert_eq!(by_right, by_runner, "{context}");
        assert_eq!(by_right.1["status"], paas, "{context}: {by_right:?}");

        let path = format!("/scheduler/connector-api/process/status/{}", self.uuid(job));
        let (_, said) = self.basic(&[&path]);
        assert_eq!(said["status"], robusta, "{context}: {said}");
        assert!(said["message"].is_string(), "{context}: {said}");

        let (_, view) = self.bearer(&[&format!("/webapi/v3/jobs/{}", self.hex(job))]);
        assert_eq!(view["status"], alteryx, "{context}: {view}");
        let jobs = format!("/webapi/v3/workflows/{TASKS}/jobs");
        let (_, list) = self.bearer(&[&jobs]);
        let mut rows = list.as_array().unwrap().iter();
        let row = rows.find(|row| row["id"] == self.hex(job).as_str());
        assert_eq!(row.unwrap()["status"], alteryx, "{context}: {list}");

        let path = format!("/patients/composition/job/{}", self.uuid(job));
        let (_, task) = self.bearer(&[&path]);
        assert_eq!(task["data"]["status"], ehealth, "{context}: {task}");
        let (_, older_said) = self.bearer(&[&format!("/api/jobs/{}", self.uuid(job))]);
        let text = older_said.to_string();
        assert!(text.contains(&format!("\"{older}")), "{context}: {text}");

        let ls = self.daemon.operator(&["ls", "--json"]);
        // What went well is of no interest there.
        let shown = moment != Moment::Ended(End::Done);
        assert_eq!(ls.contains(&name), shown, "{context}: {ls}");

        if let Moment::Ended(end) = moment {
            self.assert_end(job, end, &by_right.1, &said, &view, &task, context);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn assert_end(
        &self,
        job: &JobName,
        end: End,
        paas: &Value,
        robusta: &Value,
        alteryx: &Value,
        ehealth: &Value,
        context: &str,
    ) {
        let name = job.to_string();
        let log = self.daemon.joblog(&name);
        let (dstore, cli) = match end {
            End::Done => ("Status=\"ok\"", "ok"),
            End::Failed | End::Cancelled => ("Status=\"error\"", "error"),
        };
        assert_eq!(log["status"], cli, "{context}: {log}");
        let xml = self.daemon.curl(&[&format!("/xml/joblog?Jobname={name}")]);
        assert!(xml.text().contains(dstore), "{context}: {}", xml.text());
        match end {
            End::Done => {
                assert_eq!(paas["result"]["files"], json!(["report.csv"]), "{context}");
                assert_eq!(robusta["__out_total"], 3, "{context}: {robusta}");
                assert_eq!(alteryx["disposition"], "Success", "{context}");
                let output = &alteryx["outputs"][0];
                assert_eq!(output["fileName"], "report.csv", "{context}: {alteryx}");
                let href = &ehealth["data"]["links"][0]["href"];
                assert_eq!(href, "composition/1", "{context}: {ehealth}");
                let (id, runner) = (job.id().get(), self.seal.runner(job.id()));
                let path = format!("/api/v1/default/download/{id}/0?guid={runner}");
                assert_eq!(self.daemon.bare_curl(&[&path]).text(), "a,b\n", "{context}");
                let whole = self.daemon.bare_curl(&["-I", &path]);
                let version = whole.header("etag").unwrap();
                assert!(whole.header("repr-digest").is_some(), "{context}");
                let known = format!("If-None-Match: {version}");
                let same = self.daemon.bare_curl(&["-H", &known, &path]);
                assert_eq!(same.status, 304, "{context}");
                let part = self.daemon.bare_curl(&["-r", "2-", &path]);
                assert_eq!(
                    (part.status, part.text().as_str()),
                    (206, "b\n"),
                    "{context}"
                );
                let path = format!(
                    "/webapi/v1/jobs/{}/output/{}?format=Raw",
                    self.hex(job),
                    output["id"].as_str().unwrap()
                );
                let authorization = format!("Authorization: Bearer {}", self.token);
                let raw = self.daemon.bare_curl(&["-H", &authorization, &path]);
                assert_eq!(raw.text(), "a,b\n", "{context}");
            }
            End::Failed => {
                assert_eq!(alteryx["disposition"], "Error", "{context}");
                let error = paas["result"]["error"].as_str().unwrap();
                let link = ehealth["data"]["links"][0]["error"].as_str().unwrap();
                assert_eq!(error, link, "{context}");
            }
            End::Cancelled => {
                for text in [
                    paas["result"]["error"].as_str().unwrap(),
                    ehealth["data"]["links"][0]["error"].as_str().unwrap(),
                ] {
                    assert_eq!(text, "cancelled by admin", "{context}");
                }
            }
        }
    }

    /// The whole life of a job that comes by a dialect.
    fn live(&self, dialect: &str, end: End) {
        let context = format!("{dialect}, {end:?}");
        let daemon = &self.daemon;
        daemon.operator(&["hold", TASKS]);
        daemon.scratch(GATE, "");
        let job = self.submit(dialect);
        let name = job.to_string();
        self.assert_alike(&job, Moment::Waits, &format!("{context}, waits"));
        if end == End::Failed {
            daemon.scratch("fails", "");
        }
        daemon.operator(&["release", TASKS]);
        let running = || !daemon.files("work").is_empty();
        daemon.wait("it runs", running);
        self.assert_alike(&job, Moment::Runs, &format!("{context}, runs"));
        if end == End::Cancelled {
            let path = format!("/webapi/v3/jobs/{}", self.hex(&job));
            let (status, said) = self.bearer(&["-X", "DELETE", &path]);
            assert_eq!(status, 200, "{context}: {said}");
            assert_eq!(said["message"], "Cancelled Successfully.", "{context}");
        }
        fs::remove_file(daemon.dir().join(GATE)).unwrap();
        let place = match end {
            End::Done => "bak/tasks",
            End::Failed | End::Cancelled => "joberrors",
        };
        daemon.wait_for_place(&name, place);
        self.assert_alike(&job, Moment::Ended(end), &context);
        let _ = fs::remove_file(daemon.dir().join("fails"));
    }
}

#[test]
fn a_job_is_the_same_through_every_door() {
    let world = World::new();
    for dialect in DIALECTS {
        for end in [End::Done, End::Failed, End::Cancelled] {
            world.live(dialect, end);
        }
    }
}

/// Whoever asked by an alias is told of it by that name, through every dialect that tells, and whoever
/// asked by the name by the name.
#[test]
fn an_interface_is_called_as_it_was_asked_for() {
    let world = World::new();
    world.daemon.operator(&["hold", TASKS]);
    for (path, called) in [
        ("/webapi/v3/workflows/Printing/jobs", "Printing"),
        ("/webapi/v3/workflows/tasks/jobs", TASKS),
    ] {
        let (_, made) = world.bearer(&["--json", "{}", path]);
        assert_eq!(made["appId"], called, "{made}");
        let id = made["id"].as_str().unwrap();
        let (_, view) = world.bearer(&[&format!("/webapi/v3/jobs/{id}")]);
        assert_eq!(view["appId"], called, "{view}");
    }
    let (_, made) = world.basic(&["--json", "{}", "/api/v1/default/process/Printing"]);
    let (_, task) = world.basic(&[&format!("/api/v1/default/status/{}", made["task"])]);
    assert_eq!(task["command"], "Printing", "{task}");
    // Also when it has ended, and through a dialect that it did not come by.
    world.daemon.operator(&["release", TASKS]);
    let id = JobId::from_number(made["task"].as_u64().unwrap());
    let path = format!("/webapi/v3/jobs/{}", hex::encode(world.seal.hex(id)));
    world.daemon.wait("it has ended", || {
        let (_, view) = world.bearer(&[&path]);
        assert_eq!(view["appId"], "Printing", "{view}");
        view["status"] == "Completed"
    });
}

/// What this tenant has not given out is no one's job, whichever way it is written.
#[test]
fn a_forged_id_is_an_unknown_job() {
    let world = World::new();
    world.daemon.operator(&["hold", TASKS]);
    let job = world.submit("paas");
    let other = Seal::new([0; 32]);
    let (id, forged) = (job.id(), other.uuid(job.id()).to_string());
    let guid = format!(
        "/api/v1/default/status/{}?guid={}",
        id.get(),
        other.runner(id)
    );
    assert_eq!(world.daemon.bare_curl(&[&guid]).status, 404);
    let nobody = format!("/api/v1/default/status/{}", id.get());
    assert_eq!(world.daemon.bare_curl(&[&nobody]).status, 401);
    let spid = format!("/scheduler/connector-api/process/status/{forged}");
    assert_eq!(world.basic(&[&spid]).0, 404);
    assert_eq!(
        world
            .bearer(&[&format!("/patients/composition/job/{forged}")])
            .0,
        404
    );
    let hex = hex::encode(other.hex(id));
    assert_eq!(world.bearer(&[&format!("/webapi/v3/jobs/{hex}")]).0, 404);
    let unknown = world.basic(&["--json", "{}", "/api/v1/nobody/process/Printing"]);
    assert_eq!(unknown.0, 404, "{unknown:?}");
}
