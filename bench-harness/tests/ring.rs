//! `workbench ring` and `workbench prune` against a cluster and stores in the original's files, and against files that the original refuses.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt as _;
use engine_env::{Backend, OsHome};
use kv_engine::{KvConfig, KvStore, Storage as _, Versioned};

/// Nodes 1, 4 and 7 in zone 0, 2 and 9 in zone 1 (9 owns nothing), 5 in zone 2; of zone 0, zone 2 is nearest.
const CLUSTER: &str = "<?xml version=\"1.0\"?>
<cluster>
  <name>three-zones</name>
  <zone><zone-id>0</zone-id><proximity-list>2, 1</proximity-list></zone>
  <zone><zone-id>1</zone-id><proximity-list>0, 2</proximity-list></zone>
  <zone><zone-id>2</zone-id><proximity-list>0, 1</proximity-list></zone>
  <server><id>1</id><host>one</host><http-port>8081</http-port><socket-port>6661</socket-port>
    <partitions>0, 3</partitions></server>
  <server><id>2</id><host>two</host><http-port>8081</http-port><socket-port>6662</socket-port>
    <partitions>1</partitions><zone-id>1</zone-id></server>
  <server><id>4</id><host>four</host><http-port>8081</http-port><socket-port>6664</socket-port>
    <partitions>2</partitions></server>
  <server><id>5</id><host>five</host><http-port>8081</http-port><socket-port>6665</socket-port>
    <partitions>4</partitions><zone-id>2</zone-id></server>
  <server><id>7</id><host>seven</host><http-port>8081</http-port><socket-port>6667</socket-port>
    <partitions>5</partitions></server>
  <server><id>9</id><host>nine</host><http-port>8081</http-port><socket-port>6669</socket-port>
    <partitions></partitions><zone-id>1</zone-id></server>
</cluster>
";

const STORES: &str = "<stores>
  <store>
    <name>plain</name><persistence>bdb</persistence><routing>client</routing>
    <replication-factor>3</replication-factor>
    <required-reads>2</required-reads><required-writes>2</required-writes>
    <key-serializer><type>string</type></key-serializer><value-serializer><type>string</type></value-serializer>
  </store>
  <store>
    <name>zoned</name><persistence>bdb</persistence><routing>client</routing>
    <routing-strategy>zone-routing</routing-strategy>
    <replication-factor>4</replication-factor>
    <zone-replication-factor>
      <replication-factor zone-id=\"0\">2</replication-factor>
      <replication-factor zone-id=\"1\">1</replication-factor>
      <replication-factor zone-id=\"2\">1</replication-factor>
    </zone-replication-factor>
    <zone-count-reads>1</zone-count-reads><zone-count-writes>0</zone-count-writes>
    <required-reads>2</required-reads><required-writes>2</required-writes>
    <hinted-handoff-strategy>wishful-handoff</hinted-handoff-strategy>
    <key-serializer><type>string</type></key-serializer><value-serializer><type>string</type></value-serializer>
  </store>
  <store>
    <name>everywhere</name><persistence>memory</persistence><routing>client</routing>
    <routing-strategy>local-pref-all-routing</routing-strategy>
    <replication-factor>1</replication-factor>
    <required-reads>1</required-reads><required-writes>1</required-writes>
    <key-serializer><type>string</type></key-serializer><value-serializer><type>string</type></value-serializer>
  </store>
</stores>
";

fn ring(dir: &Path, args: &str) -> Output {
    workbench(dir, &format!("ring {args}"))
}

fn workbench(dir: &Path, args: &str) -> Output {
    std::fs::write(dir.join("cluster.xml"), CLUSTER).expect("written");
    std::fs::write(dir.join("stores.xml"), STORES).expect("written");
    Command::cargo_bin("workbench")
        .expect("it is built")
        .args(args.split_whitespace())
        .current_dir(dir)
        .output()
        .expect("it runs")
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn nodes(value: &serde_json::Value) -> Vec<u64> {
    let of = |node: &serde_json::Value| node["node"].as_u64().or_else(|| node.as_u64()).expect("a node");
    value.as_array().expect("a list").iter().map(of).collect()
}

#[test]
fn a_keys_hash_partition_and_nodes_are_those_of_the_original() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = "--cluster cluster.xml --stores stores.xml --store plain --json";
    let answer = json(&ring(dir.path(), &format!("{store} --key foobar --key b --key-hex 62")));
    let [foobar, b, hex] = answer["keys"].as_array().expect("a list").as_slice() else {
        panic!("three keys")
    };
    // 1080231576 mod 6 = 0: partitions 0 (node 1), 1 (node 2), 2 (node 4).
    assert_eq!((foobar["hash"].as_i64(), foobar["partition"].as_u64()), (Some(-1_080_231_576), Some(0)));
    assert_eq!(nodes(&foobar["preference_list"]), [1, 2, 4]);
    assert_eq!(foobar["preference_list"][1]["partition"], 1);
    assert_eq!(foobar["preference_list"][1]["host"], "two");
    assert_eq!(nodes(&foobar["reads_ask"]), [1, 2, 4]);
    // 418632219 mod 6 = 3: partitions 3 (node 1), 4 (node 5), 5 (node 7).
    assert_eq!((b["hash"].as_i64(), b["partition"].as_u64()), (Some(-418_632_219), Some(3)));
    assert_eq!(nodes(&b["preference_list"]), [1, 5, 7]);
    assert_eq!(hex, b);
}

