//! `compare`: two engines, pair by pair, at the same durability under the same operations.
//!
//! First what the machine can do, then what each engine sustains, then pairs of runs in the order A B, B A, A B ...:
//! whatever drifts hits both sides alike. Within a block A B B A every run gets the same operations at the same due
//! times, so that the two runs of one engine tell what this machine can tell apart. Beside the main pairs, where both
//! engines are replicated: the other quorum, and what each difference of design is worth, as rows of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use engine_env::Durability;
use workloads::Workload;

use super::campaign::{Campaign, CampaignError, Task};
use super::combination::{Combination, Job};
use super::contestant::{ALL_COPIES, Contestant, OLD_READS, Roles, Row, rows};
use super::contrasts::{Subject, contrast_highest, contrast_latency};
use super::durability;
use super::evidence::{Planned, Trial};
use super::excursions::{Excursions, can_lose_a_node};
use super::schedule::{Part, Schedule, WARM_UP, allot};
use crate::engine::Engine;
use crate::limits::{Limits, LimitsPlan};
use crate::load::Bound;
use crate::report::curves::{HIGHEST, SEARCHED};
use crate::run::Arriving;

/// The experiment of the main pairs.
pub(super) const EQUAL_LOAD: &str = "equal load";
pub(super) const FLOOR: &str = "floor";

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
    /// Runs of other workloads that claims need, where both sides are replicated.
    pub excursions: Excursions,
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
    let roles = match plan.engines.as_slice() {
        [a, b] => Roles::of(&[*a, *b], campaign.given()),
        _ => Err("Two engines are needed: a replicated store, and a replicated log with a view".to_owned()),
    };
    let beside = roles.as_ref().map(|roles| rows(roles)).unwrap_or_default();
    let ended = make_runs(campaign, plan, &mut combinations, &beside, started);
    conclude(campaign, plan, &combinations, &beside, roles);
    ended?;
    if !campaign.stopped() {
        campaign.progress.expect_more(1);
        campaign.progress.step("crashes of simulated machines");
        let seed = campaign.seed();
        if let Some(claim) = campaign.run.claims.iter_mut().find(|c| c.id == "C7") {
            durability::settle(claim, &plan.schedule, seed);
        }
        campaign.run.plan.iter_mut().for_each(|announced| announced.complete = true);
    }
    campaign.save()
}

/// All runs, in the order of their importance and as long as fits.
fn make_runs(
    campaign: &mut Campaign,
    plan: &ComparePlan<'_>,
    combinations: &mut [Combination<'_>],
    beside: &[Row<'_>],
    started: Instant,
) -> Result<(), CampaignError> {
    if plan.schedule.total.is_some() {
        // What fits depends on all rates.
        for combination in &mut *combinations {
            combination.find_rates(campaign)?;
        }
    }
    let jobs = jobs(plan, combinations, beside);
    let parts: Vec<Part> = jobs.iter().map(|(at, job)| combinations[*at].part(*job)).collect();
    let lengths = match plan.schedule.total {
        Some(total) => allot(&parts, total.saturating_sub(started.elapsed())),
        None => parts.iter().map(|p| Some(p.most)).collect(),
    };
    let runs: u64 =
        parts.iter().zip(&lengths).filter(|(_, l)| l.is_some()).map(|(p, _)| u64::from(p.runs)).sum();
    campaign.progress.expect_more(runs);
    for (((at, job), part), length) in jobs.iter().zip(&parts).zip(lengths) {
        let Some(length) = length else {
            campaign.run.not_measured.push(format!("Left out for lack of time: {}", part.name));
            continue;
        };
        if campaign.stopped() {
            campaign.run.not_measured.push(format!("Not begun when the run was ended: {}", part.name));
            continue;
        }
        combinations[*at].find_rates(campaign)?;
        combinations[*at].make(campaign, *job, length)?;
        if campaign.stopped() {
            campaign.run.not_measured.push(format!("Not completed when the run was ended: {}", part.name));
        }
    }
    Ok(())
}

/// What is to be made, by combination, the most important first.
///
/// A comparison whose time is limited begins with a little of everything, because it has to show everything. One that takes
/// its time completes what decides a claim before it begins the next: first the pre-registered pairs, so that whoever ends it
/// early has that verdict.
fn jobs<'a>(
    plan: &ComparePlan<'_>,
    combinations: &[Combination<'_>],
    beside: &'a [Row<'a>],
) -> Vec<(usize, Job<'a>)> {
    let schedule = &plan.schedule;
    let all = || 0..combinations.len();
    let first = schedule.loads.first().copied().unwrap_or(0.5);
    let may_search = |at: &usize| plan.rate_per_s.is_none() && combinations[*at].searches() > 1;
    let rows = || beside.iter().filter(|row| row.short || schedule.all_rows).map(|row| (0, Job::Row(row)));
    let mut excursions = Vec::new();
    // Rows are there where both sides are replicated.
    if !beside.is_empty() && plan.rate_per_s.is_none() {
        excursions.extend(plan.excursions.contended.as_ref().map(|_| (0, Job::Contended)));
        excursions.extend(plan.excursions.skewed.first().map(|_| (0, Job::Skewed)));
        excursions
            .extend(plan.engines.iter().all(|engine| can_lose_a_node(*engine)).then_some((0, Job::Outage)));
    }
    let mut jobs: Vec<(usize, Job<'_>)> = Vec::new();
    if schedule.total.is_some() {
        jobs.extend(all().map(|at| (at, Job::Pairs(first))));
        jobs.extend(all().filter(may_search).map(|at| (at, Job::Searches)));
        // Claims before what explains them.
        jobs.extend(rows().take(1));
        jobs.append(&mut excursions);
        jobs.extend(rows().skip(1));
    } else {
        for at in all() {
            jobs.push((at, Job::Pairs(first)));
            jobs.extend(Some((at, Job::Searches)).filter(|_| may_search(&at)));
            if at == 0 {
                jobs.extend(rows());
                jobs.append(&mut excursions);
            }
        }
    }
    if plan.rate_per_s.is_none() {
        if schedule.curve {
            jobs.push((0, Job::Curve));
        }
        for at in all() {
            jobs.extend(schedule.loads.iter().skip(1).map(|share| (at, Job::Pairs(*share))));
        }
    }
    jobs
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
                planned: plan
                    .schedule
                    .decides
                    .then_some(Planned { pairs: plan.schedule.pairs, searches: plan.schedule.searches }),
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
            "A quick run: too short to decide anything but the direction; `workbench compare --time-limit 90m` or `--full` takes \
             its time."
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
    // Operations that it doesn't have end at once: with them its rate says nothing.
    Ok(shown.filter(|s| s.unsupported == 0).map(|s| s.achieved_per_s))
}
