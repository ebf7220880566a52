//! Any `Authorization` header: no one gets in but the one user with the right password, who is
//! never taken for someone else.
//!
//! The first byte says whether the rest is a header, or user and password to make one of. Guesses
//! cost a hash each until the throttle steps in; after that they are cheap.

#![no_main]

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use libfuzzer_sys::{Corpus, fuzz_target};
use spoolgate::auth::{Denied, Grants, Users, UsersFile, hash_password};
use spoolgate::domain::{KEY_BYTES, Seal};
use std::{fs, net::IpAddr, os::fd::AsRawFd, path::PathBuf, sync::LazyLock};
use tokio::runtime::{Builder, Runtime};

const USER: &str = "fuzz";
const PASSWORD: &str = "correct horse";

struct Door {
    runtime: Runtime,
    users: Users,
}

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let mut file = UsersFile::default();
    let hash = hash_password(PASSWORD).expect("a good password");
    file.add(USER, &hash, Grants::default())
        .expect("a good name");
    let memory = rustix::fs::memfd_create("users", rustix::fs::MemfdFlags::CLOEXEC);
    let memory = memory.expect("Linux has memory files");
    // Others could write it, and then it would be refused.
    rustix::fs::fchmod(&memory, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .expect("it is ours");
    let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    fs::write(&path, file.to_string()).expect("memory can be written");
    let runtime = Builder::new_current_thread()
        .max_blocking_threads(1)
        .build();
    let door = Door {
        runtime: runtime.expect("a runtime"),
        users: Users::open(&path, Seal::new([0; KEY_BYTES])).expect("the file is good"),
    };
    // Once familiar, a user answers for its own mistakes only.
    assert!(knock(&door, &made(&format!("{USER}:{PASSWORD}"))).is_ok());
    door
});

fn knock(door: &Door, header: &HeaderValue) -> Result<String, Denied> {
    let peer = IpAddr::from([192, 0, 2, 1]);
    let caller = door
        .runtime
        .block_on(door.users.authenticate(Some(header), peer));
    caller.map(|caller| caller.user.to_string())
}

fn made(pair: &str) -> HeaderValue {
    let header = format!("Basic {}", STANDARD.encode(pair));
    HeaderValue::try_from(header).expect("base64 is visible")
}

/// What a header says, read by another hand.
fn said(header: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, code) = header.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| STANDARD.decode(code).ok())?
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((mode, rest)) = data.split_first() else {
        return Corpus::Reject;
    };
    let header = if mode % 2 == 0 {
        HeaderValue::from_bytes(rest).ok()
    } else {
        str::from_utf8(rest).ok().map(made)
    };
    let Some(header) = header else {
        return Corpus::Reject;
    };
    let right = said(&header).is_some_and(|said| said == format!("{USER}:{PASSWORD}").as_bytes());
    match knock(&DOOR, &header) {
        Ok(user) => assert!(right && user == USER, "{header:?} is taken for {user}"),
        Err(Denied::Credentials) => assert!(!right, "{header:?} is refused"),
        Err(Denied::Slow { retry_after_s }) => assert!((1..=300).contains(&retry_after_s)),
    }
    Corpus::Keep
});
