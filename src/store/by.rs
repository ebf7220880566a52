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

    /// Who it was and when: `by olga (uid 1000) since 2026-11-22T08:58:26Z: audit`.
    pub fn since(&self, at_ms: i64) -> String {
        self.since_until(at_ms, None)
    }

    /// What a hold says of itself: the same, and before the reason until when it lasts, if it ends by itself:
    /// `… since 2026-11-22T08:58:26Z until 2026-11-22T14:00:00Z: audit`.
    pub fn since_until(&self, at_ms: i64, until: Option<Timestamp>) -> String {
        let since = Timestamp::from_millisecond(at_ms).unwrap_or_default();
        let until = until.map_or(String::new(), |until| format!(" until {until:.0}"));
        let why = self
            .why
            .as_ref()
            .map_or(String::new(), |why| format!(": {why}"));
        format!("by {self} since {since:.0}{until}{why}")
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

/// Until when a hold lasts, by what it says of itself: the last thing before its reason. `None`: until it is released.
pub fn until_of(hold: &str) -> Option<Timestamp> {
    let line = hold.lines().next()?;
    let before_reason = line.split_once(": ").map_or(line, |(before, _)| before);
    let (_, until) = before_reason.rsplit_once(" until ")?;
    until.parse().ok()
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

    #[test]
    fn a_hold_says_until_when_it_lasts() {
        let until: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
        let olga = By {
            why: Some("away until 2027-01-01T00:00:00Z: sorry".into()),
            ..By::operator("olga (uid 1000)")
        };
        let text = olga.since_until(1_795_337_906_123, Some(until));
        let expected = "by olga (uid 1000) since 2026-11-22T08:58:26Z until 2026-11-22T14:00:00Z: \
                        away until 2027-01-01T00:00:00Z: sorry";
        assert_eq!((text.as_str(), until_of(&text)), (expected, Some(until)));
        let brief = By::operator("olga").since_until(0, Some(until));
        assert_eq!(until_of(&brief), Some(until));
        // As a person may write it.
        assert_eq!(
            until_of("me until 2026-11-22T15:00:00+01:00\nor so"),
            Some(until)
        );
        for lasting in [
            olga.since(0).as_str(),
            "",
            "until 14:00",
            "by me until then: x",
        ] {
            assert_eq!(until_of(lasting), None, "{lasting}");
        }
    }
}
