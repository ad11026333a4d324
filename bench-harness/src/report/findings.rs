//! [`Findings`]: the record, sorted the way it is told: settings, the engines in each, what was compared.
//!
//! A *setting* is a workload, a durability, a load and a world. Everything that shares a table shares its setting:
//! unequal durability or load never stands in one row, nor native beside simulated.

use crate::report::curves::{HIGHEST_METRIC, SEARCHED, highest_sustained, is_of_curve};
use crate::report::quantity;
use crate::report::record::{Better, Comparison, ComparisonVerdict, Load, LoadKind, Measurement, Run, World};

/// The engine that stores nothing: the floor of what the measuring itself costs.
const FLOOR: &str = "memory";

/// The metrics of the main table, with how they are called there.
pub(crate) const MAIN_METRICS: [&str; 4] =
    ["achieved_per_s", "response_us.p50", "response_us.p95", "response_us.p99"];

/// What an operation costs; shown where it was compared.
const CPU_METRIC: &str = "resources.cpu_s_per_op";

/// What is held equal within a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    pub(crate) workload: String,
    pub(crate) durability: String,
    pub(crate) load: Load,
    pub(crate) world: World,
}

impl Setting {
    fn of(m: &Measurement) -> Self {
        Self {
            workload: m.workload.clone(),
            durability: m.durability.clone(),
            load: m.load.clone(),
            world: m.world.clone(),
        }
    }

    /// Same load: by its label where it has one ("70 % of each engine's own maximum" differs in rate on purpose).
    fn same_load(a: &Load, b: &Load) -> bool {
        a.kind == b.kind
            && match (&a.label, &b.label) {
                (Some(x), Some(y)) => x == y,
                _ => a.clients == b.clients && a.offered_per_s == b.offered_per_s,
            }
    }

    fn holds(&self, m: &Measurement) -> bool {
        self.workload == m.workload
            && self.durability == m.durability
            && self.world == m.world
            && Self::same_load(&self.load, &m.load)
    }

    fn is_of(&self, c: &Comparison) -> bool {
        self.workload == c.workload && self.durability == c.durability && Self::same_load(&self.load, &c.load)
    }

    /// The load in words.
    pub(crate) fn load_words(&self) -> String {
        load_words(&self.load)
    }
}

/// A load in words.
pub(crate) fn load_words(load: &Load) -> String {
    let amount = match load.kind {
        LoadKind::Open => match load.offered_per_s {
            Some(rate) => format!("{} operations/s offered", quantity::number(rate)),
            None => "as recorded".to_owned(),
        },
        LoadKind::Closed => match load.clients {
            Some(1) => "one operation at a time".to_owned(),
            Some(n) => format!("{n} operations in flight"),
            None => "as fast as it goes".to_owned(),
        },
    };
    match &load.label {
        // A closed loop's label tells how many are in flight.
        Some(label) if !label.is_empty() && load.kind == LoadKind::Closed => label.clone(),
        // Each run of a search has a rate of its own.
        Some(label) if label == SEARCHED => label.clone(),
        Some(label) if !label.is_empty() => format!("{amount} ({label})"),
        _ => amount,
    }
}

/// A durability as a title.
pub(crate) fn durability_name(durability: &str) -> String {
    match durability {
        "os" => "writes handed to the kernel (os)".to_owned(),
        "synced" => "writes on disk before acknowledged (synced)".to_owned(),
        other => match other.strip_prefix("interval:") {
            Some(ms) => format!("writes synced every {ms} ms ({other})"),
            None => other.to_owned(),
        },
    }
}

/// What a durability promises, in a sentence.
pub(crate) fn durability_promise(durability: &str) -> String {
    match durability {
        "os" => {
            "os: an acknowledged write is with the operating system. It survives the death of the program, \
                 not a power cut."
                .to_owned()
        }
        "synced" => "synced: an acknowledged write is on stable storage. It survives a power cut.".to_owned(),
        other => match other.strip_prefix("interval:") {
            Some(ms) => format!(
                "{other}: writes are synced every {ms} ms. A power cut loses at most that much of what was acknowledged."
            ),
            None => format!("{other}: see the engine's documentation."),
        },
    }
}

