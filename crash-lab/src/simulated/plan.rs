//! [`Plan`]: which steps of a scenario are taken, and what its machine wrote down.
//!
//! Every step draws from a generator of its own, derived from the seed and the step's number. So a step can be left out
//! without changing what the others do: that is what makes a failing schedule shrinkable.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use engine_env::sim::SimHome;

use super::scenario::Setup;

/// A step of a scenario: the life, from 1, and the number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StepId {
    pub(super) life: u64,
    pub(super) number: u64,
}

/// How a scenario is run, and what is known of the run even if the engine panics in it.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) setup: &'a Setup,
    left_out: &'a BTreeSet<StepId>,
    record: bool,
    machine: RefCell<Option<SimHome>>,
    life: Cell<u64>,
    taken: RefCell<Vec<StepId>>,
}

impl<'a> Plan<'a> {
    /// Every step but those in `left_out`; the trace is kept as text if `record` says so.
    pub(super) fn new(setup: &'a Setup, left_out: &'a BTreeSet<StepId>, record: bool) -> Self {
        Self {
            setup,
            left_out,
            record,
            machine: RefCell::new(None),
            life: Cell::new(0),
            taken: RefCell::default(),
        }
    }

    /// The machine that the scenario goes on with.
    pub(super) fn runs_on(&self, home: &SimHome) {
        if self.record {
            home.record_trace();
        }
        *self.machine.borrow_mut() = Some(home.clone());
    }

    pub(super) fn begins_life(&self, life: u64) {
        self.life.set(life);
    }

    /// Whether the step is to be taken. Asked once for each.
    pub(super) fn takes(&self, step: StepId) -> bool {
        let takes = !self.left_out.contains(&step);
        if takes && self.record {
            self.taken.borrow_mut().push(step);
        }
        takes
    }

    /// Whether no step is left out.
    pub(super) fn is_whole(&self) -> bool {
        self.left_out.is_empty()
    }

    /// How many times the engine was opened.
    pub(super) fn life(&self) -> u64 {
        self.life.get()
    }

    /// The steps that were taken, in order; empty without a record.
    pub(super) fn taken(&self) -> Vec<StepId> {
        self.taken.borrow().clone()
    }

    /// The machine's trace; empty without a record.
    pub(super) fn trace(&self) -> Vec<String> {
        self.machine.borrow().as_ref().map(SimHome::trace).unwrap_or_default()
    }
}
