//! [`AnswerWriter`]: an answer to a fetch or a follow, its counts and lengths filled in last.

use super::fields::Out;

/// Codes of answers to fetches and follows.
pub(super) mod code {
    pub(in crate::message) const BATCHES: u8 = 0;
    pub(in crate::message) const OUT_OF_RANGE: u8 = 1;
    pub(in crate::message) const UNKNOWN_PARTITION: u8 = 2;
    pub(in crate::message) const NOT_LEADER: u8 = 3;
    pub(in crate::message) const FAILED: u8 = 4;
    pub(in crate::message) const DIVERGING: u8 = 5;
}

/// Writes an answer straight from the log's memory: each byte of a batch is copied once, into the message.
#[derive(Debug)]
pub(super) struct AnswerWriter {
    pub(super) out: Out,
    count_at: usize,
    pub(super) count: u32,
}

impl AnswerWriter {
    pub(super) fn new(kind: u8, layout: u32, correlation: u64, capacity: usize) -> Self {
        let mut out = Out::new(kind, layout, 12 + capacity);
        out.u64(correlation);
        let count_at = out.0.len();
        out.u32(0);
        Self { out, count_at, count: 0 }
    }

    pub(super) fn batches<'b>(&mut self, slices: impl Iterator<Item = &'b [u8]>) {
        self.out.u8(code::BATCHES);
        let len_at = self.out.0.len();
        self.out.u32(0);
        slices.for_each(|bytes| self.out.0.extend_from_slice(bytes));
        let len = self.out.0.len() - len_at - 4;
        let len = u32::try_from(len).expect("an answer is bounded by what was asked for and one batch");
        self.out.0[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.0[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        self.out.0
    }
}
