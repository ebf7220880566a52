//! A server on a free port with a certificate of its own, and clients that trust it.
//!
//! Behind it are a real service, a real spool in a temporary directory and a real users file, so
//! what became of a request is read where an operator would read it: in the directories. The one
//! thing of the tests' own is what the service tells when a job has arrived: one whose reference is
//! `panic` panics there.

use super::super::*;
use crate::{
    auth::{Grants, Right, Users, UsersFile, hash_password},
    cron_schedule::{Missed, Zone},
    domain::{InterfaceName, Job, JobName, KEY_BYTES, Seal},
    service::{
        AdmissionLimits, Cancelling, Direction, InFlight, Interface, Parts, ScheduleRules, Service,
        Slots, Visible, WorkerHandle,
    },
    store::{
        By, Cancelled,
        fs::{
            FileStore, Spool,
            faults::{Faults, Stall},
            testing::TestSpool,
        },
    },
    xml::{Schemas, Stylesheets, XsdSchema},
};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The user `good` with the password `good`.
pub(super) const LOGIN: &str = "Authorization: Basic Z29vZDpnb29k\r\n";
pub(super) const UPLOAD_BYTES_MAX: u64 = 4 << 20;
/// The job that waits in `orders_out`, and where it goes once it has been fetched.
pub(super) const WAITING: &str = "queue/orders_out/20261122T045748.123Z-00042.xml";
pub(super) const FETCHED: &str = "bak/orders_out/2026-11-22/20261122T045748.123Z-00042.xml";
/// Longer than anything here takes; what waits for so long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Hashing is slow on purpose: once for all tests.
static PASSWORD_HASH: LazyLock<String> = LazyLock::new(|| hash_password("good").unwrap());

pub(super) type Client = TlsStream<TcpStream>;

/// A tenant with `orders_in`, which takes every document whose root is `a`, and `orders_out`.
pub(super) struct Tenant {
    root: TempDir,
    service: Arc<Service>,
    spool: Arc<Spool>,
    in_flight: Arc<InFlight>,
    users: Arc<Users>,
}

pub(super) struct Bench {
    pub(super) address: SocketAddr,
    pub(super) server: JoinHandle<()>,
    pub(super) stop: CancellationToken,
    pub(super) tenant: Tenant,
    certificates: TempDir,
    /// How often the service is held while no request is.
    idle_handles: usize,
}

/// Timeouts that a test can wait for, but no client that behaves runs into.
pub(super) fn short() -> Limits {
    let short = Duration::from_secs(1);
    Limits {
        body_idle_timeout: short,
        lingering_close_timeout: short,
        handshake_timeout: short,
        header_timeout: short,
        keep_alive_timeout: short,
        send_idle_timeout: short,
        ..Limits::default()
    }
}

/// Nothing ends by a timeout of the server: what ends was told to.
pub(super) fn patient() -> Limits {
    Limits {
        lingering_close_timeout: 2 * PATIENCE,
        ..Limits::default()
    }
}

impl Tenant {
    pub(super) fn new() -> Self {
        let root = TempDir::new().unwrap();
        let interfaces = BTreeMap::from([
            interface("any_in", Direction::In, None),
            interface("orders_in", Direction::In, Some("a")),
            interface("orders_out", Direction::Out, None),
        ]);
        let spool = TestSpool::at(root.path())
            .interface("any_in")
            .interface("orders_in")
            .interface("orders_out")
            .clock(|| jiff::Timestamp::now().as_millisecond());
        let spool = spool.journal().open().unwrap();
        spool.start_journal();
        let in_flight = Arc::new(InFlight::default());
        let service = Service::new(Parts {
            metrics: crate::metrics::Tenant::default(),
            seal: Seal::new([7; KEY_BYTES]),
            store: Arc::new(FileStore::new(spool.clone())),
            interfaces,
            schemas: Arc::new(Schemas::open(
                &root.path().join("schemas"),
                Box::new(XsdSchema),
            )),
            stylesheets: Arc::new(Stylesheets::open(&root.path().join("xslt"))),
            // The disk that the tests run on may be nearly full.
            limits: AdmissionLimits {
                free_bytes_min: 0,
                free_inodes_min: 0,
                ..AdmissionLimits::default()
            },
            in_flight: in_flight.clone(),
            transforms: Slots::new(4, 2),
            worker: Box::new(Nobody),
            schedules: ScheduleRules {
                time_zone: Zone::UTC,
                clock_changes: Default::default(),
                missed: Missed::Once,
                saved: Box::new(|_| ()),
            },
        });
        Self {
            service: Arc::new(service),
            spool,
            in_flight,
            users: Arc::new(users(&root.path().join("users.toml"))),
            root,
        }
    }

