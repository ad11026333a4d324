//! The simulated network: each fault does what it says, and a seed gives one trace.

use std::num::NonZeroU64;

use engine_env::rng::Seed;
use engine_env::sim::{Link, LinkFaults, SimNet};
use engine_env::{Arrival, NetProfile, Peer};

const A: Peer = Peer(0);
const B: Peer = Peer(1);
const C: Peer = Peer(2);
const MS: u64 = 1_000_000;

fn network(link: Link) -> SimNet {
    let mut net = SimNet::new(Seed(7));
    net.set_links(link);
    for peer in [A, B, C] {
        net.join(peer).expect("the name is free");
    }
    net
}

/// Everything that arrives, with the time.
fn run(net: &mut SimNet) -> Vec<(u64, Peer, Arrival)> {
    let mut all = Vec::new();
    while let Some(now_ns) = net.next_due() {
        all.extend(net.deliver(now_ns).into_iter().map(|(peer, arrival)| (now_ns, peer, arrival)));
    }
    all
}

/// The first bytes of the messages in `arrived`.
fn numbers(arrived: &[(u64, Peer, Arrival)]) -> Vec<u8> {
    let number = |arrival: &Arrival| match arrival {
        Arrival::Message { bytes, .. } => Some(bytes[0]),
        Arrival::Unreachable { .. } => None,
    };
    arrived.iter().filter_map(|(_, _, arrival)| number(arrival)).collect()
}

fn send_numbers(net: &mut SimNet, n: u8) {
    for i in 0..n {
        net.send(u64::from(i), A, B, vec![i]);
    }
}

#[test]
fn a_profile_delays_and_order_is_kept_whatever_the_spread() {
    let mut net = network(NetProfile::Wan.into());
    net.send(5, A, B, vec![1]);
    assert_eq!(net.next_due(), Some(30 * MS + 5));
    assert_eq!(net.deliver(30 * MS + 4), []);
    assert_eq!(net.deliver(30 * MS + 5), [(B, Arrival::Message { from: A, bytes: vec![1] })]);
    let mut net = network(Link { delay_ns: 10, delay_max_ns: 100_000, ..Link::default() });
    send_numbers(&mut net, 200);
    assert_eq!(numbers(&run(&mut net)), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_narrow_link_serves_one_message_after_the_other() {
    let slow = Link { bytes_per_s: NonZeroU64::new(1000), ..Link::steady(NetProfile::Loopback) };
    let mut net = network(Link::default());
    net.set_link(A, B, Some(slow));
    net.send(0, A, B, vec![1; 500]);
    net.send(0, A, B, vec![2; 250]);
    net.send(0, A, C, vec![3; 500]);
    let times: Vec<_> = run(&mut net).into_iter().map(|(ns, peer, _)| (ns / MS, peer)).collect();
    assert_eq!(times, [(0, C), (500, B), (750, B)]);
}

#[test]
fn loss_duplicates_and_reordering_come_as_often_as_asked_for() {
    let with = |faults| {
        let mut net = network(Link::steady(NetProfile::Lan).with_faults(faults));
        send_numbers(&mut net, 250);
        numbers(&run(&mut net))
    };
    let lossy = with(LinkFaults { loss: 0.5, ..LinkFaults::default() });
    assert!((75..175).contains(&lossy.len()) && lossy.is_sorted());
    let doubled = with(LinkFaults { duplicate: 1.0, ..LinkFaults::default() });
    assert_eq!(doubled.len(), 500);
    let mixed = with(LinkFaults { reorder: 0.3, ..LinkFaults::default() });
    assert!(!mixed.is_sorted());
    let mut sorted = mixed;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..250).collect::<Vec<_>>(), "nothing is lost");
}

