//! The prune job: deletes what is obsolete once entries of nodes that don't hold a key don't count. After partitions have
//! moved, such an entry keeps an old version beside later blind writes for good.
//!
//! Only versions go, each by its own clock: what is written meanwhile stays, and a crash leaves some of them for the next
//! time. Clocks that stay keep their entries: a version with a lower clock than a stored one can't be put.

use engine_env::Home;

use super::KvStore;
use crate::ring::{NodeId, Routing};
use crate::storage::PutError;
use crate::storage::bitcask::BatchWrite;
use crate::version::{VectorClock, obsolete_when_pruned};

/// Into how many parts the keys are divided, to be pruned one after the other.
const PARTS: usize = 64;
/// Deletes in one commit.
const BATCH: usize = 256;

/// Whether a prune deletes, or only counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneHow {
    /// Delete.
    Delete,
    /// Count what would be deleted.
    Count,
}

/// What a prune found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Keys that were looked at.
    pub keys: u64,
    /// Keys with a version that a node has written that doesn't hold them.
    pub foreign: u64,
    /// Versions that were deleted, or would be.
    pub obsolete: u64,
}

impl<H: Home> KvStore<H> {
    /// Deletes versions that are obsolete once entries of nodes that don't hold the key by `routing` don't count. To be run
    /// on all replicas, for one that wasn't pruned gives the others back what they have deleted. `progress` is told how
    /// many parts of how many are done.
    ///
    /// # Errors
    /// The store takes no writes, or one failed.
    pub fn prune(
        &self,
        routing: &Routing,
        how: PruneHow,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Pruned, PutError> {
        let mut pruned = Pruned::default();
        for part in 0..PARTS {
            let mut obsolete: Vec<(Vec<u8>, VectorClock)> = Vec::new();
            self.clocks_of_slice((part, PARTS), |key, clocks| {
                let replicas = routing.replicas(key);
                let holds = |node: u16| replicas.contains(&NodeId(node));
                let is_foreign = |clock: &VectorClock| clock.entries().iter().any(|entry| !holds(entry.node));
                pruned.keys += 1;
                if clocks.iter().any(is_foreign) {
                    pruned.foreign += 1;
                    let clocks = obsolete_when_pruned(clocks, holds);
                    obsolete.extend(clocks.into_iter().map(|clock| (key.to_vec(), clock)));
                }
            });
            pruned.obsolete += obsolete.len() as u64;
            if how == PruneHow::Delete {
                for some in obsolete.chunks(BATCH) {
                    let deletes = some.iter().map(|(key, version)| BatchWrite::Delete { key, version });
                    let answers = self.write_batch(&deletes.collect::<Vec<_>>())?;
                    answers.into_iter().try_for_each(|answer| answer.map(drop))?;
                }
            }
            progress(part + 1, PARTS);
        }
        Ok(pruned)
    }
}
