//! Many operations, many threads, sudden ends: nothing is lost, nothing is told twice, and the kernel never writes into
//! memory that isn't its any more.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine_env::rng::{Rng, Seed};
use engine_env::sim::SimHome;
use engine_env::{
    Backend, CommitQueue, Committer, CompletionQueue, Disk, DiskError, Done, File, FileOf, Home, Machine, Op,
    OpId, OpenHow, OsHome, Outcome, Wait, WriteSync,
};
use rand_xoshiro::rand_core::Rng as _;

fn below(rng: &mut Rng, n: u64) -> u64 {
    rng.next_u64() % n
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn uring(root: &Path) -> Option<OsHome> {
    OsHome::open(root, Backend::Uring).inspect_err(|e| eprintln!("skipped: {e}")).ok()
}

/// Drops the file's pages, so that reads go to the device and are still in flight when submit returns.
fn evict(root: &Path, name: &str) {
    let file = std::fs::File::open(root.join(name)).expect("the file is there");
    file.sync_data().expect("it syncs");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("a hint");
}

const CELL: u64 = 3000;
const CELLS: u64 = 200;

#[test]
fn memory_of_a_dropped_ring_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(home) = uring(folder.path()) else { return };
    let mut disk = home.disk().expect("a ring");
    let (file, _) = disk.open("a", OpenHow::CreateNew).expect("the name is free");
    let bytes = vec![0xEE; (CELL * CELLS) as usize];
    disk.run(Op::Write { file: file.clone(), at: 0, buf: bytes, sync: WriteSync::Data }).expect("it writes");
    drop(disk);
    let mut rng = Seed(1).rng();
    let mut holds = vec![0xEE; CELLS as usize];
    for round in 0..25u8 {
        evict(folder.path(), "a");
        let mut disk = home.disk().expect("a ring");
        let waker = disk.waker();
        for i in 0..CELLS {
            let file = file.clone();
            let op = if below(&mut rng, 3) == 0 {
                holds[i as usize] = 0x80 + round;
                let sync = if below(&mut rng, 2) == 0 { WriteSync::Data } else { WriteSync::None };
                Op::Write { file, at: i * CELL, buf: vec![0x80 + round; CELL as usize], sync }
            } else {
                Op::Read { file, at: i * CELL, buf: vec![0; CELL as usize] }
            };
            disk.submit(OpId(i), op);
        }
        let mut done = Vec::new();
        match round % 4 {
            // Armed bell, nothing reaped, a part reaped, everything submitted.
            0 => disk.reap(Wait::AtMost(Duration::from_micros(1)), &mut done),
            1 => {}
            2 => disk.reap(Wait::Forever, &mut done),
            _ => disk.reap(Wait::No, &mut done),
        }
        drop(done);
        drop(disk);
        // The allocator hands the same memory out again: a late read would show in it, a late write would take
        // its bytes from it.
        let fresh: Vec<Vec<u8>> = (0..2 * CELLS).map(|_| vec![0x11; CELL as usize]).collect();
        waker.wake();
        let bytes = home.disk().and_then(|mut disk| disk.read(&file, 0, (CELL * CELLS) as usize));
        let bytes = bytes.expect("it reads");
        for (cell, (bytes, byte)) in bytes.chunks(CELL as usize).zip(&holds).enumerate() {
            assert!(bytes.iter().all(|b| b == byte), "round {round}, cell {cell}");
        }
        assert!(fresh.iter().flatten().all(|b| *b == 0x11), "round {round}");
    }
}

#[test]
fn a_ring_under_random_load_answers_each_operation_once_and_right() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(home) = uring(folder.path()) else { return };
    random_load(&home, Seed(2));
}

#[test]
fn the_simulated_disk_under_random_load_answers_each_operation_once_and_right() {
    random_load(&SimHome::new(Seed(3)), Seed(3));
}

