//! The page, asked as a browser asks: logging in by form, a cookie, forms with their tokens; who sees and does what.

use crate::{
    harness::{Answer, Daemon, document, shell, with_keys},
    metrics::{scrape, value},
};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use std::collections::BTreeSet;

const VALID: &str = "examples/documents/orders_in/day.valid.xml";

/// Somebody in a browser.
pub(crate) struct Browser<'d> {
    daemon: &'d Daemon,
    pub(crate) cookie: String,
    token: String,
}

/// A form as a page of ours sends it.
fn post(daemon: &Daemon, path: &str, cookie: &str, form: &[(&str, &str)]) -> Answer {
    let origin = format!("Origin: {}", daemon.url);
    let cookie = format!("Cookie: {cookie}");
    let fields: Vec<String> = form.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mut arguments = vec!["-H", &origin, "-H", &cookie];
    for field in &fields {
        arguments.extend(["--data-urlencode", field]);
    }
    arguments.push(path);
    daemon.bare_curl(&arguments)
}

fn login(daemon: &Daemon, user: &str, password: &str) -> Answer {
    let form = [
        ("user", user),
        ("password", password),
        ("to", "/ui/jobs?place=done"),
    ];
    post(daemon, "/ui/login", "", &form)
}

impl<'d> Browser<'d> {
    /// Logs in, as `name:password` says.
    pub(crate) fn open(daemon: &'d Daemon, login_as: &str) -> Self {
        let (user, password) = login_as.split_once(':').unwrap();
        let answer = login(daemon, user, password);
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie = answer.header("set-cookie").unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let mut browser = Self {
            daemon,
            cookie,
            token: String::new(),
        };
        let page = browser.page("/ui/");
        let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap();
        browser.token = rest.split('"').next().unwrap().to_owned();
        browser
    }

    pub(crate) fn operator(daemon: &'d Daemon) -> Self {
        Self::open(daemon, &format!("admin:{}", daemon.password))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let cookie = format!("Cookie: {}", self.cookie);
        self.daemon.bare_curl(&["-H", &cookie, path])
    }

    pub(crate) fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let token = [("token", self.token.as_str())];
        post(self.daemon, path, &self.cookie, &[&token, form].concat())
    }
}

/// One whose orders all fail for good, and say why in words that would like to be a script.
fn failing() -> Daemon {
    Daemon::start_with(|text| {
        let said = r#"{"level":"error","line":3,"text":"no paper <script>alert(1)</script>"}"#;
        let command = format!(
            "processor = {{ command = [\"sh\", \"-c\", \'\'\'echo \'{said}\'; exit 1\'\'\'] }}"
        );
        let (before, orders) = text.split_once("[interfaces.orders_in]").unwrap();
        let orders = orders.replacen("processor = { archive = true }", &command, 1);
        format!("{before}[interfaces.orders_in]{orders}")
    })
}

fn upload(daemon: &Daemon, reference: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(VALID);
    daemon.upload(&path, &format!("?RefName={reference}")).job()
}

#[test]
fn who_logs_in_has_a_cookie_that_is_good_until_the_password_changes() {
    let daemon = Daemon::start();
    let asked = daemon.bare_curl(&["/ui/jobs?place=failed"]);
    assert_eq!(asked.status, 303);
    let to = "/ui/login?to=%2Fui%2Fjobs%3Fplace%3Dfailed";
    assert_eq!(asked.header("location"), Some(to));
    let form = daemon.bare_curl(&[to]).text();
    assert!(
        form.contains("name=\"to\" value=\"/ui/jobs?place=failed\""),
        "{form}"
    );

    let answer = login(&daemon, "admin", &daemon.password);
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/ui/jobs?place=done"))
    );
    let cookie = answer.header("set-cookie").unwrap();
    let (value, attributes) = cookie.split_once("; ").unwrap();
    assert!(value.starts_with("__Host-spoolgate="), "{cookie}");
    assert_eq!(
        attributes,
        "Path=/; Max-Age=28800; Secure; HttpOnly; SameSite=Strict"
    );

    let browser = Browser::operator(&daemon);
    let page = browser.get("/ui/");
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                  connect-src 'self'; form-action 'self'; frame-ancestors 'none'";
    assert_eq!(page.header("content-security-policy"), Some(policy));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    for inline in ["style=", "onclick", "<script>"] {
        assert!(!page.text().contains(inline), "{inline}");
    }
    // The session is no token, and no password.
    let session = value.split_once('=').unwrap().1;
    let header = format!("Authorization: Bearer {session}");
    let refused = daemon.bare_curl(&["-H", &header, "/webapi/v3/workflows/x/jobs"]);
    assert_eq!(refused.status, 401);

    daemon.operator(&["user", "passwd", "admin"]);
    daemon.wait("the session is void", || browser.get("/ui/").status == 303);
}

#[test]
fn guesses_at_the_form_are_slowed_with_all_others() {
    let daemon = Daemon::start();
    for n in 0..20 {
        let answer = login(&daemon, "admin", &format!("guess {n}"));
        assert!(answer.header("set-cookie").is_none());
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            assert!(answer.text().contains("You can try again in"));
            let other = daemon.curl_as("admin:guess", &["/xml/jobqueue?Interfacename=orders_in"]);
            assert_eq!(other.status, 429);
            return;
        }
        assert_eq!(answer.status, 403);
        assert!(answer.text().contains("Name or password is wrong"));
    }
    panic!("nobody was slowed");
}

