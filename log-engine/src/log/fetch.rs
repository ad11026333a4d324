//! Fetching by offset: whole batches, shared from memory or a map where that is possible, checked on the way.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use engine_env::{DiskError, File};

use super::batch_cache::{BatchCache, VerifiedBatch};
use super::partition_log::PartitionLog;
use super::recent::RecentChunk;
use crate::record::batch::{Batch, BatchError, Records, UnpackedBatch};
use crate::record::record::RecordView;
use crate::segment::segment::{Damage, Found, Place, ReadError, Segment};
use crate::segment::window::{Held, Source};
use crate::{Offset, TopicPartition};

/// Why nothing was fetched.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No such partition.
    #[error("there is no partition {partition}")]
    UnknownPartition {
        /// The partition that was named.
        partition: TopicPartition,
    },
    /// The offset was never readable, or isn't any more: retention or a deletion moved the start past it. Whoever wants
    /// to go on fetches from `start`, and knows that what lies between is lost to him.
    #[error(
        "{partition} holds offsets {start} to {end} (exclusive); {offset} lies outside. Fetch from {start} for the \
         oldest that is left, from {end} for what comes next"
    )]
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// What was asked for.
        offset: Offset,
        /// The first readable offset.
        start: Offset,
        /// The offset behind the last readable one.
        end: Offset,
    },
    /// The bytes on disk are not what was written. Fetch from `damage.until` to go on behind them.
    #[error("{damage}; to skip them, fetch from offset {}", damage.until)]
    Corrupt {
        /// Segment, position, first lost offset, first readable one.
        damage: Damage,
    },
    /// A batch is whole, and this program can't unpack it.
    #[error("{partition} can't be read at offset {offset}: {cause}")]
    Batch {
        /// The partition.
        partition: TopicPartition,
        /// The batch's first offset.
        offset: Offset,
        /// Why.
        #[source]
        cause: BatchError,
    },
    /// The device failed to read.
    #[error("{partition} can't be read: {cause}")]
    Disk {
        /// The partition.
        partition: TopicPartition,
        /// What failed.
        #[source]
        cause: DiskError,
    },
}

impl FetchError {
    pub(super) fn of(partition: &TopicPartition, error: ReadError) -> Self {
        let partition = || partition.clone();
        match error {
            ReadError::Damaged(damage) => Self::Corrupt { damage },
            ReadError::Batch { offset, cause } => Self::Batch { partition: partition(), offset, cause },
            ReadError::Disk(cause) => Self::Disk { partition: partition(), cause },
        }
    }
}

/// A stretch of whole batches.
#[derive(Debug, Clone)]
pub(crate) enum Slice {
    Segment(Held, Range<usize>),
    Recent(Arc<RecentChunk>, Range<usize>),
    /// One batch.
    Verified(Arc<VerifiedBatch>),
    /// Of a message.
    Received(Arc<Vec<u8>>, Range<usize>),
}

impl Slice {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Segment(Held::Mapped(map), range) => &map[range.clone()],
            Self::Segment(Held::Owned(bytes), range) => &bytes[range.clone()],
            Self::Recent(chunk, range) => &chunk.bytes()[range.clone()],
            Self::Verified(batch) => batch.bytes(),
            Self::Received(message, range) => &message[range.clone()],
        }
    }
}

/// What a fetch gave: batches from the one that holds the asked offset on. Sealed segments and recent batches are
/// shared, not copied; a segment's file stays as long as this lives.
#[derive(Debug, Clone)]
pub struct Fetched {
    partition: TopicPartition,
    from: Offset,
    next: Offset,
    slices: Vec<Slice>,
    unpacked: Unpacked,
}

/// The records of a packed batch, once somebody has come to it.
type UnpackedRecords = OnceLock<Result<Vec<u8>, BatchError>>;

/// The records of packed batches, in order, each unpacked when somebody comes to it.
#[derive(Debug, Clone, Default)]
struct Unpacked(OnceLock<Box<[UnpackedRecords]>>);

impl Fetched {
    /// Batches that came in a message, from the one that holds `from` on.
    pub(crate) fn received(
        partition: TopicPartition,
        from: Offset,
        next: Offset,
        message: Arc<Vec<u8>>,
        range: Range<usize>,
    ) -> Self {
        let slices = vec![Slice::Received(message, range)];
        Self { partition, from, next, slices, unpacked: Unpacked::default() }
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The offset to fetch next.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next
    }

