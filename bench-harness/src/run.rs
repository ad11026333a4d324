//! [`run_once`]: one run of one engine, from an empty folder to a judged, measured end.
//!
//! Order: open in a fresh folder, write the records that exist before, sync the file system (so that no run pays for
//! what was written before it), warm up until the engine is steady, wait for every answer, measure, wait again, ask the
//! workload's final reads, close, remove the folder. Whatever answered wrongly in any of these steps makes the whole
//! run worthless.
//!
//! Each phase draws from a seed of its own, so that what is measured is the same however long the warm-up took. A
//! recording goes on where its warm-up ended, so there the warm-up has a fixed length.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use engine_env::Durability;
use engine_env::rng::Seed;
use workloads::{Arrivals, LostUpdates, Model, Op, OpKind, Staleness, Workload};

use crate::engine::{Engine, EngineError, Place, check_settings};
use crate::floor::DriverLimited;
use crate::load::{
    Bound, Clock as _, Driver, OsClock, Pace, Phase, SightingTally, Tally, closed_loop, open_loop,
};
use crate::measure::{
    Asked, ClassLatency, HistogramFile, LatencyRecord, Noise, PhaseMeter, Recorder, RecordingError, Spent,
    SteadyState, TIMES_MAX, VISIBLE, WINDOW, write_back,
};
use crate::report::record::{
    Consistency, CopiesDurable, LATE_NS, Load, LoadKind, LostUpdates as LostUpdatesRecord, Measurement,
    NodeLoad, Percentiles, PhaseCost, Recovery, Replication,
};
use crate::stats::summarize;

/// Operations in flight while records are written before a run and read after it.
const PRELOAD_CLIENTS: u32 = 256;

/// How operations arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arriving {
    /// A number of clients, each waiting for its answer.
    Closed {
        /// How many.
        clients: u32,
    },
    /// By schedule, with the workload's own shape.
    Open {
        /// Mean rate, operations a second.
        rate_per_s: f64,
    },
}

/// A run to make.
pub struct RunPlan<'a> {
    /// The engine.
    pub engine: &'a dyn Engine,
    /// What it is asked.
    pub workload: &'a dyn Workload,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Settings of the engine.
    pub settings: &'a BTreeMap<String, String>,
    /// How operations arrive.
    pub arriving: Arriving,
    /// How long to run before measuring, at least; three times as long until the engine is steady.
    pub warmup: Duration,
    /// When the measured phase ends.
    pub bound: Bound,
    /// Of the operations and their due times.
    pub seed: Seed,
    /// The engine's folder: made for this run, removed after it.
    pub dir: PathBuf,
    /// Where the distributions go; nowhere by default.
    pub histograms: Option<HistogramFile>,
    /// What the memory engine sustains under this workload, operations a second, where that is known.
    pub memory_per_s: Option<f64>,
}

/// Why a run couldn't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The engine can't be opened or closed, or a setting is wrong.
    #[error("{engine} in {dir}: {source}")]
    Engine {
        /// The engine.
        engine: String,
        /// Its folder.
        dir: PathBuf,
        /// Why.
        source: EngineError,
    },
    /// The engine's folder can't be made or looked at.
    #[error("data folder {dir}: {source}; choose another one with --dir")]
    Dir {
        /// The folder.
        dir: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder is there already.
    #[error("data folder {dir} is there already; remove it, or choose another one with --dir")]
    DirInUse {
        /// The folder.
        dir: PathBuf,
    },
    /// Writing the records that exist before the run failed.
    #[error("{engine} failed while writing the records that exist before the run: {example}")]
    Preload {
        /// The engine.
        engine: String,
        /// The first failure.
        example: String,
    },
    /// The distributions can't be written.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// Stopped from outside before anything was measured.
    #[error("stopped before anything was measured")]
    Stopped,
}

