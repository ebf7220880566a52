//! The systemd unit, as far as it can be looked at without systemd as process 1, and what packages and containers have beside it.

use spoolgate::config::Config;
use std::{collections::BTreeMap, fs, path::Path, process::Command};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

const UNIT: &str = "contrib/systemd/spoolgate.service";

/// The unit's keys with all their values, in order.
fn keys(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', '['])) {
        if let Some((key, value)) = line.split_once('=') {
            keys.entry(key).or_default().push(value);
        }
    }
    keys
}

#[test]
fn the_unit_and_the_documents_speak_of_the_same_paths() {
    let unit = read(UNIT);
    let keys = keys(&unit);
    let users = read("contrib/systemd/spoolgate.sysusers");
    let dirs = read("contrib/systemd/spoolgate.tmpfiles");
    let page = read("docs/operations.md");
    let (config, state) = ("/etc/spoolgate", "/var/lib/spoolgate");
    assert_eq!(keys["ConfigurationDirectory"], ["spoolgate"]);
    assert_eq!(keys["StateDirectory"], ["spoolgate"]);
    assert!(keys["ExecStart"][0].ends_with(&format!("--config {config}/spoolgate.toml")));
    let user = keys["User"][0];
    assert!(users.contains(&format!("\nu {user} - ")) && users.contains(state));
    let mode = keys["ConfigurationDirectoryMode"][0];
    assert!(dirs.contains(&format!("\nd {config} {mode} root {user}\n")));
    let mode = keys["StateDirectoryMode"][0];
    assert!(dirs.contains(&format!("\nd {state} {mode} {user} {user}\n")));
    assert!(page.contains(&format!("spoolgate init {config} --state {state}\n")));
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/systemd")).unwrap()
    {
        let file = file.unwrap().file_name().into_string().unwrap();
        assert!(
            page.contains(&file),
            "docs/operations.md does not speak of {file}"
        );
    }
    assert!(
        !page.contains("[Service]"),
        "the unit stands in contrib only"
    );
}

#[test]
fn the_unit_leaves_the_service_what_it_needs() {
    let unit = read(UNIT);
    let keys = keys(&unit);
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert_eq!(keys[key], ["CAP_LEASE"], "{key}");
    }
    let calls = keys["SystemCallFilter"].last().unwrap();
    for call in ["create_ruleset", "add_rule", "restrict_self"] {
        assert!(calls.contains(&format!("landlock_{call}")), "{calls}");
    }
    // Of what is left out, a reason is given.
    for key in [
        "MemoryDenyWriteExecute",
        "PrivateNetwork",
        "PrivateUsers",
        "ProcSubset",
        "ProtectControlGroups",
    ] {
        assert!(!keys.contains_key(key), "{key}");
        assert!(
            unit.lines()
                .any(|line| line.starts_with("#   ") && line.contains(key))
        );
    }
    // Without a path, one that is not there is no mistake.
    for credential in &keys["LoadCredential"] {
        assert!(
            credential.starts_with("spoolgate.") && !credential.contains(':'),
            "{credential}"
        );
    }
    let deadline_s = spoolgate::config::Limits::default().stop_deadline_s;
    let stop_s: u64 = keys["TimeoutStopSec"][0].parse().unwrap();
    assert!(stop_s > 2 * deadline_s + 10, "{stop_s} s");
}

#[test]
fn the_configuration_of_packages_keeps_what_is_written_in_the_state_directory() {
    let path = Path::new("/etc/spoolgate/spoolgate.toml");
    let config = Config::parse(&read("contrib/spoolgate.toml"), path).unwrap();
    let tenant = &config.tenants[0];
    for path in [
        &config.certificate,
        &config.key,
        &tenant.root,
        &tenant.users,
    ] {
        assert!(path.starts_with("/var/lib/spoolgate"), "{}", path.display());
    }
    // By which `spoolgate health` asks.
    assert!(config.ops_listen.is_some());
}

/// What stands behind the key, in YAML or in the Containerfile, each time that it is there.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().map(str::trim);
    lines.filter_map(|line| line.strip_prefix(key)).collect()
}

#[test]
fn containers_run_as_the_user_and_with_the_ports_of_the_image() {
    let image = read("Containerfile");
    let user = values(&image, "USER ")[0].split(':').next().unwrap();
    assert_ne!(user, "0");
    assert!(image.contains(&format!("useradd --uid {user} ")));
    let kubernetes = read("contrib/kubernetes/spoolgate.yaml");
    for key in ["runAsUser: ", "runAsGroup: ", "fsGroup: "] {
        assert_eq!(values(&kubernetes, key), [user], "{key}");
    }
    let (_, map) = kubernetes.split_once("  spoolgate.toml: |\n").unwrap();
    let (map, _) = map.split_once("---").unwrap();
    let config = Config::parse(map, Path::new("/etc/spoolgate/spoolgate.toml")).unwrap();
    let tenant = &config.tenants[0];
    for path in [&config.key, &tenant.root, &tenant.users] {
        assert!(path.starts_with("/var/lib/spoolgate"), "{}", path.display());
    }
    // Probes come from outside.
    let ops = config.ops_listen.unwrap();
    assert!(ops.ip().is_unspecified());
    let ports = [config.listen.port(), ops.port()].map(|port| port.to_string());
    assert_eq!(values(&kubernetes, "containerPort: "), ports);
    assert_eq!(values(&image, "EXPOSE "), [&ports[0]]);
    let compose = read("contrib/compose.yaml");
    let stop_s = values(&kubernetes, "terminationGracePeriodSeconds: ")[0];
    assert_eq!(
        values(&compose, "stop_grace_period: "),
        [format!("{stop_s}s")]
    );
    let stop_s: u64 = stop_s.parse().unwrap();
    assert!(stop_s > config.limits.stop_deadline_s + 10, "{stop_s} s");
}

#[test]
fn the_package_has_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = read("contrib/debian/changelog");
    let first = format!("spoolgate ({version}) ");
    assert!(changelog.starts_with(&first), "{changelog}");
}

/// By systemd's own judgement; where there is no systemd, nothing is looked at.
#[test]
fn systemd_finds_the_unit_well_hardened() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT);
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--threshold=20"]);
    let Ok(output) = analyze.arg(&unit).output() else {
        eprintln!("systemd-analyze is not there; the unit is not looked at");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{output:?}");
    // Whatever it has to say but that the program is not installed is a mistake in the unit.
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours = said
        .lines()
        .filter(|line| line.contains("spoolgate.service"));
    let wrong: Vec<&str> = ours
        .filter(|line| !line.contains("is not executable") && !line.contains("Command 'man "))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
