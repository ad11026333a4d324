//! The rules of put without a clock: it reads the clocks there are first.

use super::*;

#[test]
fn reads_the_clocks_and_descends_from_all_of_them() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.write("v");
    hand.check_sends(&["0 versions", "1 versions"]);
    hand.reply(0, &versions(&["0:1", "2:1"]));
    hand.reply(1, &versions(&["0:2"]));
    hand.check_sends(&["0 put 0:3,2:1 v"]);
    hand.reply(0, &Response::Stored);
    hand.check_sends(&["1 put 0:3,2:1 v", "2 put 0:3,2:1 v"]);
    hand.reply(1, &Response::Stored);
    hand.check_written("0:3,2:1", 2);
    hand.reply(2, &Response::Stored);
    hand.check_idle();
}

#[test]
fn starts_again_when_obsolete_three_times_in_all() {
    let mut hand = Hand::new(config(3, 1, 1));
    hand.write("v");
    for stored in 1..=3 {
        hand.check_sends(&["0 versions"]);
        hand.reply(0, &versions(&[]));
        hand.check_sends(&["0 put 0:1 v"]);
        hand.pending();
        hand.reply(0, &obsolete(&format!("0:{stored}")));
    }
    let outcome = hand.outcome();
    let error = KvOpError::ObsoleteVersion { given: clock("0:1"), stored: clock("0:3") };
    assert_eq!((outcome.result, outcome.retries), (Err(error), 2));
    hand.check_idle();
}

// With one id for a whole operation, the late answer to the first round's put would have been counted for the
// second one's.
#[test]
fn a_late_answer_to_an_earlier_round_is_not_counted() {
    let mut hand = Hand::new(config(3, 1, 1));
    hand.write("v");
    hand.check_sends(&["0 versions"]);
    hand.reply(0, &versions(&[]));
    hand.check_sends(&["0 put 0:1 v"]);
    let first = hand.asked[&0][1];
    hand.reply(0, &obsolete("0:1"));
    hand.check_sends(&["0 versions"]);
    hand.reply(0, &versions(&["0:1"]));
    hand.check_sends(&["0 put 0:2 v"]);
    hand.reply_to(first, 0, &Response::Stored);
    hand.pending();
    hand.reply(0, &Response::Stored);
    let outcome = hand.outcome();
    assert_eq!((outcome.result, outcome.retries), (Ok(KvAnswer::Written(clock("0:2"))), 1));
}
