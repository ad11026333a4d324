//! The rules of apply-update.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Appends an `x`, and counts how often it was rolled back.
struct Append(Arc<AtomicU32>);

impl Update for Append {
    fn update(&mut self, current: Option<&Versioned>) -> Vec<u8> {
        let mut value = current.map(|version| version.value.clone()).unwrap_or_default();
        value.push(b'x');
        value
    }

    fn roll_back(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn start(hand: &mut Hand) -> Arc<AtomicU32> {
    let rolled_back = Arc::new(AtomicU32::new(0));
    hand.coordinator.apply_update(hand.now, 7, KEY, Box::new(Append(Arc::clone(&rolled_back))));
    rolled_back
}

#[test]
fn reads_changes_and_puts_what_descends_from_what_was_read() {
    let mut hand = Hand::new(config(3, 2, 2));
    let rolled_back = start(&mut hand);
    hand.check_sends(&["0 get", "1 get"]);
    hand.reply(0, &values(&[("0:1,2:1", "a")]));
    hand.reply(1, &values(&[("0:1,2:1", "a")]));
    hand.check_sends(&["0 put 0:2,2:1 ax"]);
    hand.reply(0, &Response::Stored);
    hand.sends();
    hand.reply(1, &Response::Stored);
    hand.check_written("0:2,2:1", 2);
    assert_eq!(rolled_back.load(Ordering::Relaxed), 0);
}

#[test]
fn obsolete_three_times_rolls_back_once() {
    let mut hand = Hand::new(config(3, 1, 1));
    let rolled_back = start(&mut hand);
    for count in 1..=3 {
        hand.check_sends(&["0 get"]);
        hand.reply(0, &values(&[("0:1", "a")]));
        hand.check_sends(&["0 put 0:2 ax"]);
        hand.pending();
        assert_eq!(rolled_back.load(Ordering::Relaxed), 0, "try {count}");
        hand.reply(0, &obsolete("0:2"));
    }
    let outcome = hand.outcome();
    assert!(matches!(outcome.result, Err(KvOpError::ObsoleteVersion { .. })));
    assert_eq!((outcome.retries, rolled_back.load(Ordering::Relaxed)), (2, 1));
    hand.check_idle();
}

#[test]
fn any_other_failure_rolls_back_at_once() {
    let mut hand = Hand::new(config(3, 1, 1));
    let rolled_back = start(&mut hand);
    hand.sends();
    let why = "no".to_owned();
    hand.reply(0, &Response::Refused(ReplicaError::Application { why }));
    assert!(hand.outcome().result.is_err());
    assert_eq!(rolled_back.load(Ordering::Relaxed), 1);
    let rolled_back = {
        (0..3).for_each(|node| {
            (0..10)
                .for_each(|_| hand.coordinator.detector.failure(0, NodeId(node), &NodeFailure::Unreachable));
        });
        start(&mut hand)
    };
    assert!(hand.outcome().result.is_err(), "nobody could be asked");
    assert_eq!(rolled_back.load(Ordering::Relaxed), 1);
    let mut hand = Hand::new(config(3, 1, 1));
    let rolled_back = Arc::new(AtomicU32::new(0));
    let long = vec![0; KEY_BYTES_MAX + 1];
    hand.coordinator.apply_update(hand.now, 7, &long, Box::new(Append(Arc::clone(&rolled_back))));
    assert!(hand.outcome().result.is_err());
    assert_eq!(rolled_back.load(Ordering::Relaxed), 1);
}

#[test]
fn a_closure_is_an_update_and_siblings_it_cannot_choose_from_are_an_error() {
    let mut hand = Hand::new(ClientConfig { resolve: Resolve::ByClock, ..config(3, 1, 1) });
    let update = |current: Option<&Versioned>| current.map_or(b"new".to_vec(), |v| v.value.clone());
    hand.coordinator.apply_update(hand.now, 7, KEY, Box::new(update));
    hand.sends();
    hand.reply(0, &values(&[("0:1", "a"), ("1:1", "b")]));
    let clocks = vec![clock("0:1"), clock("1:1")];
    assert_eq!(hand.outcome().result, Err(KvOpError::InconsistentData { clocks }));
}
