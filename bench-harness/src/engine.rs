//! [`Engine`] and [`Session`]: the one trait that a storage engine implements to be measured here.
//!
//! A session is driven by one thread that keeps many operations in flight: it submits, polls, and never blocks in
//! between. The harness decides which operations may overlap, checks every answer, and takes all times; an engine
//! only answers.
//!
//! What a session promises, and the harness checks: per key, an answer is explained by a write that precedes or
//! overlaps the read (linearizable per key). The harness never has a write in flight together with another operation
//! on the same key, so an engine may turn an update into a read and a write. The exception is an increment
//! ([`OpKind::IncrementProfile`](workloads::OpKind::IncrementProfile)): those of one key overlap each other, and what
//! gets lost is counted.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use engine_env::{Durability, Wait};
use workloads::{Fingerprint, Op, Promise};

use crate::report::record::{NodeLoad, Recovery, Replication};

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
    /// Keys with their values, in the order of the keys' bytes: what a scan found.
    Rows(Vec<(Vec<u8>, Vec<u8>)>),
}

/// Why an operation failed. A failed write may have happened or not; the model allows for both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// The engine refused or failed it, for the reason inside.
    #[error("the engine failed the operation: {0}")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
    /// A read-modify-write gave up because somebody else changed the value first, each time it tried. Nothing was
    /// written.
    #[error("given up: the value was changed by others before each of {tries} tries")]
    Refused {
        /// How often it was tried.
        tries: u32,
    },
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
    /// This engine has no such operation. Counted apart; it isn't a failure. A read-modify-write
    /// ([`Access::Modify`](workloads::Access::Modify)) that an engine doesn't have is made of a read and a write by the
    /// driver, with nothing to keep others out in between.
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
    /// Deletes by key, with its default settings.
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
    /// Bytes handed to the operating system for writing, by all nodes together.
    pub written_bytes: u64,
    /// Syncs of data that the engine asked for, `RWF_DSYNC` writes included.
    pub syncs: u64,
    /// Events that make tails: rolled segments, merges, compactions.
    pub tail_events: u64,
    /// Messages between clients and nodes and among nodes, each counted once, where it was sent.
    pub messages: u64,
    /// Their bytes, as encoded.
    pub message_bytes: u64,
    /// Acknowledged writes by the copies that had them.
    pub copies_at_ack: CopiesAtAck,
    /// Reads that met several concurrent versions and had to resolve them.
    pub siblings: u64,
    /// Writes that were tried again because their version was obsolete.
    pub retries: u64,
}

impl EngineStats {
    /// The sum of both, of two nodes for example.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut copies_at_ack = self.copies_at_ack;
        copies_at_ack.add(&other.copies_at_ack);
        Self {
            written_bytes: self.written_bytes + other.written_bytes,
            syncs: self.syncs + other.syncs,
            tail_events: self.tail_events + other.tail_events,
            messages: self.messages + other.messages,
            message_bytes: self.message_bytes + other.message_bytes,
            copies_at_ack,
            siblings: self.siblings + other.siblings,
            retries: self.retries + other.retries,
        }
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            syncs: self.syncs.saturating_sub(before.syncs),
            tail_events: self.tail_events.saturating_sub(before.tail_events),
            messages: self.messages.saturating_sub(before.messages),
            message_bytes: self.message_bytes.saturating_sub(before.message_bytes),
            copies_at_ack: self.copies_at_ack.since(&before.copies_at_ack),
            siblings: self.siblings.saturating_sub(before.siblings),
            retries: self.retries.saturating_sub(before.retries),
        }
    }
}

/// How many copies of a write were at the run's durability when it was acknowledged: with `synced` on stable storage,
/// with `os` handed to their nodes' kernels. The client's knowledge counts: acknowledgements it had, or the in-sync
/// replicas below whose high watermark the write was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopiesAtAck {
    /// Writes by number of copies; the last place holds all that had more.
    writes: [u64; Self::PLACES],
}