    pub(super) fn virtual_host(&self, name: &str, hosts: &[&str]) -> VirtualHost {
        VirtualHost {
            name: name.into(),
            is_default: hosts.is_empty(),
            hosts: hosts.iter().map(|host| (*host).into()).collect(),
            databases: Vec::new(),
            service: self.service.clone(),
            users: self.users.clone(),
            realm: "jobs".into(),
        }
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    /// The files under a directory of the spool.
    pub(super) fn files(&self, dir: &str) -> Vec<PathBuf> {
        let entries = walkdir::WalkDir::new(self.path(dir)).sort_by_file_name();
        let entries = entries.into_iter().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().is_file());
        files.map(walkdir::DirEntry::into_path).collect()
    }

    /// What was uploaded and accepted, in the order of arrival.
    pub(super) fn accepted(&self) -> Vec<String> {
        let files = self.files("queue/orders_in");
        let contents = files.iter().map(std::fs::read_to_string);
        contents.map(Result::unwrap).collect()
    }

    /// Uploads under way, from their admission to the end of their commit.
    pub(super) fn uploads(&self) -> usize {
        self.in_flight.uploads()
    }

    /// No upload is under way, and those that were have left no part behind.
    pub(super) fn is_tidy(&self) -> bool {
        self.uploads() == 0 && self.files("tmp").is_empty() && self.files("joberrors").is_empty()
    }

    /// A job for `orders_out` of so many bytes, all of them zero.
    pub(super) fn put_job(&self, n_bytes: u64) {
        let job = std::fs::File::create(self.path(WAITING)).unwrap();
        job.set_len(n_bytes).unwrap();
        drop(job);
        let interface = "orders_out".parse().unwrap();
        let scan = || self.spool.scan(&interface).unwrap().ready.pop();
        // A child that is just being started may have the file open for a moment.
        crate::util::until::blocking("it is known", scan);
    }

    /// The job waits, as if no one had asked for it.
    pub(super) fn is_waiting(&self) -> bool {
        self.path(WAITING).is_file()
            && self.files("bak").is_empty()
            && self.files("joblog").is_empty()
    }
}

fn interface(name: &str, direction: Direction, root: Option<&str>) -> (InterfaceName, Interface) {
    let interface = Interface {
        direction,
        root: root.map(str::to_owned),
        namespace: None,
        schema: None,
        bytes_max: UPLOAD_BYTES_MAX,
        aliases: Vec::new(),
        questions: Vec::new(),
        visible: Visible::Interface,
        order_by: None,
    };
    (name.parse().unwrap(), interface)
}

fn users(path: &Path) -> Users {
    let mut grants = Grants::default();
    grants.set_rights("*".parse().unwrap(), Right::ALL.into());
    UsersFile::edit(path, |file| file.add("good", &PASSWORD_HASH, grants)).unwrap();
    Users::open(path, Seal::new([7; KEY_BYTES])).unwrap()
}

/// Works on no job.
struct Nobody;

impl WorkerHandle for Nobody {
    fn arrived(&self, _: &InterfaceName, job: &JobName) {
        assert_ne!(job.reference(), Some("panic"), "as ordered");
    }

