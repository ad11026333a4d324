//! [`Session`]: a client of a cluster without a port or a clock: batches per partition, questions per leader.
//!
//! Invariants:
//! * A partition's batches are sent in the order in which their records came. With batching, one is under way at a time:
//!   what comes meanwhile forms the next one, so that there is no linger.
//! * Each token comes back exactly once.
//! * A subscription's records come in the order of their offsets, each once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use engine_env::{Arrival, Peer};

use super::accumulator::Accumulator;
use super::log_client::{Fetching, LogClientConfig};
use super::numbering::{Numbering, ProducerIdentity};
use super::outcome::{Fetches, ProduceError, ProduceOutcome, SubscriptionError};
use super::time_queries::{FindTimeError, FoundTime, QueryId, TimeQueries};
use crate::log::fetch::Fetched;
use crate::message::{
    self, Acks, Fetch, FetchAnswer, Message, Produce, ProduceAnswer, ProduceBatch, Produced,
};
use crate::record::batch::Batch;
use crate::record::builder::EncodedBatch;
use crate::record::compression::Compression;
use crate::record::record::Record;
use crate::{BrokerId, ClusterLayout, Offset, TopicPartition};

/// What a partition's producer side has.
#[derive(Debug)]
struct Producing {
    gathering: Accumulator,
    /// When the first record of `gathering` came.
    since_ms: u64,
    full: VecDeque<Batched>,
    under_way: usize,
    is_listed: bool,
    numbering: Numbering,
    /// A batch is to be sent again, and not before this.
    again_at_ms: Option<u64>,
}

/// A finished batch.
#[derive(Debug)]
struct Batched {
    batch: EncodedBatch,
    tokens: Vec<u64>,
    since_ms: u64,
}

/// A batch that was sent.
#[derive(Debug)]
struct Sent {
    partition: u32,
    /// Kept by an idempotent producer, to send it again.
    batch: Option<EncodedBatch>,
    tokens: Vec<u64>,
    since_ms: u64,
    deadline_ms: u64,
}

/// The subscriptions to partitions that one broker leads.
#[derive(Debug, Default)]
struct Following {
    places: Vec<(u32, Offset)>,
    correlation: u64,
    /// When the open question was asked.
    open: Option<u64>,
    /// Not to be asked before.
    ask_at_ms: u64,
    /// A partition was added or moved since the question was asked.
    has_changed: bool,
}

/// A client without a port or a clock: what a [`LogClient`](crate::LogClient) drives, for whoever drives it step by step.
/// Times are milliseconds from any origin, rising.
#[derive(Debug)]
pub struct Session {
    layout: Arc<ClusterLayout>,
    config: LogClientConfig,
    producing: BTreeMap<u32, Producing>,
    /// Partitions that may have something to send.
    listed: Vec<u32>,
    sent: HashMap<u64, Sent>,
    next_id: u64,
    /// Brokers that couldn't be reached, and when to try again.
    away: BTreeMap<BrokerId, u64>,
    following: BTreeMap<BrokerId, Following>,
    marks: HashMap<u32, Offset>,
    times: TimeQueries,
    pub(crate) done: Vec<ProduceOutcome>,
    pub(crate) fetches: Fetches,
    outputs: VecDeque<(Peer, Vec<u8>)>,
    now_ms: u64,
    /// Batches that had to be sent again.
    pub(crate) sent_again: u64,
}

impl Session {
    /// A client of the cluster that is laid out like that.
    #[must_use]
    pub fn new(layout: ClusterLayout, config: LogClientConfig) -> Self {
        Self {
            layout: Arc::new(layout),
            config,
            producing: BTreeMap::new(),
            listed: Vec::new(),
            sent: HashMap::new(),
            next_id: 0,
            away: BTreeMap::new(),
            following: BTreeMap::new(),
            marks: HashMap::new(),
            times: TimeQueries::default(),
            done: Vec::new(),
            fetches: Fetches::default(),
            outputs: VecDeque::new(),
            now_ms: 0,
            sent_again: 0,
        }
    }

    fn broker_of(&self, peer: Peer) -> Option<BrokerId> {
        self.layout.brokers().find(|b| b.peer() == peer)
    }

    fn name(&self, index: u32) -> TopicPartition {
        self.layout.get(index).expect("an index of this layout").partition.clone()
    }

