mod increments;
mod staleness;

use super::*;
use crate::op::Access;
use crate::values::Value;
use engine_env::rng::{Rng, Seed};
use proptest::prelude::*;
use rand::RngExt;

const STREAM: StreamTag = StreamTag(9);

fn put(key: u32, version: u64) -> Op {
    Op::put(key, "k", Value::generate(STREAM, key, version, 60))
}

fn bytes(op: &Op) -> Option<Vec<u8>> {
    op.value.as_ref().map(|value| value.as_bytes().to_vec())
}

fn write(model: &mut Model, op: &Op) {
    let handle = model.write_begins(op);
    model.write_ends(handle, true);
}

fn read(model: &mut Model, key: u32, answer: Option<&[u8]>) -> Result<(), WrongAnswer> {
    let handle = model.read_begins(key);
    model.read_ends(handle, answer).map(drop)
}

fn why(model: &mut Model, key: u32, answer: Option<&[u8]>) -> Why {
    read(model, key, answer).expect_err("a wrong answer").why
}

#[test]
fn each_kind_of_wrong_answer_is_named() {
    let mut model = Model::new(2, Promise::Linearizable);
    let (old, new, other) = (put(0, 1), put(0, 2), put(1, 3));
    assert_eq!(read(&mut model, 0, None), Ok(()));
    assert_eq!(why(&mut model, 0, bytes(&old).as_deref()), Why::NeverWritten, "nothing was there");
    write(&mut model, &old);
    write(&mut model, &new);
    write(&mut model, &other);
    assert_eq!(read(&mut model, 0, bytes(&new).as_deref()), Ok(()));
    assert_eq!(why(&mut model, 0, bytes(&old).as_deref()), Why::TooOld);
    assert_eq!(why(&mut model, 0, bytes(&other).as_deref()), Why::OtherKey { key_index: 1 });
    assert_eq!(why(&mut model, 0, bytes(&put(0, 7)).as_deref()), Why::NeverWritten);
    assert_eq!(why(&mut model, 0, None), Why::Missing);
    let mut flipped = bytes(&new).expect("a value");
    flipped[40] ^= 1;
    assert!(matches!(
        why(&mut model, 0, Some(&flipped)),
        Why::Damaged { fault: ValueFault::BadChecksum { .. } }
    ));
    assert!(matches!(why(&mut model, 0, Some(&flipped[..59])), Why::Damaged { .. }));
    write(&mut model, &Op::delete(0, "k"));
    assert_eq!(read(&mut model, 0, None), Ok(()));
    assert_eq!(why(&mut model, 0, bytes(&new).as_deref()), Why::CameBack, "a lost delete");
}

#[test]
fn the_rows_of_a_scan_are_ordered_few_and_whole() {
    let mut model = Model::new(4, Promise::Linearizable);
    let rows: Vec<(Vec<u8>, Vec<u8>)> = (0..4)
        .map(|key| {
            let op = put(key, u64::from(key) + 1);
            write(&mut model, &op);
            (vec![b'a' + key as u8], bytes(&op).expect("a value"))
        })
        .collect();
    let scan = Op::scan(1, "b", 2);
    let judge = |rows: &[(Vec<u8>, Vec<u8>)]| model.judge_rows(&scan, rows).map_err(|wrong| wrong.why);
    assert_eq!(judge(&rows[1..3]), Ok(()));
    assert_eq!(judge(&[]), Ok(()), "who has to be there is not judged");
    assert_eq!(judge(&rows[1..4]), Err(Why::TooManyRows));
    assert_eq!(judge(&rows[0..2]), Err(Why::OutOfOrder), "a lies before the start");
    assert_eq!(judge(&[rows[2].clone(), rows[1].clone()]), Err(Why::OutOfOrder));
    assert_eq!(judge(&[rows[1].clone(), rows[1].clone()]), Err(Why::OutOfOrder), "twice");
    let unknown = (vec![b'b'], bytes(&put(1, 99)).expect("a value"));
    assert_eq!(judge(&[unknown]), Err(Why::NeverWritten));
    let mut damaged = rows[1].clone();
    damaged.1[45] ^= 1;
    assert!(matches!(judge(&[damaged]), Err(Why::Damaged { .. })));
}

