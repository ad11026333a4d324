//! Replaying: what the segments say is read, several at a time, and then taken into the key directory, several shards
//! at a time.
//!
//! Within a shard records are taken in the order of segments and positions, whoever does it: so what is found doesn't
//! depend on how many workers there are, or which of them is first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use engine_env::marks::reached;
use engine_env::{DiskError, File, ReadHow, ReadNow, Workers};

use super::entry::Place;
use super::hint::{self, HintError, HintedRecord};
use super::keydir::{Keydir, Shard};
use super::mark::DurableEnd;
use super::record::{At, DamageKind, RecordKind, RecordView};
use super::recovery::{Damage, HintRefused, RecoveryReport, TailTruncated};
use super::scan::{
    Direct, Parsed, ParsedHead, View, WINDOW_BYTES, parse_at, parse_head_at, resynchronise, zeros_from,
};
use super::segment::{self, HEADER_LEN, Header, Origin, Segment, SegmentHeaderError};
use crate::hash::{HashedKey, KeyHasher};
use crate::version::{Occurred, VectorClock};

/// Segments are read in waves of about this many bytes: what was read waits in memory for its wave's end.
const WAVE_BYTES: u64 = 256 << 20;
/// Nothing but a header is read with less.
const HEAD_PIECE_BYTES: u64 = 4 << 10;

/// A segment file as opening sees it.
pub(super) struct Opened<F> {
    pub(super) origin: Origin,
    pub(super) id: u32,
    pub(super) file: F,
    pub(super) len: u64,
    pub(super) header: Result<Header, SegmentHeaderError>,
    /// Whether a valid record stands at its beginning.
    pub(super) has_records: bool,
    /// Its hint file and that one's length.
    pub(super) hint: Option<(F, u64)>,
}

/// How segments are read.
pub(super) struct Rules {
    pub(super) mark: DurableEnd,
    /// The last segment with records.
    pub(super) last: u32,
    pub(super) shards: usize,
    pub(super) verify: bool,
    /// How far before a file's end its last record must end: 0, unless that bug is planted.
    pub(super) last_byte: u64,
    /// That bug is planted.
    pub(super) believe_hints: bool,
}

/// A segment as replaying leaves it.
pub(super) struct Kept<F> {
    pub(super) segment: Arc<Segment<F>>,
    pub(super) header: Header,
    /// Bytes of an unfinished write lie behind the last record.
    pub(super) torn: bool,
    /// Its hint was taken.
    pub(super) hinted: bool,
}

/// Deletes by key, needed only while records come out of order.
type Tombstones = HashMap<Box<[u8]>, Vec<(VectorClock, u64)>, KeyHasher>;

/// The records of one segment for one shard, in order; keys and clocks one behind the other.
#[derive(Default)]
struct Part {
    records: Vec<Found>,
    bytes: Vec<u8>,
}

struct Found {
    position: u64,
    sequence: u64,
    len: u32,
    clock_len: u32,
    key_len: u16,
    kind: RecordKind,
}

/// What was read of a segment.
struct Read<F> {
    kept: Kept<F>,
    parts: Vec<Part>,
    records: u64,
    next_sequence: u64,
    bytes: u64,
    damage: Vec<Damage>,
    tail: Option<TailTruncated>,
    refused: Option<HintRefused>,
}

/// What replaying gives.
pub(super) struct Replayed<F> {
    pub(super) keydir: Keydir<F>,
    /// The segments, in the order of their files.
    pub(super) kept: Vec<Kept<F>>,
    /// The first sequence after all records.
    pub(super) next_sequence: u64,
}

/// Reads the segments and builds the directory; what there is to say of it goes into the report.
pub(super) fn replay<F: File>(
    files: Vec<Opened<F>>,
    rules: &Rules,
    workers: &dyn Workers,
    report: &mut RecoveryReport,
) -> Result<Replayed<F>, DiskError> {
    let keydir = Keydir::new(rules.shards);
    let tombstones: Vec<Mutex<Tombstones>> = keydir.shard_indexes().map(|_| Mutex::default()).collect();
    let mut kept = Vec::with_capacity(files.len());
    let mut next_sequence = 1;
    let mut rest = files.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |file: &&Opened<F>| {
            bytes += file.len;
            bytes <= WAVE_BYTES
        };
        let (wave, behind) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        rest = behind;
        let slots: Vec<OnceLock<Result<Read<F>, DiskError>>> = wave.iter().map(|_| OnceLock::new()).collect();
        workers.run(wave.len(), &|i| drop(slots[i].set(read(&wave[i], rules))));
        let mut reads = Vec::with_capacity(wave.len());
        for slot in slots {
            let read = slot.into_inner().expect("the workers have done every job")?;
            keydir.add_segment(&read.kept.segment);
            reads.push(read);
        }
        workers.run(rules.shards, &|shard| {
            let mut deleted = tombstones[shard].lock().unwrap_or_else(PoisonError::into_inner);
            let mut into = keydir.write_shard(shard);
            reads
                .iter()
                .for_each(|read| read.parts[shard].take_into(&mut into, &mut deleted, &read.kept.segment));
        });
        for read in reads {
            report.segments += 1;
            report.records += read.records;
            report.bytes_scanned += read.bytes;
            report.hinted += u64::from(read.kept.hinted);
            report.hints_refused.extend(read.refused);
            report.damage.extend(read.damage);
            report.tail_truncated = read.tail.or(report.tail_truncated.take());
            next_sequence = next_sequence.max(read.next_sequence);
            kept.push(read.kept);
        }
    }
    Ok(Replayed { keydir, kept, next_sequence })
}