    /// Whether there was nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// Bytes of the batches.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.slices.iter().map(|s| s.bytes().len()).sum()
    }

    /// The bytes, each slice whole batches.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.slices.iter().map(Slice::bytes)
    }

    /// The batches.
    pub fn batches(&self) -> impl Iterator<Item = Batch<'_>> {
        self.slices().flat_map(|bytes| {
            let mut rest = bytes;
            std::iter::from_fn(move || {
                let batch = Batch::parse(rest).ok()?;
                rest = &rest[batch.len()..];
                Some(batch)
            })
        })
    }

    /// The records from the asked offset on. After an error comes the next batch.
    pub fn records(&self) -> FetchedRecords<'_> {
        FetchedRecords { of: self, slice: 0, rest: &[], packed: 0, batch_offset: self.from, records: None }
    }

    /// The records of the packed batch with that number.
    fn unpacked(&self, number: usize, batch: Batch<'_>) -> Result<Records<'_>, BatchError> {
        let all = self.unpacked.0.get_or_init(|| {
            self.batches().filter(|b| b.plain_records().is_none()).map(|_| OnceLock::new()).collect()
        });
        let unpacked = all[number].get_or_init(|| batch.unpack().map(UnpackedBatch::into_bytes));
        unpacked.as_ref().map(|bytes| batch.records_in(bytes)).map_err(Clone::clone)
    }
}

/// Iterator over the records of a [`Fetched`].
#[derive(Debug, Clone)]
pub struct FetchedRecords<'a> {
    of: &'a Fetched,
    slice: usize,
    rest: &'a [u8],
    /// Packed batches so far.
    packed: usize,
    batch_offset: Offset,
    records: Option<Records<'a>>,
}

impl<'a> Iterator for FetchedRecords<'a> {
    type Item = Result<RecordView<'a>, FetchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.records.as_mut().and_then(Records::next) {
                match record {
                    Ok(record) if record.offset < self.of.from => {}
                    Ok(record) => return Some(Ok(record)),
                    Err(cause) => return Some(Err(self.error(cause))),
                }
                continue;
            }
            if self.rest.is_empty() {
                self.rest = self.of.slices.get(self.slice)?.bytes();
                self.slice += 1;
            }
            let batch = match Batch::parse(self.rest) {
                Ok(batch) => batch,
                Err(cause) => {
                    self.rest = &[];
                    return Some(Err(self.error(cause)));
                }
            };
            self.rest = &self.rest[batch.len()..];
            self.batch_offset = batch.base_offset();
            let records = match batch.plain_records() {
                Some(plain) => Ok(plain),
                None => {
                    self.packed += 1;
                    match &self.of.slices[self.slice - 1] {
                        Slice::Verified(verified) => Ok(batch
                            .records_in(verified.unpacked().expect("a packed batch was unpacked for it"))),
                        _ => self.of.unpacked(self.packed - 1, batch),
                    }
                }
            };
            match records {
                Ok(mut records) => {
                    records.skip_to(self.of.from);
                    self.records = Some(records);
                }
                Err(cause) => return Some(Err(self.error(cause))),
            }
        }
    }
}

impl FetchedRecords<'_> {
    fn error(&self, cause: BatchError) -> FetchError {
        FetchError::Batch { partition: self.of.partition.clone(), offset: self.batch_offset, cause }
    }
}

/// Who reads: that decides where the log ends for him.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Of a log without replicas: what is as durable as promised.
    Local,
    /// A consumer of a replicated log: what is below this high watermark.
    Below(Offset),
    /// A follower: all that is there, durable or not. What it acknowledges is its own.
    Replica,
}

/// Where the next bytes of a fetch come from: found under the lock, read outside it.
#[derive(Debug)]
pub(crate) enum Spot<F> {
    End,
    /// And up to where it may be read.
    Recent(Arc<RecentChunk>, Offset),
    Segment(Arc<Segment<F>>),
    /// Of the active segment, or of a rolled one that isn't durable to its end, what may be read.
    Part(Place<F>),
}

impl<F: File> PartitionLog<F> {
    /// Where `from` lies, for that reader.
    pub(crate) fn spot(&self, from: Offset, reader: Reader) -> Result<Spot<F>, FetchError> {
        let readable = self.readable_end();
        let (end, known) = match reader {
            Reader::Local => (readable, readable),
            // Between high watermark and end there is something that isn't his yet.
            Reader::Below(high_watermark) => (high_watermark.min(readable), self.end),
            Reader::Replica => (self.end, self.end),
        };
        let start = self.start;
        if from < start || from > known {
            return Err(FetchError::OutOfRange { partition: self.name.clone(), offset: from, start, end });
        }
        if from >= end {
            return Ok(Spot::End);
        }
        if let Some(chunk) = self.recent.chunk_of(from) {
            return Ok(Spot::Recent(Arc::clone(chunk), end));
        }
        // What is on its way to the disk is readable in memory only; a follower waits for the rest.
        let end = end.min(readable);
        if from >= end {
            return Ok(Spot::End);
        }
        if from < self.active.base {
            let after = self.segments.partition_point(|s| s.base <= from);
            let segment = &self.segments[after.checked_sub(1).expect("the first segment starts the log")];
            if segment.end <= end {
                return Ok(Spot::Segment(Arc::clone(segment)));
            }
            return Ok(Spot::Part(self.segment_part(segment, from, end)));
        }
        Ok(Spot::Part(self.active_part(from, end)))
    }

