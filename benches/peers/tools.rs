//! Programs and a library of the distribution that rows need. It promises the name of the package
//! for each that is missing.

use crate::libxml2;
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
/// With the DAV module, which even the lightest of Debian has.
pub(crate) const NGINX: &Tool = &Tool {
    program: "nginx",
    package: "nginx-light",
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

/// What a row cannot do without.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    Libxml2,
    Tool(&'static Tool),
}

impl Need {
    fn is_there(self) -> bool {
        match self {
            Self::Libxml2 => libxml2::is_there(),
            Self::Tool(tool) => tool.find().is_some(),
        }
    }

    /// Its name, and the package.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Libxml2 => ["libxml2", "libxml2"],
            Self::Tool(tool) => [tool.program, tool.package],
        }
    }
}

/// What has to be installed, a sentence each.
pub(crate) fn missing(needs: &[Need]) -> Vec<String> {
    let missing = needs.iter().filter(|need| !need.is_there());
    let sentence =
        |[name, package]: [&str; 2]| format!("{name} is missing: apt-get install {package}");
    missing.map(|need| sentence(need.names())).collect()
}
