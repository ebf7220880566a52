//! The server over real sockets, before a real service and a real spool: bad clients, both
//! protocols, bodies that break off, and the stop.

mod bench;

use super::*;
use bench::{
    Bench, Client, FETCHED, LOGIN, PATIENCE, Tenant, UPLOAD_BYTES_MAX, WAITING, patient,
    read_to_end, short, until,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{sync::Mutex, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const QUEUE: &str = "/xml/jobqueue?Interfacename=orders_out";
const JOB: &str = "/xml/job?Interfacename=orders_out&Jobname=20261122T045748.123Z-00042.xml";
/// More than all the buffers between the server and its client hold.
const BIG: u64 = 64 << 20;
/// More than the service keeps in memory: such an upload has a part in `tmp`.
const PART_BYTES: usize = 512 << 10;
/// An upload whose commit panics.
const PANICS: &str = "/xml/upload?RefName=panic";

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}{LOGIN}\r\n")
}

fn post(target: &str, headers: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{headers}{LOGIN}\r\n{body}")
}

/// The dialect that is one line outside of its folder.
#[tokio::test]
async fn a_toy_dialect_is_served_like_the_others() {
    let bench = Bench::start(Limits::default()).await;
    let to = |interface: &str, body: &str| {
        let headers = format!("{CLOSE}Content-Length: {}\r\n", body.len());
        post(&format!("/toy/{interface}"), &headers, body)
    };
    let created = bench.exchange(&to("any_in", "{\"a\": 1}")).await;
    assert!(created.starts_with("HTTP/1.1 200 OK\r\n"), "{created}");
    let uuid = created.rsplit("\r\n").next().unwrap();
    let shown = bench.exchange(&get(&format!("/toy/{uuid}"), CLOSE)).await;
    assert!(shown.ends_with("\r\nwaits"), "{shown}");
    let broken = bench.exchange(&to("any_in", "{\"a\": ")).await;
    assert!(broken.starts_with("HTTP/1.1 400 "), "{broken}");
    let xml_only = bench.exchange(&to("orders_in", "{}")).await;
    assert!(xml_only.starts_with("HTTP/1.1 400 "), "{xml_only}");
    let (most, last) = uuid.split_at(uuid.len() - 1);
    let forged = format!("{most}{}", if last == "0" { "1" } else { "0" });
    let unknown = bench.exchange(&get(&format!("/toy/{forged}"), CLOSE)).await;
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
}

const CLOSE: &str = "Connection: close\r\n";

