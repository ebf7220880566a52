//! The journal's files: two segments and a mark, how they begin, and how they are read.
//!
//! `journal/0.log` and `1.log` hold a head and then records; `journal/mark` holds two marks, of
//! which the later one counts. Heads and marks carry the hash of what they say, so that one that
//! was torn, or never written, says nothing.

use super::{
    super::{Fs, Spool, SpoolError, records::Said, wrap},
    record::{Chain, Record, RecordReader},
    replay::job_of,
};
use crate::{
    domain::{Ids, JobId, RANGES_MAX, Range},
    store::fs::MountId,
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashSet,
    io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

pub(super) const DIR: &str = "journal";
pub(super) const SEGMENT_HEAD_BYTES: usize = 4096;
/// A segment begins with this size, unless it is never to have twice as much.
const SEGMENT_BYTES_AT_FIRST: u64 = 128 * 1024;
/// Marks are written alternately to the two halves, so that a torn one leaves the other.
pub(super) const MARK_BYTES: usize = 4096;
/// How far, the mount, how many ranges of ids, and three numbers of each.
const MARK_NUMBERS: usize = 6 + 3 * RANGES_MAX;
const MAGIC: &[u8; 8] = b"SPOOLJ1\n";

fn segment_path(number: usize) -> PathBuf {
    Path::new(DIR).join(format!("{number}.log"))
}

pub(super) fn mark_path() -> PathBuf {
    Path::new(DIR).join("mark")
}

/// What the last start had to restore, a path in the spool per line.
pub(super) fn restored_path() -> PathBuf {
    Path::new(DIR).join("restored")
}

/// A payload between the magic number and its hash.
fn hashed(said: &[u8]) -> Vec<u8> {
    let mut bytes = [MAGIC.as_slice(), said].concat();
    bytes.extend(Sha256::digest(&bytes));
    bytes
}

/// The payload of `N` bytes, if magic number and hash are right.
fn unhashed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let (all, hash) = bytes.split_at_checked(MAGIC.len() + N)?;
    let whole = hash.get(..32)? == Sha256::digest(all).as_slice();
    let said = all.strip_prefix(MAGIC).filter(|_| whole)?;
    said.try_into().ok()
}

/// How far a checkpoint covers the records, which ids were given out, and on which mount that was,
/// unless that is not known or what was written to it cannot be trusted any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) through: u64,
    pub(super) given: Ids,
    pub(super) mount: Option<MountId>,
}

impl Mark {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut numbers = vec![self.through, u64::from(self.mount.is_some())];
        let MountId { boot, mount } = self.mount.unwrap_or(MountId { boot: 0, mount: 0 });
        numbers.extend([(boot >> 64) as u64, boot as u64, mount]);
        numbers.push(self.given.ranges().len() as u64);
        for range in self.given.ranges() {
            numbers.extend([range.first, range.last, range.born]);
        }
        numbers.resize(MARK_NUMBERS, 0);
        hashed(
            &numbers
                .into_iter()
                .flat_map(u64::to_le_bytes)
                .collect::<Vec<u8>>(),
        )
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let said: [u8; 8 * MARK_NUMBERS] = unhashed(bytes)?;
        let (numbers, _) = said.as_chunks();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let (through, is_known) = (numbers.next()?, numbers.next()? == 1);
        let boot = u128::from(numbers.next()?) << 64 | u128::from(numbers.next()?);
        let mount = numbers.next()?;
        let mount = is_known.then_some(MountId { boot, mount });
        let n_ranges = numbers.next()?;
        let mut ranges = Vec::new();
        for _ in 0..n_ranges {
            let (first, last, born) = (numbers.next()?, numbers.next()?, numbers.next()?);
            ranges.push(Range { first, last, born });
        }
        let given = Ids::of(ranges);
        Some(Self {
            through,
            given,
            mount,
        })
    }

    /// Of two marks, the later one has more. Once a mount is not trusted it stays so.
    fn age(&self) -> (u64, u64, u64, bool) {
        let newest = self.given.ranges().iter().max_by_key(|range| range.born);
        let (born, last) = newest.map_or((0, 0), |range| (range.born, range.last));
        (self.through, born, last, self.mount.is_none())
    }
}

/// The number of a segment's first record and the chain before it.
pub(super) fn segment_head(first: u64, before: &Chain) -> Vec<u8> {
    let mut head = hashed(&[first.to_le_bytes().as_slice(), before].concat());
    head.resize(SEGMENT_HEAD_BYTES, 0);
    head
}