    // Producing.

    /// Adds a record to its partition's batch. `wall_ms` is its timestamp if it has none.
    pub fn produce(
        &mut self,
        now_ms: u64,
        wall_ms: i64,
        token: u64,
        partition: &TopicPartition,
        record: &Record<'_>,
    ) {
        self.now_ms = self.now_ms.max(now_ms);
        let Some(index) = self.layout.index(partition) else {
            let result = Err(ProduceError::UnknownPartition { partition: partition.clone() });
            self.done.push(ProduceOutcome { token, result, copies: 0 });
            return;
        };
        let identity = self.config.identity;
        let producing = self.producing.entry(index).or_insert_with(|| Producing::new(identity));
        let len = producing.gathering.len() + record.payload_len();
        if !producing.gathering.is_empty() && (len > self.config.batch_bytes || !self.config.batching) {
            producing.close(self.config.compression);
        }
        if producing.gathering.is_empty() {
            producing.since_ms = self.now_ms;
        }
        if let Err(cause) = producing.gathering.push(record, wall_ms, token) {
            let result = Err(ProduceError::Encode { partition: partition.clone(), cause });
            self.done.push(ProduceOutcome { token, result, copies: 0 });
            return;
        }
        if !std::mem::replace(&mut producing.is_listed, true) {
            self.listed.push(index);
        }
    }

    fn list(&mut self, index: u32) {
        let producing = self.producing.get_mut(&index).expect("it has sent something");
        if !std::mem::replace(&mut producing.is_listed, true) {
            self.listed.push(index);
        }
    }

    /// Makes messages of what has gathered, where nothing is under way.
    pub fn flush(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let is_idempotent = self.config.identity.is_some();
        let at_once = match (self.config.acks, self.config.batching) {
            (Acks::None, _) => usize::MAX,
            // With one under way, nothing behind it is stored before it.
            (Acks::Leader | Acks::All, true) => 1,
            (Acks::Leader | Acks::All, false) if is_idempotent => 1,
            (Acks::Leader | Acks::All, false) => usize::MAX,
        };
        let now_ms = self.now_ms;
        let deadline_ms = self.now_ms + u64::from(self.config.timeout_ms);
        let mut by_leader: BTreeMap<BrokerId, Vec<(u64, u32, EncodedBatch)>> = BTreeMap::new();
        for index in std::mem::take(&mut self.listed) {
            let leader = self.layout.leader_of(index);
            let producing = self.producing.get_mut(&index).expect("listed partitions have an entry");
            if self.away.contains_key(&leader) || producing.again_at_ms.is_some_and(|at| at > now_ms) {
                self.listed.push(index);
                continue;
            }
            producing.again_at_ms = None;
            producing.is_listed = false;
            while producing.under_way < at_once {
                if producing.full.is_empty() {
                    producing.close(self.config.compression);
                }
                let Some(Batched { batch, tokens, since_ms }) = producing.full.pop_front() else { break };
                let id = self.next_id;
                self.next_id += 1;
                if self.config.acks == Acks::None {
                    let outcome = |token| ProduceOutcome { token, result: Ok(None), copies: 0 };
                    self.done.extend(tokens.into_iter().map(outcome));
                } else {
                    producing.under_way += 1;
                    let kept = is_idempotent.then(|| batch.clone());
                    let sent = Sent { partition: index, batch: kept, tokens, since_ms, deadline_ms };
                    self.sent.insert(id, sent);
                }
                by_leader.entry(leader).or_default().push((id, index, batch));
            }
        }
        for (leader, batches) in by_leader {
            let mut list = batches.iter().map(|(id, partition, batch)| ProduceBatch {
                id: *id,
                partition: *partition,
                bytes: batch.bytes(),
            });
            if self.config.batching {
                let list = list.collect();
                self.send_produce(leader, list);
            } else {
                list.by_ref().for_each(|one| self.send_produce(leader, vec![one]));
            }
            for (_, index, batch) in batches {
                let producing = self.producing.get_mut(&index).expect("it was sent from there");
                producing.gathering.reuse(batch.into_bytes());
            }
        }
        self.ask();
        for (leader, find) in self.times.due(now_ms, |broker| self.away.contains_key(&broker)) {
            let bytes = Message::FindTimes(find).encode(self.layout.fingerprint());
            self.outputs.push_back((leader.peer(), bytes));
        }
    }

