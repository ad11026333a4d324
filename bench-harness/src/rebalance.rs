//! What it costs clients when a node joins a running cluster of the store: a fourth one joins three, while operations come in on
//! a schedule (C11, the half of it that this build has).
//!
//! Several rounds, each on a fresh cluster: records are written, operations are offered at one rate before the move, while it
//! lasts, and afterwards. Every answer is checked. A round is the replicate: the ratio of a round's p99 to its own before.
//!
//! The nodes, the client and whoever has them move share the machine's processors, so the move and the client take them from
//! each other. The log has no such measurement: its layout is fixed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine_env::Durability;
use engine_env::rng::Seed;
use hdrhistogram::Histogram;
use kv_engine::RebalanceOutcome;
use serde::Serialize;
use workloads::{Model, Ops, Promise, Workload};

use crate::engine::{EngineError, Place};
use crate::engines::{Join, JoiningCluster, Moved};
use crate::load::{Bound, Clock as _, Driver, OsClock, Pace, Phase, Tally, closed_loop, open_loop};
use crate::measure::{ClassLatency, Recorder, RecordingError, write_back};
use crate::report::record::LATE_NS;
use crate::stats::{paired_ratio, percentile_us};

/// Operations in flight while records are written.
const PRELOAD_CLIENTS: u32 = 256;
/// The warm-up, as a share of the time before the move.
const WARM_UP: f64 = 0.4;

/// What an operator does in this build.
pub const OPERATOR_STEPS: [&str; 3] = [
    "start the node, with the plan's ring",
    "make the plan (`workbench rebalance plan`, or `RebalancePlan::new`)",
    "have it carried out (`carry_out`)",
];

/// What is measured.
pub struct JoinPlan<'a> {
    /// What is asked.
    pub workload: &'a dyn Workload,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Operations a second.
    pub rate_per_s: f64,
    /// Measured time before the move and after it.
    pub length: Duration,
    /// Fresh clusters.
    pub rounds: u32,
    /// Of operations and their due times.
    pub seed: Seed,
}

/// A part of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Three nodes.
    Before,
    /// From the first message about the move to its end.
    Moving,
    /// Four nodes.
    After,
}

impl Part {
    const ALL: [Self; 3] = [Self::Before, Self::Moving, Self::After];

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Moving => "while it moves",
            Self::After => "after",
        }
    }
}

/// What clients met in a part.
#[derive(Debug, Clone, Serialize)]
pub struct Met {
    /// Which part.
    pub part: Part,
    /// Operations answered.
    pub count: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Operations answered later than 200 ms after they were due.
    pub late: u64,
    /// From the moment an operation was due until its answer, milliseconds. `None` with fewer than 100 slower ones, or if the
    /// cluster didn't keep up with the rate.
    pub p50_ms: Option<f64>,
    /// The same.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub max_ms: f64,
    /// Whether the cluster kept up with the rate.
    pub kept_up: bool,
}

impl Met {
    fn new(part: Part, response: &Histogram<u64>, errors: u64, kept_up: bool) -> Self {
        let ms = |q| percentile_us(response, q).filter(|_| kept_up).map(|us| us / 1e3);
        Self {
            part,
            count: response.len(),
            errors,
            late: response.count_between(LATE_NS, u64::MAX),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            max_ms: response.max() as f64 / 1e6,
            kept_up,
        }
    }
}

/// What a round found.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// From the first message about the move to its end, seconds.
    pub seconds: f64,
    /// Copies of keys that the joining node took.
    pub keys_moved: u64,
    /// Their bytes.
    pub bytes_moved: u64,
    /// Before, meanwhile, afterwards.
    pub met: Vec<Met>,
}

