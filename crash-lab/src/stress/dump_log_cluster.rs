//! What a log cluster's folder holds: what the leaders of its partitions give to consumers, up to the high watermark.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use engine_env::{Backend, Durability, Net as _, OsHome, Peer, Wait};
use log_engine::{
    Broker, BrokerId, Fetches, LogClient, LogClientConfig, PartitionStats, SubscriptionError, TopicPartition,
};

use super::cluster::{Cluster, NODES, Place, check_whole};
use super::dump_line::{Dump, DumpLine};
use super::dump_log::{bad, line, told};
use super::write_log_cluster::layout;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// How long brokers may take to agree. Longer than a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The brokers don't agree.
#[derive(Debug, thiserror::Error)]
#[error(
    "after {} s not all brokers have what the leader of {partition} has: it ends at {end}, high watermark {high_watermark}, \
     {in_sync} of {NODES} in sync",
    PATIENCE.as_secs()
)]
struct NeverWhole {
    partition: TopicPartition,
    end: u64,
    high_watermark: u64,
    in_sync: usize,
}

/// Recovers the brokers' folders, lets followers catch up, and reads everything from the leaders.
pub(super) fn read(dir: &Path) -> Result<Dump, Source> {
    // Held while it is read, so that no writer starts meanwhile.
    let _whole = OsHome::open(dir, Backend::Auto)?;
    check_whole(dir)?;
    let cluster: Cluster<Broker<OsHome>> = Cluster::start(Place::new(dir, Durability::Synced))?;
    let mut lines = damage(&cluster);
    let partitions = when_whole(&cluster)?;
    let port = cluster.place().net.join(Peer(1000))?;
    let mut client = LogClient::new(port, layout(), LogClientConfig::default());
    for one in partitions.values() {
        client.subscribe(&one.partition, one.start);
        let of = told(&one.partition);
        lines.push(DumpLine::End { of, start: one.start.0, end: one.high_watermark.0 });
    }
    let mut left = partitions.clone();
    while !left.is_empty() {
        let (mut done, mut fetches) = (Vec::new(), Fetches::default());
        left.retain(|name, one| client.position(name).is_some_and(|position| position < one.high_watermark));
        if left.is_empty() {
            break;
        }
        client.poll(Wait::AtMost(PATIENCE), &mut done, &mut fetches);
        // What is damaged ends its subscription, told below.
        for (partition, record) in fetches.records().flatten() {
            lines.push(line(&told(partition), &record));
        }
        for ended in fetches.ended() {
            let SubscriptionError::Failed { partition, offset, why } = ended else {
                return Err(ended.to_string().into());
            };
            // Nothing says how far it goes: the rest of the partition is given up, visibly.
            let end = left.remove(partition).map_or(offset.0 + 1, |one| one.high_watermark.0);
            lines.push(bad(&told(partition), offset.0, end, why));
        }
    }
    drop(client);
    cluster.stop()?;
    lines.sort();
    lines.dedup_by(|a, b| a == b && matches!(a, DumpLine::Bad { .. }));
    Ok(Dump::new(lines))
}

/// Damage that recovery found: the leader's as the partition's, a follower's as its folder's.
fn damage(cluster: &Cluster<Broker<OsHome>>) -> Vec<DumpLine> {
    let layout = layout();
    let mut lines = Vec::new();
    cluster.for_each(|number, broker| {
        for report in &broker.recovered().partitions {
            let of = told(&report.partition);
            let leads = layout.leader(&report.partition) == Some(BrokerId(number));
            lines.extend(report.damage.iter().map(|d| {
                if leads {
                    bad(&of, d.offset.0, d.until.0, &d.to_string())
                } else {
                    let place = format!("node-{number}/{of}@{}..{}", d.offset.0, d.until.0);
                    DumpLine::bad(&place, &d.to_string())
                }
            }));
        }
    });
    lines
}

/// Each partition as its leader has it, once all brokers have the same.
fn when_whole(
    cluster: &Cluster<Broker<OsHome>>,
) -> Result<BTreeMap<TopicPartition, PartitionStats>, NeverWhole> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut led = BTreeMap::new();
        cluster.for_each(|number, broker| {
            let of_leader = |one: &PartitionStats| one.leader == BrokerId(number);
            let all = broker.stats().partitions.into_iter().filter(of_leader);
            led.extend(all.map(|one| (one.partition.clone(), one)));
        });
        let lags = |one: &&PartitionStats| one.isr.len() < usize::from(NODES) || one.high_watermark < one.end;
        let Some(late) = led.values().find(lags) else { return Ok(led) };
        if Instant::now() >= until {
            return Err(NeverWhole {
                partition: late.partition.clone(),
                end: late.end.0,
                high_watermark: late.high_watermark.0,
                in_sync: late.isr.len(),
            });
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}
