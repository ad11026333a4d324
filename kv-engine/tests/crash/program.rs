//! Programs: what is done to a store on a simulated machine until the power goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_env::sim::{SimDisk, SimFile, SimHome};
use engine_env::{CompletionQueue, Disk, Home, Machine, Wait};
use kv_engine::{
    BatchAnswers, BatchWrite, Bitcask, Durability, KvConfig, KvDone, MemoryStorage, Occurred, PutError,
    RecoveryReport, Storage, VectorClock, Versioned,
};
use proptest::prelude::*;

/// One step of a program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Puts a descendant of the versions picked by the bits of `seen` (none: a blind put), by `node`.
    Put { key: u8, node: u16, seen: u8, len: u16 },
    /// Deletes what the versions picked by the bits of `seen` descend from.
    Delete { key: u8, seen: u8 },
    /// A batch of `writes` over the keys from `key` on: puts by `node`, every third a delete if `deletes`.
    Batch { key: u8, node: u16, writes: u8, len: u16, deletes: bool },
    /// Commits what is staged, on the caller's thread.
    Commit,
    /// Commits what is staged, through a disk, as the committer thread does.
    Drive,
    /// One step of maintenance.
    Maintain,
    /// Syncs what was written so far, as the periodic sync does.
    Sync,
    /// Closes and opens again.
    Reopen,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0u8..4, 0u16..2, any::<u8>(), prop_oneof![0u16..40, 300u16..1500])
            .prop_map(|(key, node, seen, len)| Step::Put { key, node, seen, len }),
        3 => (0u8..4, Just(255u8)).prop_map(|(key, seen)| Step::Delete { key, seen }),
        3 => (0u8..4, 0u16..2, 1u8..8, prop_oneof![0u16..40, 300u16..1500], any::<bool>())
            .prop_map(|(key, node, writes, len, deletes)| Step::Batch { key, node, writes, len, deletes }),
        5 => Just(Step::Commit),
        3 => Just(Step::Drive),
        7 => Just(Step::Maintain),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

/// A write that the store took.
#[derive(Debug, Clone)]
pub(crate) enum Write {
    Put { key: Vec<u8>, version: Versioned },
    Delete { key: Vec<u8>, version: VectorClock },
}

impl Write {
    fn key(&self) -> &[u8] {
        let (Self::Put { key, .. } | Self::Delete { key, .. }) = self;
        key
    }
}

/// Everything readable, by key.
pub(crate) type Dump = BTreeMap<Vec<u8>, Vec<Versioned>>;

/// What a program got done before the power went.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// In the order in which the store took them.
    pub(crate) taken: Vec<Write>,
    /// How many of them were acknowledged: the first ones.
    pub(crate) acknowledged: usize,
    /// How many were synced, whatever the durability promises.
    pub(crate) synced: usize,
}

pub(crate) fn config(durability: Durability) -> KvConfig {
    KvConfig { durability, segment_bytes: 4096, shards: 2, ..KvConfig::default() }
}

/// An open store on a simulated machine.
pub(crate) struct Running {
    pub(crate) disk: SimDisk,
    pub(crate) core: Bitcask<SimFile>,
    answers: Arc<CompletionQueue<KvDone>>,
    /// For each batch, how many writes were taken with its last one; 0 if it took none.
    batch_ends: Vec<usize>,
}

/// Tokens from here on are batches.
const BATCH: u64 = 1 << 40;
/// Tokens from here on are puts that something staged makes obsolete; the rest says what was taken last of the key.
const OBSOLETE: u64 = 1 << 41;

impl Running {
    /// # Errors
    /// The power went, or a fault struck; or there is damage where none was done.
    pub(crate) fn open(home: &SimHome, config: &KvConfig) -> Result<(Self, RecoveryReport), String> {
        let mut disk = home.disk().map_err(|e| e.to_string())?;
        let (core, report) = Bitcask::open(&mut disk, config.clone()).map_err(|e| e.to_string())?;
        Ok((Self { disk, core, answers: Arc::default(), batch_ends: Vec::new() }, report))
    }