/// What a run found.
#[derive(Debug)]
pub struct RunOutcome {
    /// How the measured phase went.
    pub phase: Phase,
    /// What happened to its operations; wrong answers and errors of the other phases are added.
    pub tally: Tally,
    /// Its latencies.
    pub latency: LatencyRecord,
    /// What it cost.
    pub spent: Spent,
    /// What all phases cost, in their order, this one among them.
    pub phases: Vec<PhaseCost>,
    /// How old the answers of the measured phase were.
    pub staleness: Staleness,
    /// How many copies there were and how many had to answer; `None` for one node.
    pub replication: Option<Replication>,
    /// What became of overlapping increments; `None` if the workload has none. Of all phases, by the reads at the end.
    pub lost_updates: Option<LostUpdates>,
    /// What each node of a cluster carried.
    pub node_loads: Vec<NodeLoad>,
    /// How a cluster recovered from an outage, where one was planned and is over.
    pub recovery: Option<Recovery>,
    /// The engine could not keep up with the offered rate.
    pub saturated: bool,
    /// Why the driver, not the engine, made the figures; `None` if the engine did.
    pub driver_limited: Option<DriverLimited>,
    /// What the memory engine sustains under this workload, where that was known.
    pub memory_per_s: Option<f64>,
    /// How operations arrived.
    pub arriving: Arriving,
    /// Length of the warm-up, seconds.
    pub warmup_s: f64,
    /// How the warm-up went; `None` without one.
    pub steady: Option<SteadyState>,
}

