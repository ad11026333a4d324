//! Reading a segment from front to back, over a disk or over bytes in memory.

use engine_env::{Disk, DiskError, DiskErrorKind, File, ReadHow, ReadNow};

use super::record::{At, DamageKind, HEAD_LEN, Head, HeadRead, KIND_AT, RecordView};
use crate::version::VectorClock;

/// Bytes of a file, wanted in rising order.
pub(super) trait Source {
    /// Length of the file.
    fn len(&self) -> u64;
    /// The bytes from `at`; `at + len` is at most the file's length.
    fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8], DiskError>;
}

/// Bytes in memory.
pub(super) struct InMemory<'a>(pub(super) &'a [u8]);

impl Source for InMemory<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8], DiskError> {
        let at = usize::try_from(at).expect("a position within bytes in memory");
        Ok(&self.0[at..at + len])
    }
}

/// A window that moves over a file.
pub(super) struct Window<'d, D: Disk> {
    disk: &'d mut D,
    file: D::File,
    len: u64,
    view: View,
    read: u64,
}

/// The bytes that a window shows: kept by whoever reads on later.
#[derive(Debug, Default)]
pub(super) struct View {
    start: u64,
    buf: Vec<u8>,
}

impl View {
    pub(super) fn new(start: u64, buf: Vec<u8>) -> Self {
        Self { start, buf }
    }

    pub(super) fn get(&self, at: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.buf.get(from..from.checked_add(len)?)
    }
}

/// A window reads this much at a time, or a record if that is longer.
pub(super) const WINDOW_BYTES: u64 = 1 << 20;

impl<'d, D: Disk> Window<'d, D> {
    pub(super) fn new(disk: &'d mut D, file: D::File, len: u64) -> Self {
        Self::with_view(disk, file, len, View::default())
    }

    /// A window that shows already what another one of the same file did.
    pub(super) fn with_view(disk: &'d mut D, file: D::File, len: u64, view: View) -> Self {
        Self { disk, file, len, view, read: 0 }
    }

    pub(super) fn into_view(self) -> View {
        self.view
    }

    /// Bytes read from the disk so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }
}

impl<D: Disk> Source for Window<'_, D> {
    fn len(&self) -> u64 {
        self.len
    }

    fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8], DiskError> {
        if self.view.get(at, len).is_none() {
            let wanted = (len as u64).max(WINDOW_BYTES.min(self.len - at));
            let buf = self.disk.read(&self.file, at, usize::try_from(wanted).expect("fits in memory"))?;
            self.read += buf.len() as u64;
            self.view = View::new(at, buf);
        }
        // The length was taken at open and nobody shortens the file meanwhile.
        let short = || DiskError::new("read", self.file.path(), Some(at), DiskErrorKind::Os(5));
        self.view.get(at, len).ok_or_else(short)
    }
}

/// A window that is moved on the caller's thread.
pub(super) struct Direct<'a, F> {
    file: &'a F,
    len: u64,
    /// How much is read at a time, or a record if that is longer.
    piece_bytes: u64,
    view: &'a mut View,
    read: u64,
}

impl<'a, F> Direct<'a, F> {
    pub(super) fn new(file: &'a F, len: u64, piece_bytes: u64, view: &'a mut View) -> Self {
        Self { file, len, piece_bytes, view, read: 0 }
    }

    /// Bytes read from the file so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }
}

impl<F: File> Source for Direct<'_, F> {
    fn len(&self) -> u64 {
        self.len
    }

    fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8], DiskError> {
        if self.view.get(at, len).is_none() {
            let wanted = (len as u64).max(self.piece_bytes.min(self.len - at));
            let mut buf = vec![0; usize::try_from(wanted).expect("a record fits in memory")];
            match self.file.read_now(at, &mut buf, ReadHow::MayBlock)? {
                ReadNow::Read(n) => buf.truncate(n),
                ReadNow::NotCached => buf.clear(),
            }
            self.read += buf.len() as u64;
            *self.view = View::new(at, buf);
        }
        let short = || DiskError::new("read", self.file.path(), Some(at), DiskErrorKind::Os(5));
        self.view.get(at, len).ok_or_else(short)
    }
}

