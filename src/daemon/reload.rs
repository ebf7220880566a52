//! Files that people change, read again while the service runs: schemas, stylesheets, users, the
//! certificate. And what is done from time to time: old days go, and what lies beside its day is put into it.

use super::{About, engine::Engine, supervise::blocking};
use crate::{
    auth::Users,
    domain::Queue,
    http::tls::Certificate,
    scheduler::Event,
    store::fs::Retention,
    watch::Watch,
    worker::Hints,
    xml::{ReloadOutcome, ReloadReport, Schemas, Stylesheets},
};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

/// Changed files are looked at so long after the first change, so that a pair of files that is
/// replaced together is read together.
const SETTLE: Duration = Duration::from_millis(100);
/// Files are looked at so often, whatever the watcher says.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Days and records that have passed their retention go so often.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Why files that changed did not come into force.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) certificate: Option<String>,
    pub(super) users: Option<String>,
}

/// What the watcher wakes.
#[derive(Default)]
pub(super) struct Woken {
    pub(super) notify: Notify,
    /// Queues were replaced: make what is missing and watch anew.
    pub(super) replaced: AtomicBool,
    /// Whose own files may have changed; everyone's, when there is no list.
    users: Mutex<Option<BTreeSet<String>>>,
}

impl Woken {
    /// A file has changed; it may be that of a single user.
    pub(super) fn changed(&self, path: &Path) {
        let user = path.file_name().and_then(|name| name.to_str());
        let user = user.and_then(|name| name.strip_suffix(".toml"));
        if let (Some(users), Some(user)) = (&mut *self.users.lock(), user) {
            users.insert(user.to_owned());
        }
        self.notify.notify_one();
    }

    /// Whatever may have changed has to be looked at.
    pub(super) fn changed_anywhere(&self) {
        *self.users.lock() = None;
        self.notify.notify_one();
    }
}

/// Keeps in force what lies in files: schemas, stylesheets, users, certificate; sweeps old days.
pub(super) struct Reloader {
    pub(super) tenant: String,
    pub(super) schemas: Arc<Schemas>,
    pub(super) stylesheets: Arc<Stylesheets>,
    pub(super) users: Arc<Users>,
    /// What all tenants have in common: one of them looks after it.
    pub(super) common: Option<(Arc<Certificate>, Arc<About>)>,
    pub(super) engine: Engine,
    pub(super) retention: ArcSwap<Retention>,
    pub(super) watcher: Option<Arc<Watch>>,
    /// What was said to be no directory, and why.
    pub(super) unwatched: Mutex<BTreeMap<PathBuf, String>>,
    pub(super) hints: Hints,
    pub(super) trouble: Mutex<Trouble>,
}

