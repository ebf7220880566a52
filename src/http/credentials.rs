//! Who sends a request, by the credentials that its dialect wants, and what is answered if it is
//! no one.
//!
//! A request with two sets of credentials has none. Passwords are checked, and guessing at them is
//! slowed, by [`Users`]; what a client that is refused may know is in the challenge alone.
//!
//! Source: RFC 6750 for bearer tokens; the eHealth contract for the header `api-key`.

use crate::{
    api::Credentials,
    auth::{Caller, Denied, IssueError, TOKEN_LIFETIME_S, Users},
    service::{Fault, Reply},
};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use std::net::IpAddr;

const API_KEY: HeaderName = HeaderName::from_static("api-key");
const BEARER: &str = "bearer ";

/// Why a request has no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Too many failures, or too many at the same time.
    Slow {
        retry_after_s: u32,
    },
    Unknown(AuthFailure),
}

/// What is wrong with credentials, as far as the client may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthFailure {
    /// The token is good, and this header is not.
    ApiKey,
    /// There are none, or wrong ones of another kind than a token.
    Credentials,
    /// The token is good, but not for this.
    Scope,
    /// The token is forged, void or has expired.
    Token,
}

/// Who sends a request with these headers from `peer` at the moment `now_ms` (milliseconds of the
/// Unix epoch).
pub(super) async fn caller(
    users: &Users,
    wanted: Credentials,
    headers: &HeaderMap,
    peer: IpAddr,
    now_ms: i64,
) -> Result<Caller, Rejection> {
    match wanted {
        Credentials::Basic => login(users, headers, peer).await,
        Credentials::Bearer { scope, api_key } => {
            let caller = bearer(users, headers, now_ms)?;
            if api_key && !has_api_key(users, &caller, headers) {
                return Err(Rejection::Unknown(AuthFailure::ApiKey));
            }
            // What has a scope takes a token with it, and nothing else does: the eHealth contract has
            // 401 for a missing scope.
            let allowed = match scope {
                Some(scope) => caller.has_scope(scope),
                None => !caller.is_limited(),
            };
            allowed
                .then_some(caller)
                .ok_or(Rejection::Unknown(AuthFailure::Scope))
        }
        Credentials::Open => match headers.contains_key(AUTHORIZATION) {
            true => login(users, headers, peer).await,
            false => Ok(Caller::anonymous()),
        },
        Credentials::Public => Ok(Caller::anonymous()),
    }
}

async fn login(users: &Users, headers: &HeaderMap, peer: IpAddr) -> Result<Caller, Rejection> {
    let authorization = only(headers, &AUTHORIZATION);
    checked(users.authenticate(authorization, peer).await)
}

fn checked(outcome: Result<Caller, Denied>) -> Result<Caller, Rejection> {
    outcome.map_err(|denied| match denied {
        Denied::Credentials => Rejection::Unknown(AuthFailure::Credentials),
        Denied::Slow { retry_after_s } => Rejection::Slow { retry_after_s },
    })
}

fn bearer(users: &Users, headers: &HeaderMap, now_ms: i64) -> Result<Caller, Rejection> {
    let token = only(headers, &AUTHORIZATION)
        .and_then(|header| header.to_str().ok()?.split_at_checked(BEARER.len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER));
    let (_, token) = token.ok_or(Rejection::Unknown(AuthFailure::Credentials))?;
    let caller = users.bearer(token.trim_start_matches(' '), now_ms);
    caller.ok_or(Rejection::Unknown(AuthFailure::Token))
}

fn has_api_key(users: &Users, caller: &Caller, headers: &HeaderMap) -> bool {
    only(headers, &API_KEY)
        .and_then(|key| key.to_str().ok())
        .is_some_and(|key| users.is_api_key(&caller.user, key))
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none())
}

/// Who asks for a token: the request's sender, or the client whose name and secret are in its form.
pub(super) async fn client(
    users: &Users,
    caller: Caller,
    given: Option<&(String, String)>,
    peer: IpAddr,
) -> Result<Caller, Rejection> {
    match given {
        Some((id, secret)) => checked(users.login(id, secret, peer).await),
        None if caller.is_anonymous() => Err(Rejection::Unknown(AuthFailure::Credentials)),
        None => Ok(caller),
    }
}

