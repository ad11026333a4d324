//! [`CommitQueue`]: group commit for the growing end of files, without threads, clocks or I/O.
//!
//! Callers *stage* bytes; each stage joins the last waiting chunk if it continues it. One chunk at a time is
//! *begun* (written with a sync) and *finished*; while it is in flight the next chunk gathers whatever comes.
//! There is no linger: the device's own latency is what fills a group.
//!
//! Invariants:
//! * Chunks become durable in the order in which they were staged, also across files (a roll).
//! * At most one chunk is in flight: consecutive chunks may share a device block, and two writes of one block in
//!   flight may land in either order.
//! * After a failure nothing more is begun. Tags of the failed chunk and of all waiting ones are handed back as
//!   failed: none of them may be acknowledged.

use std::collections::VecDeque;

use crate::DiskError;

/// Staged bytes that become durable together.
#[derive(Debug)]
pub struct Chunk<F, T> {
    /// Where to.
    pub file: F,
    /// Byte position of the first byte.
    pub at: u64,
    /// What.
    pub bytes: Vec<u8>,
    /// Whom to tell.
    pub tags: Vec<T>,
}

/// The queue of one writer (a partition of the log, the active file of the store).
#[derive(Debug)]
pub struct CommitQueue<F, T> {
    waiting: VecDeque<Chunk<F, T>>,
    in_flight: Option<Chunk<F, T>>,
    failed: Option<DiskError>,
    /// How many tags the chunk had that was finished last.
    shared_by: usize,
    chunk_bytes_max: usize,
    spare: Vec<u8>,
}

/// Past this a commit only adds latency, on every disk measured.
const CHUNK_BYTES_MAX: usize = 1 << 20;

impl<F: Clone, T> CommitQueue<F, T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            in_flight: None,
            failed: None,
            shared_by: 0,
            chunk_bytes_max: CHUNK_BYTES_MAX,
            spare: Vec::new(),
        }
    }

    /// Stages bytes for `file` at `at`: `encode` appends them to the buffer it is given.
    ///
    /// Returns how many bytes were staged.
    ///
    /// # Errors
    /// An earlier chunk failed; nothing was staged, and nothing will be until the owner reopens.
    pub fn stage(
        &mut self,
        file: &F,
        at: u64,
        tag: T,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<usize, DiskError>
    where
        F: PartialEq,
    {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let joins = self.waiting.back().is_some_and(|last| {
            last.file == *file
                && last.at + last.bytes.len() as u64 == at
                && last.bytes.len() < self.chunk_bytes_max
        });
        if !joins {
            let bytes = std::mem::take(&mut self.spare);
            self.waiting.push_back(Chunk { file: file.clone(), at, bytes, tags: Vec::new() });
        }
        let last = self.waiting.back_mut().expect("a chunk was pushed if there was none");
        let before = last.bytes.len();
        encode(&mut last.bytes);
        last.tags.push(tag);
        Ok(last.bytes.len() - before)
    }

    /// The tag that was staged last, unless its chunk has begun: for an answer that stands for all before it.
    pub fn last_staged(&mut self) -> Option<&mut T> {
        self.waiting.back_mut()?.tags.last_mut()
    }

    /// Begins the oldest waiting chunk, unless one is in flight: its file, position and bytes, to be written with
    /// [`WriteSync::Data`](crate::WriteSync::Data). The bytes come back through [`CommitQueue::finish`].
    pub fn begin(&mut self) -> Option<(F, u64, Vec<u8>)> {
        if self.in_flight.is_some() || self.failed.is_some() {
            return None;
        }
        let mut chunk = self.waiting.pop_front()?;
        let bytes = std::mem::take(&mut chunk.bytes);
        let begun = (chunk.file.clone(), chunk.at, bytes);
        self.in_flight = Some(chunk);
        Some(begun)
    }

    /// Takes the result of the begun write and its bytes.
    ///
    /// `Ok`: the chunk is durable, its tags may be acknowledged. `Err`: the error, and the tags of everything that
    /// will never be written by this queue.
    ///
    /// # Errors
    /// The write's own error.
    ///
    /// # Panics
    /// If nothing was begun.
    pub fn finish(
        &mut self,
        result: Result<(), DiskError>,
        bytes: Vec<u8>,
    ) -> Result<Chunk<F, T>, (DiskError, Vec<T>)> {
        let mut chunk = self.in_flight.take().expect("finish() follows a begin()");
        match result {
            Ok(()) => {
                self.shared_by = chunk.tags.len();
                chunk.bytes = bytes;
                Ok(chunk)
            }
            Err(error) => {
                self.failed = Some(error.clone());
                let mut tags = chunk.tags;
                tags.extend(self.waiting.drain(..).flat_map(|c| c.tags));
                Err((error, tags))
            }
        }
    }

    /// Gives a finished chunk's buffer back for reuse.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > self.spare.capacity() && bytes.capacity() <= 2 * self.chunk_bytes_max {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// Whether everything staged is durable.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none()
    }

    /// Whether the only tag that waits has nobody to share a commit with, as far as the last chunk tells: then whoever
    /// staged it had better write it himself than hand it over. Where others have just been served together, they are on
    /// their way back, and the hand-over gives them the time to join: an eager commit of one would let all of them wait.
    #[must_use]
    pub fn is_lone(&self) -> bool {
        self.shared_by <= 1
            && self.in_flight.is_none()
            && self.waiting.iter().map(|chunk| chunk.tags.len()).sum::<usize>() == 1
    }

    /// Whether a begun chunk has not been finished.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether [`CommitQueue::begin`] would give a chunk.
    #[must_use]
    pub fn can_begin(&self) -> bool {
        self.in_flight.is_none() && self.failed.is_none() && !self.waiting.is_empty()
    }

    /// The error that ended this queue, if one did.
    #[must_use]
    pub fn failed(&self) -> Option<&DiskError> {
        self.failed.as_ref()
    }
}

