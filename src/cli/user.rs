//! `spoolgate user …`: who may do what. A running service reads the file again by itself.

use super::{
    Common, access, operator,
    output::{self, print_line, print_note},
    token::{ApiKey, Token},
};
use crate::{
    auth::{
        Everyone, Grants, Right, Role, Scope, UserFiles, UsersError, UsersFile, check_user,
        hash_password, random_password,
    },
    config::Tenant,
    ops::admin::{Administration, UserAct},
};
use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, IsTerminal},
    path::Path,
    process::ExitCode,
};

/// Those that are made here have 32 characters.
const PASSWORD_CHARS_MIN: usize = 8;

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Add a user; prints `user <name> password <password>` when the password was made here
    Add(Add),
    /// Give a user a new password
    Passwd(Passwd),
    /// Give a user more rights and roles
    Grant(Grant),
    /// Take rights and roles from a user
    Revoke(Revoke),
    /// Remove users; none when one of them is not known
    Rm(Rm),
    /// List users with their rights
    List(List),
    /// Make a bearer token for a user's programs; prints nothing else
    Token(Token),
    /// Print a user's API key, which some programs send beside a token
    ApiKey(ApiKey),
}

#[derive(Debug, Args)]
#[command(after_long_help = ADD_EXAMPLES)]
pub(super) struct Add {
    /// 1 to 64 of A-Z a-z 0-9 . _ @ -
    #[arg(value_parser = user_name)]
    name: String,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    password: Password,
    #[command(flatten)]
    common: Common,
}

const ADD_EXAMPLES: &str = "\
A partner:     spoolgate user add shop --right orders_in=upload --right orders_out=list,download
An operator:   spoolgate user add olga --role operator";

/// Rights and roles as they are typed.
#[derive(Debug, Args)]
struct Given {
    /// Rights on an interface (`*`: on all): upload, list, download, manage. May be repeated
    #[arg(long = "right", value_name = "INTERFACE=RIGHT[,RIGHT…]")]
    rights: Vec<String>,
    /// operator (all rights everywhere) or curator. May be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = GRANT_EXAMPLES)]
pub(super) struct Grant {
    /// The user
    name: String,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    common: Common,
}

const GRANT_EXAMPLES: &str = "\
One right more:    spoolgate user grant shop --right orders_out=list,download
Another role:      spoolgate user grant olga --role operator";

#[derive(Debug, Args)]
#[command(after_long_help = REVOKE_EXAMPLES)]
pub(super) struct Revoke {
    /// The user
    name: String,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    common: Common,
}

const REVOKE_EXAMPLES: &str = "\
One right less:    spoolgate user revoke shop --right orders_out=download
No operator more:  spoolgate user revoke olga --role operator";

#[derive(Debug, Args)]
#[command(after_long_help = PASSWD_EXAMPLES)]
pub(super) struct Passwd {
    /// The user
    name: String,
    #[command(flatten)]
    password: Password,
    #[command(flatten)]
    common: Common,
}

const PASSWD_EXAMPLES: &str = "\
Made for you:    spoolgate user passwd shop
One of yours:    spoolgate user passwd shop --password-stdin < shop.password";

#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate user rm shop")]
pub(super) struct Rm {
    /// The users
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Example:   spoolgate user list --tenant north")]
pub(super) struct List {
    #[command(flatten)]
    common: Common,
}

/// A user's name as it is typed, checked before anything is made.
pub(super) fn user_name(text: &str) -> Result<String, String> {
    check_user(text).map(|()| text.to_owned())
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
            print_note!("Password (it will be seen as you type):");
        }
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        let password = line.trim_end_matches(['\r', '\n']);
        if password.is_empty() || password.contains(char::is_control) {
            bail!("the password is empty or has control characters");
        }
        if password.chars().count() < PASSWORD_CHARS_MIN {
            bail!("the password is too short; use {PASSWORD_CHARS_MIN} characters or more");
        }
        Ok((password.to_owned(), false))
    }
}

