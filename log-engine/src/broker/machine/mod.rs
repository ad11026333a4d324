//! [`Machine`]: a broker without threads. Messages and time go in, messages come out; storage is staged and never
//! waited for.
//!
//! Work gathers: whatever came in one round is appended first, and only when outputs are asked for are acknowledgements,
//! answers to followers and answers to consumers made, one message for each receiver.

mod fetch;
mod find_times;
mod follow;
mod hosted;
mod produce;
mod read;
mod replica_fetcher;
mod stats;
mod storage;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use engine_env::{Arrival, Disk, DiskError, File, Peer};

use super::config::BrokerConfig;
use super::link::Link;
use crate::cluster::ClusterLayout;
use crate::config::planted;
use crate::core::Core;
use crate::message::{Message, Produced};
use crate::{BrokerId, NO_TIMESTAMP};
use fetch::KeptFetch;
use follow::KeptFollow;
use hosted::{Hosted, Role, save_high_watermark};
use stats::Counters;

/// A broker without threads.
#[derive(Debug)]
pub(crate) struct Machine<F> {
    me: BrokerId,
    layout: Arc<ClusterLayout>,
    config: Arc<BrokerConfig>,
    core: Arc<Core<F>>,
    /// By the partition's number in the layout.
    hosted: BTreeMap<u32, Hosted<F>>,
    /// From the log's number of a partition to the layout's.
    indexes: Vec<u32>,
    /// One for each broker that leads something here.
    links: Vec<Link>,
    /// Questions that are kept until there is something to say, one of each party.
    followers: BTreeMap<Peer, KeptFollow>,
    consumers: BTreeMap<Peer, KeptFetch>,
    /// Hosted partitions about which there may be something to say.
    dirty: Vec<u32>,
    answers: BTreeMap<Peer, Vec<Produced>>,
    outputs: VecDeque<(Peer, Vec<u8>)>,
    /// No later than anything has to be looked at; perhaps earlier.
    next_look_ms: Option<u64>,
    now_ms: u64,
    /// What a clock on the wall says, milliseconds since the Unix epoch.
    wall_ms: i64,
    moved: Vec<u32>,
    is_closing: bool,
    counters: Counters,
}

impl<F: File> Machine<F> {
    /// A broker over an open log in which its partitions exist. Each leader begins a new term, durably.
    pub(super) fn new<D: Disk<File = F>>(
        me: BrokerId,
        layout: Arc<ClusterLayout>,
        config: BrokerConfig,
        core: Arc<Core<F>>,
        disk: &mut D,
        now_ms: u64,
    ) -> Result<Self, DiskError> {
        let mut machine = Self {
            me,
            layout: Arc::clone(&layout),
            config: Arc::new(config),
            core,
            hosted: BTreeMap::new(),
            indexes: Vec::new(),
            links: Vec::new(),
            followers: BTreeMap::new(),
            consumers: BTreeMap::new(),
            dirty: Vec::new(),
            answers: BTreeMap::new(),
            outputs: VecDeque::new(),
            next_look_ms: None,
            now_ms,
            wall_ms: NO_TIMESTAMP,
            moved: Vec::new(),
            is_closing: false,
            counters: Counters::default(),
        };
        for (index, one) in (0..).zip(layout.partitions()) {
            if one.replicas.contains(&me) {
                let partition = machine.core.get(&one.partition).expect("the broker created its partitions");
                machine.host(index, partition, &one.replicas, disk)?;
            }
        }
        for other in layout.brokers().filter(|&other| other != me) {
            machine.send(other.peer(), &Message::Hello);
        }
        machine.remind(now_ms);
        Ok(machine)
    }

    fn mark_dirty(&mut self, index: u32) {
        let hosted = self.hosted.get_mut(&index).expect("only hosted partitions get dirty");
        if !std::mem::replace(&mut hosted.is_dirty, true) {
            self.dirty.push(index);
        }
    }

    fn remind(&mut self, at_ms: u64) {
        self.next_look_ms = Some(self.next_look_ms.map_or(at_ms, |next| next.min(at_ms)));
    }

    fn send(&mut self, to: Peer, message: &Message<'_>) {
        self.outputs.push_back((to, message.encode(self.layout.fingerprint())));
    }

    /// What a clock on the wall says, before [`Machine::handle`]: the time of append of the batches that come.
    pub(crate) fn set_wall_ms(&mut self, wall_ms: i64) {
        self.wall_ms = wall_ms;
    }

    /// Takes what came over the network.
    pub(crate) fn handle(&mut self, now_ms: u64, arrival: Arrival) {
        self.now_ms = self.now_ms.max(now_ms);
        match arrival {
            Arrival::Unreachable { peer } => {
                // Answers to it would be lost, and it will ask again.
                self.followers.remove(&peer);
                self.consumers.remove(&peer);
                let retry_at = self.now_ms + self.config.retry_ms;
                if let Some(link) = self.link_of(peer) {
                    link.lost(retry_at);
                    self.remind(retry_at);
                }
            }
            Arrival::Message { from, bytes } => {
                let layout = Arc::clone(&self.layout);
                match Message::decode(&bytes, layout.fingerprint()) {
                    Ok(message) => self.take(from, message),
                    Err(_) => self.counters.messages_refused += 1,
                }
            }
        }
    }

