//! The scenarios of the log's clusters: producers with `acks=all`, two brokers in sync at least, everything `synced`.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_env::Durability;
use engine_env::rng::{Rng, Seed};
use log_engine::{
    Acks, BrokerConfig, BrokerId, BrokerStats, ClusterLayout, Fetching, LogClientConfig, LogConfig, Offset,
    ProducerIdentity, Session,
};
use rand::RngExt as _;

use super::broker::{BrokerProcess, LogCluster};
use super::client::LogPeer;
use super::offsets::Offsets;
use crate::cluster::trouble::{Disorder, Trouble, Troubles, Weather, draw};
use crate::cluster::world::World;
use crate::simulated::life::Lived;
use crate::simulated::plan::{Plan, StepId};
use crate::simulated::subject::told;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const STEPS: u64 = 240;
const TROUBLE_ONE_IN: u32 = 20;
const SETTLE_NS: u64 = 60 * S;
const MIN_ISR: u16 = 2;
const REPLICAS: u16 = 3;
const PRODUCERS: usize = 2;
const LAG_MS: u64 = 100;

type LogWorld<'a> = World<'a, BrokerProcess, LogPeer>;

const NETWORK: Troubles = &[
    (Trouble::Split, 4),
    (Trouble::OneWay, 3),
    (Trouble::Slow, 2),
    (Trouble::Pause, 3),
    (Trouble::Kill, 1),
    (Trouble::ClockJump, 1),
];
const POWER: Troubles = &[
    (Trouble::PowerCut, 5),
    (Trouble::PowerCutOfAll, 1),
    (Trouble::Kill, 2),
    (Trouble::FailingDisk, 2),
    (Trouble::Split, 1),
    (Trouble::Pause, 1),
];
const ALL: Troubles = &[
    (Trouble::Split, 2),
    (Trouble::OneWay, 2),
    (Trouble::Pause, 2),
    (Trouble::Kill, 2),
    (Trouble::PowerCut, 3),
];

/// What a cluster is like.
#[derive(Debug, Clone, Copy)]
struct Spec {
    name: &'static str,
    brokers: u16,
    partitions: u32,
    troubles: Troubles,
    /// Whether brokers lose disks: then one may count as in sync that has nothing, until it is asked.
    forgets: bool,
}

/// The network breaks in every way there is, and brokers die.
pub(crate) fn partitions(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("log cluster partitions", 0).rng();
    let brokers = brokers(&mut rng);
    let partitions = partitions_of(brokers) + rng.random_range(0..3);
    let spec =
        Spec { name: "log cluster partitions", brokers, partitions, troubles: NETWORK, forgets: false };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        live(world, seed, plan, spec, 0..STEPS, rng)?;
        ends(world, spec)
    })
}

/// Leaders and followers lose power, one, several or all at once, at any step, in recovery too.
pub(crate) fn power_cut(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("log cluster power cut", 0).rng();
    let brokers = brokers(&mut rng);
    let partitions = partitions_of(brokers) + rng.random_range(0..3);
    let spec = Spec { name: "log cluster power cut", brokers, partitions, troubles: POWER, forgets: false };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        world.cut_recoveries();
        live(world, seed, plan, spec, 0..STEPS, rng)?;
        ends(world, spec)
    })
}

/// A follower loses its disk with everything on it, again and again, one at a time; before the next one all are in sync. A
/// leader that lost its disk is another matter: its followers refuse it, and nothing is written until its folder is back.
pub(crate) fn disk_lost(seed: u64, plan: &Plan<'_>) -> Lived {
    let mut rng = Seed(seed).derive("log cluster disk lost", 0).rng();
    let brokers = brokers(&mut rng);
    let partitions = partitions_of(brokers);
    let spec = Spec { name: "log cluster disk lost", brokers, partitions, troubles: ALL, forgets: true };
    lives(seed, plan, &mut rng, spec, |world, rng| {
        let rounds = rng.random_range(2..4);
        let steps = STEPS / rounds;
        for round in 0..rounds {
            let (from, lost_at) = (round * steps, round * steps + rng.random_range(0..steps));
            live(world, seed, plan, spec, from..lost_at, rng)?;
            world.loses_disk(rng.random_range(partitions as usize..usize::from(brokers)));
            live(world, seed, plan, spec, lost_at..from + steps, rng)?;
            ends(world, spec)?;
            world.turns(Weather::bad(rng, Disorder::None));
        }
        Ok(())
    })
}

