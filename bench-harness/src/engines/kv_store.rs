//! [`KvStoreEngine`]: one node of the key-value store.

use std::collections::HashMap;
use std::sync::Arc;

use engine_env::{CompletionQueue, Durability, OsHome, Wait, clock};
use kv_engine::{KvConfig, KvDone, KvStore, PutError, Storage as _, VectorClock, Versioned, resolve_by_time};
use workloads::{Access, Op};

use super::io::{io_backend, io_setting};
use crate::engine::{
    Answer, Completion, Engine, EngineError, EngineStats, OpError, Place, Session, Setting, Submit, Token,
};

/// The key-value store, adapted.
#[derive(Debug, Clone, Copy, Default)]
pub struct KvStoreEngine;

/// One node writes; its id in every clock.
const NODE: u16 = 0;

impl Engine for KvStoreEngine {
    fn name(&self) -> &'static str {
        "kv-store"
    }

    fn about(&self) -> &'static str {
        "One node of the key-value store (Voldemort's versions over append-only segments with a key directory in \
         memory). An update looks the key's version up in memory, counts its vector clock up and puts the whole \
         value; with synced durability, puts that wait at the same time go to the disk together. A read-modify-write \
         puts the successor of the version that it read, and is tried again, three times in all, if somebody else \
         was faster. A read finds the \
         position in memory and reads the value from its segment. A delete writes a tombstone."
    }

    fn settings(&self) -> Vec<Setting> {
        let default = KvConfig::default();
        vec![
            io_setting(),
            Setting {
                name: "segment-bytes",
                default: default.segment_bytes.to_string(),
                meaning: "size at which a segment is left for the next one, bytes",
            },
            Setting {
                name: "merge-bytes-per-s",
                default: default.merge_bytes_per_s.to_string(),
                meaning: "how fast a merge may read and write, bytes per second",
            },
            Setting {
                name: "merge-garbage-ratio",
                default: default.merge_garbage_ratio.to_string(),
                meaning: "share of garbage at which a segment is merged, above 0 to 1",
            },
            Setting {
                name: "shards",
                default: default.shards.to_string(),
                meaning: "parts of the key directory, a power of two up to 4096",
            },
        ]
    }

    fn open(&self, place: &Place) -> Result<Box<dyn Session>, EngineError> {
        let mut config = KvConfig { durability: place.durability, ..KvConfig::default() };
        config.segment_bytes = place.setting("segment-bytes", config.segment_bytes, "a number of bytes")?;
        config.merge_bytes_per_s =
            place.setting("merge-bytes-per-s", config.merge_bytes_per_s, "bytes per second")?;
        config.merge_garbage_ratio =
            place.setting("merge-garbage-ratio", config.merge_garbage_ratio, "a share above 0 to 1")?;
        config.shards = place.setting("shards", config.shards, "a power of two")?;
        let home = OsHome::open(&place.dir, io_backend(place)?).map_err(EngineError::engine)?;
        let (store, _) = KvStore::open(home, config).map_err(EngineError::engine)?;
        Ok(Box::new(KvSession {
            store,
            waits: place.durability == Durability::Synced,
            queue: Arc::new(CompletionQueue::new()),
            done: Vec::new(),
            deletes: Vec::new(),
            modifying: HashMap::new(),
            refused: Vec::new(),
        }))
    }
}

struct KvSession {
    store: KvStore<OsHome>,
    /// Whether a write has to wait for the disk; otherwise it is done when the call returns.
    waits: bool,
    queue: Arc<CompletionQueue<KvDone>>,
    done: Vec<KvDone>,
    /// By token: whether the operation in flight is a delete.
    deletes: Vec<bool>,
    /// By token: a read-modify-write in flight, and which try it is.
    modifying: HashMap<u64, (Op, u32)>,
    /// Those whose value somebody else changed first. Whoever that was is in flight, so its completion wakes the
    /// next poll, which tries again.
    refused: Vec<(Token, Op, u32)>,
}

/// How often a read-modify-write is tried: Voldemort's `applyUpdate` has the same default.
const TRIES_MAX: u32 = 3;

impl KvSession {
    fn put(&mut self, token: Token, key: &[u8], value: &[u8]) -> Result<Option<Answer>, OpError> {
        let mut clock = self.version(key)?.unwrap_or_else(|| VectorClock::empty(0));
        clock.increment(NODE, clock::wall_ms()).map_err(OpError::engine)?;
        let value = Versioned::new(clock, value);
        if self.waits {
            self.store.put_async(key, &value, token.0, &self.queue).map_err(OpError::engine)?;
            self.remember(token, false);
            Ok(None)
        } else {
            self.store.put(key, &value).map_err(OpError::engine)?;
            Ok(Some(Answer::Written))
        }
    }

