//! The rules of getAll. Eight partitions on three nodes: keys are found for each partition by trying.

use super::*;

/// A key whose preference list begins with this node, of partition `node`.
fn key(node: u16) -> String {
    let ring = Ring::even(3, 8).expect("a ring");
    let mut keys = (0..).map(|n| format!("k{n}"));
    keys.find(|key| ring.master_partition(key.as_bytes()) == u32::from(node)).expect("a key for each")
}

fn get_all(hand: &mut Hand, keys: &[&str]) {
    let keys: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
    hand.coordinator.get_all(hand.now, 7, &keys);
}

fn all_values(found: &[(&str, &str)]) -> Response {
    let one = |(key, clock): &(&str, &str)| (key.as_bytes().to_vec(), vec![version(clock, key)]);
    Response::AllValues(found.iter().map(one).collect())
}

fn check_found(hand: &mut Hand, expected: &[(&str, &str)]) {
    let Ok(KvAnswer::AllValues(found)) = hand.outcome().result else { panic!("another answer") };
    let found: Vec<_> = found
        .iter()
        .map(|(key, values)| (String::from_utf8_lossy(key).into_owned(), values[0].clock.to_string()))
        .collect();
    let expected: Vec<_> = expected.iter().map(|(k, c)| ((*k).to_owned(), (*c).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn each_node_gets_one_request_for_all_keys_that_it_is_preferred_for() {
    let (a, b) = (key(0), key(1));
    let mut hand = Hand::new(config(3, 2, 2));
    get_all(&mut hand, &[&b, &a, &b]);
    // a is on 0, 1, 2; b on 1, 2, 0; two are preferred.
    hand.check_sends(&[&format!("0 get-all {a}"), &format!("1 get-all {b} {a}"), &format!("2 get-all {b}")]);
    hand.reply(0, &all_values(&[(&a, "0:1")]));
    hand.reply(1, &all_values(&[(&b, "1:1"), (&a, "0:1")]));
    hand.pending();
    hand.reply(2, &all_values(&[(&b, "1:1")]));
    check_found(&mut hand, &[(&b, "1:1"), (&a, "0:1")]);
    hand.check_idle();
}

#[test]
fn keys_without_data_are_absent() {
    let (a, b) = (key(0), key(1));
    let mut hand = Hand::new(config(3, 1, 1));
    get_all(&mut hand, &[&a, &b]);
    hand.sends();
    hand.reply(0, &all_values(&[]));
    hand.reply(1, &all_values(&[(&b, "1:1")]));
    check_found(&mut hand, &[(&b, "1:1")]);
}

#[test]
fn of_no_keys_nothing_is_asked() {
    let mut hand = Hand::new(config(3, 2, 2));
    get_all(&mut hand, &[]);
    assert_eq!(hand.outcome().result, Ok(KvAnswer::AllValues(vec![])));
    hand.check_idle();
}

#[test]
fn missing_keys_are_read_from_further_nodes_until_as_many_as_preferred_answered() {
    let (a, b) = (key(0), key(1));
    let mut config = config(3, 1, 1);
    config.replication = config.replication.preferring(2, 1).expect("valid");
    let mut hand = Hand::new(config);
    get_all(&mut hand, &[&a, &b]);
    hand.sends();
    hand.reply(0, &all_values(&[(&a, "0:1")]));
    hand.reply(2, &all_values(&[(&b, "1:1")]));
    // Both are enough by now, but node 1 was preferred for both.
    hand.lose(1);
    hand.check_sends(&[&format!("0 get-all {b}"), &format!("2 get-all {a}")]);
    hand.lose(0);
    hand.reply(2, &all_values(&[(&a, "0:2")]));
    check_found(&mut hand, &[(&a, "0:2"), (&b, "1:1")]);
    hand.check_sends(&["0 put 0:2 ".to_owned() + &a].iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_slow_node_is_given_up_when_the_time_is_up_and_its_late_answer_is_not_counted() {
    let a = key(0);
    let mut config = config(3, 2, 2);
    config.timeouts.get_all_ms = Some(300);
    let mut hand = Hand::new(config);
    get_all(&mut hand, &[&a]);
    hand.sends();
    let first = hand.asked[&1][0];
    hand.reply(0, &all_values(&[(&a, "0:1")]));
    hand.wait(299);
    hand.check_sends(&[]);
    hand.wait(1);
    hand.check_sends(&[&format!("2 get-all {a}")]);
    hand.reply_to(first, 1, &all_values(&[(&a, "0:9")]));
    hand.pending();
    hand.reply(2, &all_values(&[(&a, "0:1")]));
    check_found(&mut hand, &[(&a, "0:1")]);
    hand.check_idle();
}

#[test]
fn a_key_short_of_answers_fails_the_whole_or_is_left_out() {
    let (a, b) = (key(0), key(1));
    for partial in [false, true] {
        let mut hand = Hand::new(ClientConfig { partial_get_all: partial, ..config(2, 2, 1) });
        get_all(&mut hand, &[&a, &b]);
        // a is on 0 and 1, b on 1 and 2.
        hand.check_sends(&[
            &format!("0 get-all {a}"),
            &format!("1 get-all {a} {b}"),
            &format!("2 get-all {b}"),
        ]);
        hand.lose(0);
        hand.reply(1, &all_values(&[(&a, "0:1"), (&b, "1:1")]));
        hand.reply(2, &all_values(&[(&b, "1:1")]));
        if partial {
            check_found(&mut hand, &[(&b, "1:1")]);
        } else {
            hand.check_insufficient(2, 1, &[(0, NodeFailure::Unreachable)]);
        }
        hand.check_idle();
    }
}

#[test]
fn a_refusal_of_the_whole_request_ends_it_at_once() {
    let a = key(0);
    let mut hand = Hand::new(ClientConfig { ring_tries: 1, ..config(3, 2, 2) });
    get_all(&mut hand, &[&a]);
    hand.sends();
    hand.reply(1, &Response::Refused(ReplicaError::InvalidMetadata));
    assert_eq!(hand.outcome().result, Err(KvOpError::InvalidMetadata { node: NodeId(1) }));
    hand.check_idle();
}
