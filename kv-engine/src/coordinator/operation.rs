//! [`Operation`]: what a client asked for, from the first round to the answer.
//!
//! A get, a getVersions, a put with a clock and a delete with a clock are one round. A write reads the clocks first,
//! puts under the merge of them, and starts again when that was obsolete. A delete without a clock reads the clocks
//! first too.

use super::delete::Delete;
use super::error::KvOpError;
use super::get::{Answers, Read};
use super::hint::{Hint, Missed};
use super::outcome::{KvAnswer, KvOutcome};
use super::put::Put;
use super::quorum::Contacts;
use super::read_repair::lacking;
use super::round::{Limits, Quorum, Round};
use super::{ClientConfig, Now, Resolve};
use crate::membership::{FailureDetector, NodeFailure};
use crate::message::{Request, Response};
use crate::ring::{NodeId, Routing};
use crate::version::{Occurred, VectorClock, Versioned, resolve_by_clock, resolve_by_time};

/// What was asked for.
#[derive(Debug)]
pub(super) enum Ask {
    Get,
    GetVersions,
    Put { base: VectorClock, value: Vec<u8> },
    Write { value: Vec<u8> },
    Delete,
    DeleteVersion { clock: VectorClock },
}

/// The round it is at.
#[derive(Debug)]
enum Work {
    Get(Read<Versioned>),
    GetVersions(Read<VectorClock>),
    /// The clocks for a write, which carries its value.
    ReadToWrite(Read<VectorClock>, Vec<u8>),
    ReadToDelete(Read<VectorClock>),
    Put(Put),
    /// The put of a write.
    Write(Put),
    Delete(Delete),
    /// A hint, which nobody has asked for: it has no outcome.
    Hint(Hint),
}

/// What a round is started from.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) now: Now,
    pub(super) config: &'a ClientConfig,
    pub(super) routing: &'a Routing,
    pub(super) detector: &'a FailureDetector,
}

impl Context<'_> {
    fn limits(&self) -> Limits {
        const NS_PER_MS: u64 = 1_000_000;
        Limits {
            round_ns: self.config.timeout_ms.saturating_mul(NS_PER_MS),
            node_ns: self.config.node_timeout_ms.saturating_mul(NS_PER_MS),
        }
    }

    fn contacts(&self, key: &[u8], quorum: Quorum) -> Result<Contacts, KvOpError> {
        Contacts::new(self.routing.replicas(key), quorum.required, self.detector)
    }

    fn reads(&self) -> Quorum {
        let replication = self.config.replication;
        Quorum { required: replication.r().into(), preferred: replication.preferred_reads().into() }
    }

    fn writes(&self) -> Quorum {
        let replication = self.config.replication;
        let quorum =
            Quorum { required: replication.w().into(), preferred: replication.preferred_writes().into() };
        #[cfg(feature = "planted-bugs")]
        if self.config.planted_bug == Some(super::ClusterBug::QuorumShort) {
            return Quorum { required: quorum.required - 1, preferred: quorum.preferred - 1 };
        }
        quorum
    }

    fn read<V>(&self, key: &[u8]) -> Result<Read<V>, KvOpError> {
        let contacts = self.contacts(key, self.reads())?;
        Ok(Read::new(self.now.ns, contacts, self.reads(), self.limits()))
    }

    fn put(&self, key: &[u8], base: VectorClock, value: Vec<u8>) -> Result<Put, KvOpError> {
        let contacts = self.contacts(key, self.writes())?;
        let now = (self.now.ns, self.now.wall_ms);
        Ok(Put::new(now, contacts, self.writes(), self.limits(), base, value))
    }

    fn delete(&self, key: &[u8], clock: VectorClock) -> Result<Delete, KvOpError> {
        let contacts = self.contacts(key, self.writes())?;
        Ok(Delete::new(self.now.ns, contacts, self.writes(), self.limits(), clock))
    }
}

/// What comes after an event.
pub(super) enum Step {
    /// More answers.
    Wait,
    /// Another round: its requests need another id, so that late answers to the old ones aren't taken for answers.
    NextRound,
    /// The answer. The operation may still be waiting for replicas.
    Answer(KvOutcome),
}

#[derive(Debug)]
pub(super) struct Operation {
    token: u64,
    key: Vec<u8>,
    work: Work,
    /// When the round began.
    began_ns: u64,
    retries: u16,
    /// What a get found missing, and where.
    lacking: Vec<(NodeId, Versioned)>,
}

