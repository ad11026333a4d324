//! [`TimedWorld`]: nodes, clients and the network between them, and the queue of what happens next.
//!
//! Everything follows from the seed: no clock, no thread, no hash order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::ops::Range;

use engine_env::rng::Seed;
use engine_env::sim::{HardwareProfile, Link, Quantity, SimHome, SimNet};
use engine_env::{Arrival, Peer};

use super::figures::NodeFigures;
use super::node::{Happens, Node};
use super::outage::Holds;
use super::run::What;
use crate::cluster::process::Process;

/// Clients' names on the network count from here.
const FIRST_CLIENT: u32 = 1_000;
/// Timers of nodes aren't looked at more often.
const TIMER_STEP_NS: u64 = 1_000_000;

/// How an operation went well.
#[derive(Debug)]
pub(in crate::cluster) enum Answer<R> {
    /// A read: the value, if there is one.
    Found(Option<Vec<u8>>),
    /// A change, and by what a server can be asked whether it holds it; nothing if it leaves nothing.
    Done(Option<R>),
}

/// How an operation ended, by its token, or why it failed.
pub(in crate::cluster) type Ended<R> = (u64, Result<Answer<R>, String>);

/// A client that asks what it is told to.
pub(in crate::cluster) trait Asker {
    /// Whether one of the clients follows what all of them write.
    const IS_FOLLOWED: bool;
    /// By what a server can be asked whether it holds a write.
    type Receipt: Clone;

    fn begin(&mut self, now_ns: u64, token: u64, key: &[u8], what: &What);
    fn handle(&mut self, now_ns: u64, arrival: Arrival);
    fn poll_timeout(&mut self) -> Option<u64>;
    fn handle_timeout(&mut self, now_ns: u64);
    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)>;
    /// What has ended, by its token.
    fn poll_ended(&mut self) -> Option<Ended<Self::Receipt>>;
    /// A write that the one who follows has seen, by its token.
    fn poll_seen(&mut self) -> Option<u64>;
    /// Which nodes hold a key, first the one that its writes go to first.
    fn replicas(&self, key: &[u8]) -> Vec<u16>;
}

/// See the module.
pub(in crate::cluster) struct TimedWorld<P: Process, C: Asker> {
    config: P::Config,
    profile: HardwareProfile,
    pub(super) now_ns: u64,
    net: SimNet,
    nodes: Vec<Node<P>>,
    /// When each node's timers are looked at again, at the earliest.
    timer_floors_ns: Vec<u64>,
    clients: Vec<C>,
    events: BinaryHeap<Reverse<Later>>,
    numbered: u64,
    /// What has ended, and when.
    pub(super) ended: Vec<(u64, Ended<C::Receipt>)>,
    /// What was seen, and when.
    pub(super) seen: Vec<(u64, u64)>,
}

/// What happens at a node: when, its number, at which one, in which life of it.
type Later = (u64, u64, usize, u64, Happens);

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Next {
    Network,
    Node,
    Timer(usize),
    Client(usize),
}

impl<P: Process + Holds<C::Receipt>, C: Asker> TimedWorld<P, C> {
    /// Nodes with empty folders, each with a page cache of so many pages, and clients; all that they do takes the profile's
    /// time.
    ///
    /// # Errors
    /// A node doesn't start.
    pub(in crate::cluster) fn new(
        profile: &HardwareProfile,
        seed: Seed,
        nodes: u16,
        config: P::Config,
        pages_max: usize,
        clients: Vec<C>,
    ) -> Result<Self, String> {
        let mut net = SimNet::new(seed.derive("timed network", 0));
        let hop_ns = profile.span_ns(Quantity::Hop);
        net.set_links(Link {
            delay_ns: hop_ns,
            delay_max_ns: hop_ns,
            bytes_per_s: NonZeroU64::new((profile.value(Quantity::Link) * 1e6) as u64),
            ..Link::default()
        });
        let folders_of = P::folders(&config);
        let mut world = Self {
            config,
            profile: profile.clone(),
            now_ns: 0,
            net,
            nodes: Vec::new(),
            timer_floors_ns: vec![0; usize::from(nodes)],
            clients,
            events: BinaryHeap::new(),
            numbered: 0,
            ended: Vec::new(),
            seen: Vec::new(),
        };
        for number in 0..nodes {
            let seed = seed.derive("timed node", number.into());
            let folder = |i| {
                let folder = SimHome::new(seed.derive("disk", i));
                folder.meter(pages_max);
                folder.complete_in_order();
                folder
            };
            let folders: Vec<_> = (0..folders_of as u64).map(folder).collect();
            let process = P::start(&world.config, number, &folders, 0)?;
            world.nodes.push(Node::new(process, folders, profile, seed.rng()));
            world.net.join(Peer(number.into())).map_err(|e| e.to_string())?;
            world.pump(usize::from(number));
        }
        for client in 0..world.clients.len() {
            world.net.join(client_peer(client)).map_err(|e| e.to_string())?;
        }
        Ok(world)
    }

    /// Nodes count what they do from here to there.
    pub(super) fn observe(&mut self, window: &Range<u64>) {
        self.nodes.iter_mut().for_each(|node| node.observe(window.clone()));
    }

    pub(super) fn figures(&self) -> Vec<NodeFigures> {
        self.nodes.iter().map(Node::figures).collect()
    }

