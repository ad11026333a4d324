//! `workbench describe`: what a workload asks, and what can be set.

use std::io::Write as _;

use clap::Args;
use engine_env::rng::Seed;
use workloads::OpKind;

use super::choice::WorkloadArgs;
use super::{Failure, Workbench};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench describe member-update
  workbench describe changes.jsonl --json")]
pub(super) struct DescribeArgs {
    /// Workload by name, a file, or - for standard input
    workload: String,
    #[command(flatten)]
    workload_args: WorkloadArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Operations looked at to tell the mix.
const LOOKED_AT: usize = 100_000;

pub(super) fn describe(args: &DescribeArgs, workbench: &Workbench) -> Result<(), Failure> {
    let settings = args.workload_args.settings(&[]);
    let workload = args.workload_args.open(workbench, &args.workload, &settings)?;
    let mut counts = [0_u64; OpKind::ALL.len()];
    let (mut values, mut value_bytes, mut seen) = (0_u64, 0_u64, 0_u64);
    let mut keys = std::collections::HashSet::new();
    for op in workload.stream(Seed(1)).take(LOOKED_AT) {
        seen += 1;
        keys.insert(op.key_index);
        if let Some(value) = &op.value {
            values += 1;
            value_bytes += value.len() as u64;
        }
        counts[op.kind.index()] += 1;
    }
    let share = |count: u64| 100.0 * count as f64 / seen.max(1) as f64;
    let mix: Vec<_> = OpKind::ALL.iter().zip(counts).filter(|(_, n)| *n > 0).collect();
    let mean_value = (values > 0).then(|| value_bytes as f64 / values as f64);
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::json!({
            "name": workload.name(),
            "about": workload.about(),
            "story": workload.story(),
            "records": workload.records(),
            "arrivals": workload.arrivals().to_string(),
            "operations_looked_at": seen,
            "keys_seen": keys.len(),
            "mean_value_bytes": mean_value,
            "mix_percent": mix.iter().map(|(k, n)| (k.name(), share(*n))).collect::<std::collections::BTreeMap<_, _>>(),
            "parameters": workload
                .parameters()
                .iter()
                .map(|p| serde_json::json!({"name": p.name, "value": p.value, "meaning": p.meaning}))
                .collect::<Vec<_>>(),
        });
        let _ = writeln!(out, "{json:#}");
        return Ok(());
    }
    let _ = writeln!(out, "{}: {}", workload.name(), workload.about());
    if !workload.story().is_empty() {
        let _ = writeln!(out, "\n{}\n", workload.story().trim());
    }
    let _ = writeln!(out, "keys before the run: {}", workload.records());
    let _ = writeln!(out, "arrivals: {}", workload.arrivals());
    let mix: Vec<String> =
        mix.iter().map(|(kind, n)| format!("{} {:.1} %", kind.name(), share(*n))).collect();
    let _ = writeln!(out, "operations: {} (of the first {seen}, on {} keys)", mix.join(", "), keys.len());
    if let Some(mean) = mean_value {
        let _ = writeln!(out, "values: {mean:.0} bytes on average");
    }
    let parameters = workload.parameters();
    if !parameters.is_empty() {
        let _ = writeln!(out, "settings (--set NAME=VALUE):");
    }
    for p in parameters {
        let _ = writeln!(out, "  {:<28} {}", format!("{}={}", p.name, p.value), p.meaning);
    }
    Ok(())
}
