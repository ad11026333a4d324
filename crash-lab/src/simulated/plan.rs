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
pub(crate) struct StepId {
    pub(crate) life: u64,
    pub(crate) number: u64,
}

/// How a scenario is run, and what is known of the run even if the engine panics in it.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) setup: &'a Setup,
    left_out: &'a BTreeSet<StepId>,
    record: bool,
    machine: RefCell<Option<SimHome>>,
    /// The trace of a world of several machines.
    told: RefCell<Vec<String>>,
    life: Cell<u64>,
    taken: RefCell<Vec<StepId>>,
}

impl<'a> Plan<'a> {
    /// Every step but those in `left_out`; the trace is kept as text if `record` says so.
    pub(crate) fn new(setup: &'a Setup, left_out: &'a BTreeSet<StepId>, record: bool) -> Self {
        Self {
            setup,
            left_out,
            record,
            machine: RefCell::new(None),
            told: RefCell::default(),
            life: Cell::new(0),
            taken: RefCell::default(),
        }
    }

    /// The machine that the scenario goes on with.
    pub(crate) fn runs_on(&self, home: &SimHome) {
        if self.record {
            home.record_trace();
        }
        *self.machine.borrow_mut() = Some(home.clone());
    }

    /// Whether a trace is kept.
    pub(crate) fn records(&self) -> bool {
        self.record
    }

    /// A line of the trace of a world of several machines.
    pub(crate) fn tell(&self, line: String) {
        self.told.borrow_mut().push(line);
    }

    pub(crate) fn begins_life(&self, life: u64) {
        self.life.set(life);
    }

    /// Whether the step is to be taken. Asked once for each.
    pub(crate) fn takes(&self, step: StepId) -> bool {
        let takes = !self.left_out.contains(&step);
        if takes && self.record {
            self.taken.borrow_mut().push(step);
        }
        takes
    }

    /// Whether no step is left out.
    pub(crate) fn is_whole(&self) -> bool {
        self.left_out.is_empty()
    }

    /// How many times the engine was opened.
    pub(crate) fn life(&self) -> u64 {
        self.life.get()
    }

    /// The steps that were taken, in order; empty without a record.
    pub(crate) fn taken(&self) -> Vec<StepId> {
        self.taken.borrow().clone()
    }

    /// The machine's trace, or the world's; empty without a record.
    pub(crate) fn trace(&self) -> Vec<String> {
        let machine = self.machine.borrow();
        machine.as_ref().map_or_else(|| self.told.borrow().clone(), SimHome::trace)
    }
}
