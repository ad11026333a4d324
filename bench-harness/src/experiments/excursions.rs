//! [`Excursions`]: runs of other workloads, which two claims need: members whom many change at once (C9), and celebrities
//! (C8); and runs during which a node dies and returns (C5, and C6, which [`recovery`](super::recovery) rules on). What they say is ruled on here, by rules written before anything
//! was measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine_env::Durability;
use workloads::Workload;

use super::campaign::{Campaign, CampaignError, Task};
use super::contestant::Contestant;
use super::recovery::mending;
use super::ruling::Ruling;
use super::schedule::WARM_UP;
use crate::engine::Engine;
use crate::load::Bound;
use crate::report::quantity::number;
use crate::report::record::{ClaimVerdict, MeasuredFigures, Measurement, Run};
use crate::run::Arriving;

/// The experiment of C9.
pub(super) const CONTENDED: &str = "members changed by many at once";
/// Increments under way together.
const CONTENDERS: u32 = 32;
/// The experiment of C8.
pub(super) const SKEWED: &str = "celebrities";
/// The experiment of C5 and C6.
pub(super) const OUTAGE: &str = "a node dies and returns";
/// A node whose load is this many times the mean of all carries too much.
const OVERLOADED: f64 = 1.5;

/// Workloads of the excursions; without one its claim isn't measured.
#[derive(Clone, Default)]
pub struct Excursions {
    /// Increments that overlap.
    pub contended: Option<Arc<dyn Workload>>,
    /// Reads of a few members, by the share of all reads that they take, from none up.
    pub skewed: Vec<(f64, Arc<dyn Workload>)>,
}

/// A setting under which excursions are made.
#[derive(Clone, Copy)]
pub(super) struct Excursion<'a> {
    pub(super) engines: &'a [&'a dyn Engine],
    pub(super) durability: Durability,
    pub(super) length: Duration,
}

impl Excursion<'_> {
    /// Pairs of runs of increments that overlap, in the order A B, B A.
    pub(super) fn contend(
        &self,
        campaign: &mut Campaign,
        workload: &dyn Workload,
        pairs: u32,
    ) -> Result<(), CampaignError> {
        let load_label = format!("{CONTENDERS} in flight");
        for pair in 1..=pairs {
            let mut order = self.engines.to_vec();
            if pair % 2 == 0 {
                order.reverse();
            }
            for engine in order {
                let seed = campaign.seed().derive(CONTENDED, u64::from(pair));
                campaign.measure(Task {
                    experiment: CONTENDED,
                    who: &Contestant::plain(engine),
                    workload,
                    durability: self.durability,
                    arriving: Arriving::Closed { clients: CONTENDERS },
                    load_label: &load_label,
                    pair: Some(pair),
                    seed,
                    warmup: Duration::ZERO,
                    bound: Bound::time(self.length),
                    memory_per_s: None,
                    settings: BTreeMap::new(),
                    p99_max: None,
                })?;
            }
        }
        Ok(())
    }

    /// Each engine once at each skew, at one rate.
    pub(super) fn skew(
        &self,
        campaign: &mut Campaign,
        skewed: &[(f64, Arc<dyn Workload>)],
        rate_per_s: f64,
    ) -> Result<(), CampaignError> {
        for (share, workload) in skewed {
            for engine in self.engines {
                let seed = campaign.seed().derive(SKEWED, 0);
                campaign.measure(Task {
                    experiment: SKEWED,
                    who: &Contestant::plain(*engine),
                    workload: &**workload,
                    durability: self.durability,
                    arriving: Arriving::Open { rate_per_s },
                    load_label: &skew_label(*share),
                    pair: None,
                    seed,
                    warmup: self.length.mul_f64(WARM_UP),
                    bound: Bound::time(self.length),
                    memory_per_s: None,
                    settings: BTreeMap::new(),
                    p99_max: None,
                })?;
            }
        }
        Ok(())
    }

    /// Pairs of runs at one rate in whose middle half the first node is away: killed, and started again on its folder. An
    /// engine that mends what a node missed only if it is told to makes a third run.
    pub(super) fn kill(
        &self,
        campaign: &mut Campaign,
        workload: &dyn Workload,
        pairs: u32,
        rate_per_s: f64,
    ) -> Result<(), CampaignError> {
        let quarter_ms = self.length.as_millis() / 4;
        for pair in 1..=pairs {
            let outage = format!("{quarter_ms}:{}:0", 2 * quarter_ms);
            let settings = BTreeMap::from([(OUTAGE_SETTING.to_owned(), outage)]);
            let mut order = losing_a_node(self.engines);
            if pair % 2 == 0 {
                order.reverse();
            }
            for who in &order {
                let seed = campaign.seed().derive(OUTAGE, u64::from(pair));
                campaign.measure(Task {
                    experiment: OUTAGE,
                    who,
                    workload,
                    durability: self.durability,
                    arriving: Arriving::Open { rate_per_s },
                    load_label: "half the time without a node",
                    pair: Some(pair),
                    seed,
                    warmup: self.length.mul_f64(WARM_UP),
                    bound: Bound::time(self.length),
                    memory_per_s: None,
                    settings: settings.clone(),
                    p99_max: None,
                })?;
            }
        }
        Ok(())
    }
}

