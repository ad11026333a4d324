//! What commits and upkeep have done: how far a log is held, that there is room again, that it was cut back.

use engine_env::File;

use super::Machine;
use super::hosted::Role;
use crate::replication::follower::Busy;

impl<F: File> Machine<F> {
    /// Looks at what commits and upkeep have done since the last call.
    pub(crate) fn handle_storage(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        let mut moved = std::mem::take(&mut self.moved);
        self.core.take_moved(&mut moved);
        for number in moved.drain(..) {
            let Some(&index) = self.indexes.get(number as usize) else { continue };
            if self.hosted.contains_key(&index) {
                self.moved_in_storage(index);
            }
        }
        self.moved = moved;
    }

    fn moved_in_storage(&mut self, index: u32) {
        self.mark_dirty(index);
        let hosted = self.hosted.get_mut(&index).expect("it was looked up before");
        let log = hosted.partition.lock();
        let (held, failed) = (log.readable_end(), log.failed.is_some());
        let is_truncated = log.truncate_to.is_none() && log.restart_at.is_none();
        drop(log);
        match &mut hosted.role {
            Role::Leader(leading) => {
                leading.leader.hold(held);
                let mut answers = Vec::new();
                if failed {
                    leading.leader.fail(|client, produced| answers.push((client, produced)));
                }
                for (client, produced) in answers {
                    self.answers.entry(client).or_default().push(produced);
                }
                self.empty_waiting_room(index);
            }
            Role::Follower(follower) => match &mut follower.busy {
                Busy::Waits(bytes) => {
                    let bytes = std::mem::take(bytes);
                    follower.busy = Busy::No;
                    self.append_followed(index, bytes);
                }
                Busy::Truncates if failed => follower.busy = Busy::Failed,
                Busy::Truncates if is_truncated => follower.busy = Busy::No,
                Busy::Truncates | Busy::No | Busy::Failed => {}
            },
        }
    }
}
