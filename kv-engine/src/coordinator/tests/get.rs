//! The rules of get.

use super::*;

#[test]
fn asks_as_many_as_preferred_and_no_others() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.get();
    hand.check_sends(&["0 get", "1 get"]);
    hand.reply(1, &values(&[("0:1", "a")]));
    hand.pending();
    hand.reply(0, &values(&[("0:1", "a")]));
    hand.check_values(&[("0:1", "a")]);
    hand.check_idle();
}

#[test]
fn with_one_required_asks_the_master_only() {
    let mut hand = Hand::new(config(3, 1, 3));
    hand.get();
    hand.check_sends(&["0 get"]);
    hand.reply(0, &values(&[]));
    hand.check_values(&[]);
    hand.check_idle();
}

#[test]
fn a_slow_preferred_replica_delays_it_until_the_timeout_then_enough_are_enough() {
    let mut config = config(3, 2, 2);
    config.replication = config.replication.preferring(3, 2).expect("valid");
    let mut hand = Hand::new(config);
    hand.get();
    hand.check_sends(&["0 get", "1 get", "2 get"]);
    hand.reply(0, &values(&[("0:1", "a")]));
    hand.reply(1, &values(&[("0:1", "a")]));
    hand.wait(4999);
    hand.pending();
    hand.wait(1);
    hand.check_values(&[("0:1", "a")]);
    hand.check_idle();
    assert_eq!(hand.coordinator.stats().timeouts, 1);
}

#[test]
fn falls_back_to_the_others_one_by_one() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.get();
    hand.check_sends(&["0 get", "1 get"]);
    hand.lose(0);
    hand.check_sends(&[]);
    hand.reply(1, &values(&[("0:1", "a")]));
    hand.check_sends(&["2 get"]);
    hand.reply(2, &values(&[("0:2", "b")]));
    hand.check_values(&[("0:2", "b")]);
    hand.check_sends(&["1 put 0:2 b"]);
    hand.check_idle();
}

#[test]
fn fails_when_nobody_is_left_and_says_what_became_of_each() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.get();
    hand.check_sends(&["0 get", "1 get"]);
    hand.reply(0, &disk_failed());
    hand.lose(1);
    hand.check_sends(&["2 get"]);
    hand.wait(5000);
    let why = "no space".to_owned();
    let failures =
        [(0, NodeFailure::Persistence { why }), (1, NodeFailure::Unreachable), (2, NodeFailure::TimedOut)];
    hand.check_insufficient(2, 0, &failures);
    hand.check_idle();
}

#[test]
fn an_answer_after_the_timeout_still_counts() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.get();
    hand.check_sends(&["0 get", "1 get"]);
    hand.reply(1, &values(&[("0:1", "a")]));
    hand.wait(5000);
    hand.check_sends(&["2 get"]);
    hand.reply(0, &values(&[("0:2", "b")]));
    hand.check_values(&[("0:2", "b")]);
    hand.check_sends(&["1 put 0:2 b"]);
    hand.reply(2, &values(&[("0:2", "b")]));
    hand.check_idle();
}

#[test]
fn a_refusal_of_the_whole_request_ends_it_at_once() {
    let mut hand = Hand::new(ClientConfig { ring_tries: 1, ..config(3, 2, 2) });
    hand.get();
    hand.check_sends(&["0 get", "1 get"]);
    hand.reply(1, &Response::Refused(ReplicaError::InvalidMetadata));
    assert_eq!(hand.outcome().result, Err(KvOpError::InvalidMetadata { node: NodeId(1) }));
    hand.check_idle();
}

#[test]
fn versions_are_resolved_by_clock_then_by_time() {
    let stamped = |text: &str, at: i64, value: &str| {
        let entries = clock(text).entries().iter().map(|e| (e.node, e.version)).collect::<Vec<_>>();
        Versioned::new(VectorClock::from_entries(entries, at).expect("valid"), value)
    };
    let answers = [
        Response::Values(vec![stamped("0:1", 1, "old"), stamped("1:1", 5, "late")]),
        Response::Values(vec![stamped("0:2", 4, "new")]),
    ];
    for by_time in [true, false] {
        let resolve = if by_time { Resolve::ByTime } else { Resolve::ByClock };
        let mut hand = Hand::new(ClientConfig { resolve, ..config(3, 2, 2) });
        hand.get();
        hand.check_sends(&["0 get", "1 get"]);
        hand.reply(0, &answers[0]);
        hand.reply(1, &answers[1]);
        match by_time {
            true => hand.check_values(&[("0:2,1:1", "late")]),
            false => hand.check_values(&[("1:1", "late"), ("0:2", "new")]),
        }
    }
}

#[test]
fn writes_to_replicas_what_they_lack_before_it_is_answered() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.get();
    hand.check_sends(&["0 get", "1 get"]);
    hand.reply(0, &values(&[("0:1", "a")]));
    hand.reply(1, &values(&[("0:1", "a"), ("1:1", "b")]));
    hand.check_sends(&["0 put 1:1 b"]);
    assert_eq!(hand.outcome().copies, 2);
    hand.reply(0, &obsolete("1:2"));
    hand.check_idle();
    assert_eq!(hand.coordinator.stats().repairs, 1);
}

#[test]
fn repairs_nothing_when_one_replica_is_preferred_or_it_is_switched_off() {
    for config in [ClientConfig { read_repair: false, ..config(3, 2, 2) }, config(3, 1, 3)] {
        let mut hand = Hand::new(config);
        hand.get();
        let asked = hand.sends().len();
        hand.reply(0, &values(&[]));
        if asked > 1 {
            hand.reply(1, &values(&[("0:1", "a")]));
        }
        drop(hand.outcome());
        hand.check_idle();
    }
}

#[test]
fn versions_of_all_that_answered_are_given_once_each() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.coordinator.get_versions(hand.now, 7, KEY);
    hand.check_sends(&["0 versions", "1 versions"]);
    hand.reply(0, &versions(&["0:1", "1:1"]));
    hand.reply(1, &versions(&["0:2", "1:1"]));
    let expected = vec![clock("1:1"), clock("0:2")];
    assert_eq!(hand.outcome().result, Ok(KvAnswer::Versions(expected)));
    hand.check_idle();
}