    /// What may be read of the active segment, for a look from `from` on.
    pub(super) fn active_part(&self, from: Offset, end: Offset) -> Place<F> {
        Place {
            source: Source::File(self.active.file.clone()),
            path: self.active_path(),
            base: self.active.base,
            end,
            limit: self.readable_position(),
            hint: self.active.index.lookup(from.0 - self.active.base.0),
        }
    }

    /// What may be read of a segment of which not everything may, for a look from `from` on.
    pub(super) fn segment_part(&self, segment: &Segment<F>, from: Offset, end: Offset) -> Place<F> {
        let mut place = segment.place(from);
        place.end = end;
        if segment.end > self.readable_end() {
            // Rolled before all of it was durable.
            place.limit = self.readable_position_in(segment.base);
        }
        place
    }

    /// Position behind the last readable byte of the active segment.
    fn readable_position(&self) -> u64 {
        if self.readable_end() == self.end {
            return self.active.position;
        }
        self.readable_position_in(self.active.base)
    }

    /// Position behind the last durable byte of the segment in which the durable end lies.
    fn readable_position_in(&self, base: Offset) -> u64 {
        if self.durable_place.segment == base { self.durable_place.position } else { 0 }
    }
}

/// Gathers up to `max_bytes` (at least one batch) from `from` on; `locate` looks under the partition's lock. Whoever looks
/// at records, one batch at a time, gives the cache.
pub(crate) fn fetch<F: File>(
    partition: &TopicPartition,
    from: Offset,
    max_bytes: usize,
    cache: Option<&BatchCache>,
    mut locate: impl FnMut(Offset) -> Result<Spot<F>, FetchError>,
) -> Result<Fetched, FetchError> {
    let (partition_name, unpacked) = (partition.clone(), Unpacked::default());
    let mut fetched = Fetched { partition: partition_name, from, next: from, slices: Vec::new(), unpacked };
    let mut left = max_bytes;
    loop {
        // Behind the first batch it is a reader who goes on.
        let cache = cache.filter(|_| fetched.slices.is_empty());
        let step =
            locate(fetched.next).and_then(|spot| read_spot(partition, spot, fetched.next, left, cache));
        match step {
            Ok(Some((slice, next))) => {
                let len = slice.bytes().len();
                // Every step gives at least one batch; past the first one that may be more than was asked for.
                if !fetched.slices.is_empty() && len > left {
                    return Ok(fetched);
                }
                fetched.slices.push(slice);
                fetched.next = next;
                left = left.saturating_sub(len);
                if left == 0 {
                    return Ok(fetched);
                }
            }
            Ok(None) => return Ok(fetched),
            // What was read before it is good; the next fetch starts with the error.
            Err(_) if !fetched.slices.is_empty() => return Ok(fetched),
            Err(error) => return Err(error),
        }
    }
}

fn read_spot<F: File>(
    partition: &TopicPartition,
    spot: Spot<F>,
    from: Offset,
    max_bytes: usize,
    cache: Option<&BatchCache>,
) -> Result<Option<(Slice, Offset)>, FetchError> {
    let (place, cache) = match spot {
        Spot::End => return Ok(None),
        Spot::Recent(chunk, until) => {
            let (range, next) = chunk.find(from, until, max_bytes);
            return Ok(Some((Slice::Recent(chunk, range), next)));
        }
        Spot::Segment(segment) => {
            // A rolled segment becomes another one when it is sealed.
            let cache = cache.filter(|_| segment.sealed).map(|cache| (cache, segment.number));
            if let Some(batch) = cache.and_then(|(cache, number)| cache.get(number, from, max_bytes)) {
                let next = batch.next_offset();
                return Ok(Some((Slice::Verified(batch), next)));
            }
            (segment.place(from), cache)
        }
        Spot::Part(place) => (place, None),
    };
    let found = place.read(from, max_bytes).map_err(|error| FetchError::of(partition, error))?;
    let Found { held, range, next } = found;
    let slice = Slice::Segment(held, range);
    if let Some((cache, number)) = cache
        && let Ok(batch) = Batch::parse(slice.bytes())
        && batch.len() == slice.bytes().len()
        && batch.len() >= max_bytes
        && let Some(batch) = cache.keep(number, &batch)
    {
        return Ok(Some((Slice::Verified(batch), next)));
    }
    Ok(Some((slice, next)))
}
