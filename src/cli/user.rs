//! `spoolgate user …`: who may do what. A running service reads the file again by itself.

use super::Common;
use crate::auth::{Grants, Right, Role, Scope, UsersFile, hash_password, random_password};
use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, IsTerminal},
    process::ExitCode,
};

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Add a user; prints `user <name> password <password>` when the password was made here
    Add(Add),
    /// Give a user a new password
    Passwd(Passwd),
    /// Remove users
    Rm(Rm),
    /// List users with their rights
    List,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// 1 to 64 of A-Z a-z 0-9 . _ @ -
    name: String,
    /// Rights on an interface (`*`: on all): upload, list, download, manage. May be repeated
    #[arg(long = "right", value_name = "INTERFACE=RIGHT[,RIGHT…]")]
    rights: Vec<String>,
    /// operator (all rights everywhere) or curator. May be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    password: Password,
}

#[derive(Debug, Args)]
pub(super) struct Passwd {
    /// The user
    name: String,
    #[command(flatten)]
    password: Password,
}

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// The users
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct Password {
    /// Read the password from the first line of standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
}

impl Password {
    /// The password, and whether it was made here and must be shown.
    fn choose(&self) -> anyhow::Result<(String, bool)> {
        if !self.password_stdin {
            return Ok((random_password(), true));
        }
        if std::io::stdin().is_terminal() {
            eprintln!("Password (it will be seen as you type):");
        }
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        let password = line.trim_end_matches(['\r', '\n']);
        if password.is_empty() || password.contains(char::is_control) {
            bail!("the password is empty or has control characters");
        }
        Ok((password.to_owned(), false))
    }
}

impl User {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<ExitCode> {
        let (_, tenant) = common.load()?;
        let path = &tenant.users;
        match self {
            Self::Add(add) => {
                let grants = add.grants()?;
                let unknown = grants.rights().keys().find(|scope| match scope {
                    Scope::Every => false,
                    Scope::Interface(name) => !tenant.interfaces.contains_key(name),
                });
                if let Some(Scope::Interface(name)) = unknown {
                    bail!("unknown interface {name}; `spoolgate status` lists them");
                }
                let (password, made) = add.password.choose()?;
                let hash = hash_password(&password)?;
                UsersFile::edit(path, |users| users.add(&add.name, &hash, grants))?;
                show(common, &add.name, made.then_some(&password));
            }
            Self::Passwd(passwd) => {
                let (password, made) = passwd.password.choose()?;
                let hash = hash_password(&password)?;
                UsersFile::edit(path, |users| users.set_password(&passwd.name, &hash))?;
                show(common, &passwd.name, made.then_some(&password));
            }
            Self::Rm(rm) => {
                for name in &rm.names {
                    UsersFile::edit(path, |users| users.remove(name))?;
                }
            }
            Self::List => list(common, &UsersFile::load(path)?),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show(common: &Common, name: &str, password: Option<&String>) {
    if common.json {
        println!(
            "{}",
            serde_json::json!({"user": name, "password": password})
        );
    } else if let Some(password) = password {
        println!("user {name} password {password}");
    }
}

fn list(common: &Common, users: &UsersFile) {
    let mut all = Vec::new();
    for (name, account) in users.list() {
        let roles: Vec<&str> = account.grants.roles().iter().map(|r| r.as_str()).collect();
        let rights: BTreeMap<String, Vec<&str>> = (account.grants.rights().iter())
            .map(|(scope, rights)| {
                let rights = rights.iter().map(|right| right.as_str()).collect();
                (scope.to_string(), rights)
            })
            .collect();
        if common.json {
            all.push(serde_json::json!({"user": name, "roles": roles, "rights": rights}));
            continue;
        }
        let rights: Vec<String> = (rights.iter())
            .map(|(scope, rights)| format!("{scope}={}", rights.join(",")))
            .collect();
        println!("{name}\t{}\t{}", roles.join(","), rights.join(" "));
    }
    if common.json {
        println!("{}", serde_json::Value::from(all));
    }
}

impl Add {
    fn grants(&self) -> anyhow::Result<Grants> {
        let mut grants = Grants::default();
        for role in &self.roles {
            let role: Role = role.parse().map_err(|e| anyhow!("--role: {e}"))?;
            grants.add_role(role);
        }
        for given in &self.rights {
            let (scope, rights) = given.split_once('=').with_context(|| {
                format!("--right {given}: write it as INTERFACE=RIGHT, as in orders_in=upload,list")
            })?;
            let scope: Scope = scope.parse().map_err(|e| anyhow!("--right {given}: {e}"))?;
            let rights: Result<BTreeSet<Right>, _> = rights.split(',').map(str::parse).collect();
            grants.set_rights(scope, rights.map_err(|e| anyhow!("--right {given}: {e}"))?);
        }
        if self.roles.is_empty() && self.rights.is_empty() {
            eprintln!(
                "note: {} has no rights yet; give some with --right or --role",
                self.name
            );
        }
        Ok(grants)
    }
}
