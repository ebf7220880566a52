//! What a journal's records say, and how they stand on disk. Pure.
//!
//! A record is what one step did to the spool's files, told so that doing it again changes
//! nothing: these bytes are here, this file is there now. Records are numbered without a gap, and
//! each is chained by hash to the one before, so that reading stops at the first that was not
//! written whole, or that is left over from an earlier use of the same segment.
//!
//! On disk: `length u32 | sequence u64 | chain 32 bytes | payload`, all little-endian; the payload
//! is `length u32 | operations, lengths of bodies and names to give as JSON | bodies`.

use super::PendingRename;
use crate::store::events::EventLine;
use crate::store::fs::{
    audit::Audited,
    records::{Accepted, Ended, Said},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{path::Path, sync::Arc};

/// What was done to one file, or is to be in the day's record or audit. Paths are relative to the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store::fs) enum Op {
    /// A job has come.
    Accepted(Box<Accepted>),
    /// A record of the audit.
    Audited(Box<Audited>),
    /// An attempt has ended, or a user or operator has acted on the job.
    Ended(Box<Ended>),
    /// An event, or how one ended.
    Event(Box<EventLine>),
    /// The file, or the directory, `from` is `to` now.
    Move { from: String, to: String },
    /// A file of these bytes is at `path`, in place of any before.
    Put {
        path: String,
        /// Kept beside the JSON.
        #[serde(skip)]
        bytes: Bytes,
    },
    /// The file is gone.
    Remove { path: String },
    /// Another process has put the file here.
    Seen { path: String },
    /// The file was not made after all: what was recorded of it is void.
    Void { path: String },
}

impl Op {
    /// What the day's record is to have of it.
    pub(super) fn said(&self) -> Option<Said> {
        match self {
            Self::Accepted(accepted) => Some(Said::Accepted(Arc::new((**accepted).clone()))),
            Self::Audited(audited) => Some(Said::Audited(audited.clone())),
            Self::Ended(ended) => Some(Said::Ended(ended.clone())),
            Self::Event(line) => Some(Said::Event(line.clone())),
            Self::Move { .. }
            | Self::Put { .. }
            | Self::Remove { .. }
            | Self::Seen { .. }
            | Self::Void { .. } => None,
        }
    }

    /// The names of files that it speaks of.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let paths: [Option<&String>; 2] = match self {
            Self::Accepted(_) | Self::Audited(_) | Self::Ended(_) | Self::Event(_) => [None, None],
            Self::Move { from, to } => [Some(from), Some(to)],
            Self::Put { path, .. }
            | Self::Remove { path }
            | Self::Seen { path }
            | Self::Void { path } => [Some(path), None],
        };
        paths.into_iter().flatten().map(String::as_str)
    }

    /// The file, or the directory, `from` is `to` now. Paths in the spool are made of validated
    /// names, so as text they lose nothing.
    pub(in crate::store::fs) fn moved(from: &Path, to: &Path) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Self::Move {
            from: text(from),
            to: text(to),
        }
    }
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) ops: Vec<Op>,
    /// The names that files get once the record is flushed, in this order.
    pub(super) renames: Vec<PendingRename>,
}

/// The hash of a record and of all before it.
pub(super) type Chain = [u8; 32];

/// Length, sequence and chain of a record.
pub(super) const HEAD_BYTES: usize = 4 + 8 + 32;
/// No record is longer: what a length claims beyond that is not a record.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// A record's payload.
fn payload(ops: &[Op], renames: &[PendingRename]) -> Vec<u8> {
    let bodies: Vec<&[u8]> = ops.iter().filter_map(body).collect();
    let lengths: Vec<usize> = bodies.iter().map(|body| body.len()).collect();
    // Strings and numbers always serialise.
    let json = serde_json::to_vec(&(ops, lengths, renames)).unwrap_or_default();
    let n_bytes: usize = bodies.iter().map(|body| body.len()).sum();
    let mut payload = Vec::with_capacity(4 + json.len() + n_bytes);
    payload.extend((json.len() as u32).to_le_bytes());
    payload.extend(json);
    for body in bodies {
        payload.extend_from_slice(body);
    }
    payload
}

fn body(op: &Op) -> Option<&[u8]> {
    match op {
        Op::Put { bytes, .. } => Some(bytes),
        Op::Accepted(_)
        | Op::Audited(_)
        | Op::Ended(_)
        | Op::Event(_)
        | Op::Move { .. }
        | Op::Remove { .. }
        | Op::Seen { .. }
        | Op::Void { .. } => None,
    }
}

/// Reads a payload whose hash was right; `None` when it is not one of ours.
fn record(payload: &[u8]) -> Option<Record> {
    let (length, rest) = payload.split_first_chunk()?;
    let (json, mut bodies) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let (mut ops, lengths, renames): (Vec<Op>, Vec<usize>, Vec<PendingRename>) =
        serde_json::from_slice(json).ok()?;
    let mut lengths = lengths.into_iter();
    for op in &mut ops {
        if let Op::Put { bytes, .. } = op {
            let (body, rest) = bodies.split_at_checked(lengths.next()?)?;
            *bytes = Bytes::copy_from_slice(body);
            bodies = rest;
        }
    }
    bodies.is_empty().then_some(Record { ops, renames })
}

