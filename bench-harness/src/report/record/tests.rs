//! The record's contract: what is written is read, and what can't be read says why.

use std::path::Path;

use super::*;

fn small() -> Run {
    Run {
        schema: SCHEMA,
        id: "20260101T000000Z-abc".into(),
        started: "2026-01-01T00:00:00Z".into(),
        finished: "2026-01-01T00:04:00Z".into(),
        command: vec!["workbench".into(), "compare".into()],
        seed: u64::MAX,
        quick: true,
        interrupted: false,
        environment: Environment::default(),
        limits: Limits::default(),
        engines: vec![Subject { name: "kv-store".into(), about: "a store".into(), parameters: vec![] }],
        workloads: vec![],
        measurements: vec![
            Measurement {
                engine: "kv-store".into(),
                replication: Some(Replication::Quorum { n: 3, r: 2, w: 2 }),
                copies_durable_at_ack: Some(CopiesDurable { min: 2, p50: 2.0 }),
                pair: Some(1),
                response_us: Percentiles { p50: Some(101.25), p99: None, ..Percentiles::default() },
                ..Measurement::default()
            },
            Measurement {
                replication: Some(Replication::InSync { n: 3, acks: "all".into(), min_isr: 2 }),
                world: World::Simulated("hdd-2012".into()),
                ..Measurement::default()
            },
        ],
        comparisons: vec![Comparison {
            ratio: Some(1.5),
            ci95: Some([1.25, 1.75]),
            verdict: ComparisonVerdict::BBetter,
            ..Comparison::default()
        }],
        claims: vec![Claim {
            id: "C1".into(),
            verdict: ClaimVerdict::DirectionOnly,
            measured: Some(MeasuredFigures { ci95: Some([1.0, 2.0]), ..MeasuredFigures::default() }),
            ..Claim::default()
        }],
        plan: None,
        not_measured: vec!["replication".into()],
        notes: vec![],
    }
}

#[test]
fn what_was_written_is_read_back_with_seed_and_missing_percentiles() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = small();
    run.write(dir.path()).expect("written");
    assert_eq!(Run::read(dir.path()).expect("by folder"), run);
    assert_eq!(Run::read(dir.path().join(RUN_FILE)).expect("by file"), run);
    assert!(dir.path().join(ENVIRONMENT_FILE).exists());
}

#[test]
fn the_contracts_field_names_and_words_stand_in_the_file() {
    let json: serde_json::Value = serde_json::to_value(small()).expect("json");
    let m = &json["measurements"][0];
    for name in [
        "experiment",
        "workload",
        "engine",
        "durability",
        "replication",
        "copies_durable_at_ack",
        "pair",
        "order",
        "repeat",
        "world",
        "load",
        "achieved_per_s",
        "saturated",
        "driver_limited",
        "operation",
        "count",
        "errors",
        "unsupported",
        "wrong_answers",
        "response_us",
        "service_us",
        "wait_us",
        "histogram",
        "series",
        "resources",
    ] {
        assert!(m.get(name).is_some(), "{name} is missing");
    }
    assert!(m["response_us"]["p99"].is_null(), "too few samples is null, not absent");
    assert_eq!(m["replication"]["w"], 2);
    assert_eq!(json["measurements"][1]["replication"]["acks"], "all");
    assert_eq!(json["measurements"][1]["world"], "simulated:hdd-2012");
    assert_eq!(m["load"]["kind"], "closed");
    assert_eq!(json["claims"][0]["verdict"], "direction only");
    assert_eq!(json["comparisons"][0]["verdict"], "b better");
}

#[test]
fn another_schema_version_is_refused_by_file_found_and_expected() {
    for (text, found) in
        [("{\"schema\":7,\"future\":{}}", "7"), ("{}", "missing"), ("{\"schema\":\"1\"}", "\"1\"")]
    {
        let error = Run::parse(text, Path::new("old/run.json")).expect_err("another version");
        let said = error.to_string();
        assert!(said.contains("old/run.json") && said.contains(&format!("schema {found}")), "{said}");
        assert!(said.contains("reads schema 1"), "{said}");
    }
}

#[test]
fn a_torn_record_names_file_and_line_and_a_missing_one_the_way_out() {
    let text = serde_json::to_string_pretty(&small()).expect("json");
    let error = Run::parse(&text[..text.len() / 2], Path::new("x/run.json")).expect_err("torn");
    assert!(error.to_string().starts_with("x/run.json:"), "{error}");
    let dir = tempfile::tempdir().expect("a folder");
    let error = Run::read(dir.path()).expect_err("empty folder");
    assert!(matches!(error, RecordError::Missing { .. }), "{error}");
}

#[test]
fn a_value_that_json_can_not_hold_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut run = small();
    run.measurements[0].achieved_per_s = f64::NAN;
    assert!(matches!(run.write(dir.path()), Err(RecordError::NotFinite { .. })));
    assert!(!dir.path().join(RUN_FILE).exists());
}
