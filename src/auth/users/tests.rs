//! Deterministic: the clock stands still unless it is moved, and the verifier only compares text,
//! counts its calls and can be made to wait for a signal.

use super::*;
use crate::auth::{Grants, Right};
use base64::Engine as _;
use parking_lot::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinHandle;

/// A hash that passes the checks of the file; the test verifier knows by its last character which
/// password it stands for.
fn stored(password: char) -> String {
    let mut hash = DUMMY_HASH.to_owned();
    hash.truncate(hash.len() - 2);
    hash.push(password);
    hash.push('A');
    hash
}

/// A gate that lets a number of hashes pass.
#[derive(Default)]
struct Gate {
    open: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut open = self.open.lock();
        while *open == 0 {
            self.changed.wait(&mut open);
        }
        *open -= 1;
    }

    fn admit(&self, n: usize) {
        let mut open = self.open.lock();
        *open = open.saturating_add(n);
        self.changed.notify_all();
    }
}

struct Bench {
    dir: tempfile::TempDir,
    gate: Arc<Gate>,
    /// The passwords whose hashes have begun.
    begun: Arc<Mutex<Vec<String>>>,
    now_ms: Arc<AtomicU64>,
    users: Users,
}

impl Drop for Bench {
    /// The runtime of a test that fails waits for what stands at the gate.
    fn drop(&mut self) {
        self.gate.admit(usize::MAX);
    }
}

impl Bench {
    /// Two users, `shop1` with password `a` and `shop2` with password `b`.
    fn gated() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        UsersFile::edit(&path, |file| {
            let mut grants = Grants::default();
            grants.set_rights("*".parse().unwrap(), [Right::List].into());
            file.add("shop1", &stored('a'), grants)?;
            file.add("shop2", &stored('b'), Grants::default())
        })
        .unwrap();
        let (gate, begun) = (
            Arc::new(Gate::default()),
            Arc::<Mutex<Vec<String>>>::default(),
        );
        let now_ms = Arc::new(AtomicU64::new(0));
        let (g, b, n, start) = (gate.clone(), begun.clone(), now_ms.clone(), Instant::now());
        let verifier = move |stored: &str, password: &str| {
            b.lock().push(password.to_owned());
            g.pass();
            stored.ends_with(&format!("{password}A")) && password.len() == 1
        };
        let clock = move || start + Duration::from_millis(n.load(Ordering::SeqCst));
        let users = Users::with(&path, seal(), Arc::new(verifier), Arc::new(clock)).unwrap();
        Self {
            dir,
            gate,
            begun,
            now_ms,
            users,
        }
    }

    fn open() -> Self {
        let bench = Self::gated();
        bench.gate.admit(usize::MAX);
        bench
    }

    fn hashes(&self) -> usize {
        self.begun.lock().len()
    }

    fn has_begun(&self, password: &str) -> bool {
        self.begun.lock().iter().any(|begun| begun == password)
    }

    /// Lets one of the hashes that run end, so that the next one begins.
    async fn end_one(&self) {
        let before = self.hashes();
        self.gate.admit(1);
        until(|| self.hashes() == before + 1).await;
    }

    fn pass_s(&self, seconds: u64) {
        self.now_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn edit(&self, edit: impl FnOnce(&mut UsersFile) -> Result<(), UsersError>) {
        UsersFile::edit(&self.dir.path().join("users.toml"), edit).unwrap();
    }

    async fn login(&self, user: &str, password: &str, host: u8) -> Result<Caller, Denied> {
        self.users
            .authenticate(Some(&basic(user, password)), peer(host))
            .await
    }

    fn start(&self, user: &str, password: &str, host: u8) -> JoinHandle<Result<Caller, Denied>> {
        let (users, header) = (self.users.clone(), basic(user, password));
        tokio::spawn(async move { users.authenticate(Some(&header), peer(host)).await })
    }
}

fn basic(user: &str, password: &str) -> http::HeaderValue {
    let text = format!("{user}:{password}");
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    format!("Basic {text}").parse().unwrap()
}

