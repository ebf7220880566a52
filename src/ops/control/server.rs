//! The service's side of the socket.
//!
//! Connections, their requests and the time that each may take are bounded, so a peer that may use the
//! socket cannot keep others from it for long. A request that has been read is carried out whether
//! or not its sender still waits.

use super::{
    PATH_BYTES_MAX,
    client::is_served,
    peer::Peer,
    protocol::{self, Ask, LINE_BYTES_MAX, Reply, Request, SpoolId},
};
use crate::{
    ops::admin::{ActError, Admin, Begun, Told, group_name, operator, user_name},
    store::{Origin, audit::Outcome},
};
use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 32;
/// From one request's answer to the end of the next request, and for taking an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An act on jobs gives a sign of life so often, however long one job takes.
const SIGN_EVERY: Duration = Duration::from_secs(5);
/// So much of it is told at once, and kept for a peer that is slow.
const TOLD_MAX: usize = 1024;
/// Pause after the system has refused to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// What the service can be asked about, by the spool.
pub type Admins = HashMap<SpoolId, Arc<Admin>>;

/// The socket, bound; removed when it is dropped.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Listener {
    /// Binds the socket at the first place that takes it. A socket that a service has left behind
    /// there is replaced, and nothing else.
    ///
    /// # Errors
    /// When no place takes it; the message has them all.
    pub fn bind(places: &[PathBuf]) -> Result<Self, String> {
        let mut refused = Vec::new();
        for path in places {
            match Self::bind_at(path) {
                Ok(listener) => return Ok(listener),
                Err(error) => refused.push(format!("{}: {error}", path.display())),
            }
        }
        Err(refused.join("; "))
    }

    fn bind_at(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let text = format!("the path has more than {PATH_BYTES_MAX} bytes");
            return Err(io::Error::other(text));
        }
        remove_stale(path)?;
        if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
            fs::DirBuilder::new().mode(0o750).create(dir)?;
        }
        let listener = UnixListener::bind(path)?;
        // The kernel asks for the right to write before anyone is connected; `may_act` asks again.
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        Ok(Self {
            listener,
            inode: fs::symlink_metadata(path)?.ino(),
            path: path.to_owned(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until `stop`, and then what has been read already.
    pub async fn serve(self: Arc<Self>, admins: Arc<Admins>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the control socket cannot accept");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            // Beyond that, they wait in the kernel's line.
            let Ok(place) = places.clone().acquire_owned().await else {
                break;
            };
            let actor = self.may_act(&stream);
            let (admins, stop) = (admins.clone(), stop.clone());
            tasks.spawn(async move {
                let _place = place;
                converse(stream, actor, &admins, &stop).await;
            });
        }
        tasks.close();
        tasks.wait().await;
    }

    /// The peer, if it may act; else the answer that it gets.
    fn may_act(&self, stream: &UnixStream) -> Result<Peer, String> {
        let peer = Peer::of(stream).map_err(|error| format!("you are not known: {error}"))?;
        let us = rustix::process::geteuid().as_raw();
        let group = fs::symlink_metadata(&self.path).map(|meta| meta.gid());
        let group = group.map_err(|error| format!("the socket is gone: {error}"))?;
        if peer.uid == 0 || peer.uid == us || peer.is_member_of(group) {
            return Ok(peer);
        }
        tracing::warn!(
            uid = peer.uid,
            pid = peer.pid,
            "refused at the control socket"
        );
        Err(format!(
            "only root, {} and members of the group {} may act here",
            user_name(us),
            group_name(group)
        ))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = |meta: fs::Metadata| meta.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(ours) {
            // Best effort: the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if !meta.file_type().is_socket() => {
            Err(io::Error::other("something else than a socket is there"))
        }
        Ok(_) if is_served(path) => Err(io::Error::other("another service answers there")),
        Ok(_) => fs::remove_file(path),
    }
}

/// Answers the requests of one connection.
async fn converse(
    stream: UnixStream,
    actor: Result<Peer, String>,
    admins: &Admins,
    stop: &CancellationToken,
) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut begun = None;
    loop {
        let line = tokio::select! {
            line = next_line(&mut read) => line,
            () = stop.cancelled() => return,
        };
        let (reply, last) = match line {
            Ok(None) => return,
            Err(text) => (Reply::Failed(text), true),
            Ok(Some(line)) => match &actor {
                Err(text) => (Reply::Failed(text.clone()), true),
                Ok(peer) => {
                    let said = answer(&line, peer, admins, &mut begun, (&mut write, stop)).await;
                    (said, false)
                }
            },
        };
        if !say(&mut write, &[reply]).await || last {
            return;
        }
    }
}

