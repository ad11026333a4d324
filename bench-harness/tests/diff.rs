//! `workbench diff` as a program that guards a branch meets it: what it shows, what it refuses, how it ends.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt as _;
use bench_harness::diff::{RunDiff, Selection};
use bench_harness::environment::Environment;
use bench_harness::limits::Limits;
use bench_harness::report::record::{
    ComparisonVerdict, Load, LoadKind, Measurement, Percentiles, Run, SCHEMA,
};

const RUNS: u64 = 6;

/// A run's noise: fixed, without a mean, a few per cent wide; another one on each side.
fn noise(run: u64, side: u64) -> f64 {
    let wobble = [-0.03, 0.01, 0.02, -0.01, 0.015, -0.005];
    1.0 + wobble[((run + 2 * side) % RUNS) as usize]
}

fn open(engine: &str, run: u64, side: u64, p50_us: f64) -> Measurement {
    let p50 = p50_us * noise(run, side);
    Measurement {
        experiment: "equal load".into(),
        workload: "member-update".into(),
        engine: engine.into(),
        durability: "os".into(),
        operation: "all".into(),
        pair: Some(run as u32 + 1),
        load: Load {
            kind: LoadKind::Open,
            offered_per_s: Some(10_000.0),
            label: Some("as asked for".into()),
            ..Load::default()
        },
        achieved_per_s: 10_000.0,
        count: 60_000,
        response_us: Percentiles { p50: Some(p50), p99: Some(20.0 * p50), ..Percentiles::default() },
        ..Measurement::default()
    }
}

fn folder(side: u64, measurements: Vec<Measurement>) -> Run {
    Run {
        schema: SCHEMA,
        id: format!("side-{side}"),
        started: "2026-01-01T00:00:00Z".into(),
        finished: "2026-01-01T00:04:00Z".into(),
        command: vec![],
        seed: 1,
        quick: true,
        interrupted: false,
        environment: Environment { kernel: Some(format!("Linux 6.{side}")), ..Environment::default() },
        limits: Limits::default(),
        engines: vec![],
        workloads: vec![],
        measurements,
        comparisons: vec![],
        claims: vec![],
        plan: None,
        not_measured: vec![],
        notes: vec![],
    }
}

fn of(side: u64, p50_us: f64) -> Run {
    folder(side, (0..RUNS).map(|run| open("kv-store", run, side, p50_us)).collect())
}

fn diff(a: &Run, b: &Run) -> RunDiff {
    RunDiff::of(a, b, &Selection::default())
}

fn verdicts(diff: &RunDiff) -> Vec<(&str, ComparisonVerdict)> {
    diff.rows.iter().map(|r| (r.metric.as_str(), r.verdict)).collect()
}

#[test]
fn a_slower_second_folder_is_shown_and_an_equal_one_is_not() {
    let slower = diff(&of(0, 100.0), &of(1, 115.0));
    let expected =
        [("response_us.p50", ComparisonVerdict::ABetter), ("response_us.p99", ComparisonVerdict::ABetter)];
    assert_eq!(verdicts(&slower), expected);
    let ratio = slower.rows[0].ratio.expect("six runs a side");
    assert!((ratio - 1.15).abs() < 0.03, "B by A: {ratio}");
    assert_eq!(slower.regressions(0.05).count(), 2);
    assert_eq!(slower.regressions(0.25).count(), 0, "shown, and below the threshold");
    let faster = diff(&of(0, 115.0), &of(1, 100.0));
    assert!(verdicts(&faster).iter().all(|(_, v)| *v == ComparisonVerdict::BBetter), "{faster:?}");
    assert_eq!(faster.regressions(0.0).count(), 0);
    let equal = diff(&of(0, 100.0), &of(1, 100.0));
    assert!(verdicts(&equal).iter().all(|(_, v)| *v == ComparisonVerdict::NoDifference), "{equal:?}");
}

