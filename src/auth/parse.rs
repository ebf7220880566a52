//! The text of a users file to the accounts in it, by hand over TOML with positions.
//!
//! Unknown keys are errors, and every error names the line and, for a misspelt word, the nearest
//! known one. Nothing is skipped: a file with one mistake is refused as a whole, because a right
//! that silently does not count is found out on the wrong day. No file is touched here.

use super::grants::{Account, Grants, Right, Role, Scope, hint};
use super::password::check_hash;
use crate::domain::{USER_BYTES_MAX, UserName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

/// A mistake in the text; `line` counts from one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) message: String,
}

/// The accounts of a users file, by the names of the users.
pub(super) fn users(text: &str) -> Result<BTreeMap<Arc<str>, Account>, Mistake> {
    let source = Source { text };
    let root = DeTable::parse(text)
        .map_err(|e| source.mistake(e.span().unwrap_or_default(), e.message()))?;
    let mut users = BTreeMap::new();
    for (key, value) in root.get_ref() {
        source.known(key, &["users"])?;
        for (name, account) in source.table(value, "`users`")? {
            check_user(name.get_ref()).map_err(|m| source.mistake(name.span(), m))?;
            let account = source.account(name, account)?;
            users.insert(name.get_ref().as_ref().into(), account);
        }
    }
    Ok(users)
}

/// User names are as [`UserName`] has them: they stand in headers, logs, attributes and directories.
///
/// # Errors
/// When it is not one; the text says what a user name may hold.
pub fn check_user(name: &str) -> Result<(), String> {
    name.parse::<UserName>().map(drop).map_err(|_| {
        format!(
            "`{}` is not a user name; use 1 to {USER_BYTES_MAX} of A-Z a-z 0-9 . _ @ -",
            name.escape_debug()
        )
    })
}

type Value<'i> = Spanned<DeValue<'i>>;

struct Source<'i> {
    text: &'i str,
}

