//! What a comparison's runs say about the published claims: C1 and C2 with their verdicts, and what falls out of the
//! same runs about C4 and C10.
//!
//! Everything is taken from the record, so that it can be concluded again from a record that was interrupted.

use std::collections::BTreeSet;

use engine_env::rng::Seed;
use workloads::{Access, OpKind};

use super::compare::{EQUAL_LOAD, share_label};
use super::contestant::{ALL_COPIES, OLD_READS};
use super::contrasts::{Metric, P95, P99, Paired, Subject};
use super::excursions::{rule_on_availability, rule_on_conflicts, rule_on_hot_spots};
use super::recovery::rule_on_recovery;
use super::ruling::{Court, Evidence, Ruling};
use crate::limits::TIMER_TIMES;
use crate::measure::VISIBLE;
use crate::report::curves::{HIGHEST, SEARCHED};
use crate::report::quantity::{bytes, interval, number, per_second};
use crate::report::record::{Claim, ClaimPart, ClaimVerdict, MeasuredFigures, Measurement, Run};

/// The comparison that the claims are put to.
#[derive(Debug, Clone)]
pub(super) struct Trial<'a> {
    pub(super) workload: &'a str,
    /// The first one is the pre-registered one.
    pub(super) durabilities: Vec<String>,
    /// The side before the move, and the one after it, by name.
    pub(super) before: &'a str,
    pub(super) after: &'a str,
    /// The same in the row where every copy acknowledges, where it was made.
    pub(super) all_copies: Option<(String, String)>,
    /// The same in the row of reads that may be old.
    pub(super) old_reads: Option<(String, String)>,
    /// The share of the smaller maximum that decides.
    pub(super) share: f64,
    /// How much must have been made for a verdict to decide; `None` for a short comparison, whose never do.
    pub(super) planned: Option<Planned>,
    pub(super) seed: Seed,
}

/// What a comparison makes at least before it decides anything: a verdict on fewer would be one at a moment of one's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) pairs: u32,
    pub(super) searches: u32,
}

const PAIRS: fn(&Planned) -> u32 = |planned| planned.pairs;
const SEARCHES: fn(&Planned) -> u32 = |planned| planned.searches;

/// Which quantity of a run, as operations of both sides.
type Sides<'a> = (&'a str, &'a str);

