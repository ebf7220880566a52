//! A users file in the form in which commands write it, read in one pass and without a tree.
//!
//! It only accepts: whatever has another form, or a mistake, is for [`super::parse`], which decides and has the
//! messages. So this knows little of TOML, and what it accepts [`super::parse`] reads alike. A hundred thousand users
//! cost no more memory than what is kept of them. No file is touched here.

use super::grants::{Account, Grants, Right, Role, Scope, SharedGrants};
use super::parse::check_user;
use super::password::check_hash;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

/// The accounts by the names of the users; `None`: ask [`super::parse::users`].
pub(super) fn users(text: &str) -> Option<BTreeMap<Arc<str>, Account>> {
    let mut users = Users::default();
    let mut user: Option<User<'_>> = None;
    for line in text.lines() {
        if line.is_empty() {
        } else if let Some(comment) = line.strip_prefix('#') {
            if comment.contains(char::is_control) {
                return None;
            }
        } else if let Some(table) = line.strip_prefix('[') {
            let (name, rest) = key(table.strip_prefix("users.")?)?;
            match rest {
                "]" => {
                    keep(user.replace(User::new(name)), &mut users)?;
                }
                ".rights]" => user.as_mut()?.enter_rights(name)?,
                _ => return None,
            }
        } else {
            user.as_mut()?.value(line)?;
        }
    }
    keep(user, &mut users)?;
    Some(users.accounts)
}

/// Those that are complete.
#[derive(Default)]
struct Users {
    accounts: BTreeMap<Arc<str>, Account>,
    granted: SharedGrants,
}

/// Takes in a user who is complete and the first of that name.
fn keep(user: Option<User<'_>>, users: &mut Users) -> Option<()> {
    let Some(user) = user else { return Some(()) };
    check_user(user.name).ok()?;
    let account = Account {
        password: user.password?.into(),
        grants: users.granted.share(user.grants.into()),
    };
    match users.accounts.insert(user.name.into(), account) {
        None => Some(()),
        Some(_) => None,
    }
}

/// A user whose table has begun.
struct User<'t> {
    name: &'t str,
    password: Option<&'t str>,
    has_roles: bool,
    grants: Grants,
    rights: Rights<'t>,
}

/// Where the rights of a user stand, so that none is said twice.
enum Rights<'t> {
    None,
    Dotted(BTreeSet<&'t str>),
    Table(BTreeSet<&'t str>),
}

impl<'t> User<'t> {
    fn new(name: &'t str) -> Self {
        Self {
            name,
            password: None,
            has_roles: false,
            grants: Grants::default(),
            rights: Rights::None,
        }
    }

    /// The table of this user's rights begins.
    fn enter_rights(&mut self, name: &str) -> Option<()> {
        match self.rights {
            Rights::None if name == self.name => self.rights = Rights::Table(BTreeSet::new()),
            Rights::None | Rights::Dotted(_) | Rights::Table(_) => return None,
        }
        Some(())
    }

    /// A line `key = value`.
    fn value(&mut self, line: &'t str) -> Option<()> {
        if let Rights::Table(said) = &mut self.rights {
            let (scope, value) = assigned(line)?;
            return grant(&mut self.grants, said, scope, value);
        }
        if let Some(line) = line.strip_prefix("rights.") {
            let (scope, value) = assigned(line)?;
            if let Rights::None = self.rights {
                self.rights = Rights::Dotted(BTreeSet::new());
            }
            return match &mut self.rights {
                Rights::Dotted(said) => grant(&mut self.grants, said, scope, value),
                Rights::None | Rights::Table(_) => None,
            };
        }
        match assigned(line)? {
            ("password", value) if self.password.is_none() => {
                let stored = quoted(value)?;
                check_hash(stored).ok()?;
                self.password = Some(stored);
            }
            ("roles", value) if !self.has_roles => {
                self.has_roles = true;
                self.grants.set_roles(words::<Role>(value)?);
            }
            _ => return None,
        }
        Some(())
    }
}

fn grant<'t>(
    grants: &mut Grants,
    said: &mut BTreeSet<&'t str>,
    scope: &'t str,
    value: &str,
) -> Option<()> {
    let parsed: Scope = scope.parse().ok()?;
    grants.set_rights(parsed, words::<Right>(value)?);
    said.insert(scope).then_some(())
}

