//! The report's prose: who is compared with whom, in words that need no knowledge of either.

use crate::report::findings::{Findings, sentence};
use crate::report::record::{ClaimVerdict, Run};

pub(crate) const MAIN_TABLE_NOTE: &str = "p99 latency: 99 of 100 operations were answered at least this fast, counted from the moment they were due. \
     Ratios are geometric means over pairs of runs. The A/A interval is what an engine shows against itself: nothing \
     smaller can be told apart on this machine. The floor stores nothing; what it takes is the cost of measuring.";

/// The page's title.
pub(crate) fn title(findings: &Findings<'_>) -> String {
    if let Some((a, b)) = findings.main.iter().find_map(|f| f.pair()) {
        return format!("{a} against {b}");
    }
    match findings.engines().as_slice() {
        [] => "An empty run".to_owned(),
        names => names.join(", "),
    }
}

/// What was compared with what.
pub(crate) fn introduction(findings: &Findings<'_>) -> Vec<String> {
    let run = findings.run;
    let about = |name: &str| {
        let text = run.engine_about(name).trim().trim_end_matches('.').to_owned();
        if text.is_empty() { name.to_owned() } else { format!("{name} ({text})") }
    };
    let workloads: Vec<String> = findings
        .workloads()
        .into_iter()
        .map(|w| match run.workloads.iter().find(|s| s.name == w) {
            Some(s) if !s.about.is_empty() => format!("{w} ({})", s.about.trim().trim_end_matches('.')),
            _ => w.to_owned(),
        })
        .collect();
    let mut first = match findings.main.iter().find_map(|f| f.pair()) {
        Some((a, b)) => format!(
            "Which of two ways to keep data answers faster, and which does more: {} or {}? ",
            about(a),
            about(b)
        ),
        None => match findings.engines().as_slice() {
            [] => String::new(),
            names => format!("Measured: {}. ", names.iter().map(|n| about(n)).collect::<Vec<_>>().join("; ")),
        },
    };
    if !workloads.is_empty() {
        let same = if findings.engines().len() > 1 {
            "All were asked the same operations"
        } else {
            "It was asked the operations"
        };
        first.push_str(&format!(
            "{same} of the workload {} on the same machine, one after the other, and each row of the table \
             holds load and durability equal.",
            workloads.join(", ")
        ));
    }
    let verified: u64 = run.measurements.iter().filter_map(|m| m.verified_answers).sum();
    if verified > 0 && findings.wrong().is_empty() {
        first.push_str(" Every answer was checked; none was wrong.");
    }
    vec![first].into_iter().filter(|p| !p.is_empty()).collect()
}

/// What stands before the table of claims.
pub(crate) fn claims(run: &Run) -> Vec<String> {
    let measured = run.claims.iter().filter(|c| c.verdict != ClaimVerdict::NotMeasured).count();
    let mut paragraphs = vec![
        "A published move of member data from a replicated key-value store to a log claims the improvements below. \
         They compare unlike things: latency of access before, latency of stream processing after; operations on 32 \
         nodes before, messages on 48 brokers after."
            .to_owned(),
    ];
    paragraphs.push(match measured {
        0 => sentence("this run put none of them to the test"),
        n => format!("This run put {n} of {} to the test.", run.claims.len()),
    });
    paragraphs
}
