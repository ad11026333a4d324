//! [`Machine`]: a broker without threads. Messages and time go in, messages come out; storage is staged and never
//! waited for.
//!
//! Work gathers: whatever came in one round is appended first, and only when outputs are asked for are acknowledgements,
//! answers to followers and answers to consumers made, one message for each receiver.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine_env::{Arrival, Disk, DiskError, File, Peer};

use super::config::BrokerConfig;
use super::link::{Link, Stand};
use super::stats::{BrokerStats, PartitionStats};
use crate::cluster::ClusterLayout;
use crate::config::planted;
use crate::core::{Core, Partition};
use crate::log::append::{AppendError, Appended, Refused, ReplicateError};
use crate::log::leader_epochs::{Epoch, LeaderEpochs, NO_EPOCH};
use crate::log::partition_log::{Effects, Tell};
use crate::log::producer_state::SequenceError;
use crate::message::{
    Acks, Fetch, Follow, FollowAnswer, FollowPlace, Followed, Message, Produce, ProduceAnswer, Produced,
    Progress,
};
use crate::record::builder::{EncodeError, EncodedBatch};
use crate::replication::follower::{Busy, Follower, Step, agrees};
use crate::replication::high_watermark::HighWatermark;
use crate::replication::isr::Isr;
use crate::replication::leader::{Leader, Waiting};
use crate::{BrokerId, NO_TIMESTAMP, Offset};

/// A partition that this broker holds.
#[derive(Debug)]
pub(super) struct Hosted<F> {
    pub(super) partition: Arc<Partition<F>>,
    pub(super) high_watermark: HighWatermark<F>,
    pub(super) role: Role,
    is_dirty: bool,
}

#[derive(Debug)]
pub(super) enum Role {
    Leader(Box<Leading>),
    Follower(Follower),
}

#[derive(Debug)]
pub(super) struct Leading {
    pub(super) leader: Leader,
    /// Batches that there was no room for, in the order in which they came.
    waiting_room: VecDeque<Arrived>,
}

/// A producer's batch.
#[derive(Debug)]
struct Arrived {
    client: Peer,
    id: u64,
    acks: Acks,
    deadline_ms: u64,
    batch: EncodedBatch,
}

/// A follower's question, and what has to be said at once about some of its places.
#[derive(Debug)]
pub(super) struct KeptFollow {
    pub(super) question: Follow,
    pub(super) deadline_ms: u64,
    pub(super) at_once: Vec<(u32, Epoch, Offset, FollowAnswer<'static>)>,
}

/// A consumer's question.
#[derive(Debug)]
pub(super) struct KeptFetch {
    pub(super) question: Fetch,
    pub(super) deadline_ms: u64,
}

/// A broker without threads.
#[derive(Debug)]
pub(crate) struct Machine<F> {
    pub(super) me: BrokerId,
    pub(super) layout: Arc<ClusterLayout>,
    pub(super) config: Arc<BrokerConfig>,
    pub(super) core: Arc<Core<F>>,
    /// By the partition's number in the layout.
    pub(super) hosted: BTreeMap<u32, Hosted<F>>,
    /// From the log's number of a partition to the layout's.
    indexes: Vec<u32>,
    /// One for each broker that leads something here.
    links: Vec<Link>,
    /// Questions that are kept until there is something to say, one of each party.
    pub(super) followers: BTreeMap<Peer, KeptFollow>,
    pub(super) consumers: BTreeMap<Peer, KeptFetch>,
    /// Hosted partitions about which there may be something to say.
    dirty: Vec<u32>,
    answers: BTreeMap<Peer, Vec<Produced>>,
    pub(super) outputs: VecDeque<(Peer, Vec<u8>)>,
    /// No later than anything has to be looked at; perhaps earlier.
    next_look_ms: Option<u64>,
    pub(super) now_ms: u64,
    /// What a clock on the wall says, milliseconds since the Unix epoch.
    wall_ms: i64,
    moved: Vec<u32>,
    is_closing: bool,
    pub(super) counters: Counters,
}

/// What happened since the start.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counters {
    pub(super) batches_appended: u64,
    pub(super) batches_followed: u64,
    pub(super) truncations: u64,
    pub(super) truncated_below_high_watermark: u64,
    pub(super) truncations_refused: u64,
    pub(super) restarts: u64,
    pub(super) messages_refused: u64,
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