/// What stands at a position.
pub(super) enum Parsed<'a> {
    /// The file ends here.
    End,
    /// Zeros where a record's head would be.
    Unwritten,
    /// No valid record.
    Bad(DamageKind),
    /// A record whose head is valid; its value may not be.
    Record(RecordView<'a>),
}

/// What stands at a position, its value unseen.
pub(super) enum ParsedHead {
    /// The file ends here.
    End,
    /// Zeros where a record's head would be.
    Unwritten,
    /// No valid record.
    Bad(DamageKind),
    /// A valid head, and the clock.
    Head(Head, VectorClock),
}

/// Reads what stands at `at` up to the value, which lies within the file but isn't looked at.
pub(super) fn parse_head_at<S: Source>(source: &mut S, at: At) -> Result<ParsedHead, DiskError> {
    let left = source.len().saturating_sub(at.position);
    if left == 0 {
        return Ok(ParsedHead::End);
    }
    if left < HEAD_LEN as u64 {
        let rest = source.bytes(at.position, usize::try_from(left).expect("fewer than a head's bytes"))?;
        let unwritten = rest.iter().all(|b| *b == 0);
        return Ok(if unwritten { ParsedHead::Unwritten } else { ParsedHead::Bad(DamageKind::NoRecord) });
    }
    let fixed = source.bytes(at.position, HEAD_LEN)?.try_into().expect("asked for that many");
    let head = match Head::read(fixed) {
        HeadRead::Unwritten => return Ok(ParsedHead::Unwritten),
        HeadRead::Implausible => return Ok(ParsedHead::Bad(DamageKind::NoRecord)),
        HeadRead::Plausible(head) => head,
    };
    if head.record_len() > left {
        return Ok(ParsedHead::Bad(DamageKind::BeyondEnd { len: head.record_len(), left }));
    }
    // The head is verified before the value is fetched: a wild length costs nothing.
    Ok(match head.verify(source.bytes(at.position, head.covered_len())?, at) {
        Ok(clock) => ParsedHead::Head(head, clock),
        Err(why) => ParsedHead::Bad(why),
    })
}

/// Reads what stands at `at`.
pub(super) fn parse_at<S: Source>(source: &mut S, at: At) -> Result<Parsed<'_>, DiskError> {
    let (head, clock) = match parse_head_at(source, at)? {
        ParsedHead::End => return Ok(Parsed::End),
        ParsedHead::Unwritten => return Ok(Parsed::Unwritten),
        ParsedHead::Bad(why) => return Ok(Parsed::Bad(why)),
        ParsedHead::Head(head, clock) => (head, clock),
    };
    let len = usize::try_from(head.record_len()).expect("at most the file's length");
    Ok(Parsed::Record(head.view(source.bytes(at.position, len)?, clock, at.position)))
}

/// The sequence of the record at `at`, not verified; none if no record can begin there.
pub(super) fn sequence_at<S: Source>(source: &mut S, at: u64) -> Result<Option<u64>, DiskError> {
    if source.len().saturating_sub(at) < HEAD_LEN as u64 {
        return Ok(None);
    }
    let fixed = source.bytes(at, HEAD_LEN)?.try_into().expect("asked for that many");
    Ok(match Head::read(fixed) {
        HeadRead::Plausible(head) => Some(head.sequence),
        HeadRead::Unwritten | HeadRead::Implausible => None,
    })
}

/// The first position in `from..until` where a record's head is valid. Sound because a head is bound to its place:
/// nothing in a value can look like one.
pub(super) fn resynchronise<S: Source>(
    source: &mut S,
    segment: u32,
    from: u64,
    until: u64,
) -> Result<Option<u64>, DiskError> {
    let until = until.min(source.len().saturating_sub(HEAD_LEN as u64 - 1));
    for position in from..until {
        let kind = source.bytes(position, HEAD_LEN)?[KIND_AT];
        if (kind == 1 || kind == 2)
            && matches!(parse_at(source, At { segment, position })?, Parsed::Record(_))
        {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

/// Whether there are only zeros from `at` to the end.
pub(super) fn zeros_from<S: Source>(source: &mut S, mut at: u64) -> Result<bool, DiskError> {
    while at < source.len() {
        let len = (source.len() - at).min(64 * 1024);
        if source.bytes(at, usize::try_from(len).expect("at most 64 KiB"))?.iter().any(|b| *b != 0) {
            return Ok(false);
        }
        at += len;
    }
    Ok(true)
}
