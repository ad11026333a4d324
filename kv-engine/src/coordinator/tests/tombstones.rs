//! Replica tombstones, beyond the original: a delete is a version.

use super::*;
use crate::version::tombstone;

fn hand() -> Hand {
    Hand::new(ClientConfig { replica_tombstones: true, ..config(3, 2, 2) })
}

fn buried(clocks: &[&str]) -> Response {
    Response::Values(clocks.iter().map(|text| Versioned::new(clock(text), tombstone::tombstone())).collect())
}

/// The clock of the tombstone that is sent to a node.
fn sent_tombstone(hand: &mut Hand) -> String {
    let (Peer(node), bytes) = hand.coordinator.poll_output().expect("something is sent");
    let (id, request) = Request::decode(&bytes).expect("a request");
    hand.asked.entry(u16::try_from(node).expect("a node")).or_default().push(id);
    let Request::Put { clock, value, .. } = request else { panic!("no put: {request:?}") };
    assert_eq!(value, tombstone::tombstone());
    format!("{node} {clock}")
}

#[test]
fn a_delete_puts_a_version_that_descends_from_what_was_read() {
    let mut hand = hand();
    hand.coordinator.delete(hand.now, 7, KEY);
    hand.check_sends(&["0 versions", "1 versions"]);
    hand.reply(0, &versions(&["0:1"]));
    hand.reply(1, &versions(&["1:1"]));
    assert_eq!(sent_tombstone(&mut hand), "0 0:2,1:1");
    hand.reply(0, &Response::Stored);
    assert_eq!(sent_tombstone(&mut hand), "1 0:2,1:1");
    assert_eq!(sent_tombstone(&mut hand), "2 0:2,1:1");
    hand.reply(2, &Response::Stored);
    let outcome = hand.outcome();
    assert_eq!((outcome.result, outcome.copies), (Ok(KvAnswer::Deleted(true)), 2));
    hand.reply(1, &Response::Stored);
    hand.check_idle();
}

#[test]
fn a_replica_that_missed_the_delete_brings_nothing_back() {
    let mut hand = hand();
    hand.get();
    hand.sends();
    hand.reply(0, &buried(&["0:2"]));
    hand.reply(1, &values(&[("0:1", "old")]));
    hand.check_values(&[]);
    assert_eq!(sent_tombstone(&mut hand), "1 0:2", "read repair carries it on");
    hand.check_idle();
}

#[test]
fn a_write_after_a_delete_descends_from_it() {
    let mut hand = hand();
    hand.write("v");
    hand.sends();
    hand.reply(0, &versions(&["0:2"]));
    hand.reply(1, &versions(&["0:1"]));
    hand.check_sends(&["0 put 0:3 v"]);
    let mut hand = self::hand();
    let update = |current: Option<&Versioned>| {
        assert_eq!(current, None);
        b"v".to_vec()
    };
    hand.coordinator.apply_update(hand.now, 7, KEY, Box::new(update));
    hand.sends();
    hand.reply(0, &buried(&["0:2"]));
    hand.reply(1, &buried(&["0:2"]));
    hand.check_sends(&["0 put 0:3 v"]);
}

#[test]
fn a_write_beside_a_delete_stays_and_its_clock_covers_both() {
    let mut hand = hand();
    hand.get();
    hand.sends();
    hand.reply(0, &buried(&["0:2"]));
    hand.reply(1, &values(&[("1:1", "beside")]));
    hand.check_values(&[("0:2,1:1", "beside")]);
}

#[test]
fn an_obsolete_delete_reads_again_and_one_of_a_version_says_so() {
    let mut hand = Hand::new(ClientConfig { replica_tombstones: true, ..config(3, 1, 1) });
    hand.coordinator.delete(hand.now, 7, KEY);
    hand.sends();
    hand.reply(0, &versions(&["0:1"]));
    assert_eq!(sent_tombstone(&mut hand), "0 0:2");
    hand.reply(0, &obsolete("0:2"));
    hand.check_sends(&["0 versions"]);
    hand.reply(0, &versions(&["0:2"]));
    assert_eq!(sent_tombstone(&mut hand), "0 0:3");
    hand.reply(0, &Response::Stored);
    assert_eq!(hand.outcome().retries, 1);
    hand.coordinator.delete_version(hand.now, 7, KEY, clock("0:1"));
    hand.sends();
    hand.reply(0, &obsolete("0:3"));
    assert!(matches!(hand.outcome().result, Err(KvOpError::ObsoleteVersion { .. })));
}

#[test]
fn any_value_can_be_written_even_one_that_looks_like_a_tombstone() {
    let mut hand = hand();
    hand.coordinator.put(hand.now, 7, KEY, clock("-"), &tombstone::tombstone());
    let (_, bytes) = hand.coordinator.poll_output().expect("the master is asked");
    let Ok((_, Request::Put { value, .. })) = Request::decode(&bytes) else { panic!("no put") };
    let value = value.to_vec();
    assert_ne!(value, tombstone::tombstone());
    let mut hand = self::hand();
    hand.get();
    hand.sends();
    let stored = || Response::Values(vec![Versioned::new(clock("0:1"), value.clone())]);
    hand.reply(0, &stored());
    hand.reply(1, &stored());
    let Ok(KvAnswer::Values(found)) = hand.outcome().result else { panic!("no values") };
    assert_eq!(found[0].value, tombstone::tombstone());
}
