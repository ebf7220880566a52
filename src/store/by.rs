//! Who changes something.

use jiff::Timestamp;
use std::{fmt, net::IpAddr};

/// By whom something is done, from where and why. Prints as logs name it: `olga (uid 1000) by way of
/// sudo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// The account that acts: a user's name, or `root (uid 0)` for one of this machine.
    pub account: String,
    /// Who is behind an account that others use as well, where that is known.
    pub login: Option<String>,
    pub origin: Origin,
    /// In the words of whoever acts.
    pub why: Option<String>,
}

/// From where something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A command, through the control socket of a service.
    Socket,
    /// A command on a store that no service has.
    Command,
    /// A client of the service.
    Client {
        dialect: String,
        address: Option<IpAddr>,
    },
    /// The service, by itself.
    Service,
}

impl By {
    /// The service itself, for this reason.
    pub fn service(why: &str) -> Self {
        Self {
            account: "the service".into(),
            login: None,
            origin: Origin::Service,
            why: Some(why.into()),
        }
    }

    /// What a hold says of itself: `by olga (uid 1000) since 2026-11-22T08:58:26Z: audit`.
    pub fn since(&self, at_ms: i64) -> String {
        let since = Timestamp::from_millisecond(at_ms).unwrap_or_default();
        match &self.why {
            None => format!("by {self} since {since:.0}"),
            Some(why) => format!("by {self} since {since:.0}: {why}"),
        }
    }

    #[cfg(test)]
    pub(crate) fn operator(account: &str) -> Self {
        Self {
            account: account.into(),
            login: None,
            origin: Origin::Command,
            why: None,
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.login, &self.origin) {
            // Only sudo hides a login of this machine behind another one.
            (Some(login), Origin::Socket | Origin::Command) => {
                write!(f, "{login} by way of sudo")
            }
            // Whoever shares the account reads this.
            (Some(_), Origin::Client { .. } | Origin::Service) | (None, _) => {
                f.write_str(&self.account)
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("control socket"),
            Self::Command => f.write_str("command"),
            Self::Service => f.write_str("service"),
            Self::Client {
                dialect,
                address: None,
            } => f.write_str(dialect),
            Self::Client {
                dialect,
                address: Some(address),
            } => write!(f, "{dialect} from {address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_named_as_logs_are_to_name_it() {
        let olga = By {
            account: "root (uid 0)".into(),
            login: Some("olga (uid 1000)".into()),
            why: Some("audit".into()),
            ..By::operator("")
        };
        assert_eq!(olga.to_string(), "olga (uid 1000) by way of sudo");
        let held = "by olga (uid 1000) by way of sudo since 2026-11-22T08:58:26Z: audit";
        assert_eq!(olga.since(1_795_337_906_123), held);
        let address = Some("192.0.2.7".parse().unwrap());
        let dialect = "robusta".into();
        let shop = By {
            account: "shop".into(),
            login: Some("eve".into()),
            origin: Origin::Client { dialect, address },
            why: None,
        };
        assert_eq!(shop.to_string(), "shop");
        assert_eq!(shop.origin.to_string(), "robusta from 192.0.2.7");
        assert_eq!(shop.since(0), "by shop since 1970-01-01T00:00:00Z");
        assert_eq!(By::service("it is over").to_string(), "the service");
    }
}
