//! [`shrink`]: a failing seed's schedule with every step left out that the failure doesn't need (Zeller's delta
//! debugging: halves first, then quarters, down to single steps).

use std::collections::BTreeSet;
use std::fmt;

use super::plan::{Plan, StepId};
use super::scenario::{Failure, Scenario, Setup, carry_out};

/// A schedule is given up to be shrunk after so many runs.
const RUNS_MAX: u64 = 600;
/// This much of the trace's end is shown.
const TAIL_LINES: usize = 25;

/// The shortest failing schedule that was found.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// What the seed breaks, with every step.
    pub failure: Failure,
    /// What the shrunk schedule breaks.
    pub shrunk: Failure,
    /// Steps of the whole schedule and of the shrunk one.
    pub steps: (usize, usize),
    /// The shrunk schedule: the scenario's own lines of its trace.
    pub schedule: Vec<String>,
    /// The end of the shrunk trace, the machine's lines included.
    pub tail: Vec<String>,
}

struct Attempt {
    failure: Failure,
    taken: Vec<StepId>,
    trace: Vec<String>,
}

fn attempt(scenario: Scenario, seed: u64, setup: &Setup, left_out: &BTreeSet<StepId>) -> Option<Attempt> {
    let plan = Plan::new(setup, left_out, true);
    let failure = carry_out(scenario, seed, &plan).err()?;
    Some(Attempt { failure, taken: plan.taken(), trace: plan.trace() })
}

/// Shrinks the schedule of a seed; `None` if the seed doesn't fail.
#[must_use]
pub fn shrink(scenario: Scenario, seed: u64, setup: &Setup) -> Option<Shrunk> {
    let mut left_out = BTreeSet::new();
    let mut best = attempt(scenario, seed, setup, &left_out)?;
    let (failure, whole) = (best.failure.clone(), best.taken.len());
    let mut runs = 1;
    let mut chunk = best.taken.len().div_ceil(2);
    while chunk > 0 && runs < RUNS_MAX {
        let mut shorter = false;
        let mut from = 0;
        while from < best.taken.len() && runs < RUNS_MAX {
            let mut without = left_out.clone();
            without.extend(best.taken[from..].iter().take(chunk).copied());
            runs += 1;
            match attempt(scenario, seed, setup, &without) {
                Some(found) if found.taken.len() < best.taken.len() => {
                    (left_out, best, shorter) = (without, found, true);
                }
                _ => from += chunk,
            }
        }
        if chunk == 1 && !shorter {
            break;
        }
        chunk = if chunk == 1 { 1 } else { chunk / 2 };
    }
    let schedule = best.trace.iter().filter(|line| line.starts_with('>')).cloned().collect();
    let tail = best.trace[best.trace.len().saturating_sub(TAIL_LINES)..].to_vec();
    let steps = (whole, best.taken.len());
    Some(Shrunk { failure, shrunk: best.failure, steps, schedule, tail })
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failure, shrunk, steps, schedule, tail } = self;
        writeln!(f, "{failure}")?;
        writeln!(f, "\nshrunk from {} to {} steps; now: {}", steps.0, steps.1, shrunk.what)?;
        for line in schedule {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "\nthe trace's last {} lines:", tail.len())?;
        for line in tail {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
