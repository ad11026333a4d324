//! The known answer about coordinated omission, in virtual time.
//!
//! An engine answers at once but stands still for D = 200 ms every T = 10 s. Whoever asks on a schedule waits: the
//! response at quantile q is D - (1 - q) T. Whoever asks only after each answer notices one slow answer every ten
//! seconds, and reports a tail that nobody has. A harness that can't tell the two apart measures nothing.
//!
//! The same simulated engine without its stalls, a tenth slower on one side, is what a comparison must find.

use std::cell::Cell;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench_harness::engine::{Answer, Completion, EngineError, EngineStats, Session, Submit, Token};
use bench_harness::load::{Bound, Clock, Driver, Pace, Phase, closed_loop, open_loop};
use bench_harness::measure::{ClassLatency, Recorder};
use bench_harness::report::record::{Better, ComparisonVerdict};
use bench_harness::stats::{judge, paired_ratio, percentile_us, self_pairs};
use engine_env::Wait;
use rand::RngExt as _;
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

/// The stalled engine, asked in both ways for two minutes.
fn both_ways() -> [ClassLatency; 2] {
    let two_minutes = Bound::time(Duration::from_secs(120));
    let (open, _) = driven(50_000, 0, |driver| {
        let mut pace = Pace::new(&Arrivals::Constant, 10_000.0, Seed(1));
        open_loop(driver, &mut puts(), &mut pace, two_minutes)
    });
    let (closed, _) = driven(50_000, 0, |driver| closed_loop(driver, &mut puts(), 1, two_minutes));
    [open, closed]
}

/// The picture of docs/measuring.md. `DRAW=1 cargo test -p bench-harness --test stalled_engine` draws it anew.
#[test]
fn the_picture_in_the_docs_shows_what_this_harness_measures() {
    let picture = spectrum(&both_ways());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/stalled-engine.svg");
    if std::env::var_os("DRAW").is_some() {
        std::fs::write(&file, &picture).expect("the docs folder can be written");
    }
    let drawn = std::fs::read_to_string(&file).expect("the picture is part of the repository");
    assert!(drawn == picture, "docs/stalled-engine.svg is of another harness; draw it anew with DRAW=1");
}

