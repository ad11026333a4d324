//! [`Operation`]: what a client asked for, from the first round to the answer.
//!
//! A get, a getVersions, a put with a clock and a delete with a clock are one round; a getAll is one or more. A write
//! reads the clocks first, puts under the merge of them, and starts again when that was obsolete; an update reads the
//! versions instead. A delete without a clock reads the clocks first too. With replica tombstones a delete is the put of
//! one.

use super::context::{Context, Purpose};
use super::delete::Delete;
use super::error::KvOpError;
use super::get::{Answers, Read};
use super::get_all::{Advance, GetAll, KeyRead};
use super::hint::{Hint, Missed};
use super::outcome::{KvAnswer, KvOutcome};
use super::put::Put;
use super::quorum::Contacts;
use super::round::Round;
use super::update::Action;
use super::{Now, Resolve};
use crate::membership::NodeFailure;
use crate::message::{Request, Response};
use crate::ring::NodeId;
use crate::version::{Occurred, VectorClock, Versioned, tombstone};

/// What was asked for. Values are as they are stored.
#[derive(Debug)]
pub(super) enum Ask {
    Get,
    GetAll { keys: Vec<Vec<u8>> },
    GetVersions,
    Put { base: VectorClock, value: Vec<u8> },
    Write { value: Vec<u8> },
    Update(Action),
    Delete,
    DeleteVersion { clock: VectorClock },
}

/// The round it is at.
#[derive(Debug)]
enum Work {
    Get(Read<Versioned>),
    GetAll(GetAll),
    GetVersions(Read<VectorClock>),
    /// The clocks for a write, which carries its value.
    ReadToWrite(Read<VectorClock>, Vec<u8>),
    /// The versions for a write whose resolver has to choose among them.
    ResolveToWrite(Read<Versioned>, Vec<u8>),
    /// The versions for an update.
    ReadToUpdate(Read<Versioned>),
    ReadToDelete(Read<VectorClock>),
    Put(Put),
    /// The put of a write.
    Write(Put),
    /// The put of an update.
    Update(Put),
    Delete(Delete),
    /// The put of a tombstone. `reads_again`: if it is obsolete the clocks are read again.
    Bury {
        put: Put,
        reads_again: bool,
    },
    /// A hint, which nobody has asked for: it has no outcome.
    Hint(Hint),
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
    /// Of a getAll: empty.
    key: Vec<u8>,
    work: Work,
    /// Of an update.
    action: Option<Action>,
    /// When the round began.
    began_ns: u64,
    /// Of the ring by which the round's nodes were chosen.
    ring_version: u64,
    retries: u16,
    /// How often it was started anew with another ring.
    restarts: u16,
    /// What a get found missing: of which key, and where.
    lacking: Vec<(NodeId, Vec<u8>, Versioned)>,
}

/// An operation that a node has refused because it doesn't hold the key: it starts again when the ring is known.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) token: u64,
    pub(super) key: Vec<u8>,
    pub(super) ask: Ask,
    pub(super) retries: u16,
    pub(super) restarts: u16,
}

impl Operation {
    /// Starts the first round.
    ///
    /// # Errors
    /// It can't be done: nothing is sent.
    pub(super) fn new(parked: Parked, context: Context<'_>) -> Result<Self, KvOpError> {
        let Parked { token, key, ask, retries, restarts } = parked;
        let mut updates = None;
        let work = match ask {
            Ask::Get => Work::Get(context.read(&key, Purpose::Get)?),
            Ask::GetAll { keys } => Work::GetAll(context.get_all(keys)?),
            Ask::GetVersions => Work::GetVersions(context.read(&key, Purpose::GetVersions)?),
            Ask::Put { base, value } => Work::Put(context.put(&key, base, value)?),
            Ask::Write { value } => Work::ReadToWrite(context.read(&key, Purpose::GetVersions)?, value),
            Ask::Update(mut action) => match context.read(&key, Purpose::Get) {
                Ok(read) => {
                    updates = Some(action);
                    Work::ReadToUpdate(read)
                }
                Err(error) => {
                    action.0.roll_back();
                    return Err(error);
                }
            },
            Ask::Delete => Work::ReadToDelete(context.read(&key, Purpose::GetVersions)?),
            Ask::DeleteVersion { clock } => Work::delete(context, &key, clock, false)?,
        };
        Ok(Self {
            token,
            key,
            work,
            action: updates,
            began_ns: context.now.ns,
            ring_version: context.ring_version,
            retries,
            restarts,
            lacking: Vec::new(),
        })
    }

