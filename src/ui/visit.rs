//! Who looks, from where, and at which spool; what he may do there.

use super::{
    About, ROOT, Spool, Ui,
    form::{Form, address},
    look::Clock,
    respond::Trouble,
};
use crate::{
    auth::{Caller, Right, Role, Users},
    config::{self, Config},
    domain::InterfaceName,
    http::VirtualHost,
    service::Service,
    store::{By, Origin, Viewer},
};
use http::{
    HeaderMap,
    header::{COOKIE, ORIGIN},
    request::Parts,
};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// The cookie that holds a session. Browsers take this name from nobody but the host itself, over TLS, for all paths.
pub(super) const COOKIE_NAME: &str = "__Host-spoolgate";
/// How this way of the page is called in logs, in the audit and in the record.
pub(super) const DIALECT: &str = "ui";

/// One request of somebody who has logged in.
pub(super) struct Visit<'r> {
    pub(super) ui: &'r Ui,
    /// That of the host, or the one that an operator of the default tenant looks at.
    pub(super) spool: &'r Spool,
    pub(super) service: Arc<Service>,
    /// Those of the spool.
    pub(super) interfaces: BTreeMap<InterfaceName, About>,
    pub(super) config: Arc<Config>,
    /// An operator only where he may be one.
    pub(super) caller: Caller,
    /// May he see what is said of the whole service?
    pub(super) sees_service: bool,
    /// Those of the host, among whom he is.
    pub(super) users: &'r Users,
    /// What every form is to have.
    pub(super) token: String,
    /// Before the path of every page of that spool.
    pub(super) base: String,
    /// Below that.
    pub(super) path: &'r str,
    pub(super) query: Form,
    pub(super) head: &'r Parts,
    pub(super) client: IpAddr,
    pub(super) clock: Clock,
}

/// The session that a request shows. One with two shows none.
pub(super) fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter();
    let cookies = cookies.filter_map(|value| value.to_str().ok());
    let each = cookies.flat_map(|cookies| cookies.split(';'));
    let mut named = each.filter_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(value)
    });
    named.next().filter(|_| named.next().is_none())
}

/// Does a page of ours send this form? Where a page of another site may come from is looked at before.
pub(super) fn is_from_here(head: &Parts) -> bool {
    head.headers.contains_key(ORIGIN)
}

impl<'r> Visit<'r> {
    /// `None`: nobody has logged in, or not any more, or there is no page any more.
    pub(super) fn begin(
        ui: &'r Ui,
        head: &'r Parts,
        (host, client): (&'r VirtualHost, IpAddr),
    ) -> Option<Self> {
        let config = (ui.config)();
        if config.ui == config::Ui::Off {
            return None;
        }
        let clock = ui.clock(&config);
        let session = session(&head.headers)?;
        let caller = host.users.session(session, clock.now_ms)?;
        let caller = as_there(&config, caller, client);
        let path = head.uri.path().strip_prefix(ROOT)?;
        let other = path.strip_prefix('@').and_then(|of| of.split_once('/'));
        let other = other.filter(|_| host.is_default && caller.has(Role::Operator));
        let other = other.and_then(|(tenant, rest)| {
            Some((format!("{ROOT}@{tenant}/"), ui.spool(tenant)?, rest))
        });
        let (base, spool, path) = match other {
            Some(other) => other,
            None => (ROOT.to_owned(), ui.spool(&host.name)?, path),
        };
        Some(Self {
            ui,
            interfaces: About::all(&config, &spool.name),
            config,
            service: spool.service.load_full(),
            spool,
            sees_service: caller.has(Role::Operator) && (host.is_default || ui.spools.len() == 1),
            caller: caller.via(DIALECT, client),
            users: &host.users,
            token: host.users.form_token(session),
            base,
            path,
            query: Form::parse(head.uri.query().unwrap_or_default().as_bytes()),
            head,
            client,
            clock,
        })
    }

    pub(super) fn is_operator(&self) -> bool {
        self.caller.has(Role::Operator)
    }

    /// Who acts, as logs and the audit name it.
    pub(super) fn by(&self) -> By {
        By {
            account: self.caller.user.to_string(),
            login: None,
            origin: Origin::Client {
                dialect: DIALECT.into(),
                address: Some(self.client),
            },
            why: None,
        }
    }

    /// May he act on jobs of an interface, or of those of which none is known?
    pub(super) fn may_manage(&self, interface: Option<&InterfaceName>) -> bool {
        self.is_operator()
            || interface.is_some_and(|interface| self.caller.may(Right::Manage, interface))
    }

    /// # Errors
    /// When he is none: what is for operators is not there for others.
    pub(super) fn for_operators(&self) -> Result<(), Trouble> {
        match self.is_operator() {
            true => Ok(()),
            false => Err(super::nothing()),
        }
    }

    /// His eyes.
    pub(super) fn viewer(&self) -> Viewer {
        self.service.viewer_of(&self.caller)
    }

    /// The address of a page of this spool.
    pub(super) fn to<'v>(
        &self,
        path: &str,
        values: impl IntoIterator<Item = (&'v str, Option<&'v str>)>,
    ) -> String {
        address(&format!("{}{path}", self.base), values)
    }

    /// What was sent may do something only if a page of this session has sent it.
    pub(super) fn check(&self, form: &Form) -> Result<(), Trouble> {
        let session = session(&self.head.headers).unwrap_or_default();
        let token = form.get("token").unwrap_or_default();
        match is_from_here(self.head) && self.users.is_form_token(session, token) {
            true => Ok(()),
            false => Err(Trouble::Forbidden(
                "the form is not from a page of this login: open the page again, and send it from there".into(),
            )),
        }
    }
}

/// The caller as far as he is one where he is: an operator only from where operators are.
fn as_there(config: &Config, caller: Caller, client: IpAddr) -> Caller {
    let is_there = config.ui == config::Ui::All && config.ui_operators_from.contain(client);
    match is_there {
        true => caller,
        false => caller.without(Role::Operator),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_among_cookies_and_two_are_none() {
        let of = |values: &[&str]| {
            let values = values.iter().map(|value| (COOKIE, value.parse().unwrap()));
            let headers: HeaderMap = values.collect();
            session(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["__Host-spoolgate=a.b"]), Some("a.b".into()));
        assert_eq!(of(&["x=1; __Host-spoolgate=a.b;y=2"]), Some("a.b".into()));
        assert_eq!(of(&["x=1", "__Host-spoolgate=a.b"]), Some("a.b".into()));
        assert_eq!(of(&["__Host-spoolgate=a; __Host-spoolgate=b"]), None);
        for none in [
            &[][..],
            &["spoolgate=a"],
            &["__Host-spoolgate"],
            &["x__Host-spoolgate=a"],
        ] {
            assert_eq!(of(none), None);
        }
    }
}
