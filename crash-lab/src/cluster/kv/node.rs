//! [`KvProcess`]: a node of the store, its disks included.

use std::sync::Arc;

use engine_env::sim::{SimDisk, SimFile, SimHome};
use engine_env::{Arrival, Disk as _, DiskError, Home as _, Machine as _, Peer, Wait};
use kv_engine::{Bitcask, MaintenanceStep, NodeConfig, NodeHomes, NodeId, Ring, SteppedNode};

use crate::cluster::process::Process;
use crate::simulated::subject::told;

/// Pieces of upkeep at a time.
const UPKEEP_STEPS: usize = 4;

/// What every node is started with.
#[derive(Debug)]
pub(super) struct KvCluster {
    pub(super) ring: Arc<Ring>,
    pub(super) node: NodeConfig,
    /// Whether nodes keep hints, in a folder of their own.
    pub(super) keeps_hints: bool,
    /// Whether partitions may move: nodes keep which ring is in force, in a folder of their own.
    pub(super) moves: bool,
    /// Whose disk rots: it reports damage, and serves the rest.
    pub(super) rotten: Option<u16>,
}

pub(super) struct KvProcess {
    node: SteppedNode<SimHome>,
    /// One for each folder.
    disks: Vec<FolderDisks>,
}

struct FolderDisks {
    commits: SimDisk,
    in_flight: usize,
    upkeep: SimDisk,
}

impl FolderDisks {
    fn of(folder: &SimHome) -> Result<Self, DiskError> {
        Ok(Self { commits: folder.disk()?, in_flight: 0, upkeep: folder.disk()? })
    }
}

impl KvProcess {
    /// What it holds as a replica.
    pub(super) fn store(&self) -> &Bitcask<SimFile> {
        self.node.store()
    }

    /// The ring that it goes by.
    pub(super) fn ring(&self) -> &Arc<Ring> {
        self.node.ring()
    }

    /// How many hints it keeps.
    pub(super) fn hints(&self) -> u64 {
        self.node.hints().map_or(0, |hints| hints.stats().keys)
    }

    /// Keys that it has taken over, and versions that it got or gave where replicas were compared, in this life.
    pub(super) fn moved_and_compared(&self) -> (u64, u64) {
        let stats = self.node.stats();
        (stats.rebalancer.keys_moved, stats.anti_entropy.fetched + stats.anti_entropy.sent)
    }

    /// How many hints it has delivered.
    pub(super) fn hints_delivered(&self) -> u64 {
        self.node.stats().hints_delivered
    }
}

impl Process for KvProcess {
    type Config = KvCluster;

    fn folders(config: &KvCluster) -> usize {
        1 + usize::from(config.keeps_hints) + usize::from(config.moves)
    }

    fn start(config: &KvCluster, me: u16, folders: &[SimHome], now_ns: u64) -> Result<Self, String> {
        let ring = Arc::clone(&config.ring);
        let mut others = folders[1..].iter().cloned();
        let homes = NodeHomes {
            store: folders[0].clone(),
            hints: config.keeps_hints.then(|| others.next()).flatten(),
            metadata: others.next(),
        };
        let opened = SteppedNode::open(&homes, NodeId(me), ring, config.node.clone(), now_ns);
        let (node, reports) = opened.map_err(|e| told(&e))?;
        let mut damage = reports.iter().flat_map(|report| &report.damage);
        if config.rotten != Some(me)
            && let Some(damage) = damage.next()
        {
            return Err(format!("it takes a crash for damage: {damage:?}"));
        }
        let disks = folders.iter().map(FolderDisks::of).collect::<Result<_, _>>().map_err(|e| told(&e))?;
        Ok(Self { node, disks })
    }

    fn handle(&mut self, now_ns: u64, arrival: Arrival) {
        self.node.handle(now_ns, &arrival);
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.node.poll_timeout()
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        self.node.handle_timeout(now_ns);
    }

    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.node.poll_output()
    }

    fn commit(&mut self) -> bool {
        for (store, disk) in self.node.stores().zip(&mut self.disks) {
            store.start(&mut |id, op| {
                disk.in_flight += 1;
                disk.commits.submit(id, op);
            });
        }
        self.disks.iter().any(|disk| disk.in_flight > 0)
    }

    fn complete(&mut self, folders: &[SimHome], now_ns: u64) {
        for (store, disk) in self.node.stores().zip(&mut self.disks) {
            if disk.in_flight == 0 {
                continue;
            }
            let mut done = Vec::new();
            disk.commits.reap(Wait::Forever, &mut done);
            if !folders.iter().all(SimHome::is_powered) {
                return;
            }
            disk.in_flight -= done.len();
            done.into_iter().for_each(|one| store.on_done(one));
        }
        self.node.handle_storage(now_ns);
    }

    fn complete_oldest(&mut self, folder: usize, now_ns: u64) {
        let disk = &mut self.disks[folder];
        let mut done = Vec::new();
        disk.commits.reap(Wait::Forever, &mut done);
        disk.in_flight -= done.len();
        let store = self.node.stores().nth(folder).expect("a store for each folder");
        done.into_iter().for_each(|one| store.on_done(one));
        self.node.handle_storage(now_ns);
    }

    fn upkeep(&mut self, _now_ns: u64) {
        for (store, disk) in self.node.stores().zip(&mut self.disks) {
            for _ in 0..UPKEEP_STEPS {
                // Without power it fails, and whoever drives this sees that.
                if !matches!(store.maintain(&mut disk.upkeep), Ok(MaintenanceStep::Worked { .. })) {
                    break;
                }
            }
        }
    }

    fn has_stopped(&self) -> bool {
        self.node.stores().any(|store| store.stopped().is_some())
    }
}
