//! Who acts on this machine, as joblogs and holds name it.

use crate::store::{By, Origin};
use serde::{Deserialize, Serialize};

const USER_CHARS_MAX: usize = 64;

/// The user whom `sudo` made root, by the variables that it sets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sudo {
    pub user: String,
    pub uid: u32,
}

impl Sudo {
    /// Of this process.
    pub fn of_environment() -> Option<Self> {
        let user = std::env::var("SUDO_USER").ok()?;
        let uid = std::env::var("SUDO_UID").ok()?.parse().ok()?;
        let sudo = Self { user, uid };
        sudo.is_sound().then_some(sudo)
    }

    /// The name can stand in a log line.
    fn is_sound(&self) -> bool {
        let plain = |c: char| c.is_ascii_graphic() || c.is_alphanumeric();
        let n_chars = self.user.chars().count();
        (1..=USER_CHARS_MAX).contains(&n_chars) && self.user.chars().all(plain)
    }
}

/// The user of this machine with this id. What is said of `sudo` is believed of root only, who could be
/// anyone anyway.
pub fn operator(uid: u32, sudo: Option<&Sudo>, origin: Origin) -> By {
    let sudo = sudo.filter(|sudo| uid == 0 && sudo.is_sound());
    By {
        account: named(login(uid).as_deref(), uid),
        login: sudo.map(|sudo| named(Some(&sudo.user), sudo.uid)),
        origin,
        why: None,
    }
}

/// The user who runs this process.
pub fn operator_of_process() -> By {
    let uid = rustix::process::getuid().as_raw();
    operator(uid, Sudo::of_environment().as_ref(), Origin::Command)
}

fn named(login: Option<&str>, uid: u32) -> String {
    match login {
        Some(login) => format!("{login} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

fn login(uid: u32) -> Option<String> {
    let user = uzers::get_user_by_uid(uid)?;
    Some(user.name().to_string_lossy().into_owned())
}

/// The login of a user, or its number.
pub fn user_name(uid: u32) -> String {
    login(uid).unwrap_or_else(|| format!("#{uid}"))
}

/// The name of a group, or its number.
pub fn group_name(gid: u32) -> String {
    let group = uzers::get_group_by_gid(gid);
    group.map_or(format!("#{gid}"), |group| {
        group.name().to_string_lossy().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_is_believed_of_root_only() {
        let sudo = |user: &str| Sudo {
            user: user.into(),
            uid: 1000,
        };
        let of = |uid, sudo: Option<&Sudo>| operator(uid, sudo, Origin::Socket).to_string();
        let said = |uid, user: &str| of(uid, Some(&sudo(user)));
        assert_eq!(said(0, "olga"), "olga (uid 1000) by way of sudo");
        assert_eq!(of(0, None), "root (uid 0)");
        assert_eq!(said(4_000_000_000, "olga"), "uid 4000000000");
        let long = "x".repeat(65);
        for bad in ["", "a b", "a\nb", "a\u{202e}b", long.as_str()] {
            assert_eq!(said(0, bad), "root (uid 0)", "{bad:?}");
        }
    }
}