    fn take(&mut self, from: Peer, message: Message<'_>) {
        match message {
            Message::Produce(produce) => self.produce(from, &produce),
            Message::Fetch(fetch) => self.fetch(from, fetch),
            Message::Follow(follow) => self.followed_by(from, follow),
            Message::Followed(followed) => self.followed(from, &followed),
            Message::Progress(list) => self.progress(from, &list),
            Message::Hello => {
                self.followers.remove(&from);
                if let Some(link) = self.link_of(from) {
                    link.leader_started();
                    for index in link.partitions.clone() {
                        if let Some(Hosted { role: Role::Follower(follower), .. }) =
                            self.hosted.get_mut(&index)
                        {
                            follower.leader_started();
                        }
                    }
                    self.remind(self.now_ms);
                }
            }
            Message::FindTimes(find) => self.find_times(from, &find),
            Message::Produced(_) | Message::Fetched(_) | Message::FoundTimes(_) => {
                self.counters.messages_refused += 1;
            }
        }
    }

    fn link_of(&mut self, leader: Peer) -> Option<&mut Link> {
        self.links.iter_mut().find(|l| l.leader.peer() == leader)
    }

    /// When [`Machine::handle_timeout`] wants to be called; perhaps for nothing.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.next_look_ms
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let now_ms = self.now_ms;
        if self.next_look_ms.is_none_or(|at| at > now_ms) {
            return;
        }
        self.next_look_ms = None;
        let mut looks = Vec::new();
        let mut dirty = Vec::new();
        for (&index, hosted) in &mut self.hosted {
            let Role::Leader(leading) = &mut hosted.role else { continue };
            let leader = &mut leading.leader;
            leader.isr.observe(now_ms, leader.end);
            if leader.isr.shrink(now_ms) {
                dirty.push(index);
            }
            leader.expire(now_ms, |client, produced| {
                self.answers.entry(client).or_default().push(produced);
            });
            looks.extend(leader.next_look());
        }
        dirty.into_iter().for_each(|index| self.mark_dirty(index));
        for link in &mut self.links {
            looks.extend(link.handle_timeout(now_ms, &self.config));
        }
        looks.extend(self.followers.values().map(|k| k.deadline_ms));
        looks.extend(self.consumers.values().map(|k| k.deadline_ms));
        if let Some(next) = looks.into_iter().min() {
            // What is due is done before the next call.
            self.remind(next.max(now_ms + 1));
        }
    }

    /// The next message to send. Call until there is none, then wait.
    pub(crate) fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        if self.outputs.is_empty() {
            self.gather();
        }
        self.outputs.pop_front()
    }

    /// Turns all that happened into messages.
    fn gather(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        for &index in &dirty {
            let hosted = self.hosted.get_mut(&index).expect("only hosted partitions get dirty");
            hosted.is_dirty = false;
            match &mut hosted.role {
                Role::Leader(leading) => {
                    let leader = &mut leading.leader;
                    let held = if planted!(self.config.log, HighWatermarkAhead) {
                        leader.end
                    } else {
                        leader.held_in_sync()
                    };
                    if hosted.high_watermark.advance(held) {
                        save_high_watermark(&mut hosted.high_watermark, &hosted.partition);
                    }
                    let mark = hosted.high_watermark.value();
                    leader.acknowledge(mark, |client, produced| {
                        self.answers.entry(client).or_default().push(produced);
                    });
                    if let Some(at) = leader.next_look() {
                        self.remind(at.max(self.now_ms + 1));
                    }
                }
                Role::Follower(_) => {
                    let leader = self.layout.leader_of(index);
                    if let Some(link) = self.links.iter_mut().find(|l| l.leader == leader) {
                        link.changed.push(index);
                    }
                }
            }
        }
        self.recycle_dirty(dirty);
        for (client, list) in std::mem::take(&mut self.answers) {
            self.send(client, &Message::Produced(list));
        }
        self.answer_followers();
        self.ask_leaders();
        self.answer_consumers();
    }

    fn recycle_dirty(&mut self, mut list: Vec<u32>) {
        if self.dirty.is_empty() {
            list.clear();
            self.dirty = list;
        }
    }

    /// Takes no more batches; those that are waited for are finished.
    pub(crate) fn close(&mut self) {
        self.is_closing = true;
    }

    /// Whether a producer still waits for something.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.hosted.values().any(|h| match &h.role {
            Role::Leader(leading) => leading.leader.is_waited_for() || !leading.waiting_room.is_empty(),
            Role::Follower(_) => false,
        })
    }
}
