//! This broker as a follower: it asks the leaders for what comes next, cuts its log back where it differs from theirs,
//! and appends what they send.

use engine_env::{File, Peer};

use super::Machine;
use super::hosted::{Role, save_high_watermark};
use crate::broker::link::Stand;
use crate::config::planted;
use crate::log::append::{AppendError, ReplicateError};
use crate::log::partition_log::Effects;
use crate::message::{FollowAnswer, FollowPlace, Followed};
use crate::replication::follower::{Busy, Step};

impl<F: File> Machine<F> {
    pub(super) fn followed(&mut self, from: Peer, followed: &Followed<'_>) {
        let retry_at = self.now_ms + self.config.retry_ms;
        let Some(link) = self.link_of(from) else { return };
        let is_awaited = link.answered(followed.correlation);
        let (mut ask_later, partitions) = (false, link.partitions.clone());
        for one in &followed.partitions {
            if !partitions.contains(&one.partition) {
                continue;
            }
            let hosted = self.hosted.get_mut(&one.partition).expect("a link's partitions are hosted");
            let Role::Follower(follower) = &mut hosted.role else { continue };
            let mut log = hosted.partition.lock();
            let end = log.end;
            let step = follower.answered(one.epoch, &one.answer, is_awaited, &log.epochs, end);
            match step {
                Step::Nothing => {}
                Step::AskLater => ask_later = true,
                Step::Truncate(_) if planted!(self.config.log, TruncationSkipped) => {
                    // As if the logs agreed.
                    follower.epoch = Some(one.epoch);
                }
                Step::Truncate(to) if self.config.log.synced() && to < hosted.high_watermark.value() => {
                    // What is below the mark was synced by the leader: a leader without it has lost its log.
                    self.counters.truncations_refused += 1;
                    ask_later = true;
                }
                Step::Truncate(to) => {
                    let mark = hosted.high_watermark.value();
                    self.counters.truncations += 1;
                    self.counters.truncated_below_high_watermark += mark.0.saturating_sub(to.0);
                    hosted.high_watermark.truncate(to);
                    follower.busy = Busy::Truncates;
                    log.truncate_to = Some(to);
                    drop(log);
                    self.core.want_upkeep(&hosted.partition);
                    continue;
                }
                Step::Restart(start) => {
                    self.counters.restarts += 1;
                    follower.busy = Busy::Truncates;
                    log.restart_at = Some(start);
                    drop(log);
                    self.core.want_upkeep(&hosted.partition);
                    continue;
                }
                Step::Append(bytes) => {
                    drop(log);
                    ask_later |= !self.append_followed(one.partition, bytes.to_vec());
                    log = self.hosted[&one.partition].partition.lock();
                }
            }
            let end = log.end;
            drop(log);
            let hosted = self.hosted.get_mut(&one.partition).expect("a link's partitions are hosted");
            if matches!(one.answer, FollowAnswer::Batches(_))
                && hosted.high_watermark.advance(one.high_watermark.min(end))
            {
                save_high_watermark(&mut hosted.high_watermark, &hosted.partition);
            }
            self.mark_dirty(one.partition);
        }
        if ask_later && let Some(link) = self.link_of(from) {
            link.lost(retry_at);
            self.remind(retry_at);
        }
    }

    /// Appends batches of the leader, and keeps what there is no room for. `false`: they aren't what comes next.
    pub(super) fn append_followed(&mut self, index: u32, bytes: Vec<u8>) -> bool {
        let hosted = self.hosted.get_mut(&index).expect("a link's partitions are hosted");
        let Role::Follower(follower) = &mut hosted.role else { return true };
        let mut effects = Effects::default();
        let mut log = hosted.partition.lock();
        // What the log has already is left out: an answer may come after a later one said the same.
        let mut from = 0;
        while let Ok(batch) = crate::Batch::parse(&bytes[from..])
            && batch.next_offset() <= log.end
        {
            from += batch.len();
        }
        let before = log.end;
        let result = log.append_replicated(&bytes[from..], &mut effects);
        self.counters.batches_followed += u64::from(log.end > before);
        let (commit, upkeep) = (log.queue.can_begin(), log.next_task().is_some());
        drop(log);
        let (busy, fits) = match result {
            Ok(taken) if from + taken < bytes.len() => (Busy::Waits(bytes[from + taken..].to_vec()), true),
            Ok(_) => (Busy::No, true),
            // Asked for again later, when there may be space.
            Err(ReplicateError::Append(AppendError::DiskFull { .. })) => (Busy::No, false),
            Err(ReplicateError::Append(_)) => (Busy::Failed, true),
            Err(ReplicateError::Batch { .. } | ReplicateError::Epoch { .. }) => (Busy::No, false),
        };
        follower.busy = busy;
        if commit {
            self.core.want_commit(&hosted.partition);
        }
        if upkeep {
            self.core.want_upkeep(&hosted.partition);
        }
        fits
    }

    /// Asks leaders for more, or tells them what is held by now.
    pub(super) fn ask_leaders(&mut self) {
        let mut links = std::mem::take(&mut self.links);
        for link in &mut links {
            let message = link.next_message(self.now_ms, &self.config, |index| self.stand(index));
            if let Some(at) = link.next_look(&self.config) {
                self.remind(at.max(self.now_ms + 1));
            }
            if let Some(message) = message {
                self.send(link.leader.peer(), &message);
            }
        }
        self.links = links;
    }

    /// Where a followed partition stands.
    fn stand(&self, index: u32) -> Stand {
        let hosted = &self.hosted[&index];
        let log = hosted.partition.lock();
        let held = if planted!(self.config.log, ReportUnsynced) { log.end } else { log.readable_end() };
        let (end, last_epoch) = (log.end, log.epochs.before(log.end));
        drop(log);
        let Role::Follower(follower) = &hosted.role else {
            unreachable!("a link's partitions are followed here")
        };
        let place = FollowPlace { partition: index, end, last_epoch, held };
        Stand { place, is_busy: follower.busy != Busy::No, epoch: follower.epoch }
    }
}
