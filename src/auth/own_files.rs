//! Users with files of their own, as a service has them in memory.
//!
//! A start reads none of them. Until the first look through the directory is over, the file of a user is read when
//! he is asked for; from then on everyone is in memory, and a file is read again when it is another one than before. A
//! file that is broken concerns its user alone, who stays as he was.

use super::file::UsersError;
use super::grants::{Account, SharedGrants};
use super::user_files::UserFiles;
use super::users::Stamp;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::sync::Arc;

/// So many broken files are named; more are counted.
const NAMED_MAX: usize = 10;

pub(super) struct OwnFiles {
    files: UserFiles,
    state: RwLock<State>,
    /// Held while a file is read, so that none that is newer is forgotten for it.
    reading: Mutex<()>,
}

#[derive(Default)]
struct State {
    users: BTreeMap<Arc<str>, Kept>,
    granted: SharedGrants,
    /// Every file has been looked at.
    is_complete: bool,
    /// Why the directory cannot be read.
    trouble: Option<String>,
}

/// What is known of a file.
struct Kept {
    stamp: Stamp,
    /// As it was when it was good last.
    account: Option<Account>,
    wrong: Option<Box<str>>,
}

impl OwnFiles {
    pub(super) fn new(files: UserFiles) -> Self {
        Self {
            files,
            state: RwLock::default(),
            reading: Mutex::default(),
        }
    }

    /// A user with a file of his own. Blocks for a small file when that was not looked at yet.
    pub(super) fn entry(&self, user: &str) -> Option<(Arc<str>, Account)> {
        let is_sure = {
            let state = self.state.read();
            state.is_complete || state.users.contains_key(user)
        };
        if !is_sure {
            self.look_at(user);
        }
        let state = self.state.read();
        let (name, kept) = state.users.get_key_value(user)?;
        Some((name.clone(), kept.account.clone()?))
    }

    /// Is this a user, as far as is known without a look?
    pub(super) fn is_known(&self, user: &str) -> bool {
        let state = self.state.read();
        state
            .users
            .get(user)
            .is_some_and(|kept| kept.account.is_some())
    }

    /// Is a user's file another one than the last time? One call of the system, whether there is one or not.
    pub(super) fn has_changed(&self, user: &str) -> bool {
        let stamp = self.files.own(user).map(std::fs::metadata);
        let stamp = stamp.and_then(|meta| Some(Stamp::of(&meta.ok()?)));
        stamp != self.state.read().users.get(user).map(|kept| kept.stamp)
    }

    /// Reads a user's file if it is another one than the last time; says whether somebody is another since.
    pub(super) fn look_at(&self, user: &str) -> bool {
        let Some(path) = self.files.own(user) else {
            return false;
        };
        let _one = self.reading.lock();
        let stamp = match std::fs::metadata(path) {
            Ok(meta) => Stamp::of(&meta),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.state.write().users.remove(user).is_some();
            }
            // Out of reach: the user stays as he was.
            Err(_) => return false,
        };
        // Before it is read: what changes meanwhile is seen by the next.
        let known = self.state.read().users.get(user).map(|kept| kept.stamp);
        if known == Some(stamp) {
            return false;
        }
        let read = self.files.read(user);
        if let Err(error) = &read {
            tracing::error!(%error, user, "the user stays as before");
        }
        self.keep(user, stamp, read)
    }

    fn keep(&self, user: &str, stamp: Stamp, read: Result<Account, UsersError>) -> bool {
        let mut state = self.state.write();
        let before = state.users.remove(user);
        let before = before.and_then(|kept| kept.account);
        let (account, wrong) = match read {
            Ok(mut account) => {
                account.grants = state.granted.share(account.grants);
                (Some(account), None)
            }
            Err(error) => (before.clone(), Some(error.to_string().into())),
        };
        let has_changed = account != before;
        let kept = Kept {
            stamp,
            account,
            wrong,
        };
        state.users.insert(user.into(), kept);
        has_changed
    }

    /// Looks at every file; says whether somebody is another since.
    pub(super) fn look(&self) -> bool {
        let names = match self.files.names() {
            Ok(names) => names,
            Err(error) => {
                let mut state = self.state.write();
                let text = error.to_string();
                if state.trouble.as_ref() != Some(&text) {
                    tracing::error!(
                        error = text,
                        "the users with files of their own stay as before"
                    );
                }
                state.trouble = Some(text);
                return false;
            }
        };
        let mut has_changed = false;
        for user in &names {
            has_changed |= self.look_at(user);
        }
        let names: HashSet<String> = names.into_iter().collect();
        let known: Vec<Arc<str>> = self.state.read().users.keys().cloned().collect();
        for gone in known.iter().filter(|user| !names.contains(&***user)) {
            has_changed |= self.look_at(gone);
        }
        let mut state = self.state.write();
        (state.is_complete, state.trouble) = (true, None);
        state.granted.forget_unused();
        has_changed
    }

    /// Those who are known so far, by name.
    pub(super) fn list(&self) -> Vec<(Arc<str>, Account)> {
        let state = self.state.read();
        let known = state.users.iter();
        known
            .filter_map(|(name, kept)| Some((name.clone(), kept.account.clone()?)))
            .collect()
    }

    /// Has anyone a right or a role, as far as that is known?
    pub(super) fn anybody_may(&self) -> bool {
        let state = self.state.read();
        let mut accounts = state
            .users
            .values()
            .filter_map(|kept| kept.account.as_ref());
        !state.is_complete || accounts.any(|account| !account.grants.is_empty())
    }

    /// Why files, or all of them, are not as they should be.
    pub(super) fn trouble(&self) -> Vec<String> {
        let state = self.state.read();
        let wrong = state
            .users
            .values()
            .filter_map(|kept| kept.wrong.as_deref());
        let mut all: Vec<String> = state.trouble.clone().into_iter().collect();
        all.extend(wrong.clone().take(NAMED_MAX).map(str::to_owned));
        match wrong.count().saturating_sub(NAMED_MAX) {
            0 => {}
            more => all.push(format!("{more} more files of users are broken")),
        }
        all
    }
}
