//! [`Registers`]: the judge of a cluster of the store. It knows what clients attempted on each key and what they were told;
//! clocks it compares with code of its own.
//!
//! A client reads the clocks of a key, and writes under the merge of them. So the judge knows of each attempt which clocks
//! its version may have: that merge, counted up for one of the key's replicas. What is checked:
//!
//! * **No phantoms** (K3), always: each version that is read was attempted, with that value, under one of its clocks.
//! * **Siblings** (K4), always: the versions of one answer have not seen each other.
//! * **A node gives a clock once**, unless its disk was lost or a delete left nothing behind: then it counts from the start
//!   again.
//! * **No stale reads** where quorums overlap (R + W > N): whatever was acknowledged before a read began is in its answer,
//!   or is covered by a version or a delete that is. A delete that was acknowledged stays one. Where they don't overlap,
//!   such reads are counted.
//! * **Nothing is lost** (R1, R2), at the end, with all replicas read: the same, for every promise.
//!
//! All this is as good as Voldemort's clocks are, and they have two holes, which are counted. A client counts its base up
//! for a replica without asking what that one has given meanwhile. So a version can *overtake* one that its writer has never
//! seen: on 0:1 it becomes 0:1,1:1 at node 1, and covers another writer's 1:1. And two versions can be *twins*: 0:1 counted up
//! at node 1 and 1:1 counted up at node 0 have one clock, and each replica keeps the one that it got first.

use std::collections::{BTreeMap, BTreeSet};

use engine_env::rng::mix;

use crate::stress::{Clock, Order};

/// What reads promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    /// R + W > N: no read is stale.
    Overlapping,
    /// R + W <= N: a read may be stale; it is counted.
    Partial,
}

/// What an attempt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    /// With replica tombstones: a version, which says that there is none.
    Bury,
    /// Without: the versions up to a clock are removed, and nothing stays.
    Remove,
}

#[derive(Debug)]
struct Attempt {
    key: usize,
    kind: Kind,
    /// What it descends from; of a `Remove`, what it removes.
    base: Clock,
    /// When it was acknowledged, and under which clock if that was told.
    acked: Option<(u64, Option<Clock>)>,
}

/// One key.
#[derive(Debug, Default)]
struct Register {
    replicas: Vec<u16>,
    attempts: Vec<usize>,
    /// Which attempt has which clock, as far as that is known.
    stands: BTreeMap<Clock, usize>,
}

/// A version as it is read.
pub(super) type Seen = (Vec<u8>, Clock);

/// See the module.
#[derive(Debug)]
pub(super) struct Registers {
    promise: Promise,
    attempts: Vec<Attempt>,
    keys: Vec<Register>,
    /// Nodes that lost their disk: they may give a clock again.
    amnesic: BTreeSet<u16>,
    /// Reads that missed something, allowed by the promise.
    pub(super) stale_reads: u64,
    /// Versions that came back after their delete was acknowledged, allowed by the promise.
    pub(super) resurrected: u64,
    /// Clocks that a node has given twice, after a lost disk or a delete that left nothing behind.
    pub(super) reused_clocks: u64,
    /// Clocks that two nodes have given.
    pub(super) twins: u64,
    /// How often the end was judged by what hints or anti-entropy alone have brought, before anything was read.
    pub(super) replicas_judged: u64,
    pub(super) acknowledged: u64,
    /// Of the attempts.
    pub(super) failed: u64,
    pub(super) reads_failed: u64,
    pub(super) siblings_seen: u64,
}

/// What an answer lacks.
enum Lack {
    /// A put that was acknowledged, or a delete whose clock is nowhere.
    Missed(usize),
    /// A version that a delete had covered.
    Resurrected(usize, Clock),
}

