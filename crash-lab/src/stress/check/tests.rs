//! Each kind of violation planted in a dump and found, and clean dumps that pass.

use super::*;
use crate::stress::token_file::Role;

fn tokens(name: &str, lines: &str) -> TokenFile {
    TokenFile::parse(name, lines.as_bytes(), Role::Attempted).expect("tokens")
}

/// The violations of a dump, as text.
fn judged(engine: Engine, dump: &str, acked: &str, attempted: Option<&str>) -> Vec<String> {
    let dump = Dump::parse(dump).expect("a dump");
    let attempted = attempted.map(|lines| tokens("attempted", lines));
    let violations = judge(engine, &dump, &tokens("acked", acked), attempted.as_ref()).expect("own tokens");
    violations.iter().map(ToString::to_string).collect()
}

fn clean(engine: Engine, dump: &str, acked: &str, attempted: &str) {
    assert_eq!(judged(engine, dump, acked, Some(attempted)), Vec::<String>::new());
}

/// Exactly these violations, each known by a part of its sentence.
fn planted(engine: Engine, dump: &str, acked: &str, attempted: Option<&str>, parts: &[&str]) {
    let found = judged(engine, dump, acked, attempted);
    assert_eq!(found.len(), parts.len(), "{found:#?}");
    for part in parts {
        assert!(found.iter().any(|sentence| sentence.contains(part)), "{part:?} is not in {found:#?}");
    }
}

const KV: Engine = Engine::Kv;
const LOG: Engine = Engine::Log;

#[test]
fn what_was_not_acknowledged_may_be_there_or_not() {
    clean(KV, "", "", "put 6b 00000001 1:1");
    clean(KV, "val 6b 00000001 1:1", "", "put 6b 00000001 1:1");
    // Acknowledged, then superseded by an attempt; deleted by an attempt; or neither took effect.
    let attempted = "put 6b 00000002 1:2\ndel 6b 1:2";
    for dump in ["val 6b 00000001 1:1", "val 6b 00000002 1:2", ""] {
        clean(KV, dump, "put 6b 00000001 1:1", attempted);
    }
}

#[test]
fn siblings_stand_beside_each_other_and_a_merge_replaces_both() {
    let acked = "put 6b 00000001 1:1\nput 6b 00000002 1:1,2:1\nput 6b 00000003 1:1,3:1";
    clean(KV, "val 6b 00000002 1:1,2:1\nval 6b 00000003 1:1,3:1", acked, acked);
    planted(
        KV,
        "val 6b 00000002 1:1,2:1",
        acked,
        None,
        &["K1: acknowledged `put 6b 00000003 1:1,3:1` (acked:3) is lost"],
    );
    let merged = format!("{acked}\nput 6b 00000004 1:2,2:1,3:1");
    clean(KV, "val 6b 00000004 1:2,2:1,3:1", acked, &merged);
    planted(
        KV,
        "val 6b 00000001 1:1\nval 6b 00000002 1:1,2:1\nval 6b 00000003 1:1,3:1",
        acked,
        None,
        &[
            "K4: key 6b has version 00000001 1:1 beside 00000002",
            "K4: key 6b has version 00000001 1:1 beside 00000003",
        ],
    );
}

#[test]
fn a_lost_put_is_found() {
    let acked = "put 6b 00000001 1:1\nput 6b 00000002 1:2";
    planted(
        KV,
        "",
        "put 6b 00000001 1:1",
        Some(""),
        &["K1: acknowledged `put 6b 00000001 1:1` (acked:1) is lost"],
    );
    planted(KV, "val 6b 00000001 1:1", acked, None, &["(acked:2) is lost: the key has 00000001 1:1"]);
    // A delete of an older version explains nothing.
    planted(KV, "", acked, Some("del 6b 1:1"), &["(acked:2) is lost"]);
    // Neither does a delete of another key.
    planted(KV, "", "put 6b 00000001 1:1", Some("del 6c 1:1"), &["(acked:1) is lost"]);
}

#[test]
fn a_deleted_version_that_is_back_is_found() {
    let acked = "put 6b 00000001 1:1\ndel 6b 1:1";
    clean(KV, "", acked, acked);
    planted(
        KV,
        "val 6b 00000001 1:1",
        acked,
        Some(acked),
        &["K2: the key of acknowledged `del 6b 1:1` (acked:2)"],
    );
    // A put after the delete descends from the deleted clock, and may be there.
    clean(KV, "val 6b 00000003 1:2", acked, "put 6b 00000003 1:2");
    // One of two siblings deleted: the other stays.
    let siblings = "put 6b 00000001 1:1,2:1\nput 6b 00000002 1:1,3:1\ndel 6b 1:1,2:1";
    clean(KV, "val 6b 00000002 1:1,3:1", siblings, siblings);
    planted(KV, "", siblings, None, &["(acked:2) is lost"]);
}