#[test]
fn a_block_works_one_way_and_a_partition_both_and_who_is_told_is_told_late() {
    let told = LinkFaults { told_after_ns: Some(MS), ..LinkFaults::default() };
    let mut net = network(Link::default().with_faults(told));
    net.block(A, B);
    net.send(0, A, B, vec![1]);
    net.send(0, B, A, vec![2]);
    let arrived = run(&mut net);
    assert_eq!(arrived.len(), 2);
    assert_eq!(arrived[0], (0, A, Arrival::Message { from: B, bytes: vec![2] }));
    assert_eq!(arrived[1], (MS, A, Arrival::Unreachable { peer: B }));
    net.heal();
    net.partition(&[A], &[B, C]);
    for (from, to) in [(A, B), (B, A), (C, A), (B, C)] {
        net.send(2 * MS, from, to, vec![3]);
    }
    assert_eq!(numbers(&run(&mut net)).len(), 1, "only B and C are on one side");
    net.heal();
    net.send(4 * MS, C, A, vec![4]);
    assert_eq!(numbers(&run(&mut net)), [4]);
}

#[test]
fn the_dead_get_nothing_and_their_successors_nothing_that_was_meant_for_them() {
    let mut net = network(Link::steady(NetProfile::Lan));
    net.send(0, A, B, vec![1]);
    net.kill(1, B);
    net.join(B).expect("the name is free");
    let unreachable = (A, Arrival::Unreachable { peer: B });
    let arrived: Vec<_> = run(&mut net).into_iter().map(|(_, peer, arrival)| (peer, arrival)).collect();
    assert!(!arrived.is_empty() && arrived.iter().all(|one| *one == unreachable), "{arrived:?}");
    // Without power nobody says that nobody is there.
    net.send(MS, A, B, vec![9]);
    assert_eq!(numbers(&run(&mut net)), [9]);
    net.power_off(MS, B);
    net.send(MS, A, B, vec![2]);
    assert_eq!(run(&mut net), []);
    assert!(!net.lives(B));
    net.join(B).expect("it was switched on");
    // A's connection belongs to B's former life: the first message on it is refused, and A is told.
    net.send(2 * MS, A, B, vec![3]);
    net.send(2 * MS, A, B, vec![4]);
    net.send(2 * MS, C, B, vec![5]);
    let arrived = run(&mut net);
    assert_eq!(numbers(&arrived), [4, 5]);
    assert_eq!(arrived.iter().filter(|(_, _, arrival)| *arrival == unreachable.1).count(), 1);
    // If B speaks first, the news comes before what it says.
    net.power_off(3 * MS, B);
    net.join(B).expect("it was switched on");
    net.send(4 * MS, B, A, vec![6]);
    let arrived: Vec<_> = run(&mut net).into_iter().map(|(_, peer, arrival)| (peer, arrival)).collect();
    assert_eq!(arrived, [unreachable, (A, Arrival::Message { from: B, bytes: vec![6] })]);
}

/// A busy network under all faults at once.
fn story(seed: Seed) -> (Vec<String>, u64, Vec<(u64, Peer, Arrival)>) {
    let faults = LinkFaults { loss: 0.1, duplicate: 0.1, reorder: 0.2, told_after_ns: Some(3 * MS) };
    let mut net = SimNet::new(seed);
    net.record_trace();
    net.set_links(Link { delay_ns: 1000, delay_max_ns: MS, ..Link::default() }.with_faults(faults));
    for peer in [A, B, C] {
        net.join(peer).expect("the name is free");
    }
    let mut all = Vec::new();
    for i in 0..500u64 {
        let now_ns = i * 20_000;
        let (from, to) = (Peer((i % 3) as u32), Peer((i / 3 % 3) as u32));
        net.send(now_ns, from, to, i.to_le_bytes().to_vec());
        match i {
            100 => net.block(A, B),
            150 => net.heal(),
            200 => net.kill(now_ns, C),
            250 => net.join(C).expect("it is dead"),
            300 => net.power_off(now_ns, A),
            350 => net.join(A).expect("it is off"),
            _ => {}
        }
        all.extend(net.deliver(now_ns).into_iter().map(|(peer, arrival)| (now_ns, peer, arrival)));
    }
    all.extend(run(&mut net));
    (net.trace().to_vec(), net.trace_hash(), all)
}

#[test]
fn one_seed_gives_one_trace_and_another_seed_another() {
    let (trace, hash, arrived) = story(Seed(1));
    assert!(trace.len() > 500 && arrived.len() > 100);
    assert_eq!((trace, hash, arrived), story(Seed(1)));
    assert_ne!(hash, story(Seed(2)).1);
}