#[test]
fn forms_are_taken_from_pages_of_the_session_only() {
    let daemon = Daemon::start();
    let shop = daemon.add_user("shop", &["orders_in=upload"]);
    let browser = Browser::operator(&daemon);
    let hold = [("hold", "orders_in"), ("reason", "paper")];
    let held = || daemon.hold("orders_in").is_some();

    let (origin, cookie) = (
        format!("Origin: {}", daemon.url),
        format!("Cookie: {}", browser.cookie),
    );
    let token = format!("token={}", browser.token);
    let form = ["-d", &token, "-d", "hold=orders_in"];
    let send = |headers: &[&str]| {
        let headers = headers.iter().flat_map(|header| ["-H", header]);
        let all: Vec<&str> = headers.chain(form).chain(["/ui/"]).collect();
        daemon.bare_curl(&all).status
    };
    assert_eq!(send(&[&cookie]), 403, "no origin");
    assert_eq!(send(&[&cookie, "Origin: https://evil.example"]), 403);
    assert_eq!(send(&[&cookie, "Origin: null"]), 403);
    assert_eq!(send(&[&cookie, &origin, "Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(send(&[&origin]), 303, "to the login");
    assert_eq!(
        post(&daemon, "/ui/", &browser.cookie, &hold).status,
        403,
        "no token"
    );
    // Somebody else's token.
    let other = Browser::open(&daemon, &shop);
    let with = [("token", other.token.as_str()), hold[0]];
    assert_eq!(post(&daemon, "/ui/", &browser.cookie, &with).status, 403);
    assert!(!held());
    assert_eq!(send(&[&cookie, &origin]), 303);
    assert!(held());

    let out = browser.post("/ui/logout", &[]);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
}

#[test]
fn an_interface_is_held_and_released_and_the_audit_says_by_whom() {
    let daemon = Daemon::start();
    let manager = daemon.add_user("lead", &["orders_in=manage"]);
    let browser = Browser::operator(&daemon);
    let hold = [
        ("hold", "orders_in"),
        ("reason", "<script>alert(1)</script>"),
    ];
    assert_eq!(browser.post("/ui/", &hold).status, 303);
    let page = browser.page("/ui/");
    assert!(page.contains("HELD"), "{page}");
    assert!(page.contains("&#60;script&#62;alert(1)"), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
    // What it keeps waiting is among what needs somebody, once.
    upload(&daemon, "order-1");
    let need = "<span class=\"st held\">held</span> \
                <a href=\"/ui/jobs?place=queued&#38;interface=orders_in\">1 job</a> \
                <span class=\"why\">in orders_in, by admin";
    daemon.wait("it is told", || browser.page("/ui/").contains(need));
    let page = browser.page("/ui/");
    assert!(page.contains("1 thing needs you"), "{page}");
    let newest = || daemon.objects(&["audit", "ls"]).pop().unwrap();
    daemon.wait("the audit has it", || newest()["act"] == "hold");
    let audit = newest();
    assert_eq!(audit["by"], "admin");
    assert_eq!(audit["from"], "ui from 127.0.0.1");

    let lead = Browser::open(&daemon, &manager);
    assert_eq!(lead.post("/ui/", &[("release", "persons_in")]).status, 403);
    assert_eq!(lead.post("/ui/", &[("release", "orders_in")]).status, 303);
    assert_eq!(daemon.hold("orders_in"), None);
    let past = [("hold", "orders_in"), ("until", "2020-01-01T00:00")];
    assert_eq!(browser.post("/ui/", &past).status, 409);
}

#[test]
fn jobs_are_found_and_acted_on_in_two_steps() {
    let daemon = failing();
    let jobs: Vec<String> = (0..4)
        .map(|n| upload(&daemon, &format!("order-{n}")))
        .collect();
    for job in &jobs {
        daemon.wait_for_place(job, "joberrors");
    }
    let browser = Browser::operator(&daemon);
    let list = browser.page("/ui/jobs?place=failed&error=PAPER");
    for job in &jobs {
        assert!(list.contains(&format!("value=\"{job}\"")), "{list}");
    }
    assert!(
        list.contains("no paper") && list.contains("4 jobs"),
        "{list}"
    );
    let none = browser.page("/ui/jobs?place=failed&error=ink");
    let why = "No job is like that: failed, with “ink” in the reason.<br>in all places: none either<br>\
               <a class=\"nb\" href=\"/ui/jobs?place=failed\">Look whatever the reason says</a>: 4 jobs</td>";
    assert!(none.contains(why), "{none}");
    // How many lie at each place, as far as the filter is about nothing else.
    let n_failed = |page: &str| {
        let (_, rest) = page
            .split_once("<span class=\"st failed\">failed</span>")
            .unwrap();
        rest.split_once("</a>").unwrap().0.trim().to_owned()
    };
    for (filter, n) in [
        ("", "4"),
        ("?interface=orders_in", "4"),
        ("?interface=persons_in", "0"),
        ("?error=paper", ""),
    ] {
        let page = browser.page(&format!("/ui/jobs{filter}"));
        assert_eq!(n_failed(&page), n, "{filter}");
    }

    // Named ones.
    let two = [("act", "remove"), ("job", &*jobs[0]), ("job", &*jobs[1])];
    let asked = browser.post("/ui/confirm", &two);
    assert_eq!(asked.status, 200);
    assert!(
        asked.text().contains("Remove 2 jobs for ever?"),
        "{}",
        asked.text()
    );
    assert_eq!(daemon.files("joberrors").len(), 4, "nothing is done yet");
    let unsure = [&two[..], &[("count", "2"), ("sure", "3")]].concat();
    assert_eq!(browser.post("/ui/act", &unsure).status, 400);
    let sure = [&two[..], &[("count", "2"), ("sure", "2")]].concat();
    let done = browser.post("/ui/act", &sure).text();
    assert!(done.contains("2 jobs removed"), "{done}");
    assert_eq!(daemon.files("joberrors").len(), 2);

    // All that match, of which there are fewer by now.
    let all = [
        ("act", "requeue"),
        ("all", "1"),
        ("filter", "place=failed&error=paper"),
    ];
    let late = [&all[..], &[("count", "4")]].concat();
    let asked = browser.post("/ui/act", &late).text();
    assert!(
        asked.contains("they were 4 before, and are 2 now"),
        "{asked}"
    );
    assert_eq!(daemon.files("joberrors").len(), 2);
    let done = browser
        .post("/ui/act", &[&all[..], &[("count", "2")]].concat())
        .text();
    assert!(done.contains("2 jobs requeued"), "{done}");
    let acts = || daemon.objects(&["audit", "ls"]);
    let is_whole = || {
        let newest = acts().pop().unwrap();
        newest["act"] == "requeue" && newest["outcome"] == "done"
    };
    daemon.wait("the audit has both", is_whole);
    let acts = acts();
    let [.., removed, requeued] = &acts[..] else {
        panic!("{acts:?}")
    };
    assert_eq!(
        (&removed["act"], &removed["count"]),
        (&"rm".into(), &2.into())
    );
    assert_eq!(requeued["filter"], "--state failed --error \"paper\"");
    assert_eq!(
        (&requeued["by"], &requeued["done"]),
        (&"admin".into(), &2.into())
    );
}

#[test]
fn partners_see_and_do_what_their_rights_allow() {
    let daemon = Daemon::start_with(|text| {
        text.replace(
            "[interfaces.orders_in]",
            "[interfaces.orders_in]\nvisible = \"own\"",
        )
    });
    let shop = daemon.add_user("shop", &["orders_in=upload,list"]);
    let other = daemon.add_user("other", &["orders_in=upload,list"]);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(VALID);
    let body = format!("@{}", path.display());
    let job = daemon
        .curl_as(&shop, &["--data-binary", &body, "/xml/upload"])
        .job();
    daemon.wait_for_place(&job, "bak/orders_in");

    let own = Browser::open(&daemon, &shop);
    assert!(own.page("/ui/jobs").contains(&job));
    let first = own.page("/ui/");
    assert!(
        first.contains("list, upload") && !first.contains("persons_in"),
        "{first}"
    );
    let stranger = Browser::open(&daemon, &other);
    assert!(!stranger.page("/ui/jobs").contains(&job));
    // His own he may not requeue, and another's there is not.
    let act = [("act", "requeue"), ("job", &*job)];
    assert_eq!(own.post("/ui/confirm", &act).status, 403);
    assert_eq!(stranger.post("/ui/confirm", &act).status, 409);
    let all = [
        ("act", "remove"),
        ("all", "1"),
        ("filter", "interface=orders_in"),
    ];
    assert_eq!(own.post("/ui/confirm", &all).status, 403);
    assert_eq!(own.post("/ui/", &[("hold", "orders_in")]).status, 403);
}

#[test]
fn operators_are_operators_only_where_they_may_be_also_after_a_reload() {
    let daemon = Daemon::start();
    let before = std::fs::read_to_string(daemon.config()).unwrap();
    let browser = Browser::operator(&daemon);
    let held = || browser.post("/ui/", &[("hold", "orders_in")]).status;
    assert!(!browser.page("/ui/").contains("Send and fetch"));
    let take = |keys: &str| {
        let text = before.replace("[server]", &format!("[server]\n{keys}"));
        std::fs::write(daemon.config(), text).unwrap();
        daemon.operator(&["reload"]);
    };
    for keys in [
        "ui_operators_from = [\"192.0.2.0/24\"]",
        "ui = \"partners\"",
    ] {
        take(keys);
        assert!(browser.page("/ui/").contains("Send and fetch"), "{keys}");
        assert_eq!(held(), 403, "{keys}");
    }
    take("ui = \"off\"");
    let answer = || daemon.bare_curl(&["/ui/"]).status;
    assert_eq!((answer(), held()), (404, 404));
    take("");
    assert!(!browser.page("/ui/").contains("Send and fetch"));
}

#[test]
fn a_link_from_elsewhere_leads_to_the_page() {
    let daemon = Daemon::start();
    let navigate = [
        "-H",
        "Sec-Fetch-Site: cross-site",
        "-H",
        "Sec-Fetch-Mode: navigate",
    ];
    let path = "/ui/jobs?place=failed&interface=a";
    let answer = daemon.bare_curl(&[&navigate[..], &[path]].concat());
    assert_eq!(answer.status, 200);
    let again = "content=\"0;url=/ui/jobs?place=failed&#38;interface=a\"";
    assert!(answer.text().contains(again), "{}", answer.text());
    let image = [
        "-H",
        "Sec-Fetch-Site: cross-site",
        "-H",
        "Sec-Fetch-Mode: no-cors",
    ];
    assert_eq!(
        daemon.bare_curl(&[&image[..], &[path]].concat()).status,
        403
    );
}

#[test]
fn a_job_is_found_by_its_ids_and_shown_with_its_log_and_document() {
    let daemon = failing();
    let shop = daemon.add_user("shop", &["orders_in=upload"]);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(VALID);
    let body = format!("@{}", path.display());
    let sent = ["--data-binary", &body, "/xml/upload?RefName=order-1"];
    let job = daemon.curl_as(&shop, &sent).job();
    daemon.wait_for_place(&job, "joberrors");
    let browser = Browser::operator(&daemon);
    let at = format!("/ui/job/{job}");
    let page = browser.page(&at);
    assert!(page.contains("no paper &#60;script&#62;alert(1)"), "{page}");
    assert!(!page.contains("<script>alert"));
    assert!(page.contains("class=\"hit\" id=\"L3\""), "{page}");
    let heading =
        "Document <small>1 finding: <a href=\"#L3\">line 3</a>. Only lines near are shown";
    assert!(page.contains(heading), "{page}");
    let day = crate::harness::day(&job);
    let place = format!("<dt>place</dt><dd>joberrors/{day}/");
    assert!(page.contains(&place), "{page}");
    assert!(page.contains("<h2 id=\"h-tl\">Attempts</h2>"), "{page}");
    assert!(!page.contains("runner"), "a runner is for its submitter");
    let own = Browser::open(&daemon, &shop).page(&at);
    assert!(own.contains("runner") && !own.contains("Requeue"), "{own}");
    assert!(!own.contains("processor") && !own.contains("<dt>place</dt>"));
    // By an id of another dialect.
    let (_, rest) = page.split_once("<dt>PAAS</dt><dd><code>").unwrap();
    let id = rest.split('<').next().unwrap();
    let found = browser.get(&format!("/ui/job?id={id}"));
    assert_eq!((found.status, found.header("location")), (303, Some(&*at)));
    let part = browser.get("/ui/job?id=ORDER-1");
    assert_eq!(part.header("location"), Some("/ui/jobs?text=ORDER-1"));
    assert!(browser.page("/ui/jobs?text=ORDER-1").contains(&job));
    assert!(
        browser
            .page("/ui/jobs?text=order-2")
            .contains("No job is like that")
    );
    let document = browser.get(&format!("{at}/document"));
    assert_eq!(document.body, std::fs::read(path).unwrap());
    assert!(
        document
            .header("content-disposition")
            .unwrap()
            .starts_with("attachment")
    );
    assert!(
        document
            .header("content-security-policy")
            .unwrap()
            .contains("sandbox")
    );
    assert!(browser.page(&format!("{at}/log")).contains("<JobLog"));
    for none in [format!("{at}/x"), "/ui/job/x".into(), "/ui/x".into()] {
        assert_eq!(browser.get(&none).status, 404, "{none}");
    }
}

#[test]
fn what_fails_is_grouped_and_a_group_is_sent_again() {
    let daemon = failing();
    let manager = daemon.add_user("lead", &["*=manage"]);
    let jobs: Vec<String> = (0..3)
        .map(|n| upload(&daemon, &format!("order-{n}")))
        .collect();
    for job in &jobs {
        daemon.wait_for_place(job, "joberrors");
    }
    daemon.upload_text("<ListOfOrders><b/></ListOfOrders>", "");
    let browser = Browser::operator(&daemon);
    let page = browser.page("/ui/errors");
    assert!(
        page.contains("3 jobs, 1 reason") && page.contains("1 document, 1 reason"),
        "{page}"
    );
    let first = || browser.page("/ui/");
    let counted = || first().contains("4 came, 0 done, 3 failed, 1 refused.</p>");
    daemon.wait("the first page counts them", counted);
    let page_of_all = first();
    assert!(
        page_of_all.contains("<small>3 failed, in orders_in, first <time"),
        "{page_of_all}"
    );
    let (_, rest) = page_of_all.split_once("/ui/errors#").unwrap();
    let group = format!("<tr id=\"{}\" data-live>", rest.split('"').next().unwrap());
    assert!(page.contains(&group), "{group}: {page}");
    let (_, rest) = page
        .split_once("name=\"filter\" value=\"fingerprint=")
        .unwrap();
    let filter = format!("fingerprint={}", rest.split('"').next().unwrap());
    let group = [
        ("act", "requeue"),
        ("all", "1"),
        ("filter", &*filter),
        ("rate", "100"),
    ];
    let asked = browser.post("/ui/confirm", &group).text();
    assert!(
        asked.contains("Requeue 3 jobs?") && asked.contains("value=\"100\""),
        "{asked}"
    );
    let done = browser
        .post("/ui/act", &[&group[..], &[("count", "3")]].concat())
        .text();
    assert!(done.contains("3 jobs requeued"), "{done}");

    let events = browser.page("/ui/events");
    assert!(
        events.contains("requeue") && events.contains("ui from 127.0.0.1"),
        "{events}"
    );
    let partners = browser.page("/ui/partners");
    assert!(
        partners.contains("all rights everywhere") && partners.contains("* manage"),
        "{partners}"
    );
    assert!(
        browser
            .page("/ui/schedules")
            .contains("Nothing is scheduled")
    );
    let lead = Browser::open(&daemon, &manager);
    for path in ["errors", "events", "partners", "schedules"] {
        assert_eq!(lead.get(&format!("/ui/{path}")).status, 404, "{path}");
    }
}

/// A form with files, as a browser sends it.
fn send(browser: &Browser<'_>, token: &str, more: &[&str], files: &[&std::path::Path]) -> Answer {
    let daemon = browser.daemon;
    let (origin, cookie) = (
        format!("Origin: {}", daemon.url),
        format!("Cookie: {}", browser.cookie),
    );
    let token = format!("token={token}");
    let files: Vec<String> = files
        .iter()
        .map(|file| format!("file=@{}", file.display()))
        .collect();
    let mut arguments = vec!["-H", &origin, "-H", &cookie, "-F", &token];
    arguments.extend(more);
    for file in &files {
        arguments.extend(["-F", file]);
    }
    arguments.push("/ui/upload");
    daemon.bare_curl(&arguments)
}

#[test]
fn documents_are_sent_by_a_form_and_fetched_by_a_link() {
    let daemon = Daemon::start();
    let rights = ["orders_in=upload,list", "orders_out=list,download"];
    let shop = daemon.add_user("shop", &rights);
    let browser = Browser::open(&daemon, &shop);
    let good = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(VALID);
    let bad = daemon.scratch("a<b>.xml", "<ListOfOrders>\n<b/>\n</ListOfOrders>");
    let page = send(&browser, &browser.token, &[], &[&good, &bad]).text();
    assert!(page.contains("1 of 2 taken"), "{page}");
    assert!(page.contains("a&#60;b&#62;.xml was not taken"), "{page}");
    assert!(page.contains("class=\"hit\""), "{page}");
    let mine = browser.page("/ui/");
    assert!(
        mine.contains("day") && mine.contains("<span class=\"st refused\">"),
        "{mine}"
    );
    // What the script asks for: one entry, and once however often it is sent.
    let once = ["-H", "Accept: text/x-item", "-H", "Idempotency-Key: k"];
    let job = |answer: Answer| {
        let text = answer.text();
        assert!(
            !text.contains("<html") && text.contains(">taken<"),
            "{text}"
        );
        text.split("/ui/job/")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    let first = job(send(&browser, &browser.token, &once, &[&good]));
    assert_eq!(job(send(&browser, &browser.token, &once, &[&good])), first);
    daemon.wait_for_place(&first, "bak/orders_in");
    // Without the token nothing is taken, and what is not chosen is nothing.
    assert_eq!(send(&browser, "x", &[], &[&good]).status, 403);
    assert_eq!(send(&browser, &browser.token, &[], &[]).status, 400);
    let there = ["-F", "interface=persons_in"];
    let refused = send(&browser, &browser.token, &there, &[&good]).text();
    assert!(
        refused.contains("0 of 1 taken") && refused.contains("no interface persons_in"),
        "{refused}"
    );

    let waiting = daemon.drop_in("orders_out", "order-7.xml", "<ListOfOrders/>");
    let mine = browser.page("/ui/");
    let href = format!("/ui/fetch/orders_out/{waiting}");
    assert!(mine.contains(&href), "{mine}");
    // To look at it takes nothing away: its document is for who fetches it.
    assert!(
        !browser
            .page(&format!("/ui/job/{waiting}"))
            .contains("/document")
    );
    let operator = Browser::operator(&daemon);
    assert_eq!(
        operator.get(&format!("/ui/job/{waiting}/document")).text(),
        "<ListOfOrders/>"
    );
    assert_eq!(daemon.place(&waiting), "queue/orders_out");
    assert_eq!(browser.get(&href).text(), "<ListOfOrders/>");
    daemon.wait_for_place(&waiting, "bak/orders_out");
}

#[test]
fn operators_of_the_default_tenant_see_the_others() {
    let mut daemon = Daemon::init();
    daemon.configure(|text| {
        format!(
            "{text}\n[tenants.b]\nhosts = [\"b.example\"]\n\
             [tenants.b.interfaces.special_out]\ndirection = \"out\"\n"
        )
    });
    daemon.operator(&["user", "add", "bo", "--tenant", "b", "--role", "operator"]);
    daemon.serve();
    let shop = daemon.add_user("shop", &["*=manage"]);
    let browser = Browser::operator(&daemon);
    let page = browser.page("/ui/@b/");
    assert!(
        page.contains("special_out") && page.contains("admin at b"),
        "{page}"
    );
    assert!(page.contains("href=\"/ui/@b/jobs\""), "{page}");
    assert!(!browser.page("/ui/").contains("special_out"));
    let held = browser.post("/ui/@b/", &[("hold", "special_out"), ("reason", "x")]);
    assert_eq!(held.header("location"), Some("/ui/@b/"));
    let hold = daemon.dir().join("tenants/b/spool/queue/special_out/.hold");
    assert!(hold.exists());
    assert_eq!(browser.get("/ui/@c/").status, 404);
    let partner = Browser::open(&daemon, &shop);
    assert_eq!(partner.get("/ui/@b/").status, 404);
    assert_eq!(
        partner
            .post("/ui/@b/", &[("release", "special_out")])
            .status,
        404
    );
    assert!(hold.exists());
}

#[test]
fn what_is_expected_is_on_the_page_and_the_bar_counts_configurations() {
    let daemon = Daemon::start();
    let shop = daemon.add_user("shop", &["orders_in=upload"]);
    let browser = Browser::operator(&daemon);
    let epoch = |page: &str| {
        let (_, rest) = page.split_once("id=\"b-epoch\"").unwrap();
        let (_, rest) = rest.split_once("<dd>").unwrap();
        let (value, _) = rest.split_once("</dd>").unwrap();
        value.replace("<span title=\"configurations taken since the start\">", "")
    };
    let first = browser.page("/ui/");
    assert!(epoch(&first).starts_with('1'), "{first}");
    assert!(!first.contains("Expected from partners"), "{first}");
    let before = std::fs::read_to_string(daemon.config()).unwrap();
    let expected = "[[expect]]\ninterface = \"orders_in\"\nsubmitter = \"shop\"\nby = \"06:00\"\n";
    std::fs::write(daemon.config(), format!("{before}\n{expected}")).unwrap();
    daemon.operator(&["reload"]);
    for path in ["/ui/", "/ui/schedules"] {
        let shows = || {
            let page = browser.page(path);
            page.contains("Expected from partners") && page.contains("id=\"x-0\"")
        };
        daemon.wait("what is expected is shown", shows);
        let page = browser.page(path);
        assert!(page.contains("1 or more"), "{page}");
        assert!(epoch(&page).starts_with('2'), "{page}");
    }
    let own = Browser::open(&daemon, &shop).page("/ui/");
    assert!(
        !own.contains("b-epoch") && !own.contains("Expected"),
        "{own}"
    );
}

#[test]
fn what_did_not_come_by_its_deadline_needs_somebody() {
    let daemon = Daemon::start();
    daemon.add_user("shop", &["orders_in=upload"]);
    let browser = Browser::operator(&daemon);
    // The next full minute, but not before the service knows of it.
    let soon = Timestamp::now() + SignedDuration::from_secs(75);
    let deadline = soon.round(
        TimestampRound::new()
            .smallest(Unit::Minute)
            .mode(RoundMode::Trunc),
    );
    let deadline = deadline.unwrap();
    let by = deadline.strftime("%H:%M").to_string();
    let before = std::fs::read_to_string(daemon.config()).unwrap();
    let expected = format!(
        "{before}\n[[expect]]\ninterface = \"orders_in\"\nsubmitter = \"shop\"\nby = \"{by}\"\n\
         time_zone = \"UTC\"\n"
    );
    std::fs::write(daemon.config(), expected).unwrap();
    daemon.operator(&["reload"]);
    assert!(browser.page("/ui/").contains("Nothing needs you"));
    // It may be further away than anything is waited for.
    let is_near = || deadline - Timestamp::now() < SignedDuration::from_secs(20);
    daemon.wait("the deadline is near", is_near);
    let need = format!(
        "<span class=\"st failed\">too few</span> <span class=\"why\">orders_in from shop: 0 documents \
         by {by}:00, where 1 or more were expected</span>"
    );
    daemon.wait("it is told", || browser.page("/ui/").contains(&need));
    assert!(browser.page("/ui/").contains("1 thing needs you"));
}

/// What the forms of a page do, each with what it is done to.
fn acts(page: &str) -> BTreeSet<(String, String)> {
    let value = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!("{name}=\""))?;
        Some(rest.split('"').next().unwrap().to_owned())
    };
    let mut acts = BTreeSet::new();
    for form in page.split("<form").skip(1) {
        let form = form.split("</form>").next().unwrap();
        let inputs = form.split("<input").skip(1);
        let jobs = inputs.filter_map(|input| {
            let tag = input.split('>').next().unwrap();
            let is_job = value(tag, " name")? == "job";
            is_job.then(|| value(tag, "value"))?
        });
        let jobs: Vec<String> = jobs.collect();
        for button in form.split("<button").skip(1) {
            let tag = button.split('>').next().unwrap();
            let (Some(name), Some(to)) = (value(tag, " name"), value(tag, "value")) else {
                continue;
            };
            match (name == "act", tag.contains(" disabled")) {
                (_, true) => {}
                (true, false) => acts.extend(jobs.iter().map(|job| (to.clone(), job.clone()))),
                (false, false) => drop(acts.insert((name, to))),
            }
        }
        if form.contains("enctype=\"multipart/form-data\"") {
            acts.insert(("upload".into(), String::new()));
        }
    }
    acts
}

/// May it be done? Asked so that nothing happens.
fn is_allowed(browser: &Browser<'_>, (act, to): &(String, String)) -> bool {
    let answer = match act.as_str() {
        // Whose moment has passed.
        "hold" => {
            let past = [("hold", to.as_str()), ("until", "2020-01-01T00:00")];
            return browser.post("/ui/", &past).status == 409;
        }
        "release" => browser.post("/ui/", &[("release", to)]),
        "upload" => {
            let good = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(VALID);
            let page = send(browser, &browser.token, &[], &[&good]).text();
            return page.contains("1 of 1 taken");
        }
        "end" | "reset" => browser.post("/ui/schedules", &[(act, to)]),
        act => browser.post("/ui/confirm", &[("act", act), ("job", to)]),
    };
    matches!(answer.status, 200 | 303)
}

#[test]
fn what_is_shown_is_allowed_and_what_is_allowed_is_shown() {
    let daemon = failing();
    let failed = upload(&daemon, "order-1");
    daemon.wait_for_place(&failed, "joberrors");
    let hold = || daemon.operator(&["hold", "persons_in", "--reason", "paper"]);
    hold();
    let done = daemon.drop_in("persons_in", "p.xml", "<ListOfPersons/>");
    daemon.operator(&["release", "persons_in"]);
    daemon.wait_for_place(&done, "bak/persons_in");
    hold();
    let waiting = daemon.drop_in("persons_in", "q.xml", "<ListOfPersons/>");
    let jobs = [&failed, &done, &waiting];
    let all = ["upload", "list", "download", "manage"].join(",");
    let users = [
        format!("admin:{}", daemon.password),
        daemon.add_user("lead", &[&format!("orders_in={all}"), "persons_in=list"]),
        daemon.add_user("chief", &["persons_in=manage", "orders_in=list"]),
        daemon.add_user(
            "shop",
            &["orders_in=upload,list,download", "persons_in=list"],
        ),
        daemon.add_user("guest", &["items_in=list"]),
    ];
    let mut counts = Vec::new();
    for login in &users {
        let browser = Browser::open(&daemon, login);
        let mut paths = vec!["/ui/".to_owned(), "/ui/jobs".into(), "/ui/errors".into()];
        paths.extend(["schedules", "partners", "events"].map(|page| format!("/ui/{page}")));
        paths.extend(jobs.map(|job| format!("/ui/job/{job}")));
        let mut shown = BTreeSet::new();
        for path in &paths {
            let answer = browser.get(path);
            if answer.status == 200 {
                let page = answer.text();
                shown.extend(acts(&page));
                for link in page.split("<a class=\"btn\" href=\"").skip(1) {
                    let href = link.split('"').next().unwrap();
                    let status = browser.get(href).status;
                    assert!(!matches!(status, 403 | 404), "{login}: {href}: {status}");
                }
            }
        }
        let mut possible: BTreeSet<(String, String)> = shown.clone();
        let mut add = |act: &str, to: &str| possible.insert((act.to_owned(), to.to_owned()));
        for interface in ["items_in", "orders_in", "orders_out", "persons_out"] {
            add("hold", interface);
        }
        add("release", "persons_in");
        if !login.starts_with("admin:") {
            // Operators have `push`.
            add("upload", "");
        }
        for act in ["requeue", "cancel", "remove"] {
            for job in [&failed, &done] {
                add(act, job);
            }
        }
        for act in &possible {
            let allowed = is_allowed(&browser, act);
            assert_eq!(shown.contains(act), allowed, "{login}: {act:?}");
        }
        hold();
        counts.push(shown.len());
    }
    // The operator sees the most, and the guest nothing.
    assert!(counts[0] > counts[1] && counts[1] > counts[3], "{counts:?}");
    assert_eq!((counts[3], counts[4]), (1, 0));
}

#[test]
fn an_interface_is_held_from_the_page_of_a_job() {
    let daemon = failing();
    let lead = daemon.add_user("lead", &["orders_in=manage,list"]);
    let job = upload(&daemon, "order-1");
    daemon.wait_for_place(&job, "joberrors");
    let browser = Browser::open(&daemon, &lead);
    let at = format!("/ui/job/{job}");
    assert!(browser.page(&at).contains("Hold orders_in…"));
    let form = [
        ("hold", "orders_in"),
        ("reason", "no <b> ink"),
        ("back", &job),
    ];
    let held = browser.post("/ui/", &form);
    assert_eq!((held.status, held.header("location")), (303, Some(&*at)));
    let page = browser.page(&at);
    assert!(
        page.contains("id=\"j-held\"") && page.contains("no &#60;b&#62; ink"),
        "{page}"
    );
    assert!(browser.page("/ui/").contains("Release"));
    let released = browser.post("/ui/", &[("release", "orders_in"), ("back", &job)]);
    assert_eq!(released.header("location"), Some(&*at));
    let page = browser.page(&at);
    assert!(
        page.contains("id=\"j-held\" data-live hidden></p>"),
        "{page}"
    );
    // What is asked once more leads back to the job, too.
    let asked = browser.post(
        "/ui/confirm",
        &[("act", "remove"), ("job", &job), ("back", &job)],
    );
    assert!(
        asked
            .text()
            .contains(&format!("name=\"back\" value=\"{job}\""))
    );
}

#[test]
fn a_job_leads_to_what_it_has_made_and_back() {
    let emit =
        r#"mkdir "$SPOOLGATE_EMIT/orders_out" && cat > "$SPOOLGATE_EMIT/orders_out/made.xml""#;
    let daemon = Daemon::start_with(|text| with_keys(&text, "orders_in", &shell(emit, "")));
    let job = upload(&daemon, "order-1");
    daemon.wait_for_place(&job, "bak/orders_in");
    let [made] = daemon.queue("orders_out").try_into().unwrap();
    let browser = Browser::open(&daemon, &format!("admin:{}", daemon.password));
    for (from, to) in [(&job, &made), (&made, &job)] {
        let page = browser.page(&format!("/ui/job/{from}"));
        assert!(page.contains(&format!("href=\"/ui/job/{to}\"")), "{page}");
    }
}

#[test]
fn a_job_shows_how_it_was_tried_and_what_has_its_reference() {
    let script = r#"[ "$SPOOLGATE_ATTEMPT" = 2 ] || { echo "no <b> ink"; exit 75; }
        echo "ink is here"; until [ -e "$GO/end" ]; do sleep 0.02; done"#;
    let mut daemon = Daemon::init();
    let script = script.replace("$GO", daemon.dir().to_str().unwrap());
    let retry = "\nretry = { attempts = 3, initial_s = 2, jitter = 0 }\nvisible = \"own\"";
    daemon.configure(|text| with_keys(&text, "orders_in", &(shell(&script, "") + retry)));
    daemon.serve();
    let job = upload(&daemon, "order-1");
    let browser = Browser::operator(&daemon);
    let at = format!("/ui/job/{job}");
    let running = || {
        let page = browser.page(&at);
        page.contains("attempt 2 of 3, for <time") && page.contains("<td>ink is here")
    };
    daemon.wait("the second attempt runs", running);
    let page = browser.page(&at);
    for shown in [
        "in <a href=\"/ui/jobs?interface=orders_in\">orders_in</a>",
        "ago from <a href=\"/ui/jobs?submitter=admin\">admin</a>",
        "<span class=\"st queued\">received</span> <time",
        "<span class=\"dim\">1</span> <span class=\"st deferred\">deferred</span> <time",
        "<li class=\"gap\">waited ",
        "<span class=\"dim\">2</span> <span class=\"st running\">running</span> <time",
        "aria-label=\"2 attempts within",
        "<dt>place</dt><dd>work/orders_in/",
        "<tr id=\"l-1\" data-live data-in=\"log\"><th scope=\"rowgroup\" colspan=\"3\">attempt 2</th></tr>",
        "It runs: the others are possible when it has ended.",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("same reference"), "{page}");
    daemon.scratch("end", "");
    daemon.wait_for_place(&job, "bak/orders_in");
    assert!(!browser.page(&at).contains("st running"));
    // Another one has it, and another one has more than it.
    let (other, _more) = (upload(&daemon, "order-1"), upload(&daemon, "order-10"));
    let page = browser.page(&at);
    let others = "<dt>same reference</dt><dd><a href=\"/ui/jobs?text=-order-1.\">1 other job</a>";
    assert!(page.contains(others), "{page}");
    let list = browser.page("/ui/jobs?text=-order-1.");
    assert!(list.contains(&other) && list.contains(&job), "{list}");
    assert!(!list.contains("order-10"), "{list}");
    // Nobody is told of jobs that he may not know of.
    let shop = daemon.add_user("shop", &["orders_in=upload"]);
    let body = format!("@{}", document("orders_in/day.valid.xml").display());
    let sent = ["--data-binary", &body, "/xml/upload?RefName=order-1"];
    let own = daemon.curl_as(&shop, &sent).job();
    let page = Browser::open(&daemon, &shop).page(&format!("/ui/job/{own}"));
    assert!(!page.contains("same reference"), "{page}");
}

#[test]
fn what_there_is_to_fetch_is_not_told_as_less_than_it_is() {
    let daemon = Daemon::start();
    let shop = daemon.add_user("shop", &["orders_out=list,download"]);
    let browser = Browser::open(&daemon, &shop);
    let put = |n: usize| {
        let path = daemon.spool(&format!("queue/orders_out/order-{n}.xml"));
        std::fs::write(path, "<ListOfOrders/>").unwrap();
    };
    let shows = |n: &str| {
        let heading = format!("<h2 id=\"fetch\" data-live>To fetch: {n} <small>");
        daemon.wait(n, || browser.page("/ui/").contains(&heading));
    };
    (0..50).for_each(put);
    shows("50 jobs");
    put(50);
    shows("50 jobs or more");
}

#[test]
fn partners_are_shown_with_their_logins() {
    let mut daemon = Daemon::start();
    daemon.add_user("shop", &["orders_in=upload"]);
    let browser = Browser::operator(&daemon);
    assert_eq!(login(&daemon, "shop", "guess").status, 403);
    let heading = "<h1 id=\"n\" data-live>2 users</h1>";
    assert!(browser.page("/ui/partners").contains(heading));
    let row = |browser: &Browser<'_>, user: &str| {
        let page = browser.page("/ui/partners");
        let (_, rest) = page.split_once(&format!("id=\"p-{user}\"")).unwrap();
        rest.split_once("</tr>").unwrap().0.to_owned()
    };
    let shop = row(&browser, "shop");
    assert!(
        shop.contains("orders_in upload") && !shop.contains("<time"),
        "{shop}"
    );
    assert!(shop.contains("<td class=\"n\">1</td>"), "{shop}");
    assert!(row(&browser, "admin").contains("<time data-age"));
    // A restart forgets the failures; who has logged in is known.
    let cookie = browser.cookie.clone();
    daemon.stop();
    daemon.serve();
    let browser = Browser {
        daemon: &daemon,
        cookie,
        token: String::new(),
    };
    assert!(row(&browser, "admin").contains("<time data-age"));
    assert!(row(&browser, "shop").contains("<td class=\"n\">0</td>"));
}

#[test]
fn a_job_is_had_by_a_stylesheet_as_programs_have_it() {
    let daemon = Daemon::start();
    let shop = daemon.add_user("shop", &["orders_out=list,download"]);
    let document = std::fs::read(document("orders_out/orders.valid.xml")).unwrap();
    let job = daemon.drop_in("orders_out", "order-7.xml", &document);
    let program = format!("/xml/job?Interfacename=orders_out&Jobname={job}&xslt=order-csv");
    let fetched = daemon.curl_as(&shop, &[&program]);
    if fetched.status == 503 {
        eprintln!("skipped: xsltproc is not installed");
        return;
    }
    daemon.wait_for_place(&job, "bak/orders_out");
    let counted = |n: f64| {
        let said = || value(&scrape(&daemon), "spoolgate_downloads_total", &[]);
        daemon.wait("it is counted", || said() == Some(n));
    };
    counted(1.0);
    let browser = Browser::open(&daemon, &shop);
    let href = format!("/ui/job/{job}/as/order-csv");
    assert!(browser.page(&format!("/ui/job/{job}")).contains(&href));
    let had = browser.get(&href);
    assert_eq!((had.status, &had.body), (200, &fetched.body));
    assert_eq!(had.header("content-type"), fetched.header("content-type"));
    counted(2.0);
    let name = had.header("content-disposition").unwrap();
    assert!(
        name.starts_with("attachment") && name.ends_with("order-csv.csv\""),
        "{name}"
    );
    let none = browser.get(&format!("/ui/job/{job}/as/nothing"));
    assert_eq!(none.status, 404);
    // What waits to be fetched is not taken away by who looks.
    let waiting = daemon.drop_in("orders_out", "order-8.xml", &document);
    let operator = Browser::operator(&daemon);
    let had = operator.get(&format!("/ui/job/{waiting}/as/order-csv"));
    assert_eq!(had.status, 200);
    counted(3.0);
    assert_eq!(daemon.place(&waiting), "queue/orders_out");
    assert_eq!(
        browser
            .get(&format!("/ui/job/{waiting}/as/order-csv"))
            .status,
        404
    );
    // Fetched so, by who may fetch: it goes to the archive.
    let mine = browser.page("/ui/");
    let href = format!("/ui/fetch/orders_out/{waiting}/order-csv");
    assert!(
        mine.contains(&format!("href=\"{href}\" download>order-csv<")),
        "{mine}"
    );
    assert_eq!(
        browser.get(&href.replace("order-csv", "nothing")).status,
        404
    );
    let had = browser.get(&href);
    assert_eq!((had.status, &had.body), (200, &fetched.body));
    assert_eq!(had.header("content-type"), fetched.header("content-type"));
    counted(4.0);
    daemon.wait_for_place(&waiting, "bak/orders_out");
    // No download: a log. Downloads: the document as it lies there, and as a form fetches it.
    let log = operator.get(&format!("/ui/job/{job}/log"));
    let document = operator.get(&format!("/ui/job/{job}/document"));
    assert_eq!((log.status, document.status), (200, 200));
    counted(5.0);
    assert_eq!(
        browser
            .get(&format!("/ui/fetch/orders_out/{waiting}"))
            .status,
        200
    );
    counted(6.0);
}
