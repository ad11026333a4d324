//! Consumers' questions, kept until a partition's high watermark is past what they have, and the answers.

use engine_env::{File, Peer};

use super::Machine;
use super::hosted::{Hosted, Role};
use super::read::{Found, PARTITIONS_MAX};
use crate::Offset;
use crate::log::fetch::{FetchError, Reader};
use crate::message::{Fetch, FetchAnswer, FetchedWriter};

/// A consumer's question.
#[derive(Debug)]
pub(super) struct KeptFetch {
    pub(super) question: Fetch,
    pub(super) deadline_ms: u64,
}

impl<F: File> Machine<F> {
    pub(super) fn fetch(&mut self, from: Peer, question: Fetch) {
        let deadline_ms = self.now_ms + u64::from(question.wait_ms);
        self.remind(deadline_ms);
        // One question of a client is open at a time.
        self.consumers.insert(from, KeptFetch { question, deadline_ms });
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
}
