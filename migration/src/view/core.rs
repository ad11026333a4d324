//! [`ViewCore`]: answers readers. No thread, no clock, no socket: requests and progress come in, reads and replies go out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use engine_env::Peer;
use log_engine::Offset;

use super::message::{Reply, Request};
use super::position::Position;

/// Settings of a [`ViewCore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewCoreConfig {
    /// Reads that wait for an offset at the same time, at most; more are refused. Default: 65,536.
    pub waiting_max: usize,
}

impl Default for ViewCoreConfig {
    fn default() -> Self {
        Self { waiting_max: 1 << 16 }
    }
}

/// What the owner does for the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Read this key from the store and reply under this id.
    Read {
        /// Who asked.
        to: Peer,
        /// The request's id.
        id: u64,
        /// The key, as the reader knows it.
        key: Vec<u8>,
    },
    /// Send a message.
    Send {
        /// To whom.
        to: Peer,
        /// What.
        reply: Reply,
    },
}

#[derive(Debug)]
struct Waiting {
    from: Peer,
    id: u64,
    key: Vec<u8>,
    deadline_ns: u64,
}

/// Who waits for what.
#[derive(Debug)]
pub struct ViewCore {
    config: ViewCoreConfig,
    /// By partition: the offset that comes next.
    next: Vec<Offset>,
    /// By partition and offset, and in the order of arrival.
    waiting: BTreeMap<(u32, Offset, u64), Waiting>,
    deadlines: BTreeSet<(u64, u32, Offset, u64)>,
    arrivals: u64,
    watchers: Vec<Peer>,
    outputs: VecDeque<Output>,
}

impl ViewCore {
    /// A core whose partitions stand at these positions.
    #[must_use]
    pub fn new(positions: impl IntoIterator<Item = (u32, Position)>, config: ViewCoreConfig) -> Self {
        let mut core = Self {
            config,
            next: Vec::new(),
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            arrivals: 0,
            watchers: Vec::new(),
            outputs: VecDeque::new(),
        };
        for (partition, position) in positions {
            core.next.resize(core.next.len().max(partition as usize + 1), Offset(0));
            core.next[partition as usize] = position.next;
        }
        core
    }

    /// Takes a request at `now_ns`.
    pub fn request(&mut self, now_ns: u64, from: Peer, request: Request) {
        match request {
            Request::Watch => {
                if !self.watchers.contains(&from) {
                    self.watchers.push(from);
                }
                for (partition, next) in (0u32..).zip(&self.next) {
                    let reply = Reply::Moved { partition, next: *next };
                    self.outputs.push_back(Output::Send { to: from, reply });
                }
            }
            Request::Get { id, at_least, wait_ms, key } => {
                let Some((partition, offset)) = at_least else {
                    self.outputs.push_back(Output::Read { to: from, id, key });
                    return;
                };
                match self.next.get(partition as usize) {
                    None => self.refuse(from, id, format!("the view follows no partition {partition}")),
                    Some(next) if offset < *next => {
                        self.outputs.push_back(Output::Read { to: from, id, key });
                    }
                    Some(_) if self.waiting.len() >= self.config.waiting_max => {
                        let why = format!("{} reads wait already, the most allowed", self.waiting.len());
                        self.refuse(from, id, why);
                    }
                    Some(_) => {
                        let deadline_ns = now_ns.saturating_add(u64::from(wait_ms) * 1_000_000);
                        let place = (partition, offset, self.arrivals);
                        self.arrivals += 1;
                        self.deadlines.insert((deadline_ns, place.0, place.1, place.2));
                        self.waiting.insert(place, Waiting { from, id, key, deadline_ns });
                    }
                }
            }
        }
    }

    fn refuse(&mut self, to: Peer, id: u64, why: String) {
        self.outputs.push_back(Output::Send { to, reply: Reply::Failed { id, why } });
    }

    /// A partition is applied up to `next`, visible and as durable as the store promises.
    pub fn moved(&mut self, partition: u32, next: Offset) {
        let Some(known) = self.next.get_mut(partition as usize).filter(|known| **known < next) else {
            return;
        };
        *known = next;
        let later = self.waiting.split_off(&(partition, next, 0));
        // What is left has a smaller partition, or this one and a smaller offset.
        let released = self.waiting.split_off(&(partition, Offset(0), 0));
        self.waiting.extend(later);
        for ((partition, offset, arrival), read) in released {
            self.deadlines.remove(&(read.deadline_ns, partition, offset, arrival));
            self.outputs.push_back(Output::Read { to: read.from, id: read.id, key: read.key });
        }
        for &to in &self.watchers {
            self.outputs.push_back(Output::Send { to, reply: Reply::Moved { partition, next } });
        }
    }

