//! `workbench hardware`: what is assumed has a source, and the same arguments print the same bytes.

use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt as _;
use serde_json::Value;

fn hardware(args: &[&str]) -> Output {
    Command::cargo_bin("workbench")
        .expect("it is built")
        .arg("hardware")
        .args(args)
        .output()
        .expect("it runs")
}

fn json(args: &[&str]) -> Value {
    let output = hardware(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn every_assumption_is_listed_with_its_source() {
    let profiles = json(&["--json"]);
    let names: Vec<_> = profiles.as_array().expect("a list").iter().map(|profile| &profile["name"]).collect();
    assert_eq!(names, ["nvme-2024", "ssd-2012", "hdd-2012"]);
    let text = hardware(&[]);
    let text = String::from_utf8_lossy(&text.stdout);
    for parameter in profiles[2]["parameters"].as_array().expect("a list") {
        let (name, source) = (parameter["name"].as_str(), parameter["source"].as_str());
        assert!(text.contains(name.expect("text")) && text.contains(source.expect("text")), "{parameter}");
    }
}

#[test]
fn a_slower_disk_has_longer_queues_and_the_same_arguments_the_same_bytes() {
    let quick = [
        "--rate",
        "150",
        "--duration",
        "20s",
        "--records",
        "900",
        "--set",
        "arrivals.kind=poisson",
        "--json",
    ];
    let run = |profile, more: &[&str]| {
        let args = [&["--profile", profile], &quick[..], more].concat();
        json(&args)
    };
    let hdd = run("hdd-2012", &[]);
    assert_eq!(hdd["world"], "simulated:hdd-2012");
    assert!(hdd["note"].as_str().is_some_and(|note| note.contains("never decides a claim")));
    assert_eq!(hdd["sensitivity"].as_array().map(Vec::len), Some(14));
    assert_eq!(hdd["result"]["failed"], 0);
    let once = ["--no-sensitivity"];
    let (nvme, again) = (run("nvme-2024", &once), run("nvme-2024", &once));
    assert_eq!(nvme, again);
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{value} in {hdd}"));
    for (name, times) in [("disk_utilisation", 10.0), ("threads_utilisation", 1.0)] {
        assert!(number(&hdd["result"][name]) > times * number(&nvme["result"][name]), "{name}: {hdd}");
    }
    let p50 = |told: &Value| number(&told["result"]["reads"]["p50_us"]);
    assert!(p50(&hdd) > 4.0 * p50(&nvme), "{} and {}", p50(&hdd), p50(&nvme));
}

#[test]
fn a_log_gets_the_writes_and_its_consumer_has_all_of_them() {
    let quick = ["--rate", "300", "--duration", "20s", "--records", "900", "--no-sensitivity", "--json"];
    let told = json(&[&["--profile", "nvme-2024", "--engine", "log-cluster"], &quick[..]].concat());
    let result = &told["result"];
    assert_eq!(told["engine"], "log-cluster");
    assert_eq!(result["failed"], 0);
    assert_eq!(result["reads"]["count"], 0);
    assert!(result["writes"]["count"].as_u64() > Some(500), "{result}");
    assert_eq!(result["writes"]["count"], result["visible"]["count"]);

    let at_disk = ["--profile", "nvme-2024", "--engine", "log-cluster", "--durability", "synced"];
    let synced = json(&[&at_disk[..], &quick[..]].concat());
    assert_eq!(synced["result"]["writes"]["count"], result["writes"]["count"]);
    let p50 = |result: &Value| result["writes"]["p50_us"].as_f64().expect("a number");
    assert!(p50(&synced["result"]) > p50(result), "{synced}");
}

#[test]
fn a_node_that_dies_and_returns_has_its_figures() {
    let quick = ["--profile", "ssd-2012", "--rate", "300", "--duration", "25s", "--records", "900"];
    // Clients ask the first one again ten seconds after they took it for dead, so the second one may go then.
    let outage = ["--outage", "6000:3000:1", "--outage", "20000:2000:2", "--no-sensitivity"];
    let run = |more: &[&str]| json(&[&quick[..], &outage, more, &["--json"]].concat());
    let bare = run(&[]);
    let hinted = run(&["--handoff", "50ms"]);
    let outages = hinted["outages"].as_array().expect("a list");
    assert_eq!(outages.iter().map(|outage| &outage["node"]).collect::<Vec<_>>(), [1, 2]);
    for outage in outages {
        assert_eq!(outage["asked"], outage["answered"], "two of three replicas are there: {outage}");
        assert!(outage["missed"].as_u64() > Some(50) && outage["lacking"] == 0, "{outage}");
        assert!(outage["replicated_s"].as_f64().is_some_and(|s| s < 1.0), "{outage}");
    }
    assert!(bare["outages"][0]["lacking"].as_u64() > Some(0), "{bare}");
    let text = hardware(&[&quick[..], &outage].concat());
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.contains("nodes that died and returned") && text.contains("lacks"), "{text}");
}

#[test]
fn what_cannot_be_simulated_is_refused_with_a_way_out() {
    let told = |args: &[&str]| {
        let output = hardware(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(told(&["--profile", "floppy-1986"]).contains("hdd-2012"));
    assert!(told(&["--profile", "hdd-2012", "--nodes", "33"]).contains("32"));
    assert!(told(&["--profile", "hdd-2012", "--workload", "ycsb-e"]).contains("scan"));
    assert!(told(&["--profile", "hdd-2012", "--outage", "5s:1s:0"]).contains("AFTER:LENGTH:NODE"));
    assert!(told(&["--profile", "hdd-2012", "--outage", "5:1:3"]).contains("counted from 0"));
    assert!(told(&["--profile", "hdd-2012", "--outage", "70000:1:0"]).contains("--duration"));
    assert!(told(&["--profile", "hdd-2012", "--outage", "99999999999999999:1:0"]).contains("--duration"));
    let log = ["--profile", "hdd-2012", "--engine", "log-cluster", "--handoff", "50ms"];
    assert!(told(&log).contains("followers"));
}
