//! A consumer's question for records, and the answer.

use super::answer::{AnswerWriter, code};
use super::fields::{In, Out};
use super::{MessageError, kind};
use crate::{BrokerId, Offset};

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

impl Fetch {
    const PLACE_LEN: usize = 4 + 8;

    pub(super) fn encode(&self, layout: u32) -> Vec<u8> {
        let mut out = Out::new(kind::FETCH, layout, 20 + self.places.len() * Self::PLACE_LEN);
        out.u64(self.correlation);
        out.u32(self.wait_ms);
        out.u32(self.bytes_max);
        out.count(self.places.len());
        for (partition, from) in &self.places {
            out.u32(*partition);
            out.u64(from.0);
        }
        out.0
    }

    pub(super) fn decode(input: &mut In<'_>) -> Result<Self, MessageError> {
        Ok(Self {
            correlation: input.u64()?,
            wait_ms: input.u32()?,
            bytes_max: input.u32()?,
            places: input.list(Self::PLACE_LEN, |i| Ok((i.u32()?, i.offset()?)))?,
        })
    }
}

impl<'a> Fetched<'a> {
    pub(super) fn encode(&self, layout: u32) -> Vec<u8> {
        let mut answer = FetchedWriter::new(layout, self.correlation, 0);
        for one in &self.partitions {
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

    pub(super) fn decode(input: &mut In<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            correlation: input.u64()?,
            partitions: input.list(13, |i| {
                let (partition, high_watermark) = (i.u32()?, i.offset()?);
                Ok(FetchedPartition { partition, high_watermark, answer: FetchAnswer::decode(i)? })
            })?,
        })
    }
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
