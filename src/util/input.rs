//! A file that a person names and that can be read more than once, standard input too, which is
//! copied to a file without a name first.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// Stands for standard input.
const STANDARD: &str = "-";

pub(crate) struct Input {
    path: PathBuf,
    /// Which has no name of its own.
    copy: Option<File>,
}

impl Input {
    /// Blocks while it copies standard input.
    ///
    /// # Errors
    /// When standard input cannot be read, or there is no room for it. A file is not looked at.
    pub(crate) fn of(path: &Path) -> io::Result<Input> {
        match Input::is_standard(path) {
            true => Input::copied(io::stdin().lock()),
            false => Ok(Input {
                path: path.to_owned(),
                copy: None,
            }),
        }
    }

    fn copied(mut from: impl io::Read) -> io::Result<Input> {
        let mut file = tempfile::tempfile()?;
        io::copy(&mut from, &mut file)?;
        Ok(Input {
            path: PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            copy: Some(file),
        })
    }

    pub(crate) fn is_standard(path: &Path) -> bool {
        path == Path::new(STANDARD)
    }

    /// Is it the same content whenever it comes, and not a file of someone's?
    pub(crate) fn is_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// # Errors
    /// When several of the paths are standard input, which can be read once only.
    pub(crate) fn named_once(paths: &[PathBuf]) -> Result<(), String> {
        match paths.iter().filter(|path| Input::is_standard(path)).count() {
            0 | 1 => Ok(()),
            _ => Err(format!(
                "{STANDARD} is standard input, which can be read once only"
            )),
        }
    }

    /// Where it can be read, for as long as this lives.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_copied_can_be_read_again() {
        let input = Input::copied(&b"<a/>"[..]).unwrap();
        for _ in 0..2 {
            assert_eq!(std::fs::read(input.path()).unwrap(), b"<a/>");
        }
        assert!(input.is_copy());
    }

    #[test]
    fn standard_input_is_named_once() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert!(Input::named_once(&paths(&["a", "-", "b"])).is_ok());
        assert!(Input::named_once(&paths(&["-", "a", "-"])).is_err());
    }
}
