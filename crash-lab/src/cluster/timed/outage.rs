//! [`Outage`]: a node whose process is killed, and started again on its folders. [`Outages`] makes them happen and watches
//! which acknowledged writes the node misses, and until when.

use std::collections::BTreeSet;

use super::figures::OutageFigures;
use super::world::{Asker, TimedWorld};
use crate::cluster::process::Process;

/// A node that came back is asked so often what it still lacks.
const LOOK_EVERY_NS: u64 = 1_000_000;

/// A node whose process is killed, and started again on its folders; the machine and its page cache stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Nanoseconds since the load began.
    pub after_ns: u64,
    /// From its death until it is started.
    pub length_ns: u64,
    /// Which one, from 0.
    pub node: u16,
}

impl Outage {
    /// Whether these can all happen to a cluster of so many nodes.
    ///
    /// # Errors
    /// There is no such node, or it would have to die while it is away.
    pub fn check(outages: &[Self], nodes: usize) -> Result<(), String> {
        for (at, outage) in outages.iter().enumerate() {
            let Outage { after_ns, length_ns, node } = *outage;
            if usize::from(node) >= nodes {
                return Err(format!("there is no node {node} to die: there are {nodes}, counted from 0"));
            }
            let is_away = |other: &&Outage| {
                other.node == node
                    && after_ns <= other.after_ns.saturating_add(other.length_ns)
                    && other.after_ns <= after_ns.saturating_add(length_ns)
            };
            if outages[..at].iter().any(|other| is_away(&other)) {
                return Err(format!("two outages of node {node} overlap"));
            }
        }
        Ok(())
    }
}

/// A server that can be asked what it holds.
pub(in crate::cluster) trait Holds<R> {
    /// Whether it holds what was acknowledged with this receipt, or what came after it.
    fn holds(&self, key: &[u8], receipt: &R) -> bool;
}

/// All outages of a load, in a run that has begun.
pub(super) struct Outages<R> {
    watches: Vec<Watch<R>>,
}

/// How far an outage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Away,
    /// Its process is started, and may lack something; the next look comes then.
    Back {
        look_ns: u64,
    },
    Whole,
}

struct Watch<R> {
    outage: Outage,
    start_ns: u64,
    state: State,
    /// Acknowledged while it was away, and not seen there since.
    missing: Vec<(Vec<u8>, R)>,
    missed: u64,
    /// Keys that were deleted since it died.
    deleted: BTreeSet<Vec<u8>>,
    serves_ns: Option<u64>,
    whole_ns: Option<u64>,
}

impl<R> Watch<R> {
    fn is_open(&self) -> bool {
        matches!(self.state, State::Away | State::Back { .. })
    }

    fn gone_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.outage.after_ns)
    }

    fn back_ns(&self) -> u64 {
        self.gone_ns().saturating_add(self.outage.length_ns)
    }

    fn next_ns(&self) -> Option<u64> {
        match self.state {
            State::Before => Some(self.gone_ns()),
            State::Away => Some(self.back_ns()),
            State::Back { look_ns } => Some(look_ns),
            State::Whole => None,
        }
    }
}

impl<R> Outages<R> {
    /// # Errors
    /// As [`Outage::check`].
    pub(super) fn new(outages: &[Outage], start_ns: u64, nodes: usize) -> Result<Self, String> {
        Outage::check(outages, nodes)?;
        let watch = |outage: &Outage| Watch {
            outage: *outage,
            start_ns,
            state: State::Before,
            missing: Vec::new(),
            missed: 0,
            deleted: BTreeSet::new(),
            serves_ns: None,
            whole_ns: None,
        };
        Ok(Self { watches: outages.iter().map(watch).collect() })
    }

