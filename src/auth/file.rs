//! The users file as a whole: read, edited in memory, written back.
//!
//! [`UsersFile::edit`] is what the command line uses: it takes a lock beside the file, reads,
//! applies one edit and writes to a temporary file that is synced and renamed over the old one,
//! then syncs the directory. A crash leaves the old file or the new one, never a mixture; two
//! edits at the same time do not lose one. Owner, group and mode stay as they are; a file that root
//! makes belongs to the directory's owner, and its mode is 0600. Comments are not kept. The edit
//! functions themselves are pure. Blocking: call it off the async threads.

use super::grants::{Account, Grants};
use super::parse;
use super::password::check_hash;
use super::scan;
use crate::util::modes::{Guard, guard};
use crate::util::plain::{self, Links};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, lchown,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
/// A quarter of a million users with many rights each.
const FILE_BYTES_MAX: u64 = 256 << 20;
const MODE: u32 = 0o600;
const HEADER: &str = "# Users of Spoolgate. Written by `spoolgate user`; comments are not kept.\n";

#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    #[error(
        "there is a user `{0}` already; `spoolgate user passwd {0}` gives it another password, \
         and its rights stand in the users file"
    )]
    Exists(String),
    #[error("{}:{line}: {message}", path.display())]
    Invalid {
        path: PathBuf,
        line: usize,
        message: String,
    },
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        op: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0}")]
    Mode(String),
    #[error("{0}")]
    Name(String),
    #[error("{user} does not have {what}; `spoolgate user list` shows what there is")]
    NotGranted { user: String, what: String },
    #[error("there is no user `{0}`")]
    NoSuchUser(String),
    #[error("{0}")]
    Password(&'static str),
    #[error("{} does not count: {} has this user too; remove one of the two", path.display(), file.display())]
    Twice { path: PathBuf, file: PathBuf },
}

impl UsersError {
    pub(super) fn io(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| UsersError::Io { op, path, source }
    }

    pub(super) fn no_such(user: &str) -> Self {
        Self::NoSuchUser(user.escape_debug().to_string())
    }
}

/// All users of a file.
/// Invariant: every name and every stored hash has passed the checks of a file that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsersFile {
    users: BTreeMap<Arc<str>, Account>,
}

