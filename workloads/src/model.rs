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
//! Memory: 16 bytes per key at rest; a key with operations in flight, or whose order is open, has a state of its
//! own until a later write or read settles it. Values are known by their 64-bit fingerprint.

use crate::op::{Access, Op};
use crate::values::{Fingerprint, Label, StreamTag, ValueFault, read_label};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// What the engine states that its reads keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Promise {
    /// Linearizable per key: `memory`, `kv-store`, `log`.
    Linearizable,
    /// Never older than the newest write acknowledged before the read began, but an unacknowledged attempt may
    /// be seen and vanish again: a quorum store with R + W > N.
    Quorum,
}

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
    /// Ended without acknowledgement.
    failed: bool,
    content: Content,
}

/// A key with operations in flight, or with more than one candidate.
#[derive(Debug, Default)]
struct Busy {
    in_flight: u32,
    next_id: u32,
    /// Too many lost attempts: every answer is accepted, and counted.
    unjudged: bool,
    candidates: Vec<Candidate>,
    /// Begins of the reads in flight.
    reads: Vec<u64>,
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
}

/// The shadow of an engine's contents. One per run, owned by the driver thread.
#[derive(Debug)]
pub struct Model {
    promise: Promise,
    now: u64,
    rest: Vec<Content>,
    index: HashMap<u32, u32, BuildHasherDefault<IndexHasher>>,
    busy: Vec<Busy>,
    free: Vec<u32>,
    former: HashSet<u64>,
    /// The highest version written by each stream: few streams, so a list. For explanations only.
    newest: Vec<(u32, u32)>,
    unjudged: u64,
}

impl Model {
    /// A model of an empty engine, with room for `records` keys; keys beyond that make it grow.
    #[must_use]
    pub fn new(records: u64, promise: Promise) -> Self {
        let records = usize::try_from(records.min(u64::from(u32::MAX))).expect("u32 fits in usize");
        Self {
            promise,
            now: 0,
            rest: vec![Content::ABSENT; records],
            index: HashMap::default(),
            busy: Vec::new(),
            free: Vec::new(),
            former: HashSet::new(),
            newest: Vec::new(),
            unjudged: 0,
        }
    }

    /// A write or delete that has taken effect while nothing else was in flight on its key: the quick way for a
    /// preload.
    ///
    /// # Panics
    /// If an operation on the key is in flight.
    pub fn settled(&mut self, op: &Op) {
        let content = Content::of(op);
        self.note_version(content);
        assert!(!self.index.contains_key(&op.key_index), "a preload does not overlap operations on its key");
        let old = self.rest_of(op.key_index);
        self.remember_former(op.key_index, old);
        self.rest[op.key_index as usize] = content;
    }

    /// A write or delete is about to be submitted.
    pub fn write_begins(&mut self, op: &Op) -> WriteHandle {
        debug_assert_ne!(op.access(), Access::Read, "a read is told by read_begins");
        let begin = self.tick();
        let content = Content::of(op);
        self.note_version(content);
        let at = self.busy_of(op.key_index);
        let busy = &mut self.busy[at as usize];
        let id = busy.next_id;
        busy.next_id = busy.next_id.wrapping_add(1);
        busy.in_flight += 1;
        busy.candidates.push(Candidate { id, begin, end: OPEN, replaced: OPEN, failed: false, content });
        WriteHandle { key_index: op.key_index, busy: at, id }
    }

