//! Checking credentials against the users file, and the files of single users beside it.
//!
//! Passwords, in this order: the right one, once it has been met, is recognised without a hash, from
//! any address that has not failed too often itself, and from one where its user is familiar; a guess
//! that was refused a short while ago is refused again from memory; who has failed too often is sent
//! away; the rest waits in [`Line`] for an Argon2 hash on a blocking thread. Equal credentials of one
//! address that arrive together share one hash. A check that has begun runs to its end and is counted
//! even if the client has gone, so that hanging up early buys no free guesses. The same wrong password
//! again is no new guess: it is not counted, so a partner with an old password does not lock itself
//! out.
//!
//! Passwords are not kept: memory holds keyed marks. A reload takes effect immediately, because a
//! mark covers the stored hash it was checked against. Before anything else than a password that
//! is known to be right is decided on, the file is read again if it is another one by now: a user
//! who was added a moment ago is a user.
//!
//! Tokens and API keys cost next to nothing and cannot be guessed ([`super::token`]): they wait
//! in no line and are never slowed.

use super::cache::{Mark, MarkKey, Proven, Refused};
use super::familiar::{self, Familiar, Pair};
use super::file::{UsersError, UsersFile};
use super::grants::{Account, Caller, Grants, Role};
use super::line::{Full, Line, Rank};
use super::logins::Logins;
use super::own_files::OwnFiles;
use super::parse::check_user;
use super::password::{self, DUMMY_HASH, PASSWORD_BYTES_MAX};
use super::throttle::{Address, Throttle};
use super::token::{self, SCOPES_MAX, SESSION_LIFETIME_S, Token, Use, check_scope};
use super::user_files::UserFiles;
use crate::domain::{InterfaceName, Seal, UserName};
use http_auth_basic::Credentials;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::Metadata;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Longest `Authorization` header that is examined: a full user and password fit.
const HEADER_BYTES_MAX: usize = 512;
/// How long a caller for whom the queue was full is asked to wait.
const FULL_RETRY_AFTER_S: u32 = 2;

/// Why there is no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Missing, malformed or wrong; deliberately not said which.
    Credentials,
    /// Not checked now: too many failures, or too many at the same time.
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

type PasswordVerifier = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;
type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The users of a file, and what is remembered of their logins. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    authenticator: Mutex<Authenticator>,
    /// A moment of the clock, and which second of the Unix epoch it was.
    epoch: (Instant, i64),
    /// Where familiar pairs are kept; its lock is that of writing the file.
    familiar: Mutex<Option<PathBuf>>,
    key: MarkKey,
    line: Arc<Line>,
    loaded: RwLock<Arc<UsersFile>>,
    own: OwnFiles,
    path: PathBuf,
    /// Which file was read last, whatever came of it; its lock is that of reading it again.
    looked_at: tokio::sync::Mutex<Option<Stamp>>,
    seal: Seal,
    verifier: PasswordVerifier,
}

/// What changes when a file is replaced or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    changed: (i64, i64),
    file: (u64, u64),
    modified: (i64, i64),
    size: u64,
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            changed: (meta.ctime(), meta.ctime_nsec()),
            file: (meta.dev(), meta.ino()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            size: meta.size(),
        }
    }
}

/// Everything that is remembered, under one lock that is held for microseconds.
#[derive(Default)]
struct Authenticator {
    /// Checks under way, so that equal credentials of one address wait for one.
    checks: HashMap<(Mark, Address), watch::Receiver<Option<Verdict>>>,
    familiar: Familiar,
    /// Pairs have been seen since they were written.
    is_news: bool,
    logins: Logins,
    proven: Proven,
    refused: Refused,
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
    ///
    /// # Errors
    /// When the file is missing, invalid, or may be written by others.
    pub fn open(path: &Path, seal: Seal) -> Result<Self, UsersError> {
        Self::with(
            path,
            seal,
            Arc::new(password::verify),
            Arc::new(Instant::now),
        )
    }