/// Makes a run. `stop` ends it early; what was measured until then is the outcome.
///
/// # Errors
/// Something other than the engine's answers went wrong; wrong answers and failed operations are in the outcome.
pub fn run_once(plan: RunPlan<'_>, stop: &Arc<AtomicBool>) -> Result<RunOutcome, RunError> {
    let engine_name = plan.engine.name().to_owned();
    let failed = |source| RunError::Engine { engine: engine_name.clone(), dir: plan.dir.clone(), source };
    check_settings(plan.engine, plan.settings).map_err(failed)?;
    let dir = FreshDir::make(plan.dir.clone())?;
    let place = Place { dir: plan.dir.clone(), durability: plan.durability, settings: plan.settings.clone() };
    let session = plan.engine.open(&place).map_err(failed)?;
    let clock = OsClock::start();
    let model = Model::new(plan.workload.records(), plan.engine.promise(&place));
    let mut driver = Driver::new(&clock, session, model, Arc::clone(stop));

    let at_dir = |source: io::Error| RunError::Dir { dir: plan.dir.clone(), source };
    let mut phases = Vec::new();

    let meter = PhaseMeter::start(&plan.dir, driver.session().stats());
    let mut preload = plan.workload.preload(plan.seed.derive("preload", 0));
    let phase = closed_loop(&mut driver, &mut preload, PRELOAD_CLIENTS, Bound::stream());
    let tally = driver.take_tally();
    if tally.all().errors > 0 || phase.unanswered > 0 {
        let example = tally.error_examples.into_iter().next().unwrap_or_default();
        return Err(RunError::Preload { engine: engine_name, example });
    }
    if phase.stopped {
        return Err(RunError::Stopped);
    }
    let spent = stop_meter(meter, &driver, &tally).map_err(at_dir)?;
    phases.push(phase_cost("preload", &phase, &spent));

    write_back(&plan.dir).map_err(at_dir)?;

    let mut ops = Counted { ops: plan.workload.stream(plan.seed.derive("stream", 0)), taken: 0 };
    let arrivals = plan.workload.arrivals();
    let mut troubles = Tally::default();
    let mut warmup_s = 0.0;
    let mut steady = None;
    let mut hopeless = None;
    if !plan.warmup.is_zero() {
        let meter = PhaseMeter::start(&plan.dir, driver.session().stats());
        let mut own = (!plan.workload.is_recording())
            .then(|| Counted { ops: plan.workload.stream(plan.seed.derive("warm-up stream", 0)), taken: 0 });
        let from = own.as_mut().unwrap_or(&mut ops);
        let WarmUp { phase, state } = warm_up(&mut driver, &clock, from, &plan, &arrivals)?;
        let tally = driver.take_tally();
        warmup_s = phase.elapsed_ns as f64 / 1e9;
        if phase.stopped {
            return Err(RunError::Stopped);
        }
        let spent = stop_meter(meter, &driver, &tally).map_err(at_dir)?;
        phases.push(phase_cost("warm-up", &phase, &spent));
        steady = Some(state);
        if phase.unanswered > 0 {
            // It fell behind so far that going on would measure nothing else; a driver that gave up can't go on anyway.
            hopeless = Some((phase, tally, spent));
        } else {
            troubles.add_troubles_of(&tally);
        }
    }

    let stale_before = driver.staleness();
    let loads_before = driver.session().node_loads();
    driver.record_to(Recorder::start(clock.now_ns(), plan.histograms.clone())?);
    let (phase, mut tally, spent) = match hopeless {
        Some(warm_up) => warm_up,
        None => {
            let meter = PhaseMeter::start(&plan.dir, driver.session().stats());
            driver.measured_from_now();
            let phase = load(&mut driver, &mut ops, &plan, &arrivals, plan.bound, ("measured", 0));
            let tally = driver.take_tally();
            let spent = stop_meter(meter, &driver, &tally).map_err(at_dir)?;
            phases.push(phase_cost("measured", &phase, &spent));
            (phase, tally, spent)
        }
    };
    let staleness = driver.staleness().since(stale_before);
    let node_loads = since(driver.session().node_loads(), &loads_before);
    let recovery = driver.session().recovery();
    let recorder = driver.take_recorder().expect("it was given one above");
    let latency = recorder.finish(phase.start_ns + phase.elapsed_ns)?;

    if !phase.stopped && phase.unanswered == 0 {
        let meter = PhaseMeter::start(&plan.dir, driver.session().stats());
        let mut finale = plan.workload.finale(ops.taken);
        let phase = closed_loop(&mut driver, &mut finale, PRELOAD_CLIENTS, Bound::stream());
        let tally = driver.take_tally();
        if phase.ended > 0 {
            let spent = stop_meter(meter, &driver, &tally).map_err(at_dir)?;
            phases.push(phase_cost("final reads", &phase, &spent));
        }
        troubles.add_troubles_of(&tally);
    }
    tally.add_troubles_of(&troubles);
    let lost_updates = driver.lost_updates();
    driver.into_session().close().map_err(failed)?;
    drop(dir);

    let open = matches!(plan.arriving, Arriving::Open { .. });
    let all = latency.all();
    Ok(RunOutcome {
        saturated: open && phase.saturated(),
        driver_limited: driver_limited(&latency, &all, open, phase.achieved_per_s(), plan.memory_per_s),
        phase,
        tally,
        latency,
        spent,
        phases,
        staleness,
        replication: plan.engine.replication(&place),
        lost_updates,
        node_loads,
        recovery,
        memory_per_s: plan.memory_per_s,
        arriving: plan.arriving,
        warmup_s,
        steady,
    })
}

fn stop_meter(meter: PhaseMeter<'_>, driver: &Driver<'_, OsClock>, tally: &Tally) -> io::Result<Spent> {
    let asked = Asked { written_bytes: tally.user_bytes_written, read_bytes: tally.user_bytes_read };
    meter.stop(driver.session().stats(), driver.live_bytes(), asked)
}

/// What each node carried since `before`. One that was started anew in between has counted from there.
fn since(mut now: Vec<NodeLoad>, before: &[NodeLoad]) -> Vec<NodeLoad> {
    for load in &mut now {
        let earlier = before.iter().find(|b| b.node == load.node && b.messages <= load.messages);
        load.messages -= earlier.map_or(0, |b| b.messages);
    }
    now
}

