//! [`TimeQueries`]: a client's open questions for the offset of a time, each asked again until its leader answers or its time
//! is over.

use std::collections::BTreeMap;

use crate::message::{FindAnswer, FindTimes, FoundTimes};
use crate::segment::time_search::TimedOffset;
use crate::{BrokerId, TopicPartition};

/// After this long without an answer a question is asked once more.
const PATIENCE_MS: u64 = 1000;

/// Why the offset of a time isn't known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindTimeError {
    /// No such partition in the client's layout, or in the broker's.
    #[error("there is no partition {partition}")]
    UnknownPartition {
        /// The partition that was named.
        partition: TopicPartition,
    },
    /// Another broker leads.
    #[error("{broker} doesn't lead {partition}, {leader} does; give all the same layout")]
    NotLeader {
        /// The partition.
        partition: TopicPartition,
        /// Who was asked.
        broker: BrokerId,
        /// Who leads.
        leader: BrokerId,
    },
    /// The leader can't read in front of it.
    #[error("{partition} can't be searched by time: {why}")]
    Failed {
        /// The partition.
        partition: TopicPartition,
        /// What the leader said.
        why: String,
    },
    /// The leader didn't answer.
    #[error("{broker}, who leads {partition}, didn't answer within {timeout_ms} ms; is it running?")]
    TimedOut {
        /// The partition.
        partition: TopicPartition,
        /// Who was asked.
        broker: BrokerId,
        /// How long was waited, in milliseconds.
        timeout_ms: u32,
    },
}

/// What a question for a time came to.
pub(super) type FoundTime = Result<Option<TimedOffset>, FindTimeError>;

/// Names a question of this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueryId(u64);

#[derive(Debug)]
struct Query {
    index: u32,
    partition: TopicPartition,
    leader: BrokerId,
    timestamp_ms: i64,
    /// Not to be asked, or asked again, before.
    ask_at_ms: u64,
    deadline_ms: u64,
    found: Option<FoundTime>,
}

/// The questions whose answers nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct TimeQueries {
    queries: BTreeMap<QueryId, Query>,
    next: u64,
}

impl TimeQueries {
    /// One more question.
    pub(super) fn begin(
        &mut self,
        (index, partition): (u32, TopicPartition),
        leader: BrokerId,
        timestamp_ms: i64,
        (now_ms, deadline_ms): (u64, u64),
    ) -> QueryId {
        let id = QueryId(self.next);
        self.next += 1;
        let query =
            Query { index, partition, leader, timestamp_ms, ask_at_ms: now_ms, deadline_ms, found: None };
        self.queries.insert(id, query);
        id
    }

    /// What it came to, once that is known.
    pub(super) fn take(&mut self, id: QueryId) -> Option<FoundTime> {
        let found = self.queries.get_mut(&id)?.found.take()?;
        self.queries.remove(&id);
        Some(found)
    }

    /// The questions that are due, of leaders that can be reached.
    pub(super) fn due(
        &mut self,
        now_ms: u64,
        is_away: impl Fn(BrokerId) -> bool,
    ) -> Vec<(BrokerId, FindTimes)> {
        let mut due = Vec::new();
        for (id, query) in &mut self.queries {
            if query.found.is_none() && query.ask_at_ms <= now_ms && !is_away(query.leader) {
                query.ask_at_ms = now_ms + PATIENCE_MS;
                let places = vec![(query.index, query.timestamp_ms)];
                due.push((query.leader, FindTimes { correlation: id.0, places }));
            }
        }
        due
    }

    /// A broker has answered.
    pub(super) fn answered(&mut self, from: BrokerId, found: &FoundTimes<'_>) {
        let Some(query) = self.queries.get_mut(&QueryId(found.correlation)) else { return };
        let Some((_, answer)) = found.answers.iter().find(|(index, _)| *index == query.index) else { return };
        let partition = query.partition.clone();
        query.found = Some(match *answer {
            FindAnswer::Found(found) => Ok(Some(found)),
            FindAnswer::Nothing => Ok(None),
            FindAnswer::UnknownPartition => Err(FindTimeError::UnknownPartition { partition }),
            FindAnswer::NotLeader { leader } => {
                Err(FindTimeError::NotLeader { partition, broker: from, leader })
            }
            FindAnswer::Failed(why) => Err(FindTimeError::Failed { partition, why: why.to_owned() }),
        });
    }

    /// A broker can't be reached: what it was asked is lost.
    pub(super) fn lost(&mut self, broker: BrokerId, again_ms: u64) {
        let lost = self.queries.values_mut().filter(|query| query.leader == broker);
        lost.for_each(|query| query.ask_at_ms = again_ms);
    }

    /// When something is to be done.
    pub(super) fn next_look(&self) -> Option<u64> {
        let open = self.queries.values().filter(|query| query.found.is_none());
        open.map(|query| query.ask_at_ms.min(query.deadline_ms)).min()
    }

    /// Gives up those whose time is over.
    pub(super) fn expire(&mut self, now_ms: u64, timeout_ms: u32) {
        for query in self.queries.values_mut() {
            if query.found.is_none() && query.deadline_ms <= now_ms {
                let (partition, broker) = (query.partition.clone(), query.leader);
                query.found = Some(Err(FindTimeError::TimedOut { partition, broker, timeout_ms }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Offset;

    const LEADER: BrokerId = BrokerId(2);

    fn begun() -> (TimeQueries, QueryId) {
        let mut queries = TimeQueries::default();
        let id = queries.begin((7, TopicPartition::new("t", 7)), LEADER, 55, (100, 5100));
        (queries, id)
    }

    fn answer(queries: &mut TimeQueries, correlation: u64, index: u32, answer: FindAnswer<'_>) {
        queries.answered(LEADER, &FoundTimes { correlation, answers: vec![(index, answer)] });
    }

    #[test]
    fn a_question_is_asked_until_it_is_answered() {
        let (mut queries, id) = begun();
        let asked = queries.due(100, |_| false);
        assert_eq!(asked, [(LEADER, FindTimes { correlation: 0, places: vec![(7, 55)] })]);
        assert!(queries.due(200, |_| false).is_empty(), "it waits for an answer");
        assert_eq!(queries.due(1100, |_| false).len(), 1, "none came");
        queries.lost(LEADER, 1300);
        assert_eq!((queries.next_look(), queries.due(1299, |_| false).len()), (Some(1300), 0));
        assert!(queries.due(1300, |broker| broker == LEADER).is_empty(), "it can't be reached");
        assert_eq!(queries.due(1301, |_| false).len(), 1);
        answer(&mut queries, 1, 7, FindAnswer::Nothing);
        answer(&mut queries, 0, 8, FindAnswer::Nothing);
        assert_eq!(queries.take(id), None, "these answered something else");
        let found = TimedOffset { offset: Offset(9), timestamp_ms: 60 };
        answer(&mut queries, 0, 7, FindAnswer::Found(found));
        assert_eq!(queries.take(id), Some(Ok(Some(found))));
        assert_eq!((queries.take(id), queries.next_look()), (None, None));
    }

    #[test]
    fn a_question_without_an_answer_ends_with_its_time() {
        let (mut queries, id) = begun();
        queries.expire(5099, 5000);
        assert_eq!(queries.take(id), None);
        queries.expire(5100, 5000);
        let partition = TopicPartition::new("t", 7);
        let timed_out = FindTimeError::TimedOut { partition, broker: LEADER, timeout_ms: 5000 };
        assert_eq!(queries.take(id), Some(Err(timed_out)));
    }
}
