//! C6: how long a cluster needs after it lost a node, from the runs in which one dies and returns.
//!
//! Two times, each told of both sides. Until **writes are accepted** again: from the node's death until a write is acknowledged
//! that was handed over after it, to a key of which the node is the master or leads the partition. Until everything is
//! **replicated** again: from the moment that the node is started, so without the outage, until it has all that it missed.
//!
//! Ruled on is the second alone. The log of this build elects no leader, so the first is the length of the outage there,
//! which the harness decides. For the same reason the verdict is never more than the direction.
//!
//! The store mends what a node missed only if it is told to. Its runs as it is show that; its runs with hinted handoff, which
//! is Voldemort's way, are ruled on. How often hints are delivered is a setting, and so is how often a broker asks its leader
//! again: both are the same here. The original's default was five minutes.

use std::collections::BTreeMap;

use engine_env::rng::Seed;

use super::contestant::Contestant;
use super::excursions::{OUTAGE, runs_of};
use super::ruling::{Ruling, recovery as rule};
use crate::engine::Engine;
use crate::report::quantity::micros;
use crate::report::record::{ClaimPart, MeasuredFigures, Recovery, Run};

/// 30 to 5 minutes.
const CLAIMED: f64 = 6.0;
/// The setting of engines that keep hints for a node that is away.
const HANDOFF_SETTING: &str = "handoff-ms";
/// As often as a broker of the log asks its leader again (`BrokerConfig::retry_ms`).
const HANDOFF_MS: &str = "50";

/// The engine, told to mend what a node missed; `None` for one that can't be told.
pub(super) fn mending(engine: &dyn Engine) -> Option<Contestant<'_>> {
    Contestant::with(engine, &[(HANDOFF_SETTING, HANDOFF_MS)])
}

/// What is found about the claim.
pub(super) type Found = (MeasuredFigures, Ruling, Vec<ClaimPart>);

/// One side's recoveries, by pair.
struct Side<'r> {
    name: &'r str,
    runs: BTreeMap<u32, &'r Recovery>,
}

impl<'r> Side<'r> {
    fn of(run: &'r Run, name: &'r str) -> Self {
        let runs = runs_of(run, OUTAGE, name).filter_map(|m| Some((m.pair?, m.recovery.as_ref()?)));
        Self { name, runs: runs.collect() }
    }

    /// The middle of a time over the runs that have it.
    fn median(&self, of: fn(&Recovery) -> Option<f64>) -> Option<f64> {
        let mut times: Vec<f64> = self.runs.values().filter_map(|recovery| of(recovery)).collect();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }

    /// `310 ms`, or in how many runs it didn't happen.
    fn how_long(&self, of: fn(&Recovery) -> Option<f64>) -> String {
        let missing = self.runs.values().filter(|recovery| of(recovery).is_none()).count();
        match (self.median(of), missing) {
            (Some(median), 0) => format!("after {}", time(median)),
            (Some(median), _) => {
                format!("after {}, and not at all in {missing} of {} runs", time(median), self.runs.len())
            }
            (None, _) => "not at all".to_owned(),
        }
    }

    fn told(&self) -> String {
        let sum = |of: fn(&Recovery) -> Option<u64>| self.runs.values().filter_map(|r| of(r)).sum::<u64>();
        let (asked, lacking) = (sum(|r| r.keys_asked), sum(|r| r.keys_lacking));
        let mut text = format!(
            " {}: writes accepted {}, everything replicated {}",
            self.name,
            self.how_long(|r| r.writes_accepted_s),
            self.how_long(|r| r.replicated_s),
        );
        if lacking > 0 {
            let watched = self.median(|r| Some(r.watched_s)).unwrap_or(0.0);
            text.push_str(&format!(
                " (after {} it still lacked {lacking} of {asked} keys asked about)",
                time(watched)
            ));
        }
        text.push('.');
        text
    }
}

/// Seconds, for people.
fn time(seconds: f64) -> String {
    micros(seconds * 1e6)
}