impl Source<'_> {
    fn mistake(&self, at: Range<usize>, message: impl Display) -> Mistake {
        let before = self.text.as_bytes().iter().take(at.start);
        Mistake {
            line: before.filter(|b| **b == b'\n').count() + 1,
            message: message.to_string(),
        }
    }

    fn known(&self, key: &Spanned<DeString<'_>>, known: &[&str]) -> Result<(), Mistake> {
        let word = key.get_ref().as_ref();
        if known.contains(&word) {
            return Ok(());
        }
        let hint = hint(word, known);
        let message = format!("unknown key `{}`{hint}", word.escape_debug());
        Err(self.mistake(key.span(), message))
    }

    fn table<'v, 'i>(&self, value: &'v Value<'i>, what: &str) -> Result<&'v DeTable<'i>, Mistake> {
        let table = value.get_ref().as_table();
        table.ok_or_else(|| self.mistake(value.span(), format!("{what} must be a table")))
    }

    fn account(&self, name: &Spanned<DeString<'_>>, value: &Value<'_>) -> Result<Account, Mistake> {
        let mut password = None;
        let mut grants = Grants::default();
        for (key, value) in self.table(value, "a user")? {
            self.known(key, &["password", "rights", "roles"])?;
            match key.get_ref().as_ref() {
                "password" => password = Some(self.password(value)?),
                "roles" => grants.set_roles(self.words::<Role>(value, "`roles`")?),
                _rights => {
                    for (scope, rights) in self.table(value, "`rights`")? {
                        let parsed: Scope = scope.get_ref().parse().map_err(|e| {
                            let text = scope.get_ref().escape_debug();
                            self.mistake(scope.span(), format!("interface `{text}`: {e}"))
                        })?;
                        grants.set_rights(parsed, self.words::<Right>(rights, "rights")?);
                    }
                }
            }
        }
        let name_text = name.get_ref();
        let missing = || self.mistake(name.span(), format!("user `{name_text}` has no `password`"));
        Ok(Account {
            password: password.ok_or_else(missing)?.into(),
            grants: grants.into(),
        })
    }

    fn password(&self, value: &Value<'_>) -> Result<String, Mistake> {
        let stored = value.get_ref().as_str();
        let stored = stored.ok_or_else(|| self.mistake(value.span(), "`password` must be text"))?;
        check_hash(stored).map_err(|why| self.mistake(value.span(), why))?;
        Ok(stored.to_owned())
    }

    fn words<W>(&self, value: &Value<'_>, what: &str) -> Result<BTreeSet<W>, Mistake>
    where
        W: FromStr<Err: Display> + Ord,
    {
        let expected = || format!("{what} must be a list of words");
        let list: &DeArray<'_> = value
            .get_ref()
            .as_array()
            .ok_or_else(|| self.mistake(value.span(), expected()))?;
        let word = |item: &Value<'_>| {
            let word = item.get_ref().as_str();
            let word = word.ok_or_else(|| self.mistake(item.span(), expected()))?;
            word.parse().map_err(|e| self.mistake(item.span(), e))
        };
        list.iter().map(word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::password::DUMMY_HASH;
    use super::*;

    #[test]
    fn a_whole_file_is_understood() {
        let text = format!(
            "[users.shop1]\npassword = \"{DUMMY_HASH}\"\nroles = [\"operator\"]\n\
             [users.shop1.rights]\norders_in = [\"upload\", \"list\"]\n\"*\" = [\"list\"]\n\
             [users.\"a@b.example\"]\npassword = \"{DUMMY_HASH}\"\n"
        );
        let accounts = users(&text).unwrap();
        let names: Vec<&str> = accounts.keys().map(|name| &**name).collect();
        assert_eq!(names, ["a@b.example", "shop1"]);
        let shop = &accounts["shop1"];
        assert!(shop.grants.roles().contains(&Role::Operator));
        assert_eq!(shop.grants.rights().len(), 2);
        assert!(users("").unwrap().is_empty());
    }

    #[test]
    fn mistakes_name_line_and_nearest_word() {
        let password = format!("password = \"{DUMMY_HASH}\"");
        let cases = [
            (
                "[user.x]".to_owned(),
                1,
                "unknown key `user` (did you mean `users`?)",
            ),
            (
                format!("\n[users.x]\n{password}\nrole = []"),
                4,
                "unknown key `role` (did you mean `roles`?)",
            ),
            (
                format!("[users.x]\n{password}\nroles = [\n\"operater\"]"),
                4,
                "`operater` is not a role (did you mean `operator`?)",
            ),
            (
                format!("[users.x]\n{password}\nrights.a = [\"downlod\"]"),
                3,
                "`downlod` is not a right (did you mean `download`?)",
            ),
            (
                format!("[users.x]\n{password}\nrights.\"../a\" = [\"list\"]"),
                3,
                "interface `../a`: the name starts with a dot",
            ),
            (
                format!("[users.x]\n{password}\nrights.a = \"list\""),
                3,
                "rights must be a list of words",
            ),
            (
                "\n\n[users.x]\nroles = []".to_owned(),
                3,
                "user `x` has no `password`",
            ),
            (
                "[users.x]\npassword = \"secret\"".to_owned(),
                2,
                "the password is not an Argon2 hash; set one with `spoolgate user passwd`",
            ),
            (
                "[users.\"a:b\"]".to_owned(),
                1,
                "`a:b` is not a user name; use 1 to 64 of A-Z a-z 0-9 . _ @ -",
            ),
        ];
        for (text, line, message) in cases {
            let mistake = users(&text).unwrap_err();
            assert_eq!((mistake.line, mistake.message.as_str()), (line, message));
        }
        assert_eq!(users("[users.x]\npassword = ").unwrap_err().line, 2);
        let twice = format!("[users.x]\n{password}\n[users.x]\n{password}");
        assert_eq!(users(&twice).unwrap_err().line, 3);
    }
}
