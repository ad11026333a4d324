//! [`PoolSession`]: a session over a store whose calls block. Here are its threads.
//!
//! Without threads of one's own, reads and writes that needn't wait for the disk are answered on the driver's thread.
//! What waits for the disk goes to one committer, which commits all that has gathered at once: an embedded store has
//! no group commit of its own across callers, and without one it would be compared with the disk, not with us. With
//! N threads every operation goes to whichever is free, and writes gather in the same way.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_env::{CompletionQueue, Durability, Wait};
use workloads::{Access, Op};

use super::{Store, Write};
use crate::engine::{Answer, Completion, EngineError, EngineStats, OpError, Session, Submit, Token};

/// The most writes that share a commit, so that no operation waits behind an endless one.
const GROUP_MAX: usize = 1024;

enum Ask {
    Get(Vec<u8>),
    Scan(Vec<u8>, usize),
    Write(Write),
}

#[derive(Default)]
struct Asked {
    reads: VecDeque<(Token, Ask)>,
    writes: VecDeque<(Token, Write)>,
    closing: bool,
}

struct Shared {
    store: Arc<dyn Store>,
    synced: bool,
    asked: Mutex<Asked>,
    wake: Condvar,
    done: CompletionQueue<Completion>,
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that answers what is asked until the session closes.
    fn work(&self) {
        let mut asked = self.asked();
        loop {
            if let Some((token, ask)) = asked.reads.pop_front() {
                drop(asked);
                self.done.push(Completion { token, result: read(&*self.store, &ask) });
            } else if !asked.writes.is_empty() {
                let group = asked.writes.len().min(GROUP_MAX);
                let (tokens, writes): (Vec<Token>, Vec<Write>) = asked.writes.drain(..group).unzip();
                drop(asked);
                let results = commit(&*self.store, &writes, self.synced);
                self.done.push_all(
                    tokens.into_iter().zip(results).map(|(token, result)| Completion { token, result }),
                );
            } else if asked.closing {
                return;
            } else {
                asked = self.wake.wait(asked).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            asked = self.asked();
        }
    }

    /// A thread that syncs every `every` until the session closes.
    fn sync_now_and_then(&self, every: Duration) {
        let mut asked = self.asked();
        let mut next = Instant::now() + every;
        while !asked.closing {
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(asked);
                // A sync that fails shows in the next write, or at the end.
                let _ = self.store.sync();
                next = Instant::now() + every;
                asked = self.asked();
                continue;
            }
            asked = self.wake.wait_timeout(asked, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn read(store: &dyn Store, ask: &Ask) -> Result<Answer, OpError> {
    let answer = match ask {
        Ask::Get(key) => store.get(key).map(Answer::Value),
        Ask::Scan(start, rows_max) => store.scan(start, *rows_max).map(Answer::Rows),
        Ask::Write(write) => return commit(store, std::slice::from_ref(write), false).remove(0),
    };
    answer.map_err(OpError::engine)
}

fn commit(store: &dyn Store, writes: &[Write], synced: bool) -> Vec<Result<Answer, OpError>> {
    match store.commit(writes, synced) {
        Ok(were_there) => writes
            .iter()
            .zip(were_there)
            .map(|(write, there)| {
                Ok(if write.value.is_some() { Answer::Written } else { Answer::Deleted(there) })
            })
            .collect(),
        // One commit, one fate.
        Err(error) => {
            let text = error.to_string();
            writes.iter().map(|_| Err(OpError::engine(text.clone()))).collect()
        }
    }
}

pub(super) struct PoolSession {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Reads, and writes that needn't wait, on the caller's thread.
    inline: bool,
}

impl PoolSession {
    pub(super) fn start(
        store: Arc<dyn Store>,
        durability: Durability,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let synced = durability == Durability::Synced;
        let shared = Arc::new(Shared {
            store,
            synced,
            asked: Mutex::default(),
            wake: Condvar::new(),
            done: CompletionQueue::new(),
        });
        let mut session = Self { shared, threads: Vec::new(), inline: threads == 0 };
        let workers = if threads == 0 { usize::from(synced) } else { threads };
        for _ in 0..workers {
            session.spawn(Shared::work)?;
        }
        if let Durability::IntervalMs(ms) = durability {
            session.spawn(move |shared| shared.sync_now_and_then(Duration::from_millis(ms.max(1))))?;
        }
        Ok(session)
    }

    fn spawn(&mut self, run: impl FnOnce(&Shared) + Send + 'static) -> Result<(), EngineError> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("peer".to_owned()).spawn(move || run(&shared));
        self.threads.push(thread.map_err(EngineError::engine)?);
        Ok(())
    }

    fn stop(&mut self) {
        self.shared.asked().closing = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing more to give; the completions it owes show as unanswered.
            let _ = thread.join();
        }
    }
}

impl Drop for PoolSession {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Session for PoolSession {
    fn submit(&mut self, token: Token, op: &Op) -> Submit {
        let key = op.key.to_vec();
        let ask = match (op.access(), &op.value) {
            (Access::Read, _) => Ask::Get(key),
            (Access::Scan, _) => Ask::Scan(key, op.rows_max as usize),
            (Access::Delete, _) => Ask::Write(Write { key, value: None }),
            (Access::Write, Some(value)) => Ask::Write(Write { key, value: Some(value.as_bytes().to_vec()) }),
            (Access::Modify, _) | (Access::Write, None) => return Submit::Unsupported,
        };
        let waits = self.shared.synced && matches!(ask, Ask::Write(_));
        if self.inline && !waits {
            return Submit::Answered(read(&*self.shared.store, &ask));
        }
        let mut asked = self.shared.asked();
        match ask {
            Ask::Write(write) => asked.writes.push_back((token, write)),
            read => asked.reads.push_back((token, read)),
        }
        drop(asked);
        self.shared.wake.notify_one();
        Submit::Accepted
    }

    fn poll(&mut self, wait: Wait, out: &mut Vec<Completion>) {
        self.shared.done.drain(wait, out);
    }

    fn close(mut self: Box<Self>) -> Result<EngineStats, EngineError> {
        self.stop();
        self.shared.store.sync().map_err(EngineError::engine)?;
        Ok(self.stats())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PeerError, Row};
    use super::*;
    use std::collections::BTreeMap;

    /// A store that counts its commits, and waits in the first until it is let go.
    #[derive(Default)]
    struct Counting {
        rows: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
        commits: Mutex<Vec<usize>>,
        gate: Mutex<bool>,
        opened: Condvar,
    }

    impl Store for Counting {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, PeerError> {
            Ok(self.rows.lock().expect("sound").get(key).cloned())
        }

        fn commit(&self, writes: &[Write], _synced: bool) -> Result<Vec<bool>, PeerError> {
            let gate = self.gate.lock().expect("sound");
            drop(self.opened.wait_while(gate, |open| !*open).expect("sound"));
            self.commits.lock().expect("sound").push(writes.len());
            let mut rows = self.rows.lock().expect("sound");
            Ok(writes
                .iter()
                .map(|write| match &write.value {
                    Some(value) => rows.insert(write.key.clone(), value.clone()).is_some(),
                    None => rows.remove(&write.key).is_some(),
                })
                .collect())
        }

        fn sync(&self) -> Result<(), PeerError> {
            Ok(())
        }

        fn scan(&self, start: &[u8], rows_max: usize) -> Result<Vec<Row>, PeerError> {
            let rows = self.rows.lock().expect("sound");
            Ok(rows.range(start.to_vec()..).take(rows_max).map(|(k, v)| (k.clone(), v.clone())).collect())
        }
    }

    #[test]
    fn writes_that_wait_at_the_same_time_share_a_commit() {
        let store = Arc::new(Counting::default());
        let shared = Arc::clone(&store) as Arc<dyn Store>;
        let mut session = PoolSession::start(shared, Durability::Synced, 0).expect("threads");
        let value = |n: u32| workloads::Value::recorded(vec![n as u8; 10]);
        for n in 0..50_u32 {
            let op = Op::put(n, format!("k{n:02}"), value(n));
            assert!(matches!(session.submit(Token(u64::from(n)), &op), Submit::Accepted));
        }
        *store.gate.lock().expect("sound") = true;
        store.opened.notify_all();
        let mut out = Vec::new();
        while out.len() < 50 {
            session.poll(Wait::Forever, &mut out);
        }
        assert!(out.iter().all(|done| matches!(done.result, Ok(Answer::Written))));
        let commits = store.commits.lock().expect("sound").clone();
        assert!(commits.len() <= 3 && commits.iter().sum::<usize>() == 50, "{commits:?}");
        let Submit::Answered(Ok(Answer::Rows(rows))) = session.submit(Token(0), &Op::scan(3, "k03", 2))
        else {
            panic!("a scan is answered at once");
        };
        assert_eq!(rows.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), [b"k03", b"k04"]);
        Box::new(session).close().expect("nothing fails here");
    }
}