/// The chain after a payload of that hash.
fn link(before: &Chain, sequence: u64, payload: &[u8; 32]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(sequence.to_le_bytes());
    hash.update(payload);
    hash.finalize().into()
}

/// A payload and its hash, which is made before the journal's lock is taken.
pub(super) struct Hashed {
    /// What the day's record is to have of it.
    pub(super) said: Vec<Said>,
    payload: Vec<u8>,
    hash: [u8; 32],
}

impl Hashed {
    pub(super) fn new(ops: &[Op], renames: &[PendingRename]) -> Self {
        let payload = payload(ops, renames);
        let hash = Sha256::digest(&payload).into();
        let said = ops.iter().filter_map(Op::said).collect();
        Self {
            said,
            payload,
            hash,
        }
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    pub(super) fn record_bytes(&self) -> usize {
        HEAD_BYTES + self.payload.len()
    }

    /// Appends the record to `out`; gives the chain after it.
    pub(super) fn append(&self, sequence: u64, before: &Chain, out: &mut Vec<u8>) -> Chain {
        let chain = link(before, sequence, &self.hash);
        out.extend((self.payload.len() as u32).to_le_bytes());
        out.extend(sequence.to_le_bytes());
        out.extend(chain);
        out.extend_from_slice(&self.payload);
        chain
    }
}

/// The records that follow each other in `bytes`, from number `first` on.
pub(super) struct RecordReader<'b> {
    pub(super) bytes: &'b [u8],
    pub(super) next: u64,
    pub(super) chain: Chain,
}

impl<'b> RecordReader<'b> {
    /// The number and the payload of the next record, whatever it says.
    pub(super) fn next_payload(&mut self) -> Option<(u64, &'b [u8])> {
        let (length, rest) = self.bytes.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (chain, rest) = rest.split_first_chunk::<32>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let sequence = u64::from_le_bytes(*sequence);
        if sequence != self.next || length > PAYLOAD_BYTES_MAX {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(length)?;
        if link(&self.chain, sequence, &Sha256::digest(payload).into()) != *chain {
            return None;
        }
        self.bytes = rest;
        self.next += 1;
        self.chain = *chain;
        Some((sequence, payload))
    }
}

impl Iterator for RecordReader<'_> {
    type Item = (u64, Record);

    fn next(&mut self) -> Option<(u64, Record)> {
        let (sequence, payload) = self.next_payload()?;
        Some((sequence, record(payload)?))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::How, *};
    use crate::{
        domain::JobName,
        store::{Came, fs::records::Act},
    };

    fn some_ops() -> Vec<Op> {
        let job: JobName = "20261122T045748.123Z-00042.xml".parse().unwrap();
        vec![
            Op::Put {
                path: "queue/a/x".into(),
                bytes: Bytes::from_static(b"one"),
            },
            Op::Move {
                from: "queue/a/x".into(),
                to: "work/a/x.a1".into(),
            },
            Op::Put {
                path: "joblog/y".into(),
                bytes: Bytes::new(),
            },
            Op::Accepted(Box::new(Accepted::new(job.clone(), Came::Scheduled, 1))),
            Op::Ended(Box::new(Ended::new(&job, Act::Done, 2))),
        ]
    }

    fn some() -> Record {
        Record {
            ops: some_ops(),
            renames: vec![PendingRename {
                from: "tmp/x.part".into(),
                to: "queue/a/x".into(),
                how: How::New,
                content: None,
                step: None,
            }],
        }
    }

    fn three() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut chain = [7; 32];
        for sequence in 5..8 {
            chain = Hashed::new(&some().ops, &some().renames).append(sequence, &chain, &mut bytes);
        }
        bytes
    }

    fn read(bytes: &[u8], next: u64, chain: Chain) -> Vec<(u64, Record)> {
        RecordReader { bytes, next, chain }.collect()
    }

    #[test]
    fn records_read_back() {
        let found = read(&three(), 5, [7; 32]);
        assert_eq!(found, [(5, some()), (6, some()), (7, some())]);
    }

    #[test]
    fn reading_stops_at_the_first_record_that_is_not_whole() {
        let whole = three();
        for end in 0..whole.len() {
            let n_whole = end / (whole.len() / 3);
            assert_eq!(read(&whole[..end], 5, [7; 32]).len(), n_whole, "{end}");
        }
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            let n_whole = at / (whole.len() / 3);
            assert_eq!(read(&torn, 5, [7; 32]).len(), n_whole, "{at}");
        }
    }

    #[test]
    fn left_over_records_are_not_read() {
        assert!(read(&three(), 4, [7; 32]).is_empty(), "another number");
        assert!(read(&three(), 5, [8; 32]).is_empty(), "another history");
        assert!(read(&[0; 4096], 0, [0; 32]).is_empty(), "nothing written");
    }
}
