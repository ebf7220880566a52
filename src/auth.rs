//! Who calls, and what they may do: the users file, passwords, tokens, rights.
//!
//! [`Users::authenticate`], [`Users::login`] and [`Users::bearer`] turn credentials into a
//! [`Caller`]; the caller then answers [`Caller::may`] for each interface. [`UserFiles`] are the same files seen from
//! the command line: load, edit, write back; [`UsersFile`] is one of them.
//!
//! It does not speak HTTP: which status a [`Denied`] becomes is for the server to say, and "not
//! yours" against "does not exist" for the dialects.
//!
//! Invariant: no answer depends on whether a user exists. An unknown user costs one hash, like a
//! wrong password, and both are slowed in the same way.
//! Invariant: a broken users file never replaces one that works.

mod cache;
mod familiar;
mod file;
mod grants;
mod line;
mod logins;
mod own_files;
mod parse;
mod password;
#[cfg(test)]
mod properties;
mod scan;
mod throttle;
mod token;
mod user_files;
mod users;

pub use file::{UsersError, UsersFile};
pub use grants::{Account, Caller, Grants, Right, Role, Scope, UnknownWord, Via};
pub use logins::FAILURES_MAX as FAILED_LOGINS_MAX;
pub use parse::check_user;
pub use password::{HashError, hash_password, random_password};
pub use token::{SCOPE_BYTES_MAX, SCOPES_MAX, SESSION_LIFETIME_S, TOKEN_LIFETIME_S, check_scope};
pub use user_files::{Everyone, UserFiles};
pub use users::{Denied, IssueError, Users};
