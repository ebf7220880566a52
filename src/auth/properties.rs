//! A users file that is read is written and read alike; one that is not says in which line.

use super::{file::UsersFile, password::DUMMY_HASH, *};
use crate::domain::{USER_BYTES_MAX, any_interface, any_text, settings};
use proptest::{
    collection::{btree_map, btree_set},
    prelude::*,
    sample::{Index, select},
};
use std::{collections::BTreeMap, path::Path, sync::Arc};

fn any_users() -> impl Strategy<Value = UsersFile> {
    let scope = prop_oneof![
        1 => Just(Scope::Every),
        3 => any_interface().prop_map(|name| name.as_str().parse().unwrap()),
    ];
    let roles = btree_set(select(Role::ALL.to_vec()), 0..3);
    let rights = btree_map(scope, btree_set(select(Right::ALL.to_vec()), 0..5), 0..3);
    btree_map("[A-Za-z0-9._@-]{1,64}", (roles, rights), 0..4).prop_map(|users| {
        let mut file = UsersFile::default();
        for (name, (roles, rights)) in users {
            let mut grants = Grants::default();
            grants.set_roles(roles);
            for (scope, rights) in rights {
                grants.set_rights(scope, rights);
            }
            file.add(&name, DUMMY_HASH, grants).unwrap();
        }
        file
    })
}

fn parse(text: &str) -> Result<UsersFile, UsersError> {
    UsersFile::parse(text, Path::new("users.toml"))
}

fn accounts(users: &UsersFile) -> BTreeMap<Arc<str>, Account> {
    let users = users.list();
    users
        .map(|(name, account)| (name.into(), account.clone()))
        .collect()
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn users_that_are_written_read_back(users in any_users()) {
        let text = users.to_string();
        prop_assert_eq!(super::scan::users(&text), Some(accounts(&users)), "{}", text);
        prop_assert_eq!(parse(&text).unwrap(), users, "{}", text);
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_line_or_reads_as_it_says(
        users in any_users(),
        at in any::<Index>(),
        cut in 0..9_usize,
        put in "[a-z\"'=.\\[\\]\n#{}, \\\\\0@*\u{e4}-]{0,6}",
    ) {
        let text = users.to_string();
        let at = at.index(text.len());
        let text = format!("{}{put}{}", &text[..at], &text[(at + cut).min(text.len())..]);
        match parse(&text) {
            Ok(users) => {
                prop_assert_eq!(super::parse::users(&text).unwrap(), accounts(&users));
                prop_assert_eq!(parse(&users.to_string()).unwrap(), users);
            }
            Err(UsersError::Invalid { line, message, .. }) => {
                prop_assert!((1..=text.matches('\n').count() + 1).contains(&line), "{}", line);
                prop_assert!(!message.is_empty());
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn only_the_alphabet_is_a_user_name(name in any_text()) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
        let is_name = (1..=USER_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain);
        let added = UsersFile::default().add(&name, DUMMY_HASH, Grants::default());
        prop_assert_eq!(added.is_ok(), is_name);
        if let Err(refused) = added {
            prop_assert!(!refused.to_string().contains(char::is_control), "{}", refused);
        }
    }
}
