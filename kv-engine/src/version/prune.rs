//! Pruning: after a key's replicas have moved, clocks still count what nodes wrote that no longer hold it. Blind writes
//! count for the present replicas only, so such an entry keeps the old version beside them for good.

use super::{Versioned, resolve_by_clock};

/// The versions of a key as they are without the entries of nodes that don't hold it, and without those that others
/// descend from then. `None` if nothing changes.
#[must_use]
pub fn prune_versions(versions: &[Versioned], holds: impl Fn(u16) -> bool) -> Option<Vec<Versioned>> {
    let foreign = |version: &Versioned| version.clock.entries().iter().any(|entry| !holds(entry.node));
    if !versions.iter().any(foreign) {
        return None;
    }
    let pruned = versions
        .iter()
        .map(|version| Versioned { clock: version.clock.pruned(&holds), value: version.value.clone() });
    Some(resolve_by_clock(pruned.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &[&str], after: Option<&[&str]>) {
        let versions: Vec<_> =
            before.iter().map(|text| Versioned::new(text.parse().expect("a clock"), *text)).collect();
        let pruned = prune_versions(&versions, |node| node < 3);
        let clocks = pruned.map(|left| left.iter().map(|v| v.clock.to_string()).collect::<Vec<_>>());
        assert_eq!(clocks, after.map(|left| left.iter().map(|c| (*c).to_owned()).collect()));
    }

    #[test]
    fn entries_of_nodes_that_hold_nothing_go_and_then_what_is_obsolete() {
        check(&["0:1,2:5"], None);
        check(&["0:1,7:5"], Some(&["0:1"]));
        // The old version was kept beside the blind write by node 7 alone.
        check(&["0:4,7:5", "0:1700000000000,1:1700000000000"], Some(&["0:1700000000000,1:1700000000000"]));
        check(&["0:4,7:5", "1:3"], Some(&["0:4", "1:3"]));
        // Of two that are equal without it, the first stays.
        check(&["0:4,7:5", "0:4,8:1"], Some(&["0:4"]));
    }
}
