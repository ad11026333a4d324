//! [`simulate_many`]: many seeds at once, on all cores, with one outcome whatever the order in which they end.

use std::ops::Range;

use engine_env::rng::mix;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::scenario::{Failure, Scenario, Setup, simulate};
use super::summary::Summary;

/// So many seeds are run between two calls of the one who watches; few at first, because most bugs are found at once.
const BATCHES: std::ops::RangeInclusive<u64> = 16..=2_048;

/// Which scenario a seed runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// Always this one.
    Scenario(Scenario),
    /// One of all, by the seed.
    BySeed,
    /// One of the clusters', by the seed.
    Clusters,
}

impl Pick {
    /// The scenario of a seed.
    #[must_use]
    pub fn scenario(self, seed: u64) -> Scenario {
        let one_of = |all: &[Scenario]| all[(mix(seed) % all.len() as u64) as usize];
        match self {
            Self::Scenario(scenario) => scenario,
            Self::BySeed => one_of(&Scenario::ALL),
            Self::Clusters => one_of(&Scenario::CLUSTERS),
        }
    }
}

/// What many simulations did.
#[derive(Debug, Clone, Default)]
pub struct Many {
    /// Seeds that were run.
    pub seeds: u64,
    /// The sum of those that broke nothing.
    pub summary: Summary,
    /// The first failure by the order of seeds; the seeds behind it were not all run.
    pub failure: Option<Failure>,
}

/// Runs all `seeds`, or up to the first that fails. `progress` is told the sum so far, now and then.
pub fn simulate_many(pick: Pick, seeds: Range<u64>, setup: &Setup, mut progress: impl FnMut(&Many)) -> Many {
    let mut many = Many::default();
    let (mut from, mut size) = (seeds.start, *BATCHES.start());
    while from < seeds.end && many.failure.is_none() {
        let to = seeds.end.min(from.saturating_add(size));
        size = (2 * size).min(*BATCHES.end());
        let batch: Vec<_> =
            (from..to).into_par_iter().map(|seed| simulate(pick.scenario(seed), seed, setup)).collect();
        for one in batch {
            match one {
                Ok(summary) => {
                    many.seeds += 1;
                    many.summary += summary;
                }
                Err(failure) => {
                    many.failure = Some(failure);
                    break;
                }
            }
        }
        progress(&many);
        from = to;
    }
    many
}
