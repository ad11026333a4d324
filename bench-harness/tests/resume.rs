//! A comparison that was ended goes on after its last complete run, and comes to the same end.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bench_harness::engine::{Answer, Engine, EngineError, Place, Session, Submit, Token};
use bench_harness::experiments::{
    Campaign, CampaignSetup, ComparePlan, Effort, Excursions, Schedule, compare,
};
use bench_harness::progress::Progress;
use bench_harness::report::record::{Measurement, Plan, Run};
use bench_harness::result_folder::ResultFolder;
use engine_env::Durability;
use workloads::{Access, Op, OpenOptions, Registry, Workload};

/// Opens of both engines, and the one that ends the campaign.
#[derive(Clone)]
struct Opens {
    count: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    stop_at: u32,
}

impl Opens {
    fn ending_at(stop_at: u32) -> Self {
        Self { count: Arc::default(), stop: Arc::default(), stop_at }
    }
}

struct Counted {
    name: &'static str,
    opens: Opens,
}

impl Engine for Counted {
    fn name(&self) -> &str {
        self.name
    }

    fn about(&self) -> &str {
        "a hash map that counts how often it was opened"
    }

    fn open(&self, _place: &Place) -> Result<Box<dyn Session>, EngineError> {
        let opened = self.opens.count.fetch_add(1, Ordering::Relaxed) + 1;
        if opened == self.opens.stop_at {
            self.opens.stop.store(true, Ordering::Relaxed);
        }
        Ok(Box::new(Table::default()))
    }
}

#[derive(Default)]
struct Table(HashMap<Vec<u8>, Vec<u8>>);

impl Session for Table {
    fn submit(&mut self, _token: Token, op: &Op) -> Submit {
        Submit::Answered(Ok(match (op.access(), &op.value) {
            (Access::Read, _) => Answer::Value(self.0.get(&*op.key).cloned()),
            (_, None) => Answer::Deleted(self.0.remove(&*op.key).is_some()),
            (_, Some(value)) => {
                self.0.insert(op.key.to_vec(), value.as_bytes().to_vec());
                Answer::Written
            }
        }))
    }
}

fn workload() -> Arc<dyn Workload> {
    let set = vec![("members".to_owned(), "50".to_owned())];
    Registry::standard()
        .open("member-update", &OpenOptions { set, ..OpenOptions::default() })
        .expect("it comes with the workbench")
        .workload
}

/// Makes the comparison into `out` until it ends or is ended; how often an engine was opened, and the record.
fn compared(out: &Path, stop_at: u32) -> (u32, Run) {
    compared_at(out, stop_at, vec![Durability::Os])
}

fn compared_at(out: &Path, stop_at: u32, durabilities: Vec<Durability>) -> (u32, Run) {
    let earlier = Run::read(out).ok();
    let folder = match &earlier {
        Some(_) => ResultFolder::keep(out),
        None => ResultFolder::claim(out),
    };
    let opens = Opens::ending_at(stop_at);
    let setup = CampaignSetup {
        folder: folder.expect("writable"),
        data: out.with_extension("data"),
        seed: 5,
        quick: false,
        command: vec!["workbench".to_owned()],
        settings: BTreeMap::new(),
    };
    let mut campaign = Campaign::new(setup, Arc::clone(&opens.stop), Progress::silent());
    let [a, b] = ["left", "right"].map(|name| Counted { name, opens: opens.clone() });
    let short = Duration::from_millis(20);
    let plan = ComparePlan {
        engines: vec![&a, &b],
        floor: None,
        workloads: vec![workload()],
        durabilities,
        schedule: Schedule { pairs: 2, probe: short, run: (short, short), ..Effort::Smoke.schedule() },
        clients: 4,
        rate_per_s: None,
        excursions: Excursions::default(),
    };
    let key = plan.key(&campaign);
    if let Some(earlier) = earlier {
        assert_eq!(
            earlier.plan,
            Some(Plan { key: key.clone(), complete: false }),
            "the same plan, not ended"
        );
        campaign = campaign.continued(earlier);
    }
    campaign.announce(Plan { key, complete: false });
    compare(&mut campaign, &plan).expect("it ends, early or not");
    (opens.count.load(Ordering::Relaxed), Run::read(out).expect("saved"))
}

/// What identifies each run.
fn identities(run: &Run) -> Vec<String> {
    let id = |m: &Measurement| format!("{} {} {:?} {} {:?}", m.experiment, m.engine, m.pair, m.order, m.seed);
    run.measurements.iter().filter(|m| m.operation == "all").map(id).collect()
}

#[test]
fn a_second_invocation_makes_only_the_runs_that_are_missing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (opened, whole) = compared(&dir.path().join("whole"), u32::MAX);
    let all = u32::try_from(identities(&whole).len()).expect("a few");
    // A closed loop of each engine, and two pairs.
    assert_eq!((opened, all), (6, 6));

    let out = dir.path().join("parts");
    let (opened, cut) = compared(&out, 4);
    assert_eq!((opened, identities(&cut).len()), (4, 3), "the fourth was ended");
    assert!(cut.interrupted && cut.plan.as_ref().is_some_and(|p| !p.complete));
    // Ended again in its first new run, then let through.
    let (opened, again) = compared(&out, 1);
    assert_eq!((opened, identities(&again)), (1, identities(&cut)), "nothing is lost");
    let (opened, done) = compared(&out, u32::MAX);
    assert_eq!(opened, all - 3);
    assert_eq!(identities(&done), identities(&whole), "the same runs in the same order");
    assert_eq!(done.measurements[..cut.measurements.len()], cut.measurements, "kept as they were");
    assert!(!done.interrupted && done.plan.as_ref().is_some_and(|p| p.complete));
    assert_eq!(done.notes.iter().filter(|n| n.starts_with("Continued")).count(), 2, "{:?}", done.notes);
}

/// Who ends a long comparison early shall have what was registered before, whole: not a little of everything.
#[test]
fn the_pairs_that_decide_come_first_and_what_was_not_made_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let both = || vec![Durability::Os, Durability::Synced];
    let (opened, whole) = compared_at(&dir.path().join("whole"), u32::MAX, both());
    // A closed loop of each engine at each durability; two pairs at the first, one at the other.
    assert_eq!(opened, 10);
    let out = dir.path().join("parts");
    let (_, cut) = compared_at(&out, 7, both());
    let made: Vec<_> = cut.measurements.iter().filter(|m| m.operation == "all").collect();
    assert_eq!(made.len(), 6);
    assert!(made.iter().all(|m| m.durability == "os"), "{:?}", identities(&cut));
    assert_eq!(made.iter().filter(|m| m.pair.is_some()).count(), 4, "both pairs of both engines");
    let named = |begins: &str| cut.not_measured.iter().filter(|n| n.starts_with(begins)).count();
    assert_eq!((named("Not completed"), named("Not begun")), (1, 0), "{:?}", cut.not_measured);
    let (_, cut) = compared_at(&dir.path().join("earlier"), 4, both());
    let named = |begins: &str| cut.not_measured.iter().filter(|n| n.starts_with(begins)).count();
    assert_eq!((named("Not completed"), named("Not begun")), (1, 1), "{:?}", cut.not_measured);
    let (_, done) = compared_at(&out, u32::MAX, both());
    assert_eq!(identities(&done), identities(&whole), "the same runs in the same order");
}
