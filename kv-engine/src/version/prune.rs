//! Pruning: after a key's replicas have moved, clocks still count what nodes wrote that no longer hold it. Blind writes
//! count for the present replicas only, so such an entry keeps the old version beside them for good.

use super::{Occurred, VectorClock};

/// Of the clocks of a key's versions, those that are obsolete without the entries of nodes that don't hold it. Of several
/// that are equal then, all but the one with the highest entries: every replica keeps the same.
pub(crate) fn obsolete_when_pruned(clocks: &[VectorClock], holds: impl Fn(u16) -> bool) -> Vec<VectorClock> {
    let pruned: Vec<_> = clocks.iter().map(|clock| clock.pruned(&holds)).collect();
    let is_obsolete = |at: usize| {
        (0..clocks.len()).any(|other| {
            let older = pruned[at].compare(&pruned[other]) == Occurred::Before;
            let equal = older && pruned[other].compare(&pruned[at]) == Occurred::Before;
            other != at && older && (!equal || clocks[at].entries() < clocks[other].entries())
        })
    };
    (0..clocks.len()).filter(|at| is_obsolete(*at)).map(|at| clocks[at].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &[&str], expected: &[&str]) {
        let clock = |text: &&str| text.parse::<VectorClock>().expect("a clock");
        for turn in 0..before.len() {
            let mut clocks: Vec<_> = before.iter().map(clock).collect();
            clocks.rotate_left(turn);
            let mut found: Vec<_> =
                obsolete_when_pruned(&clocks, |node| node < 3).iter().map(ToString::to_string).collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{before:?}, turned by {turn}");
        }
    }

    #[test]
    fn what_others_make_obsolete_without_foreign_entries_is_told_in_any_order() {
        check(&["0:1,2:5"], &[]);
        check(&["0:1,7:5"], &[]);
        check(&["0:1", "1:1"], &[]);
        check(&["0:4,7:5", "1:3"], &[]);
        // The old version was kept beside the blind write by node 7 alone.
        check(&["0:4,7:5", "0:1700000000000,1:1700000000000"], &["0:4,7:5"]);
        check(&["0:4,7:5", "0:1700,1:1700", "2:1"], &["0:4,7:5"]);
        // Nothing but what nodes wrote that are gone: older than anything else.
        check(&["7:5", "8:1", "0:1"], &["7:5", "8:1"]);
        // Equal: one stays, the same everywhere.
        check(&["7:5", "8:1"], &["7:5"]);
        check(&["0:4,7:5", "0:4,8:1"], &["0:4,7:5"]);
    }
}
