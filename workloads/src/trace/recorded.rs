//! What recorded streams of every kind have in common: keys by their number, times since the first row, a speed.

use crate::arrivals::Speed;
use crate::error::WorkloadError;
use crate::op::Key;
use crate::workload::Parameter;
use std::collections::HashMap;

const NS_PER_S: u64 = 1_000_000_000;

/// The keys of a file in the order of their first appearance.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    keys: Vec<Key>,
    index: HashMap<Key, u32>,
}

impl KeyTable {
    /// The number of a key.
    pub(super) fn number(&mut self, bytes: &[u8]) -> u32 {
        let next = u32::try_from(self.keys.len()).expect("4 billion distinct keys do not fit in memory");
        *self.index.entry(Key::new(bytes)).or_insert_with_key(|key| {
            self.keys.push(key.clone());
            next
        })
    }

    /// The keys by their number.
    pub(super) fn into_keys(self) -> Vec<Key> {
        self.keys
    }
}

/// Nanoseconds since the first row for each row, `operations` times each; and the length of a pass. Recorded times may
/// run backwards by a little; the order of the file is the order of the operations.
pub(super) fn due_times(seconds: impl Iterator<Item = u64>, operations: usize) -> (Vec<u64>, u64) {
    let (mut start, mut latest) = (None, 0);
    let mut due_ns = Vec::new();
    for at_s in seconds {
        let start = *start.get_or_insert(at_s);
        latest = at_s.saturating_sub(start).saturating_mul(NS_PER_S).max(latest);
        due_ns.extend(std::iter::repeat_n(latest, operations));
    }
    (due_ns, latest.saturating_add(NS_PER_S))
}

/// The parameter `speed`, for `describe`.
pub(super) fn speed_parameter(speed: Speed) -> Parameter {
    Parameter::new("speed", speed, "recorded times: original, xK (K times as fast) or max (ignored)")
}

/// The speed that `--set speed=...` names.
pub(super) fn parse_speed(value: &str) -> Result<Speed, WorkloadError> {
    value.parse().map_err(|_| refuse("speed", value, "not a speed", "write original, xK such as x60, or max"))
}

/// A setting that is refused.
pub(super) fn refuse(key: &str, value: &str, what: &str, way_out: &str) -> WorkloadError {
    WorkloadError::Setting {
        key: key.to_owned(),
        value: value.to_owned(),
        what: what.to_owned(),
        way_out: way_out.to_owned(),
    }
}
