//! A PostgreSQL of the tests' own: a server in a temporary directory, reached by a socket in it.
//!
//! One for each test process, with a database for each test. It ends with the process, however that ends: a shell waits
//! for the end of its standard input, ends the server, and removes the directory.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Whoever runs the server when that may not be root.
const ACCOUNT: &str = "postgres";
const PATIENCE: Duration = Duration::from_secs(60);

/// As root it is another account's, since PostgreSQL refuses to be root's.
const SCRIPT: &str = r#"trap "" HUP INT TERM
    bin=$1 dir=$2 account=$3 as=
    if [ "$(id -u)" = 0 ]; then
        chown "$account" "$dir"
        as="setpriv --reuid=$account --regid=$account --clear-groups --"
    fi
    cd /
    {
        $as "$bin/initdb" -D "$dir/data" -U ada -A trust -E UTF8 --no-locale --no-sync >"$dir/log" 2>&1 &&
        exec $as "$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c max_connections=200 \
            -c shared_buffers=32MB >>"$dir/log" 2>&1
    } </dev/null &
    server=$!
    while read -r _; do :; done
    kill -QUIT $server 2>/dev/null
    wait $server
    rm -rf "$dir""#;

pub(crate) struct Server {
    bin: PathBuf,
    dir: PathBuf,
    databases: AtomicU64,
    /// Its standard input is closed by the kernel when we end.
    _guard: Child,
}

impl Server {
    /// The one of this process. `None`: PostgreSQL is not installed, and the test is left out.
    pub(crate) fn of_tests() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        let server = SERVER.get_or_init(|| Some(Self::start(installed()?)));
        if server.is_none() {
            let text =
                "PostgreSQL is not installed: apt-get install --no-install-recommends postgresql";
            assert!(std::env::var_os("CI").is_none(), "{text}");
            eprintln!("skipped: {text}");
        }
        server.as_ref()
    }

    fn start(bin: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let guard = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .args([&bin, &dir])
            .arg(ACCOUNT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            bin,
            dir,
            databases: AtomicU64::new(0),
            _guard: guard,
        };
        let begun = Instant::now();
        let mut is_ready = Command::new(server.bin.join("pg_isready"));
        is_ready.args(["-q", "-h"]).arg(&server.dir);
        while !is_ready.status().unwrap().success() {
            let log = std::fs::read_to_string(server.dir.join("log"));
            assert!(begun.elapsed() < PATIENCE, "no PostgreSQL: {log:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Makes a database as that one is, and gives its name.
    pub(crate) fn create(&self, template: &str) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test{number}");
        let made = Command::new(self.bin.join("createdb"))
            .args(["-U", "ada", "-T", template, "-h"])
            .arg(&self.dir)
            .arg(&name)
            .status();
        assert!(made.unwrap().success());
        name
    }

    /// That of a database.
    pub(crate) fn url(&self, database: &str) -> String {
        let dir = self.dir.display();
        format!("host={dir} user=ada password=s3cret dbname={database}")
    }
}

/// Where the newest one is that is installed as Debian does it, or in the search path.
fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let of_debian = versions.into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    });
    let newest = of_debian.max().map(|(_, bin)| bin);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let has_it = |bin: &Path| bin.join("postgres").is_file() && bin.join("initdb").is_file();
    newest.into_iter().chain(in_path).find(|bin| has_it(bin))
}