    fn send_produce(&mut self, leader: BrokerId, batches: Vec<ProduceBatch<'_>>) {
        let (acks, timeout_ms) = (self.config.acks, self.config.timeout_ms);
        let message = Message::Produce(Produce { acks, timeout_ms, batches });
        self.outputs.push_back((leader.peer(), message.encode(self.layout.fingerprint())));
    }

    fn produced(&mut self, from: BrokerId, list: &[Produced]) {
        for one in list {
            // An answer to what was given up.
            let Some(sent) = self.sent.remove(&one.id) else { continue };
            let partition = self.name(sent.partition);
            let result: Result<(Offset, u16), ProduceError> = match one.answer {
                ProduceAnswer::Stored { base, copies } => Ok((base, copies)),
                ProduceAnswer::UnknownPartition => Err(ProduceError::UnknownPartition { partition }),
                ProduceAnswer::NotLeader { leader } => {
                    Err(ProduceError::NotLeader { partition, broker: from, leader })
                }
                ProduceAnswer::NotEnoughReplicas { in_sync, min_isr } => {
                    Err(ProduceError::NotEnoughReplicas { partition, in_sync, min_isr })
                }
                ProduceAnswer::NotEnoughReplicasAfterAppend { base, in_sync, min_isr } => {
                    Err(ProduceError::NotEnoughReplicasAfterAppend {
                        partition,
                        offset: base,
                        in_sync,
                        min_isr,
                    })
                }
                ProduceAnswer::TimedOut { .. } => {
                    Err(ProduceError::TimedOut { partition, timeout_ms: self.config.timeout_ms })
                }
                ProduceAnswer::BadBatch => Err(ProduceError::BadBatch { partition }),
                ProduceAnswer::TooLarge { limit } => Err(ProduceError::TooLarge { partition, limit }),
                ProduceAnswer::StorageFailed => Err(ProduceError::StorageFailed { partition, broker: from }),
                ProduceAnswer::Closing => Err(ProduceError::Closing { partition, broker: from }),
                ProduceAnswer::DiskFull => Err(ProduceError::DiskFull { partition, broker: from }),
                ProduceAnswer::OutOfOrder { expected } => {
                    Err(ProduceError::OutOfOrder { partition, expected })
                }
                ProduceAnswer::Fenced { current } => Err(ProduceError::Fenced { partition, current }),
                ProduceAnswer::LeaderLostLog => Err(ProduceError::LeaderLostLog { partition, broker: from }),
            };
            self.finish(sent, &result);
        }
    }

    /// Tells each record of a batch, in order.
    fn finish(&mut self, sent: Sent, result: &Result<(Offset, u16), ProduceError>) {
        let producing = self.producing.get_mut(&sent.partition).expect("it was sent from there");
        producing.under_way -= 1;
        if let Err(error) = result {
            let is_late = sent.since_ms + u64::from(self.config.timeout_ms) <= self.now_ms;
            if let Some(batch) = sent.batch.filter(|_| error.may_pass() && !is_late) {
                // The same bytes: the leader knows them by their numbers, should it have them.
                let (tokens, since_ms) = (sent.tokens, sent.since_ms);
                producing.full.push_front(Batched { batch, tokens, since_ms });
                self.sent_again += 1;
                producing.again_at_ms = Some(self.now_ms + self.config.retry_ms);
                self.list(sent.partition);
                return;
            }
            producing.give_up_numbers();
        }
        for (token, i) in sent.tokens.into_iter().zip(0..) {
            let (result, copies) = match result {
                Ok((base, copies)) => (Ok(Some(base.plus(i))), *copies),
                Err(ProduceError::NotEnoughReplicasAfterAppend { partition, offset, in_sync, min_isr }) => {
                    let (partition, offset) = (partition.clone(), offset.plus(i));
                    let (in_sync, min_isr) = (*in_sync, *min_isr);
                    (
                        Err(ProduceError::NotEnoughReplicasAfterAppend {
                            partition,
                            offset,
                            in_sync,
                            min_isr,
                        }),
                        0,
                    )
                }
                Err(error) => (Err(error.clone()), 0),
            };
            self.done.push(ProduceOutcome { token, result, copies });
        }
        self.list(sent.partition);
    }

