//! The record's files: the one writer, the search, and what a replay puts right.

use super::{
    super::{EntryKind, Fs, Spool, SpoolError, audit, events, wrap},
    Accepted, Ended, Records, Said, accepted_path, ended_path,
    line::id_of,
    search::{Search, WINDOW},
    unreadable,
};
use crate::{
    domain::JobId,
    store::{audit::AuditRecord, events::EventLine},
};
use memchr::{memchr, memrchr};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A search ends in a piece of that size, which is read line by line.
pub(super) const PIECE_BYTES: u64 = 16 * 1024;
/// So much is read at once when many lines are read.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// No line of ours is longer.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Fewer lines of one day are looked up one by one.
const TOGETHER_MIN: usize = 4;

/// What one file is to have, and of which jobs that is.
#[derive(Debug, Default)]
struct Unwritten {
    text: String,
    ids: Vec<u64>,
    /// With where they stand in the text, and their lengths.
    events: Vec<(usize, usize, Box<EventLine>)>,
}

#[derive(Debug)]
struct Tail<File> {
    file: File,
    /// Where a write that failed is to be done again.
    again_at: Option<u64>,
}

/// Appends to the files of the record.
#[derive(Debug)]
pub(super) struct Writer<File> {
    unwritten: BTreeMap<PathBuf, Unwritten>,
    tails: HashMap<PathBuf, Tail<File>>,
}

impl<File> Default for Writer<File> {
    fn default() -> Self {
        Self {
            unwritten: BTreeMap::new(),
            tails: HashMap::new(),
        }
    }
}

impl<F: Fs> Records<F> {
    /// Appends these lines to their files, and those that could not be appended earlier. After an
    /// error they are kept, to be appended by the next call.
    ///
    /// # Errors
    /// When a file cannot be made or written. All lines that are missing are kept; call it again,
    /// if need be without new ones.
    pub(in crate::store::fs) fn append(&self, fs: &F, said: &[Said]) -> io::Result<()> {
        let mut writer = self.writer.lock();
        for said in said {
            let unwritten = writer.unwritten.entry(said.path()).or_default();
            let (at, line) = (unwritten.text.len(), said.line());
            unwritten.text.push_str(&line);
            unwritten.text.push('\n');
            if let Said::Event(event) = said {
                unwritten.events.push((at, line.len(), event.clone()));
            }
            unwritten.ids.extend(said.job().map(|job| job.id().get()));
        }
        let mut outcome = Ok(());
        let Writer { unwritten, tails } = &mut *writer;
        unwritten.retain(
            |path, unwritten| match append(fs, tails, path, &unwritten.text) {
                Ok(begin) => {
                    self.written(&unwritten.ids);
                    let events = std::mem::take(&mut unwritten.events).into_iter();
                    let events = events.map(|(at, bytes, line)| (begin + at as u64, bytes, line));
                    self.events.written(path, events.collect());
                    false
                }
                Err(error) => {
                    outcome = Err(error);
                    true
                }
            },
        );
        outcome
    }

    /// Files that were removed are made again from here on.
    pub(in crate::store::fs) fn close_files(&self) {
        let mut writer = self.writer.lock();
        writer.tails.retain(|_, tail| tail.again_at.is_some());
    }
}

/// Gives where the text begins.
fn append<F: Fs>(
    fs: &F,
    tails: &mut HashMap<PathBuf, Tail<F::File>>,
    path: &Path,
    text: &str,
) -> io::Result<u64> {
    let size = fs.stat(path)?.map(|stat| stat.bytes);
    if size.is_none() {
        tails.remove(path);
    }
    if !tails.contains_key(path) {
        let opened = match size {
            Some(_) => fs.writable(path),
            None => make(fs, path),
        };
        let tail = Tail {
            file: opened?,
            again_at: None,
        };
        tails.insert(path.to_owned(), tail);
    }
    let Some(tail) = tails.get_mut(path) else {
        return Ok(0);
    };
    let at = tail.again_at.unwrap_or(size.unwrap_or(0));
    // A write that fails in its middle leaves a part of it.
    tail.again_at = Some(at);
    fs.write_at(&tail.file, at, text.as_bytes())?;
    tail.again_at = None;
    Ok(at)
}

