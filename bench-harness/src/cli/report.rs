//! `workbench report`: the page again from the raw data.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::report::rebuild;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  workbench report results/20260102T030405Z-abc1234")]
pub(super) struct ReportArgs {
    /// A result folder: one that holds run.json
    dir: PathBuf,
}

pub(super) fn report(args: &ReportArgs) -> Result<(), Failure> {
    let rebuilt = rebuild(&args.dir).map_err(Failure::input)?;
    for problem in &rebuilt.problems {
        let _ = writeln!(std::io::stderr(), "workbench: warning: {problem}");
    }
    let _ = writeln!(std::io::stdout(), "report: {}", rebuilt.html.display());
    Ok(())
}
