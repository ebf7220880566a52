//! The page in a real browser: Debian's chromium without a window, driven by the DevTools protocol over a pipe. With
//! scripts and without, on a desk's and on a telephone's width.
//!
//! With `SPOOLGATE_SCREENSHOTS` set to a directory, what was seen is put there.

use crate::harness::{Daemon, marked, wait_for};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

const DESK: u32 = 1280;
const TELEPHONE: u32 = 360;

/// What operators look at; that without a path is the page of the first job of the list before.
const PAGES: [(&str, &str); 7] = [
    ("index", "/ui/"),
    ("jobs", "/ui/jobs?place=failed"),
    ("job", ""),
    ("errors", "/ui/errors"),
    ("schedules", "/ui/schedules"),
    ("partners", "/ui/partners"),
    ("events", "/ui/events"),
];

/// One window.
struct Chromium {
    child: Child,
    pipe: RefCell<Pipe>,
    session: Option<String>,
    _profile: tempfile::TempDir,
}

struct Pipe {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    number: u64,
    /// What the browser says of itself: errors of scripts, and what the policy refused.
    complaints: Vec<String>,
}

impl Chromium {
    /// `None`, with a word: there is none, which only `CI=true` minds.
    fn open(scripts: bool) -> Option<Self> {
        let profile = tempfile::tempdir().unwrap();
        let script = "exec chromium --headless --no-sandbox --disable-gpu --hide-scrollbars \
                      --ignore-certificate-errors --remote-debugging-pipe --user-data-dir=\"$1\" \
                      about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let there = std::process::Command::new("chromium")
            .arg("--version")
            .output();
        if there.is_err() {
            let strict = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!strict, "chromium is needed: apt-get install chromium");
            eprintln!("skipped: chromium is not there");
            return None;
        }
        let mut child = marked("sh")
            .args(["-c", script, "sh"])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = Pipe {
            to: child.stdin.take().unwrap(),
            from: BufReader::new(child.stdout.take().unwrap()),
            number: 0,
            complaints: Vec::new(),
        };
        let mut browser = Self {
            child,
            pipe: RefCell::new(pipe),
            session: None,
            _profile: profile,
        };
        let targets = browser.call("Target.getTargets", json!({}));
        let targets = targets["targetInfos"].as_array().unwrap();
        let page = targets
            .iter()
            .find(|target| target["type"] == "page")
            .unwrap();
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "DOM"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let off = json!({"value": !scripts});
        browser.call("Emulation.setScriptExecutionDisabled", off);
        browser.resize(DESK);
        Some(browser)
    }

    fn call(&self, method: &str, parameters: Value) -> Value {
        let answer = self.ask(method, parameters);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn ask(&self, method: &str, parameters: Value) -> Result<Value, Value> {
        let pipe = &mut *self.pipe.borrow_mut();
        pipe.number += 1;
        let mut message = json!({"id": pipe.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        pipe.to.write_all(message.to_string().as_bytes()).unwrap();
        pipe.to.write_all(&[0]).unwrap();
        pipe.to.flush().unwrap();
        loop {
            let mut bytes = Vec::new();
            pipe.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser has gone");
            let answer: Value = serde_json::from_slice(&bytes).unwrap();
            if answer["id"] == pipe.number {
                return match answer["error"].is_null() {
                    true => Ok(answer["result"].clone()),
                    false => Err(answer["error"].clone()),
                };
            }
            let said = &answer["params"];
            if answer["method"] == "Runtime.exceptionThrown" || said["entry"]["level"] == "error" {
                pipe.complaints.push(said.to_string());
            }
        }
    }

    fn colours(&self, scheme: &str) {
        let feature = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": feature}));
    }

    /// What keeps people from using the page who see or move little, as far as axe-core knows it.
    fn check_access(&self, axe: &str, what: &str) {
        self.value(&format!("{axe};0"));
        let asked = "axe.run({resultTypes: ['violations']}).then(found => found.violations\
                     .filter(one => ['serious', 'critical'].includes(one.impact))\
                     .map(one => [one.id, one.nodes.map(node => node.html + ' ' + node.failureSummary)]))";
        let found = self.value(asked);
        assert_eq!(found, json!([]), "{what}: {found:#}");
    }

    fn resize(&self, width: u32) {
        let size = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// The value of an expression in the page.
    fn value(&self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", asked);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    fn wait(&self, expression: &str) {
        let whole = format!("document.readyState == 'complete' && Boolean({expression})");
        let asked = json!({"expression": whole, "returnByValue": true});
        // While one page follows another, there is none to ask.
        let holds = || {
            let answer = self.ask("Runtime.evaluate", asked.clone());
            answer.is_ok_and(|answer| answer["result"]["value"] == true)
        };
        let text = || self.value("document.body.innerText").to_string();
        wait_for(expression, holds, text);
    }

    fn open_page(&self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
        let path = url.splitn(4, '/').nth(3).unwrap();
        self.wait(&format!("location.pathname + location.search == '/{path}'"));
    }

    fn log_in(&self, daemon: &Daemon, login: &str) {
        let (user, password) = login.split_once(':').unwrap();
        self.call(
            "Page.navigate",
            json!({"url": format!("{}/ui/", daemon.url)}),
        );
        self.wait("document.getElementById('password')");
        self.value(&format!(
            "user.value = '{user}'; password.value = '{password}'; document.querySelector('button').click()"
        ));
        self.wait("document.querySelector('.bar')");
    }

    /// What nobody should see on any page.
    fn check(&self, what: &str) {
        let (wide, there) = (
            self.value("document.documentElement.scrollWidth"),
            self.value("innerWidth"),
        );
        let widest = "[...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > innerWidth)\
                      .map(e => e.outerHTML.slice(0, 90))";
        let what = match wide.as_u64() <= there.as_u64() {
            true => what.to_owned(),
            false => format!("{what} {}", self.value(widest)),
        };
        assert!(
            wide.as_u64() <= there.as_u64(),
            "{what} scrolls sideways: {wide} of {there}"
        );
        let complaints = &self.pipe.borrow().complaints;
        assert!(complaints.is_empty(), "{what}: {complaints:?}");
    }

    fn keep(&self, name: &str) {
        let Some(dir) = std::env::var_os("SPOOLGATE_SCREENSHOTS") else {
            return;
        };
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let bytes = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(Path::new(&dir).join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of axe-core, which `.ci/run` fetches. `None`, with a word: it is not there, which only `CI=true` minds, unless
/// it says by `SPOOLGATE_WITHOUT_PYPI` that it could not be fetched.
fn axe() -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/axe-core/axe_playwright_python/axe.min.js");
    if let Ok(text) = std::fs::read_to_string(path) {
        return Some(text);
    }
    let is = |name: &str| std::env::var(name).is_ok_and(|value| value == "true");
    assert!(
        !is("CI") || is("SPOOLGATE_WITHOUT_PYPI"),
        "axe-core is needed: .ci/run fetches it into target/axe-core"
    );
    eprintln!("skipped: axe-core is not there; .ci/run fetches it into target/axe-core");
    None
}

fn document(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples/documents")
        .join(path)
}

/// One with jobs that are done, have failed, were refused and wait.
fn daemon() -> (Daemon, String) {
    let daemon = Daemon::start_with(|text| {
        let said =
            r#"{"level":"error","line":5,"text":"nothing imported: the database is locked <b>"}"#;
        let command = format!(
            "processor = {{ command = [\"sh\", \"-c\", '''case $SPOOLGATE_JOB in *108*) echo '{said}'; exit 1;; esac'''] }}"
        );
        let (before, orders) = text.split_once("[interfaces.orders_in]").unwrap();
        let orders = orders.replacen("processor = { archive = true }", &command, 1);
        format!("{before}[interfaces.orders_in]{orders}")
    });
    let shop = daemon.add_user(
        "shop",
        &["orders_in=upload,list,download", "orders_out=list,download"],
    );
    daemon.operator(&[
        "hold",
        "persons_in",
        "--reason",
        "the ERP changes its import",
    ]);
    let body = format!("@{}", document("orders_in/day.valid.xml").display());
    for n in 1081..1091 {
        let path = format!("/xml/upload?RefName=order-{n}");
        let job = daemon
            .curl_as(&shop, &["--data-binary", &body, &path])
            .job();
        if n < 1090 {
            daemon.wait_for_place(&job, "joberrors");
        }
    }
    daemon.upload(&document("items_in/assortment.valid.xml"), "");
    daemon.upload(&document("persons_in/persons.valid.xml"), "");
    daemon.upload(&document("orders_in/position-twice.invalid.xml"), "");
    daemon.drop_in("orders_out", "order-7.xml", "<ListOfOrders/>");
    (daemon, shop)
}

#[test]
fn operators_see_the_pages_with_and_without_scripts_on_every_width() {
    let (daemon, _) = daemon();
    let admin = format!("admin:{}", daemon.password);
    for scripts in [true, false] {
        let Some(browser) = Chromium::open(scripts) else {
            return;
        };
        browser.log_in(&daemon, &admin);
        let first = "document.querySelector('a.job').pathname";
        for (name, path) in PAGES {
            // That of the first job of the list before.
            let path = match path {
                "" => browser.value(first).as_str().unwrap().to_owned(),
                path => path.to_owned(),
            };
            for width in [DESK, TELEPHONE] {
                browser.resize(width);
                browser.open_page(&format!("{}{path}", daemon.url));
                browser.check(name);
                if scripts {
                    browser.keep(&format!("{name}-{width}"));
                }
            }
        }
        // Two steps, by forms alone.
        browser.resize(DESK);
        browser.open_page(&format!("{}/ui/jobs?place=failed", daemon.url));
        browser.value("document.querySelector('[name=job]').click(); document.querySelector('.go[value=requeue]').click()");
        browser.wait("document.querySelector('h1').innerText == 'Requeue 1 job?'");
        browser.check("confirm");
        browser.value("document.querySelector('main .go').click()");
        browser.wait("document.querySelector('h1').innerText == '1 job requeued'");
    }
}

#[test]
fn partners_send_documents_and_see_what_became_of_them() {
    let (daemon, shop) = daemon();
    for scripts in [true, false] {
        let Some(browser) = Chromium::open(scripts) else {
            return;
        };
        browser.log_in(&daemon, &shop);
        let field = json!({"expression": "document.getElementById('file')"});
        let field = browser.call("Runtime.evaluate", field)["result"]["objectId"].clone();
        let files = [
            document("orders_in/states.valid.xml"),
            document("orders_in/position-twice.invalid.xml"),
        ];
        browser.call(
            "DOM.setFileInputFiles",
            json!({"files": files, "objectId": field}),
        );
        browser.value("document.querySelector('[data-upload] .go').click()");
        browser.wait("document.querySelectorAll('main .st.done').length > 0 && document.querySelector('main li .hit')");
        let is_here = browser.value("location.pathname") == "/ui/";
        assert_eq!(is_here, scripts, "only the script stays on the page");
        for width in [DESK, TELEPHONE] {
            browser.resize(width);
            browser.check("sent");
            if scripts {
                browser.keep(&format!("partner-{width}"));
            }
        }
    }
}

#[test]
fn nothing_keeps_people_from_using_a_page_by_day_or_by_night() {
    let (daemon, shop) = daemon();
    let Some(browser) = Chromium::open(true) else {
        return;
    };
    let axe = axe();
    let see = |name: &str| {
        for (scheme, width) in [
            ("light", DESK),
            ("light", TELEPHONE),
            ("dark", DESK),
            ("dark", TELEPHONE),
        ] {
            browser.colours(scheme);
            browser.resize(width);
            let what = format!("{name}-{scheme}-{width}");
            browser.check(&what);
            browser.keep(&what);
            if let Some(axe) = &axe {
                browser.check_access(axe, &what);
            }
        }
    };
    browser.call(
        "Page.navigate",
        json!({"url": format!("{}/ui/", daemon.url)}),
    );
    browser.wait("document.getElementById('password')");
    see("login");
    browser.log_in(&daemon, &format!("admin:{}", daemon.password));
    let first = "document.querySelector('a.job').pathname";
    for (name, path) in PAGES {
        let path = match path {
            "" => browser.value(first).as_str().unwrap().to_owned(),
            path => path.to_owned(),
        };
        browser.open_page(&format!("{}{path}", daemon.url));
        see(name);
    }
    for act in ["requeue", "remove"] {
        browser.open_page(&format!("{}/ui/jobs?place=failed", daemon.url));
        browser.value(&format!(
            "document.querySelector('[name=job]').click(); document.querySelector('[value={act}]').click()"
        ));
        browser.wait("document.querySelector('h1').innerText.endsWith('?')");
        see(act);
    }
    browser.open_page(&format!("{}/ui/job/none", daemon.url));
    // The browser minds the status of the page, once; it is told no changes of what is not there.
    let minded = std::mem::take(&mut browser.pipe.borrow_mut().complaints);
    assert_eq!(minded.len(), 1, "{minded:?}");
    see("trouble");
    browser.call("Network.clearBrowserCookies", json!({}));
    browser.log_in(&daemon, &shop);
    see("mine");
}

#[test]
fn a_page_changes_by_itself_but_not_under_the_hand() {
    let (daemon, _) = daemon();
    let Some(browser) = Chromium::open(true) else {
        return;
    };
    browser.log_in(&daemon, &format!("admin:{}", daemon.password));
    browser.open_page(&format!("{}/ui/jobs?place=failed", daemon.url));
    browser.wait("document.getElementById('state').innerText == 'live'");
    let row = "document.querySelectorAll('.pick tbody tr')";
    let names = format!("[...{row}].map(row => row.querySelector('[name=job]').value)");
    let names = browser.value(&names);
    let name = |n: usize| names[n].as_str().unwrap().to_owned();
    // One that nobody works with, and one that is chosen and has the focus.
    browser.value(&format!(
        "window.chosen = {row}[0]; {row}[0].querySelector('[name=job]').focus(); \
                            {row}[0].querySelector('[name=job]').click()"
    ));
    let waiting = "document.getElementById('more').innerText";
    daemon.operator(&["rm", &name(0), "--yes"]);
    browser.wait(&format!("{waiting} == '1 waiting'"));
    daemon.operator(&["rm", &name(1), "--yes"]);
    browser.wait(&format!("{row}[1].classList.contains('gone')"));
    let kept = "chosen.isConnected && chosen.querySelector('[name=job]').checked && chosen.contains(document.activeElement) \
                && !chosen.classList.contains('gone')";
    assert_eq!(browser.value(kept), true);
    browser.value("document.activeElement.click(); document.activeElement.blur()");
    browser.wait(&format!(
        "{row}[0].classList.contains('gone') && {waiting} == ''"
    ));
    // Nothing changes while it is paused, on the next page either.
    browser.value("document.getElementById('pause').click()");
    browser.open_page(&format!("{}/ui/", daemon.url));
    browser.wait("document.getElementById('state').innerText == 'paused'");
    let held = "document.getElementById('i-orders_in').innerText.includes('HELD')";
    daemon.operator(&["hold", "orders_in", "--reason", "paper"]);
    browser.wait(&format!("{waiting} != ''"));
    assert_eq!(browser.value(held), false);
    browser.value("document.getElementById('pause').click()");
    browser.wait(held);
    browser.check("live");
}