/// A token for who has given a password.
pub(super) fn token(
    users: &Users,
    caller: &Caller,
    scopes: Vec<String>,
    now_ms: i64,
) -> Result<Reply, Fault> {
    let issued = users.issue(caller, &scopes, TOKEN_LIFETIME_S, now_ms);
    let access_token = issued.map_err(|error| match error {
        IssueError::NotProven => Fault::Unauthorized,
        IssueError::Scope(_) | IssueError::TooManyScopes => Fault::Field {
            field: "scope".into(),
            reason: error.to_string(),
        },
    })?;
    Ok(Reply::Token {
        access_token,
        expires_in_s: TOKEN_LIFETIME_S.into(),
        scopes,
    })
}

/// The header `WWW-Authenticate` of an answer with status 401.
pub(super) fn challenge(realm: &str, wanted: Credentials, failure: AuthFailure) -> HeaderValue {
    let challenge = match wanted {
        Credentials::Basic | Credentials::Open | Credentials::Public => {
            format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
        }
        Credentials::Bearer { scope, .. } => {
            format!("Bearer realm=\"{realm}\"{}", error(failure, scope))
        }
    };
    // `VirtualHosts::new` has refused every realm that a header cannot hold.
    HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Basic"))
}

/// Source: RFC 6750, 3 and 3.1.
fn error(failure: AuthFailure, scope: Option<&'static str>) -> String {
    match (failure, scope) {
        (AuthFailure::ApiKey, _) => {
            ", error=\"invalid_token\", error_description=\"the header api-key is missing or not \
             that of this user\""
                .into()
        }
        (AuthFailure::Credentials, _) => String::new(),
        (AuthFailure::Scope, None) => ", error=\"insufficient_scope\"".into(),
        (AuthFailure::Scope, Some(scope)) => {
            format!(", error=\"insufficient_scope\", scope=\"{scope}\"")
        }
        (AuthFailure::Token, _) => {
            ", error=\"invalid_token\", error_description=\"the token has expired or is not valid \
             any more\""
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{Grants, UsersFile, hash_password},
        domain::{KEY_BYTES, Seal},
    };

    const NOW_MS: i64 = 1_795_323_468_000;
    const READ: Option<&str> = Some("composition:read");
    const BASIC: &str = "Basic Z29vZDpnb29k";

    struct Bench {
        _dir: tempfile::TempDir,
        users: Users,
    }

    impl Bench {
        /// The user `good` with the password `good`, and another one.
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("users.toml");
            let hash = hash_password("good").unwrap();
            UsersFile::edit(&path, |file| {
                file.add("good", &hash, Grants::default())?;
                file.add("other", &hash, Grants::default())
            })
            .unwrap();
            let users = Users::open(&path, Seal::new([7; KEY_BYTES])).unwrap();
            Self { _dir: dir, users }
        }

        fn token(&self, scopes: &[&str]) -> String {
            let caller = self.users.known("good").unwrap();
            let scopes: Vec<String> = scopes.iter().map(|&scope| scope.into()).collect();
            let token = self.users.issue(&caller, &scopes, 60, NOW_MS);
            format!("Bearer {}", token.unwrap())
        }

        /// The user that is found, or what is lacking.
        async fn ask(
            &self,
            wanted: Credentials,
            headers: &[(HeaderName, &str)],
        ) -> Result<String, Rejection> {
            let headers = headers.iter();
            let headers = headers.map(|(name, value)| (name.clone(), value.parse().unwrap()));
            let headers = headers.collect();
            let peer = IpAddr::from([192, 0, 2, 1]);
            let caller = caller(&self.users, wanted, &headers, peer, NOW_MS).await;
            caller.map(|caller| caller.user.to_string())
        }
    }

    fn good() -> Result<String, Rejection> {
        Ok("good".into())
    }

    fn failures(failure: AuthFailure) -> Result<String, Rejection> {
        Err(Rejection::Unknown(failure))
    }

    fn bearer(scope: Option<&'static str>, api_key: bool) -> Credentials {
        Credentials::Bearer { scope, api_key }
    }

    #[tokio::test]
    async fn each_kind_of_access_takes_its_own_credentials_only() {
        let bench = Bench::new();
        let token = bench.token(&[]);
        let none: &[(HeaderName, &str)] = &[];
        let basic = &[(AUTHORIZATION, BASIC)];
        let by_token = &[(AUTHORIZATION, &*token)];
        let lacking = failures(AuthFailure::Credentials);
        for (wanted, of_none, of_basic, of_token) in [
            (Credentials::Basic, &lacking, &good(), &lacking),
            (Credentials::Open, &Ok(String::new()), &good(), &lacking),
            (
                Credentials::Public,
                &Ok(String::new()),
                &Ok(String::new()),
                &Ok(String::new()),
            ),
            (bearer(None, false), &lacking, &lacking, &good()),
        ] {
            assert_eq!(bench.ask(wanted, none).await, *of_none, "{wanted:?}");
            assert_eq!(bench.ask(wanted, basic).await, *of_basic, "{wanted:?}");
            assert_eq!(bench.ask(wanted, by_token).await, *of_token, "{wanted:?}");
            let two = &[(AUTHORIZATION, BASIC), (AUTHORIZATION, &*token)];
            let of_two = match wanted {
                Credentials::Public => of_none,
                Credentials::Basic | Credentials::Bearer { .. } | Credentials::Open => &lacking,
            };
            assert_eq!(bench.ask(wanted, two).await, *of_two, "{wanted:?}");
        }
        let wrong = &[(AUTHORIZATION, "Basic Z29vZDp3cm9uZw==")];
        assert_eq!(bench.ask(Credentials::Open, wrong).await, lacking);
    }

    #[tokio::test]
    async fn tokens_are_sent_as_the_standard_says() {
        let bench = Bench::new();
        let token = bench.token(&[]);
        let wanted = bearer(None, false);
        let lower = token.replace("Bearer", "bearer");
        let spaced = token.replace(' ', "  ");
        for sent in [&token, &lower, &spaced] {
            assert_eq!(bench.ask(wanted, &[(AUTHORIZATION, sent)]).await, good());
        }
        let void = format!("{token}A");
        for sent in ["Bearer x", "Bearer  ", &void] {
            let found = bench.ask(wanted, &[(AUTHORIZATION, sent)]).await;
            assert_eq!(found, failures(AuthFailure::Token), "{sent}");
        }
        let glued = token.replace(' ', "");
        for sent in ["Bearer", "", "Token x", &glued] {
            let found = bench.ask(wanted, &[(AUTHORIZATION, sent)]).await;
            assert_eq!(found, failures(AuthFailure::Credentials), "{sent}");
        }
    }

    #[tokio::test]
    async fn limited_tokens_are_good_for_their_scopes_alone() {
        let bench = Bench::new();
        let limited = bench.token(&["job:read", "composition:read"]);
        let ask = async |scope| {
            bench
                .ask(bearer(scope, false), &[(AUTHORIZATION, &limited)])
                .await
        };
        assert_eq!(ask(READ).await, good());
        assert_eq!(
            ask(Some("composition:sign")).await,
            failures(AuthFailure::Scope)
        );
        assert_eq!(ask(None).await, failures(AuthFailure::Scope));
        let unlimited = bench.token(&[]);
        let found = bench
            .ask(bearer(READ, false), &[(AUTHORIZATION, &unlimited)])
            .await;
        assert_eq!(found, failures(AuthFailure::Scope));
        let found = bench
            .ask(bearer(None, false), &[(AUTHORIZATION, &unlimited)])
            .await;
        assert_eq!(found, good());
    }

    #[tokio::test]
    async fn the_api_key_is_that_of_the_tokens_user() {
        let bench = Bench::new();
        let token = bench.token(&["composition:read"]);
        let (key, other) = (
            bench.users.api_key("good").unwrap(),
            bench.users.api_key("other").unwrap(),
        );
        let name = || HeaderName::from_bytes(b"API-Key").unwrap();
        let wanted = bearer(READ, true);
        let with = |key| [(AUTHORIZATION, &*token), (name(), key)];
        assert_eq!(bench.ask(wanted, &with(&key)).await, good());
        assert_eq!(
            bench.ask(wanted, &with(&other)).await,
            failures(AuthFailure::ApiKey)
        );
        assert_eq!(
            bench.ask(wanted, &with("")).await,
            failures(AuthFailure::ApiKey)
        );
        let without = &with(&key)[..1];
        assert_eq!(
            bench.ask(wanted, without).await,
            failures(AuthFailure::ApiKey)
        );
        let twice = [&with(&key)[..], &[(name(), &key)]].concat();
        assert_eq!(
            bench.ask(wanted, &twice).await,
            failures(AuthFailure::ApiKey)
        );
        let alone = [(name(), &*key), (AUTHORIZATION, BASIC)];
        assert_eq!(
            bench.ask(wanted, &alone).await,
            failures(AuthFailure::Credentials)
        );
    }

    #[tokio::test]
    async fn a_token_is_given_to_who_has_shown_a_password() {
        let bench = Bench::new();
        let (users, peer) = (&bench.users, IpAddr::from([192, 0, 2, 1]));
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        let ask = async |caller, given: Option<(String, String)>| {
            client(users, caller, given.as_ref(), peer).await
        };
        let nobody = Caller::anonymous;
        let lacking = Rejection::Unknown(AuthFailure::Credentials);
        for given in [None, pair("good", "wrong"), pair("nobody", "good")] {
            assert_eq!(ask(nobody(), given).await.unwrap_err(), lacking);
        }
        let by_form = ask(nobody(), pair("good", "good")).await.unwrap();
        let by_header = users
            .authenticate(Some(&BASIC.parse().unwrap()), peer)
            .await;
        let by_header = ask(by_header.unwrap(), None).await.unwrap();
        for caller in [by_form, by_header] {
            let reply = token(users, &caller, vec!["a".into()], NOW_MS).unwrap();
            let Reply::Token {
                access_token,
                expires_in_s,
                scopes,
            } = reply
            else {
                panic!("{reply:?}");
            };
            assert_eq!((expires_in_s, scopes), (3600, vec!["a".to_owned()]));
            let by_token = users.bearer(&access_token, NOW_MS).unwrap();
            assert_eq!((&*by_token.user, by_token.has_scope("b")), ("good", false));
            // Which does not do for another one.
            let again = token(users, &by_token, vec![], NOW_MS);
            assert_eq!(again.unwrap_err(), Fault::Unauthorized);
            let bad = token(users, &caller, vec!["a b".into()], NOW_MS).unwrap_err();
            assert!(matches!(bad, Fault::Field { field, .. } if field == "scope"));
        }
    }

    #[test]
    fn challenges_say_what_would_be_taken_and_what_is_wrong() {
        let failures = [
            AuthFailure::ApiKey,
            AuthFailure::Credentials,
            AuthFailure::Scope,
            AuthFailure::Token,
        ];
        for wanted in [Credentials::Basic, Credentials::Open] {
            for failure in failures {
                let basic = "Basic realm=\"jobs\", charset=\"UTF-8\"";
                assert_eq!(challenge("jobs", wanted, failure), basic);
            }
        }
        let of = |failure, scope| challenge("jobs", bearer(scope, true), failure);
        let realm = "Bearer realm=\"jobs\"";
        assert_eq!(of(AuthFailure::Credentials, READ), realm);
        assert_eq!(
            of(AuthFailure::Scope, READ),
            &format!("{realm}, error=\"insufficient_scope\", scope=\"composition:read\"")
        );
        for failure in failures {
            let text = of(failure, None);
            let text = text.to_str().unwrap();
            assert!(text.starts_with(realm), "{text}");
            assert!(!text.contains("  "), "{text}");
        }
    }
}
