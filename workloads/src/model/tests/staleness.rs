//! The weaker promises: what they let pass, what they still refuse, and how the age of an answer is measured.

use super::*;

const EVENTUAL: Promise = Promise::Prefix { read_your_writes: false };
const OWN_WRITES: Promise = Promise::Prefix { read_your_writes: true };

fn fresh_or_stale(model: &mut Model, answer: Option<&Op>) -> Result<Freshness, Why> {
    let handle = model.read_begins(0);
    model.read_ends(handle, answer.and_then(bytes).as_deref()).map_err(|wrong| wrong.why)
}

/// Versions 1 to `last` of key 0, each acknowledged at its version times a thousand nanoseconds.
fn written(promise: Promise, last: u64) -> Model {
    let mut model = Model::new(1, promise);
    for version in 1..=last {
        let handle = model.write_begins(&put(0, version));
        model.advance_to(version * 1000);
        model.write_ends(handle, true);
    }
    model
}

#[test]
fn a_prefix_may_be_old_is_measured_and_never_goes_back() {
    let mut model = written(EVENTUAL, 4);
    model.advance_to(10_000);
    let stale = |versions, behind_ns| Ok(Freshness::Stale { versions, behind_ns });
    assert_eq!(fresh_or_stale(&mut model, None), stale(4, 9000), "the empty prefix");
    assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 2))), stale(2, 7000), "replaced at 3000");
    assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 1))), Err(Why::TooOld), "2 was shown");
    assert_eq!(fresh_or_stale(&mut model, None), Err(Why::Missing));
    assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 4))), Ok(Freshness::Fresh));
    assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 3))), Err(Why::TooOld));
    assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 5))), Err(Why::NeverWritten));
    let counted = model.staleness();
    assert_eq!((counted.answers, counted.stale), (7, 4), "answers that were too old are stale as well");
    assert_eq!((counted.versions_sum, counted.versions_max), (6, 4));
    assert_eq!((counted.behind_ns_sum, counted.behind_ns_max), (16_000, 9000));
    assert_eq!(counted.since(counted).stale, 0);
}

#[test]
fn reading_ones_own_writes_leaves_nothing_old() {
    let mut model = written(OWN_WRITES, 4);
    for old in [None, Some(&put(0, 3))] {
        assert!(fresh_or_stale(&mut model, old).is_err());
    }
    assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 4))), Ok(Freshness::Fresh));
}

#[test]
fn a_prefix_shows_an_unacknowledged_write_for_good_or_not_at_all() {
    for promise in [EVENTUAL, OWN_WRITES] {
        let mut model = written(promise, 1);
        let lost = model.write_begins(&put(0, 2));
        model.write_ends(lost, false);
        assert!(fresh_or_stale(&mut model, Some(&put(0, 1))).is_ok());
        assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 2))), Ok(Freshness::Fresh));
        assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 1))), Err(Why::TooOld));
    }
}

#[test]
fn a_partial_quorum_may_go_back_and_forth_but_invents_nothing() {
    let mut model = written(Promise::PartialQuorum, 3);
    model.advance_to(5000);
    for (version, versions) in [(1, 2), (3, 0), (2, 1), (1, 2)] {
        let freshness = fresh_or_stale(&mut model, Some(&put(0, version))).expect("it was written");
        let lacked = if let Freshness::Stale { versions, .. } = freshness { versions } else { 0 };
        assert_eq!(lacked, versions, "version {version}");
    }
    assert_eq!(
        fresh_or_stale(&mut model, None),
        Ok(Freshness::Stale { versions: 3, behind_ns: 4000 }),
        "a replica may have missed all of them"
    );
    assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 4))), Err(Why::NeverWritten));
    assert_eq!(fresh_or_stale(&mut model, Some(&put(1, 2))), Err(Why::OtherKey { key_index: 1 }));
}

#[test]
fn a_quorum_that_answers_too_old_is_wrong_and_counted_as_stale() {
    let mut model = written(Promise::Quorum, 2);
    assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 1))), Err(Why::TooOld));
    assert_eq!(model.staleness().stale, 1);
}

/// A view may be behind from the start, so a preload leaves every key open to "not there"; that must not cost a
/// state of its own for each of a million keys.
#[test]
fn a_preload_that_nobody_has_read_rests_and_may_still_be_missed() {
    for promise in [EVENTUAL, Promise::PartialQuorum] {
        let mut model = Model::new(1000, promise);
        for key in 0..1000 {
            model.advance_to(u64::from(key));
            write(&mut model, &put(key, 0));
        }
        assert!(model.is_at_rest() && model.busy.len() == 1, "{promise:?}");
        model.advance_to(5000);
        let missed = Freshness::Stale { versions: 1, behind_ns: 5000 - 999 };
        for key in [0, 63, 64, 999] {
            let handle = model.read_begins(key);
            assert_eq!(model.read_ends(handle, None), Ok(missed), "{promise:?}");
            let handle = model.read_begins(key);
            assert_eq!(model.read_ends(handle, bytes(&put(key, 0)).as_deref()), Ok(Freshness::Fresh));
            assert_eq!(read(&mut model, key, None).is_ok(), promise == Promise::PartialQuorum);
        }
        assert!(model.is_at_rest(), "{promise:?}");
    }
}