/// As after every restart: the key is a file.
fn seal() -> Seal {
    Seal::new([7; crate::domain::KEY_BYTES])
}

fn peer(host: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, host])
}

/// Lets every task run as far as it can without another thread's help.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Waits for a condition that another thread will surely bring about.
async fn until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed().as_secs() < 60, "it does not come about");
        tokio::task::yield_now().await;
    }
}

const WRONG: Result<(), Denied> = Err(Denied::Credentials);

fn denied(result: Result<Caller, Denied>) -> Result<(), Denied> {
    result.map(drop)
}

/// The user with the same password, and the right to upload to every interface.
fn let_upload(file: &mut UsersFile, user: &str) -> Result<(), UsersError> {
    let hash = file.account(user).unwrap().password.clone();
    let mut grants = Grants::default();
    grants.set_rights("*".parse().unwrap(), [Right::Upload].into());
    file.remove(user)?;
    file.add(user, &hash, grants)
}

#[tokio::test]
async fn good_credentials_are_hashed_once_and_carry_their_rights() {
    let bench = Bench::open();
    for _ in 0..50 {
        let caller = bench.login("shop1", "a", 1).await.unwrap();
        assert_eq!(&*caller.user, "shop1");
        assert!(caller.may(Right::List, &"x".parse().unwrap()));
        assert!(!caller.may(Right::Upload, &"x".parse().unwrap()));
    }
    assert_eq!(bench.hashes(), 1);
    // Nor at another address.
    bench.login("shop1", "a", 2).await.unwrap();
    assert_eq!(bench.hashes(), 1);
}

#[tokio::test]
async fn what_cannot_be_credentials_costs_no_hash() {
    let bench = Bench::open();
    assert_eq!(denied(bench.users.authenticate(None, peer(1)).await), WRONG);
    let long = format!("Basic {}", "A".repeat(HEADER_BYTES_MAX));
    for header in [
        "",
        "Basic",
        "Basic ",
        "Basic %",
        "Bearer x",
        "c2hvcDE6YQ==",
        &long,
    ] {
        let header = header.parse().unwrap();
        let result = bench.users.authenticate(Some(&header), peer(1)).await;
        assert_eq!(denied(result), WRONG, "{header:?}");
    }
    for (user, password) in [("", "a"), ("shop1", ""), ("sh\nop", "a"), ("shop1", "a\t")] {
        assert_eq!(denied(bench.login(user, password, 1).await), WRONG);
    }
    assert_eq!(bench.hashes(), 0);
}

#[tokio::test]
async fn an_unknown_user_costs_what_a_wrong_password_costs() {
    let bench = Bench::open();
    assert_eq!(denied(bench.login("shop1", "x", 1).await), WRONG);
    assert_eq!(bench.hashes(), 1);
    // The dummy's last characters spell password `A` for this verifier: still no one.
    assert_eq!(denied(bench.login("nobody", "A", 1).await), WRONG);
    assert_eq!(bench.hashes(), 2);
    assert_eq!(
        bench.users.shared.authenticator().familiar,
        Familiar::default()
    );
}

#[tokio::test]
async fn new_guesses_are_slowed_without_hashing_and_an_old_one_is_no_guess() {
    let bench = Bench::open();
    for n in 0..6 {
        assert_eq!(
            denied(bench.login("shop1", &format!("x{n}"), 1).await),
            WRONG
        );
        assert_eq!(denied(bench.login("shop1", "x0", 1).await), WRONG);
    }
    assert_eq!(bench.hashes(), 6);
    let slow = Err(Denied::Slow { retry_after_s: 1 });
    assert_eq!(denied(bench.login("shop1", "y", 1).await), slow);
    assert_eq!(denied(bench.login("shop1", "a", 1).await), slow);
    assert_eq!(denied(bench.login("shop1", "x0", 1).await), WRONG);
    assert_eq!(bench.hashes(), 6);
    bench.login("shop1", "a", 2).await.unwrap();
    bench.pass_s(1);
    bench.login("shop1", "a", 1).await.unwrap();
}

