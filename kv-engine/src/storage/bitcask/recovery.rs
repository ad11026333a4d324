//! Opening: the key directory is built from the segments, and the end of the active one is found.
//!
//! Two recoveries in a row find the same, also if the first one was cut short: whatever it changes, it changes to
//! what it has already decided, and makes that durable before anything is built on it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};

use engine_env::marks::reached;
use engine_env::{Disk, DiskError, DiskErrorKind, File, OneWorker, Op, OpenHow, Workers, WriteSync, sync};

use super::feeds::Feeds;
use super::hint::{self, HintError};
use super::maintenance::{Maintenance, create_segment, zero_fill};
use super::mark::{DurableEnd, Found, MarkFile};
use super::record::{At, DamageKind};
use super::replay::{Kept, Opened, Replayed, Rules, replay};
use super::scan::{Direct, Parsed, View, parse_at};
use super::segment::{self, HEADER_LEN, Header, Named, Origin, Segment, SegmentHeaderError};
use super::stats::Counters;
use super::writer::Writer;
use super::{Bitcask, folder, planted};
use crate::config::KvConfig;
use crate::storage::OpenError;

/// To see whether a record stands at a segment's beginning, this much is read, or the record if that is longer.
const FIRST_RECORD_BYTES: u64 = 64 << 10;
/// More writes than a store takes between two openings.
const UNSYNCED_WRITES_MAX: u64 = 1 << 32;

/// What opening a store found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Segment files read.
    pub segments: u64,
    /// Valid records in them, dead ones included.
    pub records: u64,
    /// Bytes read.
    pub bytes_scanned: u64,
    /// Where an unfinished write was cut off. Normal after a crash; nothing that was acknowledged in `synced` lies
    /// there.
    pub tail_truncated: Option<TailTruncated>,
    /// Segments of which only the hint file was read.
    pub hinted: u64,
    /// Hint files that weren't taken; their segments were read instead. Normal after a crash.
    pub hints_refused: Vec<HintRefused>,
    /// What is damaged: records that were durable and are not what was written. Everything else is served.
    pub damage: Vec<Damage>,
}

/// The end of the log after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailTruncated {
    /// The segment's path below the store's folder.
    pub file: String,
    /// Where its records end now, in bytes.
    pub position: u64,
    /// How many bytes behind that were dropped.
    pub bytes: u64,
}

/// A hint file that wasn't taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintRefused {
    /// The file's path below the store's folder.
    pub file: String,
    /// What doesn't fit.
    pub why: HintError,
}

/// A damaged stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's path below the store's folder.
    pub file: String,
    /// Its first byte.
    pub position: u64,
    /// Bytes up to the next valid record or the end.
    pub bytes: u64,
    /// What doesn't fit.
    pub why: DamageKind,
}

impl<F: File> Bitcask<F> {
    /// Opens the store in `disk`'s folder, creating it if the folder is empty.
    ///
    /// # Errors
    /// A setting is out of range, the folder isn't a store of this version, or the disk failed. Damage is no error:
    /// the report lists it.
    pub fn open<D: Disk<File = F>>(
        disk: &mut D,
        config: KvConfig,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_with(disk, config, &OneWorker)
    }

