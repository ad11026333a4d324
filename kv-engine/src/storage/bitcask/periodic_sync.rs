//! `interval`: what a periodic sync makes durable.

use engine_env::{DiskError, File};

use super::Bitcask;
use super::mark::DurableEnd;
use super::stats::count;

/// A file to sync, and what is durable afterwards.
#[derive(Debug, Clone)]
pub struct SyncTarget<F> {
    /// The file.
    pub file: F,
    /// With it, everything that was written when it was asked for is durable; else there is more to sync.
    pub is_last: bool,
    end: DurableEnd,
}

impl<F: File> Bitcask<F> {
    /// What a periodic sync should sync next (`interval` durability); none if everything is.
    #[must_use]
    pub fn sync_target(&self) -> Option<SyncTarget<F>> {
        // In `synced` commits see to it, and what isn't durable yet is only staged: no sync would make it so.
        let writer = self.writer();
        if self.config.zero_fills() || writer.stopped.is_some() {
            return None;
        }
        writer.sealed.iter().chain(std::iter::once(&writer.active)).find_map(|segment| {
            let end = DurableEnd { segment: segment.id, position: segment.end() };
            let is_last = segment.id == writer.active.id;
            (end > writer.durable).then(|| SyncTarget { file: segment.file.clone(), end, is_last })
        })
    }

    /// Takes the result of syncing what [`Bitcask::sync_target`] gave. A failure ends all writing.
    pub fn sync_done(&self, target: &SyncTarget<F>, result: Result<(), DiskError>) {
        let mut writer = self.writer();
        if let Err(cause) = result {
            writer.stop(cause);
            return;
        }
        // The kernel tells of a lost page once: another sync of the file may have been told, and this one wasn't.
        if writer.stopped.is_some() {
            return;
        }
        count(&self.counters.syncs, 1);
        writer.durable = writer.durable.max(target.end);
        let end = writer.end_to_note();
        drop(writer);
        self.mark().note(end);
    }
}
