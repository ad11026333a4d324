//! [`Arena`]: where a shard's entries stand, packed. An allocation for each key would cost more than a short entry.
//!
//! Slots are cut from blocks in steps of four bytes; a freed slot is taken again by the next entry of its size. Nothing
//! is given back to the system but the blocks of entries too long for a common one.

/// Names a slot: a block's number, and the offset in it in steps of [`STEP_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address(u32);

const STEP_BYTES: usize = 4;
const OFFSET_BITS: u32 = 14;
/// The length of a common block; with 2^18 of them a shard may have 16 GiB.
const BLOCK_BYTES: usize = STEP_BYTES << OFFSET_BITS;
/// The first block is this long, each further one twice as long up to a common one: an empty shard costs little.
const FIRST_BLOCK_BYTES: usize = 1 << 10;
/// A longer entry gets a block of its own.
const SHORT_BYTES_MAX: usize = 1 << 10;
const _: () = assert!(SHORT_BYTES_MAX <= FIRST_BLOCK_BYTES);
/// Ends a list of free slots, and names none: no block of entries is so long that a slot could begin at its last step.
const NONE: u32 = u32::MAX;

/// The entries of one shard, as bytes.
#[derive(Debug, Default, Clone)]
pub(super) struct Arena {
    blocks: Vec<Box<[u8]>>,
    /// The block that new slots are cut from, and how much of it is taken.
    open: Option<usize>,
    taken: usize,
    /// By size in steps: the first free slot, which holds the address of the next one.
    free: Vec<u32>,
    /// Numbers of blocks that held a long entry.
    free_blocks: Vec<usize>,
    bytes: usize,
}

fn steps(len: usize) -> usize {
    len.div_ceil(STEP_BYTES)
}

impl Address {
    /// No slot's.
    pub(super) const NONE: Self = Self(NONE);

    #[cfg(test)]
    pub(super) fn of_bits(bits: u32) -> Self {
        Self(bits)
    }

    fn new(block: usize, offset: usize) -> Self {
        let block = u32::try_from(block).ok().filter(|block| block >> (32 - OFFSET_BITS) == 0);
        let block = block.expect("a shard's entries have less than 16 GiB");
        Self(block << OFFSET_BITS | (offset / STEP_BYTES) as u32)
    }

    fn parts(self) -> (usize, usize) {
        let offset = self.0 & ((1 << OFFSET_BITS) - 1);
        ((self.0 >> OFFSET_BITS) as usize, offset as usize * STEP_BYTES)
    }
}

impl Arena {
    /// The bytes from an entry's beginning to the end of its block.
    pub(super) fn at(&self, address: Address) -> &[u8] {
        let (block, offset) = address.parts();
        &self.blocks[block][offset..]
    }

    fn at_mut(&mut self, address: Address) -> &mut [u8] {
        let (block, offset) = address.parts();
        &mut self.blocks[block][offset..]
    }

