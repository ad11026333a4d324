//! Clients' questions where a moment begins, and the answers.

use engine_env::{File, Peer};

use super::Machine;
use super::hosted::{Hosted, Role};
use crate::log::fetch::Reader;
use crate::message::{FindAnswer, FindTimes, FoundTimes, Message};

impl<F: File> Machine<F> {
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
