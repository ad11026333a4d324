//! The key-value store: its messages, and the files of its folder.

use engine_env::Home;
use engine_env::rng::Seed;
use engine_env::sim::SimHome;
use kv_engine::{Bitcask, KvConfig, Request, Response, VectorClock, inspect_segment};

use crate::folder::{put, split};

pub(crate) fn clock(bytes: &[u8]) -> bool {
    let Ok((clock, len)) = VectorClock::decode(bytes) else { return false };
    let mut again = Vec::new();
    clock.encode(&mut again);
    // The original writes versions as wide as it likes; ours are as narrow as they can be.
    assert!(again.len() <= len, "no clock is longer than it came");
    assert_eq!(
        VectorClock::decode(&again),
        Ok((clock, again.len())),
        "what was read can be written and read"
    );
    len == bytes.len()
}

pub(crate) fn request(bytes: &[u8]) -> bool {
    let Ok((id, request)) = Request::decode(bytes) else { return false };
    let again = request.encode(id);
    assert_eq!(Request::decode(&again), Ok((id, request)), "what was read can be written and read");
    true
}

pub(crate) fn response(bytes: &[u8]) -> bool {
    let Ok((id, response)) = Response::decode(bytes) else { return false };
    let again = response.encode(id);
    assert_eq!(Response::decode(&again), Ok((id, response)), "what was read can be written and read");
    true
}

pub(crate) fn segment(bytes: &[u8]) -> bool {
    inspect_segment(bytes).is_ok_and(|found| found.damage.is_empty() && !found.records.is_empty())
}

/// A folder of mark, merged segment 1, a hint, segments 1 and 2: opened twice, which gives the same.
pub(crate) fn store(input: &[u8]) -> bool {
    let [mark, merged, hint, first, second] = split(input);
    let config = KvConfig { segment_bytes: 4096, ..KvConfig::default() };
    let home = SimHome::new(Seed(1));
    let open = || {
        let mut disk = home.disk().expect("the machine runs");
        let (store, report) =
            Bitcask::open(&mut disk, config.clone()).expect("damage is no reason not to open");
        let mut dump = Vec::new();
        store.for_each(|key, versions| dump.push((key.to_vec(), versions.map_err(|e| e.to_string()))));
        dump.sort_by(|a, b| a.0.cmp(&b.0));
        (dump, report)
    };
    open();
    put(
        &home,
        &[
            ("mark", mark),
            ("merged-0000000001.kv", merged),
            ("data-0000000001.hint", hint),
            ("data-0000000001.kv", first),
            ("data-0000000002.kv", second),
        ],
    );
    let (found, report) = open();
    let (again, second_report) = open();
    assert_eq!(found, again, "opening changes nothing the second time");
    assert_eq!(second_report.tail_truncated, None, "a tail is cut once");
    report.damage.is_empty() && report.records > 0
}