#[test]
fn zone_routing_fills_quotas_and_orders_by_the_clients_zone() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = "--cluster cluster.xml --stores stores.xml --store zoned --json --key foobar";
    let output = ring(dir.path(), store);
    let notices = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notices.contains("stores.xml:19: ") && notices.contains("wishful-handoff"), "{notices}");
    let answer = json(&output);
    let key = &answer["keys"][0];
    // Node 7 by partition 5 would be the third of zone 0.
    assert_eq!(nodes(&key["preference_list"]), [1, 2, 4, 5]);
    // Zone 0 first, then 2, then 1; a read begins with a node of one other zone.
    assert_eq!(nodes(&key["writes_ask"]), [1, 4, 5, 2]);
    assert_eq!(nodes(&key["reads_ask"]), [5, 1, 4, 2]);
    let answer = json(&ring(dir.path(), &format!("{store} --zone 1")));
    let key = &answer["keys"][0];
    assert_eq!(nodes(&key["writes_ask"]), [2, 1, 4, 5]);
    assert_eq!(nodes(&key["reads_ask"]), [1, 2, 4, 5]);
}

#[test]
fn every_node_holds_every_key_with_all_routing_and_the_local_one_comes_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = "--cluster cluster.xml --stores stores.xml --store everywhere --json --key x --host nine";
    let list = nodes(&json(&ring(dir.path(), store))["keys"][0]["preference_list"]);
    assert_eq!((list.len(), list[0]), (6, 9));
}

#[test]
fn without_stores_the_whole_walk_is_shown_in_words() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = ring(dir.path(), "--cluster cluster.xml --key foobar");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in [
        "three-zones",
        "6 partitions",
        "hash -1080231576, partition 0",
        "1. node 1 by partition 0",
        "1, 2, 4, 5, 7",
    ] {
        assert!(said.contains(words), "{said} doesn't say {words}");
    }
}

#[test]
fn what_the_original_refuses_is_refused_with_file_line_value_and_way_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let broken = CLUSTER.replace("<partitions>5</partitions>", "<partitions>4</partitions>");
    std::fs::write(dir.path().join("broken.xml"), broken).expect("written");
    std::fs::write(dir.path().join("zones.xml"), STORES.replace("zone-id=\"2\"", "zone-id=\"8\""))
        .expect("written");
    for (args, words) in [
        ("--cluster broken.xml --key a", vec!["broken.xml:15: ", "partition 4", "\"4\"", "one of them"]),
        ("--cluster nosuch.xml --key a", vec!["nosuch.xml", "can't be read"]),
        ("--cluster stores.xml --key a", vec!["stores.xml:1: ", "<cluster>"]),
        ("--cluster cluster.xml --stores stores.xml --key a", vec!["--store", "plain, zoned, everywhere"]),
        ("--cluster cluster.xml --stores stores.xml --store z --key a", vec!["\"z\"", "zoned"]),
        ("--cluster cluster.xml --stores zones.xml --store zoned --key a", vec!["zone 8", "cluster.xml"]),
        ("--cluster cluster.xml --zone 5 --key a", vec!["--zone", "0, 1, 2"]),
        ("--cluster cluster.xml --key-hex 0x1", vec!["--key-hex", "\"0x1\""]),
        ("--cluster cluster.xml", vec!["--key"]),
    ] {
        let output = ring(dir.path(), args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args}: {said}");
        for word in words {
            assert!(said.contains(word), "{args}: {said} doesn't say {word}");
        }
    }
}

/// Node 5 doesn't hold `foobar` any more: what it has counted keeps the old version beside the blind write.
#[test]
fn a_prune_tells_what_it_would_delete_and_then_deletes_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = dir.path().join("node");
    let open = || {
        let home = OsHome::open(&node, Backend::Auto).expect("a free folder");
        KvStore::open(home, KvConfig::default()).expect("it opens").0
    };
    let store = open();
    for (clock, value) in [("1:4,5:9", "old"), ("1:1700,2:1700,4:1700", "new")] {
        let version = Versioned::new(clock.parse().expect("a clock"), value);
        store.put(b"foobar", &version).expect("siblings");
    }
    store.close().expect("it closes");
    let prune = |args: &str| {
        let files = "prune --cluster cluster.xml --stores stores.xml --store plain --dir";
        let output = workbench(dir.path(), &format!("{files} {args}"));
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, told) = prune("node --dry-run");
    assert!(code == Some(0) && told.contains("1 obsolete versions would be deleted"), "{told}");
    assert_eq!(open().get(b"foobar").expect("it reads").len(), 2);
    let (code, told) = prune("node");
    assert!(code == Some(0) && told.contains("1 keys, 1 of them") && told.contains("1 obsolete"), "{told}");
    let left = open().get(b"foobar").expect("it reads");
    assert_eq!(left.iter().map(|version| version.value.as_slice()).collect::<Vec<_>>(), [b"new"]);
    let (code, told) = prune("nowhere");
    assert!(code == Some(2) && told.contains("nowhere: no store of the key-value engine"), "{told}");
    assert!(!dir.path().join("nowhere").exists(), "nothing is made");
}
