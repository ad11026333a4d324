//! What a key-value cluster's folder holds: what a read of two replicas returns, for every key that any node has.

use std::collections::BTreeSet;
use std::path::Path;

use engine_env::{Backend, Durability, Home as _, Net as _, OsHome, Peer, Wait};
use kv_engine::{Bitcask, GetError, KvAnswer, KvClient, KvNode, KvOutcome, NodeConfig, NodeId};

use super::cluster::{COPIES_MIN, NODES, Place, check_whole};
use super::dump_line::{Dump, DumpLine};
use super::token::{Key, ValueCrc};
use super::write_kv::{self, clock_of};
use super::write_kv_cluster::{client_config, ring};

const IN_FLIGHT: usize = 64;
/// Longer than a busy machine needs: two dumps in a row must ask the same replicas.
const PATIENCE_MS: u64 = 60_000;

/// Recovers the nodes' folders and reads everything through a quorum. Hints stay where they are.
pub(super) fn read(dir: &Path) -> Result<Dump, Box<dyn std::error::Error + Send + Sync>> {
    // Held while it is read, so that no writer starts meanwhile.
    let _whole = OsHome::open(dir, Backend::Auto)?;
    check_whole(dir)?;
    let place = Place::new(dir, Durability::Synced);
    let mut lines = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for number in 0..NODES {
        let mut disk = place.home(number)?.disk()?;
        let (store, report) = Bitcask::open(&mut disk, write_kv::config(place.durability))?;
        let mut bad = |file: &str, position: u64, why: &str| {
            lines.insert(DumpLine::bad(&format!("node-{number}/{file}@{position}"), why));
        };
        for damage in &report.damage {
            bad(&damage.file, damage.position, &format!("{} bytes: {}", damage.bytes, damage.why));
        }
        store.for_each(|key, versions| {
            keys.insert(key.to_vec());
            if let Err(GetError::Corrupt { file, position, why }) = versions {
                bad(&file, position, &why.to_string());
            }
        });
    }
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let config = NodeConfig::new(write_kv::config(place.durability), NODES);
        nodes.push(KvNode::start(place.home(number)?, &place.net, NodeId(number), ring(), config)?);
    }
    let mut config = client_config(COPIES_MIN);
    (config.timeout_ms, config.node_timeout_ms) = (PATIENCE_MS, PATIENCE_MS);
    config.read_repair = false;
    let mut client = KvClient::new(place.net.join(Peer(1000))?, ring(), config);
    let keys: Vec<Vec<u8>> = keys.into_iter().collect();
    let mut outcomes = Vec::new();
    for (key, token) in keys.iter().zip(0..) {
        client.get(token, key);
        while client.in_flight() >= IN_FLIGHT {
            client.poll(Wait::Forever, &mut outcomes);
        }
    }
    while client.in_flight() > 0 {
        client.poll(Wait::Forever, &mut outcomes);
    }
    for KvOutcome { token, result, .. } in outcomes {
        let key = Key(keys[usize::try_from(token).expect("a number of a key")].clone());
        match result {
            Ok(KvAnswer::Values(versions)) => lines.extend(versions.iter().map(|version| DumpLine::Val {
                key: key.clone(),
                clock: clock_of(&version.clock),
                value: ValueCrc::of(&version.value),
            })),
            Ok(other) => panic!("a get was answered with {other:?}"),
            Err(error) => {
                lines.insert(DumpLine::bad(&format!("key:{key}"), &error.to_string()));
            }
        }
    }
    drop(client);
    for node in nodes {
        node.stop()?;
    }
    Ok(Dump::new(lines.into_iter().collect()))
}