/// How many times as long p99 is as before the move: geometric mean over rounds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Slowdown {
    /// The ratio.
    pub ratio: f64,
    /// 95 % interval by Student's t on the logarithms; `None` with one round.
    pub ci95: Option<[f64; 2]>,
    /// Rounds that have both.
    pub rounds: usize,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct JoinMeasured {
    /// Copies of partitions that were moved.
    pub partitions_moved: u64,
    /// Copies of partitions there were.
    pub partitions: u64,
    /// What an operator does.
    pub operator_steps: [&'static str; 3],
    /// Each round.
    pub rounds: Vec<Round>,
    /// All rounds together, their histograms added.
    pub met: Vec<Met>,
    /// While it moves, against before.
    pub p99_moving: Option<Slowdown>,
    /// Afterwards, against before.
    pub p99_after: Option<Slowdown>,
    /// Answers compared with what is allowed; none of them was wrong.
    pub answers_checked: u64,
}

/// Why it couldn't be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A node can't be started, or not be closed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The folder can't be looked at.
    #[error("data folder: {0}")]
    Dir(#[from] std::io::Error),
    /// Latencies can't be kept.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The records can't be written.
    #[error("writing the records failed: {0}")]
    Preload(String),
    /// The move didn't come to its end.
    #[error("the move ended otherwise: {0}")]
    Move(String),
    /// An answer that no allowed order explains.
    #[error("{wrong} wrong answers, so there are no figures: {example}")]
    WrongAnswers {
        /// How many.
        wrong: u64,
        /// The first one.
        example: String,
    },
    /// Ctrl-C.
    #[error("stopped")]
    Stopped,
}

/// Measures in folders below `dir`, which are removed.
///
/// # Errors
/// Something other than a failed operation went wrong.
pub fn measure(
    dir: &Path,
    plan: &JoinPlan<'_>,
    stop: &Arc<AtomicBool>,
    told: &mut dyn FnMut(&str),
) -> Result<JoinMeasured, JoinError> {
    let mut all = JoinMeasured {
        partitions_moved: 0,
        partitions: 0,
        operator_steps: OPERATOR_STEPS,
        rounds: Vec::new(),
        met: Vec::new(),
        p99_moving: None,
        p99_after: None,
        answers_checked: 0,
    };
    let mut added = Part::ALL.map(|_| ClassLatency::empty().response);
    for number in 0..plan.rounds {
        told(&format!("round {} of {}: {} records", number + 1, plan.rounds, plan.workload.records()));
        let folder = dir.join(format!("round-{number}"));
        let found = round(&folder, plan, plan.seed.derive("round", u64::from(number)), stop, told);
        let _ = std::fs::remove_dir_all(&folder);
        let Found { moved, met, responses, checked } = found?;
        (all.partitions_moved, all.partitions) = (moved.partitions, moved.partitions_before);
        all.answers_checked += checked;
        for (sum, response) in added.iter_mut().zip(&responses) {
            sum.add(response).expect("all histograms have the same bounds");
        }
        all.rounds.push(Round {
            seconds: moved.took.as_secs_f64(),
            keys_moved: moved.keys,
            bytes_moved: moved.bytes,
            met,
        });
    }
    all.met = Part::ALL
        .iter()
        .zip(&added)
        .enumerate()
        .map(|(at, (part, response))| {
            let of_rounds = || all.rounds.iter().map(|round| &round.met[at]);
            let errors = of_rounds().map(|met| met.errors).sum();
            Met::new(*part, response, errors, of_rounds().all(|met| met.kept_up))
        })
        .collect();
    all.p99_moving = slowdown(&all.rounds, 1, plan.seed);
    all.p99_after = slowdown(&all.rounds, 2, plan.seed);
    Ok(all)
}

/// p99 of a part against before, over the rounds that have both.
fn slowdown(rounds: &[Round], at: usize, seed: Seed) -> Option<Slowdown> {
    let pairs: Vec<(f64, f64)> =
        rounds.iter().filter_map(|round| Some((round.met[at].p99_ms?, round.met[0].p99_ms?))).collect();
    let found = paired_ratio(&pairs, seed.derive("bootstrap", at as u64))?;
    Some(Slowdown { ratio: found.ratio, ci95: found.ci95, rounds: found.pairs })
}

/// What one cluster gave.
struct Found {
    moved: Moved,
    met: Vec<Met>,
    responses: Vec<Histogram<u64>>,
    checked: u64,
}

fn round(
    dir: &Path,
    plan: &JoinPlan<'_>,
    seed: Seed,
    stop: &Arc<AtomicBool>,
    told: &mut dyn FnMut(&str),
) -> Result<Found, JoinError> {
    let place = Place { dir: dir.to_owned(), durability: plan.durability, settings: BTreeMap::new() };
    let JoiningCluster { session, join } = JoiningCluster::open(&place)?;
    let clock = OsClock::start();
    let model = Model::new(plan.workload.records(), Promise::Quorum);
    let mut driver = Driver::new(&clock, session, model, Arc::clone(stop));
    let mut judged = Judged::default();
    let mut preload = plan.workload.preload(seed.derive("preload", 0));
    let phase = closed_loop(&mut driver, &mut preload, PRELOAD_CLIENTS, Bound::stream());
    if phase.stopped {
        return Err(JoinError::Stopped);
    }
    let tally = driver.take_tally();
    if let Some(example) = tally.error_examples.first() {
        return Err(JoinError::Preload(example.clone()));
    }
    judged.add(&tally);
    write_back(dir)?;
    let mut offered = Offered { plan, seed, ops: plan.workload.stream(seed.derive("stream", 0)) };
    offered.for_a_time(&mut driver, plan.length.mul_f64(WARM_UP), "warm-up");
    judged.add(&driver.take_tally());
    let (mut join, mut moved) = (Some(join), None);
    let (mut met, mut responses) = (Vec::new(), Vec::new());
    for part in Part::ALL {
        told(part.name());
        driver.record_to(Recorder::start(clock.now_ns(), None)?);
        let phase = match join.take_if(|_| part == Part::Moving) {
            Some(join) => {
                let (phase, outcome) = offered.while_it_moves(&mut driver, join, stop);
                moved = Some(outcome);
                phase
            }
            None => offered.for_a_time(&mut driver, plan.length, part.name()),
        };
        if phase.stopped {
            return Err(JoinError::Stopped);
        }
        let recorder = driver.take_recorder().expect("it was given one above");
        let response = recorder.finish(phase.start_ns + phase.elapsed_ns)?.all().response;
        let tally = driver.take_tally();
        met.push(Met::new(part, &response, tally.all().errors, !phase.saturated()));
        responses.push(response);
        judged.add(&tally);
    }
    drop(offered);
    driver.into_session().close()?;
    let Judged { checked, wrong, example } = judged;
    if wrong > 0 {
        return Err(JoinError::WrongAnswers { wrong, example });
    }
    let moved = moved.expect("one of the parts is the move");
    let moved = moved.map_err(|outcome| JoinError::Move(format!("{outcome:?}")))?;
    Ok(Found { moved, met, responses, checked })
}

/// What became of the answers.
#[derive(Default)]
struct Judged {
    checked: u64,
    wrong: u64,
    example: String,
}

impl Judged {
    fn add(&mut self, tally: &Tally) {
        self.checked += tally.verified;
        self.wrong += tally.all().wrong;
        if let (true, Some(example)) = (self.example.is_empty(), tally.wrong_examples.first()) {
            self.example.clone_from(example);
        }
    }
}

/// The operations of a round, offered at one rate.
struct Offered<'a> {
    plan: &'a JoinPlan<'a>,
    seed: Seed,
    ops: Ops<'a>,
}