    pub(crate) fn dump(&self) -> Result<Dump, String> {
        let mut dump = Dump::new();
        let mut failed = None;
        self.core.for_each(|key, versions| match versions {
            Ok(versions) => drop(dump.insert(key.to_vec(), versions)),
            Err(error) => failed = Some(error.to_string()),
        });
        failed.map_or(Ok(dump), Err)
    }

    /// What can be read, and how many keys can't.
    pub(crate) fn readable(&self) -> (Dump, usize) {
        let (mut dump, mut failed) = (Dump::new(), 0);
        self.core.for_each(|key, versions| match versions {
            Ok(versions) => drop(dump.insert(key.to_vec(), versions)),
            Err(_) => failed += 1,
        });
        (dump, failed)
    }

    /// Commits what is staged as the committer thread does; gives up when the machine is dead.
    fn drive(&mut self) {
        let mut in_flight = 0;
        let mut done = Vec::new();
        loop {
            let disk = &mut self.disk;
            self.core.start(&mut |id, op| {
                in_flight += 1;
                disk.submit(id, op);
            });
            if in_flight == 0 {
                return;
            }
            self.disk.reap(Wait::Forever, &mut done);
            in_flight -= done.len();
            done.drain(..).for_each(|one| self.core.on_done(one));
        }
    }

    /// Runs the program until it ends, or the store takes no more writes. What was done stands in `history`.
    ///
    /// # Errors
    /// The store broke its own rules: answers out of order, or a refusal that nothing explains.
    pub(crate) fn run(
        mut self,
        home: &SimHome,
        config: &KvConfig,
        program: &[Step],
        history: &mut History,
    ) -> Result<Option<Self>, String> {
        let synced = config.durability == Durability::Synced;
        for (now, step) in (1i64..).zip(program) {
            let result = match *step {
                Step::Put { key, node, seen, len } => {
                    let key = vec![b'k', key];
                    let mut clock = picked(&self.core.get_versions(&key), seen, now);
                    clock.increment(node, now).expect("far from the limits");
                    // Every value is another one, also over several runs on one folder.
                    let mut value = history.taken.len().to_le_bytes().repeat(usize::from(len) / 8 + 1);
                    value.truncate(usize::from(len) + 2);
                    let version = Versioned::new(clock, value);
                    if synced && let Some(rests_on) = self.rests_on(&key, &version.clock, history) {
                        let token = OBSOLETE + rests_on as u64;
                        match self.core.stage_put(&key, &version, token, &self.answers) {
                            Err(PutError::ObsoleteVersion { .. }) => {
                                return Err(format!("refused by write {rests_on}, which isn't durable"));
                            }
                            _ => continue,
                        }
                    }
                    let token = history.taken.len() as u64;
                    let result = if synced {
                        self.core.stage_put(&key, &version, token, &self.answers).map(drop)
                    } else {
                        self.core.put_through(&key, &version)
                    };
                    if matches!(result, Ok(()) | Err(PutError::WriteFailed { .. })) {
                        history.taken.push(Write::Put { key, version });
                        history.acknowledged += usize::from(!synced && result.is_ok());
                    }
                    result
                }
                Step::Delete { key, seen } => {
                    let key = vec![b'k', key];
                    let version = picked(&self.core.get_versions(&key), seen, now);
                    let token = history.taken.len() as u64;
                    let result = if synced {
                        self.core.stage_delete(&key, &version, token, &self.answers).map(drop)
                    } else {
                        self.core.delete_through(&key, &version).map(drop)
                    };
                    if matches!(result, Ok(()) | Err(PutError::WriteFailed { .. })) {
                        history.taken.push(Write::Delete { key, version });
                        history.acknowledged += usize::from(!synced && result.is_ok());
                    }
                    result
                }
                Step::Batch { .. } => self.batch(step, now, synced, history)?,
                Step::Commit => {
                    while self.core.commit_now() {}
                    Ok(())
                }
                Step::Drive => {
                    self.drive();
                    Ok(())
                }
                Step::Maintain => {
                    // A failure is the store's to remember; the next write says so.
                    let _ = self.core.maintain(&mut self.disk);
                    Ok(())
                }
                Step::Sync => {
                    if synced {
                        continue;
                    }
                    while let Some(target) = self.core.sync_target() {
                        let op = engine_env::Op::Sync { file: target.file.clone() };
                        let result = self.disk.run(op).map(drop);
                        let failed = result.is_err();
                        self.core.sync_done(&target, result);
                        if failed {
                            return Ok(None);
                        }
                    }
                    if self.core.stopped().is_some() {
                        return Ok(None);
                    }
                    history.synced = history.taken.len();
                    Ok(())
                }
                Step::Reopen => {
                    let closed = self.core.close(&mut self.disk);
                    self.take_answers(history)?;
                    if closed.is_err() {
                        return Ok(None);
                    }
                    history.synced = history.taken.len();
                    drop(self);
                    match Self::open(home, config) {
                        Ok((again, _)) => self = again,
                        Err(_) => return Ok(None),
                    }
                    Ok(())
                }
            };
            self.take_answers(history)?;
            match result {
                Ok(()) | Err(PutError::ObsoleteVersion { .. } | PutError::DiskFull { .. }) => {}
                Err(PutError::WriteFailed { .. } | PutError::WritesStopped { .. }) => return Ok(None),
                Err(other) => return Err(format!("a refusal that nothing explains: {other}")),
            }
        }
        Ok(Some(self))
    }

