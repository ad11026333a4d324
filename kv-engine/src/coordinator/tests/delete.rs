//! The rules of delete.

use super::*;

#[test]
fn goes_to_all_and_is_true_if_any_removed_something() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.coordinator.delete_version(hand.now, 7, KEY, clock("0:1"));
    hand.check_sends(&["0 delete 0:1", "1 delete 0:1", "2 delete 0:1"]);
    hand.reply(0, &Response::Deleted(false));
    hand.pending();
    hand.reply(1, &Response::Deleted(true));
    let outcome = hand.outcome();
    assert_eq!((outcome.result, outcome.copies), (Ok(KvAnswer::Deleted(true)), 2));
    hand.reply(2, &Response::Deleted(true));
    hand.check_idle();
}

#[test]
fn waits_for_the_rest_when_those_preferred_were_too_few() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.coordinator.delete_version(hand.now, 7, KEY, clock("0:1"));
    hand.sends();
    hand.lose(0);
    hand.reply(1, &Response::Deleted(false));
    hand.pending();
    hand.reply(2, &Response::Deleted(false));
    assert_eq!(hand.outcome().result, Ok(KvAnswer::Deleted(false)));
    hand.check_idle();
}

#[test]
fn without_a_clock_reads_the_clocks_first() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.coordinator.delete(hand.now, 7, KEY);
    hand.check_sends(&["0 versions", "1 versions"]);
    hand.reply(0, &versions(&["0:1"]));
    hand.reply(1, &versions(&["1:1"]));
    hand.check_sends(&["0 delete 0:1,1:1", "1 delete 0:1,1:1", "2 delete 0:1,1:1"]);
    hand.reply(0, &Response::Deleted(true));
    hand.lose(1);
    hand.wait(5000);
    hand.check_insufficient(2, 1, &[(1, NodeFailure::Unreachable), (2, NodeFailure::TimedOut)]);
    hand.check_idle();
    hand.coordinator.delete(hand.now, 7, KEY);
    hand.check_sends(&["0 versions", "1 versions"]);
    hand.reply(0, &versions(&[]));
    hand.reply(1, &versions(&[]));
    assert_eq!(hand.outcome().result, Ok(KvAnswer::Deleted(false)));
    hand.check_idle();
}