/// False: the peer does not take it.
async fn say(write: &mut OwnedWriteHalf, replies: &[Reply]) -> bool {
    let lines: Vec<u8> = replies.iter().flat_map(protocol::line).collect();
    let written = timeout(PATIENCE, write.write_all(&lines)).await;
    matches!(written, Ok(Ok(())))
}

/// The next request, without its end; `None` when there is none any more.
async fn next_line(read: &mut BufReader<OwnedReadHalf>) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let mut limited = read.take(LINE_BYTES_MAX as u64 + 1);
    match timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await {
        Err(_) => Err(format!("no whole request within {} s", PATIENCE.as_secs())),
        // The peer has gone.
        Ok(Err(_)) => Ok(None),
        Ok(Ok(_)) if line.last() == Some(&b'\n') => {
            line.pop();
            Ok(Some(line))
        }
        Ok(Ok(_)) if line.len() > LINE_BYTES_MAX => {
            Err(format!("a request has at most {LINE_BYTES_MAX} bytes"))
        }
        // Nothing, or a request that was cut off.
        Ok(Ok(_)) => Ok(None),
    }
}

/// `begun` is what the peer does itself and has not ended yet. What is told of an act before its end, is written.
async fn answer(
    line: &[u8],
    peer: &Peer,
    admins: &Admins,
    begun: &mut Option<Begun>,
    (write, stop): (&mut OwnedWriteHalf, &CancellationToken),
) -> Reply {
    let Request {
        spool, sudo, ask, ..
    } = match protocol::request(line) {
        Ok(request) => request,
        Err(text) => return Reply::Failed(text),
    };
    let Some(admin) = admins.get(&spool).cloned() else {
        return Reply::UnknownSpool;
    };
    let by = operator(peer.uid, sudo.as_ref(), Origin::Socket);
    // A task of its own: one that panics is answered, too.
    let acted = match ask {
        Ask::Ping => return Reply::Done,
        Ask::Act(operation) => {
            let act = async move { Ok(Reply::Acted(admin.act(&operation, &by).await?)) };
            tokio::spawn(act).await
        }
        Ask::Differences => {
            let told = async move { Ok(Reply::Differences(admin.differences().await?)) };
            tokio::spawn(told).await
        }
        Ask::Begin(what) => {
            return match admin.begin(&what.deed(&by)).await {
                Ok(now) => {
                    *begun = Some(now);
                    Reply::Done
                }
                Err(error) => Reply::Failed(error.to_string()),
            };
        }
        Ask::End { done, said } => {
            return match begun.take() {
                Some(begun) => {
                    begun.end(Outcome::of(done), None, &said).await;
                    Reply::Done
                }
                None => Reply::Failed("nothing was begun on this connection".into()),
            };
        }
        Ask::Bulk(bulk) => {
            let (told, heard) = mpsc::channel(TOLD_MAX);
            let act = async move { Ok(Reply::Ended(admin.bulk(&bulk, &by, told).await?)) };
            let act = tokio::spawn(act);
            pass_on(heard, write, stop).await;
            act.await
        }
    };
    match acted {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => Reply::Failed(ActError::to_string(&error)),
        Err(error) => {
            tracing::error!(%error, "an operator's act panicked");
            Reply::Failed("the service failed at it; its log says more".into())
        }
    }
}