#[test]
fn wrong_bytes_and_versions_that_nobody_wrote_are_found() {
    let acked = "put 6b 00000001 1:1";
    planted(
        KV,
        "val 6b 000000ff 1:1",
        acked,
        Some(acked),
        &[
            "K1: acknowledged `put 6b 00000001 1:1` (acked:1) reads back with another value",
            "K3: key 6b has version",
        ],
    );
    planted(KV, "val 6b 000000ff 1:1", acked, None, &["K1"]);
    planted(
        KV,
        "val 6b 000000ff 1:2",
        acked,
        Some(""),
        &["K3: key 6b has version 000000ff 1:2, which was never"],
    );
    planted(KV, "val 6c 00000001 1:1", "", Some(acked), &["K3: key 6c"]);
    // A clock used again after an attempt that left no trace: once acknowledged, only the second value is right.
    let reused = "put 6b 00000001 1:1\nput 6b 00000002 1:1";
    clean(KV, "val 6b 00000002 1:1", "put 6b 00000002 1:1", reused);
    planted(KV, "val 6b 00000001 1:1", "put 6b 00000002 1:1", Some(reused), &["K1"]);
    planted(KV, "val 6b 00000001 1:1\nval 6b 00000001 1:1", acked, None, &["K4"]);
}

const ACKED: &str = "app t-0 1.0.1 0000000a 0\napp t-0 1.1.1 0000000b 1\napp t-0 1.0.2 0000000c 2";
const TRIED: &str =
    "app t-0 1.0.1 0000000a\napp t-0 1.1.1 0000000b\napp t-0 1.0.2 0000000c\napp t-0 1.0.3 0000000d";
const WHOLE: &str =
    "rec t-0 0 1.0.1 0000000a\nrec t-0 1 1.1.1 0000000b\nrec t-0 2 1.0.2 0000000c\nend t-0 0 3";

#[test]
fn a_log_with_every_acknowledged_record_passes_with_or_without_the_last_attempt() {
    clean(LOG, WHOLE, ACKED, TRIED);
    let one_more = format!("{}\nrec t-0 3 1.0.3 0000000d", WHOLE.replace("0 3", "0 4"));
    clean(LOG, &one_more, ACKED, TRIED);
    clean(LOG, "end t-1 0 0", "", TRIED);
    clean(LOG, "", "", TRIED);
    assert_eq!(judged(LOG, WHOLE, ACKED, None), Vec::<String>::new());
}

#[test]
fn lost_records_and_low_ends_are_found() {
    let without_last = WHOLE.replace("rec t-0 2 1.0.2 0000000c\n", "").replace("0 3", "0 2");
    planted(
        LOG,
        &without_last,
        ACKED,
        Some(TRIED),
        &[
            "L1: acknowledged `app t-0 1.0.2 0000000c 2` (acked:3) is lost",
            "L3: the partition of acknowledged",
        ],
    );
    planted(
        LOG,
        &WHOLE.replace("rec t-0 1 1.1.1 0000000b\n", ""),
        ACKED,
        None,
        &["(acked:2) is lost", "L2: t-0 has no record at offsets 1..2"],
    );
    planted(LOG, "", ACKED, None, &["(acked:1) is lost", "(acked:2) is lost", "(acked:3) is lost"]);
    let replaced = WHOLE.replace("1.0.2 0000000c", "1.0.3 0000000d");
    planted(
        LOG,
        &replaced,
        ACKED,
        Some(TRIED),
        &["(acked:3) is lost: no record has its ID, and its offset holds 1.0.3"],
    );
}

#[test]
fn records_that_moved_changed_or_came_twice_are_found() {
    let swapped = "rec t-0 0 1.1.1 0000000b\nrec t-0 1 1.0.1 0000000a\nrec t-0 2 1.0.2 0000000c\nend t-0 0 3";
    planted(
        LOG,
        swapped,
        ACKED,
        Some(TRIED),
        &["(acked:1) reads back at offset 1", "(acked:2) reads back at offset 0"],
    );
    let changed = WHOLE.replace("0000000b", "000000ff");
    planted(
        LOG,
        &changed,
        ACKED,
        None,
        &["L1: acknowledged `app t-0 1.1.1 0000000b 1` (acked:2) reads back with another value"],
    );
    let twice = format!("{}\nrec t-0 3 1.0.2 0000000c", WHOLE.replace("0 3", "0 4"));
    planted(LOG, &twice, ACKED, Some(TRIED), &["L2: record 1.0.2 of t-0 is there twice, at offsets 2 and 3"]);
    let shared = format!("{WHOLE}\nrec t-0 2 1.0.3 0000000d");
    planted(LOG, &shared, ACKED, Some(TRIED), &["L2: offset 2 of t-0 holds two records"]);
}

