//! [`SimNet`]: a network in virtual time, as one queue of events. [`SimPorts`] gives it the shape of any [`Net`](crate::Net).
//!
//! Invariants:
//! * Every choice comes from the seed: the same seed and the same calls give the same trace, byte for byte.
//! * Without faults it promises what the real networks do: whole messages, at most once, in order for each pair, and a
//!   death is told after everything that was sent before it.
//! * With faults it is worse than a connection can be: a message may be missing without news of a break, come twice or
//!   late. A protocol that numbers its requests and has timeouts has to bear it, because messages reach it over
//!   connections that were given up, too.
//!
//! What is under way is bounded by what the caller sends in the time of one delay; there is no other bound.

mod faults;
mod port;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

pub use faults::{Link, LinkFaults};
pub use port::{SimPort, SimPorts};

use super::dice::Dice;
use super::trace::{Trace, digest};
use crate::net::{Arrival, MESSAGE_BYTES_MAX, NetError, Peer, PortStats};
use crate::rng::Seed;

/// A simulated network. Times are virtual nanoseconds; each call's `now_ns` is at least that of the one before.
#[derive(Debug, Clone)]
pub struct SimNet {
    dice: Dice,
    trace: Trace,
    everywhere: Link,
    links: BTreeMap<(Peer, Peer), Link>,
    /// Nothing passes from the first to the second.
    blocked: BTreeSet<(Peer, Peer)>,
    parties: BTreeMap<Peer, Party>,
    /// What goes from the first to the second and is still under way, or was.
    flows: BTreeMap<(Peer, Peer), Flow>,
    under_way: BinaryHeap<Reverse<Event>>,
    events: u64,
    lives: u64,
}

/// Everybody who ever joined.
#[derive(Debug, Clone, Default)]
struct Party {
    /// The number of its present life, if it lives.
    life: Option<u64>,
    /// Its machine lost power: there is nobody who could refuse a connection.
    is_dark: bool,
    /// Who is told when it is killed: those it has a connection with.
    linked: BTreeSet<Peer>,
    stats: PortStats,
}

#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    /// The link's bandwidth is used up to this time.
    busy_until_ns: u64,
    /// Nothing that is in order is due earlier.
    last_due_ns: u64,
    /// The latest news of a break: when, and which life of the receiver it is for.
    break_due: Option<(u64, u64)>,
    /// The life of the receiver that the sender takes itself to be connected with.
    connected_with: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    due_ns: u64,
    number: u64,
    to: Peer,
    /// Whom it was sent to: a successor isn't meant.
    life: u64,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Message { from: Peer, sender_life: u64, bytes: Vec<u8> },
    Unreachable { peer: Peer },
}

