//! Where to read from a moment on: the offset of the first record that isn't earlier than a timestamp, as Kafka's
//! `offsetsForTimes` gives it.

use std::sync::Arc;

use engine_env::File;

use super::fetch::{FetchError, Reader};
use super::partition_log::PartitionLog;
use crate::segment::segment::{Place, Segment};
use crate::segment::time_index::TimeEntry;
use crate::segment::time_search::TimedOffset;
use crate::{Offset, TopicPartition};

/// A stretch of the log to search: found under the lock, searched outside it.
#[derive(Debug)]
pub(crate) enum Stretch<F> {
    Segment(Arc<Segment<F>>),
    /// Of the active segment, or of one of which not everything may be read; with the time index's entry.
    Part(Place<F>, Option<TimeEntry>),
}

/// What may be searched.
#[derive(Debug)]
pub(crate) struct Stretches<F> {
    /// Nothing in front of it is found.
    from: Offset,
    list: Vec<Stretch<F>>,
}

impl<F: File> PartitionLog<F> {
    /// Where that reader may find a record of `timestamp_ms` or later, in order.
    pub(crate) fn stretches(&self, timestamp_ms: i64, reader: Reader) -> Stretches<F> {
        let end = match reader {
            Reader::Below(high_watermark) => high_watermark.min(self.readable_end()),
            Reader::Local | Reader::Replica => self.readable_end(),
        };
        let from = self.start;
        let mut list = Vec::new();
        for segment in self.segments.iter().filter(|s| s.end > from && s.base < end) {
            list.push(if segment.end <= end {
                Stretch::Segment(Arc::clone(segment))
            } else {
                let hint = segment.times.lookup(timestamp_ms);
                let near = hint.map_or(segment.base, |h| segment.base.plus(u64::from(h.relative_offset)));
                Stretch::Part(self.segment_part(segment, near, end), hint)
            });
        }
        let active = &self.active;
        if active.base < end && active.index.latest().is_some_and(|t| t.timestamp_ms >= timestamp_ms) {
            let hint = active.index.time_lookup(timestamp_ms);
            let near = hint.map_or(active.base, |h| active.base.plus(u64::from(h.relative_offset)));
            list.push(Stretch::Part(self.active_part(near, end), hint));
        }
        Stretches { from, list }
    }
}

impl<F: File> Stretches<F> {
    /// The first record that isn't earlier than `timestamp_ms`.
    pub(crate) fn first_at(
        self,
        partition: &TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<TimedOffset>, FetchError> {
        for stretch in self.list {
            let found = match stretch {
                Stretch::Segment(segment) => segment.first_at(timestamp_ms, self.from),
                Stretch::Part(place, hint) => place.first_at(timestamp_ms, self.from, hint),
            };
            if let Some(found) = found.map_err(|e| FetchError::of(partition, e))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}
