//! The tenants that a server speaks for, and which of them a request is for.
//!
//! The host that the request names decides; a request that names none is for the host that the
//! TLS handshake named. One virtual host may be the default: it gets every other host. Hosts are
//! compared without case, port and trailing dot. A request that names two hosts is for none of them.
//! Where a path names a tenant, by its name or one of its databases, that decides, not the host.

use crate::{auth::Users, service::Service};
use arc_swap::ArcSwap;
use http::{header::HOST, request::Parts};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// One tenant: its jobs and its users.
#[derive(Clone)]
pub(crate) struct VirtualHost {
    /// For the log.
    pub name: String,
    /// Does it serve hosts that no other tenant claims?
    pub is_default: bool,
    pub hosts: Vec<String>,
    /// Other names by which paths may ask for it.
    pub databases: Vec<String>,
    pub service: Arc<Service>,
    pub users: Arc<Users>,
    /// What a client shows to the person who has to type a password.
    pub realm: String,
}

/// Those that are in force. A request keeps those that it has begun with.
pub(crate) type Hosts = Arc<ArcSwap<VirtualHosts>>;

pub(crate) struct VirtualHosts {
    hosts: Vec<VirtualHost>,
    /// `None`: of a tenant that cannot be served.
    by_host: HashMap<String, Option<usize>>,
    default: Option<usize>,
    /// The other names of tenants that cannot be served.
    unserved: HashSet<String>,
    /// Can the default tenant not be served?
    lacks_default: bool,
}

/// A tenant that there is, and that cannot be served.
pub(crate) struct Unserved {
    pub name: String,
    pub is_default: bool,
    pub hosts: Vec<String>,
    pub databases: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VirtualHostsError {
    #[error("the host {host} belongs to two tenants, {first} and {second}; leave it to one")]
    HostTwice {
        host: String,
        first: String,
        second: String,
    },
    #[error(
        "the realm of tenant {name} may hold printable ASCII without quotes and backslashes only"
    )]
    Realm { name: String },
    #[error("the tenants {first} and {second} are both the default; only one can be")]
    TwoDefaults { first: String, second: String },
}

impl VirtualHosts {
    /// Arranges tenants by the hosts that they are for.
    ///
    /// # Errors
    /// When two tenants claim one host, two are the default, or a realm cannot stand in a header.
    /// The configuration has to be corrected.
    pub(crate) fn new(hosts: Vec<VirtualHost>) -> Result<Self, VirtualHostsError> {
        let mut by_host: HashMap<String, Option<usize>> = HashMap::new();
        let mut default = None;
        for (at, host) in hosts.iter().enumerate() {
            if !host.realm.bytes().all(may_be_quoted) {
                let name = host.name.clone();
                return Err(VirtualHostsError::Realm { name });
            }
            let name_of = |at: usize| hosts[at].name.clone();
            if host.is_default
                && let Some(first) = default.replace(at)
            {
                let (first, second) = (name_of(first), name_of(at));
                return Err(VirtualHostsError::TwoDefaults { first, second });
            }
            for host in host.hosts.iter().map(|host| canonical(host)) {
                if let Some(Some(first)) = by_host.insert(host.clone(), Some(at)) {
                    let (first, second) = (name_of(first), name_of(at));
                    return Err(VirtualHostsError::HostTwice {
                        host,
                        first,
                        second,
                    });
                }
            }
        }
        Ok(Self {
            hosts,
            by_host,
            default,
            unserved: HashSet::new(),
            lacks_default: false,
        })
    }

    /// The same, where a tenant cannot be served: nobody else gets its requests.
    #[must_use]
    pub(crate) fn without(mut self, tenant: Unserved) -> Self {
        let hosts = tenant.hosts.iter().map(|host| (canonical(host), None));
        self.by_host.extend(hosts);
        self.unserved.extend(tenant.databases);
        self.unserved.insert(tenant.name);
        self.lacks_default |= tenant.is_default;
        self
    }

    /// Is this a name of a tenant that cannot be served?
    pub(super) fn is_unserved(&self, tenant: &str) -> bool {
        self.unserved.contains(tenant)
    }

    /// The virtual host of a tenant, by its name or one of its databases.
    pub(super) fn named(&self, tenant: &str) -> Option<&VirtualHost> {
        let is_it =
            |host: &&VirtualHost| host.name == tenant || host.databases.iter().any(|d| d == tenant);
        self.hosts.iter().find(is_it)
    }

    /// The virtual host that a request is for; `server_name` is what the TLS handshake named.
    pub(super) fn choose(&self, head: &Parts, server_name: Option<&str>) -> Choice<'_> {
        let named = match (head.uri.host(), single_host(head)) {
            (Some(host), _) => Some(host),
            (None, Host::One(host)) => Some(host),
            (None, Host::Missing) => server_name,
            (None, Host::Unclear) => return Choice::Nobody,
        };
        let known = named.and_then(|host| self.by_host.get(&canonical(host)));
        match known.copied().unwrap_or(self.default) {
            Some(at) => self.hosts.get(at).map_or(Choice::Nobody, Choice::Served),
            None if known.is_some() || self.lacks_default => Choice::Unserved,
            None => Choice::Nobody,
        }
    }
}

/// For whom a request is.
pub(super) enum Choice<'a> {
    Served(&'a VirtualHost),
    /// For a tenant that cannot be served.
    Unserved,
    Nobody,
}

/// May this byte stand between the quotes of a header's quoted string as it is?
fn may_be_quoted(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')
}

enum Host<'a> {
    Missing,
    One(&'a str),
    Unclear,
}

fn single_host(head: &Parts) -> Host<'_> {
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next().map(|host| host.to_str()), hosts.next()) {
        (None, _) => Host::Missing,
        (Some(Ok(host)), None) => Host::One(host),
        (Some(_), _) => Host::Unclear,
    }
}

fn canonical(host: &str) -> String {
    let name = match (host.strip_prefix('['), host.split_once(':')) {
        (Some(bracketed), _) => bracketed.split(']').next().unwrap_or_default(),
        // More than one colon without brackets: an IPv6 address, and no port.
        (None, Some((name, port))) if !port.contains(':') => name,
        (None, Some(_) | None) => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        for (given, expected) in [
            ("Partner.Example.org:8443", "partner.example.org"),
            ("partner.example.org.", "partner.example.org"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:8443", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("2001:db8:0:0:0:0:0:1", "2001:db8:0:0:0:0:0:1"),
            ("", ""),
            (":", ""),
        ] {
            assert_eq!(canonical(given), expected, "{given}");
        }
    }
}