    /// Memory taken, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.blocks.capacity() * size_of::<Box<[u8]>>() + self.free.capacity() * 4
    }

    /// Keeps an entry.
    pub(super) fn store(&mut self, entry: &[u8]) -> Address {
        let address = self.slot(entry.len());
        self.at_mut(address)[..entry.len()].copy_from_slice(entry);
        address
    }

    /// Keeps an entry in place of one that was `old_len` bytes long.
    pub(super) fn replace(&mut self, address: Address, old_len: usize, entry: &[u8]) -> Address {
        let is_long = old_len.max(entry.len()) > SHORT_BYTES_MAX;
        if steps(old_len) != steps(entry.len()) || (is_long && old_len != entry.len()) {
            self.free(address, old_len);
            return self.store(entry);
        }
        self.at_mut(address)[..entry.len()].copy_from_slice(entry);
        address
    }

    /// Forgets an entry of `len` bytes.
    pub(super) fn free(&mut self, address: Address, len: usize) {
        if len > SHORT_BYTES_MAX {
            let (block, _) = address.parts();
            self.bytes -= self.blocks[block].len();
            self.blocks[block] = Box::default();
            self.free_blocks.push(block);
            return;
        }
        let size = steps(len);
        if size >= self.free.len() {
            self.free.resize(size + 1, NONE);
        }
        let next = std::mem::replace(&mut self.free[size], address.0);
        self.at_mut(address)[..STEP_BYTES].copy_from_slice(&next.to_le_bytes());
    }

    fn slot(&mut self, len: usize) -> Address {
        if len > SHORT_BYTES_MAX {
            let block = self.add_block(len);
            return Address::new(block, 0);
        }
        let size = steps(len);
        if let Some(&first) = self.free.get(size).filter(|first| **first != NONE) {
            let address = Address(first);
            let next = self.at(address).first_chunk().expect("a slot has at least a step");
            self.free[size] = u32::from_le_bytes(*next);
            return address;
        }
        let bytes = size * STEP_BYTES;
        let open_len = self.open.map_or(0, |open| self.blocks[open].len());
        let open = match self.open {
            Some(open) if self.taken + bytes <= open_len => open,
            _ => {
                self.taken = 0;
                let open = self.add_block((2 * open_len).clamp(FIRST_BLOCK_BYTES, BLOCK_BYTES));
                *self.open.insert(open)
            }
        };
        let address = Address::new(open, self.taken);
        self.taken += bytes;
        address
    }

    fn add_block(&mut self, len: usize) -> usize {
        let block = vec![0; len].into_boxed_slice();
        self.bytes += len;
        match self.free_blocks.pop() {
            Some(number) => {
                self.blocks[number] = block;
                number
            }
            None => {
                self.blocks.push(block);
                self.blocks.len() - 1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(seed: u8, len: usize) -> Vec<u8> {
        (0..len).map(|i| seed.wrapping_add(i as u8)).collect()
    }

    fn len() -> impl Strategy<Value = usize> {
        prop_oneof![8 => 4usize..100, 1 => 1000usize..1050, 1 => 60_000usize..70_000]
    }

    proptest! {
        /// Entries come, change their length and go; each is what it was, whatever the others did.
        #[test]
        fn no_entry_touches_another(steps in prop::collection::vec((0u8..3, any::<u8>(), len()), 1..200)) {
            let mut arena = Arena::default();
            let mut kept: Vec<(Address, Vec<u8>)> = Vec::new();
            for (what, seed, len) in steps {
                let entry = bytes(seed, len);
                match (what, kept.is_empty()) {
                    (0, _) | (_, true) => kept.push((arena.store(&entry), entry)),
                    (1, _) => {
                        let at = usize::from(seed) % kept.len();
                        let (address, old) = &kept[at];
                        kept[at] = (arena.replace(*address, old.len(), &entry), entry);
                    }
                    _ => {
                        let (address, old) = kept.swap_remove(usize::from(seed) % kept.len());
                        arena.free(address, old.len());
                    }
                }
                for (address, entry) in &kept {
                    prop_assert_eq!(&arena.at(*address)[..entry.len()], entry.as_slice());
                }
            }
        }
    }

    #[test]
    fn freed_slots_are_taken_again() {
        let mut arena = Arena::default();
        let slots: Vec<Address> = (0..10_000).map(|i| arena.store(&bytes(i as u8, 60))).collect();
        let before = arena.bytes();
        for _ in 0..5 {
            slots.iter().for_each(|slot| arena.free(*slot, 60));
            for i in 0..10_000 {
                let _ = arena.store(&bytes(i as u8, 58));
            }
        }
        assert!(arena.bytes() < before + before / 100, "{} bytes became {}", before, arena.bytes());
        let long = arena.store(&bytes(1, 1 << 20));
        arena.free(long, 1 << 20);
        assert!(arena.bytes() < before + before / 100, "a long entry's block goes back");
    }
}
