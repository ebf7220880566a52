//! What changes on a page while it is open, as its script hears it.

use crate::{
    harness::{Daemon, document, marked, shell, with_keys},
    page::Browser,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{
    io::Read,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
};

/// A page that is followed.
struct Stream<'d> {
    daemon: &'d Daemon,
    curl: Child,
    heard: Arc<Mutex<String>>,
}

impl<'d> Stream<'d> {
    fn open(daemon: &'d Daemon, browser: &Browser<'_>, path: &str, options: &[&str]) -> Self {
        let mut curl = marked("curl")
            .args(["-sSN", "-i", "--cacert"])
            .arg(daemon.dir().join("certs/cert.pem"))
            .args(["-H", "Accept: text/event-stream", "-H"])
            .arg(format!("Cookie: {}", browser.cookie))
            .args(options)
            .arg(format!("{}{path}", daemon.url))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut from = curl.stdout.take().unwrap();
        let heard = Arc::<Mutex<String>>::default();
        let all = heard.clone();
        std::thread::spawn(move || {
            let (mut piece, mut bytes) = ([0; 4096], Vec::new());
            while let Ok(n @ 1..) = from.read(&mut piece) {
                bytes.extend_from_slice(&piece[..n]);
                *all.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        Self {
            daemon,
            curl,
            heard,
        }
    }

    /// One that has begun.
    fn of(daemon: &'d Daemon, browser: &Browser<'_>, path: &str) -> Self {
        let stream = Self::open(daemon, browser, path, &[]);
        stream.hears("id=\"title\"");
        stream
    }

    fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }

    fn hears(&self, what: &str) {
        let is_heard = || self.heard().contains(what);
        let what = format!("{what} is heard");
        self.daemon.wait(&what, is_heard);
    }

    /// Waits until the other side has ended it, with such a last word.
    fn ends(&mut self, word: &str) {
        self.hears(word);
        assert!(self.curl.wait().unwrap().success());
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let _ = self.curl.kill();
        let _ = self.curl.wait();
    }
}

/// What is heard of an element of that id that begins so.
fn figure(id: &str, value: &str) -> String {
    format!("data: <div id=\"{id}\" data-live><dt>done today</dt><dd>{value}")
}

#[test]
fn what_changes_is_heard_and_only_that() {
    let daemon = Daemon::start();
    let browser = Browser::operator(&daemon);
    for (done, options) in [(1, "--http1.1"), (2, "--http2")] {
        let stream = Stream::open(&daemon, &browser, "/ui/", &[options]);
        stream.hears("id=\"i-persons_in\"");
        let head = stream.heard().to_lowercase();
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        assert!(head.contains("x-accel-buffering: no"), "{head}");
        assert!(!head.contains("content-length"), "{head}");
        let job = daemon
            .upload(&document("orders_in/day.valid.xml"), "")
            .job();
        daemon.wait_for_place(&job, "bak/orders_in");
        stream.hears(&figure("b-done", "<a href=\"/ui/jobs?place=done\""));
        stream.hears(&format!(">{done}</a>"));
        let row = stream.heard().matches("<tr id=\"i-persons_in\"").count();
        assert_eq!(row, 1, "{}", stream.heard());
        assert_eq!(stream.heard().matches("id=\"b-cert\"").count(), 1);
    }
}

#[test]
fn jobs_stay_where_they_are_on_a_list_and_newer_ones_are_counted() {
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", ""));
    let send = || {
        daemon
            .upload(&document("orders_in/day.valid.xml"), "")
            .job()
    };
    let (first, second) = (send(), send());
    let browser = Browser::operator(&daemon);
    let list = "/ui/jobs?place=queued&interface=orders_in";
    let page = browser.page(list);
    let (_, to) = page.split_once("data-stream=\"").unwrap();
    let to = to.split('"').next().unwrap().replace("&#38;", "&");
    let stream = Stream::of(&daemon, &browser, &to);
    daemon.operator(&["cancel", &first, "--yes"]);
    stream.hears("<span class=\"st ended\">cancelled</span>");
    send();
    stream.hears("<p id=\"fresh\" data-live>1 newer one matches: <a href=\"/ui/jobs?place=queued");
    daemon.operator(&["cancel", &second, "--yes"]);
    daemon.operator(&["rm", &second, "--yes"]);
    stream.hears("<del id=\"j-");
}

#[test]
fn the_log_of_a_job_is_heard_while_it_runs() {
    let script = r#"echo '{"level":"info","text":"first <b>"}'; until [ -e "$GO/go" ]; do sleep 0.02; done
        echo '{"level":"info","text":"second"}'; until [ -e "$GO/end" ]; do sleep 0.02; done"#;
    let mut daemon = Daemon::init();
    let script = script.replace("$GO", daemon.dir().to_str().unwrap());
    daemon.configure(|text| with_keys(&text, "orders_in", &shell(&script, "")));
    daemon.serve();
    let job = daemon
        .upload(&document("orders_in/day.valid.xml"), "")
        .job();
    let browser = Browser::operator(&daemon);
    let stream = Stream::of(&daemon, &browser, &format!("/ui/job/{job}"));
    stream.hears("first &#60;b&#62;");
    daemon.scratch("go", "");
    stream.hears("data-live data-in=\"log\"><td>");
    stream.hears("second</td>");
    daemon.scratch("end", "");
    stream.hears("<span class=\"st done\">done</span>");
    assert!(!stream.heard().contains("first <b>"));
}

#[test]
fn a_session_has_one_stream_and_no_longer_than_itself() {
    let daemon = Daemon::start();
    let shop = daemon.add_user("shop", &["orders_in=upload"]);
    let (browser, partner) = (Browser::operator(&daemon), Browser::open(&daemon, &shop));
    let mut older = Stream::of(&daemon, &browser, "/ui/");
    let other = Stream::of(&daemon, &partner, "/ui/");
    let mut further = Stream::of(&daemon, &browser, "/ui/errors");
    older.ends("event: end\ndata: live elsewhere");
    daemon.operator(&["user", "passwd", "admin"]);
    further.ends("event: end\ndata: logged out");
    assert!(!other.heard().contains("event: end"));
    // Nobody hears more than he would see.
    let mut refused = Stream::open(&daemon, &partner, "/ui/errors", &[]);
    refused.ends(" 404");
    daemon.operator(&["user", "rm", "shop"]);
    let mut other = other;
    other.ends("event: end\ndata: logged out");
}

#[test]
fn what_an_address_does_is_not_done_again_and_again() {
    let daemon = Daemon::start();
    let browser = Browser::operator(&daemon);
    let mut stream = Stream::open(&daemon, &browser, "/ui/job?id=x", &[]);
    stream.ends("location: /ui/jobs?text=x");
}

#[test]
fn a_stop_waits_for_no_stream() {
    let daemon = Daemon::start();
    let browser = Browser::operator(&daemon);
    let mut stream = Stream::of(&daemon, &browser, "/ui/");
    daemon.signal(rustix::process::Signal::TERM);
    stream.ends("");
    let is_stopped = || daemon.log().contains("stopped");
    daemon.wait("it has stopped", is_stopped);
    assert!(
        !daemon.log().contains("connections cut"),
        "{}",
        daemon.log()
    );
    let heard = stream.heard();
    assert!(
        !heard.contains("event: end"),
        "the browser asks again: {heard}"
    );
}

/// So much of each answer may be on its way to a slow reader.
const WINDOW_BYTES: u32 = 1024;

/// A connection by HTTP/2.
async fn connect(daemon: &Daemon) -> SendRequest<Empty<Bytes>> {
    let address = daemon.url.strip_prefix("https://").unwrap();
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(daemon.dir().join("certs/cert.pem")).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let host = address.split(':').next().unwrap().to_owned();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
    let tls = tls.connect(host.try_into().unwrap(), tcp).await.unwrap();
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .handshake(TokioIo::new(tls))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// Asks for the first page; `accept`: as what.
async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    browser: &Browser<'_>,
    uri: &str,
    accept: &str,
) -> Response<Incoming> {
    let request = Request::get(uri)
        .header("cookie", &browser.cookie)
        .header("accept", accept)
        .body(Empty::new());
    sender.send_request(request.unwrap()).await.unwrap()
}

#[test]
fn a_slow_reader_over_http_2_delays_nobody() {
    let daemon = Daemon::start();
    let (browser, other) = (Browser::operator(&daemon), Browser::operator(&daemon));
    let uri = format!("{}/ui/", daemon.url);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut sender = runtime.block_on(connect(&daemon));
    let slow = runtime.block_on(ask(&mut sender, &browser, &uri, "text/event-stream"));
    assert_eq!(slow.status(), 200);
    let quick = Stream::of(&daemon, &other, "/ui/");
    for n in 1..=3 {
        let job = daemon
            .upload(&document("orders_in/day.valid.xml"), "")
            .job();
        daemon.wait_for_place(&job, "bak/orders_in");
        quick.hears(&figure(
            "b-done",
            &format!("<a href=\"/ui/jobs?place=done\">{n}</a>"),
        ));
        // The same connection answers, too.
        let page = runtime.block_on(async {
            let page = ask(&mut sender, &browser, &uri, "text/html").await;
            page.into_body().collect().await.unwrap().to_bytes()
        });
        assert!(String::from_utf8_lossy(&page).contains("</html>"));
    }
    drop(slow);
}
