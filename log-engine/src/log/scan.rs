//! [`scan`]: what a segment's batches say, read one after the other. Needs no disk, only the file, so several segments may
//! be read at a time.

use engine_env::marks::reached;
use engine_env::{DiskError, File};

use crate::config::planted;
use crate::record::batch::{Batch, BatchError};
use crate::segment::index_builder::{IndexBuilder, Indexed};
use crate::segment::segment::{Damage, declared_end};
use crate::segment::window::{Source, Window};
use crate::{LogConfig, NO_TIMESTAMP, Offset};

/// How much is read at once.
pub(super) const PIECE: usize = 1 << 20;

/// Up to where a segment is known to have been durable.
#[derive(Debug, Clone, Copy)]
pub(super) enum Durable {
    /// Not at all.
    Nothing,
    /// Up to this place.
    UpTo { position: u64, offset: Offset },
    /// All of it, up to the offset at which the next segment starts.
    Whole { next: Offset },
}

impl Durable {
    /// The offset below which a bad batch is damage.
    fn offset(self) -> Offset {
        match self {
            Self::Nothing => Offset(0),
            Self::UpTo { offset, .. } => offset,
            Self::Whole { next } => next,
        }
    }
}

/// What a scan of a segment found.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where good batches end.
    pub(super) position: u64,
    pub(super) end: Offset,
    pub(super) index: IndexBuilder,
    pub(super) newest_ms: i64,
    pub(super) stopped_by: Option<BatchError>,
    /// Batches that are whole.
    pub(super) batches: u64,
    pub(super) damage: Vec<Damage>,
}

/// Reads the batches of the segment at `path` that starts at `base`. Bad ones below what was durable are damage, the first
/// other one ends the scan.
pub(super) fn scan<F: File>(
    config: &LogConfig,
    file: &F,
    path: &str,
    base: Offset,
    len: u64,
    durable: Durable,
) -> Result<Scan, DiskError> {
    let mut window = Window::new(Source::File(file.clone()), len, PIECE);
    let mut index = IndexBuilder::new(config.index_interval_bytes);
    let (mut at, mut expected, mut newest_ms) = (0, base, NO_TIMESTAMP);
    let (mut batches, mut damage) = (0, Vec::new());
    let stopped_by = loop {
        if at >= len && expected >= durable.offset() {
            break None;
        }
        let why = match window.batch_at(at)?.and_then(|b| check(config, b, expected)) {
            Ok(batch) if planted!(config, ScanOffByOne) && at + batch.len() as u64 == len => BatchError::Zero,
            Ok(batch) => {
                let batch_len = batch.len() as u64;
                batches += 1;
                newest_ms = newest_ms.max(batch.max_timestamp_ms());
                index.add(Indexed {
                    last_relative_offset: batch.last_offset().0 - base.0,
                    position: at,
                    len: batch_len,
                    max_timestamp_ms: batch.max_timestamp_ms(),
                });
                expected = batch.next_offset();
                at += batch_len;
                continue;
            }
            Err(why) => why,
        };
        if expected >= durable.offset() || planted!(config, DamageCutAway) {
            break Some(why);
        }
        let hint = declared_end(&mut window, at)?;
        let resumed = window.resume_after(at, expected.plus(1), durable.offset(), hint)?;
        let (next_at, next) = resumed.unwrap_or(match durable {
            Durable::UpTo { position, offset } => (position, offset),
            Durable::Whole { next } => (len, next),
            Durable::Nothing => unreachable!("nothing lies below offset 0"),
        });
        reached("log damage found at opening");
        damage.push(Damage { segment: path.to_owned(), position: at, offset: expected, until: next, why });
        (at, expected) = (next_at, next);
    };
    Ok(Scan { position: at, end: expected, index, newest_ms, stopped_by, batches, damage })
}

fn check<'b>(config: &LogConfig, batch: Batch<'b>, expected: Offset) -> Result<Batch<'b>, BatchError> {
    let _ = config;
    if planted!(config, CrcSkipped) && batch.base_offset() == expected {
        return Ok(batch);
    }
    batch.check_next(expected).map(|()| batch)
}
