//! [`Isr`]: which followers are in sync with their leader, as the leader sees it.
//!
//! A follower is in sync as of a moment if it reported all that the leader's log held then. Behind by more than the lag
//! allowed, it leaves the set: then acknowledgements stop waiting for it. It comes back when it is at the high watermark
//! again, in the leader's term, and within the lag: then they wait for it once more.
//!
//! Kafka compares a fetch with the log's end at the fetch before. With several batches under way that never holds
//! though the follower keeps pace, so the leader remembers a few of its former ends instead.

use std::collections::VecDeque;

use crate::{BrokerId, Offset};

/// Moments remembered within the allowed lag.
const MOMENTS: u64 = 16;

/// How a follower stands in the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing was heard of it in this leader's term. It may have been in the set before, so it is waited for; it counts
    /// only when it has shown that it holds what it has to.
    Presumed,
    In,
    Out,
}

#[derive(Debug)]
struct Replica {
    id: BrokerId,
    /// What it said that it holds: durably, if that was promised. Nothing yet in this leader's term.
    reported: Option<Offset>,
    standing: Standing,
}

impl Replica {
    fn is_waited_for(&self) -> bool {
        self.standing != Standing::Out
    }
}

/// The followers of a partition.
#[derive(Debug)]
pub(crate) struct Isr {
    replicas: Vec<Replica>,
    lag_ms: u64,
    /// Where the log ended at some moments, oldest first. The first one may be older than the lag.
    ends: VecDeque<(u64, Offset)>,
    /// How often a follower left the set, and came back.
    pub(crate) shrinks: u64,
    pub(crate) expands: u64,
}

impl Isr {
    /// All followers are presumed in sync until they report or are late: who was in the set before isn't known.
    pub(crate) fn new(
        followers: impl Iterator<Item = BrokerId>,
        lag_ms: u64,
        now_ms: u64,
        end: Offset,
    ) -> Self {
        let replicas =
            followers.map(|id| Replica { id, reported: None, standing: Standing::Presumed }).collect();
        Self {
            replicas,
            lag_ms: lag_ms.max(1),
            ends: VecDeque::from([(now_ms, end)]),
            shrinks: 0,
            expands: 0,
        }
    }

    /// Number of brokers in sync, the leader included.
    pub(crate) fn len(&self) -> u16 {
        1 + u16::try_from(self.members().count()).expect("brokers count in u16")
    }

    /// Number of brokers that are waited for, the leader included: those in sync, and those that may be.
    pub(crate) fn waited_for(&self) -> u16 {
        1 + u16::try_from(self.replicas.iter().filter(|r| r.is_waited_for()).count())
            .expect("brokers count in u16")
    }

    /// The followers in sync.
    pub(crate) fn members(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.replicas.iter().filter(|r| r.standing == Standing::In).map(|r| r.id)
    }

    /// What every follower that is waited for holds; `None` if nobody is.
    pub(crate) fn held_by_all(&self) -> Option<Offset> {
        let waited_for = self.replicas.iter().filter(|r| r.is_waited_for());
        waited_for.map(|r| r.reported.unwrap_or_default()).min()
    }

    /// How many followers hold everything below `end`.
    pub(crate) fn copies(&self, end: Offset) -> u16 {
        let holding = self.replicas.iter().filter(|r| r.reported.is_some_and(|held| held >= end));
        u16::try_from(holding.count()).expect("brokers count in u16")
    }

    /// Remembers where the log ends now.
    pub(crate) fn observe(&mut self, now_ms: u64, end: Offset) {
        let &(last_ms, last) = self.ends.back().expect("there is always one");
        if end != last && now_ms >= last_ms + (self.lag_ms / MOMENTS).max(1) {
            self.ends.push_back((now_ms, end));
        }
        while self.ends.get(1).is_some_and(|&(at, _)| at + self.lag_ms <= now_ms) {
            self.ends.pop_front();
        }
    }

    /// Where the log ended as long ago as a follower may be late, or a little earlier.
    fn due(&self, now_ms: u64) -> Offset {
        let &(at, end) = self.ends.front().expect("there is always one");
        if at + self.lag_ms <= now_ms { end } else { Offset(0) }
    }

    /// A follower holds everything below `held`. Gives whether that brought it into the set.
    pub(crate) fn report(&mut self, id: BrokerId, now_ms: u64, held: Offset, at_least: Offset) -> bool {
        let due = self.due(now_ms);
        let Some(replica) = self.replicas.iter_mut().find(|r| r.id == id) else { return false };
        // A follower that lost its disk holds less than before. It is believed.
        replica.reported = Some(held);
        let joins = replica.standing != Standing::In && held >= at_least && held >= due;
        if joins {
            self.expands += u64::from(replica.standing == Standing::Out);
            replica.standing = Standing::In;
        }
        joins
    }

    /// Takes out who is late. Gives whether somebody was.
    pub(crate) fn shrink(&mut self, now_ms: u64) -> bool {
        let due = self.due(now_ms);
        let mut shrunk = false;
        for replica in &mut self.replicas {
            if replica.is_waited_for() && replica.reported.unwrap_or_default() < due {
                (replica.standing, shrunk) = (Standing::Out, true);
                self.shrinks += 1;
            }
        }
        shrunk
    }

