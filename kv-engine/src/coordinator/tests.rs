//! The rules of routed operations, one exact case each: a coordinator alone, its replicas played by hand.

mod get_all;
mod resolve;
mod ring_change;
mod tombstones;
mod update;
mod zones;

use std::collections::BTreeMap;

use super::*;
use crate::message::ReplicaError;
use crate::version::Versioned;

const KEY: &[u8] = b"foobar";

/// A coordinator whose replicas are played by the test. The key's preference list is 0, 1, 2.
struct Hand {
    coordinator: Coordinator,
    now: Now,
    /// Ids of the requests, by node, oldest first.
    asked: BTreeMap<u16, Vec<RequestId>>,
}

fn config(n: u16, r: u16, w: u16) -> ClientConfig {
    ClientConfig::new(Replication::new(n, r, w).expect("valid"))
}

fn clock(text: &str) -> VectorClock {
    text.parse().expect("a clock")
}

fn version(text: &str, value: &str) -> Versioned {
    Versioned::new(clock(text), value)
}

fn values(versions: &[(&str, &str)]) -> Response {
    Response::Values(versions.iter().map(|(clock, value)| version(clock, value)).collect())
}

fn versions(clocks: &[&str]) -> Response {
    Response::Versions(clocks.iter().map(|text| clock(text)).collect())
}

fn obsolete(stored: &str) -> Response {
    Response::Refused(ReplicaError::ObsoleteVersion { stored: clock(stored) })
}

fn disk_failed() -> Response {
    Response::Refused(ReplicaError::Persistence { why: "no space".to_owned() })
}

impl Hand {
    fn new(config: ClientConfig) -> Self {
        // foobar's hash is 1080231576 without its sign, a multiple of 8: partition 0 is node 0's.
        let ring = Arc::new(Ring::even(3, 8).expect("a ring"));
        assert_eq!(ring.preference_list(KEY, 3), [NodeId(0), NodeId(1), NodeId(2)]);
        Self::on(ring, config)
    }

    fn on(ring: Arc<Ring>, config: ClientConfig) -> Self {
        let now = Now { ns: 1, wall_ms: 100 };
        Self { coordinator: Coordinator::new(ring, config), now, asked: BTreeMap::new() }
    }

    /// What is sent now, in words.
    fn sends(&mut self) -> Vec<String> {
        let mut sends = Vec::new();
        while let Some((Peer(node), bytes)) = self.coordinator.poll_output() {
            let (id, request) = Request::decode(&bytes).expect("a request");
            self.asked.entry(u16::try_from(node).expect("a node")).or_default().push(id);
            sends.push(match request {
                Request::Get { .. } => format!("{node} get"),
                Request::GetVersions { .. } => format!("{node} versions"),
                Request::Put { clock, value, .. } => {
                    format!("{node} put {clock} {}", String::from_utf8_lossy(value))
                }
                Request::Delete { clock, .. } => format!("{node} delete {clock}"),
                Request::Ping => format!("{node} ping"),
                Request::Changes { .. } => panic!("a coordinator follows nobody"),
                Request::Rebalance(_) => panic!("a coordinator moves nothing"),
                Request::GetHashes { .. } | Request::GetLeaves { .. } => panic!("only nodes compare"),
                Request::GetRing => format!("{node} ring"),
                Request::GetAll { keys } => {
                    let keys: Vec<_> = keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
                    format!("{node} get-all {}", keys.join(" "))
                }
                Request::Hint { key, clock, value } => {
                    let slop = Slop::decode_key(key).expect("a slop key");
                    assert_eq!((slop.store, slop.key), ("store", KEY));
                    let value = slop.decode_value(value).expect("this hint's value");
                    let value = String::from_utf8_lossy(&value);
                    format!("{node} hint for {}: {:?} {clock} {value}", slop.node.0, slop.operation)
                }
            });
        }
        sends
    }

    fn check_sends(&mut self, expected: &[&str]) {
        assert_eq!(self.sends(), expected);
    }

    /// The node answers what it was asked last.
    fn reply(&mut self, node: u16, response: &Response) {
        let id = *self.asked[&node].last().expect("it was asked");
        self.reply_to(id, node, response);
    }

    fn reply_to(&mut self, id: RequestId, node: u16, response: &Response) {
        let arrival = Arrival::Message { from: Peer(node.into()), bytes: response.encode(id) };
        self.coordinator.handle(self.now, &arrival);
    }

    fn lose(&mut self, node: u16) {
        self.coordinator.handle(self.now, &Arrival::Unreachable { peer: Peer(node.into()) });
    }

    fn wait(&mut self, ms: u64) {
        self.now.ns += ms * 1_000_000;
        self.now.wall_ms += i64::try_from(ms).expect("short");
        if self.coordinator.poll_timeout().is_some_and(|due| due <= self.now.ns) {
            self.coordinator.handle_timeout(self.now);
        }
    }

    fn get(&mut self) {
        self.coordinator.get(self.now, 7, KEY);
    }

    fn put(&mut self, base: &str, value: &str) {
        self.coordinator.put(self.now, 7, KEY, clock(base), value.as_bytes());
    }

    fn write(&mut self, value: &str) {
        self.coordinator.write(self.now, 7, KEY, value.as_bytes());
    }

