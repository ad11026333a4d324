//! Increments that overlap each other, and how many of them got lost.
//!
//! What an increment writes depends on what it has read, so no answer can be told in advance; what is told is the
//! count that each value carries ([`counted`](crate::counted)). A key becomes a counted one with its first increment.
//! Its answers are checked for being whole, of this key, and no higher than the increments begun. In the end, when
//! nothing is in flight on the key, its count says how many increments led to what is stored: whatever was
//! acknowledged beyond that is lost.

use super::wrong_answer::{Got, Why, WrongAnswer};
use crate::counted;
use crate::values::{Fingerprint, ValueFault, read_label};
use std::collections::HashMap;
use std::fmt;

/// An increment in flight.
#[derive(Debug)]
#[must_use = "tell the model how the increment ended"]
pub struct IncrementHandle {
    key_index: u32,
}

/// What became of a run's increments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LostUpdates {
    /// Keys that were incremented.
    pub keys: u64,
    /// Increments that were acknowledged.
    pub acknowledged: u64,
    /// Increments that failed: each may have happened or not.
    pub failed: u64,
    /// Increments that the last answers show. Keys that nobody has read since their last increment count as if
    /// nothing were lost; [`unread`](Self::unread) says how many they are.
    pub surviving: u64,
    /// Acknowledged increments that are surely lost, key by key: those beyond what the last answer shows. A failed
    /// one that happened after all may hide a lost one, so with failures it is a lower bound.
    pub lost: u64,
    /// Keys that nobody has read since their last increment.
    pub unread: u64,
}

impl fmt::Display for LostUpdates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, acknowledged, failed, lost, unread, .. } = self;
        write!(f, "{lost} of {acknowledged} acknowledged increments of {keys} keys were lost")?;
        if *failed > 0 {
            write!(f, ", at least: {failed} failed, and each may have happened or not")?;
        }
        if *unread > 0 {
            write!(f, "; {unread} keys were not read at the end")?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Counts {
    begun: u64,
    in_flight: u32,
    acknowledged: u64,
    failed: u64,
    /// The count in the last answer that no increment overlapped.
    shown: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Increments {
    keys: HashMap<u32, Counts>,
}

impl Increments {
    pub(super) fn begins(&mut self, key_index: u32) -> IncrementHandle {
        let counts = self.keys.entry(key_index).or_default();
        counts.begun += 1;
        counts.in_flight += 1;
        counts.shown = None;
        IncrementHandle { key_index }
    }

    fn end(&mut self, handle: &IncrementHandle) -> &mut Counts {
        let counts = self.keys.get_mut(&handle.key_index).expect("it began");
        counts.in_flight -= 1;
        counts
    }

    pub(super) fn ends(&mut self, handle: IncrementHandle, acknowledged: bool) {
        let counts = self.end(&handle);
        *(if acknowledged { &mut counts.acknowledged } else { &mut counts.failed }) += 1;
    }

    pub(super) fn withdrawn(&mut self, handle: IncrementHandle) {
        self.end(&handle).begun -= 1;
    }

    pub(super) fn counts(&self, key_index: u32) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(&key_index)
    }

    /// Judges the answer to a read of a counted key; `may_miss` where "not there" is allowed.
    pub(super) fn judge(
        &mut self,
        key_index: u32,
        answer: Option<&[u8]>,
        may_miss: bool,
    ) -> Result<(), WrongAnswer> {
        let counts = self.keys.get_mut(&key_index).expect("only counted keys are judged here");
        let got = match answer {
            None => Got::NoValue,
            Some(bytes) => Got::Value {
                bytes: bytes.len(),
                fingerprint: Fingerprint::of(bytes).get(),
                label: read_label(bytes).ok(),
            },
        };
        let wrong = |why| Err(WrongAnswer { key_index, expected: Vec::new(), got, why });
        let (count, label) = match answer.map(|bytes| (counted::count(bytes), read_label(bytes))) {
            None if may_miss => (0, None),
            None => return wrong(Why::Missing),
            Some((Ok(count), Ok(label))) => (count, Some(label)),
            Some((Err(fault), _) | (_, Err(fault))) => {
                return wrong(if matches!(fault, ValueFault::NoCount { .. }) {
                    Why::NeverWritten
                } else {
                    Why::Damaged { fault }
                });
            }
        };
        if let Some(other) = label.filter(|label| label.key_index != key_index) {
            return wrong(Why::OtherKey { key_index: other.key_index });
        }
        if count > counts.begun {
            return wrong(Why::NeverWritten);
        }
        if counts.in_flight == 0 {
            counts.shown = Some(count);
        }
        Ok(())
    }

    pub(super) fn lost(&self) -> Option<LostUpdates> {
        if self.keys.is_empty() {
            return None;
        }
        let mut sum = LostUpdates { keys: self.keys.len() as u64, ..LostUpdates::default() };
        for counts in self.keys.values() {
            sum.acknowledged += counts.acknowledged;
            sum.failed += counts.failed;
            sum.surviving += counts.shown.unwrap_or(counts.acknowledged);
            sum.lost += counts.shown.map_or(0, |shown| counts.acknowledged.saturating_sub(shown));
            sum.unread += u64::from(counts.shown.is_none());
        }
        Some(sum)
    }
}
