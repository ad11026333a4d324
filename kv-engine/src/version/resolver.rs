//! Resolvers: what a client makes of several versions. First by clock, which loses nothing; then, if the caller
//! wants a single value, by time, which picks one.

use super::{Occurred, Versioned};

/// Keeps the versions that no other descends from, one of each clock, in the order given.
#[must_use]
pub fn resolve_by_clock(versions: Vec<Versioned>) -> Vec<Versioned> {
    let mut kept: Vec<Versioned> = Vec::with_capacity(versions.len());
    for version in versions {
        if kept.iter().any(|k| version.clock.compare(&k.clock) == Occurred::Before) {
            continue;
        }
        kept.retain(|k| k.clock.compare(&version.clock) != Occurred::Before);
        kept.push(version);
    }
    kept
}

/// The value with the largest timestamp (the first of equals), under the merge of all clocks.
#[must_use]
pub fn resolve_by_time(versions: Vec<Versioned>, now_ms: i64) -> Option<Versioned> {
    let mut versions = versions.into_iter();
    let mut winner = versions.next()?;
    let Some(second) = versions.next() else { return Some(winner) };
    let mut merged = winner.clock.clone();
    for version in std::iter::once(second).chain(versions) {
        merged = merged.merge(&version.clock, now_ms);
        if version.clock.timestamp_ms() > winner.clock.timestamp_ms() {
            winner = version;
        }
    }
    Some(Versioned { clock: merged, value: winner.value })
}

#[cfg(test)]
mod tests {
    use super::super::VectorClock;
    use super::*;

    fn version(entries: &[(u16, u64)], timestamp_ms: i64, value: &str) -> Versioned {
        let clock = VectorClock::from_entries(entries.iter().copied(), timestamp_ms).expect("a valid clock");
        Versioned::new(clock, value.as_bytes())
    }

    #[test]
    fn by_clock_keeps_the_maximal_ones_once() {
        let kept = resolve_by_clock(vec![
            version(&[(1, 1)], 0, "old"),
            version(&[(1, 2)], 0, "new"),
            version(&[(2, 1)], 0, "beside"),
            version(&[(1, 2)], 0, "the same again"),
        ]);
        let values: Vec<_> = kept.iter().map(|v| v.value.as_slice()).collect();
        assert_eq!(values, [b"new".as_slice(), b"beside"]);
    }

    #[test]
    fn by_time_the_latest_wins_and_clocks_merge() {
        let one = resolve_by_time(
            vec![version(&[(1, 2)], 5, "a"), version(&[(2, 1)], 9, "b"), version(&[(3, 1)], 9, "c")],
            11,
        )
        .expect("there were versions");
        assert_eq!((one.value.as_slice(), one.clock.to_string().as_str()), (b"b".as_slice(), "1:2,2:1,3:1"));
        assert_eq!(one.clock.timestamp_ms(), 11);
        assert_eq!(resolve_by_time(vec![], 0), None);
    }
}