/// What a metric is called in a table.
pub(crate) fn metric_name(metric: &str) -> String {
    if metric == "achieved_per_s" {
        return "throughput".to_owned();
    }
    if metric == CPU_METRIC {
        return "processor time per operation".to_owned();
    }
    if metric == HIGHEST_METRIC {
        return "highest sustained rate".to_owned();
    }
    let (times, quantile) = metric.split_once('.').unwrap_or(("", metric));
    let quantile = match quantile {
        "p999" => "p99.9",
        other => other,
    };
    match times {
        "response_us" => format!("{quantile} latency"),
        "service_us" => format!("{quantile} service time"),
        "wait_us" => format!("{quantile} wait"),
        _ => metric.to_owned(),
    }
}

/// A metric's value as text.
pub(crate) fn metric_text(metric: &str, value: f64) -> String {
    if metric == "achieved_per_s" || metric == HIGHEST_METRIC {
        quantity::per_second(value)
    } else if metric == CPU_METRIC {
        quantity::micros(value * 1e6)
    } else if metric.contains("_us") {
        quantity::micros(value)
    } else {
        quantity::number(value)
    }
}

/// A metric of one measurement; `None` if it has none, or none that may be quoted.
pub(crate) fn metric_value(m: &Measurement, metric: &str) -> Option<f64> {
    if metric == "achieved_per_s" {
        return (m.wrong_answers == 0 && m.rejected.is_none()).then_some(m.achieved_per_s);
    }
    if metric == CPU_METRIC {
        return (m.wrong_answers == 0 && m.count > 0).then(|| Some(m.resources.cpu_s? / m.count as f64))?;
    }
    if !m.counts() {
        return None;
    }
    let (times, quantile) = metric.split_once('.')?;
    let p = match times {
        "response_us" => &m.response_us,
        "service_us" => &m.service_us,
        "wait_us" => &m.wait_us,
        _ => return None,
    };
    match quantile {
        "p50" => p.p50,
        "p90" => p.p90,
        "p95" => p.p95,
        "p99" => p.p99,
        "p999" => p.p999,
        "max" => p.max,
        "mean" => p.mean,
        _ => None,
    }
}

/// What an engine is in a finding; decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    First,
    Second,
    Floor,
    Other(usize),
}

/// An engine's runs in a setting.
#[derive(Debug)]
pub(crate) struct Side<'a> {
    pub(crate) engine: &'a str,
    pub(crate) role: Role,
    runs: Vec<&'a Measurement>,
}

impl<'a> Side<'a> {
    /// The runs' measurements of one kind of operation.
    pub(crate) fn of(&self, operation: &str) -> impl Iterator<Item = &'a Measurement> {
        self.runs.iter().copied().filter(move |m| m.operation == operation)
    }

    /// The geometric mean over the runs that may be quoted, so that the quotient of two sides is the ratio over
    /// their pairs.
    pub(crate) fn value(&self, operation: &str, metric: &str) -> Option<f64> {
        let values: Vec<f64> = if metric == HIGHEST_METRIC {
            // A search has many runs and one result.
            highest_sustained(self.of(operation)).into_iter().map(|(_, rate)| rate.sustained).collect()
        } else {
            self.of(operation).filter_map(|m| metric_value(m, metric)).collect()
        };
        let logs: Vec<f64> = values.into_iter().filter(|v| v.is_finite() && *v > 0.0).map(f64::ln).collect();
        (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
    }

    /// The mean over runs of something that may be 0.
    pub(crate) fn mean(&self, operation: &str, of: impl Fn(&Measurement) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self
            .of(operation)
            .filter(|m| m.wrong_answers == 0)
            .filter_map(of)
            .filter(|v| v.is_finite())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// A value as text, or why there is none.
    pub(crate) fn text(&self, operation: &str, metric: &str) -> String {
        match self.value(operation, metric) {
            Some(v) => metric_text(metric, v),
            None => self.why_none(operation).to_owned(),
        }
    }

    fn why_none(&self, operation: &str) -> &'static str {
        let any = |f: fn(&Measurement) -> bool| self.of(operation).any(f);
        if self.of(operation).next().is_none() {
            "not run"
        } else if any(|m| m.wrong_answers > 0) {
            "wrong answers"
        } else if any(|m| m.saturated) {
            "saturated"
        } else if any(|m| m.driver_limited) {
            "driver limited"
        } else if any(|m| m.rejected.is_some()) {
            "rejected"
        } else if any(|m| m.count == 0 && m.unsupported > 0) {
            "unsupported"
        } else {
            "too few samples"
        }
    }
}

