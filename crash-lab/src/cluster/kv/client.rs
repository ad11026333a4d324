//! [`KvPeer`]: a client of the store with a history, several operations at once.
//!
//! A write reads the clocks of its key first and puts under the merge of them, step by step rather than by
//! [`Coordinator::write`], so that the judge knows what the version may descend from.

use std::collections::BTreeMap;

use engine_env::rng::Rng;
use engine_env::{Arrival, Peer};
use kv_engine::{Coordinator, CoordinatorStats, KvAnswer, KvOutcome, Now, Versioned};
use rand::RngExt as _;

use super::registers::{Kind, Registers, Seen};
use crate::stress::{Clock, clock_of, version_of};

const IN_FLIGHT_MAX: usize = 5;
/// What clocks show when the world begins.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// What a client does to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Put,
    Delete,
    Nothing,
}

#[derive(Debug)]
enum Doing {
    Get {
        key: usize,
        began_ns: u64,
    },
    /// At the end.
    LastGet {
        key: usize,
    },
    GetAll {
        keys: Vec<usize>,
        began_ns: u64,
    },
    ReadClocks {
        key: usize,
        began_ns: u64,
        then: Then,
    },
    Write {
        attempt: usize,
    },
}

/// See the module.
pub(super) struct KvPeer {
    coordinator: Coordinator,
    skew_ms: i64,
    /// How a delete is done, if there are any.
    deletes: Option<Kind>,
    doing: BTreeMap<u64, Doing>,
    /// Keys that couldn't be read at the end.
    unread: Vec<usize>,
    next_token: u64,
}

impl KvPeer {
    pub(super) fn new(coordinator: Coordinator, deletes: Option<Kind>) -> Self {
        Self { coordinator, skew_ms: 0, deletes, doing: BTreeMap::new(), unread: Vec::new(), next_token: 0 }
    }

    pub(super) fn key(key: usize) -> Vec<u8> {
        format!("key-{key}").into_bytes()
    }

    pub(super) fn stats(&self) -> CoordinatorStats {
        self.coordinator.stats()
    }

    /// Reads a key at the end, when nothing may be missing any more.
    pub(super) fn read_last(&mut self, now_ns: u64, key: usize) {
        let token = self.starts(Doing::LastGet { key });
        self.coordinator.get(self.now(now_ns), token, &Self::key(key));
    }

    /// The keys that couldn't be read since this was last asked.
    pub(super) fn take_unread(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.unread)
    }

    fn now(&self, now_ns: u64) -> Now {
        let ms = i64::try_from(now_ns / 1_000_000).expect("the world is young");
        Now { ns: now_ns, wall_ms: EPOCH_MS + ms + self.skew_ms }
    }

    fn starts(&mut self, doing: Doing) -> u64 {
        self.next_token += 1;
        self.doing.insert(self.next_token, doing);
        self.next_token
    }

    /// Writes under the clocks that were read.
    fn writes(
        &mut self,
        now_ns: u64,
        key: usize,
        then: Then,
        clocks: &[Clock],
        ledger: &mut Registers,
        said: &mut Vec<String>,
    ) {
        let mut base = Clock::default();
        clocks.iter().for_each(|clock| base.merge(clock));
        let kind = match (then, self.deletes) {
            (Then::Put, _) => Kind::Put,
            (Then::Delete, Some(kind)) if !clocks.is_empty() => kind,
            (Then::Delete | Then::Nothing, _) => return,
        };
        let attempt = ledger.attempt(key, kind, base.clone());
        let token = self.starts(Doing::Write { attempt });
        let (now, version) = (self.now(now_ns), version_of(&base, self.now(now_ns).wall_ms));
        let key_bytes = Self::key(key);
        if kind == Kind::Put {
            said.push(format!("put #{attempt} of key {key} on {base}"));
            self.coordinator.put(now, token, &key_bytes, version, &Registers::value(attempt));
        } else {
            said.push(format!("delete #{attempt} of key {key} on {base}"));
            self.coordinator.delete_version(now, token, &key_bytes, version);
        }
    }

    fn ended(
        &mut self,
        now_ns: u64,
        outcome: KvOutcome,
        ledger: &mut Registers,
        said: &mut Vec<String>,
    ) -> Result<(), String> {
        let KvOutcome { token, result, copies, .. } = outcome;
        let doing = self.doing.remove(&token).ok_or("an operation ended twice")?;
        match (doing, result) {
            (Doing::Get { key, began_ns }, Ok(KvAnswer::Values(values))) => {
                let versions = seen(values);
                said.push(format!("get of key {key} gives {}", listed(&versions)));
                ledger.judge_get(key, began_ns, &versions)
            }
            (Doing::LastGet { key }, Ok(KvAnswer::Values(values))) => {
                let versions = seen(values);
                said.push(format!("all replicas of key {key} give {}", listed(&versions)));
                ledger.judge_end(key, &versions, now_ns)
            }
            (Doing::GetAll { keys, began_ns }, Ok(KvAnswer::AllValues(mut found))) => {
                for key in keys {
                    // A key without a version is left out.
                    let place = found.iter().position(|(bytes, _)| *bytes == Self::key(key));
                    let versions = seen(place.map(|at| found.swap_remove(at).1).unwrap_or_default());
                    said.push(format!("getAll gives {} for key {key}", listed(&versions)));
                    ledger.judge_get(key, began_ns, &versions)?;
                }
                match found.first() {
                    None => Ok(()),
                    Some((bytes, _)) => Err(format!("a getAll gave {bytes:?}, which it wasn't asked for")),
                }
            }
            (Doing::ReadClocks { key, began_ns, then }, Ok(KvAnswer::Versions(clocks))) => {
                let clocks: Vec<_> = clocks.iter().map(clock_of).collect();
                ledger.judge_get_versions(key, began_ns, &clocks)?;
                self.writes(now_ns, key, then, &clocks, ledger, said);
                Ok(())
            }
            (Doing::Write { attempt }, Ok(KvAnswer::Written(clock))) => {
                let clock = clock_of(&clock);
                said.push(format!("#{attempt} acknowledged as {clock} by {copies}"));
                ledger.acknowledge(attempt, now_ns, Some(clock))
            }
            (Doing::Write { attempt }, Ok(KvAnswer::Deleted(_))) => {
                said.push(format!("#{attempt} acknowledged by {copies}"));
                ledger.acknowledge(attempt, now_ns, None)
            }
            (Doing::LastGet { key }, Err(error)) => {
                said.push(format!("key {key} can't be read from all replicas: {error}"));
                self.unread.push(key);
                Ok(())
            }
            (Doing::Write { attempt }, Err(error)) => {
                said.push(format!("#{attempt} failed: {error}"));
                // It may be there or not, now or later.
                ledger.failed += 1;
                Ok(())
            }
            (Doing::Get { .. } | Doing::GetAll { .. } | Doing::ReadClocks { .. }, Err(_)) => {
                ledger.reads_failed += 1;
                Ok(())
            }
            (doing, Ok(answer)) => Err(format!("{doing:?} was answered with {answer:?}")),
        }
    }
}