#[tokio::test]
async fn what_others_guess_keeps_no_right_password_out() {
    let bench = Bench::open();
    bench.login("shop2", "b", 1).await.unwrap();
    for host in 2..202 {
        for (user, guess) in [("shop1", "x"), ("shop2", "y")] {
            let guess = format!("{guess}{host}");
            assert_eq!(denied(bench.login(user, &guess, host).await), WRONG);
        }
    }
    let hashes = bench.hashes();
    // Met before: at once. Never met: by one hash.
    bench.login("shop2", "b", 202).await.unwrap();
    assert_eq!(bench.hashes(), hashes);
    bench.login("shop1", "a", 203).await.unwrap();
    assert_eq!(bench.hashes(), hashes + 1);
}

#[tokio::test]
async fn a_known_right_password_cannot_be_found_out_where_guesses_have_to_wait() {
    let bench = Bench::open();
    bench.login("shop1", "a", 1).await.unwrap();
    for n in 0..6 {
        let guess = format!("x{n}");
        assert_eq!(denied(bench.login("shop1", &guess, 2).await), WRONG);
    }
    let slow = Err(Denied::Slow { retry_after_s: 1 });
    assert_eq!(denied(bench.login("shop1", "a", 2).await), slow);
    // The window of the whole address, from which many users were tried.
    for n in 0..21 {
        let _ = bench.login(&format!("u{n}"), "x", 3).await;
    }
    assert_eq!(denied(bench.login("shop1", "a", 3).await), slow);
    // Where the user comes from, others who guess there keep no one out.
    for n in 0..6 {
        let _ = bench.login("shop1", &format!("y{n}"), 1).await;
    }
    assert_eq!(denied(bench.login("shop1", "z", 1).await), slow);
    bench.login("shop1", "a", 1).await.unwrap();
    bench.pass_s(1);
    bench.login("shop1", "a", 2).await.unwrap();
}

#[tokio::test]
async fn a_right_password_waits_for_one_hash_of_each_guessing_address() {
    let bench = Bench::gated();
    let guess = |host: u8| bench.start(&format!("u{host}"), "x", host);
    let mut guesses: Vec<_> = (1..=100).map(guess).collect();
    until(|| bench.hashes() == 2).await;
    settle().await;
    guesses.extend((1..=100).map(|host| bench.start(&format!("v{host}"), "x", host)));
    settle().await;
    let right = bench.start("shop1", "a", 200);
    settle().await;
    // What runs, and one of each.
    for _ in 0..2 + 100 - 1 {
        bench.end_one().await;
    }
    assert!(bench.has_begun("a"));
    bench.gate.admit(200);
    right.await.unwrap().unwrap();
    for guess in guesses {
        assert_eq!(denied(guess.await.unwrap()), WRONG);
    }
}

#[tokio::test]
async fn a_user_just_added_is_let_in_at_once() {
    let bench = Bench::open();
    assert_eq!(denied(bench.login("shop3", "c", 1).await), WRONG);
    bench.edit(|file| file.add("shop3", &stored('c'), Grants::default()));
    bench.login("shop3", "c", 1).await.unwrap();
    bench.edit(|file| file.set_password("shop3", &stored('d')));
    bench.login("shop3", "d", 1).await.unwrap();
    assert_eq!(denied(bench.login("shop3", "c", 1).await), WRONG);
    // A file that is broken is read once, and changes nothing.
    let path = bench.dir.path().join("users.toml");
    std::fs::write(&path, "[users.shop1]\npasword = 1").unwrap();
    assert_eq!(denied(bench.login("shop3", "c", 2).await), WRONG);
    bench.login("shop2", "b", 2).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    bench.login("shop1", "a", 2).await.unwrap();
}