#[test]
fn records_that_nobody_sent_are_found() {
    let extra = format!("{}\nrec t-0 3 9.9.9 0000000d", WHOLE.replace("0 3", "0 4"));
    planted(
        LOG,
        &extra,
        ACKED,
        Some(TRIED),
        &["t-0 has record 9.9.9 at offset 3, which was never attempted"],
    );
    let other_bytes = format!("{}\nrec t-0 3 1.0.3 000000ff", WHOLE.replace("0 3", "0 4"));
    planted(LOG, &other_bytes, ACKED, Some(TRIED), &["but only the value 0000000d was attempted"]);
    let elsewhere = format!("{WHOLE}\nrec t-1 0 1.0.3 0000000d\nend t-1 0 1");
    planted(LOG, &elsewhere, ACKED, Some(TRIED), &["t-1 has record 1.0.3"]);
}

#[test]
fn ends_that_do_not_fit_the_records_are_found() {
    let check = |dump: &str, part: &str| planted(LOG, dump, "", None, &[part]);
    check("rec t-0 0 1.0.1 0000000a", "has records but no end line");
    check("end t-0 0 0\nend t-0 0 1", "has two end lines");
    check("end t-0 2 1", "ends before it starts");
    check("end t-0 1 1", "starts at offset 1");
    check("end t-0 0 2", "no record at offsets 0..2");
    check("rec t-0 0 1.0.1 0000000a\nend t-0 0 0", "a record at offset 0, outside its ends");
    check(&format!("rec t-0 {} 1.0.1 0000000a\nend t-0 0 0", u64::MAX), "outside its ends");
}

#[test]
fn records_of_a_thread_out_of_order_are_found() {
    let check = |first: &str, second: &str| {
        let dump = format!("rec t-0 0 {first} 00000000\nrec t-0 1 {second} 00000000\nend t-0 0 2");
        judged(LOG, &dump, "", None).len()
    };
    assert_eq!(check("1.0.2", "1.0.1"), 1, "one thread's records are swapped");
    assert_eq!(check("2.0.1", "1.1.1"), 1, "a run's record stands behind the next run's");
    assert_eq!(check("1.0.2", "1.1.1"), 0, "two threads of one run have no order");
    assert_eq!(check("1.0.9", "2.0.1"), 0, "a new run counts from the start");
}

#[test]
fn reported_damage_explains_a_gap_but_not_the_loss_of_an_acknowledged_record() {
    let damaged =
        format!("{}\nbad t-0@1..2 checksum differs", WHOLE.replace("rec t-0 1 1.1.1 0000000b\n", ""));
    planted(
        LOG,
        &damaged,
        ACKED,
        Some(TRIED),
        &["L1: acknowledged `app t-0 1.1.1 0000000b 1` (acked:2) is lost"],
    );
    let others = "app t-0 1.0.1 0000000a 0\napp t-0 1.0.2 0000000c 2";
    clean(LOG, &damaged, others, TRIED);
    let elsewhere = damaged.replace("t-0@1..2", "t-1@1..2");
    planted(LOG, &elsewhere, others, Some(TRIED), &["L2: t-0 has no record at offsets 1..2"]);
}

#[test]
fn what_lies_below_a_start_that_was_allowed_may_be_gone() {
    let cut = WHOLE.replace("rec t-0 0 1.0.1 0000000a\n", "").replace("end t-0 0", "end t-0 1");
    clean(LOG, &cut, ACKED, &format!("{TRIED}\ncut t-0 1"));
    clean(LOG, &cut, &format!("{ACKED}\ncut t-0 1"), TRIED);
    // Somebody allowed more than was taken.
    clean(LOG, &cut, ACKED, &format!("{TRIED}\ncut t-0 3"));
    let too_far = "starts at offset 1, but nothing before it was ever retired";
    planted(LOG, &cut, ACKED, Some(TRIED), &[too_far]);
    planted(LOG, &cut, ACKED, Some(&format!("{TRIED}\ncut t-1 1")), &[too_far]);
    let further = cut.replace("rec t-0 1 1.1.1 0000000b\n", "").replace("end t-0 1", "end t-0 2");
    let tried = format!("{TRIED}\ncut t-0 1");
    planted(LOG, &further, ACKED, Some(&tried), &["starts at offset 2, but only what lies below 1"]);
    // Above the start nothing is excused.
    let hole = cut.replace("rec t-0 1 1.1.1 0000000b\n", "");
    planted(LOG, &hole, ACKED, Some(&tried), &["no record at offsets 1..2", "(acked:2) is lost"]);
    let back = format!("{ACKED}\ncut t-0 1");
    planted(
        LOG,
        WHOLE,
        &back,
        Some(TRIED),
        &["starts at offset 0 again, though readers were told that it starts at 1"],
    );
}

