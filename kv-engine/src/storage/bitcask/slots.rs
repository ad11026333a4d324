//! [`SlotTable`]: from a key's tag to where its entry stands.
//!
//! Open addressing with linear probing, one array and nothing beside it: a lookup waits for one place in memory, where a table
//! with its control bytes apart waits for two, one after the other. A slot's home follows its tag in order, so growing by
//! half copies the array from front to back; while keys only come it is between a half and three quarters full. Whoever put
//! keys in by the order of their tags would make one long run of them: nobody does.

use super::arena::Address;
use super::guess::Guess;

/// What the table knows of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Of the key's hash. Two keys may share one.
    pub(super) tag: u32,
    pub(super) address: Address,
    /// Where the newest version's record is mapped.
    pub(super) record: Guess,
}

const EMPTY: Slot = Slot { tag: 0, address: Address::NONE, record: Guess::NONE };
const _: () = assert!(size_of::<Slot>() == 12);

impl Slot {
    fn is_empty(&self) -> bool {
        self.address == Address::NONE
    }
}

const FIRST_LEN: usize = 8;

/// The slots of one shard.
#[derive(Debug, Default)]
pub(super) struct SlotTable {
    slots: Box<[Slot]>,
    taken: usize,
}

impl SlotTable {
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    /// Memory taken, bytes.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// In no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| !slot.is_empty())
    }

    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// How many steps lead from one place to another.
    fn steps(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }

    /// The number of the slot with this tag that `is_wanted`. It is the slot's until something is inserted or removed.
    pub(super) fn find(&self, tag: u32, mut is_wanted: impl FnMut(&Slot) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(tag);
        loop {
            let slot = &self.slots[at];
            if slot.is_empty() {
                return None;
            }
            if slot.tag == tag && is_wanted(slot) {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    pub(super) fn at(&self, number: usize) -> &Slot {
        &self.slots[number]
    }

    pub(super) fn at_mut(&mut self, number: usize) -> &mut Slot {
        &mut self.slots[number]
    }

    /// Adds the slot of a key that has none.
    pub(super) fn insert(&mut self, slot: Slot) {
        // Some place is always empty, so that every search ends.
        if 4 * (self.taken + 1) > 3 * self.slots.len() {
            self.grow();
        }
        self.settle(slot);
        self.taken += 1;
    }

    fn settle(&mut self, slot: Slot) {
        let mut at = self.home(slot.tag);
        while !self.slots[at].is_empty() {
            at = self.after(at);
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let len = (self.slots.len() + self.slots.len() / 2).max(FIRST_LEN);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; len].into_boxed_slice());
        old.iter().filter(|slot| !slot.is_empty()).for_each(|slot| self.settle(*slot));
    }

    /// Takes a slot out. Those behind it that had been pushed away from their home move up: nothing marks its grave.
    pub(super) fn remove(&mut self, number: usize) {
        let mut hole = number;
        let mut at = self.after(hole);
        while !self.slots[at].is_empty() {
            let home = self.home(self.slots[at].tag);
            if self.steps(home, at) >= self.steps(hole, at) {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.slots[hole] = EMPTY;
        self.taken -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few tags, and those at the array's ends: many keys share one, and runs go past the end.
    fn tag() -> impl Strategy<Value = u32> {
        prop_oneof![0u32..4, (u32::MAX - 4)..=u32::MAX, any::<u32>()]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((0u8..5, tag(), 0u32..6), 1..300)) {
            let mut table = SlotTable::default();
            let mut model: BTreeMap<(u32, u32), u32> = BTreeMap::new();
            for (what, tag, which) in steps {
                // The guess tells the keys apart here.
                let found = table.find(tag, |slot| slot.record == Guess::of(which, 0));
                prop_assert_eq!(found.is_some(), model.contains_key(&(tag, which)));
                match (what, found) {
                    (0, Some(number)) => {
                        table.remove(number);
                        model.remove(&(tag, which));
                    }
                    (_, Some(number)) => {
                        table.at_mut(number).address = Address::of_bits(model.len() as u32);
                        model.insert((tag, which), model.len() as u32);
                    }
                    (_, None) => {
                        let address = Address::of_bits(model.len() as u32);
                        table.insert(Slot { tag, address, record: Guess::of(which, 0) });
                        model.insert((tag, which), model.len() as u32);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.iter().count(), model.len());
                for ((tag, which), address) in &model {
                    let found = table.find(*tag, |slot| slot.record == Guess::of(*which, 0));
                    let found = found.map(|number| table.at(number).address);
                    prop_assert_eq!(found, Some(Address::of_bits(*address)));
                }
            }
        }
    }

    #[test]
    fn a_key_takes_at_most_two_slots_of_memory() {
        let mut table = SlotTable::default();
        for i in 0..100_000u32 {
            let slot =
                Slot { tag: i.wrapping_mul(0x9e37_79b9), address: Address::of_bits(i), record: Guess::NONE };
            table.insert(slot);
            let slots = table.bytes() / size_of::<Slot>();
            assert!(
                4 * table.len() <= 3 * slots && slots <= (2 * table.len()).max(FIRST_LEN),
                "{slots} for {}",
                i + 1
            );
        }
    }
}
