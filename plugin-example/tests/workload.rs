//! The plugged-in workload is short, is found by name, and its stream is judged like any other.

use std::collections::HashMap;
use workloads::{Access, Model, OpenOptions, Promise, Registry, Seed};

#[test]
fn a_workload_takes_at_most_forty_lines() {
    let lines = include_str!("../src/workload.rs").lines().count();
    assert!(lines <= 40, "{lines} lines");
}

#[test]
fn it_runs_by_name_and_the_model_accepts_a_right_engine_and_catches_a_forgetful_one() {
    let mut registry = Registry::standard();
    plugin_example::workload::register(&mut registry);
    let opened = registry.open("birthday-greetings", &OpenOptions::default()).expect("registered");
    let workload = opened.workload;
    for forgets in [false, true] {
        let mut model = Model::new(workload.records(), Promise::Linearizable);
        let (mut store, mut wrong) = (HashMap::new(), 0);
        for op in workload.preload(Seed(1)) {
            model.settled(&op);
            store.insert(op.key.clone(), op.value.expect("a preload writes").into_bytes());
        }
        assert_eq!(store.len() as u64, workload.records());
        for (turn, op) in workload.stream(Seed(1)).take(100_000).enumerate() {
            if op.access() == Access::Read {
                let handle = model.read_begins(op.key_index);
                wrong += u32::from(model.read_ends(handle, store.get(&op.key).map(Vec::as_slice)).is_err());
            } else {
                let handle = model.write_begins(&op);
                model.write_ends(handle, true);
                if !(forgets && turn % 1000 == 0) {
                    store.insert(op.key.clone(), op.value.expect("a write").into_bytes());
                }
            }
        }
        assert_eq!(wrong, if forgets { 100 } else { 0 });
    }
}
