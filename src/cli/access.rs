//! What to do about a file that the user of the command may not read.

use crate::ops::admin::{group_name, user_name};
use anyhow::anyhow;
use std::{
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Reads something at `path`; when that is not allowed, the error says for whom it is.
pub(super) fn explained<T, E: Into<anyhow::Error>>(
    path: &Path,
    read: impl FnOnce() -> Result<T, E>,
) -> anyhow::Result<T> {
    read().map_err(|error| {
        let error = error.into();
        match io_kind(&error) {
            Some(ErrorKind::PermissionDenied) => anyhow!("{error:#}; {}", advice(path)),
            Some(_) | None => error,
        }
    })
}

/// The kind of the operating system's error among the causes.
pub(super) fn io_kind(error: &anyhow::Error) -> Option<ErrorKind> {
    let causes = &mut error.chain();
    causes.find_map(|cause| cause.downcast_ref::<io::Error>().map(io::Error::kind))
}

/// Who may read `path`, by the nearest entry above it that can be read.
fn advice(path: &Path) -> String {
    let found = path.ancestors().find_map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((path, meta))
    });
    let Some((path, meta)) = found else {
        return "run the command as the user of the service".into();
    };
    let owner = user_name(meta.uid());
    let members = match meta.mode() & 0o040 {
        0 => format!("its mode {:o} lets no one else in", meta.mode() & 0o7777),
        _ => format!(
            "members of its group {} may read it",
            group_name(meta.gid())
        ),
    };
    format!(
        "{} belongs to {owner}, and {members}: run the command with `sudo -u {owner}`, or as root",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn who_may_read_is_said_and_other_errors_stay_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let owner = user_name(rustix::process::geteuid().as_raw());
        let denied = || Err::<(), _>(io::Error::from(ErrorKind::PermissionDenied));
        fs::write(&path, "").unwrap();
        for (mode, words) in [
            (0o600, "lets no one else in"),
            (0o640, "members of its group"),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let said = explained(&path, denied).unwrap_err().to_string();
            assert!(said.contains(words) && said.contains(&owner), "{said}");
        }
        let said = explained(&path.join("y/z"), denied)
            .unwrap_err()
            .to_string();
        assert!(
            said.contains(&format!("{} belongs", path.display())),
            "{said}"
        );
        let gone = || Err::<(), _>(io::Error::from(ErrorKind::NotFound));
        let error = explained(&path, gone).unwrap_err();
        assert_eq!(io_kind(&error), Some(ErrorKind::NotFound));
        assert!(!error.to_string().contains("belongs"), "{error}");
    }
}
