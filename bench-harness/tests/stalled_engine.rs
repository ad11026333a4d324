//! The known answer about coordinated omission, in virtual time.
//!
//! An engine answers at once but stands still for D = 200 ms every T = 10 s. Whoever asks on a schedule waits: the
//! response at quantile q is D - (1 - q) T. Whoever asks only after each answer notices one slow answer every ten
//! seconds, and reports a tail that nobody has. A harness that can't tell the two apart measures nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench_harness::engine::{Answer, Completion, EngineError, EngineStats, Session, Submit, Token};
use bench_harness::load::{Bound, Clock, Driver, Pace, Phase, closed_loop, open_loop};
use bench_harness::measure::{ClassLatency, Recorder};
use bench_harness::stats::percentile_us;
use engine_env::Wait;
use workloads::{Arrivals, Model, Op, Promise, Seed, StreamTag, Value};

const SECOND_NS: u64 = 1_000_000_000;
const STALL_NS: u64 = 200_000_000;
const PERIOD_NS: u64 = 10 * SECOND_NS;

#[derive(Clone, Default)]
struct VirtualClock(Rc<Cell<u64>>);

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }

    fn sleep_until(&self, ns: u64) {
        self.0.set(self.0.get().max(ns));
    }
}

/// Answers `service_ns` after the submission, but nothing while it stands still, at the end of every period.
struct Stalling {
    clock: VirtualClock,
    service_ns: u64,
    /// Nanoseconds of work per operation, one after the other: 0 is an engine without a limit.
    work_ns: u64,
    busy_until_ns: u64,
    in_flight: std::collections::VecDeque<(u64, Token)>,
}

impl Stalling {
    fn awake(at_ns: u64) -> u64 {
        let within = at_ns % PERIOD_NS;
        if within >= PERIOD_NS - STALL_NS { at_ns - within + PERIOD_NS } else { at_ns }
    }
}

impl Session for Stalling {
    fn submit(&mut self, token: Token, _op: &Op) -> Submit {
        self.busy_until_ns = self.busy_until_ns.max(self.clock.now_ns()) + self.work_ns;
        self.in_flight.push_back((Self::awake(self.busy_until_ns + self.service_ns), token));
        Submit::Accepted
    }

    fn poll(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        let now_ns = self.clock.now_ns();
        let wait_ns = match wait {
            Wait::No => 0,
            Wait::AtMost(limit) => limit.as_nanos() as u64,
            Wait::Forever => u64::MAX - now_ns,
        };
        if let Some((done_ns, _)) = self.in_flight.front() {
            self.clock.sleep_until((*done_ns).min(now_ns + wait_ns));
        } else if wait != Wait::Forever {
            self.clock.sleep_until(now_ns + wait_ns);
        }
        while let Some((_, token)) =
            self.in_flight.pop_front_if(|(done_ns, _)| *done_ns <= self.clock.now_ns())
        {
            out.push(Completion { token, result: Ok(Answer::Written) });
        }
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    fn close(self: Box<Self>) -> Result<EngineStats, EngineError> {
        Ok(EngineStats::default())
    }
}

fn puts() -> impl Iterator<Item = Op> {
    let value = Value::generate(StreamTag::of(Seed(1)), 0, 1, 40);
    (0..u32::MAX).map(move |i| Op::put(i % 1_000_000, i.to_le_bytes().as_slice(), value.clone()))
}

fn driven(
    service_ns: u64,
    work_ns: u64,
    run: impl FnOnce(&mut Driver<'_, VirtualClock>) -> Phase,
) -> (ClassLatency, Phase) {
    let clock = VirtualClock::default();
    let session = Stalling {
        clock: clock.clone(),
        service_ns,
        work_ns,
        busy_until_ns: 0,
        in_flight: std::collections::VecDeque::new(),
    };
    let model = Model::new(1_000_000, Promise::Linearizable);
    let mut driver = Driver::new(&clock, Box::new(session), model, Arc::new(AtomicBool::new(false)));
    driver.record_to(Recorder::start(0, None).expect("no file, no error"));
    let phase = run(&mut driver);
    let recorder = driver.take_recorder().expect("it was given one");
    (recorder.finish(clock.now_ns()).expect("no file, no error").all(), phase)
}

fn ms(latency: &ClassLatency, q: f64) -> f64 {
    percentile_us(&latency.response, q).expect("enough samples") / 1000.0
}

#[test]
fn an_open_loop_tells_the_response_of_a_stalling_engine() {
    let (latency, phase) = driven(0, 0, |driver| {
        let mut pace = Pace::new(&Arrivals::Constant, 10_000.0, Seed(1));
        open_loop(driver, &mut puts(), &mut pace, Bound::time(Duration::from_secs(120)))
    });
    assert_eq!(latency.response.len(), 1_200_000);
    for (q, expected_ms) in [(0.99, 100.0), (0.999, 190.0), (0.9999, 199.0)] {
        let got = ms(&latency, q);
        assert!(
            (got - expected_ms).abs() < 0.005 * expected_ms,
            "p{q}: {got} ms, known to be {expected_ms} ms"
        );
    }
    assert!(ms(&latency, 0.5) < 0.2, "half of them don't see a stall");
    // The engine takes everything at once, so the whole response is service; none of it is the driver's.
    assert!(latency.wait.max() < 200_000, "waited {} ns", latency.wait.max());
    assert!(!phase.saturated());
    assert!((phase.achieved_per_s() / 10_000.0 - 1.0).abs() < 0.001, "{phase:?}");
}

#[test]
fn a_closed_loop_reports_a_tail_that_nobody_has() {
    let (latency, _) = driven(50_000, 0, |driver| {
        closed_loop(driver, &mut puts(), 1, Bound::time(Duration::from_secs(120)))
    });
    for q in [0.5, 0.99, 0.999] {
        assert!((ms(&latency, q) - 0.05).abs() < 0.001, "p{q}: {}", ms(&latency, q));
    }
    let max_ms = latency.response.max() as f64 / 1e6;
    assert!((max_ms - 200.0).abs() < 0.5, "only the maximum shows the stall: {max_ms}");
}

#[test]
fn an_engine_that_can_not_keep_up_is_caught_and_one_that_just_can_is_not() {
    // 100 µs of work for each operation: 10,000/s but for the stalls, so 9,800/s.
    let at = |rate: f64| {
        driven(0, 100_000, |driver| {
            let mut pace = Pace::new(&Arrivals::Constant, rate, Seed(1));
            open_loop(driver, &mut puts(), &mut pace, Bound::time(Duration::from_secs(60)))
        })
    };
    let (_, phase) = at(11_000.0);
    assert!(phase.lag_grows && phase.saturated(), "{phase:?}");
    assert!(phase.achieved_per_s() < 0.99 * 11_000.0, "{phase:?}");
    let (_, phase) = at(8_000.0);
    assert!(!phase.lag_grows && !phase.saturated(), "{phase:?}");
    assert!(phase.achieved_per_s() > 0.99 * 8_000.0, "{phase:?}");
}
