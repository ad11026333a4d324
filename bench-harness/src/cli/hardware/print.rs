//! What `workbench hardware` tells, as text.

use std::io::Write;

use serde::Serialize;

use super::super::{Failure, text};
use super::told::{
    FiguresTold, LatenciesTold, OutageTold, ParameterTold, ProfileTold, SensitivityTold, StationTold, Told,
};

pub(super) fn print_json(told: &impl Serialize, out: &mut impl Write) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(told).map_err(Failure::input)?;
    let _ = writeln!(out, "{json}");
    Ok(())
}

pub(super) fn print_profile(profile: &ProfileTold, out: &mut impl Write) {
    let _ = writeln!(out, "{}: {}", profile.name, profile.about);
    for parameter in &profile.parameters {
        let ParameterTold { name, value, unit, meaning, source } = parameter;
        let _ = writeln!(out, "  {name:<13} {value:>8} {unit:<4}  {meaning}\n{:32}{source}", "");
    }
    let _ = writeln!(out);
}

pub(super) fn print(told: &Told, out: &mut impl Write) {
    let _ = writeln!(
        out,
        "{}, {}, {} nodes, {}, {}; {} at {:.0}/s for {} s, of which {} s warm-up; {} records, seed {}",
        told.world,
        told.engine,
        told.nodes,
        told.replication,
        told.durability,
        told.workload,
        told.rate_per_s,
        told.duration_s,
        told.warm_up_s,
        told.records,
        told.seed
    );
    let _ = writeln!(out, "{}\n", told.note);
    print_profile(&told.profile, out);
    let FiguresTold { asked, answered, failed, saturated, cached_share, .. } = &told.result;
    let _ =
        writeln!(out, "{asked} operations were due, {answered} were answered, {failed} failed or never were");
    if let Some(why) = &told.result.first_failure {
        let _ = writeln!(out, "the first that failed was due {why}");
    }
    if *saturated {
        let _ = writeln!(out, "saturated: what waits grows, so there are no percentiles");
    }
    let _ = writeln!(out, "{:<8} {:>9} {:>10} {:>10} {:>10}", "", "count", "p50", "p95", "p99");
    for (name, latencies) in told.result.asked_about() {
        let LatenciesTold { count, p50_us, p95_us, p99_us } = latencies;
        let [p50, p95, p99] = [p50_us, p95_us, p99_us].map(|us| text::micros(*us));
        let _ = writeln!(out, "{name:<8} {count:>9} {p50:>10} {p95:>10} {p99:>10}");
    }
    if let Some(share) = cached_share {
        let _ = writeln!(out, "the page cache served {:.1} % of the reads of storage", share * 100.0);
    }
    let _ = writeln!(out, "\n{:<8} {:>9} {:>28} {:>28}", "", "", "threads", "disk");
    let _ = writeln!(
        out,
        "{:<8} {:>9} {:>8} {:>9} {:>9} {:>8} {:>9} {:>9}",
        "node", "requests", "used", "waiting", "at most", "used", "waiting", "at most"
    );
    for node in &told.by_node {
        let [threads, disk] = [&node.threads, &node.disk].map(|station| {
            let StationTold { utilisation, queue_mean, queue_max } = station;
            format!("{:>6.1} % {queue_mean:>9.2} {queue_max:>9}", utilisation * 100.0)
        });
        let _ = writeln!(out, "{:<8} {:>9} {threads} {disk}", node.node, node.requests);
    }
    if !told.outages.is_empty() {
        print_outages(&told.outages, out);
    }
    if !told.sensitivity.is_empty() {
        print_sensitivity(told, out);
    }
}

fn print_outages(outages: &[OutageTold], out: &mut impl Write) {
    let _ = writeln!(
        out,
        "\nnodes that died and returned\n{:<4} {:>8} {:>8} {:>9} {:>9} {:>14} {:>8} {:>10} {:>12}",
        "node", "after", "away", "due then", "answered", "writes of its", "missed", "serves", "has them all"
    );
    let _ = writeln!(out, "{:<4} {:>8} {:>8} {:>9} {:>9} {:>14}", "", "", "", "", "", "keys taken");
    for told in outages {
        let [accepted, serves, whole] = [told.writes_accepted_s, told.recovery_s, told.replicated_s]
            .map(|seconds| text::micros(seconds.map(|s| s * 1e6)));
        let OutageTold { node, after_s, length_s, asked, answered, missed, lacking, .. } = told;
        let whole = match told.replicated_s {
            None => format!("lacks {lacking}"),
            Some(_) if *missed == 0 => "-".to_owned(),
            Some(_) => whole,
        };
        let _ = writeln!(
            out,
            "{node:<4} {after_s:>6.1} s {length_s:>6.1} s {asked:>9} {answered:>9} {accepted:>14} {missed:>8} \
             {serves:>10} {whole:>12}"
        );
    }
    let _ = writeln!(
        out,
        "writes of its keys: from its death until one that was due afterwards was taken; serves, has them all: from its start; \
         lacks: in the end, up to 20 s after the load; -: not in all that time, or it missed nothing"
    );
}

fn print_sensitivity(told: &Told, out: &mut impl Write) {
    let columns =
        told.result.asked_about().map(|(name, _)| format!("{:>10} {:>10}", format!("{name} p50"), "p99"));
    let columns = columns.join(" ");
    let _ = writeln!(out, "\nwhat it rests on: p50 and p99 with each parameter halved and doubled");
    let _ = writeln!(out, "{:<13} {:^43}  {:^43}\n{:<13} {columns}  {columns}", "", "halved", "doubled", "");
    let cells = |figures: Option<&FiguresTold>| match figures {
        None => format!("{:^43}", "the same"),
        Some(FiguresTold { saturated: true, .. }) => format!("{:^43}", "saturated"),
        Some(figures) => {
            let both = figures.asked_about().map(|(_, latencies)| [latencies.p50_us, latencies.p99_us]);
            both.as_flattened()
                .iter()
                .map(|us| format!("{:>10}", text::micros(*us)))
                .collect::<Vec<_>>()
                .join(" ")
        }
    };
    let _ = writeln!(out, "{:<13} {}", "as it is", cells(Some(&told.result)));
    for SensitivityTold { name, halved, doubled } in &told.sensitivity {
        let _ = writeln!(out, "{name:<13} {}  {}", cells(halved.as_ref()), cells(doubled.as_ref()));
    }
}