fn phase_cost(name: &str, phase: &Phase, spent: &Spent) -> PhaseCost {
    PhaseCost {
        phase: name.to_owned(),
        seconds: phase.elapsed_ns as f64 / 1e9,
        operations: phase.ended,
        resources: spent.resources(),
    }
}

/// A warm-up that came to its end.
struct WarmUp {
    /// All steps together.
    phase: Phase,
    state: SteadyState,
}

/// Runs steps of a quarter of the asked length until the engine is steady, three times the asked length at most.
/// After each step every answer is waited for, so nothing that was asked here is answered later.
fn warm_up(
    driver: &mut Driver<'_, OsClock>,
    clock: &OsClock,
    ops: &mut dyn Iterator<Item = Op>,
    plan: &RunPlan<'_>,
    arrivals: &Arrivals,
) -> Result<WarmUp, RunError> {
    let steps_max = if plan.workload.is_recording() { WINDOW } else { WINDOW * TIMES_MAX };
    // Due times of a recording begin anew with each phase, so its warm-up can't be cut.
    let own_times = arrivals.own_rate_per_s().is_some();
    let (length, steps_max) =
        if own_times { (plan.warmup, 1) } else { (plan.warmup / WINDOW as u32, steps_max) };
    let mut state = SteadyState::default();
    let mut whole: Option<Phase> = None;
    loop {
        driver.record_to(Recorder::start(clock.now_ns(), None)?);
        let part = ("warm-up", state.steps() as u64);
        let phase = load(driver, ops, plan, arrivals, Bound::time(length), part);
        let recorder = driver.take_recorder().expect("it was given one above");
        let service = recorder.finish(phase.start_ns + phase.elapsed_ns)?.all().service;
        let answered = service.len() as f64;
        let throughput = match plan.arriving {
            Arriving::Closed { .. } => phase.achieved_per_s(),
            // What was due differs from step to step; what matters is whether the engine kept up.
            Arriving::Open { .. } => {
                answered / phase.offered.max(1) as f64 * phase.planned_ns as f64
                    / phase.elapsed_ns.max(1) as f64
            }
        };
        state.step((answered > 0.0).then(|| service.value_at_quantile(0.5) as f64), throughput);
        let all = whole.map_or(phase, |whole| Phase {
            start_ns: whole.start_ns,
            planned_ns: whole.planned_ns + phase.planned_ns,
            elapsed_ns: whole.elapsed_ns + phase.elapsed_ns,
            offered: whole.offered + phase.offered,
            ended: whole.ended + phase.ended,
            ..phase
        });
        whole = Some(all);
        // A recording may end during its warm-up; elsewhere a step between two bursts may be empty.
        let ended = plan.workload.is_recording() && phase.offered == 0;
        let over = ended || state.steps() >= steps_max || state.reached();
        if over || phase.stopped || phase.unanswered > 0 {
            return Ok(WarmUp { phase: all, state });
        }
    }
}

fn load(
    driver: &mut Driver<'_, OsClock>,
    ops: &mut dyn Iterator<Item = Op>,
    plan: &RunPlan<'_>,
    arrivals: &Arrivals,
    bound: Bound,
    part: (&str, u64),
) -> Phase {
    match plan.arriving {
        Arriving::Closed { clients } => closed_loop(driver, ops, clients, bound),
        Arriving::Open { rate_per_s } => {
            // A day is as long as the phase.
            let by_count = bound.operations.map_or(f64::INFINITY, |count| count as f64 / rate_per_s);
            let length_s = bound.time.map_or(f64::INFINITY, |t| t.as_secs_f64()).min(by_count);
            let arrivals = if length_s.is_finite() { arrivals.scaled_to(length_s) } else { arrivals.clone() };
            let mut pace = Pace::new(&arrivals, rate_per_s, plan.seed.derive(part.0, part.1));
            open_loop(driver, ops, &mut pace, bound)
        }
    }
}

