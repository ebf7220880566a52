//! Who may read and write the files that the service trusts, and with which modes it makes its own.
//!
//! Anyone who can write the users file or the configuration can do everything, and anyone who can
//! read a key can pose as its owner. So a file that lets others in is refused, with the command
//! that repairs it, rather than used.

use rustix::{fs::Mode, process};
use std::{
    fs::{File, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// What a file is to be kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    /// A certificate's key: a group may be given it to read, others nothing.
    Key,
    /// Password hashes: no one else may write.
    Users,
    /// A directory of such files: the same.
    UsersDirectory,
    /// A configuration: no one else may write, except a group that has only its owner.
    Configuration,
    /// A directory of which every file is a part of the configuration: the same.
    ConfigurationDirectory,
}

/// Checks an open file, so that no one can put another in its place meanwhile.
///
/// # Errors
///
/// Who may do what must not be allowed, and the command that repairs it.
pub(crate) fn guard(file: &File, path: &Path, guard: Guard) -> Result<(), String> {
    match file.metadata() {
        Ok(meta) => judge(&meta, path, guard),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn judge(meta: &Metadata, path: &Path, guard: Guard) -> Result<(), String> {
    let (who, repaired) = match (guard, meta.mode()) {
        (_, mode) if mode & 0o002 != 0 => ("everyone may write it", repaired(guard)),
        (Guard::Key, mode) if mode & 0o005 != 0 => ("everyone may read it", repaired(guard)),
        (Guard::Configuration | Guard::ConfigurationDirectory, mode)
            if mode & 0o020 != 0 && !own_group(meta) =>
        {
            ("a group may write it", repaired(guard))
        }
        (Guard::Key | Guard::Users | Guard::UsersDirectory, mode) if mode & 0o020 != 0 => {
            ("a group may write it", repaired(guard))
        }
        (
            Guard::Key
            | Guard::Users
            | Guard::UsersDirectory
            | Guard::Configuration
            | Guard::ConfigurationDirectory,
            _,
        ) => {
            return Ok(());
        }
    };
    let path = path.display();
    Err(format!(
        "{path} is not used: {who}; run: chmod {repaired} {path}"
    ))
}

fn repaired(guard: Guard) -> &'static str {
    match guard {
        Guard::Key | Guard::Users => "600",
        Guard::UsersDirectory => "700",
        Guard::Configuration => "640",
        Guard::ConfigurationDirectory => "750",
    }
}

/// A group that has the owner alone, by the usual numbers, or that the user of this process is in
/// anyway.
fn own_group(meta: &Metadata) -> bool {
    let group = meta.gid();
    group == 0 || group == meta.uid() || group == process::getegid().as_raw()
}

/// What the process makes from now on is at most for its owner and group, whatever it was started
/// with.
pub(crate) fn keep_from_others() {
    let before = process::umask(Mode::from(0o027));
    process::umask(before | Mode::from(0o027));
}

/// What the process makes from now on can be read by its group, and not by others, whatever it was
/// started with: for a new spool, whose owner may be meant to be another than who makes it.
pub(crate) fn show_to_group() {
    process::umask(Mode::from(0o027));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn files_that_let_others_in_are_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = File::create(&path).unwrap();
        let cases = [
            (
                Guard::Key,
                [0o600, 0o640, 0o440],
                [0o644, 0o620, 0o602, 0o604],
            ),
            (
                Guard::Users,
                [0o600, 0o640, 0o644],
                [0o660, 0o666, 0o602, 0o620],
            ),
            (
                Guard::Configuration,
                [0o600, 0o640, 0o644],
                [0o666, 0o602, 0o777, 0o646],
            ),
        ];
        for (kind, fine, wrong) in cases {
            for mode in fine {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                assert_eq!(guard(&file, &path, kind), Ok(()), "{kind:?} {mode:o}");
            }
            for mode in wrong {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let said = guard(&file, &path, kind).unwrap_err();
                let command = said.rsplit("run: ").next().unwrap();
                let mut words = command.split(' ');
                assert_eq!(words.next(), Some("chmod"));
                let repaired = u32::from_str_radix(words.next().unwrap(), 8).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(repaired)).unwrap();
                assert_eq!(guard(&file, &path, kind), Ok(()), "{said}");
            }
        }
    }

    #[test]
    fn a_configuration_may_be_written_by_the_group_of_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = File::create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(guard(&file, &path, Guard::Configuration), Ok(()));
        if std::os::unix::fs::chown(&path, None, Some(12_345)).is_ok() {
            let said = guard(&file, &path, Guard::Configuration).unwrap_err();
            assert!(said.contains("a group may write it"), "{said}");
        }
    }
}
