//! [`NodeMachine`]: what a node does with what reaches it: its replica, its part in rebalances, the delivery of its hints, its
//! anti-entropy. Arrivals, completions and time go in, messages come out; it names no thread, clock or socket.

use std::sync::Arc;

use engine_env::{Arrival, Peer};

use super::config::NodeConfig;
use super::error::StartError;
use super::stats::NodeStats;
use super::stores::{NodeStore, Stores};
use crate::anti_entropy::AntiEntropy;
use crate::handoff::Pusher;
use crate::membership::{KeptMetadata, Rebalancer};
use crate::message::{Response, asks_about_trees, is_response};
use crate::replica::{NOBODYS, Replica};
use crate::ring::{NodeId, Ring, Routing};
use crate::storage::bitcask::KvDone;

/// See the module. Times are nanoseconds of one clock, rising.
#[derive(Debug)]
pub(super) struct NodeMachine {
    replica: Replica,
    rebalancer: Rebalancer,
    /// None: it keeps no hints.
    pusher: Option<Pusher>,
    anti_entropy: Option<AntiEntropy>,
    /// Whether it is walking through the store, so that it wants its next turn at once.
    walks: bool,
}

impl NodeMachine {
    /// Whether the node can start with this, before its folders are touched.
    ///
    /// # Errors
    /// The ring doesn't know it, and it goes by no other.
    pub(super) fn check(node: NodeId, ring: &Ring, kept: &KeptMetadata) -> Result<(), StartError> {
        let is_known = kept.ring.is_some() || ring.nodes().binary_search(&node).is_ok();
        if is_known { Ok(()) } else { Err(StartError::NotInRing { node }) }
    }

    /// Goes by the ring that was kept, or else by `ring`. `first_id` is higher than any that an earlier life of the node has
    /// given, as the time is.
    ///
    /// # Errors
    /// What was kept can't be read.
    pub(super) fn new(
        node: NodeId,
        ring: Arc<Ring>,
        config: NodeConfig,
        kept: &KeptMetadata,
        keeps_hints: bool,
        (now_ns, first_id): (u64, u64),
    ) -> Result<Self, StartError> {
        let pusher = Pusher::new(now_ns, config.push_every_ms, config.store);
        #[cfg(feature = "planted-bugs")]
        let pusher = pusher.with_bug(config.planted_bug);
        let routing = Routing::new(ring, config.routing, config.replicas);
        let (rebalancer, replica) = Rebalancer::open(node, routing, kept, first_id, config.rebalancer)
            .map_err(|source| StartError::Metadata { node, source })?;
        Ok(Self {
            replica,
            rebalancer,
            pusher: keeps_hints.then_some(pusher),
            anti_entropy: config.anti_entropy.map(|config| AntiEntropy::new(now_ns, node, config)),
            walks: false,
        })
    }

    /// Takes what came over the network.
    pub(super) fn handle<S: NodeStore>(&mut self, now_ns: u64, arrival: &Arrival, stores: &Stores<S>) {
        match arrival {
            Arrival::Message { from, bytes } if is_response(bytes) => {
                self.answered(now_ns, *from, bytes, stores);
            }
            Arrival::Message { from, bytes } if asks_about_trees(bytes) && self.compares() => {
                if let Some(anti_entropy) = &mut self.anti_entropy {
                    anti_entropy.asked(*from, bytes, self.replica.routing(), stores);
                }
            }
            Arrival::Message { from, bytes } => {
                self.rebalancer.handle(now_ns, *from, bytes, &mut self.replica, stores);
            }
            // Of other clients there is nothing to forget: the port drops answers to those that are gone.
            Arrival::Unreachable { peer } => {
                self.rebalancer.unreachable(now_ns, *peer, &mut self.replica, stores);
                let Ok(node) = u16::try_from(peer.0).map(NodeId) else { return };
                if let Some(pusher) = &mut self.pusher {
                    pusher.unreachable(node);
                }
                if let Some(anti_entropy) = &mut self.anti_entropy {
                    anti_entropy.unreachable(now_ns, node, self.replica.routing(), stores);
                }
            }
        }
    }

