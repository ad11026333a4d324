//! The producer snapshot: what a partition knows of its producers at an offset, in Kafka's `.snapshot` file.
//! `docs/formats/log-folder.md` has the bytes.
//!
//! Kafka's entries hold one batch of each producer. The others that may be sent again stand behind the entries, where
//! Kafka's reader doesn't look and its checksum reaches.

use std::collections::VecDeque;

use super::producer_state::{BATCHES_REMEMBERED, KnownProducer, ProducerState, StoredBatch};
use crate::Offset;

/// The only version that Kafka has.
const VERSION: i16 = 1;

const CRC: usize = 2;
const COUNT: usize = CRC + 4;
const ENTRIES: usize = COUNT + 4;
/// Producer id, epoch, last sequence, last offset, offset delta, timestamp, coordinator epoch, first offset of an open
/// transaction.
const ENTRY_LEN: usize = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8;

/// No transaction: neither a coordinator nor an open one.
const NO_COORDINATOR_EPOCH: i32 = -1;
const NO_TRANSACTION: i64 = -1;

/// The file's bytes.
pub(crate) fn encode(state: &ProducerState) -> Vec<u8> {
    let all = state.all();
    let count = i32::try_from(all.len()).expect("far fewer producers are remembered");
    let mut out = Vec::with_capacity(ENTRIES + all.len() * ENTRY_LEN);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&count.to_be_bytes());
    for (producer_id, known) in all {
        let last = known.last();
        out.extend_from_slice(&producer_id.to_be_bytes());
        out.extend_from_slice(&known.epoch.to_be_bytes());
        put_batch(&mut out, last);
        out.extend_from_slice(&NO_COORDINATOR_EPOCH.to_be_bytes());
        out.extend_from_slice(&NO_TRANSACTION.to_be_bytes());
    }
    if state.all().any(|(_, known)| known.batches.len() > 1) {
        for (_, known) in state.all() {
            let older = known.batches.len() - 1;
            out.push(u8::try_from(older).expect("at most four"));
            known.batches.iter().take(older).for_each(|batch| put_batch(&mut out, batch));
        }
    }
    vouch_for(&mut out);
    out
}

/// Writes the checksum that the bytes behind it have, if there are any.
pub(crate) fn vouch_for(bytes: &mut [u8]) {
    if bytes.len() >= COUNT {
        let crc = crc_fast::crc32_iscsi(&bytes[COUNT..]);
        bytes[CRC..COUNT].copy_from_slice(&crc.to_be_bytes());
    }
}

fn put_batch(out: &mut Vec<u8>, batch: &StoredBatch) {
    out.extend_from_slice(&batch.last_sequence.to_be_bytes());
    out.extend_from_slice(&(batch.last_offset.0 as i64).to_be_bytes());
    out.extend_from_slice(&batch.last_offset_delta.to_be_bytes());
    out.extend_from_slice(&batch.timestamp_ms.to_be_bytes());
}

/// Why bytes are not a producer snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They end too early.
    #[error("it ends at byte {len}, inside an entry")]
    Cut {
        /// How many there are.
        len: usize,
    },
    /// Another program's.
    #[error("it has version {found}; this program reads version {VERSION}")]
    Version {
        /// The version.
        found: i16,
    },
    /// They are not what was written.
    #[error("its checksum is {stored:08x} and its bytes have {computed:08x}")]
    Crc {
        /// In the file.
        stored: u32,
        /// Of its bytes.
        computed: u32,
    },
    /// The checksum is right, and a field says what can't be.
    #[error("{what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
}

/// Takes fields off the front of bytes.
struct Fields<'a> {
    whole: usize,
    rest: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let cut = SnapshotError::Cut { len: self.whole };
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(cut)?;
        self.rest = rest;
        Ok(*field)
    }

    fn batch(&mut self) -> Result<StoredBatch, SnapshotError> {
        Ok(StoredBatch {
            last_sequence: i32::from_be_bytes(self.take()?),
            last_offset: Offset(u64::from_be_bytes(self.take()?)),
            last_offset_delta: u32::from_be_bytes(self.take()?),
            timestamp_ms: i64::from_be_bytes(self.take()?),
        })
    }
}

