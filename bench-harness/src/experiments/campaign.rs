//! [`Campaign`]: one invocation's runs, its record, and the folder that both go to.
//!
//! The record is saved after every run, so an interruption costs the run it came in and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use engine_env::Durability;
use engine_env::rng::Seed;
use workloads::Workload;

use crate::engine::Engine;
use crate::environment::{CpuTimes, Environment};
use crate::limits::Limits;
use crate::load::Bound;
use crate::progress::Progress;
use crate::report::record::{Load, Measurement, Parameter, RecordError, Run, SCHEMA, Subject};
use crate::result_folder::ResultFolder;
use crate::run::{Arriving, RunError, RunOutcome, RunPlan, run_once};
use crate::utc;

/// A run that lost more of the processors to other tenants than this doesn't count.
const STEAL_SHARE_MAX: f64 = 0.10;

/// Runs that belong together.
pub struct Campaign {
    folder: ResultFolder,
    data: PathBuf,
    seed: Seed,
    stop: Arc<AtomicBool>,
    /// Told what is going on.
    pub progress: Progress,
    /// The record so far.
    pub run: Run,
    settings: BTreeMap<String, String>,
    cpu_before: Option<CpuTimes>,
    runs: u32,
}

/// What a campaign is made of.
#[derive(Debug)]
pub struct CampaignSetup {
    /// Where results go.
    pub folder: ResultFolder,
    /// Folder below which engines keep their data; removed at the end if it is empty then.
    pub data: PathBuf,
    /// What all other seeds are derived from.
    pub seed: u64,
    /// Whether its verdicts are at best about the direction.
    pub quick: bool,
    /// The command line, for the record.
    pub command: Vec<String>,
    /// Settings of engines, each for those that have it.
    pub settings: BTreeMap<String, String>,
}

/// Why a campaign ended early. What was measured is on disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CampaignError {
    /// A run couldn't be made.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The record can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What a single run of a campaign is.
pub(super) struct Task<'a> {
    pub(super) experiment: &'a str,
    pub(super) engine: &'a dyn Engine,
    pub(super) workload: &'a dyn Workload,
    pub(super) durability: Durability,
    pub(super) arriving: Arriving,
    pub(super) load_label: &'a str,
    pub(super) pair: Option<u32>,
    pub(super) seed: Seed,
    pub(super) warmup: Duration,
    pub(super) bound: Bound,
    pub(super) memory_per_s: Option<f64>,
    /// Settings of this run beyond those of the campaign; the campaign's own go first.
    pub(super) settings: BTreeMap<String, String>,
}

/// The command as a user types it, from the program's arguments: cargo gives a bench a path with a hash, and `--bench`.
fn as_typed(mut command: Vec<String>) -> Vec<String> {
    let Some(program) = command.first_mut() else { return command };
    let name = Path::new(program).file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    if !name.starts_with("comparison") {
        *program = name;
        return command;
    }
    let flags = command.into_iter().skip(1).filter(|flag| flag != "--bench");
    let cargo = ["cargo", "bench", "-p", "bench-harness", "--bench", "comparison", "--"];
    cargo.into_iter().map(str::to_owned).chain(flags).collect()
}

impl Campaign {
    /// A campaign that `stop` ends early.
    #[must_use]
    pub fn new(setup: CampaignSetup, stop: Arc<AtomicBool>, progress: Progress) -> Self {
        let CampaignSetup { folder, data, seed, quick, command, settings } = setup;
        let started = utc::rfc3339(SystemTime::now());
        let run = Run {
            schema: SCHEMA,
            id: folder.id(),
            started: started.clone(),
            finished: started,
            command: as_typed(command),
            seed,
            quick,
            interrupted: false,
            environment: Environment::capture(&data),
            limits: Limits::default(),
            engines: Vec::new(),
            workloads: Vec::new(),
            measurements: Vec::new(),
            comparisons: Vec::new(),
            claims: super::claims(),
            not_measured: Vec::new(),
            notes: Vec::new(),
        };
        Self {
            folder,
            data,
            seed: Seed(seed),
            stop,
            progress,
            run,
            settings,
            cpu_before: CpuTimes::now(),
            runs: 0,
        }
    }

