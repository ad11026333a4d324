//! `workbench diff`: two result folders side by side.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use crate::diff::{METRICS, RunDiff, Selection};
use crate::report::record::Run;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench compare --rate 20000 --out before        then change something, and
  workbench compare --rate 20000 --out after
  workbench diff before after --fail-above 10%
  workbench diff before after --metric response_us.p99 --operation all
  workbench diff after --baseline results/reference      the same as `diff results/reference after`

Only equal conditions share a row: give both runs the same --rate, for a searched rate is never the same twice.
Exit codes: 0 no regression above the threshold is shown; 1 one is; 2 the folders can't be compared.")]
pub(super) struct DiffArgs {
    /// Two result folders, or their run.json: what was, and what is. One, what is, where --baseline gives the other
    #[arg(value_name = "DIR", required = true, num_args = 1..=2)]
    dirs: Vec<PathBuf>,
    /// The folder to measure against: side A
    #[arg(long, value_name = "DIR")]
    baseline: Option<PathBuf>,
    /// End with exit code 1 where B is shown to be worse by more than this share
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "5%")]
    fail_above: f64,
    /// Only this metric; repeat for more
    #[arg(long, value_name = "METRIC", value_parser = clap::builder::PossibleValuesParser::new(METRICS))]
    metric: Vec<String>,
    /// Only this kind of operation, or `all` for the rows over all of them
    #[arg(long, value_name = "OP")]
    operation: Option<String>,
    /// Print rows and surroundings as JSON
    #[arg(long)]
    json: bool,
}

/// `5%` or `0.05`.
fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim_end(), 0.01),
        None => (text.trim(), 1.0),
    };
    match number.parse::<f64>() {
        Ok(n) if n >= 0.0 && n * unit < 10.0 && (unit < 1.0 || n < 1.0) => Ok(n * unit),
        _ => Err("write a share such as 5% or 0.05".to_owned()),
    }
}

pub(super) fn diff(args: &DiffArgs) -> Result<(), Failure> {
    let (dir_a, dir_b) = args.sides()?;
    let (a, b) = (read(dir_a)?, read(dir_b)?);
    let selection = Selection { metrics: args.metric.clone(), operation: args.operation.clone() };
    let diff = RunDiff::of(&a, &b, &selection);
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::to_string_pretty(&diff).map_err(Failure::input)?;
        let _ = writeln!(out, "{json}");
    } else {
        let _ = out.write_all(diff.text(args.fail_above).as_bytes());
    }
    let folders = format!("{} and {}", dir_a.display(), dir_b.display());
    match diff.regressions(args.fail_above).count() {
        0 if diff.rows.is_empty() => {
            let why = diff.unmatched.first().map_or_else(String::new, |first| format!(" ({first})"));
            Err(Failure::Input(format!(
                "{folders} have no row in common{why}; measure both with the same --workload, --durability and --rate, \
                 and ask for metrics and operations that both have"
            )))
        }
        0 if !diff.tells_anything() => Err(Failure::Input(format!(
            "nothing can be told from {folders}: {}; measure again with `workbench compare`, which repeats its runs",
            diff.rows.iter().find(|r| !r.why.is_empty()).map_or("no row has numbers", |r| &r.why)
        ))),
        0 => Ok(()),
        n => Err(Failure::Check(format!(
            "{n} shown regression{} in {}",
            if n == 1 { "" } else { "s" },
            dir_b.display()
        ))),
    }
}

impl DiffArgs {
    /// What was, and what is.
    fn sides(&self) -> Result<(&Path, &Path), Failure> {
        match (self.baseline.as_deref(), self.dirs.as_slice()) {
            (None, [a, b]) => Ok((a, b)),
            (Some(a), [b]) => Ok((a, b)),
            (None, _) => Err(Failure::Input(
                "diff needs two folders: `diff BEFORE AFTER`, or `diff AFTER --baseline BEFORE`".to_owned(),
            )),
            (Some(_), _) => Err(Failure::Input(
                "--baseline is the first folder, so give one more and not two: `diff AFTER --baseline BEFORE`".to_owned(),
            )),
        }
    }
}

fn read(dir: &Path) -> Result<Run, Failure> {
    let run = Run::read(dir).map_err(Failure::input)?;
    if run.measurements.is_empty() {
        return Err(Failure::Input(format!(
            "{} holds no measurement: it was ended before its first run; measure again",
            dir.display()
        )));
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_or_a_fraction() {
        assert_eq!(share("5%"), Ok(0.05));
        assert_eq!(share("0.1"), Ok(0.1));
        assert_eq!(share("0"), Ok(0.0));
        assert_eq!(share("150 %"), Ok(1.5));
        for text in ["5", "-1%", "nan", "", "%", "inf"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