impl Operation {
    /// Starts the first round.
    ///
    /// # Errors
    /// It can't be done: nothing is sent.
    pub(super) fn new(token: u64, key: Vec<u8>, ask: Ask, context: Context<'_>) -> Result<Self, KvOpError> {
        let work = match ask {
            Ask::Get => Work::Get(context.read(&key)?),
            Ask::GetVersions => Work::GetVersions(context.read(&key)?),
            Ask::Put { base, value } => Work::Put(context.put(&key, base, value)?),
            Ask::Write { value } => Work::ReadToWrite(context.read(&key)?, value),
            Ask::Delete => Work::ReadToDelete(context.read(&key)?),
            Ask::DeleteVersion { clock } => Work::Delete(context.delete(&key, clock)?),
        };
        Ok(Self { token, key, work, began_ns: context.now.ns, retries: 0, lacking: Vec::new() })
    }

    /// A hint for a replica that missed a write.
    pub(super) fn hint(key: &[u8], missed: Missed, contacts: Contacts, context: Context<'_>) -> Self {
        let hint = Hint::new(context.now.ns, contacts, context.limits(), key, missed);
        let work = Work::Hint(hint);
        Self { token: 0, key: Vec::new(), work, began_ns: context.now.ns, retries: 0, lacking: Vec::new() }
    }

    /// A replica that missed this write, and what it missed.
    pub(super) fn next_missed(&mut self) -> Option<Missed> {
        match &mut self.work {
            Work::Put(put) | Work::Write(put) => put.next_missed(),
            Work::Delete(delete) => delete.next_missed(),
            _ => None,
        }
    }

