//! [`run_once`]: one run of one engine, from an empty folder to a judged, measured end.
//!
//! Order: open in a fresh folder, write the records that exist before, sync the file system (so that no run pays for
//! what was written before it), warm up with the same stream, wait for every answer, measure, wait again, ask the
//! workload's final reads, close, remove the folder. Whatever answered wrongly in any of these steps makes the whole
//! run worthless.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use engine_env::Durability;
use engine_env::rng::Seed;
use workloads::{Arrivals, Model, Op, OpKind, Staleness, Workload};

use crate::engine::{Engine, EngineError, EngineStats, Place, check_settings};
use crate::load::{
    Bound, Clock as _, Driver, OsClock, Pace, Phase, SightingTally, Tally, closed_loop, open_loop,
};
use crate::measure::{
    ClassLatency, Cost, HistogramFile, LatencyRecord, Noise, Recorder, RecordingError, ResourceMeter,
    VISIBLE, device_flushes, disk_bytes, write_back,
};
use crate::report::record::{
    Consistency, CopiesDurable, Load, LoadKind, Measurement, Percentiles, Replication, Resources,
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
    /// How long to run before measuring.
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
    pub cost: Cost,
    /// Flushes that the block device counted meanwhile, whoever asked for them.
    pub device_flushes: Option<u64>,
    /// What the engine counted in the measured phase.
    pub engine: EngineStats,
    /// How old the answers of the measured phase were.
    pub staleness: Staleness,
    /// How many copies there were and how many had to answer; `None` for one node.
    pub replication: Option<Replication>,
    /// Size of the engine's files at the end.
    pub disk_bytes: u64,
    /// Bytes of keys and values alive at the end.
    pub live_bytes: u64,
    /// The engine could not keep up with the offered rate.
    pub saturated: bool,
    /// The driver, not the engine, made the latency.
    pub driver_limited: bool,
    /// How operations arrived.
    pub arriving: Arriving,
    /// Length of the warm-up, seconds.
    pub warmup_s: f64,
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

    write_back(&plan.dir).map_err(|source| RunError::Dir { dir: plan.dir.clone(), source })?;

    let mut ops = Counted { ops: plan.workload.stream(plan.seed.derive("stream", 0)), taken: 0 };
    let arrivals = plan.workload.arrivals();
    let mut troubles = Tally::default();
    let mut warmup_s = 0.0;
    if !plan.warmup.is_zero() {
        let bound = Bound::time(plan.warmup);
        let phase = load(&mut driver, &mut ops, &plan, &arrivals, bound, "warm-up");
        warmup_s = phase.elapsed_ns as f64 / 1e9;
        troubles.add_troubles_of(&driver.take_tally());
        if phase.stopped {
            return Err(RunError::Stopped);
        }
    }

    let before = driver.session().stats();
    let stale_before = driver.staleness();
    driver.record_to(Recorder::start(clock.now_ns(), plan.histograms.clone())?);
    let flushes_before = device_flushes(&plan.dir);
    let meter = ResourceMeter::start();
    let phase = load(&mut driver, &mut ops, &plan, &arrivals, plan.bound, "measured");
    let cost = meter.stop();
    let device_flushes =
        flushes_before.zip(device_flushes(&plan.dir)).map(|(before, after)| after.saturating_sub(before));
    let after = driver.session().stats();
    let staleness = driver.staleness().since(stale_before);
    let recorder = driver.take_recorder().expect("it was given one above");
    let latency = recorder.finish(phase.start_ns + phase.elapsed_ns)?;
    let mut tally = driver.take_tally();

    if !phase.stopped && phase.unanswered == 0 {
        let mut finale = plan.workload.finale(ops.taken);
        closed_loop(&mut driver, &mut finale, PRELOAD_CLIENTS, Bound::stream());
        troubles.add_troubles_of(&driver.take_tally());
    }
    tally.add_troubles_of(&troubles);
    let live_bytes = driver.live_bytes();
    let disk_bytes =
        disk_bytes(&plan.dir).map_err(|source| RunError::Dir { dir: plan.dir.clone(), source })?;
    driver.into_session().close().map_err(failed)?;
    drop(dir);

    let open = matches!(plan.arriving, Arriving::Open { .. });
    let all = latency.all();
    Ok(RunOutcome {
        saturated: open && phase.saturated(),
        driver_limited: open && driver_limited(&latency, &all, phase.achieved_per_s(), plan.memory_per_s),
        phase,
        tally,
        latency,
        cost,
        device_flushes,
        engine: after.since(&before),
        staleness,
        replication: plan.engine.replication(&place),
        disk_bytes,
        live_bytes,
        arriving: plan.arriving,
        warmup_s,
    })
}