    /// Gives up on sent batches for which `is_lost`, the oldest first.
    fn give_up(&mut self, is_lost: impl Fn(&Sent) -> bool, why: impl Fn(TopicPartition) -> ProduceError) {
        let mut ids: Vec<u64> = self.sent.iter().filter(|(_, s)| is_lost(s)).map(|(&id, _)| id).collect();
        ids.sort_unstable();
        for id in ids {
            let sent = self.sent.remove(&id).expect("it was found there");
            let error = why(self.name(sent.partition));
            self.finish(sent, &Err(error));
        }
    }

    // Subscriptions.

    /// Reads a partition from `from` on, from now on.
    pub fn subscribe(&mut self, partition: &TopicPartition, from: Offset) {
        let Some(index) = self.layout.index(partition) else {
            self.fetches.ended.push(SubscriptionError::UnknownPartition { partition: partition.clone() });
            return;
        };
        let following = self.following.entry(self.layout.leader_of(index)).or_default();
        following.has_changed = true;
        match following.places.iter_mut().find(|(i, _)| *i == index) {
            Some((_, at)) => *at = from,
            None => following.places.push((index, from)),
        }
    }

    pub(crate) fn unsubscribe(&mut self, partition: &TopicPartition) {
        let Some(index) = self.layout.index(partition) else { return };
        if let Some(following) = self.following.get_mut(&self.layout.leader_of(index)) {
            following.places.retain(|&(i, _)| i != index);
            following.has_changed = true;
        }
    }