    /// A reader is gone: nothing is kept for it.
    pub fn gone(&mut self, peer: Peer) {
        self.watchers.retain(|w| *w != peer);
        let deadlines = &mut self.deadlines;
        self.waiting.retain(|&(partition, offset, arrival), read| {
            let stays = read.from != peer;
            if !stays {
                deadlines.remove(&(read.deadline_ns, partition, offset, arrival));
            }
            stays
        });
    }

    /// When [`ViewCore::expire`] has something to do, in nanoseconds; none while nothing waits.
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.deadlines.first().map(|d| d.0)
    }

    /// Tells the readers whose time is over at `now_ns`.
    pub fn expire(&mut self, now_ns: u64) {
        while let Some(&(deadline, partition, offset, arrival)) = self.deadlines.first()
            && deadline <= now_ns
        {
            self.deadlines.pop_first();
            let read =
                self.waiting.remove(&(partition, offset, arrival)).expect("it has a deadline, so it waits");
            let next = self.next[partition as usize];
            let reply = Reply::TimedOut { id: read.id, next };
            self.outputs.push_back(Output::Send { to: read.from, reply });
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// How many reads wait for an offset.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: Peer = Peer(1000);

    fn core() -> ViewCore {
        let at = |next| Position { next: Offset(next), newest_ms: 0 };
        ViewCore::new([(0, at(5)), (1, at(0))], ViewCoreConfig { waiting_max: 3 })
    }

    fn get(id: u64, at_least: Option<(u32, u64)>) -> Request {
        let at_least = at_least.map(|(partition, offset)| (partition, Offset(offset)));
        Request::Get { id, at_least, wait_ms: 10, key: vec![id as u8] }
    }

    fn outputs(core: &mut ViewCore) -> Vec<Output> {
        std::iter::from_fn(|| core.poll_output()).collect()
    }

    fn read(id: u64) -> Output {
        Output::Read { to: READER, id, key: vec![id as u8] }
    }

    #[test]
    fn a_read_waits_for_its_offset_and_no_other() {
        let mut core = core();
        core.request(0, READER, get(1, None));
        core.request(0, READER, get(2, Some((0, 4))));
        assert_eq!(outputs(&mut core), [read(1), read(2)]);
        core.request(0, READER, get(3, Some((0, 5))));
        core.request(0, READER, get(4, Some((0, 7))));
        core.request(0, READER, get(5, Some((1, 0))));
        assert_eq!((outputs(&mut core), core.waiting()), (vec![], 3));
        core.moved(0, Offset(7));
        assert_eq!(outputs(&mut core), [read(3)]);
        core.moved(1, Offset(9));
        assert_eq!(outputs(&mut core), [read(5)]);
        core.moved(0, Offset(6));
        assert_eq!(outputs(&mut core), []);
        core.moved(0, Offset(8));
        assert_eq!(outputs(&mut core), [read(4)]);
        assert_eq!((core.waiting(), core.next_deadline_ns()), (0, None));
    }

    #[test]
    fn a_read_that_waits_too_long_is_told_how_far_the_view_is() {
        let mut core = core();
        core.request(1_000_000, READER, get(1, Some((0, 6))));
        core.request(2_000_000, READER, get(2, Some((0, 9))));
        assert_eq!(core.next_deadline_ns(), Some(11_000_000));
        core.moved(0, Offset(6));
        core.expire(10_999_999);
        assert_eq!(outputs(&mut core), []);
        core.expire(11_000_000);
        let reply = Reply::TimedOut { id: 1, next: Offset(6) };
        assert_eq!(outputs(&mut core), [Output::Send { to: READER, reply }]);
        assert_eq!((core.next_deadline_ns(), core.waiting()), (Some(12_000_000), 1));
        core.gone(READER);
        assert_eq!((core.next_deadline_ns(), core.waiting()), (None, 0));
    }

    #[test]
    fn what_cannot_be_waited_for_is_refused() {
        let mut core = core();
        core.request(0, READER, get(1, Some((2, 0))));
        for id in 2..=5 {
            core.request(0, READER, get(id, Some((0, 100))));
        }
        let all = outputs(&mut core);
        let [
            Output::Send { reply: Reply::Failed { id: 1, why }, .. },
            Output::Send { reply: Reply::Failed { id: 5, .. }, .. },
        ] = all.as_slice()
        else {
            panic!("{all:?}")
        };
        assert!(why.contains("partition 2"), "{why}");
    }

    #[test]
    fn watchers_hear_where_the_view_is_and_whenever_it_moves() {
        let mut core = core();
        core.request(0, READER, Request::Watch);
        core.request(0, READER, Request::Watch);
        assert_eq!(outputs(&mut core).len(), 4);
        core.moved(1, Offset(3));
        let reply = Reply::Moved { partition: 1, next: Offset(3) };
        assert_eq!(outputs(&mut core), [Output::Send { to: READER, reply }]);
        core.gone(READER);
        core.moved(1, Offset(4));
        assert_eq!(outputs(&mut core), []);
    }
}
