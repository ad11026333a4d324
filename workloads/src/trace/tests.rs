use crate::model::{Model, Promise};
use crate::op::{Access, Op, OpKind};
use crate::registry::{Format, OpenOptions, Opened, Registry};
use crate::{Arrivals, Seed, Workload};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

fn open_as(file: &str, text: &str, options: &OpenOptions) -> Result<Opened, String> {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join(file);
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("a plain path");
    // The folder's name changes from run to run; what is compared begins with the file's.
    let prefix = path.strip_suffix(file).expect("the file's folder");
    Registry::standard().open(path, options).map_err(|error| error.to_string().replace(prefix, ""))
}

fn open(file: &str, text: &str) -> Opened {
    open_as(file, text, &OpenOptions::default()).expect("opens")
}

fn error(file: &str, text: &str) -> String {
    open_as(file, text, &OpenOptions::default()).expect_err("refused")
}

fn set(key: &str, value: &str) -> OpenOptions {
    OpenOptions { set: vec![(key.into(), value.into())], ..OpenOptions::default() }
}

/// Runs a stream against a plain map, as an engine would, and has the model judge it.
fn run(workload: &dyn Workload, ops: usize) -> HashMap<Vec<u8>, Vec<u8>> {
    let (mut store, mut model) = (HashMap::new(), Model::new(workload.records(), Promise::Linearizable));
    let mut taken = 0;
    for op in workload.preload(Seed(1)) {
        model.settled(&op);
        store.insert(op.key.to_vec(), op.value.expect("a preload writes").into_bytes());
    }
    let mut apply = |op: Op, store: &mut HashMap<Vec<u8>, Vec<u8>>| match op.access() {
        Access::Read => {
            let handle = model.read_begins(op.key_index);
            model.read_ends(handle, store.get(op.key.as_bytes()).map(Vec::as_slice)).expect("a right answer");
        }
        _ => {
            let handle = model.write_begins(&op);
            match &op.value {
                Some(value) => store.insert(op.key.to_vec(), value.as_bytes().to_vec()),
                None => store.remove(op.key.as_bytes()),
            };
            model.write_ends(handle, true);
        }
    };
    for op in workload.stream(Seed(1)).take(ops) {
        taken += 1;
        apply(op, &mut store);
    }
    for op in workload.finale(taken) {
        assert_eq!(op.access(), Access::Read);
        apply(op, &mut store);
    }
    store
}

const JSONL: &str = r#"{"ts":100,"op":"put","key":"a","dir":"x","value":{"name":"first", "n":1}}
{"ts":100,"op":"put","key":"b","value":[1,  2]}

{"ts":103,"op":"put","key":"a","value":{"name":"second"}}
{"ts":102,"op":"delete","key":"b"}
"#;

