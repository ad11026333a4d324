//! [`KvFollower`]: follows the changes of all nodes of a cluster. One thread drives it; nothing happens outside of its
//! calls.
//!
//! Each node tells what its own store took, in its order, each change once: so a write comes from every replica that has
//! it, and nothing orders what two nodes tell. What that means for a reader is the caller's to decide.

use std::sync::Arc;
use std::time::Duration;

use engine_env::clock::Monotonic;
use engine_env::{Arrival, Peer, Port, PortStats, Wait, Waker};

use crate::message::{NodeChange, Request, RequestId, Response};
use crate::ring::{NodeId, Ring};

/// How changes are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Following {
    /// The node keeps the question until there is something new: changes come as if they were pushed.
    Push,
    /// The follower asks this many milliseconds after each answer: what polling costs, to compare.
    Pull {
        /// How long after an answer.
        every_ms: u64,
    },
}

/// Settings of a [`KvFollower`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowConfig {
    /// How it asks. Default: push.
    pub following: Following,
    /// Most bytes of one node's records in one answer, but at least a change. Default: 1 MiB.
    pub max_bytes: u32,
    /// How long after a failure a node is asked again, in milliseconds. Default: 20.
    pub retry_ms: u64,
}

impl Default for FollowConfig {
    fn default() -> Self {
        Self { following: Following::Push, max_bytes: 1 << 20, retry_ms: 20 }
    }
}

/// Something that a node told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The node.
    pub node: NodeId,
    /// Its change, or why it tells nothing more.
    pub change: Result<NodeChange, String>,
}

/// When a node is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// At this time.
    Due(u64),
    /// It was asked, under this id.
    Asked(RequestId),
    /// Never: it refuses.
    Over,
}

#[derive(Debug)]
struct Source {
    node: NodeId,
    position: u64,
    turn: Turn,
}

/// Follows every node of a cluster from the beginning.
#[derive(Debug)]
pub struct KvFollower<P> {
    port: P,
    config: FollowConfig,
    sources: Vec<Source>,
    next_id: u64,
    clock: Monotonic,
    /// Reused.
    arrivals: Vec<Arrival>,
}

impl<P: Port> KvFollower<P> {
    /// A follower on a port, of the cluster with this ring.
    #[must_use]
    pub fn new(port: P, ring: &Arc<Ring>, config: FollowConfig) -> Self {
        let source = |node: &NodeId| Source { node: *node, position: 0, turn: Turn::Due(0) };
        let sources = ring.nodes().iter().map(source).collect();
        Self { port, config, sources, next_id: 1, clock: Monotonic::start(), arrivals: Vec::new() }
    }

    /// Asks whom it is time to ask, takes what has come, and moves it to the end of `out`, waiting for something first as
    /// `wait` says. Ends early, perhaps with nothing, when it is woken.
    pub fn poll(&mut self, wait: Wait, out: &mut Vec<Followed>) {
        let before = out.len();
        let begun_ns = self.clock.now_ns();
        let until_ns = match wait {
            Wait::No => 0,
            Wait::AtMost(limit) => {
                begun_ns.saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
            }
            Wait::Forever => u64::MAX,
        };
        loop {
            let now_ns = self.clock.now_ns();
            let due_ns = self.ask(now_ns);
            let wait = match until_ns.min(due_ns) {
                u64::MAX => Wait::Forever,
                at_ns if at_ns <= now_ns => Wait::No,
                at_ns => Wait::AtMost(Duration::from_nanos(at_ns - now_ns)),
            };
            let mut arrivals = std::mem::take(&mut self.arrivals);
            // It flushes first.
            let is_woken = self.port.receive(wait, &mut arrivals);
            let now_ns = self.clock.now_ns();
            for arrival in arrivals.drain(..) {
                self.take(now_ns, &arrival, out);
            }
            self.arrivals = arrivals;
            if out.len() > before || is_woken || now_ns >= until_ns {
                // The next questions go at once, not when the caller comes back.
                self.ask(now_ns);
                self.port.flush();
                return;
            }
        }
    }

