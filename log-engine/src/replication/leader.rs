//! [`Leader`]: what the leader of a partition knows and decides: who is in sync, how far the high watermark may go, and
//! which producers may be told that their batch is stored.
//!
//! Invariants:
//! * The high watermark is the smallest of what the leader and each follower in sync hold. Held means synced, if that
//!   was promised.
//! * A batch with [`Acks::All`] is acknowledged only when the high watermark is past it, and only while at least
//!   `min_isr` brokers are in sync. With too few it isn't appended in the first place.

use std::collections::VecDeque;

use engine_env::Peer;

use super::isr::Isr;
use crate::log::leader_epochs::Epoch;
use crate::message::{Acks, ProduceAnswer, Produced};
use crate::{BrokerId, Offset};

/// A batch whose producer waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) client: Peer,
    /// The client's name for it.
    pub(crate) id: u64,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) deadline_ms: u64,
}

/// The leader's side of a partition.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) epoch: Epoch,
    /// Where the log ended when its term began.
    epoch_start: Offset,
    min_isr: u16,
    pub(crate) isr: Isr,
    /// Where its log ends.
    pub(crate) end: Offset,
    /// It holds everything below this, durably if that was promised.
    held: Offset,
    /// Batches for all replicas, and for the leader only, in the order of their offsets.
    for_all: VecDeque<Waiting>,
    for_leader: VecDeque<Waiting>,
    /// Batches that were sent again: their offsets are earlier ones, in any order.
    repeated: Vec<(Acks, Waiting)>,
    /// A follower knows of a later term: this log isn't the one that led before.
    pub(crate) lost_log: bool,
}

impl Leader {
    pub(crate) fn new(epoch: Epoch, end: Offset, held: Offset, min_isr: u16, isr: Isr) -> Self {
        Self {
            epoch,
            epoch_start: end,
            min_isr,
            isr,
            end,
            held,
            for_all: VecDeque::new(),
            for_leader: VecDeque::new(),
            repeated: Vec::new(),
            lost_log: false,
        }
    }

    /// Whether a batch may be appended now.
    pub(crate) fn admit(&self, acks: Acks) -> Result<(), ProduceAnswer> {
        let (in_sync, min_isr) = (self.isr.waited_for(), self.min_isr);
        if self.lost_log {
            return Err(ProduceAnswer::LeaderLostLog);
        }
        if acks == Acks::All && in_sync < min_isr {
            return Err(ProduceAnswer::NotEnoughReplicas { in_sync, min_isr });
        }
        Ok(())
    }

    /// A batch was appended.
    pub(crate) fn appended(&mut self, now_ms: u64, acks: Acks, waiting: Waiting) {
        assert!(waiting.base == self.end, "batches are appended in the order of their offsets");
        self.isr.observe(now_ms, self.end);
        self.end = waiting.end;
        match acks {
            Acks::None => {}
            Acks::Leader => self.for_leader.push_back(waiting),
            Acks::All => self.for_all.push_back(waiting),
        }
    }

    /// A batch was sent again that is in the log.
    pub(crate) fn repeated(&mut self, acks: Acks, waiting: Waiting) {
        if acks != Acks::None {
            self.repeated.push((acks, waiting));
        }
    }

    /// The leader's own log holds everything below `held`.
    pub(crate) fn hold(&mut self, held: Offset) {
        self.held = self.held.max(held);
    }

    /// A follower, whose log agrees with this one, holds everything below `held`. Gives whether that brought it into
    /// the set of those in sync.
    pub(crate) fn report(&mut self, follower: BrokerId, now_ms: u64, held: Offset, mark: Offset) -> bool {
        self.isr.observe(now_ms, self.end);
        self.isr.report(follower, now_ms, held, mark.max(self.epoch_start))
    }

    /// How far the high watermark may go.
    pub(crate) fn held_in_sync(&self) -> Offset {
        self.isr.held_by_all().map_or(self.held, |held| held.min(self.held))
    }