/// What was found in a setting.
#[derive(Debug)]
pub(crate) struct Finding<'a> {
    pub(crate) setting: Setting,
    /// The two engines of the comparisons first, then the floor, then others.
    pub(crate) sides: Vec<Side<'a>>,
    pub(crate) comparisons: Vec<&'a Comparison>,
}

impl<'a> Finding<'a> {
    /// The experiment that was compared; empty where nothing was.
    pub(crate) fn experiment(&self) -> &'a str {
        self.comparisons.first().map_or("", |c| c.experiment.as_str())
    }

    /// Whether it is a row beside the main ones: another quorum, or an engine against itself with something switched off.
    pub(crate) fn beside(&self) -> bool {
        !self.comparisons.is_empty()
            && self.sides.iter().flat_map(|s| s.runs.iter()).any(|m| !m.variant.is_empty())
    }

    /// The two engines that were compared.
    pub(crate) fn pair(&self) -> Option<(&str, &str)> {
        let first = self.comparisons.first()?;
        Some((&first.a, &first.b))
    }

    /// `all` where the run says so, else the first kind of operation.
    pub(crate) fn main_operation(&self) -> &'a str {
        let names = self.operations();
        names.iter().find(|n| **n == "all").or(names.first()).copied().unwrap_or("all")
    }

    /// Kinds of operation, `all` first, then as they come.
    pub(crate) fn operations(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for m in self.sides.iter().flat_map(|s| s.runs.iter()) {
            if !names.contains(&m.operation.as_str()) {
                names.push(&m.operation);
            }
        }
        names.sort_by_key(|n| *n != "all");
        names
    }

    /// The comparison of a metric for a kind of operation; comparisons without an operation are of the main one.
    pub(crate) fn comparison(&self, operation: &str, metric: &str) -> Option<&'a Comparison> {
        self.comparisons.iter().copied().find(|c| {
            c.metric == metric
                && (c.operation == operation
                    || (c.operation.is_empty() && operation == self.main_operation()))
        })
    }

    /// The comparison that answers the question first: p99, or throughput where there is no p99.
    pub(crate) fn primary(&self) -> Option<&'a Comparison> {
        let main = self.main_operation();
        let decided = |m: &str| self.comparison(main, m).filter(|c| c.ratio.is_some());
        decided("response_us.p99")
            .or_else(|| decided(HIGHEST_METRIC))
            .or_else(|| decided("achieved_per_s"))
            .or_else(|| decided("response_us.p50"))
            .or_else(|| self.comparisons.first().copied())
    }

    /// The metrics that this setting's part of the main table shows: all of them where nothing was compared, else
    /// throughput and what was compared.
    pub(crate) fn main_metrics(&self) -> Vec<&'static str> {
        let main = self.main_operation();
        let compared = |metric: &str| self.comparison(main, metric).is_some();
        if compared(HIGHEST_METRIC) {
            return vec![HIGHEST_METRIC];
        }
        let mut metrics: Vec<&str> = MAIN_METRICS
            .into_iter()
            .filter(|m| self.comparisons.is_empty() || *m == MAIN_METRICS[0] || compared(m))
            .collect();
        metrics.extend(Some(CPU_METRIC).filter(|m| compared(m)));
        metrics
    }

    /// The side of an engine.
    pub(crate) fn side(&self, engine: &str) -> Option<&Side<'a>> {
        self.sides.iter().find(|s| s.engine == engine)
    }
}

/// The whole record, sorted.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    pub(crate) run: &'a Run,
    /// Settings that were compared, or all settings where nothing was.
    pub(crate) main: Vec<Finding<'a>>,
}

