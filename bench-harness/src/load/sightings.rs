//! [`Sightings`]: writes that a subscriber has yet to show, and whether it shows them once and in order.
//!
//! The driver never has two writes of one key in flight together, so the order in which it hands them over is the
//! order in which a subscriber must see them. A write that failed may be seen or not, at any time.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use workloads::Fingerprint;

/// What a subscriber saw of a phase's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SightingTally {
    /// Writes that it saw.
    pub seen: u64,
    /// Acknowledged writes that it never saw, though it was waited for.
    pub unseen: u64,
    /// Writes that it saw after a later write of the same key.
    pub out_of_order: u64,
    /// Sightings of a write that it had seen before, or that nobody made.
    pub again: u64,
}

impl SightingTally {
    pub(super) fn add_troubles_of(&mut self, other: &Self) {
        self.unseen += other.unseen;
        self.out_of_order += other.out_of_order;
        self.again += other.again;
    }
}

/// A write that was handed over.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    key_index: u32,
    /// Its place among all writes.
    number: u64,
    due_ns: u64,
    start_ns: u64,
    failed: bool,
}

/// When a write was due and handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighted {
    pub(super) due_ns: u64,
    pub(super) start_ns: u64,
}

/// Fingerprints are hashes already.
#[derive(Debug, Default)]
struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// The writes handed over and not seen yet.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    awaited: HashMap<u64, Awaited, BuildHasherDefault<FingerprintHasher>>,
    /// Of the awaited ones, those that failed.
    failed: usize,
    made: u64,
    /// By key: the number of the latest write that was seen.
    latest: Vec<u64>,
    /// Whether the engine writes values that nobody else knows.
    engine_writes: bool,
}

impl Sightings {
    /// A write was handed over. The same value again while the first is awaited counts once, from the first.
    pub(super) fn expect(&mut self, write: Fingerprint, key_index: u32, due_ns: u64, start_ns: u64) {
        self.made += 1;
        let number = self.made;
        self.awaited.entry(write.get()).or_insert(Awaited {
            key_index,
            number,
            due_ns,
            start_ns,
            failed: false,
        });
    }

    /// From now on the engine writes values of its own, made of what it reads: they are no strangers.
    pub(super) fn engine_writes(&mut self) {
        self.engine_writes = true;
    }

    /// A write wasn't acknowledged: it need not be seen.
    pub(super) fn failed(&mut self, write: Fingerprint) {
        if let Some(awaited) = self.awaited.get_mut(&write.get())
            && !std::mem::replace(&mut awaited.failed, true)
        {
            self.failed += 1;
        }
    }

    /// A write was seen; when it was due, unless it was seen before.
    pub(super) fn seen(&mut self, write: Fingerprint, tally: &mut SightingTally) -> Option<Sighted> {
        let Some(awaited) = self.awaited.remove(&write.get()) else {
            tally.again += u64::from(!self.engine_writes);
            return None;
        };
        self.failed -= usize::from(awaited.failed);
        let key = awaited.key_index as usize;
        if key >= self.latest.len() {
            self.latest.resize((key + 1).next_power_of_two(), 0);
        }
        if awaited.number < self.latest[key] && !awaited.failed {
            tally.out_of_order += 1;
        }
        self.latest[key] = self.latest[key].max(awaited.number);
        tally.seen += 1;
        Some(Sighted { due_ns: awaited.due_ns, start_ns: awaited.start_ns })
    }

    /// Acknowledged writes, or ones in flight, that were not seen yet.
    pub(super) fn missing(&self) -> usize {
        self.awaited.len() - self.failed
    }

    /// Gives the missing ones up.
    pub(super) fn give_up(&mut self, tally: &mut SightingTally) {
        tally.unseen += self.missing() as u64;
        self.awaited.clear();
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(n: u8) -> Fingerprint {
        Fingerprint::of(&[n])
    }

    #[test]
    fn a_write_is_seen_once_in_order_or_told() {
        let mut sightings = Sightings::default();
        let mut tally = SightingTally::default();
        for n in 1..=4 {
            sightings.expect(write(n), u32::from(n) % 2, u64::from(n) * 10, u64::from(n) * 10 + 1);
        }
        assert_eq!(sightings.seen(write(3), &mut tally), Some(Sighted { due_ns: 30, start_ns: 31 }));
        assert_eq!(tally.out_of_order, 0);
        assert!(sightings.seen(write(1), &mut tally).is_some(), "an older write of the same key");
        assert_eq!(tally.out_of_order, 1);
        assert_eq!(sightings.seen(write(1), &mut tally), None);
        assert_eq!((tally.seen, tally.again, sightings.missing()), (2, 1, 2));
        sightings.failed(write(2));
        sightings.failed(write(2));
        assert_eq!(sightings.missing(), 1, "only the fourth is owed");
        sightings.give_up(&mut tally);
        assert_eq!((tally.unseen, sightings.missing()), (1, 0));
    }

    #[test]
    fn a_failed_write_may_come_late() {
        let mut sightings = Sightings::default();
        let mut tally = SightingTally::default();
        sightings.expect(write(1), 0, 0, 0);
        sightings.failed(write(1));
        sightings.expect(write(2), 0, 0, 0);
        assert!(sightings.seen(write(2), &mut tally).is_some());
        assert!(sightings.seen(write(1), &mut tally).is_some());
        assert_eq!((tally.out_of_order, sightings.missing()), (0, 0));
    }
}
