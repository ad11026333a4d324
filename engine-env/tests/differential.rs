//! Random programs of operations give the same answers and leave the same files on all three backends.
//!
//! `ENGINE_ENV_CASES=2000 cargo test -p engine-env --test differential` runs more programs than the default 60.

use engine_env::rng::Seed;
use engine_env::sim::SimHome;
use engine_env::{
    Backend, Disk, DiskError, DiskErrorKind, Entry, EntryKind, File, Home, Op, OpId, OpenHow, OsHome,
    Outcome, ReadHow, ReadNow, Wait, WriteSync,
};
use proptest::prelude::*;

const PATHS: [&str; 7] = ["a", "b", "d/a", "d/b", "d/e/a", "d", "a/a"];
const FOLDERS: [&str; 5] = ["", "d", "d/e", "x", "a"];
const HANDLES: usize = 3;
/// Batched operations each have a block of their own: in flight together they have no order.
const BLOCK: u64 = 300;

#[derive(Debug, Clone)]
enum Step {
    Open { handle: usize, path: &'static str, how: OpenHow },
    Close { handle: usize },
    Write { handle: usize, at: u64, len: usize, byte: u8, sync: bool, now: bool },
    Read { handle: usize, at: u64, len: usize, now: bool },
    Sync { handle: usize, now: bool },
    ZeroFill { handle: usize, at: u64, len: u64 },
    Truncate { handle: usize, len: u64 },
    Rename { from: &'static str, to: &'static str },
    Remove { path: &'static str },
    CreateDir { dir: &'static str },
    SyncDir { dir: &'static str },
    List { dir: &'static str },
    Batch { handle: usize, blocks: Vec<(u8, bool)> },
    Map { handle: usize },
}

#[derive(Debug, PartialEq)]
enum Seen {
    NoHandle,
    Opened(u64),
    Listed(Vec<Entry>),
    Bytes(Vec<u8>),
    Finished,
    Failed(DiskErrorKind),
}

fn positions() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..9000, 1 => Just(300_000u64), 1 => Just(i64::MAX as u64), 1 => Just(u64::MAX)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let handle = 0..HANDLES;
    let path = prop::sample::select(PATHS.to_vec());
    let file_path = prop::sample::select(PATHS[..5].to_vec());
    let dir = prop::sample::select(FOLDERS.to_vec());
    let how = prop::sample::select(vec![OpenHow::Existing, OpenHow::CreateNew, OpenHow::OpenOrCreate]);
    let flag = any::<bool>();
    let step = prop_oneof![
        6 => (handle.clone(), path.clone(), how)
            .prop_map(|(handle, path, how)| Step::Open { handle, path, how }),
        1 => handle.clone().prop_map(|handle| Step::Close { handle }),
        6 => (handle.clone(), positions(), 0usize..9000, any::<u8>(), flag, flag)
            .prop_map(|(handle, at, len, byte, sync, now)| Step::Write { handle, at, len, byte, sync, now }),
        4 => (handle.clone(), positions(), 0usize..9000, flag)
            .prop_map(|(handle, at, len, now)| Step::Read { handle, at, len, now }),
        1 => (handle.clone(), flag).prop_map(|(handle, now)| Step::Sync { handle, now }),
        2 => (handle.clone(), positions(), 0u64..300_000)
            .prop_map(|(handle, at, len)| Step::ZeroFill { handle, at, len }),
        2 => (handle.clone(), 0u64..9000).prop_map(|(handle, len)| Step::Truncate { handle, len }),
        2 => (file_path.clone(), file_path).prop_map(|(from, to)| Step::Rename { from, to }),
        2 => path.prop_map(|path| Step::Remove { path }),
        // Not over a path that renames use: only files may be renamed.
        3 => prop::sample::select(FOLDERS[..4].to_vec()).prop_map(|dir| Step::CreateDir { dir }),
        1 => dir.clone().prop_map(|dir| Step::SyncDir { dir }),
        2 => dir.prop_map(|dir| Step::List { dir }),
        2 => (handle.clone(), prop::collection::vec((any::<u8>(), flag), 1..40))
            .prop_map(|(handle, blocks)| Step::Batch { handle, blocks }),
        1 => handle.prop_map(|handle| Step::Map { handle }),
    ];
    prop::collection::vec(step, 1..60)
}

fn seen<F>((result, buf): (Result<Outcome<F>, DiskError>, Option<Vec<u8>>)) -> Seen {
    match result {
        Ok(Outcome::Opened { len, .. }) => Seen::Opened(len),
        Ok(Outcome::Listed(entries)) => Seen::Listed(entries),
        Ok(Outcome::Read(n)) => Seen::Bytes(buf.expect("a read gives its buffer back")[..n].to_vec()),
        Ok(_) => Seen::Finished,
        Err(error) => Seen::Failed(error.kind),
    }
}

fn told(result: Result<(), DiskError>) -> Seen {
    result.map_or_else(|e| Seen::Failed(e.kind), |()| Seen::Finished)
}

fn how(sync: bool) -> WriteSync {
    if sync { WriteSync::Data } else { WriteSync::None }
}

/// Everything the program was told, then every file's name and contents.
fn play<H: Home>(home: &H, program: &[Step]) -> (Vec<Seen>, Vec<(String, Vec<u8>)>) {
    let mut disk = home.disk().expect("a disk");
    let mut handles = vec![None; HANDLES];
    let answers = program.iter().map(|step| take(&mut disk, &mut handles, step)).collect();
    let mut files = Vec::new();
    for dir in ["", "d", "d/e"] {
        for Entry { name, kind } in disk.list(dir).unwrap_or_default() {
            if kind == EntryKind::File {
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                let (file, len) = disk.open(&path, OpenHow::Existing).expect("it is listed");
                files.push((path, disk.read(&file, 0, len as usize).expect("it reads")));
            }
        }
    }
    (answers, files)
}

fn take<D: Disk>(disk: &mut D, handles: &mut [Option<D::File>], step: &Step) -> Seen {
    let run = |disk: &mut D, op| seen(disk.run_with_buf(op));
    match step {
        Step::Open { handle, path, how } => match disk.open(path, *how) {
            Ok((file, len)) => {
                handles[*handle] = Some(file);
                Seen::Opened(len)
            }
            Err(error) => Seen::Failed(error.kind),
        },
        Step::Rename { from, to } => run(disk, Op::Rename { from: (*from).to_owned(), to: (*to).to_owned() }),
        Step::Remove { path } => run(disk, Op::Remove { path: (*path).to_owned() }),
        Step::CreateDir { dir } => run(disk, Op::CreateDir { dir: (*dir).to_owned() }),
        Step::SyncDir { dir } => run(disk, Op::SyncDir { dir: (*dir).to_owned() }),
        Step::List { dir } => run(disk, Op::List { dir: (*dir).to_owned() }),
        Step::Close { handle } => {
            handles[*handle] = None;
            Seen::Finished
        }
        Step::Write { handle, .. }
        | Step::Read { handle, .. }
        | Step::Sync { handle, .. }
        | Step::ZeroFill { handle, .. }
        | Step::Truncate { handle, .. }
        | Step::Batch { handle, .. }
        | Step::Map { handle } => match handles[*handle].clone() {
            Some(file) => take_on_file(disk, file, step),
            None => Seen::NoHandle,
        },
    }
}

fn take_on_file<D: Disk>(disk: &mut D, file: D::File, step: &Step) -> Seen {
    match step {
        Step::Write { at, len, byte, sync, now: true, .. } => {
            told(file.write_now(*at, &vec![*byte; *len], how(*sync)))
        }
        Step::Write { at, len, byte, sync, now: false, .. } => {
            let op = Op::Write { file, at: *at, buf: vec![*byte; *len], sync: how(*sync) };
            seen(disk.run_with_buf(op))
        }
        Step::Read { at, len, now: true, .. } => {
            let mut buf = vec![0; *len];
            match file.read_now(*at, &mut buf, ReadHow::MayBlock) {
                Ok(ReadNow::Read(n)) => Seen::Bytes(buf[..n].to_vec()),
                Ok(ReadNow::NotCached) => unreachable!("a read that may block never says so"),
                Err(error) => Seen::Failed(error.kind),
            }
        }
        Step::Read { at, len, now: false, .. } => {
            seen(disk.run_with_buf(Op::Read { file, at: *at, buf: vec![0; *len] }))
        }
        Step::Sync { now: true, .. } => told(file.sync_now()),
        Step::Sync { now: false, .. } => seen(disk.run_with_buf(Op::Sync { file })),
        Step::ZeroFill { at, len, .. } => seen(disk.run_with_buf(Op::ZeroFill { file, at: *at, len: *len })),
        Step::Truncate { len, .. } => seen(disk.run_with_buf(Op::Truncate { file, len: *len })),
        Step::Map { .. } => match file.map_sealed() {
            Ok(map) => Seen::Bytes(map.to_vec()),
            Err(error) => Seen::Failed(error.kind),
        },
        Step::Batch { blocks, .. } => {
            for (i, (byte, sync)) in blocks.iter().enumerate() {
                let at = i as u64 * BLOCK;
                let op = if byte % 8 == 0 {
                    Op::ZeroFill { file: file.clone(), at, len: BLOCK }
                } else {
                    Op::Write {
                        file: file.clone(),
                        at,
                        buf: vec![*byte; BLOCK as usize],
                        sync: how(*sync && byte % 5 == 0),
                    }
                };
                disk.submit(OpId(i as u64), op);
            }
            let mut done = Vec::new();
            while done.len() < blocks.len() {
                disk.reap(Wait::Forever, &mut done);
            }
            // Which one fails first depends on the order; that one fails and how does not, without faults.
            let error = done.into_iter().find_map(|d| d.result.err());
            error.map_or(Seen::Finished, |e| Seen::Failed(e.kind))
        }
        _ => unreachable!("the caller takes the steps without a handle"),
    }
}

fn cases() -> u32 {
    std::env::var("ENGINE_ENV_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_program_has_one_outcome_on_every_backend(program in steps(), seed in any::<u64>()) {
        let simulated = play(&SimHome::new(Seed(seed)), &program);
        for backend in [Backend::Blocking, Backend::Uring] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let home = match OsHome::open(folder.path(), backend) {
                Err(_) if backend == Backend::Uring => continue,
                home => home.expect("the folder is free"),
            };
            let real = play(&home, &program);
            for (i, (step, (real, simulated))) in program.iter().zip(real.0.iter().zip(&simulated.0)).enumerate() {
                prop_assert!(real == simulated, "step {} {:?}: {:?} {:?}, simulated {:?}",
                    i, step, backend, real, simulated);
            }
            prop_assert_eq!(&real.1, &simulated.1);
        }
    }
}
