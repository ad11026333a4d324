//! [`RebalancePlan`]: who takes which partitions from whom, so that a cluster comes from one ring to another.
//!
//! For each store and each node of the final ring: every partition whose list of replicas the node joins is stolen from
//! a donor that holds it now. Nothing is stolen that a node holds already, and nothing is taken away: donors keep what they
//! have until a repair job deletes it. The same input gives the same plan.
//!
//! Voldemort's rule for the donor is *the same place*: the node that has the stealer's place in the zone now. That node
//! may stay a replica, at another place. Then a read by the new ring may ask it and the stealer, and miss a write that was
//! acknowledged by the node that leaves and another one: R + W > N doesn't hold across the move. With the rule *the leaving
//! node* each joiner stands in for one that leaves, quorums map one to one, and it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::balance::Balance;
use crate::ring::{NodeId, Ring, RingError, Routing, RoutingStrategy, Zone, ZoneId};

/// Whom a stealer takes a partition from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DonorRule {
    /// The node that has the stealer's place in its zone now; where the zone has none, the one at that place in the zone of
    /// the partition's owner; where there is none either, the first one. Voldemort's rule.
    SamePlace,
    /// A node that leaves the partition's replicas, of the stealer's zone if there is one: quorums by the old and by the
    /// new ring then meet. By [`DonorRule::SamePlace`] where more nodes join than leave. The default.
    #[default]
    Leaving,
}

/// What a plan is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanOptions {
    /// Whom partitions are taken from.
    pub donors: DonorRule,
    /// The most partitions that change their owner in one batch. Default: none, all in one, as in the original.
    pub batch_primaries: Option<u32>,
}

/// A store whose partitions move.
#[derive(Debug, Clone)]
pub struct PlannedStore {
    /// Its name.
    pub name: String,
    /// How its keys are dealt out, by any ring.
    pub routing: Routing,
}

/// A partition that a node takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StolenPartition {
    /// The keys' master partition.
    pub partition: u32,
    /// Which place among the replicas in its zone the stealer takes: 0 is the first one's.
    pub place: u16,
}

/// What one node takes from another one, of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StealTask {
    /// Who takes.
    pub stealer: NodeId,
    /// From whom.
    pub donor: NodeId,
    /// Of which store.
    pub store: String,
    /// In ascending order.
    pub partitions: Vec<StolenPartition>,
}

/// A step from one ring to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebalanceBatch {
    /// The ring before.
    pub source: Arc<Ring>,
    /// The ring after.
    pub target: Arc<Ring>,
    /// Partitions that change their owner, in ascending order.
    pub primaries: Vec<u32>,
    /// By stealer, donor, and store.
    pub tasks: Vec<StealTask>,
}

/// How much a plan moves. A *copy* is a partition of a store on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanTotals {
    /// Partitions that change their owner.
    pub primaries: u32,
    /// Copies that are moved to the first place among the replicas of a zone.
    pub first_copies: u64,
    /// Copies that are moved to other places.
    pub other_copies: u64,
    /// Of all these, those that cross zones.
    pub cross_zone: u64,
    /// Copies that there are before. What is moved stays at its donors too, until it is deleted there, so
    /// `moved / copies_before` is the space that the move takes.
    pub copies_before: u64,
    /// Copies that a node has before and not after: an operation by the old ring is refused there.
    pub copies_given_up: u64,
}

impl PlanTotals {
    /// Copies that are moved.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.first_copies + self.other_copies
    }
}

