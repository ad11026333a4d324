//! [`Numbering`]: the sequence numbers that an idempotent producer gives its batches in one partition.

use crate::log::producer_state::sequence_after;
use crate::record::builder::Sequence;

/// Who an idempotent producer is. Its batches are stored once, however often they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// A number that no other producer has, from 0 on.
    pub id: i64,
    /// Which incarnation it is, from 0 on. A producer that starts again takes a later one than before: the earlier one
    /// is fenced off, should it still be alive.
    pub epoch: i16,
}

/// The numbers of one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbering {
    identity: Option<ProducerIdentity>,
    next: i32,
}

impl Numbering {
    pub(super) fn new(identity: Option<ProducerIdentity>) -> Self {
        Self { identity, next: 0 }
    }

    /// What the next batch has; none, if the producer isn't idempotent.
    pub(super) fn next(&self) -> Option<Sequence> {
        self.identity.map(|ProducerIdentity { id, epoch }| Sequence {
            producer_id: id,
            epoch,
            first: self.next,
        })
    }

    /// A batch of so many records took what [`Numbering::next`] gave.
    pub(super) fn advance(&mut self, records: u32) {
        self.next = sequence_after(self.next, records);
    }

    /// A batch was given up. Whether it is stored nobody knows, so the next ones can't follow it: a new epoch begins.
    pub(super) fn begin_epoch(&mut self) {
        if let Some(identity) = &mut self.identity {
            identity.epoch = identity.epoch.saturating_add(1);
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_records_and_begin_anew_with_an_epoch() {
        let mut numbering = Numbering::new(Some(ProducerIdentity { id: 7, epoch: 2 }));
        let told = |n: &Numbering| n.next().map(|s| (s.producer_id, s.epoch, s.first));
        assert_eq!(told(&numbering), Some((7, 2, 0)));
        numbering.advance(3);
        numbering.advance(1);
        assert_eq!(told(&numbering), Some((7, 2, 4)));
        numbering.begin_epoch();
        assert_eq!(told(&numbering), Some((7, 3, 0)));
        assert_eq!(Numbering::new(None).next(), None);
    }
}
