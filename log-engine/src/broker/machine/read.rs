//! Reading a hosted partition for whoever asked, follower or consumer.

use engine_env::File;

use super::Machine;
use super::hosted::Hosted;
use crate::Offset;
use crate::log::fetch::{FetchError, Fetched, Reader};

/// One answer is no larger than this many times what was asked for of each partition.
pub(super) const PARTITIONS_MAX: usize = 8;

/// What a partition has for a reader.
pub(super) enum Found {
    Nothing,
    Batches(Fetched),
    Failed(FetchError),
}

impl<F: File> Machine<F> {
    pub(super) fn read(&self, hosted: &Hosted<F>, reader: Reader, from: Offset, bytes_max: usize) -> Found {
        match self.core.fetch_as(&hosted.partition, reader, from, bytes_max) {
            Ok(fetched) if fetched.is_empty() => Found::Nothing,
            Ok(fetched) => Found::Batches(fetched),
            Err(error) => Found::Failed(error),
        }
    }
}
