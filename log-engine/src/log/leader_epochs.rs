//! [`LeaderEpochs`]: where each leader's term begins, and the file that remembers it: Kafka's
//! `leader-epoch-checkpoint`.
//!
//! A follower that comes back compares terms with its leader, not offsets: equal offsets of different terms may hold
//! different records. Invariants:
//! * Epochs and their first offsets rise.
//! * An epoch is in the file, durably, before a batch of it is appended: an entry may come to nothing, but is never
//!   missing.

use engine_env::{Disk, DiskError, DiskErrorKind, Op, OpenHow, WriteSync};

use super::partition_log::PartitionLog;
use crate::Offset;
use crate::segment::name;

/// A leader's term: the number it stamps on its batches.
pub(crate) type Epoch = i32;

/// What a log without a leader has in its batches.
pub(crate) const NO_EPOCH: Epoch = -1;

/// The file's first line.
const VERSION: &str = "0";

/// More of such a file isn't read.
const FILE_LEN_MAX: usize = 1 << 20;

/// The terms of a partition's leaders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochs {
    /// Each epoch, and its first offset.
    entries: Vec<(Epoch, Offset)>,
    /// The highest one that was ever seen, also if nothing of it is left.
    highest: Option<Epoch>,
    /// This broker leads, in this epoch.
    pub(crate) led: Option<Epoch>,
    /// The file has to be written before anything of the last epoch is appended.
    pub(crate) unsaved: bool,
}

impl LeaderEpochs {
    /// The highest epoch that this log has heard of.
    pub(crate) fn highest(&self) -> Epoch {
        self.highest.unwrap_or(NO_EPOCH)
    }

    /// The epoch of the batch that ends at `end`; [`NO_EPOCH`] if there is none.
    pub(crate) fn before(&self, end: Offset) -> Epoch {
        let after = self.entries.partition_point(|&(_, start)| start < end);
        after.checked_sub(1).map_or(NO_EPOCH, |i| self.entries[i].0)
    }

    /// The largest epoch that isn't above `epoch`, and the offset behind its last record, in a log that ends at `end`.
    /// For an epoch before the first one: no epoch, and where the first one starts.
    pub(crate) fn end_of(&self, epoch: Epoch, end: Offset) -> (Epoch, Offset) {
        let after = self.entries.partition_point(|&(e, _)| e <= epoch);
        let until = self.entries.get(after).map_or(end, |&(_, start)| start);
        (after.checked_sub(1).map_or(NO_EPOCH, |i| self.entries[i].0), until)
    }

    /// A new epoch starts at `start`. Epochs that would start there or later came to nothing.
    pub(crate) fn begin(&mut self, epoch: Epoch, start: Offset) {
        self.entries.retain(|&(_, old)| old < start);
        assert!(self.entries.last().is_none_or(|&(last, _)| last < epoch), "terms are numbered upwards");
        self.entries.push((epoch, start));
        self.highest = Some(epoch.max(self.highest()));
        self.unsaved = true;
    }

    /// Forgets the epochs that start at `end` or later.
    pub(crate) fn truncate(&mut self, end: Offset) {
        let before = self.entries.len();
        self.entries.retain(|&(_, start)| start < end);
        self.unsaved |= self.entries.len() < before;
    }

    /// Forgets where terms began: nothing of them is left. The highest one's number stays.
    pub(crate) fn forget(&mut self) {
        self.unsaved |= !self.entries.is_empty();
        self.entries.clear();
    }

    /// The file's text: version, number of entries, then an epoch and an offset a line.
    pub(crate) fn encode(&self) -> String {
        let mut text = format!("{VERSION}\n{}\n", self.entries.len());
        for (epoch, start) in &self.entries {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        text
    }

    /// `None`: that isn't such a file.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let entries = parse(text).ok()?;
        let highest = entries.last().map(|&(e, _)| e);
        Some(Self { entries, highest, led: None, unsaved: false })
    }

    /// Reads a partition's file; no file, no epochs. `Ok(None)`: it isn't one that this program reads.
    pub(crate) fn read<D: Disk>(disk: &mut D, dir: &str) -> Result<Option<Self>, DiskError> {
        let (file, _) = match disk.open(&format!("{dir}/{}", name::EPOCHS), OpenHow::Existing) {
            Ok(opened) => opened,
            Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(Some(Self::default())),
            Err(error) => return Err(error),
        };
        let bytes = disk.read(&file, 0, FILE_LEN_MAX)?;
        Ok(std::str::from_utf8(&bytes).ok().and_then(Self::decode))
    }