impl Offered<'_> {
    fn pace(&self, part: &str) -> Pace {
        let arrivals = self.plan.workload.arrivals().scaled_to(self.plan.length.as_secs_f64());
        Pace::new(&arrivals, self.plan.rate_per_s, self.seed.derive(part, 0))
    }

    fn for_a_time(&mut self, driver: &mut Driver<'_, OsClock>, length: Duration, part: &str) -> Phase {
        let mut pace = self.pace(part);
        open_loop(driver, &mut self.ops, &mut pace, Bound::time(length))
    }

    /// Until the move has ended, well or not.
    fn while_it_moves(
        &mut self,
        driver: &mut Driver<'_, OsClock>,
        join: Join,
        stop: &AtomicBool,
    ) -> (Phase, Result<Moved, RebalanceOutcome>) {
        let mut pace = self.pace(Part::Moving.name());
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| {
                // Also if it panics: the operations go on until it is set.
                let _over = SetAtEnd(&is_over);
                join.carry_out(stop)
            });
            let ops = &mut self.ops;
            let mut until_over =
                std::iter::from_fn(|| if is_over.load(Ordering::Acquire) { None } else { ops.next() });
            let phase = open_loop(driver, &mut until_over, &mut pace, Bound::stream());
            (phase, mover.join().expect("its panic was reported"))
        })
    }
}

/// Sets a flag when it is dropped.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_of(p99_ms: [Option<f64>; 3]) -> Round {
        let met = Part::ALL.iter().zip(p99_ms).map(|(part, p99_ms)| Met {
            part: *part,
            count: 1,
            errors: 0,
            late: 0,
            p50_ms: None,
            p99_ms,
            max_ms: 0.0,
            kept_up: true,
        });
        Round { seconds: 1.0, keys_moved: 1, bytes_moved: 1, met: met.collect() }
    }

    #[test]
    fn a_slowdown_is_over_the_rounds_that_have_both() {
        let rounds = [
            round_of([Some(2.0), Some(4.0), Some(2.0)]),
            round_of([Some(3.0), Some(6.0), Some(3.0)]),
            round_of([Some(3.0), None, Some(3.0)]),
        ];
        let moving = slowdown(&rounds, 1, Seed(1)).expect("two rounds");
        assert_eq!((moving.rounds, moving.ci95), (2, Some([2.0, 2.0])));
        assert!((moving.ratio - 2.0).abs() < 1e-12);
        assert_eq!(slowdown(&rounds, 2, Seed(1)).expect("three rounds").rounds, 3);
        assert!(slowdown(&rounds[2..], 1, Seed(1)).is_none());
        assert_eq!(slowdown(&rounds[..1], 1, Seed(1)).expect("one").ci95, None, "one round has no interval");
    }

    #[test]
    fn a_p99_needs_enough_operations_and_a_cluster_that_keeps_up() {
        let mut response = ClassLatency::empty().response;
        response.record_n(2_000_000, 9_900).expect("within bounds");
        assert_eq!(Met::new(Part::Moving, &response, 0, true).p99_ms, None);
        response.record_n(300_000_000, 100).expect("within bounds");
        let met = Met::new(Part::Moving, &response, 3, true);
        assert!(met.p99_ms.is_some_and(|ms| (ms / 2.0 - 1.0).abs() < 0.01), "{met:?}");
        assert_eq!((met.count, met.late, met.errors), (10_000, 100, 3));
        let met = Met::new(Part::Moving, &response, 3, false);
        assert_eq!((met.p50_ms, met.p99_ms), (None, None));
    }
}
