//! Choosing an engine and a workload: arguments that several commands share.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use clap::Args;
use workloads::{Format, OpenOptions, Workload};

use super::{Failure, Workbench, text};
use crate::engine::Engine;

/// How a workload is opened.
#[derive(Debug, Clone, Args)]
pub(super) struct WorkloadArgs {
    /// Keys that exist before the run, for workloads that generate them
    #[arg(long, value_name = "N")]
    pub(super) records: Option<u64>,
    /// A setting of the engine or the workload; `list engines` and `describe` show them. Repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = text::setting)]
    pub(super) set: Vec<(String, String)>,
    /// Format of a workload file; told from its content by default
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(super) format: Format,
    /// Warn about unknown keys in a workload file instead of refusing it
    #[arg(long)]
    pub(super) lenient: bool,
}

/// What `--set` means to whom.
pub(super) struct Settings {
    /// For engines: only the keys each one has.
    pub(super) of_engines: BTreeMap<String, String>,
    of_workload: Vec<(String, String)>,
}

impl WorkloadArgs {
    /// Settings that one of `engines` has go to engines, all others to the workload.
    pub(super) fn settings(&self, engines: &[&dyn Engine]) -> Settings {
        let known = |key: &str| engines.iter().any(|e| e.settings().iter().any(|s| s.name == key));
        let (of_engines, of_workload) =
            self.set.iter().cloned().partition::<Vec<_>, _>(|(key, _)| known(key));
        Settings { of_engines: of_engines.into_iter().collect(), of_workload }
    }

    /// Opens a workload by name or file.
    pub(super) fn open(
        &self,
        workbench: &Workbench,
        name_or_file: &str,
        settings: &Settings,
    ) -> Result<Arc<dyn Workload>, Failure> {
        let mut options =
            OpenOptions { format: self.format, lenient: self.lenient, set: settings.of_workload.clone() };
        let opened = workbench.workloads.open(name_or_file, &options).map_err(Failure::input)?;
        for warning in &opened.warnings {
            let _ = writeln!(std::io::stderr(), "workbench: warning: {warning}");
        }
        let Some(records) = self.records else { return Ok(opened.workload) };
        let parameters = opened.workload.parameters();
        let Some(key) = ["members", "records", "recordcount"]
            .into_iter()
            .find(|k| parameters.iter().any(|p| p.name == *k))
        else {
            return Err(Failure::Input(format!(
                "--records {records}: workload {name_or_file} brings its own keys; leave --records out"
            )));
        };
        // Standard input can't be opened twice, so the number goes in as a further setting of what is open.
        options.set = vec![(key.to_owned(), records.to_string())];
        opened.workload.configured(&options.set).map_err(Failure::input)
    }
}

/// The engine of that name.
pub(super) fn engine<'a>(workbench: &'a Workbench, name: &str) -> Result<&'a dyn Engine, Failure> {
    workbench.engines.by_name(name).ok_or_else(|| {
        Failure::Input(format!(
            "no engine is called `{name}`; there are {}",
            workbench.engines.names().join(", ")
        ))
    })
}
