//! [`Campaign`]: one invocation's runs, its record, and the folder that both go to.
//!
//! The record is saved after every run, so an interruption costs the run it came in and nothing else. A campaign that
//! [continues](Campaign::continued) a record takes its runs from there as long as it finds them: every decision is
//! made from the record, so it comes out the same whether the run was made now or before the interruption.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use engine_env::Durability;
use engine_env::rng::Seed;
use workloads::{Access, OpKind, Workload};

use super::contestant::Contestant;
use super::sustained::judge;
use crate::engine::Engine;
use crate::environment::{CpuTimes, Environment};
use crate::floor;
use crate::limits::Limits;
use crate::load::Bound;
use crate::progress::Progress;
use crate::report::quantity::per_second;
use crate::report::record::{
    CurvePoint, Load, Measurement, Parameter, Plan, RecordError, Run, SCHEMA, Subject,
};
use crate::result_folder::ResultFolder;
use crate::run::{Arriving, RunError, RunPlan, run_once};
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
    /// Measurements of the record that is continued, as far as they weren't asked for again.
    earlier: Vec<Measurement>,
}

/// How a note begins that outlives a continuation.
const CONTINUED: &str = "Continued on ";

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
    pub(super) who: &'a Contestant<'a>,
    pub(super) workload: &'a dyn Workload,
    pub(super) durability: Durability,
    pub(super) arriving: Arriving,
    pub(super) load_label: &'a str,
    pub(super) pair: Option<u32>,
    pub(super) seed: Seed,
    pub(super) warmup: Duration,
    pub(super) bound: Bound,
    pub(super) memory_per_s: Option<f64>,
    /// Settings below those of the campaign and of the contestant.
    pub(super) settings: BTreeMap<String, String>,
    /// Whether the rate is to be judged as sustained or not, and by which bound on p99.
    pub(super) p99_max: Option<Duration>,
}

/// What a run showed, as the record has it.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) achieved_per_s: f64,
    /// Bytes that the engine wrote per operation.
    pub(super) written_per_op: f64,
    /// Share of the operations that wrote a value.
    pub(super) write_share: f64,
    /// Operations that the engine doesn't have.
    pub(super) unsupported: u64,
    /// The judgement on its rate, where one was asked for.
    pub(super) point: Option<CurvePoint>,
    /// The machine was busy with something else.
    pub(super) disturbed: bool,
    /// How long it took beside its measured time and its warm-up; `None` for a run made before an interruption.
    pub(super) overhead: Option<Duration>,
}

impl Shown {
    fn of(measurements: &[Measurement], took: Option<Duration>) -> Self {
        let all = measurements.iter().find(|m| m.operation == "all");
        let count = all.map_or(0, |m| m.count).max(1) as f64;
        let writes: u64 = measurements
            .iter()
            .filter(|m| OpKind::ALL.iter().any(|k| k.name() == m.operation && k.access() == Access::Write))
            .map(|m| m.count)
            .sum();
        let own = all.map_or(0.0, |m| m.measured_s.unwrap_or(0.0) + m.warmup_s.unwrap_or(0.0));
        Self {
            achieved_per_s: all.map_or(0.0, |m| m.achieved_per_s),
            written_per_op: all.and_then(|m| m.resources.written_bytes).unwrap_or(0) as f64 / count,
            write_share: writes as f64 / count,
            unsupported: all.map_or(0, |m| m.unsupported),
            point: all.and_then(|m| m.point.clone()),
            disturbed: measurements.iter().any(|m| m.noisy.is_some() || m.rejected.is_some()),
            overhead: took.map(|t| t.saturating_sub(Duration::from_secs_f64(own))),
        }
    }