impl<'a> Findings<'a> {
    /// Sorts a record.
    pub(crate) fn of(run: &'a Run) -> Self {
        let mut main: Vec<Finding<'a>> = Vec::new();
        for c in &run.comparisons {
            // The world isn't named in a comparison: take it from the measurements it rests on.
            let Some(m) = run.measurements.iter().find(|m| {
                Setting::of(m).is_of(c) && (m.side() == c.a || m.side() == c.b) && in_experiment(m, c)
            }) else {
                continue;
            };
            let setting = Setting { load: c.load.clone(), ..Setting::of(m) };
            let same = |f: &Finding<'_>| {
                f.setting.world == setting.world
                    && f.setting.is_of(c)
                    && f.pair() == Some((c.a.as_str(), c.b.as_str()))
                    && f.comparisons[0].experiment == c.experiment
            };
            match main.iter_mut().find(|f| same(f)) {
                Some(finding) => finding.comparisons.push(c),
                None => main.push(Finding { setting, sides: Vec::new(), comparisons: vec![c] }),
            }
        }
        if main.is_empty() {
            for m in run.measurements.iter().filter(|m| !is_of_curve(m)) {
                if !main.iter().any(|f| f.setting.holds(m)) {
                    main.push(Finding {
                        setting: Setting::of(m),
                        sides: Vec::new(),
                        comparisons: Vec::new(),
                    });
                }
            }
        }
        for finding in &mut main {
            finding.sides = sides(run, &finding.setting, finding.comparisons.first().copied());
        }
        Self { run, main }
    }

    /// Measurements with wrong answers.
    pub(crate) fn wrong(&self) -> Vec<&'a Measurement> {
        self.run.measurements.iter().filter(|m| m.wrong_answers > 0).collect()
    }

    /// Engines in the order in which they are told, the compared ones first.
    pub(crate) fn engines(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        let sides = self.main.iter().flat_map(|f| f.sides.iter().map(|s| s.engine));
        for name in sides.chain(self.run.measurements.iter().map(Measurement::side)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Workloads in the order of their appearance.
    pub(crate) fn workloads(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for m in &self.run.measurements {
            if !names.contains(&m.workload.as_str()) {
                names.push(&m.workload);
            }
        }
        names
    }

    /// Durabilities in the order of their appearance.
    pub(crate) fn durabilities(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for m in &self.run.measurements {
            if m.engine != FLOOR && !names.contains(&m.durability.as_str()) {
                names.push(&m.durability);
            }
        }
        names
    }

    /// The answer in a sentence for each setting but those beside.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.main.iter().filter(|f| !f.beside()).filter_map(|f| Some(answer(self, f, f.primary()?))).collect()
    }

    /// A setting's title: durability and load, and the workload where there are several.
    pub(crate) fn title(&self, finding: &Finding<'_>) -> String {
        let setting = &finding.setting;
        let mut parts = vec![durability_name(&setting.durability)];
        if finding.beside() {
            parts.insert(0, finding.experiment().to_owned());
        }
        parts.push(setting.load_words());
        if self.workloads().len() > 1 {
            parts.push(setting.workload.clone());
        }
        if let World::Simulated(profile) = &setting.world {
            parts.push(format!("simulated {profile}"));
        }
        parts.join(", ")
    }

    /// The same, without what all settings share.
    pub(crate) fn short_title(&self, finding: &Finding<'_>) -> String {
        let differs = |same: fn(&Setting, &Setting) -> bool| {
            self.main.iter().any(|f| !same(&f.setting, &finding.setting))
        };
        let mut parts = vec![durability_name(&finding.setting.durability)];
        if finding.beside() {
            parts.insert(0, finding.experiment().to_owned());
        }
        if differs(|a, b| Setting::same_load(&a.load, &b.load)) {
            parts.push(finding.setting.load_words());
        }
        if differs(|a, b| a.workload == b.workload) {
            parts.push(finding.setting.workload.clone());
        }
        if let World::Simulated(profile) = &finding.setting.world {
            parts.push(format!("simulated {profile}"));
        }
        parts.join(", ")
    }
}

fn in_experiment(m: &Measurement, c: &Comparison) -> bool {
    c.experiment.is_empty() || m.experiment == c.experiment
}