/// The setting of engines that can lose a node during a run, and get it back.
const OUTAGE_SETTING: &str = "outage";

/// Whether an engine can lose a node during a run: without the setting, a run would have no outage, and count as one that has.
pub(super) fn can_lose_a_node(engine: &dyn Engine) -> bool {
    engine.settings().iter().any(|setting| setting.name == OUTAGE_SETTING)
}

/// Who makes the runs with an outage: each engine as it is, and those that only mend if they are told to, told to.
pub(super) fn losing_a_node<'a>(engines: &[&'a dyn Engine]) -> Vec<Contestant<'a>> {
    let plain = engines.iter().map(|engine| Contestant::plain(*engine));
    plain.chain(engines.iter().filter_map(|engine| mending(*engine))).collect()
}

fn skew_label(share: f64) -> String {
    format!("celebrities take {:.0} % of the reads", share * 100.0)
}

/// The runs of an experiment that count, of one side.
pub(super) fn runs_of<'r>(
    run: &'r Run,
    experiment: &str,
    side: &str,
) -> impl Iterator<Item = &'r Measurement> {
    run.measurements.iter().filter(move |m| {
        m.experiment == experiment && m.side() == side && m.operation == "all" && m.wrong_answers == 0
    })
}

/// What became of one side's increments, over all runs.
#[derive(Default)]
struct Contention {
    acknowledged: u64,
    lost: u64,
    siblings: u64,
    retries: u64,
    refused: u64,
    /// By pair: the share that was lost.
    shares: BTreeMap<u32, f64>,
}

impl Contention {
    fn of(run: &Run, side: &str) -> Option<Self> {
        let mut sum = Self::default();
        for m in runs_of(run, CONTENDED, side) {
            let (Some(lost), Some(pair)) = (m.lost_updates, m.pair) else { continue };
            sum.acknowledged += lost.acknowledged;
            sum.lost += lost.lost;
            sum.refused += m.errors;
            let counted = m.consistency.unwrap_or_default();
            sum.siblings += counted.siblings;
            sum.retries += counted.retries;
            sum.shares.insert(pair, lost.lost as f64 / lost.acknowledged.max(1) as f64);
        }
        (sum.acknowledged > 0).then_some(sum)
    }

    fn lost_percent(&self) -> f64 {
        100.0 * self.lost as f64 / self.acknowledged as f64
    }

    fn told(&self, side: &str) -> String {
        let Self { acknowledged, lost, siblings, retries, refused, .. } = self;
        format!(
            " {side}: {lost} of {acknowledged} acknowledged increments lost, {siblings} reads with siblings, {retries} writes \
             tried again, {refused} given up."
        )
    }
}

/// C9. No size was published, so nothing more than the direction can be found: the log loses less in every pair of runs.
pub(super) fn rule_on_conflicts(
    run: &Run,
    before: &str,
    after: &str,
) -> Result<(MeasuredFigures, Ruling), String> {
    let (Some(old), Some(new)) = (Contention::of(run, before), Contention::of(run, after)) else {
        return Err("No runs of both sides with increments that overlap were made".to_owned());
    };
    let pairs: Vec<(f64, f64)> =
        old.shares.iter().filter_map(|(pair, old)| Some((*old, *new.shares.get(pair)?))).collect();
    let less = pairs.iter().filter(|(old, new)| new < old).count();
    let (verdict, why) = match (less, pairs.len()) {
        (_, 0 | 1) => (ClaimVerdict::Undecided, "One pair of runs is too few."),
        (less, all) if less == all => (
            ClaimVerdict::DirectionOnly,
            "The log loses less in every pair; no size was published to compare with.",
        ),
        (0, _) => (
            ClaimVerdict::NotReproduced,
            "The log loses no less in any pair: an order per partition says whose change comes last, not what it had seen, \
             while a store that compares versions refuses a change of what it has not seen.",
        ),
        _ => (ClaimVerdict::Undecided, "Some pairs say one thing, some the other."),
    };
    let figures = MeasuredFigures {
        before: Some(old.lost_percent()),
        after: Some(new.lost_percent()),
        unit: "% of acknowledged increments lost".to_owned(),
        ..MeasuredFigures::default()
    };
    let why = format!(
        "{why} {CONTENDERS} increments under way at once, read, counted up and written back, without anybody who keeps others \
         out.{}{}",
        old.told(before),
        new.told(after)
    );
    Ok((figures, Ruling { verdict, why }))
}

