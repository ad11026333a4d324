//! [`Window`]: walks the batches of a segment over a map, or over a buffer that is read piece by piece.

use engine_env::{DiskError, File, ReadHow, ReadNow, SealedBytes};

use crate::Offset;
use crate::record::batch::{BATCH_HEADER_LEN, Batch, BatchError};

/// Where a segment's bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Source<F> {
    /// A sealed segment.
    Mapped(SealedBytes),
    /// A file that still grows, or was not mapped.
    File(F),
}

/// A place in a segment, whose bytes can be looked at up to `limit`.
#[derive(Debug)]
pub(crate) struct Window<F> {
    source: Source<F>,
    limit: u64,
    start: u64,
    buf: Vec<u8>,
    read_ahead: usize,
}

/// Bytes of whole batches that outlive the window.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    Mapped(SealedBytes),
    Owned(Vec<u8>),
}

impl<F: File> Window<F> {
    /// Batches below `limit`. A file is read at least `read_ahead` bytes at a time.
    pub(crate) fn new(source: Source<F>, limit: u64, read_ahead: usize) -> Self {
        let limit = match &source {
            Source::Mapped(bytes) => limit.min(bytes.len() as u64),
            Source::File(_) => limit,
        };
        Self { source, limit, start: 0, buf: Vec::new(), read_ahead: read_ahead.max(4096) }
    }

    /// The bytes from `at` up to the limit, at least `want` of them unless the limit comes first.
    pub(crate) fn bytes_at(&mut self, at: u64, want: usize) -> Result<&[u8], DiskError> {
        let at = at.min(self.limit);
        match &self.source {
            Source::Mapped(bytes) => Ok(&bytes[to_usize(at)..to_usize(self.limit)]),
            Source::File(file) => {
                let want = (want as u64).min(self.limit - at);
                let have_end = self.start + self.buf.len() as u64;
                if at < self.start || at + want > have_end {
                    let len = want.max((self.read_ahead as u64).min(self.limit - at));
                    // What is there already is kept: no byte is read twice on the way forward.
                    let kept = if (self.start..have_end).contains(&at) {
                        self.buf.drain(..to_usize(at - self.start));
                        self.buf.len()
                    } else {
                        0
                    };
                    self.buf.resize(to_usize(len), 0);
                    self.start = at;
                    let from = at + kept as u64;
                    let read = match file.read_now(from, &mut self.buf[kept..], ReadHow::MayBlock) {
                        Ok(ReadNow::Read(n)) => n,
                        Ok(ReadNow::NotCached) => unreachable!("a read that may block never says so"),
                        Err(error) => {
                            self.buf.clear();
                            return Err(error);
                        }
                    };
                    self.buf.truncate(kept + read);
                }
                Ok(&self.buf[to_usize(at - self.start).min(self.buf.len())..])
            }
        }
    }

    /// The batch at `at`. Its checksum has not been looked at.
    #[inline]
    pub(crate) fn batch_at(&mut self, at: u64) -> Result<Result<Batch<'_>, BatchError>, DiskError> {
        let limit = self.limit;
        let needed = match Batch::parse(self.bytes_at(at, BATCH_HEADER_LEN)?) {
            // Only a length that ends below the limit is worth reading: nothing is allocated on a lie's word.
            Err(BatchError::Incomplete { needed, .. }) if at.saturating_add(needed) <= limit => {
                to_usize(needed)
            }
            _ => BATCH_HEADER_LEN,
        };
        Ok(Batch::parse(self.bytes_at(at, needed)?))
    }

    /// The next whole batch behind `at` whose base offset lies in `from..until`: where readable data goes on
    /// behind a damaged place. `hint` is a position to try first.
    pub(crate) fn resume_after(
        &mut self,
        at: u64,
        from: Offset,
        until: Offset,
        hint: Option<u64>,
    ) -> Result<Option<(u64, Offset)>, DiskError> {
        let fits = |window: &mut Self, at: u64| -> Result<Option<(u64, Offset)>, DiskError> {
            Ok(window
                .batch_at(at)?
                .ok()
                .filter(|b| {
                    u64::try_from(b.base_offset_field()).is_ok_and(|o| (from.0..until.0).contains(&o))
                        && b.check_crc().is_ok()
                })
                .map(|b| (at, b.base_offset())))
        };
        if let Some(hint) = hint.filter(|&h| h > at)
            && let Some(found) = fits(self, hint)?
        {
            return Ok(Some(found));
        }
        let mut at = at + 1;
        while at + BATCH_HEADER_LEN as u64 <= self.limit {
            // Magic is the cheapest thing to look at; most places fail there.
            let bytes = self.bytes_at(at, BATCH_HEADER_LEN)?;
            if bytes.len() < BATCH_HEADER_LEN {
                break;
            }
            let skip = memchr_magic(bytes);
            if skip > 0 {
                at += skip as u64;
                continue;
            }
            if let Some(found) = fits(self, at)? {
                return Ok(Some(found));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Hands out `len` bytes at `at`, which have been looked at.
    pub(crate) fn hold(self, at: u64, len: usize) -> (Held, std::ops::Range<usize>) {
        match self.source {
            Source::Mapped(bytes) => (Held::Mapped(bytes), to_usize(at)..to_usize(at) + len),
            Source::File(_) => {
                let from = to_usize(at - self.start);
                (Held::Owned(self.buf), from..from + len)
            }
        }
    }
}

/// How far to the next place whose magic byte is 2, counted so that at least a header is left behind it.
fn memchr_magic(bytes: &[u8]) -> usize {
    const MAGIC_AT: usize = 16;
    let places = bytes.len() - BATCH_HEADER_LEN + 1;
    bytes[MAGIC_AT..MAGIC_AT + places].iter().position(|&b| b == 2).unwrap_or(places)
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("a position within a segment fits the address space")
}
