//! `workbench read-only`, as a user types it: built for a cluster, swapped in, read, rolled back, damaged and verified.

use std::path::Path;

use assert_cmd::Command;

struct Told {
    code: i32,
    out: String,
    err: String,
}

fn workbench(args: &[&str], dir: &Path) -> Told {
    let mut command = Command::cargo_bin("workbench").expect("it is built");
    let output = command.arg("read-only").args(args).arg("--dir").arg(dir).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Told { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

fn good(args: &[&str], dir: &Path) -> String {
    let told = workbench(args, dir);
    assert_eq!(told.code, 0, "{args:?}: {}{}", told.out, told.err);
    told.out
}

fn refused(args: &[&str], dir: &Path, code: i32, why: &str) {
    let told = workbench(args, dir);
    assert!(told.code == code && told.err.contains(why), "{args:?}: {} {}{}", told.code, told.out, told.err);
}

#[test]
fn a_cluster_is_built_swapped_in_read_rolled_back_and_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, dir) = (folder.path().join("members.jsonl"), folder.path().join("cluster"));
    let build = |lines: &str| {
        std::fs::write(&input, lines).expect("it is written");
        let input = input.display().to_string();
        good(&["build", "--input", &input, "--nodes", "3", "--partitions", "6", "--copies", "2"], &dir)
    };
    refused(&["list"], &dir, 2, "name a folder that was built in");
    let told = build(
        "{\"key\":\"ada\",\"value\":{\"n\":1}}\n{\"key\":\"bob\",\"value\":2}\n{\"op\":\"delete\",\"key\":\"bob\"}\n",
    );
    assert!(told.contains("version 1 built from 3 records (1 replaced"), "{told}");
    refused(&["get", "ada"], &dir, 2, "build one and swap it in");
    assert_eq!(good(&["swap"], &dir).lines().count(), 3);
    assert_eq!(good(&["get", "ada"], &dir), "{\"n\":1}\n");
    refused(&["get", "bob"], &dir, 1, "no value for `bob`");
    build("{\"key\":\"ada\",\"value\":{\"n\":2}}\n");
    assert_eq!(good(&["get", "ada"], &dir), "{\"n\":1}\n", "not swapped in yet");
    good(&["swap", "--version", "2"], &dir);
    assert_eq!(good(&["get", "ada"], &dir), "{\"n\":2}\n");
    refused(&["swap"], &dir, 2, "no whole version newer");
    let told = good(&["rollback"], &dir);
    assert!(told.contains("node 2: rolled back to version 1, served before: 2, set aside: 2"), "{told}");
    assert_eq!(good(&["get", "ada"], &dir), "{\"n\":1}\n");
    assert!(good(&["list"], &dir).contains("node 0: versions 1 (served), 2 (set aside)"));
    let json: serde_json::Value = serde_json::from_str(&good(&["list", "--json"], &dir)).expect("JSON");
    assert_eq!((&json[1]["node"], &json[1]["served"]), (&1.into(), &1.into()));
    assert_eq!(good(&["verify"], &dir).matches("0 damaged places").count(), 3);
    // Rot, where the value stands.
    let holder = std::fs::read_dir(&dir).expect("it is there").flatten().find_map(|node| {
        let version = node.path().join("members/version-1");
        std::fs::read_dir(version).ok()?.flatten().map(|f| f.path()).find(|f| {
            f.extension().is_some_and(|e| e == "data") && std::fs::read(f).is_ok_and(|b| !b.is_empty())
        })
    });
    let file = holder.expect("some node holds it");
    let mut bytes = std::fs::read(&file).expect("it reads");
    *bytes.last_mut().expect("not empty") ^= 1;
    std::fs::write(&file, bytes).expect("it is written");
    let told = workbench(&["verify"], &dir);
    let name = file.file_name().expect("a name").to_string_lossy();
    assert!(
        told.code == 1 && told.out.contains(&format!("{name}: its CRC-32 is")),
        "{}{}",
        told.out,
        told.err
    );
    refused(&["verify", "--store", "other"], &dir, 2, "node-N/other");
}

const CLUSTER: &str = "<cluster><name>c</name>
  <server><id>0</id><host>a</host><http-port>1</http-port><socket-port>2</socket-port><partitions>0,3</partitions></server>
  <server><id>4</id><host>b</host><http-port>1</http-port><socket-port>2</socket-port><partitions>1,2</partitions></server>
  <server><id>9</id><host>c</host><http-port>1</http-port><socket-port>2</socket-port><partitions>4</partitions></server>
</cluster>";

const STORES: &str = "<stores><store><name>s</name><persistence>read-only</persistence><routing>client</routing>
  <replication-factor>2</replication-factor><required-reads>1</required-reads><required-writes>1</required-writes>
  <key-serializer><type>string</type></key-serializer><value-serializer><type>string</type></value-serializer>
</store></stores>";

/// Each node gets what `workbench ring` says that it holds.
#[test]
fn a_store_is_built_for_the_nodes_that_a_clusters_files_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        path.display().to_string()
    };
    let rows: String = (0..20).map(|n| format!("k{n},v{n}\n")).collect();
    let input = file("members.csv", &format!("key,value\n{rows}"));
    let (cluster, stores) = (file("cluster.xml", CLUSTER), file("stores.xml", STORES));
    let dir = folder.path().join("cluster");
    let args = ["build", "--input", &input, "--cluster", &cluster, "--stores", &stores, "--swap"];
    good(&args, &dir);
    for n in 0..20 {
        let key = format!("k{n}");
        let mut command = Command::cargo_bin("workbench").expect("it is built");
        command.args(["ring", "--cluster", &cluster, "--stores", &stores, "--key", &key, "--json"]);
        let told: serde_json::Value =
            serde_json::from_slice(&command.output().expect("it runs").stdout).expect("JSON");
        let list = told["keys"][0]["preference_list"].as_array().expect("a list").clone();
        let holders: Vec<_> = list.iter().map(|replica| replica["node"].as_u64().expect("a node")).collect();
        assert_eq!(holders.len(), 2);
        for node in [0, 4, 9] {
            let folder = dir.join(format!("node-{node}/s"));
            let told = workbench(&["get", &key], &folder);
            let (code, value) =
                if holders.contains(&node) { (0, format!("v{n}\n")) } else { (1, String::new()) };
            assert_eq!((told.code, told.out), (code, value), "{key} on node {node}: {}", told.err);
        }
    }
    refused(&["build", "--input", &input, "--cluster", &cluster, "--nodes", "3"], &dir, 2, "cannot be used");
    refused(&["build", "--input", &input, "--cluster", &cluster, "--copies", "4"], &dir, 2, "only 3 nodes");
}

#[test]
fn wrong_input_is_told_with_its_line_and_builds_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, dir) = (folder.path().join("members.csv"), folder.path().join("one"));
    std::fs::write(&input, "key,value,op\na,1,put\nb,2,patch\n").expect("it is written");
    let input = input.display().to_string();
    refused(&["build", "--input", &input], &dir, 2, "members.csv:3: op is `patch`; write put or delete");
    assert_eq!(good(&["list"], &dir), "node 0: versions none yet\n");
    refused(&["build", "--input", &input, "--copies", "2"], &dir, 2, "only 1 nodes");
}
