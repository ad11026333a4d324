//! [`RebalanceController`]: has the nodes of a cluster carry out a [`RebalancePlan`]. It keeps nothing: it asks the nodes how
//! far they are, so that another one goes on where this one was ended. Arrivals and time go in, messages come out.
//!
//! For each batch: every node switches to the new ring, those that only take first; stealers fetch; when all have
//! everything, every node forgets the ring before. If one can't go on, or whoever runs it says so, all go back: first
//! no node carries out what an earlier controller ordered and may still be on its way, then stealers stop answering from
//! what they took, then each node goes by the ring before again, under a version of its own. Once a node has forgotten the
//! ring before there is no way back, only on: the fence tells which of the two it is, for good, before anything is undone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use engine_env::{Arrival, Peer};

use super::metadata::digest;
use super::plan::{RebalanceBatch, RebalancePlan};
use crate::message::{
    NodeProgress, RebalanceRequest, RebalanceResponse, Request, RequestId, Response, Steal, Switch,
};
use crate::ring::{NodeId, Ring};

/// Settings of whoever carries out a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerConfig {
    /// The store whose tasks are carried out. Default: `store`.
    pub store: String,
    /// How often stealers are asked how far they are, in milliseconds. Default: 100.
    pub poll_ms: u64,
    /// How long a node may take to answer before it is asked again, in milliseconds. Default: 2000.
    pub answer_ms: u64,
    /// Whether nodes delete what they don't hold any more, after the last batch. Default: false, as in the original.
    pub delete_moved: bool,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self { store: "store".to_owned(), poll_ms: 100, answer_ms: 2000, delete_moved: false }
    }
}

/// What it is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControllerPhase {
    /// It asks all nodes how far they are.
    Surveying,
    /// Nodes switch to the batch's ring.
    Switching,
    /// Stealers fetch.
    Moving,
    /// Nodes forget the ring before.
    Finishing,
    /// Nodes stop taking earlier orders: a roll-back is wanted.
    Fencing,
    /// Stealers stop.
    Suspending,
    /// Nodes go back to the ring before.
    RollingBack,
    /// Nodes delete what they don't hold any more.
    Repairing,
    /// It has ended.
    Over,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebalanceOutcome {
    /// The plan's last ring is in force at every node.
    Finished,
    /// The batch's first ring is in force again at every node.
    RolledBack {
        /// Which batch, from 0.
        batch: usize,
        /// What went wrong.
        why: String,
    },
    /// Nothing was done: the cluster isn't the plan's, or can't carry it out.
    Refused {
        /// Why not.
        why: String,
    },
}

/// Counts of all stealers together, as they told them last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RebalanceProgress {
    /// The batch that is carried out, from 0.
    pub batch: usize,
    /// Donors of its tasks, for each stealer.
    pub steals: u32,
    /// Those that have given everything.
    pub steals_done: u32,
    /// Keys that were fetched since the stealers were started.
    pub keys_moved: u64,
    /// Bytes that were fetched since the stealers were started.
    pub bytes_moved: u64,
}

/// A question that waits for an answer.
#[derive(Debug)]
struct Waiting {
    node: NodeId,
    until_ns: u64,
}

/// Has nodes carry out a plan.
#[derive(Debug)]
pub struct RebalanceController {
    config: ControllerConfig,
    current: Arc<Ring>,
    interim: Arc<Ring>,
    batches: Vec<RebalanceBatch>,
    nodes: Vec<NodeId>,
    phase: ControllerPhase,
    batch: usize,
    /// The version of the batch's ring.
    version: u64,
    /// Why a roll-back is wanted, if it is.
    why: Option<String>,
    progress: BTreeMap<NodeId, NodeProgress>,
    /// Who is still to be asked in this phase.
    left: VecDeque<NodeId>,
    waiting: BTreeMap<u64, Waiting>,
    poll_at_ns: Option<u64>,
    outputs: VecDeque<(Peer, Vec<u8>)>,
    outcome: Option<RebalanceOutcome>,
    next_id: u64,
}

const NS_PER_MS: u64 = 1_000_000;

impl RebalanceController {
    /// Begins to carry out a plan, or goes on with it. `first_id` is higher than any that an earlier controller on this port
    /// has given, as the time is.
    #[must_use]
    pub fn new(plan: &RebalancePlan, now_ns: u64, first_id: u64, config: ControllerConfig) -> Self {
        let mut controller = Self {
            config,
            current: Arc::clone(&plan.current),
            interim: Arc::clone(&plan.interim),
            batches: plan.batches.clone(),
            nodes: plan.interim.nodes().to_vec(),
            phase: ControllerPhase::Surveying,
            batch: 0,
            version: 0,
            why: None,
            progress: BTreeMap::new(),
            left: VecDeque::new(),
            waiting: BTreeMap::new(),
            poll_at_ns: None,
            outputs: VecDeque::new(),
            outcome: None,
            next_id: first_id,
        };
        controller.begin(now_ns, ControllerPhase::Surveying);
        controller
    }