/// Rules on C6.
pub(super) fn rule_on_recovery(run: &Run, before: &str, after: &str, seed: Seed) -> Result<Found, String> {
    let (plain, new) = (Side::of(run, before), Side::of(run, after));
    // What was told to mend stands in the record as a variant of the engine.
    let mends = |m: &&crate::report::record::Measurement| {
        m.engine == before && m.side() != before && m.settings.contains_key(HANDOFF_SETTING)
    };
    let told = run.measurements.iter().filter(|m| m.experiment == OUTAGE).find(mends);
    let old = told.map_or(plain.name, |m| m.side());
    let old = Side::of(run, old);
    let both: Vec<_> = old.runs.iter().filter_map(|(pair, old)| Some((*old, *new.runs.get(pair)?))).collect();
    if both.is_empty() {
        return Err("No runs of both sides in which a node dies and returns were made".to_owned());
    }
    let pairs: Vec<_> = both.iter().map(|(old, new)| (old.replicated_s, new.replicated_s)).collect();
    let (evidence, mut ruling) = rule(CLAIMED, &pairs, seed);
    let outage = old.median(|r| Some(r.outage_s)).unwrap_or(0.0);
    let how = if old.name == plain.name {
        String::new()
    } else {
        format!(
            ", the store with hints delivered every {HANDOFF_MS} ms, as often as a broker asks its leader again (the original: \
             five minutes)"
        )
    };
    ruling.why.push_str(&format!(
        " A node was killed and kept away for {}, a length that the harness chose, then started on its folder. Told of both \
         sides and ruled on for neither, from its death: until a write of a key that it masters or whose partition it leads is \
         accepted; the log of this build elects no leader, so there that is the outage. Ruled on, from its start: until it has \
         all that it missed{how}.",
        time(outage)
    ));
    let mut sides = vec![&plain];
    sides.extend((old.name != plain.name).then_some(&old));
    sides.push(&new);
    sides.iter().filter(|side| !side.runs.is_empty()).for_each(|side| ruling.why.push_str(&side.told()));
    let in_ms = |seconds: f64| seconds * 1e3;
    let figures = MeasuredFigures {
        before: evidence.as_ref().map(|e| e.before).or_else(|| old.median(|r| r.replicated_s)).map(in_ms),
        after: evidence.as_ref().map(|e| e.after).or_else(|| new.median(|r| r.replicated_s)).map(in_ms),
        unit: "ms from the node's start until it has all that it missed".to_owned(),
        ratio: evidence.as_ref().map(|e| e.ratio),
        ci95: evidence.as_ref().map(|e| e.ci95),
    };
    let part = |what: &str, old: &Side<'_>, of: fn(&Recovery) -> Option<f64>| ClaimPart {
        id: "C6".to_owned(),
        what: what.to_owned(),
        durability: runs_of(run, OUTAGE, after).map(|m| m.durability.clone()).next().unwrap_or_default(),
        setting: format!("{} against {}", old.name, new.name),
        measured: MeasuredFigures {
            before: old.median(of).map(in_ms),
            after: new.median(of).map(in_ms),
            unit: "ms".to_owned(),
            ..MeasuredFigures::default()
        },
        pairs: u32::try_from(both.len()).unwrap_or(u32::MAX),
        ..ClaimPart::default()
    };
    let mut parts = vec![part("writes accepted again, from the node's death", &old, |r| r.writes_accepted_s)];
    parts.extend(
        [&plain, &old]
            .into_iter()
            .filter(|side| !side.runs.is_empty())
            .map(|side| part("everything replicated again, from the node's start", side, |r| r.replicated_s)),
    );
    if old.name == plain.name {
        parts.pop();
    }
    Ok((figures, ruling, parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::record::{ClaimVerdict, Measurement};

    fn measured(
        engine: &str,
        handoff: bool,
        pair: u32,
        accepted: Option<f64>,
        replicated: Option<f64>,
    ) -> Measurement {
        let lacking = u64::from(replicated.is_none()) * 30;
        let variant =
            if handoff { format!("{engine} {HANDOFF_SETTING}={HANDOFF_MS}") } else { String::new() };
        let set = handoff.then(|| (HANDOFF_SETTING.to_owned(), HANDOFF_MS.to_owned()));
        Measurement {
            experiment: OUTAGE.into(),
            engine: engine.into(),
            variant,
            settings: set.into_iter().collect(),
            operation: "all".into(),
            durability: "os".into(),
            pair: Some(pair),
            recovery: Some(Recovery {
                outage_s: 2.0,
                writes_accepted_s: accepted,
                replicated_s: replicated,
                watched_s: 1.5,
                keys_asked: (engine == "store").then_some(1_000),
                keys_lacking: (engine == "store").then_some(lacking),
                ..Recovery::default()
            }),
            ..Measurement::default()
        }
    }

    fn run(measurements: Vec<Measurement>) -> Run {
        let json = serde_json::json!({
            "schema": 1, "id": "", "started": "", "finished": "", "command": [], "seed": 1, "quick": true,
            "environment": crate::environment::Environment::default(), "limits": crate::limits::Limits::default(),
            "measurements": measurements, "comparisons": [], "claims": crate::experiments::claims(),
        });
        Run::parse(&json.to_string(), std::path::Path::new("run.json")).expect("a record")
    }

    #[test]
    fn the_store_with_hints_is_ruled_on_and_the_store_as_it_is_told_beside_it() {
        let mut runs = Vec::new();
        for (pair, luck) in [(1, 1.0), (2, 1.1), (3, 0.9)] {
            runs.push(measured("store", false, pair, Some(0.01), None));
            runs.push(measured("store", true, pair, Some(0.01), Some(0.4 * luck)));
            runs.push(measured("log", false, pair, Some(2.1), Some(0.1)));
        }
        let (figures, ruling, parts) =
            rule_on_recovery(&run(runs), "store", "log", Seed(1)).expect("both sides");
        assert_eq!(ruling.verdict, ClaimVerdict::DirectionOnly, "{}", ruling.why);
        assert!(
            figures.before.is_some_and(|s| (s - 400.0).abs() < 20.0)
                && figures.after.is_some_and(|s| (s - 100.0).abs() < 1e-6)
        );
        for words in [
            "store: writes accepted after 10.0 ms, everything replicated not at all (after 1.50 s it still lacked 90 of \
             3000 keys asked about)",
            "store handoff-ms=50: writes accepted after 10.0 ms, everything replicated after 400 ms",
            "log: writes accepted after 2.10 s, everything replicated after 100 ms",
            "kept away for 2.00 s",
        ] {
            assert!(ruling.why.contains(words), "{} doesn't say {words}", ruling.why);
        }
        let told: Vec<_> =
            parts.iter().map(|p| (p.setting.as_str(), p.measured.before, p.measured.after)).collect();
        let expected = [
            ("store handoff-ms=50 against log", Some(10.0), Some(2_100.0)),
            ("store against log", None, Some(100.0)),
            ("store handoff-ms=50 against log", Some(400.0), Some(100.0)),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn without_runs_of_both_sides_nothing_is_ruled_on() {
        let only = |engine: &str| {
            rule_on_recovery(&run(vec![measured(engine, false, 1, None, None)]), "store", "log", Seed(1))
        };
        assert!(only("store").is_err() && only("log").is_err());
        let both =
            run(vec![measured("store", false, 1, None, None), measured("log", false, 1, None, Some(1.0))]);
        let (_, ruling, parts) = rule_on_recovery(&both, "store", "log", Seed(1)).expect("both sides");
        assert_eq!((ruling.verdict, parts.len()), (ClaimVerdict::Undecided, 2));
    }

    #[test]
    fn engines_that_keep_hints_can_be_told_to() {
        let engines = crate::engine::EngineRegistry::standard();
        let name = |name: &str| mending(engines.by_name(name).expect("it is there")).map(|who| who.name());
        assert_eq!(name("kv-cluster"), Some("kv-cluster handoff-ms=50".to_owned()));
        assert_eq!((name("log-view"), name("memory")), (None, None));
    }
}
