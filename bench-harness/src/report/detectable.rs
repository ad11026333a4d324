//! What the comparisons of a folder could have found: the scatter of its engines' runs against themselves, as the
//! smallest ratio that would have been shown.

use crate::experiments::Effort;
use crate::report::findings::durability_name;
use crate::report::quantity::ratio;
use crate::report::record::Comparison;
use crate::stats::smallest_detectable;

/// Metrics in the order in which they are told, with their names.
const METRICS: [(&str, &str); 4] = [
    ("response_us.p50", "p50"),
    ("response_us.p95", "p95"),
    ("response_us.p99", "p99"),
    ("achieved_per_s", "throughput"),
];

/// Sentences, one per workload, durability and load that was compared; none where no engine ran often enough.
pub(crate) fn sentences(comparisons: &[Comparison]) -> Vec<String> {
    let mut settings: Vec<&Comparison> = Vec::new();
    let known = |c: &&Comparison| c.operation == "all" && c.run_sigma.is_some();
    for c in comparisons.iter().filter(known) {
        if !settings.iter().any(|s| same_setting(s, c)) {
            settings.push(c);
        }
    }
    settings.into_iter().filter_map(|setting| sentence(comparisons, setting)).collect()
}

fn same_setting(a: &Comparison, b: &Comparison) -> bool {
    a.workload == b.workload
        && a.durability == b.durability
        && a.experiment == b.experiment
        && a.load.label == b.load.label
        && a.b == b.b
}

fn sentence(comparisons: &[Comparison], setting: &Comparison) -> Option<String> {
    let mut parts = Vec::new();
    for (metric, name) in METRICS {
        let here = |c: &&Comparison| c.operation == "all" && c.metric == metric && same_setting(c, setting);
        let Some(sigma) = comparisons.iter().find(here).and_then(|c| c.run_sigma) else { continue };
        let [quick, full] = Effort::pairs_of(metric).map(|pairs| ratio(smallest_detectable(sigma, pairs)));
        parts.push(format!("{name} {quick} (quick), {full} (full)"));
    }
    let load = setting.load.label.as_deref().unwrap_or("this load");
    (!parts.is_empty()).then(|| {
        format!(
            "{} against {}, {}, {load}: judged by how the runs of each engine here differ from each other under the \
             same operations, the smallest ratios that four of five comparisons would show are {}. The figures for a \
             full run assume runs of the length used here; its longer ones scatter less.",
            setting.a,
            setting.b,
            durability_name(&setting.durability),
            parts.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_is_told_once_with_the_metrics_that_have_a_scatter() {
        let of = |metric: &str, durability: &str, run_sigma| Comparison {
            metric: metric.into(),
            operation: "all".into(),
            durability: durability.into(),
            a: "x".into(),
            b: "y".into(),
            run_sigma,
            ..Comparison::default()
        };
        let comparisons = [
            of("response_us.p50", "os", Some(0.1)),
            of("response_us.p95", "os", None),
            of("response_us.p99", "os", Some(0.3)),
            of("achieved_per_s", "synced", Some(0.05)),
        ];
        let told = sentences(&comparisons);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("p50 1.26× (quick), 1.16× (full)"), "{}", told[0]);
        assert!(told[0].contains("p99 2.02×") && !told[0].contains("p95"), "{}", told[0]);
        assert!(told[1].contains("throughput 1.12× (quick)"), "{}", told[1]);
    }
}