impl Part {
    fn push(&mut self, record: &HintedRecord<'_>) {
        self.bytes.extend_from_slice(record.key);
        self.bytes.extend_from_slice(record.clock);
        self.records.push(Found {
            position: record.position,
            sequence: record.sequence,
            len: u32::try_from(record.len).expect("key, clock and value are below 4 GiB together"),
            clock_len: u32::try_from(record.clock.len()).expect("a clock is below 300 KB"),
            key_len: u16::try_from(record.key.len()).expect("a key is at most 64 KiB"),
            kind: record.kind,
        });
    }

    fn take_into<F>(&self, shard: &mut Shard<F>, deleted: &mut Tombstones, segment: &Segment<F>) {
        let mut bytes = self.bytes.as_slice();
        let (mut puts, mut live, mut newest_ms) = (0, 0, i64::MIN);
        for found in &self.records {
            let (key, behind) = bytes.split_at(usize::from(found.key_len));
            let (clock, behind) = behind.split_at(found.clock_len as usize);
            bytes = behind;
            let clock = VectorClock::decode(clock).expect("it was read before").0;
            let (hashed, sequence, len) = (HashedKey::new(key), found.sequence, u64::from(found.len));
            match found.kind {
                RecordKind::Tombstone => {
                    segment.count_tombstone(len, sequence);
                    shard.recover_tombstone(hashed, &clock, sequence);
                    deleted.entry(key.into()).or_default().push((clock, sequence));
                }
                RecordKind::Put => {
                    let is_deleted = !deleted.is_empty()
                        && deleted.get(key).is_some_and(|all| {
                            all.iter().any(|(version, deleted_at)| {
                                *deleted_at > sequence && clock.compare(version) == Occurred::Before
                            })
                        });
                    let (position, len) = (found.position, found.len);
                    let place = Place { clock, sequence, position, segment: segment.id, len };
                    puts += u64::from(len);
                    newest_ms = newest_ms.max(place.clock.timestamp_ms());
                    if !is_deleted && shard.recover_put(hashed, place) {
                        live += u64::from(len);
                    }
                }
            }
        }
        segment.count_puts(puts, live);
        segment.note_timestamp(newest_ms);
    }
}

/// Up to where a bad record is damage; from there on the first one is the end.
fn trusted_until<F>(opened: &Opened<F>, header: &Header, rules: &Rules) -> u64 {
    let Rules { mark, last, .. } = rules;
    let is_followed = opened.id < *last && header.synced;
    if opened.origin == Origin::Merged || opened.id < mark.segment || is_followed {
        // Merged: it got its name when it was durable. Synced and not the last: the records of the next
        // segment were written only after all of this one's were durable.
        u64::MAX
    } else if opened.id == mark.segment {
        mark.position
    } else {
        HEADER_LEN as u64
    }
}

/// Reads a segment to its end, or its hint.
fn read<F: File>(opened: &Opened<F>, rules: &Rules) -> Result<Read<F>, DiskError> {
    let Opened { origin, id, file, len, header, .. } = opened;
    let header_damage = header.as_ref().err().map(ToString::to_string);
    let header = match header {
        Ok(header) => Header { origin: *origin, ..*header },
        Err(_) => Header { id: *id, synced: true, origin: *origin, live_as_of: 0 },
    };
    let until = trusted_until(opened, &header, rules);
    let start = || {
        let segment = Arc::new(Segment::new(header, file.clone(), HEADER_LEN as u64, *len));
        let kept = Kept { segment, header, torn: false, hinted: false };
        Read {
            kept,
            parts: (0..rules.shards).map(|_| Part::default()).collect(),
            records: 0,
            next_sequence: header.live_as_of.max(1),
            bytes: 0,
            damage: Vec::new(),
            tail: None,
            refused: None,
        }
    };
    let mut refused = None;
    // The segment that may go on is searched for its end.
    if let Some((hint, hint_len)) = &opened.hint
        && header_damage.is_none()
        && (until == u64::MAX || rules.believe_hints)
    {
        let mut read = start();
        match read.take_hint(hint, *hint_len, *len, rules)? {
            Ok(()) => return Ok(read),
            Err(why) => {
                reached("kv hint refused");
                let file = hint.path().to_owned();
                refused = Some(HintRefused { file, why });
            }
        }
    }
    let mut read = Read { refused, ..start() };
    if let Some(why) = header_damage {
        read.damage(0, HEADER_LEN as u64, DamageKind::Header { why });
    }
    read.scan(file, *len, until, rules)?;
    Ok(read)
}