/// Passes on what is told of an act, until that has ended, or the peer has gone, or the service is to end: then
/// nobody hears of it any more, and it ends by itself.
async fn pass_on(
    mut heard: mpsc::Receiver<Told>,
    write: &mut OwnedWriteHalf,
    stop: &CancellationToken,
) {
    loop {
        let mut replies = Vec::new();
        tokio::select! {
            told = heard.recv() => match told {
                Some(told) => replies.push(Reply::Told(told)),
                None => return,
            },
            () = tokio::time::sleep(SIGN_EVERY) => replies.push(Reply::Working),
            () = stop.cancelled(), if !heard.is_closed() => {
                // What was told until then is still passed on.
                heard.close();
                continue;
            }
        }
        while replies.len() < TOLD_MAX
            && let Ok(told) = heard.try_recv()
        {
            replies.push(Reply::Told(told));
        }
        if !say(write, &replies).await {
            tracing::warn!("whoever asked for an act has gone; it ends after its batch");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ops::admin::{Acted, Operation},
        ops::control::Client,
        service::Verifier,
        store::fs::{FileStore, testing::TestSpool},
        xml::{Schemas, XsdSchema},
    };
    use arc_swap::ArcSwap;
    use std::{
        collections::BTreeMap,
        io::{BufRead, Read, Write},
        os::unix::net::UnixStream as Blocking,
    };

    struct Served {
        dir: tempfile::TempDir,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    impl Served {
        fn path(&self) -> PathBuf {
            self.dir.path().join("s")
        }

        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("spool");
            fs::create_dir(&root).unwrap();
            let spool = TestSpool::at(&root).interface("a").journal();
            let spool = spool.open().unwrap();
            let schemas = Schemas::open(&root.join("schemas"), Box::new(XsdSchema));
            let verifier = Verifier::new(BTreeMap::new(), Arc::new(schemas));
            let store = Arc::new(FileStore::new(spool));
            let admin = Arc::new(Admin::new(
                store,
                Arc::new(ArcSwap::from_pointee(verifier)),
                None,
                |_| {},
            ));
            let admins = Admins::from([(SpoolId::of(&root).unwrap(), admin)]);
            let listener = Listener::bind(&[dir.path().join("s")]).unwrap();
            let stop = CancellationToken::new();
            let listener = Arc::new(listener);
            let task = tokio::spawn(listener.serve(Arc::new(admins), stop.clone()));
            Self { dir, stop, task }
        }

        async fn blocking<T: Send + 'static>(
            &self,
            work: impl FnOnce(PathBuf, PathBuf) -> T + Send + 'static,
        ) -> T {
            let (path, root) = (self.path(), self.dir.path().join("spool"));
            tokio::task::spawn_blocking(move || work(path, root))
                .await
                .unwrap()
        }

        async fn end(self) {
            let path = self.path();
            self.stop.cancel();
            self.task.await.unwrap();
            assert!(!path.exists());
        }
    }

    fn say(path: &Path, text: &[u8]) -> String {
        let mut stream = Blocking::connect(path).unwrap();
        stream.write_all(text).unwrap();
        let mut answer = String::new();
        io::BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    }

    #[tokio::test]
    async fn acts_are_carried_out_and_mistakes_are_answered() {
        let served = Served::start();
        served
            .blocking(|path, root| {
                let mode = fs::metadata(&path).unwrap().mode();
                assert_eq!(mode & 0o777, 0o660);
                let mut client = Client::connect(std::slice::from_ref(&path), &root).unwrap();
                let hold = |interface: &str, reason: &str| Operation::Hold {
                    interface: interface.parse().unwrap(),
                    reason: reason.into(),
                    until: None,
                };
                assert_eq!(client.act(&hold("a", "x")).unwrap(), Acted::Held);
                assert!(root.join("queue/a/.hold").exists());
                let refused = client.act(&hold("b", "")).unwrap_err();
                assert_eq!(refused.to_string(), "unknown interface b; there are a");
                // The connection is as good as before.
                let outcome = client.act(&hold("a", "")).unwrap();
                assert!(matches!(outcome, Acted::HeldBefore { .. }), "{outcome}");
                let long = client.act(&hold("a", &"x".repeat(LINE_BYTES_MAX)));
                let long = long.unwrap_err().to_string();
                assert!(long.contains("at most 4194304 bytes"), "{long}");
                assert!(say(&path, b"hello\n").contains("not understood"));
                assert!(say(&path, b"{\"version\":9}\n").contains("not 9"));
                let elsewhere = Client::connect(&[path], Path::new("/"));
                assert!(elsewhere.is_err());
            })
            .await;
        served.end().await;
    }

    #[tokio::test]
    async fn silent_ones_keep_nobody_out_and_stopping_waits_for_none() {
        let served = Served::start();
        let silent = served
            .blocking(|path, root| {
                let connect = |_| Blocking::connect(&path).unwrap();
                let silent: Vec<_> = (0..CONNECTIONS_MAX - 1).map(connect).collect();
                Client::connect(std::slice::from_ref(&path), &root).unwrap();
                silent
            })
            .await;
        served.end().await;
        for mut stream in silent {
            let mut rest = Vec::new();
            assert_eq!(stream.read_to_end(&mut rest).unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn only_a_socket_that_was_left_behind_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(std::slice::from_ref(&path)).unwrap();
        let second = Listener::bind(std::slice::from_ref(&path)).err().unwrap();
        assert!(second.contains("another service answers"), "{second}");
        let other = dir.path().join("o/s");
        let elsewhere = Listener::bind(&[path.clone(), other.clone()]).unwrap();
        assert_eq!(elsewhere.path(), other);
        drop((listener, elsewhere));
        assert!(!path.exists() && !other.exists());
        fs::write(&path, "mine").unwrap();
        let refused = Listener::bind(std::slice::from_ref(&path)).err().unwrap();
        assert!(refused.contains("something else"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        let long = Listener::bind(&[dir.path().join("x".repeat(100))])
            .err()
            .unwrap();
        assert!(long.contains("more than 100 bytes"), "{long}");
        // What has taken its place meanwhile is not its own.
        let replaced = dir.path().join("r");
        let listener = Listener::bind(std::slice::from_ref(&replaced)).unwrap();
        fs::rename(&replaced, dir.path().join("aside")).unwrap();
        let _other = std::os::unix::net::UnixListener::bind(&replaced).unwrap();
        drop(listener);
        assert!(replaced.exists());
    }
}