    /// The offset that comes next, of a subscribed partition.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let index = self.layout.index(partition)?;
        let following = self.following.get(&self.layout.leader_of(index))?;
        following.places.iter().find(|&&(i, _)| i == index).map(|&(_, at)| at)
    }

    pub(crate) fn high_watermark(&self, partition: &TopicPartition) -> Option<Offset> {
        self.marks.get(&self.layout.index(partition)?).copied()
    }

    /// Asks leaders that have no question open.
    fn ask(&mut self) {
        let wait_ms = match self.config.fetching {
            Fetching::LongPoll { wait_ms } => wait_ms,
            Fetching::Poll { .. } => 0,
        };
        for (leader, following) in &mut self.following {
            let is_wanted = following.open.is_none() || following.has_changed;
            if !is_wanted || following.places.is_empty() || following.ask_at_ms > self.now_ms {
                continue;
            }
            following.correlation += 1;
            following.open = Some(self.now_ms);
            following.has_changed = false;
            let fetch = Fetch {
                correlation: following.correlation,
                wait_ms,
                bytes_max: self.config.fetch_bytes,
                places: following.places.clone(),
            };
            let bytes = Message::Fetch(fetch).encode(self.layout.fingerprint());
            self.outputs.push_back((leader.peer(), bytes));
        }
    }

    fn fetched(&mut self, from: BrokerId, fetched: &message::Fetched<'_>, bytes: &Arc<Vec<u8>>) {
        let (now_ms, retry_ms) = (self.now_ms, self.config.retry_ms);
        let Some(following) = self.following.get_mut(&from) else { return };
        if following.open.is_none() || fetched.correlation != following.correlation {
            return;
        }
        following.open = None;
        if let Fetching::Poll { every_ms } = self.config.fetching {
            following.ask_at_ms = now_ms + every_ms;
        }
        for one in &fetched.partitions {
            let index = one.partition;
            let Some(at) = following.places.iter().position(|&(i, _)| i == index) else { continue };
            let offset = following.places[at].1;
            let partition = self.layout.get(index).expect("it was subscribed to").partition.clone();
            let ended = match one.answer {
                FetchAnswer::Batches(batches) => match whole_batches(batches, offset) {
                    Ok(next) => {
                        self.marks.insert(index, one.high_watermark);
                        following.places[at].1 = next;
                        let start = batches.as_ptr().addr() - bytes.as_ptr().addr();
                        let range = start..start + batches.len();
                        let fetched = Fetched::received(partition, offset, next, Arc::clone(bytes), range);
                        self.fetches.fetched.push(fetched);
                        continue;
                    }
                    Err(why) => SubscriptionError::Failed { partition, offset, why },
                },
                FetchAnswer::OutOfRange { start, end } => {
                    SubscriptionError::OutOfRange { partition, offset, start, end }
                }
                FetchAnswer::UnknownPartition => SubscriptionError::UnknownPartition { partition },
                FetchAnswer::NotLeader { .. } => {
                    following.ask_at_ms = now_ms + retry_ms;
                    continue;
                }
                FetchAnswer::Failed(why) => {
                    SubscriptionError::Failed { partition, offset, why: why.to_owned() }
                }
            };
            following.places.remove(at);
            self.fetches.ended.push(ended);
        }
    }

    // Times.

    /// Asks a partition's leader for the first record that isn't earlier.
    pub(super) fn find_time(
        &mut self,
        now_ms: u64,
        partition: &TopicPartition,
        timestamp_ms: i64,
    ) -> Result<QueryId, FindTimeError> {
        self.now_ms = self.now_ms.max(now_ms);
        let Some(index) = self.layout.index(partition) else {
            return Err(FindTimeError::UnknownPartition { partition: partition.clone() });
        };
        let deadline_ms = self.now_ms + u64::from(self.config.timeout_ms);
        let (leader, span) = (self.layout.leader_of(index), (self.now_ms, deadline_ms));
        Ok(self.times.begin((index, partition.clone()), leader, timestamp_ms, span))
    }

    /// What a question for a time came to, once that is known.
    pub(super) fn take_found(&mut self, id: QueryId) -> Option<FoundTime> {
        self.times.take(id)
    }

    // Network and time.

    /// Takes what came over the network.
    pub fn handle(&mut self, now_ms: u64, arrival: Arrival) {
        self.now_ms = self.now_ms.max(now_ms);
        match arrival {
            Arrival::Message { from, bytes } => {
                let Some(from) = self.broker_of(from) else { return };
                // It is there again.
                self.away.remove(&from);
                let (layout, bytes) = (Arc::clone(&self.layout), Arc::new(bytes));
                match Message::decode(&bytes, layout.fingerprint()) {
                    Ok(Message::Produced(list)) => self.produced(from, &list),
                    Ok(Message::Fetched(fetched)) => self.fetched(from, &fetched, &bytes),
                    Ok(Message::FoundTimes(found)) => self.times.answered(from, &found),
                    // Nothing that a client could do about it: what it waits for times out.
                    Ok(_) | Err(_) => {}
                }
            }
            Arrival::Unreachable { peer } => {
                let Some(broker) = self.broker_of(peer) else { return };
                let again_ms = self.now_ms + self.config.retry_ms;
                self.away.insert(broker, again_ms);
                self.times.lost(broker, again_ms);
                if let Some(following) = self.following.get_mut(&broker) {
                    following.open = None;
                    following.ask_at_ms = again_ms;
                }
                let layout = Arc::clone(&self.layout);
                self.give_up(
                    |sent| layout.leader_of(sent.partition) == broker,
                    |partition| ProduceError::Disconnected { partition, broker },
                );
            }
        }
    }

    /// After this long without an answer a question is taken for lost.
    fn patience_ms(&self) -> u64 {
        match self.config.fetching {
            Fetching::LongPoll { wait_ms } => 2 * u64::from(wait_ms).max(100),
            Fetching::Poll { .. } => 1000,
        }
    }

    /// When [`Session::handle_timeout`] and then [`Session::flush`] want to be called; perhaps for nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let timeout_ms = u64::from(self.config.timeout_ms);
        let sent = self.sent.values().map(|s| s.deadline_ms);
        let unsent = self.producing.values().filter_map(|p| p.oldest_ms()).map(|since| since + timeout_ms);
        let away = self.away.values().copied();
        let away = away.chain(self.producing.values().filter_map(|p| p.again_at_ms));
        let patience = self.patience_ms();
        let questions = self.following.values().filter(|f| !f.places.is_empty());
        let questions = questions.map(|f| f.open.map_or(f.ask_at_ms, |asked| asked + patience));
        sent.chain(unsent).chain(away).chain(questions).chain(self.times.next_look()).min()
    }

    /// Gives up on what is late.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let (now_ms, timeout_ms) = (self.now_ms, self.config.timeout_ms);
        let why = |partition| ProduceError::TimedOut { partition, timeout_ms };
        self.give_up(|sent| sent.deadline_ms <= now_ms, why);
        let indexes: Vec<u32> = self.producing.keys().copied().collect();
        for index in indexes {
            let producing = self.producing.get_mut(&index).expect("it is one of the keys");
            let mut late = Vec::new();
            while producing.oldest_ms().is_some_and(|since| since + u64::from(timeout_ms) <= now_ms) {
                if producing.full.is_empty() {
                    producing.close(self.config.compression);
                }
                late.extend(producing.full.pop_front().expect("there is an oldest one").tokens);
            }
            if !late.is_empty() {
                producing.give_up_numbers();
            }
            for token in late {
                let result = Err(why(self.name(index)));
                self.done.push(ProduceOutcome { token, result, copies: 0 });
            }
        }
        self.away.retain(|_, again_ms| *again_ms > now_ms);
        self.times.expire(now_ms, timeout_ms);
        let patience = self.patience_ms();
        for following in self.following.values_mut() {
            if following.open.is_some_and(|asked| asked + patience <= now_ms) {
                following.open = None;
            }
        }
    }

    /// The next message to send. Call until there is none.
    pub fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.outputs.pop_front()
    }

    /// Moves outcomes and records to the end of what `done` and `fetches` hold. Gives whether there were some.
    pub fn hand_out(&mut self, done: &mut Vec<ProduceOutcome>, fetches: &mut Fetches) -> bool {
        let has_some = !self.done.is_empty() || !self.fetches.is_empty();
        done.append(&mut self.done);
        fetches.fetched.append(&mut self.fetches.fetched);
        fetches.ended.append(&mut self.fetches.ended);
        has_some
    }

    /// Records that were handed over and whose end is not known.
    #[must_use]
    pub fn pending(&self) -> usize {
        let sent: usize = self.sent.values().map(|s| s.tokens.len()).sum();
        sent + self.producing.values().map(Producing::waiting).sum::<usize>()
    }
}

