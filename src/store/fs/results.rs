//! What processors made for a job's submitter: `results/<day>/<job>/`, there only with success.

use super::{EntryKind, Fs, RealFs, Spool, SpoolError, wrap};
use crate::domain::JobName;
use serde_json::{Map, Value};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    path::{Component, Path, PathBuf},
};

/// The file of output variables and links for the dialects; not one for the submitter.
pub(super) const VARIABLES: &str = "result.json";
/// A larger one is left unread.
const VARIABLES_BYTES_MAX: u64 = 1 << 20;

impl<F: Fs> Spool<F> {
    /// The names of a job's result files, sorted, and the members of its `result.json`: none, if
    /// that is missing, too large or not a JSON object.
    ///
    /// # Errors
    /// When they cannot be listed or read: that is not the same as none, so ask again.
    pub fn results_of(
        &self,
        name: &JobName,
    ) -> Result<(Vec<String>, Map<String, Value>), SpoolError> {
        let dir = results_dir(name);
        let mut files = Vec::new();
        let each = &mut |entry: &std::ffi::OsStr, kind| {
            if kind == EntryKind::File {
                files.extend(entry.to_str().map(str::to_owned));
            }
        };
        self.fs.list(&dir, each).map_err(wrap("list", &dir))?;
        files.sort_unstable();
        let n_files = files.len();
        files.retain(|file| file != VARIABLES);
        let variables = if files.len() < n_files {
            let read = self.variables(&dir.join(VARIABLES))?;
            read.unwrap_or_else(|wrong| {
                tracing::warn!(job = %name, "{VARIABLES} is not used: {wrong}");
                Map::new()
            })
        } else {
            Map::new()
        };
        Ok((files, variables))
    }

    /// The members of a `result.json`, or what is wrong with it.
    ///
    /// # Errors
    /// When the file cannot be read; what is wrong with a file that can be is in the value.
    pub(super) fn variables(
        &self,
        path: &Path,
    ) -> Result<Result<Map<String, Value>, String>, SpoolError> {
        let bytes = match self.stat(path)? {
            Some(stat) if stat.bytes <= VARIABLES_BYTES_MAX => {
                self.fs.read_small(path, VARIABLES_BYTES_MAX)
            }
            Some(_) => return Ok(Err(format!("it has more than {VARIABLES_BYTES_MAX} bytes"))),
            None => return Ok(Err("it is not there any more".into())),
        };
        let bytes = bytes.map_err(wrap("read", path))?;
        // Some editors and languages cannot do without the mark.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        Ok(serde_json::from_slice(text).map_err(|error| error.to_string()))
    }
}

impl Spool<RealFs> {
    /// Opens one of the files that [`Spool::results_of`] names; `None` when it is gone, or never was.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_result(&self, name: &JobName, file: &str) -> Result<Option<File>, SpoolError> {
        let mut components = Path::new(file).components();
        let is_name = components.next() == Some(Component::Normal(OsStr::new(file)));
        if !is_name || file == VARIABLES {
            return Ok(None);
        }
        let path = results_dir(name).join(file);
        match self.fs.update(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrap("open", &path)(error)),
        }
    }
}

fn results_dir(name: &JobName) -> PathBuf {
    ["results", &name.day(), &name.to_string()].iter().collect()
}