    /// Where results go.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where engines keep their data while they run.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Whether it was stopped from outside.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    pub(super) fn seed(&self) -> Seed {
        self.seed
    }

    /// Introduces an engine to the report's reader.
    pub(crate) fn introduce_engine(&mut self, engine: &dyn Engine) {
        let parameters = engine
            .settings()
            .iter()
            .map(|s| Parameter {
                name: s.name.to_owned(),
                value: self.settings.get(s.name).cloned().unwrap_or_else(|| s.default.clone()),
                meaning: s.meaning.to_owned(),
            })
            .collect();
        let subject =
            Subject { name: engine.name().to_owned(), about: engine.about().to_owned(), parameters };
        self.run.engines.push(subject);
    }

    /// Introduces a workload to the report's reader.
    pub(crate) fn introduce_workload(&mut self, workload: &dyn Workload) {
        let parameters = workload
            .parameters()
            .into_iter()
            .map(|p| Parameter { name: p.name, value: p.value, meaning: p.meaning })
            .collect();
        let subject =
            Subject { name: workload.name().to_owned(), about: workload.about().to_owned(), parameters };
        self.run.workloads.push(subject);
    }

    /// Makes a run, adds it to the record, saves the record. `None` when the campaign was stopped.
    pub(super) fn measure(&mut self, task: Task<'_>) -> Result<Option<RunOutcome>, CampaignError> {
        if self.stopped() {
            return Ok(None);
        }
        self.progress.step(&format!(
            "{}: {} {}, {}{}",
            task.experiment,
            task.engine.name(),
            task.durability,
            match task.arriving {
                Arriving::Open { rate_per_s } => format!("{rate_per_s:.0} operations/s"),
                Arriving::Closed { clients } => format!("{clients} in flight"),
            },
            task.pair.map(|p| format!(", pair {p}")).unwrap_or_default()
        ));
        self.runs += 1;
        let stem = format!("run-{:03}-{}-{}", self.runs, task.engine.name(), task.durability)
            .replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        let known: Vec<_> = task.engine.settings().iter().map(|s| s.name).collect();
        let mut settings = task.settings.clone();
        settings.extend(self.settings.clone());
        settings.retain(|name, _| known.contains(&name.as_str()));
        let of_engine = |m: &&Measurement| m.operation == "all" && m.experiment == task.experiment;
        let order = self.run.measurements.iter().filter(of_engine).count();
        let repeat = self
            .run
            .measurements
            .iter()
            .filter(of_engine)
            .filter(|m| {
                m.engine == task.engine.name()
                    && m.durability == task.durability.to_string()
                    && m.workload == task.workload.name()
                    && m.load.label.as_deref() == Some(task.load_label)
            })
            .count();
        let common = Measurement {
            experiment: task.experiment.to_owned(),
            workload: task.workload.name().to_owned(),
            engine: task.engine.name().to_owned(),
            durability: task.durability.to_string(),
            pair: task.pair,
            order: u32::try_from(order + 1).unwrap_or(u32::MAX),
            repeat: u32::try_from(repeat).unwrap_or(u32::MAX),
            load: Load { label: Some(task.load_label.to_owned()), ..Load::default() },
            histogram: Some(format!("{stem}.hlog")),
            series: Some(format!("{stem}.csv")),
            settings: settings.clone(),
            seed: Some(task.seed.0),
            io: known.contains(&"io").then(|| self.io_of(&settings)),
            ..Measurement::default()
        };
        let comment = format!(
            "{} {} {} {}, seed {}",
            task.experiment,
            task.engine.name(),
            task.workload.name(),
            task.durability,
            task.seed.0
        );
        let plan = RunPlan {
            engine: task.engine,
            workload: task.workload,
            durability: task.durability,
            settings: &settings,
            arriving: task.arriving,
            warmup: task.warmup,
            bound: task.bound,
            seed: task.seed,
            dir: self.data.join(&stem),
            histograms: Some(self.folder.histograms(&stem, vec![comment])),
            memory_per_s: task.memory_per_s,
        };
        let outcome = match run_once(plan, &self.stop) {
            Ok(outcome) if outcome.phase.stopped => return Ok(None),
            Ok(outcome) => outcome,
            Err(RunError::Stopped) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut measurements = outcome.measurements(&common);
        if let Some(steal) = outcome.spent.cost.steal_share.filter(|s| *s > STEAL_SHARE_MAX) {
            let why = format!("other tenants of the machine took {:.0} % of the processors", steal * 100.0);
            measurements.iter_mut().for_each(|m| m.rejected = Some(why.clone()));
        }
        if let Some(example) = outcome.tally.wrong_examples.first() {
            let wrong = outcome.tally.all().wrong;
            self.progress.note(&format!("{}: {wrong} wrong answers; {example}", task.engine.name()));
        }
        self.run.measurements.extend(measurements);
        self.save()?;
        Ok(Some(outcome))
    }

    /// What `--set io` turns out to be on this machine.
    fn io_of(&self, settings: &BTreeMap<String, String>) -> String {
        let blocking = match settings.get("io").map(String::as_str) {
            Some("blocking") => true,
            Some("uring") => false,
            _ => self.run.environment.io_uring_permitted == Some(false),
        };
        if blocking { "blocking" } else { "io_uring" }.to_owned()
    }

    /// Writes the record.
    ///
    /// # Errors
    /// The folder can't be written any more.
    pub fn save(&mut self) -> Result<(), CampaignError> {
        self.run.finished = utc::rfc3339(SystemTime::now());
        self.run.interrupted = self.stopped();
        if let (Some(before), Some(now)) = (self.cpu_before, CpuTimes::now()) {
            // Before a first tick has passed there is nothing to divide by.
            self.run.environment.steal_share = Some(now.steal_share_since(&before)).filter(|s| s.is_finite());
        }
        self.run.write(self.folder.path())?;
        Ok(())
    }

    /// Wrong answers in the whole campaign.
    #[must_use]
    pub fn wrong_answers(&self) -> u64 {
        self.run.measurements.iter().filter(|m| m.operation == "all").map(|m| m.wrong_answers).sum()
    }
}

impl std::fmt::Debug for Campaign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Campaign").field("folder", &self.folder).field("runs", &self.runs).finish()
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        // Each run removes its own folder; this one is ours only if it is empty now.
        let _ = std::fs::remove_dir(&self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::as_typed;

    #[test]
    fn a_recorded_command_can_be_typed_again() {
        let typed = |args: &[&str]| as_typed(args.iter().map(|a| (*a).to_owned()).collect()).join(" ");
        assert_eq!(
            typed(&["/x/target/release/workbench", "compare", "--quick"]),
            "workbench compare --quick"
        );
        assert_eq!(
            typed(&["/x/deps/comparison-54860fc7", "--out", "results/mine", "--bench"]),
            "cargo bench -p bench-harness --bench comparison -- --out results/mine"
        );
    }
}