impl Producing {
    fn new(identity: Option<ProducerIdentity>) -> Self {
        Self {
            gathering: Accumulator::default(),
            since_ms: 0,
            full: VecDeque::new(),
            under_way: 0,
            is_listed: false,
            numbering: Numbering::new(identity),
            again_at_ms: None,
        }
    }

    /// A batch of an idempotent producer comes to nothing: those that wait behind it are numbered anew, in a new epoch.
    fn give_up_numbers(&mut self) {
        self.numbering.begin_epoch();
        self.again_at_ms = None;
        for waiting in &mut self.full {
            if let Some(sequence) = self.numbering.next() {
                waiting.batch.set_sequence(sequence);
                self.numbering.advance(waiting.batch.records());
            }
        }
    }

    /// Finishes the gathering batch.
    fn close(&mut self, compression: Compression) {
        if let Ok((batch, tokens)) = self.gathering.take(compression, self.numbering.next()) {
            self.numbering.advance(batch.records());
            self.full.push_back(Batched { batch, tokens, since_ms: self.since_ms });
        }
    }

    fn oldest_ms(&self) -> Option<u64> {
        let gathering = (!self.gathering.is_empty()).then_some(self.since_ms);
        self.full.front().map(|b| b.since_ms).or(gathering)
    }

    fn waiting(&self) -> usize {
        self.full.iter().map(|b| b.tokens.len()).sum::<usize>() + self.gathering.records()
    }
}

/// Checks batches that came: whole, undamaged, one after the other, the first one holding `from`. Gives the offset
/// behind them.
fn whole_batches(bytes: &[u8], from: Offset) -> Result<Offset, String> {
    let mut next = from;
    let mut at = 0;
    while at < bytes.len() {
        let batch = Batch::parse(&bytes[at..]).map_err(|e| e.to_string())?;
        let follows = if at == 0 { batch.base_offset() <= from } else { batch.base_offset() == next };
        if !follows || batch.next_offset() <= from {
            return Err(format!("a batch of offset {} came, and {next} is next", batch.base_offset()));
        }
        batch.check_crc().map_err(|e| e.to_string())?;
        next = batch.next_offset();
        at += batch.len();
    }
    Ok(next)
}
