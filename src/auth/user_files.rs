//! Where users are kept: a file that people write, and beside it a directory with a file of its own for each user
//! whom a command has made: `users.toml` and `users.d/<name>.toml`, both in the same form.
//!
//! A command changes the file in which a user stands. So what it costs to add one, or to give one another password,
//! does not grow with the others. Who stands in both is as the file of all says. Each file is replaced by a rename
//! once the new one is durable; one lock, beside the file of all, is held by whoever changes something. Blocking: call
//! it off the async threads.

use super::file::{UsersError, UsersFile, dir_of, lock, make_dir, replace, sync_dir};
use super::grants::{Account, Grants};
use super::parse::check_user;
use crate::domain::UserName;
use crate::util::modes::{Guard, guard};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR_MODE: u32 = 0o700;

/// The users of a tenant where they are kept.
#[derive(Clone, Debug)]
pub struct UserFiles {
    /// Of all that people have written.
    file: PathBuf,
    /// With the files of single users.
    dir: PathBuf,
}

/// Everyone who is kept.
#[derive(Debug, Default)]
pub struct Everyone {
    pub users: UsersFile,
    /// Those of them who have a file of their own.
    pub own: BTreeSet<Arc<str>>,
    /// Why files of single users do not count.
    pub broken: Vec<UsersError>,
}

