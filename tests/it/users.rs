//! Users with files of their own, while the service runs.

use crate::harness::Daemon;
use serde_json::Value;
use std::fs;

const ORDERS: &str = "/xml/jobqueue?Interfacename=orders_in";

#[test]
fn a_user_whom_a_command_makes_has_a_file_of_his_own() {
    let daemon = Daemon::start();
    let status = |login: &str| daemon.bare_curl(&["-u", login, ORDERS]).status;
    let written = daemon.dir().join("users.toml");
    let before = fs::read(&written).unwrap();
    let shop = daemon.add_user("shop", &["orders_in=list"]);
    // Without waiting for anyone to notice.
    assert_eq!(status(&shop), 200);
    assert_eq!(fs::read(&written).unwrap(), before);
    let own = daemon.dir().join("users.d/shop.toml");
    let users = Value::from(daemon.objects(&["user", "list"]));
    let files = users.as_array().unwrap().iter().map(|user| &user["file"]);
    let files: Vec<&str> = files.map(|file| file.as_str().unwrap()).collect();
    assert_eq!(files, [written.to_str().unwrap(), own.to_str().unwrap()]);

    // Broken, he stays as he was, and everyone says so.
    let good = fs::read(&own).unwrap();
    fs::write(&own, "[users.shop]\npasword = 1\n").unwrap();
    let says = |command: &str| {
        let output = daemon.spoolgate(&[command]);
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("shop.toml:2: unknown key `pasword`")
    };
    daemon.soon("the service has noticed", || says("status"));
    assert!(says("check"));
    assert_eq!(status(&shop), 200);
    fs::write(&own, good).unwrap();
    daemon.soon("all is well again", || !says("status") && !says("check"));

    daemon.operator(&["user", "grant", "shop", "--right", "items_in=list"]);
    daemon.operator(&["user", "rm", "shop"]);
    assert!(!own.exists());
    daemon.soon("he is no user any more", || status(&shop) == 401);
}

#[test]
fn a_start_knows_those_with_files_of_their_own() {
    let mut daemon = Daemon::start();
    let shop = daemon.add_user("shop", &["orders_in=list"]);
    daemon.stop();
    daemon.serve();
    let status = |login: &str| daemon.bare_curl(&["-u", login, ORDERS]).status;
    assert_eq!(status(&shop), 200);
    assert_eq!(status("shop:wrong"), 401);
    assert_eq!(status("shop/../shop:wrong"), 401);
}