    /// Goes back to the batch's first ring, unless nodes have forgotten it. Whether it tries: an earlier controller may have
    /// ordered them to, and then the batch is finished, and no other one is begun.
    pub fn abort(&mut self, now_ns: u64, why: &str) -> bool {
        let can = matches!(self.phase, ControllerPhase::Switching | ControllerPhase::Moving);
        if can {
            self.go_back(now_ns, why.to_owned());
        }
        can
    }

    /// A message came, or a node can't be reached.
    pub fn handle(&mut self, now_ns: u64, arrival: &Arrival) {
        match arrival {
            Arrival::Message { from, bytes } => {
                let Ok((id, response)) = Response::decode(bytes) else { return };
                let is_from_it = |waiting: &Waiting| Peer(waiting.node.0.into()) == *from;
                if self.waiting.get(&id.0).is_some_and(is_from_it) {
                    let node = self.waiting.remove(&id.0).expect("looked up above").node;
                    self.answered(now_ns, node, response);
                }
            }
            // It is asked again when its time is up: it may be starting.
            Arrival::Unreachable { .. } => {}
        }
    }

    /// When [`RebalanceController::handle_timeout`] is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.waiting.values().map(|waiting| waiting.until_ns).chain(self.poll_at_ns).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        let late = |(id, waiting): (&u64, &Waiting)| (waiting.until_ns <= now_ns).then_some(*id);
        for id in self.waiting.iter().filter_map(late).collect::<Vec<_>>() {
            let node = self.waiting.remove(&id).expect("it is there").node;
            self.ask(now_ns, node);
        }
        if self.poll_at_ns.is_some_and(|at_ns| at_ns <= now_ns) {
            self.poll_at_ns = None;
            self.left = self.nodes_of(self.phase).into();
            self.ask_next(now_ns);
        }
    }

    /// A message to be sent, and to whom.
    pub fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.outputs.pop_front()
    }

    /// What it is at.
    #[must_use]
    pub fn phase(&self) -> ControllerPhase {
        self.phase
    }

    /// How far the stealers are.
    #[must_use]
    pub fn progress(&self) -> RebalanceProgress {
        let mut all = RebalanceProgress { batch: self.batch, ..RebalanceProgress::default() };
        for progress in self.progress.values() {
            all.steals += progress.steals;
            all.steals_done += progress.steals_done;
            all.keys_moved += progress.keys_moved;
            all.bytes_moved += progress.bytes_moved;
        }
        all
    }

    /// Nodes whose answer is missing.
    pub fn waits_for(&self) -> impl Iterator<Item = NodeId> {
        self.waiting.values().map(|waiting| waiting.node)
    }

    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Option<&RebalanceOutcome> {
        self.outcome.as_ref()
    }

    fn stealers(&self) -> BTreeSet<NodeId> {
        self.tasks().map(|(stealer, ..)| stealer).collect()
    }

    fn tasks(&self) -> impl Iterator<Item = (NodeId, NodeId, Vec<u32>)> {
        let tasks = self.batches.get(self.batch).into_iter().flat_map(|batch| &batch.tasks);
        tasks.filter(move |task| task.store == self.config.store).map(|task| {
            (task.stealer, task.donor, task.partitions.iter().map(|stolen| stolen.partition).collect())
        })
    }

    /// Whom a phase is about, in the order in which they are asked.
    fn nodes_of(&self, phase: ControllerPhase) -> Vec<NodeId> {
        let stealers = self.stealers();
        match phase {
            ControllerPhase::Moving | ControllerPhase::Suspending => stealers.into_iter().collect(),
            ControllerPhase::Switching | ControllerPhase::RollingBack => {
                // Those that only take go first: when a donor refuses a client, whoever takes over is there.
                let donors: BTreeSet<NodeId> = self.tasks().map(|(_, donor, _)| donor).collect();
                let mut nodes = self.nodes.clone();
                nodes.sort_by_key(|node| (!stealers.contains(node), donors.contains(node), *node));
                nodes
            }
            ControllerPhase::Over => Vec::new(),
            ControllerPhase::Surveying
            | ControllerPhase::Fencing
            | ControllerPhase::Finishing
            | ControllerPhase::Repairing => self.nodes.clone(),
        }
    }

    fn begin(&mut self, now_ns: u64, phase: ControllerPhase) {
        self.phase = phase;
        self.waiting.clear();
        self.poll_at_ns = None;
        self.left = self.nodes_of(phase).into();
        if phase == ControllerPhase::Surveying {
            self.progress.clear();
        }
        self.ask_next(now_ns);
    }

    /// Asks who comes next: one after the other where the order matters, and all at once elsewhere.
    fn ask_next(&mut self, now_ns: u64) {
        let in_turn = matches!(self.phase, ControllerPhase::Switching | ControllerPhase::RollingBack);
        while let Some(node) = self.left.pop_front() {
            self.ask(now_ns, node);
            if in_turn {
                return;
            }
        }
        if self.waiting.is_empty() && self.poll_at_ns.is_none() {
            self.phase_over(now_ns);
        }
    }

    fn ask(&mut self, now_ns: u64, node: NodeId) {
        let version = self.version;
        let request = match self.phase {
            ControllerPhase::Surveying | ControllerPhase::Moving => RebalanceRequest::State,
            ControllerPhase::Switching => {
                let batch = &self.batches[self.batch];
                let steals = self.tasks().filter(|(stealer, ..)| *stealer == node);
                RebalanceRequest::Switch(Box::new(Switch {
                    version,
                    source: Arc::clone(&batch.source),
                    target: Arc::clone(&batch.target),
                    steals: steals.map(|(_, donor, partitions)| Steal { donor, partitions }).collect(),
                }))
            }
            ControllerPhase::Finishing => RebalanceRequest::Finish { version },
            ControllerPhase::Fencing => RebalanceRequest::Fence { version },
            ControllerPhase::Suspending => RebalanceRequest::Suspend { version },
            ControllerPhase::RollingBack => RebalanceRequest::RollBack { version, to: version + 1 },
            ControllerPhase::Repairing => RebalanceRequest::Repair,
            ControllerPhase::Over => return,
        };
        self.next_id += 1;
        self.outputs
            .push_back((Peer(node.0.into()), Request::Rebalance(request).encode(RequestId(self.next_id))));
        let until_ns = now_ns.saturating_add(self.config.answer_ms.saturating_mul(NS_PER_MS));
        self.waiting.insert(self.next_id, Waiting { node, until_ns });
    }

    fn answered(&mut self, now_ns: u64, node: NodeId, response: Response) {
        match (self.phase, response) {
            (
                ControllerPhase::Surveying | ControllerPhase::Moving,
                Response::Rebalance(RebalanceResponse::State(progress)),
            ) => {
                self.progress.insert(node, progress);
            }
            (ControllerPhase::Switching, Response::Refused(error)) => {
                self.go_back(now_ns, format!("{node} can't switch: {error}"));
                return;
            }
            // It has finished, and so all will; or it can't do it now. The nodes know.
            (ControllerPhase::Fencing, Response::Refused(_)) => {
                self.survey_at(now_ns.saturating_add(self.config.poll_ms.saturating_mul(NS_PER_MS)));
                return;
            }
            // It can't do it now: it is asked again.
            (_, Response::Refused(_)) => {
                let until_ns = now_ns.saturating_add(self.config.poll_ms.saturating_mul(NS_PER_MS));
                self.next_id += 1;
                self.waiting.insert(self.next_id, Waiting { node, until_ns });
                return;
            }
            _ => {}
        }
        self.ask_next(now_ns);
    }

    /// Everybody has answered.
    fn phase_over(&mut self, now_ns: u64) {
        match self.phase {
            ControllerPhase::Surveying => self.surveyed(now_ns),
            ControllerPhase::Switching => self.begin(now_ns, ControllerPhase::Moving),
            ControllerPhase::Moving => self.look_at_progress(now_ns),
            ControllerPhase::Finishing if self.batch + 1 < self.batches.len() => {
                self.batch += 1;
                self.version += 1;
                match self.why.take() {
                    // A roll-back was wanted, and there was no way back. Nobody goes by this batch's ring yet.
                    Some(why) => self.end(RebalanceOutcome::RolledBack { batch: self.batch, why }),
                    None => self.begin(now_ns, ControllerPhase::Switching),
                }
            }
            ControllerPhase::Finishing if self.config.delete_moved => {
                self.begin(now_ns, ControllerPhase::Repairing);
            }
            ControllerPhase::Finishing | ControllerPhase::Repairing => {
                self.end(RebalanceOutcome::Finished);
            }
            ControllerPhase::Fencing => self.begin(now_ns, ControllerPhase::Suspending),
            ControllerPhase::Suspending => self.begin(now_ns, ControllerPhase::RollingBack),
            ControllerPhase::RollingBack => {
                let why = self.why.take().unwrap_or_default();
                self.end(RebalanceOutcome::RolledBack { batch: self.batch, why });
            }
            ControllerPhase::Over => {}
        }
    }

    fn end(&mut self, outcome: RebalanceOutcome) {
        self.phase = ControllerPhase::Over;
        self.waiting.clear();
        self.poll_at_ns = None;
        self.outcome.get_or_insert(outcome);
    }

    fn go_back(&mut self, now_ns: u64, why: String) {
        self.why = Some(why);
        self.begin(now_ns, ControllerPhase::Fencing);
    }

    /// Asks all how far they are, then.
    fn survey_at(&mut self, at_ns: u64) {
        self.phase = ControllerPhase::Surveying;
        self.waiting.clear();
        self.left.clear();
        self.progress.clear();
        self.poll_at_ns = Some(at_ns);
    }

    fn look_at_progress(&mut self, now_ns: u64) {
        let stealers = self.stealers();
        let mut failure = None;
        let mut all_done = true;
        for (node, progress) in self.progress.iter().filter(|(node, _)| stealers.contains(node)) {
            if let Some(why) = &progress.failure {
                failure.get_or_insert_with(|| format!("{node}: {why}"));
            }
            // A stealer that has forgotten the ring before was told that all have everything.
            all_done &= progress.ring_version == self.version && progress.steals_done == progress.steals;
        }
        if let Some(why) = failure {
            self.go_back(now_ns, why);
        } else if all_done {
            self.begin(now_ns, ControllerPhase::Finishing);
        } else {
            self.poll_at_ns = Some(now_ns.saturating_add(self.config.poll_ms.saturating_mul(NS_PER_MS)));
        }
    }

    /// Where the cluster is, and so where to go on.
    fn surveyed(&mut self, now_ns: u64) {
        let newest = self.progress.values().map(|progress| progress.ring_version).max().unwrap_or(0);
        let under_way: Vec<&NodeProgress> =
            self.progress.values().filter(|progress| progress.is_rebalancing).collect();
        let at_newest =
            self.progress.values().filter(|progress| progress.ring_version == newest).collect::<Vec<_>>();
        let digests: BTreeSet<u64> = at_newest.iter().map(|progress| progress.ring_digest).collect();
        let batch_to = |digests: &BTreeSet<u64>| {
            self.batches.iter().position(|batch| digests.contains(&digest(&batch.target)))
        };
        let oldest_under_way = under_way.iter().map(|progress| progress.ring_version).min();
        let had_begun = under_way.iter().any(|progress| progress.is_suspended)
            || oldest_under_way.is_some_and(|version| version < newest);
        if let Some(version) = oldest_under_way {
            let of_it: BTreeSet<u64> = under_way
                .iter()
                .filter(|progress| progress.ring_version == version)
                .map(|progress| progress.ring_digest)
                .collect();
            let Some(batch) = batch_to(&of_it) else {
                let why = "another rebalance is under way; finish it, or roll it back, with its own plan";
                self.end(RebalanceOutcome::Refused { why: why.to_owned() });
                return;
            };
            let is_finishing = !had_begun && at_newest.iter().any(|progress| !progress.is_rebalancing);
            (self.batch, self.version) = (batch, version);
            match self.why.take_if(|_| !is_finishing) {
                // It had forgotten the ring before when it was fenced, and nobody has stopped yet.
                _ if is_finishing => self.begin(now_ns, ControllerPhase::Finishing),
                Some(why) => self.go_back(now_ns, why),
                None if had_begun => {
                    self.go_back(now_ns, "an earlier controller had begun to go back".to_owned());
                }
                None => self.begin(now_ns, ControllerPhase::Switching),
            }
            return;
        }
        if let Some(why) = self.progress.values().find_map(|progress| progress.failure.clone()) {
            self.end(RebalanceOutcome::Refused { why });
            return;
        }
        if let Some(why) = self.why.take() {
            if newest < self.version {
                // Nobody has switched yet.
                self.go_back(now_ns, why);
                return;
            }
            let is_first_of = |batch: &RebalanceBatch| digests.iter().eq([&digest(&batch.source)]);
            if let Some(batch) = self.batches.iter().position(is_first_of) {
                self.end(RebalanceOutcome::RolledBack { batch, why });
                return;
            }
        }
        let own = [&self.current, &self.interim].map(|ring| digest(ring));
        self.version = newest + 1;
        if let Some(batch) = batch_to(&digests) {
            self.batch = batch + 1;
        } else if !digests.iter().all(|digest| own.contains(digest)) {
            let why = "the nodes go by another ring than the plan's current one; make the plan from theirs";
            self.end(RebalanceOutcome::Refused { why: why.to_owned() });
            return;
        }
        if self.batch < self.batches.len() {
            self.begin(now_ns, ControllerPhase::Switching);
        } else if self.config.delete_moved {
            self.begin(now_ns, ControllerPhase::Repairing);
        } else {
            self.end(RebalanceOutcome::Finished);
        }
    }
}
