//! A recorded change stream, exercised: each change is written, its key is read before and after, and at the end
//! every key is read.
//!
//! A short stream is replayed in passes. A pass has keys of its own (`KEY#p1`, `KEY#p2`, ...), so that it does not
//! meet what the pass before left behind: the first read of each key must find nothing.

use crate::arrivals::{Arrivals, Recording, Speed};
use crate::error::WorkloadError;
use crate::op::{Key, Op, OpKind};
use crate::trace::SHORT;
use crate::trace::recorded::{KeyTable, due_times, parse_speed, refuse, speed_parameter};
use crate::values::{StreamTag, Value};
use crate::workload::{Ops, Parameter, Workload};
use engine_env::rng::Seed;
use std::sync::Arc;

/// Read, write, read.
const OPS_PER_CHANGE: u64 = 3;

/// What a change left behind.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// The record as it was recorded.
    Recorded(Value),
    /// Only the record's length is known, in bytes.
    Length(u32),
    /// Nothing.
    Deleted,
}

/// One recorded change.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) ts_s: u64,
    pub(super) key: u32,
    pub(super) content: Content,
}

/// A stream as it was read.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) list: Vec<Change>,
    pub(super) keys: KeyTable,
}

/// How often the stream is replayed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Passes {
    Endless,
    Count(u64),
}

/// The workload.
#[derive(Debug, Clone)]
pub(crate) struct ChangeStream {
    name: String,
    about: String,
    changes: Arc<[Change]>,
    keys: Arc<[Key]>,
    /// For each key, the number of the change that first names it; ascending.
    first: Arc<[u32]>,
    speed: Speed,
    passes: Passes,
}

impl ChangeStream {
    pub(super) fn new(name: String, changes: Changes) -> Self {
        let Changes { list, keys } = changes;
        let keys = keys.into_keys();
        let mut first = vec![u32::MAX; keys.len()];
        for (at, change) in list.iter().enumerate() {
            let first = &mut first[change.key as usize];
            *first = (*first).min(at as u32);
        }
        let deletes = list.iter().filter(|c| matches!(c.content, Content::Deleted)).count();
        let count = list.len();
        Self {
            name,
            about: format!(
                "{count} recorded changes of {} keys, {deletes} of them deletes, each read before and after",
                keys.len()
            ),
            changes: list.into(),
            keys: keys.into(),
            first: first.into(),
            speed: Speed::Max,
            passes: if count < SHORT { Passes::Endless } else { Passes::Count(1) },
        }
    }

    fn key(&self, pass: u64, key: u32) -> Key {
        let own = &self.keys[key as usize];
        if pass == 0 {
            return own.clone();
        }
        let mut tagged = Vec::with_capacity(own.len() + 8);
        tagged.extend_from_slice(own);
        tagged.extend_from_slice(format!("#p{pass}").as_bytes());
        Key::new(&tagged)
    }

    /// The dense number of a key in a pass; `None` once the numbers are used up, which ends the stream.
    fn key_index(&self, pass: u64, key: u32) -> Option<u32> {
        let base = pass.checked_mul(self.keys.len() as u64)?;
        u32::try_from(base.checked_add(u64::from(key))?).ok()
    }

    fn op(&self, at: u64, stream: StreamTag) -> Option<Op> {
        let per_pass = self.changes.len() as u64 * OPS_PER_CHANGE;
        if per_pass == 0 {
            return None;
        }
        let (pass, within) = (at / per_pass, at % per_pass);
        if let Passes::Count(count) = self.passes
            && pass >= count
        {
            return None;
        }
        let change = &self.changes[(within / OPS_PER_CHANGE) as usize];
        let key_index = self.key_index(pass, change.key)?;
        let key = self.key(pass, change.key);
        if within % OPS_PER_CHANGE != 1 {
            return Some(Op::without_value(OpKind::ReadProfile, key_index, key));
        }
        let value = match &change.content {
            Content::Deleted => return Some(Op::without_value(OpKind::DeleteProfile, key_index, key)),
            Content::Recorded(value) => value.clone(),
            Content::Length(len) => Value::generate(stream, key_index, at + 1, *len as usize),
        };
        Some(Op::with_value(OpKind::UpdateProfile, key_index, key, value))
    }

