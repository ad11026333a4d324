//! [`Mover`]: whoever moves partitions between the nodes of a cluster, again and again. Nodes join and leave; it dies and
//! begins anew, knowing nothing but its plan, and now and then it wants to go back.

use std::sync::Arc;

use engine_env::rng::Rng;
use engine_env::{Arrival, Peer};
use kv_engine::{
    ControllerConfig, DonorRule, NodeId, PlanError, PlanOptions, PlannedStore, RebalanceController,
    RebalanceOutcome, RebalancePlan, Ring, Routing, RoutingStrategy,
};
use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use crate::simulated::subject::told;

const MS: u64 = 1_000_000;
const PARTITIONS: u32 = 12;

/// A ring of all these nodes, of which some own the partitions.
pub(super) fn ring(nodes: u16, owners: &[u16]) -> Result<Ring, String> {
    let owned = |node: u16| match owners.iter().zip(0..).find(|(owner, _)| **owner == node) {
        Some((_, place)) => (0..PARTITIONS).filter(|p| *p as usize % owners.len() == place).collect(),
        None => Vec::new(),
    };
    Ring::new((0..nodes).map(|node| (NodeId(node), owned(node)))).map_err(|e| told(&e))
}

/// See the module.
pub(super) struct Mover {
    store: String,
    /// Of each key.
    replicas: u16,
    nodes: u16,
    current: Arc<Ring>,
    /// A move that hasn't ended.
    plan: Option<RebalancePlan>,
    /// None while there is nothing to do, or it is dead.
    controller: Option<RebalanceController>,
    /// When it begins anew.
    again_at_ns: Option<u64>,
    /// Why a move couldn't be planned.
    impossible: Option<String>,
    pub(super) finished: u64,
    pub(super) gone_back: u64,
}

impl Mover {
    pub(super) fn new(store: String, replicas: u16, nodes: u16, ring: Arc<Ring>) -> Self {
        Self {
            store,
            replicas,
            nodes,
            current: ring,
            plan: None,
            controller: None,
            again_at_ns: None,
            impossible: None,
            finished: 0,
            gone_back: 0,
        }
    }

    /// Begins a move, or has something happen to the one that is under way.
    pub(super) fn begin(&mut self, now_ns: u64, rng: &mut Rng, said: &mut Vec<String>) {
        match (&self.plan, &mut self.controller) {
            (None, _) => match self.next_move(rng, said) {
                Ok(next) => {
                    self.plan = Some(next);
                    self.start(now_ns);
                }
                Err(why) => self.impossible = Some(why),
            },
            (Some(_), Some(controller)) => match rng.random_range(0..3) {
                0 if controller.abort(now_ns, "the mover has changed its mind") => {
                    said.push("the move is to go back".to_owned());
                }
                1 => {
                    said.push(format!("the mover dies in phase {:?}", controller.phase()));
                    self.controller = None;
                    self.again_at_ns = Some(now_ns + rng.random_range(MS..100 * MS));
                }
                _ => {}
            },
            // It comes back by itself.
            (Some(_), None) => {}
        }
    }

    fn next_move(&self, rng: &mut Rng, said: &mut Vec<String>) -> Result<RebalancePlan, String> {
        let owned = |node: &u16| (0..PARTITIONS).any(|p| self.current.owner(p) == NodeId(*node));
        let (mut owners, others): (Vec<_>, Vec<_>) = (0..self.nodes).partition(owned);
        owners.shuffle(rng);
        let may_leave = owners.len() > usize::from(self.replicas);
        match others.get(rng.random_range(0..=others.len())) {
            Some(joining) => owners.push(*joining),
            None if may_leave => drop(owners.pop()),
            None => {}
        }
        said.push(format!("partitions move to nodes {owners:?}"));
        let target = Arc::new(ring(self.nodes, &owners)?);
        let routing = Routing::new(Arc::clone(&self.current), RoutingStrategy::Consistent, self.replicas);
        let stores = [PlannedStore { name: self.store.clone(), routing }];
        let plan = |batch_primaries| {
            let options = PlanOptions { donors: DonorRule::Leaving, batch_primaries };
            RebalancePlan::new(&self.current, &target, &stores, options)
        };
        let plan = match plan(rng.random_bool(0.3).then_some(4)) {
            Err(PlanError::TooFewReplicas { .. }) => plan(None),
            other => other,
        };
        plan.map_err(|e| told(&e))
    }

    fn start(&mut self, now_ns: u64) {
        let Some(plan) = &self.plan else { return };
        let config =
            ControllerConfig { store: self.store.clone(), poll_ms: 10, answer_ms: 60, delete_moved: true };
        self.again_at_ns = None;
        // The world's time rises from life to life, faster than ids are given.
        self.controller = Some(RebalanceController::new(plan, now_ns, now_ns, config));
    }

    pub(super) fn handle(&mut self, now_ns: u64, arrival: &Arrival) {
        if let Some(controller) = &mut self.controller {
            controller.handle(now_ns, arrival);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<u64> {
        let of_controller = self.controller.as_ref().and_then(RebalanceController::poll_timeout);
        of_controller.or(self.again_at_ns)
    }

    pub(super) fn handle_timeout(&mut self, now_ns: u64) {
        match &mut self.controller {
            Some(controller) => controller.handle_timeout(now_ns),
            None if self.again_at_ns.is_some_and(|at_ns| at_ns <= now_ns) => self.start(now_ns),
            None => {}
        }
    }

    /// Looks whether the move has ended.
    ///
    /// # Errors
    /// It was refused: the nodes aren't where they were told to be.
    pub(super) fn take_outcome(&mut self, said: &mut Vec<String>) -> Result<(), String> {
        if let Some(why) = self.impossible.take() {
            return Err(format!("a move can't be planned: {why}"));
        }
        let Some(outcome) = self.controller.as_ref().and_then(RebalanceController::outcome).cloned() else {
            return Ok(());
        };
        said.push(format!("the move has ended: {outcome:?}"));
        self.controller = None;
        let Some(plan) = self.plan.take() else { return Ok(()) };
        match outcome {
            RebalanceOutcome::Finished => {
                self.finished += 1;
                if let Some(last) = plan.batches.last() {
                    self.current = Arc::clone(&last.target);
                }
            }
            RebalanceOutcome::RolledBack { batch, .. } => {
                self.gone_back += 1;
                self.current = Arc::clone(&plan.batches[batch].source);
            }
            RebalanceOutcome::Refused { why } => return Err(format!("a move was refused: {why}")),
        }
        Ok(())
    }

    pub(super) fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.controller.as_mut()?.poll_output()
    }

    /// The ring that all nodes go by, unless something moves.
    pub(super) fn current(&self) -> Option<&Arc<Ring>> {
        self.plan.is_none().then_some(&self.current)
    }
}
