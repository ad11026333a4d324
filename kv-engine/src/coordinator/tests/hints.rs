//! The rules of hinted handoff.

use super::*;

fn with_hints() -> Hand {
    let hinted_handoff = Some(HandoffStrategy::Consistent);
    Hand::new(ClientConfig { hinted_handoff, ..config(3, 2, 2) })
}

#[test]
fn a_replica_that_missed_a_write_gets_a_hint_when_it_has_succeeded() {
    let mut hand = with_hints();
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.reply(0, &Response::Stored);
    hand.check_sends(&["1 put 0:1 v", "2 put 0:1 v"]);
    hand.lose(2);
    hand.check_sends(&[]);
    hand.reply(1, &Response::Stored);
    hand.check_written("0:1", 2);
    // Two candidates: 0 and 1, beginning with another one each time.
    hand.check_sends(&["1 hint for 2: Put 0:1 v"]);
    hand.reply(1, &disk_failed());
    hand.check_sends(&["0 hint for 2: Put 0:1 v"]);
    hand.reply(0, &Response::Stored);
    hand.check_idle();
    assert_eq!(hand.coordinator.stats().hints_kept, 1);
}

#[test]
fn one_that_fails_after_the_answer_gets_a_hint_too() {
    let mut hand = with_hints();
    hand.put("-", "v");
    hand.sends();
    hand.reply(0, &Response::Stored);
    hand.sends();
    hand.reply(1, &Response::Stored);
    hand.check_written("0:1", 2);
    hand.check_sends(&[]);
    hand.wait(5000);
    assert_eq!(hand.sends().len(), 1);
    hand.pending();
}

#[test]
fn a_master_that_was_given_up_gets_the_version_that_stands() {
    let mut hand = with_hints();
    hand.put("-", "v");
    hand.sends();
    hand.lose(0);
    hand.check_sends(&["1 put 1:1 v"]);
    hand.reply(1, &Response::Stored);
    hand.sends();
    hand.reply(2, &Response::Stored);
    hand.check_written("1:1", 2);
    hand.check_sends(&["2 hint for 0: Put 1:1 v"]);
}

#[test]
fn deletes_leave_hints() {
    let mut hand = with_hints();
    hand.coordinator.delete_version(hand.now, 7, KEY, clock("0:1"));
    hand.sends();
    hand.lose(1);
    hand.reply(0, &Response::Deleted(true));
    hand.reply(2, &Response::Deleted(true));
    drop(hand.outcome());
    hand.check_sends(&["0 hint for 1: Delete 0:1 "]);
}

#[test]
fn a_write_that_failed_leaves_none_and_neither_does_one_without_a_strategy() {
    let mut hand = with_hints();
    hand.put("-", "v");
    hand.sends();
    hand.reply(0, &Response::Stored);
    hand.sends();
    hand.lose(1);
    hand.lose(2);
    assert!(hand.outcome().result.is_err());
    hand.check_idle();
    let mut hand = Hand::new(config(3, 2, 2));
    hand.put("-", "v");
    hand.sends();
    hand.reply(0, &Response::Stored);
    hand.sends();
    hand.lose(1);
    hand.reply(2, &Response::Stored);
    assert!(hand.outcome().result.is_ok());
    hand.check_idle();
}

#[test]
fn a_hint_that_nobody_takes_is_counted_as_lost() {
    let mut hand = with_hints();
    hand.put("-", "v");
    hand.sends();
    hand.reply(0, &Response::Stored);
    hand.sends();
    hand.lose(2);
    hand.reply(1, &Response::Stored);
    drop(hand.outcome());
    hand.sends();
    hand.lose(1);
    hand.sends();
    hand.lose(0);
    hand.check_idle();
    assert_eq!((hand.coordinator.stats().hints_kept, hand.coordinator.stats().hints_lost), (0, 1));
}