#[test]
fn runs_of_equal_seeds_are_matched_and_what_the_seed_makes_falls_out() {
    let seeded = |side: u64, slower: f64| {
        // Some seeds ask for more work than others, by far more than the difference to find.
        let run = |run: u64| Measurement {
            seed: Some(100 + run),
            ..open("kv-store", run, side, 100.0 * slower * f64::from(1 << run))
        };
        let mut runs: Vec<_> = (0..RUNS).map(run).collect();
        if side == 1 {
            runs.reverse();
        }
        folder(side, runs)
    };
    let matched = diff(&seeded(0, 1.0), &seeded(1, 1.10));
    assert!(matched.rows.iter().all(|r| r.matched_by_seed && r.verdict == ComparisonVerdict::ABetter));
    let mut other_seeds = seeded(1, 1.10);
    other_seeds.measurements.iter_mut().for_each(|m| m.seed = m.seed.map(|s| s + 1));
    let unmatched = diff(&seeded(0, 1.0), &other_seeds);
    assert!(
        unmatched.rows.iter().all(|r| !r.matched_by_seed && r.verdict == ComparisonVerdict::NoDifference)
    );
}

#[test]
fn unlike_runs_share_no_row_and_the_reason_is_named() {
    let a = of(0, 100.0);
    for (change, words) in [
        ((|m| m.load.offered_per_s = Some(12_000.0)) as fn(&mut Measurement), "12,000/s offered; measure"),
        (|m| m.durability = "synced".into(), "B has durability synced"),
        (|m| m.engine = "other".into(), "B has no such runs"),
        (|m| m.load = Load { clients: Some(64), ..Load::default() }, "B has 64 in flight"),
    ] {
        let mut b = of(1, 200.0);
        b.measurements.iter_mut().for_each(change);
        let diff = diff(&a, &b);
        assert!(diff.rows.is_empty(), "{:?}", diff.rows);
        assert_eq!(diff.unmatched.len(), 2);
        assert!(diff.unmatched[0].contains(words), "{:?}", diff.unmatched);
    }
    // The label is words for the load, not a part of it.
    let mut b = of(1, 100.0);
    b.measurements.iter_mut().for_each(|m| m.load.label = None);
    assert_eq!(diff(&a, &b).rows.len(), 2);
}

#[test]
fn a_regression_does_not_hide_behind_withheld_numbers() {
    let a = of(0, 100.0);
    let mut saturated = of(1, 100.0);
    for m in &mut saturated.measurements {
        m.saturated = true;
        m.withhold();
    }
    let found = diff(&a, &saturated);
    assert_eq!(
        verdicts(&found)[0],
        ("runs_saturated", ComparisonVerdict::ABetter),
        "six of six against none of six is no luck"
    );
    assert_eq!(found.regressions(0.05).count(), 1);
    assert!(found.rows[1..].iter().all(|r| r.verdict == ComparisonVerdict::NotMeasured));
    assert!(found.rows[1..].iter().all(|r| r.why == "B: saturated"), "{:?}", found.rows);
    let mut one = of(1, 100.0);
    one.measurements[0].saturated = true;
    assert_eq!(diff(&a, &one).regressions(0.05).count(), 0, "one of six may be luck");

    let mut wrong = of(1, 50.0);
    wrong.measurements[2].wrong_answers = 1;
    let found = diff(&a, &wrong);
    assert_eq!(verdicts(&found)[0], ("runs_with_wrong_answers", ComparisonVerdict::ABetter));
    assert_eq!(found.regressions(5.0).count(), 1, "no share of wrong answers is tolerable");
}

#[test]
fn among_many_rows_luck_is_paid_for_and_a_metric_named_beforehand_is_not() {
    // 5 % at this noise: p is below 0.05 alone, and above it among forty rows.
    let side = |side: u64, slower: f64| {
        let kinds: Vec<String> =
            (0..20).map(|k| if k == 0 { "all".into() } else { format!("op-{k}") }).collect();
        let runs = (0..RUNS).flat_map(|run| {
            kinds.iter().map(move |kind| {
                let slower = if kind == "all" { slower } else { 1.0 };
                Measurement { operation: kind.clone(), ..open("kv-store", run, side, 100.0 * slower) }
            })
        });
        folder(side, runs.collect())
    };
    let (a, b) = (side(0, 1.0), side(1, 1.03));
    let all = diff(&a, &b);
    let row = all.rows.iter().find(|r| r.operation == "all").expect("a row");
    assert!(row.p.is_some_and(|p| p < 0.05) && row.verdict == ComparisonVerdict::NoDifference, "{row:?}");
    assert!(all.text(0.05).contains("Holm"), "{}", all.text(0.05));
    let named = Selection { metrics: vec!["response_us.p50".into()], operation: Some("all".into()) };
    let one = RunDiff::of(&a, &b, &named);
    assert_eq!(verdicts(&one), [("response_us.p50", ComparisonVerdict::ABetter)]);
}