#[test]
fn a_wrong_answer_reads_as_a_sentence() {
    let mut model = Model::new(1, Promise::Linearizable);
    write(&mut model, &put(0, 1));
    write(&mut model, &put(0, 2));
    let wrong = read(&mut model, 0, bytes(&put(0, 1)).as_deref()).expect_err("too old");
    assert_eq!(
        wrong.to_string(),
        "key 0: the value is too old, it was replaced before the read began; got version 1 of stream 00000009 \
         (60 bytes); allowed: version 2 of stream 00000009"
    );
}

#[test]
fn recorded_and_short_values_are_known_by_their_bytes() {
    let mut model = Model::new(0, Promise::Linearizable);
    let record = |text: &str| Op::put(5, "k", Value::recorded(text.as_bytes().to_vec()));
    write(&mut model, &record("{\"name\":\"first\"}"));
    write(&mut model, &record("{\"name\":\"second\"}"));
    assert_eq!(read(&mut model, 5, Some(b"{\"name\":\"second\"}")), Ok(()));
    assert_eq!(why(&mut model, 5, Some(b"{\"name\":\"first\"}")), Why::TooOld);
    assert_eq!(why(&mut model, 5, Some(b"{\"name\":\"third\"}")), Why::NeverWritten);
    let short = Op::put(6, "k", Value::generate(STREAM, 6, 1, 8));
    write(&mut model, &short);
    assert_eq!(read(&mut model, 6, bytes(&short).as_deref()), Ok(()));
    assert!(
        read(&mut model, 6, bytes(&Op::put(6, "k", Value::generate(STREAM, 6, 2, 8))).as_deref()).is_err()
    );
    let empty = Op::put(7, "k", Value::recorded(Vec::new()));
    write(&mut model, &empty);
    assert_eq!(read(&mut model, 7, Some(b"")), Ok(()));
    assert_eq!(why(&mut model, 7, None), Why::Missing, "an empty value is a value");
}

#[test]
fn the_same_bytes_written_twice_are_allowed_again() {
    let mut model = Model::new(0, Promise::Linearizable);
    let record = |text: &str| Op::put(0, "k", Value::recorded(text.as_bytes().to_vec()));
    for text in ["a", "b", "a"] {
        write(&mut model, &record(text));
    }
    assert_eq!(read(&mut model, 0, Some(b"a")), Ok(()));
    assert_eq!(why(&mut model, 0, Some(b"b")), Why::TooOld);
}

#[test]
fn overlapping_operations_leave_the_order_open_until_a_read_shows_it() {
    let mut model = Model::new(1, Promise::Linearizable);
    let (a, b) = (put(0, 1), put(0, 2));
    let write_a = model.write_begins(&a);
    let early = model.read_begins(0);
    let write_b = model.write_begins(&b);
    model.write_ends(write_a, true);
    model.write_ends(write_b, true);
    // Begun before either had ended: nothing, a and b are all possible.
    assert!(model.read_ends(early, None).is_ok());
    let mut fork = |first: &Op, second: &Op| {
        assert_eq!(read(&mut model, 0, bytes(first).as_deref()), Ok(()), "either may be the last");
        assert_eq!(why(&mut model, 0, bytes(second).as_deref()), Why::TooOld, "now it is known which");
    };
    fork(&a, &b);
}

#[test]
fn a_read_that_began_before_the_write_ended_may_miss_it_and_a_later_one_may_not() {
    let mut model = Model::new(1, Promise::Linearizable);
    write(&mut model, &put(0, 1));
    let overlapping = model.read_begins(0);
    write(&mut model, &put(0, 2));
    let later = model.read_begins(0);
    assert!(model.read_ends(overlapping, bytes(&put(0, 1)).as_deref()).is_ok());
    assert_eq!(model.read_ends(later, bytes(&put(0, 1)).as_deref()).expect_err("stale").why, Why::TooOld);
}

