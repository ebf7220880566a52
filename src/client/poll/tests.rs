//! `poll` over HTTPS against a scripted server: deliveries, broken answers, the command, the lock,
//! stopping. Crashes are in `round/tests.rs`.

use super::*;
use crate::client::stub::{Asked, Say, Stub};
use base64::Engine as _;
use sha2::Digest as _;
use std::sync::{Arc, Mutex};

const ONE: &str = "20261122T045748.123Z-00001-a.xml";
const TWO: &str = "20261122T045748.123Z-00002-b.xml";

/// What was written, for both sides.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn options(stub: &Stub) -> PollOptions {
    PollOptions {
        exec: None,
        interface: "orders_out".parse().unwrap(),
        interval: Duration::from_secs(3600),
        json: false,
        once: true,
        parallel: NonZeroUsize::MIN,
        skip_if_running: false,
        to: stub.dir.path().join("in"),
        xslt: None,
    }
}

async fn polled(stub: &Stub, options: &PollOptions) -> (anyhow::Result<()>, String, String) {
    let (_stop, stopped) = watch::channel(false);
    let (out, log) = (Sink::default(), Sink::default());
    let outputs: [Output; 2] = [Box::new(out.clone()), Box::new(log.clone())];
    let [o, l] = outputs;
    let result = poll_until(&stub.endpoint(), options, stopped, o, l).await;
    (result, out.text(), log.text())
}

fn listing(asked: &Asked, names: &[&str]) -> Option<Say> {
    let listing = asked.line() == "GET /xml/jobqueue?Interfacename=orders_out";
    let text: String = names.iter().map(|name| format!("{name}\n")).collect();
    listing.then(|| Say::whole("200 OK", "", &text))
}

fn digest(body: &str) -> String {
    let digest = sha2::Sha256::digest(body);
    let text = base64::engine::general_purpose::STANDARD.encode(digest);
    format!("repr-digest: sha-256=:{text}:\r\n")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names = files::Files::list(&Disk, dir).unwrap();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

/// Two jobs wait; the document of each is the line by which it is asked for.
async fn echoing() -> Stub {
    Stub::start(|_, asked| {
        listing(asked, &[ONE, TWO]).unwrap_or_else(|| {
            let body = asked.line().to_owned();
            Say::whole("200 OK", &digest(&body), &body)
        })
    })
    .await
}

#[tokio::test]
async fn new_jobs_arrive_and_are_told() {
    let stub = echoing().await;
    let mut options = options(&stub);
    options.xslt = Some("short".into());
    let (result, out, log) = polled(&stub, &options).await;
    result.unwrap();
    assert_eq!(log, "");
    let paths = [ONE, TWO].map(|name| options.to.join(name));
    assert_eq!(
        out,
        format!("{}\n{}\n", paths[0].display(), paths[1].display())
    );
    let line = format!("GET /xml/job?Interfacename=orders_out&Jobname={ONE}&xslt=short");
    assert_eq!(fs::read_to_string(&paths[0]).unwrap(), line);
    // Still listed by this server: fetched once more for its sake, and not delivered again.
    fs::remove_file(&paths[0]).unwrap();
    options.json = true;
    let (result, out, log) = polled(&stub, &options).await;
    result.unwrap();
    assert_eq!(out, "");
    assert!(log.contains("delivered before and still listed"), "{log}");
    assert_eq!(names(&options.to), [TWO]);
    assert_eq!(stub.asked().len(), 7);
}

#[tokio::test]
async fn jobs_are_fetched_over_several_connections() {
    let stub = echoing().await;
    let mut options = options(&stub);
    options.parallel = NonZeroUsize::new(2).unwrap();
    let (result, out, log) = polled(&stub, &options).await;
    result.unwrap();
    assert_eq!(log, "");
    let paths = [ONE, TWO].map(|name| options.to.join(name));
    let [one, two] = paths.each_ref().map(|path| path.display());
    assert_eq!(out, format!("{one}\n{two}\n"));
    for (path, name) in paths.iter().zip([ONE, TWO]) {
        let line = format!("GET /xml/job?Interfacename=orders_out&Jobname={name}");
        assert_eq!(fs::read_to_string(path).unwrap(), line);
    }
}

#[tokio::test]
async fn cut_or_altered_bytes_never_get_a_name() {
    let stub = Stub::start(|n, asked| {
        listing(asked, &[ONE, TWO]).unwrap_or_else(|| match n {
            2 => Say::whole("200 OK", "", "<whole/>").cut(3),
            3 => Say::whole("200 OK", &digest("<other/>"), "<whole/>"),
            4 => Say::whole("503 Service Unavailable", "", "later\u{7}"),
            _ => Say::whole("200 OK", &digest("<whole/>"), "<whole/>"),
        })
    })
    .await;
    let mut options = options(&stub);
    options.json = true;
    let (result, out, log) = polled(&stub, &options).await;
    assert_eq!(result.unwrap_err().to_string(), "0 delivered, 2 failed");
    assert_eq!(out, "");
    assert!(
        log.contains("the connection broke in the middle of the answer"),
        "{log}"
    );
    assert!(
        log.contains("not those that the server's digest names"),
        "{log}"
    );
    assert!(names(&options.to).is_empty());
    let (result, out, log) = polled(&stub, &options).await;
    assert_eq!(result.unwrap_err().to_string(), "1 delivered, 1 failed");
    assert!(
        log.contains("503 Service Unavailable: later\\u{7}"),
        "{log}"
    );
    let line: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&line["job"], &line["bytes"]), (&TWO.into(), &8.into()));
    polled(&stub, &options).await.0.unwrap();
    assert_eq!(names(&options.to), [ONE, TWO]);
    assert_eq!(fs::read(options.to.join(ONE)).unwrap(), b"<whole/>");
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_believed() {
    let stub =
        Stub::start(|_, asked| listing(asked, &[ONE]).unwrap_or_else(|| Say::endless("<whole/>")))
            .await;
    let (result, _, log) = polled(&stub, &options(&stub)).await;
    assert!(result.is_err());
    assert!(
        log.contains("neither its length nor its end nor a digest"),
        "{log}"
    );
}