    /// What it was started from, to be started again.
    pub(super) fn park(self) -> Parked {
        let Self { token, key, work, action, retries, restarts, .. } = self;
        let ask = match work {
            Work::Get(_) => Ask::Get,
            Work::GetAll(all) => Ask::GetAll { keys: all.into_keys() },
            Work::GetVersions(_) => Ask::GetVersions,
            Work::ReadToWrite(_, value) | Work::ResolveToWrite(_, value) => Ask::Write { value },
            Work::ReadToUpdate(_) | Work::Update(_) => Ask::Update(action.expect("an update has its action")),
            Work::ReadToDelete(_) | Work::Bury { reads_again: true, .. } => Ask::Delete,
            Work::Put(put) => {
                let (base, value) = put.into_base();
                Ask::Put { base, value }
            }
            Work::Write(put) => Ask::Write { value: put.into_base().1 },
            Work::Delete(delete) => Ask::DeleteVersion { clock: delete.into_clock() },
            Work::Bury { put, .. } => Ask::DeleteVersion { clock: put.into_base().0 },
            Work::Hint(_) => unreachable!("a hint asks nodes that needn't hold the key"),
        };
        Parked { token, key, ask, retries, restarts: restarts + 1 }
    }

    /// How often it was started anew with another ring.
    pub(super) fn restarts(&self) -> u16 {
        self.restarts
    }

    /// A hint for a replica that missed a write.
    pub(super) fn hint(key: &[u8], missed: Missed, contacts: Contacts, context: Context<'_>) -> Self {
        let now = (context.now.ns, context.now.wall_ms);
        let limits = context.limits(Purpose::Put);
        let hint = Hint::new(now, contacts, limits, (&context.config.store, key), missed);
        Self {
            token: 0,
            key: Vec::new(),
            work: Work::Hint(hint),
            action: None,
            began_ns: context.now.ns,
            ring_version: context.ring_version,
            retries: 0,
            restarts: 0,
            lacking: Vec::new(),
        }
    }

    /// A replica that missed this write, and what it missed.
    pub(super) fn next_missed(&mut self) -> Option<Missed> {
        match &mut self.work {
            Work::Delete(delete) => delete.next_missed(),
            work => work.as_put_mut()?.next_missed(),
        }
    }

    /// The replicas that failed in it so far.
    pub(super) fn failed_nodes(&mut self) -> Vec<NodeId> {
        match &mut self.work {
            Work::Delete(delete) => delete.failed_nodes(),
            work => work.as_put_mut().map(|put| put.failed_nodes()).unwrap_or_default(),
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
            Work::Get(read) | Work::ResolveToWrite(read, _) | Work::ReadToUpdate(read) => read,
            Work::GetAll(all) => all,
            Work::GetVersions(read) | Work::ReadToWrite(read, _) | Work::ReadToDelete(read) => read,
            Work::Put(put) | Work::Write(put) | Work::Update(put) | Work::Bury { put, .. } => put,
            Work::Delete(delete) => delete,
            Work::Hint(hint) => hint,
        }
    }

    fn round_mut(&mut self) -> &mut dyn Round {
        match &mut self.work {
            Work::Get(read) | Work::ResolveToWrite(read, _) | Work::ReadToUpdate(read) => read,
            Work::GetAll(all) => all,
            Work::GetVersions(read) | Work::ReadToWrite(read, _) | Work::ReadToDelete(read) => read,
            Work::Put(put) | Work::Write(put) | Work::Update(put) | Work::Bury { put, .. } => put,
            Work::Delete(delete) => delete,
            Work::Hint(hint) => hint,
        }
    }

    pub(super) fn began_ns(&self) -> u64 {
        self.began_ns
    }

