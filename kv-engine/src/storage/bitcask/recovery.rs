//! Opening: the key directory is built from the segments, and the end of the active one is found.
//!
//! Two recoveries in a row find the same, also if the first one was cut short: whatever it changes, it changes to
//! what it has already decided, and makes that durable before anything is built on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, OnceLock};

use engine_env::marks::reached;
use engine_env::{Disk, DiskError, DiskErrorKind, File, Op, OpenHow, WriteSync};

use super::feeds::Feeds;
use super::keydir::{Keydir, Place};
use super::maintenance::{Maintenance, create_segment, zero_fill};
use super::mark::{DurableEnd, Found, MarkFile};
use super::record::{At, DamageKind, RecordKind, RecordView};
use super::scan::{Parsed, Window, parse_at, resynchronise, zeros_from};
use super::segment::{self, HEADER_LEN, Header, Named, Origin, Segment, SegmentHeaderError};
use super::stats::Counters;
use super::writer::Writer;
use super::{Bitcask, folder, planted};
use crate::config::KvConfig;
use crate::hash::KeyHasher;
use crate::storage::OpenError;
use crate::version::{Occurred, VectorClock};

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

/// A segment file as opening sees it.
struct Opened<F> {
    origin: Origin,
    id: u32,
    file: F,
    len: u64,
    header: Result<Header, SegmentHeaderError>,
    /// Whether a valid record stands at its beginning.
    has_records: bool,
}

/// Deletes by key, needed only while records come out of order.
type Tombstones = HashMap<Box<[u8]>, Vec<(VectorClock, u64)>, KeyHasher>;

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
        config.validate()?;
        folder::check_or_create(disk)?;
        let (mut mark, found) = MarkFile::open(disk)?;
        let trusted = match found {
            Found::Mark(end) => end,
            Found::Fresh | Found::Unreadable => DurableEnd::NONE,
        };
        let Files { segments: files, unfinished, mut next_segment } = open_files(disk)?;
        let mut rebuild = Rebuild::new(&config);
        rebuild.check_mark(found, &files);

        // Whatever was being written when the machine stopped lies in the last segment that has records, or in an
        // empty one behind it.
        let written = files.iter().filter(|f| f.origin == Origin::Written);
        let last = written.filter(|f| f.has_records).map(|f| f.id).max().unwrap_or(0).max(trusted.segment);
        let mut kept = Vec::new();
        let mut gone = unfinished;
        for file in files {
            if let Ok(header) = &file.header {
                rebuild.next_sequence = rebuild.next_sequence.max(header.live_as_of);
            }
            if file.origin == Origin::Written && file.id > last {
                gone.push(segment::name(file.origin, file.id));
            } else {
                kept.push(rebuild.take_segment(disk, file, trusted, last)?);
            }
        }
        let Rebuild { keydir, mut next_sequence, report, .. } = rebuild;
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
            writer: Mutex::new(writer),
            mark: Mutex::new(mark),
            maintenance: Mutex::new(Maintenance::default()),
            next_segment: AtomicU32::new(next_segment),
            feeds: Arc::new(Feeds::new(next_sequence, deletes_from)),
            counters: Counters::default(),
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
    /// Names of segments that weren't finished.
    unfinished: Vec<String>,
    /// The first id that no file has.
    next_segment: u32,
}