impl User {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Add(add) => add.run(),
            Self::ApiKey(api_key) => api_key.run(),
            Self::Grant(grant) => grant.run(),
            Self::List(list) => list.run(),
            Self::Passwd(passwd) => passwd.run(),
            Self::Revoke(revoke) => revoke.run(),
            Self::Rm(rm) => rm.run(),
            Self::Token(token) => token.run(),
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    fn run(&self) -> anyhow::Result<()> {
        let (config, tenant) = self.common.at.load()?;
        let grants = self.given.grants()?;
        let what = self.given.administration(UserAct::Add, &self.name);
        check_interfaces(&tenant, &grants)?;
        // Before a password is asked for; the edit looks again, under its lock.
        let files = UserFiles::beside(&tenant.users);
        if self.password.password_stdin && files.find(&self.name)?.is_some() {
            let exists = UsersError::Exists(self.name.clone());
            return operator::recorded(&config, &tenant, &what, || Err(exists.into()));
        }
        let (password, made) = self.password.choose()?;
        let hash = hash_password(&password)?;
        operator::recorded(&config, &tenant, &what, || {
            Ok(files.add(&self.name, &hash, grants)?)
        })?;
        if self.given.is_empty() {
            print_note!(
                "note: {0} has no rights yet; `spoolgate user grant {0}` gives some",
                self.name
            );
        }
        show(&self.common, &self.name, made.then_some(&password))
    }
}

/// An interface that was mistyped is to be no right that waits for one.
fn check_interfaces(tenant: &Tenant, grants: &Grants) -> anyhow::Result<()> {
    let unknown = grants.rights().keys().find(|scope| match scope {
        Scope::Every => false,
        Scope::Interface(name) => !tenant.interfaces.contains_key(name),
    });
    let Some(Scope::Interface(name)) = unknown else {
        return Ok(());
    };
    let known: Vec<&str> = tenant.interfaces.keys().map(|i| i.as_str()).collect();
    bail!(
        "there is no interface {name}; there are {}",
        known.join(", ")
    );
}

impl Grant {
    fn run(&self) -> anyhow::Result<()> {
        let (config, tenant) = self.common.at.load()?;
        let more = self.given.some()?;
        check_interfaces(&tenant, &more)?;
        let what = self.given.administration(UserAct::Grant, &self.name);
        let file = operator::recorded(&config, &tenant, &what, || {
            let grant = |users: &mut UsersFile| users.grant(&self.name, &more);
            Ok(UserFiles::beside(&tenant.users).change(&self.name, grant)?)
        })?;
        changed(&self.common, &self.name, "granted", Some(&file))
    }
}

impl Revoke {
    fn run(&self) -> anyhow::Result<()> {
        let (config, tenant) = self.common.at.load()?;
        // Also of interfaces that are gone.
        let less = self.given.some()?;
        let what = self.given.administration(UserAct::Revoke, &self.name);
        let file = operator::recorded(&config, &tenant, &what, || {
            let revoke = |users: &mut UsersFile| users.revoke(&self.name, &less);
            Ok(UserFiles::beside(&tenant.users).change(&self.name, revoke)?)
        })?;
        changed(&self.common, &self.name, "revoked", Some(&file))
    }
}

impl Given {
    fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.rights.is_empty()
    }

    /// # Errors
    /// When something is mistyped, or nothing is given.
    fn some(&self) -> anyhow::Result<Grants> {
        if self.is_empty() {
            bail!("say what: --right INTERFACE=RIGHT, or --role ROLE");
        }
        self.grants()
    }

    /// What the audit has of it.
    fn administration(&self, act: UserAct, user: &str) -> Administration {
        let roles = self.roles.iter().map(|role| format!("--role {role}"));
        let rights = self.rights.iter().map(|right| format!("--right {right}"));
        let with: Vec<String> = roles.chain(rights).collect();
        let with = (!with.is_empty()).then(|| with.join(" "));
        Administration::new(act, &[user.to_owned()], with)
    }

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
            let mut more = Grants::default();
            more.set_rights(scope, rights.map_err(|e| anyhow!("--right {given}: {e}"))?);
            grants.add(&more);
        }
        Ok(grants)
    }
}

