//! What the driver itself costs, and the rate at which it gives out: everything is due at once, and nothing waits.
//!
//! Counted is processor time of the driver's thread, so a busy machine makes these figures noisy but not large.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engine_env::Durability;
use engine_env::rng::Seed;
use rustix::time::{ClockId, clock_gettime};
use workloads::{Arrivals, Model, Op, OpenOptions, Promise, Registry};

use super::{DriverLimit, LimitsPlan};
use crate::engine::{Answer, Engine as _, EngineError, Place, Session, Submit, Token};
use crate::engines::Memory;
use crate::load::{Bound, Clock as _, Driver, OsClock, Pace, closed_loop, open_loop};
use crate::measure::Recorder;

/// Operations that are timed together.
const CHUNK: u64 = 20_000;
/// Members that the harness's own workload has here: enough that not all of their values fit into a cache.
const MEMBERS: u64 = 10_000;
/// So high a rate that every operation is due when its turn comes.
const AT_ONCE_PER_S: f64 = 1e9;

/// Measures it; `None` if it was stopped meanwhile.
pub(super) fn measure(plan: &LimitsPlan) -> Result<Option<DriverLimit>, String> {
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let keys: Vec<Op> = (0..1024_u32).map(|i| Op::get(i, i.to_le_bytes().as_slice())).collect();
    let mut reads = keys.iter().cycle().cloned();
    let schedule_record_ns =
        driven(plan, Box::new(Answering), Model::new(1024, Promise::Linearizable), None, &mut reads)?;

    let set = vec![("members".to_owned(), MEMBERS.to_string())];
    let options = OpenOptions { set, ..OpenOptions::default() };
    let workload = Registry::standard().open("member-update", &options).map_err(|e| said(&e))?.workload;
    let memory = || -> Result<Box<dyn Session>, EngineError> {
        Memory.open(&Place {
            dir: std::path::PathBuf::new(),
            durability: Durability::Os,
            settings: BTreeMap::new(),
        })
    };
    let seed = Seed(1);
    let mut preload = workload.preload(seed);
    let mut stream = workload.stream(seed);
    let model = Model::new(workload.records(), Promise::Linearizable);
    let session = memory().map_err(|e| said(&e))?;
    let total_ns = driven(plan, session, model, Some(&mut preload), &mut stream)?;

    // Made one by one, as the driver does: operations that were all made before would wait in memory, not in a cache.
    let (mut making, mut submitting) = (Vec::new(), Vec::new());
    let mut session = memory().map_err(|e| said(&e))?;
    for op in workload.preload(seed) {
        session.submit(Token(0), &op);
    }
    let mut stream = workload.stream(seed.derive("alone", 0));
    let started = Instant::now();
    while making.is_empty() || (started.elapsed() < plan.step / 4 && !plan.stopped()) {
        let before = cpu_ns();
        for op in stream.by_ref().take(CHUNK as usize) {
            std::hint::black_box(&op);
        }
        let made = cpu_ns();
        for op in stream.by_ref().take(CHUNK as usize) {
            std::hint::black_box(session.submit(Token(0), &op));
        }
        making.push((made - before) / CHUNK as f64);
        submitting.push((cpu_ns() - made) / CHUNK as f64);
    }
    let making_ns = median(making);
    let memory_ns = (median(submitting) - making_ns).max(0.0);
    Ok((!plan.stopped()).then(|| DriverLimit {
        schedule_record_ns,
        verified_ns: (total_ns - memory_ns).max(0.0),
        making_ns,
        memory_ns,
        per_s: 1e9 / total_ns,
    }))
}

/// Nanoseconds per operation of an open loop in which everything is due.
fn driven(
    plan: &LimitsPlan,
    session: Box<dyn Session>,
    model: Model,
    preload: Option<&mut dyn Iterator<Item = Op>>,
    ops: &mut dyn Iterator<Item = Op>,
) -> Result<f64, String> {
    let clock = OsClock::start();
    let mut driver = Driver::new(&clock, session, model, Arc::clone(&plan.stop));
    if let Some(mut preload) = preload {
        closed_loop(&mut driver, &mut preload, 256, Bound::stream());
    }
    let recorder = Recorder::start(clock.now_ns(), None).map_err(|e| e.to_string())?;
    driver.record_to(recorder);
    let mut pace = Pace::new(&Arrivals::Poisson, AT_ONCE_PER_S, Seed(1));
    let mut chunks = Vec::new();
    let started = Instant::now();
    let limit: Duration = plan.step / 4;
    while chunks.is_empty() || (started.elapsed() < limit && !plan.stopped()) {
        let before = cpu_ns();
        open_loop(&mut driver, ops, &mut pace, Bound::operations(CHUNK));
        chunks.push((cpu_ns() - before) / CHUNK as f64);
    }
    let tally = driver.take_tally().all();
    if (tally.wrong > 0 || tally.errors > 0) && !plan.stop.load(Ordering::Relaxed) {
        return Err(format!(
            "{} wrong answers and {} errors of an engine that keeps all",
            tally.wrong, tally.errors
        ));
    }
    let recorder = driver.take_recorder().expect("it was given one above");
    recorder.finish(clock.now_ns()).map_err(|e| e.to_string())?;
    Ok(median(chunks))
}

fn cpu_ns() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as f64 * 1e9 + t.tv_nsec as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Answers every read at once: there is nothing.
struct Answering;

impl Session for Answering {
    fn submit(&mut self, _token: Token, _op: &Op) -> Submit {
        Submit::Answered(Ok(Answer::Value(None)))
    }
}