fn read_segment_head(bytes: &[u8]) -> Option<(u64, Chain)> {
    let said: [u8; 40] = unhashed(bytes)?;
    let (first, before) = said.split_first_chunk()?;
    Some((u64::from_le_bytes(*first), before.try_into().ok()?))
}

/// The records in a segment.
fn records_of(first: u64, before: Chain, segment: &[u8]) -> RecordReader<'_> {
    RecordReader {
        bytes: segment.get(SEGMENT_HEAD_BYTES..).unwrap_or_default(),
        next: first,
        chain: before,
    }
}

/// What a spool of format 1 says of its journal.
pub(in crate::store::fs) struct Earlier {
    /// All records are covered by the mark.
    pub(in crate::store::fs) is_clean: bool,
    through: u64,
    last_id: u64,
}

impl<F: Fs> Spool<F> {
    /// The later one of the marks that are whole; the first of all when there is none.
    ///
    /// # Errors
    /// When the file is there and cannot be read. Without a mark nothing may be replayed, so the
    /// start fails.
    pub(super) fn read_mark(&self) -> Result<Mark, SpoolError> {
        let bytes = self.read_if_there(&mark_path())?;
        let halves = bytes.chunks(MARK_BYTES).filter_map(Mark::from_bytes);
        Ok(halves.max_by_key(Mark::age).unwrap_or_default())
    }

    fn read_if_there(&self, path: &Path) -> Result<Vec<u8>, SpoolError> {
        match self.fs.read(path) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(wrap("read", path)(error)),
        }
    }

    /// The journal of a spool of format 1, whose marks say how far they cover the records and what the
    /// last id was; `None` when this is none.
    ///
    /// # Errors
    /// When its files are there and cannot be read; nothing was changed.
    pub(in crate::store::fs) fn journal_of_format_1(&self) -> Result<Option<Earlier>, SpoolError> {
        let bytes = self.read_if_there(&mark_path())?;
        if bytes
            .chunks(MARK_BYTES)
            .any(|half| Mark::from_bytes(half).is_some())
        {
            return Ok(None);
        }
        let halves = bytes.chunks(MARK_BYTES).filter_map(|half| {
            let said: [u8; 16] = unhashed(half)?;
            let (numbers, _) = said.as_chunks();
            Some((
                u64::from_le_bytes(numbers[0]),
                u64::from_le_bytes(numbers[1]),
            ))
        });
        let Some((through, last_id)) = halves.max() else {
            return Ok(None);
        };
        let mut end = through;
        for (first, before, bytes) in self.segments()? {
            let mut records = records_of(first, before, &bytes);
            while let Some((sequence, _)) = records.next_payload() {
                end = end.max(sequence);
            }
        }
        Ok(Some(Earlier {
            is_clean: end == through,
            through,
            last_id,
        }))
    }

    /// Writes its mark as it is now.
    ///
    /// # Errors
    /// When it cannot be written: the earlier mark is as it was, and this can be called again.
    pub(in crate::store::fs) fn take_up_journal(
        &self,
        earlier: &Earlier,
    ) -> Result<(), SpoolError> {
        let mut given = Ids::default();
        given.note(JobId::from_number(earlier.last_id));
        let mark = Mark {
            through: earlier.through,
            given,
            mount: None,
        };
        let mut bytes = mark.to_bytes();
        bytes.resize(2 * MARK_BYTES, 0);
        let temp = self.write_temp("mark", &bytes)?;
        let replaced = self.fs.replace(&temp, &mark_path());
        replaced.map_err(wrap("write", &mark_path()))
    }

    /// What the segments hold, by the number of their first record.
    fn segments(&self) -> Result<Vec<(u64, Chain, Vec<u8>)>, SpoolError> {
        let mut segments = Vec::new();
        for number in 0..2 {
            let bytes = self.read_if_there(&segment_path(number))?;
            if let Some((first, before)) = read_segment_head(&bytes) {
                segments.push((first, before, bytes));
            }
        }
        segments.sort_by_key(|segment| segment.0);
        Ok(segments)
    }

    /// The records after number `through`, in order, and the number of the last record of all.
    ///
    /// # Errors
    /// When a segment is there and cannot be read. What it holds may have been acknowledged, so the
    /// start fails.
    pub(super) fn read_segments(&self, through: u64) -> Result<(Vec<Record>, u64), SpoolError> {
        let mut end = through;
        let mut found = Vec::new();
        for (first, before, bytes) in self.segments()? {
            for (sequence, record) in records_of(first, before, &bytes) {
                if sequence > through {
                    if sequence != end + 1 {
                        tracing::error!(sequence, after = end, "the journal has a gap");
                    }
                    end = sequence;
                    found.push(record);
                }
            }
        }
        Ok((found, end))
    }

    /// The ids of the jobs of which records speak that no checkpoint covers: what has happened to them is put right
    /// by the next start. Of a spool that nothing is at work on.
    ///
    /// # Errors
    /// As those of [`Spool::read_segments`].
    pub(in crate::store::fs) fn jobs_to_replay(&self) -> Result<HashSet<u64>, SpoolError> {
        let (records, _) = self.read_segments(self.read_mark()?.through)?;
        let ops = records.iter().flat_map(|record| &record.ops);
        let jobs = ops.flat_map(|op| {
            let told = match op.said() {
                Some(Said::Accepted(accepted)) => Some(accepted.job.clone()),
                Some(Said::Ended(ended)) => Some(ended.job),
                Some(Said::Audited(_) | Said::Event(_)) | None => None,
            };
            op.paths().filter_map(job_of).chain(told)
        });
        Ok(jobs.map(|job| job.id().get()).collect())
    }

    /// The two segments, and the size that both have at least: what they have grown to, or a small one at first.
    ///
    /// # Errors
    /// As those of [`Spool::laid_out`].
    pub(super) fn laid_out_segments(
        &self,
        bytes_max: u64,
    ) -> Result<([F::File; 2], u64), SpoolError> {
        let sizes = SEGMENT_BYTES_AT_FIRST.min(bytes_max / 2)..=bytes_max;
        let mut bytes = bytes_max;
        let mut laid_out = |number| -> Result<F::File, SpoolError> {
            let path = segment_path(number);
            let file = self.laid_out(&path, sizes.clone())?;
            let stat = self.stat(&path)?;
            bytes = bytes.min(stat.map_or(0, |stat| stat.bytes));
            Ok(file)
        };
        let files = [laid_out(0)?, laid_out(1)?];
        Ok((files, bytes))
    }

    /// The file of that name if it has one of these sizes; else one of the first of them. All of it is on disk, so that
    /// writing over it changes no metadata.
    ///
    /// # Errors
    /// When it cannot be made or opened. What has that name is then an earlier file, or all of this
    /// one.
    pub(super) fn laid_out(
        &self,
        path: &Path,
        sizes: RangeInclusive<u64>,
    ) -> Result<F::File, SpoolError> {
        let stat = self.stat(path)?;
        if stat.is_some_and(|stat| sizes.contains(&stat.bytes)) {
            return self.fs.writable(path).map_err(wrap("open", path));
        }
        let temp = Path::new("tmp").join("journal.part");
        // Left over from a start that was cut off.
        let _ = self.fs.unlink(&temp);
        let made = (|| {
            let file = self.fs.create(&temp)?;
            self.fs.lengthen(&file, *sizes.start())?;
            self.fs.sync_file(&file)?;
            self.fs.replace(&temp, path)?;
            self.fs.sync_dir(Path::new(DIR))?;
            self.fs.writable(path)
        })();
        made.map_err(|error| {
            let _ = self.fs.unlink(&temp);
            wrap("lay out", path)(error)
        })
    }
}