    /// Whether the rate was sustained; false where that was not asked.
    pub(super) fn sustained(&self) -> bool {
        self.point.as_ref().is_some_and(|p| p.sustained)
    }
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
            plan: None,
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
            earlier: Vec::new(),
        }
    }

    /// The same campaign, going on where `earlier`, the record in its folder, was ended. Its runs count as made; what
    /// was concluded from them is concluded anew.
    #[must_use]
    pub fn continued(mut self, earlier: Run) -> Self {
        self.run.started = earlier.started;
        self.run.limits = earlier.limits;
        self.run.notes = earlier.notes.into_iter().filter(|note| note.starts_with(CONTINUED)).collect();
        let made = earlier.measurements.iter().filter(|m| m.operation == "all").count();
        self.run.notes.push(format!(
            "{CONTINUED}{}, after {made} runs: what drifted in between lies between the runs",
            utc::rfc3339(SystemTime::now())
        ));
        self.earlier = earlier.measurements;
        self
    }

    /// Says what is about to be done, so that it can be continued.
    pub fn announce(&mut self, plan: Plan) {
        self.run.plan = Some(plan);
    }

    /// Settings that the user gave, each for the engines that have it.
    pub(super) fn given(&self) -> &BTreeMap<String, String> {
        &self.settings
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

    /// Makes a run, adds it to the record, saves the record; or takes it from the record that is continued. `None` when
    /// the campaign was stopped.
    pub(super) fn measure(&mut self, task: Task<'_>) -> Result<Option<Shown>, CampaignError> {
        if self.stopped() {
            return Ok(None);
        }
        let engine = task.who.engine;
        let mut variant = task.who.name();
        self.progress.step(&format!(
            "{}: {variant} {}, {}{}",
            task.experiment,
            task.durability,
            match task.arriving {
                Arriving::Open { rate_per_s } => format!("{rate_per_s:.0} operations/s"),
                Arriving::Closed { clients } => format!("{clients} in flight"),
            },
            task.pair.map(|p| format!(", pair {p}")).unwrap_or_default()
        ));
        if variant == engine.name() {
            variant.clear();
        }
        self.runs += 1;
        let stem = format!("run-{:03}-{}-{}", self.runs, engine.name(), task.durability)
            .replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
        let known: Vec<_> = engine.settings().iter().map(|s| s.name).collect();
        let mut settings = task.settings.clone();
        settings.extend(self.settings.clone());
        settings.extend(task.who.settings.clone());
        settings.retain(|name, _| known.contains(&name.as_str()));
        let of_experiment = |m: &&Measurement| m.operation == "all" && m.experiment == task.experiment;
        let order = self.run.measurements.iter().filter(of_experiment).count();
        let load_label = Some(task.load_label.to_owned());
        let mut common = Measurement {
            experiment: task.experiment.to_owned(),
            workload: task.workload.name().to_owned(),
            engine: engine.name().to_owned(),
            variant,
            durability: task.durability.to_string(),
            pair: task.pair,
            order: u32::try_from(order + 1).unwrap_or(u32::MAX),
            load: Load { label: load_label, ..Load::default() },
            histogram: Some(format!("{stem}.hlog")),
            series: Some(format!("{stem}.csv")),
            settings: settings.clone(),
            seed: Some(task.seed.0),
            io: known.contains(&"io").then(|| self.io_of(&settings)),
            ..Measurement::default()
        };
        let alike = |m: &&Measurement| {
            m.side() == common.side()
                && m.durability == common.durability
                && m.workload == common.workload
                && m.load.label == common.load.label
        };
        let repeat = self.run.measurements.iter().filter(of_experiment).filter(alike).count();
        common.repeat = u32::try_from(repeat).unwrap_or(u32::MAX);
        if let Some(made) = self.made_earlier(&common, task.arriving) {
            let shown = Shown::of(&made, None);
            self.run.measurements.extend(made);
            return Ok(Some(shown));
        }
        let comment = format!(
            "{} {} {} {}, seed {}",
            task.experiment,
            common.side(),
            task.workload.name(),
            task.durability,
            task.seed.0
        );
        let plan = RunPlan {
            engine,
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
        let started = Instant::now();
        let outcome = match run_once(plan, &self.stop) {
            Ok(outcome) if outcome.phase.stopped => return Ok(None),
            Ok(outcome) => outcome,
            Err(RunError::Stopped) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let took = started.elapsed();
        let mut measurements = outcome.measurements(&common);
        if let Some(steal) = outcome.spent.cost.steal_share.filter(|s| *s > STEAL_SHARE_MAX) {
            let why = format!("other tenants of the machine took {:.0} % of the processors", steal * 100.0);
            measurements.iter_mut().for_each(|m| m.rejected = Some(why.clone()));
        }
        if let Some(p99_max) = task.p99_max {
            let point = judge(&outcome, p99_max);
            self.progress.note(&format!("{}: {}", common.side(), point.why));
            measurements.iter_mut().for_each(|m| m.point = Some(point.clone()));
        }
        if let Some(example) = outcome.tally.wrong_examples.first() {
            let wrong = outcome.tally.all().wrong;
            self.progress.note(&format!("{}: {wrong} wrong answers; {example}", common.side()));
        }
        let shown = Shown::of(&measurements, Some(took));
        self.run.measurements.extend(measurements);
        self.save()?;
        Ok(Some(shown))
    }

    /// What the memory engine sustains under `workload`, for runs to be held against; said and noted, but no run of the
    /// campaign. `None` for an engine that keeps nothing: it is the floor.
    pub(super) fn memory_per_s(
        &mut self,
        engine: &dyn Engine,
        workload: &dyn Workload,
        clients: u32,
        length: Duration,
    ) -> Result<Option<f64>, CampaignError> {
        if !engine.capabilities().durable {
            return Ok(None);
        }
        self.progress.note("memory under the same operations, the floor");
        let dir = self.data.join("floor");
        let found = floor::memory_per_s(workload, clients, length, self.seed, dir, &self.stop)?;
        if let Some(rate) = found {
            self.run.notes.push(format!(
                "The memory engine sustains {} with {clients} operations in flight; runs above half of that are the driver's",
                per_second(rate)
            ));
        }
        Ok(found)
    }

    /// The measurements of this very run in the record that is continued.
    fn made_earlier(&mut self, common: &Measurement, arriving: Arriving) -> Option<Vec<Measurement>> {
        let same_load = |load: &Load| match arriving {
            Arriving::Closed { clients } => load.clients == Some(clients),
            // A number that went through the record may have lost its last bit.
            Arriving::Open { rate_per_s } => {
                load.offered_per_s.is_some_and(|r| (r / rate_per_s - 1.0).abs() < 1e-9)
            }
        };
        let same = |m: &Measurement| {
            m.experiment == common.experiment
                && m.workload == common.workload
                && m.side() == common.side()
                && m.durability == common.durability
                && m.load.label == common.load.label
                && m.pair == common.pair
                && m.seed == common.seed
                && same_load(&m.load)
        };
        let order = self.earlier.iter().find(|m| same(m))?.order;
        let made = self.earlier.extract_if(.., |m| same(m) && m.order == order).collect();
        Some(made)
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
        if self.earlier.is_empty() {
            self.run.write(self.folder.path())?;
        } else {
            // What the record held stays in it until it is asked for.
            let mut whole = self.run.clone();
            whole.measurements.extend(self.earlier.iter().cloned());
            whole.write(self.folder.path())?;
        }
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
