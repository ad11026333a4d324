//! Programs: what is done to a store on a simulated machine until the power goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_env::sim::{SimDisk, SimFile, SimHome};
use engine_env::{CompletionQueue, Disk, Home, Machine, Wait};
use kv_engine::{Bitcask, Durability, KvConfig, KvDone, PutError, RecoveryReport, VectorClock, Versioned};
use proptest::prelude::*;

/// One step of a program.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// Puts a descendant of the versions picked by the bits of `seen` (none: a blind put), by `node`.
    Put { key: u8, node: u16, seen: u8, len: u16 },
    /// Deletes what the versions picked by the bits of `seen` descend from.
    Delete { key: u8, seen: u8 },
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
}

impl Running {
    /// # Errors
    /// The power went, or a fault struck; or there is damage where none was done.
    pub(crate) fn open(home: &SimHome, config: &KvConfig) -> Result<(Self, RecoveryReport), String> {
        let mut disk = home.disk().map_err(|e| e.to_string())?;
        let (core, report) = Bitcask::open(&mut disk, config.clone()).map_err(|e| e.to_string())?;
        Ok((Self { disk, core, answers: Arc::default() }, report))
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
        for one in done.into_iter().filter(|d| d.result.is_ok()) {
            let token = usize::try_from(one.token).expect("small");
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
