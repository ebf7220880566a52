//! Checking credentials against the users file.
//!
//! Passwords, in this order: what was proven or refused a short while ago is answered from memory; who has
//! failed too often is sent away without a hash; the rest waits in [`Line`] for an Argon2 hash on
//! a blocking thread. Equal credentials that arrive together share one hash. A check that has
//! begun runs to its end and is counted even if the client has gone, so that hanging up early
//! buys no free guesses. The same wrong password again is no new guess: it is refused from memory
//! and not counted, so a partner with an old password does not lock itself out.
//!
//! Passwords are not kept: memory holds keyed marks. A reload takes effect at once, because a
//! mark covers the stored hash it was checked against.
//!
//! Tokens and API keys cost next to nothing and cannot be guessed ([`super::token`]): they wait
//! in no line and are never slowed.

use super::cache::{Cache, Key, Mark};
use super::file::{Account, UsersError, UsersFile};
use super::grants::Caller;
use super::line::{Full, Line};
use super::parse::check_user;
use super::password::{self, DUMMY_HASH, PASSWORD_BYTES_MAX};
use super::throttle::{Address, Throttle};
use super::token::{self, SCOPES_MAX, Token, check_scope};
use crate::job::Seal;
use http_auth_basic::Credentials;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Longest `Authorization` header that is looked at: a full user and password fit.
const HEADER_BYTES_MAX: usize = 512;
/// What someone is told for whom there was no place in the line.
const FULL_RETRY_AFTER_S: u32 = 2;

/// Why there is no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Missing, malformed or wrong; deliberately not said which.
    Credentials,
    /// Not looked at now: too many failures, or too many at once.
    Slow { retry_after_s: u32 },
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The caller has given no password, or it was changed meanwhile.
    #[error("a token is for who has given a password")]
    NotProven,
    #[error("{0}")]
    Scope(String),
    #[error("a token has {SCOPES_MAX} scopes at most")]
    TooManyScopes,
}

type Verifier = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;
type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The users of a file, and what is remembered of their logins. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    desk: Mutex<Desk>,
    key: Key,
    line: Arc<Line>,
    loaded: RwLock<Arc<Loaded>>,
    path: PathBuf,
    seal: Seal,
    verifier: Verifier,
}

struct Loaded {
    text: String,
    users: UsersFile,
}

/// Everything that is remembered, under one lock that is held for microseconds.
#[derive(Default)]
struct Desk {
    /// Checks under way, so that equal credentials wait for one.
    checks: HashMap<Mark, watch::Receiver<Option<Verdict>>>,
    proven: Cache,
    refused: Cache,
    throttle: Throttle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Proven,
    Refused,
    Slow { retry_after_s: u32 },
}

impl Users {
    /// Reads the file; `seal` is what tokens and API keys are made with. Blocking.
    pub fn open(path: &Path, seal: Seal) -> Result<Self, UsersError> {
        Self::with(
            path,
            seal,
            Arc::new(password::verify),
            Arc::new(Instant::now),
        )
    }