#[test]
fn what_a_read_has_shown_cannot_vanish_unless_the_promise_says_so() {
    for (promise, allowed) in [(Promise::Linearizable, false), (Promise::Quorum, true)] {
        let mut model = Model::new(1, promise);
        write(&mut model, &put(0, 1));
        let lost = model.write_begins(&put(0, 2));
        model.write_ends(lost, false);
        assert_eq!(read(&mut model, 0, bytes(&put(0, 1)).as_deref()), Ok(()), "the attempt need not show");
        assert_eq!(read(&mut model, 0, bytes(&put(0, 2)).as_deref()), Ok(()), "the attempt may show later");
        assert_eq!(read(&mut model, 0, bytes(&put(0, 1)).as_deref()).is_ok(), allowed);
        write(&mut model, &put(0, 3));
        assert_eq!(read(&mut model, 0, bytes(&put(0, 3)).as_deref()), Ok(()));
        assert_eq!(why(&mut model, 0, bytes(&put(0, 1)).as_deref()), Why::TooOld);
    }
}

#[test]
fn a_withdrawn_write_may_never_show() {
    let mut model = Model::new(1, Promise::Linearizable);
    let handle = model.write_begins(&put(0, 1));
    model.write_withdrawn(handle);
    assert_eq!(read(&mut model, 0, None), Ok(()));
    assert!(read(&mut model, 0, bytes(&put(0, 1)).as_deref()).is_err());
    assert!(model.is_at_rest(), "the key is at rest again");
}

#[test]
fn a_key_with_too_many_lost_attempts_is_counted_not_judged() {
    let mut model = Model::new(1, Promise::Linearizable);
    for version in 1..=ATTEMPTS_MAX as u64 + 1 {
        let handle = model.write_begins(&put(0, version));
        model.write_ends(handle, false);
    }
    assert_eq!(read(&mut model, 0, bytes(&put(0, 1)).as_deref()), Ok(()));
    assert_eq!(model.unjudged(), 1);
    assert!(model.busy[0].candidates.len() <= ATTEMPTS_MAX + 1);
}

#[test]
fn memory_stays_bounded_by_the_keys() {
    let mut model = Model::new(1000, Promise::Linearizable);
    for version in 1..20_000_u64 {
        let key = (version % 1000) as u32;
        write(&mut model, &put(key, version));
        read(&mut model, key, bytes(&put(key, version)).as_deref()).expect("right");
    }
    assert_eq!(model.present(), 1000);
    assert!(model.busy.len() <= 1 && model.is_at_rest());
    assert!(model.memory_bytes() < 32 * 1000, "{}", model.memory_bytes());
}

#[test]
fn a_preload_settles_keys_and_makes_room_beyond_the_records() {
    let mut model = Model::new(1, Promise::Linearizable);
    model.settled(&put(0, 0));
    model.settled(&put(700, 0));
    assert_eq!(read(&mut model, 700, bytes(&put(700, 0)).as_deref()), Ok(()));
    assert_eq!(why(&mut model, 0, None), Why::Missing);
    assert_eq!(model.present(), 2);
}

/// An operation of a random history. Writes take effect at `effect`; reads answer what was there then.
struct Running {
    op: Op,
    handle: Handle,
    effect: Option<Option<Vec<u8>>>,
}

enum Handle {
    Write(WriteHandle),
    Read(ReadHandle),
}

/// Drives a register and its model through a random history with overlapping, failing and withdrawn operations.
struct Register {
    rng: Rng,
    model: Model,
    contents: Vec<Option<Vec<u8>>>,
    running: Vec<Running>,
    /// Failed writes that may still take effect.
    zombies: Vec<Op>,
    /// Whether operations may fail or be withdrawn.
    fails: bool,
    version: u64,
}

impl Register {
    fn new(seed: u64, keys: u32) -> Self {
        Self {
            rng: Seed(seed).rng(),
            model: Model::new(u64::from(keys), Promise::Linearizable),
            contents: vec![None; keys as usize],
            running: Vec::new(),
            zombies: Vec::new(),
            fails: seed.is_multiple_of(2),
            version: 0,
        }
    }

    fn pick(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }

