//! [`TcpPort`]: the thread that owns it waits in one `epoll` for its sockets and its waker.
//!
//! Invariants:
//! * A peer's links belong together: when one breaks, what has arrived on the others is taken and they are closed, so
//!   that a break is told once, after everything that came before it.
//! * A hello with another incarnation ends the links of the peer's former life before its own messages are told.
//! * Nothing here blocks but the wait in [`Port::receive`].

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll};
use rustix::io::Errno;

use super::super::transit::{Transit, monotonic_ns, wait_exactly};
use super::super::{Arrival, MESSAGE_BYTES_MAX, NetError, Peer, Port, PortStats, UNREAD_BYTES_MAX};
use super::frame::Hello;
use super::link::{Link, Phase, arrival};
use super::{TcpNet, bound, refused};
use crate::os::bell::Bell;
use crate::{Wait, Waker};

/// A party's access to a [`TcpNet`].
#[derive(Debug)]
pub struct TcpPort {
    me: Peer,
    net: TcpNet,
    /// What it says first on each connection.
    hello: Hello,
    epoll: OwnedFd,
    bell: Arc<Bell>,
    listener: Option<TcpListener>,
    /// Whether no descriptor was left for a caller; it is asked in again when one is free.
    is_deaf: bool,
    links: HashMap<u64, Link>,
    next_link: u64,
    /// The link that is used to send to a peer.
    ways: HashMap<Peer, u64>,
    unflushed: Vec<u64>,
    /// What has arrived, with the time of sending.
    arrived: Vec<(u64, Arrival)>,
    /// Bytes in `arrived` that this port sent to itself.
    own_bytes: usize,
    transit: Transit,
    scratch: Box<[u8]>,
    stats: PortStats,
}

const BELL: u64 = 0;
const LISTENER: u64 = 1;
const FIRST_LINK: u64 = 2;

const BACKLOG: i32 = 1024;
const SCRATCH_BYTES: usize = 64 << 10;
/// A link is read this many times before the next one has its turn.
const READS: usize = 4;
const EVENTS: usize = 64;
/// A link that has gathered this much writes without waiting for a flush.
const BATCH_BYTES: usize = 1 << 20;

impl TcpPort {
    pub(super) fn open(net: TcpNet, me: Peer) -> Result<Self, NetError> {
        let address = net.address(me);
        let failed = |e: &io::Error| match address {
            Some(address) => refused(me, address, e),
            None => NetError::Join { peer: me, why: e.to_string() },
        };
        Self::build(net, me, address).map_err(|e| failed(&e))
    }