fn open_files<D: Disk>(disk: &mut D) -> Result<Files<D::File>, DiskError> {
    let mut files = Files { segments: Vec::new(), unfinished: Vec::new(), next_segment: 1 };
    for entry in disk.list("")? {
        let Some(Named { origin, id, finished }) = segment::parse_name(&entry.name) else { continue };
        files.next_segment = files.next_segment.max(id.saturating_add(1));
        if !finished {
            files.unfinished.push(entry.name);
            continue;
        }
        let (file, len) = disk.open(&entry.name, OpenHow::Existing)?;
        let first = disk.read(&file, 0, HEADER_LEN)?;
        let header = Header::decode(&first).and_then(|header| match header.id {
            found if found == id => Ok(header),
            found => Err(SegmentHeaderError::OtherSegment { found, expected: id }),
        });
        let mut window = Window::new(disk, file.clone(), len);
        let at = At { segment: id, position: HEADER_LEN as u64 };
        let has_records = matches!(parse_at(&mut window, at)?, Parsed::Record(r) if r.damage.is_none());
        files.segments.push(Opened { origin, id, file, len, header, has_records });
    }
    files.segments.sort_by_key(|f| f.id);
    Ok(files)
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

/// A segment as recovery leaves it.
struct Kept<F> {
    segment: Arc<Segment<F>>,
    header: Header,
    /// Bytes of an unfinished write lie behind the last record.
    torn: bool,
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

/// What is built while the segments are read.
struct Rebuild<F> {
    keydir: Keydir<F>,
    tombstones: Tombstones,
    next_sequence: u64,
    report: RecoveryReport,
    verify: bool,
    /// How far before a file's end its last record must end: 0, unless that bug is planted.
    last_byte: u64,
}

impl<F: File> Rebuild<F> {
    fn new(config: &KvConfig) -> Self {
        let verify = !planted!(config, ChecksumIgnored);
        Self {
            keydir: Keydir::new(config.shards),
            tombstones: Tombstones::default(),
            next_sequence: 1,
            report: RecoveryReport::default(),
            verify,
            last_byte: u64::from(planted!(config, ScanOffByOne)),
        }
    }

    fn damage(&mut self, file: String, position: u64, bytes: u64, why: DamageKind) {
        reached("kv damage found at opening");
        self.report.damage.push(Damage { file, position, bytes, why });
    }

    fn check_mark(&mut self, found: Found, files: &[Opened<F>]) {
        match found {
            Found::Fresh => {}
            Found::Unreadable => {
                if files.iter().any(|f| f.has_records) {
                    self.damage("mark".to_owned(), 0, 0, DamageKind::NoRecord);
                }
            }
            Found::Mark(end) => {
                if !files.iter().any(|f| f.origin == Origin::Written && f.id == end.segment) {
                    let why = DamageKind::TooShort { len: 0, durable: end.position };
                    self.damage(segment::name(Origin::Written, end.segment), 0, 0, why);
                }
            }
        }
    }

    /// Reads a segment to its end.
    fn take_segment<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        opened: Opened<F>,
        mark: DurableEnd,
        last: u32,
    ) -> Result<Kept<F>, DiskError> {
        let Opened { origin, id, file, len, header, .. } = opened;
        let name = segment::name(origin, id);
        let header_damage = header.as_ref().err().map(ToString::to_string);
        let header = header.unwrap_or(Header { id, synced: true, origin, live_as_of: 0 });
        // Up to here a bad record is damage; from here on the first one is the end.
        let trusted_until = if origin == Origin::Merged || id < mark.segment || (id < last && header.synced) {
            // Merged: it got its name when it was durable. Synced and not the last: the records of the next
            // segment were written only after all of this one's were durable.
            u64::MAX
        } else if id == mark.segment {
            mark.position
        } else {
            HEADER_LEN as u64
        };
        // Cut to its last record before the mark moved past it, or written to its length: zeros at the end are a lost write.
        let finished = origin == Origin::Merged || id < mark.segment;
        let segment =
            Arc::new(Segment::new(Header { origin, ..header }, file.clone(), HEADER_LEN as u64, len));
        self.keydir.add_segment(&segment);
        if let Some(why) = header_damage {
            segment.mark_damaged();
            self.damage(name.clone(), 0, HEADER_LEN as u64, DamageKind::Header { why });
        }
        let mut window = Window::new(disk, file, len);
        let mut position = HEADER_LEN as u64;
        let mut torn = false;
        loop {
            let below = position < trusted_until;
            let why = match parse_at(&mut window, At { segment: id, position })? {
                Parsed::Record(record)
                    if (record.damage.is_none() || below || !self.verify)
                        && position + record.len + self.last_byte <= len =>
                {
                    if let Some(why) = record.damage.clone().filter(|_| self.verify) {
                        segment.mark_damaged();
                        self.damage(name.clone(), position, record.len, why);
                    }
                    self.take_record(&segment, &record);
                    position += record.len;
                    continue;
                }
                Parsed::Record(record) => record.damage.unwrap_or(DamageKind::NoRecord),
                Parsed::Bad(why) => why,
                Parsed::Unwritten => DamageKind::NoRecord,
                Parsed::End => {
                    if below && trusted_until != u64::MAX {
                        segment.mark_damaged();
                        let why = DamageKind::TooShort { len, durable: trusted_until };
                        self.damage(name.clone(), position, trusted_until - position, why);
                    }
                    break;
                }
            };
            if !below || trusted_until == u64::MAX {
                let zeros = zeros_from(&mut window, position)?;
                if (zeros && !finished) || !below {
                    torn = !zeros;
                    break;
                }
            }
            let until = trusted_until.min(len);
            let next = resynchronise(&mut window, id, position + 1, until)?.unwrap_or(until);
            segment.mark_damaged();
            self.damage(name.clone(), position, next - position, why);
            position = next;
        }
        segment.set_end(position);
        self.report.segments += 1;
        self.report.bytes_scanned += window.bytes_read();
        if torn {
            reached("kv torn tail cut");
            self.report.tail_truncated = Some(TailTruncated { file: name, position, bytes: len - position });
        }
        Ok(Kept { segment, header, torn })
    }

    fn take_record(&mut self, segment: &Segment<F>, record: &RecordView<'_>) {
        self.report.records += 1;
        segment.note_sequence(record.sequence);
        self.next_sequence = self.next_sequence.max(record.sequence.saturating_add(1));
        match record.kind {
            RecordKind::Tombstone => {
                segment.count_tombstone(record.len, record.sequence);
                self.keydir.write(record.key).recover_tombstone(record.key, &record.clock, record.sequence);
                self.tombstones
                    .entry(record.key.into())
                    .or_default()
                    .push((record.clock.clone(), record.sequence));
            }
            RecordKind::Put => {
                let deleted = self.tombstones.get(record.key).is_some_and(|all| {
                    all.iter().any(|(version, sequence)| {
                        *sequence > record.sequence && record.clock.compare(version) == Occurred::Before
                    })
                });
                let place = Place {
                    clock: record.clock.clone(),
                    sequence: record.sequence,
                    position: record.position,
                    segment: segment.id,
                    len: u32::try_from(record.len).expect("key, clock and value are below 4 GiB together"),
                };
                let live = !deleted && self.keydir.write(record.key).recover_put(record.key, place);
                segment.count_put(record.len, live);
            }
        }
    }
}
