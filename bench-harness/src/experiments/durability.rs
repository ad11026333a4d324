//! C7: how much of what was acknowledged is gone after a crash, counted over crashes of simulated machines.
//!
//! The same machinery as `workbench simulate`: the engines' own code on a machine that loses, keeps and tears what no sync
//! covered. One node of each engine, without replicas. The same seed gives the same figures, on every machine.

use crash_lab::simulated::{CrashKind, Losses, losses};
use crash_lab::stress::Engine;
use engine_env::Durability;
use engine_env::rng::Seed;

use super::ruling::{Court, Evidence, Ruling};
use super::schedule::Schedule;
use crate::report::record::{Claim, ClaimPart, ClaimVerdict, MeasuredFigures};
use crate::stats::paired_ratio;

/// 99.9 to 99.999 %: a hundredth of the losses.
const CLAIMED: f64 = 100.0;
/// Crashes are counted in this many groups: the spread between them gives the interval.
const GROUPS: u64 = 20;
const UNIT: &str = "% of acknowledged operations kept";

/// Losses of both engines, group by group.
struct Counted {
    durability: Durability,
    kind: CrashKind,
    store: Vec<Losses>,
    log: Vec<Losses>,
}

impl Counted {
    fn of(durability: Durability, kind: CrashKind, crashes: u64, seed: Seed) -> Self {
        let count = |engine: Engine| -> Vec<Losses> {
            (0..GROUPS)
                .map(|group| {
                    let seed = seed.derive("crashes", group).0;
                    losses(engine, durability, kind, crashes / GROUPS, seed)
                })
                .collect()
        };
        Self { durability, kind, store: count(Engine::Kv), log: count(Engine::Log) }
    }

    fn sums(&self) -> [Losses; 2] {
        [&self.store, &self.log].map(|groups| groups.iter().copied().sum())
    }

    /// How many times less the log loses.
    fn evidence(&self, seed: Seed) -> Option<Evidence> {
        let shares = |groups: &[Losses]| -> Vec<f64> { groups.iter().filter_map(Losses::share).collect() };
        let pairs: Vec<(f64, f64)> = shares(&self.store).into_iter().zip(shares(&self.log)).collect();
        let [store, log] = self.sums().map(|sum| kept_percent(&sum));
        Evidence::of(&paired_ratio(&pairs, seed)?, (store?, log?))
    }

    fn part(&self) -> ClaimPart {
        let [store, log] = self.sums();
        ClaimPart {
            id: "C7".to_owned(),
            what: format!("acknowledged operations kept, {}", self.kind),
            durability: self.durability.to_string(),
            setting: "one node, simulated".to_owned(),
            measured: MeasuredFigures {
                before: kept_percent(&store),
                after: kept_percent(&log),
                unit: UNIT.to_owned(),
                ..MeasuredFigures::default()
            },
            why: format!("store: {}; log: {}", told(&store), told(&log)),
            ..ClaimPart::default()
        }
    }
}

fn kept_percent(sum: &Losses) -> Option<f64> {
    sum.share().map(|lost| 100.0 * (1.0 - lost))
}

fn told(sum: &Losses) -> String {
    let Losses { crashes, acknowledged, lost, .. } = sum;
    format!("{lost} of {acknowledged} lost over {crashes} crashes")
}

/// How many crashes a comparison of that length counts, for each engine, durability and kind.
fn crashes_of(schedule: &Schedule) -> u64 {
    match (schedule.limits_in_short, schedule.decides) {
        (true, _) => 2 * GROUPS,
        (false, false) => 50 * GROUPS,
        (false, true) => 500 * GROUPS,
    }
}

