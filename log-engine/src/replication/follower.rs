//! [`Follower`]: a follower's side of a partition. Its log is its own; what it appends is what its leader sent, and what
//! it lets go of is what its leader doesn't have.
//!
//! Invariants:
//! * It says that it holds something only of a log that was found to agree with the leader's, in the leader's present
//!   term.
//! * On a difference it truncates by terms, never by offsets alone: equal offsets of different terms may hold different
//!   records.

use crate::Offset;
use crate::log::leader_epochs::{Epoch, LeaderEpochs, NO_EPOCH};
use crate::message::FollowAnswer;

/// What keeps a follower from asking for more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Busy {
    #[default]
    No,
    /// Batches came for which there was no room.
    Waits(Vec<u8>),
    /// Its log is being truncated.
    Truncates,
    /// Its disk failed.
    Failed,
}

/// A follower's side of a partition.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// The leader's term in which the logs were found to agree.
    pub(crate) epoch: Option<Epoch>,
    pub(crate) busy: Busy,
}

/// What to do about an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Append(&'a [u8]),
    Truncate(Offset),
    /// The leader has nothing older than this, which lies behind the log's end.
    Restart(Offset),
    /// Ask again, later.
    AskLater,
    Nothing,
}

impl Follower {
    /// Takes the leader's answer. `is_awaited`: it answers what was asked last; the log hasn't changed since.
    pub(crate) fn answered<'a>(
        &mut self,
        epoch: Epoch,
        answer: &FollowAnswer<'a>,
        is_awaited: bool,
        epochs: &LeaderEpochs,
        end: Offset,
    ) -> Step<'a> {
        if self.epoch.is_some_and(|known| epoch < known) {
            // From a term that is over.
            return Step::Nothing;
        }
        match *answer {
            FollowAnswer::Batches(bytes) => {
                self.epoch = Some(epoch);
                if bytes.is_empty() || self.busy != Busy::No { Step::Nothing } else { Step::Append(bytes) }
            }
            FollowAnswer::Diverging { epoch: theirs, end: their_end } if is_awaited => {
                self.epoch = None;
                let (mine, my_end) = epochs.end_of(theirs, end);
                Step::Truncate(if mine == theirs { their_end.min(my_end) } else { my_end })
            }
            FollowAnswer::Diverging { .. } => Step::Nothing,
            FollowAnswer::OutOfRange { start } if is_awaited && start > end => {
                self.epoch = None;
                Step::Restart(start)
            }
            FollowAnswer::OutOfRange { .. } | FollowAnswer::NotLeader { .. } | FollowAnswer::Failed => {
                Step::AskLater
            }
        }
    }

    /// The leader has started anew: its term is a new one.
    pub(crate) fn leader_started(&mut self) {
        self.epoch = None;
    }
}

/// The leader's look at a follower's log that ends at `end` with a batch of `last_epoch`. `Err`: in the leader's log, the
/// largest epoch up to that one, and its end. The leader's own log ends at `leader_end`. An empty log agrees with any.
pub(crate) fn agrees(
    epochs: &LeaderEpochs,
    leader_end: Offset,
    end: Offset,
    last_epoch: Epoch,
) -> Result<(), (Epoch, Offset)> {
    let (epoch, epoch_end) = epochs.end_of(last_epoch, leader_end);
    if end == Offset(0) || last_epoch == NO_EPOCH || (epoch == last_epoch && end <= epoch_end) {
        return Ok(());
    }
    Err((epoch, epoch_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(Epoch, u64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for &(epoch, start) in entries {
            epochs.begin(epoch, Offset(start));
        }
        epochs
    }

    /// Where a follower's log ends once it agrees with the leader's, step by step.
    fn settled(leader: &LeaderEpochs, leader_end: u64, follower: &LeaderEpochs, mut end: u64) -> u64 {
        let mut follower = follower.clone();
        for _ in 0..10 {
            let Err((epoch, their_end)) =
                agrees(leader, Offset(leader_end), Offset(end), follower.before(Offset(end)))
            else {
                return end;
            };
            let answer = FollowAnswer::Diverging { epoch, end: their_end };
            let step = Follower::default().answered(9, &answer, true, &follower, Offset(end));
            let Step::Truncate(to) = step else { panic!("{step:?}") };
            assert!(to.0 < end, "a truncation that takes nothing would be asked for again and again");
            end = to.0;
            follower.truncate(to);
        }
        panic!("they never agree");
    }

    #[test]
    fn a_log_that_is_ahead_goes_back_to_where_its_term_ended() {
        // The leader came back without 100 to 120, and began a new term.
        assert_eq!(settled(&epochs(&[(0, 0), (1, 100)]), 100, &epochs(&[(0, 0)]), 120), 100);
        assert_eq!(settled(&epochs(&[(0, 0), (1, 100)]), 150, &epochs(&[(0, 0)]), 120), 100);
        // It lost nothing.
        assert_eq!(settled(&epochs(&[(0, 0), (1, 120)]), 150, &epochs(&[(0, 0)]), 120), 120);
    }

    #[test]
    fn equal_offsets_of_different_terms_are_different_records() {
        // Both end at 120, and differ from 100 on.
        assert_eq!(settled(&epochs(&[(0, 0), (2, 100)]), 120, &epochs(&[(0, 0), (1, 100)]), 120), 100);
        // The published case of KIP-279: several terms on both sides.
        let leader = epochs(&[(0, 0), (3, 50), (6, 80)]);
        let follower = epochs(&[(0, 0), (3, 50), (4, 60), (5, 70)]);
        assert_eq!(settled(&leader, 100, &follower, 90), 60);
        let follower = epochs(&[(1, 0), (2, 10)]);
        assert_eq!(settled(&epochs(&[(3, 0)]), 100, &follower, 90), 0);
    }

    #[test]
    fn an_answer_of_a_term_that_is_over_is_nothing() {
        let mut follower = Follower { epoch: Some(3), ..Follower::default() };
        let epochs = epochs(&[(0, 0)]);
        let batches = FollowAnswer::Batches(b"x");
        assert_eq!(follower.answered(2, &batches, true, &epochs, Offset(1)), Step::Nothing);
        assert_eq!(follower.answered(3, &batches, false, &epochs, Offset(1)), Step::Append(b"x"));
        let late = FollowAnswer::Diverging { epoch: 0, end: Offset(0) };
        assert_eq!(follower.answered(3, &late, false, &epochs, Offset(1)), Step::Nothing);
    }
}
