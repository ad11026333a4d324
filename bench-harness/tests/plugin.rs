//! An engine and a workload from outside the workbench's crates run by name in the comparison.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use bench_harness::cli::{Workbench, comparison};
use bench_harness::report::record::Run;

fn smoke(out: &Path, more: &[&str]) -> ExitCode {
    let mut workbench = Workbench::standard();
    plugin_example::workload::register(&mut workbench.workloads);
    plugin_example::engine::register(&mut workbench.engines);
    let mut args: Vec<OsString> = vec!["comparison".into(), "--out".into(), out.into()];
    args.extend(more.iter().map(OsString::from));
    comparison(args, &workbench)
}

#[test]
fn a_plugged_in_workload_and_engine_are_compared_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    let data = dir.path().join("data");
    let data = data.to_str().expect("utf-8");
    let args =
        ["--workload", "birthday-greetings", "--engines", "notebook,memory", "--dir", data, "--rate", "2000"];
    assert_eq!(smoke(&out, &args), ExitCode::SUCCESS);
    let run = Run::read(&out).expect("a record");
    for engine in ["notebook", "memory"] {
        let m = run
            .measurements
            .iter()
            .find(|m| m.engine == engine && m.workload == "birthday-greetings" && m.operation == "all")
            .unwrap_or_else(|| panic!("{engine} was not run"));
        assert!(m.count > 100 && m.wrong_answers == 0 && m.errors == 0, "{m:?}");
        assert!(m.verified_answers.is_some_and(|n| n > 0));
    }
    assert!(run.comparisons.iter().any(|c| c.a == "notebook" && c.b == "memory"));
    assert!(out.join("report.html").exists());
    let lines = |source: &str| source.lines().count();
    assert!(lines(include_str!("../../plugin-example/src/engine.rs")) <= 40);
    assert!(lines(include_str!("../../plugin-example/src/workload.rs")) <= 40);
}

#[test]
fn an_unknown_engine_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    assert_eq!(smoke(&out, &["--engines", "nosuch,memory"]), ExitCode::from(2));
    assert!(!out.exists());
}
