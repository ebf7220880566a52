//! Programs of the distribution that rows need. It promises the name of the package for each that
//! is missing.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

#[derive(Debug)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

pub(crate) const CURL: &Tool = &Tool {
    program: "curl",
    package: "curl",
};
/// With its DAV module, which Debian's every nginx has.
pub(crate) const NGINX: &Tool = &Tool {
    program: "nginx",
    package: "nginx-extras",
};
pub(crate) const STRACE: &Tool = &Tool {
    program: "strace",
    package: "strace",
};
pub(crate) const VALGRIND: &Tool = &Tool {
    program: "valgrind",
    package: "valgrind",
};
pub(crate) const WRK: &Tool = &Tool {
    program: "wrk",
    package: "wrk",
};

impl Tool {
    /// Where it is. Servers often lie where ordinary users do not look.
    pub(crate) fn find(&self) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
        let mut dirs = env::split_paths(&path).chain(usual);
        dirs.find_map(|dir| Some(dir.join(self.program)).filter(|path| path.is_file()))
    }

    pub(crate) fn command(&self) -> Command {
        Command::new(self.find().as_deref().unwrap_or(Path::new(self.program)))
    }
}

/// What has to be installed, a sentence each.
pub(crate) fn missing(needs: &[&Tool]) -> Vec<String> {
    let missing = needs.iter().filter(|tool| tool.find().is_none());
    missing
        .map(|tool| {
            format!(
                "{} is missing: apt-get install {}",
                tool.program, tool.package
            )
        })
        .collect()
}
