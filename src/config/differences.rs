//! What another configuration changes for a running service, and what of that needs a restart. Pure.
//!
//! By the keys as they are written: those that came, that went, and that say something else.

use super::Config;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};
use toml::Value;

/// What a running service takes. Each stands for all that begins with it, and `NAME` for any name.
const TAKEN: [&str; 38] = [
    "databases",
    "events",
    "expect",
    "interfaces.NAME",
    "limits.bytes_per_day_per_user_max",
    "limits.events_bytes_max",
    "limits.free_bytes_min",
    "limits.free_inodes_min",
    "limits.keys_per_user_max",
    "limits.queue_jobs_max",
    "limits.queue_jobs_per_user_max",
    "limits.running_max",
    "limits.running_per_user_max",
    "limits.schedules_per_user_max",
    "limits.stop_deadline_s",
    "limits.stylesheets_max",
    "limits.stylesheets_per_user_max",
    "limits.upload_bytes_max",
    "limits.uploads_max",
    "limits.uploads_per_minute_per_user_max",
    "log.level",
    "partners.NAME",
    "retention",
    "schemas",
    "server.clock_changes",
    "server.missed_schedules",
    "server.time_zone",
    "server.ui",
    "server.ui_operators_from",
    "server.worker_tags",
    "tenants.NAME.databases",
    "tenants.NAME.events",
    "tenants.NAME.expect",
    "tenants.NAME.hosts",
    "tenants.NAME.interfaces.NAME",
    "tenants.NAME.partners.NAME",
    "tenants.NAME.retention",
    "tenants.NAME.schemas",
];

/// What a service takes when it starts, and then keeps. What stands in neither list is kept, too.
#[cfg(test)]
const KEPT: [&str; 18] = [
    "auth",
    "limits.connections_max",
    "limits.connections_per_address_max",
    "log.format",
    "metrics",
    "server.control",
    "server.listen",
    "server.ops_listen",
    "server.plain_listen",
    "server.proxy_protocol",
    "server.trusted_proxies",
    "spool",
    "store",
    "tenants.NAME.accept_risk",
    "tenants.NAME.root",
    "tenants.NAME.store",
    "tenants.NAME.users",
    "tls",
];

/// The keys that are not as they were, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Differences {
    /// What a running service takes.
    pub taken: Vec<String>,
    /// What only a restart takes.
    pub needs_restart: Vec<String>,
}

impl Differences {
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut found = Self::default();
        let root = |config: &Config| Value::Table(config.written.clone());
        found.walk(&[], Some(&root(old)), Some(&root(new)));
        found
    }

    fn walk(&mut self, path: &[&str], old: Option<&Value>, new: Option<&Value>) {
        if old == new {
            return;
        }
        let is_there = |value: Option<&Value>| !value.is_none_or(is_empty);
        let comes_or_goes = is_there(old) != is_there(new);
        let of_tenant = matches!(path, ["interfaces"] | ["tenants", _]);
        if comes_or_goes && of_tenant {
            return self.needs_restart.push(path.join("."));
        }
        let is_table = |value: Option<&Value>| value.is_none_or(Value::is_table);
        let is_known = is_taken(path);
        if is_table(old) && is_table(new) && !(comes_or_goes && is_known) {
            let keys = |value| keys_of(value).into_iter();
            let keys: BTreeSet<&str> = keys(old).chain(keys(new)).collect();
            for key in keys {
                let inner =
                    |value: Option<&'_ Value>| value.and_then(|value| value.get(key)).cloned();
                let (old, new) = (inner(old), inner(new));
                self.walk(&[path, &[key]].concat(), old.as_ref(), new.as_ref());
            }
            return;
        }
        let list = match is_known {
            true => &mut self.taken,
            false => &mut self.needs_restart,
        };
        list.push(path.join("."));
    }
}

impl fmt::Display for Differences {
    /// A line each, for operators.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.taken.iter().map(|key| ("taken", key));
        let kept = self
            .needs_restart
            .iter()
            .map(|key| ("needs a restart", key));
        for (n, (what, key)) in kept.chain(taken).enumerate() {
            let end = if n == 0 { "" } else { "\n" };
            write!(f, "{end}{what:<15} {key}")?;
        }
        Ok(())
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_table().is_some_and(toml::Table::is_empty)
}

fn keys_of(value: Option<&Value>) -> Vec<&str> {
    let table = value.and_then(Value::as_table);
    table.map_or_else(Vec::new, |table| table.keys().map(String::as_str).collect())
}

