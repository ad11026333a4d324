//! [`LocalNet`]: the parties are threads of one process, and messages pass through queues in memory.
//!
//! An edge: ports wait on condition variables.
//!
//! Invariants:
//! * A port's inbox is closed before the parties that were linked with it are told, and its name is free only after that:
//!   what a successor sends comes after the notice of its predecessor's death.
//! * Locks are held one at a time, except that the names are locked while a port joins or is looked up; an inbox's lock
//!   is held for as long as it takes to move pointers.
//! * A whole flush wakes each receiver at most once, and only one that waits.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::transit::{Transit, monotonic_ns, wait_exactly};
use super::{Arrival, Delay, MESSAGE_BYTES_MAX, Net, NetError, Peer, Port, PortStats, UNREAD_BYTES_MAX};
use crate::{Wait, Waker};

/// A network inside this process. Clones are the same network. Everybody can be reached, clients too.
#[derive(Debug, Clone, Default)]
pub struct LocalNet {
    names: Arc<Mutex<HashMap<Peer, Arc<Inbox>>>>,
    delay: Delay,
}

impl LocalNet {
    /// A network without parties, whose messages take this long.
    #[must_use]
    pub fn new(delay: impl Into<Delay>) -> Self {
        Self { names: Arc::default(), delay: delay.into() }
    }

    fn find(&self, peer: Peer) -> Option<Arc<Inbox>> {
        lock(&self.names).get(&peer).cloned()
    }
}

impl Net for LocalNet {
    type Port = LocalPort;

    fn join(&self, me: Peer) -> Result<LocalPort, NetError> {
        let mut names = lock(&self.names);
        let Entry::Vacant(place) = names.entry(me) else { return Err(NetError::Taken { peer: me }) };
        let inbox = Arc::clone(place.insert(Arc::default()));
        drop(names);
        Ok(LocalPort {
            me,
            net: self.clone(),
            inbox,
            lanes: HashMap::new(),
            unflushed: Vec::new(),
            transit: Transit::new(self.delay),
            taken: Vec::new(),
            stats: PortStats::default(),
        })
    }
}

/// A queue is locked for so short that nobody panics inside, and what it holds is whole in any case.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<InboxState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct InboxState {
    /// With the time at which each was sent, 0 on a network without delay.
    arrived: Vec<(u64, Arrival)>,
    /// Bytes in `arrived` by sender.
    unread: HashMap<Peer, usize>,
    /// Who has sent here or was sent to from here, and is told when this port is dropped.
    linked: BTreeSet<Peer>,
    rung: bool,
    waiting: bool,
    closed: bool,
}

impl Inbox {
    /// Changes the state, then wakes the owner if it waits.
    fn change<R>(&self, change: impl FnOnce(&mut InboxState) -> R) -> R {
        let mut state = lock(&self.state);
        let result = change(&mut state);
        let wake = mem::take(&mut state.waiting);
        drop(state);
        if wake {
            self.changed.notify_one();
        }
        result
    }
}

/// A party's access to a [`LocalNet`].
#[derive(Debug)]
pub struct LocalPort {
    me: Peer,
    net: LocalNet,
    inbox: Arc<Inbox>,
    lanes: HashMap<Peer, Lane>,
    /// The lanes that hold something.
    unflushed: Vec<Peer>,
    transit: Transit,
    /// Empty between two calls; swapped with the inbox's queue, so that both keep their memory.
    taken: Vec<(u64, Arrival)>,
    stats: PortStats,
}

/// The way to one receiver.
#[derive(Debug, Default)]
struct Lane {
    inbox: Option<Arc<Inbox>>,
    batch: Vec<Vec<u8>>,
    batch_bytes: usize,
}

/// A lane that holds this much goes without waiting for a flush.
const BATCH_BYTES: usize = 1 << 20;

/// What became of a batch.
enum Handover {
    Taken,
    /// The inbox belongs to a port that was dropped.
    Closed,
    /// The receiver has left too much unread.
    Cut,
}

impl LocalPort {
    fn sent_ns(&self) -> u64 {
        if self.transit.delays() { monotonic_ns() } else { 0 }
    }

    fn arrive(&self, arrival: Arrival) {
        let sent_ns = self.sent_ns();
        self.inbox.change(|inbox| inbox.arrived.push((sent_ns, arrival)));
    }

    fn unreachable(&self, peer: Peer) {
        self.arrive(Arrival::Unreachable { peer });
    }

