//! What is concluded from records that are made up.

use super::*;
use crate::report::record::{CurvePoint, Load, LoadKind, Percentiles, Replication, Resources};

fn measured(side: &str, experiment: &str, operation: &str, pair: u32, p99_ms: f64) -> Measurement {
    // No two runs are quite alike.
    let p99 = Some(p99_ms * 1e3 * (1.0 + 0.01 * f64::from(pair % 3)));
    let replication = if side == "store" {
        Replication::Quorum { n: 3, r: 2, w: 2 }
    } else {
        Replication::InSync { n: 3, acks: "all".into(), min_isr: 2 }
    };
    Measurement {
        experiment: experiment.into(),
        workload: "w".into(),
        engine: side.into(),
        durability: "os".into(),
        operation: operation.into(),
        pair: Some(pair),
        replication: Some(replication),
        load: Load { kind: LoadKind::Open, label: Some(share_label(0.5)), ..Load::default() },
        count: 20_000,
        response_us: Percentiles { p95: p99.map(|v| v / 2.0), p99, ..Percentiles::default() },
        resources: Resources { space_amp: Some(3.2), ..Resources::default() },
        ..Measurement::default()
    }
}

fn searched(side: &str, pair: u32, rate: f64, sustained: bool) -> Measurement {
    Measurement {
        point: Some(CurvePoint { sustained, ..CurvePoint::default() }),
        load: Load {
            kind: LoadKind::Open,
            offered_per_s: Some(rate),
            label: Some(SEARCHED.into()),
            ..Load::default()
        },
        ..measured(side, HIGHEST, "all", pair, 20.0)
    }
}

/// Runs where the store's operations take `store_ms`, the log's writes `log_ms`, until they are seen `seen_ms`.
fn record(store_ms: f64, log_ms: f64, seen_ms: f64) -> Run {
    let mut measurements = Vec::new();
    for pair in 1..=6 {
        for operation in ["all", "update-profile", "read-profile"] {
            measurements.push(measured("store", EQUAL_LOAD, operation, pair, store_ms));
            measurements.push(measured("log", EQUAL_LOAD, operation, pair, log_ms));
        }
        measurements.push(measured("log", EQUAL_LOAD, VISIBLE, pair, seen_ms));
        for (side, rate) in [("store", 10_000.0), ("log", 30_000.0)] {
            let luck = 1.0 + 0.01 * f64::from(pair % 2);
            measurements.push(searched(side, pair, rate / 2.0, true));
            measurements.push(searched(side, pair, rate * luck, true));
            measurements.push(searched(side, pair, rate * 1.2, false));
        }
    }
    let json = serde_json::json!({
        "schema": 1, "id": "", "started": "", "finished": "", "command": [], "seed": 1, "quick": false,
        "environment": crate::environment::Environment::default(), "limits": crate::limits::Limits::default(),
        "measurements": measurements, "comparisons": [], "claims": crate::experiments::claims(),
    });
    Run::parse(&json.to_string(), std::path::Path::new("run.json")).expect("a record")
}

fn concluded(run: Run, decides: bool) -> Run {
    concluded_of(run, decides.then_some(Planned { pairs: 6, searches: 6 }))
}

fn concluded_of(mut run: Run, planned: Option<Planned>) -> Run {
    let trial = Trial {
        workload: "w",
        durabilities: vec!["os".into(), "synced".into()],
        before: "store",
        after: "log",
        all_copies: None,
        old_reads: None,
        share: 0.5,
        planned,
        seed: Seed(1),
    };
    trial.conclude(&mut run);
    run
}

fn claim<'r>(run: &'r Run, id: &str) -> &'r Claim {
    run.claims.iter().find(|c| c.id == id).expect("every claim is listed")
}