#[test]
fn a_user_just_added_is_known_and_partners_are_those_with_a_right() {
    let bench = Bench::open();
    let orders: InterfaceName = "orders".parse().unwrap();
    let partners = || {
        let partners = bench.users.partners_of(&orders);
        Vec::from_iter(partners.iter().map(|user| user.to_string()))
    };
    assert!(bench.users.is_user("shop1") && bench.users.is_user("shop2"));
    assert!(!bench.users.is_user("shop3") && !bench.users.is_user("shop4"));
    assert_eq!(partners(), ["shop1"]);
    bench.edit(|file| {
        let mut grants = Grants::default();
        grants.set_rights("orders".parse().unwrap(), [Right::List].into());
        file.add("shop3", &stored('c'), grants)?;
        let mut grants = Grants::default();
        grants.set_roles([Role::Operator].into());
        file.add("olga", &stored('d'), grants)
    });
    assert!(bench.users.is_user("shop3") && !bench.users.is_user("shop4"));
    assert_eq!(partners(), ["shop1", "shop3"]);
}

#[tokio::test]
async fn a_user_with_a_file_of_his_own_is_read_when_he_is_asked_for() {
    let bench = Bench::open();
    let path = bench.dir.path().join("users.toml");
    let files = UserFiles::beside(&path);
    let own = files.add("shop3", &stored('c'), Grants::default()).unwrap();
    bench.login("shop3", "c", 1).await.unwrap();
    let change = |password| {
        let set = |file: &mut UsersFile| file.set_password("shop3", &stored(password));
        files.change("shop3", set).unwrap();
    };
    change('d');
    bench.login("shop3", "d", 1).await.unwrap();
    assert_eq!(denied(bench.login("shop3", "c", 1).await), WRONG);
    // A file that is broken changes nothing, and concerns nobody else.
    let good = std::fs::read(&own).unwrap();
    std::fs::write(&own, "[users.shop3]\npasword = 1").unwrap();
    assert_eq!(denied(bench.login("shop3", "x", 2).await), WRONG);
    bench.login("shop3", "d", 2).await.unwrap();
    bench.login("shop1", "a", 2).await.unwrap();
    let [trouble] = bench.users.trouble().try_into().unwrap();
    assert!(trouble.contains("shop3.toml:2: unknown key"), "{trouble}");
    std::fs::write(&own, good).unwrap();
    assert!(bench.users.is_user("shop3") && !bench.users.is_user("../users"));
    bench
        .users
        .look(Some(&BTreeSet::from(["shop3".to_owned()])));
    assert_eq!(bench.users.trouble(), [""; 0]);
    std::fs::remove_file(&own).unwrap();
    assert!(bench.users.look(None));
    assert_eq!(denied(bench.login("shop3", "d", 3).await), WRONG);
}

#[tokio::test]
async fn a_start_reads_no_files_of_single_users_and_knows_them_all_the_same() {
    let bench = Bench::open();
    let path = bench.dir.path().join("users.toml");
    let files = UserFiles::beside(&path);
    let mut grants = Grants::default();
    grants.set_rights("orders".parse().unwrap(), [Right::List].into());
    files.add("shop3", &stored('c'), grants).unwrap();
    let torn = files.add("torn", &stored('d'), Grants::default()).unwrap();
    std::fs::write(torn, "torn").unwrap();
    let caller = bench.login("shop3", "c", 1).await.unwrap();
    let token = issue(&bench, &caller, &[]).unwrap();
    let users = Users::open(&path, seal()).unwrap();
    assert_eq!((users.list().len(), users.trouble().len()), (2, 0));
    let by_token = users.bearer(&token, NOW_MS).unwrap();
    assert!(by_token.may(Right::List, &"orders".parse().unwrap()));
    assert!(users.is_user("shop3") && users.known("shop3").is_some());
    assert!(
        !users.look(None),
        "who is there is read, and who is torn is nobody"
    );
    assert_eq!((users.list().len(), users.trouble().len()), (3, 1));
    let partners = users.partners_of(&"orders".parse().unwrap());
    assert_eq!(
        Vec::from_iter(partners.iter().map(|user| user.as_str())),
        ["shop1", "shop3"]
    );
}