    /// When to look again: `observe` and `shrink`.
    pub(crate) fn next_look(&self, end: Offset) -> Option<u64> {
        let behind = |r: &&Replica| r.is_waited_for() && r.reported.unwrap_or_default() < end;
        let slowest = self.replicas.iter().filter(behind).map(|r| r.reported.unwrap_or_default()).min()?;
        let missed = self.ends.iter().find(|&&(_, end)| end > slowest);
        // A moment that isn't remembered yet has to be, first.
        let &(last_ms, _) = self.ends.back().expect("there is always one");
        Some(missed.map_or(last_ms + (self.lag_ms / MOMENTS).max(1), |&(at, _)| at + self.lag_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BrokerId = BrokerId(1);
    const B: BrokerId = BrokerId(2);

    fn isr() -> Isr {
        let mut isr = Isr::new([A, B].into_iter(), 100, 0, Offset(0));
        assert_eq!((isr.len(), isr.waited_for()), (1, 3));
        for id in [A, B] {
            assert!(isr.report(id, 0, Offset(0), Offset(0)));
        }
        isr
    }

    #[test]
    fn who_was_never_heard_of_is_waited_for_and_does_not_count() {
        let mut isr = Isr::new([A, B].into_iter(), 100, 0, Offset(7));
        assert!(isr.report(A, 1, Offset(7), Offset(7)));
        assert!(!isr.report(B, 1, Offset(6), Offset(7)));
        assert_eq!((isr.len(), isr.waited_for(), isr.held_by_all()), (2, 3, Some(Offset(6))));
        pass(&mut isr, Offset(7), 1, 200);
        assert_eq!((isr.len(), isr.waited_for(), isr.held_by_all()), (2, 2, Some(Offset(7))));
    }

    /// Lets time pass as a driver would: looks when the set asks for it.
    fn pass(isr: &mut Isr, end: Offset, from_ms: u64, to_ms: u64) {
        let mut now = from_ms;
        while let Some(look) = isr.next_look(end).filter(|&at| at <= to_ms) {
            assert!(look >= now || now == from_ms, "a look asks for one that is past");
            now = now.max(look);
            isr.observe(now, end);
            if isr.shrink(now) {
                break;
            }
        }
    }

    #[test]
    fn who_keeps_pace_with_several_batches_under_way_stays() {
        let mut isr = isr();
        for now in 0..1000 {
            // Always fifty behind, and never older than that.
            let end = Offset(now * 10);
            isr.observe(now, end);
            for id in [A, B] {
                isr.report(id, now, Offset((now * 10).saturating_sub(50)), Offset(0));
            }
            assert!(!isr.shrink(now), "at {now} ms");
        }
        assert_eq!(isr.len(), 3);
    }

    #[test]
    fn who_stops_leaves_after_the_lag_and_not_before() {
        let mut isr = isr();
        isr.observe(1000, Offset(5));
        isr.report(A, 1001, Offset(5), Offset(0));
        pass(&mut isr, Offset(5), 1001, 1099);
        assert_eq!(isr.len(), 3);
        pass(&mut isr, Offset(5), 1099, 1110);
        assert_eq!(isr.members().collect::<Vec<_>>(), [A]);
        assert_eq!(isr.held_by_all(), Some(Offset(5)));
    }

    #[test]
    fn idle_time_is_not_lag() {
        let mut isr = isr();
        isr.observe(50, Offset(5));
        for id in [A, B] {
            isr.report(id, 51, Offset(5), Offset(0));
        }
        assert_eq!(isr.next_look(Offset(5)), None);
        // An hour later: both have held everything all the time.
        isr.observe(3_600_000, Offset(6));
        assert!(!isr.shrink(3_600_000));
        pass(&mut isr, Offset(6), 3_600_000, 3_600_099);
        assert_eq!(isr.len(), 3);
        pass(&mut isr, Offset(6), 3_600_099, 3_600_200);
        assert_eq!(isr.len(), 1);
    }

    #[test]
    fn who_comes_back_is_in_only_at_the_high_watermark() {
        let mut isr = isr();
        isr.observe(10, Offset(100));
        isr.report(A, 11, Offset(100), Offset(0));
        pass(&mut isr, Offset(100), 11, 300);
        assert_eq!(isr.len(), 2);
        assert!(!isr.report(B, 300, Offset(99), Offset(100)));
        assert_eq!(isr.held_by_all(), Some(Offset(100)));
        assert!(isr.report(B, 301, Offset(100), Offset(100)));
        assert_eq!((isr.len(), isr.shrinks, isr.expands), (3, 1, 1));
    }

    #[test]
    fn what_was_appended_between_two_moments_counts_too() {
        let mut isr = isr();
        isr.observe(1000, Offset(5));
        // Too soon after the last moment to be remembered at once.
        isr.observe(1001, Offset(6));
        for id in [A, B] {
            isr.report(id, 1001, Offset(5), Offset(0));
        }
        pass(&mut isr, Offset(6), 1001, 2000);
        assert_eq!(isr.len(), 1);
    }
}
