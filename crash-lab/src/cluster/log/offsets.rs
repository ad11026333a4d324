//! [`Offsets`]: the judge of a cluster of the log. It knows which records were produced, at which offsets they were
//! acknowledged, and what a consumer has read.
//!
//! * An acknowledgement with `acks=all` comes with an offset that nobody else was told, and with as many copies as asked for.
//! * A consumer reads every offset once, in order.
//! * At the end each acknowledged record is at its offset, none is there twice, the consumer has read what is there, and
//!   all brokers have the same bytes.

use std::collections::{BTreeMap, BTreeSet};

/// A record that somebody waits for.
#[derive(Debug)]
struct Produced {
    partition: usize,
    value: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Offsets {
    min_isr: u16,
    under_way: BTreeMap<u64, Produced>,
    next_token: u64,
    /// Of each partition, acknowledged values by offset.
    acked: Vec<BTreeMap<u64, Vec<u8>>>,
    /// Of each partition, what the consumer has read.
    seen: Vec<Vec<Vec<u8>>>,
    pub(super) failed: u64,
}

impl Offsets {
    pub(super) fn new(partitions: usize, min_isr: u16) -> Self {
        Self {
            min_isr,
            under_way: BTreeMap::new(),
            next_token: 0,
            acked: vec![BTreeMap::new(); partitions],
            seen: vec![Vec::new(); partitions],
            failed: 0,
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.acked.len()
    }

    /// How many records were produced.
    pub(super) fn attempted(&self) -> u64 {
        self.next_token
    }

    /// How many were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acked.iter().map(|partition| partition.len() as u64).sum()
    }

    /// How many have no outcome yet.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Somebody is about to produce a value of `len` bytes, no other like it; gives token and value.
    pub(super) fn attempt(&mut self, partition: usize, len: usize) -> (u64, Vec<u8>) {
        let token = self.next_token;
        self.next_token += 1;
        let value: Vec<u8> = format!("record {token} ").bytes().cycle().take(len.max(20)).collect();
        self.under_way.insert(token, Produced { partition, value: value.clone() });
        (token, value)
    }

    /// A record came to its end: at this offset with so many copies, or without an acknowledgement.
    pub(super) fn end(&mut self, token: u64, acked: Option<(u64, u16)>) -> Result<String, String> {
        let ended = self.under_way.remove(&token);
        let Produced { partition, value } = ended.ok_or_else(|| format!("record {token} ended twice"))?;
        let Some((offset, copies)) = acked else {
            self.failed += 1;
            return Ok(format!("record {token} failed"));
        };
        if copies < self.min_isr {
            return Err(format!("record {token} was acknowledged with {copies} copies"));
        }
        if self.acked[partition].contains_key(&offset) {
            return Err(format!("offset {offset} of partition {partition} was given to two records"));
        }
        self.acked[partition].insert(offset, value);
        Ok(format!("record {token} acknowledged at {offset} of partition {partition} by {copies}"))
    }

    /// The consumer has read a record.
    pub(super) fn read(&mut self, partition: usize, offset: u64, value: &[u8]) -> Result<(), String> {
        let seen = &mut self.seen[partition];
        if offset != seen.len() as u64 {
            return Err(format!(
                "the consumer read offset {offset} of partition {partition} after {}",
                seen.len()
            ));
        }
        if let Some(acked) = self.acked[partition].get(&offset)
            && acked != value
        {
            return Err(format!("offset {offset} of partition {partition} reads as another record"));
        }
        seen.push(value.to_vec());
        Ok(())
    }

    /// What the leader of a partition has at the end, by offset.
    pub(super) fn judge_end(&self, partition: usize, values: &[Vec<u8>]) -> Result<(), String> {
        let distinct: BTreeSet<_> = values.iter().collect();
        if distinct.len() < values.len() {
            let twice = values.len() - distinct.len();
            return Err(format!("{twice} records of partition {partition} are there twice"));
        }
        for (offset, value) in &self.acked[partition] {
            let there = usize::try_from(*offset).ok().and_then(|at| values.get(at));
            if there != Some(value) {
                return Err(format!("offset {offset} of partition {partition} was acknowledged and is gone"));
            }
        }
        let seen = &self.seen[partition];
        match seen.as_slice() == values {
            true => Ok(()),
            false => Err(format!(
                "partition {partition} has {} records, and the consumer read {} that aren't all the same",
                values.len(),
                seen.len()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_must_be_there_once_and_be_read() {
        let mut offsets = Offsets::new(1, 2);
        let (a, first) = offsets.attempt(0, 20);
        let (b, second) = offsets.attempt(0, 20);
        let (c, _) = offsets.attempt(0, 20);
        assert!(offsets.end(a, Some((0, 2))).is_ok());
        assert!(offsets.end(a, None).is_err(), "it ended twice");
        assert!(offsets.end(b, Some((1, 1))).is_err(), "too few copies");
        assert!(offsets.end(c, Some((0, 3))).is_err(), "an offset of another one");
        assert!(offsets.read(0, 0, &second).is_err(), "another record is there");
        assert_eq!(offsets.read(0, 0, &first), Ok(()));
        assert!(offsets.read(0, 0, &first).is_err(), "read twice");
        assert_eq!(offsets.judge_end(0, std::slice::from_ref(&first)), Ok(()));
        assert!(offsets.judge_end(0, &[]).is_err(), "it is gone");
        assert!(offsets.judge_end(0, &[first.clone(), first.clone()]).is_err(), "it is there twice");
        assert!(offsets.judge_end(0, &[first, second]).is_err(), "the consumer has not read all");
    }
}