    /// [`Bitcask::open`], with `workers` to read segments and fill the key directory.
    ///
    /// # Errors
    /// As for [`Bitcask::open`].
    pub fn open_with<D: Disk<File = F>>(
        disk: &mut D,
        config: KvConfig,
        workers: &dyn Workers,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        config.validate()?;
        folder::check_or_create(disk)?;
        let (mut mark, found) = MarkFile::open(disk)?;
        let trusted = match found {
            Found::Mark(end) => end,
            Found::Fresh | Found::Unreadable => DurableEnd::NONE,
        };
        let Files { segments: files, mut gone, mut next_segment } = open_files(disk)?;
        let mut report = RecoveryReport::default();
        check_mark(found, &files, &mut report);

        // Whatever was being written when the machine stopped lies in the last segment that has records, or in an
        // empty one behind it.
        let written = files.iter().filter(|f| f.origin == Origin::Written);
        let last = written.filter(|f| f.has_records).map(|f| f.id).max().unwrap_or(0).max(trusted.segment);
        let seen = files.iter().filter_map(|file| Some(file.header.as_ref().ok()?.live_as_of)).max();
        let is_behind = |file: &Opened<F>| file.origin == Origin::Written && file.id > last;
        let (behind, files): (Vec<_>, Vec<_>) = files.into_iter().partition(is_behind);
        gone.extend(behind.iter().map(|file| segment::name(file.origin, file.id)));
        let rules = Rules {
            mark: trusted,
            last,
            shards: config.shards,
            verify: !planted!(config, ChecksumIgnored),
            last_byte: u64::from(planted!(config, ScanOffByOne)),
            believe_hints: planted!(config, HintBelieved),
        };
        let Replayed { keydir, kept, next_sequence } = replay(files, &rules, workers, &mut report)?;
        let mut next_sequence = next_sequence.max(seen.unwrap_or(0));
        if next_sequence > 1 && !matches!(found, Found::Mark(_)) {
            // Nobody knows any more which deletes were merged away.
            mark.set_deletes_from(next_sequence);
        }
        // A position of a feed, once told, must not come again. The last opening may have told the end that it found in
        // the header of a segment that is gone by now.
        next_sequence = next_sequence.max(mark.sequence_from());
        // And without a sync before it was seen, a write may have been seen and be lost.
        if kept.iter().any(|k| k.segment.id == last && !k.header.synced) {
            next_sequence = next_sequence.saturating_add(UNSYNCED_WRITES_MAX);
        }
        mark.set_sequence_from(next_sequence);
        let next_sequence = if planted!(config, SequenceReused) { 1 } else { next_sequence };
        let vouched = if planted!(config, TailTrusted) { DurableEnd::EVERYTHING } else { trusted };

        let active = kept.iter().position(|k| k.segment.id == last && k.can_go_on(&config));
        for (i, one) in kept.iter().enumerate() {
            one.settle(disk, vouched, Some(i) == active)?;
        }
        for path in gone {
            reached("kv unfinished segment removed");
            disk.run(Op::Remove { path })?;
        }
        // Before anything is written: what was cut or removed mustn't come back under it.
        folder::sync_dir(disk)?;

        let mut unhinted = VecDeque::new();
        for (_, one) in kept.iter().enumerate().filter(|(i, _)| Some(*i) != active) {
            one.segment.seal();
            if !one.hinted {
                unhinted.push_back(Arc::clone(&one.segment));
            }
        }
        let mut no_space = None;
        let active = match active {
            Some(i) => Arc::clone(&kept[i].segment),
            None => {
                let id = next_segment;
                next_segment += 1;
                let segment = create_segment(disk, &config, id, next_sequence)?;
                keydir.add_segment(&segment);
                segment
            }
        };
        if config.zero_fills() && active.allocated() < config.segment_bytes {
            no_space = fill_ahead(disk, &active, config.segment_bytes)?;
        }
        let end = DurableEnd { segment: active.id, position: active.end() };
        mark.note_synced(disk, end)?;
        let deletes_from = mark.deletes_from();
        let mut writer = Writer::new(active, next_sequence, end);
        writer.no_space = no_space;
        let store = Self {
            keydir,
            writer: sync::Mutex::new(writer),
            mark: Mutex::new(mark),
            maintenance: Mutex::new(Maintenance::default()),
            next_segment: AtomicU32::new(next_segment),
            next_snapshot: AtomicU64::new(0),
            expired_before_ms: AtomicI64::new(i64::MIN),
            unhinted: Mutex::new(unhinted),
            feeds: Arc::new(Feeds::new(next_sequence, deletes_from)),
            counters: Counters::default(),
            freed_by_deletes: AtomicU64::new(0),
            overgrown: AtomicBool::new(false),
            merges_stopped: AtomicBool::new(false),
            commit_bell: OnceLock::new(),
            maintenance_bell: OnceLock::new(),
            config,
        };
        Ok((store, report))
    }
}

/// The store's files as opening finds them.
struct Files<F> {
    /// In the order of their ids.
    segments: Vec<Opened<F>>,
    /// Names that lead to nothing that is kept: segments that weren't finished, hints of segments that are gone.
    gone: Vec<String>,
    /// The first id that no file has.
    next_segment: u32,
}