/// A key at the beginning, bare or in quotes, and what follows it.
fn key(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(text) => text.split_once('"')?,
        None => {
            let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            text.split_at(text.find(|c| !is_bare(c)).unwrap_or(text.len()))
        }
    };
    (!name.is_empty() && is_plain(name)).then_some((name, rest))
}

/// What is in quotes stands for itself.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

fn assigned(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = key(line)?;
    let value = rest.trim_start_matches(' ').strip_prefix('=')?;
    Some((key, value.trim_matches(' ')))
}

fn quoted(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    is_plain(text).then_some(text)
}

/// The words of a list that stands in one line.
fn words<W: FromStr + Ord>(value: &str) -> Option<BTreeSet<W>> {
    let list = value
        .strip_prefix('[')?
        .strip_suffix(']')?
        .trim_matches(' ');
    if list.is_empty() {
        return Some(BTreeSet::new());
    }
    let words = list.split(',').map(|word| quoted(word.trim_matches(' ')));
    words.map(|word| word?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{parse, password::DUMMY_HASH};
    use super::*;

    #[test]
    fn what_is_accepted_is_what_the_parser_reads() {
        let password = format!("password = \"{DUMMY_HASH}\"\n");
        let text = format!(
            "# Users\n\n[users.\"a@b.example\"]\n{password}roles = [\"operator\"]\n\
             [users.\"a@b.example\".rights]\n\"*\" = [\"list\", \"upload\"]\norders_in=[]\n\
             [users.shop]\n{password}rights.orders = [\"list\"]\nrights.\"a.b\" = [ \"list\" ]\n"
        );
        for text in [&text, &text.replace('\n', "\r\n"), ""] {
            let read = users(text).unwrap();
            assert_eq!(read, parse::users(text).unwrap(), "{text}");
        }
        assert_eq!(users(&text).unwrap().len(), 2);
    }

    #[test]
    fn who_have_been_granted_the_same_share_it() {
        let user = |name, right| {
            format!("[users.{name}]\npassword = \"{DUMMY_HASH}\"\nrights.a = [\"{right}\"]\n")
        };
        let text = user("a", "list") + &user("b", "upload") + &user("c", "list");
        let read = users(&text).unwrap();
        assert!(Arc::ptr_eq(&read["a"].grants, &read["c"].grants));
        assert_ne!(read["a"].grants, read["b"].grants);
    }

    #[test]
    fn other_forms_and_mistakes_are_left_to_the_parser() {
        let password = format!("password = \"{DUMMY_HASH}\"\n");
        for text in [
            format!("[users]\na = {{ password = \"{DUMMY_HASH}\" }}\n"),
            format!("[users.a] # the first\n{password}"),
            format!("[users.a]\n{password}roles = [\"operator\",]\n"),
            format!("[users.a]\n{password}roles = [\"operater\"]\n"),
            format!("[users.a]\n{password}{password}"),
            format!("[users.a]\n{password}[users.a]\n{password}"),
            format!("[users.a]\n{password}[users.b.rights]\nx = [\"list\"]\n"),
            format!("[users.a]\n{password}rights.x = [\"list\"]\n[users.a.rights]\n"),
            format!("[users.a]\n{password}[users.a.rights]\nx = []\n\"x\" = []\n"),
            format!("[users.a]\n{password}[users.a.rights]\n\"../x\" = [\"list\"]\n"),
            "[users.a]\npassword = \"secret\"\n".to_owned(),
            "[users.a]\n".to_owned(),
            "# \u{7f}\n".to_owned(),
            "x = 1\n".to_owned(),
        ] {
            assert_eq!(users(&text), None, "{text}");
        }
    }
}