impl Registers {
    /// The judge of keys with these replicas.
    pub(super) fn new(promise: Promise, replicas: impl IntoIterator<Item = Vec<u16>>) -> Self {
        let key = |replicas| Register { replicas, ..Register::default() };
        Self {
            promise,
            attempts: Vec::new(),
            keys: replicas.into_iter().map(key).collect(),
            amnesic: BTreeSet::new(),
            stale_reads: 0,
            resurrected: 0,
            reused_clocks: 0,
            twins: 0,
            replicas_judged: 0,
            acknowledged: 0,
            failed: 0,
            reads_failed: 0,
            siblings_seen: 0,
        }
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// How many puts and deletes were attempted.
    pub(super) fn attempted(&self) -> u64 {
        self.attempts.len() as u64
    }

    /// What reads promise from now on.
    pub(super) fn promises(&mut self, promise: Promise) {
        self.promise = promise;
    }

    /// A node comes back with an empty disk.
    pub(super) fn forgets(&mut self, node: u16) {
        self.amnesic.insert(node);
    }

    /// Somebody is about to write; gives the attempt's number.
    pub(super) fn attempt(&mut self, key: usize, kind: Kind, base: Clock) -> usize {
        self.attempts.push(Attempt { key, kind, base, acked: None });
        self.keys[key].attempts.push(self.attempts.len() - 1);
        self.attempts.len() - 1
    }

    /// The value of an attempt: its number, and some more bytes so that segments fill up.
    pub(super) fn value(attempt: usize) -> Vec<u8> {
        let number = attempt as u64;
        let len = mix(number) % 600;
        number.to_le_bytes().into_iter().chain((0..len).map(|i| mix(number ^ (i << 32)) as u8)).collect()
    }

    /// It was acknowledged; a put and a buried delete with their clock, where it was told.
    pub(super) fn acknowledge(
        &mut self,
        attempt: usize,
        now_ns: u64,
        clock: Option<Clock>,
    ) -> Result<(), String> {
        self.acknowledged += 1;
        if let Some(clock) = &clock {
            if !self.may_have(attempt, clock) {
                return Err(format!("{} was acknowledged under {clock}", self.told(attempt)));
            }
            self.stands(attempt, clock)?;
        }
        self.attempts[attempt].acked = Some((now_ns, clock));
        Ok(())
    }

    fn may_have(&self, attempt: usize, clock: &Clock) -> bool {
        self.attempts[attempt].kind != Kind::Remove && self.master(attempt, clock).is_some()
    }

    /// The node for which the attempt was counted up, if this is its clock.
    fn master(&self, attempt: usize, clock: &Clock) -> Option<u16> {
        let Attempt { key, base, .. } = &self.attempts[attempt];
        let counted_up = |node: &u16| base.clone().incremented(*node) == *clock;
        self.keys[*key].replicas.iter().copied().find(counted_up)
    }

    /// How many acknowledged versions another one covers that was written by somebody who had not seen them.
    pub(super) fn overtaken(&self) -> u64 {
        let overtaken = |register: &Register| {
            let stands = &register.stands;
            let is_overtaken = |clock: &Clock, attempt: usize| {
                self.attempts[attempt].acked.is_some()
                    && stands.iter().any(|(newer, &by)| {
                        by != attempt && newer.covers(clock) && !self.attempts[by].base.covers(clock)
                    })
            };
            stands.iter().filter(|(clock, attempt)| is_overtaken(clock, **attempt)).count() as u64
        };
        self.keys.iter().map(overtaken).sum()
    }

    /// The attempt's version has this clock.
    fn stands(&mut self, attempt: usize, clock: &Clock) -> Result<(), String> {
        let key = self.attempts[attempt].key;
        let other = *self.keys[key].stands.entry(clock.clone()).or_insert(attempt);
        if other == attempt {
            return Ok(());
        }
        let (one, another) = (self.master(attempt, clock), self.master(other, clock));
        if one != another {
            self.twins += 1;
            return Ok(());
        }
        let removed = self.keys[key].attempts.iter().any(|&i| self.attempts[i].kind == Kind::Remove);
        if removed || one.is_some_and(|node| self.amnesic.contains(&node)) {
            self.reused_clocks += 1;
            return Ok(());
        }
        Err(format!("{} and {} both have the clock {clock}", self.told(other), self.told(attempt)))
    }

    fn told(&self, attempt: usize) -> String {
        let Attempt { key, kind, base, acked } = &self.attempts[attempt];
        let what = match kind {
            Kind::Put => "put",
            Kind::Bury | Kind::Remove => "delete",
        };
        let acked = match acked {
            None => String::new(),
            Some((at_ns, clock)) => {
                let clock = clock.as_ref().map(|clock| format!(" as {clock}")).unwrap_or_default();
                format!(", acknowledged{clock} at {} ms", at_ns / 1_000_000)
            }
        };
        format!("{what} #{attempt} of key {key} on {base}{acked}")
    }

    /// The attempt that a version is of.
    fn known(&self, key: usize, (value, clock): &Seen) -> Result<usize, String> {
        let number = value.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let attempt = number.and_then(|number| usize::try_from(number).ok());
        let attempt = attempt.filter(|&i| self.keys[key].attempts.contains(&i) && Self::value(i) == *value);
        let attempt =
            attempt.ok_or_else(|| format!("key {key} has a value that nobody wrote there, as {clock}"))?;
        match self.attempts[attempt].kind == Kind::Put && self.may_have(attempt, clock) {
            true => Ok(attempt),
            false => Err(format!("{} is there as {clock}, which it can't be", self.told(attempt))),
        }
    }

    /// Phantoms and siblings of one answer, or of one replica.
    pub(super) fn judge_versions(&mut self, key: usize, versions: &[Seen]) -> Result<(), String> {
        for version in versions {
            let attempt = self.known(key, version)?;
            self.stands(attempt, &version.1)?;
        }
        let clocks: Vec<_> = versions.iter().map(|(_, clock)| clock).collect();
        concurrent(key, &clocks)?;
        self.siblings_seen += u64::from(versions.len() > 1);
        Ok(())
    }

    /// Phantoms and siblings among clocks.
    fn judge_clocks(&self, key: usize, clocks: &[&Clock]) -> Result<(), String> {
        for clock in clocks {
            if !self.keys[key].attempts.iter().any(|&attempt| self.may_have(attempt, clock)) {
                return Err(format!("key {key} has a version as {clock}, which nobody wrote"));
            }
        }
        concurrent(key, clocks)
    }

    /// What a get gave that began at `began_ns`.
    pub(super) fn judge_get(&mut self, key: usize, began_ns: u64, versions: &[Seen]) -> Result<(), String> {
        self.judge_versions(key, versions)?;
        let clocks: Vec<_> = versions.iter().map(|(_, clock)| clock.clone()).collect();
        let lacks = self.lacks(key, began_ns, &clocks, Shows::Values);
        self.count_or_refuse(lacks, began_ns, &clocks, self.promise)
    }

    /// What a getVersions gave that began at `began_ns`. With replica tombstones deletes are among them.
    pub(super) fn judge_get_versions(
        &mut self,
        key: usize,
        began_ns: u64,
        clocks: &[Clock],
    ) -> Result<(), String> {
        self.judge_clocks(key, &clocks.iter().collect::<Vec<_>>())?;
        let lacks = self.lacks(key, began_ns, clocks, Shows::Clocks);
        self.count_or_refuse(lacks, began_ns, clocks, self.promise)
    }

    /// What all replicas together have at the end, tombstones left out. Nothing may be lost, whatever reads promise.
    pub(super) fn judge_end(&mut self, key: usize, versions: &[Seen], now_ns: u64) -> Result<(), String> {
        self.judge_versions(key, versions)?;
        let clocks: Vec<_> = versions.iter().map(|(_, clock)| clock.clone()).collect();
        let lacks = self.lacks(key, now_ns, &clocks, Shows::Values);
        // A delete that leaves nothing behind promises nothing: what it missed comes back, and what comes after it may be
        // taken for what it removed.
        let removed = self.keys[key].attempts.iter().any(|&i| self.attempts[i].kind == Kind::Remove);
        let promise = if removed { Promise::Partial } else { Promise::Overlapping };
        self.count_or_refuse(lacks, now_ns, &clocks, promise)
    }

    /// What one replica has at the end, tombstones included, when every hint was delivered or all were compared: it covers all
    /// that was acknowledged.
    pub(super) fn judge_replica(&self, key: usize, clocks: &[Clock]) -> Result<(), String> {
        self.judge_clocks(key, &clocks.iter().collect::<Vec<_>>())?;
        match self.lacks(key, u64::MAX, clocks, Shows::Clocks).first() {
            None => Ok(()),
            Some(Lack::Missed(attempt) | Lack::Resurrected(attempt, _)) => Err(format!(
                "{}; nothing is on its way to it any more, and a replica has {}",
                self.told(*attempt),
                listed(clocks)
            )),
        }
    }

    fn lacks(&self, key: usize, began_ns: u64, clocks: &[Clock], shows: Shows) -> Vec<Lack> {
        let attempts = self.keys[key].attempts.iter().map(|&i| (i, &self.attempts[i]));
        let acked = attempts.filter_map(|(i, attempt)| {
            let (at_ns, clock) = attempt.acked.as_ref()?;
            (*at_ns <= began_ns).then_some((i, attempt.kind, clock.as_ref().unwrap_or(&attempt.base)))
        });
        let covered = |clock: &Clock| clocks.iter().any(|seen| seen.covers(clock));
        acked
            .filter_map(|(i, kind, clock)| match (kind, shows) {
                (Kind::Put, Shows::Clocks) | (Kind::Bury, Shows::Clocks) => {
                    (!covered(clock) && !self.is_removed(key, clock, Kind::Remove)).then_some(Lack::Missed(i))
                }
                (Kind::Put, Shows::Values) => {
                    let gone = || {
                        self.is_removed(key, clock, Kind::Remove) || self.is_removed(key, clock, Kind::Bury)
                    };
                    (!covered(clock) && !gone()).then_some(Lack::Missed(i))
                }
                (Kind::Bury, Shows::Values) | (Kind::Remove, _) => {
                    let back = clocks.iter().find(|seen| clock.covers(seen));
                    back.map(|seen| Lack::Resurrected(i, seen.clone()))
                }
            })
            .collect()
    }

    /// Whether a delete was attempted that covers the clock.
    fn is_removed(&self, key: usize, clock: &Clock, by: Kind) -> bool {
        self.keys[key].attempts.iter().any(|&i| {
            let Attempt { kind, base, .. } = &self.attempts[i];
            let covers = match kind {
                Kind::Put => false,
                Kind::Remove => base.covers(clock),
                Kind::Bury => {
                    let replicas = &self.keys[key].replicas;
                    replicas.iter().any(|node| base.clone().incremented(*node).covers(clock))
                }
            };
            *kind == by && covers
        })
    }

    fn count_or_refuse(
        &mut self,
        lacks: Vec<Lack>,
        began_ns: u64,
        clocks: &[Clock],
        promise: Promise,
    ) -> Result<(), String> {
        let Some(first) = lacks.first() else { return Ok(()) };
        if promise == Promise::Partial {
            let came_back = lacks.iter().any(|lack| matches!(lack, Lack::Resurrected(..)));
            self.stale_reads += 1;
            self.resurrected += u64::from(came_back);
            return Ok(());
        }
        let began_ms = began_ns / 1_000_000;
        let gave = listed(clocks);
        Err(match first {
            Lack::Missed(attempt) => {
                format!("{}; a read that began at {began_ms} ms gave {gave}", self.told(*attempt))
            }
            Lack::Resurrected(attempt, clock) => {
                format!("{}; {clock} is back in a read that began at {began_ms} ms", self.told(*attempt))
            }
        })
    }
}

/// Whether an answer shows tombstones' clocks.
#[derive(Debug, Clone, Copy)]
enum Shows {
    Values,
    Clocks,
}

fn concurrent(key: usize, clocks: &[&Clock]) -> Result<(), String> {
    for (i, a) in clocks.iter().enumerate() {
        for b in &clocks[..i] {
            if a.order(b) != Order::Concurrent {
                return Err(format!(
                    "key {key} has the versions {a} and {b} at once: one has seen the other"
                ));
            }
        }
    }
    Ok(())
}

fn listed(clocks: &[Clock]) -> String {
    match clocks {
        [] => "nothing".to_owned(),
        clocks => clocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(text: &str) -> Clock {
        text.parse().expect("a clock")
    }

    /// One key with three replicas; put #0 was acknowledged at 10 as 0:1.
    fn with_a_put(promise: Promise) -> Registers {
        let mut registers = Registers::new(promise, [vec![0, 1, 2]]);
        let put = registers.attempt(0, Kind::Put, clock("-"));
        registers.acknowledge(put, 10, Some(clock("0:1"))).expect("a clock that it may have");
        registers
    }

    fn seen(attempt: usize, at: &str) -> Seen {
        (Registers::value(attempt), clock(at))
    }

    #[test]
    fn a_read_that_misses_what_was_acknowledged_before_it_is_stale() {
        let mut registers = with_a_put(Promise::Overlapping);
        assert_eq!(registers.judge_get(0, 9, &[]), Ok(()), "it began before");
        let error = registers.judge_get(0, 10, &[]).expect_err("stale");
        assert!(error.starts_with("put #0 of key 0 on -, acknowledged as 0:1 at 0 ms"), "{error}");
        assert_eq!(registers.judge_get(0, 10, &[seen(0, "0:1")]), Ok(()));
        let after = registers.attempt(0, Kind::Put, clock("0:1"));
        assert_eq!(registers.judge_get(0, 10, &[seen(after, "0:1,2:1")]), Ok(()), "a descendant will do");
        assert!(registers.judge_get_versions(0, 10, &[]).is_err());
        let mut registers = with_a_put(Promise::Partial);
        assert_eq!(registers.judge_get(0, 10, &[]), Ok(()));
        assert_eq!(registers.stale_reads, 1);
        assert!(registers.judge_end(0, &[], 11).is_err(), "in the end nothing may be lost");
    }

    #[test]
    fn a_version_that_nobody_wrote_is_a_phantom() {
        let mut registers = with_a_put(Promise::Partial);
        assert!(registers.judge_get(0, 0, &[seen(0, "0:2")]).is_err(), "a clock that it can't have");
        assert!(registers.judge_get(0, 0, &[seen(7, "0:1")]).is_err(), "no such attempt");
        assert!(registers.judge_get(0, 0, &[(vec![0; 9], clock("0:1"))]).is_err(), "another value");
        assert!(registers.judge_get_versions(0, 0, &[clock("1:2")]).is_err());
        assert_eq!(registers.judge_get_versions(0, 0, &[clock("1:1")]), Ok(()), "another master");
    }

    #[test]
    fn versions_of_which_one_has_seen_the_other_are_no_siblings() {
        let mut registers = with_a_put(Promise::Partial);
        let after = registers.attempt(0, Kind::Put, clock("0:1"));
        let beside = registers.attempt(0, Kind::Put, clock("-"));
        assert!(registers.judge_get(0, 0, &[seen(0, "0:1"), seen(after, "0:2")]).is_err());
        assert_eq!(registers.judge_get(0, 0, &[seen(0, "0:1"), seen(beside, "1:1")]), Ok(()));
        assert_eq!(registers.siblings_seen, 1);
    }

    #[test]
    fn a_clock_is_given_once_unless_its_node_lost_its_disk() {
        let mut registers = with_a_put(Promise::Overlapping);
        let other = registers.attempt(0, Kind::Put, clock("-"));
        assert!(registers.acknowledge(other, 11, Some(clock("0:1"))).is_err());
        registers.forgets(1);
        assert!(registers.acknowledge(other, 11, Some(clock("0:1"))).is_err(), "it wasn't that one");
        registers.forgets(0);
        assert_eq!(registers.acknowledge(other, 11, Some(clock("0:1"))), Ok(()));
        assert_eq!(registers.reused_clocks, 1);
    }

    #[test]
    fn versions_that_overtake_unseen_ones_and_twins_are_counted() {
        let mut registers = with_a_put(Promise::Overlapping);
        let beside = registers.attempt(0, Kind::Put, clock("-"));
        registers.acknowledge(beside, 11, Some(clock("1:1"))).expect("a clock that it may have");
        assert_eq!((registers.overtaken(), registers.twins), (0, 0));
        let on_first = registers.attempt(0, Kind::Put, clock("0:1"));
        registers.acknowledge(on_first, 12, Some(clock("0:1,1:1"))).expect("counted up at node 1");
        assert_eq!(registers.overtaken(), 1, "1:1 is covered, and its successor's writer had not seen it");
        let on_second = registers.attempt(0, Kind::Put, clock("1:1"));
        assert_eq!(registers.acknowledge(on_second, 13, Some(clock("0:1,1:1"))), Ok(()));
        assert_eq!(registers.twins, 1, "counted up at node 0");
    }

    #[test]
    fn a_delete_that_was_acknowledged_stays_one() {
        let mut registers = with_a_put(Promise::Overlapping);
        let delete = registers.attempt(0, Kind::Bury, clock("0:1"));
        assert_eq!(registers.judge_get(0, 12, &[]), Ok(()), "it may have happened");
        assert_eq!(registers.judge_get(0, 12, &[seen(0, "0:1")]), Ok(()), "or not yet");
        registers.acknowledge(delete, 20, None).expect("no clock was told");
        let error = registers.judge_get(0, 21, &[seen(0, "0:1")]).expect_err("it is back");
        assert!(error.ends_with("0:1 is back in a read that began at 0 ms"), "{error}");
        assert_eq!(registers.judge_get(0, 21, &[]), Ok(()));
        // A tombstone is a version, and whoever writes next descends from it.
        assert_eq!(registers.judge_get_versions(0, 21, &[clock("0:1,1:1")]), Ok(()));
        assert!(registers.judge_get_versions(0, 21, &[]).is_err());
    }
}
