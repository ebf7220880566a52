//! A disk whose calls are counted, and fail when a test says so, while the process lives on. Tests only.
//!
//! A *site* is a kind of call: an operation with a path in which the digits and hashes of names are
//! blanked, so that every upload meets the same sites whatever its threads do. A [`Plan`] lets the
//! first call at one site fail, or all of them from the first on until the disk heals. A disk that
//! is full fails for everything that takes space, wherever it is. A [`Stall`] holds up all calls of one operation, as a
//! disk does that does not answer.

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::Errno;
use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

/// Where a call can fail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) op: &'static str,
    pub(crate) path: String,
}

/// Which call is to fail, how, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) site: Site,
    pub(crate) errno: Errno,
    /// From the first failure on; `None`: that one alone.
    pub(crate) lasting: Option<Duration>,
}

/// The faults of one disk. All that open the same root share them.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
    goes_on: Condvar,
}

#[derive(Debug, Default)]
struct State {
    seen: BTreeMap<Site, usize>,
    plan: Option<Plan>,
    first: Option<Instant>,
    failures: usize,
    calls: u64,
    /// The operation that is held up, and how many calls are.
    stalled: Option<(&'static str, usize)>,
}

/// Calls of an operation wait as long as this is there.
#[must_use]
pub(crate) struct Stall(Arc<Faults>);

impl Stall {
    /// How many calls have been held up.
    pub(crate) fn held(&self) -> usize {
        let stalled = self.0.state().stalled;
        stalled.map_or(0, |(_, held)| held)
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.0.state().stalled = None;
        self.0.goes_on.notify_all();
    }
}

/// The threads of a journal: what they do is nobody's call.
const BESIDE: [&str; 2] = ["checkpoint", "journal"];

static DISKS: Mutex<Option<HashMap<PathBuf, Weak<Faults>>>> = Mutex::new(None);

impl Faults {
    /// The faults of the disk with this root; they are forgotten when they are dropped everywhere.
    pub(crate) fn of(root: &Path) -> Arc<Self> {
        let mut disks = DISKS.lock();
        let disks = disks.get_or_insert_default();
        disks.retain(|_, faults| faults.strong_count() > 0);
        if let Some(faults) = disks.get(root).and_then(Weak::upgrade) {
            return faults;
        }
        let faults = Arc::new(Self::default());
        disks.insert(root.to_owned(), Arc::downgrade(&faults));
        faults
    }

    pub(crate) fn plan(&self, plan: Plan) {
        let mut state = self.state();
        state.plan = Some(plan);
        state.first = None;
    }

    /// From now on calls of this operation wait.
    pub(crate) fn stall(self: &Arc<Self>, op: &'static str) -> Stall {
        self.state().stalled = Some((op, 0));
        Stall(self.clone())
    }

    /// From now on every call succeeds. Says how many have failed.
    pub(crate) fn heal(&self) -> usize {
        let mut state = self.state();
        state.plan = None;
        state.failures
    }

    /// From now on sites count as met anew: those of a start are none of the day's.
    pub(crate) fn begin(&self) {
        self.state().seen.clear();
    }

    /// Every site that has been met since the beginning of the day.
    pub(crate) fn seen(&self) -> Vec<Site> {
        self.state().seen.keys().cloned().collect()
    }

    /// How often this operation was met since the beginning of the day.
    pub(crate) fn met(&self, op: &str) -> usize {
        let state = self.state();
        let met = state.seen.iter().filter(|(site, _)| site.op == op);
        met.map(|(_, n)| n).sum()
    }

