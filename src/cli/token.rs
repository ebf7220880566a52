//! `spoolgate user token` and `spoolgate user api-key`: what a user's programs show instead of
//! its password. Both are computed from the users file and the spool's key; nothing is stored.

use super::{Common, access, operator, output::print_line};
use crate::{
    auth::{Users, UsersError, check_scope},
    config::Tenant,
    daemon,
    ops::admin::{Administration, UserAct},
};
use clap::Args;

/// A year.
const HOURS_MAX: i64 = 24 * 365;

#[derive(Debug, Args)]
#[command(after_long_help = TOKEN_EXAMPLES)]
pub(super) struct Token {
    /// The user
    name: String,
    /// Limit the token to this scope, as in composition:read; without any it is good for
    /// everything that the user may do. May be repeated
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
    scopes: Vec<String>,
    /// How long it is good for
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=HOURS_MAX))]
    hours: u32,
    #[command(flatten)]
    common: Common,
}

const TOKEN_EXAMPLES: &str = "\
For a script:     TOKEN=$(spoolgate user token shop --hours 24)
                  curl -H \"Authorization: Bearer $TOKEN\" …
For one use:      spoolgate user token clinic --scope composition:read
To revoke it:     spoolgate user passwd shop, which makes all of the user's tokens void

Programs get theirs from the service, by the user's name and password: POST /webapi/oauth2/token.";

#[derive(Debug, Args)]
#[command(after_long_help = API_KEY_EXAMPLES)]
pub(super) struct ApiKey {
    /// The user
    name: String,
    #[command(flatten)]
    common: Common,
}

const API_KEY_EXAMPLES: &str = "\
Example:          spoolgate user api-key clinic
With a token:     curl -H \"Authorization: Bearer $TOKEN\" -H \"api-key: $KEY\" …
To revoke it:     spoolgate user passwd clinic, after which the key is another one";

fn scope(text: &str) -> Result<String, String> {
    check_scope(text).map(|()| text.to_owned())
}

impl Token {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (config, tenant) = self.common.at.load()?;
        let users = users(&tenant)?;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let expires_in_s = self.hours * 3600;
        let scopes = self.scopes.iter().map(|scope| format!(" --scope {scope}"));
        let with = format!("--hours {}{}", self.hours, scopes.collect::<String>());
        let name = std::slice::from_ref(&self.name);
        let what = Administration::new(UserAct::Token, name, Some(with));
        let token = operator::recorded(&config, &tenant, &what, || {
            let caller = users.known(&self.name).ok_or_else(|| no_such(&self.name))?;
            Ok(users.issue(&caller, &self.scopes, expires_in_s, now_ms)?)
        })?;
        if !self.common.format.json {
            return print_line!("{token}");
        }
        let answer = serde_json::json!({
            "user": self.name,
            "token": token,
            "expires_in_s": expires_in_s,
            "scopes": self.scopes,
        });
        print_line!("{answer}")
    }
}

impl ApiKey {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let (config, tenant) = self.common.at.load()?;
        let users = users(&tenant)?;
        let name = std::slice::from_ref(&self.name);
        let what = Administration::new(UserAct::ApiKey, name, None);
        let key = operator::recorded(&config, &tenant, &what, || {
            Ok(users
                .api_key(&self.name)
                .ok_or_else(|| no_such(&self.name))?)
        })?;
        match self.common.format.json {
            true => print_line!("{}", serde_json::json!({"user": self.name, "api_key": key})),
            false => print_line!("{key}"),
        }
    }
}

/// The tenant's users, with the key of its spool.
fn users(tenant: &Tenant) -> anyhow::Result<Users> {
    super::has_jobs(tenant)?;
    let key = tenant.root.join(".key");
    let seal = access::explained(&key, || super::runtime()?.block_on(daemon::seal(tenant)))?;
    access::explained(&tenant.users, || Users::open(&tenant.users, seal))
}

fn no_such(user: &str) -> UsersError {
    UsersError::NoSuchUser(user.escape_debug().to_string())
}
