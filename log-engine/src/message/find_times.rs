//! Where a moment begins: a client's question, and the leader's answer to it.

use super::fields::{In, Out};
use super::{MessageError, kind};
use crate::segment::time_search::TimedOffset;
use crate::{BrokerId, Offset};

/// A client's question: in each of these partitions, the first record that isn't earlier. Answered at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FindTimes {
    pub(crate) correlation: u64,
    /// Partitions, and milliseconds since the Unix epoch.
    pub(crate) places: Vec<(u32, i64)>,
}

/// The answer to a [`FindTimes`], one for each of its places, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundTimes<'a> {
    pub(crate) correlation: u64,
    pub(crate) answers: Vec<(u32, FindAnswer<'a>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FindAnswer<'a> {
    Found(TimedOffset),
    /// Every record below the high watermark is earlier.
    Nothing,
    UnknownPartition,
    NotLeader {
        leader: BrokerId,
    },
    /// A sentence.
    Failed(&'a str),
}

impl FindTimes {
    const ENTRY_LEN: usize = 4 + 8;

    pub(super) fn encode(&self, layout: u32) -> Vec<u8> {
        let mut out = Out::new(kind::FIND_TIMES, layout, 12 + self.places.len() * Self::ENTRY_LEN);
        out.u64(self.correlation);
        out.count(self.places.len());
        for (partition, timestamp_ms) in &self.places {
            out.u32(*partition);
            out.i64(*timestamp_ms);
        }
        out.0
    }

    pub(super) fn decode(input: &mut In<'_>) -> Result<Self, MessageError> {
        Ok(Self {
            correlation: input.u64()?,
            places: input.list(Self::ENTRY_LEN, |i| Ok((i.u32()?, i.i64()?)))?,
        })
    }
}

impl<'a> FoundTimes<'a> {
    /// Partition and code.
    const ENTRY_LEN: usize = 4 + 1;
    /// With an offset and a time.
    const FOUND_LEN: usize = Self::ENTRY_LEN + 8 + 8;

    pub(super) fn encode(&self, layout: u32) -> Vec<u8> {
        let mut out = Out::new(kind::FOUND_TIMES, layout, 12 + self.answers.len() * Self::FOUND_LEN);
        out.u64(self.correlation);
        out.count(self.answers.len());
        for (partition, answer) in &self.answers {
            out.u32(*partition);
            match answer {
                FindAnswer::Found(TimedOffset { offset, timestamp_ms }) => {
                    out.u8(code::FOUND);
                    out.u64(offset.0);
                    out.i64(*timestamp_ms);
                }
                FindAnswer::Nothing => out.u8(code::NOTHING),
                FindAnswer::UnknownPartition => out.u8(code::UNKNOWN_PARTITION),
                FindAnswer::NotLeader { leader } => {
                    out.u8(code::NOT_LEADER);
                    out.u16(leader.0);
                }
                FindAnswer::Failed(text) => {
                    out.u8(code::FAILED);
                    out.bytes(text.as_bytes());
                }
            }
        }
        out.0
    }

    pub(super) fn decode(input: &mut In<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            correlation: input.u64()?,
            answers: input.list(Self::ENTRY_LEN, |i| Ok((i.u32()?, FindAnswer::decode(i)?)))?,
        })
    }
}

mod code {
    pub(super) const FOUND: u8 = 0;
    pub(super) const NOTHING: u8 = 1;
    pub(super) const UNKNOWN_PARTITION: u8 = 2;
    pub(super) const NOT_LEADER: u8 = 3;
    pub(super) const FAILED: u8 = 4;
}

impl<'a> FindAnswer<'a> {
    fn decode(input: &mut In<'a>) -> Result<Self, MessageError> {
        Ok(match input.u8()? {
            code::FOUND => {
                let (offset, timestamp_ms): (Offset, i64) = (input.offset()?, input.i64()?);
                Self::Found(TimedOffset { offset, timestamp_ms })
            }
            code::NOTHING => Self::Nothing,
            code::UNKNOWN_PARTITION => Self::UnknownPartition,
            code::NOT_LEADER => Self::NotLeader { leader: BrokerId(input.u16()?) },
            code::FAILED => Self::Failed(input.text()?),
            _ => return Err(input.malformed("an answer has a code that nobody knows")),
        })
    }
}
