//! `workbench rebalance plan` on the original's files: a node is added, and what can't be one cluster is refused. And `measure`:
//! a node joins a cluster that works.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt as _;

fn cluster(servers: &[(u16, &str)]) -> String {
    let server = |(id, partitions): &(u16, &str)| {
        format!(
            "<server><id>{id}</id><host>h{id}</host><http-port>80</http-port><socket-port>66</socket-port>\
             <partitions>{partitions}</partitions></server>\n"
        )
    };
    format!("<cluster><name>three</name>\n{}</cluster>", servers.iter().map(server).collect::<String>())
}

fn store(name: &str) -> String {
    format!(
        "<store><name>{name}</name><persistence>bdb</persistence><routing>client</routing>
         <replication-factor>2</replication-factor>
         <required-reads>1</required-reads><required-writes>1</required-writes>
         <key-serializer><type>string</type></key-serializer>
         <value-serializer><type>string</type></value-serializer></store>"
    )
}

fn plan(dir: &Path, args: &str) -> Output {
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).expect("written");
    write("current.xml", cluster(&[(0, "0, 3"), (1, "1, 4"), (2, "2, 5")]));
    write("final.xml", cluster(&[(0, "0, 3"), (1, "1, 4"), (2, "2"), (3, "5")]));
    write("gone.xml", cluster(&[(0, "0, 3, 2, 5"), (1, "1, 4")]));
    write("stores.xml", format!("<stores>{}{}</stores>", store("members"), store("jobs")));
    Command::cargo_bin("workbench")
        .expect("it is built")
        .args("rebalance plan --current current.xml --stores stores.xml".split_whitespace())
        .args(args.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("it runs")
}

#[test]
fn a_plan_says_who_takes_what_from_whom_and_what_it_costs() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = plan(dir.path(), "--final final.xml");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    for line in [
        "batch 1 of 1: partition 5 changes its owner",
        "  node 3 takes from node 2, store jobs: partitions 5 (place 0); partitions 4 (place 1)",
        "  node 3 takes from node 2, store members: partitions 5 (place 0); partitions 4 (place 1)",
        "moved: 4 copies of partitions, 2 to the first place and 2 to other places; 0 cross zones",
        "space: 16.7 % more than before (24 copies), until donors have deleted what was taken",
        "     3      0                0 -> 1                0 -> 4",
        "fullest node: 1.33 -> 1.33 times the mean of copies",
    ] {
        assert!(text.lines().any(|said| said == line), "{text}\ndoesn't say\n{line}");
    }
    let again = plan(dir.path(), "--final final.xml");
    assert_eq!(String::from_utf8(again.stdout).expect("text"), text);
}

#[test]
fn json_has_the_same_and_one_store_can_be_chosen() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = plan(dir.path(), "--final final.xml --store members --json");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let task = &json["batches"][0]["tasks"][0];
    assert_eq!((&task["stealer"], &task["donor"], &task["store"]), (&3.into(), &2.into(), &"members".into()));
    assert_eq!(json["batches"][0]["tasks"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["totals"]["moved"], 2);
}

#[test]
fn what_is_no_plan_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let check = |args: &str, words: &[&str]| {
        let output = plan(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8(output.stderr).expect("text");
        for word in words {
            assert!(said.contains(word), "{said} doesn't say {word}");
        }
    };
    check("--final gone.xml", &["gone.xml", "node 2", "without partitions"]);
    check("--final none.xml", &["none.xml"]);
    check("--final final.xml --store member", &["stores.xml", "\"member\"", "members, jobs"]);
    check("--final final.xml --batch 0", &["at least 1"]);
}

fn measure(args: &str) -> Output {
    let dir = tempfile::tempdir().expect("a temporary folder");
    Command::cargo_bin("workbench")
        .expect("it is built")
        .args("rebalance measure --records 2000 --rate 1500 --duration 400ms".split_whitespace())
        .args(args.split_whitespace())
        .arg("--dir")
        .arg(dir.path())
        .output()
        .expect("it runs")
}

#[test]
fn a_node_joins_under_load_and_what_it_cost_is_told() {
    let output = measure("--rounds 2 --json");
    assert!(output.status.success(), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["operator_steps"].as_array().map(Vec::len), Some(3));
    assert!(json["answers_checked"].as_u64() > Some(500), "{json}");
    let rounds = json["rounds"].as_array().expect("rounds");
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        // 2,000 keys, and what the fourth node takes is as many copies of partitions as the plan says.
        let per_partition = 2000.0 / 48.0;
        let expected = json["partitions_moved"].as_f64().expect("a number") * per_partition;
        let keys = round["keys_moved"].as_f64().expect("a number");
        assert!((keys / expected - 1.0).abs() < 0.3, "{keys} keys, {expected} expected");
        assert!(round["bytes_moved"].as_f64() > Some(keys * 500.0), "members have a kilobyte: {round}");
        assert!(round["seconds"].as_f64() > Some(0.0));
        let met = round["met"].as_array().expect("parts");
        let parts: Vec<_> = met.iter().filter_map(|met| met["part"].as_str()).collect();
        assert_eq!(parts, ["before", "moving", "after"]);
        assert!(met.iter().all(|met| met["count"].as_u64() > Some(0) && met["errors"] == 0), "{round}");
        assert!(met.iter().all(|met| met["p99_ms"].is_null()), "600 operations have no p99: {round}");
    }
    assert!(json["p99_moving"].is_null(), "{json}");

    let output = measure("--rounds 1 --durability synced");
    let text = String::from_utf8(output.stdout).expect("text");
    for words in [
        "3 nodes of the store and a fourth, N=3 R=2 W=2, synced",
        "operator: 3 steps",
        // Too few operations; or, on a busy machine, more than it kept up with.
        "no p99 before: ",
        "none wrong",
    ] {
        assert!(text.contains(words), "{text}\ndoesn't say {words}");
    }
}
