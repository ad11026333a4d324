//! Followers of this broker: what they say they hold, and the answers to their questions, kept until a partition's log has
//! more for them.

use std::sync::Arc;

use engine_env::{File, Peer};

use super::Machine;
use super::hosted::{Hosted, Role};
use super::read::{Found, PARTITIONS_MAX};
use crate::Offset;
use crate::core::Partition;
use crate::log::fetch::Reader;
use crate::log::leader_epochs::{Epoch, NO_EPOCH};
use crate::message::{Follow, FollowAnswer, FollowPlace, FollowedWriter, Progress};
use crate::replication::follower::agrees;
use crate::replication::leader::Leader;

/// A follower's question, and what has to be said at once about some of its places.
#[derive(Debug)]
pub(super) struct KeptFollow {
    pub(super) question: Follow,
    pub(super) deadline_ms: u64,
    pub(super) at_once: Vec<(u32, Epoch, Offset, FollowAnswer<'static>)>,
}

impl<F: File> Machine<F> {
    pub(super) fn followed_by(&mut self, from: Peer, mut follow: Follow) {
        let Some(id) = self.layout.brokers().find(|b| b.peer() == from) else {
            self.counters.messages_refused += 1;
            return;
        };
        let mut at_once = Vec::new();
        let (now_ms, layout) = (self.now_ms, Arc::clone(&self.layout));
        follow.places.retain(|place| {
            let Some(Hosted { partition, role: Role::Leader(leading), high_watermark, .. }) =
                self.hosted.get_mut(&place.partition)
            else {
                if layout.get(place.partition).is_some() {
                    let leader = layout.leader_of(place.partition);
                    let answer = FollowAnswer::NotLeader { leader };
                    at_once.push((place.partition, NO_EPOCH, Offset(0), answer));
                }
                return false;
            };
            let (leader, mark) = (&mut leading.leader, high_watermark.value());
            match Self::look_at(leader, partition, place) {
                Some(answer) => {
                    at_once.push((place.partition, leader.epoch, mark, answer));
                    return false;
                }
                None => {
                    leader.report(id, now_ms, place.held, mark);
                    if !hosted_is_dirty(self.hosted.get_mut(&place.partition)) {
                        self.dirty.push(place.partition);
                    }
                }
            }
            true
        });
        let deadline_ms = now_ms + u64::from(follow.wait_ms);
        self.remind(deadline_ms);
        self.followers.insert(from, KeptFollow { question: follow, deadline_ms, at_once });
    }

    /// What has to be said at once about a follower's place, if it isn't simply the next one.
    fn look_at(
        leader: &mut Leader,
        partition: &Partition<F>,
        place: &FollowPlace,
    ) -> Option<FollowAnswer<'static>> {
        if place.last_epoch > leader.epoch {
            leader.lost_log = true;
            return Some(FollowAnswer::Failed);
        }
        let log = partition.lock();
        if let Err((epoch, end)) = agrees(&log.epochs, log.end, place.end, place.last_epoch) {
            return Some(FollowAnswer::Diverging { epoch, end });
        }
        let start = log.start;
        (place.end < start).then_some(FollowAnswer::OutOfRange { start })
    }

    pub(super) fn progress(&mut self, from: Peer, list: &[Progress]) {
        let Some(id) = self.layout.brokers().find(|b| b.peer() == from) else {
            self.counters.messages_refused += 1;
            return;
        };
        for one in list {
            let Some(Hosted { role: Role::Leader(leading), high_watermark, .. }) =
                self.hosted.get_mut(&one.partition)
            else {
                continue;
            };
            let leader = &mut leading.leader;
            // Of an earlier term, its log may differ from this one by now.
            if one.epoch == leader.epoch && one.held <= leader.end {
                leader.report(id, self.now_ms, one.held, high_watermark.value());
                self.mark_dirty(one.partition);
            }
        }
    }

    pub(super) fn answer_followers(&mut self) {
        let now_ms = self.now_ms;
        let mut kept = std::mem::take(&mut self.followers);
        let mut answered = Vec::new();
        kept.retain(|&peer, kept| {
            match self.answer_follower(kept, now_ms >= kept.deadline_ms) {
                Some(bytes) => answered.push((peer, bytes)),
                None => return true,
            }
            false
        });
        self.followers = kept;
        self.outputs.extend(answered);
    }

    /// `None`: there is nothing to say yet.
    fn answer_follower(&self, kept: &KeptFollow, is_due: bool) -> Option<Vec<u8>> {
        let follow = &kept.question;
        let hosted = |index| match self.hosted.get(&index) {
            Some(hosted @ Hosted { role: Role::Leader(leading), .. }) => Some((hosted, &leading.leader)),
            _ => None,
        };
        let has_more =
            |place: &FollowPlace| hosted(place.partition).is_some_and(|(_, leader)| leader.end > place.end);
        if !is_due && kept.at_once.is_empty() && !follow.places.iter().any(has_more) {
            return None;
        }
        let bytes_max = follow.bytes_max as usize;
        let mut left = bytes_max.saturating_mul(PARTITIONS_MAX);
        let mut answer = FollowedWriter::new(self.layout.fingerprint(), follow.correlation, 4096);
        for (partition, epoch, mark, other) in &kept.at_once {
            answer.other(*partition, *epoch, *mark, other);
        }
        // Whoever comes last in one answer comes first in another.
        let turn = (follow.correlation % follow.places.len().max(1) as u64) as usize;
        let (behind, first) = follow.places.split_at(turn);
        for place in first.iter().chain(behind) {
            let Some((hosted, leader)) = hosted(place.partition) else { continue };
            let (index, epoch, mark) = (place.partition, leader.epoch, hosted.high_watermark.value());
            if leader.end > place.end && left > 0 {
                match self.read(hosted, Reader::Replica, place.end, bytes_max.min(left)) {
                    Found::Nothing => {}
                    Found::Batches(fetched) => {
                        left = left.saturating_sub(fetched.len_bytes());
                        answer.batches(index, epoch, mark, fetched.slices());
                        continue;
                    }
                    Found::Failed(_) => {
                        answer.other(index, epoch, mark, &FollowAnswer::Failed);
                        continue;
                    }
                }
            }
            if is_due {
                // The high watermark alone.
                answer.other(index, epoch, mark, &FollowAnswer::Batches(&[]));
            }
        }
        (is_due || !answer.is_empty()).then(|| answer.finish())
    }
}

/// Marks it dirty; whether it was. For where the whole machine is borrowed.
fn hosted_is_dirty<F>(hosted: Option<&mut Hosted<F>>) -> bool {
    hosted.is_none_or(|h| std::mem::replace(&mut h.is_dirty, true))
}
