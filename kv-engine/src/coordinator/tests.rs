//! The rules of routed operations, one exact case each: a coordinator alone, its replicas played by hand.

mod delete;
mod failure_detector;
mod get;
mod get_all;
mod hints;
mod put;
mod resolve;
mod ring_change;
mod tombstones;
mod update;
mod write;
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