    /// Reads value and version, and puts what is made of the value as that version's successor: if somebody else
    /// was faster, the put is refused, and all of it is tried again.
    fn modify(&mut self, token: Token, op: &Op, tries: u32) -> Result<Option<Answer>, OpError> {
        let versions = self.store.get(&op.key).map_err(OpError::engine)?;
        let now_ms = clock::wall_ms();
        let clocks = versions.iter().map(|v| v.clock.clone());
        let mut clock = clocks.reduce(|a, b| a.merge(&b, now_ms)).unwrap_or_else(|| VectorClock::empty(0));
        clock.increment(NODE, now_ms).map_err(OpError::engine)?;
        let old = resolve_by_time(versions, now_ms);
        let new = op.modified(old.as_ref().map(|v| v.value.as_slice())).map_err(OpError::engine)?;
        let value = Versioned::new(clock, new.as_bytes());
        let put = if self.waits {
            self.store.put_async(&op.key, &value, token.0, &self.queue)
        } else {
            self.store.put(&op.key, &value)
        };
        match put {
            Ok(()) if self.waits => {
                self.remember(token, false);
                self.modifying.insert(token.0, (op.clone(), tries));
                Ok(None)
            }
            Ok(()) => Ok(Some(Answer::Written)),
            Err(PutError::ObsoleteVersion { .. }) => self.refuse(token, op.clone(), tries),
            Err(error) => Err(OpError::engine(error)),
        }
    }

    fn refuse(&mut self, token: Token, op: Op, tries: u32) -> Result<Option<Answer>, OpError> {
        if tries >= TRIES_MAX {
            return Err(OpError::Refused { tries });
        }
        self.refused.push((token, op, tries));
        Ok(None)
    }

    fn complete(&mut self, done: KvDone) -> Option<Completion> {
        let token = Token(done.token);
        let modifying = if self.modifying.is_empty() { None } else { self.modifying.remove(&done.token) };
        let result = match (done.result, modifying) {
            (Ok(()), _) if self.deletes[done.token as usize] => Ok(Answer::Deleted(done.removed)),
            (Ok(()), _) => Ok(Answer::Written),
            (Err(PutError::ObsoleteVersion { .. }), Some((op, tries))) => {
                self.refuse(token, op, tries).transpose()?
            }
            (Err(error), _) => Err(OpError::engine(error)),
        };
        Some(Completion { token, result })
    }

    fn delete(&mut self, token: Token, key: &[u8]) -> Result<Option<Answer>, OpError> {
        let Some(version) = self.version(key)? else { return Ok(Some(Answer::Deleted(false))) };
        if self.waits {
            self.store.delete_async(key, &version, token.0, &self.queue).map_err(OpError::engine)?;
            self.remember(token, true);
            Ok(None)
        } else {
            let removed = self.store.delete(key, &version).map_err(OpError::engine)?;
            Ok(Some(Answer::Deleted(removed)))
        }
    }

    fn get(&self, key: &[u8]) -> Result<Answer, OpError> {
        let mut versions = self.store.get(key).map_err(OpError::engine)?;
        let newest = match versions.len() {
            0 | 1 => versions.pop(),
            _ => resolve_by_time(versions, clock::wall_ms()),
        };
        Ok(Answer::Value(newest.map(|v| v.value)))
    }

    /// The clock that descends from all versions of a key; `None` if there is none. No disk is read.
    fn version(&self, key: &[u8]) -> Result<Option<VectorClock>, OpError> {
        let clocks = self.store.get_versions(key).map_err(OpError::engine)?;
        Ok(clocks.into_iter().reduce(|a, b| a.merge(&b, clock::wall_ms())))
    }

    fn remember(&mut self, token: Token, delete: bool) {
        let at = token.0 as usize;
        if at >= self.deletes.len() {
            self.deletes.resize((at + 1).next_power_of_two(), false);
        }
        self.deletes[at] = delete;
    }
}

impl Session for KvSession {
    fn submit(&mut self, token: Token, op: &Op) -> Submit {
        let answer = match (op.access(), &op.value) {
            (Access::Read, _) => self.get(&op.key).map(Some),
            (Access::Delete, _) => self.delete(token, &op.key),
            (Access::Write, Some(value)) => self.put(token, &op.key, value.as_bytes()),
            (Access::Modify, _) => self.modify(token, op, 1),
            (Access::Write, None) | (Access::Scan, _) => return Submit::Unsupported,
        };
        answer.transpose().map_or(Submit::Accepted, Submit::Answered)
    }

    fn poll(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        self.queue.drain(wait, &mut self.done);
        let mut done = std::mem::take(&mut self.done);
        out.extend(done.drain(..).filter_map(|done| self.complete(done)));
        self.done = done;
        for (token, op, tries) in std::mem::take(&mut self.refused) {
            if let Some(result) = self.modify(token, &op, tries + 1).transpose() {
                out.push(Completion { token, result });
            }
        }
    }

    fn stats(&self) -> EngineStats {
        let stats = self.store.stats();
        EngineStats {
            written_bytes: stats.written_bytes,
            syncs: stats.syncs,
            tail_events: stats.rolls + stats.merges,
            ..EngineStats::default()
        }
    }

    fn close(self: Box<Self>) -> Result<EngineStats, EngineError> {
        let stats = self.stats();
        self.store.close().map_err(EngineError::engine)?;
        Ok(stats)
    }
}