fn sides<'a>(run: &'a Run, setting: &Setting, comparison: Option<&Comparison>) -> Vec<Side<'a>> {
    let mut sides: Vec<Side<'a>> = Vec::new();
    for m in &run.measurements {
        // The floor stores nothing, so its durability is a name only; but its load must be the same.
        let floor = m.engine == FLOOR
            && m.workload == setting.workload
            && m.world == setting.world
            && Setting::same_load(&setting.load, &m.load);
        if !(setting.holds(m) || floor) {
            continue;
        }
        if !floor && comparison.is_some_and(|c| !in_experiment(m, c)) {
            continue;
        }
        match sides.iter_mut().find(|s| s.engine == m.side()) {
            Some(side) => side.runs.push(m),
            None => sides.push(Side { engine: m.side(), role: Role::Floor, runs: vec![m] }),
        }
    }
    for side in &mut sides {
        // Where the floor was run at this very durability, runs at another say nothing more.
        if side.engine == FLOOR && side.runs.iter().any(|m| m.durability == setting.durability) {
            side.runs.retain(|m| m.durability == setting.durability);
        }
        side.role = match comparison {
            Some(c) if side.engine == c.a => Role::First,
            Some(c) if side.engine == c.b => Role::Second,
            _ if side.engine == FLOOR => Role::Floor,
            _ => Role::Other(0),
        };
    }
    for (next, side) in sides.iter_mut().filter(|s| s.role == Role::Other(0)).enumerate() {
        side.role = match (comparison.is_none(), next) {
            (true, 0) => Role::First,
            (true, 1) => Role::Second,
            _ => Role::Other(next),
        };
    }
    sides.sort_by_key(|s| match s.role {
        Role::First => 0,
        Role::Second => 1,
        Role::Other(n) => 2 + n,
        Role::Floor => usize::MAX,
    });
    sides
}

/// A setting's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `log answers faster`, `no difference shown`.
    pub(crate) short: String,
    /// Where and by how much.
    pub(crate) long: String,
    pub(crate) verdict: ComparisonVerdict,
}

/// A verdict with the engines' names.
pub(crate) fn verdict_words(c: &Comparison, quick: bool) -> String {
    let words = match c.verdict {
        ComparisonVerdict::ABetter => format!("{} better", c.a),
        ComparisonVerdict::BBetter => format!("{} better", c.b),
        ComparisonVerdict::NoDifference => "no difference shown".to_owned(),
        ComparisonVerdict::NotMeasured => "not measured".to_owned(),
    };
    let decided = matches!(c.verdict, ComparisonVerdict::ABetter | ComparisonVerdict::BBetter);
    if quick && decided { format!("{words}, direction only") } else { words }
}

fn answer(findings: &Findings<'_>, finding: &Finding<'_>, c: &Comparison) -> Answer {
    let what = metric_name(&c.metric);
    let operation = if c.operation.is_empty() { finding.main_operation() } else { &c.operation };
    let value = |engine: &str| match finding.side(engine).and_then(|s| s.value(operation, &c.metric)) {
        Some(v) => metric_text(&c.metric, v),
        None => "no figure".to_owned(),
    };
    let place = capital(&findings.short_title(finding));
    let winner = match c.verdict {
        ComparisonVerdict::ABetter => Some((&c.a, &c.b)),
        ComparisonVerdict::BBetter => Some((&c.b, &c.a)),
        ComparisonVerdict::NoDifference | ComparisonVerdict::NotMeasured => None,
    };
    let short = match (winner, c.verdict, c.better) {
        (Some((winner, loser)), _, better) => {
            let does = match better {
                Better::Lower if c.metric.contains("_us") => "answers faster",
                Better::Lower => "takes less",
                Better::Higher => "does more",
            };
            format!(
                "{place}: {winner} {does}. Its {what} is {} against {} of {loser}.",
                value(winner),
                value(loser)
            )
        }
        (None, ComparisonVerdict::NoDifference, _) => format!(
            "{place}: no difference shown. The {what} of {} is {}, that of {} {}.",
            c.a,
            value(&c.a),
            c.b,
            value(&c.b)
        ),
        (None, _, _) => format!("{place}: the {what} could not be compared."),
    };
    let mut long = String::new();
    if let Some(r) = c.ratio {
        long.push_str(&format!("{} ÷ {} = {}", c.a, c.b, quantity::number(r)));
        if let Some(ci) = c.ci95 {
            long.push_str(&format!(
                ", 95 % interval {} over {} pairs of runs",
                quantity::interval(ci),
                c.pairs
            ));
        }
        if let Some(aa) = c.aa_ci95 {
            long.push_str(&format!("; an engine against itself: {}", quantity::interval(aa)));
        }
        long.push_str(". ");
    }
    if !c.why.is_empty() {
        long.push_str(&sentence(&c.why));
    }
    Answer { short, long: long.trim_end().to_owned(), verdict: c.verdict }
}

/// Text with a capital first letter and a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut s = capital(text.trim());
    if !s.is_empty() && !s.ends_with(['.', '!', '?']) {
        s.push('.');
    }
    s
}

/// Text with a capital first letter.
pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
