//! A segment that takes no more appends: rolled (its last bytes may be on their way) or sealed (cut, synced,
//! indexed, never touched again). And the reading of one, which the active segment shares.
//!
//! A sealed segment is mapped and its file closed: a log of ten thousand segments has no descriptor for each. Where the
//! system permits no more maps, the file stays open and is read by calls.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_env::{DiskError, File};

use super::offset_index::{IndexEntry, OffsetIndex};
use super::time_index::TimeIndex;
use super::time_search::Latest;
use super::window::{Held, Source, Window};
use crate::record::batch::{BATCH_HEADER_LEN, Batch, BatchError, LENGTH_PREFIX};
use crate::{NO_TIMESTAMP, Offset};

/// Numbers segments for as long as the process lives.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// A rolled or sealed segment. Sealing makes a new one.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    /// No other segment has or had it, so that what is remembered of one is never taken for another's.
    pub(crate) number: u64,
    /// Its first offset.
    pub(crate) base: Offset,
    /// The first offset behind it.
    pub(crate) end: Offset,
    /// Path of its `.log` file, below the log's folder.
    pub(crate) path: String,
    /// Where its bytes come from.
    pub(crate) source: Source<F>,
    /// Bytes of batches.
    pub(crate) len: u64,
    pub(crate) index: OffsetIndex,
    pub(crate) times: TimeIndex,
    /// Whether it is cut, synced and indexed.
    pub(crate) sealed: bool,
    newest_ms: OnceLock<i64>,
    /// The latest timestamp, once it was looked for.
    pub(super) latest: OnceLock<Latest>,
}

impl<F: File> Segment<F> {
    /// One whose file is still to be cut and synced.
    pub(crate) fn rolled(
        range: (Offset, Offset),
        path: String,
        file: F,
        len: u64,
        indexes: (OffsetIndex, TimeIndex),
    ) -> Self {
        Self::new(range, path, Source::File(file), len, indexes, false)
    }

    /// One whose file nobody touches any more.
    pub(crate) fn sealed(
        range: (Offset, Offset),
        path: String,
        file: F,
        len: u64,
        indexes: (OffsetIndex, TimeIndex),
    ) -> Self {
        let source = match file.map_sealed() {
            Ok(map) => Source::Mapped(map),
            Err(_) => Source::File(file),
        };
        Self::new(range, path, source, len, indexes, true)
    }

    fn new(
        (base, end): (Offset, Offset),
        path: String,
        source: Source<F>,
        len: u64,
        (index, times): (OffsetIndex, TimeIndex),
        sealed: bool,
    ) -> Self {
        let (newest_ms, latest) = (OnceLock::new(), OnceLock::new());
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Self { number, base, end, path, source, len, index, times, sealed, newest_ms, latest }
    }

    /// The file of a rolled one.
    pub(crate) fn open_file(&self) -> &F {
        match &self.source {
            Source::File(file) => file,
            Source::Mapped(_) => unreachable!("only a sealed segment is mapped"),
        }
    }

    /// Spares [`Segment::newest_ms`] the look.
    pub(crate) fn knows_newest_ms(&self, newest_ms: i64) {
        // Whoever came first knew the same.
        let _ = self.newest_ms.set(newest_ms);
    }

    /// The latest timestamp of its records, milliseconds. If nobody knows yet, its time index tells, or the headers of
    /// its batches.
    pub(crate) fn newest_ms(&self) -> Result<i64, DiskError> {
        if let Some(&newest) = self.newest_ms.get() {
            return Ok(newest);
        }
        if let Latest::At(newest) = self.latest()? {
            return Ok(*self.newest_ms.get_or_init(|| newest));
        }
        let mut window = Window::new(self.source.clone(), self.len, 64 << 10);
        let (mut at, mut newest) = (0, NO_TIMESTAMP);
        while at < self.len
            && let Ok(batch) = window.batch_at(at)?
        {
            newest = newest.max(batch.max_timestamp_ms());
            at += batch.len() as u64;
        }
        Ok(*self.newest_ms.get_or_init(|| newest))
    }

    /// What a fetch at `from` reads.
    pub(crate) fn place(&self, from: Offset) -> Place<F> {
        Place {
            source: self.source.clone(),
            path: self.path.clone(),
            base: self.base,
            end: self.end,
            limit: self.len,
            hint: self.index.lookup(from.0.saturating_sub(self.base.0)),
        }
    }
}

/// A readable stretch of a segment.
#[derive(Debug)]
pub(crate) struct Place<F> {
    pub(crate) source: Source<F>,
    /// For messages.
    pub(crate) path: String,
    /// Offset at position 0.
    pub(crate) base: Offset,
    /// Offset at `limit`.
    pub(crate) end: Offset,
    /// Position behind the last readable byte.
    pub(crate) limit: u64,
    /// Where to start looking.
    pub(crate) hint: Option<IndexEntry>,
}

/// Whole batches that were found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) held: Held,
    pub(crate) range: Range<usize>,
    /// The offset behind them.
    pub(crate) next: Offset,
}

/// A place that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file, below the log's folder.
    pub segment: String,
    /// Where in the file it starts, in bytes.
    pub position: u64,
    /// The first offset that is lost.
    pub offset: Offset,
    /// The first offset that can be read again.
    pub until: Offset,
    /// What is wrong at `position`.
    pub why: BatchError,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} is damaged at byte {}: offsets {} to {} can't be read ({}); what follows can",
            self.segment,
            self.position,
            self.offset,
            self.until.0.saturating_sub(1),
            self.why
        )
    }
}

