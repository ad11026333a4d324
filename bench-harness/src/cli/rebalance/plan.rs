//! `workbench rebalance plan`: how a cluster comes from one `cluster.xml` to another.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kv_engine::{
    Balance, Cluster, DonorRule, PlanOptions, PlannedStore, RebalanceBatch, RebalancePlan, StealTask, Stores,
};
use serde::Serialize;

use crate::cli::Failure;
use crate::cli::ring::read;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench rebalance plan --current cluster.xml --final cluster-with-node-3.xml --stores stores.xml
  workbench rebalance plan --current cluster.xml --final final.xml --stores config/STORES/members --batch 8 --json

The files are Project Voldemort's. Both clusters have the same number of partitions and the same zones, and the final one
has all nodes of the current one: one that is to leave stays without partitions, and is taken out when it is empty.

A task says: the stealer takes these master partitions of a store from the donor. A partition is marked with the place
that the stealer takes among the replicas in its zone: 0 is the first. Who gives:

  --donors leaving      a node that stops being a replica of the partition. Quorums by the old and by the new ring meet,
                        so R + W > N means during the move what it means without one
  --donors same-place   the node that has the stealer's place now: Voldemort's rule. Where that node stays a replica, a
                        read by the new ring may miss a write that the leaving node has acknowledged

