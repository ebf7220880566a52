//! What holds for every name, id, reference and place. The strategies are shared with the tests
//! of other modules; a `.hold` or a `../x` is among the texts that they try.

use super::*;
use crate::store::fs::PlacePath;
use proptest::prelude::*;
use std::path::{Component, Path};

const CASES: u32 = 64;

/// 2020-01-01T00:00:00Z, where ids start counting, in milliseconds of the Unix epoch.
const EPOCH_MS: i64 = 1_577_836_800_000;
/// What a stamp has digits for.
const YEAR_0_MS: i64 = -62_167_219_200_000;
const YEAR_9999_MS: i64 = 253_370_764_800_000;

/// Few cases, so that all runs stay fast; `PROPTEST_CASES` asks for more. What fails becomes an
/// example in the tests beside the code, so no file remembers it.
pub(crate) fn settings() -> ProptestConfig {
    let default = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").map(|_| default.cases);
    ProptestConfig {
        cases: asked.unwrap_or(CASES),
        failure_persistence: None,
        ..default
    }
}

/// Text of every kind: any characters, the alphabet of names, and what a path would interpret.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "\\PC{0,100}",
        "[-A-Za-z0-9._]{0,100}",
        "[./\\\\@~\0 \r\nax-]{0,12}",
    ]
}

pub(crate) fn any_job_name() -> impl Strategy<Value = JobName> {
    let kind = prop_oneof![Just(Kind::Json), Just(Kind::Xml)];
    (any_id(), proptest::option::of(any_text()), kind).prop_map(|(id, text, kind)| {
        let reference = text.and_then(|text| Reference::reduce(&text));
        JobName::new(id, reference, kind)
    })
}

pub(crate) fn any_interface() -> impl Strategy<Value = InterfaceName> {
    "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}".prop_map(|name| name.parse().unwrap())
}

/// Ids by way of their names, so that the arithmetic is not tested by itself.
fn any_id() -> impl Strategy<Value = JobId> {
    let ms = prop_oneof![0..1_i64 << 41, 0..2000_i64];
    let sequence = prop_oneof![0..4096_u32, Just(0), Just(4095)];
    (ms, sequence).prop_map(|(ms, sequence)| {
        let name = format!("{}-{sequence:05}.xml", stamp(EPOCH_MS + ms));
        name.parse::<JobName>().unwrap().id()
    })
}

/// So few that a job is often sent to where it is.
fn some_interface() -> impl Strategy<Value = InterfaceName> {
    prop_oneof![
        2 => "[ab]".prop_map(|name| name.parse().unwrap()),
        1 => any_interface(),
    ]
}

pub(crate) fn any_queue() -> impl Strategy<Value = Queue> {
    let addressee = prop::option::of("[ab]|[A-Za-z0-9._@-]{1,64}");
    (some_interface(), addressee).prop_map(|(interface, user)| Queue {
        interface,
        addressee: user.map(|user| user.parse().unwrap()),
    })
}

/// One of each kind; a deferred job is due when its name says.
pub(crate) fn every_place(job: &JobName) -> [Place; 7] {
    let interface: InterfaceName = "a".parse().unwrap();
    [
        Place::Queue((&interface).into()),
        Place::Queue("a/@shop".parse().unwrap()),
        Place::Deferred {
            interface: interface.clone(),
            due_ms: job.id().unix_ms(),
        },
        Place::Work {
            interface: interface.clone(),
            attempt: 2,
        },
        Place::Bak(interface),
        Place::JobErrors,
        Place::Refused,
    ]
}

pub(crate) fn any_place() -> impl Strategy<Value = Place> {
    prop_oneof![
        some_interface().prop_map(Place::Bak),
        any_queue().prop_map(Place::Queue),
        Just(Place::JobErrors),
        Just(Place::Refused),
        (some_interface(), YEAR_0_MS..YEAR_9999_MS)
            .prop_map(|(interface, due_ms)| Place::Deferred { interface, due_ms }),
        (some_interface(), 1..=u32::MAX)
            .prop_map(|(interface, attempt)| Place::Work { interface, attempt }),
    ]
}

fn any_transition() -> impl Strategy<Value = Transition> {
    prop_oneof![
        Just(Transition::Archive),
        Just(Transition::Discard),
        Just(Transition::Fail),
        Just(Transition::Release),
        (1..=u32::MAX).prop_map(|attempt| Transition::Claim { attempt }),
        (YEAR_0_MS..YEAR_9999_MS).prop_map(|due_ms| Transition::Defer { due_ms }),
        any_queue().prop_map(Transition::Requeue),
    ]
}

