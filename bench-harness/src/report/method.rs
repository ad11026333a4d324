//! How it was measured, said from the data: a method that the runs did not follow can't be claimed.

use std::collections::BTreeSet;

use crate::report::findings::{Findings, capital, durability_promise, sentence};
use crate::report::quantity::{count, exact, micros, number};
use crate::report::record::{LoadKind, Measurement, Run};

/// A heading and its sentences.
pub(crate) struct Part {
    pub(crate) title: &'static str,
    pub(crate) sentences: Vec<String>,
}

/// The method, part by part.
pub(crate) fn parts(findings: &Findings<'_>) -> Vec<Part> {
    let run = findings.run;
    let all: Vec<&Measurement> = run.measurements.iter().collect();
    let mut parts = vec![
        Part { title: "Load", sentences: load(&all) },
        Part {
            title: "Durability",
            sentences: findings.durabilities().into_iter().map(durability_promise).collect(),
        },
        Part { title: "Runs and their order", sentences: order(findings) },
        Part { title: "Statistics", sentences: statistics(run) },
        Part { title: "What was verified", sentences: verified(&all) },
        Part { title: "What this run does not show", sentences: not_measured(run, &all) },
    ];
    parts.retain(|p| !p.sentences.is_empty());
    parts
}

fn load(all: &[&Measurement]) -> Vec<String> {
    let mut s = Vec::new();
    if all.iter().any(|m| m.load.kind == LoadKind::Open) {
        s.push(
            "Open loop: each operation became due at a time fixed before the run, whatever the engine was doing. \
             Response time runs from that due time to the answer, so an engine that stalls is charged for everybody \
             who had to wait; service time runs from the moment the operation was handed over, and wait is the \
             difference."
                .to_owned(),
        );
    }
    if all.iter().any(|m| m.load.kind == LoadKind::Closed) {
        s.push(
            "Closed loop: a fixed number of operations is in flight, and the next starts when one is answered. This \
             finds the highest throughput; its latencies leave out the waiting that a stall causes, so they are \
             never compared with those of an open loop."
                .to_owned(),
        );
    }
    if let Some(worst) = all.iter().filter_map(|m| m.lateness_us?.p99).max_by(f64::total_cmp) {
        s.push(format!("The driver itself was late by at most {} at p99 in any run.", micros(worst)));
    }
    s
}

fn order(findings: &Findings<'_>) -> Vec<String> {
    let run = findings.run;
    let mut s = Vec::new();
    for finding in &findings.main {
        let Some((a, b)) = finding.pair() else { continue };
        let operation = finding.main_operation();
        let mut runs: Vec<&Measurement> = finding
            .sides
            .iter()
            .filter(|side| side.engine == a || side.engine == b)
            .flat_map(|side| side.of(operation))
            .filter(|m| m.pair.is_some())
            .collect();
        runs.sort_by_key(|m| m.order);
        if runs.is_empty() {
            continue;
        }
        let letters: String = runs.iter().map(|m| if m.side() == a { 'A' } else { 'B' }).collect();
        let pairs: BTreeSet<u32> = runs.iter().filter_map(|m| m.pair).collect();
        let mut text = format!(
            "{}: {} pairs of runs in the order {letters} (A = {a}, B = {b})",
            capital(&findings.title(finding)),
            pairs.len()
        );
        if let Some(seconds) = same(runs.iter().map(|m| m.measured_s)) {
            text.push_str(&format!(", {} s measured each", exact(seconds)));
        }
        if let Some(seconds) = same(runs.iter().map(|m| m.warmup_s)).filter(|w| *w > 0.0) {
            text.push_str(&format!(" after {} s of warm-up", exact(seconds)));
        }
        text.push('.');
        s.push(text);
        let seeds_match = pairs.iter().all(|pair| {
            let seeds: Vec<Option<u64>> =
                runs.iter().filter(|m| m.pair == Some(*pair)).map(|m| m.seed).collect();
            seeds.first().is_some_and(Option::is_some) && seeds.windows(2).all(|w| w[0] == w[1])
        });
        if seeds_match {
            let different: BTreeSet<Option<u64>> = runs.iter().map(|m| m.seed).collect();
            s.push(format!(
                "Both sides of a pair were asked the same stream of operations, from the same seed; {} seeds over {} pairs.",
                different.len(),
                pairs.len()
            ));
        }
        let events: Vec<u64> =
            runs.iter().filter(|m| !m.tail_events.is_empty()).map(|m| m.tail_events.values().sum()).collect();
        if let Some(fewest) = events.iter().min().filter(|n| **n < 100) {
            s.push(format!(
                "A run held as few as {fewest} events that make tails (rolls, merges). Below about 100, one run's p99 is \
                 much a matter of luck; the spread between pairs shows how much."
            ));
        }
    }
    s.dedup();
    s.push(
        "Each run began in an empty folder. After its preload the file system was synced, so that no run pays for what \
         was written before it."
            .to_owned(),
    );
    s.push(format!("The run's seed is {}; `{}` repeats it.", run.seed, run.command.join(" ")));
    let rejected = run.measurements.iter().filter(|m| m.rejected.is_some()).count();
    if rejected > 0 {
        s.push(format!(
            "{rejected} measurements were rejected; they stay in the list of runs with the reason."
        ));
    }
    if run.interrupted {
        s.push(
            "The run was ended before it was through; what had been measured by then is shown.".to_owned(),
        );
    }
    let backends: BTreeSet<(&str, &str)> =
        run.measurements.iter().filter_map(|m| Some((m.engine.as_str(), m.io.as_deref()?))).collect();
    for (engine, io) in backends {
        s.push(format!("{engine} reached the disk through {io}."));
    }
    s
}