    /// How many nodes there are, dead ones included.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// A node's process dies.
    pub(super) fn kill(&mut self, node: usize) {
        self.net.kill(self.now_ns, node_peer(node));
        self.nodes[node].dies();
    }

    /// It is started again, and serves once it has recovered.
    ///
    /// # Errors
    /// It doesn't start.
    pub(super) fn restart(&mut self, node: usize) -> Result<(), String> {
        let number = u16::try_from(node).expect("few nodes");
        let start = |folders: &[SimHome]| P::start(&self.config, number, folders, self.now_ns);
        let why = |why| format!("node {node} doesn't come back: {why}");
        self.nodes[node].starts(self.now_ns, &self.profile, start).map_err(why)?;
        self.timer_floors_ns[node] = self.now_ns;
        self.pump(node);
        Ok(())
    }

    /// A node's process, and since when it serves; `None` if it doesn't.
    pub(super) fn serving(&self, node: usize) -> Option<(&P, u64)> {
        self.nodes[node].serving()
    }

    /// Which nodes hold a key, as clients know it.
    pub(super) fn replicas(&self, key: &[u8]) -> Vec<u16> {
        self.clients.first().map(|client| client.replicas(key)).unwrap_or_default()
    }

    /// A client begins an operation.
    pub(super) fn begins(&mut self, token: u64, key: &[u8], what: &What) {
        let client = token as usize % self.clients.len();
        self.clients[client].begin(self.now_ns, token, key, what);
        self.pump_client(client);
    }

    /// Lets time pass, event by event.
    pub(super) fn pass_until(&mut self, until_ns: u64) {
        while self.step(until_ns) {}
        self.now_ns = self.now_ns.max(until_ns);
    }

    /// What comes next happens, if it is due by then; whether anything was.
    pub(super) fn step(&mut self, until_ns: u64) -> bool {
        let Some((due_ns, next)) = self.next_event().filter(|(due_ns, _)| *due_ns <= until_ns) else {
            return false;
        };
        self.now_ns = self.now_ns.max(due_ns);
        let now_ns = self.now_ns;
        match next {
            Next::Network => {
                for (to, arrival) in self.net.deliver(now_ns) {
                    match to.0.checked_sub(FIRST_CLIENT) {
                        None => {
                            self.nodes[to.0 as usize].arrives(now_ns, arrival, &self.profile);
                            self.pump(to.0 as usize);
                        }
                        Some(client) => {
                            self.clients[client as usize].handle(now_ns, arrival);
                            self.pump_client(client as usize);
                        }
                    }
                }
            }
            Next::Node => {
                if let Some(Reverse((_, _, node, life, what))) = self.events.pop()
                    && self.nodes[node].concerns(life, what)
                {
                    if what == Happens::Serves {
                        // It has died, so its name is free.
                        let _ = self.net.join(node_peer(node));
                    }
                    self.nodes[node].happens(now_ns, what, &self.profile);
                    self.pump(node);
                }
            }
            Next::Timer(node) => {
                self.timer_floors_ns[node] = now_ns + TIMER_STEP_NS;
                self.nodes[node].handle_timeout(now_ns, &self.profile);
                self.pump(node);
            }
            Next::Client(client) => {
                self.clients[client].handle_timeout(now_ns);
                self.pump_client(client);
            }
        }
        true
    }

    fn next_event(&mut self) -> Option<(u64, Next)> {
        let mut next: Option<(u64, Next)> = None;
        let mut consider = |due_ns: Option<u64>, what| {
            if let Some(due_ns) =
                due_ns.filter(|due_ns| next.is_none_or(|(before_ns, _)| *due_ns < before_ns))
            {
                next = Some((due_ns, what));
            }
        };
        consider(self.net.next_due(), Next::Network);
        consider(self.events.peek().map(|Reverse((due_ns, ..))| *due_ns), Next::Node);
        for (i, node) in self.nodes.iter().enumerate() {
            let due_ns = node.poll_timeout().map(|due_ns| due_ns.max(self.timer_floors_ns[i]));
            consider(due_ns, Next::Timer(i));
        }
        for (i, client) in self.clients.iter_mut().enumerate() {
            consider(client.poll_timeout(), Next::Client(i));
        }
        next
    }

    /// Sends what a node says, and puts what happens there later into the queue.
    fn pump(&mut self, node: usize) {
        let Node { says, later, life, .. } = &mut self.nodes[node];
        let me = node_peer(node);
        for (to, bytes) in says.drain(..) {
            self.net.send(self.now_ns, me, to, bytes);
        }
        for (due_ns, what) in later.drain(..) {
            self.numbered += 1;
            self.events.push(Reverse((due_ns, self.numbered, node, *life, what)));
        }
    }

    fn pump_client(&mut self, client: usize) {
        let asker = &mut self.clients[client];
        while let Some(ended) = asker.poll_ended() {
            self.ended.push((self.now_ns, ended));
        }
        while let Some(token) = asker.poll_seen() {
            self.seen.push((self.now_ns, token));
        }
        while let Some((to, bytes)) = asker.poll_output() {
            self.net.send(self.now_ns, client_peer(client), to, bytes);
        }
    }
}

/// A node's name on the network.
fn node_peer(node: usize) -> Peer {
    Peer(u32::try_from(node).expect("few nodes"))
}

/// A client's name on the network.
fn client_peer(client: usize) -> Peer {
    Peer(FIRST_CLIENT + u32::try_from(client).expect("few clients"))
}