impl CopiesAtAck {
    const PLACES: usize = 9;

    /// Counts a write that was acknowledged with so many copies.
    pub fn count(&mut self, copies: u16) {
        self.writes[usize::from(copies).min(Self::PLACES - 1)] += 1;
    }

    /// Adds the writes of another count, one of another client for example.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.writes.iter_mut().zip(other.writes) {
            *mine += theirs;
        }
    }

    /// Fewest copies of any write; `None` without a write.
    #[must_use]
    pub fn fewest(&self) -> Option<u32> {
        self.writes.iter().zip(0..).find(|(writes, _)| **writes > 0).map(|(_, copies)| copies)
    }

    /// Copies of the median write; `None` without a write.
    #[must_use]
    pub fn median(&self) -> Option<u32> {
        let all: u64 = self.writes.iter().sum();
        let mut below = 0;
        self.writes.iter().zip(0..).find_map(|(writes, copies)| {
            below += writes;
            (all > 0 && 2 * below >= all).then_some(copies)
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self { writes: std::array::from_fn(|i| self.writes[i].saturating_sub(before.writes[i])) }
    }
}

/// A write as a subscriber saw it: somebody who follows the engine's changes and is told of each, or who polls for
/// them. The harness knows when each write was due, so this gives the time from an update to its visibility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visible {
    /// Which write: the fingerprint of the value that was seen.
    pub write: Fingerprint,
    /// When the subscriber had it, by [`monotonic_ns`].
    pub at_ns: u64,
}

/// Nanoseconds of the machine's monotonic clock: what a subscriber's thread stamps on what it sees, the moment it has
/// it.
#[must_use]
pub fn monotonic_ns() -> u64 {
    crate::load::monotonic_ns()
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

    /// How many copies there are and how many must answer, with these settings; `None` for one node.
    fn replication(&self, place: &Place) -> Option<Replication> {
        let _ = place;
        None
    }

    /// What its reads keep, with these settings; answers are judged by it.
    fn promise(&self, place: &Place) -> Promise {
        let _ = place;
        Promise::Linearizable
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

    /// Whether a subscriber follows the writes. If so, each acknowledged write of a value must come out of
    /// [`Session::visible`] once, and the harness waits for it before a phase ends.
    fn has_subscriber(&self) -> bool {
        false
    }

    /// Appends the writes that the subscriber has seen since the last call, those of other clients too. Must not wait.
    fn visible(&mut self, out: &mut Vec<Visible>) {
        let _ = out;
    }

    /// Copies that acknowledged writes didn't get so far, because their node was down, unreachable or late. What an outage
    /// costs that no client notices; asked after each poll.
    fn copies_missed(&self) -> u64 {
        0
    }

    /// The measured phase begins: what is planned for a time within it, an outage for example, is counted from here.
    fn measured_from_now(&mut self) {}

    /// Counters since opening; zeros where it doesn't count.
    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    /// What each node has carried since it was started; empty where there is one node only. May wait for the nodes.
    fn node_loads(&self) -> Vec<NodeLoad> {
        Vec::new()
    }

    /// How the cluster recovered from a planned outage; `None` where there was none, or while the node is away.
    fn recovery(&self) -> Option<Recovery> {
        None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_at_acknowledgement_tell_the_fewest_and_the_median_of_what_was_counted_since() {
        let mut copies = CopiesAtAck::default();
        assert_eq!((copies.fewest(), copies.median()), (None, None));
        copies.count(1);
        let before = copies;
        for n in [2, 3, 3] {
            copies.count(n);
        }
        let since = copies.since(&before);
        assert_eq!((since.fewest(), since.median()), (Some(2), Some(3)));
        assert_eq!((copies.fewest(), copies.median()), (Some(1), Some(2)));
        copies.count(u16::MAX);
        assert_eq!(copies.fewest(), Some(1), "a count beyond the last place costs nothing else");
    }
}