#[tokio::test]
async fn where_users_are_familiar_survives_a_restart() {
    let bench = Bench::open();
    let file = bench.dir.path().join(".familiar");
    let restarted = || {
        let verifier = |stored: &str, password: &str| stored.ends_with(&format!("{password}A"));
        let path = bench.dir.path().join("users.toml");
        let users = Users::with(&path, seal(), Arc::new(verifier), Arc::new(Instant::now));
        users.unwrap().remembering(&file)
    };
    let login = async |users: &Users, user: &str, password: &str| {
        let header = basic(user, password);
        denied(users.authenticate(Some(&header), peer(1)).await)
    };
    let users = restarted();
    assert_eq!(users.last_login_s("shop1"), None);
    login(&users, "shop1", "a").await.unwrap();
    let last_s = users.last_login_s("shop1");
    assert!(last_s.is_some());
    // Of itself, without an orderly end.
    let users = restarted();
    assert_eq!(users.last_login_s("shop1"), last_s);
    assert_eq!(users.last_login_s("shop2"), None);
    for n in 0..21 {
        assert_eq!(login(&users, &format!("u{n}"), "x").await, WRONG);
    }
    assert!(login(&users, "shop2", "b").await.is_err());
    login(&users, "shop1", "a").await.unwrap();
    // A file that is not ours is no one's.
    std::fs::write(&file, "shop2 192.0.2.1").unwrap();
    let users = restarted();
    for n in 0..21 {
        assert_eq!(login(&users, &format!("u{n}"), "x").await, WRONG);
    }
    assert!(login(&users, "shop1", "a").await.is_err());
}

#[tokio::test]
async fn failed_logins_of_users_are_counted_and_of_nobody_else() {
    let bench = Bench::open();
    for guess in ["x", "y", "x"] {
        assert_eq!(denied(bench.login("shop1", guess, 1).await), WRONG);
        assert_eq!(denied(bench.login("nobody", guess, 1).await), WRONG);
    }
    // The same one again is no guess.
    assert_eq!(bench.users.failed_logins("shop1", 0), 2);
    assert_eq!(bench.users.failed_logins("nobody", 0), 0);
    assert_eq!(bench.users.failed_logins("shop1", i64::MAX), 0);
    assert_eq!(bench.users.last_login_s("shop1"), None);
}

#[tokio::test]
async fn a_users_file_that_is_none_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.toml");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
    assert!(Users::open(&path, seal()).is_err());
    assert!(UsersFile::load(&path).is_err());
}

#[tokio::test]
async fn a_changed_password_counts_from_the_reload_on() {
    let bench = Bench::open();
    bench.login("shop1", "a", 1).await.unwrap();
    assert_eq!(denied(bench.login("shop1", "c", 1).await), WRONG);
    assert!(!bench.users.reload().unwrap());
    bench.edit(|file| file.set_password("shop1", &stored('c')));
    bench.login("shop1", "a", 1).await.unwrap();
    assert!(bench.users.reload().unwrap());
    assert_eq!(denied(bench.login("shop1", "a", 1).await), WRONG);
    bench.login("shop1", "c", 1).await.unwrap();
    bench.edit(|file| file.remove("shop1"));
    bench.users.reload().unwrap();
    assert_eq!(denied(bench.login("shop1", "c", 1).await), WRONG);
}

#[tokio::test]
async fn a_reload_keeps_proven_users_and_gives_them_their_new_rights() {
    let bench = Bench::open();
    bench.login("shop1", "a", 1).await.unwrap();
    bench.edit(|file| let_upload(file, "shop1"));
    bench.users.reload().unwrap();
    let caller = bench.login("shop1", "a", 1).await.unwrap();
    assert!(caller.may(Right::Upload, &"x".parse().unwrap()));
    assert!(!caller.may(Right::List, &"x".parse().unwrap()));
    assert_eq!(bench.hashes(), 1);
}

#[tokio::test]
async fn a_broken_file_is_refused_and_the_old_one_stays() {
    let bench = Bench::open();
    std::fs::write(
        bench.dir.path().join("users.toml"),
        "[users.shop1]\npasword = 1",
    )
    .unwrap();
    let error = bench.users.reload().unwrap_err().to_string();
    assert!(error.ends_with("users.toml:2: unknown key `pasword` (did you mean `password`?)"));
    bench.login("shop1", "a", 1).await.unwrap();
}