#[tokio::test]
async fn a_listing_that_breaks_off_forgets_nothing() {
    let stub = Stub::start(|n, asked| match n {
        0 | 1 | 4 => listing(asked, &[ONE]).unwrap(),
        2 => Say::whole("200 OK", "", "<a/>"),
        3 => listing(asked, &[TWO, ONE]).unwrap().cut(ONE.len() + 1),
        _ => Say::whole("200 OK", "", "<a/>"),
    })
    .await;
    let options = options(&stub);
    polled(&stub, &options).await.0.unwrap();
    assert!(polled(&stub, &options).await.0.is_err());
    fs::remove_file(options.to.join(ONE)).unwrap();
    polled(&stub, &options).await.0.unwrap();
    assert!(names(&options.to).is_empty());
}

#[tokio::test]
async fn the_command_gets_the_file_and_is_repeated_until_it_succeeds() {
    let stub = Stub::start(|_, asked| {
        listing(asked, &[ONE]).unwrap_or_else(|| Say::whole("200 OK", "", "<a/>"))
    })
    .await;
    let mut options = options(&stub);
    let note = stub.dir.path().join("note");
    let text = note.display();
    options.exec = Some(format!(
        "echo \"$1 $SPOOLGATE_JOB $SPOOLGATE_FILE $SPOOLGATE_INTERFACE\" >> '{text}'; \
         test $(wc -l < '{text}') -gt 1"
    ));
    let (result, _, log) = polled(&stub, &options).await;
    assert!(
        result.is_err() && log.contains("the command failed"),
        "{log}"
    );
    polled(&stub, &options).await.0.unwrap();
    polled(&stub, &options).await.0.unwrap();
    let file = options.to.join(ONE);
    let line = format!("{0} {ONE} {0} orders_out\n", file.display());
    assert_eq!(fs::read_to_string(&note).unwrap(), line.repeat(2));
}

