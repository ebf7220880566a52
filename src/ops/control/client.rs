//! The command's side of the socket. Blocks.

use super::{
    peer::Peer,
    protocol::{self, Ask, LINE_BYTES_MAX, Reply, Request, SpoolId, VERSION},
};
use crate::config::Differences;
use crate::ops::admin::{
    Acted, Administration, Bulk, Operation, Sudo, Summary, Told, group_name, user_name,
};
use std::{
    fs,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

/// All days are read to forget a submitter.
const LONG_PATIENCE: Duration = Duration::from_secs(60 * 60);
/// More is not recorded.
const SAID_CHARS_MAX: usize = 1000;
/// An act waits for the disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the service was not asked, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no service answers for this spool")]
    Absent,
    #[error(
        "{} is for root, {owner} and members of the group {group}: run the command as one of them",
        path.display()
    )]
    Denied {
        path: PathBuf,
        owner: String,
        group: String,
    },
    #[error("{0}")]
    Failed(String),
    #[error("{} belongs to {owner}, not to the owner of the spool; nothing was asked of it", path.display())]
    Foreign { path: PathBuf, owner: String },
    #[error(
        "the service gave no answer ({0}); whether it was done is not known: see \
         `spoolgate status`"
    )]
    NoAnswer(io::Error),
    #[error("{}: {source}", path.display())]
    Unreachable { path: PathBuf, source: io::Error },
}

impl ClientError {
    /// What a reply says that is not the one that was hoped for.
    fn of(reply: Reply) -> Self {
        match reply {
            Reply::Failed(text) => Self::Failed(text),
            Reply::UnknownSpool => Self::Absent,
            Reply::Acted(_)
            | Reply::Differences(_)
            | Reply::Done
            | Reply::Ended(_)
            | Reply::Told(_)
            | Reply::Working => Self::odd(),
        }
    }

    /// What answers is not to what was asked.
    fn odd() -> Self {
        Self::NoAnswer(ErrorKind::InvalidData.into())
    }
}

/// A connection to the service that has a spool.
pub struct Client {
    stream: BufReader<UnixStream>,
    spool: SpoolId,
    sudo: Option<Sudo>,
}

impl Client {
    /// Connects to the service that has the spool at `root`, which answers at one of the places.
    ///
    /// # Errors
    /// When none does, or this user may not ask it.
    pub fn connect(places: &[PathBuf], root: &Path) -> Result<Self, ClientError> {
        let unreachable = |path: &Path| {
            let path = path.to_owned();
            move |source| ClientError::Unreachable { path, source }
        };
        let spool = SpoolId::of(root).map_err(unreachable(root))?;
        for path in places {
            let stream = match UnixStream::connect(path) {
                Ok(stream) => stream,
                Err(error) if is_absent(&error) => continue,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    return Err(denied(path));
                }
                Err(error) => return Err(unreachable(path)(error)),
            };
            let timeouts = stream
                .set_read_timeout(Some(PATIENCE))
                .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
            timeouts.map_err(unreachable(path))?;
            trusted(path, &stream, root)?;
            let mut client = Self {
                stream: BufReader::new(stream),
                spool,
                sudo: Sudo::of_environment(),
            };
            match client.done(Ask::Ping) {
                Ok(()) => return Ok(client),
                // It has other spools.
                Err(ClientError::Absent) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ClientError::Absent)
    }

    /// Has the service carry out an act; gives what it says was done.
    ///
    /// # Errors
    /// When it was refused, has failed, or no answer came.
    pub fn act(&mut self, operation: &Operation) -> Result<Acted, ClientError> {
        // Of a submitter with many jobs, and with schemas to load.
        if let Operation::Forget { .. } | Operation::Reload = operation {
            let unhurried = self.stream.get_ref().set_read_timeout(Some(LONG_PATIENCE));
            unhurried.map_err(ClientError::NoAnswer)?;
        }
        let reply = self.ask(Ask::Act(operation.clone()))?;
        let Reply::Acted(acted) = reply else {
            return Err(ClientError::of(reply));
        };
        Ok(acted)
    }

    /// Has the service record what this command is about to do to users.
    ///
    /// # Errors
    /// When that is not recorded, or no answer came: it is not to be done.
    pub fn begin(&mut self, what: &Administration) -> Result<(), ClientError> {
        self.done(Ask::Begin(what.clone()))
    }

