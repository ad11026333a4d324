//! An engine that answers wrongly is caught, whatever kind of wrong, and its run has no numbers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bench_harness::engine::{Answer, Completion, Engine, EngineError, Place, Session, Submit, Token};
use bench_harness::floor::{DriverLimited, memory_per_s};
use bench_harness::load::Bound;
use bench_harness::report::record::{Measurement, Percentiles};
use bench_harness::run::{Arriving, RunOutcome, RunPlan, run_once};
use engine_env::rng::Seed;
use engine_env::{Durability, Wait};
use workloads::{Access, Op, OpenOptions, Registry, Workload};

/// How an engine lies, on every so many-th read.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    None,
    /// A bit of the value flips.
    Damage,
    /// The value from before the last write.
    Old,
    /// Another key's value.
    OtherKey,
    /// There is no such key.
    Forgets,
}

struct Liar {
    lie: Lie,
    every: u64,
}

impl Engine for Liar {
    fn name(&self) -> &str {
        "liar"
    }

    fn about(&self) -> &str {
        "a hash map that lies"
    }

    fn open(&self, _place: &Place) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Lying { lie: self.lie, every: self.every, reads: 0, values: HashMap::new(), last: None }))
    }
}

/// A value, and the one before it.
type Pages = (Vec<u8>, Option<Vec<u8>>);

struct Lying {
    lie: Lie,
    every: u64,
    reads: u64,
    values: HashMap<Vec<u8>, Pages>,
    last: Option<Vec<u8>>,
}

impl Session for Lying {
    fn submit(&mut self, _token: Token, op: &Op) -> Submit {
        let key = op.key.to_vec();
        Submit::Answered(Ok(match op.access() {
            Access::Modify | Access::Scan => return Submit::Unsupported,
            Access::Delete => Answer::Deleted(self.values.remove(&key).is_some()),
            Access::Write => {
                let value = op.value.as_ref().expect("a write has a value").as_bytes().to_vec();
                let before = self.values.remove(&key).map(|(value, _)| value);
                self.values.insert(key, (value, before));
                Answer::Written
            }
            Access::Read => {
                self.reads += 1;
                let Some((value, before)) = self.values.get(&key) else {
                    return Submit::Answered(Ok(Answer::Value(None)));
                };
                let mut answer = Some(value.clone());
                if self.reads.is_multiple_of(self.every) {
                    match self.lie {
                        Lie::None => {}
                        Lie::Forgets => answer = None,
                        Lie::Old => answer = before.clone().or(answer),
                        Lie::OtherKey => answer = self.last.clone().or(answer),
                        Lie::Damage => {
                            if let Some(last) = answer.as_mut().and_then(|value| value.last_mut()) {
                                *last ^= 1;
                            }
                        }
                    }
                }
                self.last = Some(value.clone());
                Answer::Value(answer)
            }
        }))
    }
}

/// Five hundred members.
fn few_members() -> Arc<dyn Workload> {
    let set = vec![("members".to_owned(), "500".to_owned())];
    Registry::standard()
        .open("member-update", &OpenOptions { set, ..OpenOptions::default() })
        .expect("it comes with the workbench")
        .workload
}

fn outcome(lie: Lie) -> RunOutcome {
    outcome_beside(lie, None)
}

/// A run that is held against what memory sustains.
fn outcome_beside(lie: Lie, memory_per_s: Option<f64>) -> RunOutcome {
    let dir = tempfile::tempdir().expect("a folder");
    let plan = RunPlan {
        engine: &Liar { lie, every: 50 },
        workload: &*few_members(),
        durability: Durability::Os,
        settings: &BTreeMap::new(),
        arriving: Arriving::Closed { clients: 8 },
        warmup: Duration::ZERO,
        bound: Bound::operations(20_000),
        seed: Seed(7),
        dir: dir.path().join("data"),
        histograms: None,
        memory_per_s,
    };
    run_once(plan, &Arc::new(AtomicBool::new(false))).expect("the run itself is fine")
}

#[test]
fn an_honest_engine_has_numbers() {
    let outcome = outcome(Lie::None);
    assert_eq!(outcome.tally.all().wrong, 0, "{:?}", outcome.tally.wrong_examples);
    let all = &outcome.measurements(&Measurement::default())[0];
    assert_eq!((all.operation.as_str(), all.count, all.wrong_answers), ("all", 20_000, 0));
    assert!(all.response_us.p99.is_some());
    assert!(outcome.tally.verified > 10_000);
}