/// The driver made the latency if its own lateness is a tenth of it, or if it was near its own limit. Nothing is due in
/// a closed loop, so there only its limit counts.
fn driver_limited(
    latency: &LatencyRecord,
    all: &ClassLatency,
    open: bool,
    achieved_per_s: f64,
    memory_per_s: Option<f64>,
) -> Option<DriverLimited> {
    let lateness_ns = latency.lateness.value_at_quantile(0.99);
    let response_ns = all.response.value_at_quantile(0.99);
    if open && !latency.lateness.is_empty() && lateness_ns > response_ns / 10 {
        return Some(DriverLimited::Late { lateness_ns, response_ns });
    }
    let memory_per_s = memory_per_s.filter(|memory| achieved_per_s > memory / 2.0)?;
    Some(DriverLimited::NearMemory { memory_per_s })
}

fn record_of(lost: LostUpdates) -> LostUpdatesRecord {
    let LostUpdates { keys, acknowledged, failed, surviving, lost, unread } = lost;
    LostUpdatesRecord { keys, acknowledged, failed, surviving, lost, unread }
}

/// A stream that counts what was taken from it.
struct Counted<'a> {
    ops: workloads::Ops<'a>,
    taken: u64,
}

impl Iterator for Counted<'_> {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        let op = self.ops.next()?;
        self.taken += 1;
        Some(op)
    }
}

/// The run's folder: made, and removed whatever happens.
struct FreshDir(PathBuf);