/// Counts, and settles the claim.
pub(super) fn settle(claim: &mut Claim, schedule: &Schedule, seed: Seed) {
    let crashes = crashes_of(schedule);
    let interval = Durability::IntervalMs(20);
    let counted: Vec<Counted> = [Durability::Os, interval, Durability::Synced]
        .into_iter()
        .flat_map(|durability| {
            [CrashKind::PowerCut, CrashKind::ProcessKill]
                .map(|kind| Counted::of(durability, kind, crashes, seed.derive("durability", 0)))
        })
        .collect();
    claim.parts = counted.iter().map(Counted::part).collect();
    let broken: u64 = counted.iter().flat_map(Counted::sums).map(|sum| sum.broken).sum();
    if broken > 0 {
        claim.why = format!(
            "After {broken} of the simulated crashes something else was wrong than losses, so there is no figure: run \
             `workbench simulate`."
        );
        return;
    }
    let find = |durability, kind| {
        let found = counted.iter().find(|c| c.durability == durability && c.kind == kind);
        found.expect("every combination was counted")
    };
    let cut = find(Durability::Os, CrashKind::PowerCut);
    let evidence = cut.evidence(seed.derive("bootstrap", 7));
    let [store, log] = cut.sums();
    let ruling = match &evidence {
        // Simulated, so at best about the direction.
        Some(evidence) => Court { claimed: CLAIMED, decides: false }.ratio(evidence),
        None => Ruling {
            verdict: ClaimVerdict::NotMeasured,
            why: "Too few crashes lost anything to compare both engines.".to_owned(),
        },
    };
    let [synced_store, synced_log] = find(Durability::Synced, CrashKind::PowerCut).sums();
    let [interval_store, interval_log] = find(interval, CrashKind::PowerCut).sums();
    let killed: u64 = counted
        .iter()
        .filter(|c| c.kind == CrashKind::ProcessKill)
        .flat_map(Counted::sums)
        .map(|sum| sum.lost)
        .sum();
    claim.measured = Some(MeasuredFigures {
        before: kept_percent(&store),
        after: kept_percent(&log),
        unit: UNIT.to_owned(),
        ratio: evidence.as_ref().map(|e| e.ratio),
        ci95: evidence.as_ref().map(|e| e.ci95),
    });
    claim.verdict = ruling.verdict;
    claim.why = format!(
        "{} What decides is when a write is acknowledged, not which engine takes it. Power cuts of one simulated node without \
         replicas, each soon after the operations: `os` store {}, log {}; `{interval}` store {}, log {}; `synced` store {}, \
         log {}{}. Process kills lost {killed} in all. The shares depend on how much was written since the last sync, so they \
         are no yearly figures: 99.9 % allows 1,000 lost in a million, 99.999 % allows 10.",
        ruling.why,
        told(&store),
        told(&log),
        told(&interval_store),
        told(&interval_log),
        told(&synced_store),
        told(&synced_log),
        rule_of_three(
            synced_store.acknowledged.min(synced_log.acknowledged),
            synced_store.lost + synced_log.lost
        ),
    );
}

/// What none lost of so many says: with 95 % confidence no larger share than three in so many.
fn rule_of_three(acknowledged: u64, lost: u64) -> String {
    if lost > 0 || acknowledged == 0 {
        return String::new();
    }
    format!(" (none of {acknowledged}: below {:.4} % with 95 % confidence)", 300.0 / acknowledged as f64)
}

#[cfg(test)]
mod tests {
    use super::super::schedule::Effort;
    use super::*;

    #[test]
    fn a_power_cut_costs_os_and_never_synced_and_the_seed_decides_all() {
        let schedule = Schedule { limits_in_short: false, ..Effort::Quick.schedule() };
        let settled = |seed| {
            let mut claim = Claim { id: "C7".into(), ..Claim::default() };
            settle(&mut claim, &Schedule { limits_in_short: true, ..schedule.clone() }, Seed(seed));
            claim
        };
        let claim = settled(1);
        assert_eq!(claim, settled(1));
        assert_ne!(claim.measured, settled(2).measured);
        let kept = |durability: &str, kind: &str| {
            let part = claim.parts.iter().find(|p| p.durability == durability && p.what.ends_with(kind));
            let measured = &part.expect("every combination").measured;
            [measured.before.expect("operations"), measured.after.expect("operations")]
        };
        assert!(kept("os", "power cut").iter().all(|percent| *percent < 99.0), "{:?}", claim.parts);
        assert_eq!(kept("synced", "power cut"), [100.0; 2]);
        assert_eq!(kept("os", "process kill"), [100.0; 2]);
        let interval = kept("interval:20", "power cut");
        assert!(interval.iter().zip(kept("os", "power cut")).all(|(with, without)| *with > without));
        assert!(![ClaimVerdict::Reproduced, ClaimVerdict::NotMeasured].contains(&claim.verdict), "{claim:?}");
    }
}
