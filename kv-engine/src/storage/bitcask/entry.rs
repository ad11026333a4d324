//! [`Entry`]: a key and its versions as the key directory keeps them, in as few bytes as they need.
//!
//! `u32` length of the entry, `u16` length of the key, the key; then for each version `u64` sequence, `u40` position,
//! `u32` segment, `u32` length of the record, and the clock in Voldemort's bytes, which tell their own length. Only in
//! memory, never on a disk.

use crate::version::{Clocked, Siblings, VectorClock};

const KEY_LEN_AT: usize = 4;
const KEY_AT: usize = KEY_LEN_AT + 2;

const POSITION_AT: usize = 8;
const SEGMENT_AT: usize = POSITION_AT + 5;
const LEN_AT: usize = SEGMENT_AT + 4;
const CLOCK_AT: usize = LEN_AT + 4;
/// A segment of 2 GiB may be exceeded while the next one can't be prepared; not by this much.
const POSITION_MAX: u64 = (1 << 40) - 1;

/// Where a version's record stands, and its clock: enough to judge a put without the disk.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) clock: VectorClock,
    pub(super) sequence: u64,
    pub(super) position: u64,
    pub(super) segment: u32,
    pub(super) len: u32,
}

impl Clocked for Place {
    fn clock(&self) -> &VectorClock {
        &self.clock
    }
}

/// A [`Place`] with its clock as bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) sequence: u64,
    pub(super) position: u64,
    pub(super) segment: u32,
    pub(super) len: u32,
    pub(super) clock: &'a [u8],
}

const KEPT: &str = "the directory keeps only clocks that were encoded for it, or were decoded before";

impl Spot<'_> {
    pub(super) fn timestamp_ms(&self) -> i64 {
        VectorClock::timestamp_of(self.clock)
    }

    pub(super) fn clock(&self) -> VectorClock {
        VectorClock::decode(self.clock).expect(KEPT).0
    }

    fn place(&self) -> Place {
        let Self { sequence, position, segment, len, .. } = *self;
        Place { clock: self.clock(), sequence, position, segment, len }
    }
}

/// The bytes of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a>(&'a [u8]);

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl<'a> Entry<'a> {
    /// The entry at the front of `bytes`.
    pub(super) fn first_of(bytes: &'a [u8]) -> Self {
        Self(&bytes[..u32_at(bytes, 0) as usize])
    }

    pub(super) fn len(self) -> usize {
        self.0.len()
    }

    fn versions_at(self) -> usize {
        KEY_AT + usize::from(u16::from_le_bytes([self.0[KEY_LEN_AT], self.0[KEY_LEN_AT + 1]]))
    }

    pub(super) fn key(self) -> &'a [u8] {
        &self.0[KEY_AT..self.versions_at()]
    }

    /// The versions in order of arrival.
    pub(super) fn spots(self) -> Spots<'a> {
        Spots(&self.0[self.versions_at()..])
    }

    pub(super) fn siblings(self) -> Siblings<Place> {
        let mut siblings = Siblings::default();
        self.spots().for_each(|spot| siblings.push(spot.place()));
        siblings
    }
}

/// Appends the entry of a key with these versions.
pub(super) fn encode(key: &[u8], places: &[Place], into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(&[0; KEY_LEN_AT]);
    into.extend_from_slice(&u16::try_from(key.len()).expect("a key is at most 64 KiB").to_le_bytes());
    into.extend_from_slice(key);
    for place in places {
        assert!(place.position <= POSITION_MAX, "a segment has less than a TiB");
        into.extend_from_slice(&place.sequence.to_le_bytes());
        into.extend_from_slice(&place.position.to_le_bytes()[..SEGMENT_AT - POSITION_AT]);
        into.extend_from_slice(&place.segment.to_le_bytes());
        into.extend_from_slice(&place.len.to_le_bytes());
        place.clock.encode(into);
    }
    let len = u32::try_from(into.len() - start).expect("a key's clocks have less than 4 GiB");
    into[start..start + KEY_LEN_AT].copy_from_slice(&len.to_le_bytes());
}

/// The versions of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spots<'a>(&'a [u8]);

impl<'a> Iterator for Spots<'a> {
    type Item = Spot<'a>;

    fn next(&mut self) -> Option<Spot<'a>> {
        let bytes = self.0;
        if bytes.is_empty() {
            return None;
        }
        let mut position = [0; 8];
        position[..SEGMENT_AT - POSITION_AT].copy_from_slice(&bytes[POSITION_AT..SEGMENT_AT]);
        let end = CLOCK_AT + VectorClock::len_of(&bytes[CLOCK_AT..]).expect(KEPT);
        self.0 = &bytes[end..];
        Some(Spot {
            sequence: u64::from_le_bytes(bytes[..POSITION_AT].try_into().expect("eight bytes")),
            position: u64::from_le_bytes(position),
            segment: u32_at(bytes, SEGMENT_AT),
            len: u32_at(bytes, LEN_AT),
            clock: &bytes[CLOCK_AT..end],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn place()(
            nodes in prop::collection::btree_map(0u16..9, 1u64..1 << 50, 0..4),
            timestamp_ms in any::<i64>(),
            sequence in any::<u64>(),
            position in 0..=POSITION_MAX,
            segment in any::<u32>(),
            len in any::<u32>(),
        ) -> Place {
            let clock = VectorClock::from_entries(nodes, timestamp_ms).expect("valid");
            Place { clock, sequence, position, segment, len }
        }
    }

    fn facts(place: &Place) -> (String, i64, u64, u64, u32, u32) {
        let Place { clock, sequence, position, segment, len } = place;
        (clock.to_string(), clock.timestamp_ms(), *sequence, *position, *segment, *len)
    }

    proptest! {
        #[test]
        fn an_entry_comes_back(
            key in prop::collection::vec(any::<u8>(), 0..40),
            places in prop::collection::vec(place(), 1..4),
            behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = Vec::new();
            encode(&key, &places, &mut bytes);
            let len = bytes.len();
            bytes.extend(behind);
            let entry = Entry::first_of(&bytes);
            prop_assert_eq!((entry.len(), entry.key()), (len, key.as_slice()));
            let found: Vec<_> = entry.siblings().as_slice().iter().map(facts).collect();
            prop_assert_eq!(found, places.iter().map(facts).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_short_key_written_by_one_node_takes_sixty_bytes() {
        let clock = VectorClock::from_entries([(3, 200)], 1_700_000_000_000).expect("valid");
        let place = Place { clock, sequence: 1 << 40, position: 1 << 30, segment: 77, len: 1100 };
        let mut bytes = Vec::new();
        encode(b"member:123456789", &[place], &mut bytes);
        assert_eq!(bytes.len(), 57);
    }
}