/// Each cell of the file has at most one operation in flight, so its contents are known at any time.
fn random_load<H: Home>(home: &H, seed: Seed) {
    let mut rng = seed.rng();
    let mut disk = home.disk().expect("a disk");
    let (file, _) = disk.open("a", OpenHow::CreateNew).expect("the name is free");
    disk.run(Op::ZeroFill { file: file.clone(), at: 0, len: CELL * CELLS }).expect("it is filled");
    let stop = AtomicBool::new(false);
    let waker = disk.waker();
    std::thread::scope(|scope| {
        // Wakes at any moment may end a wait early and must do nothing else.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                waker.wake();
                std::thread::yield_now();
            }
        });
        let mut holds = vec![0u8; CELLS as usize];
        let mut idle: VecDeque<u64> = (0..CELLS).collect();
        let mut in_flight: BTreeMap<OpId, (u64, u8, bool)> = BTreeMap::new();
        let mut done = Vec::new();
        let (mut next, mut finished) = (0u64, 0);
        while finished < 4000 {
            for _ in 0..below(&mut rng, 40) {
                let Some(cell) = idle.pop_front() else { break };
                let (id, at, file) = (OpId(next), cell * CELL, file.clone());
                let byte = rng.next_u64() as u8;
                let (op, is_read) = match below(&mut rng, 10) {
                    0..4 => (Op::Read { file, at, buf: vec![0x55; CELL as usize] }, true),
                    4 => (Op::ZeroFill { file, at, len: CELL }, false),
                    n => {
                        let sync = if n == 5 { WriteSync::Data } else { WriteSync::None };
                        (Op::Write { file, at, buf: vec![byte; CELL as usize], sync }, false)
                    }
                };
                let byte = match &op {
                    Op::Read { .. } => holds[cell as usize],
                    Op::ZeroFill { .. } => 0,
                    _ => byte,
                };
                in_flight.insert(id, (cell, byte, is_read));
                disk.submit(id, op);
                next += 1;
            }
            let wait = match below(&mut rng, 3) {
                0 => Wait::No,
                1 => Wait::AtMost(Duration::from_micros(50)),
                _ => Wait::Forever,
            };
            disk.reap(wait, &mut done);
            for Done { id, result, buf } in done.drain(..) {
                let (cell, byte, is_read) = in_flight.remove(&id).expect("it was in flight, once");
                let outcome = result.expect("nothing fails here");
                if is_read {
                    assert!(matches!(outcome, Outcome::Read(n) if n as u64 == CELL));
                    assert!(buf.expect("its buffer").iter().all(|b| *b == byte), "cell {cell}");
                }
                holds[cell as usize] = byte;
                idle.push_back(cell);
                finished += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A file that several threads append to, as the engines do it.
struct Appender<F> {
    staged: Mutex<Staged<F>>,
    file: F,
    acknowledged: Arc<CompletionQueue<u64>>,
}

struct Staged<F> {
    queue: CommitQueue<F, u64>,
    end: u64,
}

impl<F: File> Appender<F> {
    fn append(&self, token: u64) -> Result<u64, DiskError> {
        let record = record(token);
        let mut staged = self.staged.lock().expect("nobody panics with it");
        let at = staged.end;
        let n = staged.queue.stage(&self.file, at, token, |buf| buf.extend_from_slice(&record))?;
        staged.end += n as u64;
        Ok(at)
    }
}

/// Of a length and content that follow from the token.
fn record(token: u64) -> Vec<u8> {
    let len = 8 + (token % 200) as usize;
    token.to_le_bytes().into_iter().cycle().take(len).collect()
}

impl<F: File> Machine<F> for Appender<F> {
    fn start(&self, submit: &mut dyn FnMut(OpId, Op<F>)) {
        let begun = self.staged.lock().expect("nobody panics with it").queue.begin();
        if let Some((file, at, buf)) = begun {
            submit(OpId(at), Op::Write { file, at, buf, sync: WriteSync::Data });
        }
    }

    fn on_done(&self, done: Done<F>) {
        let mut staged = self.staged.lock().expect("nobody panics with it");
        let bytes = done.buf.expect("a write gives its buffer back");
        let chunk = staged.queue.finish(done.result.map(drop), bytes).expect("nothing fails here");
        staged.queue.recycle(chunk.bytes);
        drop(staged);
        self.acknowledged.push_all(chunk.tags);
    }

    fn next_deadline(&self) -> Option<Duration> {
        None
    }
}

fn submitters_share_a_committer<H: Home>(home: &H) {
    const THREADS: u64 = 4;
    const EACH: u64 = 1500;
    let mut disk = home.disk().expect("a disk");
    let (file, _) = disk.open("log", OpenHow::CreateNew).expect("the name is free");
    let acknowledged = Arc::new(CompletionQueue::new());
    let machine: Arc<Appender<FileOf<H>>> = Arc::new(Appender {
        staged: Mutex::new(Staged { queue: CommitQueue::new(), end: 0 }),
        file: file.clone(),
        acknowledged: Arc::clone(&acknowledged),
    });
    let committer =
        Committer::spawn("committer", home.clone(), Arc::clone(&machine) as _).expect("it starts");
    let mut positions = BTreeMap::new();
    let mut tokens = Vec::new();
    std::thread::scope(|scope| {
        let submitters: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (machine, committer) = (&machine, &committer);
                scope.spawn(move || {
                    (0..EACH)
                        .map(|i| {
                            let token = thread * EACH + i;
                            let at = machine.append(token).expect("nothing fails here");
                            committer.wake();
                            (token, at)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        // The last records of each thread come back only if no wake-up was lost.
        while tokens.len() < (THREADS * EACH) as usize {
            acknowledged.drain(Wait::Forever, &mut tokens);
            let end = file.len().expect("it is open");
            assert!(tokens.is_empty() || end > 0);
        }
        for submitter in submitters {
            positions.extend(submitter.join().expect("a submitter"));
        }
    });
    drop(committer);
    tokens.sort_unstable();
    assert_eq!(tokens, (0..THREADS * EACH).collect::<Vec<_>>(), "each token once");
    let bytes = disk.read(&file, 0, 1 << 24).expect("it reads");
    let mut total = 0;
    for (token, at) in positions {
        let expected = record(token);
        let at = at as usize;
        assert_eq!(bytes[at..at + expected.len()], expected, "token {token}");
        total += expected.len();
    }
    assert_eq!(bytes.len(), total, "and nothing else");
}

#[test]
fn submitters_share_a_committer_over_io_uring() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    if let Some(home) = uring(folder.path()) {
        submitters_share_a_committer(&home);
    }
}

#[test]
fn submitters_share_a_committer_over_blocking_calls() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    submitters_share_a_committer(
        &OsHome::open(folder.path(), Backend::Blocking).expect("the folder is free"),
    );
}

#[test]
fn submitters_share_a_committer_on_the_simulated_disk() {
    submitters_share_a_committer(&SimHome::new(Seed(4)));
}

#[test]
fn dropping_a_committer_commits_what_is_staged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = OsHome::open(folder.path(), Backend::Auto).expect("the folder is free");
    for round in 0..20 {
        let mut disk = home.disk().expect("a disk");
        let (file, _) = disk.open(&format!("log{round}"), OpenHow::CreateNew).expect("the name is free");
        let acknowledged = Arc::new(CompletionQueue::new());
        let machine = Arc::new(Appender {
            staged: Mutex::new(Staged { queue: CommitQueue::new(), end: 0 }),
            file,
            acknowledged: Arc::clone(&acknowledged),
        });
        let committer =
            Committer::spawn("committer", home.clone(), Arc::clone(&machine) as _).expect("it starts");
        for token in 0..50 {
            machine.append(token).expect("nothing fails here");
            if token % 10 == round % 10 {
                committer.wake();
            }
        }
        drop(committer);
        let mut tokens = Vec::new();
        acknowledged.drain(Wait::No, &mut tokens);
        assert_eq!(tokens, (0..50).collect::<Vec<_>>(), "in the order they were staged");
    }
}
