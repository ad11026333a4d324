//! Finding the first record that isn't earlier than a time: Kafka's offset for a timestamp.
//!
//! An entry of the time index is believed once its batch was met and says the same; else the segment is searched from
//! its start. Every batch on the way is checked, checksum included: a timestamp that rotted must not hide a record.

use engine_env::{DiskError, File};

use super::segment::{Damage, Place, ReadError, Segment, declared_end};
use super::time_index::TimeEntry;
use super::window::Window;
use crate::Offset;
use crate::record::batch::{Batch, BatchError};

/// A record that was found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOffset {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// What a segment's time index says of its latest record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Latest {
    /// No record is later.
    At(i64),
    /// The batch that the index points at says something else: there may be anything.
    Unknown,
}

/// What a walk through a segment came to.
enum Walked {
    Found(TimedOffset),
    Nothing,
    /// The index entry that it began with isn't true.
    HintWrong,
}

impl<F: File> Segment<F> {
    /// The latest timestamp, confirmed by its batch. Reads once.
    pub(crate) fn latest(&self) -> Result<Latest, DiskError> {
        if let Some(latest) = self.latest.get() {
            return Ok(*latest);
        }
        let latest = match self.times.last() {
            None => Latest::Unknown,
            Some(entry) if !self.sealed => Latest::At(entry.timestamp_ms),
            Some(entry) => self.confirm(entry)?,
        };
        Ok(*self.latest.get_or_init(|| latest))
    }

    fn confirm(&self, entry: TimeEntry) -> Result<Latest, DiskError> {
        let offset = self.base.plus(u64::from(entry.relative_offset));
        let place = self.place(offset);
        let mut window = Window::new(place.source.clone(), place.limit, 4096);
        let at = match place.boundary(offset) {
            Ok((at, _)) => at,
            Err(ReadError::Disk(error)) => return Err(error),
            Err(_) => return Ok(Latest::Unknown),
        };
        let is_true = window.batch_at(at)?.is_ok_and(|b| is_of(&b, offset, entry) && b.check_crc().is_ok());
        Ok(if is_true { Latest::At(entry.timestamp_ms) } else { Latest::Unknown })
    }

    /// The first record from `from` on that isn't earlier than `timestamp_ms`.
    pub(crate) fn first_at(&self, timestamp_ms: i64, from: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let hint = match self.latest()? {
            Latest::At(latest) if latest < timestamp_ms => return Ok(None),
            Latest::At(_) => self.times.lookup(timestamp_ms),
            Latest::Unknown => None,
        };
        let near = hint.map_or(self.base, |h| self.base.plus(u64::from(h.relative_offset)));
        self.place(near).first_at(timestamp_ms, from, hint)
    }
}

fn is_of(batch: &Batch<'_>, last: Offset, entry: TimeEntry) -> bool {
    batch.last_offset() == last && batch.max_timestamp_ms() == entry.timestamp_ms
}

impl<F: File> Place<F> {
    /// The first record from `from` on that isn't earlier than `timestamp_ms`. `hint` is the time index's entry for it;
    /// this place's own hint leads there.
    pub(crate) fn first_at(
        &self,
        timestamp_ms: i64,
        from: Offset,
        hint: Option<TimeEntry>,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let mut window = Window::new(self.source.clone(), self.limit, 64 << 10);
        if let Some(entry) = hint {
            let start =
                self.confirmed_hint(&mut window, |batch| batch.check_crc())?.unwrap_or((0, self.base));
            match self.walk(&mut window, start, timestamp_ms, from, Some(entry)) {
                Ok(Walked::Found(found)) => return Ok(Some(found)),
                Ok(Walked::Nothing) => return Ok(None),
                // Neither this entry nor what led to it is believed any more.
                Ok(Walked::HintWrong) | Err(ReadError::Damaged(_)) => {}
                Err(other) => return Err(other),
            }
        }
        match self.walk(&mut window, (0, self.base), timestamp_ms, from, None)? {
            Walked::Found(found) => Ok(Some(found)),
            Walked::Nothing => Ok(None),
            Walked::HintWrong => unreachable!("there was no hint"),
        }
    }

    fn walk(
        &self,
        window: &mut Window<F>,
        (mut at, mut expected): (u64, Offset),
        timestamp_ms: i64,
        from: Offset,
        mut unconfirmed: Option<TimeEntry>,
    ) -> Result<Walked, ReadError> {
        while expected < self.end && at < self.limit {
            let batch = match window.batch_at(at)?.and_then(|b| b.check_next(expected).map(|()| b)) {
                Ok(batch) => batch,
                Err(why) => return Err(self.damage(window, at, expected, why)?),
            };
            if let Some(entry) = unconfirmed {
                let last = self.base.plus(u64::from(entry.relative_offset));
                if is_of(&batch, last, entry) {
                    unconfirmed = None;
                } else if batch.last_offset() >= last || batch.max_timestamp_ms() >= entry.timestamp_ms {
                    return Ok(Walked::HintWrong);
                }
            }
            if batch.max_timestamp_ms() >= timestamp_ms && batch.last_offset() >= from {
                let failed = |cause| ReadError::Batch { offset: batch.base_offset(), cause };
                for record in batch.unpack().map_err(failed)?.records() {
                    let record = record.map_err(failed)?;
                    if record.timestamp_ms >= timestamp_ms && record.offset >= from {
                        let (offset, timestamp_ms) = (record.offset, record.timestamp_ms);
                        return Ok(Walked::Found(TimedOffset { offset, timestamp_ms }));
                    }
                }
            }
            at += batch.len() as u64;
            expected = batch.next_offset();
        }
        Ok(if unconfirmed.is_some() { Walked::HintWrong } else { Walked::Nothing })
    }

    /// What is lost at `at`, and where it goes on.
    fn damage(
        &self,
        window: &mut Window<F>,
        position: u64,
        offset: Offset,
        why: BatchError,
    ) -> Result<ReadError, DiskError> {
        let hint = declared_end(window, position)?;
        let resumed = window.resume_after(position, offset.plus(1), self.end, hint)?;
        let until = resumed.map_or(self.end, |(_, offset)| offset);
        Ok(ReadError::Damaged(Damage { segment: self.path.clone(), position, offset, until, why }))
    }
}
