//! The bytes of an open file.

use crate::store::{ReadContent, Reading, StoreError};
use bytes::Bytes;
use rustix::{buffer::spare_capacity, io::pread};
use std::{fs::File, io, ops::Range, sync::Arc};

/// A file that was opened once: it may be moved or removed while it is read. It is at no position.
pub(super) struct FileContent(pub(super) Arc<File>);

/// A reader of such a file, with a position of its own.
struct At {
    file: Arc<File>,
    at: u64,
}

impl ReadContent for FileContent {
    fn read(&self, range: Range<u64>) -> Reading<Bytes> {
        let file = self.0.clone();
        // At once, so that it is read ahead.
        let reading = tokio::task::spawn_blocking(move || exactly(&file, range));
        Box::pin(async move {
            let read = reading.await.map_err(io::Error::other);
            let read = read.and_then(std::convert::identity);
            read.map_err(|error| match error.kind() == io::ErrorKind::UnexpectedEof {
                true => StoreError::Refused("it has fewer bytes".into()),
                false => StoreError::Unavailable(error.to_string()),
            })
        })
    }

    fn reader(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(At {
            file: self.0.clone(),
            at: 0,
        }))
    }
}

impl io::Read for At {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n_bytes = pread(&self.file, into, self.at)?;
        self.at += n_bytes as u64;
        Ok(n_bytes)
    }
}

fn exactly(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let wanted = usize::try_from(range.end.saturating_sub(range.start));
    let wanted = wanted.map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(wanted);
    while bytes.len() < wanted {
        let at = range.start + bytes.len() as u64;
        match pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // A vector may have more room than was asked for.
    bytes.truncate(wanted);
    Ok(bytes.into())
}
