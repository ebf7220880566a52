//! The users: what each may do, how they have logged in, and what of the queues is theirs.

use super::{
    layout::{Frame, Section},
    look::{Clock, Html, count, number},
    respond::{Answer, Trouble, page_of},
    visit::Visit,
};
use crate::{
    auth::{FAILED_LOGINS_MAX, Grants, Right, Role, Scope, Users},
    domain::PlaceKind,
    store::{Filter, Viewer},
};
use askama::Template;
use std::collections::HashMap;

#[derive(Template)]
#[template(path = "partners.html")]
struct PartnersPage {
    frame: Frame,
    title: String,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    roles: String,
    rights: String,
    /// `None`: not known.
    last_login: Option<Html>,
    failed_logins: String,
    waiting: String,
    /// Of all that waits, in percent.
    share: String,
    refused: String,
    href: String,
}

pub(super) async fn page(visit: &Visit<'_>) -> Answer {
    visit.for_operators()?;
    let waiting = by_submitter(visit, &PlaceKind::ACTIVE, None).await?;
    let midnight_ms = Some(visit.clock.midnight_ms());
    let refused = by_submitter(visit, &[PlaceKind::Refused], midnight_ms).await?;
    let all: usize = waiting.values().sum();
    let users = &visit.spool.users;
    let all_users = users.list();
    let row = |(name, grants): &(String, std::sync::Arc<Grants>)| {
        let of = |counts: &HashMap<String, usize>| counts.get(name).copied().unwrap_or(0);
        let n = of(&waiting);
        Row {
            roles: roles(grants),
            rights: rights(grants),
            last_login: last_login(&visit.clock, users, name),
            failed_logins: failed_logins(&visit.clock, users, name),
            waiting: number(n as u64),
            share: match all {
                0 => String::new(),
                all => format!("{} %", n * 100 / all),
            },
            refused: number(of(&refused) as u64),
            href: visit.to("jobs", [("submitter", Some(name.as_str()))]),
            name: name.clone(),
        }
    };
    Ok(page_of(&PartnersPage {
        title: count(all_users.len(), "user"),
        rows: all_users.iter().map(row).collect(),
        frame: visit.frame(Section::Partners).await,
    }))
}

/// How many jobs at such places, that came since a moment, are whose.
async fn by_submitter(
    visit: &Visit<'_>,
    at: &[PlaceKind],
    since_ms: Option<i64>,
) -> Result<HashMap<String, usize>, Trouble> {
    let filter = Filter {
        at: at.to_vec(),
        since_ms,
        want_record: true,
        ..Filter::default()
    };
    let store = &visit.spool.store;
    let page = store
        .list(&Viewer::all(), &filter, None, usize::MAX)
        .await?;
    let mut counts = HashMap::new();
    for summary in page.jobs {
        if let Some(submitter) = summary.record.and_then(|record| record.submitter) {
            *counts.entry(submitter).or_default() += 1;
        }
    }
    Ok(counts)
}

fn last_login(clock: &Clock, users: &Users, name: &str) -> Option<Html> {
    let last_s = users.last_login_s(name)?;
    Some(clock.age(last_s.saturating_mul(1000)))
}

/// Of today, since the start.
fn failed_logins(clock: &Clock, users: &Users, name: &str) -> String {
    let midnight_s = clock.midnight_ms().div_euclid(1000);
    match users.failed_logins(name, midnight_s) {
        FAILED_LOGINS_MAX => format!("{FAILED_LOGINS_MAX} or more"),
        n => number(n as u64),
    }
}

fn roles(grants: &Grants) -> String {
    let roles = grants.roles().iter().map(|role: &Role| role.as_str());
    match roles.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "partner".into(),
        roles => roles,
    }
}

fn rights(grants: &Grants) -> String {
    if grants.roles().contains(&Role::Operator) {
        return "all rights everywhere".into();
    }
    let one = |(scope, rights): (&Scope, &std::collections::BTreeSet<Right>)| {
        let rights: Vec<&str> = rights.iter().map(|right| right.as_str()).collect();
        format!("{scope} {}", rights.join(", "))
    };
    let all: Vec<String> = grants.rights().iter().map(one).collect();
    match all.is_empty() {
        true => "none".into(),
        false => all.join(" · "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_may_do_is_said_in_words() {
        let mut grants = Grants::default();
        assert_eq!(
            (roles(&grants), rights(&grants)),
            ("partner".into(), "none".into())
        );
        grants.set_rights(Scope::Every, [Right::List].into());
        let a = Scope::Interface("a".parse().unwrap());
        grants.set_rights(a, [Right::Upload, Right::Download].into());
        assert_eq!(rights(&grants), "* list · a download, upload");
        grants.add_role(Role::Operator);
        assert_eq!(roles(&grants), "operator");
        assert_eq!(rights(&grants), "all rights everywhere");
    }
}