    fn pending(&mut self) {
        assert_eq!(self.coordinator.poll_outcome(), None);
    }

    fn outcome(&mut self) -> KvOutcome {
        let outcome = self.coordinator.poll_outcome().expect("an outcome");
        assert_eq!(outcome.token, 7);
        outcome
    }

    fn check_values(&mut self, expected: &[(&str, &str)]) {
        let Ok(KvAnswer::Values(found)) = self.outcome().result else { panic!("no values") };
        assert_eq!(found, expected.iter().map(|(c, v)| version(c, v)).collect::<Vec<_>>());
    }

    fn check_written(&mut self, text: &str, copies: u16) {
        let outcome = self.outcome();
        assert_eq!((outcome.result, outcome.copies), (Ok(KvAnswer::Written(clock(text))), copies));
    }

    fn check_insufficient(&mut self, needed: u16, succeeded: u16, failures: &[(u16, NodeFailure)]) {
        let failures = failures.iter().map(|(node, failure)| (NodeId(*node), failure.clone())).collect();
        let error = KvOpError::InsufficientOperationalNodes { needed, succeeded, failures };
        assert_eq!(self.outcome().result, Err(error));
    }

    /// Nothing is left of finished operations.
    fn check_idle(&mut self) {
        assert_eq!(self.sends(), [""; 0]);
        assert_eq!(self.coordinator.in_flight(), 0);
        assert!(self.coordinator.slots.iter().all(|slot| slot.operation.is_none()));
        assert_eq!(self.coordinator.free.len(), self.coordinator.slots.len());
    }
}

mod get {
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
        let failures = [
            (0, NodeFailure::Persistence { why }),
            (1, NodeFailure::Unreachable),
            (2, NodeFailure::TimedOut),
        ];
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
}

mod put {
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
}

mod write {
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
}

mod delete {
    use super::*;

    #[test]
    fn goes_to_all_and_is_true_if_any_removed_something() {
        let mut hand = Hand::new(config(3, 2, 2));
        hand.coordinator.delete_version(hand.now, 7, KEY, clock("0:1"));
        hand.check_sends(&["0 delete 0:1", "1 delete 0:1", "2 delete 0:1"]);
        hand.reply(0, &Response::Deleted(false));
        hand.pending();
        hand.reply(1, &Response::Deleted(true));
        let outcome = hand.outcome();
        assert_eq!((outcome.result, outcome.copies), (Ok(KvAnswer::Deleted(true)), 2));
        hand.reply(2, &Response::Deleted(true));
        hand.check_idle();
    }

    #[test]
    fn waits_for_the_rest_when_those_preferred_were_too_few() {
        let mut hand = Hand::new(config(3, 2, 2));
        hand.coordinator.delete_version(hand.now, 7, KEY, clock("0:1"));
        hand.sends();
        hand.lose(0);
        hand.reply(1, &Response::Deleted(false));
        hand.pending();
        hand.reply(2, &Response::Deleted(false));
        assert_eq!(hand.outcome().result, Ok(KvAnswer::Deleted(false)));
        hand.check_idle();
    }

    #[test]
    fn without_a_clock_reads_the_clocks_first() {
        let mut hand = Hand::new(config(3, 2, 2));
        hand.coordinator.delete(hand.now, 7, KEY);
        hand.check_sends(&["0 versions", "1 versions"]);
        hand.reply(0, &versions(&["0:1"]));
        hand.reply(1, &versions(&["1:1"]));
        hand.check_sends(&["0 delete 0:1,1:1", "1 delete 0:1,1:1", "2 delete 0:1,1:1"]);
        hand.reply(0, &Response::Deleted(true));
        hand.lose(1);
        hand.wait(5000);
        hand.check_insufficient(2, 1, &[(1, NodeFailure::Unreachable), (2, NodeFailure::TimedOut)]);
        hand.check_idle();
        hand.coordinator.delete(hand.now, 7, KEY);
        hand.check_sends(&["0 versions", "1 versions"]);
        hand.reply(0, &versions(&[]));
        hand.reply(1, &versions(&[]));
        assert_eq!(hand.outcome().result, Ok(KvAnswer::Deleted(false)));
        hand.check_idle();
    }
}

mod hints {
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
}

mod detector {
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

    #[test]
    fn messages_of_strangers_and_garbage_change_nothing() {
        let mut hand = Hand::new(config(3, 2, 2));
        hand.get();
        hand.check_sends(&["0 get", "1 get"]);
        let id = hand.asked[&0][0];
        let bytes = values(&[("9:9", "x")]).encode(id);
        for from in [3, 1000, 70_000] {
            let message = Arrival::Message { from: Peer(from), bytes: bytes.clone() };
            hand.coordinator.handle(hand.now, &message);
        }
        let garbage = Arrival::Message { from: Peer(0), bytes: b"garbage".to_vec() };
        hand.coordinator.handle(hand.now, &garbage);
        hand.reply(0, &Response::Stored);
        hand.pending();
        assert_eq!(hand.coordinator.stats().garbled, 1);
        hand.reply(0, &values(&[]));
        hand.reply(1, &values(&[]));
        hand.check_values(&[]);
    }
}
