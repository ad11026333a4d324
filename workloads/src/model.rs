//! The shadow: which answers are allowed, judged from outside the engine.
//!
//! Per key, a read is explained by a write (a delete is one too) that precedes or overlaps it, and that no other
//! write had surely replaced before the read began. "Surely" is decided by intervals alone, so that operations may
//! overlap freely: a write replaces another for certain once it has ended, acknowledged, and began after the other
//! had ended. An answer is evidence as well: what was read has happened, and what had ended before that read
//! began is older than what it returned. A right answer is never refused. With one writer per key at a time the
//! verdict is exactly linearizability (a test compares it with all possible orders); where writes to one key
//! overlap, an answer that only a cycle through several overlapping writes proves wrong may pass.
//!
//! A write that was not acknowledged may take effect at any later time, or never, so it stays possible until a
//! read shows it.
//!
//! That is the strictest [`Promise`]. A weaker one lets older answers pass, and the model then measures how old they
//! are ([`Freshness`], [`Staleness`]). Where only answers show progress (a prefix without read-your-writes), a
//! write replaces another once an answer has shown it; where nothing does (a partial quorum), never.
//!
//! Memory: 16 bytes per key at rest; a key with operations in flight, or whose order is open, has a state of its
//! own until a later write or read settles it: with the weaker promises that is every key that was written and
//! not read since. Values are known by their 64-bit fingerprint.

mod increments;
mod promise;
mod wrong_answer;

use crate::op::Op;
use crate::values::{Fingerprint, Label, StreamTag, ValueFault, read_label};
use increments::Increments;
pub use increments::{IncrementHandle, LostUpdates};
pub use promise::{Freshness, Promise, Staleness};
use std::collections::HashSet;
pub use wrong_answer::{Expected, Got, Why, WrongAnswer};

/// Attempts without acknowledgement that are kept per key; beyond, the key is no longer judged (and counted).
const ATTEMPTS_MAX: usize = 64;
/// Recorded values whose former life is remembered, to tell "too old" from "never written".
const FORMER_MAX: usize = 1 << 20;
const OPEN: u64 = u64::MAX;

/// What was written: a value, or nothing (a delete, or a key that never was).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    /// 0 stands for "no value".
    fingerprint: u64,
    stream: u32,
    /// The low half of the version; it serves explanations only, never a verdict.
    version: u32,
}

impl Content {
    const ABSENT: Self = Self { fingerprint: 0, stream: 0, version: 0 };

    /// What stands for a key that is not at rest: where its state is. No value has the fingerprint 0, and no absence
    /// a stream.
    const fn busy(at: u32) -> Self {
        Self { fingerprint: 0, stream: 1, version: at }
    }

    fn busy_at(self) -> Option<u32> {
        (self.fingerprint == 0 && self.stream != 0).then_some(self.version)
    }

    fn of(op: &Op) -> Self {
        match &op.value {
            None => Self::ABSENT,
            Some(value) => {
                let label = value.label();
                Self {
                    fingerprint: value.fingerprint().get(),
                    stream: label.map_or(0, |l| l.stream.0),
                    version: label.map_or(0, |l| l.version as u32),
                }
            }
        }
    }

    fn is_absent(self) -> bool {
        self.fingerprint == 0
    }
}

/// A write that may still explain an answer. Times are counts of begins and ends, one by one.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    begin: u64,
    /// When it had surely taken effect; `OPEN` while nobody knows.
    end: u64,
    /// When it had surely been replaced; `OPEN` while it may be the newest.
    replaced: u64,
    /// When it was acknowledged; `OPEN` if it was not.
    acked: u64,
    /// The same, in nanoseconds of the clock.
    acked_ns: u64,
    /// Ended without acknowledgement.
    failed: bool,
    content: Content,
}

impl Candidate {
    fn begun(id: u32, begin: u64, content: Content) -> Self {
        Self { id, begin, end: OPEN, replaced: OPEN, acked: OPEN, acked_ns: 0, failed: false, content }
    }

    /// What was there before: acknowledged at the time `at`, which lies before that of every operation to come.
    fn settled(id: u32, at: u64, acked_ns: u64, content: Content) -> Self {
        Self { id, begin: at, end: at, replaced: OPEN, acked: at, acked_ns, failed: false, content }
    }
}