    /// A write or delete ended: acknowledged, or failed in a way that leaves open whether it took effect.
    pub fn write_ends(&mut self, handle: WriteHandle, acknowledged: bool) {
        let now = self.tick();
        let busy = &mut self.busy[handle.busy as usize];
        busy.in_flight -= 1;
        // The candidate may be gone: a read can show a later write before this one's end is told.
        if let Some(own) = busy.candidates.iter_mut().find(|c| c.id == handle.id) {
            own.failed = !acknowledged;
            if acknowledged {
                own.end = own.end.min(now);
                let begin = own.begin;
                replace(&mut busy.candidates, now, |other| other.id != handle.id && other.end < begin);
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

    /// A read is about to be submitted.
    pub fn read_begins(&mut self, key_index: u32) -> ReadHandle {
        let begin = self.tick();
        let at = self.busy_of(key_index);
        let busy = &mut self.busy[at as usize];
        busy.in_flight += 1;
        busy.reads.push(begin);
        ReadHandle { key_index, busy: at, begin }
    }

    /// A read ended with this answer; `None` says that the key is not there.
    ///
    /// # Errors
    /// [`WrongAnswer`] if no write that precedes or overlaps the read explains it.
    pub fn read_ends(&mut self, handle: ReadHandle, answer: Option<&[u8]>) -> Result<(), WrongAnswer> {
        let now = self.tick();
        let fingerprint = answer.map_or(0, |bytes| Fingerprint::of(bytes).get());
        let busy = &mut self.busy[handle.busy as usize];
        busy.in_flight -= 1;
        forget_read(&mut busy.reads, handle.begin);
        let mut explains = busy
            .candidates
            .iter_mut()
            .filter(|c| c.content.fingerprint == fingerprint && c.replaced > handle.begin);
        let verdict = match (explains.next(), explains.next()) {
            (Some(seen), None) => {
                if self.promise == Promise::Linearizable {
                    seen.end = seen.end.min(now);
                    let (id, begin) = (seen.id, seen.begin.max(handle.begin));
                    replace(&mut busy.candidates, now, |other| other.id != id && other.end < begin);
                }
                Ok(())
            }
            (Some(_), Some(_)) => Ok(()),
            (None, _) if busy.unjudged => {
                self.unjudged += 1;
                Ok(())
            }
            (None, _) => Err(self.explain(&handle, answer, fingerprint)),
        };
        self.settle(handle.key_index, handle.busy);
        verdict
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

    /// Keys that surely hold a value now, none of whose operations is in flight or open.
    #[must_use]
    pub fn present(&self) -> u64 {
        self.rest
            .iter()
            .enumerate()
            .filter(|(key, content)| !content.is_absent() && !self.index.contains_key(&(*key as u32)))
            .count() as u64
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
            + self.index.capacity() * 9
            + self.former.capacity() * 9
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
        if let Some(at) = self.index.get(&key_index) {
            return *at;
        }
        let content = self.rest_of(key_index);
        let at = self.free.pop().unwrap_or_else(|| {
            self.busy.push(Busy::default());
            u32::try_from(self.busy.len() - 1).expect("fewer busy keys than keys")
        });
        let busy = &mut self.busy[at as usize];
        debug_assert!(busy.candidates.is_empty() && busy.reads.is_empty() && busy.in_flight == 0);
        busy.next_id = 1;
        busy.unjudged = false;
        busy.candidates.push(Candidate { id: 0, begin: 0, end: 0, replaced: OPEN, failed: false, content });
        self.index.insert(key_index, at);
        at
    }

    /// Drops the candidates that no read can show any more, and puts the key to rest when one is left.
    fn settle(&mut self, key_index: u32, at: u32) {
        let busy = &mut self.busy[at as usize];
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
        if busy.in_flight > 0 || busy.unjudged {
            return;
        }
        if let [only] = busy.candidates.as_slice()
            && only.end != OPEN
        {
            self.rest[key_index as usize] = only.content;
            busy.candidates.clear();
            self.index.remove(&key_index);
            self.free.push(at);
        }
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
            Ok(label)
                if !self.newest.iter().any(|(stream, version)| {
                    *stream == label.stream.0 && label.version <= u64::from(*version)
                }) =>
            {
                Why::NeverWritten
            }
            Ok(_) => too_old,
            Err(_) if self.former.contains(&former_entry(key_index, fingerprint)) => too_old,
            // Where every allowed value is recorded or short, bytes without a header are just unknown bytes.
            Err(ValueFault::NoHeader { .. }) if allowed.iter().all(|c| c.stream == 0) => Why::NeverWritten,
            Err(fault) => Why::Damaged { fault },
        };
        WrongAnswer { key_index, expected, got, why }
    }
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

/// Key indexes are small numbers from our own streams: one multiplication spreads them well enough.
#[derive(Debug, Default)]
struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// An answer that no write explains. A run that returned one has no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongAnswer {
    /// The key that was read.
    pub key_index: u32,
    /// What would have been allowed.
    pub expected: Vec<Expected>,
    /// What was returned.
    pub got: Got,
    /// What is wrong with it.
    pub why: Why,
}

/// An answer that would have been allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// The key is not there.
    NoValue,
    /// A value of ours; the version's low 32 bits.
    Generated {
        /// The stream that wrote it.
        stream: StreamTag,
        /// The operation of that stream.
        version: u32,
    },
    /// Recorded bytes, known by their fingerprint.
    Recorded {
        /// The fingerprint.
        fingerprint: u64,
    },
}

/// What an engine returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Got {
    /// The key is not there.
    NoValue,
    /// A value.
    Value {
        /// Its length.
        bytes: usize,
        /// Its fingerprint.
        fingerprint: u64,
        /// What its header says, where it has a sound one.
        label: Option<Label>,
    },
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// A value of this key that had been replaced before the read began.
    TooOld,
    /// A value of this key that had been deleted before the read began.
    CameBack,
    /// A whole value that belongs to another key.
    OtherKey {
        /// Whose it is.
        key_index: u32,
    },
    /// Nobody had written it to this key.
    NeverWritten,
    /// The bytes are not those that were written.
    Damaged {
        /// What their check says.
        fault: ValueFault,
    },
    /// The key must be there, and was said not to be.
    Missing,
}

impl fmt::Display for WrongAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: ", self.key_index)?;
        match self.why {
            Why::TooOld => f.write_str("the value is too old, it was replaced before the read began")?,
            Why::CameBack => f.write_str("a deleted value came back")?,
            Why::OtherKey { key_index } => write!(f, "the value belongs to key {key_index}")?,
            Why::NeverWritten => f.write_str("the value was never written to this key")?,
            Why::Damaged { fault } => write!(f, "the value is damaged: {fault}")?,
            Why::Missing => f.write_str("the key is missing")?,
        }
        match self.got {
            Got::NoValue => f.write_str("; got no value")?,
            Got::Value { bytes, label: Some(label), .. } => {
                write!(f, "; got version {} of stream {:08x} ({bytes} bytes)", label.version, label.stream.0)?
            }
            Got::Value { bytes, fingerprint, label: None } => {
                write!(f, "; got {bytes} bytes with fingerprint {fingerprint:016x}")?;
            }
        }
        f.write_str("; allowed: ")?;
        for (at, expected) in self.expected.iter().take(4).enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            match expected {
                Expected::NoValue => f.write_str("no value")?,
                Expected::Generated { stream, version } => {
                    write!(f, "version {version} of stream {:08x}", stream.0)?;
                }
                Expected::Recorded { fingerprint } => write!(f, "fingerprint {fingerprint:016x}")?,
            }
        }
        if self.expected.len() > 4 {
            write!(f, " and {} more", self.expected.len() - 4)?;
        }
        Ok(())
    }
}

impl std::error::Error for WrongAnswer {}

#[cfg(test)]
mod tests;
