//! Answers to the questions that a leader keeps: of followers, as soon as its log has more; of consumers, as soon as the
//! high watermark is past what they have.

use engine_env::{File, Peer};

use super::machine::{Hosted, KeptFollow, Machine, Role};
use crate::Offset;
use crate::log::fetch::{FetchError, Fetched, Reader};
use crate::message::{
    Fetch, FetchAnswer, FetchedWriter, FindAnswer, FindTimes, FollowAnswer, FollowPlace, FollowedWriter,
    FoundTimes, Message,
};

/// One answer is no larger than this many times what was asked for of each partition.
const PARTITIONS_MAX: usize = 8;

/// What a partition has for a reader.
enum Found {
    Nothing,
    Batches(Fetched),
    Failed(FetchError),
}

impl<F: File> Machine<F> {
    fn read(&self, hosted: &Hosted<F>, reader: Reader, from: Offset, bytes_max: usize) -> Found {
        match self.core.fetch_as(&hosted.partition, reader, from, bytes_max) {
            Ok(fetched) if fetched.is_empty() => Found::Nothing,
            Ok(fetched) => Found::Batches(fetched),
            Err(error) => Found::Failed(error),
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

    pub(super) fn answer_consumers(&mut self) {
        let now_ms = self.now_ms;
        let mut kept = std::mem::take(&mut self.consumers);
        let mut answered = Vec::new();
        kept.retain(|&peer, kept| {
            match self.answer_consumer(&kept.question, now_ms >= kept.deadline_ms) {
                Some(bytes) => answered.push((peer, bytes)),
                None => return true,
            }
            false
        });
        self.consumers = kept;
        self.outputs.extend(answered);
    }

    /// `None`: there is nothing to say yet.
    fn answer_consumer(&self, fetch: &Fetch, is_due: bool) -> Option<Vec<u8>> {
        let bytes_max = fetch.bytes_max as usize;
        let mut left = bytes_max.saturating_mul(PARTITIONS_MAX);
        let mut answer = FetchedWriter::new(self.layout.fingerprint(), fetch.correlation, 0);
        let turn = (fetch.correlation % fetch.places.len().max(1) as u64) as usize;
        let (behind, first) = fetch.places.split_at(turn);
        for &(index, from) in first.iter().chain(behind) {
            let hosted = match self.hosted.get(&index) {
                Some(hosted @ Hosted { role: Role::Leader(_), .. }) => hosted,
                _ if self.layout.get(index).is_some() => {
                    let leader = self.layout.leader_of(index);
                    answer.other(index, Offset(0), &FetchAnswer::NotLeader { leader });
                    continue;
                }
                _ => {
                    answer.other(index, Offset(0), &FetchAnswer::UnknownPartition);
                    continue;
                }
            };
            let mark = hosted.high_watermark.value();
            if left == 0 || from == mark {
                continue;
            }
            match self.read(hosted, Reader::Below(mark), from, bytes_max.min(left)) {
                Found::Nothing => {}
                Found::Batches(fetched) => {
                    left = left.saturating_sub(fetched.len_bytes());
                    answer.batches(index, mark, fetched.slices());
                }
                Found::Failed(FetchError::OutOfRange { start, .. }) => {
                    answer.other(index, mark, &FetchAnswer::OutOfRange { start, end: mark });
                }
                Found::Failed(error) => {
                    answer.other(index, mark, &FetchAnswer::Failed(&error.to_string()));
                }
            }
        }
        (is_due || !answer.is_empty()).then(|| answer.finish())
    }

    /// Answers a client's question for times at once: nothing that could still come changes the answer, but to one that
    /// found nothing.
    pub(super) fn find_times(&mut self, from: Peer, find: &FindTimes) {
        if find.places.len() > self.layout.partitions().len() {
            // Each search may read; nobody has so many questions.
            self.counters.messages_refused += 1;
            return;
        }
        let found: Vec<_> =
            find.places.iter().map(|&(index, ms)| (index, self.find_time(index, ms))).collect();
        let answers = found.iter().map(|(index, found)| match found {
            Ok(answer) => (*index, *answer),
            Err(why) => (*index, FindAnswer::Failed(why)),
        });
        let found = FoundTimes { correlation: find.correlation, answers: answers.collect() };
        self.send(from, &Message::FoundTimes(found));
    }

    fn find_time(&self, index: u32, timestamp_ms: i64) -> Result<FindAnswer<'static>, String> {
        let hosted = match self.hosted.get(&index) {
            Some(hosted @ Hosted { role: Role::Leader(_), .. }) => hosted,
            _ if self.layout.get(index).is_some() => {
                return Ok(FindAnswer::NotLeader { leader: self.layout.leader_of(index) });
            }
            _ => return Ok(FindAnswer::UnknownPartition),
        };
        let reader = Reader::Below(hosted.high_watermark.value());
        let found = self.core.offset_for_time_as(&hosted.partition, reader, timestamp_ms);
        found
            .map(|found| found.map_or(FindAnswer::Nothing, FindAnswer::Found))
            .map_err(|error| error.to_string())
    }
}
