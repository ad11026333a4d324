//! [`Link`]: a broker's conversation with another one that leads some of its partitions: one question for all of them
//! is open at a time, and what the broker holds by now is told in between.

use std::collections::BTreeMap;

use super::config::BrokerConfig;
use crate::log::leader_epochs::Epoch;
use crate::message::{Follow, FollowPlace, Message, Progress};
use crate::{BrokerId, Offset};

/// Where a followed partition stands.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) place: FollowPlace,
    pub(super) is_busy: bool,
    /// The leader's term in which the logs were found to agree.
    pub(super) epoch: Option<Epoch>,
}

/// The conversation with one leader.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) leader: BrokerId,
    /// The followed partitions.
    pub(super) partitions: Vec<u32>,
    /// What the leader was told of each, last.
    told: BTreeMap<u32, Offset>,
    /// Those that changed since the last message was made.
    pub(super) changed: Vec<u32>,
    /// Numbers the questions.
    correlation: u64,
    /// The open question: when it was asked, and which partitions it left out.
    open: Option<(u64, Vec<u32>)>,
    /// Not to be asked before.
    retry_at_ms: u64,
}

impl Link {
    pub(super) fn new(leader: BrokerId, first: u32) -> Self {
        Self {
            leader,
            partitions: vec![first],
            told: BTreeMap::new(),
            changed: Vec::new(),
            correlation: 0,
            open: None,
            retry_at_ms: 0,
        }
    }

    /// The open question won't be answered, or not with what was asked for.
    pub(super) fn lost(&mut self, retry_at_ms: u64) {
        self.open = None;
        self.retry_at_ms = retry_at_ms;
    }

    /// The leader has started: it knows of no question.
    pub(super) fn leader_started(&mut self) {
        self.open = None;
        self.retry_at_ms = 0;
    }

    /// An answer came. Gives whether it is the one to the open question, which is closed then.
    pub(super) fn answered(&mut self, correlation: u64) -> bool {
        let is_awaited = self.open.is_some() && correlation == self.correlation;
        if is_awaited {
            self.open = None;
        }
        is_awaited
    }

    /// After this long without an answer the question is taken for lost: twice as long as the leader keeps it.
    fn patience_ms(config: &BrokerConfig) -> u64 {
        2 * u64::from(config.follow_wait_ms)
    }

    /// Gives up on a question. Gives when to look again.
    pub(super) fn handle_timeout(&mut self, now_ms: u64, config: &BrokerConfig) -> Option<u64> {
        if self.open.as_ref().is_some_and(|(asked_ms, _)| asked_ms + Self::patience_ms(config) <= now_ms) {
            self.open = None;
        }
        self.next_look(config)
    }

    pub(super) fn next_look(&self, config: &BrokerConfig) -> Option<u64> {
        match &self.open {
            Some((asked_ms, _)) => Some(asked_ms + Self::patience_ms(config)),
            None => Some(self.retry_at_ms),
        }
    }

    /// What to tell the leader now, if anything. `stand` tells where a partition stands.
    pub(super) fn next_message(
        &mut self,
        now_ms: u64,
        config: &BrokerConfig,
        mut stand: impl FnMut(u32) -> Stand,
    ) -> Option<Message<'static>> {
        let changed = std::mem::take(&mut self.changed);
        let joins_again = match &self.open {
            None => now_ms >= self.retry_at_ms,
            // A partition that was busy when the question was asked is ready now: a new question takes its place.
            Some((_, left_out)) => {
                changed.iter().any(|index| left_out.contains(index) && !stand(*index).is_busy)
            }
        };
        if joins_again {
            return self.ask(now_ms, config, stand);
        }
        let mut progress = Vec::new();
        for index in changed {
            let Stand { place, epoch, .. } = stand(index);
            let told = self.told.entry(index).or_default();
            if let Some(epoch) = epoch.filter(|_| place.held > *told) {
                *told = place.held;
                progress.push(Progress { partition: index, epoch, held: place.held });
            }
        }
        (!progress.is_empty()).then_some(Message::Progress(progress))
    }

    fn ask(
        &mut self,
        now_ms: u64,
        config: &BrokerConfig,
        mut stand: impl FnMut(u32) -> Stand,
    ) -> Option<Message<'static>> {
        let (mut places, mut left_out) = (Vec::with_capacity(self.partitions.len()), Vec::new());
        for &index in &self.partitions {
            let Stand { place, is_busy, .. } = stand(index);
            if is_busy {
                left_out.push(index);
            } else {
                self.told.insert(index, place.held);
                places.push(place);
            }
        }
        self.open = Some((now_ms, left_out));
        self.correlation += 1;
        if places.is_empty() {
            return None;
        }
        Some(Message::Follow(Follow {
            correlation: self.correlation,
            wait_ms: config.follow_wait_ms,
            bytes_max: config.follow_bytes,
            places,
        }))
    }
}
