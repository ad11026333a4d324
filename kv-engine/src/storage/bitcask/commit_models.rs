//! Group commit in every order of its threads' steps (up to a number of switches against a thread's will): a submitter
//! that commits itself where it is alone, one that wakes the committer, and the committer. Nobody sleeps through its
//! answer, nothing stays staged, and what was answered can be read, be it a refusal's reason. See [`engine_env::sync`].

use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{SimFile, SimHome};
use engine_env::sync::{Condvar, Mutex, wait_while};
use engine_env::{CompletionQueue, Durability, Home, Wait, Waker};
use loom::thread;

use super::{Bitcask, KvDone};
use crate::config::KvConfig;
use crate::storage::PutError;
use crate::version::{VectorClock, Versioned};

/// Switches against a thread's will: bugs of such hand-offs need two or three.
const SWITCHES: usize = 3;

#[derive(Debug, Clone, Copy, Default)]
struct Rung {
    for_work: bool,
    for_the_end: bool,
}

/// What the committer waits for.
struct Bell {
    rung: Mutex<Rung>,
    ringing: Condvar,
}

impl Bell {
    fn ring(&self, rung: Rung) {
        let mut state = self.rung.lock().expect("no thread panics");
        state.for_work |= rung.for_work;
        state.for_the_end |= rung.for_the_end;
        self.ringing.notify_one();
    }

    fn wait(&self) -> Rung {
        let state = self.rung.lock().expect("no thread panics");
        let mut state = wait_while(&self.ringing, state, |rung| !rung.for_work && !rung.for_the_end);
        std::mem::take(&mut *state)
    }
}

fn work() -> Rung {
    Rung { for_work: true, for_the_end: false }
}

/// Puts a key and waits for the answer; `otherwise` sees to it if nobody is committing. Whether it was taken.
fn put(store: &Bitcask<SimFile>, key: &[u8], otherwise: impl FnOnce(&Bitcask<SimFile>)) -> bool {
    let mut clock = VectorClock::empty(0);
    clock.increment(0, 1).expect("the first");
    let answer = Arc::new(CompletionQueue::<KvDone>::new());
    let result = match store.stage_put(key, &Versioned::new(clock, key), 7, &answer) {
        Err(refused) => Err(refused),
        Ok(committing) => {
            if !committing {
                otherwise(store);
            }
            let mut done = Vec::new();
            while done.is_empty() {
                answer.drain(Wait::Forever, &mut done);
            }
            assert_eq!(done[0].token, 7);
            done.remove(0).result
        }
    };
    assert!(matches!(result, Ok(()) | Err(PutError::ObsoleteVersion { .. })), "{result:?}");
    assert_eq!(store.get(key).expect("it can be read").len(), 1, "what was answered is there");
    result.is_ok()
}

#[test]
fn everybody_is_answered_and_nothing_stays_staged() {
    check(b"a", b"b", 2);
}

#[test]
fn whoever_is_refused_finds_what_has_refused_him() {
    check(b"a", b"a", 1);
}

/// Two put a key each, of which so many are taken.
fn check(one: &'static [u8], other: &'static [u8], taken: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(SWITCHES);
    model.check(move || {
        let home = SimHome::new(Seed(1));
        let mut disk = home.disk().expect("a healthy machine");
        let config = KvConfig {
            durability: Durability::Synced,
            segment_bytes: 4096,
            shards: 1,
            ..KvConfig::default()
        };
        let (store, _) = Bitcask::open(&mut disk, config).expect("an empty folder");
        let store = Arc::new(store);
        let bell = Arc::new(Bell { rung: Mutex::new(Rung::default()), ringing: Condvar::new() });
        let ringing = Arc::clone(&bell);
        store.set_bells(Waker::new(move || ringing.ring(work())), Waker::new(|| {}));
        let committer = {
            let (store, bell) = (Arc::clone(&store), Arc::clone(&bell));
            thread::spawn(move || {
                loop {
                    let rung = bell.wait();
                    while store.commit_now() {}
                    if rung.for_the_end {
                        return;
                    }
                }
            })
        };
        let waking = {
            let (store, bell) = (Arc::clone(&store), Arc::clone(&bell));
            thread::spawn(move || put(&store, one, |_| bell.ring(work())))
        };
        // As the store's own wait does.
        let mine = put(&store, other, |store| {
            if !store.commit_if_alone() {
                bell.ring(work());
            }
        });
        let others = waking.join().expect("it is answered");
        assert_eq!(usize::from(mine) + usize::from(others), taken);
        bell.ring(Rung { for_work: false, for_the_end: true });
        committer.join().expect("it ends");
        assert!(store.writer().queue.is_idle());
    });
}