    fn with(path: &Path, seal: Seal, verifier: Verifier, clock: Clock) -> Result<Self, UsersError> {
        let shared = Shared {
            clock,
            desk: Mutex::default(),
            key: Key::new(password::random_bytes()),
            line: Line::new(),
            loaded: RwLock::new(Arc::new(load(path)?)),
            path: path.to_owned(),
            seal,
            verifier,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Reads the file again; says whether it had changed. A broken file is refused and the users
    /// stay as they were. Blocking.
    pub fn reload(&self) -> Result<bool, UsersError> {
        let new = load(&self.shared.path)?;
        let mut loaded = self
            .shared
            .loaded
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if loaded.text == new.text {
            return Ok(false);
        }
        *loaded = Arc::new(new);
        Ok(true)
    }

    /// Who sends this `Authorization` header, which must be Basic, from `peer`.
    pub async fn authenticate(
        &self,
        authorization: Option<&http::HeaderValue>,
        peer: IpAddr,
    ) -> Result<Caller, Denied> {
        self.check(authorization.and_then(Claim::read), peer).await
    }

    /// Who gives this user's name and password, in a form say, from `peer`. The same rules hold as
    /// for a header: a guess is a guess, wherever it is sent.
    pub async fn login(&self, user: &str, password: &str, peer: IpAddr) -> Result<Caller, Denied> {
        self.check(Claim::new(user, password), peer).await
    }

    /// The user as if it had given its password: for who may read the users file.
    pub fn known(&self, user: &str) -> Option<Caller> {
        let loaded = self.shared.loaded();
        let (user, account) = loaded.users.entry(user)?;
        Some(caller(user, account).proven_by(account.password.clone()))
    }

    /// A bearer token for a caller who gave a password, good for `lifetime_s` from `now_ms`
    /// (milliseconds of the Unix epoch) on. Nothing is stored: it survives a restart, and is void
    /// once the user has another password or is gone. It carries the user's rights of the moment
    /// in which it is used.
    pub fn issue(
        &self,
        caller: &Caller,
        scopes: &[String],
        lifetime_s: u32,
        now_ms: i64,
    ) -> Result<String, IssueError> {
        if scopes.len() > SCOPES_MAX {
            return Err(IssueError::TooManyScopes);
        }
        for scope in scopes {
            check_scope(scope).map_err(IssueError::Scope)?;
        }
        // The password may have been changed since it was met, and must not outlive that here.
        let loaded = self.shared.loaded();
        let account = loaded.users.account(&caller.user);
        let stored = account
            .zip(caller.proof())
            .filter(|(account, proof)| account.password == proof.0)
            .map(|(account, _)| &account.password)
            .ok_or(IssueError::NotProven)?;
        let expires_s = now_ms.div_euclid(1000).saturating_add(lifetime_s.into());
        let seal = &self.shared.seal;
        Ok(token::issue(seal, &caller.user, stored, expires_s, scopes))
    }

    /// Who shows this token; `None` when it is forged, has expired, or is void. It cannot be used
    /// to get another one.
    pub fn bearer(&self, token: &str, now_ms: i64) -> Option<Caller> {
        let token = Token::read(token)?;
        let loaded = self.shared.loaded();
        let (user, account) = loaded.users.entry(&token.user)?;
        let good = token.is_genuine(&self.shared.seal, &account.password)
            && now_ms.div_euclid(1000) < token.expires_s;
        good.then(|| caller(user, account).limited_to(token.scopes))
    }

    /// What a user's programs send in the header `api-key`, beside a token. Nothing is stored: it
    /// is another one once the user has another password.
    pub fn api_key(&self, user: &str) -> Option<String> {
        let loaded = self.shared.loaded();
        let account = loaded.users.account(user)?;
        Some(token::api_key(&self.shared.seal, user, &account.password))
    }

    /// Is this the user's [`Users::api_key`]?
    pub fn is_api_key(&self, user: &str, given: &str) -> bool {
        let loaded = self.shared.loaded();
        let account = loaded.users.account(user);
        account.is_some_and(|account| {
            token::is_api_key(&self.shared.seal, user, &account.password, given)
        })
    }

    async fn check(&self, claim: Option<Claim>, peer: IpAddr) -> Result<Caller, Denied> {
        let claim = claim.ok_or(Denied::Credentials)?;
        let check = Check::of(&self.shared, claim, Address::of(peer));
        let verdict = match check.look_up(&self.shared) {
            Found::Known(verdict) => verdict,
            Found::UnderWay(mut verdict) => match verdict.wait_for(Option::is_some).await {
                Ok(verdict) => verdict.unwrap_or(FULL),
                // The check itself broke off, as it does when the process is stopping.
                Err(_) => FULL,
            },
        };
        match verdict {
            // A reload since the hash was read makes the proof void.
            Verdict::Proven => self.shared.caller(&check).ok_or(Denied::Credentials),
            Verdict::Refused => Err(Denied::Credentials),
            Verdict::Slow { retry_after_s } => Err(Denied::Slow { retry_after_s }),
        }
    }
}

const FULL: Verdict = Verdict::Slow {
    retry_after_s: FULL_RETRY_AFTER_S,
};

fn load(path: &Path) -> Result<Loaded, UsersError> {
    let text = std::fs::read_to_string(path).map_err(|source| UsersError::Io {
        op: "read",
        path: path.to_owned(),
        source,
    })?;
    let users = UsersFile::parse(&text, path)?;
    Ok(Loaded { text, users })
}

fn caller(user: &Arc<str>, account: &Account) -> Caller {
    Caller::new(user.clone(), account.grants.clone())
}

/// User and password as sent.
struct Claim {
    user: String,
    password: String,
}

impl Claim {
    fn read(header: &http::HeaderValue) -> Option<Self> {
        if header.len() > HEADER_BYTES_MAX {
            return None;
        }
        let header = header.to_str().ok()?.to_owned();
        let sent = Credentials::from_header(header).ok()?;
        Self::new(&sent.user_id, &sent.password)
    }

    /// `None` for whatever cannot be the credentials of a user: that costs no hash.
    fn new(user: &str, password: &str) -> Option<Self> {
        let password_ok = (1..=PASSWORD_BYTES_MAX).contains(&password.len())
            && !password.chars().any(char::is_control);
        (password_ok && check_user(user).is_ok()).then(|| Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// One login to decide on.
#[derive(Clone)]
struct Check {
    at: Address,
    mark: Mark,
    password: Arc<str>,
    /// The user's stored hash at the beginning, or the dummy.
    stored: Arc<str>,
    user: Arc<str>,
}

enum Found {
    Known(Verdict),
    UnderWay(watch::Receiver<Option<Verdict>>),
}

impl Check {
    fn of(shared: &Shared, claim: Claim, at: Address) -> Self {
        let loaded = shared.loaded();
        let (user, stored) = match loaded.users.entry(&claim.user) {
            Some((user, account)) => (user.clone(), account.password.clone()),
            None => (claim.user.into(), DUMMY_HASH.into()),
        };
        let address = at.bytes();
        let parts = [&*user, &*claim.password, &*stored].map(str::as_bytes);
        let mark = shared.key.mark(&[parts[0], parts[1], parts[2], &address]);
        Self {
            at,
            mark,
            password: claim.password.into(),
            stored,
            user,
        }
    }

    /// Answers from memory, or joins the check of these credentials, or begins it.
    fn look_up(&self, shared: &Arc<Shared>) -> Found {
        let now = (shared.clock)();
        let mut guard = shared.desk();
        let desk = &mut *guard;
        if desk.proven.knows(&self.mark, now) {
            // A user who comes all the time must not become a stranger meanwhile.
            desk.throttle.succeeded(&self.user, self.at, now);
            return Found::Known(Verdict::Proven);
        }
        if desk.refused.knows(&self.mark, now) {
            return Found::Known(Verdict::Refused);
        }
        if let Some(check) = desk.checks.get(&self.mark) {
            return Found::UnderWay(check.clone());
        }
        if let Some(wait) = desk.throttle.wait(&self.user, self.at, now) {
            return Found::Known(slow(wait));
        }
        let (decided, verdict) = watch::channel(None);
        desk.checks.insert(self.mark, verdict.clone());
        tokio::spawn(self.clone().decide(shared.clone(), decided));
        Found::UnderWay(verdict)
    }

    async fn decide(self, shared: Arc<Shared>, decided: watch::Sender<Option<Verdict>>) {
        let under_way = UnderWay {
            shared: shared.clone(),
            mark: self.mark,
        };
        let verdict = match shared.line.turn(self.at).await {
            Err(Full) => FULL,
            Ok(turn) => {
                let hashed = tokio::task::spawn_blocking(move || {
                    let verdict = self.hash(&shared);
                    drop(turn);
                    verdict
                });
                hashed.await.unwrap_or(FULL)
            }
        };
        // Before the answer: who asks after it must find memory, not a check that is over.
        drop(under_way);
        decided.send_replace(Some(verdict));
    }

    /// Blocking. Looks at the window again first: others may have failed while this one waited.
    fn hash(&self, shared: &Shared) -> Verdict {
        let wait = shared
            .desk()
            .throttle
            .wait(&self.user, self.at, (shared.clock)());
        if let Some(wait) = wait {
            return slow(wait);
        }
        let matches = (shared.verifier)(&self.stored, &self.password);
        let proven = matches && *self.stored != *DUMMY_HASH;
        let now = (shared.clock)();
        let mut desk = shared.desk();
        if proven {
            desk.throttle.succeeded(&self.user, self.at, now);
            desk.proven.insert(self.mark, now);
            Verdict::Proven
        } else {
            desk.throttle.failed(&self.user, self.at, now);
            desk.refused.insert(self.mark, now);
            Verdict::Refused
        }
    }
}

/// Takes the check off the desk however it ends, a panic in the verifier included.
struct UnderWay {
    shared: Arc<Shared>,
    mark: Mark,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.desk().checks.remove(&self.mark);
    }
}

fn slow(wait: Duration) -> Verdict {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Verdict::Slow {
        retry_after_s: u32::try_from(seconds).unwrap_or(u32::MAX),
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn loaded(&self) -> Arc<Loaded> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.clone()
    }

    /// The caller with its present rights, if the stored hash is still the one that was met.
    fn caller(&self, check: &Check) -> Option<Caller> {
        let loaded = self.loaded();
        let (user, account) = loaded.users.entry(&check.user)?;
        let same = account.password == check.stored;
        same.then(|| caller(user, account).proven_by(check.stored.clone()))
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