impl UserFiles {
    /// The users of this file, and of the directory beside it: `users.d` beside `users.toml`.
    pub fn beside(file: &Path) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(".toml").unwrap_or(&name);
        Self {
            file: file.to_owned(),
            dir: file.with_file_name(format!("{stem}.d")),
        }
    }

    /// The directory with the files of single users; there may be none.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Has a user a file of his own?
    pub fn has_own(&self, user: &UserName) -> bool {
        self.own(user.as_str()).is_some_and(|own| is_there(&own))
    }

    /// The file of a user who has one of his own.
    pub fn own_file(&self, user: &str) -> PathBuf {
        self.own(user).unwrap_or_else(|| self.file.clone())
    }

    /// The file in which a user with a file of his own stands; `None` for what is no user name.
    pub(super) fn own(&self, user: &str) -> Option<PathBuf> {
        let is_name = check_user(user).is_ok();
        is_name.then(|| self.dir.join(format!("{user}.toml")))
    }

    /// Reads everyone.
    ///
    /// # Errors
    /// When the file of all, or the directory, cannot be read or may be written by others. What is wrong with the
    /// file of a single user is said with those who are read.
    pub fn load(&self) -> Result<Everyone, UsersError> {
        let mut everyone = Everyone {
            users: UsersFile::load(&self.file)?,
            ..Everyone::default()
        };
        for user in self.names()? {
            if everyone.users.account(&user).is_some() {
                let (path, file) = (self.own_file(&user), self.file.clone());
                everyone.broken.push(UsersError::Twice { path, file });
                continue;
            }
            match self.read(&user) {
                Ok(account) => {
                    everyone.users.insert(&user, account);
                    everyone.own.insert(user.into());
                }
                Err(error) => everyone.broken.push(error),
            }
        }
        Ok(everyone)
    }

    /// The file in which a user stands.
    ///
    /// # Errors
    /// When the file of all cannot be read.
    pub fn find(&self, user: &str) -> Result<Option<PathBuf>, UsersError> {
        if self.written()?.account(user).is_some() {
            return Ok(Some(self.file.clone()));
        }
        Ok(self.own(user).filter(|own| is_there(own)))
    }

    /// Those who have a file of their own, in no order; none where there is no directory.
    ///
    /// # Errors
    /// When the directory cannot be read, or may be written by others.
    pub(super) fn names(&self) -> Result<Vec<String>, UsersError> {
        if !self.is_guarded()? {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&self.dir).map_err(UsersError::io("list", &self.dir))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(UsersError::io("list", &self.dir))?;
            let name = name.file_name();
            let user = name.to_str().and_then(|name| name.strip_suffix(".toml"));
            names.extend(
                user.filter(|user| check_user(user).is_ok())
                    .map(str::to_owned),
            );
        }
        Ok(names)
    }

    /// Reads the file of a single user.
    ///
    /// # Errors
    /// When it cannot be read, others may write it, or it is not that of this user.
    pub(super) fn read(&self, user: &str) -> Result<Account, UsersError> {
        let path = self.own(user).ok_or_else(|| UsersError::no_such(user))?;
        self.is_guarded()?;
        own_file(&path, user)
            .map(|mut file| file.take(user).ok_or_else(|| UsersError::no_such(user)))?
    }

    /// Adds a user with the hash of a password; gives the file in which he stands now.
    ///
    /// # Errors
    /// When the name or the hash is malformed, the user exists already, or the file cannot be written.
    pub fn add(&self, user: &str, hash: &str, grants: Grants) -> Result<PathBuf, UsersError> {
        let mut file = UsersFile::default();
        file.add(user, hash, grants)?;
        let own = self.own(user).ok_or_else(|| UsersError::no_such(user))?;
        let _lock = self.lock()?;
        if is_there(&own) || self.written()?.account(user).is_some() {
            return Err(UsersError::Exists(user.to_owned()));
        }
        self.make_dir()?;
        if !is_there(&self.file) {
            replace(&self.file, &UsersFile::default().to_string())?;
        }
        replace(&own, &file.to_string())?;
        Ok(own)
    }

    /// Changes a user in the file in which he stands, which it gives.
    ///
    /// # Errors
    /// When there is no such user, his file is invalid or cannot be written, or `edit` fails. Then nothing has changed.
    pub fn change(
        &self,
        user: &str,
        edit: impl FnOnce(&mut UsersFile) -> Result<(), UsersError>,
    ) -> Result<PathBuf, UsersError> {
        let _lock = self.lock()?;
        let mut written = self.written()?;
        if written.account(user).is_some() {
            edit(&mut written)?;
            replace(&self.file, &written.to_string())?;
            return Ok(self.file.clone());
        }
        let own = self.own(user).filter(|own| is_there(own));
        let own = own.ok_or_else(|| UsersError::no_such(user))?;
        self.is_guarded()?;
        let mut file = own_file(&own, user)?;
        edit(&mut file)?;
        replace(&own, &file.to_string())?;
        Ok(own)
    }

    /// Removes users, with the files of their own whatever stands there.
    ///
    /// # Errors
    /// When one of them is not known; then none is removed. When a file cannot be written or removed; then some may
    /// be gone, as after a crash.
    pub fn remove(&self, users: &BTreeSet<&String>) -> Result<(), UsersError> {
        let _lock = self.lock()?;
        let mut written = self.written()?;
        let (mut own, mut is_written) = (Vec::new(), false);
        for user in users {
            let file = self.own(user).filter(|own| is_there(own));
            let was_written = written.take(user).is_some();
            if file.is_none() && !was_written {
                return Err(UsersError::no_such(user));
            }
            is_written |= was_written;
            own.extend(file);
        }
        // Before the others, or who stands in both would be as this file says for a moment.
        for file in &own {
            fs::remove_file(file).map_err(UsersError::io("remove", file))?;
        }
        if !own.is_empty() {
            sync_dir(&self.dir)?;
        }
        match is_written {
            true => replace(&self.file, &written.to_string()),
            false => Ok(()),
        }
    }

    /// Makes the directory for the files of single users, if there is none.
    ///
    /// # Errors
    /// When it cannot be made, or one that is there may be written by others.
    pub fn make_dir(&self) -> Result<(), UsersError> {
        let above = dir_of(&self.dir);
        let io = || UsersError::io("make", &self.dir);
        match DirBuilder::new().mode(DIR_MODE).create(&self.dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return self.is_guarded().map(drop);
            }
            made => made.map_err(io())?,
        }
        if rustix::process::geteuid().is_root() {
            let owner = fs::metadata(above).map_err(io())?;
            lchown(&self.dir, Some(owner.uid()), Some(owner.gid())).map_err(io())?;
        }
        sync_dir(above)
    }

    fn lock(&self) -> Result<File, UsersError> {
        let above = dir_of(&self.file);
        make_dir(above).map_err(UsersError::io("make", above))?;
        lock(&self.file)
    }

    /// Who stands in the file of all; an absent one counts as empty.
    fn written(&self) -> Result<UsersFile, UsersError> {
        match UsersFile::load(&self.file) {
            Err(UsersError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(UsersFile::default())
            }
            loaded => loaded,
        }
    }

    /// Whether the directory is there, and only its owner may write it.
    fn is_guarded(&self) -> Result<bool, UsersError> {
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let mode = rustix::fs::Mode::empty();
        let dir = match rustix::fs::open(&self.dir, flags, mode).map_err(io::Error::from) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(UsersError::io("open", &self.dir))?,
        };
        let guarded = guard(&File::from(dir), &self.dir, Guard::UsersDirectory);
        guarded.map(|()| true).map_err(UsersError::Mode)
    }
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The file of a single user, with him and nobody else in it.
fn own_file(path: &Path, user: &str) -> Result<UsersFile, UsersError> {
    let file = UsersFile::load(path)?;
    let is_his = file.account(user).is_some() && file.list().count() == 1;
    is_his.then_some(file).ok_or_else(|| UsersError::Invalid {
        path: path.to_owned(),
        line: 1,
        message: format!("the user `{user}` is to stand here, and nobody else"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{
        grants::{Right, Role},
        password::DUMMY_HASH,
    };
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn files() -> (tempfile::TempDir, UserFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = UserFiles::beside(&dir.path().join("users.toml"));
        (dir, files)
    }

    fn add(files: &UserFiles, user: &str) -> PathBuf {
        files.add(user, DUMMY_HASH, Grants::default()).unwrap()
    }

    fn operator() -> Grants {
        let mut grants = Grants::default();
        grants.add_role(Role::Operator);
        grants
    }

    /// As people do.
    fn write_down(files: &UserFiles, user: &str) {
        let add = |file: &mut UsersFile| file.add(user, DUMMY_HASH, operator());
        UsersFile::edit(&files.file, add).unwrap();
    }

    fn said<T: std::fmt::Debug>(result: Result<T, UsersError>) -> String {
        result.unwrap_err().to_string()
    }

    fn everyone(files: &UserFiles) -> Vec<String> {
        let everyone = files.load().unwrap();
        let users = everyone.users.list();
        users.map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn a_user_is_a_file_of_his_own_and_no_change_touches_another() {
        let (dir, files) = files();
        let own = add(&files, "a@b.example");
        assert_eq!(own, dir.path().join("users.d/a@b.example.toml"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(files.dir()), mode(&own)), (0o700, 0o600));
        let other = fs::metadata(add(&files, "z")).unwrap();
        let upload = [(Right::Upload)].into();
        let mut more = Grants::default();
        more.set_rights("x".parse().unwrap(), upload);
        let changed = files.change("a@b.example", |file| file.grant("a@b.example", &more));
        assert_eq!(changed.unwrap(), own);
        assert_eq!(*files.read("a@b.example").unwrap().grants, more);
        let same = fs::metadata(files.own("z").unwrap()).unwrap();
        assert_eq!(same.ino(), other.ino());
        let again = said(files.add("z", DUMMY_HASH, Grants::default()));
        assert!(again.starts_with("there is a user `z` already"), "{again}");
        assert_eq!(everyone(&files), ["a@b.example", "z"]);
        let mut left: Vec<_> = fs::read_dir(files.dir()).unwrap().collect();
        assert_eq!(left.drain(..).count(), 2, "nothing temporary");
        let unknown = BTreeSet::from(["z", "y"].map(str::to_owned));
        assert_eq!(
            said(files.remove(&unknown.iter().collect())),
            "there is no user `y`"
        );
        assert_eq!(everyone(&files), ["a@b.example", "z"]);
        let known = BTreeSet::from(["z".to_owned()]);
        files.remove(&known.iter().collect()).unwrap();
        assert_eq!(everyone(&files), ["a@b.example"]);
        for no_name in ["..", "../x", "", "a/b"] {
            assert_eq!(files.own(no_name).is_some(), no_name == "..", "{no_name}");
            assert!(files.change(no_name, |_| Ok(())).is_err());
        }
    }

    #[test]
    fn who_is_written_down_is_changed_there_and_is_as_it_says_there() {
        let (_dir, files) = files();
        let own = add(&files, "ada");
        write_down(&files, "ada");
        write_down(&files, "bob");
        let everyone = files.load().unwrap();
        assert_eq!(everyone.own.len(), 0);
        let grants = &everyone.users.account("ada").unwrap().grants;
        assert_eq!(**grants, operator());
        let [twice] = &everyone.broken[..] else {
            panic!("{:?}", everyone.broken)
        };
        let twice = twice.to_string();
        assert!(twice.contains("users.d/ada.toml does not count"), "{twice}");
        let changed = files.change("ada", |file| file.revoke("ada", &operator()));
        assert_eq!(changed.unwrap(), files.file);
        let names = BTreeSet::from(["ada".to_owned()]);
        files.remove(&names.iter().collect()).unwrap();
        assert!(!own.exists(), "or he would come back");
        assert_eq!(files.find("bob").unwrap(), Some(files.file.clone()));
        assert_eq!(files.find("ada").unwrap(), None);
    }

    #[test]
    fn a_broken_file_concerns_its_user_alone_and_an_open_directory_everyone() {
        let (_dir, files) = files();
        let (torn, other) = (add(&files, "torn"), add(&files, "other"));
        add(&files, "good");
        fs::write(&torn, "[users.torn]\npasword = 1").unwrap();
        fs::rename(&other, files.own("renamed").unwrap()).unwrap();
        let everyone = files.load().unwrap();
        assert_eq!(everyone.users.list().count(), 1);
        let mut broken: Vec<String> = everyone.broken.iter().map(ToString::to_string).collect();
        broken.sort();
        assert!(broken[0].contains("renamed.toml:1: the user `renamed` is to stand here"));
        assert!(
            broken[1].contains("torn.toml:2: unknown key `pasword`"),
            "{broken:?}"
        );
        let names = BTreeSet::from(["torn".to_owned()]);
        files.remove(&names.iter().collect()).unwrap();
        assert!(!torn.exists());
        fs::set_permissions(files.dir(), fs::Permissions::from_mode(0o770)).unwrap();
        let remedy = format!("run: chmod 700 {}", files.dir().display());
        let add = files.add("more", DUMMY_HASH, Grants::default()).map(drop);
        for refused in [files.load().map(drop), files.read("good").map(drop), add] {
            let error = said(refused);
            assert!(error.ends_with(&remedy), "{error}");
        }
    }
}
