//! What a command in a sandbox can reach: the system's programs, the files of its run, and what the configuration
//! names besides. Not other jobs, not keys, not users.

use crate::util::sandbox::{self, Reach};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command},
};

/// Programs, what they are linked with, and what they read at their start.
const READABLE: [&str; 25] = [
    "/bin",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/timezone",
    "/lib",
    "/lib64",
    "/opt",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
];

const WRITABLE: [&str; 5] = [
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];

const NO_LANDLOCK: &str = "this kernel has no landlock, which processor.sandbox needs: use Linux 5.13 or later, or take \
                           it out";

/// Absolute paths that a command reaches besides.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Sandbox {
    /// Files and directories to be read and run.
    pub readable: Vec<PathBuf>,
    /// The same, to be changed as well.
    pub writable: Vec<PathBuf>,
}

impl Sandbox {
    /// The same with what is one run's own.
    pub(super) fn with(&self, program: &Path, run: &Path) -> Self {
        let mut all = self.clone();
        // One without a slash is looked for where programs are.
        all.readable
            .extend(program.is_absolute().then(|| program.into()));
        all.writable.push(run.into());
        all
    }

    /// Can it be made as it is said?
    ///
    /// # Errors
    /// What keeps it from that, for operators.
    pub fn check(&self) -> Result<(), String> {
        if !sandbox::is_enforced() {
            return Err(NO_LANDLOCK.into());
        }
        let mut named = self.readable.iter().chain(&self.writable);
        match named.find(|path| !path.exists()) {
            None => Ok(()),
            Some(path) => Err(format!(
                "processor.sandbox opens {}, which is not there: make it, or take it out",
                path.display()
            )),
        }
    }

    /// Starts the command in it.
    ///
    /// # Errors
    /// When it cannot be started, or the kernel has no sandbox: one that is asked for is never left out.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        if !sandbox::is_enforced() {
            return Err(io::Error::other(NO_LANDLOCK));
        }
        let reach = Reach {
            readable: &joined(&READABLE, &self.readable),
            writable: &joined(&WRITABLE, &self.writable),
            network: true,
        };
        sandbox::spawn(command, &reach)
    }
}

fn joined<'a>(usual: &'a [&str], more: &'a [PathBuf]) -> Vec<&'a Path> {
    let usual = usual.iter().map(Path::new);
    usual.chain(more.iter().map(PathBuf::as_path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_opened_and_is_not_there_is_named() {
        if !sandbox::testable() {
            return;
        }
        let one = Sandbox {
            readable: vec!["/usr".into()],
            writable: vec!["/nowhere/to/be/found".into()],
        };
        assert!(one.check().unwrap_err().contains("opens /nowhere/to"));
        let good = Sandbox {
            writable: Vec::new(),
            ..one
        };
        assert_eq!(good.check(), Ok(()));
    }
}
