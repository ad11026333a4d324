//! Resolvers of the caller's, and timeouts of each operation's own.

use super::*;
use crate::version::{FailingResolver, MergingResolver};

fn with(resolver: impl crate::version::Resolver + 'static) -> Hand {
    Hand::new(ClientConfig { resolve: Resolve::By(Arc::new(resolver)), ..config(3, 1, 1) })
}

fn join() -> MergingResolver<impl Fn(&[u8], &[u8]) -> Vec<u8> + Send + Sync> {
    MergingResolver(|a: &[u8], b: &[u8]| [a, b"+", b].concat())
}

#[test]
fn a_resolver_of_the_callers_makes_one_of_several() {
    let mut hand = with(join());
    hand.get();
    hand.sends();
    hand.reply(0, &values(&[("0:1", "a"), ("1:1", "b")]));
    hand.check_values(&[("0:1,1:1", "a+b")]);
}

#[test]
fn more_than_one_version_left_is_inconsistent() {
    let mut hand = with(FailingResolver);
    hand.get();
    hand.sends();
    // What is obsolete goes before the resolver is asked.
    hand.reply(0, &values(&[("0:1", "a"), ("0:2", "b")]));
    hand.check_values(&[("0:2", "b")]);
    hand.get();
    hand.sends();
    hand.reply(0, &values(&[("0:1", "a"), ("1:1", "b")]));
    let clocks = vec![clock("0:1"), clock("1:1")];
    assert_eq!(hand.outcome().result, Err(KvOpError::InconsistentData { clocks }));
    hand.check_idle();
}

#[test]
fn a_write_over_several_versions_is_a_resolved_get_first() {
    let mut hand = with(join());
    hand.write("v");
    hand.check_sends(&["0 versions"]);
    hand.reply(0, &versions(&["0:1", "1:1"]));
    hand.check_sends(&["0 get"]);
    hand.reply(0, &values(&[("0:1", "a"), ("1:1", "b")]));
    hand.check_sends(&["0 put 0:2,1:1 v"]);
    let mut hand = with(FailingResolver);
    hand.write("v");
    hand.sends();
    hand.reply(0, &versions(&["0:1", "1:1"]));
    hand.check_sends(&["0 get"]);
    hand.reply(0, &values(&[("0:1", "a"), ("1:1", "b")]));
    assert!(matches!(hand.outcome().result, Err(KvOpError::InconsistentData { .. })));
}

#[test]
fn each_operation_may_have_a_timeout_of_its_own() {
    let mut config = config(1, 1, 1);
    config.timeouts = OperationTimeouts {
        get_ms: Some(10),
        get_all_ms: Some(20),
        get_versions_ms: Some(30),
        put_ms: Some(40),
        delete_ms: None,
    };
    config.timeout_ms = 50;
    let check = |start: fn(&mut Hand), ms: u64| {
        let mut hand = Hand::on(Arc::new(Ring::even(1, 1).expect("a ring")), config.clone());
        start(&mut hand);
        hand.sends();
        hand.wait(ms - 1);
        hand.pending();
        hand.wait(1);
        hand.check_insufficient(1, 0, &[(0, NodeFailure::TimedOut)]);
    };
    check(Hand::get, 10);
    check(|hand| hand.coordinator.get_all(hand.now, 7, &[KEY]), 20);
    check(|hand| hand.coordinator.get_versions(hand.now, 7, KEY), 30);
    check(|hand| hand.put("-", "v"), 40);
    check(|hand| hand.coordinator.delete_version(hand.now, 7, KEY, clock("0:1")), 50);
}
