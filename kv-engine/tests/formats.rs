//! The bytes on the disk are those of docs/formats: a store writes, and the documents' golden bytes must come out.

mod golden;

use engine_env::Home;
use engine_env::rng::Seed;
use engine_env::sim::SimHome;
use kv_engine::{
    Bitcask, Damage, DamageKind, Durability, KvConfig, RecordKind, VectorClock, Versioned, inspect_segment,
};
use proptest::prelude::*;

use golden::golden;

fn check(document: &str, name: &str, written: &[u8]) {
    let expected = golden(document, name);
    let hex = written.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    assert!(written == expected, "{document}, {name}: the store now writes\n{hex}");
}

/// The store of the documents: a put, and a delete of it.
fn example() -> SimHome {
    let home = SimHome::new(Seed(1));
    let mut disk = home.disk().expect("power");
    let (store, _) = Bitcask::open(&mut disk, KvConfig::default()).expect("an empty folder");
    let clock = VectorClock::from_entries([(1, 2), (3, 256)], 1_700_000_000_000).expect("valid");
    store.put_through(b"key", &Versioned::new(clock.clone(), b"value")).expect("a fresh key");
    assert!(store.delete_through(b"key", &clock).expect("it is there"));
    store.close(&mut disk).expect("it closes");
    home
}

#[test]
fn a_store_writes_the_documented_bytes() {
    let home = example();
    assert_eq!(home.files(), ["FORMAT", "data-0000000001.kv", "mark"]);
    assert_eq!(home.seen_bytes("FORMAT").expect("it is there"), b"kv-engine 2\n");
    check("kv-segment.md", "segment", &home.seen_bytes("data-0000000001.kv").expect("it is there"));
    let mark = home.seen_bytes("mark").expect("it is there");
    assert_eq!(mark.len(), 2048);
    check("kv-mark.md", "anchor slot", &mark[512..512 + 52]);
    // With another durability the segment doesn't go on, so it gets a hint.
    let mut disk = home.disk().expect("power");
    let synced = KvConfig { durability: Durability::Synced, ..KvConfig::default() };
    let (store, _) = Bitcask::open(&mut disk, synced).expect("it opens");
    store.maintain(&mut disk).expect("a healthy machine");
    check("kv-hint.md", "hint", &home.seen_bytes("data-0000000001.hint").expect("it is there"));
}

#[test]
fn the_documented_bytes_are_read_as_documented() {
    let segment = inspect_segment(&golden("kv-segment.md", "segment")).expect("a segment");
    assert_eq!((segment.segment.id, segment.segment.live_as_of, segment.segment.synced), (1, 1, false));
    let [put, tombstone] = segment.records.as_slice() else { panic!("{segment:?}") };
    assert_eq!(
        (put.kind, put.sequence, put.key.as_slice(), put.value_len),
        (RecordKind::Put, 1, &b"key"[..], 5)
    );
    assert_eq!(put.clock.to_string(), "1:2,3:256");
    assert_eq!((tombstone.kind, tombstone.sequence), (RecordKind::Tombstone, 2));
    assert_eq!(segment.damage, []);
}

/// A segment with a few records, and what happens to it.
fn damaged() -> impl Strategy<Value = (Vec<u8>, Vec<(usize, u8)>, usize)> {
    (
        prop::collection::vec((0u8..4, 0usize..60), 1..12),
        prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 0..4),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(puts, flips, cut)| {
            let home = SimHome::new(Seed(1));
            let mut disk = home.disk().expect("power");
            let (store, _) = Bitcask::open(&mut disk, KvConfig::default()).expect("an empty folder");
            for (count, (key, len)) in (1..).zip(puts) {
                let clock = VectorClock::from_entries([(0, count)], 0).expect("valid");
                store.put_through(&[key], &Versioned::new(clock, vec![count as u8; len])).expect("newer");
            }
            let bytes = home.seen_bytes("data-0000000001.kv").expect("it is there");
            let flips = flips.into_iter().map(|(at, mask)| (at.index(bytes.len()), mask)).collect();
            let cut = cut.index(bytes.len());
            (bytes, flips, cut)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_inspected_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        headed in any::<bool>(),
    ) {
        let mut whole = if headed { golden("kv-segment.md", "segment")[..36].to_vec() } else { Vec::new() };
        whole.extend(bytes);
        let _ = inspect_segment(&whole);
    }

    /// Flipped bytes and a cut end: every record that was not hit is found where it was, nothing else is.
    #[test]
    fn damage_is_located_and_spares_the_rest((bytes, flips, cut) in damaged(), cuts in any::<bool>()) {
        let whole = inspect_segment(&bytes).expect("it was just written");
        prop_assert_eq!(&whole.damage, &Vec::<Damage>::new());
        let mut hit = bytes.clone();
        for (at, mask) in &flips {
            hit[*at] ^= mask;
        }
        if cuts {
            hit.truncate(cut);
        }
        let Ok(found) = inspect_segment(&hit) else {
            prop_assert!(hit.len() < 36 || hit[..36] != bytes[..36], "only a damaged header is refused");
            return Ok(());
        };
        let intact = whole.records.iter().filter(|r| {
            let (from, to) = (r.position as usize, (r.position + r.len) as usize);
            hit.get(from..to) == Some(&bytes[from..to])
        });
        let good = found.records.iter().filter(|r| r.damage.is_none());
        prop_assert!(good.eq(intact), "{found:?}");
        for record in found.records.iter().filter(|r| r.damage.is_some()) {
            let only_value = matches!(record.damage, Some(DamageKind::ValueChecksum { .. }));
            prop_assert!(only_value, "{record:?}");
        }
    }

    /// Any bytes in place of a store's files: an error or a report, never a panic; and the same when opened again.
    #[test]
    fn any_bytes_in_a_store_are_survived(
        segment in prop::collection::vec(any::<u8>(), 0..300),
        mark in prop::collection::vec(any::<u8>(), 0..300),
        at in 0u64..80,
    ) {
        let home = example();
        let len = home.seen_bytes("data-0000000001.kv").expect("it is there").len();
        let piece = &segment[..segment.len().min(len - at as usize)];
        home.corrupt("data-0000000001.kv", at, piece).expect("within the file");
        home.corrupt("mark", at, &mark).expect("within the file");
        let open = || {
            let mut disk = home.disk().expect("power");
            let (store, report) = Bitcask::open(&mut disk, KvConfig::default()).expect("damage is no error");
            let mut dump = Vec::new();
            store.for_each(|key, versions| dump.push((key.to_vec(), versions.map_err(|e| e.to_string()))));
            dump.sort_by(|a, b| a.0.cmp(&b.0));
            (dump, report)
        };
        let (first, _) = open();
        let (second, report) = open();
        prop_assert_eq!(first, second);
        prop_assert_eq!(report.tail_truncated, None);
    }
}
