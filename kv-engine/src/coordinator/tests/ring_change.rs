//! A node refuses a key that it doesn't hold: the client asks for the ring and tries again, three times in all.

use super::*;

fn refused() -> Response {
    Response::Refused(ReplicaError::InvalidMetadata)
}

fn told(version: u64, nodes: u16) -> Response {
    Response::Ring { version, ring: Arc::new(Ring::even(nodes, 8).expect("a ring")) }
}

#[test]
fn the_ring_is_read_from_the_node_that_refused_and_the_operation_starts_again() {
    let mut hand = Hand::new(config(1, 1, 1));
    hand.write("v");
    hand.check_sends(&["0 versions"]);
    hand.reply(0, &versions(&[]));
    hand.check_sends(&["0 put 0:1 v"]);
    hand.reply(0, &refused());
    hand.check_sends(&["0 ring"]);
    assert_eq!(hand.coordinator.in_flight(), 1);
    // Partition 0 is node 4's now.
    let ring = Ring::new([(NodeId(4), (0..8).collect()), (NodeId(0), vec![])]).expect("a ring");
    hand.reply(0, &Response::Ring { version: 3, ring: Arc::new(ring) });
    hand.check_sends(&["4 versions"]);
    hand.reply(4, &versions(&[]));
    hand.check_sends(&["4 put 4:1 v"]);
    hand.reply(4, &Response::Stored);
    hand.check_written("4:1", 1);
    assert_eq!((hand.coordinator.ring_version(), hand.coordinator.stats().ring_reads), (3, 1));
    hand.check_idle();
}

#[test]
fn the_third_refusal_is_the_answer() {
    let mut hand = Hand::new(config(3, 1, 1));
    hand.get();
    for version in 1..=2 {
        hand.check_sends(&["0 get"]);
        hand.reply(0, &refused());
        hand.check_sends(&["0 ring"]);
        hand.reply(0, &told(version, 3));
    }
    hand.check_sends(&["0 get"]);
    hand.reply(0, &refused());
    assert_eq!(hand.outcome().result, Err(KvOpError::InvalidMetadata { node: NodeId(0) }));
    hand.check_idle();
}

#[test]
fn an_older_ring_is_not_taken_and_who_does_not_answer_is_passed_over() {
    let mut hand = Hand::new(config(3, 1, 1));
    hand.coordinator.set_ring(5, Arc::new(Ring::even(3, 8).expect("a ring")));
    hand.get();
    hand.check_sends(&["0 get"]);
    hand.reply(0, &refused());
    hand.check_sends(&["0 ring"]);
    hand.reply(0, &told(4, 2));
    assert_eq!(hand.coordinator.ring_version(), 5);
    hand.check_sends(&["1 ring"]);
    hand.lose(1);
    hand.check_sends(&["2 ring"]);
    hand.wait(4999);
    hand.check_sends(&[]);
    hand.wait(1);
    // Nobody knows a newer one: it is tried with the same.
    hand.check_sends(&["0 get"]);
    hand.reply(0, &values(&[]));
    hand.check_values(&[]);
    hand.check_idle();
}

#[test]
fn operations_that_are_refused_meanwhile_wait_for_the_same_ring() {
    let mut hand = Hand::new(config(3, 1, 1));
    hand.get();
    hand.get();
    hand.check_sends(&["0 get", "0 get"]);
    let ids = hand.asked[&0].clone();
    hand.reply_to(ids[0], 0, &refused());
    hand.reply_to(ids[1], 0, &refused());
    hand.check_sends(&["0 ring"]);
    hand.reply(0, &told(1, 3));
    hand.check_sends(&["0 get", "0 get"]);
    // A second answer under the same id changes nothing.
    let ring_id = hand.asked[&0][2];
    hand.reply_to(ring_id, 0, &told(9, 2));
    assert_eq!(hand.coordinator.ring_version(), 1);
}

#[test]
fn updates_deletes_and_get_alls_start_again_too() {
    let mut hand = Hand::new(config(3, 1, 1));
    hand.coordinator.apply_update(hand.now, 7, KEY, Box::new(|_: Option<&Versioned>| b"v".to_vec()));
    hand.sends();
    hand.reply(0, &refused());
    hand.sends();
    hand.reply(0, &told(1, 3));
    hand.check_sends(&["0 get"]);
    hand.reply(0, &values(&[]));
    hand.check_sends(&["0 put 0:1 v"]);
    let mut hand = Hand::new(config(3, 1, 1));
    hand.coordinator.delete_version(hand.now, 7, KEY, clock("0:4"));
    hand.sends();
    hand.reply(1, &refused());
    hand.check_sends(&["1 ring"]);
    hand.reply(1, &told(1, 3));
    hand.check_sends(&["0 delete 0:4", "1 delete 0:4", "2 delete 0:4"]);
    let mut hand = Hand::new(config(3, 1, 1));
    hand.coordinator.get_all(hand.now, 7, &[KEY]);
    hand.sends();
    hand.reply(0, &refused());
    hand.sends();
    hand.reply(0, &told(1, 3));
    hand.check_sends(&["0 get-all foobar"]);
}