pub(super) fn seen(values: Vec<Versioned>) -> Vec<Seen> {
    values.into_iter().map(|version| (version.value, clock_of(&version.clock))).collect()
}

fn listed(versions: &[Seen]) -> String {
    let clocks: Vec<_> = versions.iter().map(|(_, clock)| clock.to_string()).collect();
    format!("[{}]", clocks.join(" "))
}

impl KvPeer {
    pub(super) fn begin(&mut self, now_ns: u64, rng: &mut Rng, ledger: &mut Registers) {
        let key = rng.random_range(0..ledger.keys());
        let kind = rng.random_range(0..100);
        if self.doing.len() >= IN_FLIGHT_MAX {
            return;
        }
        let (now, began_ns) = (self.now(now_ns), now_ns);
        let then = match kind {
            0..35 => {
                let token = self.starts(Doing::Get { key, began_ns });
                return self.coordinator.get(now, token, &Self::key(key));
            }
            35..45 => {
                let keys: Vec<_> = (0..ledger.keys()).filter(|other| (key + other) % 2 == 0).collect();
                let names: Vec<_> = keys.iter().map(|key| Self::key(*key)).collect();
                let names: Vec<_> = names.iter().map(Vec::as_slice).collect();
                let token = self.starts(Doing::GetAll { keys, began_ns });
                return self.coordinator.get_all(now, token, &names);
            }
            45..50 => Then::Nothing,
            50..60 => Then::Delete,
            _ => Then::Put,
        };
        let token = self.starts(Doing::ReadClocks { key, began_ns, then });
        self.coordinator.get_versions(now, token, &Self::key(key));
    }

    pub(super) fn handle(&mut self, now_ns: u64, arrival: &Arrival) {
        self.coordinator.handle(self.now(now_ns), arrival);
    }

    pub(super) fn poll_timeout(&mut self) -> Option<u64> {
        self.coordinator.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now_ns: u64) {
        self.coordinator.handle_timeout(self.now(now_ns));
    }

    pub(super) fn take_outcomes(
        &mut self,
        now_ns: u64,
        ledger: &mut Registers,
        said: &mut Vec<String>,
    ) -> Result<(), String> {
        while let Some(outcome) = self.coordinator.poll_outcome() {
            self.ended(now_ns, outcome, ledger, said)?;
        }
        Ok(())
    }

    pub(super) fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.coordinator.poll_output()
    }

    pub(super) fn jump_clock(&mut self, by_ms: i64) {
        self.skew_ms = by_ms;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.doing.is_empty() && self.coordinator.down().next().is_none()
    }
}
