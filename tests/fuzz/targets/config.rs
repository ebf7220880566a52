//! Any text as `spoolgate.toml` and as `users.toml`: refused with a text that says where, or
//! accepted, and then everything in it can be used.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spoolgate::{
    auth::{UsersError, UsersFile},
    config::{Config, InterfaceConfig},
    processor::Processor,
};
use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Instant,
};
use tokio::sync::Semaphore;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    match Config::parse(text, Path::new("/etc/spoolgate/spoolgate.toml")) {
        Ok(config) => usable(&config),
        Err(message) => refused(&message, text),
    }
    users(text);
});

fn refused(message: &str, text: &str) {
    assert!(!message.trim().is_empty());
    if let Some(rest) = message.strip_prefix("line ") {
        let line = rest.split(':').next().and_then(|n| n.parse::<usize>().ok());
        let n_lines = text.matches('\n').count() + 1;
        assert!(
            line.is_some_and(|line| (1..=n_lines).contains(&line)),
            "{message}"
        );
    }
}

/// Whether the program could run with it, and not find out later that it cannot.
fn usable(config: &Config) {
    assert!(config.tenant(None).is_ok());
    let limits = &config.limits;
    assert!(
        limits.connections_max <= Semaphore::MAX_PERMITS,
        "connections_max"
    );
    assert!(limits.running_max > 0);
    let mut roots = BTreeSet::new();
    for tenant in &config.tenants {
        assert!(tenant.root.is_absolute() && tenant.users.is_absolute());
        assert!(roots.insert(&tenant.root), "a shared spool");
        assert!(config.tenant(Some(&tenant.name)).is_ok());
        let mut names: BTreeSet<&str> = tenant.interfaces.keys().map(|i| i.as_str()).collect();
        for interface in tenant.interfaces.values() {
            for alias in &interface.service.aliases {
                assert!(names.insert(alias), "{alias} means two interfaces");
            }
            lane(interface);
        }
    }
}

fn lane(interface: &InterfaceConfig) {
    let lane = &interface.lane;
    let rules = lane.rules;
    assert!(!rules.is_ordered() || rules.running_max <= 1);
    assert_eq!(lane.processor.is_none(), rules.running_max == 0);
    assert_eq!(lane.at_most_once, interface.rules.at_most_once);
    assert_eq!(lane.retry.check(), Ok(()));
    let cap_ms = (lane.retry.max_s * 1000.0) as i64;
    let mut before_ms = 0;
    for attempt in [1, 2, 3, 600, u32::MAX - 1] {
        let Some(wait_ms) = lane.retry.wait_ms(attempt, 0.0) else {
            break;
        };
        assert!(
            (before_ms..=cap_ms).contains(&wait_ms),
            "{wait_ms} after {before_ms} ms"
        );
        before_ms = wait_ms;
    }
    if let Some(Processor::Command(command)) = &lane.processor {
        assert!(
            command
                .argv
                .first()
                .is_some_and(|program| !program.is_empty())
        );
        assert!(
            Instant::now().checked_add(command.timeout).is_some(),
            "timeout_s"
        );
    }
}

/// A file in memory, for the function that wants a path.
static FILE: LazyLock<(rustix::fd::OwnedFd, PathBuf)> = LazyLock::new(|| {
    let file = rustix::fs::memfd_create("users", rustix::fs::MemfdFlags::CLOEXEC);
    let file = file.expect("Linux has memory files");
    // Others could write it, and then it would be refused.
    rustix::fs::fchmod(&file, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).expect("it is ours");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    (file, path.into())
});

fn load(text: &str) -> Result<UsersFile, UsersError> {
    let path = &FILE.1;
    fs::write(path, text).expect("memory can be written");
    UsersFile::load(path)
}

fn users(text: &str) {
    match load(text) {
        Ok(users) => {
            let written = users.to_string();
            assert_eq!(load(&written).expect("what was written can be read"), users);
        }
        Err(UsersError::Invalid { line, message, .. }) => {
            assert!(
                (1..=text.matches('\n').count() + 1).contains(&line),
                "line {line}"
            );
            assert!(!message.trim().is_empty());
        }
        Err(other) => panic!("{other}"),
    }
}
