//! What users have uploaded on a day, by its record.

use super::{
    super::{Fs, Spool, SpoolError},
    accepted_path,
    files::{CHUNK_BYTES, Lines},
    line::UploadLine,
    unreadable,
};
use crate::store::Came;
use std::collections::{HashMap, HashSet};

impl<F: Fs> Spool<F> {
    /// The bytes of the uploads that were accepted or refused on a day, by user. Takes as long as reading the day's
    /// `accepted.jsonl` does.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub fn uploaded_bytes(&self, day: &str) -> Result<HashMap<String, u64>, SpoolError> {
        let mut sent: HashMap<String, u64> = HashMap::new();
        let mut add = |user: &str, bytes: u64| match sent.get_mut(user) {
            Some(known) => *known = known.saturating_add(bytes),
            None => drop(sent.insert(user.to_owned(), bytes)),
        };
        // First what the file does not have yet: one of these lines may be there by the time that it is read.
        let mut counted = HashSet::new();
        for (id, accepted) in &self.records.known.lock().unwritten {
            if accepted.job.day() == day {
                counted.insert(*id);
                if accepted.came == Came::Uploaded {
                    add(&accepted.submitter, accepted.bytes);
                }
            }
        }
        let path = accepted_path(day);
        let Some((file, _)) = self.opened(&path)? else {
            return Ok(sent);
        };
        let read = (|| {
            let mut lines = Lines::new(&*self.fs, &file, 0, CHUNK_BYTES);
            while let Some((_, line)) = lines.next()? {
                if let Some(upload) = UploadLine::read(line)
                    && !counted.contains(&upload.id)
                {
                    add(&upload.submitter, upload.bytes);
                }
            }
            Ok(())
        })();
        read.map_err(unreadable(&path))?;
        Ok(sent)
    }
}
