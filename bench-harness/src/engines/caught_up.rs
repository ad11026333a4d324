//! [`CaughtUp`]: whether a broker that came back has all that its partitions' leaders had then, and everybody counts it again.

use std::collections::BTreeMap;

use log_engine::{BrokerId, BrokerStats, ClusterLayout, Offset, TopicPartition};

/// What is known since a broker came back.
#[derive(Debug)]
pub(super) struct CaughtUp {
    /// By partition: how many brokers hold it.
    copies: BTreeMap<TopicPartition, usize>,
    /// By partition: where its leader's log ended at the first look.
    ends: BTreeMap<TopicPartition, Offset>,
}

impl CaughtUp {
    pub(super) fn new(layout: &ClusterLayout) -> Self {
        let copies = layout.partitions().iter().map(|one| (one.partition.clone(), one.replicas.len()));
        Self { copies: copies.collect(), ends: BTreeMap::new() }
    }

    /// What all brokers say now. `true` if each leader counts all copies of its partitions as in sync, and the broker that came
    /// back holds, as durably as was promised, what the leaders of those that it follows had at the first look.
    pub(super) fn look(&mut self, returned: BrokerId, brokers: &[BrokerStats]) -> bool {
        let mut all_in_sync = 0;
        for of_leader in brokers.iter().flat_map(|broker| &broker.partitions) {
            // A follower isn't told who is in sync.
            if of_leader.isr.first() != Some(&of_leader.leader) {
                continue;
            }
            let end = *self.ends.entry(of_leader.partition.clone()).or_insert(of_leader.end);
            let held = brokers
                .iter()
                .flat_map(|broker| &broker.partitions)
                .filter(|one| one.partition == of_leader.partition && one.isr.is_empty() && one.held >= end);
            let copies = self.copies.get(&of_leader.partition).copied().unwrap_or(0);
            let has_it = of_leader.leader == returned || held.count() + 1 == copies;
            all_in_sync += usize::from(has_it && of_leader.isr.len() == copies);
        }
        all_in_sync == self.copies.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_engine::PartitionStats;

    /// Two brokers, a partition each leads; broker 1 follows partition 0 up to `held`, and is in sync there if `counts`.
    fn brokers(leaders_end: u64, held: u64, counts: bool) -> Vec<BrokerStats> {
        let partition = |number, leader: u16, end, held, isr: &[u16]| PartitionStats {
            partition: TopicPartition::new("t", number),
            leader: BrokerId(leader),
            epoch: 0,
            start: Offset(0),
            end: Offset(end),
            held: Offset(held),
            high_watermark: Offset(0),
            isr: isr.iter().copied().map(BrokerId).collect(),
            isr_shrinks: 0,
            isr_expands: 0,
        };
        let isr: &[u16] = if counts { &[0, 1] } else { &[0] };
        let of_0 = vec![partition(0, 0, leaders_end, leaders_end, isr), partition(1, 1, 5, 5, &[])];
        let of_1 = vec![partition(0, 0, held, held, &[]), partition(1, 1, 5, 5, &[1, 0])];
        [of_0, of_1].map(|partitions| BrokerStats { partitions, ..BrokerStats::default() }).into()
    }

    #[test]
    fn a_broker_has_caught_up_when_it_holds_what_there_was_at_its_return_and_counts_as_in_sync() {
        let layout = ClusterLayout::even(2, &[("t", 2)], 2).expect("a layout");
        let mut caught_up = CaughtUp::new(&layout);
        let returned = BrokerId(1);
        assert!(!caught_up.look(returned, &brokers(10, 4, false)));
        assert!(!caught_up.look(returned, &brokers(20, 9, true)), "one record is missing");
        assert!(!caught_up.look(returned, &brokers(20, 10, false)), "nobody waits for it yet");
        assert!(caught_up.look(returned, &brokers(20, 10, true)), "what came later isn't what it missed");
        assert!(!CaughtUp::new(&layout).look(returned, &brokers(10, 10, true)[1..]), "a leader says nothing");
    }
}
