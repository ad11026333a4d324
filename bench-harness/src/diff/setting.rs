//! [`Setting`]: under which conditions runs were made. Only runs of equal settings share a row.

use crate::report::quantity::number;
use crate::report::record::{Load, LoadKind, Measurement};

/// The conditions of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) experiment: String,
    pub(super) workload: String,
    pub(super) engine: String,
    pub(super) durability: String,
    pub(super) replication: Option<String>,
    pub(super) world: String,
    /// Without its label, which is words for the same.
    pub(super) load: Load,
}

impl Setting {
    pub(super) fn of(m: &Measurement) -> Self {
        Self {
            experiment: m.experiment.clone(),
            workload: m.workload.clone(),
            engine: m.side().to_owned(),
            durability: m.durability.clone(),
            replication: m.replication.as_ref().map(ToString::to_string),
            world: m.world.to_string(),
            load: Load { label: None, ..m.load.clone() },
        }
    }

    /// The settings that occur in `measurements`, in their order.
    pub(super) fn all(measurements: &[Measurement]) -> Vec<Self> {
        let mut settings = Vec::new();
        for m in measurements {
            let setting = Self::of(m);
            if !settings.contains(&setting) {
                settings.push(setting);
            }
        }
        settings
    }

    /// The conditions in a line.
    pub(super) fn words(&self) -> String {
        let mut words = format!(
            "{}: {}, {}, {}, {}",
            self.experiment,
            self.engine,
            self.workload,
            self.durability,
            load(&self.load)
        );
        for more in self.replication.iter().chain(Some(&self.world).filter(|w| *w != "native")) {
            words.push_str(", ");
            words.push_str(more);
        }
        words
    }

    /// Why `others`, the settings of the other folder, don't hold this one: the nearest one's difference.
    pub(super) fn why_missing(&self, others: &[Self], other: &str) -> String {
        let alike = |adapt: fn(&mut Self, &Self)| {
            others.iter().find(|o| {
                let mut adapted = self.clone();
                adapt(&mut adapted, o);
                adapted == **o
            })
        };
        if let Some(o) = alike(|s, o| s.load = o.load.clone()) {
            let way_out = if o.load.kind == LoadKind::Open && self.load.kind == LoadKind::Open {
                "; measure both with the same --rate"
            } else {
                ""
            };
            format!("{other} has {}{way_out}", load(&o.load))
        } else if let Some(o) = alike(|s, o| s.durability = o.durability.clone()) {
            format!("{other} has durability {}", o.durability)
        } else if alike(|s, o| {
            s.durability = o.durability.clone();
            s.load = o.load.clone();
        })
        .is_some()
        {
            format!("{other} has other durabilities and loads")
        } else if alike(|s, o| s.world = o.world.clone()).is_some() {
            format!("{other} has another world")
        } else {
            format!("{other} has no such runs")
        }
    }
}

/// A load in words.
fn load(load: &Load) -> String {
    match load.kind {
        LoadKind::Open => {
            load.offered_per_s.map_or_else(|| "open loop".to_owned(), |r| format!("{}/s offered", rate(r)))
        }
        LoadKind::Closed => {
            load.clients.map_or_else(|| "closed loop".to_owned(), |c| format!("{c} in flight"))
        }
    }
}

/// Enough digits to see that two rates differ; a searched rate is no round number.
fn rate(per_s: f64) -> String {
    if per_s.fract() == 0.0 { crate::report::quantity::exact(per_s) } else { number(per_s) + " (searched)" }
}
