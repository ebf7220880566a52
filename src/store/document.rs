//! A document that is whole in memory until its job is stored, of engines that keep documents in their own tables.

use super::{NewName, Result, Sealed, SealedBody, StoreError};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{any::Any, io};

pub(super) struct Document {
    pub(super) name: NewName,
    pub(super) bytes: Bytes,
    pub(super) sha256: String,
}

impl Document {
    pub(super) fn new(name: NewName, bytes: Bytes) -> Self {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Self {
            name,
            bytes,
            sha256,
        }
    }

    pub(super) fn of(sealed: Sealed) -> Result<Self> {
        let document = sealed.downcast::<Self>().map(|document| *document);
        document.ok_or_else(|| StoreError::Refused("it was uploaded to another store".into()))
    }
}

impl SealedBody for Document {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    fn in_memory(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }

    fn reader(&self) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.bytes.clone())))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
