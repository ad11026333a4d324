//! A producer's batches, and what became of them.

use super::fields::{In, Out};
use super::{Acks, MessageError, kind};
use crate::{BrokerId, Offset};

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

impl<'a> Produce<'a> {
    pub(super) fn encode(&self, layout: u32) -> Vec<u8> {
        let bytes: usize = self.batches.iter().map(|b| 16 + b.bytes.len()).sum();
        let mut out = Out::new(kind::PRODUCE, layout, 9 + bytes);
        out.u8(match self.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => 2,
        });
        out.u32(self.timeout_ms);
        out.count(self.batches.len());
        for batch in &self.batches {
            out.u64(batch.id);
            out.u32(batch.partition);
            out.bytes(batch.bytes);
        }
        out.0
    }

    pub(super) fn decode(input: &mut In<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            acks: match input.u8()? {
                0 => Acks::None,
                1 => Acks::Leader,
                2 => Acks::All,
                _ => return Err(input.malformed("acks is none of 0, 1, 2")),
            },
            timeout_ms: input.u32()?,
            batches: input
                .list(16, |i| Ok(ProduceBatch { id: i.u64()?, partition: i.u32()?, bytes: i.bytes()? }))?,
        })
    }
}

/// Name, code, two small numbers, one large.
const PRODUCED_LEN: usize = 8 + 1 + 2 + 2 + 8;

impl Produced {
    pub(super) fn encode_list(list: &[Self], layout: u32) -> Vec<u8> {
        let mut out = Out::new(kind::PRODUCED, layout, 4 + list.len() * PRODUCED_LEN);
        out.count(list.len());
        list.iter().for_each(|one| one.encode(&mut out));
        out.0
    }

    pub(super) fn decode_list(input: &mut In<'_>) -> Result<Vec<Self>, MessageError> {
        input.list(PRODUCED_LEN, Self::decode)
    }

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