    /// From now on, users are familiar where they were before the last restart, as far as the file
    /// `familiar` says so; it is kept up to date, best effort. Blocking.
    #[must_use]
    pub fn remembering(self, familiar: &Path) -> Self {
        let shared = &self.shared;
        let now_s = shared.unix_s((shared.clock)());
        match familiar::read(familiar) {
            Ok(bytes) => match Familiar::unseal(&shared.seal, &bytes, now_s) {
                Some(known) => shared.authenticator().familiar = known,
                None if bytes.is_empty() => {}
                None => tracing::warn!(
                    path = %familiar.display(),
                    "which users are familiar where cannot be made out and is forgotten",
                ),
            },
            Err(error) => tracing::warn!(
                path = %familiar.display(), %error,
                "which users are familiar where cannot be read and is forgotten",
            ),
        }
        *shared.familiar_path() = Some(familiar.to_owned());
        self
    }

    fn with(
        path: &Path,
        seal: Seal,
        verifier: PasswordVerifier,
        clock: Clock,
    ) -> Result<Self, UsersError> {
        let looked_at = std::fs::metadata(path).ok();
        let looked_at = looked_at.map(|meta| Stamp::of(&meta));
        let loaded = UsersFile::load(path)?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_s = since_epoch.map_or(0, |since| since.as_secs());
        let shared = Shared {
            epoch: (clock(), i64::try_from(unix_s).unwrap_or(i64::MAX)),
            clock,
            authenticator: Mutex::default(),
            familiar: Mutex::default(),
            key: MarkKey::new(password::random_bytes()),
            line: Line::new(),
            loaded: RwLock::new(Arc::new(loaded)),
            own: OwnFiles::new(UserFiles::beside(path)),
            path: path.to_owned(),
            looked_at: tokio::sync::Mutex::new(looked_at),
            seal,
            verifier,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Reads the file again; says whether its users have changed. A broken file is refused and the users
    /// stay as they were. Blocking.
    ///
    /// # Errors
    /// When the file cannot be read or is invalid. It can be corrected and read again.
    pub fn reload(&self) -> Result<bool, UsersError> {
        self.shared.reload()
    }

    /// Looks at the files of single users, at those of all unless some are named, and reads those that have changed.
    /// Says whether anyone is another since. A broken file leaves its user as he was. Blocking.
    pub fn look(&self, users: Option<&BTreeSet<String>>) -> bool {
        let own = &self.shared.own;
        let has_changed = match users {
            None => own.look(),
            Some(users) => users.iter().filter(|user| own.look_at(user)).count() > 0,
        };
        if has_changed {
            self.shared.forget_who_is_gone();
        }
        has_changed
    }

    /// Why files of single users, or all of them, do not count as they are.
    pub fn trouble(&self) -> Vec<String> {
        self.shared.own.trouble()
    }

    /// Writes down which users are familiar where, if that has changed; best effort. Blocking.
    pub fn remember(&self) {
        if self.shared.authenticator().is_news {
            self.shared.write_familiar();
        }
    }

    /// Who sends this `Authorization` header, which must be Basic, from `peer`.
    ///
    /// # Errors
    /// When the credentials are missing or wrong, or when the caller has to wait before it may try
    /// again.
    pub async fn authenticate(
        &self,
        authorization: Option<&http::HeaderValue>,
        peer: IpAddr,
    ) -> Result<Caller, Denied> {
        self.check(authorization.and_then(LoginAttempt::read), peer)
            .await
    }

    /// Who gives this user's name and password, in a form say, from `peer`. The same rules hold as
    /// for a header: a guess is a guess, wherever it is sent.
    ///
    /// # Errors
    /// As [`Users::authenticate`].
    pub async fn login(&self, user: &str, password: &str, peer: IpAddr) -> Result<Caller, Denied> {
        self.check(LoginAttempt::new(user, password), peer).await
    }

    /// Is there a user of that name? One who was added a moment ago is one. Blocking.
    pub fn is_user(&self, user: &str) -> bool {
        let is_known = || self.shared.entry(user).is_some();
        is_known() || {
            self.shared.refresh_now();
            self.shared.own.look_at(user);
            is_known()
        }
    }

    /// All of them with what they may do, by their names.
    pub fn list(&self) -> Vec<(String, Arc<Grants>)> {
        let all = self.shared.everyone().into_iter();
        all.map(|(name, account)| (name.to_string(), account.grants))
            .collect()
    }

    /// When a user last gave its password, in seconds of the Unix epoch; tokens and sessions go on without one. Kept
    /// over a restart as far as the familiar users are, and best effort: `None` is also what is not known.
    pub fn last_login_s(&self, user: &str) -> Option<i64> {
        let authenticator = self.shared.authenticator();
        let since_start = authenticator.logins.last_s(user);
        let pair = Pair::of_user(&self.shared.seal, user);
        since_start.or_else(|| authenticator.familiar.last_s(&pair))
    }

    /// How often a wrong password was given for a user from a moment on, in seconds of the Unix epoch, since the
    /// start, as far as 100 of them are remembered. The same one again is none.
    pub fn failed_logins(&self, user: &str, since_s: i64) -> usize {
        let authenticator = self.shared.authenticator();
        authenticator.logins.failures_since(user, since_s)
    }

    /// The users with a right on an interface, except operators, who have all.
    pub fn partners_of(&self, interface: &InterfaceName) -> Vec<UserName> {
        let callers = self.shared.everyone().into_iter();
        let callers = callers.map(|(name, account)| Caller::new(name, account.grants));
        let partners = callers.filter(|user| !user.has(Role::Operator) && user.may_any(interface));
        partners.filter_map(|user| user.user.parse().ok()).collect()
    }

    /// Has anyone a right or a role?
    pub fn anybody_may(&self) -> bool {
        self.shared.loaded.read().anybody_may() || self.shared.own.anybody_may()
    }

    /// The user as if it had given its password: for who may read the users file.
    pub fn known(&self, user: &str) -> Option<Caller> {
        let (user, account) = self.shared.entry(user)?;
        Some(caller(&user, &account).proven_by(account.password))
    }

    /// A bearer token for a caller who gave a password, good for `lifetime_s` from `now_ms`
    /// (milliseconds of the Unix epoch) on. Nothing is stored: it survives a restart, and is void
    /// once the user has another password or is gone. It carries the user's rights of the moment
    /// in which it is used.
    ///
    /// # Errors
    /// When a scope is malformed, there are too many, or the caller has not proven a password that
    /// is still valid.
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
        self.issued(Use::Bearer, caller, scopes, lifetime_s, now_ms)
    }

    fn issued(
        &self,
        by: Use,
        caller: &Caller,
        scopes: &[String],
        lifetime_s: u32,
        now_ms: i64,
    ) -> Result<String, IssueError> {
        // The password may have been changed since it was met, and must not outlive that here.
        let account = self.shared.account(&caller.user);
        let stored = account
            .zip(caller.proof())
            .filter(|(account, proof)| account.password == proof.0)
            .map(|(account, _)| account.password)
            .ok_or(IssueError::NotProven)?;
        let expires_s = now_ms.div_euclid(1000).saturating_add(lifetime_s.into());
        let (seal, user) = (&self.shared.seal, &caller.user);
        Ok(token::issue(seal, by, user, &stored, expires_s, scopes))
    }

    /// What a browser shows from now on of a caller who gave a password, for [`SESSION_LIFETIME_S`]. Nothing is
    /// stored, as for [`Users::issue`].
    ///
    /// # Errors
    /// When the caller has not proven a password that is still valid.
    pub fn begin_session(&self, caller: &Caller, now_ms: i64) -> Result<String, IssueError> {
        self.issued(Use::Session, caller, &[], SESSION_LIFETIME_S, now_ms)
    }

    /// Whose session this is; `None` when it is forged, has expired, or is void.
    pub fn session(&self, session: &str, now_ms: i64) -> Option<Caller> {
        self.shown(Use::Session, session, now_ms)
    }

    /// What every form has to have that a page gives to who shows this session.
    pub fn form_token(&self, session: &str) -> String {
        token::form_token(&self.shared.seal, session)
    }

    /// Is this the session's [`Users::form_token`]?
    pub fn is_form_token(&self, session: &str, given: &str) -> bool {
        token::is_form_token(&self.shared.seal, session, given)
    }

    /// Who shows this token; `None` when it is forged, has expired, or is void. It cannot be used
    /// to get another one.
    pub fn bearer(&self, token: &str, now_ms: i64) -> Option<Caller> {
        self.shown(Use::Bearer, token, now_ms)
    }

    fn shown(&self, by: Use, token: &str, now_ms: i64) -> Option<Caller> {
        let token = Token::read(token)?;
        let (user, account) = self.shared.entry(&token.user)?;
        let good = token.is_genuine(&self.shared.seal, by, &account.password)
            && now_ms.div_euclid(1000) < token.expires_s;
        good.then(|| caller(&user, &account).limited_to(token.scopes))
    }

    /// What a user's programs send in the header `api-key`, beside a token. Nothing is stored: it
    /// is another one once the user has another password.
    pub fn api_key(&self, user: &str) -> Option<String> {
        let account = self.shared.account(user)?;
        Some(token::api_key(&self.shared.seal, user, &account.password))
    }

    /// Is this the user's [`Users::api_key`]?
    pub fn is_api_key(&self, user: &str, given: &str) -> bool {
        let account = self.shared.account(user);
        account.is_some_and(|account| {
            token::is_api_key(&self.shared.seal, user, &account.password, given)
        })
    }

    async fn check(&self, attempt: Option<LoginAttempt>, peer: IpAddr) -> Result<Caller, Denied> {
        let attempt = attempt.ok_or(Denied::Credentials)?;
        let at = Address::of(peer);
        let known = Check::of(&self.shared, &attempt, at);
        if known.is_known_right(&self.shared) {
            return self.shared.caller(&known).ok_or(Denied::Credentials);
        }
        self.shared.refresh(&attempt.user).await;
        let check = Check::of(&self.shared, &attempt, at);
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

fn caller(user: &Arc<str>, account: &Account) -> Caller {
    Caller::new(user.clone(), account.grants.clone())
}

/// User and password as sent.
struct LoginAttempt {
    user: String,
    password: String,
}

impl LoginAttempt {
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
    pair: Pair,
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
    fn of(shared: &Shared, attempt: &LoginAttempt, at: Address) -> Self {
        let (user, stored) = match shared.entry(&attempt.user) {
            Some((user, account)) => (user, account.password),
            None => (attempt.user.as_str().into(), DUMMY_HASH.into()),
        };
        let parts = [&*user, &*attempt.password, &*stored].map(str::as_bytes);
        Self {
            at,
            mark: shared.key.mark(&parts),
            pair: Pair::of(&shared.seal, &user, at),
            password: attempt.password.as_str().into(),
            stored,
            user,
        }
    }

    fn wait(
        &self,
        authenticator: &Authenticator,
        shared: &Shared,
        now: Instant,
    ) -> Option<Duration> {
        let is_familiar = authenticator.familiar.knows(&self.pair, shared.unix_s(now));
        authenticator
            .throttle
            .wait(&self.user, self.at, is_familiar, now)
    }

    /// Is this the right password, as far as that is known without a hash? Where the user is familiar
    /// that is answered without delay, even while others guess there. Any other address that has
    /// failed too often is not answered, or it could try its guesses here.
    fn is_known_right(&self, shared: &Shared) -> bool {
        let now = (shared.clock)();
        let mut authenticator = shared.authenticator();
        let is_told = authenticator.familiar.knows(&self.pair, shared.unix_s(now))
            || self.wait(&authenticator, shared, now).is_none();
        let right = is_told && authenticator.proven.knows(&self.user, &self.mark);
        if right {
            // A user who comes all the time must not become a stranger meanwhile.
            let now_s = shared.unix_s(now);
            authenticator.familiar.saw(self.pair, now_s);
            authenticator.logins.succeeded(&self.user, now_s);
            authenticator.is_news = true;
        }
        right
    }

    /// Answers from memory, or joins the check of these credentials, or begins it.
    fn look_up(&self, shared: &Arc<Shared>) -> Found {
        let now = (shared.clock)();
        let mut guard = shared.authenticator();
        let authenticator = &mut *guard;
        if authenticator.refused.knows(&self.mark, now) {
            return Found::Known(Verdict::Refused);
        }
        if let Some(check) = authenticator.checks.get(&(self.mark, self.at)) {
            return Found::UnderWay(check.clone());
        }
        if let Some(wait) = self.wait(authenticator, shared, now) {
            return Found::Known(slow(wait));
        }
        let rank = match authenticator.familiar.knows(&self.pair, shared.unix_s(now)) {
            true => Rank::Familiar,
            false => Rank::Stranger,
        };
        let (decided, verdict) = watch::channel(None);
        authenticator
            .checks
            .insert((self.mark, self.at), verdict.clone());
        tokio::spawn(self.clone().decide(shared.clone(), rank, decided));
        Found::UnderWay(verdict)
    }

    async fn decide(
        self,
        shared: Arc<Shared>,
        rank: Rank,
        decided: watch::Sender<Option<Verdict>>,
    ) {
        let under_way = UnderWay {
            shared: shared.clone(),
            check: (self.mark, self.at),
        };
        let verdict = match shared.line.turn(self.at, rank).await {
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

    /// Blocking. Looks at memory again first: others may have failed, or have met the right
    /// password, while this one waited.
    fn hash(&self, shared: &Shared) -> Verdict {
        let now = (shared.clock)();
        let wait = self.wait(&shared.authenticator(), shared, now);
        if let Some(wait) = wait {
            return slow(wait);
        }
        let is_known = shared.authenticator().proven.knows(&self.user, &self.mark);
        let matches = is_known || (shared.verifier)(&self.stored, &self.password);
        let proven = matches && *self.stored != *DUMMY_HASH;
        let now = (shared.clock)();
        let mut authenticator = shared.authenticator();
        if !proven {
            authenticator.throttle.failed(&self.user, self.at, now);
            if *self.stored != *DUMMY_HASH {
                let now_s = shared.unix_s(now);
                authenticator.logins.failed(&self.user, now_s);
            }
            authenticator.refused.insert(self.mark, now);
            return Verdict::Refused;
        }
        authenticator.proven.insert(self.user.clone(), self.mark);
        let now_s = shared.unix_s(now);
        authenticator.logins.succeeded(&self.user, now_s);
        let is_new_here = authenticator.familiar.saw(self.pair, now_s);
        authenticator.is_news = true;
        drop(authenticator);
        if is_new_here {
            shared.write_familiar();
        }
        Verdict::Proven
    }
}

/// Takes the check off the authenticator however it ends, a panic in the verifier included.
struct UnderWay {
    shared: Arc<Shared>,
    check: (Mark, Address),
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.shared.authenticator().checks.remove(&self.check);
    }
}

fn slow(wait: Duration) -> Verdict {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Verdict::Slow {
        retry_after_s: u32::try_from(seconds).unwrap_or(u32::MAX),
    }
}

impl Shared {
    fn authenticator(&self) -> MutexGuard<'_, Authenticator> {
        self.authenticator.lock()
    }

    fn familiar_path(&self) -> MutexGuard<'_, Option<PathBuf>> {
        self.familiar.lock()
    }

    fn unix_s(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.epoch.0).as_secs();
        self.epoch.1.saturating_add_unsigned(passed)
    }

    fn reload(&self) -> Result<bool, UsersError> {
        let new = UsersFile::load(&self.path)?;
        let mut loaded = self.loaded.write();
        if **loaded == new {
            return Ok(false);
        }
        *loaded = Arc::new(new);
        drop(loaded);
        self.forget_who_is_gone();
        Ok(true)
    }

    /// No right password is remembered of who is no user any more.
    fn forget_who_is_gone(&self) {
        let loaded = self.loaded();
        let is_user = |user: &str| loaded.account(user).is_some() || self.own.is_known(user);
        let mut authenticator = self.authenticator();
        authenticator.proven.retain(is_user);
        authenticator.logins.retain(is_user);
    }

    /// Reads again what says who a user is, the file of all and his own, if it is another one than the last time. One
    /// call of the system for each when it is not, whether there is such a user or not.
    async fn refresh(self: &Arc<Self>, user: &str) {
        self.refresh_file().await;
        if self.own.has_changed(user) {
            let (shared, user) = (self.clone(), user.to_owned());
            let read = tokio::task::spawn_blocking(move || shared.own.look_at(&user));
            if let Err(error) = read.await {
                tracing::error!(%error, "reading a user panicked");
            }
        }
    }

    /// One reader at a time, and a broken file is read once.
    async fn refresh_file(self: &Arc<Self>) {
        let mut looked_at = self.looked_at.lock().await;
        let Ok(meta) = std::fs::metadata(&self.path) else {
            // Missing or out of reach: the users before stay in force.
            return;
        };
        let stamp = Some(Stamp::of(&meta));
        if *looked_at == stamp {
            return;
        }
        // Before it is read: what changes meanwhile is seen by the next.
        *looked_at = stamp;
        let shared = self.clone();
        match tokio::task::spawn_blocking(move || shared.reload()).await {
            Ok(Ok(true)) => tracing::info!("users are reloaded"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::error!(%error, "the users before stay in force"),
            Err(error) => tracing::error!(%error, "reading the users panicked"),
        }
    }

    /// The same for who may block. Does nothing while another call checks.
    fn refresh_now(&self) {
        let Ok(mut looked_at) = self.looked_at.try_lock() else {
            return;
        };
        let stamp = std::fs::metadata(&self.path).map(|meta| Stamp::of(&meta));
        let Ok(stamp) = stamp else {
            return;
        };
        if *looked_at != Some(stamp) {
            *looked_at = Some(stamp);
            if let Err(error) = self.reload() {
                tracing::error!(%error, "the users before stay in force");
            }
        }
    }

    fn write_familiar(&self) {
        let path = self.familiar_path();
        let Some(path) = &*path else { return };
        let bytes = {
            let mut guard = self.authenticator();
            let authenticator = &mut *guard;
            authenticator.is_news = false;
            for (user, last_s) in authenticator.logins.all() {
                let pair = Pair::of_user(&self.seal, user);
                authenticator.familiar.saw(pair, last_s);
            }
            authenticator.familiar.sealed(&self.seal)
        };
        if let Err(error) = familiar::write(path, &bytes) {
            tracing::debug!(path = %path.display(), %error, "familiar users are not written down");
        }
    }

    fn loaded(&self) -> Arc<UsersFile> {
        let loaded = self.loaded.read();
        loaded.clone()
    }

    /// A user, with the name as it is held here.
    fn entry(&self, user: &str) -> Option<(Arc<str>, Account)> {
        let loaded = self.loaded();
        let entry = loaded.entry(user);
        let entry = entry.map(|(name, account)| (name.clone(), account.clone()));
        entry.or_else(|| self.own.entry(user))
    }

    fn account(&self, user: &str) -> Option<Account> {
        self.entry(user).map(|(_, account)| account)
    }

    /// By name; of those with a file of their own, who have been looked at so far.
    fn everyone(&self) -> BTreeMap<Arc<str>, Account> {
        let mut all: BTreeMap<_, _> = self.own.list().into_iter().collect();
        let loaded = self.loaded();
        let written = loaded.list();
        all.extend(written.map(|(name, account)| (name.into(), account.clone())));
        all
    }

    /// The caller with its present rights, if the stored hash is still the one that was met.
    fn caller(&self, check: &Check) -> Option<Caller> {
        let (user, account) = self.entry(&check.user)?;
        let same = account.password == check.stored;
        same.then(|| caller(&user, &account).proven_by(check.stored.clone()))
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