/// The table of `Place::step` read by columns: from which places a transition leads on.
fn is_legal(from: &Place, by: &Transition) -> bool {
    let queued = matches!(from, Place::Queue(_));
    let deferred = matches!(from, Place::Deferred { .. });
    let working = matches!(from, Place::Work { .. });
    match by {
        Transition::Archive => queued || working,
        Transition::Claim { .. } => queued && from.addressee().is_none(),
        Transition::Defer { .. } => working,
        Transition::Discard => !working,
        Transition::Fail => queued || deferred || working,
        Transition::Release => deferred || working,
        Transition::Requeue(to) => !working && *from != Place::Queue(to.clone()),
    }
}

/// One component of a path that means itself, and that no scan takes for a hidden file.
pub(crate) fn is_plain(component: &str) -> bool {
    let mut components = Path::new(component).components();
    let normal = matches!(components.next(), Some(Component::Normal(c)) if c == component);
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@');
    normal
        && components.next().is_none()
        && !component.starts_with('.')
        && component.bytes().all(alphabet)
        && component.len() <= 255
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_text_is_refused_or_is_a_name_with_one_spelling(text in any_text()) {
        if let Ok(name) = text.parse::<InterfaceName>() {
            prop_assert!(is_plain(&text));
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(name) = text.parse::<JobName>() {
            prop_assert!(is_plain(&text));
            prop_assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn every_job_name_reads_back(name in any_job_name()) {
        let text = name.to_string();
        prop_assert!(is_plain(&text) && text.len() <= NAME_BYTES_MAX, "{}", text);
        prop_assert_eq!(text.parse(), Ok(name));
    }

    /// One letter more, less or other than a name is another name or none.
    #[test]
    fn a_damaged_name_is_no_other_spelling(
        name in any_job_name(),
        at in any::<prop::sample::Index>(),
        letter in "[ -~]?",
        cut in 0..2_usize,
    ) {
        let text = name.to_string();
        let at = at.index(text.len());
        let damaged = format!("{}{letter}{}", &text[..at], &text[at + cut..]);
        if let Ok(other) = damaged.parse::<JobName>() {
            prop_assert_eq!(other == name, damaged == text);
            prop_assert_eq!(other.to_string(), damaged);
        }
    }

    /// A reference that reduction would change makes a second spelling of some name.
    #[test]
    fn a_reference_is_taken_as_it_stands_or_not_at_all(text in prop_oneof![
        any_text(),
        "-{0,2}[a.]{0,3}-{0,2}",
        "[a-]{60,66}",
    ]) {
        let name = format!("{}-00042-{text}.xml", stamp(EPOCH_MS)).parse::<JobName>();
        let reduced = Reference::reduce(&text).is_some_and(|reduced| reduced.as_str() == text);
        prop_assert_eq!(name.is_ok(), reduced, "{:?}", name);
    }

    #[test]
    fn the_order_of_names_is_the_order_of_ids_and_of_ls(a in any_job_name(), b in any_job_name()) {
        if a.id() != b.id() {
            prop_assert_eq!(a.cmp(&b), a.id().cmp(&b.id()));
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.id().cmp(&b.id()));
        }
    }

    #[test]
    fn the_id_is_arithmetic_on_the_name(name in any_job_name()) {
        let (id, text) = (name.id().get(), name.to_string());
        prop_assert!(id < 1 << 53);
        let ms = i64::try_from(id >> 12).unwrap() + EPOCH_MS;
        prop_assert_eq!(ms, name.id().unix_ms());
        let time = jiff::Timestamp::from_millisecond(ms).unwrap();
        let time = format!("{time:.3}").replace(['-', ':'], "");
        prop_assert_eq!(&text[..26], format!("{time}-{:05}", id & 0xFFF));
        let day = name.day().replace('-', "");
        prop_assert!(name.day().len() == 10 && time.starts_with(&day), "{}", day);
    }

    #[test]
    fn variants_are_names_of_the_same_job_and_differ(
        name in any_job_name(),
        (m, n) in (any::<u32>(), any::<u32>()),
    ) {
        let (a, b) = (name.variant(m), name.variant(n));
        prop_assert_eq!(a == b, m == n);
        for variant in [a, b] {
            prop_assert_eq!(variant.id(), name.id());
            prop_assert_eq!(variant.to_string().parse(), Ok(variant));
        }
    }

    #[test]
    fn reduction_gives_the_alphabet_and_is_done_once(
        text in prop_oneof![any_text(), "[a-]{60,70}"],
    ) {
        for reduced in [Reference::reduce(&text), Reference::of_text(&text)] {
            let Some(reduced) = reduced else { continue };
            let kept = reduced.as_str();
            prop_assert!((1..=REFERENCE_BYTES_MAX).contains(&kept.len()));
            prop_assert!(kept.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
            prop_assert!(!kept.starts_with('-') && !kept.ends_with('-'));
            prop_assert_eq!(Reference::reduce(kept), Some(reduced));
        }
    }

    /// Nothing that is worth keeping is lost.
    #[test]
    fn reduction_keeps_every_letter(text in "\\PC{0,60}") {
        let letters = |s: &str| s.replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let kept = Reference::reduce(&text).map_or(String::new(), |r| r.as_str().to_owned());
        prop_assert_eq!(letters(&kept), letters(&text));
    }

    #[test]
    fn ids_come_once_and_rise_by_a_clock_that_is_nearly_right(
        floor_ms in prop_oneof![any::<i64>(), EPOCH_MS..EPOCH_MS + 100],
        clock in prop::collection::vec(
            prop_oneof![
                any::<i64>(),
                EPOCH_MS..EPOCH_MS + 100,
                EPOCH_MS - 100..EPOCH_MS + (1 << 41) + 100,
            ],
            1..50,
        ),
    ) {
        let mut ids = Ids::above(floor_ms);
        let (mut given, mut last) = (std::collections::BTreeSet::new(), None::<JobId>);
        for now_ms in clock {
            let before = ids.horizon(now_ms);
            let id = ids.next(now_ms);
            prop_assert!(given.insert(id), "{:?} twice", id);
            prop_assert!(last.is_none_or(|last| before.has(last)));
            prop_assert!(ids.horizon(now_ms).has(id), "a later listing sees it");
            let countable = EPOCH_MS..EPOCH_MS + (1 << 41);
            if countable.contains(&now_ms) {
                prop_assert!(id.unix_ms() >= now_ms);
                if let Some(last) = last.filter(|last| last.unix_ms() < now_ms + 60 * 60 * 1000) {
                    prop_assert!(id > last, "{:?} after {:?}", id, last);
                }
            }
            prop_assert!(ids.ranges().len() <= RANGES_MAX);
            let apart = ids.ranges().windows(2).all(|two| two[0].last < two[1].first);
            prop_assert!(apart, "{:?}", ids);
            last = Some(id);
        }
    }

    #[test]
    fn stamps_read_back(ms in YEAR_0_MS..YEAR_9999_MS, any in any::<i64>(), text in any_text()) {
        prop_assert_eq!(parse_stamp(&stamp(ms)), Some(ms));
        // Out of range it is some text; it must not be an end.
        stamp(any);
        if let Some(ms) = parse_stamp(&text) {
            prop_assert_eq!(stamp(ms), text);
        }
    }

    #[test]
    fn stamps_are_digits_in_their_places(digits in "[0-9]{8}T[0-9]{6}\\.[0-9]{3}Z") {
        if let Some(ms) = parse_stamp(&digits) {
            prop_assert_eq!(stamp(ms), digits);
        }
    }

    #[test]
    fn a_queue_prints_and_reads_back(queue in any_queue()) {
        prop_assert_eq!(queue.to_string().parse(), Ok(queue.clone()));
    }

    #[test]
    fn a_step_is_legal_where_the_table_says(place in any_place(), by in any_transition()) {
        match place.step(&by) {
            Err(illegal) => {
                prop_assert!(!is_legal(&place, &by));
                prop_assert_eq!(illegal, Illegal { from: place, by });
            }
            Ok(None) => prop_assert!(is_legal(&place, &by) && by == Transition::Discard),
            Ok(Some(to)) => {
                prop_assert!(is_legal(&place, &by));
                let expected = match (by, place.interface().cloned()) {
                    (Transition::Requeue(to), _) => Place::Queue(to),
                    (Transition::Fail, _) => Place::JobErrors,
                    (Transition::Archive, Some(interface)) => Place::Bak(interface),
                    (Transition::Release, Some(interface)) => Place::Queue(interface.into()),
                    (Transition::Claim { attempt }, Some(interface)) => {
                        Place::Work { interface, attempt }
                    }
                    (Transition::Defer { due_ms }, Some(interface)) => {
                        Place::Deferred { interface, due_ms }
                    }
                    (by, interface) => panic!("{by:?} of {interface:?} leads to {to:?}"),
                };
                prop_assert_eq!(to, expected);
            }
        }
    }

    /// Whatever is done to a job, one path has it, and each step changes that path.
    #[test]
    fn a_job_is_in_one_place_all_its_life(
        name in any_job_name(),
        start in any_queue(),
        life in prop::collection::vec(any_transition(), 0..20),
    ) {
        let mut place = Place::Queue(start);
        for by in life {
            match place.step(&by) {
                Err(_) => {}
                Ok(None) => break,
                Ok(Some(to)) => {
                    prop_assert_ne!(to.path(&name), place.path(&name), "{:?}", by);
                    place = to;
                }
            }
        }
    }
}