fn make<F: Fs>(fs: &F, path: &Path) -> io::Result<F::File> {
    match fs.create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut dirs: Vec<&Path> = path.ancestors().skip(1).collect();
            dirs.pop();
            for dir in dirs.into_iter().rev() {
                fs.make_dir(dir)?;
            }
            fs.create(path)
        }
        other => other,
    }
}

/// The whole lines of a file, from some place on.
pub(super) struct Lines<'s, F: Fs> {
    fs: &'s F,
    file: &'s F::File,
    /// What has been read, and where in the file that begins.
    buffer: Vec<u8>,
    begin: u64,
    /// The next line's place in it.
    at: usize,
    chunk_bytes: usize,
    /// What is read is the rest of a line.
    skips: bool,
    /// All of the file has been read.
    is_at_end: bool,
}

impl<'s, F: Fs> Lines<'s, F> {
    /// The lines that begin at `from` or later.
    pub(super) fn new(fs: &'s F, file: &'s F::File, from: u64, chunk_bytes: usize) -> Self {
        Self {
            fs,
            file,
            buffer: Vec::new(),
            // The end of the line before says whether one begins there.
            begin: from.saturating_sub(1),
            at: 0,
            chunk_bytes,
            skips: from > 0,
            is_at_end: false,
        }
    }

    /// Where what comes next begins.
    pub(super) fn position(&self) -> u64 {
        self.begin + self.at as u64
    }

    /// The next line, without its end, and where it begins. One that has no end is none.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        let end = loop {
            if let Some(length) = memchr(b'\n', &self.buffer[self.at..]) {
                let start = self.at;
                self.at += length + 1;
                if std::mem::take(&mut self.skips) {
                    continue;
                }
                break start..start + length;
            }
            if !self.read_on()? {
                return Ok(None);
            }
        };
        Ok(Some((self.begin + end.start as u64, &self.buffer[end])))
    }

    /// Several lines that come next, with their ends.
    pub(super) fn next_block(&mut self) -> io::Result<Option<&[u8]>> {
        let end = loop {
            if self.skips
                && let Some(length) = memchr(b'\n', &self.buffer[self.at..])
            {
                self.at += length + 1;
                self.skips = false;
            }
            if !self.skips
                && let Some(length) = memrchr(b'\n', &self.buffer[self.at..])
            {
                let start = self.at;
                self.at += length + 1;
                break start..self.at;
            }
            if !self.read_on()? {
                return Ok(None);
            }
        };
        Ok(Some(&self.buffer[end]))
    }

    /// Reads more of the file behind what is left. False: there is no more.
    fn read_on(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.begin += self.at as u64;
        self.at = 0;
        if self.skips || self.buffer.len() > LINE_BYTES_MAX {
            self.begin += self.buffer.len() as u64;
            self.buffer.clear();
            self.skips = true;
        }
        if self.is_at_end {
            return Ok(false);
        }
        let from = self.begin + self.buffer.len() as u64;
        let read = self.fs.read_at(self.file, from, self.chunk_bytes)?;
        self.is_at_end = read.len() < self.chunk_bytes;
        self.buffer.extend(read);
        Ok(true)
    }
}

/// Where the lines begin of which none before has that id, as long as the ids rise. How often it looks depends
/// on the size alone.
pub(super) fn bisect<F: Fs>(fs: &F, file: &F::File, size: u64, id: u64) -> io::Result<u64> {
    let (mut low, mut length) = (0, size);
    while length > PIECE_BYTES {
        let middle = low + length / 2;
        let mut lines = Lines::new(fs, file, middle, 4096);
        let mut found = None;
        while let Some((at, line)) = lines.next()? {
            if at >= low + length {
                break;
            }
            found = id_of(line);
            if found.is_some() {
                break;
            }
        }
        if found.is_some_and(|of| of < id) {
            low = middle;
        }
        length -= length / 2;
    }
    Ok(low)
}