    /// Reads of the first `keys` keys of a pass.
    fn reads(&self, pass: u64, keys: usize) -> impl Iterator<Item = Op> + Send + '_ {
        (0..keys as u32).filter_map(move |key| {
            let key_index = self.key_index(pass, key)?;
            Some(Op::without_value(OpKind::ReadProfile, key_index, self.key(pass, key)))
        })
    }
}

impl Workload for ChangeStream {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> &str {
        &self.about
    }

    fn records(&self) -> u64 {
        0
    }

    fn preload(&self, _seed: Seed) -> Ops<'_> {
        Box::new(std::iter::empty())
    }

    fn stream(&self, seed: Seed) -> Ops<'_> {
        let stream = StreamTag::of(seed);
        Box::new((0..u64::MAX).map_while(move |at| self.op(at, stream)))
    }

    fn is_recording(&self) -> bool {
        true
    }

    fn arrivals(&self) -> Arrivals {
        let (due_ns, pass_ns) = due_times(self.changes.iter().map(|c| c.ts_s), OPS_PER_CHANGE as usize);
        Arrivals::Recorded(Recording {
            due_ns: due_ns.into(),
            pass_ns,
            repeats: self.passes != Passes::Count(1),
            speed: self.speed,
        })
    }

    fn finale(&self, streamed: u64) -> Ops<'_> {
        let per_pass = self.changes.len() as u64 * OPS_PER_CHANGE;
        if per_pass == 0 {
            return Box::new(std::iter::empty());
        }
        let whole = streamed / per_pass;
        let changes_begun = (streamed % per_pass).div_ceil(OPS_PER_CHANGE);
        let keys_begun = self.first.partition_point(|first| u64::from(*first) < changes_begun);
        Box::new(
            (0..whole)
                .flat_map(|pass| self.reads(pass, self.keys.len()))
                .chain(self.reads(whole, keys_begun)),
        )
    }

    fn parameters(&self) -> Vec<Parameter> {
        let passes = match self.passes {
            Passes::Endless => "endless".to_owned(),
            Passes::Count(count) => count.to_string(),
        };
        let bytes: u64 = self
            .changes
            .iter()
            .map(|change| match &change.content {
                Content::Recorded(value) => value.len() as u64,
                Content::Length(len) => u64::from(*len),
                Content::Deleted => 0,
            })
            .sum();
        vec![
            speed_parameter(self.speed),
            Parameter::new(
                "passes",
                passes,
                "how often the file is replayed, each pass with keys of its own; endless",
            ),
            Parameter::new("changes", self.changes.len(), "recorded changes (not to be set)"),
            Parameter::new("keys", self.keys.len(), "distinct keys of a pass (not to be set)"),
            Parameter::new("value bytes", bytes, "bytes of all values of a pass (not to be set)"),
        ]
    }

    fn configured(&self, settings: &[(String, String)]) -> Result<Arc<dyn Workload>, WorkloadError> {
        let mut changed = self.clone();
        for (key, value) in settings {
            let refuse = |what: &str, way_out: &str| refuse(key, value, what, way_out);
            match key.as_str() {
                "speed" => changed.speed = parse_speed(value)?,
                "passes" if value == "endless" => changed.passes = Passes::Endless,
                "passes" => {
                    let count = value.parse().ok().filter(|count| *count > 0);
                    let count = count
                        .ok_or_else(|| refuse("not a number of passes", "write 1 or more, or endless"))?;
                    changed.passes = Passes::Count(count);
                }
                _ => return Err(refuse("unknown key", "a change stream takes speed and passes")),
            }
        }
        Ok(Arc::new(changed))
    }
}