const KEYED: &str = "app t-0 1.0.1@5 0000000a 0\napp t-0 1.0.2@6 0000000b 1\napp t-0 1.0.3@5 0000000c 2";

#[test]
fn of_each_key_the_latest_record_stays() {
    let whole =
        "rec t-0 0 1.0.1@5 0000000a\nrec t-0 1 1.0.2@6 0000000b\nrec t-0 2 1.0.3@5 0000000c\nend t-0 0 3";
    clean(LOG, whole, KEYED, KEYED);
    let compacted = whole.replace("rec t-0 0 1.0.1@5 0000000a\n", "");
    clean(LOG, &compacted, KEYED, KEYED);
    let lost = compacted.replace("rec t-0 1 1.0.2@6 0000000b\n", "");
    planted(
        LOG,
        &lost,
        KEYED,
        Some(KEYED),
        &["L1: acknowledged `app t-0 1.0.2@6 0000000b 1` (acked:2) is lost"],
    );
    let older = whole.replace("rec t-0 2 1.0.3@5 0000000c\n", "");
    planted(
        LOG,
        &older,
        KEYED,
        Some(KEYED),
        &[
            "(acked:3) is lost",
            "L12: acknowledged `app t-0 1.0.3@5 0000000c 2` (acked:3) is the latest of its key",
        ],
    );
    // An attempt may have replaced it, and then it is there.
    let tried = format!("{KEYED}\napp t-0 1.0.4@6 0000000d");
    planted(LOG, &lost, KEYED, Some(&tried), &["(acked:2) is lost"]);
    let replaced = lost.replace("end t-0 0 3", "rec t-0 3 1.0.4@6 0000000d\nend t-0 0 4");
    clean(LOG, &replaced, KEYED, &tried);
}

#[test]
fn tombstones_stay_for_their_time_and_nothing_comes_back_when_they_go() {
    let acked = "app t-0 1.0.1@5 0000000a 0\napp t-0 1.0.2@5 00000000 1\napp t-0 1.0.3@6 0000000c 2";
    let whole =
        "rec t-0 0 1.0.1@5 0000000a\nrec t-0 1 1.0.2@5 00000000\nrec t-0 2 1.0.3@6 0000000c\nend t-0 0 3";
    let compacted = whole.replace("rec t-0 0 1.0.1@5 0000000a\n", "");
    clean(LOG, &compacted, acked, acked);
    let gone = compacted.replace("rec t-0 1 1.0.2@5 00000000\n", "");
    planted(LOG, &gone, acked, Some(acked), &["(acked:1) is lost", "(acked:2) is lost"]);
    clean(LOG, &gone, acked, &format!("{acked}\nexp t-0 2"));
    planted(
        LOG,
        &gone,
        acked,
        Some(&format!("{acked}\nexp t-0 1")),
        &["(acked:1) is lost", "(acked:2) is lost"],
    );
    let back = whole.replace("rec t-0 1 1.0.2@5 00000000\n", "");
    planted(
        LOG,
        &back,
        acked,
        Some(&format!("{acked}\nexp t-0 3")),
        &["L12: acknowledged `app t-0 1.0.2@5 00000000 1`"],
    );
}

#[test]
fn tokens_of_the_other_engine_are_refused() {
    let error = judge(LOG, &Dump::default(), &tokens("acked", "del 6b 1:1"), None)
        .expect_err("a del is none of a log");
    assert!(error.to_string().contains("acked:1"), "{error}");
    assert!(judge(KV, &Dump::default(), &tokens("acked", ""), Some(&tokens("attempted", ACKED))).is_err());
}

#[test]
fn two_dumps_are_compared_line_by_line() {
    let dump = |text| Dump::parse(text).expect("a dump");
    let (a, b) = (dump("val 6b 00000001 1:1\nval 6c 00000001 1:1"), dump("val 6c 00000001 1:1"));
    assert_eq!(judge_repeated(&a, &a), None);
    let says = |x, y| judge_repeated(x, y).expect("they differ").to_string();
    assert!(says(&a, &b).contains("only the first has `val 6b"), "{}", says(&a, &b));
    assert!(says(&b, &a).contains("only the second has `val 6b"), "{}", says(&b, &a));
}
