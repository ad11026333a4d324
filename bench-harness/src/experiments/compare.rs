//! `compare`: two engines, pair by pair, at the same durability under the same operations.
//!
//! First what the machine can do, then what each engine sustains, then pairs of runs in the order A B, B A, A B ...:
//! whatever drifts hits both sides alike. Within a block A B B A every run gets the same operations at the same due
//! times, so that the two runs of one engine tell what this machine can tell apart. Beside the main pairs, where both
//! engines are replicated: the other quorum, and what each difference of design is worth, as rows of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_env::Durability;
use workloads::Workload;

use super::campaign::{Campaign, CampaignError, Shown, Task};
use super::contestant::{ALL_COPIES, Contestant, OLD_READS, Roles, Row, rows};
use super::contrasts::{Subject, contrast_highest, contrast_latency};
use super::evidence::Trial;
use super::rate_search::{Found, P99_MAX, Search, search};
use super::schedule::{Part, Schedule, WARM_UP, allot};
use super::segments::segments;
use super::sustained::OPERATIONS_MIN;
use crate::engine::Engine;
use crate::limits::{Limits, LimitsPlan};
use crate::load::Bound;
use crate::report::curves::{HIGHEST, SEARCHED, SWEEP};
use crate::run::Arriving;

/// The experiment of the main pairs.
pub(super) const EQUAL_LOAD: &str = "equal load";
const FLOOR: &str = "floor";

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

/// A load, as a share of what both engines sustain.
pub(super) fn share_label(share: f64) -> String {
    format!("{:.0} % of the smaller maximum", share * 100.0)
}

/// What to compare.
pub struct ComparePlan<'a> {
    /// Engines; each one is compared with the first.
    pub engines: Vec<&'a dyn Engine>,
    /// The floor: an engine that keeps nothing, run beside them.
    pub floor: Option<&'a dyn Engine>,
    /// What they are asked.
    pub workloads: Vec<Arc<dyn Workload>>,
    /// At which durabilities; the first one decides.
    pub durabilities: Vec<Durability>,
    /// How many runs, and how long.
    pub schedule: Schedule,
    /// Operations in flight where a closed loop tells where to look for a rate.
    pub clients: u32,
    /// Offer this rate instead of a share of what was found.
    pub rate_per_s: Option<f64>,
}

impl ComparePlan<'_> {
    /// All that decides which runs are made and what they mean, for a campaign that is to be continued.
    #[must_use]
    pub fn key(&self, campaign: &Campaign) -> String {
        let engines: Vec<&str> = self.engines.iter().map(|e| e.name()).collect();
        let workloads: Vec<String> = self
            .workloads
            .iter()
            .map(|w| {
                let set: Vec<String> =
                    w.parameters().iter().map(|p| format!("{}={}", p.name, p.value)).collect();
                format!("{} ({})", w.name(), set.join(" "))
            })
            .collect();
        let durabilities: Vec<String> = self.durabilities.iter().map(ToString::to_string).collect();
        let environment = &campaign.run.environment;
        format!(
            "engines {}; settings {:?}; workloads {}; durabilities {}; seed {}; {} clients; rate {:?}; {:?}; source {}{}",
            engines.join(","),
            campaign.given(),
            workloads.join(", "),
            durabilities.join(","),
            campaign.run.seed,
            self.clients,
            self.rate_per_s,
            self.schedule,
            environment.git_commit.as_deref().unwrap_or("unknown"),
            if environment.git_dirty == Some(true) { " with changes" } else { "" }
        )
    }
}

/// Makes the comparison. What was measured is in the campaign's record and folder, also when this ends early.
///
/// # Errors
/// A run couldn't be made or written.
pub fn compare(campaign: &mut Campaign, plan: &ComparePlan<'_>) -> Result<(), CampaignError> {
    let started = Instant::now();
    for engine in plan.engines.iter().copied().chain(plan.floor) {
        campaign.introduce_engine(engine);
    }
    for workload in &plan.workloads {
        campaign.introduce_workload(&**workload);
    }
    measure_limits(campaign, plan);
    let mut combinations = Vec::new();
    for workload in &plan.workloads {
        let floor_per_s = match plan.floor {
            None => None,
            Some(floor) => floor_rate(campaign, plan, floor, &**workload)?,
        };
        for durability in &plan.durabilities {
            combinations.push(Combination {
                plan,
                workload: &**workload,
                durability: *durability,
                floor_per_s,
                main: combinations.is_empty(),
                found: Vec::new(),
            });
        }
    }
    for combination in &mut combinations {
        combination.find_rates(campaign)?;
    }
    let roles = match plan.engines.as_slice() {
        [a, b] => Roles::of(&[*a, *b], campaign.given()),
        _ => Err("Two engines are needed: a replicated store, and a replicated log with a view".to_owned()),
    };
    let beside = roles.as_ref().map(|roles| rows(roles)).unwrap_or_default();
    let ended = make_runs(campaign, plan, &combinations, &beside, started);
    conclude(campaign, plan, &combinations, &beside, roles);
    ended?;
    if !campaign.stopped() {
        campaign.run.plan.iter_mut().for_each(|announced| announced.complete = true);
    }
    campaign.save()
}