    pub(super) fn ring_version(&self) -> u64 {
        self.ring_version
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
            (
                Work::Get(read) | Work::ResolveToWrite(read, _) | Work::ReadToUpdate(read),
                Response::Values(versions),
            ) => read.answered(now_ns, node, versions),
            (Work::GetAll(all), Response::AllValues(found)) => all.answered(node, found),
            (
                Work::GetVersions(read) | Work::ReadToWrite(read, _) | Work::ReadToDelete(read),
                Response::Versions(clocks),
            ) => read.answered(now_ns, node, clocks),
            (Work::Hint(hint), Response::Stored) => hint.stored(node),
            (Work::Delete(delete), Response::Deleted(removed)) => delete.deleted(node, removed),
            (work, Response::Stored) => {
                if let Some(put) = work.as_put_mut() {
                    put.stored(node);
                }
            }
            _ => {}
        }
    }

    /// A request that is due, and to whom.
    pub(super) fn poll_send(&mut self) -> Option<(NodeId, Request<'_>)> {
        let key = &self.key;
        Some(match &mut self.work {
            Work::Get(read) | Work::ResolveToWrite(read, _) | Work::ReadToUpdate(read) => {
                (read.poll_due()?, Request::Get { key })
            }
            Work::GetAll(all) => {
                let (node, keys) = all.poll_due()?;
                (node, Request::GetAll { keys })
            }
            Work::GetVersions(read) | Work::ReadToWrite(read, _) | Work::ReadToDelete(read) => {
                (read.poll_due()?, Request::GetVersions { key })
            }
            Work::Put(put) | Work::Write(put) | Work::Update(put) | Work::Bury { put, .. } => {
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
        self.lacking.iter().map(|(node, key, Versioned { clock, value })| {
            (*node, Request::Put { key, clock: clock.clone(), value })
        })
    }

    /// Takes the round's result, if it has one by now.
    pub(super) fn step(&mut self, context: Context<'_>) -> Step {
        self.try_step(context).unwrap_or_else(|error| self.answer(0, Err(error)))
    }

    /// An update that has failed for good is rolled back.
    pub(super) fn roll_back(&mut self) {
        if let Some(action) = &mut self.action {
            action.0.roll_back();
        }
    }

    fn try_step(&mut self, context: Context<'_>) -> Result<Step, KvOpError> {
        let tries_again = self.retries + 1 < context.config.write_tries;
        match &mut self.work {
            Work::Get(read) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let copies = answers.len();
                self.note_lacking(&answers, context);
                let values = context.resolved(flat(answers))?;
                Ok(self.answer(copies, Ok(KvAnswer::Values(values))))
            }
            Work::GetAll(all) => match all.advance(context.now.ns)? {
                Advance::Wait => Ok(Step::Wait),
                Advance::NextStep => {
                    self.began_ns = context.now.ns;
                    Ok(Step::NextRound)
                }
                Advance::Done(reads) => self.all_read(reads, context),
            },
            Work::GetVersions(read) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let copies = answers.len();
                Ok(self.answer(copies, Ok(KvAnswer::Versions(newest(flat(answers))))))
            }
            Work::ReadToWrite(read, value) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let value = std::mem::take(value);
                let clocks = newest(flat(answers));
                // The merge of the clocks is what the resolver by time gives; another one may refuse.
                if clocks.len() > 1 && matches!(context.config.resolve, Resolve::By(_)) {
                    let read = context.read(&self.key, Purpose::Get)?;
                    return Ok(self.next(Work::ResolveToWrite(read, value), context));
                }
                let put = context.put(&self.key, merged(clocks, context.now), value)?;
                Ok(self.next(Work::Write(put), context))
            }
            Work::ResolveToWrite(read, value) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let value = std::mem::take(value);
                let base = context.resolved(flat(answers))?.pop().map(|version| version.clock);
                let base = base.unwrap_or_else(|| VectorClock::empty(context.now.wall_ms));
                let put = context.put(&self.key, base, value)?;
                Ok(self.next(Work::Write(put), context))
            }
            Work::ReadToUpdate(read) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let versions = flat(answers);
                let buried = merged(versions.iter().map(|v| v.clock.clone()).collect(), context.now);
                let mut left = context.resolved(versions)?;
                if left.len() > 1 {
                    let clocks = left.into_iter().map(|version| version.clock).collect();
                    return Err(KvOpError::InconsistentData { clocks });
                }
                let current = left.pop();
                let action = self.action.as_mut().expect("an update has its action");
                let value = action.0.update(current.as_ref());
                super::check_value(&value)?;
                let base = current.map_or(buried, |version| version.clock);
                let put = context.put(&self.key, base, context.stored(value))?;
                Ok(self.next(Work::Update(put), context))
            }
            Work::ReadToDelete(read) => {
                let Some(answers) = read.poll_done().transpose()? else { return Ok(Step::Wait) };
                let copies = answers.len();
                let clocks: Vec<VectorClock> = flat(answers);
                if clocks.is_empty() {
                    return Ok(self.answer(copies, Ok(KvAnswer::Deleted(false))));
                }
                let delete = Work::delete(context, &self.key, merged(clocks, context.now), true)?;
                Ok(self.next(delete, context))
            }
            Work::Put(put) => {
                let Some((clock, copies)) = put.poll_done().transpose()? else { return Ok(Step::Wait) };
                Ok(self.answer(copies, Ok(KvAnswer::Written(clock))))
            }
            Work::Write(put) => match put.poll_done() {
                None => Ok(Step::Wait),
                Some(Ok((clock, copies))) => Ok(self.answer(copies, Ok(KvAnswer::Written(clock)))),
                Some(Err(KvOpError::ObsoleteVersion { .. })) if tries_again => {
                    let value = put.take_value();
                    self.retries += 1;
                    let read = context.read(&self.key, Purpose::GetVersions)?;
                    Ok(self.next(Work::ReadToWrite(read, value), context))
                }
                Some(Err(error)) => Err(error),
            },
            Work::Update(put) => match put.poll_done() {
                None => Ok(Step::Wait),
                Some(Ok((clock, copies))) => Ok(self.answer(copies, Ok(KvAnswer::Written(clock)))),
                Some(Err(KvOpError::ObsoleteVersion { .. })) if tries_again => {
                    self.retries += 1;
                    let read = context.read(&self.key, Purpose::Get)?;
                    Ok(self.next(Work::ReadToUpdate(read), context))
                }
                Some(Err(error)) => Err(error),
            },
            Work::Delete(delete) => {
                let Some((removed, copies)) = delete.poll_done().transpose()? else { return Ok(Step::Wait) };
                Ok(self.answer(copies, Ok(KvAnswer::Deleted(removed))))
            }
            Work::Bury { put, reads_again } => {
                let reads_again = *reads_again;
                match put.poll_done() {
                    None => Ok(Step::Wait),
                    Some(Ok((_, copies))) => Ok(self.answer(copies, Ok(KvAnswer::Deleted(true)))),
                    Some(Err(KvOpError::ObsoleteVersion { .. })) if reads_again && tries_again => {
                        self.retries += 1;
                        let read = context.read(&self.key, Purpose::GetVersions)?;
                        Ok(self.next(Work::ReadToDelete(read), context))
                    }
                    Some(Err(error)) => Err(error),
                }
            }
            Work::Hint(_) => Ok(Step::Wait),
        }
    }

    fn note_lacking(&mut self, answers: &Answers<Versioned>, context: Context<'_>) {
        let lacking = context.lacking(answers);
        self.lacking = lacking.into_iter().map(|(node, version)| (node, self.key.clone(), version)).collect();
    }

    fn all_read(&mut self, reads: Vec<KeyRead>, context: Context<'_>) -> Result<Step, KvOpError> {
        let copies = reads.iter().map(|read| read.answers.len()).min().unwrap_or(0);
        let mut found = Vec::with_capacity(reads.len());
        for KeyRead { key, answers, .. } in reads {
            let lacking = context.lacking(&answers);
            self.lacking.extend(lacking.into_iter().map(|(node, version)| (node, key.clone(), version)));
            let values = context.resolved(flat(answers))?;
            if !values.is_empty() {
                found.push((key, values));
            }
        }
        Ok(self.answer(copies, Ok(KvAnswer::AllValues(found))))
    }

    fn next(&mut self, work: Work, context: Context<'_>) -> Step {
        self.work = work;
        self.began_ns = context.now.ns;
        self.ring_version = context.ring_version;
        Step::NextRound
    }

    fn answer(&self, copies: usize, result: Result<KvAnswer, KvOpError>) -> Step {
        let copies =
            u16::try_from(copies).expect("a preference list has at most as many nodes as there are ids");
        Step::Answer(KvOutcome { token: self.token, result, copies, retries: self.retries })
    }
}