impl Trial<'_> {
    /// Fills in the claims of the record.
    pub(super) fn conclude(&self, run: &mut Run) {
        let parts = self.parts_of_c1(run);
        let highest = self.parts_of_c2(run);
        let c1 = self.rule_on_c1(run);
        let c2 = self.rule_on_c2(run);
        let order = self.consistency(run);
        let space = self.space(run);
        let hot_spots = rule_on_hot_spots(run, self.before, self.after);
        let conflicts = rule_on_conflicts(run, self.before, self.after);
        let availability = rule_on_availability(run, self.before, self.after);
        let recovery = rule_on_recovery(run, self.before, self.after, self.seed);
        for claim in &mut run.claims {
            match claim.id.as_str() {
                "C1" => {
                    settle(claim, c1.clone());
                    claim.parts.clone_from(&parts);
                }
                "C2" => {
                    settle(claim, c2.clone());
                    claim.parts.clone_from(&highest);
                }
                "C4" => {
                    if let Some(figures) = &order {
                        claim.why = format!("{} {figures}", claim.why);
                    }
                }
                "C5" => settle(claim, availability.clone()),
                "C6" => match &recovery {
                    Ok((measured, ruling, parts)) => {
                        settle(claim, Ok((measured.clone(), ruling.clone())));
                        claim.parts.clone_from(parts);
                    }
                    Err(why) => settle(claim, Err(why.clone())),
                },
                "C8" => settle(claim, hot_spots.clone()),
                "C9" => settle(claim, conflicts.clone()),
                "C10" => settle(claim, space.clone()),
                _ => {}
            }
        }
    }

    /// The kind of operation that wrote most.
    fn write_kind(&self, run: &Run) -> Option<&'static str> {
        let count = |kind: &OpKind| -> u64 {
            run.measurements
                .iter()
                .filter(|m| m.experiment == EQUAL_LOAD && m.workload == self.workload)
                .filter(|m| m.operation == kind.name())
                .map(|m| m.count)
                .sum()
        };
        OpKind::ALL
            .iter()
            .filter(|k| k.access() == Access::Write && count(k) > 0)
            .max_by_key(|k| count(k))
            .map(|k| k.name())
    }

    /// The kind of operation that read most.
    fn read_kind(&self, run: &Run) -> Option<&'static str> {
        let read = |m: &&Measurement| m.experiment == EQUAL_LOAD && m.workload == self.workload;
        OpKind::ALL
            .iter()
            .filter(|k| k.access() == Access::Read)
            .max_by_key(|k| {
                run.measurements
                    .iter()
                    .filter(read)
                    .filter(|m| m.operation == k.name())
                    .map(|m| m.count)
                    .sum::<u64>()
            })
            .map(|k| k.name())
    }

    fn paired(&self, run: &Run, row: &Row<'_>, sides: Sides<'_>, metric: &Metric) -> Paired {
        let label = share_label(self.share);
        let subject = Subject {
            experiment: row.experiment,
            workload: self.workload,
            durability: row.durability,
            load_label: &label,
            a: row.before,
            b: row.after,
        };
        Paired::of(run, subject, sides, metric.2)
    }

    fn evidence(&self, run: &Run, row: &Row<'_>, sides: Sides<'_>, metric: &Metric) -> Option<Evidence> {
        let paired = self.paired(run, row, sides, metric);
        Evidence::of(&paired.ratio(self.seed)?, paired.means()?)
    }

    fn main_row<'r>(&'r self, durability: &'r str) -> Row<'r> {
        Row { experiment: EQUAL_LOAD, durability, before: self.before, after: self.after }
    }

    fn rule_on_c1(&self, run: &Run) -> Result<(MeasuredFigures, Ruling), String> {
        let durability = self.durabilities.first().ok_or("No durability was asked for")?;
        let row = self.main_row(durability);
        let writes =
            self.write_kind(run).ok_or("The workload writes nothing, so there is no update to see")?;
        let literal = self.evidence(run, &row, ("all", VISIBLE), &P99).ok_or_else(|| {
            format!(
                "Too few pairs of runs have a p99 of {}'s reads and writes and of {}'s updates becoming visible ({})",
                self.before,
                self.after,
                self.why_missing(run, &row)
            )
        })?;
        let like = self
            .evidence(run, &row, (writes, writes), &P99)
            .ok_or_else(|| format!("Too few pairs of runs have a p99 of {writes} on both sides"))?;
        let clock_us = run.limits.timer_floor_us().map_or(0.0, |floor| floor * TIMER_TIMES);
        let made = self.made_pairs(run, &row);
        let mut ruling = self.court(8.0, made, PAIRS).latency(&literal, &like, clock_us);
        ruling.why.push_str(&self.unfinished(made, PAIRS));
        ruling.why.push_str(&format!(
            " Primary, fixed before the run: p99 at {durability}, {}. Literally (reads and writes of {}, against an update \
             seen by a subscriber of {}): {} times, 95 % {}. Like for like ({writes} acknowledged): {} times, 95 % {}.",
            share_label(self.share),
            self.before,
            self.after,
            number(literal.ratio),
            interval(literal.ci95),
            number(like.ratio),
            interval(like.ci95)
        ));
        Ok((figures(&literal, "ms, p99", 1e-3), ruling))
    }

    /// Why runs of a row have no numbers.
    fn why_missing(&self, run: &Run, row: &Row<'_>) -> &'static str {
        let label = share_label(self.share);
        let runs = || {
            run.measurements.iter().filter(|m| {
                m.experiment == row.experiment
                    && m.durability == row.durability
                    && m.load.label.as_deref() == Some(&label)
            })
        };
        if runs().next().is_none() {
            "no such run was made"
        } else if runs().any(|m| m.wrong_answers > 0) {
            "a side answered wrongly"
        } else if runs().any(|m| m.saturated) {
            "a side could not keep up with the offered rate"
        } else if !runs().any(|m| m.operation == VISIBLE) {
            "no subscriber followed the updates"
        } else if runs().any(|m| m.driver_limited) {
            "the driver was the limit"
        } else {
            "too few samples, or too few pairs"
        }
    }

    fn rule_on_c2(&self, run: &Run) -> Result<(MeasuredFigures, Ruling), String> {
        let durability = self.durabilities.first().ok_or("No durability was asked for")?;
        let evidence = self
            .highest(run, durability)
            .1
            .ok_or("Too few pairs of searches enclosed the highest rates of both sides")?;
        let made = self.made_searches(run, durability);
        let mut ruling = self.court(200.0, made, SEARCHES).ratio(&evidence);
        ruling.why.push_str(&self.unfinished(made, SEARCHES));
        ruling.why.push_str(&format!(
            " The highest rate with p99 at or under 25 ms, at {durability}, the same bound for both. The published figures are \
             10,000 operations/s on 32 nodes against 2,000,000 messages/s on 48 brokers, in messages of 100 bytes \
             that were neither waited for nor synced: those are other quantities.{}",
            self.rates_in_detail(run, durability)
        ));
        Ok((figures(&evidence, "operations/s", 1.0), ruling))
    }

    /// A court that may decide once as many pairs were made as were planned.
    fn court(&self, claimed: f64, made: usize, planned: fn(&Planned) -> u32) -> Court {
        Court { claimed, decides: self.planned.as_ref().is_some_and(|all| made >= planned(all) as usize) }
    }

    /// That a comparison that decides was ended before it could.
    fn unfinished(&self, made: usize, planned: fn(&Planned) -> u32) -> String {
        match self.planned.as_ref().map(planned) {
            Some(planned) if made < planned as usize => format!(
                " Only {made} of the {planned} pairs that were planned were made, so this is no decision; the same \
                 command goes on."
            ),
            _ => String::new(),
        }
    }

    /// How many pairs of an experiment both sides have, whether they count or not.
    fn made(&self, run: &Run, row: &Row<'_>, label: &str) -> usize {
        let pairs_of = |side: &str| {
            let pairs = run.measurements.iter().filter(|m| {
                m.experiment == row.experiment
                    && m.workload == self.workload
                    && m.durability == row.durability
                    && m.load.label.as_deref() == Some(label)
                    && m.side() == side
            });
            pairs.filter_map(|m| m.pair).collect::<BTreeSet<_>>().len()
        };
        pairs_of(row.before).min(pairs_of(row.after))
    }

    fn made_pairs(&self, run: &Run, row: &Row<'_>) -> usize {
        self.made(run, row, &share_label(self.share))
    }

    fn made_searches(&self, run: &Run, durability: &str) -> usize {
        self.made(run, &Row { experiment: HIGHEST, ..self.main_row(durability) }, SEARCHED)
    }

    /// Searches of the side after the move first, so that the ratio is times better.
    fn highest(&self, run: &Run, durability: &str) -> (Paired, Option<Evidence>) {
        let subject = Subject {
            experiment: HIGHEST,
            workload: self.workload,
            durability,
            load_label: SEARCHED,
            a: self.after,
            b: self.before,
        };
        let paired = Paired::highest(run, subject);
        let evidence = paired.ratio(self.seed).and_then(|ratio| {
            let (after, before) = paired.means()?;
            Evidence::of(&ratio, (before, after))
        });
        (paired, evidence)
    }

    /// Rates per node, per second of a processor and in bytes, of the run of each side that sustained most. The table has means.
    fn rates_in_detail(&self, run: &Run, durability: &str) -> String {
        let mut text = String::new();
        for side in [self.before, self.after] {
            let sustained: Vec<&Measurement> = run
                .measurements
                .iter()
                .filter(|m| {
                    m.experiment == HIGHEST
                        && m.workload == self.workload
                        && m.durability == durability
                        && m.side() == side
                        && m.operation == "all"
                        && m.point.as_ref().is_some_and(|p| p.sustained)
                })
                .collect();
            let best = sustained.iter().max_by(|a, b| a.achieved_per_s.total_cmp(&b.achieved_per_s));
            let Some(best) = best else { continue };
            let rate = best.achieved_per_s;
            let mut parts = vec![format!("{} in all", per_second(rate))];
            if let Some(n) = best.replication.as_ref().map(crate::report::record::Replication::nodes) {
                parts.push(format!("{} a node", per_second(rate / f64::from(n.max(1)))));
            }
            if let (Some(cpu), true) = (best.resources.cpu_s, best.count > 0) {
                parts.push(format!(
                    "{} operations a second of processor time",
                    number(best.count as f64 / cpu)
                ));
            }
            if let (Some(written), Some(amp), Some(seconds)) =
                (best.resources.written_bytes, best.resources.write_amp, best.measured_s)
                && amp > 0.0
                && seconds > 0.0
            {
                parts.push(format!(
                    "{} of members' data written a second",
                    bytes(written as f64 / amp / seconds)
                ));
            }
            text.push_str(&format!(" {side}, in the run that sustained most: {}.", parts.join(", ")));
        }
        text
    }

    fn parts_of_c1(&self, run: &Run) -> Vec<ClaimPart> {
        let (Some(writes), Some(reads)) = (self.write_kind(run), self.read_kind(run)) else {
            return Vec::new();
        };
        let mut parts = Vec::new();
        let mut add = |row: Row<'_>, id: &str, what: &str, sides: Sides<'_>, judged: bool| {
            parts.extend(self.part(run, &row, id, what, sides, judged));
        };
        for durability in &self.durabilities {
            let row = || self.main_row(durability);
            add(row(), "C1 literal", "reads and writes, against update to visible", ("all", VISIBLE), true);
            add(row(), "C1a", "write acknowledged", (writes, writes), false);
            add(row(), "C1b", "read answered, fresh", (reads, reads), false);
            add(row(), "C1c", "update to visible", (VISIBLE, VISIBLE), false);
        }
        let Some(durability) = self.durabilities.first() else { return parts };
        for (experiment, names, what) in [
            (ALL_COPIES, &self.all_copies, ["write acknowledged by every copy", "read answered by one copy"]),
            (OLD_READS, &self.old_reads, ["write acknowledged", "read answered, may be old"]),
        ] {
            let Some((before, after)) = names else { continue };
            let row = || Row { experiment, durability, before, after };
            add(row(), "C1a", what[0], (writes, writes), false);
            add(row(), "C1b", what[1], (reads, reads), false);
        }
        parts
    }

    fn part(
        &self,
        run: &Run,
        row: &Row<'_>,
        id: &str,
        what: &str,
        sides: Sides<'_>,
        judged: bool,
    ) -> Option<ClaimPart> {
        let paired = self.paired(run, row, sides, &P99);
        let evidence = self.evidence(run, row, sides, &P99);
        let runs = |side: &str| {
            run.measurements.iter().find(|m| {
                m.experiment == row.experiment && m.durability == row.durability && m.side() == side
            })
        };
        let (first, second) = (runs(row.before)?, runs(row.after)?);
        let setting = |m: &Measurement| m.replication.as_ref().map_or_else(String::new, ToString::to_string);
        let [aa_before_ci95, aa_after_ci95] = paired.itself(self.seed);
        let alone = |side: &str, operation: &str| {
            let label = share_label(self.share);
            let values: Vec<f64> = run
                .measurements
                .iter()
                .filter(|m| {
                    m.experiment == row.experiment
                        && m.durability == row.durability
                        && m.side() == side
                        && m.operation == operation
                        && m.load.label.as_deref() == Some(&label)
                })
                .filter_map(P99.2)
                .collect();
            let logs: f64 = values.iter().map(|v| v.ln()).sum();
            (!values.is_empty()).then(|| (logs / values.len() as f64).exp() * 1e-3)
        };
        let measured = match &evidence {
            Some(e) => figures(e, "ms, p99", 1e-3),
            None => MeasuredFigures {
                before: alone(row.before, sides.0),
                after: alone(row.after, sides.1),
                unit: "ms, p99".to_owned(),
                ..MeasuredFigures::default()
            },
        };
        if measured.before.is_none() && measured.after.is_none() {
            return None;
        }
        let why = match self.evidence(run, row, sides, &P95) {
            Some(p95) => format!(
                "p95: {} against {} ms, {} times (95 % {})",
                number(p95.before / 1e3),
                number(p95.after / 1e3),
                number(p95.ratio),
                interval(p95.ci95)
            ),
            None => String::new(),
        };
        let writes = self.write_kind(run)?;
        let verdict = judged.then(|| {
            let like = self.evidence(run, row, (writes, writes), &P99);
            let clock_us = run.limits.timer_floor_us().map_or(0.0, |floor| floor * TIMER_TIMES);
            match (&evidence, &like) {
                (Some(literal), Some(like)) => {
                    let made = self.made_pairs(run, row);
                    self.court(8.0, made, PAIRS).latency(literal, like, clock_us).verdict
                }
                _ => ClaimVerdict::NotMeasured,
            }
        });
        Some(ClaimPart {
            id: id.to_owned(),
            what: what.to_owned(),
            durability: row.durability.to_owned(),
            setting: format!("{} against {}", setting(first), setting(second)),
            measured,
            aa_before_ci95,
            aa_after_ci95,
            pairs: u32::try_from(paired.pairs.len()).unwrap_or(u32::MAX),
            verdict,
            why,
        })
    }

    fn parts_of_c2(&self, run: &Run) -> Vec<ClaimPart> {
        let mut parts = Vec::new();
        for durability in &self.durabilities {
            let (paired, evidence) = self.highest(run, durability);
            let Some(evidence) = evidence else { continue };
            let [aa_after_ci95, aa_before_ci95] = paired.itself(self.seed);
            let copies = |side: &str| {
                run.measurements
                    .iter()
                    .find(|m| m.experiment == HIGHEST && m.side() == side)
                    .and_then(|m| m.replication.as_ref())
                    .map_or_else(String::new, ToString::to_string)
            };
            parts.push(ClaimPart {
                id: "C2".to_owned(),
                what: "highest rate with p99 at or under 25 ms".to_owned(),
                durability: durability.clone(),
                setting: format!("{} against {}", copies(self.before), copies(self.after)),
                measured: figures(&evidence, "operations/s", 1.0),
                aa_before_ci95,
                aa_after_ci95,
                pairs: u32::try_from(paired.pairs.len()).unwrap_or(u32::MAX),
                verdict: Some({
                    let made = self.made_searches(run, durability);
                    self.court(200.0, made, SEARCHES).ratio(&evidence).verdict
                }),
                why: self.rates_in_detail(run, durability).trim().to_owned(),
            });
        }
        parts
    }

    /// Stale reads, siblings and order, over all runs of the comparison.
    fn consistency(&self, run: &Run) -> Option<String> {
        let mut text = String::from("In this run's reads and writes, without a failure:");
        let mut any = false;
        for side in [Some(self.before), Some(self.after)]
            .into_iter()
            .chain([&self.old_reads, &self.all_copies].map(|row| row.as_ref().map(|(b, _)| b.as_str())))
            .chain([&self.old_reads].map(|row| row.as_ref().map(|(_, a)| a.as_str())))
            .flatten()
        {
            let counts: Vec<_> = run
                .measurements
                .iter()
                .filter(|m| m.operation == "all" && m.side() == side && m.wrong_answers == 0)
                .filter_map(|m| m.consistency)
                .collect();
            if counts.is_empty() {
                continue;
            }
            any = true;
            let sum = |of: fn(&crate::report::record::Consistency) -> u64| counts.iter().map(of).sum::<u64>();
            text.push_str(&format!(
                " {side}: {} of {} reads older than the newest acknowledged write, {} with siblings, {} writes tried again",
                sum(|c| c.stale_reads),
                sum(|c| c.reads),
                sum(|c| c.siblings),
                sum(|c| c.retries)
            ));
            if counts.iter().any(|c| c.subscribed) {
                text.push_str(&format!(
                    ", {} updates seen out of their key's order, {} never seen",
                    sum(|c| c.order_violations),
                    sum(|c| c.unseen)
                ));
            }
            text.push('.');
        }
        any.then_some(text)
    }

    /// Bytes on disk per live byte.
    fn space(&self, run: &Run) -> Result<(MeasuredFigures, Ruling), String> {
        let durability = self.durabilities.first().ok_or("No durability was asked for")?;
        let values = |side: &str| -> Vec<f64> {
            run.measurements
                .iter()
                .filter(|m| {
                    m.experiment == EQUAL_LOAD
                        && m.workload == self.workload
                        && m.durability == *durability
                        && m.side() == side
                        && m.operation == "all"
                        && m.wrong_answers == 0
                })
                .filter_map(|m| m.resources.space_amp)
                .collect()
        };
        let mean = |v: &[f64]| (!v.is_empty()).then(|| v.iter().sum::<f64>() / v.len() as f64);
        let (before, after) = (values(self.before), values(self.after));
        let (Some(of_before), Some(of_after)) = (mean(&before), mean(&after)) else {
            return Err("No run of both sides has a size on disk".to_owned());
        };
        // Against one copy of what is alive: the claim is that replication makes it three.
        let against_one: Vec<(f64, f64)> = before.iter().map(|v| (*v, 1.0)).collect();
        let evidence = crate::stats::paired_ratio(&against_one, self.seed)
            .and_then(|ratio| Evidence::of(&ratio, (of_before, 1.0)));
        let mut ruling = match evidence {
            Some(evidence) => {
                let made = self.made_pairs(run, &self.main_row(durability));
                self.court(3.0, made, PAIRS).size(&evidence)
            }
            None => return Err("One run is too few".to_owned()),
        };
        ruling.why.push_str(&format!(
            " At the end of the runs at {durability}, everything that an engine keeps on disk by what is alive: {} has {} \
             bytes, {} has {}, of which the log holds every change and the view the newest values. It grows with the \
             writes since the last merge or retention, so short runs show the least.",
            self.before,
            number(of_before),
            self.after,
            number(of_after)
        ));
        let measured = MeasuredFigures {
            before: Some(of_before),
            after: Some(of_after),
            unit: "bytes on disk per live byte".to_owned(),
            ratio: None,
            ci95: None,
        };
        Ok((measured, ruling))
    }
}

/// Runs of one row of pairs.
#[derive(Clone, Copy)]
struct Row<'a> {
    experiment: &'a str,
    durability: &'a str,
    before: &'a str,
    after: &'a str,
}

fn figures(e: &Evidence, unit: &str, scale: f64) -> MeasuredFigures {
    MeasuredFigures {
        before: Some(e.before * scale),
        after: Some(e.after * scale),
        unit: unit.to_owned(),
        ratio: Some(e.ratio),
        ci95: Some(e.ci95),
    }
}

fn settle(claim: &mut Claim, result: Result<(MeasuredFigures, Ruling), String>) {
    match result {
        Ok((measured, Ruling { verdict, why })) => {
            claim.measured = Some(measured);
            claim.verdict = verdict;
            claim.why = why;
        }
        Err(why) => claim.why = format!("{why}. {}", claim.why),
    }
}

#[cfg(test)]
mod tests;
