//! Names and ids: a text is refused, or it is a name that prints as that text and that no path
//! interprets. An id comes once, whatever the clock does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spoolgate::{
    domain::{
        Ids, InterfaceName, JobName, Kind, NAME_BYTES_MAX, Place, REFERENCE_BYTES_MAX, Reference,
        parse_stamp, stamp,
    },
    store::fs::{PlacePath, deferred_entry, work_entry},
};
use std::{collections::BTreeSet, path::Component};

/// More make a run slow and show nothing new.
const MOMENTS_MAX: usize = 4;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    names(&text);
    references(&text);
    entries(&text);
    stamps(&text, data);
    ids(data);
});

fn names(text: &str) {
    if let Ok(name) = text.parse::<InterfaceName>() {
        assert_eq!(name.to_string(), text);
        let job: JobName = "20261122T045748.123Z-00042.xml".parse().expect("a name");
        inside(&Place::Queue(name.clone().into()), &job);
        inside(&Place::Bak(name), &job);
    }
    if let Ok(name) = text.parse::<JobName>() {
        assert_eq!(name.to_string(), text);
        job_name(&name);
    }
}

fn job_name(name: &JobName) {
    let text = name.to_string();
    assert!(text.len() <= NAME_BYTES_MAX);
    assert_eq!(text.parse().as_ref(), Ok(name));
    inside(&Place::JobErrors, name);
    let id = name.id();
    assert!(id.get() < 1 << 53, "not exact in JSON");
    assert!(text.starts_with(&stamp(id.unix_ms())));
    assert_eq!(name.day().replace('-', ""), text[..8]);
    let variants = [name.variant(1), name.variant(u32::MAX)];
    assert_ne!(variants[0], variants[1]);
    for variant in variants {
        assert_eq!(variant.id(), id);
        assert_eq!(variant.to_string().parse(), Ok(variant));
    }
}

fn references(text: &str) {
    for reference in [Reference::reduce(text), Reference::of_dropped_file(text)] {
        let Some(reference) = reference else { continue };
        let kept = reference.as_str();
        assert!((1..=REFERENCE_BYTES_MAX).contains(&kept.len()));
        assert_eq!(Reference::reduce(kept).as_ref(), Some(&reference));
        let id = Ids::above(0).next(1_700_000_000_000);
        for kind in [Kind::Json, Kind::Xml] {
            job_name(&JobName::new(id, Some(reference.clone()), kind));
        }
    }
}

fn entries(text: &str) {
    let interface: InterfaceName = "a".parse().expect("a name");
    if let Some((name, attempt)) = work_entry(text) {
        assert_eq!(format!("{name}.a{attempt}"), text);
        let interface = interface.clone();
        inside(&Place::Work { interface, attempt }, &name);
    }
    if let Some((name, due_ms)) = deferred_entry(text) {
        assert_eq!(format!("{}@{name}", stamp(due_ms)), text);
        inside(&Place::Deferred { interface, due_ms }, &name);
    }
}

/// The path is below the spool, and every part of it means itself.
fn inside(place: &Place, name: &JobName) {
    let path = place.path(name);
    assert!(path.parent() == Some(&place.dir(name)));
    for component in path.components() {
        let Component::Normal(component) = component else {
            panic!("{} leads elsewhere", path.display());
        };
        let component = component.to_str().expect("names are ASCII");
        assert!(!component.starts_with('.') && component.len() <= 255);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
        assert!(component.bytes().all(plain), "{component}");
    }
}

fn stamps(text: &str, data: &[u8]) {
    if let Some(ms) = parse_stamp(text) {
        assert_eq!(stamp(ms), text);
    }
    for ms in clock(data) {
        let text = stamp(ms);
        assert!(
            parse_stamp(&text).is_none_or(|read| read == ms || read == 0),
            "{text}"
        );
    }
}

/// The first bytes as moments: absolute ones, and small steps after 2020.
fn clock(data: &[u8]) -> impl Iterator<Item = i64> {
    let moments = data.as_chunks().0.iter().take(MOMENTS_MAX);
    let moments = moments.map(|bytes| i64::from_le_bytes(*bytes));
    moments.flat_map(|ms| [ms, 1_577_836_800_000 + (ms & 0xFFFF)])
}

fn ids(data: &[u8]) {
    let mut clock = clock(data);
    let mut ids = Ids::above(clock.next().unwrap_or_default());
    let mut given = BTreeSet::new();
    for now_ms in clock {
        let id = ids.next(now_ms);
        assert!(given.insert(id), "{id:?} twice");
        assert!(ids.horizon(now_ms).has(id), "{id:?} is not listed");
        if id.get() < 1 << 53 {
            job_name(&JobName::new(id, None, Kind::Xml));
        }
    }
}