    fn step(&mut self) -> Result<(), WrongAnswer> {
        match self.pick(10) {
            0..=3 if self.running.len() < 7 => self.begin(),
            4..=5 if !self.running.is_empty() => {
                let at = self.pick(self.running.len());
                self.take_effect(at);
            }
            6 if !self.zombies.is_empty() => {
                let at = self.pick(self.zombies.len());
                let op = self.zombies.swap_remove(at);
                self.contents[op.key_index as usize] = bytes(&op);
            }
            _ if !self.running.is_empty() => {
                let at = self.pick(self.running.len());
                return self.end(at);
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self) {
        let key = self.pick(self.contents.len()) as u32;
        self.version += 1;
        let op = match self.pick(8) {
            0..=3 => Op::get(key, "k"),
            4 => Op::delete(key, "k"),
            5 => Op::put(key, "k", Value::recorded(vec![b'a' + self.pick(3) as u8; 40])),
            _ => put(key, self.version),
        };
        let handle = match op.access() {
            Access::Read => Handle::Read(self.model.read_begins(key)),
            _ => Handle::Write(self.model.write_begins(&op)),
        };
        self.running.push(Running { op, handle, effect: None });
    }

    fn take_effect(&mut self, at: usize) {
        let running = &mut self.running[at];
        if running.effect.is_none() {
            let place = &mut self.contents[running.op.key_index as usize];
            if running.op.access() != Access::Read {
                *place = bytes(&running.op);
            }
            running.effect = Some(place.clone());
        }
    }

    fn end(&mut self, at: usize) -> Result<(), WrongAnswer> {
        let fate = if self.fails { self.pick(10) } else { 9 };
        if fate > 1 {
            self.take_effect(at);
        }
        let Running { op, handle, effect } = self.running.swap_remove(at);
        match (handle, effect) {
            (Handle::Read(handle), Some(answer)) => {
                return self.model.read_ends(handle, answer.as_deref()).map(drop);
            }
            (Handle::Read(handle), None) => self.model.read_fails(handle),
            (Handle::Write(handle), Some(_)) => self.model.write_ends(handle, fate > 2),
            (Handle::Write(handle), None) if fate == 0 => self.model.write_withdrawn(handle),
            (Handle::Write(handle), None) => {
                self.model.write_ends(handle, false);
                self.zombies.push(op);
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), WrongAnswer> {
        while !self.running.is_empty() {
            self.end(0)?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_register_never_trips_it_and_a_mutated_answer_always_does(seed in any::<u64>(), keys in 1_u32..4) {
        let mut register = Register::new(seed, keys);
        for _ in 0..300 {
            prop_assert_eq!(register.step(), Ok(()));
        }
        prop_assert_eq!(register.drain(), Ok(()));
        // Whatever happened before: of two writes in a row, nothing but the second may be read.
        let model = &mut register.model;
        let (first, second, stranger) = (put(0, 900), put(0, 901), put(1, 902));
        write(model, &first);
        write(model, &second);
        let right = bytes(&second).expect("a value");
        let mut flipped = right.clone();
        let bit = seed as usize % (right.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        for wrong in [bytes(&first), bytes(&stranger), Some(flipped), Some(right[..50].to_vec()), bytes(&put(0, 999))] {
            prop_assert!(read(model, 0, wrong.as_deref()).is_err());
        }
        // A failed delete may still take effect, so "missing" is only sure without one.
        if !register.fails {
            prop_assert!(read(model, 0, None).is_err());
        }
        prop_assert_eq!(read(model, 0, Some(&right)), Ok(()));
        write(model, &Op::delete(0, "k"));
        prop_assert!(read(model, 0, Some(&right)).is_err(), "a lost delete");
    }
}

/// An operation of a small history: begin and end as positions in a sequence of events.
#[derive(Debug, Clone)]
struct Interval {
    begin: usize,
    end: usize,
    op: Op,
    answer: Option<Vec<u8>>,
}

/// Whether some order explains the history: tries them all.
fn explainable(history: &[Interval], done: u32, contents: &Option<Vec<u8>>) -> bool {
    if done.count_ones() as usize == history.len() {
        return true;
    }
    let open = || history.iter().enumerate().filter(|(at, _)| done & (1 << at) == 0);
    let first_end = open().map(|(_, i)| i.end).min().expect("not all done");
    open().filter(|(_, i)| i.begin < first_end).any(|(at, interval)| match interval.op.access() {
        Access::Read => interval.answer == *contents && explainable(history, done | 1 << at, contents),
        _ => explainable(history, done | 1 << at, &bytes(&interval.op)),
    })
}

/// A random history of one key; with `one_writer`, no two writes overlap. Answers are picked at random.
fn random_history(rng: &mut Rng, one_writer: bool) -> Vec<Interval> {
    let mut history: Vec<Interval> = Vec::new();
    let mut running: Vec<usize> = Vec::new();
    let mut event = 0;
    while history.len() < 8 || !running.is_empty() {
        event += 1;
        if history.len() < 8 && (running.is_empty() || (running.len() < 4 && rng.random::<bool>())) {
            let writing = running.iter().any(|at| history[*at].op.access() != Access::Read);
            let at = history.len() as u64 + 1;
            let op = if rng.random::<bool>() || (one_writer && writing) {
                Op::get(0, "k")
            } else if rng.random_range(0..5) == 0 && !one_writer {
                Op::delete(0, "k")
            } else {
                put(0, at)
            };
            running.push(history.len());
            history.push(Interval { begin: event, end: 0, op, answer: None });
        } else {
            let at = running.swap_remove(rng.random_range(0..running.len()));
            let seen: Vec<Option<Vec<u8>>> = std::iter::once(None)
                .chain(history.iter().filter(|i| i.op.access() != Access::Read).map(|i| bytes(&i.op)))
                .collect();
            // Mostly the newest few, so that a fair part of the histories can be explained.
            let back = rng.random_range(0..seen.len().min(3));
            history[at].answer = seen[seen.len() - 1 - back].clone();
            history[at].end = event;
        }
    }
    history
}

/// Whether the model accepts every answer of the history.
fn accepts(history: &[Interval]) -> bool {
    let mut model = Model::new(1, Promise::Linearizable);
    let mut handles: Vec<Option<Handle>> = history.iter().map(|_| None).collect();
    let last = history.iter().map(|i| i.end).max().unwrap_or(0);
    for event in 1..=last {
        for (at, interval) in history.iter().enumerate() {
            if interval.begin == event {
                handles[at] = Some(match interval.op.access() {
                    Access::Read => Handle::Read(model.read_begins(0)),
                    _ => Handle::Write(model.write_begins(&interval.op)),
                });
            } else if interval.end == event {
                match handles[at].take().expect("begun") {
                    Handle::Write(handle) => model.write_ends(handle, true),
                    Handle::Read(handle) => {
                        if model.read_ends(handle, interval.answer.as_deref()).is_err() {
                            return false;
                        }
                    }
                }
            }
        }
    }
    true
}

#[test]
fn with_one_writer_the_verdict_is_exactly_linearizability() {
    let mut rng = Seed(11).rng();
    let mut explained = 0;
    for round in 0..6000 {
        let history = random_history(&mut rng, true);
        let linearizable = explainable(&history, 0, &None);
        explained += u32::from(linearizable);
        assert_eq!(accepts(&history), linearizable, "round {round}: {history:#?}");
    }
    assert!((600..5400).contains(&explained), "both verdicts must be common: {explained} of 6000");
}

#[test]
fn with_many_writers_no_explainable_history_is_refused_and_few_others_pass() {
    let mut rng = Seed(12).rng();
    let (mut explained, mut missed, mut wrong) = (0, 0, 0);
    for round in 0..6000 {
        let history = random_history(&mut rng, false);
        if explainable(&history, 0, &None) {
            explained += 1;
            assert!(accepts(&history), "round {round}: {history:#?}");
        } else {
            wrong += 1;
            missed += u32::from(accepts(&history));
        }
    }
    assert!(explained > 600, "{explained}");
    // What passes needs a cycle through writes that overlap each other; the doc names this limit.
    assert!(missed * 20 < wrong, "{missed} of {wrong} wrong histories were accepted");
}