    fn host<D: Disk<File = F>>(
        &mut self,
        index: u32,
        partition: Arc<Partition<F>>,
        replicas: &[BrokerId],
        disk: &mut D,
    ) -> Result<(), DiskError> {
        let mut log = partition.lock();
        log.replicated = true;
        partition.removable_below.store(0, Ordering::Release);
        let (dir, end) = (log.dir.clone(), log.end);
        let high_watermark = HighWatermark::open(disk, &dir, end)?;
        let leader_id = replicas[0];
        let role = if leader_id == self.me {
            let epoch = log.epochs.highest() + 1;
            log.epochs.begin(epoch, end);
            LeaderEpochs::write(disk, &dir, log.epochs.encode())?;
            log.epochs.unsaved = false;
            log.epochs.led = Some(epoch);
            let followers = replicas.iter().copied().filter(|&id| id != self.me);
            let isr = Isr::new(followers, self.config.replica_lag_ms, self.now_ms, end);
            let min_isr = if planted!(self.config.log, MinIsrIgnored) { 1 } else { self.config.min_isr };
            let leader = Leader::new(epoch, end, log.readable_end(), min_isr, isr);
            Role::Leader(Box::new(Leading { leader, waiting_room: VecDeque::new() }))
        } else {
            match self.links.iter_mut().find(|l| l.leader == leader_id) {
                Some(link) => link.partitions.push(index),
                None => self.links.push(Link::new(leader_id, index)),
            }
            Role::Follower(Follower::default())
        };
        drop(log);
        let number = partition.number as usize;
        self.indexes.resize(self.indexes.len().max(number + 1), u32::MAX);
        self.indexes[number] = index;
        self.hosted.insert(index, Hosted { partition, high_watermark, role, is_dirty: false });
        self.mark_dirty(index);
        Ok(())
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

    pub(super) fn send(&mut self, to: Peer, message: &Message<'_>) {
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
            Message::Fetch(fetch) => {
                let deadline_ms = self.now_ms + u64::from(fetch.wait_ms);
                self.remind(deadline_ms);
                // One question of a client is open at a time.
                self.consumers.insert(from, KeptFetch { question: fetch, deadline_ms });
            }
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

    // Producers.

    fn produce(&mut self, client: Peer, produce: &Produce<'_>) {
        let deadline_ms = self.now_ms + u64::from(produce.timeout_ms);
        self.remind(deadline_ms);
        for one in &produce.batches {
            let refusal = match self.admit(one.partition, produce.acks) {
                Err(refusal) => Some(refusal),
                Ok(()) => match EncodedBatch::received(one.bytes.to_vec()) {
                    Err(_) => Some(ProduceAnswer::BadBatch),
                    Ok(mut batch) => {
                        if self.gives_append_time(one.partition) {
                            batch.set_append_time(self.wall_ms);
                        }
                        let (id, acks) = (one.id, produce.acks);
                        self.append(one.partition, Arrived { client, id, acks, deadline_ms, batch })
                    }
                },
            };
            if let Some(answer) = refusal.filter(|_| produce.acks != Acks::None) {
                self.answers.entry(client).or_default().push(Produced { id: one.id, answer });
            }
        }
    }

    fn gives_append_time(&self, index: u32) -> bool {
        let topics = &self.config.log.append_time_topics;
        !topics.is_empty()
            && self.hosted.get(&index).is_some_and(|h| topics.contains(&h.partition.name.topic))
    }

    fn admit(&self, index: u32, acks: Acks) -> Result<(), ProduceAnswer> {
        if self.is_closing {
            return Err(ProduceAnswer::Closing);
        }
        match self.hosted.get(&index).map(|h| &h.role) {
            Some(Role::Leader(leading)) => leading.leader.admit(acks),
            _ if self.layout.get(index).is_some() => {
                Err(ProduceAnswer::NotLeader { leader: self.layout.leader_of(index) })
            }
            _ => Err(ProduceAnswer::UnknownPartition),
        }
    }

    /// Appends a batch, or lets it wait for room behind those that wait. `Some`: it was refused.
    fn append(&mut self, index: u32, arrived: Arrived) -> Option<ProduceAnswer> {
        let hosted = self.hosted.get_mut(&index).expect("an admitted batch is of a hosted partition");
        let Role::Leader(leading) = &mut hosted.role else {
            unreachable!("an admitted batch is of a partition that is led here")
        };
        if !leading.waiting_room.is_empty() {
            leading.waiting_room.push_back(arrived);
            return None;
        }
        let refused = self.append_now(index, arrived);
        self.mark_dirty(index);
        refused
    }

    fn append_now(&mut self, index: u32, arrived: Arrived) -> Option<ProduceAnswer> {
        let hosted = self.hosted.get_mut(&index).expect("it was looked up before");
        let Role::Leader(leading) = &mut hosted.role else { unreachable!("it was looked up before") };
        let Arrived { client, id, acks, deadline_ms, batch } = arrived;
        let mut effects = Effects::default();
        let mut log = hosted.partition.lock();
        let appended = self.core.try_append(&hosted.partition, &mut log, batch, Tell::Nobody, &mut effects);
        let commit = log.queue.can_begin();
        let held = log.readable_end();
        drop(log);
        if commit {
            self.core.want_commit(&hosted.partition);
        }
        match appended {
            Ok(Appended { base, end, is_repeated }) => {
                let waiting = Waiting { client, id, base, end, deadline_ms };
                if is_repeated {
                    leading.leader.repeated(acks, waiting);
                    return None;
                }
                leading.leader.appended(self.now_ms, acks, waiting);
                leading.leader.hold(held);
                self.counters.batches_appended += 1;
                None
            }
            Err(Refused::NeedsRoom(batch, _)) => {
                leading.waiting_room.push_front(Arrived { client, id, acks, deadline_ms, batch });
                None
            }
            Err(Refused::Error(AppendError::Encode {
                cause: EncodeError::TooLarge { limit, .. }, ..
            })) => Some(ProduceAnswer::TooLarge { limit }),
            Err(Refused::Error(AppendError::DiskFull { .. })) => Some(ProduceAnswer::DiskFull),
            Err(Refused::Error(AppendError::Closed { .. })) => Some(ProduceAnswer::Closing),
            Err(Refused::Error(AppendError::Sequence { cause, .. })) => Some(match cause {
                SequenceError::OutOfOrder { expected, .. } => ProduceAnswer::OutOfOrder { expected },
                SequenceError::Fenced { current, .. } => ProduceAnswer::Fenced { current },
                SequenceError::Unnumbered { .. } => ProduceAnswer::BadBatch,
            }),
            Err(Refused::Error(_)) => Some(ProduceAnswer::StorageFailed),
        }
    }

    /// Tries again what waits for room.
    fn empty_waiting_room(&mut self, index: u32) {
        loop {
            let Some(Hosted { role: Role::Leader(leading), .. }) = self.hosted.get_mut(&index) else {
                return;
            };
            let waiting = leading.waiting_room.len();
            let Some(arrived) = leading.waiting_room.pop_front() else { return };
            let (client, id, acks) = (arrived.client, arrived.id, arrived.acks);
            if let Some(answer) = self.append_now(index, arrived).filter(|_| acks != Acks::None) {
                self.answers.entry(client).or_default().push(Produced { id, answer });
            }
            let Some(Hosted { role: Role::Leader(leading), .. }) = self.hosted.get_mut(&index) else {
                return;
            };
            if leading.waiting_room.len() == waiting {
                return;
            }
        }
    }

    // Followers of this broker.

    fn followed_by(&mut self, from: Peer, mut follow: Follow) {
        let Some(id) = self.layout.brokers().find(|b| b.peer() == from) else {
            self.counters.messages_refused += 1;
            return;
        };
        let mut at_once = Vec::new();
        let (now_ms, layout) = (self.now_ms, Arc::clone(&self.layout));
        follow.places.retain(|place| {
            let Some(Hosted { partition, role: Role::Leader(leading), high_watermark, .. }) =
                self.hosted.get_mut(&place.partition)
            else {
                if layout.get(place.partition).is_some() {
                    let leader = layout.leader_of(place.partition);
                    let answer = FollowAnswer::NotLeader { leader };
                    at_once.push((place.partition, NO_EPOCH, Offset(0), answer));
                }
                return false;
            };
            let (leader, mark) = (&mut leading.leader, high_watermark.value());
            match Self::look_at(leader, partition, place) {
                Some(answer) => {
                    at_once.push((place.partition, leader.epoch, mark, answer));
                    return false;
                }
                None => {
                    leader.report(id, now_ms, place.held, mark);
                    if !hosted_is_dirty(self.hosted.get_mut(&place.partition)) {
                        self.dirty.push(place.partition);
                    }
                }
            }
            true
        });
        let deadline_ms = now_ms + u64::from(follow.wait_ms);
        self.remind(deadline_ms);
        self.followers.insert(from, KeptFollow { question: follow, deadline_ms, at_once });
    }

    /// What has to be said at once about a follower's place, if it isn't simply the next one.
    fn look_at(
        leader: &mut Leader,
        partition: &Partition<F>,
        place: &FollowPlace,
    ) -> Option<FollowAnswer<'static>> {
        if place.last_epoch > leader.epoch {
            leader.lost_log = true;
            return Some(FollowAnswer::Failed);
        }
        let log = partition.lock();
        if let Err((epoch, end)) = agrees(&log.epochs, log.end, place.end, place.last_epoch) {
            return Some(FollowAnswer::Diverging { epoch, end });
        }
        let start = log.start;
        (place.end < start).then_some(FollowAnswer::OutOfRange { start })
    }

    fn progress(&mut self, from: Peer, list: &[Progress]) {
        let Some(id) = self.layout.brokers().find(|b| b.peer() == from) else {
            self.counters.messages_refused += 1;
            return;
        };
        for one in list {
            let Some(Hosted { role: Role::Leader(leading), high_watermark, .. }) =
                self.hosted.get_mut(&one.partition)
            else {
                continue;
            };
            let leader = &mut leading.leader;
            // Of an earlier term, its log may differ from this one by now.
            if one.epoch == leader.epoch && one.held <= leader.end {
                leader.report(id, self.now_ms, one.held, high_watermark.value());
                self.mark_dirty(one.partition);
            }
        }
    }

    // This broker as a follower.

    fn followed(&mut self, from: Peer, followed: &Followed<'_>) {
        let retry_at = self.now_ms + self.config.retry_ms;
        let Some(link) = self.link_of(from) else { return };
        let is_awaited = link.answered(followed.correlation);
        let (mut ask_later, partitions) = (false, link.partitions.clone());
        for one in &followed.partitions {
            if !partitions.contains(&one.partition) {
                continue;
            }
            let hosted = self.hosted.get_mut(&one.partition).expect("a link's partitions are hosted");
            let Role::Follower(follower) = &mut hosted.role else { continue };
            let mut log = hosted.partition.lock();
            let end = log.end;
            let step = follower.answered(one.epoch, &one.answer, is_awaited, &log.epochs, end);
            match step {
                Step::Nothing => {}
                Step::AskLater => ask_later = true,
                Step::Truncate(_) if planted!(self.config.log, TruncationSkipped) => {
                    // As if the logs agreed.
                    follower.epoch = Some(one.epoch);
                }
                Step::Truncate(to) if self.config.log.synced() && to < hosted.high_watermark.value() => {
                    // What is below the mark was synced by the leader: a leader without it has lost its log.
                    self.counters.truncations_refused += 1;
                    ask_later = true;
                }
                Step::Truncate(to) => {
                    let mark = hosted.high_watermark.value();
                    self.counters.truncations += 1;
                    self.counters.truncated_below_high_watermark += mark.0.saturating_sub(to.0);
                    hosted.high_watermark.truncate(to);
                    follower.busy = Busy::Truncates;
                    log.truncate_to = Some(to);
                    drop(log);
                    self.core.want_upkeep(&hosted.partition);
                    continue;
                }
                Step::Restart(start) => {
                    self.counters.restarts += 1;
                    follower.busy = Busy::Truncates;
                    log.restart_at = Some(start);
                    drop(log);
                    self.core.want_upkeep(&hosted.partition);
                    continue;
                }
                Step::Append(bytes) => {
                    drop(log);
                    ask_later |= !self.append_followed(one.partition, bytes.to_vec());
                    log = self.hosted[&one.partition].partition.lock();
                }
            }
            let end = log.end;
            drop(log);
            let hosted = self.hosted.get_mut(&one.partition).expect("a link's partitions are hosted");
            if matches!(one.answer, FollowAnswer::Batches(_))
                && hosted.high_watermark.advance(one.high_watermark.min(end))
            {
                save(&mut hosted.high_watermark, &hosted.partition);
            }
            self.mark_dirty(one.partition);
        }
        if ask_later && let Some(link) = self.link_of(from) {
            link.lost(retry_at);
            self.remind(retry_at);
        }
    }

    /// Appends batches of the leader, and keeps what there is no room for. `false`: they aren't what comes next.
    fn append_followed(&mut self, index: u32, bytes: Vec<u8>) -> bool {
        let hosted = self.hosted.get_mut(&index).expect("a link's partitions are hosted");
        let Role::Follower(follower) = &mut hosted.role else { return true };
        let mut effects = Effects::default();
        let mut log = hosted.partition.lock();
        // What the log has already is left out: an answer may come after a later one said the same.
        let mut from = 0;
        while let Ok(batch) = crate::Batch::parse(&bytes[from..])
            && batch.next_offset() <= log.end
        {
            from += batch.len();
        }
        let before = log.end;
        let result = log.append_replicated(&bytes[from..], &mut effects);
        self.counters.batches_followed += u64::from(log.end > before);
        let (commit, upkeep) = (log.queue.can_begin(), log.next_task().is_some());
        drop(log);
        let (busy, fits) = match result {
            Ok(taken) if from + taken < bytes.len() => (Busy::Waits(bytes[from + taken..].to_vec()), true),
            Ok(_) => (Busy::No, true),
            // Asked for again later, when there may be space.
            Err(ReplicateError::Append(AppendError::DiskFull { .. })) => (Busy::No, false),
            Err(ReplicateError::Append(_)) => (Busy::Failed, true),
            Err(ReplicateError::Batch { .. } | ReplicateError::Epoch { .. }) => (Busy::No, false),
        };
        follower.busy = busy;
        if commit {
            self.core.want_commit(&hosted.partition);
        }
        if upkeep {
            self.core.want_upkeep(&hosted.partition);
        }
        fits
    }

    // Storage.

    /// Looks at what commits and upkeep have done since the last call.
    pub(crate) fn handle_storage(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let mut moved = std::mem::take(&mut self.moved);
        self.core.take_moved(&mut moved);
        for number in moved.drain(..) {
            let Some(&index) = self.indexes.get(number as usize) else { continue };
            if self.hosted.contains_key(&index) {
                self.moved_in_storage(index);
            }
        }
        self.moved = moved;
    }

    fn moved_in_storage(&mut self, index: u32) {
        self.mark_dirty(index);
        let hosted = self.hosted.get_mut(&index).expect("it was looked up before");
        let log = hosted.partition.lock();
        let (held, failed) = (log.readable_end(), log.failed.is_some());
        let is_truncated = log.truncate_to.is_none() && log.restart_at.is_none();
        drop(log);
        match &mut hosted.role {
            Role::Leader(leading) => {
                leading.leader.hold(held);
                let mut answers = Vec::new();
                if failed {
                    leading.leader.fail(|client, produced| answers.push((client, produced)));
                }
                for (client, produced) in answers {
                    self.answers.entry(client).or_default().push(produced);
                }
                self.empty_waiting_room(index);
            }
            Role::Follower(follower) => match &mut follower.busy {
                Busy::Waits(bytes) => {
                    let bytes = std::mem::take(bytes);
                    follower.busy = Busy::No;
                    self.append_followed(index, bytes);
                }
                Busy::Truncates if failed => follower.busy = Busy::Failed,
                Busy::Truncates if is_truncated => follower.busy = Busy::No,
                Busy::Truncates | Busy::No | Busy::Failed => {}
            },
        }
    }

    // Time.

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

    // Outputs.

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
                        save(&mut hosted.high_watermark, &hosted.partition);
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

    /// Asks leaders for more, or tells them what is held by now.
    fn ask_leaders(&mut self) {
        let mut links = std::mem::take(&mut self.links);
        for link in &mut links {
            let message = link.next_message(self.now_ms, &self.config, |index| self.stand(index));
            if let Some(at) = link.next_look(&self.config) {
                self.remind(at.max(self.now_ms + 1));
            }
            if let Some(message) = message {
                self.send(link.leader.peer(), &message);
            }
        }
        self.links = links;
    }

    /// Where a followed partition stands.
    fn stand(&self, index: u32) -> Stand {
        let hosted = &self.hosted[&index];
        let log = hosted.partition.lock();
        let held = if planted!(self.config.log, ReportUnsynced) { log.end } else { log.readable_end() };
        let (end, last_epoch) = (log.end, log.epochs.before(log.end));
        drop(log);
        let Role::Follower(follower) = &hosted.role else {
            unreachable!("a link's partitions are followed here")
        };
        let place = FollowPlace { partition: index, end, last_epoch, held };
        Stand { place, is_busy: follower.busy != Busy::No, epoch: follower.epoch }
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

    /// What it holds and did.
    pub(crate) fn stats(&self) -> BrokerStats {
        let partitions = self.hosted.iter().map(|(&index, hosted)| {
            let log = hosted.partition.lock();
            let (start, end, held, epoch) = (log.start, log.end, log.readable_end(), log.epochs.highest());
            drop(log);
            let mut isr = Vec::new();
            let (mut shrinks, mut expands) = (0, 0);
            if let Role::Leader(leading) = &hosted.role {
                isr = std::iter::once(self.me).chain(leading.leader.isr.members()).collect();
                (shrinks, expands) = (leading.leader.isr.shrinks, leading.leader.isr.expands);
            }
            PartitionStats {
                partition: hosted.partition.name.clone(),
                leader: self.layout.leader_of(index),
                epoch,
                start,
                end,
                held,
                high_watermark: hosted.high_watermark.value(),
                isr,
                isr_shrinks: shrinks,
                isr_expands: expands,
            }
        });
        BrokerStats {
            partitions: partitions.collect(),
            batches_appended: self.counters.batches_appended,
            batches_followed: self.counters.batches_followed,
            truncations: self.counters.truncations,
            truncated_below_high_watermark: self.counters.truncated_below_high_watermark,
            truncations_refused: self.counters.truncations_refused,
            restarts: self.counters.restarts,
            messages_refused: self.counters.messages_refused,
            ..BrokerStats::default()
        }
    }
}

/// Writes a high watermark down that has moved up, and lets retention take what is below it.
fn save<F: File>(high_watermark: &mut HighWatermark<F>, partition: &Partition<F>) {
    high_watermark.save();
    partition.removable_below.store(high_watermark.value().0, Ordering::Release);
}

/// Marks it dirty; whether it was. For where the whole machine is borrowed.
fn hosted_is_dirty<F>(hosted: Option<&mut Hosted<F>>) -> bool {
    hosted.is_none_or(|h| std::mem::replace(&mut h.is_dirty, true))
}