    /// When [`Outages::happen`] is to be called.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.watches.iter().filter_map(Watch::next_ns).min()
    }

    /// What is due by now: nodes die, return, or are looked at.
    ///
    /// # Errors
    /// A node doesn't come back.
    pub(super) fn happen<P, C>(&mut self, world: &mut TimedWorld<P, C>) -> Result<(), String>
    where
        P: Process + Holds<R>,
        C: Asker<Receipt = R>,
    {
        let now_ns = world.now_ns;
        for watch in self.watches.iter_mut().filter(|watch| watch.next_ns().is_some_and(|ns| ns <= now_ns)) {
            let node = usize::from(watch.outage.node);
            watch.state = match watch.state {
                State::Before => {
                    world.kill(node);
                    State::Away
                }
                State::Away => {
                    world.restart(node)?;
                    State::Back { look_ns: now_ns }
                }
                State::Back { .. } | State::Whole => match world.serving(node) {
                    None => State::Back { look_ns: now_ns + LOOK_EVERY_NS },
                    Some((process, since_ns)) => {
                        watch.serves_ns.get_or_insert(since_ns);
                        while watch.missing.pop_if(|(key, receipt)| process.holds(key, receipt)).is_some() {}
                        if watch.missing.is_empty() {
                            watch.whole_ns = Some(now_ns.max(since_ns));
                            State::Whole
                        } else {
                            State::Back { look_ns: now_ns + LOOK_EVERY_NS }
                        }
                    }
                },
            };
        }
        Ok(())
    }

    /// A write was acknowledged, of a key that these nodes hold; by now they serve or not.
    pub(super) fn acknowledged(
        &mut self,
        (key, receipt): (&[u8], &R),
        replicas: &[u16],
        serves: impl Fn(usize) -> bool,
    ) where
        R: Clone,
    {
        for watch in &mut self.watches {
            let is_away = match watch.state {
                State::Before | State::Whole => false,
                State::Away => true,
                // It may have died again since.
                State::Back { .. } => watch.serves_ns.is_none() && !serves(watch.outage.node.into()),
            };
            let may_tell = replicas.contains(&watch.outage.node) && !watch.deleted.contains(key);
            if is_away && may_tell {
                watch.missing.push((key.to_vec(), receipt.clone()));
                watch.missed += 1;
            }
        }
    }

    /// A key was deleted, and nothing tells that from its never having been: what was written to it before isn't lacked any more;
    /// and what is written to it afterwards may have a clock below what a node has that missed the delete, so it isn't asked
    /// for.
    pub(super) fn deleted(&mut self, key: &[u8]) {
        for watch in self.watches.iter_mut().filter(|watch| watch.is_open()) {
            let before = watch.missing.len();
            watch.missing.retain(|(missing, _)| missing != key);
            watch.missed -= (before - watch.missing.len()) as u64;
            watch.deleted.insert(key.to_vec());
        }
    }

    /// Whether a node that came back lacks something.
    pub(super) fn is_open(&self) -> bool {
        self.watches.iter().any(Watch::is_open)
    }

    /// Looks for the last time: what nodes lack now they never got.
    pub(super) fn close<P, C>(&mut self, world: &TimedWorld<P, C>)
    where
        P: Process + Holds<R>,
        C: Asker<Receipt = R>,
    {
        for watch in &mut self.watches {
            if let Some((process, _)) = world.serving(watch.outage.node.into()) {
                watch.missing.retain(|(key, receipt)| !process.holds(key, receipt));
            }
        }
    }

    /// What is known by now of those that began. `operations` gives when each operation was due, whether it changed a key and
    /// which node that key belongs to first of all, and when it was answered, if it was.
    pub(super) fn figures(
        &self,
        now_ns: u64,
        operations: impl Iterator<Item = Told> + Clone,
    ) -> Vec<OutageFigures> {
        let begun = self.watches.iter().filter(|watch| watch.state != State::Before);
        begun
            .map(|watch| {
                let (gone_ns, back_ns) = (watch.gone_ns(), watch.back_ns());
                let meanwhile = operations.clone().filter(|told| (gone_ns..back_ns).contains(&told.due_ns));
                let accepted = operations
                    .clone()
                    .filter(|told| told.due_ns >= gone_ns && told.changes_home == Some(watch.outage.node));
                OutageFigures {
                    outage: watch.outage,
                    asked: meanwhile.clone().count() as u64,
                    answered: meanwhile.filter(|told| told.answered_ns.is_some()).count() as u64,
                    writes_accepted_ns: accepted
                        .filter_map(|told| told.answered_ns)
                        .min()
                        .map(|at_ns| at_ns - gone_ns),
                    missed: watch.missed,
                    lacking: watch.missing.len() as u64,
                    recovery_ns: watch.serves_ns.map(|at_ns| at_ns.saturating_sub(back_ns)),
                    replicated_ns: watch.whole_ns.map(|at_ns| at_ns.saturating_sub(back_ns)),
                    watched_ns: now_ns.saturating_sub(back_ns),
                }
            })
            .collect()
    }
}

/// What became of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) due_ns: u64,
    /// To which node its key belongs first of all, if it changed it.
    pub(super) changes_home: Option<u16>,
    /// When it was answered well.
    pub(super) answered_ns: Option<u64>,
}
