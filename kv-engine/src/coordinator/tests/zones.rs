//! The rules of zone routing. Nodes 0 and 1 in zone 0, 2 and 3 in zone 1, 4 and 5 in zone 2; of zone 0, zone 2 is
//! nearest. foobar's preference list is 0, 1, 2, 3, 4, 5.

use super::*;
use crate::ring::{Zone, ZoneId, ZoneQuotas};

fn ring() -> Arc<Ring> {
    let near = [[2, 1], [0, 2], [0, 1]];
    let zones = near.iter().zip(0..).map(|(near, id)| Zone::new(ZoneId(id), near.map(ZoneId)));
    let node = |id: u16| (NodeId(id), ZoneId(id / 2), vec![u32::from(id)]);
    // 1080231576 mod 6 = 0.
    Arc::new(Ring::zoned(zones, (0..6).map(node)).expect("a ring"))
}

fn zoned(r: u16, w: u16, zone_counts: (u16, u16)) -> ClientConfig {
    let quotas = ZoneQuotas::new((0..3).map(|zone| (ZoneId(zone), 2)), 6).expect("six");
    let (zone_count_reads, zone_count_writes) = zone_counts;
    let routing = RoutingStrategy::Zone(quotas);
    ClientConfig { routing, zone_count_reads, zone_count_writes, ..config(6, r, w) }
}

fn hand(config: ClientConfig) -> Hand {
    Hand::on(ring(), config)
}

#[test]
fn a_client_without_a_zone_is_in_the_clusters_first_one() {
    let mut hand = hand(zoned(3, 1, (0, 0)));
    hand.get();
    hand.check_sends(&["0 get", "1 get", "4 get"]);
}

#[test]
fn a_client_asks_its_own_zone_first() {
    let mut hand = hand(ClientConfig { zone: Some(ZoneId(1)), ..zoned(3, 1, (0, 0)) });
    hand.get();
    hand.check_sends(&["2 get", "3 get", "0 get"]);
}

#[test]
fn a_read_begins_with_a_node_of_each_zone_that_must_answer() {
    let mut hand = hand(zoned(2, 1, (1, 0)));
    hand.get();
    hand.check_sends(&["4 get", "0 get"]);
    hand.reply(4, &values(&[]));
    hand.reply(0, &values(&[]));
    hand.check_values(&[]);
    hand.check_idle();
}

#[test]
fn a_read_short_of_zones_asks_the_others_one_by_one() {
    let mut hand = hand(zoned(2, 1, (1, 0)));
    hand.get();
    hand.check_sends(&["4 get", "0 get"]);
    hand.lose(4);
    hand.reply(0, &values(&[]));
    // Enough replicas, once node 1 has answered, but all in one zone.
    hand.check_sends(&["1 get"]);
    hand.reply(1, &values(&[]));
    hand.check_sends(&["5 get"]);
    hand.reply(5, &values(&[]));
    hand.check_values(&[]);
    hand.check_idle();
}

#[test]
fn a_read_that_no_other_zone_answers_fails_for_that() {
    let mut hand = hand(zoned(2, 1, (1, 0)));
    hand.get();
    hand.sends();
    hand.lose(4);
    hand.reply(0, &values(&[]));
    hand.check_sends(&["1 get"]);
    hand.reply(1, &values(&[]));
    for node in [5, 2, 3] {
        assert_eq!(hand.sends(), [format!("{node} get")]);
        hand.lose(node);
    }
    let Err(KvOpError::InsufficientZoneResponses { needed: 2, succeeded: 1, failures }) =
        hand.outcome().result
    else {
        panic!("another outcome")
    };
    assert_eq!(failures.len(), 4);
    hand.check_idle();
}

#[test]
fn a_put_waits_until_enough_zones_have_it() {
    let mut hand = hand(zoned(1, 2, (0, 1)));
    hand.put("-", "v");
    // Writes begin with the client's own zone, however many zones they need.
    hand.check_sends(&["0 put 0:1 v"]);
    hand.reply(0, &Response::Stored);
    assert_eq!(hand.sends().len(), 5);
    hand.reply(1, &Response::Stored);
    hand.pending();
    hand.reply(3, &Response::Stored);
    hand.check_written("0:1", 3);
}

#[test]
fn a_put_in_too_few_zones_fails_and_stays() {
    let mut hand = hand(zoned(1, 2, (0, 2)));
    hand.put("-", "v");
    hand.sends();
    hand.reply(0, &Response::Stored);
    hand.sends();
    hand.reply(1, &Response::Stored);
    hand.reply(4, &Response::Stored);
    hand.reply(5, &Response::Stored);
    hand.lose(2);
    hand.pending();
    hand.wait(5000);
    let result = hand.outcome().result;
    assert!(
        matches!(result, Err(KvOpError::InsufficientZoneResponses { needed: 3, succeeded: 2, .. })),
        "{result:?}"
    );
    hand.check_idle();
}

#[test]
fn a_delete_waits_for_zones_too() {
    let mut hand = hand(zoned(1, 2, (0, 1)));
    hand.coordinator.delete_version(hand.now, 7, KEY, clock("0:1"));
    assert_eq!(hand.sends().len(), 6);
    hand.reply(0, &Response::Deleted(true));
    hand.reply(1, &Response::Deleted(true));
    hand.pending();
    hand.reply(2, &Response::Deleted(false));
    assert_eq!(hand.outcome().result, Ok(KvAnswer::Deleted(true)));
}

#[test]
fn the_zone_count_is_not_enforced_for_get_all() {
    let mut hand = hand(zoned(2, 1, (1, 0)));
    hand.coordinator.get_all(hand.now, 7, &[KEY]);
    hand.check_sends(&["0 get-all foobar", "4 get-all foobar"]);
    hand.lose(4);
    hand.reply(0, &Response::AllValues(vec![]));
    hand.check_sends(&["1 get-all foobar"]);
    hand.reply(1, &Response::AllValues(vec![]));
    assert_eq!(hand.outcome().result, Ok(KvAnswer::AllValues(vec![])));
}

#[test]
fn more_zones_than_can_answer_are_refused_at_once() {
    let mut hand = hand(zoned(1, 2, (2, 0)));
    hand.get();
    let error = KvOpError::TooManyZones { zones: 2, near: 2, required: 1 };
    assert_eq!(hand.outcome().result, Err(error), "more than required replicas");
    let mut hand = self::hand(zoned(3, 1, (3, 0)));
    hand.get();
    let error = KvOpError::TooManyZones { zones: 3, near: 2, required: 3 };
    assert_eq!(hand.outcome().result, Err(error), "more than the proximity list has");
    hand.check_idle();
}

#[test]
fn zones_are_counted_among_the_nodes_that_are_up() {
    let mut hand = hand(zoned(2, 1, (1, 0)));
    for _ in 0..10 {
        hand.coordinator.detector.failure(hand.now.ns, NodeId(4), &NodeFailure::Unreachable);
    }
    hand.get();
    hand.check_sends(&["5 get", "0 get"]);
}