impl Passwd {
    fn run(&self) -> anyhow::Result<()> {
        let (config, tenant) = self.common.at.load()?;
        let (password, made) = self.password.choose()?;
        let hash = hash_password(&password)?;
        let what = Administration::new(UserAct::Passwd, std::slice::from_ref(&self.name), None);
        operator::recorded(&config, &tenant, &what, || {
            let set = |users: &mut UsersFile| users.set_password(&self.name, &hash);
            Ok(UserFiles::beside(&tenant.users).change(&self.name, set)?)
        })?;
        show(&self.common, &self.name, made.then_some(&password))
    }
}

impl Rm {
    fn run(&self) -> anyhow::Result<()> {
        let (config, tenant) = self.common.at.load()?;
        let what = Administration::new(UserAct::Rm, &self.names, None);
        let names: BTreeSet<&String> = self.names.iter().collect();
        operator::recorded(&config, &tenant, &what, || {
            Ok(UserFiles::beside(&tenant.users).remove(&names)?)
        })?;
        names
            .iter()
            .try_for_each(|name| changed(&self.common, name, "removed", None))
    }
}

impl List {
    fn run(&self) -> anyhow::Result<()> {
        let (_, tenant) = self.common.at.load()?;
        let files = UserFiles::beside(&tenant.users);
        let everyone = access::explained(&tenant.users, || files.load())?;
        for broken in &everyone.broken {
            print_note!("{broken}");
        }
        list(self.common.format.json, &everyone, &files, &tenant.users)
    }
}

/// What was done to a user, and in which file he stands, for programs; people know what they typed.
fn changed(common: &Common, name: &str, outcome: &str, file: Option<&Path>) -> anyhow::Result<()> {
    let mut said = serde_json::json!({"user": name, "outcome": outcome});
    if let Some(file) = file {
        said["file"] = file.display().to_string().into();
    }
    match common.format.json {
        true => print_line!("{said}"),
        false => Ok(()),
    }
}

fn show(common: &Common, name: &str, password: Option<&String>) -> anyhow::Result<()> {
    let line = match (common.format.json, password) {
        (true, password) => serde_json::json!({"user": name, "password": password}).to_string(),
        (false, Some(password)) => format!("user {name} password {password}"),
        (false, None) => return Ok(()),
    };
    match password {
        Some(_) => output::password(line, format!("spoolgate user passwd {name}")),
        None => output::line(line),
    }
}

/// With the file in which each stands.
fn list(
    as_json: bool,
    everyone: &Everyone,
    files: &UserFiles,
    written: &Path,
) -> anyhow::Result<()> {
    for (name, account) in everyone.users.list() {
        let file = match everyone.own.contains(name) {
            true => files.own_file(name),
            false => written.to_owned(),
        };
        let roles: Vec<&str> = account.grants.roles().iter().map(|r| r.as_str()).collect();
        let rights: BTreeMap<String, Vec<&str>> = (account.grants.rights().iter())
            .map(|(scope, rights)| {
                let rights = rights.iter().map(|right| right.as_str()).collect();
                (scope.to_string(), rights)
            })
            .collect();
        if as_json {
            let file = file.display().to_string();
            let user =
                serde_json::json!({"user": name, "roles": roles, "rights": rights, "file": file});
            print_line!("{user}")?;
            continue;
        }
        let rights: Vec<String> = (rights.iter())
            .map(|(scope, rights)| format!("{scope}={}", rights.join(",")))
            .collect();
        let (roles, rights, file) = (roles.join(","), rights.join(" "), file.display());
        print_line!("{name}\t{roles}\t{rights}\t{file}")?;
    }
    Ok(())
}
