//! [`SimPorts`]: a [`SimNet`] behind the border that protocols are written against.
//!
//! One thread drives all parties. It moves the clock with [`SimPorts::advance_to`] and gives each party its turn with
//! [`Wait::No`]. A port that waits lets time pass itself, event by event, until something reaches it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SimNet;
use crate::net::{Arrival, Net, NetError, Peer, Port, PortStats};
use crate::{Wait, Waker};

/// A simulated network with a clock. Clones are the same network.
#[derive(Debug, Clone)]
pub struct SimPorts(Arc<Mutex<World>>);

#[derive(Debug)]
struct World {
    net: SimNet,
    now_ns: u64,
    inboxes: BTreeMap<Peer, VecDeque<Arrival>>,
}

impl World {
    fn advance_to(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        for (peer, arrival) in self.net.deliver(self.now_ns) {
            if let Some(inbox) = self.inboxes.get_mut(&peer) {
                inbox.push_back(arrival);
            }
        }
    }
}

impl SimPorts {
    /// The network, at time 0.
    #[must_use]
    pub fn new(net: SimNet) -> Self {
        Self(Arc::new(Mutex::new(World { net, now_ns: 0, inboxes: BTreeMap::new() })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The virtual time in nanoseconds.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.world().now_ns
    }

    /// When the next message or piece of news reaches anybody.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.world().net.next_due()
    }

    /// Moves the clock on, never back, and puts what has arrived into the inboxes.
    pub fn advance_to(&self, now_ns: u64) {
        self.world().advance_to(now_ns);
    }

    /// Those who have something to receive.
    #[must_use]
    pub fn awaited(&self) -> Vec<Peer> {
        self.world().inboxes.iter().filter(|(_, inbox)| !inbox.is_empty()).map(|(&peer, _)| peer).collect()
    }

    /// The network behind, for faults and the trace.
    pub fn with<R>(&self, act: impl FnOnce(&mut SimNet) -> R) -> R {
        act(&mut self.world().net)
    }

    /// `peer`'s machine loses power: as [`SimNet::power_off`], and its port is of no use any more.
    pub fn power_off(&self, peer: Peer) {
        let mut world = self.world();
        let now_ns = world.now_ns;
        world.net.power_off(now_ns, peer);
        world.inboxes.remove(&peer);
    }
}

impl Net for SimPorts {
    type Port = SimPort;

    fn join(&self, me: Peer) -> Result<SimPort, NetError> {
        let mut world = self.world();
        world.net.join(me)?;
        world.inboxes.insert(me, VecDeque::new());
        let life = world.net.life(me);
        drop(world);
        Ok(SimPort { me, life, net: self.clone(), stats: PortStats::default() })
    }
}

/// A party's access to a [`SimPorts`]. Dropping it is [`SimNet::kill`].
#[derive(Debug)]
pub struct SimPort {
    me: Peer,
    /// After a power cut there may be a successor, which this one must not touch.
    life: Option<u64>,
    net: SimPorts,
    stats: PortStats,
}

impl Port for SimPort {
    fn me(&self) -> Peer {
        self.me
    }

    fn send(&mut self, to: Peer, bytes: Vec<u8>) {
        let mut world = self.net.world();
        if world.net.life(self.me) != self.life {
            return;
        }
        let before = world.net.stats(self.me);
        let now_ns = world.now_ns;
        world.net.send(now_ns, self.me, to, bytes);
        let after = world.net.stats(self.me);
        self.stats.messages += after.messages - before.messages;
        self.stats.bytes += after.bytes - before.bytes;
    }

    /// Messages are on their way when they are sent.
    fn flush(&mut self) {}

    /// Nothing comes by itself and nobody rings, so a wait that ends with nothing counts as one that was woken.
    fn receive(&mut self, wait: Wait, out: &mut Vec<Arrival>) -> bool {
        let mut world = self.net.world();
        if world.net.life(self.me) != self.life {
            return true;
        }
        let now_ns = world.now_ns;
        let until_ns = match wait {
            Wait::No => now_ns,
            Wait::AtMost(limit) => now_ns.saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)),
            Wait::Forever => u64::MAX,
        };
        world.advance_to(now_ns);
        loop {
            let inbox = world.inboxes.get_mut(&self.me).expect("a port that lives has an inbox");
            if !inbox.is_empty() {
                out.extend(inbox.drain(..));
                return false;
            }
            match world.net.next_due() {
                Some(due_ns) if due_ns <= until_ns => world.advance_to(due_ns),
                // Nothing will come by itself. A wait without limit ends here, too: the driver must act.
                _ => {
                    if matches!(wait, Wait::AtMost(_)) {
                        world.advance_to(until_ns);
                    }
                    return wait != Wait::No;
                }
            }
        }
    }

    /// Nobody waits here, so there is nothing to end.
    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    fn stats(&self) -> PortStats {
        self.stats
    }
}

impl Drop for SimPort {
    fn drop(&mut self) {
        let mut world = self.net.world();
        if world.net.life(self.me) == self.life {
            let now_ns = world.now_ns;
            world.net.kill(now_ns, self.me);
            world.inboxes.remove(&self.me);
        }
    }
}