fn load(
    driver: &mut Driver<'_, OsClock>,
    ops: &mut dyn Iterator<Item = Op>,
    plan: &RunPlan<'_>,
    arrivals: &Arrivals,
    bound: Bound,
    part: &str,
) -> Phase {
    match plan.arriving {
        Arriving::Closed { clients } => closed_loop(driver, ops, clients, bound),
        Arriving::Open { rate_per_s } => {
            // A day is as long as the phase.
            let by_count = bound.operations.map_or(f64::INFINITY, |count| count as f64 / rate_per_s);
            let length_s = bound.time.map_or(f64::INFINITY, |t| t.as_secs_f64()).min(by_count);
            let arrivals = if length_s.is_finite() { arrivals.scaled_to(length_s) } else { arrivals.clone() };
            let mut pace = Pace::new(&arrivals, rate_per_s, plan.seed.derive(part, 0));
            open_loop(driver, ops, &mut pace, bound)
        }
    }
}

/// The driver made the latency if its own lateness is a tenth of it, or if it was near its own limit.
fn driver_limited(
    latency: &LatencyRecord,
    all: &ClassLatency,
    achieved_per_s: f64,
    memory_per_s: Option<f64>,
) -> bool {
    let lateness_ns = latency.lateness.value_at_quantile(0.99);
    let late = !latency.lateness.is_empty() && lateness_ns > all.response.value_at_quantile(0.99) / 10;
    late || memory_per_s.is_some_and(|memory| achieved_per_s > memory / 2.0)
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
        let noisy = Noise::of(&self.cost, &self.latency.lateness, seconds).reason();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let record = |name: &str, class: &ClassLatency, tally: crate::load::ClassTally| {
            let mut m = common.clone();
            m.operation = name.to_owned();
            m.load = self.load(common);
            m.achieved_per_s = rate(tally.answered);
            m.saturated = self.saturated;
            m.driver_limited = self.driver_limited;
            m.count = tally.answered;
            m.errors = tally.errors;
            m.unsupported = tally.unsupported;
            // A run with one wrong answer has no number, whichever operation gave it.
            m.wrong_answers = self.tally.all().wrong;
            m.response_us = summarize(&class.response);
            m.service_us = summarize(&class.service);
            m.wait_us = summarize(&class.wait);
            m.resources = self.resources();
            m.replication = self.replication.clone();
            m.copies_durable_at_ack = self.copies();
            m.consistency = Some(self.consistency());
            m.warmup_s = Some(self.warmup_s);
            m.measured_s = Some(seconds);
            m.verified_answers = Some(self.tally.verified);
            m.noisy = noisy.clone();
            m.wrong_answer_examples = self.tally.wrong_examples.clone();
            m.lateness_us = Some(summarize(&self.latency.lateness)).filter(|l| *l != Percentiles::default());
            if self.engine.tail_events > 0 {
                m.tail_events.insert("rolls and merges".to_owned(), self.engine.tail_events);
            }
            m.notes.extend(self.tally.error_examples.iter().map(|e| format!("failed: {e}")));
            if self.latency.out_of_range > 0 {
                m.notes.push(format!("{} times were longer than an hour", self.latency.out_of_range));
            }
            m.withhold();
            m
        };
        let mut records = vec![record("all", &all, self.tally.all())];
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
        let copies = &self.engine.copies_at_ack;
        Some(CopiesDurable { min: copies.fewest()?, p50: f64::from(copies.median()?) })
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
            siblings: self.engine.siblings,
            retries: self.engine.retries,
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

    fn resources(&self) -> Resources {
        let ratio = |a: u64, b: u64| (b > 0 && a > 0).then(|| a as f64 / b as f64);
        Resources {
            cpu_s: Some(self.cost.cpu_s),
            rss_peak_bytes: self.cost.rss_peak_bytes,
            written_bytes: Some(self.engine.written_bytes),
            disk_bytes: Some(self.disk_bytes),
            live_bytes: Some(self.live_bytes),
            syncs: Some(self.engine.syncs),
            write_amp: ratio(self.engine.written_bytes, self.tally.user_bytes_written),
            space_amp: ratio(self.disk_bytes, self.live_bytes),
            device_flushes: self.device_flushes,
            messages: Some(self.engine.messages).filter(|n| *n > 0),
            message_bytes: Some(self.engine.message_bytes).filter(|n| *n > 0),
            driver_cpu_s: Some(self.cost.driver_cpu_s),
            involuntary_switches: self.cost.involuntary_switches,
            steal_share: self.cost.steal_share,
        }
    }
}