    /// Hands a lane's batch to its receiver, or learns that it can't be reached.
    fn deliver(&mut self, to: Peer) {
        let sent_ns = self.sent_ns();
        let me = self.me;
        let Some(lane) = self.lanes.get_mut(&to) else { return };
        let bytes = mem::take(&mut lane.batch_bytes);
        loop {
            let is_new = lane.inbox.is_none();
            if is_new {
                lane.inbox = self.net.find(to);
                // Linked from both ends before anything is sent, so that whoever dies first, the other is told.
                lock(&self.inbox.state).linked.insert(to);
            }
            let Some(inbox) = lane.inbox.clone() else { break };
            let batch = &mut lane.batch;
            let handover = inbox.change(|inbox| {
                if inbox.closed {
                    return Handover::Closed;
                }
                let unread = inbox.unread.entry(me).or_default();
                if *unread > UNREAD_BYTES_MAX {
                    inbox.arrived.push((sent_ns, Arrival::Unreachable { peer: me }));
                    return Handover::Cut;
                }
                *unread += bytes;
                if is_new {
                    inbox.linked.insert(me);
                }
                let messages = batch.drain(..).map(|bytes| Arrival::Message { from: me, bytes });
                inbox.arrived.extend(messages.map(|message| (sent_ns, message)));
                Handover::Taken
            });
            match handover {
                Handover::Taken => return,
                Handover::Cut => break,
                // Its owner died; the notice is on its way here already. A successor may have joined since.
                Handover::Closed => {
                    lane.inbox = None;
                    if is_new {
                        break;
                    }
                }
            }
        }
        lane.batch.clear();
        lane.inbox = None;
        self.unreachable(to);
    }

    fn take_arrived(&mut self, out: &mut Vec<Arrival>) -> bool {
        let mut inbox = lock(&self.inbox.state);
        mem::swap(&mut inbox.arrived, &mut self.taken);
        inbox.unread.clear();
        let rung = mem::take(&mut inbox.rung);
        drop(inbox);
        if self.transit.delays() {
            for (sent_ns, arrival) in self.taken.drain(..) {
                self.transit.hold(sent_ns, arrival);
            }
            self.transit.release(monotonic_ns(), out);
        } else {
            out.extend(self.taken.drain(..).map(|(_, arrival)| arrival));
        }
        rung
    }

    /// Waits until something arrives or somebody rings, at most for `limit`.
    fn wait(&self, limit: Option<Duration>) {
        let is_idle = |inbox: &mut InboxState| inbox.arrived.is_empty() && !inbox.rung;
        let mut inbox = lock(&self.inbox.state);
        inbox.waiting = true;
        let mut inbox = match limit {
            None => self.inbox.changed.wait_while(inbox, is_idle).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.inbox.changed.wait_timeout_while(inbox, limit, is_idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        inbox.waiting = false;
    }
}

impl Port for LocalPort {
    fn me(&self) -> Peer {
        self.me
    }

    fn send(&mut self, to: Peer, bytes: Vec<u8>) {
        if bytes.len() > MESSAGE_BYTES_MAX {
            self.unreachable(to);
            return;
        }
        self.stats.messages += 1;
        self.stats.bytes += bytes.len() as u64;
        let lane = self.lanes.entry(to).or_default();
        if lane.batch.is_empty() {
            self.unflushed.push(to);
        }
        lane.batch_bytes += bytes.len();
        lane.batch.push(bytes);
        if lane.batch_bytes > BATCH_BYTES {
            self.unflushed.retain(|&peer| peer != to);
            self.deliver(to);
        }
    }

    fn flush(&mut self) {
        let mut unflushed = mem::take(&mut self.unflushed);
        for to in unflushed.drain(..) {
            self.deliver(to);
        }
        self.unflushed = unflushed;
    }

    fn receive(&mut self, wait: Wait, out: &mut Vec<Arrival>) -> bool {
        self.flush();
        let deadline = match wait {
            Wait::AtMost(limit) => Instant::now().checked_add(limit),
            Wait::No | Wait::Forever => None,
        };
        let before = out.len();
        loop {
            let rung = self.take_arrived(out);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if rung || out.len() > before || wait == Wait::No || left.is_some_and(|left| left.is_zero()) {
                return rung;
            }
            let due = if self.transit.delays() { self.transit.next_in(monotonic_ns()) } else { None };
            if due.is_some() {
                wait_exactly();
            }
            self.wait(left.into_iter().chain(due).min());
        }
    }

    fn waker(&self) -> Waker {
        let inbox = Arc::clone(&self.inbox);
        Waker::new(move || inbox.change(|inbox| inbox.rung = true))
    }

    fn stats(&self) -> PortStats {
        self.stats
    }
}

impl Drop for LocalPort {
    fn drop(&mut self) {
        let mut inbox = lock(&self.inbox.state);
        inbox.closed = true;
        inbox.arrived.clear();
        let linked = mem::take(&mut inbox.linked);
        drop(inbox);
        let sent_ns = self.sent_ns();
        for peer in linked.into_iter().filter(|&peer| peer != self.me) {
            if let Some(inbox) = self.net.find(peer) {
                let notice = Arrival::Unreachable { peer: self.me };
                inbox.change(|inbox| inbox.arrived.push((sent_ns, notice)));
            }
        }
        lock(&self.net.names).remove(&self.me);
    }
}
