//! The report's prose: who is compared with whom, in words that need no knowledge of either.

use crate::measure::Noise;
use crate::report::findings::{Findings, Role, sentence};
use crate::report::record::{Claim, ClaimVerdict, LoadKind, Measurement, Replication, Run};

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
                m.side(),
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
    /// Where both sides are replicated: what is equal, and what differs by design.
    pub(crate) terms: Vec<(&'static str, String)>,
}

/// Introduces the run to somebody who knows neither engine.
pub(crate) fn introduction<'a>(findings: &Findings<'a>) -> Introduction<'a> {
    let run = findings.run;
    let compared = findings.main.iter().any(|f| f.pair().is_some());
    let names = findings.engines();
    let copies = copies(findings);
    let question = match (compared, names.len()) {
        (_, 0) => "Nothing was measured.".to_owned(),
        (true, _) if copies.len() > 1 => "Keep the members' state in a replicated store, or write every change to a \
                                          replicated log and read a view that follows it? Which answers faster, which \
                                          does more, and by how much?"
            .to_owned(),
        (true, _) => {
            "Two ways to keep the same data: which answers faster, which does more, and by how much?"
                .to_owned()
        }
        (false, _) => "What was measured, without a comparison.".to_owned(),
    };
    // Variants of an engine have rows of their own, and no introduction.
    let variant = |name: &str| run.measurements.iter().any(|m| m.variant == name);
    let engines = names
        .iter()
        .filter(|name| !variant(name))
        .map(|name| {
            let role = findings.main.iter().find_map(|f| f.side(name)).map(|s| s.role);
            // The first sentence here; the whole stands with the method.
            let about = run.engine_about(name);
            let mut about = sentence(about.split_once(". ").map_or(about, |(first, _)| first));
            if let Some((_, replication)) = copies.iter().find(|(engine, _)| engine == name) {
                about.push_str(&format!(" {}", copies_in_words(replication)));
            }
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
    let terms = if copies.len() > 1 { terms(run) } else { Vec::new() };
    Introduction { question, engines, asked, terms }
}

/// The replication of the main sides, by name.
fn copies<'a>(findings: &Findings<'a>) -> Vec<(&'a str, &'a Replication)> {
    let mut copies: Vec<(&str, &Replication)> = Vec::new();
    let plain = findings.run.measurements.iter().filter(|m| m.variant.is_empty());
    for m in plain {
        if let Some(replication) = &m.replication
            && !copies.iter().any(|(engine, _)| *engine == m.engine)
        {
            copies.push((&m.engine, replication));
        }
    }
    copies
}

fn copies_in_words(replication: &Replication) -> String {
    match replication {
        Replication::Quorum { n, r, w } => format!(
            "{n} nodes in this process, each with a folder of its own; {n} copies of each record; a write waits for {w} of them, a read \
             asks {r} ({replication})."
        ),
        Replication::InSync { n, acks, min_isr } => format!(
            "{n} brokers in this process, each with a folder of its own; {n} copies of each change; a write waits for {} ({replication}).",
            match acks.as_str() {
                "all" => format!("all copies that are in sync, {min_isr} at least"),
                "1" => "the leader's copy".to_owned(),
                _ => "no copy".to_owned(),
            }
        ),
    }
}

/// What two replicated sides have in common, and what not.
fn terms(run: &Run) -> Vec<(&'static str, String)> {
    let setting = |name: &str| {
        run.engines.iter().flat_map(|e| &e.parameters).find(|p| p.name == name).map(|p| p.value.as_str())
    };
    let network = match (setting("transport"), setting("net")) {
        (Some(transport), Some(net)) => {
            format!("the same messages' network ({transport}, delays of {net}), ")
        }
        _ => String::new(),
    };
    vec![
        (
            "Equal on both sides",
            format!(
                "members, values and due times; the durability of a row; three copies, of which one may be lost without \
                 losing what was acknowledged; the whole record in each write; {network}the processors, which all nodes \
                 and the driver share."
            ),
        ),
        (
            "Different by design",
            "the log batches what arrives together, and pushes changes to whoever follows them; the store reads a key's \
             version before it writes, unless told not to. What each of these is worth stands in a row of its own."
                .to_owned(),
        ),
    ]
}

/// What the published figures compare, before any of them is quoted.
pub(crate) const UNLIKE: &str = "The published claims compare unlike things. Their latency is that of access to data before the move, and that of \
     processing a stream after it. Their throughput is 10,000 operations a second on 32 nodes before, and 2,000,000 \
     messages a second on 48 brokers after; and a trillion messages a day, also published, would be 11.6 million a \
     second. So each claim is read literally and, beside that, like for like.";

/// The claims that this run has an answer to, or should have: those of the first screen.
pub(crate) fn verdicts(run: &Run) -> Vec<&Claim> {
    run.claims.iter().filter(|c| c.measured.is_some() || c.verdict != ClaimVerdict::NotMeasured).collect()
}

/// What the published figures would have to be for the verdict, in a sentence.
pub(crate) fn claimed(claim: &Claim) -> String {
    let unit = &claim.claimed.unit;
    match (claim.claimed.before, claim.claimed.after, claim.claimed.ratio) {
        (Some(before), Some(after), Some(ratio)) => format!(
            "claimed: {} to {} {unit}, {} times",
            crate::report::quantity::exact(before),
            crate::report::quantity::exact(after),
            crate::report::quantity::exact(ratio)
        ),
        _ => String::new(),
    }
}

/// What stands before the table of claims.
pub(crate) fn claims(run: &Run) -> Vec<String> {
    let measured = run.claims.iter().filter(|c| c.verdict != ClaimVerdict::NotMeasured).count();
    let mut paragraphs = vec![
        "A published move of member data from a replicated key-value store to a log claims the improvements below.".to_owned(),
        UNLIKE.to_owned(),
    ];
    paragraphs.push(match measured {
        0 => sentence("this run put none of them to the test"),
        n => format!("This run has a verdict on {n} of {}.", run.claims.len()),
    });
    paragraphs
}