/// The load of the busiest node, as times the mean of all nodes.
fn busiest(m: &Measurement) -> Option<f64> {
    let most = m.node_loads.iter().map(|load| load.messages).max()?;
    let all: u64 = m.node_loads.iter().map(|load| load.messages).sum();
    (all > 0).then(|| most as f64 * m.node_loads.len() as f64 / all as f64)
}

/// C8. The busiest node's load is counted, not timed, so one run at each skew tells; p99 is shown, and not ruled on.
pub(super) fn rule_on_hot_spots(
    run: &Run,
    before: &str,
    after: &str,
) -> Result<(MeasuredFigures, Ruling), String> {
    let points = |side: &str| -> Vec<(String, f64, Option<f64>)> {
        let told = |m: &Measurement| Some((m.load.label.clone()?, busiest(m)?, m.response_us.p99));
        runs_of(run, SKEWED, side).filter_map(told).collect()
    };
    let (old, new) = (points(before), points(after));
    let ([.., old_last], [.., new_last]) = (old.as_slice(), new.as_slice()) else {
        return Err("No runs of both sides with celebrities were made".to_owned());
    };
    let (even, skewed) = (old[0].1, old_last.1);
    let (verdict, why) = if old.len() < 2 || old.len() != new.len() {
        (ClaimVerdict::Undecided, "Not every skew was run on both sides.".to_owned())
    } else if skewed >= OVERLOADED && skewed > even {
        let why = "The store's busiest node carries too much once a few members are asked for most.";
        (ClaimVerdict::DirectionOnly, format!("{why} No size was published to compare with."))
    } else {
        let why = "The store's busiest node stays below";
        (ClaimVerdict::NotReproduced, format!("{why} {} times the mean at every skew.", number(OVERLOADED)))
    };
    let list = |side: &str, points: &[(String, f64, Option<f64>)]| {
        let all: Vec<String> = points
            .iter()
            .map(|(label, load, p99)| {
                let p99 = p99.map_or_else(String::new, |us| format!(", p99 {} ms", number(us / 1e3)));
                format!("{label}: {} times{p99}", number(*load))
            })
            .collect();
        format!(" {side}: {}.", all.join("; "))
    };
    let why = format!(
        "{why} Load is messages sent by the busiest node, as times the mean of its cluster; with as many copies as nodes every \
         node holds every celebrity, and the view is one node that answers all reads.{}{}",
        list(before, &old),
        list(after, &new)
    );
    let figures = MeasuredFigures {
        before: Some(skewed),
        after: Some(new_last.1),
        unit: "times the mean load, busiest node".to_owned(),
        ..MeasuredFigures::default()
    };
    Ok((figures, Ruling { verdict, why }))
}