/// All runs whose rates are known, in the order of their importance and as long as fits.
fn make_runs(
    campaign: &mut Campaign,
    plan: &ComparePlan<'_>,
    combinations: &[Combination<'_>],
    beside: &[Row<'_>],
    started: Instant,
) -> Result<(), CampaignError> {
    let mut jobs: Vec<(usize, Job<'_>)> = Vec::new();
    let first = plan.schedule.loads.first().copied().unwrap_or(0.5);
    jobs.extend((0..combinations.len()).map(|at| (at, Job::Pairs(first))));
    if plan.rate_per_s.is_none() {
        let more = |at: &usize| combinations[*at].searches() > 1;
        jobs.extend((0..combinations.len()).filter(more).map(|at| (at, Job::Searches)));
    }
    for row in beside.iter().filter(|row| row.short || plan.schedule.all_rows) {
        jobs.push((0, Job::Row(row)));
    }
    if plan.rate_per_s.is_none() {
        if plan.schedule.curve {
            jobs.push((0, Job::Curve));
        }
        for at in 0..combinations.len() {
            for share in plan.schedule.loads.iter().skip(1) {
                jobs.push((at, Job::Pairs(*share)));
            }
        }
    }
    let parts: Vec<Part> = jobs.iter().map(|(at, job)| combinations[*at].part(*job)).collect();
    let lengths = match plan.schedule.total {
        Some(total) => allot(&parts, total.saturating_sub(started.elapsed())),
        None => parts.iter().map(|p| Some(p.most)).collect(),
    };
    let runs: u64 =
        parts.iter().zip(&lengths).filter(|(_, l)| l.is_some()).map(|(p, _)| u64::from(p.runs)).sum();
    campaign.progress.expect_more(runs);
    for (((at, job), part), length) in jobs.iter().zip(&parts).zip(lengths) {
        match length {
            Some(length) => combinations[*at].make(campaign, *job, length)?,
            None => campaign.run.not_measured.push(format!("Left out for lack of time: {}", part.name)),
        }
    }
    Ok(())
}

/// What the runs say, also where they ended early.
fn conclude(
    campaign: &mut Campaign,
    plan: &ComparePlan<'_>,
    combinations: &[Combination<'_>],
    beside: &[Row<'_>],
    roles: Result<Roles<'_>, String>,
) {
    let seed = campaign.seed().derive("bootstrap", 0);
    let run = &mut campaign.run;
    let mut comparisons = Vec::new();
    let [first, others @ ..] = plan.engines.as_slice() else { return };
    for c in combinations {
        let durability = c.durability.to_string();
        let subject = |experiment, load_label, a, b| Subject {
            experiment,
            workload: c.workload.name(),
            durability: &durability,
            load_label,
            a,
            b,
        };
        let labels: Vec<String> = plan.schedule.loads.iter().map(|share| c.label(*share)).collect();
        for other in others {
            for label in &labels {
                let subject = subject(EQUAL_LOAD, label.as_str(), first.name(), other.name());
                comparisons.extend(contrast_latency(run, subject, seed));
                if plan.rate_per_s.is_some() {
                    break;
                }
            }
            let subject = subject(HIGHEST, SEARCHED, first.name(), other.name());
            comparisons.extend(contrast_highest(run, subject, seed));
        }
    }
    let names: Vec<(&str, String, String)> =
        beside.iter().map(|row| (row.experiment, row.a.name(), row.b.name())).collect();
    let share = plan.schedule.loads.first().copied().unwrap_or(0.5);
    if let Some(c) = combinations.first() {
        let (durability, label) = (c.durability.to_string(), c.label(share));
        for (experiment, a, b) in &names {
            let subject = Subject {
                experiment,
                workload: c.workload.name(),
                durability: &durability,
                load_label: &label,
                a,
                b,
            };
            comparisons.extend(contrast_latency(run, subject, seed));
        }
    }
    run.comparisons = comparisons;
    let row = |wanted: &str| {
        names.iter().find(|(experiment, ..)| *experiment == wanted).map(|(_, a, b)| (a.clone(), b.clone()))
    };
    match (roles, combinations.first()) {
        (Ok(roles), Some(c)) if plan.rate_per_s.is_none() => {
            let trial = Trial {
                workload: c.workload.name(),
                durabilities: plan.durabilities.iter().map(ToString::to_string).collect(),
                before: roles.before.name(),
                after: roles.after.name(),
                all_copies: row(ALL_COPIES),
                old_reads: row(OLD_READS),
                share,
                decides: plan.schedule.decides,
                seed,
            };
            trial.conclude(run);
        }
        (roles, _) => {
            let why = roles.err().unwrap_or_else(|| {
                "The rate was given, so the load that was fixed beforehand was not measured".to_owned()
            });
            for claim in run.claims.iter_mut().filter(|c| ["C1", "C2"].contains(&c.id.as_str())) {
                claim.why = format!("{why}. {}", claim.why);
            }
            run.not_measured.push("Claims about replicated engines: see the reason beside each".to_owned());
        }
    }
    if !plan.schedule.decides {
        run.notes.push(
            "A quick run: too short to decide anything but the direction; `workbench compare --full` takes its time."
                .to_owned(),
        );
    }
    run.not_measured.extend(
        [
            "A power cut while measuring: durability is put to the test by the crash tests and `workbench stress`.",
            "Other machines: ratios move with the disk, so take them together with the limits.",
        ]
        .map(str::to_owned),
    );
}

fn measure_limits(campaign: &mut Campaign, plan: &ComparePlan<'_>) {
    campaign.progress.step("the machine's limits");
    if !campaign.run.limits.is_empty() {
        return;
    }
    let folder = campaign.data().to_owned();
    let limits = if plan.schedule.limits_in_short { LimitsPlan::smoke() } else { LimitsPlan::default() };
    let limits = LimitsPlan { stop: campaign.stop_flag(), ..limits };
    match Limits::measure(&folder, &limits, &mut |_| {}) {
        Ok(limits) => campaign.run.limits = limits,
        // The comparison stands without them; the report says that they are missing.
        Err(error) => campaign.run.notes.push(format!("The machine's limits were not measured: {error}.")),
    }
}

/// What the floor does with as many clients, so that runs near it can be told.
fn floor_rate(
    campaign: &mut Campaign,
    plan: &ComparePlan<'_>,
    floor: &dyn Engine,
    workload: &dyn Workload,
) -> Result<Option<f64>, CampaignError> {
    let Some(durability) = plan.durabilities.first() else { return Ok(None) };
    let probe = plan.schedule.probe;
    let seed = campaign.seed().derive("floor", 0);
    let shown = campaign.measure(Task {
        experiment: FLOOR,
        who: &Contestant::plain(floor),
        workload,
        durability: *durability,
        arriving: Arriving::Closed { clients: plan.clients },
        load_label: "as many as the engine takes",
        pair: None,
        seed,
        warmup: probe.mul_f64(WARM_UP),
        bound: Bound::time(probe),
        memory_per_s: None,
        settings: BTreeMap::new(),
        p99_max: None,
    })?;
    Ok(shown.map(|s| s.achieved_per_s))
}

/// Runs that are made together.
#[derive(Clone, Copy)]
enum Job<'a> {
    /// Pairs at a share of the smaller maximum, and the floor at the same rate.
    Pairs(f64),
    /// More pairs of searches for the highest rate.
    Searches,
    /// Pairs of a row beside.
    Row(&'a Row<'a>),
    /// Each engine once at several rates.
    Curve,
}

/// A workload at a durability.
struct Combination<'a> {
    plan: &'a ComparePlan<'a>,
    workload: &'a dyn Workload,
    durability: Durability,
    floor_per_s: Option<f64>,
    /// Whether it is the one that decides.
    main: bool,
    /// What the first search of each engine found, in their order; empty where the rate was given.
    found: Vec<Found>,
}

impl Combination<'_> {
    fn schedule(&self) -> &Schedule {
        &self.plan.schedule
    }

    fn label(&self, share: f64) -> String {
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

    fn searches(&self) -> u32 {
        if self.main { self.schedule().searches } else { self.schedule().searches_beside }
    }

    /// Searches the highest rate of each engine, once.
    fn find_rates(&mut self, campaign: &mut Campaign) -> Result<(), CampaignError> {
        if self.plan.rate_per_s.is_some() {
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
            earlier,
        }
    }

    /// A job's share of the plan.
    fn part(&self, job: Job<'_>) -> Part {
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
            Job::Curve => {
                let points = engines * (CURVE_SHARES.len() as u32 + 2);
                ("the curves of latency against throughput".to_owned(), points, self.schedule().probe)
            }
        };
        let most = match job {
            Job::Pairs(_) => most,
            Job::Row(_) => most.mul_f64(0.5).max(least),
            Job::Searches | Job::Curve => least,
        };
        // A schedule without a total makes every run as long as it may be.
        let most = if self.schedule().total.is_none() && matches!(job, Job::Row(_)) {
            self.schedule().run.1
        } else {
            most
        };
        Part { name: format!("{name} at {}", self.durability), runs, least, most, overhead: self.overhead() }
    }

    fn make(&self, campaign: &mut Campaign, job: Job<'_>, length: Duration) -> Result<(), CampaignError> {
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
        }
        Ok(())
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
            memory_per_s: self.floor_per_s.filter(|_| who.engine.capabilities().durable),
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