/// Both distributions on an axis of nines.
fn spectrum([open, closed]: &[ClassLatency; 2]) -> String {
    const NINES_MAX: f64 = 5.0;
    const MS_MAX: f64 = 220.0;
    // The plot's area inside a picture of 720 by 400.
    let x = |nines: f64| 70.0 + 560.0 * nines / NINES_MAX;
    let y = |ms: f64| 330.0 - 280.0 * ms / MS_MAX;
    let line = |latency: &ClassLatency, color: &str, dash: &str| {
        let points: Vec<String> = (0..=100)
            .map(|i| {
                let nines = NINES_MAX * f64::from(i) / 100.0;
                let ms = latency.response.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1e6;
                format!("{:.1},{:.1}", x(nines), y(ms))
            })
            .collect();
        format!(
            "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2.5\" stroke-dasharray=\"{dash}\" points=\"{}\"/>\n",
            points.join(" ")
        )
    };
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 400\" font-family=\"sans-serif\" font-size=\"14\">\n\
         <title>An engine that stands still for 200 ms every 10 s, asked on a schedule and in a closed loop</title>\n\
         <rect width=\"720\" height=\"400\" fill=\"#fff\"/>\n",
    );
    let mut text = |x: f64, y: f64, anchor: &str, color: &str, words: &str| {
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{words}</text>"
        );
    };
    text(70.0, 28.0, "start", "#222", "response time, ms: the engine stands still for 200 ms every 10 s");
    for (nines, name) in
        [(0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %"), (5.0, "99.999 %")]
    {
        text(x(nines), 352.0, "middle", "#444", name);
    }
    text(350.0, 384.0, "middle", "#444", "share of the operations that were at least as quick");
    for ms in [0.0, 50.0, 100.0, 150.0, 200.0] {
        text(60.0, y(ms) + 5.0, "end", "#444", &format!("{ms:.0}"));
    }
    let at = |latency: &ClassLatency, q| latency.response.value_at_quantile(q) as f64 / 1e6;
    let told = |latency: &ClassLatency| {
        format!("p99 = {:.3} ms, p99.9 = {:.3} ms", at(latency, 0.99), at(latency, 0.999))
    };
    text(76.0, 112.0, "start", "#0072b2", "on a schedule of 10,000 operations/s:");
    text(76.0, 132.0, "start", "#0072b2", &told(open));
    text(628.0, 298.0, "end", "#b04a00", "one client that waits for each answer:");
    text(628.0, 318.0, "end", "#b04a00", &format!("{}, max = {:.0} ms", told(closed), at(closed, 1.0)));
    for ms in [0.0, 50.0, 100.0, 150.0, 200.0] {
        let _ = writeln!(svg, "<path d=\"M70 {0:.1}H630\" stroke=\"#ddd\"/>", y(ms));
    }
    svg.push_str(&line(open, "#0072b2", "none"));
    svg.push_str(&line(closed, "#b04a00", "7 4"));
    svg.push_str("</svg>\n");
    svg
}

/// A comparison of six ABBA pairs of simulated runs in which one side's work takes `times` as long, and the machine
/// makes each run slower or quicker by a few per cent. `value` runs an engine with that much work.
fn compared(
    seed: Seed,
    sigma: f64,
    times: f64,
    better: Better,
    value: impl Fn(u64, Seed) -> f64,
) -> ComparisonVerdict {
    let mut rng = seed.rng();
    let mut work_ns = |times: f64| {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rng.random::<f64>()).cos();
        (50_000.0 * times * (sigma * normal).exp()) as u64
    };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for pair in 0..6_u64 {
        let operations = seed.derive("block", pair / 2);
        for slow in if pair % 2 == 0 { [true, false] } else { [false, true] } {
            let side = if slow { &mut a } else { &mut b };
            side.push(value(work_ns(if slow { times } else { 1.0 }), operations));
        }
    }
    let mut itself = self_pairs(&a);
    itself.extend(self_pairs(&b));
    let pairs: Vec<(f64, f64)> = a.into_iter().zip(b).collect();
    let of = |pairs: &[(f64, f64)]| paired_ratio(pairs, seed);
    judge(of(&pairs).as_ref(), of(&itself).as_ref(), better)
}

fn median_on_a_schedule(work_ns: u64, seed: Seed) -> f64 {
    let (latency, phase) = driven(0, work_ns, |driver| {
        let mut pace = Pace::new(&Arrivals::Poisson, 4_000.0, seed);
        open_loop(driver, &mut puts(), &mut pace, Bound::time(Duration::from_millis(500)))
    });
    assert!(!phase.saturated(), "{phase:?}");
    percentile_us(&latency.response, 0.5).expect("enough samples")
}

fn throughput_of_eight_clients(work_ns: u64, _: Seed) -> f64 {
    let half_a_second = Bound::time(Duration::from_millis(500));
    let (_, phase) = driven(0, work_ns, |driver| closed_loop(driver, &mut puts(), 8, half_a_second));
    phase.achieved_per_s()
}

#[test]
fn an_engine_that_is_a_tenth_slower_is_found_by_its_median_and_its_throughput_and_an_equal_one_is_not() {
    type Value = fn(u64, Seed) -> f64;
    for (metric, better, value) in [
        ("p50", Better::Lower, median_on_a_schedule as Value),
        ("throughput", Better::Higher, throughput_of_eight_clients as Value),
    ] {
        let verdicts = |times: f64| -> Vec<ComparisonVerdict> {
            (0..6).map(|n| compared(Seed(n), 0.02, times, better, value)).collect()
        };
        let count = |verdicts: &[ComparisonVerdict], word| verdicts.iter().filter(|v| **v == word).count();
        let slower = verdicts(1.10);
        assert!(count(&slower, ComparisonVerdict::BBetter) >= 5, "{metric}: {slower:?}");
        let equal = verdicts(1.0);
        assert!(count(&equal, ComparisonVerdict::NoDifference) >= 5, "{metric}: {equal:?}");
    }
}
