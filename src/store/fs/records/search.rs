//! The search for one job's line, which costs the same whether there is such a line.

use super::{
    super::{Fs, Spool, SpoolError},
    Accepted, accepted_path,
    files::{CHUNK_BYTES, Lines, PIECE_BYTES, bisect},
    line::id_of,
    unreadable,
};
use crate::domain::{JobId, JobName, Kind};
use std::{io, ops::Range, sync::Arc};

/// Around the place where a job's line would be if the ids rose strictly.
const AROUND_BYTES: u64 = 64 * 1024;
/// A job gets its id at most so long before its line is written: milliseconds, as ids count them.
pub(super) const WINDOW: u64 = 10_000 << 12;

/// A search for the line of a job. It is made as far as it is needed: it may stay where the line was found, or
/// go on to the end that it comes to when there is none.
pub(in crate::store::fs) struct Search<F: Fs> {
    id: u64,
    day: String,
    /// The day's file with its size, once it is open; `None` in it: there is none.
    file: Option<Option<(F::File, u64)>>,
    next: Option<Pass>,
    found: Option<Arc<Accepted>>,
}

/// Where lines are looked through, each pass as a whole.
#[derive(Clone, Copy)]
enum Pass {
    /// Where the line would be if the ids rose strictly.
    Near,
    /// Wherever it can be as the ids rise up to their window.
    Window,
    /// Everywhere, if the ids have not risen.
    All,
}

impl<F: Fs> Search<F> {
    pub(in crate::store::fs) fn new(id: JobId) -> Self {
        Self {
            id: id.get(),
            day: JobName::new(id, None, Kind::Xml).day(),
            file: None,
            next: Some(Pass::Near),
            found: None,
        }
    }
}

impl<F: Fs> Spool<F> {
    /// The line of a job, from memory if it is there.
    ///
    /// # Errors
    /// When the record of its day cannot be read.
    pub(in crate::store::fs) fn searched(
        &self,
        search: &mut Search<F>,
    ) -> Result<Option<Arc<Accepted>>, SpoolError> {
        if let Some(known) = self.records.in_memory(search.id) {
            return Ok(Some(known));
        }
        while search.found.is_none() && self.search_on(search)? {}
        if let Some(found) = &search.found {
            self.records.known.lock().recent.keep(found.clone());
        }
        Ok(search.found.clone())
    }

    /// Goes on to the end, whatever was found. False: the day has no record.
    ///
    /// # Errors
    /// As those of [`Spool::searched`].
    pub(in crate::store::fs) fn search_through(
        &self,
        search: &mut Search<F>,
    ) -> Result<bool, SpoolError> {
        while self.search_on(search)? {}
        Ok(matches!(search.file, Some(Some(_))))
    }

    /// Makes the next pass of a search. False: there is none any more.
    fn search_on(&self, search: &mut Search<F>) -> Result<bool, SpoolError> {
        let path = accepted_path(&search.day);
        if search.file.is_none() {
            search.file = Some(self.opened(&path)?);
        }
        let (Some(Some((file, size))), Some(pass)) = (&search.file, search.next) else {
            return Ok(false);
        };
        let found = self.pass(file, *size, search.id, pass);
        let found = found.map_err(unreadable(&path))?;
        search.found = search.found.take().or(found);
        search.next = match pass {
            Pass::Near => Some(Pass::Window),
            Pass::Window if !self.ids_have_risen() => Some(Pass::All),
            Pass::Window | Pass::All => None,
        };
        Ok(true)
    }

    fn pass(
        &self,
        file: &F::File,
        size: u64,
        id: u64,
        pass: Pass,
    ) -> io::Result<Option<Arc<Accepted>>> {
        let near_bytes = PIECE_BYTES + 2 * AROUND_BYTES;
        let (within, last, chunk_bytes) = match pass {
            Pass::Near => {
                let low = bisect(&*self.fs, file, size, id)?.saturating_sub(AROUND_BYTES);
                // With the rest of the last line.
                let chunk_bytes = (near_bytes + PIECE_BYTES) as usize;
                (low..low + near_bytes, id + WINDOW, chunk_bytes)
            }
            Pass::Window => {
                let low = bisect(&*self.fs, file, size, id.saturating_sub(WINDOW))?;
                (low..size, id + WINDOW, CHUNK_BYTES)
            }
            Pass::All => (0..size, u64::MAX, CHUNK_BYTES),
        };
        let lines = Lines::new(&*self.fs, file, within.start, chunk_bytes);
        seek(lines, within, id, last)
    }
}

/// The line of a job among those that begin in `within`, up to one with an id above `last`. Found or not, as
/// much is read.
fn seek<F: Fs>(
    mut lines: Lines<'_, F>,
    within: Range<u64>,
    id: u64,
    last: u64,
) -> io::Result<Option<Arc<Accepted>>> {
    let mut found = None;
    while lines.position() < within.end
        && let Some((_, line)) = lines.next()?
    {
        match id_of(line) {
            Some(of) if of == id && found.is_none() => found = Accepted::from_line(line),
            Some(of) if of > last => break,
            Some(_) | None => {}
        }
    }
    Ok(found.map(Arc::new))
}
