//! A child process that can reach the files that it is given, and no others.
//!
//! Landlock restricts the calling thread and whatever it starts, so a thread of its own is made
//! for each child: it restricts itself, starts the child and ends. A kernel that knows less
//! enforces less; what that means, where it enforces nothing, is for the caller to decide.

use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::thread;

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

/// The newest rules that are asked for; an older kernel takes those that it knows.
const NEWEST: ABI = ABI::V7;

/// What a child can reach. What does not exist is left out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reach<'a> {
    /// Files, and all that lies in directories, to be read and run.
    pub(crate) readable: &'a [&'a Path],
    /// The same, to be changed as well.
    pub(crate) writable: &'a [&'a Path],
    /// TCP, in both directions.
    pub(crate) network: bool,
}

/// Starts the command so that it, and all that it starts, can reach no more. It cannot signal, trace or
/// look into processes outside, either.
///
/// # Errors
/// When it cannot be started, or the kernel refuses what it knows.
pub(crate) fn spawn(command: &mut Command, reach: &Reach<'_>) -> io::Result<Child> {
    thread::scope(|scope| {
        let confined = thread::Builder::new().spawn_scoped(scope, || {
            restrict(reach).map_err(io::Error::other)?;
            command.spawn()
        })?;
        let panicked = |_| Err(io::Error::other("the sandbox panicked"));
        confined.join().unwrap_or_else(panicked)
    })
}

/// Does this kernel confine anything?
pub(crate) fn is_enforced() -> bool {
    static ENFORCED: OnceLock<bool> = OnceLock::new();
    *ENFORCED.get_or_init(|| {
        let tried = thread::spawn(|| restrict(&Reach::default())).join();
        matches!(tried, Ok(Ok(status)) if status != RulesetStatus::NotEnforced)
    })
}

fn restrict(reach: &Reach<'_>) -> Result<RulesetStatus, RulesetError> {
    let (read, all) = (AccessFs::from_read(NEWEST), AccessFs::from_all(NEWEST));
    let mut rules = Ruleset::default().handle_access(all)?;
    if !reach.network {
        rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
    }
    let restricted = rules
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(reach.readable, read))?
        .add_rules(path_beneath_rules(reach.writable, all))?
        .restrict_self()?;
    Ok(restricted.ruleset)
}

/// Whether tests of the sandbox mean anything here. Continuous integration has to have it.
#[cfg(test)]
pub(crate) fn testable() -> bool {
    let enforced = is_enforced();
    assert!(
        enforced || std::env::var_os("CI").is_none(),
        "this kernel has no landlock"
    );
    if !enforced {
        let _ = io::Write::write_all(&mut io::stdout(), b"skipped: this kernel has no landlock\n");
    }
    enforced
}