    fn build(net: TcpNet, me: Peer, address: Option<SocketAddr>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = Arc::new(Bell::new()?);
        // By edge: each knock is one event, and nobody has to read the counter.
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, bell.as_fd(), epoll::EventData::new_u64(BELL), edge)?;
        let listener = match address {
            None => None,
            Some(address) => {
                let (socket, _) = bound(address)?;
                rustix::net::listen(&socket, BACKLOG)?;
                let data = epoll::EventData::new_u64(LISTENER);
                epoll::add(&epoll, &socket, data, epoll::EventFlags::IN)?;
                Some(TcpListener::from(socket))
            }
        };
        Ok(Self {
            me,
            hello: Hello { peer: me, incarnation: RandomState::new().hash_one(me), clock: boot_id() },
            epoll,
            bell,
            listener,
            is_deaf: false,
            links: HashMap::new(),
            next_link: FIRST_LINK,
            ways: HashMap::new(),
            unflushed: Vec::new(),
            arrived: Vec::new(),
            own_bytes: 0,
            transit: Transit::new(net.0.delay),
            net,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            stats: PortStats::default(),
        })
    }

    fn sent_ns(&self) -> u64 {
        if self.transit.delays() { monotonic_ns() } else { 0 }
    }

    fn unreachable(&mut self, peer: Peer) {
        self.arrived.push((self.sent_ns(), Arrival::Unreachable { peer }));
    }

    fn send_to_self(&mut self, bytes: Vec<u8>) {
        if self.own_bytes > UNREAD_BYTES_MAX {
            self.unreachable(self.me);
            return;
        }
        self.own_bytes += bytes.len();
        self.arrived.push((self.sent_ns(), arrival(self.me, bytes)));
    }

    fn add_link(&mut self, link: Link) -> u64 {
        let id = self.next_link;
        self.next_link += 1;
        self.links.insert(id, link);
        id
    }

    fn flush_link(&mut self, id: u64) {
        let sent_ns = self.transit.delays().then(monotonic_ns);
        let Some(link) = self.links.get_mut(&id) else { return };
        link.is_unflushed = false;
        link.stamp(sent_ns);
        let is_new = matches!(link.phase, Phase::Planned);
        if is_new {
            let address = link.peer.and_then(|peer| self.net.address(peer));
            let is_dialled = address.is_some_and(|address| link.dial(address).is_ok());
            if !is_dialled || self.watch(id).is_err() {
                self.break_link(id);
                return;
            }
        }
        self.write_link(id);
    }

    /// Registers a new connection.
    fn watch(&mut self, id: u64) -> io::Result<()> {
        let link = self.links.get_mut(&id).expect("it was added just now");
        let stream = link.stream().expect("it has a socket");
        let mut interest = epoll::EventFlags::IN;
        let is_dialling = matches!(link.phase, Phase::Dialling(_));
        if is_dialling {
            interest |= epoll::EventFlags::OUT;
        }
        epoll::add(&self.epoll, stream, epoll::EventData::new_u64(id), interest)?;
        link.watches_writes = is_dialling;
        Ok(())
    }

    fn write_link(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.write().is_err() || link.unsent() > UNREAD_BYTES_MAX {
            self.break_link(id);
            return;
        }
        let wants_writes = link.unsent() > 0;
        if wants_writes == link.watches_writes || !matches!(link.phase, Phase::Open(_)) {
            return;
        }
        let mut interest = epoll::EventFlags::IN;
        interest.set(epoll::EventFlags::OUT, wants_writes);
        let stream = link.stream().expect("an open link has a socket");
        match epoll::modify(&self.epoll, stream, epoll::EventData::new_u64(id), interest) {
            Ok(()) => link.watches_writes = wants_writes,
            // The kernel has no memory for it: the link can't be served.
            Err(_) => self.break_link(id),
        }
    }

    /// Forgets a link and those that belong to it, and tells so.
    fn break_link(&mut self, id: u64) {
        let Some(link) = self.close_link(id) else { return };
        if let Some(peer) = link.peer {
            let incarnation = link.hello.map(|hello| hello.incarnation);
            self.close_all(peer, |other| other.is_none() || other == incarnation);
            self.unreachable(peer);
        }
        drop(link);
        self.has_descriptor();
    }

    /// Takes what has arrived on a link and forgets it.
    fn close_link(&mut self, id: u64) -> Option<Link> {
        let mut link = self.links.remove(&id)?;
        let mut rest = Vec::new();
        link.read_rest(&mut self.scratch, &mut rest);
        self.tell(&link, rest);
        if let Some(peer) = link.peer
            && self.ways.get(&peer) == Some(&id)
        {
            self.ways.remove(&peer);
        }
        Some(link)
    }

    /// Closes a peer's links whose incarnation is to go. Whether there were any.
    fn close_all(&mut self, peer: Peer, goes: impl Fn(Option<u64>) -> bool) -> bool {
        let goes = |link: &Link| link.peer == Some(peer) && goes(link.hello.map(|hello| hello.incarnation));
        let going: Vec<u64> = self.links.iter().filter(|(_, link)| goes(link)).map(|(&id, _)| id).collect();
        for &id in &going {
            self.close_link(id);
        }
        !going.is_empty()
    }

    /// A descriptor was closed: callers that had to wait can be let in.
    fn has_descriptor(&mut self) {
        if mem::take(&mut self.is_deaf)
            && let Some(listener) = &self.listener
        {
            let interest = epoll::EventFlags::IN;
            let data = epoll::EventData::new_u64(LISTENER);
            // Should it fail, the next close tries again.
            self.is_deaf = epoll::modify(&self.epoll, listener, data, interest).is_err();
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        match listener.accept() {
            Ok((stream, _)) => {
                let Ok(link) = Link::accepted(stream, &self.hello) else { return };
                let id = self.add_link(link);
                if self.watch(id).is_err() {
                    self.break_link(id);
                } else {
                    self.write_link(id);
                }
            }
            Err(e) => match e.raw_os_error().map(Errno::from_raw_os_error) {
                // No caller (any more).
                Some(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                // No descriptor, no memory: the caller waits in the kernel, and this thread doesn't spin over it.
                _ => {
                    let data = epoll::EventData::new_u64(LISTENER);
                    let nothing = epoll::EventFlags::empty();
                    self.is_deaf = epoll::modify(&self.epoll, listener, data, nothing).is_ok();
                }
            },
        }
    }

    fn serve(&mut self, id: u64, flags: epoll::EventFlags) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if matches!(link.phase, Phase::Dialling(_)) {
            if link.dialled().is_err() {
                self.break_link(id);
                return;
            }
            self.write_link(id);
        } else if flags.contains(epoll::EventFlags::OUT) {
            self.write_link(id);
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            self.read_link(id);
        }
    }

    fn read_link(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let was_greeted = link.hello.is_some();
        let mut messages = Vec::new();
        let result = link.read(&mut self.scratch, READS, &mut messages);
        if !was_greeted
            && let Some(hello) = link.hello
            && !self.greet(id, hello)
        {
            self.break_link(id);
            return;
        }
        if let Some(link) = self.links.remove(&id) {
            self.tell(&link, messages);
            self.links.insert(id, link);
        }
        if result.is_err() {
            self.break_link(id);
        }
    }

    /// The other side has said who it is. `false`: it isn't who it should be.
    fn greet(&mut self, id: u64, hello: Hello) -> bool {
        let link = self.links.get_mut(&id).expect("it has just said hello");
        if hello.peer == self.me || link.peer.is_some_and(|expected| expected != hello.peer) {
            return false;
        }
        link.peer = Some(hello.peer);
        if self.close_all(hello.peer, |other| other.is_some_and(|other| other != hello.incarnation)) {
            self.unreachable(hello.peer);
        }
        self.ways.entry(hello.peer).or_insert(id);
        true
    }

    fn tell(&mut self, link: &Link, messages: Vec<(u64, Vec<u8>)>) {
        let (Some(from), Some(hello)) = (link.peer, link.hello) else { return };
        if hello.peer != from {
            return;
        }
        let now_ns = self.sent_ns();
        let is_comparable = hello.clock == self.hello.clock && hello.clock != [0; 16];
        let sent = |stamp: u64| if is_comparable && stamp != 0 { stamp.min(now_ns) } else { now_ns };
        self.arrived.extend(messages.into_iter().map(|(stamp, bytes)| (sent(stamp), arrival(from, bytes))));
    }

    fn take_arrived(&mut self, out: &mut Vec<Arrival>) {
        self.own_bytes = 0;
        if self.transit.delays() {
            for (sent_ns, arrival) in self.arrived.drain(..) {
                self.transit.hold(sent_ns, arrival);
            }
            self.transit.release(monotonic_ns(), out);
        } else {
            out.extend(self.arrived.drain(..).map(|(_, arrival)| arrival));
        }
    }

    /// Serves what the kernel reports, waiting for something at most for `limit`.
    fn turn(&mut self, limit: Option<Duration>) {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
        let timeout = match limit {
            None => None,
            Some(limit) => {
                if !limit.is_zero() && !self.wait_for_events(limit) {
                    return;
                }
                Some(Timespec::default())
            }
        };
        let events = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return,
            Err(e) => unreachable!("the kernel refuses to wait for an epoll that it made: {e}"),
        };
        for event in events {
            let (flags, data) = (event.flags, event.data.u64());
            match data {
                BELL => {}
                LISTENER => self.accept(),
                link => self.serve(link, flags),
            }
        }
    }

    /// Waits to the nanosecond, which `epoll_wait` can't. Whether there are events.
    fn wait_for_events(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).ok();
        let mut fds = [PollFd::new(&self.epoll, PollFlags::IN)];
        // An interruption counts as an event: the caller looks, finds nothing, and comes again.
        rustix::event::poll(&mut fds, limit.as_ref()) != Ok(0)
    }
}