impl FreshDir {
    fn make(dir: PathBuf) -> Result<Self, RunError> {
        if let Some(parent) = dir.parent() {
            std::fs::create_dir_all(parent).map_err(|source| RunError::Dir { dir: dir.clone(), source })?;
        }
        match std::fs::create_dir(&dir) {
            Ok(()) => Ok(Self(dir)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(RunError::DirInUse { dir }),
            Err(source) => Err(RunError::Dir { dir, source }),
        }
    }
}

impl Drop for FreshDir {
    fn drop(&mut self) {
        // What can't be removed stays; the next run uses another name.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl RunOutcome {
    /// The records of this run: one for all operations, one for each kind that occurred. `common` carries what the
    /// run itself doesn't know: experiment, pair, order.
    #[must_use]
    pub fn measurements(&self, common: &Measurement) -> Vec<Measurement> {
        let all = self.latency.all();
        let seconds = self.phase.elapsed_ns as f64 / 1e9;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let noisy = Noise::of(&self.spent.cost, &self.latency.lateness, processors).reason();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let record = |name: &str, class: &ClassLatency, tally: crate::load::ClassTally| {
            let mut m = common.clone();
            m.operation = name.to_owned();
            m.load = self.load(common);
            m.achieved_per_s = rate(tally.answered);
            m.saturated = self.saturated;
            m.driver_limited = self.driver_limited.is_some();
            m.memory_per_s = self.memory_per_s;
            m.notes.extend(self.driver_limited.map(|why| why.to_string()));
            m.count = tally.answered;
            m.errors = tally.errors;
            m.late = class.response.count_between(LATE_NS, u64::MAX);
            m.unsupported = tally.unsupported;
            // A run with one wrong answer has no number, whichever operation gave it.
            m.wrong_answers = self.tally.all().wrong;
            m.response_us = summarize(&class.response);
            m.service_us = summarize(&class.service);
            m.wait_us = summarize(&class.wait);
            m.resources = self.spent.resources();
            m.replication = self.replication.clone();
            m.copies_durable_at_ack = self.copies();
            m.consistency = Some(self.consistency());
            m.warmup_s = Some(self.warmup_s);
            m.steady = self.steady.as_ref().map(SteadyState::reached);
            m.measured_s = Some(seconds);
            m.verified_answers = Some(self.tally.verified);
            m.noisy = noisy.clone();
            m.wrong_answer_examples = self.tally.wrong_examples.clone();
            m.lateness_us = Some(summarize(&self.latency.lateness)).filter(|l| *l != Percentiles::default());
            if self.spent.engine.tail_events > 0 {
                m.tail_events.insert("rolls and merges".to_owned(), self.spent.engine.tail_events);
            }
            m.notes.extend(self.unsteady());
            if let Some(lost) = self.lost_updates.filter(|_| name == "all") {
                m.notes.push(lost.to_string());
            }
            m.lost_updates = self.lost_updates.map(record_of);
            m.notes.extend(self.tally.error_examples.iter().map(|e| format!("failed: {e}")));
            if self.latency.out_of_range > 0 {
                m.notes.push(format!("{} times were longer than an hour", self.latency.out_of_range));
            }
            m.withhold();
            m
        };
        let mut records = vec![record("all", &all, self.tally.all())];
        records[0].phases = self.phases.clone();
        records[0].node_loads = self.node_loads.clone();
        records[0].recovery.clone_from(&self.recovery);
        for kind in OpKind::ALL {
            let tally = self.tally.class(kind);
            let class = self.latency.classes.iter().find(|(k, _)| *k == kind).map(|(_, class)| class);
            match class {
                Some(class) => records.push(record(kind.name(), class, tally)),
                None if tally != crate::load::ClassTally::default() => {
                    records.push(record(kind.name(), &ClassLatency::empty(), tally));
                }
                None => {}
            }
        }
        if let Some(visible) = &self.latency.visible {
            let seen = self.tally.sightings;
            let tally =
                crate::load::ClassTally { answered: seen.seen, errors: seen.unseen, ..Default::default() };
            records.push(record(VISIBLE, visible, tally));
        }
        records
    }

    fn copies(&self) -> Option<CopiesDurable> {
        let copies = &self.spent.engine.copies_at_ack;
        Some(CopiesDurable { min: copies.fewest()?, p50: f64::from(copies.median()?) })
    }

    fn copies_missed(&self) -> u64 {
        self.latency.series.iter().filter(|row| row.operation == "all").map(|row| row.copies_missed).sum()
    }

    fn consistency(&self) -> Consistency {
        let seen = self.tally.sightings;
        let Staleness { answers, stale, versions_max, behind_ns_sum, behind_ns_max, .. } = self.staleness;
        let us = |ns: u64| (stale > 0).then_some(ns as f64 / 1e3);
        Consistency {
            reads: answers,
            stale_reads: stale,
            stale_versions_max: versions_max,
            stale_us_mean: us(behind_ns_sum.checked_div(stale).unwrap_or(0)),
            stale_us_max: us(behind_ns_max),
            siblings: self.spent.engine.siblings,
            retries: self.spent.engine.retries,
            copies_missed: self.copies_missed(),
            subscribed: seen != SightingTally::default(),
            unseen: seen.unseen,
            order_violations: seen.out_of_order,
            seen_again: seen.again,
        }
    }

    fn load(&self, common: &Measurement) -> Load {
        let label = common.load.label.clone();
        match self.arriving {
            Arriving::Closed { clients } => {
                Load { kind: LoadKind::Closed, offered_per_s: None, clients: Some(clients), label }
            }
            Arriving::Open { rate_per_s } => {
                Load { kind: LoadKind::Open, offered_per_s: Some(rate_per_s), clients: None, label }
            }
        }
    }

    /// That no steady state was reached, in words.
    fn unsteady(&self) -> Option<String> {
        let state = self.steady.as_ref().filter(|state| !state.reached())?;
        let how = state.change().map_or_else(
            || "it was too short to tell".to_owned(),
            |change| format!("over its last {WINDOW} steps they still changed by {:.0} %", change * 100.0),
        );
        Some(format!(
            "no steady state of service time and throughput in {:.1} s of warm-up: {how}",
            self.warmup_s
        ))
    }
}