impl Reloader {
    /// Reads files again that have changed, until `stop`.
    pub(super) async fn reload(self: Arc<Self>, woken: Arc<Woken>, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be caught");
                return;
            }
        };
        self.clone().rearm(false).await;
        loop {
            // At first everyone, whom the start has not read.
            let users = woken.users.lock().replace(BTreeSet::new());
            self.clone().look_at_users(users).await;
            let is_to_look_at_all = tokio::select! {
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: changed files are read again");
                    true
                }
                () = woken.notify.notified() => {
                    tokio::time::sleep(SETTLE).await;
                    false
                }
                () = tokio::time::sleep(LOOK_EVERY) => true,
                () = stop.cancelled() => return,
            };
            if is_to_look_at_all {
                *woken.users.lock() = None;
            }
            let replaced = woken.replaced.swap(false, Ordering::AcqRel);
            self.clone().rearm(replaced).await;
            self.clone().look().await;
        }
    }

    /// Puts what lies outside of its day into it, removes old days, and says once a day how far the audit
    /// is, until `stop`.
    pub(super) async fn keep_days(self: Arc<Self>, stop: CancellationToken) {
        let mut sweep_at = tokio::time::Instant::now();
        let mut said_on = None;
        loop {
            let today = self.engine.store.now_ms().div_euclid(DAY_MS);
            if said_on.replace(today) != Some(today) {
                self.say_audit().await;
            }
            // The start has just done it, by its recovery.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            self.engine.file_orphans().await;
            if sweep_at <= tokio::time::Instant::now() {
                sweep_at = tokio::time::Instant::now() + SWEEP_EVERY;
                self.engine.sweep(self.retention.load_full()).await;
            }
        }
    }

    async fn rearm(self: Arc<Self>, replaced: bool) {
        blocking(move || self.watch_what_is_there(replaced)).await;
    }

    /// Watches the directories that are there now: all of them once one was replaced, else those that
    /// are others than before.
    fn watch_what_is_there(&self, replaced: bool) {
        if replaced && let Err(error) = self.engine.spool.restore_dirs() {
            tracing::error!(%error, "a directory of the spool cannot be made anew");
        }
        let rearmed = match &self.watcher {
            None => Ok(replaced),
            Some(watcher) => watcher.rearm(replaced),
        };
        let is_new = rearmed.unwrap_or_else(|error| {
            tracing::error!(%error, "directories cannot be watched");
            true
        });
        self.say_what_is_not_watched();
        if replaced {
            tracing::warn!("a directory of the spool was replaced; what is there is watched anew");
        }
        if is_new {
            self.engine.spool.forget_closed();
            self.hints.notify(Event::Rescan);
        }
    }

    /// Says once of each directory that it is none, and when it is one again.
    fn say_what_is_not_watched(&self) {
        let watcher = self.watcher.as_ref();
        let now = watcher.map_or_else(BTreeMap::new, |watcher| watcher.unwatched());
        let mut before = self.unwatched.lock();
        for (dir, why) in &now {
            if before.get(dir) != Some(why) {
                tracing::error!(dir = %dir.display(), "nothing is taken from here: {why}");
            }
        }
        for dir in before.keys().filter(|dir| !now.contains_key(*dir)) {
            tracing::info!(dir = %dir.display(), "is watched again");
        }
        *before = now;
    }

    /// Reads again the files of single users that have changed, of these or of all.
    async fn look_at_users(self: Arc<Self>, users: Option<BTreeSet<String>>) {
        blocking(move || {
            if self.users.look(users.as_ref()) {
                self.make_queues();
            }
        })
        .await;
    }

    pub(super) async fn look(self: Arc<Self>) {
        blocking(move || self.look_at_files()).await;
    }

    fn look_at_files(&self) {
        say("schema", &self.schemas.reload());
        say("stylesheet", &self.stylesheets.reload());
        self.users.remember();
        let users = self.users.reload();
        self.make_queues();
        match &users {
            Ok(false) => {}
            Ok(true) => tracing::info!("users are reloaded"),
            Err(error) => tracing::error!(%error, "the users before stay in force"),
        }
        let certificate = match &self.common {
            None => None,
            Some((certificate, about)) => {
                about.configuration.look();
                reload_certificate(certificate)
            }
        };
        *self.trouble.lock() = Trouble {
            certificate,
            users: users.err().map(|error| error.to_string()),
        };
    }

    /// Where jobs are for users, makes the directories of those with a right there. Who looks there
    /// next finds what lies in those of users who have just been added.
    fn make_queues(&self) {
        for interface in self.engine.spool.addressed_interfaces() {
            for user in self.users.partners_of(&interface) {
                let queue = Queue::of_user(&interface, user);
                if let Err(error) = self.engine.spool.make_queue(&queue) {
                    tracing::error!(%queue, %error, "there is no directory for what is for a user");
                }
            }
            self.hints.notify(Event::Hint(interface));
        }
    }

    /// A hash in a log that is kept elsewhere shows later whether anything before it was changed.
    async fn say_audit(&self) {
        let tenant = &self.tenant;
        match self.engine.store.audit_head().await {
            Ok(None) => {}
            Ok(Some(newest)) => {
                let (record, sha256) = (newest.number, newest.sha256);
                tracing::info!(tenant, record, sha256, "newest record of the audit");
            }
            Err(error) => tracing::error!(tenant, %error, "the audit cannot be read"),
        }
    }
}

/// Why the certificate that lies there does not come into force, if so.
fn reload_certificate(certificate: &Certificate) -> Option<String> {
    super::renew_certificate(certificate.path(), certificate.key_path());
    match certificate.reload() {
        Ok(false) => None,
        Ok(true) => {
            tracing::info!("the certificate is reloaded");
            None
        }
        Err(error) => {
            tracing::error!(%error, "the certificate before stays in force");
            Some(format!("{error}; the one before stays in force"))
        }
    }
}

fn say(what: &str, reports: &[ReloadReport]) {
    for report in reports {
        match report.outcome {
            ReloadOutcome::Loaded => tracing::info!("{what} {report}"),
            ReloadOutcome::Refused { .. } | ReloadOutcome::Vanished => {
                tracing::error!("{what} {report}");
            }
        }
    }
}
