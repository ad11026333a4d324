//! Both real backends in a process that gets signals all the time, and in one whose files may not grow beyond a limit: an
//! operation completes whole, or fails at the very byte where it was cut.
//!
//! Not a test harness: signals go to a process's first thread, so that thread must do the work. The program starts itself as
//! the one that is interrupted.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_env::{
    Backend, Disk, DiskErrorKind, File, Home, Op, OpId, OpenHow, OsHome, Outcome, Wait, WriteSync,
};
use rustix::process::{Pid, Resource, Rlimit, Signal};

const ROLE: &str = "INTERRUPTED_ROLE";
const FOLDER: &str = "INTERRUPTED_FOLDER";
const EFBIG: i32 = 27;

fn main() -> ExitCode {
    match std::env::var(ROLE).as_deref() {
        Ok("signals") => under_signals(),
        Ok("limit") => below_a_limit(),
        _ => {
            let failed = [("signals", is_signalled as fn(&mut Child)), ("limit", |_| {})]
                .into_iter()
                .filter(|(role, meanwhile)| !succeeds(role, meanwhile))
                .count();
            return if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    }
    ExitCode::SUCCESS
}

/// Starts this program in a role, in a folder of its own.
#[expect(clippy::print_stderr, reason = "what a test harness would say")]
fn succeeds(role: &str, meanwhile: &dyn Fn(&mut Child)) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = std::env::current_exe().expect("this program");
    // An ignored signal stays ignored in the program: a write beyond the limit is then an error and not the end.
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\""])
        .arg(program)
        .env(ROLE, role)
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    meanwhile(&mut child);
    let succeeded = child.wait().expect("it ends").success();
    eprintln!("test interrupted by {role} ... {}", if succeeded { "ok" } else { "FAILED" });
    succeeded
}

/// Signals the child from when it is ready to when it is done.
fn is_signalled(child: &mut Child) {
    let output = child.stdout.take().expect("it is piped");
    let mut ready = String::new();
    BufReader::new(output).read_line(&mut ready).expect("it says that it is ready");
    let pid = Pid::from_child(child);
    while child.try_wait().expect("it is a child").is_none() {
        let _ = rustix::process::kill_process(pid, Signal::INT);
        std::thread::yield_now();
    }
}

fn disks() -> Vec<(OsHome, &'static str)> {
    let folder = std::env::var(FOLDER).expect("the parent says where");
    let home = |name, backend| OsHome::open(Path::new(&folder).join(name), backend);
    let mut homes = vec![(home("blocking", Backend::Blocking).expect("a folder"), "blocking")];
    // Where the machine refuses io_uring there is nothing to test of it.
    homes.extend(home("uring", Backend::Uring).ok().map(|home| (home, "io_uring")));
    homes
}

#[expect(clippy::print_stdout, reason = "the parent waits for it")]
fn under_signals() {
    const ROUNDS: u64 = 60;
    const SIGNALS: u64 = 300;
    let signals = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&signals);
    ctrlc::set_handler(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    })
    .expect("the first handler");
    println!("ready");
    for (home, name) in disks() {
        let mut disk = home.disk().expect("a disk");
        let (file, _) = disk.open("a", OpenHow::CreateNew).expect("a new file");
        let seen_before = signals.load(Ordering::Relaxed);
        let mut rounds = 0;
        while rounds < ROUNDS || signals.load(Ordering::Relaxed) < seen_before + SIGNALS {
            rounds += 1;
            let byte = rounds as u8;
            // Several in flight, long enough to be interrupted.
            for part in 0..4u64 {
                let (file, buf) = (file.clone(), vec![byte; 300_000]);
                disk.submit(OpId(part), Op::Write { file, at: part * 300_000, buf, sync: WriteSync::None });
            }
            let mut done = Vec::new();
            while done.len() < 4 {
                disk.reap(Wait::Forever, &mut done);
            }
            for one in done {
                assert!(matches!(one.result, Ok(Outcome::Finished)), "{name}: {:?}", one.result);
            }
            file.write_now(1_200_000, &[byte; 100_000], WriteSync::Data).expect("whole, on this thread, too");
            disk.run(Op::Sync { file: file.clone() }).expect("synced");
            let found = disk.read(&file, 0, 2_000_000).expect("readable");
            assert!(found.len() == 1_300_000 && found.iter().all(|b| *b == byte), "{name}, round {rounds}");
        }
    }
}

fn below_a_limit() {
    const LIMIT: u64 = 10_000;
    let before = rustix::process::getrlimit(Resource::Fsize);
    for (home, name) in disks() {
        let mut disk = home.disk().expect("a disk");
        let limit = |current| {
            let limit = Rlimit { current, maximum: before.maximum };
            rustix::process::setrlimit(Resource::Fsize, limit).expect("a lower limit, or what it was");
        };
        for (path, now) in [("submitted", false), ("now", true)] {
            let (file, _) = disk.open(path, OpenHow::CreateNew).expect("a new file");
            limit(Some(LIMIT));
            let bytes = vec![7; 16_000];
            let result = if now {
                file.write_now(0, &bytes, WriteSync::None)
            } else {
                disk.run(Op::Write { file: file.clone(), at: 0, buf: bytes, sync: WriteSync::None }).map(drop)
            };
            let error = result.expect_err("it doesn't fit");
            assert_eq!(
                (error.kind, error.at),
                (DiskErrorKind::Os(EFBIG), Some(LIMIT)),
                "{name} {path}: {error}"
            );
            let refused = file.write_now(0, b"x", WriteSync::None).expect_err("poisoned");
            assert_eq!(refused.kind, DiskErrorKind::Poisoned, "{name} {path}");
            // The part before the limit was written, and reads go on.
            assert_eq!(disk.read(&file, 0, 20_000).expect("readable"), [7; LIMIT as usize], "{name} {path}");
            limit(before.current);
            let (again, _) = disk.open(path, OpenHow::Existing).expect("it is there");
            again.write_now(0, &[8; 16_000], WriteSync::Data).expect("a new handle without the limit");
        }
    }
}