    /// Who hears of what, with the high watermark at `mark`.
    pub(crate) fn acknowledge(&mut self, mark: Offset, mut tell: impl FnMut(Peer, Produced)) {
        while let Some(one) = self.for_all.pop_front_if(|w| w.end <= mark) {
            tell(one.client, Produced { id: one.id, answer: self.answer(Acks::All, &one) });
        }
        while let Some(one) = self.for_leader.pop_front_if(|w| w.end <= self.held) {
            tell(one.client, Produced { id: one.id, answer: self.answer(Acks::Leader, &one) });
        }
        // After a new term's begin the mark may be past it before anybody has said what he holds.
        let Self { isr, held, min_isr, repeated, .. } = self;
        let is_told = |end| isr.len() < *min_isr || u16::from(*held >= end) + isr.copies(end) >= *min_isr;
        let is_due = |acks: Acks, end: Offset| match acks {
            Acks::All => end <= mark && is_told(end),
            Acks::None | Acks::Leader => end <= *held,
        };
        let due: Vec<_> = repeated.extract_if(.., |(acks, one)| is_due(*acks, one.end)).collect();
        for (acks, one) in due {
            tell(one.client, Produced { id: one.id, answer: self.answer(acks, &one) });
        }
    }

    /// What is said of a batch that is held as was asked.
    fn answer(&self, acks: Acks, one: &Waiting) -> ProduceAnswer {
        let (base, in_sync, min_isr) = (one.base, self.isr.len(), self.min_isr);
        if acks == Acks::All && in_sync < min_isr {
            ProduceAnswer::NotEnoughReplicasAfterAppend { base, in_sync, min_isr }
        } else {
            ProduceAnswer::Stored { base, copies: self.copies(one.end) }
        }
    }

