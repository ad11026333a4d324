//! [`IndexBuilder`]: makes an entry of each index every so many bytes, as batches come.

use super::offset_index::IndexEntry;
use super::time_index::TimeEntry;

/// What the indexes need to know of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Indexed {
    /// Its last offset, counted from the segment's first.
    pub(crate) last_relative_offset: u64,
    /// Where it starts.
    pub(crate) position: u64,
    /// How long it is, in bytes.
    pub(crate) len: u64,
    /// The latest timestamp of its records.
    pub(crate) max_timestamp_ms: i64,
}

/// Both indexes of a segment that grows.
#[derive(Debug)]
pub(crate) struct IndexBuilder {
    pub(crate) offsets: Vec<IndexEntry>,
    pub(crate) times: Vec<TimeEntry>,
    /// The latest timestamp so far.
    latest: Option<TimeEntry>,
    interval_bytes: u64,
    since_last: u64,
}

impl IndexBuilder {
    pub(crate) fn new(interval_bytes: u64) -> Self {
        Self::of(Vec::new(), Vec::new(), interval_bytes)
    }

    /// One that goes on behind these entries: the batches from the last offset entry's on, that one included, are to be
    /// added.
    pub(crate) fn of(offsets: Vec<IndexEntry>, mut times: Vec<TimeEntry>, interval_bytes: u64) -> Self {
        let last = offsets.last().map(|e| e.relative_offset);
        // An offset entry comes with an entry of the latest timestamp up to its batch.
        times.retain(|t| last.is_some_and(|last| t.relative_offset <= last));
        let latest = times.last().copied();
        Self { offsets, times, latest, interval_bytes, since_last: 0 }
    }

    /// The last offset entry that isn't beyond `relative_offset`.
    pub(crate) fn lookup(&self, relative_offset: u64) -> Option<IndexEntry> {
        let after = self.offsets.partition_point(|e| u64::from(e.relative_offset) <= relative_offset);
        after.checked_sub(1).map(|i| self.offsets[i])
    }

    /// The last time entry that isn't later than `timestamp_ms`.
    pub(crate) fn time_lookup(&self, timestamp_ms: i64) -> Option<TimeEntry> {
        let after = self.times.partition_point(|e| e.timestamp_ms <= timestamp_ms);
        after.checked_sub(1).map(|i| self.times[i])
    }

    /// The latest timestamp so far, and its batch's last offset.
    pub(crate) fn latest(&self) -> Option<TimeEntry> {
        self.latest
    }

    /// Takes note of a batch.
    #[inline]
    pub(crate) fn add(&mut self, batch: Indexed) {
        // Appends stay in range; a folder that claims other offsets or positions just isn't indexed there.
        let relative_offset = u32::try_from(batch.last_relative_offset);
        if let Ok(relative_offset) = relative_offset
            && self.latest.is_none_or(|latest| latest.timestamp_ms < batch.max_timestamp_ms)
        {
            self.latest = Some(TimeEntry { timestamp_ms: batch.max_timestamp_ms, relative_offset });
        }
        if self.since_last > self.interval_bytes
            && let (Ok(relative_offset), Ok(position)) = (relative_offset, u32::try_from(batch.position))
        {
            self.since_last = 0;
            self.offsets.push(IndexEntry { relative_offset, position });
            self.note_latest();
        }
        self.since_last += batch.len;
    }

    /// Makes an entry of the latest timestamp, unless the last entry tells it already.
    fn note_latest(&mut self) {
        if let Some(latest) = self.latest
            && self.times.last().is_none_or(|last| last.timestamp_ms < latest.timestamp_ms)
        {
            self.times.push(latest);
        }
    }

    /// The indexes of a segment to which nothing comes any more: the time index ends with the latest timestamp.
    pub(crate) fn finish(mut self) -> (Vec<IndexEntry>, Vec<TimeEntry>) {
        self.note_latest();
        (self.offsets, self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(last_relative_offset: u64, position: u64, max_timestamp_ms: i64) -> Indexed {
        Indexed { last_relative_offset, position, len: 100, max_timestamp_ms }
    }

    /// A name in a folder may claim any offset, and a batch's base offset lies outside its checksum: recovery panicked
    /// at a batch 2^32 offsets behind its segment's first, which an index can't say.
    #[test]
    fn a_batch_that_an_index_cannot_name_has_no_entry() {
        let mut index = IndexBuilder::new(10);
        for (offset, position) in [(0, 0), (1 << 40, 100), (2, 1 << 40), (3, 200)] {
            index.add(batch(offset, position, 5));
        }
        assert_eq!(index.offsets, [IndexEntry { relative_offset: 3, position: 200 }]);
    }

    #[test]
    fn the_time_index_rises_and_ends_with_the_latest() {
        let mut index = IndexBuilder::new(150);
        for (i, timestamp) in [10, 12, 11, 11, 9, 15, 14].into_iter().enumerate() {
            index.add(batch(i as u64, 100 * i as u64, timestamp));
        }
        let (offsets, times) = index.finish();
        let at: Vec<_> = offsets.iter().map(|e| e.relative_offset).collect();
        assert_eq!(at, [2, 4, 6], "an entry for the first batch behind each 150 bytes");
        let times: Vec<_> = times.iter().map(|t| (t.timestamp_ms, t.relative_offset)).collect();
        assert_eq!(times, [(12, 1), (15, 5)], "as Kafka: nothing where nothing got later");
    }

    proptest! {
        /// A truncation keeps the entries in front of the cut and adds the batches from the last kept entry on.
        #[test]
        fn going_on_behind_a_cut_gives_what_never_being_cut_gives(
            timestamps in proptest::collection::vec(0..40i64, 1..40), cut in 0..40usize, interval in 0..500u64
        ) {
            let cut = cut.min(timestamps.len());
            let all: Vec<_> = timestamps.iter().enumerate()
                .map(|(i, &t)| batch(i as u64, 100 * i as u64, t)).collect();
            let mut whole = IndexBuilder::new(interval);
            all.iter().for_each(|&b| whole.add(b));
            let (mut offsets, times) = whole.finish();
            offsets.retain(|e| (e.position as usize) < 100 * cut);
            let from = offsets.last().map_or(0, |e| e.relative_offset as usize);
            let mut again = IndexBuilder::of(offsets, times, interval);
            all[from..cut].iter().for_each(|&b| again.add(b));
            let mut fresh = IndexBuilder::new(interval);
            all[..cut].iter().for_each(|&b| fresh.add(b));
            prop_assert_eq!(again.finish(), fresh.finish());
        }
    }
}
