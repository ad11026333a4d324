//! [`Cluster`]: three nodes in one process, each with a folder, threads and a port of its own, one of which is killed and
//! returned again and again while others write. Never two are down at a time.
//!
//! A kill ends a node's threads where they stand: nothing is answered, flushed or closed, and what was on its way to it is
//! lost. The whole process may be killed on top of that.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use engine_env::rng::Rng;
use engine_env::{Backend, LocalNet, OsHome};
use rand::RngExt as _;

use super::write::{Run, WriteError};
use super::{Engine, run_number};

/// Nodes, and copies of everything.
pub(super) const NODES: u16 = 3;
/// Copies that a write must have to be acknowledged.
pub(super) const COPIES_MIN: u16 = 2;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A node that runs.
pub(super) trait Member: Sized + Send {
    const ENGINE: Engine;

    /// Starts node `number` on its folder, which an earlier one may have left in any state.
    fn start(place: &Place, number: u16) -> Result<Self, Source>;

    /// Ends it where it stands.
    fn kill(self);

    /// Ends it cleanly.
    fn stop(self) -> Result<(), Source>;
}

/// Where a cluster's nodes are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) net: LocalNet,
    pub(super) durability: engine_env::Durability,
}

impl Place {
    pub(super) fn new(dir: &Path, durability: engine_env::Durability) -> Self {
        Self { dir: dir.to_owned(), net: LocalNet::default(), durability }
    }

    /// The folder of a node.
    pub(super) fn home(&self, number: u16) -> Result<OsHome, Source> {
        Ok(OsHome::open(self.dir.join(format!("node-{number}")), Backend::Auto)?)
    }

    /// The folder of what a node keeps for others.
    pub(super) fn hints(&self, number: u16) -> Result<OsHome, Source> {
        Ok(OsHome::open(self.dir.join(format!("node-{number}-hints")), Backend::Auto)?)
    }
}

/// A node's folder is gone.
#[derive(Debug, thiserror::Error)]
#[error("{} is missing, but a writer has run here; bring the folder back, or start with an empty one", .0.display())]
struct NodeMissing(PathBuf);

/// Refuses a folder in which a writer ran and a node is missing: it would be taken for one that lost everything.
pub(super) fn check_whole(dir: &Path) -> Result<(), Source> {
    if !dir.join(run_number::FILE).exists() {
        return Ok(());
    }
    let missing = (0..NODES).map(|number| dir.join(format!("node-{number}"))).find(|node| !node.is_dir());
    missing.map_or(Ok(()), |node| Err(NodeMissing(node).into()))
}

/// The running nodes. Dropping them kills all.
pub(super) struct Cluster<M: Member> {
    place: Place,
    /// By number; none while it is away.
    members: Mutex<Vec<Option<M>>>,
}

impl<M: Member> Cluster<M> {
    /// Starts all nodes.
    pub(super) fn start(place: Place) -> Result<Self, WriteError> {
        check_whole(&place.dir).map_err(|source| refused::<M>(&place, source))?;
        let started = |number| M::start(&place, number).map(Some);
        let members: Result<_, _> = (0..NODES).map(started).collect();
        match members {
            Ok(members) => Ok(Self { place, members: Mutex::new(members) }),
            Err(source) => Err(refused::<M>(&place, source)),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Does `work`, while a node at random is killed and returned again and again.
    pub(super) fn while_nodes_die(
        &self,
        run: &Run<'_>,
        work: impl FnOnce() -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let rng = run.seed.derive("outages", run.run).rng();
        let (working, ended) = channel::<()>();
        std::thread::scope(|scope| {
            let killer = scope.spawn(move || {
                let killed = self.kill_and_return(run, rng, &ended);
                if killed.is_err() {
                    run.pace.fail();
                }
                killed
            });
            let worked = work();
            drop(working);
            let killed = killer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // A node that doesn't return explains what the writers complain of.
            killed.and(worked)
        })
    }

    fn kill_and_return(&self, run: &Run<'_>, mut rng: Rng, ended: &Receiver<()>) -> Result<(), WriteError> {
        let mut is_over = |milliseconds: std::ops::Range<u64>| {
            let time = Duration::from_millis(rng.random_range(milliseconds));
            (ended.recv_timeout(time) != Err(RecvTimeoutError::Timeout), rng.random_range(0..NODES))
        };
        loop {
            let (over, victim) = is_over(20..500);
            if over {
                return Ok(());
            }
            let member = self.lock()[usize::from(victim)].take().expect("only this thread kills");
            member.kill();
            let (over, _) = is_over(20..500);
            let member = M::start(&self.place, victim).map_err(|source| refused::<M>(&self.place, source))?;
            self.lock()[usize::from(victim)] = Some(member);
            run.count_outage();
            if over {
                return Ok(());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<M>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `look` with each node that runs, by number.
    pub(super) fn for_each(&self, mut look: impl FnMut(u16, &M)) {
        for (number, member) in (0..).zip(self.lock().iter()) {
            if let Some(member) = member {
                look(number, member);
            }
        }
    }

    /// Ends all cleanly.
    pub(super) fn stop(self) -> Result<(), WriteError> {
        let Self { place, members } = self;
        let members = members.into_inner().unwrap_or_else(PoisonError::into_inner);
        // All of them, whatever one says.
        let stopped: Vec<_> = members.into_iter().flatten().map(M::stop).collect();
        stopped
            .into_iter()
            .collect::<Result<(), _>>()
            .map_err(|source| WriteError::Close { dir: place.dir, source })
    }
}

fn refused<M: Member>(place: &Place, source: Source) -> WriteError {
    WriteError::Open { dir: place.dir.clone(), engine: M::ENGINE, source }
}
