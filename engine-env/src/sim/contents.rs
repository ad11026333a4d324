//! [`Contents`]: one simulated file's bytes, as reads see them and as the platter holds them.
//!
//! Invariants:
//! * `cache` is what reads see. `durable` cut at `durable_len` is what a power cut that loses everything leaves.
//! * Every sector written and not yet synced has its versions in `dirty`, oldest first, each a snapshot of the whole
//!   sector after one write. A power cut may leave any of them, or a mix.
//! * Changes of length are ordered among each other: a power cut leaves a prefix of them, whatever becomes of the data.
//! * A failed sync drops versions without making them durable: the pages are clean, and wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::dice::Dice;

/// What the device writes as a unit, if the power stays on.
pub(super) const SECTOR: usize = 512;
/// What the page cache keeps and forgets as a unit.
const PAGE: usize = 4096;

type Sector = [u8; SECTOR];

#[derive(Debug, Clone)]
struct Version {
    seq: u64,
    bytes: Arc<Sector>,
}

#[derive(Debug, Clone, Copy)]
struct LengthChange {
    seq: u64,
    len: u64,
    /// Whether everything behind `len` that is older than this change is gone with it.
    shrinks: bool,
}

/// What became of the unsynced sectors of a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SectorFates {
    pub(super) lost: u64,
    pub(super) kept: u64,
    pub(super) torn: u64,
    pub(super) lengths_lost: u64,
}

/// How a power cut treats what is unsynced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Severity {
    Lose,
    Keep,
    /// The new length without the new data.
    LengthsOnly,
    /// Chances that a sector, or a change of length or name, is kept, and that a sector is torn instead.
    Dice {
        keep: f64,
        tear: f64,
    },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    cache: Vec<u8>,
    durable: Vec<u8>,
    durable_len: u64,
    dirty: BTreeMap<u64, Vec<Version>>,
    lengths: Vec<LengthChange>,
    /// For durable sectors that are newer than a change of length still pending: the write's sequence number.
    landed: BTreeMap<u64, u64>,
    /// Pages in memory; `None` is all of them.
    warm: Option<BTreeSet<u64>>,
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).expect("a simulated file fits in memory")
}

/// Sectors (or pages) of `unit` bytes that `[at, at + len)` touches.
fn units(at: u64, len: usize, unit: usize) -> std::ops::Range<u64> {
    if len == 0 {
        return 0..0;
    }
    at / unit as u64..(at + len as u64).div_ceil(unit as u64)
}

/// The sector's bytes in `image`, zeros where the image ends.
fn sector_of(image: &[u8], sector: u64) -> Sector {
    let mut bytes = [0; SECTOR];
    let start = to_usize(sector) * SECTOR;
    if start < image.len() {
        let end = image.len().min(start + SECTOR);
        bytes[..end - start].copy_from_slice(&image[start..end]);
    }
    bytes
}

fn put_sector(image: &mut Vec<u8>, sector: u64, bytes: &Sector) {
    let start = to_usize(sector) * SECTOR;
    if image.len() < start + SECTOR {
        image.resize(start + SECTOR, 0);
    }
    image[start..start + SECTOR].copy_from_slice(bytes);
}

/// Zeros what of `sector` lies at or behind `len`.
fn cut(bytes: &mut Sector, sector: u64, len: u64) {
    let start = sector * SECTOR as u64;
    if len < start + SECTOR as u64 {
        bytes[to_usize(len.saturating_sub(start))..].fill(0);
    }
}

impl Contents {
    pub(super) fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(super) fn seen(&self) -> &[u8] {
        &self.cache
    }

    /// What a power cut that loses everything unsynced would leave.
    pub(super) fn durable(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        bytes.resize(to_usize(self.durable_len), 0);
        bytes
    }

    pub(super) fn dirty_sectors(&self) -> usize {
        self.dirty.len()
    }

    pub(super) fn read(&mut self, at: u64, into: &mut [u8]) -> usize {
        let len = self.cache.len();
        let start = to_usize(at.min(len as u64));
        let n = into.len().min(len - start);
        into[..n].copy_from_slice(&self.cache[start..start + n]);
        self.touch(at, n);
        n
    }

    /// Whether a read of that range needs no device.
    pub(super) fn is_cached(&self, at: u64, len: usize) -> bool {
        let len = len.min(to_usize(self.len().saturating_sub(at)));
        self.warm.as_ref().is_none_or(|warm| units(at, len, PAGE).all(|page| warm.contains(&page)))
    }