/// The producers in a file's bytes, each with its batches, the oldest first.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<(i64, KnownProducer)>, SnapshotError> {
    let malformed = |what| Err(SnapshotError::Malformed { what });
    let mut fields = Fields { whole: bytes.len(), rest: bytes };
    let version = i16::from_be_bytes(fields.take()?);
    if version != VERSION {
        return Err(SnapshotError::Version { found: version });
    }
    let stored = u32::from_be_bytes(fields.take()?);
    let computed = crc_fast::crc32_iscsi(&bytes[COUNT..]);
    if stored != computed {
        return Err(SnapshotError::Crc { stored, computed });
    }
    let Ok(count) = usize::try_from(i32::from_be_bytes(fields.take()?)) else {
        return malformed("the number of producers is negative");
    };
    if count > fields.rest.len() / ENTRY_LEN {
        return malformed("it names more producers than it has bytes for");
    }
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let producer_id = i64::from_be_bytes(fields.take()?);
        let epoch = i16::from_be_bytes(fields.take()?);
        let last = fields.batch()?;
        let _transaction: [u8; 12] = fields.take()?;
        all.push((producer_id, KnownProducer { epoch, batches: VecDeque::from([last]) }));
    }
    if !fields.rest.is_empty() {
        for (_, known) in &mut all {
            let [older] = fields.take()?;
            if usize::from(older) >= BATCHES_REMEMBERED {
                return malformed("a producer has more batches than are remembered");
            }
            for i in 0..usize::from(older) {
                known.batches.insert(i, fields.batch()?);
            }
        }
    }
    if fields.rest.is_empty() { Ok(all) } else { malformed("something stands behind the last producer") }
}

/// The producers in a file's bytes, of a partition that ends at `end` or behind it. `None`: they are not such a snapshot.
pub(crate) fn decode(bytes: &[u8], end: Offset, producers_max: usize) -> Option<ProducerState> {
    let mut state = ProducerState::new(producers_max);
    for (producer_id, mut known) in parse(bytes).ok()? {
        // Of a producer that Kafka knows by a transaction's marker alone there is no batch.
        known.batches.retain(|b| b.last_offset < end);
        if !known.batches.is_empty() && !state.restore(producer_id, known) {
            return None;
        }
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const END: Offset = Offset(1 << 40);

    fn known(epoch: i16, batches: &[(i32, u64)]) -> KnownProducer {
        let batch = |&(last_sequence, last_offset): &(i32, u64)| StoredBatch {
            last_sequence,
            last_offset: Offset(last_offset),
            last_offset_delta: 1,
            timestamp_ms: 1_700_000_000_000,
        };
        KnownProducer { epoch, batches: batches.iter().map(batch).collect() }
    }

    fn list(state: &ProducerState) -> Vec<(i64, KnownProducer)> {
        state.all().map(|(id, known)| (id, known.clone())).collect()
    }

    #[test]
    fn the_bytes_are_those_of_the_format_document() {
        let document = include_str!("../../../docs/formats/log-folder.md");
        let mut state = ProducerState::new(10);
        assert!(state.restore(4711, known(2, &[(41, 99)])));
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let kafkas = hex(&encode(&state));
        assert!(document.contains(&kafkas), "docs/formats/log-folder.md should show {kafkas}");
        let mut state = ProducerState::new(10);
        assert!(state.restore(4711, known(2, &[(39, 97), (41, 99)])));
        let with_older = hex(&encode(&state));
        assert!(document.contains(&with_older), "docs/formats/log-folder.md should show {with_older}");
    }

    #[test]
    fn what_was_cut_short_or_harmed_is_no_snapshot() {
        let mut state = ProducerState::new(10);
        assert!(state.restore(1, known(0, &[(5, 10), (7, 12), (9, 20)])));
        assert!(state.restore(2, known(3, &[(0, 30)])));
        let whole = encode(&state);
        assert_eq!(list(&decode(&whole, END, 10).expect("its own")), list(&state));
        for at in 0..whole.len() {
            assert!(decode(&whole[..at], END, 10).is_none(), "cut at {at}");
            for bit in 0..8 {
                let mut harmed = whole.clone();
                harmed[at] ^= 1 << bit;
                assert!(decode(&harmed, END, 10).is_none(), "byte {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..250), fix: bool) {
            if fix && bytes.len() > ENTRIES {
                bytes[..CRC].copy_from_slice(&VERSION.to_be_bytes());
                bytes[COUNT..ENTRIES - 1].fill(0);
                vouch_for(&mut bytes);
            }
            if let Some(state) = decode(&bytes, END, 3) {
                prop_assert!(state.all().len() <= 3);
                prop_assert!(decode(&encode(&state), END, 3).is_some());
            }
        }
    }
}
