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
fn embedded_tells_each_thing_in_a_row_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a folder");
    let small = ["embedded", "--keys", "2000", "--value-bytes", "64", "--threads", "1,2", "--rounds", "2"];
    let output = workbench(&[&small[..], &["--turn-ms", "20", "--dir", "data"]].concat(), dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let table = String::from_utf8_lossy(&output.stdout);
    let rows = |what: &str| table.lines().filter(|line| line.starts_with(&format!("| {what}"))).count();
    // A load, gets and updates with one and two threads, synced ones too, two sorts of reopening.
    assert_eq!([rows("load"), rows("get"), rows("update"), rows("reopen")], [1, 2, 4, 2], "{table}");
    let others = [rows("memory/key"), rows("space"), rows("written"), table.lines().count()];
    assert_eq!(others, [1, 1, 1, 14], "{table}");
    let left = std::fs::read_dir(dir.path().join("data")).expect("made").count();
    assert_eq!(left, 0, "gigabytes don't stay behind");
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
        ([&run[..], &["member-update", "--arrivals", "sine"]].concat(), vec!["--rate"]),
        ([&run[..], &["member-update", "--arrivals", "tides"]].concat(), vec!["tides", "sine"]),
        ([&run[..], &["member-update", "--sweep", "10%,500"]].concat(), vec!["10%..90%"]),
        ([&run[..], &["member-update", "--speed", "fast"]].concat(), vec!["fast", "original"]),
        ([&run[..], &["member-update", "--speed", "x60"]].concat(), vec!["speed"]),
        (vec!["compare", "--engines", "memory,memory"], vec!["twice"]),
        (vec!["compare", "--engines", "memory", "--out", here], vec!["thesis.txt"]),
        ([&run[..], &["member-update", "--dir", "spec.toml"]].concat(), vec!["spec.toml is a file", "--dir"]),
        (vec!["compare", "--dir", "spec.toml", "--out", "new"], vec!["spec.toml is a file", "--dir"]),
        (vec!["report", here], vec!["run.json"]),
        (vec!["embedded", "--engines", "nosuch"], vec!["nosuch", "kv-store", "--features peers"]),
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
    // The folder holds a run of ours, so the next run may have it, and says so; the report can be made from it.
    let again = workbench(&args, dir.path());
    assert_eq!(again.status.code(), Some(0));
    assert!(said(&again).contains("this run replaces it"), "{}", said(&again));
    let output = workbench(&["report", "out"], dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let page = told.trim().strip_prefix("report: ").expect("the line");
    assert!(Path::new(page).is_absolute() && Path::new(page).exists(), "{told}");
}

#[test]
fn a_run_by_count_makes_its_count_and_says_what_memory_sustains() {
    let dir = tempfile::tempdir().expect("a folder");
    let args =
        "run --engine kv-store --workload member-update --records 500 --rate 20000 --operations 4000 --json";
    let output = workbench(&args.split(' ').collect::<Vec<_>>(), dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(json[0]["count"].as_u64().zip(json[0]["errors"].as_u64()).map(|(a, b)| a + b), Some(4000));
    assert!(json[0]["memory_per_s"].as_f64().is_some_and(|rate| rate > 1000.0), "{json}");
    assert!(said(&output).contains("the floor"), "progress is told: {}", said(&output));
}

#[test]
fn a_search_and_a_sweep_tell_every_point_and_leave_a_report_with_the_curve() {
    let dir = tempfile::tempdir().expect("a folder");
    let common = "--engine memory --workload member-update --records 500 --duration 200ms --warmup 20ms --arrivals sine";
    let common: Vec<&str> = common.split(' ').collect();
    let sweep = [&["run", "--sweep", "20000,40000,80000", "--out", "out"][..], &common].concat();
    let output = workbench(&sweep, dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in ["20000", "40000", "80000", "fresh run"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let page = std::fs::read_to_string(dir.path().join("out/report.html")).expect("a page");
    assert!(page.contains("id=\"curve-1\"") && page.contains("80,000"));

    // A bound that nothing can hold: every rate is refused, and the search ends below the shortest useful one.
    let hopeless = "run --find-max --p99-under 0.001ms --rate 30000 --json --time-limit 5s";
    let hopeless: Vec<&str> = hopeless.split(' ').collect();
    let output = workbench(&[&hopeless[..], &common].concat(), dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert!(json[0]["highest_sustained_per_s"].is_null(), "{json}");
    assert!(json[0]["points"].as_array().is_some_and(|p| p.len() > 1), "{json}");
    let left: Vec<_> = std::fs::read_dir(dir.path().join("build/workbench-data"))
        .map(|entries| entries.map(|e| e.expect("entry").file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "a record that nobody asked for is gone: {left:?}");
}

#[test]
fn a_recorded_stream_is_replayed_at_its_own_times() {
    let dir = tempfile::tempdir().expect("a folder");
    let line = |second: u64, key: &str| {
        format!("{{\"ts\":{second},\"op\":\"put\",\"key\":\"{key}\",\"value\":1}}\n")
    };
    let text: String = (0..60).map(|s| line(1_700_000_000 + s, "k")).collect();
    std::fs::write(dir.path().join("changes.jsonl"), text).expect("written");
    let run = ["run", "--engine", "memory", "--workload", "changes.jsonl", "--speed", "x100"];
    let rest = ["--set", "passes=1", "--warmup", "1ms", "--duration", "2s", "--json"];
    let output = workbench(&[&run[..], &rest].concat(), dir.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // Sixty changes a minute, three operations each, a hundred times as fast.
    let offered = json[0]["load"]["offered_per_s"].as_f64().expect("an open loop");
    assert!((offered - 300.0).abs() < 10.0, "{offered}");
    let refused = workbench(&[&run[..], &["--rate", "5"]].concat(), dir.path());
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("--speed max"), "{}", said(&refused));
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

#[test]
fn stress_writes_dumps_and_judges_and_a_lost_operation_is_exit_code_1() {
    for engine in ["kv", "log"] {
        let dir = tempfile::tempdir().expect("a folder");
        let write = ["stress", "write", "--engine", engine, "--dir", "data", "--seed", "1", "--ops", "200"];
        let written = workbench(&[&write[..], &["--durability", "os"]].concat(), dir.path());
        assert_eq!(written.status.code(), Some(0), "{}", said(&written));
        std::fs::write(dir.path().join("lines"), &written.stdout).expect("written");
        let check = ["stress", "check", "--engine", engine, "--dir", "data", "--acked", "lines"];
        let judged = workbench(&[&check[..], &["--attempted", "lines"]].concat(), dir.path());
        assert_eq!(judged.status.code(), Some(0), "{}", String::from_utf8_lossy(&judged.stdout));
        let dump = ["stress", "dump", "--engine", engine, "--dir", "data"];
        let (first, second) = (workbench(&dump, dir.path()), workbench(&dump, dir.path()));
        assert!(
            !first.stdout.is_empty() && first.stdout == second.stdout,
            "two dumps in a row are identical"
        );
        // An empty folder holds nothing of what was acknowledged.
        let empty = ["stress", "write", "--engine", engine, "--dir", "other", "--seed", "2", "--ops", "1"];
        assert_eq!(workbench(&empty, dir.path()).status.code(), Some(0));
        let check = ["stress", "check", "--engine", engine, "--dir", "other", "--acked", "lines"];
        let judged = workbench(&check, dir.path());
        assert_eq!(judged.status.code(), Some(1), "{}", said(&judged));
        assert!(!judged.stdout.is_empty(), "each violation is printed");
    }
}

#[test]
fn inspect_locates_damage_in_segments_of_both_engines() {
    for (engine, ending) in [("kv", ""), ("log", ".log")] {
        let dir = tempfile::tempdir().expect("a folder");
        let write = ["stress", "write", "--engine", engine, "--dir", "data", "--seed", "1", "--ops", "500"];
        assert_eq!(workbench(&write, dir.path()).status.code(), Some(0));
        let segment = largest(&dir.path().join("data"), ending);
        let name = segment.to_str().expect("utf-8");
        let whole = workbench(&["inspect", name], dir.path());
        assert_eq!(whole.status.code(), Some(0), "{name}: {}", said(&whole));
        let mut bytes = std::fs::read(&segment).expect("readable");
        let at = bytes.iter().rposition(|b| *b != 0).expect("not empty") / 2;
        bytes[at] ^= 0xff;
        std::fs::write(&segment, bytes).expect("written");
        let damaged = workbench(&["inspect", name], dir.path());
        assert_eq!(damaged.status.code(), Some(1), "{name}: {}", said(&damaged));
        let told = String::from_utf8_lossy(&damaged.stdout).into_owned();
        assert!(told.contains("damage at byte"), "{told}");
    }
}

#[test]
fn inspect_reads_the_logs_smaller_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |engine: &str, data: &str, more: &[&str]| {
        let args = ["stress", "write", "--engine", engine, "--dir", data, "--seed", "1", "--ops", "800"];
        let written = workbench(&[&args[..], more].concat(), dir.path());
        assert_eq!(written.status.code(), Some(0), "{}", said(&written));
    };
    write("log", "data", &["--with", "retries"]);
    write("log-cluster", "cluster", &[]);
    for (data, ending, part) in [
        ("data", ".snapshot", "what a log knew of"),
        ("data", "durable-end.mark", "offset"),
        ("cluster", "leader-epoch-checkpoint", "begins at offset"),
    ] {
        let file = largest(&dir.path().join(data), ending);
        let name = file.to_str().expect("utf-8");
        let told = workbench(&["inspect", "--records", name], dir.path());
        assert_eq!(told.status.code(), Some(0), "{name}: {}", said(&told));
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(text.contains(part), "{name}: {text}");
        let mut bytes = std::fs::read(&file).expect("readable");
        bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&file, bytes).expect("written");
        let harmed = workbench(&["inspect", name], dir.path());
        assert_eq!(harmed.status.code(), Some(1), "{name}: {}", said(&harmed));
    }
    let of_the_store =
        ["stress", "write", "--engine", "kv", "--dir", "d", "--seed", "1", "--with", "retries"];
    let refused = workbench(&of_the_store, dir.path());
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--engine log"), "{}", said(&refused));
}

/// The largest file below `dir` whose name ends so.
fn largest(dir: &Path, ending: &str) -> std::path::PathBuf {
    let mut folders = vec![dir.to_owned()];
    let mut found: Option<(u64, std::path::PathBuf)> = None;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let entry = entry.expect("entry");
            let about = entry.metadata().expect("about");
            if about.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().ends_with(ending)
                && found.as_ref().is_none_or(|(len, _)| about.len() > *len)
            {
                found = Some((about.len(), entry.path()));
            }
        }
    }
    found.expect("there is a file").1
}

#[test]
fn an_engine_against_itself_is_judged_and_a_count_below_the_required_one_ends_with_exit_code_1() {
    let dir = tempfile::tempdir().expect("a folder");
    let args =
        "aa --engine memory --records 200 --comparisons 2 --clients 8 --duration 20ms --out result --json";
    let args: Vec<&str> = args.split(' ').collect();
    let output = workbench(&args, dir.path());
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    assert_eq!(told[0]["metric"], "achieved_per_s", "{told}");
    assert_eq!((&told[0]["comparisons"], &told[0]["required"]), (&2.into(), &2.into()));
    assert!(told[0]["detectable_quick"].as_f64() > told[0]["detectable_full"].as_f64(), "{told}");
    // Whether a difference is shown is the machine's luck in so short runs; the exit code must say the same.
    let held = told[0]["none_shown"] == 2;
    assert_eq!(output.status.code(), Some(if held { 0 } else { 1 }), "{}", said(&output));
    let page = std::fs::read_to_string(dir.path().join("result/report.html")).expect("a report");
    assert!(page.contains("memory-again"));
}