    fn touch(&mut self, at: u64, len: usize) {
        if let Some(warm) = &mut self.warm {
            warm.extend(units(at, len, PAGE));
        }
    }

    pub(super) fn write(&mut self, seq: u64, at: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = to_usize(at);
        let end = start + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.lengths.push(LengthChange { seq, len: end as u64, shrinks: false });
        }
        self.cache[start..end].copy_from_slice(bytes);
        self.touch(at, bytes.len());
        for sector in units(at, bytes.len(), SECTOR) {
            let snapshot = Arc::new(sector_of(&self.cache, sector));
            self.dirty.entry(sector).or_default().push(Version { seq, bytes: snapshot });
        }
    }

    pub(super) fn set_len(&mut self, seq: u64, len: u64) {
        let old = self.len();
        if len != old {
            self.cache.resize(to_usize(len), 0);
            self.lengths.push(LengthChange { seq, len, shrinks: len < old });
        }
    }

    /// Makes the length and every version older than `covers` durable.
    pub(super) fn sync(&mut self, covers: u64) {
        self.commit_lengths(|change| change.seq < covers);
        self.commit_sectors(covers, |_| true);
    }

    /// Makes the bytes of one write durable, and the length needed to read them back.
    pub(super) fn sync_range(&mut self, seq: u64, at: u64, len: usize) {
        let end = at + len as u64;
        let shortest = self.lengths.iter().map(|c| c.len).fold(self.durable_len, u64::min);
        if shortest < end {
            self.commit_lengths(|_| true);
        }
        let range = units(at, len, SECTOR);
        self.commit_sectors(seq + 1, |sector| range.contains(&sector));
    }

    /// A sync that failed: of the versions older than `covers` some reach the platter, all are clean from now on.
    pub(super) fn fail_sync(&mut self, covers: u64, within: Option<(u64, usize)>, dice: &mut Dice) {
        let range = within.map(|(at, len)| units(at, len, SECTOR));
        let keep = dice.fraction();
        let hit = self.dirty.keys().copied().filter(|s| range.as_ref().is_none_or(|range| range.contains(s)));
        let (reached, missed): (BTreeSet<u64>, BTreeSet<u64>) = hit.partition(|_| dice.chance(keep));
        self.commit_sectors(covers, |sector| reached.contains(&sector));
        self.dirty.retain(|sector, versions| {
            if missed.contains(sector) {
                versions.retain(|v| v.seq >= covers);
            }
            !versions.is_empty()
        });
    }

    fn commit_lengths(&mut self, is_due: impl Fn(&LengthChange) -> bool) {
        let due = self.lengths.iter().take_while(|c| is_due(c)).count();
        for change in self.lengths.drain(..due) {
            self.durable_len = change.len;
            if !change.shrinks {
                continue;
            }
            let first = change.len / SECTOR as u64;
            for sector in first..(self.durable.len() / SECTOR) as u64 {
                if self.landed.get(&sector).is_none_or(|seq| *seq < change.seq) {
                    let mut bytes = sector_of(&self.durable, sector);
                    cut(&mut bytes, sector, change.len);
                    put_sector(&mut self.durable, sector, &bytes);
                }
            }
            for (sector, versions) in self.dirty.range_mut(first..) {
                for version in versions.iter_mut().filter(|v| v.seq < change.seq) {
                    cut(Arc::make_mut(&mut version.bytes), *sector, change.len);
                }
            }
        }
        if self.lengths.is_empty() {
            self.landed.clear();
        }
    }

    fn commit_sectors(&mut self, covers: u64, is_due: impl Fn(u64) -> bool) {
        let Self { dirty, durable, landed, lengths, .. } = self;
        dirty.retain(|sector, versions| {
            if !is_due(*sector) {
                return true;
            }
            let older = versions.partition_point(|v| v.seq < covers);
            if let Some(newest) = versions.drain(..older).next_back() {
                put_sector(durable, *sector, &newest.bytes);
                if !lengths.is_empty() {
                    landed.insert(*sector, newest.seq);
                }
            }
            !versions.is_empty()
        });
    }

    /// The durable sector as the running system would read it: changes of length not yet durable are in effect.
    fn settled(&self, sector: u64) -> Sector {
        let mut bytes = sector_of(&self.durable, sector);
        let landed = self.landed.get(&sector).copied().unwrap_or(0);
        for change in self.lengths.iter().filter(|c| c.shrinks && c.seq > landed) {
            cut(&mut bytes, sector, change.len);
        }
        bytes
    }

    /// Forgets clean pages: the next read takes them from the platter.
    pub(super) fn evict(&mut self) {
        let sectors_per_page = (PAGE / SECTOR) as u64;
        let mut warm = BTreeSet::new();
        for page in units(0, self.cache.len(), PAGE) {
            let sectors = page * sectors_per_page..(page + 1) * sectors_per_page;
            if self.dirty.range(sectors.clone()).next().is_some() {
                warm.insert(page);
                continue;
            }
            for sector in sectors {
                let start = to_usize(sector) * SECTOR;
                if start < self.cache.len() {
                    let bytes = self.settled(sector);
                    let end = self.cache.len().min(start + SECTOR);
                    self.cache[start..end].copy_from_slice(&bytes[..end - start]);
                }
            }
        }
        self.warm = Some(warm);
    }

    /// Changes bytes on the platter behind everyone's back. Reads see it unless a newer version waits for a sync.
    pub(super) fn damage(&mut self, at: u64, change: impl Fn(usize, u8) -> u8, len: usize) {
        for i in 0..len {
            let position = to_usize(at) + i;
            if self.durable.len() <= position {
                self.durable.resize((position / SECTOR + 1) * SECTOR, 0);
            }
            self.durable[position] = change(i, self.durable[position]);
            let sector = (position / SECTOR) as u64;
            if position < self.cache.len() && !self.dirty.contains_key(&sector) {
                self.cache[position] = self.durable[position];
            }
        }
    }

    /// The power is cut: what the platter holds becomes all there is.
    pub(super) fn cut_power(&mut self, severity: Severity, dice: &mut Dice) -> SectorFates {
        let mut fates = SectorFates::default();
        let changes = self.lengths.len();
        let survive = match severity {
            Severity::Lose => 0,
            Severity::Keep | Severity::LengthsOnly => changes,
            Severity::Dice { keep, .. } => {
                // A prefix; its length is often all or nothing, else the edges would hardly ever be seen.
                if dice.chance(keep) { changes } else { dice.below(changes as u64 + 1) as usize }
            }
        };
        fates.lengths_lost = (changes - survive) as u64;
        let last = survive.checked_sub(1).map(|i| self.lengths[i].seq);
        self.commit_lengths(|change| last.is_some_and(|last| change.seq <= last));
        self.lengths.clear();
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let old = sector_of(&self.durable, sector);
            let newest = versions.last().expect("a dirty sector has a version");
            let (left, fate) = match severity {
                Severity::Lose | Severity::LengthsOnly => (old, &mut fates.lost),
                Severity::Keep => (*newest.bytes, &mut fates.kept),
                Severity::Dice { keep, tear } => {
                    let any = |dice: &mut Dice| versions[dice.below(versions.len() as u64) as usize].clone();
                    if dice.chance(tear) {
                        let new = any(dice).bytes;
                        let torn = tear_sector(&old, &new, dice);
                        let fate = if torn == old {
                            &mut fates.lost
                        } else if torn == *new {
                            &mut fates.kept
                        } else {
                            &mut fates.torn
                        };
                        (torn, fate)
                    } else if dice.chance(keep) {
                        let version = if dice.chance(0.75) { newest.clone() } else { any(dice) };
                        (*version.bytes, &mut fates.kept)
                    } else {
                        (old, &mut fates.lost)
                    }
                }
            };
            *fate += 1;
            put_sector(&mut self.durable, sector, &left);
        }
        self.landed.clear();
        self.durable.resize(to_usize(self.durable_len), 0);
        self.cache.clone_from(&self.durable);
        self.durable.resize(self.cache.len().next_multiple_of(SECTOR), 0);
        self.warm = Some(BTreeSet::new());
        fates
    }
}

/// A mix of two contents of a sector: cut once, from either side, or shuffled in words of eight bytes.
fn tear_sector(old: &Sector, new: &Sector, dice: &mut Dice) -> Sector {
    let mut torn = *old;
    match dice.below(3) {
        0 => {
            let at = dice.below(SECTOR as u64) as usize;
            torn[..at].copy_from_slice(&new[..at]);
        }
        1 => {
            let at = dice.below(SECTOR as u64) as usize;
            torn[at..].copy_from_slice(&new[at..]);
        }
        _ => {
            for (torn, new) in torn.chunks_exact_mut(8).zip(new.chunks_exact(8)) {
                if dice.chance(0.5) {
                    torn.copy_from_slice(new);
                }
            }
        }
    }
    torn
}