fn is_taken(path: &[&str]) -> bool {
    TAKEN.iter().any(|of| covers(of, path))
}

/// Does a key begin with another one?
fn covers(of: &str, path: &[&str]) -> bool {
    let of: Vec<&str> = of.split('.').collect();
    let fits = |(of, is): (&&str, &&str)| *of == "NAME" || of == is;
    of.len() <= path.len() && of.iter().zip(path).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn between(old: &str, new: &str) -> Differences {
        let parse = |text: &str| {
            let text = format!("{text}\n[interfaces.a]\ndirection = \"in\"\nroot = \"A\"\n");
            Config::parse(&text, Path::new("/etc/spoolgate/spoolgate.toml")).unwrap()
        };
        Differences::between(&parse(old), &parse(new))
    }

    /// A new key needs a decision: whether a running service takes it.
    #[test]
    fn every_key_is_in_one_of_the_lists() {
        let page = include_str!("../../docs/configuration.md").lines();
        let rows = page.skip_while(|line| *line != "## The keys").skip(1);
        let rows = rows.take_while(|line| !line.starts_with("## "));
        let keys = rows.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let keys: Vec<&str> = keys.collect();
        assert!(keys.len() > 80, "{keys:?}");
        // A table that has keys of names stands for all of them.
        let known = |lists: &[&str], key: &str| {
            let path: Vec<&str> = key.split('.').collect();
            let of_names = format!("{key}.NAME");
            lists.iter().any(|of| covers(of, &path) || *of == of_names)
        };
        for key in &keys {
            let found = (known(&TAKEN, key), known(&KEPT, key));
            assert!(
                found.0 != found.1,
                "{key} is in both lists or in none: {found:?}"
            );
        }
        for of in TAKEN.iter().chain(&KEPT) {
            let of: Vec<&str> = of.split('.').filter(|word| *word != "NAME").collect();
            let is_it = |key: &&str| of.iter().all(|word| key.split('.').any(|k| k == *word));
            assert!(keys.iter().any(is_it), "no key is {of:?}");
        }
    }

    #[test]
    fn what_is_different_is_named_by_its_key() {
        let north =
            "[tenants.north]\nhosts = [\"n\"]\n[tenants.north.interfaces.b]\ndirection = \"in\"\n";
        for (old, new, taken, needs_restart) in [
            ("", "", &[][..], &[][..]),
            ("# a", "[limits]", &[], &[]),
            (
                "limits.running_max = 1",
                "limits = { running_max = 2, uploads_max = 3 }",
                &["limits.running_max", "limits.uploads_max"],
                &[],
            ),
            (
                "",
                "server = { listen = \"[::]:1\", time_zone = \"Europe/Berlin\" }\nspool.root = \"s\"",
                &["server.time_zone"],
                &["server.listen", "spool.root"],
            ),
            (
                "",
                "[interfaces.b]\ndirection = \"out\"\n[partners.\"a b\"]\nweight = 2",
                &["interfaces.b", "partners.a b"],
                &[],
            ),
            (
                "[interfaces.b]\ndirection = \"out\"\n[retention]\nbak_days = 1",
                "[interfaces.b]\ndirection = \"out\"\nprocessor = { command = [\"true\"] }",
                &["interfaces.b.processor", "retention"],
                &[],
            ),
            ("", north, &[], &["tenants.north"]),
            (north, "", &[], &["tenants.north"]),
            (
                north,
                &north.replace("[\"n\"]", "[\"m\"]\nroot = \"n\""),
                &["tenants.north.hosts"],
                &["tenants.north.root"],
            ),
        ] {
            let found = between(old, new);
            assert_eq!(found.taken, taken, "{old}\n{new}");
            assert_eq!(found.needs_restart, needs_restart, "{old}\n{new}");
        }
    }

    #[test]
    fn a_default_tenant_that_comes_needs_a_restart() {
        let north =
            "[tenants.north]\nhosts = [\"n\"]\n[tenants.north.interfaces.b]\ndirection = \"in\"\n";
        let north = Config::parse(north, Path::new("/x/spoolgate.toml")).unwrap();
        let both = between("", "");
        assert_eq!(both, Differences::default());
        let alone = Config::parse("interfaces.a.direction = \"in\"", Path::new("/x/y")).unwrap();
        let found = Differences::between(&north, &alone);
        assert_eq!(found.needs_restart, ["interfaces", "tenants.north"]);
        assert_eq!(
            found.to_string(),
            "needs a restart interfaces\nneeds a restart tenants.north"
        );
    }
}
