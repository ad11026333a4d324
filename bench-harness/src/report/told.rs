//! The report's prose: who is compared with whom, in words that need no knowledge of either.

use crate::measure::Noise;
use crate::report::findings::{Findings, Role, sentence};
use crate::report::record::{ClaimVerdict, LoadKind, Measurement, Run};

pub(crate) const QUICK: &str =
    "This was a quick run: it shows a direction, it does not decide. The full run does.";

/// How to read the main table.
pub(crate) fn main_table_note(findings: &Findings<'_>) -> String {
    let mut note = "p99 latency: 99 of 100 operations were answered at least this fast, counted from the moment they were \
                    due. Figures and ratios are geometric means over runs and over pairs of runs."
        .to_owned();
    if findings.main.iter().any(|f| f.comparisons.iter().any(|c| c.aa_ci95.is_some())) {
        note.push_str(
            " The A/A interval is what an engine shows against itself: nothing smaller can be told apart on this machine.",
        );
    }
    if findings.main.iter().any(|f| f.setting.load.kind == LoadKind::Open) {
        note.push_str(
            " Where the offered rate is fixed, throughput is equal unless an engine can't keep up.",
        );
    }
    note
}

/// Runs whose figures deserve doubt, with the rule and each run's reason.
pub(crate) fn noisy(run: &Run) -> Option<String> {
    let noisy: Vec<&Measurement> =
        run.measurements.iter().filter(|m| m.operation == "all" && m.noisy.is_some()).collect();
    if noisy.is_empty() {
        return None;
    }
    const SHOWN: usize = 5;
    let runs = run.measurements.iter().filter(|m| m.operation == "all").count();
    let mut text = format!("{} of {runs} runs count but deserve doubt: ", noisy.len());
    let reasons: Vec<String> = noisy
        .iter()
        .take(SHOWN)
        .map(|m| {
            format!(
                "{} ({}, no. {}): {}",
                m.engine,
                m.experiment,
                m.order,
                m.noisy.as_deref().unwrap_or_default()
            )
        })
        .collect();
    text.push_str(&reasons.join(". "));
    if noisy.len() > SHOWN {
        text.push_str(&format!(". {} more are marked in the list of every run", noisy.len() - SHOWN));
    }
    text.push_str(&format!(". {}.", Noise::rule()));
    Some(text)
}

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

/// What was compared with what: the question, then each engine, then how it was asked.
pub(crate) struct Introduction<'a> {
    pub(crate) question: String,
    /// Name, colour, what it is.
    pub(crate) engines: Vec<(&'a str, Option<Role>, String)>,
    pub(crate) asked: String,
}

/// Introduces the run to somebody who knows neither engine.
pub(crate) fn introduction<'a>(findings: &Findings<'a>) -> Introduction<'a> {
    let run = findings.run;
    let compared = findings.main.iter().any(|f| f.pair().is_some());
    let names = findings.engines();
    let question = match (compared, names.len()) {
        (_, 0) => "Nothing was measured.".to_owned(),
        (true, _) => {
            "Two ways to keep the same data: which answers faster, which does more, and by how much?"
                .to_owned()
        }
        (false, _) => "What was measured, without a comparison.".to_owned(),
    };
    let engines = names
        .iter()
        .map(|name| {
            let role = findings.main.iter().find_map(|f| f.side(name)).map(|s| s.role);
            // The first sentence here; the whole stands with the method.
            let about = run.engine_about(name);
            let mut about = sentence(about.split_once(". ").map_or(about, |(first, _)| first));
            if role == Some(Role::Floor) {
                about.push_str(" What it takes is the cost of measuring: the floor under all figures.");
            }
            (*name, role, about.trim().to_owned())
        })
        .collect();
    let workloads: Vec<String> = findings
        .workloads()
        .into_iter()
        .map(|w| match run.workloads.iter().find(|s| s.name == w) {
            Some(s) if !s.about.is_empty() => format!("{w} ({})", s.about.trim().trim_end_matches('.')),
            _ => w.to_owned(),
        })
        .collect();
    let mut asked = String::new();
    if !workloads.is_empty() {
        let who = if names.len() > 1 {
            "Each was asked the same operations"
        } else {
            "It was asked the operations"
        };
        asked = format!(
            "{who} of the workload {} on one machine, in turn. A row never mixes loads or durabilities.",
            workloads.join(", ")
        );
    }
    let verified = run.measurements.iter().any(|m| m.verified_answers.is_some_and(|n| n > 0));
    if verified && findings.wrong().is_empty() {
        asked.push_str(" Every answer was checked; none was wrong.");
    }
    Introduction { question, engines, asked }
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