/// C5. The share of operations that were answered, without an error and in time. It is told of both sides, and ruled on for
/// neither: a log whose partitions wait for their leader's return is not the log that the claim is about.
pub(super) fn rule_on_availability(
    run: &Run,
    before: &str,
    after: &str,
) -> Result<(MeasuredFigures, Ruling), String> {
    let answered = |side: &str| -> Option<(f64, u64, u64)> {
        let runs: Vec<_> = runs_of(run, OUTAGE, side).collect();
        let sum = |of: fn(&Measurement) -> u64| runs.iter().map(|m| of(m)).sum::<u64>();
        let (answered, errors, late) = (sum(|m| m.count), sum(|m| m.errors), sum(|m| m.late));
        let wanted = answered + errors;
        (wanted > 0).then(|| (100.0 * answered.saturating_sub(late) as f64 / wanted as f64, errors, late))
    };
    let (Some(old), Some(new)) = (answered(before), answered(after)) else {
        return Err("No runs of both sides in which a node dies and returns were made".to_owned());
    };
    let told = |side: &str, (_, errors, late): (f64, u64, u64)| {
        format!(
            " {side}: {errors} operations failed, {late} were answered later than 200 ms after they were due."
        )
    };
    let why = format!(
        "The log of this build elects no leader: while a broker is away, nobody appends to the partitions that it leads, so its \
         figure is not that of the log in the claim. A node was away for half of each run; nobody's nodes are, so the figures \
         are no year's.{}{}",
        told(before, old),
        told(after, new)
    );
    let figures = MeasuredFigures {
        before: Some(old.0),
        after: Some(new.0),
        unit: "% of operations answered within 200 ms, a node away half the time".to_owned(),
        ..MeasuredFigures::default()
    };
    Ok((figures, Ruling { verdict: ClaimVerdict::Undecided, why }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{Load, LostUpdates, NodeLoad};

    fn run(measurements: Vec<Measurement>) -> Run {
        let json = serde_json::json!({
            "schema": 1, "id": "", "started": "", "finished": "", "command": [], "seed": 1, "quick": true,
            "environment": crate::environment::Environment::default(), "limits": crate::limits::Limits::default(),
            "measurements": measurements, "comparisons": [], "claims": crate::experiments::claims(),
        });
        Run::parse(&json.to_string(), std::path::Path::new("run.json")).expect("a record")
    }

    fn contended(side: &str, pair: u32, lost: u64) -> Measurement {
        Measurement {
            experiment: CONTENDED.into(),
            engine: side.into(),
            operation: "all".into(),
            pair: Some(pair),
            lost_updates: Some(LostUpdates { acknowledged: 1_000, lost, ..LostUpdates::default() }),
            ..Measurement::default()
        }
    }

    #[test]
    fn conflicts_are_ruled_on_by_what_is_lost_in_every_pair() {
        let ruled = |store: [u64; 2], log: [u64; 2]| {
            let runs = (1..).zip(store.into_iter().zip(log));
            let runs =
                runs.flat_map(|(pair, (s, l))| [contended("store", pair, s), contended("log", pair, l)]);
            rule_on_conflicts(&run(runs.collect()), "store", "log")
        };
        let (figures, ruling) = ruled([0, 0], [10, 30]).expect("both sides");
        assert_eq!(ruling.verdict, ClaimVerdict::NotReproduced);
        assert_eq!((figures.before, figures.after), (Some(0.0), Some(2.0)));
        assert!(ruling.why.contains("log: 40 of 2000 acknowledged increments lost"), "{}", ruling.why);
        assert_eq!(ruled([5, 5], [0, 1]).expect("both").1.verdict, ClaimVerdict::DirectionOnly);
        assert_eq!(ruled([5, 0], [0, 5]).expect("both").1.verdict, ClaimVerdict::Undecided);
        assert!(rule_on_conflicts(&run(vec![contended("store", 1, 0)]), "store", "log").is_err());
    }

    fn skewed(side: &str, share: f64, loads: [u64; 3]) -> Measurement {
        let node_load = |messages| NodeLoad { node: "n".into(), messages };
        Measurement {
            experiment: SKEWED.into(),
            engine: side.into(),
            operation: "all".into(),
            load: Load { label: Some(skew_label(share)), ..Load::default() },
            node_loads: loads.map(node_load).to_vec(),
            ..Measurement::default()
        }
    }

    #[test]
    fn hot_spots_are_ruled_on_by_the_busiest_node() {
        let ruled = |last: [u64; 3]| {
            let log = [0.0, 0.9].map(|share| skewed("log", share, [5, 5, 5]));
            let store = [skewed("store", 0.0, [10, 10, 10]), skewed("store", 0.9, last)];
            rule_on_hot_spots(&run([store, log].concat()), "store", "log").expect("both sides")
        };
        let (figures, ruling) = ruled([20, 5, 5]);
        assert_eq!((ruling.verdict, figures.before), (ClaimVerdict::DirectionOnly, Some(2.0)));
        assert_eq!(ruled([11, 10, 9]).1.verdict, ClaimVerdict::NotReproduced);
        assert!(rule_on_hot_spots(&run(vec![]), "store", "log").is_err());
    }

    #[test]
    fn availability_counts_what_failed_and_what_came_too_late() {
        let outage = |side: &str, count, errors, late| Measurement {
            experiment: OUTAGE.into(),
            engine: side.into(),
            operation: "all".into(),
            count,
            errors,
            late,
            ..Measurement::default()
        };
        let runs = vec![
            outage("store", 100, 0, 0),
            outage("store", 100, 0, 1),
            outage("log", 60, 40, 0),
            outage("log", 90, 10, 30),
        ];
        let (figures, ruling) = rule_on_availability(&run(runs), "store", "log").expect("both sides");
        assert_eq!((figures.before, figures.after), (Some(99.5), Some(60.0)));
        assert_eq!(ruling.verdict, ClaimVerdict::Undecided);
        assert!(ruling.why.contains("log: 50 operations failed, 30 were answered later"), "{}", ruling.why);
        assert!(rule_on_availability(&run(vec![outage("store", 1, 0, 0)]), "store", "log").is_err());

        let engines = crate::engine::EngineRegistry::standard();
        let can = |name: &str| can_lose_a_node(engines.by_name(name).expect("it is there"));
        assert_eq!(["kv-cluster", "log-view", "log", "memory"].map(can), [true, true, false, false]);
    }
}
