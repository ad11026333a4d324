//! What brokers and clients say to each other, as bytes. `docs/formats/log-messages.md` has them.
//!
//! Every message names the layout that its sender goes by; partitions are numbers within it. Decoding borrows, checks
//! each length against what is left, and never allocates more than the message could fill.

mod find_time;

use crate::log::leader_epochs::Epoch;
use crate::{BrokerId, Offset};

pub(crate) use find_time::{FindAnswer, FindTimes, FoundTimes};

const VERSION: u8 = 1;
/// Version, kind, two bytes of zero, the layout's fingerprint.
const HEADER_LEN: usize = 1 + 1 + 2 + 4;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Another version of this program speaks.
    #[error("the message has version {found}; this program speaks version {VERSION}")]
    Version {
        /// The version.
        found: u8,
    },
    /// No such message.
    #[error("the message is of kind {found}, which nobody knows")]
    Kind {
        /// The kind.
        found: u8,
    },
    /// The sender goes by another layout of the cluster.
    #[error(
        "the sender's cluster layout is {found:08x} and this one's is {expected:08x}; give all the same layout"
    )]
    Layout {
        /// This party's.
        expected: u32,
        /// The sender's.
        found: u32,
    },
    /// The bytes end too early, go on too long, or a field says what can't be.
    #[error("the message is malformed at byte {at}: {what}")]
    Malformed {
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// When a producer's batch is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Acks {
    /// Never: the client takes it for done when it is sent.
    None,
    /// The leader holds it, as durably as its log promises.
    Leader,
    /// Every replica in sync holds it, as durably.
    All,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Produce(Produce<'a>),
    Produced(Vec<Produced>),
    Fetch(Fetch),
    Fetched(Fetched<'a>),
    Follow(Follow),
    Followed(Followed<'a>),
    Progress(Vec<Progress>),
    /// A broker has started: whatever it was asked before is forgotten.
    Hello,
    FindTimes(FindTimes),
    FoundTimes(FoundTimes<'a>),
}

/// Batches to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Produce<'a> {
    pub(crate) acks: Acks,
    /// How long the leader may wait for the replicas.
    pub(crate) timeout_ms: u32,
    pub(crate) batches: Vec<ProduceBatch<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProduceBatch<'a> {
    /// The client's name for it.
    pub(crate) id: u64,
    pub(crate) partition: u32,
    pub(crate) bytes: &'a [u8],
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Produced {
    pub(crate) id: u64,
    pub(crate) answer: ProduceAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProduceAnswer {
    /// Stored from that offset on, by so many replicas at that moment.
    Stored {
        base: Offset,
        copies: u16,
    },
    UnknownPartition,
    NotLeader {
        leader: BrokerId,
    },
    /// Nothing was appended.
    NotEnoughReplicas {
        in_sync: u16,
        min_isr: u16,
    },
    /// It was appended, and then replicas were lost.
    NotEnoughReplicasAfterAppend {
        base: Offset,
        in_sync: u16,
        min_isr: u16,
    },
    /// It was appended, and the replicas didn't say so in time.
    TimedOut {
        base: Offset,
    },
    /// The batch is damaged, or not of the kind that producers send.
    BadBatch,
    TooLarge {
        limit: u64,
    },
    /// The leader's disk failed. Whether it was appended is unknown.
    StorageFailed,
    /// The leader is going down. Nothing was appended.
    Closing,
    /// A follower has terms that the leader never heard of: the leader lost its log.
    LeaderLostLog,
    /// The leader's file system is full. Nothing was appended.
    DiskFull,
    /// It isn't its producer's next batch. Nothing was appended.
    OutOfOrder {
        expected: i32,
    },
    /// Its producer has a later incarnation. Nothing was appended.
    Fenced {
        current: i16,
    },
}

/// A consumer's wish: records from these places on. Kept until there are some, or the time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) correlation: u64,
    pub(crate) wait_ms: u32,
    /// Of each partition, but at least a batch.
    pub(crate) bytes_max: u32,
    pub(crate) places: Vec<(u32, Offset)>,
}

/// The answer to a [`Fetch`]: only partitions about which there is something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched<'a> {
    pub(crate) correlation: u64,
    pub(crate) partitions: Vec<FetchedPartition<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchedPartition<'a> {
    pub(crate) partition: u32,
    pub(crate) high_watermark: Offset,
    pub(crate) answer: FetchAnswer<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchAnswer<'a> {
    /// Whole batches, the first one holding the offset that was asked for.
    Batches(&'a [u8]),
    OutOfRange {
        start: Offset,
        end: Offset,
    },
    UnknownPartition,
    NotLeader {
        leader: BrokerId,
    },
    /// A sentence.
    Failed(&'a str),
}

/// A follower's wish, and what it holds. Kept until there is something new, or the time is over; a later one of the
/// same follower takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Follow {
    pub(crate) correlation: u64,
    pub(crate) wait_ms: u32,
    pub(crate) bytes_max: u32,
    pub(crate) places: Vec<FollowPlace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FollowPlace {
    pub(crate) partition: u32,
    /// The follower's log ends here.
    pub(crate) end: Offset,
    /// The epoch of its last batch.
    pub(crate) last_epoch: Epoch,
    /// It holds everything below this, durably if that was promised.
    pub(crate) held: Offset,
}

/// The answer to a [`Follow`]: only partitions about which there is something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Followed<'a> {
    pub(crate) correlation: u64,
    pub(crate) partitions: Vec<FollowedPartition<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FollowedPartition<'a> {
    pub(crate) partition: u32,
    pub(crate) epoch: Epoch,
    pub(crate) high_watermark: Offset,
    pub(crate) answer: FollowAnswer<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FollowAnswer<'a> {
    /// Whole batches from the follower's end on; none at all also says that its log agrees with the leader's.
    Batches(&'a [u8]),
    /// The logs differ: in the leader's, the largest epoch up to the follower's last one ends there.
    Diverging {
        epoch: Epoch,
        end: Offset,
    },
    /// The follower's end lies before the leader's start.
    OutOfRange {
        start: Offset,
    },
    NotLeader {
        leader: BrokerId,
    },
    /// The leader can't read.
    Failed,
}

/// A follower holds more of a partition now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) partition: u32,
    /// Whose log it agrees with.
    pub(crate) epoch: Epoch,
    pub(crate) held: Offset,
}

mod kind {
    pub(super) const PRODUCE: u8 = 1;
    pub(super) const PRODUCED: u8 = 2;
    pub(super) const FETCH: u8 = 3;
    pub(super) const FETCHED: u8 = 4;
    pub(super) const FOLLOW: u8 = 5;
    pub(super) const FOLLOWED: u8 = 6;
    pub(super) const PROGRESS: u8 = 7;
    pub(super) const HELLO: u8 = 8;
    pub(super) const FIND_TIMES: u8 = 9;
    pub(super) const FOUND_TIMES: u8 = 10;
}

/// Appends fields to a message.
#[derive(Debug)]
struct Out(Vec<u8>);

impl Out {
    fn new(kind: u8, layout: u32, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_LEN + capacity);
        bytes.extend_from_slice(&[VERSION, kind, 0, 0]);
        bytes.extend_from_slice(&layout.to_le_bytes());
        Self(bytes)
    }

    fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    fn u16(&mut self, n: u16) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn i64(&mut self, n: i64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn epoch(&mut self, n: Epoch) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn count(&mut self, n: usize) {
        self.u32(u32::try_from(n).expect("a message holds fewer than 2^32 things"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }
}

/// Takes fields off a message.
#[derive(Debug)]
struct In<'a> {
    whole: usize,
    rest: &'a [u8],
}

impl<'a> In<'a> {
    fn malformed(&self, what: &'static str) -> MessageError {
        MessageError::Malformed { at: self.whole - self.rest.len(), what }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], MessageError> {
        let (taken, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        Ok(self.take(N)?.try_into().expect("take() gives what was asked for"))
    }

    fn u8(&mut self) -> Result<u8, MessageError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, MessageError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, MessageError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, MessageError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, MessageError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn epoch(&mut self) -> Result<Epoch, MessageError> {
        Ok(Epoch::from_le_bytes(self.array()?))
    }

    /// Far from the end of 64 bits: no sum of an offset and a count overflows.
    fn offset(&mut self) -> Result<Offset, MessageError> {
        match self.u64()? {
            n if n < 1 << 62 => Ok(Offset(n)),
            _ => Err(self.malformed("an offset is beyond 2^62")),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], MessageError> {
        let len = self.u32()?;
        self.take(usize::try_from(len).map_err(|_| self.malformed("a length is beyond the address space"))?)
    }

    fn text(&mut self) -> Result<&'a str, MessageError> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map_err(|_| self.malformed("a sentence isn't UTF-8"))
    }

    /// A counted list, whose entries take at least `entry_len` bytes each.
    fn list<T>(
        &mut self,
        entry_len: usize,
        mut entry: impl FnMut(&mut Self) -> Result<T, MessageError>,
    ) -> Result<Vec<T>, MessageError> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / entry_len {
            return Err(self.malformed("a count goes beyond the message's end"));
        }
        (0..count).map(|_| entry(self)).collect()
    }
}

impl Message<'_> {
    /// The bytes of a message between parties that go by the layout with this fingerprint.
    pub(crate) fn encode(&self, layout: u32) -> Vec<u8> {
        match self {
            Self::Produce(produce) => {
                let bytes: usize = produce.batches.iter().map(|b| 16 + b.bytes.len()).sum();
                let mut out = Out::new(kind::PRODUCE, layout, 9 + bytes);
                out.u8(match produce.acks {
                    Acks::None => 0,
                    Acks::Leader => 1,
                    Acks::All => 2,
                });
                out.u32(produce.timeout_ms);
                out.count(produce.batches.len());
                for batch in &produce.batches {
                    out.u64(batch.id);
                    out.u32(batch.partition);
                    out.bytes(batch.bytes);
                }
                out.0
            }
            Self::Produced(list) => {
                let mut out = Out::new(kind::PRODUCED, layout, 4 + list.len() * PRODUCED_LEN);
                out.count(list.len());
                list.iter().for_each(|one| one.encode(&mut out));
                out.0
            }
            Self::Fetch(fetch) => {
                let mut out = Out::new(kind::FETCH, layout, 20 + fetch.places.len() * 12);
                out.u64(fetch.correlation);
                out.u32(fetch.wait_ms);
                out.u32(fetch.bytes_max);
                out.count(fetch.places.len());
                for (partition, from) in &fetch.places {
                    out.u32(*partition);
                    out.u64(from.0);
                }
                out.0
            }
            Self::Fetched(fetched) => {
                let mut answer = FetchedWriter::new(layout, fetched.correlation, 0);
                for one in &fetched.partitions {
                    let mark = one.high_watermark;
                    match &one.answer {
                        FetchAnswer::Batches(bytes) => {
                            answer.batches(one.partition, mark, [*bytes].into_iter());
                        }
                        other => answer.other(one.partition, mark, other),
                    }
                }
                answer.finish()
            }
            Self::Follow(follow) => {
                let mut out = Out::new(kind::FOLLOW, layout, 20 + follow.places.len() * 24);
                out.u64(follow.correlation);
                out.u32(follow.wait_ms);
                out.u32(follow.bytes_max);
                out.count(follow.places.len());
                for place in &follow.places {
                    out.u32(place.partition);
                    out.u64(place.end.0);
                    out.epoch(place.last_epoch);
                    out.u64(place.held.0);
                }
                out.0
            }
            Self::Followed(followed) => {
                let mut answer = FollowedWriter::new(layout, followed.correlation, 0);
                for one in &followed.partitions {
                    let (epoch, mark) = (one.epoch, one.high_watermark);
                    match &one.answer {
                        FollowAnswer::Batches(bytes) => {
                            answer.batches(one.partition, epoch, mark, [*bytes].into_iter());
                        }
                        other => answer.other(one.partition, epoch, mark, other),
                    }
                }
                answer.finish()
            }
            Self::Progress(list) => {
                let mut out = Out::new(kind::PROGRESS, layout, 4 + list.len() * 16);
                out.count(list.len());
                for one in list {
                    out.u32(one.partition);
                    out.epoch(one.epoch);
                    out.u64(one.held.0);
                }
                out.0
            }
            Self::Hello => Out::new(kind::HELLO, layout, 0).0,
            Self::FindTimes(find) => {
                let mut out =
                    Out::new(kind::FIND_TIMES, layout, 12 + find.places.len() * FindTimes::ENTRY_LEN);
                find.encode(&mut out);
                out.0
            }
            Self::FoundTimes(found) => {
                let mut out = Out::new(kind::FOUND_TIMES, layout, 12 + found.answers.len() * 21);
                found.encode(&mut out);
                out.0
            }
        }
    }
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// The bytes are none, or of a cluster that is laid out otherwise.
    pub(crate) fn decode(bytes: &'a [u8], layout: u32) -> Result<Self, MessageError> {
        let mut input = In { whole: bytes.len(), rest: bytes };
        let (version, kind) = (input.u8()?, input.u8()?);
        if version != VERSION {
            return Err(MessageError::Version { found: version });
        }
        if input.u16()? != 0 {
            return Err(input.malformed("bytes that have to be zero aren't"));
        }
        let found = input.u32()?;
        if found != layout {
            return Err(MessageError::Layout { expected: layout, found });
        }
        let message = Self::decode_body(kind, &mut input)?;
        if input.rest.is_empty() { Ok(message) } else { Err(input.malformed("it goes on behind its end")) }
    }

    fn decode_body(kind: u8, input: &mut In<'a>) -> Result<Self, MessageError> {
        Ok(match kind {
            kind::PRODUCE => Self::Produce(Produce {
                acks: match input.u8()? {
                    0 => Acks::None,
                    1 => Acks::Leader,
                    2 => Acks::All,
                    _ => return Err(input.malformed("acks is none of 0, 1, 2")),
                },
                timeout_ms: input.u32()?,
                batches: input.list(16, |i| {
                    Ok(ProduceBatch { id: i.u64()?, partition: i.u32()?, bytes: i.bytes()? })
                })?,
            }),
            kind::PRODUCED => Self::Produced(input.list(PRODUCED_LEN, Produced::decode)?),
            kind::FETCH => Self::Fetch(Fetch {
                correlation: input.u64()?,
                wait_ms: input.u32()?,
                bytes_max: input.u32()?,
                places: input.list(12, |i| Ok((i.u32()?, i.offset()?)))?,
            }),
            kind::FETCHED => Self::Fetched(Fetched {
                correlation: input.u64()?,
                partitions: input.list(13, |i| {
                    let (partition, high_watermark) = (i.u32()?, i.offset()?);
                    Ok(FetchedPartition { partition, high_watermark, answer: FetchAnswer::decode(i)? })
                })?,
            }),
            kind::FOLLOW => Self::Follow(Follow {
                correlation: input.u64()?,
                wait_ms: input.u32()?,
                bytes_max: input.u32()?,
                places: input.list(24, |i| {
                    let (partition, end, last_epoch, held) = (i.u32()?, i.offset()?, i.epoch()?, i.offset()?);
                    Ok(FollowPlace { partition, end, last_epoch, held })
                })?,
            }),
            kind::FOLLOWED => Self::Followed(Followed {
                correlation: input.u64()?,
                partitions: input.list(17, |i| {
                    let (partition, epoch, high_watermark) = (i.u32()?, i.epoch()?, i.offset()?);
                    let answer = FollowAnswer::decode(i)?;
                    Ok(FollowedPartition { partition, epoch, high_watermark, answer })
                })?,
            }),
            kind::PROGRESS => {
                Self::Progress(input.list(16, |i| {
                    Ok(Progress { partition: i.u32()?, epoch: i.epoch()?, held: i.offset()? })
                })?)
            }
            kind::HELLO => Self::Hello,
            kind::FIND_TIMES => Self::FindTimes(FindTimes::decode(input)?),
            kind::FOUND_TIMES => Self::FoundTimes(FoundTimes::decode(input)?),
            found => return Err(MessageError::Kind { found }),
        })
    }
}

/// Name, code, two small numbers, one large.
const PRODUCED_LEN: usize = 8 + 1 + 2 + 2 + 8;

impl Produced {
    fn encode(&self, out: &mut Out) {
        let (code, a, b, large) = match self.answer {
            ProduceAnswer::Stored { base, copies } => (0, copies, 0, base.0),
            ProduceAnswer::UnknownPartition => (1, 0, 0, 0),
            ProduceAnswer::NotLeader { leader } => (2, leader.0, 0, 0),
            ProduceAnswer::NotEnoughReplicas { in_sync, min_isr } => (3, in_sync, min_isr, 0),
            ProduceAnswer::NotEnoughReplicasAfterAppend { base, in_sync, min_isr } => {
                (4, in_sync, min_isr, base.0)
            }
            ProduceAnswer::TimedOut { base } => (5, 0, 0, base.0),
            ProduceAnswer::BadBatch => (6, 0, 0, 0),
            ProduceAnswer::TooLarge { limit } => (7, 0, 0, limit),
            ProduceAnswer::StorageFailed => (8, 0, 0, 0),
            ProduceAnswer::Closing => (9, 0, 0, 0),
            ProduceAnswer::LeaderLostLog => (10, 0, 0, 0),
            ProduceAnswer::DiskFull => (11, 0, 0, 0),
            ProduceAnswer::OutOfOrder { expected } => (12, 0, 0, u64::from(expected.cast_unsigned())),
            ProduceAnswer::Fenced { current } => (13, current.cast_unsigned(), 0, 0),
        };
        out.u64(self.id);
        out.u8(code);
        out.u16(a);
        out.u16(b);
        out.u64(large);
    }

    fn decode(input: &mut In<'_>) -> Result<Self, MessageError> {
        let (id, code, a, b) = (input.u64()?, input.u8()?, input.u16()?, input.u16()?);
        let large = input.offset()?;
        let answer = match code {
            0 => ProduceAnswer::Stored { base: large, copies: a },
            1 => ProduceAnswer::UnknownPartition,
            2 => ProduceAnswer::NotLeader { leader: BrokerId(a) },
            3 => ProduceAnswer::NotEnoughReplicas { in_sync: a, min_isr: b },
            4 => ProduceAnswer::NotEnoughReplicasAfterAppend { base: large, in_sync: a, min_isr: b },
            5 => ProduceAnswer::TimedOut { base: large },
            6 => ProduceAnswer::BadBatch,
            7 => ProduceAnswer::TooLarge { limit: large.0 },
            8 => ProduceAnswer::StorageFailed,
            9 => ProduceAnswer::Closing,
            10 => ProduceAnswer::LeaderLostLog,
            11 => ProduceAnswer::DiskFull,
            12 => ProduceAnswer::OutOfOrder { expected: (large.0 as u32).cast_signed() },
            13 => ProduceAnswer::Fenced { current: a.cast_signed() },
            _ => return Err(input.malformed("an answer has a code that nobody knows")),
        };
        Ok(Self { id, answer })
    }
}

/// Codes of answers to fetches and follows.
mod code {
    pub(super) const BATCHES: u8 = 0;
    pub(super) const OUT_OF_RANGE: u8 = 1;
    pub(super) const UNKNOWN_PARTITION: u8 = 2;
    pub(super) const NOT_LEADER: u8 = 3;
    pub(super) const FAILED: u8 = 4;
    pub(super) const DIVERGING: u8 = 5;
}

impl<'a> FetchAnswer<'a> {
    fn decode(input: &mut In<'a>) -> Result<Self, MessageError> {
        Ok(match input.u8()? {
            code::BATCHES => Self::Batches(input.bytes()?),
            code::OUT_OF_RANGE => Self::OutOfRange { start: input.offset()?, end: input.offset()? },
            code::UNKNOWN_PARTITION => Self::UnknownPartition,
            code::NOT_LEADER => Self::NotLeader { leader: BrokerId(input.u16()?) },
            code::FAILED => Self::Failed(input.text()?),
            _ => return Err(input.malformed("an answer has a code that nobody knows")),
        })
    }
}

impl<'a> FollowAnswer<'a> {
    fn decode(input: &mut In<'a>) -> Result<Self, MessageError> {
        Ok(match input.u8()? {
            code::BATCHES => Self::Batches(input.bytes()?),
            code::OUT_OF_RANGE => Self::OutOfRange { start: input.offset()? },
            code::NOT_LEADER => Self::NotLeader { leader: BrokerId(input.u16()?) },
            code::FAILED => Self::Failed,
            code::DIVERGING => Self::Diverging { epoch: input.epoch()?, end: input.offset()? },
            _ => return Err(input.malformed("an answer has a code that nobody knows")),
        })
    }
}

/// Writes an answer straight from the log's memory: each byte of a batch is copied once, into the message.
#[derive(Debug)]
struct AnswerWriter {
    out: Out,
    count_at: usize,
    count: u32,
}

impl AnswerWriter {
    fn new(kind: u8, layout: u32, correlation: u64, capacity: usize) -> Self {
        let mut out = Out::new(kind, layout, 12 + capacity);
        out.u64(correlation);
        let count_at = out.0.len();
        out.u32(0);
        Self { out, count_at, count: 0 }
    }

    fn batches<'b>(&mut self, slices: impl Iterator<Item = &'b [u8]>) {
        self.out.u8(code::BATCHES);
        let len_at = self.out.0.len();
        self.out.u32(0);
        slices.for_each(|bytes| self.out.0.extend_from_slice(bytes));
        let len = self.out.0.len() - len_at - 4;
        let len = u32::try_from(len).expect("an answer is bounded by what was asked for and one batch");
        self.out.0[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.0[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        self.out.0
    }
}

/// Writes a [`Fetched`].
#[derive(Debug)]
pub(crate) struct FetchedWriter(AnswerWriter);

impl FetchedWriter {
    pub(crate) fn new(layout: u32, correlation: u64, capacity: usize) -> Self {
        Self(AnswerWriter::new(kind::FETCHED, layout, correlation, capacity))
    }

    fn begin(&mut self, partition: u32, high_watermark: Offset) -> &mut AnswerWriter {
        self.0.count += 1;
        self.0.out.u32(partition);
        self.0.out.u64(high_watermark.0);
        &mut self.0
    }

    pub(crate) fn batches<'b>(
        &mut self,
        partition: u32,
        high_watermark: Offset,
        slices: impl Iterator<Item = &'b [u8]>,
    ) {
        self.begin(partition, high_watermark).batches(slices);
    }

    pub(crate) fn other(&mut self, partition: u32, high_watermark: Offset, answer: &FetchAnswer<'_>) {
        let writer = self.begin(partition, high_watermark);
        let out = &mut writer.out;
        match answer {
            FetchAnswer::Batches(bytes) => writer.batches([*bytes].into_iter()),
            FetchAnswer::OutOfRange { start, end } => {
                out.u8(code::OUT_OF_RANGE);
                out.u64(start.0);
                out.u64(end.0);
            }
            FetchAnswer::UnknownPartition => out.u8(code::UNKNOWN_PARTITION),
            FetchAnswer::NotLeader { leader } => {
                out.u8(code::NOT_LEADER);
                out.u16(leader.0);
            }
            FetchAnswer::Failed(text) => {
                out.u8(code::FAILED);
                out.bytes(text.as_bytes());
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.count == 0
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.finish()
    }
}

/// Writes a [`Followed`].
#[derive(Debug)]
pub(crate) struct FollowedWriter(AnswerWriter);

impl FollowedWriter {
    pub(crate) fn new(layout: u32, correlation: u64, capacity: usize) -> Self {
        Self(AnswerWriter::new(kind::FOLLOWED, layout, correlation, capacity))
    }

    fn begin(&mut self, partition: u32, epoch: Epoch, high_watermark: Offset) -> &mut AnswerWriter {
        self.0.count += 1;
        self.0.out.u32(partition);
        self.0.out.epoch(epoch);
        self.0.out.u64(high_watermark.0);
        &mut self.0
    }

    pub(crate) fn batches<'b>(
        &mut self,
        partition: u32,
        epoch: Epoch,
        high_watermark: Offset,
        slices: impl Iterator<Item = &'b [u8]>,
    ) {
        self.begin(partition, epoch, high_watermark).batches(slices);
    }

    pub(crate) fn other(
        &mut self,
        partition: u32,
        epoch: Epoch,
        high_watermark: Offset,
        answer: &FollowAnswer<'_>,
    ) {
        let writer = self.begin(partition, epoch, high_watermark);
        let out = &mut writer.out;
        match answer {
            FollowAnswer::Batches(bytes) => writer.batches([*bytes].into_iter()),
            FollowAnswer::OutOfRange { start } => {
                out.u8(code::OUT_OF_RANGE);
                out.u64(start.0);
            }
            FollowAnswer::NotLeader { leader } => {
                out.u8(code::NOT_LEADER);
                out.u16(leader.0);
            }
            FollowAnswer::Failed => out.u8(code::FAILED),
            FollowAnswer::Diverging { epoch, end } => {
                out.u8(code::DIVERGING);
                out.epoch(*epoch);
                out.u64(end.0);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.count == 0
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests;
