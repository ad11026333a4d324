//! Read repair: what a get has found missing on a replica is written there, unasked.
//!
//! A replica lacks a version if it has none of that clock; one without data lacks all. Only versions that no other
//! descends from are written, all of them: leaving out a sibling would lose a write. Nobody waits for the answers, and
//! a replica that has moved on refuses what is obsolete.

use super::get::Answers;
use crate::ring::NodeId;
use crate::version::{Occurred, Versioned};

/// The versions that answering replicas lack.
pub(super) fn lacking(answers: &Answers<Versioned>) -> Vec<(NodeId, Versioned)> {
    // Nearly always all agree.
    if let [(_, first), rest @ ..] = answers.as_slice()
        && let [one] = first.as_slice()
        && rest.iter().all(|(_, versions)| matches!(versions.as_slice(), [other] if other.clock == one.clock))
    {
        return Vec::new();
    }
    let mut newest: Vec<&Versioned> = Vec::new();
    for version in answers.iter().flat_map(|(_, versions)| versions) {
        if newest.iter().all(|kept| version.clock.compare(&kept.clock) != Occurred::Before) {
            newest.retain(|kept| kept.clock.compare(&version.clock) != Occurred::Before);
            newest.push(version);
        }
    }
    let mut lacking = Vec::new();
    for (node, versions) in answers {
        let missing = newest.iter().filter(|version| versions.iter().all(|v| v.clock != version.clock));
        lacking.extend(missing.map(|version| (*node, (*version).clone())));
    }
    lacking
}

/// What a careless repair would write: the first of the newest versions, under the merge of their clocks.
#[cfg(feature = "planted-bugs")]
pub(super) fn losing_siblings(answers: &Answers<Versioned>, now_ms: i64) -> Vec<(NodeId, Versioned)> {
    let all = answers.iter().flat_map(|(_, versions)| versions.clone()).collect();
    let newest = crate::version::resolve_by_clock(all);
    let [first, _, ..] = newest.as_slice() else { return lacking(answers) };
    let clock = newest.iter().fold(first.clock.clone(), |merged, v| merged.merge(&v.clock, now_ms));
    let winner = Versioned::new(clock, first.value.clone());
    answers.iter().map(|(node, _)| (*node, winner.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answers: &[&[&str]], expected: &[(u16, &str)]) {
        let answers = answers.iter().zip(0..).map(|(clocks, node)| {
            let versions = clocks.iter().map(|c| Versioned::new(c.parse().expect("a clock"), *c));
            (NodeId(node), versions.collect())
        });
        let lacking = lacking(&answers.collect());
        let lacking: Vec<_> = lacking.iter().map(|(node, v)| (node.0, v.clock.to_string())).collect();
        let expected: Vec<_> = expected.iter().map(|(node, clock)| (*node, (*clock).to_owned())).collect();
        assert_eq!(lacking, expected);
    }

    #[test]
    fn replicas_get_every_newest_version_that_they_lack() {
        check(&[&["0:1"], &["0:1"], &["0:1"]], &[]);
        check(&[&[], &[]], &[]);
        check(&[&["0:2"], &["0:1"]], &[(1, "0:2")]);
        check(&[&[], &["0:1"], &[]], &[(0, "0:1"), (2, "0:1")]);
        check(&[&["0:1"], &["1:1"]], &[(0, "1:1"), (1, "0:1")]);
        check(&[&["0:1", "1:1"], &["1:1"], &["0:1,1:1"]], &[(0, "0:1,1:1"), (1, "0:1,1:1")]);
        check(&[&["0:2", "1:1"], &["0:1"]], &[(1, "0:2"), (1, "1:1")]);
        check(&[&["0:1", "1:1"], &["1:1", "0:1"]], &[]);
    }
}