    /// If only what isn't durable makes a put of the key obsolete: the last write of the key.
    fn rests_on(&self, key: &[u8], clock: &VectorClock, history: &History) -> Option<usize> {
        let version = Versioned::new(clock.clone(), b"");
        let model = MemoryStorage::new();
        for clock in self.core.get_versions(key) {
            model.put(key, &Versioned::new(clock, b"")).expect("siblings");
        }
        let is_obsolete_already = model
            .get_versions(key)
            .expect("in memory")
            .iter()
            .any(|stored| clock.compare(stored) == Occurred::Before);
        let of_key = |at: &usize| history.taken[*at].key() == key;
        let pending = history.acknowledged..history.taken.len();
        for at in pending.clone().filter(of_key) {
            match &history.taken[at] {
                Write::Put { version, .. } => model.put(key, version).expect("it was taken"),
                Write::Delete { version, .. } => drop(model.delete(key, version)),
            }
        }
        let refused = !is_obsolete_already && model.put(key, &version).is_err();
        if refused { pending.rev().find(of_key) } else { None }
    }

    /// Runs a batch. In `os` what the store says of each write is compared with what the reference store says.
    fn batch(
        &mut self,
        step: &Step,
        now: i64,
        synced: bool,
        history: &mut History,
    ) -> Result<Result<(), PutError>, String> {
        let Step::Batch { key, node, writes, len, deletes } = *step else { unreachable!("a batch") };
        let writes: Vec<Write> = (0..writes)
            .map(|i| {
                let key = vec![b'k', (key + i) % 4];
                let mut clock = picked(&self.core.get_versions(&key), 255, now);
                if deletes && i % 3 == 2 {
                    return Write::Delete { key, version: clock };
                }
                // A key that comes twice in a batch is put with a descendant; every fifth is obsolete.
                for _ in 0..if i % 5 == 4 { 1 } else { i + 1 } {
                    clock.increment(node, now).expect("far from the limits");
                }
                let seed = history.taken.len() * 8 + usize::from(i) + 7;
                let mut value = seed.to_le_bytes().repeat(usize::from(len) / 8 + 1);
                value.truncate(usize::from(len) + 2);
                Write::Put { key, version: Versioned::new(clock, value) }
            })
            .collect();
        let batch: Vec<BatchWrite<'_>> = writes
            .iter()
            .map(|write| match write {
                Write::Put { key, version } => BatchWrite::Put { key, version },
                Write::Delete { key, version } => BatchWrite::Delete { key, version },
            })
            .collect();
        let reference = MemoryStorage::new();
        for key in 0..4 {
            for clock in self.core.get_versions(&[b'k', key]) {
                reference.put(&[b'k', key], &Versioned::new(clock, b"")).expect("siblings");
            }
        }
        let expected: BatchAnswers = writes
            .iter()
            .map(|write| match write {
                Write::Put { key, version } => reference.put(key, version).map(|()| true),
                Write::Delete { key, version } => Ok(reference.delete(key, version).expect("in memory")),
            })
            .collect();
        let before = history.taken.len();
        let taken = |answers: &BatchAnswers| -> Vec<Write> {
            let taken = writes.iter().zip(answers).filter(|(_, answer)| matches!(answer, Ok(true)));
            taken.map(|(write, _)| write.clone()).collect()
        };
        if synced {
            // What will be taken isn't known yet, so the token can only say where this batch ends.
            let token = BATCH + self.batch_ends.len() as u64;
            let result = self.core.stage_batch(&batch, token, &self.answers);
            return Ok(result.map(|(answers, _)| {
                history.taken.extend(taken(&answers));
                let ends = if history.taken.len() > before { history.taken.len() } else { 0 };
                self.batch_ends.push(ends);
            }));
        }
        Ok(match self.core.batch_through(&batch) {
            Ok(answers) => {
                let same = answers.iter().zip(&expected).all(|(a, b)| match (a, b) {
                    (Ok(a), Ok(b)) => a == b,
                    (Err(PutError::ObsoleteVersion { .. }), Err(PutError::ObsoleteVersion { .. })) => true,
                    _ => false,
                });
                if !same || answers.len() != writes.len() {
                    return Err(format!("{writes:?}\nanswers {answers:?}\nexpected {expected:?}"));
                }
                history.taken.extend(taken(&answers));
                history.acknowledged += history.taken.len() - before;
                Ok(())
            }
            Err(error) => {
                if matches!(error, PutError::WriteFailed { .. }) {
                    history.taken.extend(taken(&expected));
                }
                Err(error)
            }
        })
    }

