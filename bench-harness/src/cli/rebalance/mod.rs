//! `workbench rebalance`: how a cluster comes from one `cluster.xml` to another, and what that costs its clients.

mod measure;
mod plan;

use clap::{Args, Subcommand};

use super::{Failure, Workbench};

#[derive(Debug, Args)]
pub(super) struct RebalanceArgs {
    #[command(subcommand)]
    command: RebalanceCommand,
}

#[derive(Debug, Subcommand)]
enum RebalanceCommand {
    /// Say who would take which partitions from whom. Nothing is moved.
    Plan(plan::PlanArgs),
    /// Add a node to a cluster on this machine while operations come in, and tell what that costs them.
    Measure(Box<measure::MeasureArgs>),
}

pub(super) fn rebalance(args: &RebalanceArgs, workbench: &Workbench) -> Result<(), Failure> {
    match &args.command {
        RebalanceCommand::Plan(args) => plan::plan(args),
        RebalanceCommand::Measure(args) => measure::measure(args, workbench),
    }
}