impl<F: File> Read<F> {
    fn damage(&mut self, position: u64, bytes: u64, why: DamageKind) {
        reached("kv damage found at opening");
        self.kept.segment.mark_damaged();
        self.damage.push(Damage { file: self.kept.segment.name.clone(), position, bytes, why });
    }

    fn take(&mut self, record: &HintedRecord<'_>, shards: usize) {
        self.records += 1;
        self.kept.segment.note_sequence(record.sequence);
        self.next_sequence = self.next_sequence.max(record.sequence.saturating_add(1));
        self.parts[HashedKey::new(record.key).shard(shards)].push(record);
    }

    /// Takes the segment's hint, if it is this segment's.
    fn take_hint(
        &mut self,
        file: &F,
        hint_len: u64,
        len: u64,
        rules: &Rules,
    ) -> Result<Result<(), HintError>, DiskError> {
        let subject = hint::Subject { len, ..self.kept.segment.subject() };
        // A hint leaves the values out, and is never longer than what it stands for by more than its header.
        if hint_len > len + HEADER_LEN as u64 {
            return Ok(Err(HintError::OtherSegment));
        }
        let mut bytes = vec![0; usize::try_from(hint_len).expect("at most a segment's length")];
        let ReadNow::Read(read) = file.read_now(0, &mut bytes, ReadHow::MayBlock)? else {
            return Ok(Err(HintError::Truncated { len: 0 }));
        };
        let records = match hint::read(&bytes[..read], subject, rules.believe_hints) {
            Ok(records) => records,
            Err(why) => return Ok(Err(why)),
        };
        self.bytes += read as u64;
        let last_crc = records.last_crc();
        let mut last = None;
        for record in records {
            match record {
                Ok(record) => {
                    self.take(&record, rules.shards);
                    last = Some(record);
                }
                Err(_) if rules.believe_hints => break,
                Err(why) => return Ok(Err(why)),
            }
        }
        let Some(last) = last else { return Ok(Err(HintError::Records)) };
        let end = last.position + last.len;
        let segment = &self.kept.segment;
        let mut view = View::default();
        let mut source = Direct::new(&segment.file, len, HEAD_PIECE_BYTES, &mut view);
        let at = At { segment: segment.id, position: last.position };
        match parse_head_at(&mut source, at)? {
            _ if rules.believe_hints => {}
            ParsedHead::Head(head, _)
                if (head.stored_crc, head.sequence, head.record_len())
                    == (last_crc, last.sequence, last.len) => {}
            _ => return Ok(Err(HintError::OtherEnd)),
        }
        self.bytes += source.bytes_read();
        segment.set_end(end);
        segment.set_hint_len(hint_len);
        self.kept.hinted = true;
        Ok(Ok(()))
    }

    /// Reads the segment from front to back.
    fn scan(&mut self, file: &F, len: u64, until: u64, rules: &Rules) -> Result<(), DiskError> {
        let (id, origin) = (self.kept.segment.id, self.kept.segment.origin);
        // Cut to its last record before the mark moved past it, or written to its length: zeros at the end are a lost write.
        let finished = origin == Origin::Merged || id < rules.mark.segment;
        let mut view = View::default();
        let mut source = Direct::new(file, len, WINDOW_BYTES, &mut view);
        let mut position = HEADER_LEN as u64;
        loop {
            let below = position < until;
            let why = match parse_at(&mut source, At { segment: id, position })? {
                Parsed::Record(record)
                    if (record.damage.is_none() || below || !rules.verify)
                        && position + record.len + rules.last_byte <= len =>
                {
                    if let Some(why) = record.damage.clone().filter(|_| rules.verify) {
                        self.damage(position, record.len, why);
                    }
                    let clock = record.clock_bytes;
                    let RecordView { len, sequence, kind, key, .. } = record;
                    self.take(&HintedRecord { position, len, sequence, kind, key, clock }, rules.shards);
                    position += len;
                    continue;
                }
                Parsed::Record(record) => record.damage.unwrap_or(DamageKind::NoRecord),
                Parsed::Bad(why) => why,
                Parsed::Unwritten => DamageKind::NoRecord,
                Parsed::End => {
                    if below && until != u64::MAX {
                        let why = DamageKind::TooShort { len, durable: until };
                        self.damage(position, until - position, why);
                    }
                    break;
                }
            };
            if !below || until == u64::MAX {
                let zeros = zeros_from(&mut source, position)?;
                if (zeros && !finished) || !below {
                    self.kept.torn = !zeros;
                    break;
                }
            }
            let until = until.min(len);
            let next = resynchronise(&mut source, id, position + 1, until)?.unwrap_or(until);
            self.damage(position, next - position, why);
            position = next;
        }
        self.bytes += source.bytes_read();
        self.kept.segment.set_end(position);
        if self.kept.torn {
            reached("kv torn tail cut");
            let file = segment::name(origin, id);
            self.tail = Some(TailTruncated { file, position, bytes: len - position });
        }
        Ok(())
    }
}