#[test]
fn the_text_fits_110_columns_and_says_what_is_unlike() {
    let mut b = of(1, 123_456.0);
    b.environment.mount_options = Some("rw,relatime,".repeat(20));
    b.measurements.iter_mut().for_each(|m| m.operation = "a-very-long-kind-of-operation".into());
    let mut a = of(0, 1.5);
    a.measurements.iter_mut().for_each(|m| m.operation = "a-very-long-kind-of-operation".into());
    let text = diff(&a, &b).text(0.05);
    for line in text.lines() {
        assert!(line.chars().count() <= 110, "{} columns: {line}", line.chars().count());
    }
    for words in ["Linux 6.0", "Linux 6.1", "A (6 runs)", "A better", "2 regressions above 5 % shown."] {
        assert!(text.contains(words), "{words} is missing:\n{text}");
    }
}

fn workbench(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output: Output = Command::cargo_bin("workbench")
        .expect("it is built")
        .arg("diff")
        .args(args)
        .current_dir(dir)
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_exit_code_is_1_for_a_shown_regression_and_2_for_folders_that_say_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, run: &Run| {
        std::fs::create_dir(dir.path().join(name)).expect("a folder");
        run.write(dir.path().join(name)).expect("written");
    };
    write("before", &of(0, 100.0));
    write("same", &of(1, 100.0));
    write("slower", &of(1, 115.0));
    write("one-run", &folder(1, vec![open("kv-store", 0, 1, 100.0)]));
    write("nothing", &folder(1, vec![]));
    let mut other = of(1, 100.0);
    other.measurements.iter_mut().for_each(|m| m.load.offered_per_s = Some(9_000.0));
    write("other-rate", &other);
    std::fs::create_dir(dir.path().join("torn")).expect("a folder");
    std::fs::write(dir.path().join("torn/run.json"), "{\"schema\": 1, \"id\":").expect("written");

    let (code, out, err) = workbench(dir.path(), &["before", "same"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(
        out.contains("no difference shown") && out.ends_with("No regression above 5 % is shown.\n"),
        "{out}"
    );
    let (code, out, _) = workbench(dir.path(), &["before", "slower"]);
    assert_eq!(code, Some(1), "{out}");
    assert_eq!(workbench(dir.path(), &["before", "slower", "--fail-above", "25%"]).0, Some(0));
    assert_eq!(workbench(dir.path(), &["slower", "before"]).0, Some(0), "better is no regression");
    // The baseline is what was, wherever it stands on the line.
    assert_eq!(workbench(dir.path(), &["slower", "--baseline", "before"]).0, Some(1));
    assert_eq!(workbench(dir.path(), &["--baseline", "slower", "before"]).0, Some(0));
    for wrong in [&["before"][..], &["before", "same", "--baseline", "slower"]] {
        let (code, _, err) = workbench(dir.path(), wrong);
        assert!(code == Some(2) && err.contains("diff AFTER --baseline BEFORE"), "{err}");
    }
    let (code, out, _) = workbench(dir.path(), &["before", "slower", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON and nothing else");
    assert_eq!((code, &json["rows"][0]["verdict"]), (Some(1), &"a better".into()), "{out}");
    for (b, words) in [
        ("one-run", vec!["fewer than two runs"]),
        ("nothing", vec!["nothing holds no measurement", "measure again"]),
        ("other-rate", vec!["9,000/s", "--rate"]),
        ("torn", vec!["torn/run.json:1", "restore"]),
        ("nosuch", vec!["nosuch", "run.json"]),
    ] {
        let (code, out, err) = workbench(dir.path(), &["before", b]);
        assert_eq!(code, Some(2), "{b}: {out}{err}");
        for word in words {
            assert!(err.contains(word), "{b} doesn't say {word}: {err}");
        }
    }
    assert_eq!(workbench(dir.path(), &["before", "same", "--metric", "p99"]).0, Some(2));
}
