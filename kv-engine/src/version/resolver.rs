//! Resolvers: what a client makes of several versions. First by clock, which loses nothing; then, if the caller
//! wants a single value, by time, which picks one, or by a rule of the caller's.

use std::fmt;

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

/// A rule for several versions of a key. A get under it fails as inconsistent if more than one is left.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// What is left of the versions. `now_ms` is for the timestamps of merged clocks.
    fn resolve(&self, versions: Vec<Versioned>, now_ms: i64) -> Vec<Versioned>;
}

/// [`resolve_by_clock`] as a rule.
#[derive(Debug, Clone, Copy)]
pub struct ClockResolver;

impl Resolver for ClockResolver {
    fn resolve(&self, versions: Vec<Versioned>, _now_ms: i64) -> Vec<Versioned> {
        resolve_by_clock(versions)
    }
}

/// [`resolve_by_time`] as a rule.
#[derive(Debug, Clone, Copy)]
pub struct TimeResolver;

impl Resolver for TimeResolver {
    fn resolve(&self, versions: Vec<Versioned>, now_ms: i64) -> Vec<Versioned> {
        resolve_by_time(versions, now_ms).into_iter().collect()
    }
}

/// Keeps all: whoever reads several versions is told that they are inconsistent.
#[derive(Debug, Clone, Copy)]
pub struct FailingResolver;

impl Resolver for FailingResolver {
    fn resolve(&self, versions: Vec<Versioned>, _now_ms: i64) -> Vec<Versioned> {
        versions
    }
}

/// Makes one value of two, until one is left, under the merge of the clocks: a set that is united, a counter that is
/// added up.
#[derive(Clone)]
pub struct MergingResolver<F>(pub F);

impl<F> fmt::Debug for MergingResolver<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MergingResolver")
    }
}

impl<F: Fn(&[u8], &[u8]) -> Vec<u8> + Send + Sync> Resolver for MergingResolver<F> {
    fn resolve(&self, versions: Vec<Versioned>, now_ms: i64) -> Vec<Versioned> {
        let merge = |a: Versioned, b: Versioned| Versioned {
            clock: a.clock.merge(&b.clock, now_ms),
            value: (self.0)(&a.value, &b.value),
        };
        versions.into_iter().reduce(merge).into_iter().collect()
    }
}

/// One rule after the other, until at most one version is left.
#[derive(Debug)]
pub struct ChainedResolver(pub Vec<Box<dyn Resolver>>);

impl Resolver for ChainedResolver {
    fn resolve(&self, versions: Vec<Versioned>, now_ms: i64) -> Vec<Versioned> {
        self.0.iter().fold(versions, |left, next| match left.len() {
            0 | 1 => left,
            _ => next.resolve(left, now_ms),
        })
    }
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

    fn check(resolver: &dyn Resolver, expected: &[(&str, &str)]) {
        let versions =
            vec![version(&[(1, 1)], 9, "old"), version(&[(1, 2)], 5, "a"), version(&[(2, 1)], 8, "b")];
        let left = resolver.resolve(versions, 20);
        let left: Vec<_> = left
            .iter()
            .map(|v| (v.clock.to_string(), String::from_utf8_lossy(&v.value).into_owned()))
            .collect();
        let expected: Vec<_> = expected.iter().map(|(c, v)| ((*c).to_owned(), (*v).to_owned())).collect();
        assert_eq!(left, expected);
    }

    #[test]
    fn rules_can_be_chained_and_brought_along() {
        let join = || MergingResolver(|a: &[u8], b: &[u8]| [a, b"+", b].concat());
        check(&ClockResolver, &[("1:2", "a"), ("2:1", "b")]);
        // Without the clocks a time rule alone takes what is obsolete.
        check(&TimeResolver, &[("1:2,2:1", "old")]);
        check(&FailingResolver, &[("1:1", "old"), ("1:2", "a"), ("2:1", "b")]);
        check(&join(), &[("1:2,2:1", "old+a+b")]);
        let chain = |last: Box<dyn Resolver>| ChainedResolver(vec![Box::new(ClockResolver), last]);
        check(&chain(Box::new(TimeResolver)), &[("1:2,2:1", "b")]);
        check(&chain(Box::new(join())), &[("1:2,2:1", "a+b")]);
        check(&ChainedResolver(vec![Box::new(TimeResolver), Box::new(join())]), &[("1:2,2:1", "old")]);
    }
}