#[tokio::test]
async fn a_state_directory_that_is_gone_is_named() {
    let gone = Arc::new(Mutex::new(PathBuf::new()));
    let dir = gone.clone();
    let stub = Stub::start(move |_, asked| {
        // In the middle of a round, when the directory was opened long ago.
        let _ = fs::remove_dir_all(&*dir.lock().unwrap());
        listing(asked, &[]).unwrap()
    })
    .await;
    let options = options(&stub);
    let state = options.to.join(STATE_DIR).join("orders_out/todo");
    *gone.lock().unwrap() = state.clone();
    let (result, _, _) = polled(&stub, &options).await;
    let said = result.unwrap_err().to_string();
    assert!(said.contains(state.to_str().unwrap()), "{said}");
}

#[tokio::test]
async fn what_a_stylesheet_makes_is_called_by_its_media_type() {
    let stub = Stub::start(|_, asked| {
        listing(asked, &[ONE, TWO]).unwrap_or_else(|| {
            let media_type = match asked.line().contains(ONE) {
                true => "content-type: Text/CSV; charset=UTF-8\r\n",
                false => "content-type: application/xml\r\n",
            };
            Say::whole("200 OK", media_type, "a;b")
        })
    })
    .await;
    let options = PollOptions {
        exec: Some("echo \"ran for ${1##*/}\" >&2; [ -s \"$1\" ]".into()),
        xslt: Some("order-csv".into()),
        ..options(&stub)
    };
    let (result, out, log) = polled(&stub, &options).await;
    result.unwrap_or_else(|error| panic!("{error}: {log}"));
    let called = ONE.replace(".xml", ".csv");
    assert_eq!(names(&options.to), [called.as_str(), TWO]);
    assert!(out.contains(&called), "{out}");
}

#[tokio::test]
async fn an_interface_that_was_mistyped_leaves_nothing() {
    let stub = Stub::start(|n, _| match n {
        0 => Say::whole("400 Bad Request", "", "unknown interface orders_out"),
        _ => Say::whole("503 Service Unavailable", "", ""),
    })
    .await;
    let options = options(&stub);
    let (result, _, _) = polled(&stub, &options).await;
    let said = result.unwrap_err().to_string();
    assert!(said.contains("unknown interface orders_out"), "{said}");
    assert!(!options.to.exists());
    // What passes is no reason to give up.
    let (result, _, _) = polled(&stub, &options).await;
    result.unwrap_err();
    assert!(options.to.exists());
}

#[tokio::test]
async fn a_second_poll_into_the_directory_is_refused() {
    let stub = Stub::start(|_, asked| listing(asked, &[]).unwrap()).await;
    let options = options(&stub);
    let held = lock(&options.to).unwrap().unwrap();
    let (result, _, _) = polled(&stub, &options).await;
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("another poll is running into")
    );
    let skips = PollOptions {
        skip_if_running: true,
        ..self::options(&stub)
    };
    polled(&stub, &skips).await.0.unwrap();
    // As a child has it that is just being started.
    let _copy = held.0.try_clone().unwrap();
    drop(held);
    polled(&stub, &options).await.0.unwrap();
}

#[tokio::test]
async fn polling_goes_on_until_it_is_stopped() {
    let (stop, stopped) = watch::channel(false);
    let stub = Stub::start(move |n, asked| {
        if n == 2 {
            stop.send_replace(true);
        }
        match n {
            0 => Say::whole("500 Internal Server Error", "", ""),
            _ => listing(asked, &[]).unwrap(),
        }
    })
    .await;
    let mut options = options(&stub);
    (options.once, options.interval) = (false, Duration::from_millis(1));
    let outputs: [Output; 2] = [Box::new(io::sink()), Box::new(io::sink())];
    let [out, log] = outputs;
    poll_until(&stub.endpoint(), &options, stopped, out, log)
        .await
        .unwrap();
    assert_eq!(stub.asked().len(), 3);
}