    fn take_answers(&mut self, history: &mut History) -> Result<(), String> {
        let mut done = Vec::new();
        self.answers.drain(Wait::No, &mut done);
        if let [one] = done.as_slice()
            && one.token + 1 == history.taken.len() as u64
            && !one.removed
            && let Some(Write::Delete { .. }) = history.taken.last()
        {
            // A delete that removes nothing and waits for nothing is answered at once: nothing was written.
            history.taken.pop();
            return Ok(());
        }
        for one in done {
            if let Some(rests_on) = one.token.checked_sub(OBSOLETE) {
                match one.result {
                    Ok(()) => return Err(format!("write {rests_on} made a put obsolete that was taken")),
                    Err(PutError::ObsoleteVersion { .. }) if rests_on >= history.acknowledged as u64 => {
                        return Err(format!("write {rests_on} has refused a put, and isn't durable"));
                    }
                    Err(_) => continue,
                }
            }
            if one.result.is_err() {
                continue;
            }
            let token = match one.token.checked_sub(BATCH).map(|batch| self.batch_ends[batch as usize]) {
                Some(0) => continue,
                Some(ends) => ends - 1,
                None => usize::try_from(one.token).expect("small"),
            };
            if token + 1 < history.acknowledged {
                return Err(format!("write {token} was answered after {}", history.acknowledged - 1));
            }
            history.acknowledged = token + 1;
        }
        Ok(())
    }
}

fn picked(clocks: &[VectorClock], seen: u8, now: i64) -> VectorClock {
    let mut clock = VectorClock::empty(now);
    for (i, one) in clocks.iter().enumerate() {
        if seen >> (i % 8) & 1 == 1 {
            clock = clock.merge(one, now);
        }
    }
    clock
}
