//! `workbench simulate`: one seed is one output, byte for byte.

use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt as _;

fn simulate(args: &[&str]) -> Output {
    Command::cargo_bin("workbench")
        .expect("it is built")
        .arg("simulate")
        .args(args)
        .output()
        .expect("it runs")
}

#[test]
fn the_same_arguments_print_the_same_bytes() {
    for args in [&["--seed", "3"][..], &["--scenario", "log-kill", "--seed", "3"], &["--seeds", "20"]] {
        let (first, second) = (simulate(args), simulate(args));
        assert!(first.status.success(), "{args:?}: {}", String::from_utf8_lossy(&first.stderr));
        assert!(first.stdout == second.stdout && first.stdout.len() > 300, "{args:?}");
    }
    let (one, other) = (simulate(&["--seed", "3"]), simulate(&["--seed", "4"]));
    assert_ne!(one.stdout, other.stdout);
}

#[test]
fn rates_and_times_go_to_standard_error() {
    let output = simulate(&["--seeds", "20", "--scenario", "kv-power-cut"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(err.contains("seeds/s") && !out.contains("/s"), "{out}{err}");
    assert!(out.contains("nothing broken") && out.contains("F1 sectors torn"), "{out}");
}

#[test]
fn a_wrong_scenario_is_answered_with_the_right_ones() {
    let output = simulate(&["--scenario", "kv-powercut", "--seed", "1"]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && err.contains("kv-power-cut"), "{err}");
    assert_eq!(simulate(&[]).status.code(), Some(2));
}