impl<F: Clone, T> Default for CommitQueue<F, T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskErrorKind;

    fn put(queue: &mut CommitQueue<u32, u32>, file: u32, at: u64, tag: u32, bytes: &[u8]) {
        queue.stage(&file, at, tag, |buf| buf.extend_from_slice(bytes)).expect("queue is healthy");
    }

    #[test]
    fn what_waits_while_a_commit_is_in_flight_goes_out_together() {
        let mut queue = CommitQueue::new();
        put(&mut queue, 1, 0, 10, b"a");
        let (file, at, bytes) = queue.begin().expect("one chunk waits");
        assert_eq!((file, at, bytes.as_slice()), (1, 0, b"a".as_slice()));
        put(&mut queue, 1, 1, 11, b"b");
        put(&mut queue, 1, 2, 12, b"c");
        assert!(queue.begin().is_none(), "one chunk in flight at most");
        assert_eq!(queue.finish(Ok(()), bytes).expect("it succeeded").tags, [10]);
        let (_, at, bytes) = queue.begin().expect("the gathered chunk");
        assert_eq!((at, bytes.as_slice()), (1, b"bc".as_slice()));
        assert_eq!(queue.finish(Ok(()), bytes).expect("it succeeded").tags, [11, 12]);
        assert!(queue.is_idle());
    }

    #[test]
    fn who_was_served_with_others_expects_them_back() {
        let mut queue = CommitQueue::new();
        put(&mut queue, 1, 0, 1, b"a");
        assert!(queue.is_lone());
        let (.., bytes) = queue.begin().expect("a chunk");
        put(&mut queue, 1, 1, 2, b"b");
        assert!(!queue.is_lone(), "it waits behind another");
        put(&mut queue, 1, 2, 3, b"c");
        queue.finish(Ok(()), bytes).expect("it succeeded");
        assert!(!queue.is_lone(), "two wait");
        let (.., bytes) = queue.begin().expect("a chunk");
        queue.finish(Ok(()), bytes).expect("it succeeded");
        put(&mut queue, 1, 3, 4, b"d");
        assert!(!queue.is_lone(), "two were served together");
        let (.., bytes) = queue.begin().expect("a chunk");
        queue.finish(Ok(()), bytes).expect("it succeeded");
        put(&mut queue, 1, 4, 5, b"e");
        assert!(queue.is_lone(), "nobody came back");
    }

    #[test]
    fn a_roll_keeps_the_order_of_chunks() {
        let mut queue = CommitQueue::new();
        put(&mut queue, 1, 0, 1, b"old");
        put(&mut queue, 2, 0, 2, b"new");
        let (first, _, bytes) = queue.begin().expect("a chunk");
        assert_eq!(first, 1);
        queue.finish(Ok(()), bytes).expect("it succeeded");
        assert_eq!(queue.begin().expect("a chunk").0, 2);
    }

    #[test]
    fn a_failed_commit_fails_everything_behind_it_and_nothing_is_retried() {
        let mut queue = CommitQueue::new();
        put(&mut queue, 1, 0, 1, b"x");
        let (_, _, bytes) = queue.begin().expect("a chunk");
        put(&mut queue, 1, 1, 2, b"y");
        let error = DiskError::new("write", "f", Some(0), DiskErrorKind::NoSpace);
        let (_, tags) = queue.finish(Err(error), bytes).expect_err("it failed");
        assert_eq!(tags, [1, 2]);
        assert!(queue.begin().is_none());
        assert!(queue.stage(&1, 2, 3, |b| b.push(0)).is_err());
    }
}
