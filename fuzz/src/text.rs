//! What people and other programs write: workload files of every format, tokens and dumps of the stress writer.

use std::io::Cursor;

use crash_lab::stress::{Dump, Token};
use workloads::{OpenOptions, Registry, Seed};

pub(crate) fn token(bytes: &[u8]) -> bool {
    let Ok(token) = String::from_utf8_lossy(bytes).parse::<Token>() else { return false };
    assert_eq!(
        token.to_string().parse::<Token>().as_ref(),
        Ok(&token),
        "what was read can be written and read"
    );
    true
}

pub(crate) fn dump(bytes: &[u8]) -> bool {
    let Ok(dump) = Dump::parse(&String::from_utf8_lossy(bytes)) else { return false };
    let again = Dump::parse(&dump.to_string()).expect("what was read can be written and read");
    assert_eq!(again.to_string(), dump.to_string());
    true
}

pub(crate) fn cluster_xml(bytes: &[u8]) -> bool {
    kv_engine::Cluster::parse("input", &String::from_utf8_lossy(bytes)).is_ok()
}

pub(crate) fn stores_xml(bytes: &[u8]) -> bool {
    kv_engine::Stores::parse("input", &String::from_utf8_lossy(bytes)).is_ok()
}

/// A workload, and the first operations that it asks for.
pub(crate) fn workload(bytes: &[u8]) -> bool {
    let options = OpenOptions::default();
    let Ok(opened) = Registry::read("input", Cursor::new(bytes.to_vec()), &options) else { return false };
    let workload = opened.workload;
    workload.preload(Seed(1)).take(50).for_each(drop);
    let taken = workload.stream(Seed(1)).take(50).count();
    if workload.records() < 1000 {
        workload.finale(taken as u64).for_each(drop);
    }
    let due: Vec<_> = workload.arrivals().due_times(Seed(1), 10.0).take(50).collect();
    assert!(due.is_sorted(), "time goes forward");
    true
}