Donors keep what was taken until a repair job deletes it, so a move takes space: `moved` of `copies before`.")]
pub(super) struct PlanArgs {
    /// The cluster.xml that is in force
    #[arg(long, value_name = "FILE")]
    current: PathBuf,
    /// The cluster.xml that is wanted
    #[arg(long = "final", value_name = "FILE")]
    target: PathBuf,
    /// The stores.xml, or one file of config/STORES
    #[arg(long, value_name = "FILE")]
    stores: PathBuf,
    /// Only this store; may be given several times [default: all]
    #[arg(long, value_name = "NAME")]
    store: Vec<String>,
    /// The most partitions that change their owner in one batch [default: all in one]
    #[arg(long, value_name = "N")]
    batch: Option<u32>,
    /// Whom partitions are taken from
    #[arg(long, value_enum, default_value = "leaving")]
    donors: Donors,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Donors {
    Leaving,
    SamePlace,
}

#[derive(Debug, Serialize)]
struct Answer {
    cluster: String,
    stores: Vec<String>,
    donors: &'static str,
    batches: Vec<BatchAnswer>,
    totals: TotalsAnswer,
    balance_before: Vec<LoadAnswer>,
    balance_after: Vec<LoadAnswer>,
    copies_max_to_mean_before: f64,
    copies_max_to_mean_after: f64,
}

#[derive(Debug, Serialize)]
struct BatchAnswer {
    primaries: Vec<u32>,
    tasks: Vec<TaskAnswer>,
}

#[derive(Debug, Serialize)]
struct TaskAnswer {
    stealer: u16,
    donor: u16,
    store: String,
    partitions: Vec<StolenAnswer>,
}

#[derive(Debug, Serialize)]
struct StolenAnswer {
    partition: u32,
    place: u16,
}

#[derive(Debug, Serialize)]
struct TotalsAnswer {
    primaries: u32,
    moved: u64,
    moved_to_first_place: u64,
    moved_to_other_places: u64,
    cross_zone: u64,
    copies_before: u64,
    copies_given_up: u64,
}

#[derive(Debug, Serialize)]
struct LoadAnswer {
    node: u16,
    zone: u16,
    primaries: u32,
    copies: u64,
}

pub(super) fn plan(args: &PlanArgs) -> Result<(), Failure> {
    let current = cluster(&args.current)?;
    let target = cluster(&args.target)?;
    let stores = stores(args, &current, &target)?;
    let (donors, donors_name) = match args.donors {
        Donors::Leaving => (DonorRule::Leaving, "leaving"),
        Donors::SamePlace => (DonorRule::SamePlace, "same-place"),
    };
    let options = PlanOptions { donors, batch_primaries: args.batch };
    let plan = RebalancePlan::new(current.ring(), target.ring(), &stores, options).map_err(|error| {
        Failure::Input(format!("{} and {}: {error}", args.current.display(), args.target.display()))
    })?;
    let totals = plan.totals;
    let answer = Answer {
        cluster: current.name().to_owned(),
        stores: stores.iter().map(|store| store.name.clone()).collect(),
        donors: donors_name,
        batches: plan.batches.iter().map(batch).collect(),
        totals: TotalsAnswer {
            primaries: totals.primaries,
            moved: totals.moved(),
            moved_to_first_place: totals.first_copies,
            moved_to_other_places: totals.other_copies,
            cross_zone: totals.cross_zone,
            copies_before: totals.copies_before,
            copies_given_up: totals.copies_given_up,
        },
        balance_before: loads(&plan.before),
        balance_after: loads(&plan.after),
        copies_max_to_mean_before: plan.before.copies_max_to_mean(),
        copies_max_to_mean_after: plan.after.copies_max_to_mean(),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&answer).expect("strings and numbers") + "\n"
    } else {
        words(&answer)
    };
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

fn cluster(path: &Path) -> Result<Cluster, Failure> {
    Cluster::parse(&path.display().to_string(), &read(path)?).map_err(Failure::input)
}

/// The stores that were asked for, as they lie in the clusters.
fn stores(args: &PlanArgs, current: &Cluster, target: &Cluster) -> Result<Vec<PlannedStore>, Failure> {
    let file = args.stores.display().to_string();
    let Stores { stores, notices, .. } =
        Stores::parse(&file, &read(&args.stores)?).map_err(Failure::input)?;
    for notice in notices {
        let _ = writeln!(std::io::stderr(), "{file}:{}: {}", notice.line, notice.what);
    }
    if let Some(unknown) = args.store.iter().find(|name| stores.iter().all(|store| store.name != **name)) {
        let names: Vec<_> = stores.iter().map(|store| store.name.as_str()).collect();
        return Err(Failure::Input(format!(
            "{file}: no such store (got {unknown:?}); choose among {}",
            names.join(", ")
        )));
    }
    let wanted = stores.into_iter().filter(|store| args.store.is_empty() || args.store.contains(&store.name));
    wanted
        .map(|store| {
            for (cluster, path) in [(current, &args.current), (target, &args.target)] {
                if let Some(zone) = store.zones_missing_in(cluster).first() {
                    return Err(Failure::Input(format!(
                        "{file}: store {:?} has replicas in {zone}, which {} doesn't list; take files of one cluster",
                        store.name,
                        path.display()
                    )));
                }
            }
            Ok(PlannedStore { routing: store.routing_in(current, None, 0), name: store.name })
        })
        .collect()
}

fn batch(batch: &RebalanceBatch) -> BatchAnswer {
    let task = |task: &StealTask| TaskAnswer {
        stealer: task.stealer.0,
        donor: task.donor.0,
        store: task.store.clone(),
        partitions: task
            .partitions
            .iter()
            .map(|stolen| StolenAnswer { partition: stolen.partition, place: stolen.place })
            .collect(),
    };
    BatchAnswer { primaries: batch.primaries.clone(), tasks: batch.tasks.iter().map(task).collect() }
}

fn loads(balance: &Balance) -> Vec<LoadAnswer> {
    let load = |load: &kv_engine::NodeLoad| LoadAnswer {
        node: load.node.0,
        zone: load.zone.0,
        primaries: load.primaries,
        copies: load.copies,
    };
    balance.nodes().iter().map(load).collect()
}

fn words(answer: &Answer) -> String {
    let mut out = String::new();
    let totals = &answer.totals;
    let percent = |part: u64| 100.0 * part as f64 / totals.copies_before.max(1) as f64;
    let _ = writeln!(out, "cluster {}, stores {}", answer.cluster, answer.stores.join(", "));
    if answer.batches.is_empty() {
        let _ = writeln!(out, "nothing to move: both clusters keep every partition on the same nodes");
    }
    for (number, batch) in (1..).zip(&answer.batches) {
        let owners = match batch.primaries.len() {
            0 => "no partition changes its owner".to_owned(),
            1 => format!("partition {} changes its owner", batch.primaries[0]),
            many => format!("{many} partitions change their owners: {}", list(&batch.primaries)),
        };
        let _ = writeln!(out, "\nbatch {number} of {}: {owners}", answer.batches.len());
        for task in &batch.tasks {
            let _ = writeln!(
                out,
                "  node {} takes from node {}, store {}: {}",
                task.stealer,
                task.donor,
                task.store,
                stolen(&task.partitions)
            );
        }
    }
    let _ = writeln!(
        out,
        "\nmoved: {} copies of partitions, {} to the first place and {} to other places; {} cross zones",
        totals.moved, totals.moved_to_first_place, totals.moved_to_other_places, totals.cross_zone
    );
    let _ = writeln!(
        out,
        "space: {:.1} % more than before ({} copies), until donors have deleted what was taken",
        percent(totals.moved),
        totals.copies_before
    );
    let _ = writeln!(
        out,
        "clients with the old ring: {:.1} % of the places that they know are refused, and they take the new ring",
        percent(totals.copies_given_up)
    );
    let _ = writeln!(out, "\n{:>6} {:>6} {:>21} {:>21}", "node", "zone", "partitions owned", "copies held");
    for after in &answer.balance_after {
        let before = answer.balance_before.iter().find(|load| load.node == after.node);
        let (primaries, copies) = before.map_or((0, 0), |load| (load.primaries, load.copies));
        let change = |from: u64, to: u64| format!("{from} -> {to}");
        let _ = writeln!(
            out,
            "{:>6} {:>6} {:>21} {:>21}",
            after.node,
            after.zone,
            change(primaries.into(), after.primaries.into()),
            change(copies, after.copies)
        );
    }
    let _ = writeln!(
        out,
        "fullest node: {:.2} -> {:.2} times the mean of copies",
        answer.copies_max_to_mean_before, answer.copies_max_to_mean_after
    );
    out
}

/// Ids in ascending order, runs drawn together: `0-3, 7`.
fn list(ids: &[u32]) -> String {
    let runs = ids.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [only] => only.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => unreachable!("a run has an id"),
    });
    runs.collect::<Vec<_>>().join(", ")
}

/// Partitions by the place that is taken.
fn stolen(partitions: &[StolenAnswer]) -> String {
    let mut places: Vec<u16> = partitions.iter().map(|stolen| stolen.place).collect();
    places.sort_unstable();
    places.dedup();
    let at = |place: u16| {
        let ids: Vec<_> = partitions.iter().filter(|s| s.place == place).map(|s| s.partition).collect();
        format!("partitions {} (place {place})", list(&ids))
    };
    places.into_iter().map(at).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_ids_are_drawn_together() {
        assert_eq!(list(&[0, 1, 2, 3, 7, 9, 10]), "0-3, 7, 9-10");
        assert_eq!(list(&[]), "");
    }
}