impl<F: Fs> Spool<F> {
    /// Opens a file of the record; `None` when there is none.
    pub(super) fn opened(&self, path: &Path) -> Result<Option<(F::File, u64)>, SpoolError> {
        let size = match self.stat(path)? {
            Some(stat) if stat.kind == EntryKind::File => stat.bytes,
            Some(_) | None => return Ok(None),
        };
        match self.fs.update(path) {
            Ok(file) => Ok(Some((file, size))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(path)(error)),
        }
    }

    /// Is the order of the lines that of the ids? Otherwise a line may be anywhere in its file.
    pub(super) fn ids_have_risen(&self) -> bool {
        self.ids.lock().have_risen()
    }

    /// The lines of `accepted.jsonl` that are of these jobs, without their parameters.
    ///
    /// # Errors
    /// When the file cannot be read; `each` may have been called for some of the jobs.
    pub(super) fn look_up_all(
        &self,
        day: &str,
        ids: HashSet<u64>,
        each: &mut dyn FnMut(Arc<Accepted>),
    ) -> Result<(), SpoolError> {
        if ids.len() < TOGETHER_MIN {
            for id in ids {
                let mut search = Search::new(JobId::from_number(id));
                self.searched(&mut search)?.into_iter().for_each(&mut *each);
            }
            return Ok(());
        }
        let path = accepted_path(day);
        let Some((file, size)) = self.opened(&path)? else {
            return Ok(());
        };
        let (first, last) = ids.iter().fold((u64::MAX, 0), |(first, last), id| {
            (first.min(*id), last.max(*id))
        });
        let rise = self.ids_have_risen();
        let read = (|| {
            let low = match rise {
                true => bisect(&*self.fs, &file, size, first.saturating_sub(WINDOW))?,
                false => 0,
            };
            let mut lines = Lines::new(&*self.fs, &file, low, CHUNK_BYTES);
            while let Some((_, line)) = lines.next()? {
                match id_of(line) {
                    Some(id) if ids.contains(&id) => {
                        if let Some(mut accepted) = Accepted::from_line(line) {
                            accepted.params = None;
                            each(Arc::new(accepted));
                        }
                    }
                    Some(id) if rise && id > last + WINDOW => break,
                    Some(_) | None => {}
                }
            }
            Ok(())
        })();
        read.map_err(unreadable(&path))
    }

    /// Every line of a day's `ended.jsonl`, in order.
    ///
    /// # Errors
    /// When the file cannot be read; `each` may have been called for the lines before.
    pub(super) fn each_ended(
        &self,
        day: &str,
        each: &mut dyn FnMut(Ended),
    ) -> Result<(), SpoolError> {
        self.each_line(&ended_path(day), &mut |_, line| {
            Ended::from_line(line).into_iter().for_each(&mut *each);
            Ok(())
        })
    }