    /// The replicas that failed in it so far.
    pub(super) fn failed_nodes(&self) -> Vec<NodeId> {
        match &self.work {
            Work::Put(put) | Work::Write(put) => put.failed_nodes(),
            Work::Delete(delete) => delete.failed_nodes(),
            _ => Vec::new(),
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether this was a hint, and somebody keeps it.
    pub(super) fn hint_kept(&self) -> Option<bool> {
        match &self.work {
            Work::Hint(hint) => hint.kept(),
            _ => None,
        }
    }

    fn round(&self) -> &dyn Round {
        match &self.work {
            Work::Get(read) => read,
            Work::GetVersions(read) | Work::ReadToWrite(read, _) | Work::ReadToDelete(read) => read,
            Work::Put(put) | Work::Write(put) => put,
            Work::Delete(delete) => delete,
            Work::Hint(hint) => hint,
        }
    }

    fn round_mut(&mut self) -> &mut dyn Round {
        match &mut self.work {
            Work::Get(read) => read,
            Work::GetVersions(read) | Work::ReadToWrite(read, _) | Work::ReadToDelete(read) => read,
            Work::Put(put) | Work::Write(put) => put,
            Work::Delete(delete) => delete,
            Work::Hint(hint) => hint,
        }
    }

    pub(super) fn began_ns(&self) -> u64 {
        self.began_ns
    }

    pub(super) fn is_waiting_for(&self, node: NodeId) -> bool {
        self.round().is_waiting_for(node)
    }

    pub(super) fn is_over(&self) -> bool {
        self.round().is_over()
    }

    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.round().poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now_ns: u64, gave_up: &mut dyn FnMut(NodeId)) {
        self.round_mut().handle_timeout(now_ns, gave_up);
    }

    /// A replica can't be reached.
    pub(super) fn failed(&mut self, now_ns: u64, node: NodeId, failure: NodeFailure) {
        self.round_mut().failed(now_ns, node, failure);
    }

    /// A replica answered. An answer that doesn't fit what was asked changes nothing: the replica's time runs out.
    pub(super) fn handle(&mut self, now_ns: u64, node: NodeId, response: Response) {
        match (&mut self.work, response) {
            (_, Response::Refused(error)) => self.round_mut().refused(now_ns, node, error),
            (Work::Get(read), Response::Values(versions)) => read.answered(now_ns, node, versions),
            (
                Work::GetVersions(read) | Work::ReadToWrite(read, _) | Work::ReadToDelete(read),
                Response::Versions(clocks),
            ) => read.answered(now_ns, node, clocks),
            (Work::Put(put) | Work::Write(put), Response::Stored) => put.stored(node),
            (Work::Hint(hint), Response::Stored) => hint.stored(node),
            (Work::Delete(delete), Response::Deleted(removed)) => delete.deleted(node, removed),
            _ => {}
        }
    }

    /// A request that is due, and to whom.
    pub(super) fn poll_send(&mut self) -> Option<(NodeId, Request<'_>)> {
        let key = &self.key;
        Some(match &mut self.work {
            Work::Get(read) => (read.poll_due()?, Request::Get { key }),
            Work::GetVersions(read) | Work::ReadToWrite(read, _) | Work::ReadToDelete(read) => {
                (read.poll_due()?, Request::GetVersions { key })
            }
            Work::Put(put) | Work::Write(put) => {
                let (node, clock, value) = put.poll_due()?;
                (node, Request::Put { key, clock: clock.clone(), value })
            }
            Work::Delete(delete) => {
                let (node, clock) = delete.poll_due()?;
                (node, Request::Delete { key, clock: clock.clone() })
            }
            Work::Hint(hint) => hint.poll_due()?,
        })
    }

    /// What goes to replicas that lack it; nobody waits for the answers.
    pub(super) fn repairs(&self) -> impl Iterator<Item = (NodeId, Request<'_>)> {
        self.lacking.iter().map(|(node, Versioned { clock, value })| {
            (*node, Request::Put { key: &self.key, clock: clock.clone(), value })
        })
    }

    /// Takes the round's result, if it has one by now.
    pub(super) fn step(&mut self, context: Context<'_>) -> Step {
        self.try_step(context).unwrap_or_else(|error| self.answer(0, Err(error)))
    }

    fn try_step(&mut self, context: Context<'_>) -> Result<Step, KvOpError> {
        match &mut self.work {
            Work::Get(read) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let copies = answers.len();
                if context.config.read_repair && context.config.replication.preferred_reads() > 1 {
                    self.lacking = lacking(&answers);
                    #[cfg(feature = "planted-bugs")]
                    if context.config.planted_bug == Some(super::ClusterBug::RepairLosesSibling) {
                        self.lacking = super::read_repair::losing_siblings(&answers, context.now.wall_ms);
                    }
                }
                let values = resolved(flat(answers), context);
                Ok(self.answer(copies, Ok(KvAnswer::Values(values))))
            }
            Work::GetVersions(read) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let copies = answers.len();
                Ok(self.answer(copies, Ok(KvAnswer::Versions(newest(flat(answers))))))
            }
            Work::ReadToWrite(read, value) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let base = merged(flat(answers), context.now);
                let base = base.unwrap_or_else(|| VectorClock::empty(context.now.wall_ms));
                let value = std::mem::take(value);
                let put = context.put(&self.key, base, value)?;
                Ok(self.next(Work::Write(put), context))
            }
            Work::ReadToDelete(read) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let copies = answers.len();
                let Some(clock) = merged(flat(answers), context.now) else {
                    return Ok(self.answer(copies, Ok(KvAnswer::Deleted(false))));
                };
                let delete = context.delete(&self.key, clock)?;
                Ok(self.next(Work::Delete(delete), context))
            }
            Work::Put(put) => {
                let Some((clock, copies)) = put.poll_done().transpose()? else { return Ok(Step::Wait) };
                Ok(self.answer(copies, Ok(KvAnswer::Written(clock))))
            }
            Work::Write(put) => match put.poll_done() {
                None => Ok(Step::Wait),
                Some(Ok((clock, copies))) => Ok(self.answer(copies, Ok(KvAnswer::Written(clock)))),
                Some(Err(KvOpError::ObsoleteVersion { .. }))
                    if self.retries + 1 < context.config.write_tries =>
                {
                    let value = put.take_value();
                    self.retries += 1;
                    let read = context.read(&self.key)?;
                    Ok(self.next(Work::ReadToWrite(read, value), context))
                }
                Some(Err(error)) => Err(error),
            },
            Work::Delete(delete) => {
                let Some((removed, copies)) = delete.poll_done().transpose()? else { return Ok(Step::Wait) };
                Ok(self.answer(copies, Ok(KvAnswer::Deleted(removed))))
            }
            Work::Hint(_) => Ok(Step::Wait),
        }
    }

    fn next(&mut self, work: Work, context: Context<'_>) -> Step {
        self.work = work;
        self.began_ns = context.now.ns;
        Step::NextRound
    }

    fn answer(&self, copies: usize, result: Result<KvAnswer, KvOpError>) -> Step {
        let copies = u16::try_from(copies).expect("a preference list has at most N nodes");
        Step::Answer(KvOutcome { token: self.token, result, copies, retries: self.retries })
    }
}

fn flat<V>(answers: Answers<V>) -> Vec<V> {
    answers.into_iter().flat_map(|(_, versions)| versions).collect()
}

fn resolved(versions: Vec<Versioned>, context: Context<'_>) -> Vec<Versioned> {
    let newest = resolve_by_clock(versions);
    match context.config.resolve {
        Resolve::ByTime if newest.len() > 1 => {
            resolve_by_time(newest, context.now.wall_ms).into_iter().collect()
        }
        Resolve::ByTime | Resolve::ByClock => newest,
    }
}

/// The clocks that no other descends from, one of each.
fn newest(clocks: Vec<VectorClock>) -> Vec<VectorClock> {
    let mut kept: Vec<VectorClock> = Vec::with_capacity(1);
    for clock in clocks {
        if kept.iter().any(|k| clock.compare(k) == Occurred::Before) {
            continue;
        }
        kept.retain(|k| k.compare(&clock) != Occurred::Before);
        kept.push(clock);
    }
    kept
}

/// The clock that descends from all; `None` if there is none. It is the one that a resolved get would come with.
fn merged(clocks: Vec<VectorClock>, now: Now) -> Option<VectorClock> {
    newest(clocks).into_iter().reduce(|a, b| a.merge(&b, now.wall_ms))
}