fn open_files<D: Disk>(disk: &mut D) -> Result<Files<D::File>, DiskError> {
    let mut files = Files { segments: Vec::new(), gone: Vec::new(), next_segment: 1 };
    let entries = disk.list("")?;
    let is_there = |name: &str| entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).is_ok();
    for entry in &entries {
        if hint::subject_name(&entry.name).is_some_and(|subject| !is_there(&subject)) {
            files.gone.push(entry.name.clone());
        }
        let Some(Named { origin, id, finished }) = segment::parse_name(&entry.name) else { continue };
        files.next_segment = files.next_segment.max(id.saturating_add(1));
        if !finished {
            files.gone.push(entry.name.clone());
            continue;
        }
        let (file, len) = disk.open(&entry.name, OpenHow::Existing)?;
        let first = disk.read(&file, 0, HEADER_LEN)?;
        let header = Header::decode(&first).and_then(|header| match header.id {
            found if found == id => Ok(header),
            found => Err(SegmentHeaderError::OtherSegment { found, expected: id }),
        });
        let mut view = View::default();
        let mut source = Direct::new(&file, len, FIRST_RECORD_BYTES, &mut view);
        let at = At { segment: id, position: HEADER_LEN as u64 };
        let has_records = matches!(parse_at(&mut source, at)?, Parsed::Record(r) if r.damage.is_none());
        let hint = hint::name_of(&entry.name);
        // A hint that can't be opened is none.
        let hint = if is_there(&hint) { disk.open(&hint, OpenHow::Existing).ok() } else { None };
        files.segments.push(Opened { origin, id, file, len, header, has_records, hint });
    }
    files.segments.sort_by_key(|f| f.id);
    Ok(files)
}

/// Damage at the mark itself.
fn check_mark<F>(found: Found, files: &[Opened<F>], report: &mut RecoveryReport) {
    let (file, why) = match found {
        Found::Unreadable if files.iter().any(|f| f.has_records) => ("mark".to_owned(), DamageKind::NoRecord),
        Found::Mark(end) if !files.iter().any(|f| f.origin == Origin::Written && f.id == end.segment) => {
            let why = DamageKind::TooShort { len: 0, durable: end.position };
            (segment::name(Origin::Written, end.segment), why)
        }
        Found::Fresh | Found::Unreadable | Found::Mark(_) => return,
    };
    reached("kv damage found at opening");
    report.damage.push(Damage { file, position: 0, bytes: 0, why });
}

/// Zeros ahead of the active segment's end. A full disk is no reason not to open: reads go on.
fn fill_ahead<D: Disk>(
    disk: &mut D,
    active: &Segment<D::File>,
    to: u64,
) -> Result<Option<DiskError>, DiskError> {
    match zero_fill(disk, &active.file, active.allocated(), to) {
        Ok(()) => {
            disk.run(Op::Sync { file: active.file.clone() })?;
            active.set_allocated(to);
            Ok(None)
        }
        Err(error) if error.kind == DiskErrorKind::NoSpace => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

impl<F: File> Kept<F> {
    /// Whether the next record can go behind this segment's last one.
    fn can_go_on(&self, config: &KvConfig) -> bool {
        self.segment.origin == Origin::Written
            && !self.segment.is_damaged()
            && self.segment.end() < config.segment_bytes
            && self.header.synced == config.zero_fills()
    }

    /// Makes what was found true on the disk too, as far as the mark doesn't vouch for it.
    fn settle<D: Disk<File = F>>(
        &self,
        disk: &mut D,
        trusted: DurableEnd,
        active: bool,
    ) -> Result<(), DiskError> {
        let segment = &self.segment;
        let (file, end) = (&segment.file, segment.end());
        let unproven = segment.origin == Origin::Written && segment.id >= trusted.segment;
        if unproven {
            // After a failed sync the page cache may show bytes that are on no disk. Written anew, they are.
            let proven = if segment.id == trusted.segment { trusted.position } else { HEADER_LEN as u64 };
            rewrite(disk, file, proven, end)?;
        }
        if segment.allocated() > end && (self.torn || !active) {
            disk.run(Op::Truncate { file: file.clone(), len: end })?;
            segment.set_allocated(end);
        }
        if unproven {
            disk.run(Op::Sync { file: file.clone() })?;
        }
        Ok(())
    }
}

fn rewrite<D: Disk>(disk: &mut D, file: &D::File, mut at: u64, end: u64) -> Result<(), DiskError> {
    const PIECE_BYTES: u64 = 1 << 20;
    while at < end {
        let len = usize::try_from((end - at).min(PIECE_BYTES)).expect("at most 1 MiB");
        let buf = disk.read(file, at, len)?;
        if buf.is_empty() {
            return Ok(());
        }
        let len = buf.len() as u64;
        disk.run(Op::Write { file: file.clone(), at, buf, sync: WriteSync::None })?;
        at += len;
    }
    Ok(())
}