    /// Every line of what is recorded of a day; where something stands in its place that is none, its file and
    /// the number of the line, counted from 1.
    ///
    /// # Errors
    /// When a file cannot be read; `each` may have been called for the lines before.
    pub(in crate::store::fs) fn each_said(
        &self,
        day: &str,
        each: &mut dyn FnMut(Result<Said, String>),
    ) -> Result<(), SpoolError> {
        type Read = fn(&[u8]) -> Option<Said>;
        let accepted: Read = |line| Some(Said::Accepted(Arc::new(Accepted::from_line(line)?)));
        let ended: Read = |line| Some(Said::Ended(Box::new(Ended::from_line(line)?)));
        for (path, read) in [(accepted_path(day), accepted), (ended_path(day), ended)] {
            let mut number = 0;
            self.each_line(&path, &mut |_, line| {
                number += 1;
                match read(line) {
                    // What was removed of a submitter leaves blanks.
                    None if line.trim_ascii().is_empty() => {}
                    said => each(said.ok_or_else(|| format!("{}:{number}", path.display()))),
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The ids of the jobs of a submitter that came on a day.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(in crate::store::fs) fn accepted_of_submitter(
        &self,
        day: &str,
        submitter: &str,
    ) -> Result<HashSet<u64>, SpoolError> {
        let path = accepted_path(day);
        let mut ids = HashSet::new();
        self.each_line(&path, &mut |_, line| {
            let accepted = Accepted::from_line(line).filter(|a| a.submitter == submitter);
            ids.extend(accepted.map(|accepted| accepted.job.id().get()));
            Ok(())
        })?;
        Ok(ids)
    }

    /// Writes over those ends of a day for which there are others, as [`Spool::rewrite_accepted`].
    ///
    /// # Errors
    /// When the file cannot be read or written; it can be done again.
    pub(in crate::store::fs) fn rewrite_ended(
        &self,
        day: &str,
        other: &dyn Fn(&Ended) -> Option<Ended>,
    ) -> Result<(), SpoolError> {
        self.rewrite(&ended_path(day), &|line| {
            let known = Ended::from_line(line)?;
            Some(other(&known).map(|other| other.to_line()))
        })
    }

    /// Writes over those lines of a day for which there are others, with as many bytes. Not synced. What a crash
    /// in the middle leaves of a line says nothing, and the next call puts blanks there.
    ///
    /// # Errors
    /// When the file cannot be read or written; it can be done again.
    pub(in crate::store::fs) fn rewrite_accepted(
        &self,
        day: &str,
        other: &dyn Fn(&Accepted) -> Option<Accepted>,
    ) -> Result<(), SpoolError> {
        self.rewrite(&accepted_path(day), &|line| {
            let known = Accepted::from_line(line)?;
            Some(other(&known).map(|other| other.to_line()))
        })
    }

    /// `other` gives nothing at all for what is no line, and no other line for one that is to stay.
    pub(in crate::store::fs) fn rewrite(
        &self,
        path: &Path,
        other: &dyn Fn(&[u8]) -> Option<Option<String>>,
    ) -> Result<(), SpoolError> {
        let mut written = None;
        self.each_line(path, &mut |at, line| {
            let other = match other(line) {
                Some(None) => return Ok(()),
                Some(Some(other)) if other.len() <= line.len() => other,
                // What another hand has written there is left.
                None if id_of(line).is_none() => return Ok(()),
                Some(Some(_)) | None => String::new(),
            };
            // Blanks behind a line mean nothing, and one of nothing else is none.
            let mut bytes = other.into_bytes();
            bytes.resize(line.len(), b' ');
            let file = match &written {
                Some(file) => file,
                None => written.insert(self.fs.writable(path)?),
            };
            self.fs.write_at(file, at, &bytes)
        })
    }

    /// Calls `each` with where each whole line of a file begins, and the line without its end.
    pub(in crate::store::fs) fn each_line(
        &self,
        path: &Path,
        each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<(), SpoolError> {
        let Some((file, _)) = self.opened(path)? else {
            return Ok(());
        };
        let read = (|| {
            let mut lines = Lines::new(&*self.fs, &file, 0, CHUNK_BYTES);
            while let Some((at, line)) = lines.next()? {
                each(at, line)?;
            }
            Ok(())
        })();
        read.map_err(unreadable(path))
    }

    /// Appends what the files do not have of what was recorded, and cuts off what is torn at their
    /// end. Gives how many files that were.
    ///
    /// # Errors
    /// When a file cannot be read, cut or written. It can be done again: what is there already is
    /// not appended twice.
    pub(in crate::store::fs) fn complete_records(
        &self,
        said: Vec<Said>,
    ) -> Result<usize, SpoolError> {
        let mut files: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
        for said in said {
            files.entry(said.path()).or_default().push(said.line());
        }
        let mut mended = 0;
        for (path, lines) in files {
            mended += usize::from(self.complete(&path, &lines)?);
        }
        Ok(mended)
    }

    fn complete(&self, path: &Path, recorded: &[String]) -> Result<bool, SpoolError> {
        let size = self.stat(path)?.map_or(0, |stat| stat.bytes);
        let n_bytes: usize = recorded.iter().map(|line| line.len() + 1).sum();
        // Nothing that is not covered by a checkpoint stands before that.
        let from = size.saturating_sub((n_bytes + LINE_BYTES_MAX) as u64);
        let mut end = Vec::new();
        if size > 0 {
            let file = self.fs.update(path).map_err(unreadable(path))?;
            let length = usize::try_from(size - from).unwrap_or(usize::MAX);
            let read = self.fs.read_at(&file, from, length);
            end = read.map_err(unreadable(path))?;
        }
        let Sound { kept, torn_at } = sound(path, &end, from > 0);
        let torn_at = torn_at.unwrap_or(end.len());
        let (there, later): (Vec<_>, Vec<_>) = kept.into_iter().partition(|(at, _)| *at < torn_at);
        let there: HashSet<&[u8]> = there.into_iter().map(|(_, line)| line).collect();
        let recorded: Vec<&[u8]> = recorded.iter().map(String::as_bytes).collect();
        let is_recorded: HashSet<&[u8]> = recorded.iter().copied().collect();
        let mut text = Vec::new();
        // What is recorded is written in its order, also what stands behind a torn line.
        let later = later.into_iter().map(|(_, line)| line);
        let others = later.filter(|line| !is_recorded.contains(line));
        let missing = recorded.iter().filter(|line| !there.contains(*line));
        for line in others.chain(missing.copied()) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        if text.is_empty() && torn_at == end.len() {
            return Ok(false);
        }
        let file = match size {
            0 if self.stat(path)?.is_none() => make(&*self.fs, path),
            _ => self.fs.writable(path),
        };
        let written = file.and_then(|file| {
            let at = from + torn_at as u64;
            if at < size {
                self.fs.cut(&file, at)?;
            }
            self.fs.write_at(&file, at, &text)
        });
        written.map_err(wrap("complete", path))?;
        Ok(true)
    }
}

/// The lines of a file's end that can be read, and where the first is that cannot.
struct Sound<'e> {
    kept: Vec<(usize, &'e [u8])>,
    torn_at: Option<usize>,
}

/// `has_begun`: it may begin within a line.
fn sound<'e>(path: &Path, end: &'e [u8], has_begun: bool) -> Sound<'e> {
    let is_ours = |line: &[u8]| {
        if path.starts_with(audit::DIR) {
            AuditRecord::from_line(line).is_some()
        } else if path.starts_with(events::DIR) {
            EventLine::from_line(line).is_some()
        } else if path.ends_with("accepted.jsonl") {
            Accepted::from_line(line).is_some()
        } else {
            Ended::from_line(line).is_some()
        }
    };
    let mut sound = Sound {
        kept: Vec::new(),
        torn_at: None,
    };
    let mut at = 0;
    if has_begun {
        let first = end.iter().position(|byte| *byte == b'\n');
        at = first.map_or(end.len(), |first| first + 1);
    }
    while at < end.len() {
        let length = end[at..].iter().position(|byte| *byte == b'\n');
        let line = length.map(|length| &end[at..at + length]);
        match line.filter(|line| is_ours(line)) {
            Some(line) => sound.kept.push((at, line)),
            None => {
                tracing::warn!(path = %path.display(), "a torn line is cut off");
                sound.torn_at.get_or_insert(at);
            }
        }
        at += length.unwrap_or(end.len() - at) + 1;
    }
    sound
}