/// A key with operations in flight, or with more than one candidate.
#[derive(Debug, Default)]
struct Busy {
    in_flight: u32,
    next_id: u32,
    /// Too many lost attempts: every answer is accepted, and counted.
    unjudged: bool,
    /// When the last of the candidates that were let go had taken effect; 0 if none was.
    forgotten: u64,
    /// What was there when the state was made, as long as it is all that can explain an answer: reads alone, which are
    /// most of what is asked, then need no candidate.
    only: Option<Settled>,
    candidates: Vec<Candidate>,
    /// Begins of the reads in flight.
    reads: Vec<u64>,
}

/// What a key at rest held, and the time since when that was surely acknowledged.
#[derive(Debug, Clone, Copy)]
struct Settled {
    content: Content,
    acked_ns: u64,
}

impl Busy {
    /// From now on others may explain an answer, too.
    fn make_candidates(&mut self) {
        if let Some(Settled { content, acked_ns }) = self.only.take() {
            self.candidates.push(Candidate::settled(1, 0, acked_ns, content));
        }
    }
}

/// A write in flight.
#[derive(Debug)]
#[must_use = "tell the model how the write ended"]
pub struct WriteHandle {
    key_index: u32,
    busy: u32,
    id: u32,
}

/// A read in flight.
#[derive(Debug)]
#[must_use = "tell the model what the read returned"]
pub struct ReadHandle {
    key_index: u32,
    busy: u32,
    begin: u64,
    begin_ns: u64,
}

/// The shadow of an engine's contents. One per run, owned by the driver thread.
#[derive(Debug)]
pub struct Model {
    promise: Promise,
    now: u64,
    now_ns: u64,
    /// Of each key: what it holds, or where in `busy` its state is.
    rest: Vec<Content>,
    /// One bit for each key at rest whose first value no answer has shown yet: "not there" still explains an answer.
    /// A preload leaves all keys so, and a state of its own for each would cost a hundred times as much.
    unshown: Vec<u64>,
    /// The latest acknowledgement among those.
    unshown_ns: u64,
    busy: Vec<Busy>,
    free: Vec<u32>,
    former: HashSet<u64>,
    /// The highest version written by each stream: few streams, so a list. For explanations only.
    newest: Vec<(u32, u32)>,
    unjudged: u64,
    staleness: Staleness,
    increments: Increments,
}

impl Model {
    /// A model of an empty engine, with room for `records` keys; keys beyond that make it grow.
    #[must_use]
    pub fn new(records: u64, promise: Promise) -> Self {
        let records = usize::try_from(records.min(u64::from(u32::MAX))).expect("u32 fits in usize");
        Self {
            promise,
            now: 0,
            now_ns: 0,
            rest: vec![Content::ABSENT; records],
            unshown: Vec::new(),
            unshown_ns: 0,
            busy: Vec::new(),
            free: Vec::new(),
            former: HashSet::new(),
            newest: Vec::new(),
            unjudged: 0,
            staleness: Staleness::default(),
            increments: Increments::default(),
        }
    }