async fn read_head(client: &mut Client) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_request_is_answered_with_all_headers() {
    let bench = Bench::start(Limits::default()).await;
    let with_id = format!("{CLOSE}X-Request-Id: my-id_1.2\r\n");
    let answer = bench.exchange(&get(QUEUE, &with_id)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for header in [
        "cache-control: no-store",
        "content-security-policy: default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "content-length: 31",
        "content-type: text/plain; charset=utf-8",
        "strict-transport-security: max-age=31536000",
        "x-content-type-options: nosniff",
        "x-request-id: my-id_1.2",
    ] {
        assert!(
            answer.contains(&format!("\r\n{header}\r\n")),
            "{header} in {answer}"
        );
    }
    assert!(
        answer.ends_with("\r\n\r\n20261122T045748.123Z-00042.xml\n"),
        "{answer}"
    );
    let answer = bench
        .exchange(&get(QUEUE, &format!("{CLOSE}X-Request-Id: a b\r\n")))
        .await;
    assert!(!answer.contains("a b"), "{answer}");
}

#[tokio::test]
async fn credentials_come_before_everything_but_the_host_and_the_dialect() {
    let bench = Bench::start(Limits::default()).await;
    let ask = async |target: &str, host: &str, more: &str| {
        let request = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\n{more}{CLOSE}\r\n");
        let answer = bench.exchange(&request).await;
        (answer.get(9..12).unwrap_or_default().to_owned(), answer)
    };
    let (status, answer) = ask("/xml/nothing", "localhost", "").await;
    assert_eq!(status, "401", "{answer}");
    let challenge = "www-authenticate: Basic realm=\"jobs\", charset=\"UTF-8\"";
    assert!(answer.contains(challenge), "{answer}");
    let wrong = "Authorization: Basic Z29vZDp3cm9uZw==\r\n";
    assert_eq!(ask(QUEUE, "localhost", wrong).await.0, "401");
    assert_eq!(
        ask(QUEUE, "localhost", &format!("{LOGIN}{LOGIN}")).await.0,
        "401"
    );
    assert_eq!(ask("/other", "localhost", "").await.0, "404");
    assert_eq!(ask("/xml/nothing", "LOCALHOST.:99", LOGIN).await.0, "404");
    assert_eq!(ask(QUEUE, "elsewhere", LOGIN).await.0, "421");
    assert_eq!(
        ask(QUEUE, "localhost", "Host: localhost\r\n").await.0,
        "400"
    );
    let hostless = |version: &str| format!("GET {QUEUE} HTTP/{version}\r\n{LOGIN}{CLOSE}\r\n");
    let answer = bench.exchange(&hostless("1.1")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("content-type: text/plain"), "{answer}");
    let long = format!("/xml/{}", "x".repeat(9000));
    assert_eq!(ask(&long, "localhost", "").await.0, "414");
}

#[tokio::test]
async fn guessing_is_slowed_down_for_the_guesser_only() {
    let bench = Bench::start(Limits::default()).await;
    let known = get(QUEUE, CLOSE);
    assert!(bench.exchange(&known).await.starts_with("HTTP/1.1 200 "));
    let mut slowed = None;
    // Some failures are free, and each one after them waits twice as long as the one before.
    for guess in 10..30 {
        let login = format!("other:{guess}");
        let login = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, login);
        let guess = format!(
            "GET {QUEUE} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {login}\r\n{CLOSE}\r\n"
        );
        let answer = bench.exchange(&guess).await;
        if !answer.starts_with("HTTP/1.1 401 ") {
            slowed = Some(answer);
            break;
        }
    }
    let answer = slowed.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    let (_, retry_after) = answer.split_once("\r\nretry-after: ").unwrap();
    let seconds: u32 = retry_after.split_once('\r').unwrap().0.parse().unwrap();
    assert!(seconds > 0, "{answer}");
    assert!(bench.exchange(&known).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn silent_and_slow_clients_cost_a_timeout() {
    let bench = Bench::start(short()).await;
    // No handshake at all.
    let mut mute = TcpStream::connect(bench.address).await.unwrap();
    // A handshake, then silence; half an HTTP/2 preface; a head that never ends.
    let mut silent = bench.connect(b"http/1.1").await;
    let mut half_preface = bench.connect(b"h2").await;
    half_preface.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let mut half_head = bench.connect(b"http/1.1").await;
    half_head
        .write_all(b"GET /xml/job HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    // A second head that never ends, after an answer.
    let mut second_head = bench.connect(b"http/1.1").await;
    second_head
        .write_all((get(QUEUE, "") + "GET /x").as_bytes())
        .await
        .unwrap();
    assert_eq!(mute.read(&mut [0]).await.unwrap_or_default(), 0);
    assert_eq!(read_to_end(&mut silent).await, "");
    read_to_end(&mut half_preface).await;
    assert_eq!(read_to_end(&mut half_head).await, "");
    assert!(
        read_to_end(&mut second_head)
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_body_that_stalls_is_told_so_and_discarded() {
    let bench = Bench::start(short()).await;
    let declared = "Content-Length: 1000\r\n";
    let answer = bench.exchange(&post("/xml/upload", declared, "<a>")).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(bench.tenant.is_tidy());
    let large = format!("Content-Length: {}\r\n", PART_BYTES + 1);
    let request = post("/xml/upload", &large, &"x".repeat(PART_BYTES));
    let answer = bench.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(bench.tenant.is_tidy());
    assert!(bench.tenant.accepted().is_empty());
    let answer = bench
        .exchange(&post("/xml/jobqueue", declared, "Interf"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let bench = Bench::start(short()).await;
    bench.tenant.put_job(BIG);
    let mut h1 = bench.connect(b"http/1.1").await;
    h1.write_all(get(JOB, "").as_bytes()).await.unwrap();
    assert!(read_head(&mut h1).await.starts_with("HTTP/1.1 200 OK"));
    until("the download is given up", || bench.is_idle()).await;
    assert!(bench.tenant.is_waiting());
    // An HTTP/2 client whose connection is alive and whose stream is not read.
    let (mut sender, connection) = h2_client(&bench).await;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(h2_get(JOB)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    until("the stream is given up", || bench.is_idle()).await;
    assert!(bench.tenant.is_waiting());
    drop((h1, answer, connection));
}

#[tokio::test]
async fn heads_have_limits() {
    let bench = Bench::start(Limits::default()).await;
    let large = format!("X-Large: {}\r\n", "x".repeat(200_000));
    let answer = bench.exchange(&get(QUEUE, &large)).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many: String = (0..101).map(|n| format!("X-{n}: x\r\n")).collect();
    let answer = bench.exchange(&get(QUEUE, &many)).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let bench = Bench::start(Limits::default()).await;
    let garbage = get(QUEUE, "") + "\x00\x01 garbage\r\n\r\n" + &get(QUEUE, "");
    let answer = bench.exchange(&garbage).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 400").count(), 1, "{answer}");
    let answer = bench.exchange(&get(QUEUE, CLOSE)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let limits = Limits {
        per_address_max: 2,
        ..Limits::default()
    };
    let bench = Bench::start(limits).await;
    let first = bench.connect(b"http/1.1").await;
    let mut second = bench.connect(b"http/1.1").await;
    let mut third = TcpStream::connect(bench.address).await.unwrap();
    assert_eq!(third.read(&mut [0]).await.unwrap_or_default(), 0);
    second
        .write_all(get(QUEUE, CLOSE).as_bytes())
        .await
        .unwrap();
    assert!(read_to_end(&mut second).await.starts_with("HTTP/1.1 200"));
    drop((first, second));
    // A place comes back once the server has noticed; connecting before that is refused again.
    let again = async {
        loop {
            if let Ok(mut client) = bench.try_connect(b"http/1.1").await
                && client.write_all(get(QUEUE, CLOSE).as_bytes()).await.is_ok()
            {
                return read_to_end(&mut client).await;
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(20), again).await;
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_upload_is_committed_whole_or_not_at_all() {
    let bench = Bench::start(Limits::default()).await;
    let declared = format!("{CLOSE}Content-Length: 4\r\n");
    let answer = bench
        .exchange(&post("/xml/upload", &declared, "<a/>"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    let chunked = format!("{CLOSE}Transfer-Encoding: chunked\r\n");
    let body = "2\r\n<a\r\n2\r\n/>\r\n0\r\n\r\n";
    let answer = bench.exchange(&post("/xml/upload", &chunked, body)).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    let large = format!("<a>{}</a>", "<b/>".repeat(PART_BYTES / 4));
    let declared = format!("{CLOSE}Content-Length: {}\r\n", large.len());
    let answer = bench
        .exchange(&post("/xml/upload", &declared, &large))
        .await;
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    assert!(bench.tenant.accepted() == ["<a/>", "<a/>", &large]);

    // Cut off in a declared body and in a chunked one, in memory and with a part in `tmp`.
    let chunk = format!("{PART_BYTES:x}\r\n{}\r\n", "x".repeat(PART_BYTES));
    let declared = format!("Content-Length: {}\r\n", 2 * PART_BYTES);
    for (headers, body, n_parts) in [
        ("Content-Length: 10\r\n", "<a/>", 0),
        (&chunked, "4\r\n<a/>\r\n", 0),
        (&declared, &large[..PART_BYTES], 1),
        (&chunked, &chunk, 1),
    ] {
        let mut client = bench.connect(b"http/1.1").await;
        let request = post("/xml/upload", headers, body);
        client.write_all(request.as_bytes()).await.unwrap();
        until("the body begins", || {
            bench.tenant.uploads() == 1 && bench.tenant.files("tmp").len() == n_parts
        })
        .await;
        client.shutdown().await.unwrap();
        drop(client);
        until("discarded", || bench.tenant.is_tidy()).await;
    }
    assert_eq!(bench.tenant.accepted().len(), 3);
    assert!(bench.is_idle());
}

#[tokio::test]
async fn a_refused_upload_never_sends_its_body() {
    let bench = Bench::start(Limits::default()).await;
    let expect = |n_bytes: u64| format!("Content-Length: {n_bytes}\r\nExpect: 100-continue\r\n");
    let answer = bench
        .exchange(&post("/xml/upload", &expect(UPLOAD_BYTES_MAX + 1), ""))
        .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(bench.tenant.is_tidy());

    let mut client = bench.connect(b"http/1.1").await;
    client
        .write_all(post("/xml/upload", &expect(4), "").as_bytes())
        .await
        .unwrap();
    assert!(
        read_head(&mut client)
            .await
            .starts_with("HTTP/1.1 100 Continue")
    );
    assert_eq!(bench.tenant.uploads(), 1);
    client.write_all(b"<a/>").await.unwrap();
    assert!(
        read_head(&mut client)
            .await
            .starts_with("HTTP/1.1 201 Created")
    );
}

/// A client that sends everything before it reads still gets the answer, not a reset.
#[tokio::test]
async fn the_answer_reaches_a_client_that_is_still_sending() {
    let bench = Bench::start(Limits::default()).await;
    let n_bytes = usize::try_from(2 * UPLOAD_BYTES_MAX).unwrap();
    let declared = format!("Content-Length: {n_bytes}\r\n");
    let request = post("/xml/upload", &declared, &"x".repeat(n_bytes));
    let answer = bench.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let chunk = "x".repeat(1 << 16);
    let mut body = String::new();
    for _ in 0..n_bytes >> 16 {
        body += &format!("10000\r\n{chunk}\r\n");
    }
    let request = post("/xml/upload", "Transfer-Encoding: chunked\r\n", &body);
    let answer = bench.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(bench.tenant.is_tidy());
    assert!(bench.tenant.accepted().is_empty());
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let bench = Bench::start(Limits::default()).await;
    let panics = post(PANICS, "Content-Length: 4\r\n", "<a/>");
    let answer = bench.exchange(&(panics + &get(QUEUE, CLOSE))).await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(
        answer.contains("\ninternal error\nHTTP/1.1 200 OK"),
        "{answer}"
    );
    assert!(bench.tenant.is_tidy());
    // The job was safe before the panic, and is still.
    assert_eq!(bench.tenant.accepted(), ["<a/>"]);
}

#[tokio::test]
async fn a_fetch_completes_once_and_only_whole() {
    let bench = Bench::start(Limits::default()).await;
    bench.tenant.put_job(BIG);
    let head = get(JOB, CLOSE).replacen("GET", "HEAD", 1);
    let answer = bench.exchange(&head).await;
    assert!(
        answer.contains(&format!("content-length: {BIG}\r\n")),
        "{answer}"
    );
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(bench.is_idle() && bench.tenant.is_waiting());

    let mut leaver = bench.connect(b"http/1.1").await;
    leaver.write_all(get(JOB, CLOSE).as_bytes()).await.unwrap();
    let mut begin = vec![0; 1 << 20];
    leaver.read_exact(&mut begin).await.unwrap();
    assert!(!bench.is_idle());
    drop(leaver);
    until("broken off", || bench.is_idle()).await;
    assert!(bench.tenant.is_waiting());

    // A client that has the whole job does not see it queued any more, however soon it asks.
    let answer = bench.exchange(&(get(JOB, "") + &get(QUEUE, CLOSE))).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let (body, next) = body.split_at(usize::try_from(BIG).unwrap());
    assert!(body.bytes().all(|byte| byte == 0));
    assert!(next.starts_with("HTTP/1.1 200 OK\r\n"), "{next}");
    assert!(next.contains("\r\ncontent-length: 0\r\n"), "{next}");
    assert!(bench.tenant.path(FETCHED).is_file());
    assert!(!bench.tenant.path(WAITING).exists());
    assert_eq!(bench.tenant.files("joblog").len(), 1);
    // It can be fetched again, and stays where it is.
    let answer = bench.exchange(&get(JOB, CLOSE)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"));
    until("sent", || bench.is_idle()).await;
    assert_eq!(bench.tenant.files("bak").len(), 1);
}

/// What the server's kernel holds of an answer is not what the client has.
#[tokio::test]
async fn a_fetch_that_the_client_never_received_does_not_count() {
    const N_BYTES: usize = 500_000;
    let bench = Bench::start(patient()).await;
    bench.tenant.put_job(N_BYTES as u64);
    let mut client = bench.connect_with_little_room(b"http/1.1").await;
    client.write_all(get(JOB, "").as_bytes()).await.unwrap();
    until("all is on its way", || {
        bench.queued_bytes() > N_BYTES - 50_000
    })
    .await;
    let answer = bench.exchange(&get(QUEUE, CLOSE)).await;
    assert!(answer.ends_with("Z-00042.xml\n"), "{answer}");
    // A reset.
    client.get_ref().0.set_zero_linger().unwrap();
    drop(client);
    until("broken off", || bench.is_idle()).await;
    assert!(bench.tenant.is_waiting());
}

/// It closes as soon as it has the document: what the server says after that meets a reset.
#[tokio::test]
async fn a_client_that_closes_at_once_has_its_document() {
    for (headers, n_bytes) in [("", 100), (CLOSE, 100), ("", 1 << 20), (CLOSE, 1 << 20)] {
        let bench = Bench::start(patient()).await;
        bench.tenant.put_job(n_bytes);
        let mut client = bench.connect(b"http/1.1").await;
        client
            .write_all(get(JOB, headers).as_bytes())
            .await
            .unwrap();
        read_head(&mut client).await;
        let mut document = vec![0; usize::try_from(n_bytes).unwrap()];
        client.read_exact(&mut document).await.unwrap();
        drop(client);
        let answer = bench.exchange(&get(QUEUE, CLOSE)).await;
        assert!(answer.contains("\r\ncontent-length: 0\r\n"), "{answer}");
        assert!(bench.tenant.path(FETCHED).is_file(), "{headers}{n_bytes}");
    }
}

/// What hyper holds of an answer is not what the client has.
#[tokio::test]
async fn http2_fetches_complete_by_what_the_window_let_through() {
    let bench = Bench::start(patient()).await;
    bench.tenant.put_job(200 << 10);
    let io = TokioIo::new(bench.connect(b"h2").await);
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535);
    let (mut sender, connection) = builder.handshake(io).await.unwrap();
    let connection = tokio::spawn(connection);
    let fetch = sender.send_request(h2_get(JOB)).await.unwrap();
    // Other answers are flushed meanwhile.
    for _ in 0..3 {
        let head = sender.send_request(h2_request("HEAD", JOB, Bytes::new()));
        assert_eq!(head.await.unwrap().status(), StatusCode::OK);
    }
    assert!(!bench.is_idle());
    assert!(bench.tenant.is_waiting());
    drop(fetch);
    until("broken off", || bench.is_idle()).await;
    assert!(bench.tenant.is_waiting());
    let fetch = sender.send_request(h2_get(JOB)).await.unwrap();
    let body = fetch.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes().len(), 200 << 10);
    until("completed", || bench.is_idle()).await;
    assert!(bench.tenant.path(FETCHED).is_file());
    drop(connection);
}

type H2Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn h2_client(bench: &Bench) -> (H2Sender, impl Future<Output = hyper::Result<()>> + use<>) {
    let io = TokioIo::new(bench.connect(b"h2").await);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    handshake.await.unwrap()
}

fn h2_request(method: &str, target: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("https://localhost{target}"))
        .header("authorization", "Basic Z29vZDpnb29k")
        .body(Full::new(body))
        .unwrap()
}

fn h2_get(target: &str) -> Request<Full<Bytes>> {
    h2_request("GET", target, Bytes::new())
}

#[tokio::test]
async fn http2_does_the_same() {
    let bench = Bench::start(patient()).await;
    bench.tenant.put_job(1 << 20);
    let (mut sender, connection) = h2_client(&bench).await;
    let connection = tokio::spawn(connection);
    let upload = h2_request("POST", "/xml/upload", Bytes::from("<a/>"));
    let answer = sender.send_request(upload).await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let too_large = vec![b'x'; usize::try_from(UPLOAD_BYTES_MAX).unwrap() + 1];
    let upload = h2_request("POST", "/xml/upload", too_large.into());
    let answer = sender.send_request(upload).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(bench.tenant.accepted(), ["<a/>"]);
    let head = sender
        .send_request(h2_request("HEAD", JOB, Bytes::new()))
        .await
        .unwrap();
    assert_eq!(head.headers()["content-length"], "1048576");
    assert!(
        head.into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
    assert!(bench.tenant.is_waiting());
    let fetch = sender.send_request(h2_get(JOB)).await.unwrap();
    assert_eq!(
        fetch.into_body().collect().await.unwrap().to_bytes().len(),
        1 << 20
    );
    until("completed", || bench.is_idle()).await;
    assert!(bench.tenant.path(FETCHED).is_file());
    // A refused HEAD has no body either.
    let refused = h2_request("HEAD", QUEUE, Bytes::new());
    let refused = sender.send_request(refused).await.unwrap();
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    let body = refused.into_body().collect().await.unwrap();
    assert!(body.to_bytes().is_empty());
    let panics = h2_request("POST", PANICS, Bytes::from("<a/>"));
    let panics = sender.send_request(panics).await.unwrap();
    assert_eq!(panics.status(), StatusCode::INTERNAL_SERVER_ERROR);
    // A stream that the client resets breaks its download off.
    std::fs::remove_file(bench.tenant.path(FETCHED)).unwrap();
    bench.tenant.put_job(BIG);
    let fetch = sender.send_request(h2_get(JOB)).await.unwrap();
    assert!(!bench.is_idle());
    drop(fetch);
    until("broken off", || bench.is_idle()).await;
    assert!(bench.tenant.path(WAITING).is_file());
    assert!(bench.tenant.files("bak").is_empty());
    // The stop is announced by GOAWAY and the connection ends.
    bench.stop.cancel();
    bench.server.await.unwrap();
    drop(connection);
}

/// One frame of HTTP/2.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream: u32 = if kind == PRIORITY { 1 } else { 0 };
    let head = [&length[1..], &[kind, 0], &stream.to_be_bytes()];
    [&head.concat(), payload].concat()
}

const PRIORITY: u8 = 2;
const GOAWAY: u8 = 7;

/// The kinds of the frames that the server sends until it closes.
async fn frames_to_the_end(mut from: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut kinds = Vec::new();
    loop {
        let mut head = [0; 9];
        if from.read_exact(&mut head).await.is_err() {
            return kinds;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if from.read_exact(&mut payload).await.is_err() {
            return kinds;
        }
        kinds.push(head[3]);
    }
}

#[tokio::test]
async fn http2_floods_of_what_moves_no_request_are_ended() {
    // Nothing else ends these connections so soon.
    let limits = Limits {
        lingering_close_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let bench = Bench::start(limits).await;
    for (kind, payload) in [
        (PRIORITY, &[0, 0, 0, 3, 9][..]),
        (4, &[0, 4, 0, 1, 0, 0]),
        (6, b"pingping"),
        (8, &[0, 0, 0, 1]),
    ] {
        let (from, mut to) = tokio::io::split(bench.connect(b"h2").await);
        to.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        to.write_all(&frame(4, &[])).await.unwrap();
        let listener = tokio::spawn(frames_to_the_end(from));
        let flood = frame(kind, payload).repeat(1000);
        let mut n_bytes = 0;
        // Besides what was taken there is what the kernels hold.
        while to.write_all(&flood).await.is_ok() {
            n_bytes += flood.len();
            assert!(n_bytes < 32 << 20, "{kind}: it does not end");
        }
        let kinds = listener.await.unwrap();
        assert!(kinds.contains(&GOAWAY), "{kind}: {kinds:?}");
    }
}

#[tokio::test]
async fn strangers_make_room_and_who_has_logged_in_stays() {
    let limits = Limits {
        connections_max: 3,
        ..patient()
    };
    let bench = Bench::start(limits).await;
    let mut known = bench.connect(b"http/1.1").await;
    known.write_all(get(QUEUE, "").as_bytes()).await.unwrap();
    read_head(&mut known).await;
    let mut strangers = Vec::new();
    for _ in 0..8 {
        strangers.push(TcpStream::connect(bench.address).await.unwrap());
    }
    // In spite of those who only sit there.
    let answer = bench.exchange(&get(QUEUE, CLOSE)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(strangers[0].read(&mut [0]).await.unwrap_or_default(), 0);
    let mut rest = [0; 31];
    known.read_exact(&mut rest).await.unwrap();
    known.write_all(get(QUEUE, CLOSE).as_bytes()).await.unwrap();
    let answer = read_to_end(&mut known).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

/// Trusts the tests' own address.
fn behind_a_proxy(proxy_protocol: bool) -> Limits {
    let own = "127.0.0.1".parse().unwrap();
    Limits {
        proxy_protocol,
        trusted_proxies: Arc::new(FromIterator::from_iter([own])),
        ..Limits::default()
    }
}

#[tokio::test]
async fn behind_a_proxy_guessers_keep_nobody_else_out() {
    let bench = Bench::start(behind_a_proxy(false)).await;
    let ask = async |login: &str, client: &str| {
        let request = format!(
            "GET {QUEUE} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\n{login}{CLOSE}\r\n"
        );
        bench.exchange(&request).await[9..12].to_owned()
    };
    let guess = |n: u32| {
        let login = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("u{n}:x"));
        format!("Authorization: Basic {login}\r\n")
    };
    for n in 0..21 {
        // What a client writes in front of it changes nothing.
        let client = format!("192.0.2.{n}, 203.0.113.1");
        assert_eq!(ask(&guess(n), &client).await, "401");
    }
    assert_eq!(ask(&guess(99), "203.0.113.1").await, "429");
    assert_eq!(ask(&guess(99), "203.0.113.2").await, "401");
    assert_eq!(ask(LOGIN, "203.0.113.3").await, "200");
    let both = "203.0.113.3\r\nForwarded: for=203.0.113.4";
    assert_eq!(ask(LOGIN, both).await, "400");
}

#[tokio::test]
async fn a_proxy_says_for_whom_a_connection_is() {
    let limits = Limits {
        per_address_max: 1,
        ..behind_a_proxy(true)
    };
    let bench = Bench::start(limits).await;
    let connect = async |header: &[u8]| {
        let mut tcp = TcpStream::connect(bench.address).await.unwrap();
        tcp.write_all(header).await.unwrap();
        bench.secure(tcp, b"http/1.1").await
    };
    let first = b"PROXY TCP4 192.0.2.1 192.0.2.9 5000 443\r\n";
    let mut client = connect(first).await.unwrap();
    assert!(connect(first).await.is_err(), "the client has one already");
    let binary = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..],
        &[192, 0, 2, 2, 192, 0, 2, 9, 1, 1, 1, 187],
    ];
    let mut other = connect(&binary.concat()).await.unwrap();
    let mut itself = connect(b"PROXY UNKNOWN\r\n").await.unwrap();
    for client in [&mut client, &mut other, &mut itself] {
        client
            .write_all(get(QUEUE, CLOSE).as_bytes())
            .await
            .unwrap();
        let answer = read_to_end(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    for bad in [&b""[..], b"PROXY TCP4 192.0.2.1\r\n"] {
        assert!(connect(bad).await.is_err());
    }
}

#[tokio::test]
async fn what_others_say_for_whom_they_speak_counts_for_nothing() {
    let limits = Limits {
        proxy_protocol: true,
        trusted_proxies: Arc::new(FromIterator::from_iter(["10.0.0.1".parse().unwrap()])),
        ..Limits::default()
    };
    let bench = Bench::start(limits).await;
    let plain = bench.exchange(&get(QUEUE, CLOSE)).await;
    assert!(plain.starts_with("HTTP/1.1 200 OK"), "{plain}");
    for header in [
        "PROXY TCP4 192.0.2.1 192.0.2.9 5000 443\r\n",
        "\r\n\r\n\0\r\nQUIT\n",
    ] {
        let mut client = TcpStream::connect(bench.address).await.unwrap();
        client.write_all(header.as_bytes()).await.unwrap();
        // Closed or reset, without a word.
        assert_eq!(client.read(&mut [0]).await.unwrap_or_default(), 0);
    }
    let both = "X-Forwarded-For: 203.0.113.3\r\nForwarded: for=203.0.113.4\r\n";
    let answer = bench.exchange(&get(QUEUE, &format!("{both}{CLOSE}"))).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_page_of_another_site_uploads_nothing() {
    let bench = Bench::start(Limits::default()).await;
    let upload = |headers: &str| {
        let headers = format!("{headers}{CLOSE}Content-Length: 4\r\n");
        post("/xml/upload", &headers, "<a/>")
    };
    for headers in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: https://b.example\r\n",
    ] {
        let answer = bench.exchange(&upload(headers)).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    assert!(bench.tenant.is_tidy() && bench.tenant.accepted().is_empty());
    let own = bench
        .exchange(&upload("Origin: https://localhost\r\n"))
        .await;
    assert!(own.starts_with("HTTP/1.1 201 "), "{own}");
}

#[tokio::test]
async fn http_on_the_tls_port_is_answered_in_words() {
    let bench = Bench::start(Limits::default()).await;
    for request in [get(QUEUE, ""), post("/xml/upload", "", "")] {
        let answer = in_clear(bench.address, &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
            "{answer}"
        );
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(
            answer.ends_with("write https:// in place of http://\n"),
            "{answer}"
        );
    }
    assert!(bench.tenant.is_tidy() && bench.tenant.is_waiting());
    let garbage = in_clear(bench.address, "\0\0\r\n\r\n").await;
    assert!(!garbage.contains("HTTP/"), "{garbage:?}");
}

#[tokio::test]
async fn curl_is_content() {
    let bench = Bench::start(Limits::default()).await;
    for version in ["--http1.1", "--http2"] {
        let port = bench.address.port();
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["-sS", version, "-u", "good:good", "--cacert"])
            .arg(bench.certificate())
            .args(["-w", "%{http_code} %{http_version}"])
            .args(["--data-urlencode", "Interfacename=orders_out"])
            .arg(format!("https://localhost:{port}/xml/jobqueue"))
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
        let Ok(output) = curl.output().await else {
            assert!(std::env::var_os("CI").is_none(), "curl is missing");
            eprintln!("skipped: curl is missing");
            return;
        };
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
        let version = if version == "--http2" { "2" } else { "1.1" };
        let expected = format!("20261122T045748.123Z-00042.xml\n200 {version}");
        assert_eq!(out, expected, "{}", String::from_utf8_lossy(&err));
    }
}

#[tokio::test]
async fn a_stop_lets_running_requests_finish() {
    let bench = Bench::start(patient()).await;
    let mut idle = bench.connect(b"http/1.1").await;
    idle.write_all(get(QUEUE, "").as_bytes()).await.unwrap();
    read_head(&mut idle).await;
    let mut busy = bench.connect(b"http/1.1").await;
    let waits = post("/xml/upload", "Content-Length: 4\r\n", "<a/>");
    let stall = bench.stall();
    busy.write_all(waits.as_bytes()).await.unwrap();
    until("in the commit", || stall.held() > 0).await;
    bench.stop.cancel();
    read_to_end(&mut idle).await;
    assert!(!bench.server.is_finished());
    drop(stall);
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    bench.server.await.unwrap();
    // Its port may be another test's for a while.
    let connect = || std::net::TcpStream::connect(bench.address);
    until("nobody listens there", || connect().is_err()).await;
}

#[tokio::test]
async fn a_stop_answers_who_has_just_connected() {
    let bench = Bench::start(patient()).await;
    let mut new = bench.connect(b"http/1.1").await;
    bench.stop.cancel();
    let connect = || std::net::TcpStream::connect(bench.address);
    until("it listens no more", || connect().is_err()).await;
    new.write_all(get(QUEUE, "").as_bytes()).await.unwrap();
    let answer = read_to_end(&mut new).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_stop_waits_for_no_one_who_says_nothing() {
    let limits = Limits {
        handshake_timeout: 4 * PATIENCE,
        header_timeout: 4 * PATIENCE,
        ..short()
    };
    let bench = Bench::start_with(limits, 4 * PATIENCE).await;
    let silent = TcpStream::connect(bench.address).await.unwrap();
    // Accepted after the other.
    let secured = bench.connect(b"http/1.1").await;
    bench.stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, bench.server).await;
    ended.unwrap().unwrap();
    drop((silent, secured));
}

#[tokio::test]
async fn a_stop_cuts_at_its_deadline_but_no_commit() {
    let bench = Bench::start_with(Limits::default(), Duration::from_millis(50)).await;
    let mut busy = bench.connect(b"http/1.1").await;
    let waits = post("/xml/upload", "Content-Length: 4\r\n", "<a/>");
    let stall = bench.stall();
    busy.write_all(waits.as_bytes()).await.unwrap();
    until("in the commit", || stall.held() > 0).await;
    bench.stop.cancel();
    assert_eq!(read_to_end(&mut busy).await, "");
    bench.server.await.unwrap();
    assert_eq!(bench.tenant.uploads(), 1);
    drop(stall);
    until("committed", || bench.tenant.is_tidy()).await;
    assert_eq!(bench.tenant.accepted(), ["<a/>"]);
}

#[test]
fn a_host_chooses_its_site() {
    let tenant = Tenant::new();
    let hosts = VirtualHosts::new(vec![
        tenant.virtual_host("a", &["A.example.org", "::1"]),
        tenant.virtual_host("rest", &[]),
    ]);
    let tenant = |name: &str, is_default, hosts: &[&str]| Unserved {
        name: name.into(),
        is_default,
        hosts: hosts.iter().map(|host| (*host).into()).collect(),
        databases: vec![format!("{name}-db")],
    };
    let served = hosts
        .unwrap()
        .without(tenant("gone", false, &["Gone.example.org"]));
    assert!(served.is_unserved("gone") && served.is_unserved("gone-db"));
    let chosen = |uri: &str, hosts: &[&str], server_name: Option<&str>| {
        let mut request = Request::get(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        match served.choose(&head, server_name) {
            Choice::Served(host) => Some(host.name.clone()),
            Choice::Unserved => Some("503".to_owned()),
            Choice::Nobody => None,
        }
    };
    let unserved = Some("503".to_owned());
    assert_eq!(chosen("/", &["gone.example.org:1"], None), unserved);
    let (a, rest) = (Some("a".to_owned()), Some("rest".to_owned()));
    assert_eq!(chosen("/", &["a.example.org:8443"], None), a);
    assert_eq!(chosen("/", &["[::1]:8443"], None), a);
    assert_eq!(chosen("/", &["b.example.org"], Some("a.example.org")), rest);
    assert_eq!(chosen("/", &[], Some("a.example.org")), a);
    assert_eq!(chosen("/", &[], None), rest);
    assert_eq!(chosen("https://a.example.org/", &["b"], None), a);
    assert_eq!(chosen("/", &["a.example.org", "a.example.org"], None), None);
}

#[test]
fn a_path_names_a_tenant_or_one_of_its_databases() {
    let tenant = Tenant::new();
    let mut by_path = tenant.virtual_host("by-path", &[]);
    by_path.is_default = false;
    by_path.databases = vec!["erp".into(), "crm".into()];
    let hosts = VirtualHosts::new(vec![tenant.virtual_host("rest", &[]), by_path]).unwrap();
    let named = |name: &str| hosts.named(name).map(|host| host.name.as_str());
    for name in ["by-path", "erp", "crm"] {
        assert_eq!(named(name), Some("by-path"), "{name}");
    }
    assert_eq!(named("rest"), Some("rest"));
    assert_eq!((named("ERP"), named("")), (None, None));
}

#[test]
fn sites_that_contradict_each_other_are_refused() {
    let tenant = Tenant::new();
    let host = |name: &str, hosts: &[&str]| tenant.virtual_host(name, hosts);
    let error = |all| VirtualHosts::new(all).err().map(|error| error.to_string());
    let twice = error(vec![host("a", &["x"]), host("b", &["y", "X."])]);
    let expected = "the host x belongs to two tenants, a and b; leave it to one";
    assert_eq!(twice.as_deref(), Some(expected));
    let defaults = error(vec![host("a", &[]), host("b", &[])]);
    let expected = "the tenants a and b are both the default; only one can be";
    assert_eq!(defaults.as_deref(), Some(expected));
    let mut quoted = host("a", &[]);
    quoted.realm = "\"jobs\"".into();
    assert!(error(vec![quoted]).is_some());
}

/// What a client without TLS gets for `request`.
async fn in_clear(address: std::net::SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_plain_port_says_403_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let limits = Limits::default();
    let server = tokio::spawn(serve_plain(
        listener,
        limits,
        Listener::default(),
        (stop.clone(), Arc::new(|| Duration::ZERO)),
    ));
    for request in [
        get(QUEUE, ""),
        post("/xml/upload", "Content-Length: 1000\r\n", "<a>"),
        "DELETE / HTTP/1.0\r\n\r\n".into(),
    ] {
        let answer = in_clear(address, &request).await;
        assert!(
            answer.starts_with("HTTP/1.") && answer[8..].starts_with(" 403 "),
            "{answer}"
        );
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nuse https\n"), "{answer}");
    }
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (mut sender, connection) = client.await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(h2_get(QUEUE)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    drop((sender, connection));
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn the_ops_port_tells_health() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let trouble = Arc::new(Mutex::new(Report::default()));
    let readiness = trouble.clone();
    let readiness: Arc<Readiness> = Arc::new(move || {
        let report = readiness.lock().unwrap().clone();
        Box::pin(std::future::ready(report))
    });
    let scrape: Arc<Scrape> = Arc::new(|is_healthy| {
        let text = format!("healthy {is_healthy}\n");
        Box::pin(std::future::ready(text))
    });
    let ops = Arc::new(Ops { readiness, scrape });
    let metrics = Listener::default();
    let connections = metrics.connections.clone();
    let server = tokio::spawn(serve_ops(listener, ops, metrics, stop.clone()));
    let ask = async |request: &str| {
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n");
        in_clear(address, &request).await[9..12].to_owned()
    };
    assert_eq!(ask("GET /readyz").await, "200");
    assert_eq!(ask("GET /readyz?strict").await, "200");
    trouble
        .lock()
        .unwrap()
        .warnings
        .push("a queue is full".into());
    assert_eq!(ask("GET /readyz").await, "200");
    assert_eq!(ask("GET /readyz?strict").await, "503");
    let get = format!("GET /readyz HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n");
    let all = in_clear(address, &get).await;
    assert!(
        all.ends_with("\r\n\r\nok\nwarning: a queue is full\n"),
        "{all}"
    );
    {
        let mut report = trouble.lock().unwrap();
        report.warnings.clear();
        report.holds.push("a is held".into());
    }
    assert_eq!(ask("GET /readyz?strict").await, "503");
    assert_eq!(ask("GET /readyz?strict&holds=no").await, "200");
    let get = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{CLOSE}\r\n");
    let all = in_clear(address, &get).await;
    assert!(
        all.contains("content-type: application/openmetrics-text")
            && all.ends_with("healthy true\n"),
        "{all}"
    );
    trouble.lock().unwrap().down = Some("the spool is read-only".into());
    let all = in_clear(address, &get).await;
    assert!(all.ends_with("healthy false\n"), "{all}");
    assert_eq!(ask("POST /metrics").await, "405");
    assert_eq!(ask("GET /livez").await, "200");
    assert_eq!(ask("GET /readyz").await, "503");
    assert_eq!(ask("POST /readyz").await, "405");
    assert_eq!(ask("GET /").await, "404");
    until("they are closed", || connections.get() == 0).await;
    let open = TcpStream::connect(address).await.unwrap();
    until("it is counted", || connections.get() == 1).await;
    drop(open);
    until("it is counted no more", || connections.get() == 0).await;
    stop.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn each_request_has_one_line_in_the_log() {
    let lines = Lines::default();
    let sink = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || sink.clone())
        .with_ansi(false)
        .finish();
    // While only one subscriber exists, a log statement that another test's thread reaches first
    // would stay switched off for all threads.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);
    let bench = Bench::start(Limits::default()).await;
    let hostile = "/xml/a\u{9b}b?Jobname=secret";
    bench
        .exchange(&get(QUEUE, &format!("{CLOSE}X-Request-Id: one\r\n")))
        .await;
    bench
        .exchange(&get(hostile, &format!("{CLOSE}X-Request-Id: two\r\n")))
        .await;
    let agent = format!("evil\" reason=\"\u{9b}{}", "x".repeat(999));
    let headers = format!("{CLOSE}X-Request-Id: four\r\nUser-Agent: {agent}\r\n");
    bench.exchange(&get("/xml/jobqueue", &headers)).await;
    let mut client = bench.connect(b"http/1.1").await;
    let headers = format!(
        "Content-Length: {}\r\nX-Request-Id: three\r\n",
        PART_BYTES + 1
    );
    let upload = post("/xml/upload", &headers, &"<a>".repeat(PART_BYTES / 3));
    client.write_all(upload.as_bytes()).await.unwrap();
    until("the body begins", || !bench.tenant.files("tmp").is_empty()).await;
    drop(client);
    until("discarded", || bench.tenant.is_tidy()).await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = |id: &str| {
        let lines: Vec<_> = text.lines().filter(|line| line.contains(id)).collect();
        assert_eq!(lines.len(), 1, "{id} in {text}");
        lines[0].to_owned()
    };
    let one = line("request=\"one\"");
    for part in [
        "access:",
        "tenant=\"main\"",
        "user=\"good\"",
        "method=\"GET\"",
        "path=\"/xml/jobqueue\"",
        "status=200",
        "bytes_out=31",
        "dialect=\"dstore\"",
        "fault=\"\"",
        "end=\"complete\"",
    ] {
        assert!(one.contains(part), "{part} in {one}");
    }
    assert!(one.contains("reason=\"\" agent=\"\""), "{one}");
    let four = line("request=\"four\"");
    assert!(four.contains("status=400"), "{four}");
    assert!(four.contains("reason=\"parameter Interfacename"), "{four}");
    assert!(
        four.contains(r#"agent="evil\" reason=\"\u{9b}xxx"#),
        "{four}"
    );
    assert!(four.matches('x').count() < 300, "{four}");
    assert!(
        line("request=\"three\"").contains("end=\"aborted\""),
        "{text}"
    );
    for secret in ["secret", "Z29vZDpnb29k", "<a>", "\u{9b}"] {
        assert!(!text.contains(secret), "{secret:?} in {text}");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
