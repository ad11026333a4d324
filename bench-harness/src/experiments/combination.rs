//! [`Combination`]: a workload at a durability, with the rates that were found for it, and the runs that are made of both.

use std::time::Duration;

use engine_env::Durability;
use workloads::Workload;

use super::campaign::{Campaign, CampaignError, Shown, Task};
use super::compare::{ComparePlan, EQUAL_LOAD, FLOOR, share_label};
use super::contestant::{Contestant, Row};
use super::excursions::{Excursion, losing_a_node};
use super::rate_search::{Found, P99_MAX, Search, search};
use super::schedule::{Part, Schedule, WARM_UP};
use super::segments::segments;
use super::sustained::OPERATIONS_MIN;
use crate::load::Bound;
use crate::report::curves::SWEEP;
use crate::run::Arriving;

/// Room for arrivals below their mean, where a run must hold enough operations for a p99.
const ROOM: f64 = 1.2;
/// The rate of the published system before its move, operations a second.
const PUBLISHED_PER_S: f64 = 10_000.0;
/// The share of its own maximum at which each engine is also run.
const OWN_SHARE: f64 = 0.7;
/// Shares of the smaller maximum that the curves show.
const CURVE_SHARES: [f64; 3] = [0.25, 0.75, 0.9];
/// Rates of one search and the next lie this close at its end: in a short comparison, and in one that decides.
const PRECISION: (f64, f64) = (0.21, 0.05);

/// A run with an outage is no shorter than this, unless all runs are.
const OUTAGE_LEAST: Duration = Duration::from_secs(3);

/// Runs that are made together.
#[derive(Clone, Copy)]
pub(super) enum Job<'a> {
    /// Pairs at a share of the smaller maximum, and the floor at the same rate.
    Pairs(f64),
    /// More pairs of searches for the highest rate.
    Searches,
    /// Pairs of a row beside.
    Row(&'a Row<'a>),
    /// Each engine once at several rates.
    Curve,
    /// Increments that overlap.
    Contended,
    /// Each engine once at several skews.
    Skewed,
    /// A node dies and returns.
    Outage,
}

/// A workload at a durability.
pub(super) struct Combination<'a> {
    pub(super) plan: &'a ComparePlan<'a>,
    pub(super) workload: &'a dyn Workload,
    pub(super) durability: Durability,
    pub(super) floor_per_s: Option<f64>,
    /// Whether it is the one that decides.
    pub(super) main: bool,
    /// What the first search of each engine found, in their order; empty where the rate was given.
    pub(super) found: Vec<Found>,
}