impl Port for TcpPort {
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
        if to == self.me {
            self.send_to_self(bytes);
            return;
        }
        let id = match self.ways.get(&to) {
            Some(&id) => id,
            None => {
                let id = self.add_link(Link::planned(to, &self.hello));
                self.ways.insert(to, id);
                id
            }
        };
        let link = self.links.get_mut(&id).expect("a way leads over a link that is there");
        link.push(&bytes);
        if !mem::replace(&mut link.is_unflushed, true) {
            self.unflushed.push(id);
        }
        if link.unsent() > BATCH_BYTES {
            self.flush_link(id);
        }
    }

    fn flush(&mut self) {
        let mut unflushed = mem::take(&mut self.unflushed);
        for id in unflushed.drain(..) {
            self.flush_link(id);
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
            self.take_arrived(out);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let may_wait = out.len() == before && wait != Wait::No && left.is_none_or(|left| !left.is_zero());
            // From here on a ringer knocks.
            let waits = may_wait && self.bell.begin_wait();
            if waits {
                let due = if self.transit.delays() { self.transit.next_in(monotonic_ns()) } else { None };
                if due.is_some() {
                    wait_exactly();
                }
                self.turn(left.into_iter().chain(due).min());
            } else {
                self.turn(Some(Duration::ZERO));
            }
            let was_rung = self.bell.answer();
            self.take_arrived(out);
            if !waits || was_rung || out.len() > before {
                return was_rung;
            }
        }
    }

    fn waker(&self) -> Waker {
        let bell = Arc::clone(&self.bell);
        Waker::new(move || bell.ring())
    }

    fn stats(&self) -> PortStats {
        self.stats
    }
}

impl Drop for TcpPort {
    fn drop(&mut self) {
        // The address first: whoever takes the name next listens there.
        self.listener = None;
        self.links.clear();
        self.net.leave(self.me);
    }
}

/// Names this machine's monotonic clock; zeros where that isn't told.
fn boot_id() -> [u8; 16] {
    let mut id = [0; 16];
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).expect("below 16")).collect();
    if digits.len() == 32 {
        for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
    }
    id
}