#[tokio::test]
async fn a_reload_during_a_check_voids_it() {
    let bench = Bench::gated();
    let check = bench.start("shop1", "a", 1);
    until(|| bench.hashes() == 1).await;
    bench.edit(|file| file.set_password("shop1", &stored('c')));
    bench.users.reload().unwrap();
    // The same credentials again do not join the old check: that one is about the old hash.
    let second = bench.start("shop1", "a", 1);
    until(|| bench.hashes() == 2).await;
    bench.gate.admit(2);
    assert_eq!(denied(check.await.unwrap()), WRONG);
    assert_eq!(denied(second.await.unwrap()), WRONG);
}

#[tokio::test]
async fn equal_credentials_share_one_hash() {
    let bench = Bench::gated();
    let logins: Vec<_> = (0..50).map(|_| bench.start("shop1", "a", 1)).collect();
    until(|| bench.hashes() == 1).await;
    settle().await;
    bench.gate.admit(1);
    for login in logins {
        assert!(login.await.unwrap().is_ok());
    }
    assert_eq!(bench.hashes(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_is_counted_all_the_same() {
    let bench = Bench::gated();
    for n in 0..6 {
        let login = bench.start("shop1", &format!("x{n}"), 1);
        until(|| bench.hashes() == n + 1).await;
        login.abort();
        bench.gate.admit(1);
        until(|| bench.users.shared.authenticator().checks.is_empty()).await;
    }
    let slow = Err(Denied::Slow { retry_after_s: 1 });
    assert_eq!(denied(bench.login("shop1", "y", 1).await), slow);
}

#[tokio::test]
async fn a_flood_delays_neither_the_proven_nor_a_newcomer() {
    let bench = Bench::gated();
    let proven = bench.start("shop1", "a", 1);
    bench.gate.admit(1);
    proven.await.unwrap().unwrap();
    // Eight clients behind the address of shop1, each with its own wrong user and password.
    let flood: Vec<_> = (0..8)
        .map(|n| bench.start(&format!("u{n}"), "x", 1))
        .collect();
    until(|| bench.hashes() == 3).await;
    settle().await;
    // Proven credentials are answered while both places are taken.
    bench.login("shop1", "a", 1).await.unwrap();
    // A newcomer elsewhere waits for the flood's turn that comes first, not for all six.
    let newcomer = bench.start("shop2", "b", 2);
    settle().await;
    bench.end_one().await;
    bench.end_one().await;
    assert!(bench.has_begun("b"));
    assert!(flood.iter().any(|login| !login.is_finished()));
    bench.gate.admit(100);
    newcomer.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_long_flood_soon_costs_no_hashes() {
    let bench = Bench::open();
    bench.login("shop1", "a", 1).await.unwrap();
    for n in 0..1000 {
        let user = format!("u{}", n % 97);
        let _ = bench.login(&user, &format!("x{n}"), 1).await;
    }
    assert_eq!(bench.hashes(), 1 + 21);
    // The familiar partner gets through behind the same address, even when no longer proven.
    bench.pass_s(super::super::cache::KEPT_S);
    let _ = bench.login("u", "x", 1).await;
    bench.login("shop1", "a", 1).await.unwrap();
}

#[tokio::test]
async fn more_than_the_line_holds_is_sent_away() {
    let bench = Bench::gated();
    let places = super::super::line::AT_ONCE + super::super::line::WAITING_PER_ADDRESS_MAX;
    let waiting: Vec<_> = (0..places)
        .map(|n| bench.start(&format!("u{n}"), "x", 1))
        .collect();
    until(|| bench.hashes() == 2).await;
    settle().await;
    let slow = Denied::Slow {
        retry_after_s: FULL_RETRY_AFTER_S,
    };
    assert_eq!(denied(bench.login("more", "x", 1).await), Err(slow));
    bench.gate.admit(places);
    for login in waiting {
        assert_eq!(denied(login.await.unwrap()), WRONG);
    }
}

#[tokio::test]
async fn guesses_that_wait_together_do_not_all_slip_through() {
    let bench = Bench::gated();
    let guesses: Vec<_> = (0..10)
        .map(|n| bench.start("shop1", &format!("x{n}"), 1))
        .collect();
    until(|| bench.hashes() == 2).await;
    settle().await;
    bench.gate.admit(10);
    let mut n_slow = 0;
    for guess in guesses {
        n_slow += usize::from(denied(guess.await.unwrap()) != WRONG);
    }
    // Six open the window; one more may have been hashed beside the sixth.
    assert!(
        bench.hashes() <= 7 && n_slow >= 3,
        "{} {n_slow}",
        bench.hashes()
    );
}

#[tokio::test]
async fn a_verifier_that_panics_costs_one_login() {
    let bench = Bench::open();
    let path = bench.dir.path().join("users.toml");
    let verifier = Arc::new(|_: &str, password: &str| match password {
        "boom" => panic!("the verifier breaks off, as this test wants"),
        other => other == "a",
    });
    let users = Users::with(&path, seal(), verifier, Arc::new(Instant::now)).unwrap();
    for _ in 0..3 {
        let result = users
            .authenticate(Some(&basic("shop1", "boom")), peer(1))
            .await;
        assert!(matches!(result, Err(Denied::Slow { .. })));
    }
    assert!(
        users
            .authenticate(Some(&basic("shop1", "a")), peer(1))
            .await
            .is_ok()
    );
}

/// Some moment, in milliseconds of the Unix epoch.
const NOW_MS: i64 = 1_795_323_468_999;

fn issue(bench: &Bench, caller: &Caller, scopes: &[&str]) -> Result<String, IssueError> {
    let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
    bench.users.issue(caller, &scopes, 60, NOW_MS)
}

#[tokio::test]
async fn a_password_in_a_form_is_one_in_a_header() {
    let bench = Bench::open();
    let caller = bench.users.login("shop1", "a", peer(1)).await.unwrap();
    assert_eq!(&*caller.user, "shop1");
    bench.login("shop1", "a", 1).await.unwrap();
    assert_eq!(bench.hashes(), 1);
    for (user, password) in [("shop1", ""), ("", "a"), ("sh op", "a"), ("shop1", "a\n")] {
        let result = bench.users.login(user, password, peer(1)).await;
        assert_eq!(denied(result), WRONG);
    }
    assert_eq!(bench.hashes(), 1);
    for n in 0..6 {
        let wrong = format!("x{n}");
        let result = match n % 2 {
            0 => bench.users.login("shop1", &wrong, peer(1)).await,
            _ => bench.login("shop1", &wrong, 1).await,
        };
        assert_eq!(denied(result), WRONG);
    }
    let result = bench.users.login("shop1", "y", peer(1)).await;
    assert_eq!(denied(result), Err(Denied::Slow { retry_after_s: 1 }));
}

#[tokio::test]
async fn a_session_ends_after_its_hours() {
    let bench = Bench::open();
    let caller = bench.login("shop1", "a", 1).await.unwrap();
    let session = bench.users.begin_session(&caller, NOW_MS).unwrap();
    let end_ms = NOW_MS - 999 + i64::from(SESSION_LIFETIME_S) * 1000;
    let last = bench.users.session(&session, end_ms - 1);
    assert_eq!(&*last.unwrap().user, "shop1");
    assert!(bench.users.session(&session, end_ms).is_none());
    assert_eq!(SESSION_LIFETIME_S, 8 * 60 * 60);
}

#[tokio::test]
async fn a_token_carries_its_user_until_it_expires() {
    let bench = Bench::open();
    let caller = bench.login("shop1", "a", 1).await.unwrap();
    let token = issue(&bench, &caller, &[]).unwrap();
    let last_ms = NOW_MS - 999 + 60_000 - 1;
    let by_token = bench.users.bearer(&token, last_ms).unwrap();
    assert_eq!(&*by_token.user, "shop1");
    assert!(by_token.may(Right::List, &"x".parse().unwrap()) && !by_token.is_limited());
    assert!(bench.users.bearer(&token, last_ms + 1).is_none());
    assert!(bench.users.bearer("", NOW_MS).is_none());
    let limited = issue(&bench, &caller, &["composition:read"]).unwrap();
    let limited = bench.users.bearer(&limited, NOW_MS).unwrap();
    assert!(limited.has_scope("composition:read") && !limited.has_scope("composition:sign"));
    assert_eq!(bench.hashes(), 1);
}

#[tokio::test]
async fn a_token_outlives_a_restart_and_has_the_rights_of_its_use() {
    let bench = Bench::open();
    let caller = bench.login("shop1", "a", 1).await.unwrap();
    let token = issue(&bench, &caller, &[]).unwrap();
    bench.edit(|file| let_upload(file, "shop1"));
    let path = bench.dir.path().join("users.toml");
    let users = Users::open(&path, seal()).unwrap();
    let caller = users.bearer(&token, NOW_MS).unwrap();
    assert!(caller.may(Right::Upload, &"x".parse().unwrap()));
    assert!(!caller.may(Right::List, &"x".parse().unwrap()));
    let elsewhere = Users::open(&path, Seal::new([8; crate::domain::KEY_BYTES])).unwrap();
    assert!(elsewhere.bearer(&token, NOW_MS).is_none());
}

#[tokio::test]
async fn another_password_voids_tokens_and_keys_and_so_does_going() {
    let bench = Bench::open();
    let caller = bench.login("shop1", "a", 1).await.unwrap();
    let token = issue(&bench, &caller, &[]).unwrap();
    let key = bench.users.api_key("shop1").unwrap();
    assert!(bench.users.is_api_key("shop1", &key) && !bench.users.is_api_key("shop2", &key));
    bench.edit(|file| file.set_password("shop1", &stored('c')));
    bench.users.reload().unwrap();
    assert!(bench.users.bearer(&token, NOW_MS).is_none());
    assert!(!bench.users.is_api_key("shop1", &key));
    assert_ne!(bench.users.api_key("shop1").unwrap(), key);
    // A login that began before the change gets no token that would outlive it.
    assert_eq!(issue(&bench, &caller, &[]), Err(IssueError::NotProven));
    let caller = bench.login("shop1", "c", 1).await.unwrap();
    let (token, key) = (
        issue(&bench, &caller, &[]).unwrap(),
        bench.users.api_key("shop1").unwrap(),
    );
    bench.edit(|file| file.remove("shop1"));
    bench.users.reload().unwrap();
    assert!(bench.users.bearer(&token, NOW_MS).is_none());
    assert!(!bench.users.is_api_key("shop1", &key));
    assert_eq!(bench.users.api_key("shop1"), None);
    assert_eq!(issue(&bench, &caller, &[]), Err(IssueError::NotProven));
}

#[tokio::test]
async fn a_token_is_for_passwords_and_for_scopes_that_are_some() {
    let bench = Bench::open();
    let caller = bench.login("shop1", "a", 1).await.unwrap();
    let token = issue(&bench, &caller, &[]).unwrap();
    let by_token = bench.users.bearer(&token, NOW_MS).unwrap();
    let root = Caller::operator("shop1");
    for unproven in [by_token, Caller::anonymous(), root] {
        assert_eq!(issue(&bench, &unproven, &[]), Err(IssueError::NotProven));
    }
    assert!(issue(&bench, &bench.users.known("shop2").unwrap(), &[]).is_ok());
    assert!(bench.users.known("nobody").is_none());
    for bad in ["", "a b", "a\"", "a\u{e9}"] {
        let refused = issue(&bench, &caller, &["a", bad]);
        assert!(matches!(refused, Err(IssueError::Scope(_))), "{bad}");
    }
    let refused = issue(&bench, &caller, &["a"; SCOPES_MAX + 1]);
    assert_eq!(refused, Err(IssueError::TooManyScopes));
}
