//! [`Engine`] and [`Session`]: the one trait that a storage engine implements to be measured here.
//!
//! A session is driven by one thread that keeps many operations in flight: it submits, polls, and never blocks in
//! between. The harness decides which operations may overlap, checks every answer, and takes all times; an engine
//! only answers.
//!
//! What a session promises, and the harness checks: per key, an answer is explained by a write that precedes or
//! overlaps the read (linearizable per key). The harness never has a write in flight together with another operation
//! on the same key, so an engine may turn an update into a read and a write.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use engine_env::{Durability, Wait};
use workloads::Op;

/// Names an operation between submit and completion; chosen by the driver, unique among those in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What an operation gave.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The write is acknowledged at the durability the engine was opened with.
    Written,
    /// The delete is acknowledged; whether there was something to delete.
    Deleted(bool),
    /// The value, or that there is none.
    Value(Option<Vec<u8>>),
}

/// Why an operation failed. A failed write may have happened or not; the model allows for both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// The engine refused or failed it, for the reason inside.
    #[error("the engine failed the operation: {0}")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
}

impl OpError {
    /// Wraps an engine's own error.
    pub fn engine(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Engine(error.into())
    }
}

/// What became of a submitted operation.
#[derive(Debug)]
#[non_exhaustive]
pub enum Submit {
    /// It is under way; its completion comes from [`Session::poll`].
    Accepted,
    /// It is done already; no completion follows. For engines that answer on the caller's thread.
    Answered(Result<Answer, OpError>),
    /// Back-pressure: submit it again after a poll.
    Full,
    /// This engine has no such operation. Counted apart; it isn't a failure.
    Unsupported,
}

/// The end of an accepted operation.
#[derive(Debug)]
pub struct Completion {
    /// Which one.
    pub token: Token,
    /// What it gave.
    pub result: Result<Answer, OpError>,
}

/// What an engine can do. Comparisons skip what one side can't, and say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Reads by key.
    pub reads: bool,
    /// Deletes by key.
    pub deletes: bool,
    /// Whether anything reaches a disk. An engine that keeps nothing is a floor, never a competitor.
    pub durable: bool,
}

/// A setting that `--set NAME=VALUE` changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value when not set.
    pub default: String,
    /// What it means, with the unit.
    pub meaning: &'static str,
}

/// Where and how to open an engine.
#[derive(Debug, Clone)]
pub struct Place {
    /// A folder of its own; it may not exist yet.
    pub dir: PathBuf,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// Engine settings by name, as given with `--set`.
    pub settings: BTreeMap<String, String>,
}

impl Place {
    /// The setting `name` parsed, or `default` when it isn't set.
    ///
    /// # Errors
    /// It is set to something that doesn't parse; the error names the setting and what it expects.
    pub fn setting<T: std::str::FromStr>(
        &self,
        name: &'static str,
        default: T,
        expects: &'static str,
    ) -> Result<T, EngineError> {
        match self.settings.get(name) {
            None => Ok(default),
            Some(text) => {
                text.parse().map_err(|_| EngineError::BadSetting { name, got: text.clone(), expects })
            }
        }
    }
}

/// Why an engine couldn't be opened or closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A setting's value makes no sense.
    #[error("setting {name}: expected {expects} (got `{got}`); change --set {name}=...")]
    BadSetting {
        /// The setting.
        name: &'static str,
        /// What was given.
        got: String,
        /// What would do.
        expects: &'static str,
    },
    /// A setting that the engine doesn't have.
    #[error("{engine} has no setting `{name}`; it has {known}")]
    UnknownSetting {
        /// The engine.
        engine: String,
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The engine's own error.
    #[error("{0}")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
}

impl EngineError {
    /// Wraps an engine's own error.
    pub fn engine(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Engine(error.into())
    }
}

/// Counters since the engine was opened. The harness takes them before and after and reports the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Bytes handed to the operating system for writing.
    pub written_bytes: u64,
    /// Syncs of data that the engine asked for, `RWF_DSYNC` writes included.
    pub syncs: u64,
    /// Events that make tails: rolled segments, merges, compactions.
    pub tail_events: u64,
}

/// An engine that can be measured.
pub trait Engine: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &str;

    /// What it is and what read, write and delete mean here, for a reader who never saw it.
    fn about(&self) -> &str;

    /// What it can do; everything by default.
    fn capabilities(&self) -> Capabilities {
        Capabilities { reads: true, deletes: true, durable: true }
    }

    /// The settings that `--set` may change.
    fn settings(&self) -> Vec<Setting> {
        Vec::new()
    }

    /// Opens it in a folder.
    ///
    /// # Errors
    /// A setting is wrong, the folder is in use, or the disk refuses.
    fn open(&self, place: &Place) -> Result<Box<dyn Session>, EngineError>;
}

/// An open engine, driven by one thread.
pub trait Session {
    /// Hands an operation over. Must not wait for the disk if it can complete through [`Session::poll`].
    fn submit(&mut self, token: Token, op: &Op) -> Submit;

    /// Appends completions to `out`, waiting for the first one as `wait` says. It may return early with none; an
    /// engine that answers everything at once has none.
    fn poll(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        let _ = (wait, out);
    }

    /// Counters since opening; zeros where it doesn't count.
    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    /// Makes everything durable and lets go of the folder, by default by dropping the session.
    ///
    /// # Errors
    /// Something acknowledged may not be on disk.
    fn close(self: Box<Self>) -> Result<EngineStats, EngineError> {
        Ok(self.stats())
    }
}

/// The engines that can be named.
#[derive(Default)]
pub struct EngineRegistry {
    engines: Vec<Box<dyn Engine>>,
}

impl EngineRegistry {
    /// The engines of this workspace.
    #[must_use]
    pub fn standard() -> Self {
        let mut registry = Self::default();
        for engine in crate::engines::standard() {
            registry.add(engine);
        }
        registry
    }

    /// Adds an engine; one with the same name is replaced.
    pub fn add(&mut self, engine: Box<dyn Engine>) {
        self.engines.retain(|e| e.name() != engine.name());
        self.engines.push(engine);
    }

    /// The engine called `name`.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&dyn Engine> {
        self.engines.iter().map(AsRef::as_ref).find(|e| e.name() == name)
    }

    /// All of them, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Engine> {
        self.engines.iter().map(AsRef::as_ref)
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.iter().map(Engine::name).collect()
    }
}

impl std::fmt::Debug for EngineRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EngineRegistry").field(&self.names()).finish()
    }
}

/// Refuses settings that `engine` doesn't have, before it is opened.
///
/// # Errors
/// A name is unknown.
pub fn check_settings(engine: &dyn Engine, settings: &BTreeMap<String, String>) -> Result<(), EngineError> {
    let known = engine.settings();
    match settings.keys().find(|name| known.iter().all(|s| s.name != name.as_str())) {
        None => Ok(()),
        Some(name) => Err(EngineError::UnknownSetting {
            engine: engine.name().to_owned(),
            name: name.clone(),
            known: if known.is_empty() {
                "none".to_owned()
            } else {
                known.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")
            },
        }),
    }
}