/// Why there is no plan between two rings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The number of partitions is fixed for the life of a cluster.
    #[error("the final cluster has {after} partitions, the current one {before}; their number can't change")]
    Partitions {
        /// In the current one.
        before: u32,
        /// In the final one.
        after: u32,
    },
    /// The zones differ.
    #[error(
        "{zone} is only in the {whose} cluster; list the same zones in both, the new one without servers first"
    )]
    Zones {
        /// A zone that only one has.
        zone: ZoneId,
        /// `current` or `final`.
        whose: &'static str,
    },
    /// A node is gone.
    #[error(
        "{node} isn't in the final cluster; leave it there without partitions, and take it out when it is empty"
    )]
    NodeGone {
        /// The node.
        node: NodeId,
    },
    /// A node changes its zone.
    #[error("{node} is in {before} now and in {after} in the final cluster; give the moved server a new id")]
    NodeMovesZone {
        /// The node.
        node: NodeId,
        /// Its zone in the current one.
        before: ZoneId,
        /// Its zone in the final one.
        after: ZoneId,
    },
    /// A batch of nothing never ends.
    #[error("a batch of 0 partitions moves nothing; allow at least 1")]
    EmptyBatch,
    /// A store has no replica of a partition.
    #[error(
        "store {store:?} has no replica of partition {partition} in the current cluster: nobody can give it"
    )]
    NoDonor {
        /// The store.
        store: String,
        /// The partition.
        partition: u32,
    },
    /// After a batch too few nodes own partitions.
    #[error(
        "after batch {batch} partition {partition} of store {store:?} would have {left} of its {needed} replicas, until \
         later batches are done; let a batch have more partitions"
    )]
    TooFewReplicas {
        /// Which batch, from 1.
        batch: usize,
        /// The store.
        store: String,
        /// The partition.
        partition: u32,
        /// How many it would have.
        left: usize,
        /// How many it has before and afterwards.
        needed: usize,
    },
    /// The rings in between aren't any.
    #[error(transparent)]
    Ring(#[from] RingError),
}

/// The steps from one ring to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebalancePlan {
    /// The current ring.
    pub current: Arc<Ring>,
    /// The current ring with the new nodes, which have no partition yet: what those are started with.
    pub interim: Arc<Ring>,
    /// In the order in which they are to be done.
    pub batches: Vec<RebalanceBatch>,
    /// What is moved.
    pub totals: PlanTotals,
    /// How evenly nodes are laden before.
    pub before: Balance,
    /// How evenly they are after.
    pub after: Balance,
}

impl RebalancePlan {
    /// The plan from `current` to `target`.
    ///
    /// # Errors
    /// The rings aren't two of one cluster, or batches would leave a partition with fewer replicas than it has before and
    /// afterwards.
    pub fn new(
        current: &Arc<Ring>,
        target: &Arc<Ring>,
        stores: &[PlannedStore],
        options: PlanOptions,
    ) -> Result<Self, PlanError> {
        check(current, target)?;
        let interim = Arc::new(with_owners(target, |partition| current.owner(partition))?);
        let moved: Vec<u32> =
            (0..target.partitions()).filter(|p| current.owner(*p) != target.owner(*p)).collect();
        let mut batches = Vec::new();
        let mut source = Arc::clone(&interim);
        let mut totals = PlanTotals { primaries: count(moved.len()), ..PlanTotals::default() };
        let needed: Vec<_> = stores.iter().map(|store| Needed::of(store, current, target)).collect();
        for primaries in in_batches(target, moved, options.batch_primaries)? {
            let here: BTreeSet<u32> = primaries.iter().copied().collect();
            let owner = |p| if here.contains(&p) { target.owner(p) } else { source.owner(p) };
            let next = Arc::new(with_owners(target, owner)?);
            needed.iter().try_for_each(|needed| needed.check(&next, batches.len() + 1))?;
            let tasks = tasks(&source, &next, stores, options.donors)?;
            batches.push(RebalanceBatch { source, target: Arc::clone(&next), primaries, tasks });
            source = next;
        }
        // No partition changes its owner, but nodes have come that hold every key.
        let joins = tasks_of_new_nodes(current, target, stores)?;
        if !joins.is_empty() {
            match batches.first_mut() {
                Some(first) => {
                    first.tasks.extend(joins);
                    first
                        .tasks
                        .sort_by(|a, b| (a.stealer, a.donor, &a.store).cmp(&(b.stealer, b.donor, &b.store)));
                }
                None => batches.push(RebalanceBatch {
                    source: Arc::clone(&interim),
                    target: Arc::clone(target),
                    primaries: Vec::new(),
                    tasks: joins,
                }),
            }
        }
        for task in batches.iter().flat_map(|batch| &batch.tasks) {
            let first = task.partitions.iter().filter(|stolen| stolen.place == 0).count() as u64;
            let all = task.partitions.len() as u64;
            totals.first_copies += first;
            totals.other_copies += all - first;
            if target.zone_of(task.stealer) != target.zone_of(task.donor) {
                totals.cross_zone += all;
            }
        }
        for store in stores {
            let (old, new) = (store.routing.on(Arc::clone(current)), store.routing.on(Arc::clone(target)));
            for partition in 0..current.partitions() {
                let (old, new) = (old.replicas_of(partition), new.replicas_of(partition));
                totals.copies_before += old.len() as u64;
                totals.copies_given_up += old.iter().filter(|node| !new.contains(node)).count() as u64;
            }
        }
        let (before, after) = (Balance::of(&interim, stores), Balance::of(target, stores));
        Ok(Self { current: Arc::clone(current), interim, batches, totals, before, after })
    }
}