    /// Has the service record what came of that: was it done, or what was said else.
    ///
    /// # Errors
    /// When that is not recorded, or no answer came.
    pub fn end(&mut self, done: bool, said: &str) -> Result<(), ClientError> {
        let said = said.chars().take(SAID_CHARS_MAX).collect();
        self.done(Ask::End { done, said })
    }

    fn done(&mut self, ask: Ask) -> Result<(), ClientError> {
        let reply = self.ask(ask)?;
        let Reply::Done = reply else {
            return Err(ClientError::of(reply));
        };
        Ok(())
    }

    /// What the configuration, as it now lies there, would change in the service.
    ///
    /// # Errors
    /// When it is wrong, or no answer came.
    pub fn differences(&mut self) -> Result<Differences, ClientError> {
        let reply = self.ask(Ask::Differences)?;
        let Reply::Differences(found) = reply else {
            return Err(ClientError::of(reply));
        };
        Ok(found)
    }

    /// Has the service carry out an act on jobs, and hears what becomes of each.
    ///
    /// # Errors
    /// As those of [`Client::act`]; what was told until then was done.
    pub fn bulk(
        &mut self,
        bulk: &Bulk,
        mut told: impl FnMut(Told),
    ) -> Result<Summary, ClientError> {
        let mut reply = self.ask(Ask::Bulk(bulk.clone()))?;
        loop {
            if let Reply::Told(one) = reply {
                told(one);
            } else if let Reply::Ended(summary) = reply {
                return Ok(summary);
            } else if reply != Reply::Working {
                return Err(ClientError::of(reply));
            }
            reply = self.reply(Ok(()))?;
        }
    }

    fn ask(&mut self, ask: Ask) -> Result<Reply, ClientError> {
        let line = protocol::line(&Request {
            version: VERSION,
            spool: self.spool,
            sudo: self.sudo.clone(),
            ask,
        });
        // Who refuses a request may close before all of it was written; its answer counts.
        let written = self.stream.get_mut().write_all(&line);
        self.reply(written)
    }

    /// The next reply to what was written with this outcome.
    fn reply(&mut self, written: io::Result<()>) -> Result<Reply, ClientError> {
        let mut answer = Vec::new();
        let mut limited = (&mut self.stream).take(2 * LINE_BYTES_MAX as u64);
        let read = limited.read_until(b'\n', &mut answer);
        match (serde_json::from_slice(&answer), written.and(read)) {
            (Ok(reply), _) => Ok(reply),
            (Err(_), Err(error)) => Err(ClientError::NoAnswer(error)),
            (Err(_), Ok(0)) => Err(ClientError::NoAnswer(ErrorKind::UnexpectedEof.into())),
            (Err(error), Ok(_)) => Err(ClientError::NoAnswer(error.into())),
        }
    }
}

/// Does anyone listen at this socket?
pub(super) fn is_served(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => !is_absent(&error),
    }
}

/// Nothing is there, or what a service has left.
fn is_absent(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    [ConnectionRefused, NotADirectory, NotFound].contains(&error.kind())
}

fn denied(path: &Path) -> ClientError {
    let meta = path
        .ancestors()
        .find_map(|path| fs::symlink_metadata(path).ok());
    let (uid, gid) = meta.map_or((0, 0), |meta| (meta.uid(), meta.gid()));
    ClientError::Denied {
        path: path.to_owned(),
        owner: user_name(uid),
        group: group_name(gid),
    }
}

/// Anyone could listen in a directory that is open to all: only the owner of the spool, and root,
/// are believed.
fn trusted(path: &Path, stream: &UnixStream, root: &Path) -> Result<(), ClientError> {
    let identities = || io::Result::Ok((Peer::of(stream)?, fs::metadata(root)?));
    let (peer, meta) = identities().map_err(|source| ClientError::Unreachable {
        path: path.to_owned(),
        source,
    })?;
    match peer.uid == 0 || peer.uid == meta.uid() {
        true => Ok(()),
        false => Err(ClientError::Foreign {
            path: path.to_owned(),
            owner: user_name(peer.uid),
        }),
    }
}