impl Work {
    /// The round of a delete of the versions before or equal to a clock.
    fn delete(
        context: Context<'_>,
        key: &[u8],
        clock: VectorClock,
        reads_again: bool,
    ) -> Result<Self, KvOpError> {
        let buries = context.config.replica_tombstones;
        #[cfg(feature = "planted-bugs")]
        let buries = buries && context.config.planted_bug != Some(super::ClusterBug::TombstoneNotKept);
        if buries {
            return Ok(Self::Bury { put: context.put(key, clock, tombstone::tombstone())?, reads_again });
        }
        let contacts = context.contacts(key, context.writes(), Purpose::Delete)?;
        let limits = context.limits(Purpose::Delete);
        Ok(Self::Delete(Delete::new(context.now.ns, contacts, context.writes(), limits, clock)))
    }

    fn as_put_mut(&mut self) -> Option<&mut Put> {
        match self {
            Self::Put(put) | Self::Write(put) | Self::Update(put) | Self::Bury { put, .. } => Some(put),
            _ => None,
        }
    }
}

fn flat<V>(answers: Answers<V>) -> Vec<V> {
    answers.into_iter().flat_map(|(_, versions)| versions).collect()
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

/// The clock that descends from all. It is the one that a get resolved by time would come with.
fn merged(clocks: Vec<VectorClock>, now: Now) -> VectorClock {
    let merged = newest(clocks).into_iter().reduce(|a, b| a.merge(&b, now.wall_ms));
    merged.unwrap_or_else(|| VectorClock::empty(now.wall_ms))
}