/// How many replicas each partition of a store has at least, whichever of two rings is in force.
struct Needed<'a> {
    store: &'a PlannedStore,
    by_partition: Vec<usize>,
}

impl<'a> Needed<'a> {
    fn of(store: &'a PlannedStore, current: &Arc<Ring>, target: &Arc<Ring>) -> Self {
        let by = |ring: &Arc<Ring>| store.routing.on(Arc::clone(ring));
        let (before, after) = (by(current), by(target));
        let least = |partition| before.replicas_of(partition).len().min(after.replicas_of(partition).len());
        Self { store, by_partition: (0..current.partitions()).map(least).collect() }
    }

    /// A ring between the two may have fewer owners than either: then quorums couldn't be had, or wouldn't overlap.
    fn check(&self, between: &Arc<Ring>, batch: usize) -> Result<(), PlanError> {
        let routing = self.store.routing.on(Arc::clone(between));
        for (partition, &needed) in (0..).zip(&self.by_partition) {
            let left = routing.replicas_of(partition).len();
            if left < needed {
                let store = self.store.name.clone();
                return Err(PlanError::TooFewReplicas { batch, store, partition, left, needed });
            }
        }
        Ok(())
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("a ring has at most 65536 partitions")
}

fn check(current: &Ring, target: &Ring) -> Result<(), PlanError> {
    let (before, after) = (current.partitions(), target.partitions());
    if before != after {
        return Err(PlanError::Partitions { before, after });
    }
    let zones = |ring: &Ring| ring.zones().iter().map(Zone::id).collect::<BTreeSet<_>>();
    let (old, new) = (zones(current), zones(target));
    if let Some(zone) = old.difference(&new).next() {
        return Err(PlanError::Zones { zone: *zone, whose: "current" });
    }
    if let Some(zone) = new.difference(&old).next() {
        return Err(PlanError::Zones { zone: *zone, whose: "final" });
    }
    for node in current.nodes() {
        let before = current.zone_of(*node).expect("it is a node of the ring");
        let after = target.zone_of(*node).ok_or(PlanError::NodeGone { node: *node })?;
        if before != after {
            return Err(PlanError::NodeMovesZone { node: *node, before, after });
        }
    }
    Ok(())
}

/// The nodes and zones of a ring with other owners.
fn with_owners(ring: &Ring, owner: impl Fn(u32) -> NodeId) -> Result<Ring, RingError> {
    let mut partitions: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
    (0..ring.partitions())
        .for_each(|partition| partitions.entry(owner(partition)).or_default().push(partition));
    let nodes = ring.nodes().iter().map(|node| {
        let zone = ring.zone_of(*node).expect("it is a node of the ring");
        (*node, zone, partitions.remove(node).unwrap_or_default())
    });
    Ring::zoned(ring.zones().iter().cloned(), nodes.collect::<Vec<_>>())
}

/// Partitions that change their owner, by stealer and then by id, so many at a time.
fn in_batches(target: &Ring, moved: Vec<u32>, most: Option<u32>) -> Result<Vec<Vec<u32>>, PlanError> {
    let most = match most {
        Some(0) => return Err(PlanError::EmptyBatch),
        Some(most) => most as usize,
        None => moved.len().max(1),
    };
    let mut by_stealer = moved;
    by_stealer.sort_by_key(|partition| (target.owner(*partition), *partition));
    let sorted = |batch: &[u32]| {
        let mut batch = batch.to_vec();
        batch.sort_unstable();
        batch
    };
    Ok(by_stealer.chunks(most).map(sorted).collect())
}

type Tasks<'a> = BTreeMap<(NodeId, NodeId, &'a str), Vec<StolenPartition>>;

fn in_order(tasks: Tasks<'_>) -> Vec<StealTask> {
    let task = |((stealer, donor, store), partitions): ((NodeId, NodeId, &str), _)| StealTask {
        stealer,
        donor,
        store: store.to_owned(),
        partitions,
    };
    tasks.into_iter().map(task).collect()
}

fn holds_everything(store: &PlannedStore) -> bool {
    matches!(store.routing.strategy(), RoutingStrategy::All { .. } | RoutingStrategy::LocalPrefAll { .. })
}

