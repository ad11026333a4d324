//! Nodes that are down: who isn't asked, and how one comes back.

use super::*;

/// Ten gets that find node 0 unreachable.
fn with_node_0_down() -> Hand {
    let mut hand = Hand::new(config(3, 2, 2));
    (0..10).for_each(|_| hand.get());
    hand.sends();
    hand.lose(0);
    assert_eq!(hand.coordinator.down().collect::<Vec<_>>(), [NodeId(0)]);
    for id in hand.asked[&1].clone() {
        hand.reply_to(id, 1, &values(&[]));
    }
    hand.sends();
    for id in hand.asked[&2].clone() {
        hand.reply_to(id, 2, &values(&[]));
    }
    (0..10).for_each(|_| hand.check_values(&[]));
    hand.check_idle();
    hand
}

#[test]
fn a_node_that_is_down_is_not_asked() {
    let mut hand = with_node_0_down();
    hand.get();
    hand.check_sends(&["1 get", "2 get"]);
    hand.put("-", "v");
    hand.check_sends(&["1 put 1:1 v"]);
}

#[test]
fn with_too_few_left_nothing_is_sent() {
    let mut hand = with_node_0_down();
    (0..10).for_each(|_| hand.get());
    hand.sends();
    hand.lose(1);
    hand.wait(5000);
    (0..10).for_each(|_| drop(hand.outcome()));
    hand.get();
    let down = [(0, NodeFailure::Down), (1, NodeFailure::Down)];
    hand.check_insufficient(2, 0, &down);
    hand.write("v");
    hand.check_insufficient(2, 0, &down);
    hand.check_sends(&[]);
}

#[test]
fn a_probe_every_ten_seconds_brings_it_back() {
    let mut hand = with_node_0_down();
    hand.wait(9_999);
    hand.check_sends(&[]);
    hand.wait(1);
    hand.check_sends(&["0 ping"]);
    hand.wait(10_000);
    hand.check_sends(&["0 ping"]);
    hand.reply(0, &Response::Pong);
    assert_eq!(hand.coordinator.down().count(), 0);
    assert_eq!(hand.coordinator.poll_timeout(), None);
    hand.get();
    hand.check_sends(&["0 get", "1 get"]);
}