#[test]
fn a_wrong_or_too_old_value_is_caught_and_the_numbers_are_withheld() {
    for (lie, words) in [
        (Lie::Damage, "damaged"),
        (Lie::Old, "too old"),
        (Lie::OtherKey, "belongs to key"),
        (Lie::Forgets, "missing"),
    ] {
        let outcome = outcome(lie);
        assert!(outcome.tally.all().wrong > 0, "{words}: not caught");
        let example = outcome.tally.wrong_examples.first().expect("an example is kept");
        assert!(example.contains(words), "{example}");
        assert!(outcome.tally.wrong_examples.len() <= 5);
        for m in outcome.measurements(&Measurement::default()) {
            assert!(m.wrong_answers > 0, "every record of the run says so, also that of {}", m.operation);
            assert_eq!(m.response_us, Percentiles::default(), "{} has numbers", m.operation);
            assert_eq!(m.service_us, Percentiles::default());
        }
    }
}

/// Takes one operation at a time, for two milliseconds each.
struct Slow;

impl Engine for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn about(&self) -> &str {
        "keeps nothing, and takes its time"
    }

    fn open(&self, _place: &Place) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(Slowly(None)))
    }
}

struct Slowly(Option<(Instant, Token)>);

impl Session for Slowly {
    fn submit(&mut self, token: Token, _op: &Op) -> Submit {
        if self.0.is_some() {
            return Submit::Full;
        }
        self.0 = Some((Instant::now() + Duration::from_millis(2), token));
        Submit::Accepted
    }

    fn poll(&mut self, _wait: Wait, out: &mut Vec<Completion>) {
        if let Some((_, token)) = self.0.take_if(|(done, _)| *done <= Instant::now()) {
            out.push(Completion { token, result: Ok(Answer::Written) });
        }
    }
}

#[test]
fn an_engine_that_can_not_keep_up_has_a_throughput_and_no_percentiles() {
    let dir = tempfile::tempdir().expect("a folder");
    let set = ["members=1", "mix.read=0", "mix.update=1", "mix.delete=0"]
        .map(|s| s.split_once('=').expect("key=value"));
    let set = set.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let workload = Registry::standard()
        .open("member-update", &OpenOptions { set, ..OpenOptions::default() })
        .expect("it comes with the workbench")
        .workload;
    let plan = RunPlan {
        engine: &Slow,
        workload: &*workload,
        durability: Durability::Os,
        settings: &BTreeMap::new(),
        arriving: Arriving::Open { rate_per_s: 2_000.0 },
        warmup: Duration::ZERO,
        bound: Bound::time(Duration::from_millis(500)),
        seed: Seed(7),
        dir: dir.path().join("data"),
        histograms: None,
        memory_per_s: None,
    };
    let outcome = run_once(plan, &Arc::new(AtomicBool::new(false))).expect("the run itself is fine");
    assert!(outcome.saturated && outcome.phase.achieved_per_s() <= 500.0, "{:?}", outcome.phase);
    for m in outcome.measurements(&Measurement::default()) {
        assert!(m.saturated && !m.counts() && m.count > 0);
        assert_eq!(m.response_us, Percentiles::default(), "{} has numbers", m.operation);
        assert_eq!((m.service_us, m.wait_us), (Percentiles::default(), Percentiles::default()));
    }
}

#[test]
fn a_run_near_what_memory_sustains_measures_the_driver_and_has_no_percentiles() {
    let dir = tempfile::tempdir().expect("a folder");
    let (length, stop) = (Duration::from_millis(100), Arc::new(AtomicBool::new(false)));
    let floor = memory_per_s(&*few_members(), 8, length, Seed(7), dir.path().join("floor"), &stop)
        .expect("the run itself is fine")
        .expect("memory has every operation of it");
    assert!(floor > 1000.0 && !dir.path().join("floor").exists(), "{floor}");
    let (near, far) = (outcome_beside(Lie::None, Some(1.0)), outcome_beside(Lie::None, Some(1e12)));
    assert_eq!(near.driver_limited, Some(DriverLimited::NearMemory { memory_per_s: 1.0 }));
    let all = &near.measurements(&Measurement::default())[0];
    assert!(all.driver_limited && !all.counts() && all.memory_per_s == Some(1.0));
    assert_eq!(all.response_us, Percentiles::default());
    assert!(all.notes.iter().any(|n| n.contains("limited by the driver")), "{:?}", all.notes);
    assert!(far.driver_limited.is_none() && far.measurements(&Measurement::default())[0].counts());
}

#[test]
fn a_data_folder_that_is_there_is_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    std::fs::write(data.join("precious"), "x").expect("written");
    let workload = Registry::standard().by_name("member-update").expect("it comes with the workbench");
    let plan = RunPlan {
        engine: &Liar { lie: Lie::None, every: 1 },
        workload: &*workload,
        durability: Durability::Os,
        settings: &BTreeMap::new(),
        arriving: Arriving::Closed { clients: 1 },
        warmup: Duration::ZERO,
        bound: Bound::operations(1),
        seed: Seed(1),
        dir: data.clone(),
        histograms: None,
        memory_per_s: None,
    };
    let error = run_once(plan, &Arc::new(AtomicBool::new(false))).expect_err("it is there").to_string();
    assert!(error.contains("there already") && error.contains("--dir"), "{error}");
    assert!(data.join("precious").exists());
}