#[test]
fn a_key_that_is_written_and_never_read_keeps_its_newest_writes_only() {
    for promise in [EVENTUAL, Promise::PartialQuorum] {
        let mut model = written(promise, 5000);
        assert!(model.busy[0].candidates.len() <= promise.kept_max());
        let Ok(Freshness::Stale { versions, .. }) = fresh_or_stale(&mut model, Some(&put(0, 7))) else {
            panic!("{promise:?}: known by its label, and old");
        };
        assert_eq!(versions as usize, promise.kept_max(), "at least so many");
        assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 5001))), Err(Why::NeverWritten));
        assert_eq!(fresh_or_stale(&mut model, Some(&put(1, 7))), Err(Why::OtherKey { key_index: 1 }));
        assert_eq!(model.unjudged(), 0);
        assert_eq!(fresh_or_stale(&mut model, None), Ok(Freshness::Fresh));
        assert_eq!(model.unjudged(), 1, "no label says from when the absence is");
        assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 5000))), Ok(Freshness::Fresh));
        if promise == EVENTUAL {
            assert!(model.is_at_rest(), "what was shown settles the key");
            assert_eq!(fresh_or_stale(&mut model, Some(&put(0, 4999))), Err(Why::TooOld));
        }
    }
}

/// A log of writes and a view that has applied some prefix of it.
struct View {
    log: Vec<Op>,
    applied: usize,
}

impl View {
    fn answer(&self, key: u32) -> (usize, Option<Vec<u8>>) {
        let newest = self.log[..self.applied].iter().rposition(|op| op.key_index == key);
        newest.map_or((0, None), |at| (at + 1, bytes(&self.log[at])))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_lagging_view_never_trips_it_and_its_lag_is_counted_exactly(seed in any::<u64>(), keys in 1_u32..4) {
        let mut rng = Seed(seed).rng();
        let mut model = Model::new(u64::from(keys), EVENTUAL);
        let mut view = View { log: Vec::new(), applied: 0 };
        // One writer per key: the write in flight, and how many of each key are acknowledged, by place in the log.
        let mut writing: Vec<Option<(WriteHandle, Op, bool)>> = (0..keys).map(|_| None).collect();
        let mut acknowledged: Vec<Vec<usize>> = vec![Vec::new(); keys as usize];
        let mut reading: Vec<(u32, ReadHandle, Vec<usize>)> = Vec::new();
        let (mut stale, mut versions) = (0, 0);
        for step in 1..400_u64 {
            let key = rng.random_range(0..keys);
            match (rng.random_range(0..8), &mut writing[key as usize]) {
                (0..=2, slot @ None) => {
                    let op = if rng.random_range(0..6) == 0 { Op::delete(key, "k") } else { put(key, step) };
                    *slot = Some((model.write_begins(&op), op, false));
                }
                (0..=2, Some((_, op, appended @ false))) => {
                    view.log.push(op.clone());
                    *appended = true;
                }
                (0..=2, slot @ Some(_)) => {
                    let (handle, ..) = slot.take().expect("matched");
                    model.write_ends(handle, true);
                    let at = view.log.iter().rposition(|op| op.key_index == key).expect("appended");
                    acknowledged[key as usize].push(at + 1);
                }
                (3, _) if view.applied < view.log.len() => view.applied += 1,
                (4..=5, _) => reading.push((key, model.read_begins(key), acknowledged[key as usize].clone())),
                _ if !reading.is_empty() => {
                    let (key, handle, before) = reading.swap_remove(rng.random_range(0..reading.len()));
                    let (at, answer) = view.answer(key);
                    let freshness = model.read_ends(handle, answer.as_deref());
                    prop_assert!(freshness.is_ok(), "{freshness:?}");
                    // Two absences look alike, and the model takes the younger one.
                    if answer.is_some() {
                        let lacking = before.iter().filter(|written| **written > at).count() as u64;
                        let counted = match freshness {
                            Ok(Freshness::Stale { versions, .. }) => u64::from(versions),
                            _ => 0,
                        };
                        prop_assert_eq!(counted, lacking);
                        stale += u64::from(lacking > 0);
                        versions += lacking;
                    }
                }
                _ => {}
            }
        }
        let counted = model.staleness();
        prop_assert!(counted.stale >= stale && counted.versions_sum >= versions);
    }
}
