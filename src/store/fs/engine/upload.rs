//! A document on its way into the spool: small ones stay in memory until they are committed, larger
//! ones stream to a part in `tmp`.

use super::{
    super::{INLINE_BYTES_MAX, Part},
    Inner,
};
use crate::{
    domain::JobName,
    store::{DocumentWriter, NewName, Result, Sealed, SealedBody},
};
use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    any::Any,
    io,
    sync::{Arc, OnceLock},
};

/// Documents up to this size take one blocking call, and no part before they are known to be good.
const MEMORY_BYTES_MAX: usize = 256 * 1024;

pub(super) struct FileUpload {
    inner: Arc<Inner>,
    name: NewName,
    /// What has not been written to the part yet.
    buffer: Vec<u8>,
    part: Option<Part>,
}

pub(super) struct FileSealed {
    pub(super) name: NewName,
    pub(super) body: Body,
    sha256: OnceLock<String>,
}

pub(super) enum Body {
    Memory(Vec<u8>),
    Part(Part),
}

impl FileUpload {
    pub(super) fn new(inner: Arc<Inner>, name: NewName) -> Self {
        Self {
            inner,
            name,
            buffer: Vec::new(),
            part: None,
        }
    }

    /// Writes what has come to the part.
    async fn flush(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        let (part, name) = (self.part.take(), self.name.clone());
        let written = self.inner.blocking(move |inner| {
            let mut part = match part {
                Some(part) => part,
                None => {
                    let id = inner.spool.next_id();
                    let name = JobName::new(id, name.reference, name.kind);
                    inner.spool.begin(name)?
                }
            };
            part.write(&buffer)?;
            Ok((part, buffer))
        });
        let (part, mut buffer) = written.await?;
        buffer.clear();
        self.buffer = buffer;
        self.part = Some(part);
        Ok(())
    }
}

#[async_trait]
impl DocumentWriter for FileUpload {
    async fn append(&mut self, bytes: Bytes) -> Result<()> {
        self.buffer.extend_from_slice(&bytes);
        match self.buffer.len() <= MEMORY_BYTES_MAX {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    async fn seal(mut self: Box<Self>) -> Result<Sealed> {
        if self.part.is_some() && !self.buffer.is_empty() {
            self.flush().await?;
        }
        let body = match self.part {
            Some(part) => Body::Part(part),
            None => Body::Memory(self.buffer),
        };
        Ok(Sealed::new(Box::new(FileSealed {
            name: self.name,
            body,
            sha256: OnceLock::new(),
        })))
    }
}

impl FileSealed {
    /// How much of it the journal takes, if that is all.
    pub(super) fn recorded_bytes(&self) -> Option<usize> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes.len()).filter(|bytes| *bytes <= INLINE_BYTES_MAX),
            Body::Part(_) => None,
        }
    }

    /// It waits for no disk but its journal's.
    pub(super) fn is_small(&self) -> bool {
        matches!(self.body, Body::Memory(_))
    }
}

impl SealedBody for FileSealed {
    fn bytes(&self) -> u64 {
        match &self.body {
            Body::Memory(bytes) => bytes.len() as u64,
            Body::Part(part) => part.bytes(),
        }
    }

    fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| match &self.body {
            Body::Memory(bytes) => hex::encode(Sha256::digest(bytes)),
            Body::Part(part) => part.sha256(),
        })
    }

    fn in_memory(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Memory(bytes) => Some(bytes),
            Body::Part(_) => None,
        }
    }

    fn reader(&self) -> io::Result<Box<dyn io::Read + Send>> {
        match &self.body {
            Body::Memory(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            Body::Part(part) => part.reader(),
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{InterfaceName, Kind},
        store::{
            NewJob, Receipt, Store as _,
            fs::{FileStore, faults::Faults, testing::TestSpool},
        },
    };

    #[tokio::test]
    async fn what_the_journal_takes_whole_is_committed_without_a_call_of_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "a".parse().unwrap();
        let spool = TestSpool::at(dir.path()).interface("a").ticking();
        let spool = spool.journal().open().unwrap();
        spool.start_journal();
        let (disk, store) = (Faults::of(dir.path()), FileStore::new(spool.clone()));
        for (n_bytes, calls_disk) in [
            (1, false),
            (INLINE_BYTES_MAX, false),
            (INLINE_BYTES_MAX + 1, true),
        ] {
            let before = disk.calls();
            let mut document = store.begin(NewName {
                kind: Kind::Xml,
                reference: None,
            });
            document.append(vec![b' '; n_bytes].into()).await.unwrap();
            let sealed = document.seal().await.unwrap();
            let job = NewJob::default();
            let receipt = store.commit(sealed, job, &interface, None).await.unwrap();
            assert_eq!(disk.calls() > before, calls_disk, "{n_bytes}");
            let Receipt::New(stored) = receipt else {
                panic!("{receipt:?}");
            };
            let file = dir.path().join("queue/a").join(stored.job.to_string());
            let bytes = std::fs::metadata(file).unwrap().len();
            assert_eq!((bytes, stored.bytes), (n_bytes as u64, n_bytes as u64));
        }
        spool.close_journal();
    }
}
