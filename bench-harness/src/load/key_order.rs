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

    /// Whether an operation on the key may start now; it is on the key then, and has to leave it. Whoever may not is
    /// to be held.
    pub(super) fn enter(&mut self, key: u32, writes: bool) -> bool {
        let index = key as usize;
        if index >= self.keys.len() {
            self.keys.resize((index + 1).next_power_of_two(), 0);
        }
        let waits = (self.held_count > 0 && self.held.contains_key(&key)) || !free(self.keys[index], writes);
        if !waits {
            occupy(&mut self.keys[index], writes);
        }
        !waits
    }

    /// Keeps what could not enter until whoever was before it has left.
    pub(super) fn hold(&mut self, key: u32, writes: bool, item: T) {
        self.held.entry(key).or_default().push_back((writes, item));
        self.held_count += 1;
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
        let enter = |order: &mut KeyOrder<_>, key, writes, item| {
            let entered = order.enter(key, writes);
            if !entered {
                order.hold(key, writes, item);
            }
            entered
        };
        assert!(enter(&mut order, 7, false, "read 1"));
        assert!(enter(&mut order, 7, false, "read 2"));
        assert!(!enter(&mut order, 7, true, "write"));
        assert!(!enter(&mut order, 7, false, "read 3"), "it came after the write");
        assert!(enter(&mut order, 8, true, "other key"));
        assert_eq!(order.held(), 2);
        order.leave(7, false, &mut start);
        assert!(start.is_empty(), "one reader is still on the key");
        order.leave(7, false, &mut start);
        assert_eq!(start.drain(..).collect::<Vec<_>>(), ["write"]);
        order.leave(7, true, &mut start);
        assert_eq!(start.drain(..).collect::<Vec<_>>(), ["read 3"]);
        assert_eq!(order.held(), 0);
        assert!(enter(&mut order, 7, false, "read 4"));
    }
}