impl UsersFile {
    /// # Errors
    ///
    /// When it cannot be read, others may write it, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, UsersError> {
        Self::parse(&Self::text(path)?, path)
    }

    /// What stands in the file. One that others may write is not read: who can write it can do
    /// everything.
    pub(super) fn text(path: &Path) -> Result<String, UsersError> {
        let io = UsersError::io("read", path);
        let file = match plain::open(path, Links::Follow) {
            Ok(file) => file,
            Err(error) => return Err(io(error)),
        };
        guard(&file, path, Guard::Users).map_err(UsersError::Mode)?;
        plain::text_of(file, FILE_BYTES_MAX).map_err(io)
    }

    /// `path` is for the message only.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, UsersError> {
        if let Some(users) = scan::users(text) {
            return Ok(Self { users });
        }
        let users = parse::users(text).map_err(|mistake| UsersError::Invalid {
            path: path.to_owned(),
            line: mistake.line,
            message: mistake.message,
        })?;
        Ok(Self { users })
    }

    /// Reads the file (an absent one counts as empty), applies `edit` and writes it back, all
    /// under a lock. When `edit` fails, the file stays as it was.
    ///
    /// # Errors
    /// When the file cannot be read, is invalid or may be written by others, when `edit` fails, or
    /// when the new file cannot be written. The file then stays as it was.
    pub fn edit<T>(
        path: &Path,
        edit: impl FnOnce(&mut Self) -> Result<T, UsersError>,
    ) -> Result<T, UsersError> {
        let dir = dir_of(path);
        make_dir(dir).map_err(UsersError::io("make", dir))?;
        let _lock = lock(path)?;
        let mut file = match Self::load(path) {
            Err(UsersError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::default()
            }
            loaded => loaded?,
        };
        let outcome = edit(&mut file)?;
        replace(path, &file.to_string())?;
        Ok(outcome)
    }

    /// Adds a user with the hash of a password.
    ///
    /// # Errors
    /// When the name or the hash is malformed, or the user exists already.
    pub fn add(&mut self, user: &str, hash: &str, grants: Grants) -> Result<(), UsersError> {
        parse::check_user(user).map_err(UsersError::Name)?;
        check_hash(hash).map_err(UsersError::Password)?;
        if self.users.contains_key(user) {
            return Err(UsersError::Exists(user.to_owned()));
        }
        let account = Account {
            password: hash.into(),
            grants: grants.into(),
        };
        self.insert(user, account);
        Ok(())
    }

    /// Replaces the hash of a user's password.
    ///
    /// # Errors
    /// When the hash is malformed, or there is no such user.
    pub fn set_password(&mut self, user: &str, hash: &str) -> Result<(), UsersError> {
        check_hash(hash).map_err(UsersError::Password)?;
        self.account_mut(user)?.password = hash.into();
        Ok(())
    }

    /// Adds to what a user has been granted.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn grant(&mut self, user: &str, more: &Grants) -> Result<(), UsersError> {
        let account = self.account_mut(user)?;
        Arc::make_mut(&mut account.grants).add(more);
        Ok(())
    }

    /// Takes away from what a user has been granted.
    ///
    /// # Errors
    /// When there is no such user, or he does not have all of it himself.
    pub fn revoke(&mut self, user: &str, less: &Grants) -> Result<(), UsersError> {
        let account = self.account_mut(user)?;
        let taken = Arc::make_mut(&mut account.grants).take(less);
        taken.map_err(|what| UsersError::NotGranted {
            user: user.to_owned(),
            what,
        })
    }

    /// Removes a user.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn remove(&mut self, user: &str) -> Result<(), UsersError> {
        let removed = self.take(user);
        removed.map(drop).ok_or_else(|| UsersError::no_such(user))
    }

    pub(super) fn take(&mut self, user: &str) -> Option<Account> {
        self.users.remove(user)
    }

    /// Has anyone a right or a role?
    pub fn anybody_may(&self) -> bool {
        let grants = self.users.values().map(|account| &account.grants);
        let mut any = grants.map(|grants| grants.is_empty());
        any.any(|without| !without)
    }

    /// By name.
    pub fn list(&self) -> impl Iterator<Item = (&str, &Account)> {
        self.users.iter().map(|(name, account)| (&**name, account))
    }

    pub fn account(&self, user: &str) -> Option<&Account> {
        self.users.get(user)
    }

    /// The user's name as it is held here, shared rather than copied.
    pub(super) fn entry(&self, user: &str) -> Option<(&Arc<str>, &Account)> {
        self.users.get_key_value(user)
    }

    pub(super) fn insert(&mut self, user: &str, account: Account) {
        self.users.insert(user.into(), account);
    }

    fn account_mut(&mut self, user: &str) -> Result<&mut Account, UsersError> {
        let account = self.users.get_mut(user);
        account.ok_or_else(|| UsersError::no_such(user))
    }
}

/// As TOML. The alphabets of names, words and hashes contain nothing that quotes would not hold.
impl std::fmt::Display for UsersFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HEADER)?;
        for (name, account) in &self.users {
            let grants = &account.grants;
            let roles = words(grants.roles().iter().map(|role| role.as_str()));
            write!(
                f,
                "\n[users.\"{name}\"]\npassword = \"{}\"\n",
                account.password
            )?;
            writeln!(f, "roles = [{roles}]")?;
            if grants.rights().is_empty() {
                continue;
            }
            writeln!(f, "[users.\"{name}\".rights]")?;
            for (scope, rights) in grants.rights() {
                let rights = words(rights.iter().map(|right| right.as_str()));
                writeln!(f, "\"{scope}\" = [{rights}]")?;
            }
        }
        Ok(())
    }
}

fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut list = String::new();
    for word in words {
        let comma = if list.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(list, "{comma}\"{word}\"");
    }
    list
}

/// Waits for the lock. It is a file of its own, because the users file is replaced by each edit.
pub(super) fn lock(path: &Path) -> Result<File, UsersError> {
    let lock = beside(path, ".lock");
    // A FIFO of that name is an error and not waited for.
    let open = |options: &mut OpenOptions| {
        let options = options.write(true).mode(MODE);
        options.custom_flags(libc::O_NONBLOCK).open(&lock)
    };
    let file = match open(OpenOptions::new().create_new(true)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open(&mut OpenOptions::new()),
        made => made.and_then(|file| {
            Standing::of_new(path)?.give(&file)?;
            Ok(file)
        }),
    };
    let file = file.map_err(UsersError::io("open", &lock))?;
    file.lock().map_err(UsersError::io("lock", &lock))?;
    Ok(file)
}

/// Puts a file in the place of another, or where there is none, once it is durable.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), UsersError> {
    let new = beside(path, ".new");
    // What an earlier crash left. Only the holder of the lock writes this name.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(UsersError::io("remove", &new)(e));
        }
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(MODE)
        .open(&new)
        .map_err(UsersError::io("create", &new))?;
    Standing::of(path)
        .and_then(|standing| standing.give(&file))
        .map_err(UsersError::io("keep the owner of", path))?;
    file.write_all(text.as_bytes())
        .map_err(UsersError::io("write", &new))?;
    file.sync_all().map_err(UsersError::io("sync", &new))?;
    fs::rename(&new, path).map_err(UsersError::io("replace", path))?;
    sync_dir(dir_of(path))
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), UsersError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(UsersError::io("sync", dir))
}

pub(super) fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    }
}

/// Makes a directory and those above it; root makes them for the owner of the one above.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir_of(dir);
    make_dir(above)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    if rustix::process::geteuid().is_root() {
        let above = fs::metadata(above)?;
        lchown(dir, Some(above.uid()), Some(above.gid()))?;
    }
    Ok(())
}

/// Whose a file is, and who may use it.
struct Standing {
    /// `None`: the user who creates it.
    owner: Option<(u32, u32)>,
    mode: u32,
}

impl Standing {
    /// Of the file that is to be replaced, or else of a new one.
    fn of(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::of_new(path),
            found => found.map(|meta| Self {
                owner: Some((meta.uid(), meta.gid())),
                mode: meta.mode() & 0o7777,
            }),
        }
    }

    /// Root works for the owner of the directory, whose service has to read what is made there.
    fn of_new(path: &Path) -> io::Result<Self> {
        let dir = fs::metadata(dir_of(path))?;
        let is_root = rustix::process::geteuid().is_root();
        Ok(Self {
            owner: is_root.then(|| (dir.uid(), dir.gid())),
            mode: MODE,
        })
    }

    fn give(&self, file: &File) -> io::Result<()> {
        let made = file.metadata()?;
        if let Some((uid, gid)) = self.owner
            && (made.uid(), made.gid()) != (uid, gid)
        {
            fchown(file, Some(uid), Some(gid))?;
        }
        // After the owner, whose change takes bits away.
        file.set_permissions(fs::Permissions::from_mode(self.mode))
    }
}

