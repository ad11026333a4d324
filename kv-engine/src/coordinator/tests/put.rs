//! The rules of put of a version whose clock is given.

use super::*;

#[test]
fn the_master_first_then_the_others_with_its_clock() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.put("1:4", "v");
    hand.check_sends(&["0 put 0:1,1:4 v"]);
    hand.reply(0, &Response::Stored);
    hand.pending();
    hand.check_sends(&["1 put 0:1,1:4 v", "2 put 0:1,1:4 v"]);
    hand.reply(2, &Response::Stored);
    hand.check_written("0:1,1:4", 2);
    hand.reply(1, &Response::Stored);
    hand.pending();
    hand.check_idle();
}

#[test]
fn a_master_that_fails_is_replaced_and_not_asked_again() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.lose(0);
    hand.check_sends(&["1 put 1:1 v"]);
    hand.reply(1, &Response::Stored);
    hand.check_sends(&["2 put 1:1 v"]);
    // A late answer of the first was to another clock.
    hand.reply(0, &Response::Stored);
    hand.pending();
    hand.reply(2, &Response::Stored);
    hand.check_written("1:1", 2);
    hand.check_idle();
}

#[test]
fn a_master_that_hangs_is_left_when_its_own_time_is_up() {
    let mut hand = Hand::new(ClientConfig { node_timeout_ms: 1000, ..config(3, 2, 2) });
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.wait(999);
    hand.check_sends(&[]);
    hand.wait(1);
    hand.check_sends(&["1 put 1:1 v"]);
    hand.reply(1, &Response::Stored);
    hand.check_sends(&["2 put 1:1 v"]);
    hand.reply(2, &Response::Stored);
    hand.check_written("1:1", 2);
    hand.check_idle();
}

#[test]
fn the_round_ends_with_its_time_though_masters_are_left_to_try() {
    let mut hand = Hand::new(config(3, 1, 1));
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.wait(5000);
    hand.check_insufficient(1, 0, &[(0, NodeFailure::TimedOut)]);
    hand.check_idle();
}

#[test]
fn obsolete_at_the_master_is_fatal() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.reply(0, &obsolete("0:3"));
    let error = KvOpError::ObsoleteVersion { given: clock("0:1"), stored: clock("0:3") };
    assert_eq!(hand.outcome().result, Err(error));
    hand.check_idle();
}

#[test]
fn obsolete_at_a_later_replica_is_a_success() {
    let mut hand = Hand::new(config(3, 3, 3));
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.reply(0, &Response::Stored);
    hand.check_sends(&["1 put 0:1 v", "2 put 0:1 v"]);
    hand.reply(1, &obsolete("0:2"));
    hand.pending();
    hand.reply(2, &Response::Stored);
    hand.check_written("0:1", 3);
    hand.check_idle();
}

#[test]
fn with_one_required_the_masters_answer_is_enough_and_the_others_are_still_asked() {
    let mut hand = Hand::new(config(3, 3, 1));
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.reply(0, &Response::Stored);
    hand.check_written("0:1", 1);
    hand.check_sends(&["1 put 0:1 v", "2 put 0:1 v"]);
    hand.reply(1, &Response::Stored);
    hand.wait(5000);
    hand.check_idle();
}

#[test]
fn waits_for_preferred_answers_until_the_timeout_then_enough_are_enough() {
    let mut config = config(3, 2, 2);
    config.replication = config.replication.preferring(2, 3).expect("valid");
    let mut hand = Hand::new(config);
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.reply(0, &Response::Stored);
    hand.check_sends(&["1 put 0:1 v", "2 put 0:1 v"]);
    hand.reply(1, &Response::Stored);
    hand.wait(4999);
    hand.pending();
    hand.wait(1);
    hand.check_written("0:1", 2);
    hand.check_idle();
    // A failure is an answer too.
    hand.put("0:1", "w");
    hand.check_sends(&["0 put 0:2 w"]);
    hand.reply(0, &Response::Stored);
    hand.check_sends(&["1 put 0:2 w", "2 put 0:2 w"]);
    hand.reply(1, &disk_failed());
    hand.reply(2, &Response::Stored);
    hand.check_written("0:2", 2);
    hand.check_idle();
}

#[test]
fn too_few_successes_fail_it_and_nothing_is_undone() {
    let mut hand = Hand::new(config(3, 2, 2));
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.reply(0, &Response::Stored);
    hand.check_sends(&["1 put 0:1 v", "2 put 0:1 v"]);
    hand.lose(2);
    hand.pending();
    hand.wait(5000);
    hand.check_insufficient(2, 1, &[(1, NodeFailure::TimedOut), (2, NodeFailure::Unreachable)]);
    hand.check_idle();
}

#[test]
fn a_later_replica_that_refuses_the_request_ends_it() {
    let mut hand = Hand::new(ClientConfig { ring_tries: 1, ..config(3, 3, 3) });
    hand.put("-", "v");
    hand.check_sends(&["0 put 0:1 v"]);
    hand.reply(0, &Response::Stored);
    hand.check_sends(&["1 put 0:1 v", "2 put 0:1 v"]);
    hand.reply(1, &Response::Refused(ReplicaError::InvalidMetadata));
    assert_eq!(hand.outcome().result, Err(KvOpError::InvalidMetadata { node: NodeId(1) }));
    hand.check_idle();
}

#[test]
fn the_versions_timestamp_is_the_time_of_the_put() {
    let mut hand = Hand::new(config(1, 1, 1));
    hand.put("-", "v");
    let (_, bytes) = hand.coordinator.poll_output().expect("the master is asked");
    let Ok((_, Request::Put { clock, .. })) = Request::decode(&bytes) else { panic!("no put") };
    assert_eq!(clock.timestamp_ms(), hand.now.wall_ms);
}

#[test]
fn what_no_replica_could_take_is_refused_here() {
    let mut hand = Hand::new(config(3, 2, 2));
    let key = vec![0; KEY_BYTES_MAX + 1];
    hand.coordinator.write(hand.now, 7, &key, b"");
    assert_eq!(hand.outcome().result, Err(KvOpError::KeyTooLong { len: key.len() }));
    let value = vec![0; CLIENT_VALUE_BYTES_MAX + 1];
    hand.coordinator.write(hand.now, 7, KEY, &value);
    assert_eq!(hand.outcome().result, Err(KvOpError::ValueTooLong { len: value.len() }));
    hand.check_idle();
}