impl Combination<'_> {
    fn schedule(&self) -> &Schedule {
        &self.plan.schedule
    }

    pub(super) fn label(&self, share: f64) -> String {
        match self.plan.rate_per_s {
            Some(_) => "as asked for".to_owned(),
            None => share_label(share),
        }
    }

    /// The smallest of the engines' maxima.
    fn smaller_maximum(&self) -> f64 {
        self.found.iter().map(|f| f.rate_per_s).fold(f64::INFINITY, f64::min)
    }

    fn rate(&self, share: f64) -> f64 {
        self.plan.rate_per_s.unwrap_or_else(|| (self.smaller_maximum() * share).max(1.0))
    }

    fn overhead(&self) -> Duration {
        self.found.iter().map(|f| f.overhead).max().unwrap_or(Duration::from_secs(1))
    }

    fn others(&self) -> u32 {
        u32::try_from(self.plan.engines.len().saturating_sub(1)).unwrap_or(1)
    }

    fn pairs(&self) -> u32 {
        if self.main { self.schedule().pairs } else { self.schedule().pairs_beside }
    }

    pub(super) fn searches(&self) -> u32 {
        if self.main { self.schedule().searches } else { self.schedule().searches_beside }
    }

    /// Searches the highest rate of each engine, once.
    pub(super) fn find_rates(&mut self, campaign: &mut Campaign) -> Result<(), CampaignError> {
        if self.plan.rate_per_s.is_some() || !self.found.is_empty() {
            return Ok(());
        }
        for engine in &self.plan.engines {
            let who = Contestant::plain(*engine);
            match search(campaign, &self.search(&who, 1, None))? {
                Some(found) => self.found.push(found),
                None => break,
            }
        }
        Ok(())
    }

    fn search<'s>(&'s self, who: &'s Contestant<'s>, pair: u32, earlier: Option<Found>) -> Search<'s> {
        Search {
            who,
            workload: self.workload,
            durability: self.durability,
            clients: self.plan.clients,
            probe: self.schedule().probe,
            steps: self.schedule().steps,
            precision: if self.schedule().decides { PRECISION.1 } else { PRECISION.0 },
            pair,
            memory_per_s: self.memory_per_s(who),
            earlier,
        }
    }

    /// The floor that a contestant is held against; one that keeps nothing is a floor itself.
    fn memory_per_s(&self, who: &Contestant<'_>) -> Option<f64> {
        self.floor_per_s.filter(|_| who.engine.capabilities().durable)
    }

    /// A job's share of the plan.
    pub(super) fn part(&self, job: Job<'_>) -> Part {
        let (least, most) = self.schedule().run;
        let engines = self.others() + 1;
        let write_share = self.found.iter().map(|f| f.write_share).fold(1.0, f64::min);
        // Below this a run has no p99 of the operations that it is about, so it would be time lost.
        let needed = |share: f64, of: f64| {
            let rate = self.rate(share) * of.max(0.05);
            Duration::try_from_secs_f64(OPERATIONS_MIN * ROOM / rate).unwrap_or(most).clamp(least, most)
        };
        let decisive = self.schedule().loads.first().copied().unwrap_or(0.5);
        let (name, runs, least) = match job {
            Job::Pairs(share) => {
                let floor = u32::from(self.plan.floor.is_some());
                let name = format!("pairs at {}", self.label(share));
                (name, 2 * self.pairs() * self.others() + floor, needed(share, write_share))
            }
            // Three rates a search, as a rule.
            Job::Searches => (
                "more searches for the highest rate".to_owned(),
                3 * engines * self.searches().saturating_sub(1),
                self.schedule().probe,
            ),
            Job::Row(row) => (
                format!("the row `{}`", row.experiment),
                2 * self.schedule().row_pairs,
                needed(decisive, 1.0),
            ),
            Job::Contended => {
                let name = "the lost updates of members changed by many at once (C9)".to_owned();
                (name, engines * self.schedule().row_pairs, self.schedule().probe)
            }
            Job::Skewed => {
                let points = u32::try_from(self.plan.excursions.skewed.len()).unwrap_or(u32::MAX);
                let name = "the load of each node with celebrities (C8)".to_owned();
                (name, engines * points, needed(decisive, 1.0))
            }
            Job::Outage => {
                let name = "a node that dies and returns (C5, C6)".to_owned();
                let runs = u32::try_from(losing_a_node(&self.plan.engines).len()).unwrap_or(u32::MAX);
                // A quarter of it is left for the node that came back.
                let least = needed(decisive, 1.0).max(OUTAGE_LEAST.min(most));
                (name, runs * self.schedule().row_pairs, least)
            }
            Job::Curve => {
                let points = engines * (CURVE_SHARES.len() as u32 + 2);
                ("the curves of latency against throughput".to_owned(), points, self.schedule().probe)
            }
        };
        let most = match job {
            Job::Pairs(_) => most,
            Job::Row(_) => most.mul_f64(0.5).max(least),
            Job::Searches | Job::Curve | Job::Contended | Job::Skewed | Job::Outage => least,
        };
        // A schedule without a total makes every run as long as it may be.
        let most = if self.schedule().total.is_none() && matches!(job, Job::Row(_)) {
            self.schedule().run.1
        } else {
            most
        };
        Part { name: format!("{name} at {}", self.durability), runs, least, most, overhead: self.overhead() }
    }

    pub(super) fn make(
        &self,
        campaign: &mut Campaign,
        job: Job<'_>,
        length: Duration,
    ) -> Result<(), CampaignError> {
        if self.plan.rate_per_s.is_none() && self.found.len() < self.plan.engines.len() {
            // Stopped while searching.
            return Ok(());
        }
        let [first, others @ ..] = self.plan.engines.as_slice() else { return Ok(()) };
        match job {
            Job::Pairs(share) => {
                let load = self.load(EQUAL_LOAD, share, length);
                if let Some(floor) = self.plan.floor {
                    let load = Load { experiment: FLOOR, ..load.clone() };
                    self.one(campaign, &load, &Contestant::plain(floor), None)?;
                }
                for other in others {
                    let (a, b) = (Contestant::plain(*first), Contestant::plain(*other));
                    self.alternate(campaign, &load, &a, &b, self.pairs())?;
                }
            }
            Job::Row(row) => {
                let share = self.schedule().loads.first().copied().unwrap_or(0.5);
                let load = self.load(row.experiment, share, length);
                self.alternate(campaign, &load, &row.a, &row.b, self.schedule().row_pairs)?;
            }
            Job::Searches => {
                // Each begins where the one before it ended.
                let mut latest = self.found.clone();
                for pair in 2..=self.searches() {
                    let mut order: Vec<_> = self.plan.engines.iter().zip(&mut latest).collect();
                    if pair % 2 == 0 {
                        order.reverse();
                    }
                    for (engine, found) in order {
                        let who = Contestant::plain(*engine);
                        if let Some(next) = search(campaign, &self.search(&who, pair, Some(*found)))? {
                            *found = next;
                        }
                    }
                }
            }
            Job::Curve => self.curve(campaign, length)?,
            Job::Contended => {
                if let Some(workload) = &self.plan.excursions.contended {
                    self.excursion(length).contend(campaign, &**workload, self.schedule().row_pairs)?;
                }
            }
            Job::Skewed => {
                let rate = self.rate(self.schedule().loads.first().copied().unwrap_or(0.5));
                self.excursion(length).skew(campaign, &self.plan.excursions.skewed, rate)?;
            }
            Job::Outage => {
                let rate = self.rate(self.schedule().loads.first().copied().unwrap_or(0.5));
                self.excursion(length).kill(campaign, self.workload, self.schedule().row_pairs, rate)?;
            }
        }
        Ok(())
    }

    fn excursion(&self, length: Duration) -> Excursion<'_> {
        Excursion { engines: &self.plan.engines, durability: self.durability, length }
    }

    /// Each engine once at several rates: shares of the smaller maximum, the published rate, a share of its own maximum.
    fn curve(&self, campaign: &mut Campaign, length: Duration) -> Result<(), CampaignError> {
        let smaller = self.smaller_maximum();
        for (engine, found) in self.plan.engines.iter().zip(&self.found) {
            let mut points: Vec<(f64, String)> =
                CURVE_SHARES.iter().map(|share| (smaller * share, share_label(*share))).collect();
            points.push((PUBLISHED_PER_S, "the published rate before the move".to_owned()));
            let own = format!("{:.0} % of each engine's own maximum", OWN_SHARE * 100.0);
            points.push((found.rate_per_s * OWN_SHARE, own));
            for (rate_per_s, label) in points {
                let enough =
                    Duration::try_from_secs_f64(OPERATIONS_MIN * ROOM / rate_per_s).unwrap_or(length);
                let length = enough.clamp(length, length.max(self.schedule().run.1));
                let load = Load {
                    experiment: SWEEP,
                    label,
                    arriving: Arriving::Open { rate_per_s },
                    length,
                    written: self.written(rate_per_s, length),
                };
                self.one(campaign, &load, &Contestant::plain(*engine), None)?;
            }
        }
        Ok(())
    }

    fn load<'l>(&self, experiment: &'l str, share: f64, length: Duration) -> Load<'l> {
        let rate_per_s = self.rate(share);
        Load {
            experiment,
            label: self.label(share),
            arriving: Arriving::Open { rate_per_s },
            length,
            written: self.written(rate_per_s, length),
        }
    }

    /// Bytes that the engine which writes most writes in such a run.
    fn written(&self, rate_per_s: f64, length: Duration) -> f64 {
        let per_op = self.found.iter().map(|f| f.written_per_op).fold(0.0, f64::max);
        rate_per_s * per_op * length.as_secs_f64()
    }

    /// Pairs in the order A B, B A, A B ...
    fn alternate(
        &self,
        campaign: &mut Campaign,
        load: &Load<'_>,
        a: &Contestant<'_>,
        b: &Contestant<'_>,
        pairs: u32,
    ) -> Result<(), CampaignError> {
        for pair in 1..=pairs {
            let order = if pair % 2 == 1 { [a, b] } else { [b, a] };
            for who in order {
                self.one(campaign, load, who, Some(pair))?;
            }
        }
        Ok(())
    }

    fn one(
        &self,
        campaign: &mut Campaign,
        load: &Load<'_>,
        who: &Contestant<'_>,
        pair: Option<u32>,
    ) -> Result<Option<Shown>, CampaignError> {
        // The same for both sides of a pair, and for the two pairs of a block A B B A: so each engine is also compared
        // with itself under the same operations. Another one in the next block.
        let block = pair.map_or(0, |p| p.div_ceil(2));
        let seed = campaign.seed().derive(&load.label, u64::from(block));
        campaign.measure(Task {
            experiment: load.experiment,
            who,
            workload: self.workload,
            durability: self.durability,
            arriving: load.arriving,
            load_label: &load.label,
            pair,
            seed,
            warmup: load.length.mul_f64(WARM_UP),
            bound: Bound::time(load.length),
            memory_per_s: self.memory_per_s(who),
            settings: segments(who.engine, load.written),
            p99_max: (load.experiment == SWEEP).then_some(P99_MAX),
        })
    }
}

/// What the runs of a row of pairs share.
#[derive(Clone)]
struct Load<'a> {
    experiment: &'a str,
    label: String,
    arriving: Arriving,
    length: Duration,
    /// Bytes that all nodes together write, about.
    written: f64,
}
