//! Where in memory a key's newest record is mapped, at a guess, so that a get can have it fetched while it still looks at the
//! key's entry.
//!
//! A get needs a slot, an entry and a record, and each is a wait for memory. The entry says
//! where the record stands; the slot has it too, in four bytes, which may be wrong: where a segment is longer than
//! 256 MiB, or two have numbers that are 1024 apart. What is read is always what the entry says.

use std::sync::atomic::{AtomicUsize, Ordering};

use engine_env::{CACHE_LINE_BYTES, prefetch};

const SEGMENT_BITS: u32 = 10;
const LINE_BITS: u32 = 32 - SEGMENT_BITS;
/// A record of a hundred bytes of value, with its head, key and clock.
const LINES: usize = 3;

/// The low bits of a segment's number and of a line's in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guess(u32);

impl Guess {
    pub(super) const NONE: Self = Self(0);

    /// Of the record that stands there.
    pub(super) fn of(segment: u32, position: u64) -> Self {
        let line = (position / CACHE_LINE_BYTES as u64) & ((1 << LINE_BITS) - 1);
        Self(segment << LINE_BITS | line as u32)
    }

    fn segment(self) -> usize {
        (self.0 >> LINE_BITS) as usize
    }

    fn position(self) -> usize {
        (self.0 & ((1 << LINE_BITS) - 1)) as usize * CACHE_LINE_BYTES
    }
}

/// Where the maps of segments begin, by the low bits of their numbers; zero where none is known.
#[derive(Debug)]
pub(super) struct MapStarts(Box<[AtomicUsize]>);

impl Default for MapStarts {
    fn default() -> Self {
        Self((0..1 << SEGMENT_BITS).map(|_| AtomicUsize::new(0)).collect())
    }
}

impl MapStarts {
    fn of(&self, segment: u32) -> &AtomicUsize {
        &self.0[segment as usize & ((1 << SEGMENT_BITS) - 1)]
    }

    /// A segment is mapped there. Of two that share a place the first keeps it until one of them goes: if both took it in
    /// turns, all threads would write to it.
    pub(super) fn note(&self, segment: u32, map: &[u8]) {
        let start = self.of(segment);
        if start.load(Ordering::Relaxed) == 0 {
            start.store(map.as_ptr().addr(), Ordering::Relaxed);
        }
    }

    /// The segment goes.
    pub(super) fn forget(&self, segment: u32) {
        self.of(segment).store(0, Ordering::Relaxed);
    }

    /// Has the record's first lines fetched.
    pub(super) fn prefetch(&self, guess: Guess) {
        let start = self.0[guess.segment()].load(Ordering::Relaxed);
        if start != 0 {
            let record = start.wrapping_add(guess.position());
            (0..LINES).for_each(|line| prefetch(record.wrapping_add(line * CACHE_LINE_BYTES)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_is_right_where_its_bits_suffice() {
        for (segment, position) in [(0, 36), (7, 64 << 20), (1023, (256 << 20) - 64)] {
            let guess = Guess::of(segment, position);
            assert_eq!(guess.segment(), segment as usize);
            assert_eq!(guess.position() as u64, position & !63);
        }
        assert_eq!(Guess::of(1024 + 5, 256 << 20), Guess::of(5, 0));
    }

    #[test]
    fn a_place_is_the_first_ones_until_it_goes() {
        let starts = MapStarts::default();
        let (one, other) = ([0u8; 8], [0u8; 8]);
        starts.note(3, &one);
        starts.note(3 + 1024, &other);
        assert_eq!(starts.of(3).load(Ordering::Relaxed), one.as_ptr().addr());
        starts.prefetch(Guess::of(3, 1 << 20));
        starts.forget(3);
        assert_eq!(starts.of(3).load(Ordering::Relaxed), 0);
        starts.prefetch(Guess::of(3, 1 << 20));
    }
}
