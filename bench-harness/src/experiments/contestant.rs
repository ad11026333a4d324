//! [`Contestant`]: an engine with the settings in which it differs on purpose; and [`Roles`]: which of two engines
//! stands for the design before the published move, and which for the one after it.

use std::collections::BTreeMap;
use std::path::Path;

use engine_env::Durability;

use crate::engine::{Engine, Place};
use crate::report::record::Replication;

/// One side of a comparison.
#[derive(Clone)]
pub(super) struct Contestant<'a> {
    pub(super) engine: &'a dyn Engine,
    /// Beyond its defaults and what the user set; these win.
    pub(super) settings: BTreeMap<String, String>,
}

impl<'a> Contestant<'a> {
    /// The engine as it is.
    pub(super) fn plain(engine: &'a dyn Engine) -> Self {
        Self { engine, settings: BTreeMap::new() }
    }

    /// The engine with these settings; `None` if it lacks one of them.
    pub(super) fn with(engine: &'a dyn Engine, settings: &[(&str, &str)]) -> Option<Self> {
        let known = engine.settings();
        let has = |name: &str| known.iter().any(|s| s.name == name);
        settings.iter().all(|(name, _)| has(name)).then(|| Self {
            engine,
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        })
    }

    /// What it is called in the record's comparisons: the engine, and how it differs.
    pub(super) fn name(&self) -> String {
        let differs: Vec<String> =
            self.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        [vec![self.engine.name().to_owned()], differs].concat().join(" ")
    }

    /// The copies it keeps, with the user's settings `given` below its own.
    pub(super) fn replication(&self, given: &BTreeMap<String, String>) -> Option<Replication> {
        let mut settings = given.clone();
        settings.extend(self.settings.clone());
        let known = self.engine.settings();
        settings.retain(|name, _| known.iter().any(|s| s.name == name.as_str()));
        // Only the settings count; nothing is opened.
        let dir = Path::new("").to_owned();
        self.engine.replication(&Place { dir, durability: Durability::Os, settings })
    }
}

/// Who stands for what in the published claims.
#[derive(Clone, Copy)]
pub(super) struct Roles<'a> {
    /// The replicated store with quorums.
    pub(super) before: &'a dyn Engine,
    /// The replicated log with a view that is read.
    pub(super) after: &'a dyn Engine,
}

impl<'a> Roles<'a> {
    /// The roles of two engines, told by their replication; or why they can't decide a claim.
    pub(super) fn of(engines: &[&'a dyn Engine], given: &BTreeMap<String, String>) -> Result<Self, String> {
        let copies = |engine: &&'a dyn Engine| Contestant::plain(*engine).replication(given);
        let before = engines.iter().find(|e| matches!(copies(e), Some(Replication::Quorum { .. })));
        let after = engines
            .iter()
            .find(|e| matches!(copies(e), Some(Replication::InSync { .. })) && e.capabilities().reads);
        match (before, after) {
            (Some(before), Some(after)) => Ok(Self { before: *before, after: *after }),
            (None, _) => Err("No store with replicas and quorums took part in this run".to_owned()),
            (_, None) => Err("No replicated log with a view took part in this run".to_owned()),
        }
    }
}

/// A row of pairs beside the main one.
pub(super) struct Row<'a> {
    /// Its name, which tells what it is for.
    pub(super) experiment: &'static str,
    pub(super) a: Contestant<'a>,
    pub(super) b: Contestant<'a>,
    /// Whether a short comparison makes it, too.
    pub(super) short: bool,
}

/// Every copy answers a write, any one a read; the log's counterpart keeps all copies in sync.
pub(super) const ALL_COPIES: &str = "every copy acknowledges";
/// Reads that may be old: one copy answers, and the view is read as it stands.
pub(super) const OLD_READS: &str = "reads may be old";

/// The rows beside the main one: the other quorum, and what each difference of design is worth.
pub(super) fn rows<'a>(roles: &Roles<'a>) -> Vec<Row<'a>> {
    let Roles { before, after } = *roles;
    let both = |experiment, of_before: &[(&str, &str)], of_after: &[(&str, &str)], short| {
        let (a, b) = (Contestant::with(before, of_before)?, Contestant::with(after, of_after)?);
        Some(Row { experiment, a, b, short })
    };
    let ablation = |experiment, engine, setting| {
        let without = Contestant::with(engine, &[setting])?;
        Some(Row { experiment, a: Contestant::plain(engine), b: without, short: true })
    };
    [
        both(ALL_COPIES, &[("w", "3"), ("r", "1")], &[("min-isr", "3")], true),
        ablation("what batching is worth", after, ("batching", "off")),
        ablation("what the version read costs", before, ("version-read", "off")),
        ablation("what pushing is worth to the log", after, ("subscribe", "pull")),
        ablation("what pushing is worth to the store", before, ("subscribe", "pull")),
        both(OLD_READS, &[("w", "2"), ("r", "1")], &[("reads", "eventual")], false),
    ]
    .into_iter()
    .flatten()
    .collect()
}