/// A segment that holds one record of this number.
#[cfg(test)]
pub(in crate::store::fs) fn a_segment_from(first: u64) -> Vec<u8> {
    let mut segment = segment_head(first, &[0; 32]);
    super::record::Hashed::new(&[], &[]).append(first, &[0; 32], &mut segment);
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_heads_read_back_and_say_nothing_when_they_are_torn() {
        let mark = Mark {
            through: 7,
            mount: Some(MountId {
                boot: 5 << 64 | 6,
                mount: 8,
            }),
            given: Ids::of((0..RANGES_MAX as u64).map(|n| Range {
                first: 10 * n,
                last: 10 * n + 7,
                born: 100 - n,
            })),
        };
        let bytes = mark.to_bytes();
        assert!(bytes.len() <= MARK_BYTES);
        assert_eq!(Mark::from_bytes(&bytes), Some(mark));
        let head = segment_head(9, &[3; 32]);
        assert_eq!(head.len(), SEGMENT_HEAD_BYTES);
        assert_eq!(read_segment_head(&head), Some((9, [3; 32])));
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 1;
            assert_eq!(Mark::from_bytes(&torn), None, "{at}");
            assert_eq!(Mark::from_bytes(&bytes[..at]), None, "{at}");
        }
        for at in 0..80 {
            let mut torn = head.clone();
            torn[at] ^= 1;
            assert_eq!(read_segment_head(&torn), None, "{at}");
        }
        assert_eq!(Mark::from_bytes(&[0; MARK_BYTES]), None, "never written");
        assert_eq!(read_segment_head(&bytes), None, "a mark is no head");
    }
}
