//! From an update to its visibility, in virtual time: the known delay is what is told, and a subscriber that loses,
//! repeats or disorders writes is told on.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench_harness::engine::{Answer, Session, Submit, Token, Visible};
use bench_harness::load::{Bound, Clock, Driver, Pace, SightingTally, open_loop};
use bench_harness::measure::{LatencyRecord, Recorder};
use bench_harness::stats::percentile_us;
use workloads::{Arrivals, Fingerprint, Model, Op, Promise, Seed, StreamTag, Value};

const DELAY_NS: u64 = 3_000_000;
const WRITES: u64 = 20_000;

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

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Every so many-th write is never shown.
    Loses(u64),
    /// Every so many-th write is shown twice.
    Repeats(u64),
    /// Every so many-th write is shown after the one behind it.
    Swaps(u64),
}

/// Answers at once; its subscriber sees each write a while later.
struct Followed {
    clock: VirtualClock,
    fault: Fault,
    writes: u64,
    on_the_way: VecDeque<(u64, Fingerprint)>,
}

impl Session for Followed {
    fn submit(&mut self, _token: Token, op: &Op) -> Submit {
        let write = op.value.as_ref().expect("only writes are asked").fingerprint();
        self.writes += 1;
        let sighting = (self.clock.now_ns() + DELAY_NS, write);
        match self.fault {
            Fault::Loses(every) if self.writes.is_multiple_of(every) => {}
            Fault::Repeats(every) if self.writes.is_multiple_of(every) => {
                self.on_the_way.extend([sighting, sighting]);
            }
            Fault::Swaps(every) if self.writes % every == 1 && self.writes > 1 => {
                let before = self.on_the_way.pop_back().expect("a write every 100 us, shown after 3 ms");
                self.on_the_way.extend([sighting, (sighting.0, before.1)]);
            }
            _ => self.on_the_way.push_back(sighting),
        }
        Submit::Answered(Ok(Answer::Written))
    }

    fn has_subscriber(&self) -> bool {
        true
    }

    fn visible(&mut self, out: &mut Vec<Visible>) {
        while let Some((at_ns, write)) = self.on_the_way.pop_front_if(|(at, _)| *at <= self.clock.now_ns()) {
            out.push(Visible { write, at_ns });
        }
    }
}

fn followed(fault: Fault) -> (LatencyRecord, SightingTally) {
    let clock = VirtualClock::default();
    let session = Followed { clock: clock.clone(), fault, writes: 0, on_the_way: VecDeque::new() };
    let model = Model::new(1, Promise::Linearizable);
    let mut driver = Driver::new(&clock, Box::new(session), model, Arc::new(AtomicBool::new(false)));
    driver.record_to(Recorder::start(0, None).expect("no file, no error"));
    // One key, so that every pair of writes has an order.
    let mut ops = (0..WRITES)
        .map(|version| Op::put(0, "member", Value::generate(StreamTag::of(Seed(1)), 0, version, 40)));
    let mut pace = Pace::new(&Arrivals::Constant, 10_000.0, Seed(1));
    open_loop(&mut driver, &mut ops, &mut pace, Bound::operations(WRITES));
    assert!(clock.now_ns() > Duration::from_secs(2).as_nanos() as u64 - 1_000_000, "all of them were due");
    let recorder = driver.take_recorder().expect("it was given one");
    let record = recorder.finish(clock.now_ns()).expect("no file, no error");
    (record, driver.take_tally().sightings)
}

#[test]
fn the_time_to_visibility_is_the_delay_and_the_acknowledgement_keeps_its_own() {
    let (record, tally) = followed(Fault::None);
    assert_eq!(tally, SightingTally { seen: WRITES, ..SightingTally::default() });
    let visible = record.visible.as_ref().expect("a subscriber was there");
    for q in [0.5, 0.99] {
        let ms = percentile_us(&visible.response, q).expect("enough samples") / 1e3;
        assert!((ms - 3.0).abs() < 0.01, "p{q}: {ms} ms, known to be 3 ms");
    }
    assert_eq!(visible.response.len(), WRITES);
    assert_eq!(record.all().response.len(), WRITES, "sightings are no operations");
    assert!(record.all().response.max() < 1_000_000);
    assert!(record.series.iter().any(|row| row.operation == "visible"));
}

#[test]
fn lost_repeated_and_disordered_writes_are_told() {
    let (_, tally) = followed(Fault::Loses(100));
    assert_eq!((tally.seen, tally.unseen), (WRITES - WRITES / 100, WRITES / 100));
    let (_, tally) = followed(Fault::Repeats(100));
    assert_eq!((tally.seen, tally.again), (WRITES, WRITES / 100));
    let (_, tally) = followed(Fault::Swaps(100));
    assert_eq!((tally.seen, tally.out_of_order), (WRITES, WRITES / 100 - 1));
}
