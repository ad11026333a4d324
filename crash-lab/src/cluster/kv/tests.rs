//! Counterexamples: what doesn't hold, shown.

use std::collections::BTreeSet;

use super::scenarios::two_of_three_and_a_lost_disk;
use crate::simulated::Setup;
use crate::simulated::plan::Plan;
use crate::simulated::summary::Summary;

#[test]
fn a_lost_disk_leaves_one_copy_of_two_and_reads_of_two_miss_it_until_it_is_repaired() {
    let (setup, left_out) = (Setup::default(), BTreeSet::new());
    let mut sum = Summary::default();
    for seed in 0..40 {
        let plan = Plan::new(&setup, &left_out, false);
        sum += two_of_three_and_a_lost_disk(seed, &plan).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
    assert!(sum.observed("stale reads") > 0, "R + W > N alone would do, and it doesn't: {sum}");
}