    /// The time of what is told next, nanoseconds of any clock. No verdict depends on it: it only measures how long
    /// an answer had been replaced.
    pub fn advance_to(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// A write or delete that has taken effect while nothing else was in flight on its key: the quick way for a
    /// preload.
    ///
    /// # Panics
    /// If an operation on the key is in flight.
    pub fn settled(&mut self, op: &Op) {
        let content = Content::of(op);
        self.note_version(content);
        let old = self.rest_of(op.key_index);
        assert!(old.busy_at().is_none(), "a preload does not overlap operations on its key");
        self.remember_former(op.key_index, old);
        self.rest[op.key_index as usize] = content;
        self.take_unshown(op.key_index);
    }

    /// A write or delete is about to be submitted.
    pub fn write_begins(&mut self, op: &Op) -> WriteHandle {
        debug_assert!(op.access().changes(), "a read is told by read_begins");
        let begin = self.tick();
        let content = Content::of(op);
        self.note_version(content);
        let at = self.busy_of(op.key_index);
        let busy = &mut self.busy[at as usize];
        busy.make_candidates();
        let id = busy.next_id;
        busy.next_id = busy.next_id.wrapping_add(1);
        busy.in_flight += 1;
        busy.candidates.push(Candidate::begun(id, begin, content));
        WriteHandle { key_index: op.key_index, busy: at, id }
    }

    /// A write or delete ended: acknowledged, or failed in a way that leaves open whether it took effect.
    pub fn write_ends(&mut self, handle: WriteHandle, acknowledged: bool) {
        let now = self.tick();
        let (now_ns, replaces) = (self.now_ns, self.promise.acknowledged_shows());
        let busy = &mut self.busy[handle.busy as usize];
        busy.in_flight -= 1;
        // The candidate may be gone: a read can show a later write before this one's end is told.
        if let Some(own) = busy.candidates.iter_mut().find(|c| c.id == handle.id) {
            own.failed = !acknowledged;
            if acknowledged {
                own.end = own.end.min(now);
                (own.acked, own.acked_ns) = (now, now_ns);
                let begin = own.begin;
                if replaces {
                    replace(&mut busy.candidates, now, |other| other.id != handle.id && other.end < begin);
                }
            }
        }
        self.settle(handle.key_index, handle.busy);
    }

    /// A write or delete was refused before it was attempted (the engine was full, or does not support it): it
    /// never takes effect.
    pub fn write_withdrawn(&mut self, handle: WriteHandle) {
        self.tick();
        let busy = &mut self.busy[handle.busy as usize];
        busy.in_flight -= 1;
        busy.candidates.retain(|c| c.id != handle.id);
        self.settle(handle.key_index, handle.busy);
    }

    /// An [increment](crate::OpKind::IncrementProfile) is about to be submitted. From now on its key is a counted one.
    pub fn increment_begins(&mut self, op: &Op) -> IncrementHandle {
        self.note_version(Content::of(op));
        self.increments.begins(op.key_index)
    }

    /// An increment ended: acknowledged, or failed in a way that leaves open whether it took effect.
    pub fn increment_ends(&mut self, handle: IncrementHandle, acknowledged: bool) {
        self.increments.ends(handle, acknowledged);
    }

    /// An increment was refused before it was attempted, or for good without taking effect.
    pub fn increment_withdrawn(&mut self, handle: IncrementHandle) {
        self.increments.withdrawn(handle);
    }

    /// What became of the increments so far; `None` if there were none. Exact once every counted key was read with
    /// nothing in flight.
    #[must_use]
    pub fn lost_updates(&self) -> Option<LostUpdates> {
        self.increments.lost()
    }

    /// A read is about to be submitted.
    pub fn read_begins(&mut self, key_index: u32) -> ReadHandle {
        let begin = self.tick();
        let at = self.busy_of(key_index);
        let busy = &mut self.busy[at as usize];
        busy.in_flight += 1;
        busy.reads.push(begin);
        ReadHandle { key_index, busy: at, begin, begin_ns: self.now_ns }
    }

    /// A read ended with this answer; `None` says that the key is not there.
    ///
    /// # Errors
    /// [`WrongAnswer`] if no write that precedes or overlaps the read explains it within the [`Promise`].
    pub fn read_ends(&mut self, handle: ReadHandle, answer: Option<&[u8]>) -> Result<Freshness, WrongAnswer> {
        let now = self.tick();
        let fingerprint = answer.map_or(0, |bytes| Fingerprint::of(bytes).get());
        let busy = &mut self.busy[handle.busy as usize];
        busy.in_flight -= 1;
        forget_read(&mut busy.reads, handle.begin);
        if self.increments.counts(handle.key_index) {
            self.settle(handle.key_index, handle.busy);
            let may_miss = self.promise.allows_stale();
            return self.increments.judge(handle.key_index, answer, may_miss).map(|()| Freshness::Fresh);
        }
        if busy.only.is_some_and(|only| only.content.fingerprint == fingerprint) {
            self.staleness.count(Freshness::Fresh);
            self.settle(handle.key_index, handle.busy);
            return Ok(Freshness::Fresh);
        }
        busy.make_candidates();
        let explains = |c: &&mut Candidate| c.content.fingerprint == fingerprint && c.replaced > handle.begin;
        let mut explaining = busy.candidates.iter_mut().filter(explains);
        let verdict = match (explaining.next(), explaining.next()) {
            (Some(seen), None) => {
                let (id, begun, ended) = (seen.id, seen.begin, seen.end);
                if self.promise.shown_stays() {
                    seen.end = ended.min(now);
                    // Where a read shows what was acknowledged before it began, so it does what ended before.
                    let shown =
                        if self.promise.acknowledged_shows() { begun.max(handle.begin) } else { begun };
                    replace(&mut busy.candidates, now, |other| other.id != id && other.end < shown);
                    if busy.forgotten < begun {
                        busy.forgotten = 0;
                    }
                }
                Ok(freshness(&busy.candidates, ended, &handle))
            }
            (Some(first), Some(second)) => {
                // The same content more than once (twice deleted): the youngest of them excuses the most.
                let youngest = [first.end, second.end].into_iter().chain(explaining.map(|c| c.end)).max();
                Ok(freshness(&busy.candidates, youngest.unwrap_or(OPEN), &handle))
            }
            (None, _) if busy.unjudged => {
                self.unjudged += 1;
                Ok(Freshness::Fresh)
            }
            (None, _) if busy.forgotten > 0 => match answer.map(read_label) {
                Some(Ok(label)) if label.key_index == handle.key_index && self.is_written(label) => {
                    // Older than all that is kept.
                    Ok(freshness(&self.busy[handle.busy as usize].candidates, 0, &handle))
                }
                Some(Ok(_)) => Err(self.explain(&handle, answer, fingerprint)),
                // Nothing in the answer says which write it is from.
                Some(Err(_)) | None => {
                    self.unjudged += 1;
                    Ok(Freshness::Fresh)
                }
            },
            (None, _) => Err(self.explain(&handle, answer, fingerprint)),
        };
        match &verdict {
            Ok(freshness) => self.staleness.count(*freshness),
            Err(WrongAnswer { why: Why::TooOld | Why::CameBack, .. }) => self.staleness.count_too_old(),
            Err(_) => self.staleness.count(Freshness::Fresh),
        }
        self.settle(handle.key_index, handle.busy);
        verdict
    }

    /// Judges the rows of a scan: in order from its start, no more than asked for, each value whole and written by
    /// somebody. Which keys have to be there is not judged.
    ///
    /// # Errors
    /// [`WrongAnswer`] for the first row that is wrong.
    pub fn judge_rows(&self, scan: &Op, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<(), WrongAnswer> {
        let wrong = |bytes: &[u8], why| {
            let (fingerprint, label) = (Fingerprint::of(bytes).get(), read_label(bytes).ok());
            let got = Got::Value { bytes: bytes.len(), fingerprint, label };
            Err(WrongAnswer { key_index: scan.key_index, expected: Vec::new(), got, why })
        };
        if let Some((_, value)) = rows.get(scan.rows_max as usize) {
            return wrong(value, Why::TooManyRows);
        }
        let mut least = scan.key.as_bytes();
        for (at, (key, value)) in rows.iter().enumerate() {
            if key.as_slice() < least || (at > 0 && key == least) {
                return wrong(value, Why::OutOfOrder);
            }
            least = key;
            match read_label(value) {
                Ok(label) if !self.is_written(label) => return wrong(value, Why::NeverWritten),
                // Short and recorded values have no header; what begins with one must be whole.
                Ok(_) | Err(ValueFault::NoHeader { .. }) => {}
                Err(fault) => return wrong(value, Why::Damaged { fault }),
            }
        }
        Ok(())
    }

    /// A read ended without an answer (an error, or it was refused).
    pub fn read_fails(&mut self, handle: ReadHandle) {
        self.tick();
        let busy = &mut self.busy[handle.busy as usize];
        busy.in_flight -= 1;
        forget_read(&mut busy.reads, handle.begin);
        self.settle(handle.key_index, handle.busy);
    }

    /// Answers accepted only because too many attempts on their key were lost to judge it. Zero in a sound run.
    #[must_use]
    pub fn unjudged(&self) -> u64 {
        self.unjudged
    }

    /// What the answers are judged by.
    #[must_use]
    pub fn promise(&self) -> Promise {
        self.promise
    }

    /// How far behind the answers were, so far.
    #[must_use]
    pub fn staleness(&self) -> Staleness {
        self.staleness
    }

    /// Keys that surely hold a value now, none of whose operations is in flight or open.
    #[must_use]
    pub fn present(&self) -> u64 {
        self.rest.iter().filter(|content| !content.is_absent()).count() as u64
    }

    /// Bytes the model holds, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.rest.capacity() * size_of::<Content>()
            + self
                .busy
                .iter()
                .map(|b| {
                    size_of::<Busy>()
                        + b.candidates.capacity() * size_of::<Candidate>()
                        + b.reads.capacity() * 8
                })
                .sum::<usize>()
            + self.former.capacity() * 9
    }

    #[cfg(test)]
    fn is_at_rest(&self) -> bool {
        self.rest.iter().all(|content| content.busy_at().is_none())
    }

    fn note_version(&mut self, content: Content) {
        match self.newest.iter_mut().find(|(stream, _)| *stream == content.stream) {
            Some((_, version)) => *version = content.version.max(*version),
            None => self.newest.push((content.stream, content.version)),
        }
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn rest_of(&mut self, key_index: u32) -> Content {
        let at = key_index as usize;
        if at >= self.rest.len() {
            self.rest.resize(at + 1, Content::ABSENT);
        }
        self.rest[at]
    }

    /// The busy state of a key, made from its state at rest when there is none.
    fn busy_of(&mut self, key_index: u32) -> u32 {
        let content = self.rest_of(key_index);
        if let Some(at) = content.busy_at() {
            return at;
        }
        let unshown = self.take_unshown(key_index);
        let at = self.free.pop().unwrap_or_else(|| {
            self.busy.push(Busy::default());
            u32::try_from(self.busy.len() - 1).expect("fewer busy keys than keys")
        });
        let busy = &mut self.busy[at as usize];
        debug_assert!(busy.candidates.is_empty() && busy.reads.is_empty() && busy.in_flight == 0);
        busy.next_id = 2;
        busy.unjudged = false;
        busy.forgotten = 0;
        if unshown {
            busy.only = None;
            busy.candidates.push(Candidate::settled(0, 0, 0, Content::ABSENT));
            busy.candidates.push(Candidate::settled(1, 1, self.unshown_ns, content));
        } else {
            busy.only = Some(Settled { content, acked_ns: self.unshown_ns });
        }
        self.rest[key_index as usize] = Content::busy(at);
        at
    }

    /// Drops the candidates that no read can show any more, and puts the key to rest when one is left.
    fn settle(&mut self, key_index: u32, at: u32) {
        let busy = &mut self.busy[at as usize];
        if let Some(only) = busy.only {
            if busy.in_flight == 0 {
                self.rest[key_index as usize] = only.content;
                self.free.push(at);
            }
            return;
        }
        let oldest_read = busy.reads.iter().copied().min().unwrap_or(OPEN - 1);
        let former = &mut self.former;
        busy.candidates.retain(|c| {
            let keep = c.replaced > oldest_read;
            if !keep && c.content.stream == 0 && !c.content.is_absent() && former.len() < FORMER_MAX {
                former.insert(former_entry(key_index, c.content.fingerprint));
            }
            keep
        });
        if busy.candidates.len() > ATTEMPTS_MAX && lose_attempts(busy) {
            busy.unjudged = true;
        }
        let_go_of_oldest(busy, self.promise.kept_max());
        if busy.in_flight > 0 || busy.unjudged || busy.forgotten > 0 {
            return;
        }
        let (newest, unshown) = match busy.candidates.as_slice() {
            [only] => (only, false),
            // An earlier state of a key is explained by an earlier absence only if nothing was there at the start.
            [none, first] if none.content.is_absent() && none.end == 0 && first.acked != OPEN => {
                (first, true)
            }
            _ => return,
        };
        if newest.end == OPEN {
            return;
        }
        self.rest[key_index as usize] = newest.content;
        if unshown {
            self.unshown_ns = self.unshown_ns.max(newest.acked_ns);
            let word = key_index as usize / 64;
            if word >= self.unshown.len() {
                self.unshown.resize(self.rest.len().div_ceil(64).max(word + 1), 0);
            }
            self.unshown[word] |= 1 << (key_index % 64);
        }
        busy.candidates.clear();
        self.free.push(at);
    }

    /// Whether no answer has shown the first value of a key at rest; it counts as shown from now on.
    fn take_unshown(&mut self, key_index: u32) -> bool {
        let bit = 1 << (key_index % 64);
        let Some(word) = self.unshown.get_mut(key_index as usize / 64) else { return false };
        let unshown = *word & bit != 0;
        *word &= !bit;
        unshown
    }

    /// Whether this version of this stream was begun, of whatever key.
    fn is_written(&self, label: Label) -> bool {
        self.newest
            .iter()
            .any(|(stream, version)| *stream == label.stream.0 && label.version <= u64::from(*version))
    }

    fn remember_former(&mut self, key_index: u32, content: Content) {
        if content.stream == 0 && !content.is_absent() && self.former.len() < FORMER_MAX {
            self.former.insert(former_entry(key_index, content.fingerprint));
        }
    }

    /// Why no candidate explains the answer. Only words: the verdict has been reached.
    fn explain(&self, handle: &ReadHandle, answer: Option<&[u8]>, fingerprint: u64) -> WrongAnswer {
        let busy = &self.busy[handle.busy as usize];
        let allowed: Vec<Content> =
            busy.candidates.iter().filter(|c| c.replaced > handle.begin).map(|c| c.content).collect();
        let expected = allowed
            .iter()
            .map(|content| match content {
                Content { fingerprint: 0, .. } => Expected::NoValue,
                Content { stream: 0, fingerprint, .. } => Expected::Recorded { fingerprint: *fingerprint },
                Content { stream, version, .. } => {
                    Expected::Generated { stream: StreamTag(*stream), version: *version }
                }
            })
            .collect();
        let key_index = handle.key_index;
        let only_absent = allowed.iter().all(|content| content.is_absent());
        let Some(bytes) = answer else {
            return WrongAnswer { key_index, expected, got: Got::NoValue, why: Why::Missing };
        };
        let got = Got::Value { bytes: bytes.len(), fingerprint, label: read_label(bytes).ok() };
        let too_old = if only_absent { Why::CameBack } else { Why::TooOld };
        let why = match read_label(bytes) {
            Ok(label) if label.key_index != key_index => Why::OtherKey { key_index: label.key_index },
            Ok(label) if !self.is_written(label) => Why::NeverWritten,
            Ok(_) => too_old,
            Err(_) if self.former.contains(&former_entry(key_index, fingerprint)) => too_old,
            // Where every allowed value is recorded or short, bytes without a header are just unknown bytes.
            Err(ValueFault::NoHeader { .. }) if allowed.iter().all(|c| c.stream == 0) => Why::NeverWritten,
            Err(fault) => Why::Damaged { fault },
        };
        WrongAnswer { key_index, expected, got, why }
    }
}

/// How an answer that had taken effect at `ended` stands to the writes acknowledged before the read began.
fn freshness(candidates: &[Candidate], ended: u64, read: &ReadHandle) -> Freshness {
    let (mut versions, mut since_ns) = (0, u64::MAX);
    for lacking in candidates.iter().filter(|c| c.acked < read.begin && c.begin > ended) {
        versions += 1;
        since_ns = since_ns.min(lacking.acked_ns);
    }
    if versions == 0 {
        return Freshness::Fresh;
    }
    Freshness::Stale { versions, behind_ns: read.begin_ns.saturating_sub(since_ns) }
}

/// Keeps the memory of a key bounded that is written and never read, oldest first.
fn let_go_of_oldest(busy: &mut Busy, kept_max: usize) {
    let mut excess = busy.candidates.len().saturating_sub(kept_max);
    if excess == 0 {
        return;
    }
    let forgotten = &mut busy.forgotten;
    busy.candidates.retain(|c| {
        let go = excess > 0 && c.end != OPEN;
        if go {
            excess -= 1;
            *forgotten = (*forgotten).max(c.end).max(1);
        }
        !go
    });
}

/// Marks as replaced at `now` whatever `older` names.
fn replace(candidates: &mut [Candidate], now: u64, older: impl Fn(&Candidate) -> bool) {
    for other in candidates.iter_mut().filter(|c| older(c)) {
        other.replaced = other.replaced.min(now);
    }
}

fn forget_read(reads: &mut Vec<u64>, begin: u64) {
    let at = reads.iter().position(|r| *r == begin).expect("a read handle ends once");
    reads.swap_remove(at);
}

/// Drops failed attempts beyond the limit, oldest first; says whether it had to.
fn lose_attempts(busy: &mut Busy) -> bool {
    let lost = |c: &Candidate| c.failed && c.end == OPEN;
    let excess = busy.candidates.iter().filter(|c| lost(c)).count().saturating_sub(ATTEMPTS_MAX);
    let mut dropped = 0;
    busy.candidates.retain(|c| {
        let drop = dropped < excess && lost(c);
        dropped += usize::from(drop);
        !drop
    });
    excess > 0
}

fn former_entry(key_index: u32, fingerprint: u64) -> u64 {
    engine_env::rng::mix(fingerprint ^ u64::from(key_index).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests;