/// The value that all share.
fn same(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<Option<f64>> = values.collect();
    let first = (*values.first()?)?;
    values.iter().all(|v| v.is_some_and(|v| (v - first).abs() <= first.abs() * 0.02)).then_some(first)
}

fn statistics(run: &Run) -> Vec<String> {
    let mut s = vec![
        "A percentile is given only where at least 100 operations were slower; elsewhere it says \"too few samples\". \
         Histograms are added up, percentiles are never averaged over threads or seconds."
            .to_owned(),
    ];
    if !run.comparisons.is_empty() {
        s.push(
            "The run is the unit of evidence. A ratio is the geometric mean over pairs of runs, its 95 % interval comes \
             from Student's t on the logarithms of the pairs' ratios; figures of one engine are geometric means over \
             its runs. Nothing is inferred from inside one run: millions of operations of one run share one run's luck."
                .to_owned(),
        );
        s.push(
            "The A/A interval is what an engine shows against itself on this machine. A difference that is not larger \
             is no difference shown, which is an answer too."
                .to_owned(),
        );
        s.extend(crate::report::detectable::sentences(&run.comparisons));
        if let Some(p) = run.comparisons.iter().filter_map(|c| c.sign_test_p).min_by(f64::total_cmp) {
            s.push(format!(
                "Exact sign tests and a bootstrap over pairs stand beside each ratio in the raw data; the smallest p here is {}.",
                number(p)
            ));
        }
    }
    let saturated = run.measurements.iter().filter(|m| m.saturated).count();
    if saturated > 0 {
        s.push(format!(
            "{saturated} measurements were saturated (less than 99 % of the offered rate, or growing lag). Their latency \
             would depend on how long one looks, so it is not given."
        ));
    }
    let limited = run.measurements.iter().filter(|m| m.driver_limited).count();
    if limited > 0 {
        s.push(format!("{limited} measurements were limited by the driver, not by the engine; their latency is not given."));
    }
    if run.quick {
        s.push("This was a quick run. Its verdicts are at best a direction; `--time-limit 90m` or `--full` decides.".to_owned());
    }
    s
}

fn verified(all: &[&Measurement]) -> Vec<String> {
    let answers: u64 = all.iter().filter(|m| m.operation == "all").filter_map(|m| m.verified_answers).sum();
    let answers = if answers > 0 { answers } else { all.iter().filter_map(|m| m.verified_answers).sum() };
    let wrong: u64 = all.iter().map(|m| m.wrong_answers).sum();
    let mut s = Vec::new();
    if answers > 0 {
        s.push(format!(
            "{} answers were compared with what the operations before and beside them allow; {}.",
            count(answers),
            if wrong == 0 { "none was wrong".to_owned() } else { format!("{} were wrong", count(wrong)) }
        ));
    }
    let flushed = all.iter().any(|m| m.resources.device_flushes.is_some());
    if flushed {
        s.push(
            "The syncs that the engines report stand beside the flushes that the block device counted."
                .to_owned(),
        );
    }
    s
}

fn not_measured(run: &Run, all: &[&Measurement]) -> Vec<String> {
    let mut s: Vec<String> = run.not_measured.iter().map(|n| sentence(n)).collect();
    if all.iter().all(|m| m.replication.is_none()) && !all.is_empty() {
        s.push("One node each: no replication and no network took part.".to_owned());
    }
    if !all.is_empty() && all.iter().all(|m| m.verified_answers.is_none()) {
        s.push("Answers were not verified.".to_owned());
    }
    if all.iter().any(|m| m.durability == "synced")
        && all.iter().all(|m| m.resources.device_flushes.is_none())
    {
        s.push(
            "Whether a sync reached the device was not checked: its flush counter can't be read here."
                .to_owned(),
        );
    }
    s.extend(run.limits.failed.iter().map(|f| format!("Limits: {}", sentence(f))));
    s
}