    /// How many calls there have been so far, beside those of the journal's threads.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// A call at a path below the root.
    pub(super) fn meet(&self, op: &'static str, path: &Path) -> io::Result<()> {
        let mut path = blank(path);
        if ["list", "stat"].contains(&op) {
            // All interfaces are looked at alike.
            path = without_interface(&path);
        }
        let site = Site { op, path };
        let thread = std::thread::current();
        let is_beside = thread.name().is_some_and(|name| BESIDE.contains(&name));
        let mut state = self.state();
        if let Some((stalled, held)) = &mut state.stalled
            && *stalled == op
        {
            *held += 1;
            let stalls = |state: &mut State| state.stalled.is_some();
            self.goes_on.wait_while(&mut state, stalls);
        }
        state.calls += u64::from(!is_beside);
        let fails = state.fails(&site);
        *state.seen.entry(site).or_default() += 1;
        match fails {
            Some(errno) => {
                state.failures += 1;
                Err(errno.into())
            }
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn fails(&mut self, site: &Site) -> Option<Errno> {
        let plan = self.plan.as_ref()?;
        let is_there = *site == plan.site;
        match (self.first, plan.lasting) {
            (None, _) if is_there => {
                self.first = Some(Instant::now());
                Some(plan.errno)
            }
            (None, _) | (Some(_), None) => None,
            (Some(first), Some(lasting)) => {
                let everywhere = is_full(plan.errno) && takes_space(site.op);
                let ill = first.elapsed() < lasting && (is_there || everywhere);
                ill.then_some(plan.errno)
            }
        }
    }
}

fn is_full(errno: Errno) -> bool {
    [Errno::NOSPC, Errno::DQUOT].contains(&errno)
}

/// Calls that can need room on the disk.
pub(crate) fn takes_space(op: &str) -> bool {
    let ops = [
        "copy", "create", "lengthen", "lock", "make_dir", "rename", "replace", "write",
    ];
    ops.contains(&op)
}

/// Calls whose failure may have lost what was written before.
pub(crate) fn is_sync(op: &str) -> bool {
    ["sync_all", "sync_data", "sync_dir", "sync_file", "write_at"].contains(&op)
}

/// The errors that a call can meet.
pub(crate) fn errnos(site: &Site) -> Vec<Errno> {
    let mut all = vec![Errno::IO];
    if is_sync(site.op) {
        return all;
    }
    if takes_space(site.op) {
        all.extend([Errno::NOSPC, Errno::DQUOT]);
    }
    // What a command has left and nobody can open is the command's fault.
    let is_left = site.path.contains(".run/") && ["list", "read", "update"].contains(&site.op);
    // So is what nobody may move out of its directory: the job fails, and its log says so.
    let published = ["results/", "tmp/"]
        .iter()
        .any(|dir| site.path.starts_with(dir));
    let is_taken = site.op == "rename" && published;
    if !["lengthen", "read_at", "write"].contains(&site.op) && !is_left {
        all.extend((!is_taken).then_some(Errno::ACCESS));
        // Somebody has removed it. The journal is nobody's to touch, and a log that is gone is gone.
        let stays = ["journal", "joblog"]
            .iter()
            .any(|dir| site.path.starts_with(dir));
        let is_there = site.op == "unlink";
        all.extend((!stays && !is_there).then_some(Errno::NOENT));
    }
    let opens = [
        "copy", "create", "writers", "list", "lock", "read", "update", "writable",
    ];
    if opens.contains(&site.op) {
        all.push(Errno::MFILE);
    }
    all
}

/// The path with `I` for the interface.
fn without_interface(path: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    if let [state, interface, ..] = parts.as_mut_slice()
        && ["bak", "deferred", "queue", "work"].contains(state)
    {
        *interface = "I";
    }
    parts.join("/")
}

/// Runs of digits, and hashes, stand for themselves no more.
fn blank(path: &Path) -> String {
    let mut text = String::new();
    for part in path.components() {
        let part = part.as_os_str().to_string_lossy();
        if !text.is_empty() {
            text.push('/');
        }
        if part.len() > 40 && part.chars().take(40).all(|c| c.is_ascii_hexdigit()) {
            text.push_str("HASH");
            continue;
        }
        for c in part.chars() {
            match c {
                '0'..='9' if text.ends_with('#') => {}
                '0'..='9' => text.push('#'),
                c => text.push(c),
            }
        }
    }
    text
}
