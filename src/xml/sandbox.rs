//! A child process that can read the system's libraries and one directory, and nothing else.
//!
//! Landlock restricts the calling thread and whatever it starts, so a thread of its own is made
//! for each child: it restricts itself, starts the child and ends. The child can write no file,
//! open no TCP connection and read no document, key or password of the system. A kernel that
//! knows less enforces less; where it enforces nothing that is logged once, and the other means
//! (no such function in a stylesheet, options of the program, resource limits) stand alone.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Once;
use std::thread;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

/// The newest rules that are asked for; an older kernel takes those that it knows.
const NEWEST: ABI = ABI::V7;

/// Where programs find their libraries. What does not exist is left out.
const LIBRARIES: [&str; 7] = [
    "/etc/ld.so.cache",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/locale",
];

/// Starts the command so that it can read `readable` only.
pub(super) fn spawn(command: &mut Command, readable: &[&Path]) -> io::Result<Child> {
    thread::scope(|scope| {
        let confined = thread::Builder::new().spawn_scoped(scope, || {
            let status = restrict(readable).map_err(io::Error::other)?;
            if status == RulesetStatus::NotEnforced {
                warn_once();
            }
            command.spawn()
        })?;
        let panicked = |_| Err(io::Error::other("the sandbox panicked"));
        confined.join().unwrap_or_else(panicked)
    })
}

fn restrict(readable: &[&Path]) -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::from_read(NEWEST);
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(LIBRARIES, read))?
        .add_rules(path_beneath_rules(readable, read))?
        .restrict_self()?;
    Ok(restricted.ruleset)
}

fn warn_once() {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!("this kernel has no landlock: stylesheets run without a file sandbox");
    });
}

/// Whether tests of the sandbox mean anything here. Continuous integration has to have it.
#[cfg(test)]
pub(super) fn testable() -> bool {
    let status = thread::spawn(|| restrict(&[])).join().unwrap().unwrap();
    let enforced = status != RulesetStatus::NotEnforced;
    assert!(
        enforced || std::env::var_os("CI").is_none(),
        "this kernel has no landlock"
    );
    if !enforced {
        let _ = io::Write::write_all(&mut io::stdout(), b"skipped: this kernel has no landlock\n");
    }
    enforced
}