fn tasks(
    source: &Arc<Ring>,
    target: &Arc<Ring>,
    stores: &[PlannedStore],
    rule: DonorRule,
) -> Result<Vec<StealTask>, PlanError> {
    let mut tasks = Tasks::new();
    for store in stores.iter().filter(|store| !holds_everything(store)) {
        let (old, new) = (store.routing.on(Arc::clone(source)), store.routing.on(Arc::clone(target)));
        for partition in 0..target.partitions() {
            let change = Change {
                source,
                target,
                partition,
                old: old.replicas_of(partition),
                new: new.replicas_of(partition),
            };
            for (stealer, donor) in change.pairs(rule) {
                let donor =
                    donor.ok_or_else(|| PlanError::NoDonor { store: store.name.clone(), partition })?;
                let stolen = StolenPartition { partition, place: change.place(change.new, stealer) };
                tasks.entry((stealer, donor, &store.name)).or_default().push(stolen);
            }
        }
    }
    Ok(in_order(tasks))
}

/// Where every node holds every key, a new one takes each partition from its owner.
fn tasks_of_new_nodes(
    current: &Ring,
    target: &Ring,
    stores: &[PlannedStore],
) -> Result<Vec<StealTask>, PlanError> {
    let mut tasks = Tasks::new();
    let is_new = |node: &&NodeId| current.zone_of(**node).is_none();
    for store in stores.iter().filter(|store| holds_everything(store)) {
        for stealer in target.nodes().iter().filter(is_new) {
            for partition in 0..current.partitions() {
                let donor = current.owner(partition);
                let stolen = StolenPartition { partition, place: 0 };
                tasks.entry((*stealer, donor, &store.name)).or_default().push(stolen);
            }
        }
    }
    Ok(in_order(tasks))
}

/// What becomes of the replicas of one partition.
struct Change<'a> {
    source: &'a Ring,
    target: &'a Ring,
    partition: u32,
    old: &'a [NodeId],
    new: &'a [NodeId],
}

impl Change<'_> {
    fn zone(&self, node: NodeId) -> Option<ZoneId> {
        self.target.zone_of(node)
    }

    /// A node's place among the replicas in its zone.
    fn place(&self, list: &[NodeId], node: NodeId) -> u16 {
        let before = list.iter().take_while(|other| **other != node);
        let place = before.filter(|other| self.zone(**other) == self.zone(node)).count();
        u16::try_from(place).expect("a list has at most as many nodes as there are ids")
    }

    /// The node that has this place in this zone now.
    fn at(&self, zone: Option<ZoneId>, place: u16) -> Option<NodeId> {
        self.old.iter().copied().filter(|node| self.zone(*node) == zone).nth(place.into())
    }

    /// Voldemort's donor.
    fn same_place(&self, stealer: NodeId) -> Option<NodeId> {
        let place = self.place(self.new, stealer);
        self.at(self.zone(stealer), place)
            .or_else(|| self.at(self.source.zone_of(self.source.owner(self.partition)), place))
            .or_else(|| self.old.first().copied())
    }

    /// Who joins, and from whom it takes.
    fn pairs(&self, rule: DonorRule) -> Vec<(NodeId, Option<NodeId>)> {
        let joining: Vec<NodeId> = self.new.iter().copied().filter(|node| !self.old.contains(node)).collect();
        if rule == DonorRule::SamePlace {
            return joining.into_iter().map(|node| (node, self.same_place(node))).collect();
        }
        let mut leaving: Vec<NodeId> =
            self.old.iter().copied().filter(|node| !self.new.contains(node)).collect();
        let mut take = |wanted: &dyn Fn(&NodeId) -> bool| {
            let at = leaving.iter().position(wanted)?;
            Some(leaving.remove(at))
        };
        let mut pairs: Vec<_> = joining.into_iter().map(|node| (node, None)).collect();
        // Those whose place is given up first, then by zone: so that nobody takes another one's.
        for (node, donor) in &mut pairs {
            let same = self.same_place(*node);
            *donor = take(&|leaver| Some(*leaver) == same);
        }
        for (node, donor) in &mut pairs {
            let zone = self.zone(*node);
            *donor = donor.or_else(|| take(&|leaver| self.zone(*leaver) == zone));
        }
        for (node, donor) in &mut pairs {
            *donor = donor.or_else(|| take(&|_| true)).or_else(|| self.same_place(*node));
        }
        pairs
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
