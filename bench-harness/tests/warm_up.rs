//! The warm-up: it lasts until the engine is steady, has an end, says how it ended, and changes nothing that is measured.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench_harness::engine::{Answer, Engine, EngineError, Place, Session, Submit, Token};
use bench_harness::load::Bound;
use bench_harness::measure::SteadyState;
use bench_harness::report::record::Measurement;
use bench_harness::run::{Arriving, RunOutcome, RunPlan, run_once};
use engine_env::Durability;
use engine_env::rng::Seed;
use workloads::{Access, Op, OpenOptions, Registry};

/// How long an operation takes, by the time since the engine was opened.
type Service = fn(Duration) -> Duration;

/// Takes its time for writes, on the caller's thread, and forgets everything; reads it doesn't know.
struct Paced {
    service: Service,
    seen: Arc<Mutex<Vec<(u32, usize)>>>,
}

impl Engine for Paced {
    fn name(&self) -> &str {
        "paced"
    }

    fn about(&self) -> &str {
        "takes as long as it is told"
    }

    fn open(&self, _place: &Place) -> Result<Box<dyn Session>, EngineError> {
        let opened = Instant::now();
        Ok(Box::new(PacedSession { service: self.service, opened, seen: Arc::clone(&self.seen) }))
    }
}

struct PacedSession {
    service: Service,
    opened: Instant,
    seen: Arc<Mutex<Vec<(u32, usize)>>>,
}

impl Session for PacedSession {
    fn submit(&mut self, _token: Token, op: &Op) -> Submit {
        if op.access() != Access::Write {
            return Submit::Unsupported;
        }
        let value = op.value.as_ref().map_or(0, |v| v.as_bytes().len());
        self.seen.lock().expect("nobody panicked with it").push((op.key_index, value));
        let begun = Instant::now();
        let takes = (self.service)(begun.duration_since(self.opened));
        while begun.elapsed() < takes {
            std::hint::spin_loop();
        }
        Submit::Answered(Ok(Answer::Written))
    }
}

const WARMUP: Duration = Duration::from_millis(120);

/// The run, and the operations of its measured phase.
fn run(service: Service, arriving: Arriving) -> (RunOutcome, Vec<(u32, usize)>) {
    let dir = tempfile::tempdir().expect("a folder");
    let set = vec![("members".to_owned(), "50".to_owned())];
    let workload = Registry::standard()
        .open("member-update", &OpenOptions { set, ..OpenOptions::default() })
        .expect("it comes with the workbench")
        .workload;
    let seen = Arc::default();
    let engine = Paced { service, seen: Arc::clone(&seen) };
    let plan = RunPlan {
        engine: &engine,
        workload: &*workload,
        durability: Durability::Os,
        settings: &BTreeMap::new(),
        arriving,
        warmup: WARMUP,
        bound: Bound::operations(300),
        seed: Seed(5),
        dir: dir.path().join("data"),
        histograms: None,
        memory_per_s: None,
    };
    let outcome = run_once(plan, &Arc::new(AtomicBool::new(false))).expect("the run is fine");
    let written = outcome.tally.all().answered as usize;
    let seen = std::mem::take(&mut *seen.lock().expect("nobody panicked with it"));
    (outcome, seen[seen.len() - written..].to_vec())
}