    /// Replaces a partition's file, durably.
    pub(crate) fn write<D: Disk>(disk: &mut D, dir: &str, text: String) -> Result<(), DiskError> {
        let (to, from) = (format!("{dir}/{}", name::EPOCHS), format!("{dir}/{}", name::EPOCHS_UNFINISHED));
        let (file, old_len) = disk.open(&from, OpenHow::OpenOrCreate)?;
        if old_len > 0 {
            disk.run(Op::Truncate { file: file.clone(), len: 0 })?;
        }
        disk.run(Op::Write { file, at: 0, buf: text.into_bytes(), sync: WriteSync::Data })?;
        disk.run(Op::Rename { from, to })?;
        disk.run(Op::SyncDir { dir: dir.to_owned() })?;
        Ok(())
    }
}

/// Why a text is no leader-epoch checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct EpochsError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// The epochs in a file's text, each with its first offset.
pub(crate) fn parse(text: &str) -> Result<Vec<(Epoch, Offset)>, EpochsError> {
    let wrong = |line, what| EpochsError { line, what };
    let mut lines = text.lines();
    if lines.next() != Some(VERSION) {
        return Err(wrong(1, "the version is not 0"));
    }
    let count = lines.next().and_then(|line| line.parse::<usize>().ok());
    let count = count.ok_or(wrong(2, "the number of entries is missing"))?;
    let mut entries: Vec<(Epoch, Offset)> = Vec::new();
    for (text, line) in lines.zip(3..) {
        let fields = text.split_once(' ').and_then(|(epoch, start)| {
            Some((epoch.parse::<Epoch>().ok()?, start.parse::<u64>().ok().filter(|s| *s < 1 << 62)?))
        });
        let (epoch, start) = fields
            .filter(|(epoch, _)| *epoch >= 0)
            .ok_or(wrong(line, "it is not an epoch and an offset with a space between them"))?;
        if entries.last().is_some_and(|&(e, s)| epoch <= e || start <= s.0) {
            return Err(wrong(line, "epochs and offsets have to rise"));
        }
        entries.push((epoch, Offset(start)));
    }
    if entries.len() == count { Ok(entries) } else { Err(wrong(2, "another number of entries follows")) }
}

/// Whether a batch can be the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    Yes,
    /// Once upkeep has written its epoch down.
    NotYet,
    /// The log's last epoch is a later one.
    Never,
}

impl<F: engine_env::File> PartitionLog<F> {
    /// Whether a batch of that epoch may be appended now. If the epoch is new, upkeep is asked to write it down first.
    pub(crate) fn may_follow(&mut self, epoch: Epoch) -> Follows {
        let last = self.epochs.before(self.end);
        if epoch < last {
            return Follows::Never;
        }
        let begins_here = self.epochs.entries.last() == Some(&(epoch, self.end));
        if epoch > last && !begins_here {
            self.epochs.begin(epoch, self.end);
        }
        if self.epochs.unsaved { Follows::NotYet } else { Follows::Yes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn epochs(entries: &[(Epoch, u64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for &(epoch, start) in entries {
            epochs.begin(epoch, Offset(start));
        }
        epochs
    }

    #[test]
    fn the_file_is_kafkas() {
        let text = epochs(&[(0, 0), (3, 17)]).encode();
        assert_eq!(text, "0\n2\n0 0\n3 17\n");
        assert_eq!(LeaderEpochs::decode(&text).expect("its own").entries, [(0, Offset(0)), (3, Offset(17))]);
        for wrong in
            ["", "1\n0\n", "0\n1\n", "0\n1\nx y\n", "0\n2\n3 17\n0 0\n", "0\n1\n-1 0\n", "0\n0\n1 1\n"]
        {
            assert_eq!(LeaderEpochs::decode(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs(&[(1, 10), (3, 20)]);
        let end = Offset(30);
        assert_eq!(epochs.end_of(0, end), (NO_EPOCH, Offset(10)));
        assert_eq!(epochs.end_of(1, end), (1, Offset(20)));
        assert_eq!(epochs.end_of(2, end), (1, Offset(20)));
        assert_eq!(epochs.end_of(3, end), (3, end));
        assert_eq!(epochs.end_of(9, end), (3, end));
        assert_eq!(epochs.before(Offset(10)), NO_EPOCH);
        assert_eq!(epochs.before(Offset(11)), 1);
        assert_eq!(epochs.before(Offset(20)), 1);
        assert_eq!(epochs.before(Offset(21)), 3);
    }

    #[test]
    fn an_epoch_that_came_to_nothing_leaves_its_number() {
        let mut epochs = epochs(&[(0, 0), (1, 5)]);
        epochs.truncate(Offset(5));
        assert_eq!((epochs.entries.as_slice(), epochs.highest()), ([(0, Offset(0))].as_slice(), 1));
        epochs.begin(2, Offset(4));
        assert_eq!(epochs.entries, [(0, Offset(0)), (2, Offset(4))]);
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_read_back(text in "[0-9 \n-]{0,40}|\\PC{0,30}") {
            if let Some(epochs) = LeaderEpochs::decode(&text) {
                prop_assert_eq!(LeaderEpochs::decode(&epochs.encode()), Some(epochs));
            }
        }
    }
}