#[test]
fn the_literal_pair_is_the_stores_operations_against_the_logs_visibility() {
    let run = concluded(record(40.0, 4.0, 5.0), true);
    let c1 = claim(&run, "C1");
    assert_eq!(c1.verdict, ClaimVerdict::Reproduced, "{}", c1.why);
    let measured = c1.measured.as_ref().expect("measured");
    assert!((measured.ratio.expect("a ratio") - 8.0).abs() < 1e-6, "{measured:?}");
    assert!((measured.before.expect("store") - 40.4).abs() < 0.1, "{measured:?}");
    let parts: Vec<_> = c1.parts.iter().map(|p| (p.id.as_str(), p.durability.as_str())).collect();
    assert_eq!(parts, [("C1 literal", "os"), ("C1a", "os"), ("C1b", "os"), ("C1c", "os")]);
    let seen = &c1.parts[3];
    assert!(seen.measured.before.is_none() && seen.measured.after.is_some(), "the store has no subscriber");
    assert!(c1.parts[1].aa_before_ci95.is_some() && c1.parts[1].setting.contains("acks=all"));
}

#[test]
fn quick_runs_fast_sides_and_missing_subscribers_are_told_apart() {
    let verdict = |run: &Run| claim(run, "C1").verdict;
    assert_eq!(verdict(&concluded(record(40.0, 4.0, 5.0), false)), ClaimVerdict::DirectionOnly);
    assert_eq!(verdict(&concluded(record(4.0, 4.0, 5.0), true)), ClaimVerdict::NotReproduced);
    let fast = concluded(record(40.0, 0.5, 5.0), true);
    assert_eq!(verdict(&fast), ClaimVerdict::NotMeasured);
    assert!(claim(&fast, "C1").why.contains("Too fast") && claim(&fast, "C1").measured.is_some());
    let mut unseen = record(40.0, 4.0, 5.0);
    unseen.measurements.retain(|m| m.operation != VISIBLE);
    let unseen = concluded(unseen, true);
    assert_eq!(verdict(&unseen), ClaimVerdict::NotMeasured);
    assert!(claim(&unseen, "C1").why.contains("no subscriber"), "{}", claim(&unseen, "C1").why);
    let mut saturated = record(40.0, 4.0, 5.0);
    for m in saturated.measurements.iter_mut().filter(|m| m.engine == "store" && m.experiment == EQUAL_LOAD) {
        m.saturated = true;
        m.withhold();
    }
    let saturated = concluded(saturated, true);
    assert_eq!(verdict(&saturated), ClaimVerdict::NotMeasured);
    assert!(claim(&saturated, "C1").why.contains("keep up"), "{}", claim(&saturated, "C1").why);
}

#[test]
fn the_highest_rate_is_the_highest_sustained_one_of_each_search() {
    let run = concluded(record(40.0, 4.0, 5.0), true);
    let c2 = claim(&run, "C2");
    let measured = c2.measured.as_ref().expect("measured");
    assert!((measured.ratio.expect("a ratio") - 3.0).abs() < 1e-6, "{measured:?}");
    assert_eq!(c2.verdict, ClaimVerdict::DirectionOnly, "three times is not two hundred");
    assert!(c2.why.contains("a node"), "{}", c2.why);
    let c10 = claim(&run, "C10");
    assert_eq!(c10.verdict, ClaimVerdict::Reproduced, "{}", c10.why);
}

/// A long comparison that is ended after its pre-registered pairs has decided what they decide, and nothing else.
#[test]
fn what_was_completed_before_the_end_is_decided_and_the_rest_is_not() {
    let verdict = |planned| {
        let run = concluded_of(record(90.0, 4.0, 5.0), Some(planned));
        (claim(&run, "C1").clone(), claim(&run, "C2").clone())
    };
    let (c1, c2) = verdict(Planned { pairs: 6, searches: 10 });
    assert_eq!(c1.verdict, ClaimVerdict::Reproduced, "{}", c1.why);
    assert!(!c1.why.contains("Only"), "{}", c1.why);
    assert!(c2.why.contains("Only 6 of the 10 pairs"), "{}", c2.why);
    let (c1, _) = verdict(Planned { pairs: 12, searches: 6 });
    assert_eq!(c1.verdict, ClaimVerdict::DirectionOnly, "{}", c1.why);
    assert!(c1.why.contains("Only 6 of the 12 pairs"), "{}", c1.why);
}