    /// Asks whom it is time to ask; when the next one is due.
    fn ask(&mut self, now_ns: u64) -> u64 {
        let mut next_ns = u64::MAX;
        for source in &mut self.sources {
            let Turn::Due(at_ns) = source.turn else { continue };
            if at_ns > now_ns {
                next_ns = next_ns.min(at_ns);
                continue;
            }
            let id = RequestId(self.next_id);
            self.next_id += 1;
            let question = Request::Changes { from: source.position, max_bytes: self.config.max_bytes };
            self.port.send(Peer(source.node.0.into()), question.encode(id));
            source.turn = Turn::Asked(id);
        }
        next_ns
    }

    fn take(&mut self, now_ns: u64, arrival: &Arrival, out: &mut Vec<Followed>) {
        let from = match arrival {
            Arrival::Message { from, .. } => *from,
            Arrival::Unreachable { peer } => *peer,
        };
        let Some(source) = self.sources.iter_mut().find(|source| Peer(source.node.0.into()) == from) else {
            return;
        };
        let node = source.node;
        let after = |ms: u64| Turn::Due(now_ns.saturating_add(ms.saturating_mul(1_000_000)));
        let answer = match arrival {
            Arrival::Unreachable { .. } => {
                if source.turn != Turn::Over {
                    source.turn = after(self.config.retry_ms);
                }
                return;
            }
            Arrival::Message { bytes, .. } => Response::decode(bytes),
        };
        // What doesn't fit the open question is an answer to one that was given up.
        let Ok((id, answer)) = answer else { return };
        if source.turn != Turn::Asked(id) {
            return;
        }
        match answer {
            Response::Changes { next, changes } => {
                source.position = next;
                source.turn = match self.config.following {
                    Following::Push => Turn::Due(now_ns),
                    Following::Pull { every_ms } => after(every_ms),
                };
                out.extend(changes.into_iter().map(|change| Followed { node, change: Ok(change) }));
            }
            Response::Refused(error) => {
                source.turn = Turn::Over;
                out.push(Followed { node, change: Err(error.to_string()) });
            }
            _ => {}
        }
    }

    /// Ends a waiting [`KvFollower::poll`] from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.port.waker()
    }

    /// What its port has carried.
    #[must_use]
    pub fn port_stats(&self) -> PortStats {
        self.port.stats()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Each receive gives the next of these: what arrives, and whether somebody woke the port at the same time.
    struct Script(VecDeque<(Response, bool)>, RequestId);

    impl Port for Script {
        fn me(&self) -> Peer {
            Peer(1000)
        }

        fn send(&mut self, _: Peer, bytes: Vec<u8>) {
            self.1 = Request::decode(&bytes).expect("a question").0;
        }

        fn flush(&mut self) {}

        fn receive(&mut self, _: Wait, out: &mut Vec<Arrival>) -> bool {
            let (answer, is_woken) = self.0.pop_front().expect("it came back before");
            out.push(Arrival::Message { from: Peer(0), bytes: answer.encode(self.1) });
            is_woken
        }

        fn waker(&self) -> Waker {
            Waker::new(|| {})
        }

        fn stats(&self) -> PortStats {
            PortStats::default()
        }
    }

    /// What it is woken for may be its end: it must not wait on because a node said at the same time that there is
    /// nothing.
    #[test]
    fn a_wake_ends_a_poll_even_if_an_empty_answer_came_with_it() {
        let empty = || Response::Changes { next: 0, changes: Vec::new() };
        let script = Script([(empty(), false), (empty(), true)].into(), RequestId(0));
        let ring = Arc::new(Ring::even(1, 1).expect("a ring"));
        let mut follower = KvFollower::new(script, &ring, FollowConfig::default());
        let mut told = Vec::new();
        follower.poll(Wait::Forever, &mut told);
        assert_eq!((told, follower.port.0.len()), (Vec::new(), 0));
    }
}
