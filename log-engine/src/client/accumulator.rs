//! [`Accumulator`]: the records of one partition on their way into a batch, with their tokens.

use crate::record::builder::{BatchBuilder, EncodeError, EncodedBatch, Sequence};
use crate::record::compression::Compression;
use crate::record::record::Record;

/// A batch that gathers.
#[derive(Debug, Default)]
pub(super) struct Accumulator {
    builder: BatchBuilder,
    tokens: Vec<u64>,
}

impl Accumulator {
    pub(super) fn push(&mut self, record: &Record<'_>, now_ms: i64, token: u64) -> Result<(), EncodeError> {
        self.builder.push(record, now_ms)?;
        self.tokens.push(token);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Number of records.
    pub(super) fn records(&self) -> usize {
        self.tokens.len()
    }

    /// Bytes of the batch if it were finished now.
    pub(super) fn len(&self) -> usize {
        self.builder.len()
    }

    /// The finished batch and its tokens; the accumulator is empty afterwards.
    pub(super) fn take(
        &mut self,
        compression: Compression,
        sequence: Option<Sequence>,
    ) -> Result<(EncodedBatch, Vec<u64>), EncodeError> {
        let builder = std::mem::take(&mut self.builder);
        Ok((builder.finish_as(compression, sequence)?, std::mem::take(&mut self.tokens)))
    }

    /// Gives an empty accumulator a buffer.
    pub(super) fn reuse(&mut self, bytes: Vec<u8>) {
        if self.is_empty() {
            self.builder = BatchBuilder::reusing(bytes);
        }
    }
}