    fn answered<S: NodeStore>(&mut self, now_ns: u64, from: Peer, bytes: &[u8], stores: &Stores<S>) {
        let Ok((id, response)) = Response::decode(bytes) else { return };
        if Rebalancer::has_asked(id) {
            self.rebalancer.handle_answer(now_ns, from, id, response, &mut self.replica, stores);
            return;
        }
        if let Some(pusher) = &mut self.pusher {
            let moves = self.rebalancer.is_rebalancing();
            pusher.handle((from, id), &response, self.replica.routing(), moves);
        }
        if let Some(anti_entropy) = &mut self.anti_entropy {
            anti_entropy.answered(now_ns, (from, id), response, self.replica.routing(), stores);
        }
    }

    /// A write that was taken for later has ended.
    pub(super) fn completed<S: NodeStore>(&mut self, now_ns: u64, done: KvDone, stores: &Stores<S>) {
        let KvDone { token, removed, result } = done;
        if self.rebalancer.has_ticket(token) {
            self.rebalancer.completed(now_ns, token, removed, result, &mut self.replica, stores);
        } else if token != NOBODYS {
            self.replica.completed(token, removed, result);
        }
    }

    /// When [`NodeMachine::takes_turn`] wants to be called, at the latest; `None`: when something has come.
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        let of_walk = self.walks.then_some(0);
        let of_hints = self.pusher.as_ref().map(Pusher::poll_timeout);
        let of_comparison = self.anti_entropy.as_ref().and_then(AntiEntropy::poll_timeout);
        let all = of_walk.into_iter().chain(of_hints).chain(of_comparison);
        all.chain(self.rebalancer.poll_timeout()).min()
    }

    /// Time has passed, or something has come: it does what is due.
    pub(super) fn takes_turn<S: NodeStore>(&mut self, now_ns: u64, stores: &Stores<S>) {
        if self.rebalancer.poll_timeout().is_some_and(|due_ns| due_ns <= now_ns) {
            self.rebalancer.handle_timeout(now_ns, &mut self.replica, stores);
        }
        if let Some(pusher) = &mut self.pusher {
            pusher.deliver(now_ns, self.replica.routing().ring(), stores);
        }
        let compares = self.compares();
        if let Some(anti_entropy) = &mut self.anti_entropy {
            if !compares {
                anti_entropy.pause(now_ns);
            }
            anti_entropy.handle_timeout(now_ns, self.replica.routing(), stores);
            self.walks = anti_entropy.walk(now_ns, self.replica.routing(), stores);
        }
    }

    /// Whether it has a part in anti-entropy now. Not while partitions move: what a stealer has of them is what was left of an
    /// earlier time, or not yet all of it, and what its peers lack of that has been deleted.
    fn compares(&self) -> bool {
        self.anti_entropy.is_some() && !self.rebalancer.is_rebalancing()
    }

    /// The next message to send. Call until there is none.
    pub(super) fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        let Self { replica, rebalancer, pusher, anti_entropy, .. } = self;
        let own = rebalancer.poll_output().or_else(|| replica.poll_output());
        own.or_else(|| pusher.as_mut().and_then(Pusher::poll_output))
            .or_else(|| anti_entropy.as_mut().and_then(AntiEntropy::poll_output))
    }

    /// Whether somebody waits for a write that waits for the disk.
    pub(super) fn is_writing(&self) -> bool {
        self.replica.pending() > 0 || self.rebalancer.is_writing()
    }

    /// The ring that it goes by.
    pub(super) fn ring(&self) -> &Arc<Ring> {
        self.replica.routing().ring()
    }

    /// What it has counted itself: nothing of its stores and its port.
    pub(super) fn stats(&self) -> NodeStats {
        NodeStats {
            replica: self.replica.stats(),
            hints_delivered: self.pusher.as_ref().map_or(0, Pusher::delivered_count),
            hints_given_up: self.pusher.as_ref().map_or(0, Pusher::given_up_count),
            rebalancer: self.rebalancer.stats(),
            anti_entropy: self.anti_entropy.as_ref().map(AntiEntropy::stats).unwrap_or_default(),
            ..NodeStats::default()
        }
    }
}