#[test]
fn each_change_is_written_and_read_before_and_after() {
    let opened = open("people.jsonl", JSONL);
    let workload = opened.workload;
    assert_eq!((workload.name(), workload.records()), ("people", 0));
    let ops: Vec<Op> = workload.stream(Seed(1)).take(12).collect();
    let kinds: Vec<OpKind> = ops[..3].iter().map(|op| op.kind).collect();
    assert_eq!(kinds, [OpKind::ReadProfile, OpKind::UpdateProfile, OpKind::ReadProfile]);
    let value = |at: usize| ops[at].value.as_ref().map(|value| value.as_bytes());
    assert_eq!(value(1), Some(br#"{"name":"first", "n":1}"#.as_slice()), "byte for byte");
    assert_eq!(value(4), Some(b"[1,  2]".as_slice()));
    assert_eq!(ops[10].kind, OpKind::DeleteProfile);
    assert_eq!(ops.iter().map(|op| op.key_index).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]);
    let store = run(&*workload, 12);
    assert_eq!(store.len(), 1);
    assert_eq!(store[b"a".as_slice()], br#"{"name":"second"}"#);
}

#[test]
fn a_short_stream_goes_on_in_passes_with_keys_of_their_own() {
    let workload = open("people.jsonl", JSONL).workload;
    let ops: Vec<Op> = workload.stream(Seed(1)).take(36).collect();
    assert_eq!(ops[12].key.as_bytes(), b"a#p1");
    assert_eq!((ops[12].key_index, ops[15].key_index, ops[24].key_index), (2, 3, 4));
    let read_at_the_end = |streamed| {
        workload
            .finale(streamed)
            .map(|op| String::from_utf8(op.key.to_vec()).expect("text"))
            .collect::<Vec<_>>()
    };
    assert_eq!(read_at_the_end(0), [""; 0]);
    assert_eq!(read_at_the_end(1), ["a"]);
    assert_eq!(read_at_the_end(4), ["a", "b"]);
    assert_eq!(read_at_the_end(12), ["a", "b"]);
    assert_eq!(read_at_the_end(14), ["a", "b", "a#p1"]);
    run(&*workload, 40);
    let two = open_as("people.jsonl", JSONL, &set("passes", "2")).expect("opens").workload;
    assert_eq!(two.stream(Seed(1)).count(), 24);
}

#[test]
fn recorded_times_are_kept_in_order_and_replayed_at_their_speed() {
    let times = |speed: &str| {
        let workload = open_as("people.jsonl", JSONL, &set("speed", speed)).expect("opens").workload;
        let arrivals = workload.arrivals();
        assert!(matches!(arrivals, Arrivals::Recorded(_)));
        arrivals.due_times(Seed(1), 1.0).take(13).map(|ns| ns as f64 / 1e9).collect::<Vec<_>>()
    };
    assert_eq!(times("original"), [0., 0., 0., 0., 0., 0., 3., 3., 3., 3., 3., 3., 4.]);
    assert_eq!(times("x2")[6], 1.5);
    assert_eq!(times("max")[6], 6.0);
    assert!(
        open_as("p.jsonl", JSONL, &set("speed", "warp")).expect_err("refused").contains("write original, xK")
    );
    assert!(
        open_as("p.jsonl", JSONL, &set("pace", "max"))
            .expect_err("refused")
            .contains("takes speed and passes")
    );
}

#[test]
fn a_damaged_json_line_is_named() {
    let with = |line: &str| error("c.jsonl", &format!("{JSONL}{line}\n"));
    assert_eq!(
        with(r#"{"ts":1,"op":"put","key":"a","val"#),
        r#"c.jsonl:6: the line is cut short (got {\"ts\":1,\"op\":\"put\",\"key\":\"a\",\"val); delete the line or fetch the file again"#
    );
    assert_eq!(
        with(r#"{"ts":1,"op":"upsert","key":"a"}"#),
        "c.jsonl:6: unknown op (got upsert); write put or delete"
    );
    assert_eq!(
        with(r#"{"ts":"soon","op":"put","key":"a","value":1}"#),
        r#"c.jsonl:6: ts is not a whole number of seconds (got \"soon\"); write unix seconds"#
    );
    assert_eq!(
        with(r#"{"ts":1,"op":"put","key":"a"}"#),
        "c.jsonl:6: value is missing; a line has ts, op, key and, for a put, value"
    );
    assert_eq!(
        with(r#"{"ts":1,"op":"put","keys":"a","value":1}"#),
        "c.jsonl:6: unknown field (got keys); did you mean key?"
    );
    assert!(with("ts,key,op").starts_with("c.jsonl:6: the line is not a JSON object"));
    assert!(
        with(r#"{"ts":1,"op":"put","key":7,"value":1}"#).starts_with("c.jsonl:6: key is not a text (got 7)")
    );
    let lenient = OpenOptions { lenient: true, ..OpenOptions::default() };
    let opened =
        open_as("c.jsonl", "{\"ts\":1,\"op\":\"delete\",\"key\":\"a\",\"x\":1}", &lenient).expect("lenient");
    assert!(opened.warnings[0].contains("unknown field (got x)"), "{:?}", opened.warnings);
}

const CSV: &str = "ts,key,op,value_bytes\n10,k1,put,470\n11,k2,put,8\n12,k1,delete,0\n";

#[test]
fn a_stream_without_values_gets_values_of_the_recorded_length() {
    let workload = open("trace.csv", CSV).workload;
    let lengths: Vec<usize> =
        workload.stream(Seed(1)).take(9).filter_map(|op| op.value.map(|value| value.len())).collect();
    assert_eq!(lengths, [470, 8]);
    let store = run(&*workload, 9);
    assert_eq!(store.keys().collect::<Vec<_>>(), [b"k2"]);
    run(&*workload, 50);
}

#[test]
fn a_damaged_csv_row_is_named() {
    let with = |row: &str| error("t.csv", &format!("{CSV}{row}\n"));
    assert_eq!(
        with("13,k9,pu"),
        "t.csv:5: the row is cut short: 3 of 4 columns (got 13,k9,pu); a row reads ts,key,op,value_bytes; delete it \
         or fetch the file again"
    );
    assert_eq!(
        with("13,k9,put,many"),
        "t.csv:5: value_bytes is not a whole number in range (got many); write 0 to 67108864, or delete the row"
    );
    assert!(with("13,k9,put,99999999999").starts_with("t.csv:5: value_bytes is not a whole number in range"));
    assert_eq!(with("13,k9,patch,1"), "t.csv:5: unknown op (got patch); write put or delete");
    assert!(with("\n\n13,,put,1").starts_with("t.csv:7: key is empty"));
    assert_eq!(
        error("t.csv", "ts,key,op,value_bytes\n"),
        "t.csv:1: the file holds no operations; give a file with rows in it"
    );
    let forced = OpenOptions { format: Format::ChangesCsv, ..OpenOptions::default() };
    let refused = open_as("t.csv", "10,k1,put,470\n", &forced).expect_err("no header");
    assert_eq!(
        refused,
        "t.csv:1: the header is missing (got 10,k1,put,470); begin the file with ts,key,op,value_bytes"
    );
}

const RAW: &str = "0,y:4.a-b/(c),13,2259,1,get,0\n0,miss,4,0,2,get,0\n1,new,3,63,3,set,600\n1,y:4.a-b/(c),13,100,1,cas,0\n2,new,3,0,3,delete,0\n2,new,3,0,3,gets,0\n";

#[test]
fn twitter_s_columns_are_replayed_over_the_keys_that_were_there() {
    let workload = open("cluster.csv", RAW).workload;
    let preload: Vec<Op> = workload.preload(Seed(1)).collect();
    assert_eq!(
        (workload.records(), preload.len()),
        (1, 1),
        "only the get that hit shows a key that was there"
    );
    assert_eq!(preload[0].key.as_bytes(), b"y:4.a-b/(c)");
    assert_eq!(preload[0].value.as_ref().map(crate::Value::len), Some(2259));
    let ops: Vec<Op> = workload.stream(Seed(1)).take(6).collect();
    let accesses: Vec<Access> = ops.iter().map(Op::access).collect();
    use Access::{Delete, Read, Write};
    assert_eq!(accesses, [Read, Read, Write, Write, Delete, Read]);
    assert_eq!(ops[3].value.as_ref().map(crate::Value::len), Some(100));
    assert_eq!(ops[0].key_index, 0);
    assert_eq!(ops[3].key_index, 0);
    run(&*workload, 100);
}

#[test]
fn a_damaged_twitter_row_is_named() {
    let with = |row: &str| error("c.csv", &format!("{RAW}{row}\n"));
    assert_eq!(with("3,k,1,1,1,sett,0"), "c.csv:7: unknown op (got sett); did you mean set?");
    assert!(with("3,k,1,1").starts_with("c.csv:7: the row is cut short: 4 of 7 columns (got 3,k,1,1)"));
    assert!(
        with("3,k,1,-5,1,set,0").starts_with("c.csv:7: value_size is not a whole number in range (got -5)")
    );
    assert!(with("3,k,x,y,1,1,set,0").starts_with("c.csv:7: 8 columns where 7 belong"));
}

const VTIME: &str = "# time, object, size, next_access_vtime\n0, 13053225291711363978, 737, 13\n0, 18446744073709551615, 5, -1\n1, 13053225291711363978, 800, 18446744073709551615\n";

#[test]
fn the_header_form_takes_objects_beyond_i64_and_draws_the_operations() {
    let workload = open("c52.csv", VTIME).workload;
    let preload: Vec<Op> = workload.preload(Seed(1)).collect();
    assert_eq!(preload.len(), 2);
    assert_eq!(preload[0].key.as_bytes(), b"13053225291711363978");
    assert_eq!(preload[0].value.as_ref().map(crate::Value::len), Some(717), "the size counts key and value");
    assert_eq!(preload[1].value.as_ref().map(crate::Value::len), Some(1));
    let reads = workload.stream(Seed(1)).take(20_000).filter(|op| op.access() == Access::Read).count();
    assert!((reads as f64 / 20_000.0 - 0.9394).abs() < 0.006, "{reads}");
    let all = open_as("c52.csv", VTIME, &set("reads", "1")).expect("opens").workload;
    assert!(all.stream(Seed(1)).take(1000).all(|op| op.access() == Access::Read));
    run(&*workload, 3000);
    assert!(
        error("c.csv", &format!("{VTIME}1, 18446744073709551616, 5, 0\n"))
            .starts_with("c.csv:5: object is not")
    );
    assert!(error("c.csv", &format!("{VTIME}1, 5\n")).starts_with("c.csv:5: the row is cut short"));
}

#[test]
fn a_named_format_overrides_the_content() {
    let forced = OpenOptions { format: Format::TwitterRaw, ..OpenOptions::default() };
    assert!(
        open_as("c.csv", CSV, &forced).expect_err("refused").starts_with("c.csv:1: the row is cut short")
    );
    let known = error("orm.csv", "seq,page,type\n0,3087007745,23\n");
    assert!(known.starts_with("orm.csv: format not known (begins with seq,page,type)"), "{known}");
}

/// A file of the optional sibling folder with real inputs; says so and returns `None` where it is absent.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn shared(path: &str) -> Option<String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if file.exists() {
        return file.to_str().map(str::to_owned);
    }
    eprintln!("skipped: ../shared/data/{path} is not there");
    None
}

#[test]
fn the_real_change_stream_runs_without_a_wrong_answer() {
    let Some(file) = shared("member-updates/openstates-2026-03_04.jsonl") else { return };
    let workload = Registry::standard().open(&file, &OpenOptions::default()).expect("opens").workload;
    assert_eq!(workload.name(), "openstates-2026-03_04");
    let pass: Vec<Op> = workload.stream(Seed(1)).take(3 * 2732).collect();
    assert_eq!(pass.iter().filter(|op| op.access() == Access::Write).count(), 2731);
    assert_eq!(pass.iter().filter(|op| op.access() == Access::Delete).count(), 1);
    let keys: HashSet<_> = pass.iter().map(|op| op.key.clone()).collect();
    assert_eq!(workload.finale(3 * 2732).count(), keys.len());
    run(&*workload, 3 * 2732 + 1000);
}

/// Every workload among the real files opens and asks something; the others say what they are.
#[test]
fn every_real_file_is_read_or_named() {
    for path in [
        "ycsb/workloada",
        "ycsb/workloadb",
        "ycsb/workloadc",
        "ycsb/workloadd",
        "ycsb/workloade",
        "ycsb/workloadf",
        "omb/1-topic-1-partition-1kb.yaml",
        "omb/1-topic-16-partitions-1kb.yaml",
        "omb/1m-10-topics-3-partitions-100b.yaml",
        "omb/backlog-1-topic-1-partition-1kb.yaml",
        "omb/simple-workload.yaml",
        "traces/twitter_cluster52_first80k.csv",
        "traces/twitter_cluster026_head5.csv",
        "traces/cache2k_orm-night_first100k.csv",
        "member-updates/openstates-2026-03_04.jsonl",
        "member-updates/openstates-trace-2023.csv",
    ] {
        let Some(file) = shared(path) else { continue };
        let opened = Registry::standard().open(&file, &OpenOptions::default()).expect(path);
        let workload = opened.workload;
        assert_eq!(workload.stream(Seed(1)).take(1000).count(), 1000, "{path}: short ones are repeated");
        assert!(!workload.parameters().is_empty() && !workload.about().is_empty(), "{path}");
        if !path.ends_with("workloade") {
            run(&*workload, 3000);
        }
        for warning in opened.warnings {
            assert!(warning.contains("payloadFile") || warning.contains("backlog"), "{path}: {warning}");
        }
    }
    let Some(driver) = shared("omb/driver-kafka-throughput.yaml") else { return };
    let error =
        Registry::standard().open(&driver, &OpenOptions::default()).expect_err("no workload").to_string();
    assert!(error.contains("a driver file"), "{error}");
}

#[test]
fn the_real_traces_are_read_whole() {
    for (path, ops, records) in [
        ("member-updates/openstates-trace-2023.csv", 3 * 27_548, 0),
        ("traces/twitter_cluster52_first80k.csv", 80_000, 1),
        ("traces/twitter_cluster026_head5.csv", 5, 3),
        ("traces/cache2k_orm-night_first100k.csv", 100_000, 1),
    ] {
        let Some(file) = shared(path) else { continue };
        let workload = Registry::standard().open(&file, &OpenOptions::default()).expect("opens").workload;
        let taken = workload.stream(Seed(1)).take(ops + 1).count();
        assert!(taken == ops || ops < 10_000, "{path}: {taken}");
        assert!(workload.records() >= records, "{path}: {} records", workload.records());
        run(&*workload, 20_000);
    }
}