    fn cancel(&self, _: JobName, _: By) -> Cancelling<'_> {
        Box::pin(std::future::ready(Ok(Cancelled::NotActive)))
    }

    fn eta_ms(&self, _: &Job) -> Option<i64> {
        None
    }
}

impl Bench {
    pub(super) async fn start(limits: Limits) -> Self {
        Self::start_with(limits, PATIENCE).await
    }

    /// From now on nothing becomes durable, and a commit waits.
    pub(super) fn stall(&self) -> Stall {
        Faults::of(self.tenant.root.path()).stall("write_at")
    }

    /// `deadline`: of the stop.
    pub(super) async fn start_with(limits: Limits, deadline: Duration) -> Self {
        let certificates = TempDir::new().unwrap();
        tls::generate(certificates.path(), &["localhost".into()]).unwrap();
        let key = certificates.path().join(tls::KEY_FILE);
        let certificate = certificates.path().join(tls::CERTIFICATE_FILE);
        let certificate = tls::Certificate::load(&certificate, &key).unwrap();
        let tenant = Tenant::new();
        tenant.put_job(100);
        let hosts = VirtualHosts::new(vec![tenant.virtual_host("main", &["localhost"])]).unwrap();
        let idle_handles = Arc::strong_count(&tenant.service);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve_tls(
            listener,
            Arc::new(certificate),
            (Arc::new(arc_swap::ArcSwap::from_pointee(hosts)), None),
            limits,
            Listener::default(),
            (stop.clone(), Arc::new(move || deadline)),
        ));
        Self {
            address,
            server,
            stop,
            tenant,
            certificates,
            idle_handles,
        }
    }

    /// Does no request, answer or commit hold the service?
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.tenant.service) == self.idle_handles
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.certificates.path().join(tls::CERTIFICATE_FILE)
    }

    pub(super) async fn connect(&self, alpn: &[u8]) -> Client {
        self.try_connect(alpn).await.unwrap()
    }

    /// The client's kernel takes next to nothing that the client has not read.
    pub(super) async fn connect_with_little_room(&self, alpn: &[u8]) -> Client {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let tcp = socket.connect(self.address).await.unwrap();
        self.secure(tcp, alpn).await.unwrap()
    }

    /// What the server has written to all its connections and no client has acknowledged.
    pub(super) fn queued_bytes(&self) -> usize {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let ours = format!(":{:04X}", self.address.port());
        let queued = table.lines().filter_map(|line| {
            let mut columns = line.split_whitespace().skip(1);
            columns.next().filter(|local| local.ends_with(&ours))?;
            let (queued, _) = columns.nth(2)?.split_once(':')?;
            usize::from_str_radix(queued, 16).ok()
        });
        queued.sum()
    }

    pub(super) async fn try_connect(&self, alpn: &[u8]) -> io::Result<Client> {
        let tcp = TcpStream::connect(self.address).await?;
        self.secure(tcp, alpn).await
    }

    pub(super) async fn secure(&self, tcp: TcpStream, alpn: &[u8]) -> io::Result<Client> {
        let pem = std::fs::read(self.certificate()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, tcp).await
    }

    /// Sends one HTTP/1.1 request and reads until the server closes.
    pub(super) async fn exchange(&self, request: &str) -> String {
        let mut client = self.connect(b"http/1.1").await;
        client.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut client).await
    }
}

/// What the server sends until it closes the connection. A missing closing alert is no error
/// here: some of these tests are about connections that are cut.
pub(super) async fn read_to_end(client: &mut Client) -> String {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let closed = time::timeout(PATIENCE, async {
        while let Ok(n_bytes @ 1..) = client.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..n_bytes]);
        }
    });
    closed.await.expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits for a condition, not for a time.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = time::timeout(PATIENCE, async {
        while !condition() {
            time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(met.await.is_ok(), "{what}");
}