/// So many brokers that each holds something; partition 0 is led by broker 0, and so on.
fn brokers(rng: &mut Rng) -> u16 {
    match rng.random_range(0..24) {
        0 => rng.random_range(6..=16),
        _ => rng.random_range(REPLICAS..=5),
    }
}

/// Fewer partitions would leave a broker without one, and more leave none that doesn't lead.
fn partitions_of(brokers: u16) -> u32 {
    u32::from(brokers - REPLICAS + 1)
}

fn lives(
    seed: u64,
    plan: &Plan<'_>,
    rng: &mut Rng,
    spec: Spec,
    act: impl FnOnce(&mut LogWorld<'_>, &mut Rng) -> Result<(), String>,
) -> Lived {
    let layout =
        ClusterLayout::even(spec.brokers, &[("t", spec.partitions)], REPLICAS).map_err(|e| told(&e))?;
    // Idempotent producers bear messages that come twice; others take a connection's word for it that none does.
    let is_idempotent = rng.random_bool(0.5);
    let config = LogClientConfig {
        acks: Acks::All,
        timeout_ms: 300,
        fetching: Fetching::LongPoll { wait_ms: 20 },
        fetch_bytes: 3000,
        retry_ms: 5,
        ..LogClientConfig::default()
    };
    let mut clients = Vec::new();
    for number in 0..PRODUCERS {
        let identity = is_idempotent.then_some(ProducerIdentity { id: 7 + number as i64, epoch: 0 });
        let config = LogClientConfig { identity, ..config.clone() };
        clients.push(LogPeer::producer(Session::new(layout.clone(), config)));
    }
    let mut consumer = Session::new(layout.clone(), config);
    (0..spec.partitions as usize)
        .for_each(|partition| consumer.subscribe(&LogPeer::partition(partition), Offset(0)));
    clients.push(LogPeer::consumer(consumer));
    let log = LogConfig { durability: Durability::Synced, ..plan.setup.log.clone() };
    let broker = BrokerConfig {
        log,
        min_isr: MIN_ISR,
        replica_lag_ms: LAG_MS,
        follow_wait_ms: 20,
        retry_ms: 5,
        follow_bytes: 2000,
    };
    let cluster = LogCluster { layout: Arc::new(layout), broker };
    let ledger = Offsets::new(spec.partitions as usize, MIN_ISR);
    let seed = Seed(seed).derive(spec.name, 1);
    let mut world = World::new(plan, seed, spec.brokers, cluster, clients, ledger)?;
    world.note(format_args!("{} brokers, {} partitions", spec.brokers, spec.partitions));
    world.turns(Weather::bad(rng, if is_idempotent { Disorder::Any } else { Disorder::None }));
    act(&mut world, rng)?;
    let truncations: u64 = stats(&world).map(|(_, stats)| stats.truncations).sum();
    let (attempted, acknowledged) = (world.ledger.attempted(), world.ledger.acknowledged());
    let failures = world.ledger.failed;
    let mut summary = world.finish();
    (summary.attempted, summary.acknowledged, summary.failures) = (attempted, acknowledged, failures);
    summary.observe([("logs truncated", truncations)]);
    Ok(summary)
}

/// Steps of the schedule: clients produce, and troubles come.
fn live(
    world: &mut LogWorld<'_>,
    seed: u64,
    plan: &Plan<'_>,
    spec: Spec,
    steps: std::ops::Range<u64>,
    rng: &mut Rng,
) -> Result<(), String> {
    let pace_ns = rng.random_range(MS..8 * MS);
    for number in steps {
        let mut rng = Seed(seed).derive(spec.name, 2 + number).rng();
        world.pass(rng.random_range(0..pace_ns))?;
        if !spec.forgets {
            judge_marks(world)?;
        }
        if !plan.takes(StepId { life: 1, number }) {
            continue;
        }
        match rng.random_range(0..TROUBLE_ONE_IN) {
            0 => world.strikes(draw(spec.troubles, &mut rng), &mut rng),
            _ => world.begins(rng.random_range(0..PRODUCERS), &mut rng)?,
        }
    }
    Ok(())
}

fn stats(world: &LogWorld<'_>) -> impl Iterator<Item = (BrokerId, BrokerStats)> {
    let running = (0..).zip(&world.machines).filter_map(|(id, machine)| Some((id, machine.running()?)));
    running.map(|(id, process)| (BrokerId(id), process.broker.stats()))
}

/// Whoever runs and is in sync holds everything below the high watermark, durably.
fn judge_marks(world: &LogWorld<'_>) -> Result<(), String> {
    let all: BTreeMap<_, _> = stats(world).collect();
    for (leader, stats) in &all {
        for led in stats.partitions.iter().filter(|partition| partition.leader == *leader) {
            for member in &led.isr {
                let held = all
                    .get(member)
                    .and_then(|stats| stats.partitions.iter().find(|other| other.partition == led.partition));
                if let Some(held) = held
                    && held.held < led.high_watermark
                {
                    return Err(format!(
                        "{member} is in sync and holds {} of {}, and the high watermark is {}",
                        held.held, led.partition, led.high_watermark
                    ));
                }
            }
        }
    }
    Ok(())
}

/// All is well: every record comes to its end, all brokers are in sync and have the same log, nothing is lost, and the
/// consumer has read everything.
fn ends(world: &mut LogWorld<'_>, spec: Spec) -> Result<(), String> {
    world.calms()?;
    world.settles(SETTLE_NS)?;
    world.pass(20 * LAG_MS * MS)?;
    judge_marks(world)?;
    if world.ledger.under_way() > 0 {
        return Err(format!("{} records never came to an end", world.ledger.under_way()));
    }
    for partition in 0..spec.partitions as usize {
        let name = LogPeer::partition(partition);
        let mut logs = Vec::new();
        for (id, stats) in stats(world) {
            let Some(held) = stats.partitions.iter().find(|held| held.partition == name) else { continue };
            if held.leader == id && held.isr.len() != usize::from(REPLICAS) {
                return Err(format!("{name} has only {:?} in sync, and all is well", held.isr));
            }
            let (bytes, values) = contents(world, id, partition)?;
            logs.push((held.leader == id, id, bytes, values));
        }
        let (_, leader, bytes, values) =
            logs.iter().find(|(leads, ..)| *leads).ok_or_else(|| format!("{name} has no leader"))?;
        if let Some((_, other, ..)) = logs.iter().find(|(_, _, others, _)| others != bytes) {
            return Err(format!("{other} has another log of {name} than {leader}"));
        }
        world.ledger.judge_end(partition, values)?;
    }
    Ok(())
}

/// A partition's batches on a broker, byte for byte, and its values by offset.
fn contents(
    world: &LogWorld<'_>,
    broker: BrokerId,
    partition: usize,
) -> Result<(Vec<u8>, Vec<Vec<u8>>), String> {
    let name = LogPeer::partition(partition);
    let process = world.machines[usize::from(broker.0)].running().ok_or("a broker isn't there")?;
    let log = process.broker.log();
    let ends = log.ends(&name).ok_or("a partition isn't there")?;
    let (mut bytes, mut values, mut at) = (Vec::new(), Vec::new(), ends.start);
    while at < ends.end {
        let fetched = log.fetch(&name, at, 3000).map_err(|e| format!("{broker}: {}", told(&e)))?;
        if fetched.is_empty() {
            return Err(format!("{broker}: {ends:?}, and nothing at {at}"));
        }
        fetched.slices().for_each(|slice| bytes.extend_from_slice(slice));
        for record in fetched.records() {
            let record = record.map_err(|e| told(&e))?;
            if record.offset.0 != ends.start.0 + values.len() as u64 {
                return Err(format!("{broker}: offset {} of {name} after {}", record.offset, values.len()));
            }
            values.push(record.value.unwrap_or_default().to_vec());
        }
        at = fetched.next_offset();
    }
    Ok((bytes, values))
}
