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
/// Last sequence, last offset, offset delta, timestamp.
const BATCH_LEN: usize = 4 + 8 + 4 + 8;

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
    let crc = crc_fast::crc32_iscsi(&out[COUNT..]);
    out[CRC..COUNT].copy_from_slice(&crc.to_be_bytes());
    out
}

fn put_batch(out: &mut Vec<u8>, batch: &StoredBatch) {
    out.extend_from_slice(&batch.last_sequence.to_be_bytes());
    out.extend_from_slice(&(batch.last_offset.0 as i64).to_be_bytes());
    out.extend_from_slice(&batch.last_offset_delta.to_be_bytes());
    out.extend_from_slice(&batch.timestamp_ms.to_be_bytes());
}

/// Takes fields off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn batch(&mut self) -> Option<StoredBatch> {
        Some(StoredBatch {
            last_sequence: i32::from_be_bytes(self.take()?),
            last_offset: Offset(u64::from_be_bytes(self.take()?)),
            last_offset_delta: u32::from_be_bytes(self.take()?),
            timestamp_ms: i64::from_be_bytes(self.take()?),
        })
    }
}

/// The producers in a file's bytes, of a partition that ends at `end` or behind it. `None`: they are not such a snapshot.
pub(crate) fn decode(bytes: &[u8], end: Offset, producers_max: usize) -> Option<ProducerState> {
    let mut fields = Fields(bytes);
    let version = i16::from_be_bytes(fields.take()?);
    let crc = u32::from_be_bytes(fields.take()?);
    if version != VERSION || crc != crc_fast::crc32_iscsi(&bytes[COUNT..]) {
        return None;
    }
    let count = usize::try_from(i32::from_be_bytes(fields.take()?)).ok()?;
    if count > fields.0.len() / ENTRY_LEN {
        return None;
    }
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let producer_id = i64::from_be_bytes(fields.take()?);
        let epoch = i16::from_be_bytes(fields.take()?);
        let last = fields.batch()?;
        let _transaction: [u8; 12] = fields.take()?;
        all.push((producer_id, KnownProducer { epoch, batches: VecDeque::from([last]) }));
    }
    if !fields.0.is_empty() {
        for (_, known) in &mut all {
            let [older] = fields.take()?;
            if usize::from(older) >= BATCHES_REMEMBERED || fields.0.len() < usize::from(older) * BATCH_LEN {
                return None;
            }
            for i in 0..usize::from(older) {
                known.batches.insert(i, fields.batch()?);
            }
        }
    }
    let mut state = ProducerState::new(producers_max);
    for (producer_id, mut known) in all {
        // Of a producer that Kafka knows by a transaction's marker alone there is no batch.
        known.batches.retain(|b| b.last_offset < end);
        if !known.batches.is_empty() && !state.restore(producer_id, known) {
            return None;
        }
    }
    fields.0.is_empty().then_some(state)
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
                let crc = crc_fast::crc32_iscsi(&bytes[COUNT..]);
                bytes[CRC..COUNT].copy_from_slice(&crc.to_be_bytes());
            }
            if let Some(state) = decode(&bytes, END, 3) {
                prop_assert!(state.all().len() <= 3);
                prop_assert!(decode(&encode(&state), END, 3).is_some());
            }
        }
    }
}