/// `.users.toml.lock` beside `users.toml`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::super::{
        grants::{Right, Role, Scope},
        password::DUMMY_HASH,
    };
    use super::*;

    fn sample() -> UsersFile {
        let mut file = UsersFile::default();
        let mut grants = Grants::default();
        grants.add_role(Role::Curator);
        grants.set_rights(Scope::Every, [Right::List].into());
        let scope = "orders.in".parse().unwrap();
        grants.set_rights(scope, [Right::Upload, Right::Manage].into());
        file.add("a@b.example", DUMMY_HASH, grants).unwrap();
        file.add("z", DUMMY_HASH, Grants::default()).unwrap();
        file
    }

    #[test]
    fn what_is_written_reads_back() {
        let file = sample();
        let text = file.to_string();
        assert_eq!(UsersFile::parse(&text, Path::new("u")).unwrap(), file);
        let empty = UsersFile::default();
        let text = empty.to_string();
        assert_eq!(UsersFile::parse(&text, Path::new("u")).unwrap(), empty);
    }

    #[test]
    fn edits_say_what_is_wrong() {
        let mut file = sample();
        let before = file.clone();
        let add = |file: &mut UsersFile, name, hash| file.add(name, hash, Grants::default());
        let is = |e: Result<(), UsersError>| e.unwrap_err().to_string();
        assert!(is(add(&mut file, "z", DUMMY_HASH)).contains("there is a user `z` already"));
        assert!(is(add(&mut file, "a b", DUMMY_HASH)).contains("not a user name"));
        assert!(is(add(&mut file, "y", "secret")).contains("not an Argon2 hash"));
        assert_eq!(is(file.remove("y")), "there is no user `y`");
        assert_eq!(
            is(file.set_password("y", DUMMY_HASH)),
            "there is no user `y`"
        );
        assert_eq!(file, before);
        file.remove("z").unwrap();
        assert!(file.account("z").is_none());
    }

    #[test]
    fn the_file_is_private_and_a_failed_edit_leaves_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let add = |f: &mut UsersFile| f.add("a", DUMMY_HASH, Grants::default());
        UsersFile::edit(&path, add).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for mode in [0o666, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let remove = |f: &mut UsersFile| f.remove("a");
            let edited = UsersFile::edit(&path, remove).map(drop);
            for refused in [UsersFile::load(&path).map(drop), edited] {
                let error = refused.unwrap_err().to_string();
                let remedy = format!("run: chmod 600 {}", path.display());
                assert!(error.ends_with(&remedy), "{error}");
            }
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(UsersFile::edit(&path, add).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::write(&path, "[users.a]\nrigths = 1").unwrap();
        let error = UsersFile::edit(&path, add).unwrap_err().to_string();
        assert!(error.ends_with("users.toml:2: unknown key `rigths` (did you mean `rights`?)"));
    }

    #[test]
    fn whoever_edits_the_file_leaves_it_to_whom_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let add = |name: &str| {
            let add = |file: &mut UsersFile| file.add(name, DUMMY_HASH, Grants::default());
            UsersFile::edit(&path, add).unwrap();
            let meta = fs::metadata(&path).unwrap();
            (meta.uid(), meta.gid(), meta.mode() & 0o7777)
        };
        let us = add("a");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(add("b"), (us.0, us.1, 0o640));
        if us.0 != 0 {
            return;
        }
        std::os::unix::fs::chown(&path, Some(1234), Some(4321)).unwrap();
        assert_eq!(add("c"), (1234, 4321, 0o640));
        // New ones, and the lock, are for the directory's owner.
        for file in ["users.toml", ".users.toml.lock"] {
            fs::remove_file(dir.path().join(file)).unwrap();
        }
        std::os::unix::fs::chown(dir.path(), Some(1234), Some(4321)).unwrap();
        assert_eq!(add("d"), (1234, 4321, 0o600));
        let lock = fs::metadata(dir.path().join(".users.toml.lock")).unwrap();
        assert_eq!((lock.uid(), lock.gid()), (1234, 4321));
        let path = dir.path().join("tenants/b/users.toml");
        UsersFile::edit(&path, |_| Ok(())).unwrap();
        for made in path.ancestors().take(3) {
            let meta = fs::metadata(made).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (1234, 4321), "{}", made.display());
        }
    }

    #[test]
    fn edits_at_the_same_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let name = format!("u{n}");
                    UsersFile::edit(path, |f| f.add(&name, DUMMY_HASH, Grants::default())).unwrap();
                });
            }
        });
        assert_eq!(UsersFile::load(&path).unwrap().list().count(), 8);
    }
}
