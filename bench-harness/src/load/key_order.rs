//! [`KeyOrder`]: a member belongs to one session, so operations on a key keep their order.
//!
//! Reads of a key may overlap each other; a write overlaps nothing on its key. Whatever can't start waits behind
//! what came before it, first come first served, and keeps its due time.

use std::collections::{HashMap, VecDeque};

/// Who is on a key: 0 nobody, `WRITER` one writer, else that many readers.
type Occupants = u32;
const WRITER: Occupants = Occupants::MAX;

#[derive(Debug)]
pub(super) struct KeyOrder<T> {
    keys: Vec<Occupants>,
    held: HashMap<u32, VecDeque<(bool, T)>>,
    held_count: usize,
}

impl<T> KeyOrder<T> {
    pub(super) fn new() -> Self {
        Self { keys: Vec::new(), held: HashMap::new(), held_count: 0 }
    }

    /// How many wait.
    pub(super) fn held(&self) -> usize {
        self.held_count
    }

    /// Gives `item` back if it may start now; keeps it otherwise.
    pub(super) fn enter(&mut self, key: u32, writes: bool, item: T) -> Option<T> {
        let index = key as usize;
        if index >= self.keys.len() {
            self.keys.resize((index + 1).next_power_of_two(), 0);
        }
        let waits = (self.held_count > 0 && self.held.contains_key(&key)) || !free(self.keys[index], writes);
        if waits {
            self.held.entry(key).or_default().push_back((writes, item));
            self.held_count += 1;
            return None;
        }
        occupy(&mut self.keys[index], writes);
        Some(item)
    }

    /// An operation left the key: pushes whatever may start now.
    pub(super) fn leave(&mut self, key: u32, writes: bool, start: &mut VecDeque<T>) {
        let occupants = &mut self.keys[key as usize];
        assert!(*occupants != 0 && (*occupants == WRITER) == writes, "who leaves a key has entered it");
        *occupants = if writes { 0 } else { *occupants - 1 };
        if self.held_count == 0 {
            return;
        }
        let Some(waiting) = self.held.get_mut(&key) else { return };
        while let Some((writes, _)) = waiting.front() {
            if !free(*occupants, *writes) {
                break;
            }
            let (writes, item) = waiting.pop_front().expect("there is a front");
            occupy(occupants, writes);
            self.held_count -= 1;
            start.push_back(item);
        }
        if waiting.is_empty() {
            self.held.remove(&key);
        }
    }
}

fn free(occupants: Occupants, writes: bool) -> bool {
    if writes { occupants == 0 } else { occupants < WRITER - 1 }
}

fn occupy(occupants: &mut Occupants, writes: bool) {
    *occupants = if writes { WRITER } else { *occupants + 1 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_share_a_key_a_write_has_it_alone_and_nobody_overtakes() {
        let mut order = KeyOrder::new();
        let mut start = VecDeque::new();
        assert_eq!(order.enter(7, false, "read 1"), Some("read 1"));
        assert_eq!(order.enter(7, false, "read 2"), Some("read 2"));
        assert_eq!(order.enter(7, true, "write"), None);
        assert_eq!(order.enter(7, false, "read 3"), None, "it came after the write");
        assert_eq!(order.enter(8, true, "other key"), Some("other key"));
        assert_eq!(order.held(), 2);
        order.leave(7, false, &mut start);
        assert!(start.is_empty(), "one reader is still on the key");
        order.leave(7, false, &mut start);
        assert_eq!(start.drain(..).collect::<Vec<_>>(), ["write"]);
        order.leave(7, true, &mut start);
        assert_eq!(start.drain(..).collect::<Vec<_>>(), ["read 3"]);
        assert_eq!(order.held(), 0);
        assert_eq!(order.enter(7, false, "read 4"), Some("read 4"));
    }
}
