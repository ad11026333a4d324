//! Overlapping increments: what is lost is counted, what can't be is refused.

use super::*;
use crate::counted;
use crate::op::OpKind;

fn increment(version: u64) -> Op {
    let label = Label { key_index: 0, stream: STREAM, version };
    Op::with_value(OpKind::IncrementProfile, 0, "k".into(), counted::template(label, 100))
}

fn preloaded() -> (Model, Vec<u8>) {
    let mut model = Model::new(1, Promise::Linearizable);
    let zero = counted::template(Label { key_index: 0, stream: STREAM, version: 0 }, 100);
    write(&mut model, &Op::put(0, "k", zero.clone()));
    (model, zero.into_bytes())
}

#[test]
fn an_increment_that_another_overwrote_is_lost() {
    let (mut model, stored) = preloaded();
    assert_eq!(model.lost_updates(), None);
    let (a, b) = (increment(1), increment(2));
    let (first, second) = (model.increment_begins(&a), model.increment_begins(&b));
    // Both have read the same value, so both write a count of one.
    let one = a.modified(Some(&stored)).expect("counted");
    assert_eq!(one.label().map(|l| l.version), Some(1));
    let stored = b.modified(Some(&stored)).expect("counted").into_bytes();
    model.increment_ends(first, true);
    assert_eq!(read(&mut model, 0, Some(&stored)), Ok(()), "while the other is in flight");
    model.increment_ends(second, true);
    assert_eq!(model.lost_updates().map(|l| (l.acknowledged, l.lost, l.unread)), Some((2, 0, 1)));
    assert_eq!(read(&mut model, 0, Some(&stored)), Ok(()));
    let lost = model.lost_updates().expect("increments");
    assert_eq!((lost.keys, lost.acknowledged, lost.surviving, lost.lost, lost.unread), (1, 2, 1, 1, 0));
}

#[test]
fn increments_one_after_the_other_lose_nothing_and_failed_ones_count_apart() {
    let (mut model, mut stored) = preloaded();
    for version in 1..=10 {
        let op = increment(version);
        let handle = model.increment_begins(&op);
        stored = op.modified(Some(&stored)).expect("counted").into_bytes();
        model.increment_ends(handle, version != 4);
    }
    let withdrawn = model.increment_begins(&increment(11));
    model.increment_withdrawn(withdrawn);
    assert_eq!(read(&mut model, 0, Some(&stored)), Ok(()));
    let lost = model.lost_updates().expect("increments");
    assert_eq!((lost.acknowledged, lost.failed, lost.surviving, lost.lost), (9, 1, 10, 0));
}

#[test]
fn impossible_counts_and_strange_values_are_refused() {
    let (mut model, stored) = preloaded();
    let op = increment(1);
    let handle = model.increment_begins(&op);
    let one = op.modified(Some(&stored)).expect("counted");
    model.increment_ends(handle, true);
    let two = op.modified(Some(one.as_bytes())).expect("counted");
    assert_eq!(why(&mut model, 0, Some(two.as_bytes())), Why::NeverWritten, "one increment was begun");
    assert_eq!(why(&mut model, 0, None), Why::Missing);
    let strange = counted::template(Label { key_index: 5, stream: STREAM, version: 1 }, 100);
    assert_eq!(why(&mut model, 0, Some(strange.as_bytes())), Why::OtherKey { key_index: 5 });
    let mut damaged = one.as_bytes().to_vec();
    damaged[60] ^= 4;
    assert!(matches!(why(&mut model, 0, Some(&damaged)), Why::Damaged { .. }));
    assert_eq!(
        why(&mut model, 0, bytes(&put(0, 1)).map(|b| b[..39].to_vec()).as_deref()),
        Why::Damaged { fault: ValueFault::WrongLength { stated: 60, found: 39 } }
    );
}
