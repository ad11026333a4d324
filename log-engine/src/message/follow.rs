//! A follower's question for what comes next in its leader's log, the answer, and what it tells of its progress.

use super::answer::{AnswerWriter, code};
use super::fields::{In, Out};
use super::{MessageError, kind};
use crate::log::leader_epochs::Epoch;
use crate::{BrokerId, Offset};

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

impl Follow {
    const PLACE_LEN: usize = 4 + 8 + 4 + 8;

    pub(super) fn encode(&self, layout: u32) -> Vec<u8> {
        let mut out = Out::new(kind::FOLLOW, layout, 20 + self.places.len() * Self::PLACE_LEN);
        out.u64(self.correlation);
        out.u32(self.wait_ms);
        out.u32(self.bytes_max);
        out.count(self.places.len());
        for place in &self.places {
            out.u32(place.partition);
            out.u64(place.end.0);
            out.epoch(place.last_epoch);
            out.u64(place.held.0);
        }
        out.0
    }

    pub(super) fn decode(input: &mut In<'_>) -> Result<Self, MessageError> {
        Ok(Self {
            correlation: input.u64()?,
            wait_ms: input.u32()?,
            bytes_max: input.u32()?,
            places: input.list(Self::PLACE_LEN, |i| {
                let (partition, end, last_epoch, held) = (i.u32()?, i.offset()?, i.epoch()?, i.offset()?);
                Ok(FollowPlace { partition, end, last_epoch, held })
            })?,
        })
    }
}

impl<'a> Followed<'a> {
    pub(super) fn encode(&self, layout: u32) -> Vec<u8> {
        let mut answer = FollowedWriter::new(layout, self.correlation, 0);
        for one in &self.partitions {
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

    pub(super) fn decode(input: &mut In<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            correlation: input.u64()?,
            partitions: input.list(17, |i| {
                let (partition, epoch, high_watermark) = (i.u32()?, i.epoch()?, i.offset()?);
                let answer = FollowAnswer::decode(i)?;
                Ok(FollowedPartition { partition, epoch, high_watermark, answer })
            })?,
        })
    }
}

impl Progress {
    const LEN: usize = 4 + 4 + 8;

    pub(super) fn encode_list(list: &[Self], layout: u32) -> Vec<u8> {
        let mut out = Out::new(kind::PROGRESS, layout, 4 + list.len() * Self::LEN);
        out.count(list.len());
        for one in list {
            out.u32(one.partition);
            out.epoch(one.epoch);
            out.u64(one.held.0);
        }
        out.0
    }

    pub(super) fn decode_list(input: &mut In<'_>) -> Result<Vec<Self>, MessageError> {
        input.list(Self::LEN, |i| Ok(Self { partition: i.u32()?, epoch: i.epoch()?, held: i.offset()? }))
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