impl SimNet {
    /// A network without parties, delays and faults.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self {
            dice: Dice::new(seed.derive("network", 0)),
            trace: Trace::default(),
            everywhere: Link::default(),
            links: BTreeMap::new(),
            blocked: BTreeSet::new(),
            parties: BTreeMap::new(),
            flows: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            events: 0,
            lives: 0,
        }
    }

    /// What every pair is connected by that has no link of its own.
    pub fn set_links(&mut self, link: Link) {
        self.trace.line(format_args!("links {link:?}"));
        self.everywhere = link;
    }

    /// What one peer sends to another goes this way from now on; `None`: as everybody's.
    pub fn set_link(&mut self, from: Peer, to: Peer, link: Option<Link>) {
        self.trace.line(format_args!("link {} > {} {link:?}", from.0, to.0));
        match link {
            Some(link) => self.links.insert((from, to), link),
            None => self.links.remove(&(from, to)),
        };
    }

    /// From now on nothing that `from` sends reaches `to`. What is under way still arrives.
    pub fn block(&mut self, from: Peer, to: Peer) {
        self.trace.line(format_args!("block {} > {}", from.0, to.0));
        self.blocked.insert((from, to));
    }

    /// Ends a [`SimNet::block`].
    pub fn unblock(&mut self, from: Peer, to: Peer) {
        self.trace.line(format_args!("unblock {} > {}", from.0, to.0));
        self.blocked.remove(&(from, to));
    }

    /// Separates two groups in both directions.
    pub fn partition(&mut self, some: &[Peer], others: &[Peer]) {
        for &a in some {
            for &b in others {
                self.block(a, b);
                self.block(b, a);
            }
        }
    }

    /// Ends all partitions and blocks.
    pub fn heal(&mut self) {
        self.trace.line(format_args!("heal"));
        self.blocked.clear();
    }

    /// `peer` lives from now on.
    ///
    /// # Errors
    /// [`NetError::Taken`]: it does already.
    pub fn join(&mut self, peer: Peer) -> Result<(), NetError> {
        let party = self.parties.entry(peer).or_default();
        if party.life.is_some() {
            return Err(NetError::Taken { peer });
        }
        self.lives += 1;
        party.life = Some(self.lives);
        party.is_dark = false;
        self.trace.line(format_args!("join {}", peer.0));
        Ok(())
    }

    /// The process of `peer` dies: its operating system closes its connections, and those at the other ends are told.
    pub fn kill(&mut self, now_ns: u64, peer: Peer) {
        let Some(party) = self.parties.get_mut(&peer) else { return };
        if party.life.take().is_none() {
            return;
        }
        let linked = std::mem::take(&mut party.linked);
        self.trace.line(format_args!("{now_ns} kill {}", peer.0));
        for other in linked {
            self.tell_unreachable(now_ns, other, peer, self.life(other));
        }
    }

    /// The machine of `peer` loses power: it is silent, and nobody is told anything. What is sent to it is lost.
    pub fn power_off(&mut self, now_ns: u64, peer: Peer) {
        let Some(party) = self.parties.get_mut(&peer) else { return };
        party.life = None;
        party.is_dark = true;
        party.linked.clear();
        self.trace.line(format_args!("{now_ns} power off {}", peer.0));
    }

    /// Whether `peer` lives.
    #[must_use]
    pub fn lives(&self, peer: Peer) -> bool {
        self.life(peer).is_some()
    }

    fn life(&self, peer: Peer) -> Option<u64> {
        self.parties.get(&peer)?.life
    }

    fn link(&self, from: Peer, to: Peer) -> Link {
        self.links.get(&(from, to)).copied().unwrap_or(self.everywhere)
    }

    /// Sends a message. A sender that doesn't live sends nothing.
    pub fn send(&mut self, now_ns: u64, from: Peer, to: Peer, bytes: Vec<u8>) {
        let Some(sender_life) = self.life(from) else { return };
        if bytes.len() > MESSAGE_BYTES_MAX {
            self.push(now_ns, from, sender_life, What::Unreachable { peer: to });
            return;
        }
        let party = self.parties.get_mut(&from).expect("it lives");
        party.stats.messages += 1;
        party.stats.bytes += bytes.len() as u64;
        let (len, hash) = (bytes.len(), digest(&bytes));
        let link = self.link(from, to);
        let is_dark = self.parties.get(&to).is_some_and(|party| party.is_dark);
        let is_blocked = self.blocked.contains(&(from, to));
        let is_lost = self.dice.chance(link.faults.loss);
        if is_dark || is_blocked || is_lost {
            self.trace.line(format_args!("{now_ns} {} > {} {len} B {hash:016x} lost", from.0, to.0));
            if let Some(after_ns) = link.faults.told_after_ns {
                let due_ns = now_ns.saturating_add(after_ns);
                self.push(due_ns, from, sender_life, What::Unreachable { peer: to });
            }
            return;
        }
        let due_ns = self.due(now_ns, from, to, link, len);
        let life = self.life(to).filter(|&life| {
            let connected_with = self.flows.get(&(from, to)).and_then(|flow| flow.connected_with);
            // A machine that was switched on again knows nothing of the connections of its former life.
            connected_with.is_none_or(|with| with == life)
        });
        let Some(life) = life else {
            self.trace.line(format_args!("{now_ns} {} > {} {len} B {hash:016x} refused", from.0, to.0));
            self.tell_unreachable(due_ns, from, to, Some(sender_life));
            return;
        };
        if from != to {
            let back = self.flows.entry((to, from)).or_default();
            if back.connected_with.is_some_and(|with| with != sender_life) {
                // The receiver learns from the new connection that the old one is dead.
                self.push(due_ns, to, life, What::Unreachable { peer: from });
            }
            self.flows.entry((to, from)).or_default().connected_with = Some(sender_life);
            self.flows.entry((from, to)).or_default().connected_with = Some(life);
            self.parties.get_mut(&to).expect("it lives").linked.insert(from);
            self.parties.get_mut(&from).expect("it lives").linked.insert(to);
        }
        self.trace.line(format_args!("{now_ns} {} > {} {len} B {hash:016x} due {due_ns}", from.0, to.0));
        if self.dice.chance(link.faults.duplicate) {
            let again_ns = self.due(now_ns, from, to, link, len);
            self.trace.line(format_args!("{now_ns} {} > {} again due {again_ns}", from.0, to.0));
            let bytes = bytes.clone();
            self.push(again_ns, to, life, What::Message { from, sender_life, bytes });
        }
        self.push(due_ns, to, life, What::Message { from, sender_life, bytes });
    }

    /// When something that is sent now arrives.
    fn due(&mut self, now_ns: u64, from: Peer, to: Peer, link: Link, len: usize) -> u64 {
        let spread_ns = link.delay_max_ns.saturating_sub(link.delay_ns);
        let delay_ns = link.delay_ns.saturating_add(self.dice.below(spread_ns.saturating_add(1)));
        let is_reordered = self.dice.chance(link.faults.reorder);
        let flow = self.flows.entry((from, to)).or_default();
        if let Some(bytes_per_s) = link.bytes_per_s {
            let takes_ns = len as u128 * 1_000_000_000 / u128::from(bytes_per_s.get());
            let takes_ns = u64::try_from(takes_ns).unwrap_or(u64::MAX);
            flow.busy_until_ns = flow.busy_until_ns.max(now_ns).saturating_add(takes_ns);
        }
        let due_ns = flow.busy_until_ns.max(now_ns).saturating_add(delay_ns);
        if is_reordered {
            // Up to a second delay late, and what follows doesn't wait for it.
            return due_ns.saturating_add(self.dice.below(link.delay_max_ns.max(link.delay_ns).max(1) + 1));
        }
        flow.last_due_ns = flow.last_due_ns.max(due_ns);
        flow.last_due_ns
    }

    /// Tells `to`, in its life `life`, that `peer` can't be reached, after everything that `peer` has sent to it.
    fn tell_unreachable(&mut self, now_ns: u64, to: Peer, peer: Peer, life: Option<u64>) {
        let Some(life) = life else { return };
        self.flows.entry((to, peer)).or_default().connected_with = None;
        if self.blocked.contains(&(peer, to)) {
            return;
        }
        let link = self.link(peer, to);
        let due_ns = self.due(now_ns, peer, to, link, 0);
        let flow = self.flows.entry((peer, to)).or_default();
        // One break is told once, however many messages it cost.
        if flow.break_due != Some((due_ns, life)) {
            flow.break_due = Some((due_ns, life));
            self.push(due_ns, to, life, What::Unreachable { peer });
        }
    }

    fn push(&mut self, due_ns: u64, to: Peer, life: u64, what: What) {
        self.events += 1;
        self.under_way.push(Reverse(Event { due_ns, number: self.events, to, life, what }));
    }

    /// When the next event is due.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.under_way.peek().map(|Reverse(event)| event.due_ns)
    }

    /// What has arrived by now, in the order in which it did, and at whom.
    pub fn deliver(&mut self, now_ns: u64) -> Vec<(Peer, Arrival)> {
        let mut arrived = Vec::new();
        while self.next_due().is_some_and(|due_ns| due_ns <= now_ns) {
            let Some(Reverse(event)) = self.under_way.pop() else { break };
            let Event { due_ns, to, life, what, .. } = event;
            if self.life(to) != Some(life) {
                self.trace.line(format_args!("{due_ns} nobody at {}", to.0));
                if let What::Message { from, sender_life, .. } = what
                    && !self.parties.get(&to).is_some_and(|party| party.is_dark)
                    && self.life(from) == Some(sender_life)
                {
                    self.tell_unreachable(due_ns, from, to, Some(sender_life));
                }
                continue;
            }
            let arrival = match what {
                What::Message { from, bytes, .. } => {
                    self.trace.line(format_args!("{due_ns} at {} {} B from {}", to.0, bytes.len(), from.0));
                    Arrival::Message { from, bytes }
                }
                What::Unreachable { peer } => {
                    self.trace.line(format_args!("{due_ns} at {} unreachable {}", to.0, peer.0));
                    if let Some(party) = self.parties.get_mut(&to) {
                        party.linked.remove(&peer);
                    }
                    Arrival::Unreachable { peer }
                }
            };
            arrived.push((to, arrival));
        }
        arrived
    }

    /// What `peer` has sent, in all its lives.
    #[must_use]
    pub fn stats(&self, peer: Peer) -> PortStats {
        self.parties.get(&peer).map(|party| party.stats).unwrap_or_default()
    }

    /// Keeps the trace as text from now on.
    pub fn record_trace(&mut self) {
        self.trace.record();
    }

    /// The recorded lines.
    #[must_use]
    pub fn trace(&self) -> &[String] {
        self.trace.lines()
    }

    /// A hash of everything that happened, recorded or not.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }
}
