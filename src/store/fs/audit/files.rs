//! The audit as it is read: the files of a directory, which may be a copy on another machine.

use super::{LINE_BYTES_MAX, day_of};
use crate::{
    store::audit::{AuditRecord, Chain, Misfit, Verified},
    util::plain::{self, Links},
};
use std::{
    io::{self, BufRead, BufReader, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// The first record that does not fit.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {misfit}", path.display())]
pub struct BadRecord {
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
    pub misfit: Misfit,
}

/// The files of an audit, in the order of their days.
pub struct AuditFiles {
    dir: PathBuf,
    pub(super) days: Vec<String>,
}

/// A line of a file: where it is, and its bytes without its end, unless it is cut off.
struct Line<'l> {
    path: &'l Path,
    number: usize,
    text: &'l [u8],
    is_whole: bool,
}

impl AuditFiles {
    /// # Errors
    /// When the directory cannot be listed.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let mut days = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            days.extend(day_of(&entry?.file_name()).map(str::to_owned));
        }
        days.sort_unstable();
        Ok(Self {
            dir: dir.to_owned(),
            days,
        })
    }

    /// Without the days before this one.
    #[must_use]
    pub fn since(mut self, day: &str) -> Self {
        self.days.retain(|of| of.as_str() >= day);
        self
    }

    /// Is that the file of the newest day?
    pub(in crate::store::fs) fn is_newest(&self, path: &Path) -> bool {
        let day = path.file_name().and_then(day_of);
        self.days.last().map(String::as_str) == day
    }

    /// Every record, in its order. What is none is left out: [`AuditFiles::verify`] finds it.
    ///
    /// # Errors
    /// When a file cannot be read; `each` may have been called for the records before.
    pub fn records(&self, each: &mut dyn FnMut(AuditRecord)) -> io::Result<()> {
        let all = self.lines(&mut |line| {
            AuditRecord::from_line(line.text)
                .into_iter()
                .for_each(&mut *each);
            ControlFlow::<()>::Continue(())
        });
        all.map(drop)
    }

    /// Looks whether all records fit together; with the beginning of a hash, those from the record on that has it.
    ///
    /// # Errors
    /// When a file cannot be read. The inner error is the first record that does not fit.
    pub fn verify(&self, from: Option<String>) -> io::Result<Result<Verified, BadRecord>> {
        let mut chain = Chain::new(from);
        // For what concerns the whole: where it begins, or ends.
        let mut first = None;
        let mut last = (self.dir.clone(), 0);
        let found = self.lines(&mut |line| {
            let fits = match line.is_whole {
                true => chain.line(line.text),
                false => Err(Misfit::CutOff),
            };
            let at = || (line.path.to_owned(), line.number);
            first.get_or_insert_with(at);
            last = at();
            match fits {
                Ok(()) => ControlFlow::Continue(()),
                Err(misfit) => ControlFlow::Break(misfit),
            }
        });
        let misfit = match found? {
            ControlFlow::Break(misfit) => misfit,
            ControlFlow::Continue(()) => match chain.end() {
                Ok(verified) => return Ok(Ok(verified)),
                Err(misfit @ Misfit::Beginning(_)) => {
                    last = first.unwrap_or(last);
                    misfit
                }
                Err(misfit) => misfit,
            },
        };
        let (path, line) = last;
        Ok(Err(BadRecord { path, line, misfit }))
    }

    fn lines<B>(
        &self,
        each: &mut dyn FnMut(Line<'_>) -> ControlFlow<B>,
    ) -> io::Result<ControlFlow<B>> {
        for day in &self.days {
            let path = self.dir.join(format!("{day}.jsonl"));
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            let mut file = match plain::open(&path, Links::Refuse) {
                Ok(file) => BufReader::new(file),
                // Retention has removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(named(error)),
            };
            for number in 1.. {
                let mut text = Vec::new();
                let mut limited = (&mut file).take(LINE_BYTES_MAX);
                if limited.read_until(b'\n', &mut text).map_err(named)? == 0 {
                    break;
                }
                let is_whole = text.pop_if(|byte| *byte == b'\n').is_some();
                let line = Line {
                    path: &path,
                    number,
                    text: &text,
                    is_whole,
                };
                if let ControlFlow::Break(broken) = each(line) {
                    return Ok(ControlFlow::Break(broken));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