/// Why a [`Place`] couldn't be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Damaged(Damage),
    /// The batch at `offset` is whole, and its records can't be unpacked.
    Batch {
        offset: Offset,
        cause: BatchError,
    },
    Disk(DiskError),
}

impl From<DiskError> for ReadError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// How closely the batches in front of the wanted one are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skipping {
    /// Only that each continues the one before.
    Headers,
    /// Their checksums too.
    Checked,
}

impl<F: File> Place<F> {
    /// The batches from the one that holds `from` on: at least one, and no more than `max_bytes` otherwise. Every
    /// one is checked: checksum, and that its base offset continues the one before.
    pub(crate) fn read(self, from: Offset, max_bytes: usize) -> Result<Found, ReadError> {
        // Enough to get from an index entry to the wanted batch; the rest is read from there on.
        let mut window = Window::new(self.source.clone(), self.limit, 64 << 10);
        // Batches in front of the wanted one only lead there. If they lead astray, they are looked at closely.
        let (at, first_len) = match self.find(&mut window, from, Skipping::Headers) {
            Ok(found) => found,
            Err(ReadError::Damaged(_)) => self.find(&mut window, from, Skipping::Checked)?,
            Err(error) => return Err(error),
        };
        let bytes = window.bytes_at(at, max_bytes.max(first_len))?;
        let mut len = first_len;
        let mut next = Batch::parse(bytes).expect("it was parsed before").next_offset();
        while len < max_bytes
            && next < self.end
            && let Ok(batch) = Batch::parse(&bytes[len..])
            && len + batch.len() <= max_bytes
            && batch.check_next(next).is_ok()
        {
            len += batch.len();
            next = batch.next_offset();
        }
        let (held, range) = window.hold(at, len);
        Ok(Found { held, range, next })
    }

    /// Where the batch that holds `offset` starts: its position and its first offset.
    pub(crate) fn boundary(self, offset: Offset) -> Result<(u64, Offset), ReadError> {
        let mut window = Window::new(self.source.clone(), self.limit, 64 << 10);
        let (at, _) = self.find(&mut window, offset, Skipping::Headers)?;
        let batch = window.batch_at(at)?.expect("it was parsed before");
        Ok((at, batch.base_offset()))
    }

    /// Position and length of the batch that holds `from`, which is whole.
    fn find(
        &self,
        window: &mut Window<F>,
        from: Offset,
        skipping: Skipping,
    ) -> Result<(u64, usize), ReadError> {
        let checked = |batch: &Batch<'_>, expected: Offset| match skipping {
            Skipping::Headers if batch.last_offset() < from => batch.check_base_offset(expected),
            Skipping::Headers | Skipping::Checked => batch.check_next(expected),
        };
        let start = self.confirmed_hint(window, |b| checked(b, b.base_offset()))?;
        let (mut at, mut expected) = start.unwrap_or((0, self.base));
        loop {
            let why = match window.batch_at(at)?.and_then(|b| checked(&b, expected).map(|()| b)) {
                Ok(batch) if batch.last_offset() >= from => return Ok((at, batch.len())),
                Ok(batch) => {
                    at += batch.len() as u64;
                    expected = batch.next_offset();
                    continue;
                }
                Err(why) => why,
            };
            let resumed = match skipping {
                Skipping::Headers => None,
                Skipping::Checked => {
                    let hint = declared_end(window, at)?;
                    window.resume_after(at, expected.plus(1), self.end, hint)?
                }
            };
            let until = resumed.map_or(self.end, |(_, offset)| offset);
            match resumed {
                Some(resumed) if from >= until => (at, expected) = resumed,
                _ => {
                    let (segment, position, offset) = (self.path.clone(), at, expected);
                    return Err(ReadError::Damaged(Damage { segment, position, offset, until, why }));
                }
            }
        }
    }
}

impl<F: File> Place<F> {
    /// The place that the index says to begin at, if the batch there confirms it and passes `check`.
    pub(super) fn confirmed_hint(
        &self,
        window: &mut Window<F>,
        check: impl FnOnce(&Batch<'_>) -> Result<(), BatchError>,
    ) -> Result<Option<(u64, Offset)>, DiskError> {
        let Some(hint) = self.hint else { return Ok(None) };
        // The index has no checksum: the batch has to confirm what the entry says.
        let position = u64::from(hint.position);
        let last = self.base.plus(u64::from(hint.relative_offset));
        Ok(match window.batch_at(position)? {
            Ok(batch)
                if batch.last_offset() == last
                    && batch.base_offset() >= self.base
                    && check(&batch).is_ok() =>
            {
                Some((position, batch.base_offset()))
            }
            _ => None,
        })
    }
}

/// Where the batch at `at` says that it ends: the best guess at where the next one starts.
pub(crate) fn declared_end<F: File>(window: &mut Window<F>, at: u64) -> Result<Option<u64>, DiskError> {
    let bytes = window.bytes_at(at, BATCH_HEADER_LEN)?;
    let Some(field) = bytes.get(8..LENGTH_PREFIX) else { return Ok(None) };
    let length = i32::from_be_bytes(field.try_into().expect("four bytes"));
    Ok(u64::try_from(length).ok().map(|n| at + LENGTH_PREFIX as u64 + n))
}