    /// Whether a producer waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.for_all.is_empty() || !self.for_leader.is_empty() || !self.repeated.is_empty()
    }

    /// How many brokers hold everything below `end`.
    fn copies(&self, end: Offset) -> u16 {
        u16::from(self.held >= end) + self.isr.copies(end)
    }

    /// Lets go of batches that waited too long. Clients wait equally long, so the oldest is due first.
    pub(crate) fn expire(&mut self, now_ms: u64, mut tell: impl FnMut(Peer, Produced)) {
        let mut late = |one: Waiting| {
            tell(one.client, Produced { id: one.id, answer: ProduceAnswer::TimedOut { base: one.base } })
        };
        for queue in [&mut self.for_all, &mut self.for_leader] {
            while let Some(one) = queue.pop_front_if(|w| w.deadline_ms <= now_ms) {
                late(one);
            }
        }
        self.repeated.extract_if(.., |(_, w)| w.deadline_ms <= now_ms).for_each(|(_, one)| late(one));
    }

    /// Lets go of everybody, because the disk failed.
    pub(crate) fn fail(&mut self, mut tell: impl FnMut(Peer, Produced)) {
        let repeated = self.repeated.drain(..).map(|(_, one)| one);
        for one in self.for_all.drain(..).chain(self.for_leader.drain(..)).chain(repeated) {
            tell(one.client, Produced { id: one.id, answer: ProduceAnswer::StorageFailed });
        }
    }

    /// When [`Leader::expire`] or the set of those in sync has to be looked at next.
    pub(crate) fn next_look(&self) -> Option<u64> {
        let deadlines = [self.for_all.front(), self.for_leader.front()];
        let repeated = self.repeated.iter().map(|(_, w)| w);
        let deadlines = deadlines.into_iter().flatten().chain(repeated).map(|w| w.deadline_ms);
        deadlines.chain(self.isr.next_look(self.end)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BrokerId = BrokerId(1);
    const B: BrokerId = BrokerId(2);
    const LAG_MS: u64 = 100;

    fn leader(min_isr: u16) -> Leader {
        let isr = Isr::new([A, B].into_iter(), LAG_MS, 0, Offset(0));
        let mut leader = Leader::new(0, Offset(0), Offset(0), min_isr, isr);
        for id in [A, B] {
            assert!(leader.report(id, 0, Offset(0), Offset(0)));
        }
        leader
    }

    fn append(leader: &mut Leader, now_ms: u64, acks: Acks, id: u64) {
        let (base, end) = (leader.end, leader.end.plus(1));
        leader.appended(
            now_ms,
            acks,
            Waiting { client: Peer(1000), id, base, end, deadline_ms: now_ms + 1000 },
        );
    }

    fn answers(leader: &mut Leader) -> Vec<(u64, ProduceAnswer)> {
        let mut all = Vec::new();
        let mark = leader.held_in_sync();
        leader.acknowledge(mark, |_, p| all.push((p.id, p.answer)));
        all
    }

    #[test]
    fn all_means_everybody_in_sync_and_the_leader_itself() {
        let mut leader = leader(2);
        append(&mut leader, 1, Acks::All, 7);
        leader.report(A, 2, Offset(1), Offset(0));
        leader.report(B, 2, Offset(1), Offset(0));
        // The followers were faster than the leader's own disk.
        assert_eq!(leader.held_in_sync(), Offset(0));
        assert_eq!(answers(&mut leader), []);
        leader.hold(Offset(1));
        let stored = ProduceAnswer::Stored { base: Offset(0), copies: 3 };
        assert_eq!(answers(&mut leader), [(7, stored)]);
    }

    #[test]
    fn leader_only_waits_for_the_leader_and_counts_who_has_it() {
        let mut leader = leader(2);
        append(&mut leader, 1, Acks::Leader, 7);
        assert_eq!(answers(&mut leader), []);
        leader.report(B, 2, Offset(1), Offset(0));
        leader.hold(Offset(1));
        assert_eq!(answers(&mut leader), [(7, ProduceAnswer::Stored { base: Offset(0), copies: 2 })]);
        assert_eq!(leader.held_in_sync(), Offset(0), "A has it not, so consumers don't see it");
    }

    #[test]
    fn who_is_late_holds_nobody_up_unless_too_few_are_left() {
        for (min_isr, stored) in [(2, true), (3, false)] {
            let mut leader = leader(min_isr);
            append(&mut leader, 1, Acks::All, 7);
            leader.hold(Offset(1));
            leader.report(A, 2, Offset(1), Offset(0));
            assert_eq!(answers(&mut leader), []);
            for now in [50, 110, 220] {
                leader.isr.observe(now, leader.end);
                leader.isr.shrink(now);
            }
            assert_eq!(leader.isr.len(), 2);
            let (base, in_sync) = (Offset(0), 2);
            let expected = if stored {
                ProduceAnswer::Stored { base, copies: 2 }
            } else {
                ProduceAnswer::NotEnoughReplicasAfterAppend { base, in_sync, min_isr }
            };
            assert_eq!(answers(&mut leader), [(7, expected)]);
            assert_eq!(leader.admit(Acks::All).is_ok(), stored);
            assert!(leader.admit(Acks::Leader).is_ok());
            // It comes back, holding what it has to.
            assert!(!leader.report(B, 300, Offset(0), Offset(1)));
            assert!(leader.report(B, 301, Offset(1), Offset(1)));
            assert!(leader.admit(Acks::All).is_ok());
        }
    }

    #[test]
    fn who_waits_too_long_is_told_so() {
        let mut leader = leader(2);
        append(&mut leader, 1, Acks::All, 7);
        leader.isr.observe(7, leader.end);
        append(&mut leader, 500, Acks::All, 8);
        let mut late = Vec::new();
        leader.expire(1001, |_, p| late.push((p.id, p.answer)));
        assert_eq!(late, [(7, ProduceAnswer::TimedOut { base: Offset(0) })]);
        assert_eq!(leader.next_look(), Some(7 + LAG_MS), "of the set of those in sync");
    }
}
