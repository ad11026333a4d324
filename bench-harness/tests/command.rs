//! The command line as a user meets it: exit codes, messages, and what is left alone.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt as _;

fn workbench(args: &[&str], dir: &Path) -> Output {
    Command::cargo_bin("workbench")
        .expect("it is built")
        .args(args)
        .current_dir(dir)
        .env("CARGO_TARGET_DIR", dir.join("build"))
        .output()
        .expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bad_input_ends_with_exit_code_2_and_the_way_out() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("spec.toml"), "name = \"x\"\nmemberz = 5\n").expect("written");
    std::fs::create_dir(dir.path().join("foreign")).expect("a folder");
    std::fs::write(dir.path().join("foreign/thesis.txt"), "mine").expect("written");
    let here = "foreign";
    let run = ["run", "--engine", "memory", "--workload"];
    for (args, words) in [
        (vec!["run", "--engine", "nosuch", "--workload", "member-update"], vec!["nosuch", "memory"]),
        ([&run[..], &["member-updat"]].concat(), vec!["member-update"]),
        ([&run[..], &["spec.toml"]].concat(), vec!["spec.toml:2", "memberz", "members"]),
        ([&run[..], &["member-update", "--durability", "sync"]].concat(), vec!["`sync`", "interval:"]),
        ([&run[..], &["member-update", "--duration", "10"]].concat(), vec!["30s"]),
        ([&run[..], &["member-update", "--rate", "0"]].concat(), vec!["above 0"]),
        ([&run[..], &["member-update", "--set", "nosuch=1"]].concat(), vec!["nosuch"]),
        ([&run[..], &["member-update", "--out", here]].concat(), vec!["thesis.txt", "--out"]),
        ([&run[..], &["member-update", "--out", "/proc/nosuch"]].concat(), vec!["/proc/nosuch", "--out"]),
        (vec!["compare", "--engines", "memory,memory"], vec!["twice"]),
        (vec!["compare", "--engines", "memory", "--out", here], vec!["thesis.txt"]),
        (vec!["report", here], vec!["run.json"]),
        (vec!["nosuch"], vec!["nosuch"]),
    ] {
        let output = workbench(&args, dir.path());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", said(&output));
        for word in words {
            assert!(said(&output).contains(word), "{args:?} doesn't say {word}: {}", said(&output));
        }
    }
    let mut left: Vec<_> =
        std::fs::read_dir(dir.path()).expect("readable").map(|e| e.expect("entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["foreign", "spec.toml"], "nothing was written, nothing removed");
    assert!(dir.path().join("foreign/thesis.txt").exists());
}

#[test]
fn a_run_tells_what_it_found_and_leaves_a_record_but_no_data() {
    let dir = tempfile::tempdir().expect("a folder");
    let args = [
        "run",
        "--engine",
        "memory",
        "--workload",
        "member-update",
        "--records",
        "500",
        "--clients",
        "4",
        "--operations",
        "3000",
        "--out",
        "out",
        "--dir",
        "data",
    ];
    let output = workbench(&args, dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("update-profile") && told.contains("0 wrong"), "{told}");
    for file in ["run.json", "environment.json", "run-1.hlog", "run-1.csv"] {
        assert!(dir.path().join("out").join(file).exists(), "{file} is missing");
    }
    assert!(!dir.path().join("data/run").exists(), "the engine's data is removed");
    // The folder holds a run of ours, so the next run may have it; the report can be made from it.
    assert_eq!(workbench(&args, dir.path()).status.code(), Some(0));
    let output = workbench(&["report", "out"], dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let page = told.trim().strip_prefix("report: ").expect("the line");
    assert!(Path::new(page).is_absolute() && Path::new(page).exists(), "{told}");
}

#[test]
fn what_a_program_reads_is_json() {
    let dir = tempfile::tempdir().expect("a folder");
    for args in [
        &["list", "engines", "--json"][..],
        &["list", "workloads", "--json"],
        &["list", "claims", "--json"],
        &["describe", "member-update", "--records", "100", "--json"],
    ] {
        let output = workbench(args, dir.path());
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
        assert!(json.is_array() || json.is_object());
    }
}