#[test]
fn an_engine_that_gets_quicker_is_waited_for_and_what_is_measured_stays_the_same() {
    let steady: Service = |_| Duration::from_micros(50);
    // Ten times slower at first, and steady after a fifth of a second: longer than the asked warm-up.
    let warming: Service = |age| {
        let left = Duration::from_millis(200).saturating_sub(age);
        Duration::from_micros(50) + left / 400
    };
    let closed = Arriving::Closed { clients: 2 };
    // Steps of thirty milliseconds are uneven on a busy machine, so a few runs are given their chance.
    let settled = |service| {
        (0..8)
            .map(|_| run(service, closed))
            .find(|(outcome, _)| outcome.steady.as_ref().is_some_and(SteadyState::reached))
            .expect("one of eight runs gets steady")
    };
    let (_, of_quick) = settled(steady);
    let (warmed, of_warmed) = settled(warming);
    let state = warmed.steady.as_ref().expect("there was a warm-up");
    assert!(state.steps() > 4 && warmed.warmup_s > 0.15, "{state:?} {}", warmed.warmup_s);
    assert!(of_quick.len() > 50);
    assert_eq!(of_quick, of_warmed, "a longer warm-up must not change what is measured");
    let phases: Vec<&str> = warmed.phases.iter().map(|p| p.phase.as_str()).collect();
    assert_eq!(phases, ["preload", "warm-up", "measured"]);
    assert!(warmed.phases.iter().all(|p| p.operations >= 50 && p.seconds > 0.0), "{:?}", warmed.phases);
}

#[test]
fn an_engine_that_never_settles_is_measured_after_three_times_the_asked_warm_up_and_the_record_says_so() {
    // Slower by another tenth every twentieth of a second, for ever.
    let aging: Service = |age| Duration::from_nanos((20_000.0 * (age.as_secs_f64() * 4.0).exp2()) as u64);
    let (outcome, _) = run(aging, Arriving::Closed { clients: 2 });
    assert!(!outcome.steady.as_ref().expect("there was a warm-up").reached());
    let most = WARMUP.as_secs_f64() * 3.0;
    assert!((most * 0.95..most * 3.0).contains(&outcome.warmup_s), "{}", outcome.warmup_s);
    let record = &outcome.measurements(&Measurement::default())[0];
    assert_eq!(record.steady, Some(false));
    assert!(record.notes.iter().any(|note| note.contains("no steady state")), "{:?}", record.notes);
}

/// Takes everything after its preload and answers nothing.
struct Silent;

impl Engine for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    fn about(&self) -> &str {
        "stops answering"
    }

    fn open(&self, _place: &Place) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(SilentSession { answers_left: 50 }))
    }
}

struct SilentSession {
    answers_left: u32,
}

impl Session for SilentSession {
    fn submit(&mut self, _token: Token, _op: &Op) -> Submit {
        match self.answers_left.checked_sub(1) {
            Some(left) => {
                self.answers_left = left;
                Submit::Answered(Ok(Answer::Written))
            }
            None => Submit::Accepted,
        }
    }
}

// The driver gave up on the warm-up's operations, went on, and took their late answers for those of the measured phase.
#[test]
#[ignore = "waits half a minute until the driver gives up"]
fn an_engine_that_stops_answering_in_its_warm_up_is_saturated_and_not_asked_further() {
    let dir = tempfile::tempdir().expect("a folder");
    let set = vec![("members".to_owned(), "50".to_owned())];
    let workload = Registry::standard()
        .open("member-update", &OpenOptions { set, ..OpenOptions::default() })
        .expect("it comes with the workbench")
        .workload;
    let plan = RunPlan {
        engine: &Silent,
        workload: &*workload,
        durability: Durability::Os,
        settings: &BTreeMap::new(),
        arriving: Arriving::Open { rate_per_s: 1000.0 },
        warmup: WARMUP,
        bound: Bound::time(Duration::from_secs(5)),
        seed: Seed(5),
        dir: dir.path().join("data"),
        histograms: None,
        memory_per_s: None,
    };
    let outcome = run_once(plan, &Arc::new(AtomicBool::new(false))).expect("the run is fine");
    assert!(outcome.saturated && outcome.phase.unanswered > 0, "{:?}", outcome.phase);
    assert!(outcome.tally.all().errors > 0);
    let phases: Vec<&str> = outcome.phases.iter().map(|p| p.phase.as_str()).collect();
    assert_eq!(phases, ["preload", "warm-up"]);
    assert!(outcome.latency.classes.is_empty());
}
