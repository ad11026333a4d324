//! What every disk keeps, run over all three backends: the invariants at the head of `disk.rs`, errors, ends of files,
//! wake-ups, names.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use engine_env::rng::Seed;
use engine_env::sim::SimHome;
use engine_env::{
    Backend, Disk, DiskErrorKind, Done, EntryKind, File, FileOf, Home, Op, OpId, OpenHow, OsHome, Outcome,
    ReadHow, ReadNow, Wait, WriteSync,
};

/// Runs `check` on a fresh home of each backend, io_uring where it is permitted.
macro_rules! on_every_backend {
    ($($(#[$attribute:meta])* $check:ident;)*) => {
        mod simulated {
            $($(#[$attribute])* #[test] fn $check() { super::$check(&super::SimHome::new(super::Seed(1))); })*
        }
        mod blocking {
            $($(#[$attribute])* #[test] fn $check() { super::on_os(super::Backend::Blocking, super::$check); })*
        }
        mod io_uring {
            $($(#[$attribute])* #[test] fn $check() { super::on_os(super::Backend::Uring, super::$check); })*
        }
    };
}

on_every_backend! {
    buffers_come_back_with_the_completion;
    reads_end_where_the_file_ends;
    more_operations_than_any_queue_holds_complete_once_each;
    a_wake_ends_the_wait_and_is_not_lost_before_it;
    no_wake_up_is_lost_between_threads;
    a_wait_with_a_limit_ends;
    zero_fill_writes_zeros_and_nothing_else;
    truncation_cuts_and_extends_with_zeros;
    opening_keeps_to_what_was_asked;
    renames_replace_and_handles_go_on;
    removed_files_live_on_in_their_handles;
    folders_are_renamed_whole_and_removed_when_empty;
    lists_are_sorted_and_hide_the_lock;
    folders_are_created_once;
    a_failed_write_poisons_the_handle_and_no_other;
    no_file_reaches_behind_the_last_position;
    operations_on_the_callers_thread_agree_with_submitted_ones;
    sealed_files_are_mapped;
    syncs_and_synced_writes_in_flight_all_succeed;
    dropping_a_disk_finishes_what_is_in_flight;
    handles_work_on_other_threads_and_outlive_the_disk;
    nothing_is_an_operation_too;
    run_refuses_to_lose_a_completion;
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn on_os(backend: Backend, check: impl FnOnce(&OsHome)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    match OsHome::open(folder.path(), backend) {
        Ok(home) => {
            let expected = if backend == Backend::Uring { "io_uring" } else { "blocking" };
            assert_eq!(home.backend_chosen(), (expected, None));
            assert_eq!(home.disk().expect("a disk").backend(), expected);
            check(&home);
        }
        Err(e) if backend == Backend::Uring => eprintln!("skipped: {e}"),
        Err(e) => panic!("{e}"),
    }
}

fn create<D: Disk>(disk: &mut D, path: &str, bytes: &[u8]) -> D::File {
    let (file, len) = disk.open(path, OpenHow::CreateNew).expect("the name is free");
    assert_eq!(len, 0);
    disk.run(write(&file, 0, bytes, WriteSync::None)).expect("the write succeeds");
    file
}

fn write<F: File>(file: &F, at: u64, bytes: &[u8], sync: WriteSync) -> Op<F> {
    Op::Write { file: file.clone(), at, buf: bytes.to_vec(), sync }
}

fn reap_all<D: Disk>(disk: &mut D, count: usize) -> Vec<Done<D::File>> {
    let mut done = Vec::new();
    while done.len() < count {
        disk.reap(Wait::Forever, &mut done);
    }
    assert_eq!(done.len(), count);
    done
}

fn fails<D: Disk>(disk: &mut D, op: Op<D::File>) -> DiskErrorKind {
    disk.run(op).expect_err("the operation is refused").kind
}

fn buffers_come_back_with_the_completion<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"0123456789");
    let mut buf = Vec::with_capacity(777);
    buf.extend_from_slice(b"abc");
    let address = buf.as_ptr();
    let (result, buf) =
        disk.run_with_buf(Op::Write { file: file.clone(), at: 2, buf, sync: WriteSync::None });
    assert!(matches!(result, Ok(Outcome::Finished)));
    let buf = buf.expect("the buffer is back");
    assert_eq!((buf.as_ptr(), buf.as_slice()), (address, b"abc".as_slice()));
    let (result, buf) = disk.run_with_buf(Op::Read { file: file.clone(), at: 1, buf });
    assert!(matches!(result, Ok(Outcome::Read(3))));
    let buf = buf.expect("the buffer is back");
    assert_eq!((buf.as_ptr(), buf.as_slice()), (address, b"1ab".as_slice()));
    let beyond = Op::Write { file, at: i64::MAX as u64, buf, sync: WriteSync::None };
    let (result, buf) = disk.run_with_buf(beyond);
    assert!(result.is_err());
    let buf = buf.expect("the buffer is back after a failure too");
    assert_eq!(buf.as_ptr(), address);
}

fn reads_end_where_the_file_ends<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"0123456789");
    assert_eq!(disk.read(&file, 7, 100).expect("it reads"), b"789");
    assert_eq!(disk.read(&file, 10, 100).expect("it reads"), b"");
    assert_eq!(disk.read(&file, 1 << 40, 100).expect("it reads"), b"");
    assert_eq!(disk.read(&file, u64::MAX, 100).expect("it reads"), b"");
    // A gap reads as zeros.
    disk.run(write(&file, 5000, b"x", WriteSync::None)).expect("the write succeeds");
    let gap = disk.read(&file, 10, 10_000).expect("it reads");
    assert_eq!((gap.len(), gap.iter().filter(|b| **b != 0).count()), (4991, 1));
    assert_eq!(file.len().expect("it is open"), 5001);
}

fn more_operations_than_any_queue_holds_complete_once_each<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"");
    for i in 0..1500u64 {
        disk.submit(OpId(i), write(&file, i * 7, &[i as u8; 7], WriteSync::None));
    }
    let done = reap_all(&mut disk, 1500);
    assert!(done.iter().all(|d| d.result.is_ok()));
    assert_eq!(done.iter().map(|d| d.id).collect::<BTreeSet<_>>().len(), 1500);
    for i in 0..1500u64 {
        disk.submit(OpId(i), Op::Read { file: file.clone(), at: i * 7, buf: vec![0; 7] });
    }
    for one in reap_all(&mut disk, 1500) {
        assert!(matches!(one.result, Ok(Outcome::Read(7))));
        assert_eq!(one.buf.expect("a read gives its buffer back"), [one.id.0 as u8; 7]);
    }
}

fn a_wake_ends_the_wait_and_is_not_lost_before_it<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let mut done = Vec::new();
    let waker = disk.waker();
    waker.wake();
    disk.reap(Wait::Forever, &mut done);
    // A wake-up after many that were not waited for, and from another thread.
    for _ in 0..10 {
        waker.clone().wake();
    }
    disk.reap(Wait::Forever, &mut done);
    for _ in 0..20 {
        let waker = disk.waker();
        let thread = std::thread::spawn(move || waker.wake());
        disk.reap(Wait::Forever, &mut done);
        thread.join().expect("the waking thread");
    }
    assert!(done.is_empty());
    // Wakers may outlive the disk.
    drop(disk);
    waker.wake();
}

fn no_wake_up_is_lost_between_threads<H: Home>(home: &H) {
    const ROUNDS: u64 = 1000;
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"x");
    let waker = disk.waker();
    let asked = AtomicU64::new(0);
    let (answer, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        // Each question needs its own wake-up: one that is lost leaves both sides waiting.
        let asked = &asked;
        scope.spawn(move || {
            for round in 1..=ROUNDS {
                asked.store(round, Ordering::Relaxed);
                waker.wake();
                assert_eq!(answers.recv(), Ok(round));
            }
        });
        let (mut done, mut in_flight, mut answered) = (Vec::new(), 0, 0);
        while answered < ROUNDS {
            let round = asked.load(Ordering::Relaxed);
            if round > answered {
                answered = round;
                answer.send(round).expect("the other side listens");
                // Now and then the owner is busy with a completion when the bell rings.
                if round.is_multiple_of(3) {
                    disk.submit(OpId(round), Op::Read { file: file.clone(), at: 0, buf: vec![0] });
                    in_flight += 1;
                }
            } else {
                disk.reap(if round.is_multiple_of(7) { Wait::No } else { Wait::Forever }, &mut done);
                in_flight -= done.drain(..).count();
            }
        }
        reap_all(&mut disk, in_flight);
    });
}

fn a_wait_with_a_limit_ends<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let mut done = Vec::new();
    let started = Instant::now();
    disk.reap(Wait::No, &mut done);
    disk.reap(Wait::AtMost(Duration::ZERO), &mut done);
    disk.reap(Wait::AtMost(Duration::from_millis(5)), &mut done);
    disk.reap(Wait::AtMost(Duration::from_nanos(1)), &mut done);
    assert!(done.is_empty() && started.elapsed() < Duration::from_secs(5));
    // And it does not keep a completion waiting.
    let file = create(&mut disk, "a", b"x");
    disk.submit(OpId(1), Op::Sync { file });
    while done.is_empty() {
        disk.reap(Wait::AtMost(Duration::from_secs(3600)), &mut done);
    }
    assert!(started.elapsed() < Duration::from_secs(60));
}

fn zero_fill_writes_zeros_and_nothing_else<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", &[7; 700_000]);
    disk.run(Op::ZeroFill { file: file.clone(), at: 100_001, len: 555_555 }).expect("it is filled");
    let bytes = disk.read(&file, 0, 1 << 20).expect("it reads");
    assert_eq!(bytes.len(), 700_000);
    assert!(bytes[..100_001].iter().chain(&bytes[655_556..]).all(|b| *b == 7));
    assert!(bytes[100_001..655_556].iter().all(|b| *b == 0));
    disk.run(Op::ZeroFill { file: file.clone(), at: 700_000, len: 300_000 }).expect("it is filled");
    assert_eq!(file.len().expect("it is open"), 1_000_000);
}

fn truncation_cuts_and_extends_with_zeros<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", &[7; 10_000]);
    disk.run(Op::Truncate { file: file.clone(), len: 3 }).expect("it is cut");
    assert_eq!(disk.read(&file, 0, 100).expect("it reads"), [7; 3]);
    disk.run(Op::Truncate { file: file.clone(), len: 9 }).expect("it is extended");
    assert_eq!(disk.read(&file, 0, 100).expect("it reads"), [7, 7, 7, 0, 0, 0, 0, 0, 0]);
    disk.run(write(&file, 10_000, b"x", WriteSync::Data)).expect("the write succeeds");
    let bytes = disk.read(&file, 3, 20_000).expect("it reads");
    assert!(bytes.len() == 9_998 && bytes[..9_997].iter().all(|b| *b == 0));
}

fn opening_keeps_to_what_was_asked<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let refused = |disk: &mut H::Disk, path: &str, how| disk.open(path, how).expect_err("refused");
    let missing = refused(&mut disk, "a", OpenHow::Existing);
    assert_eq!((missing.kind, missing.path.as_str()), (DiskErrorKind::NotFound, "a"));
    assert!(missing.to_string().contains("can't open a"), "{missing}");
    create(&mut disk, "a", b"content");
    assert_eq!(refused(&mut disk, "a", OpenHow::CreateNew).kind, DiskErrorKind::AlreadyExists);
    assert_eq!(disk.open("a", OpenHow::OpenOrCreate).expect("it opens").1, 7);
    assert_eq!(disk.open("a", OpenHow::Existing).expect("it opens").1, 7);
    assert_eq!(disk.open("b", OpenHow::OpenOrCreate).expect("it is created").1, 0);
    assert_eq!(refused(&mut disk, "d/a", OpenHow::CreateNew).kind, DiskErrorKind::NotFound);
    assert_eq!(refused(&mut disk, "a/b", OpenHow::CreateNew).kind, DiskErrorKind::Os(20));
    disk.run(Op::CreateDir { dir: "d".into() }).expect("it is created");
    assert_eq!(refused(&mut disk, "d", OpenHow::Existing).kind, DiskErrorKind::Os(21));
    assert_eq!(refused(&mut disk, "", OpenHow::Existing).kind, DiskErrorKind::NotFound);
    let (in_folder, _) = disk.open("d/a", OpenHow::CreateNew).expect("it is created");
    assert_eq!(in_folder.path(), "d/a");
    let (again, _) = disk.open("d/a", OpenHow::Existing).expect("it opens");
    assert!(in_folder == in_folder.clone() && in_folder != again, "handles are equal, not files");
}

fn renames_replace_and_handles_go_on<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let old = create(&mut disk, "a", b"old");
    let new = create(&mut disk, "tmp", b"new content");
    disk.run(Op::CreateDir { dir: "d".into() }).expect("it is created");
    let rename = |from: &str, to: &str| Op::Rename { from: from.into(), to: to.into() };
    disk.run(rename("tmp", "a")).expect("it replaces");
    assert_eq!(disk.read(&old, 0, 100).expect("the replaced file is open"), b"old");
    assert_eq!(disk.open("a", OpenHow::Existing).expect("it opens").1, 11);
    disk.run(write(&new, 0, b"NEW", WriteSync::Data)).expect("the handle follows the file");
    disk.run(rename("a", "a")).expect("nothing to do");
    disk.run(rename("a", "d/b")).expect("into a folder");
    let (moved, _) = disk.open("d/b", OpenHow::Existing).expect("it opens");
    assert_eq!(disk.read(&moved, 0, 100).expect("it reads"), b"NEW content");
    assert_eq!(fails(&mut disk, rename("a", "c")), DiskErrorKind::NotFound);
    assert_eq!(fails(&mut disk, rename("d/b", "x/b")), DiskErrorKind::NotFound);
    create(&mut disk, "z", b"");
    assert_eq!(fails(&mut disk, rename("z", "d")), DiskErrorKind::Os(21));
}

fn folders_are_renamed_whole_and_removed_when_empty<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    disk.run(Op::CreateDir { dir: "d".into() }).expect("it is created");
    disk.run(Op::CreateDir { dir: "d/e".into() }).expect("it is created");
    create(&mut disk, "d/e/a", b"content");
    create(&mut disk, "file", b"");
    let rename = |from: &str, to: &str| Op::RenameDir { from: from.into(), to: to.into() };
    let remove = |dir: &str| Op::RemoveDir { dir: dir.into() };
    disk.run(rename("d", "new")).expect("it is renamed");
    assert_eq!(disk.open("new/e/a", OpenHow::Existing).expect("it went along").1, 7);
    for (from, to, kind) in [
        ("d", "x", DiskErrorKind::NotFound),
        ("", "x", DiskErrorKind::NotFound),
        ("new", "x/y", DiskErrorKind::NotFound),
        ("file", "x", DiskErrorKind::Os(20)),
        ("new", "file", DiskErrorKind::AlreadyExists),
        ("new/e", "new", DiskErrorKind::AlreadyExists),
        ("new", "new/e/f", DiskErrorKind::Os(22)),
    ] {
        assert_eq!(fails(&mut disk, rename(from, to)), kind, "{from} to {to}");
    }
    assert_eq!(fails(&mut disk, remove("new")), DiskErrorKind::Os(39));
    assert_eq!(fails(&mut disk, remove("file")), DiskErrorKind::Os(20));
    assert_eq!(fails(&mut disk, remove("")), DiskErrorKind::NotFound);
    disk.run(rename("new/e", "e")).expect("into another folder");
    disk.run(remove("new")).expect("it is empty");
    disk.run(Op::SyncDir { dir: String::new() }).expect("it syncs");
    assert_eq!(fails(&mut disk, remove("new")), DiskErrorKind::NotFound);
    let left: Vec<_> = disk.list("").expect("it lists").into_iter().map(|e| e.name).collect();
    assert_eq!(left, ["e", "file"]);
    assert_eq!(disk.open("e/a", OpenHow::Existing).expect("it went along").1, 7);
}

fn removed_files_live_on_in_their_handles<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"content");
    disk.run(Op::Remove { path: "a".into() }).expect("it is removed");
    assert_eq!(fails(&mut disk, Op::Remove { path: "a".into() }), DiskErrorKind::NotFound);
    assert_eq!(disk.read(&file, 0, 100).expect("it reads"), b"content");
    disk.run(write(&file, 0, b"CON", WriteSync::Data)).expect("it writes");
    create(&mut disk, "a", b"another");
    disk.run(Op::SyncDir { dir: String::new() }).expect("it syncs");
    assert_eq!(disk.read(&file, 0, 100).expect("it reads"), b"CONtent");
    disk.run(Op::CreateDir { dir: "d".into() }).expect("it is created");
    assert_eq!(fails(&mut disk, Op::Remove { path: "d".into() }), DiskErrorKind::Os(21));
}

fn lists_are_sorted_and_hide_the_lock<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    assert_eq!(disk.list("").expect("it lists"), []);
    for name in ["b", "a", "10", "9", "C"] {
        create(&mut disk, name, b"");
    }
    disk.run(Op::CreateDir { dir: "aa".into() }).expect("it is created");
    create(&mut disk, "aa/x", b"");
    let entries = disk.list("").expect("it lists");
    let names: Vec<_> = entries.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["10", "9", "C", "a", "aa", "b"]);
    let folders: Vec<_> = entries.iter().filter(|e| e.kind == EntryKind::Dir).map(|e| &e.name).collect();
    assert_eq!(folders, ["aa"]);
    assert_eq!(disk.list("aa").expect("it lists").len(), 1);
    assert_eq!(fails(&mut disk, Op::List { dir: "zz".into() }), DiskErrorKind::NotFound);
    assert_eq!(fails(&mut disk, Op::List { dir: "a".into() }), DiskErrorKind::Os(20));
    assert_eq!(fails(&mut disk, Op::SyncDir { dir: "zz".into() }), DiskErrorKind::NotFound);
}

fn folders_are_created_once<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let dir = |dir: &str| Op::CreateDir { dir: dir.into() };
    disk.run(dir("")).expect("the root is there");
    disk.run(dir("d")).expect("it is created");
    disk.run(dir("d")).expect("fine if it is there");
    disk.run(dir("d/e")).expect("it is created");
    create(&mut disk, "d/e/f", b"deep");
    assert_eq!(fails(&mut disk, dir("x/y")), DiskErrorKind::NotFound);
    create(&mut disk, "a", b"");
    assert_eq!(fails(&mut disk, dir("a")), DiskErrorKind::AlreadyExists);
    for synced in ["d/e", "d", ""] {
        disk.run(Op::SyncDir { dir: synced.into() }).expect("it syncs");
    }
}

fn a_failed_write_poisons_the_handle_and_no_other<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"content");
    let (other, _) = disk.open("a", OpenHow::Existing).expect("it opens");
    assert_eq!(fails(&mut disk, write(&file, i64::MAX as u64, b"x", WriteSync::Data)), DiskErrorKind::Os(27));
    let poisoned = DiskErrorKind::Poisoned;
    assert_eq!(fails(&mut disk, write(&file, 0, b"x", WriteSync::None)), poisoned);
    assert_eq!(fails(&mut disk, Op::Sync { file: file.clone() }), poisoned);
    assert_eq!(fails(&mut disk, Op::ZeroFill { file: file.clone(), at: 0, len: 5 }), poisoned);
    assert_eq!(fails(&mut disk, Op::Truncate { file: file.clone(), len: 0 }), poisoned);
    assert_eq!(file.write_now(0, b"x", WriteSync::None).expect_err("refused").kind, poisoned);
    assert_eq!(file.sync_now().expect_err("refused").kind, poisoned);
    assert_eq!(file.clone().sync_now().expect_err("clones are the same handle").kind, poisoned);
    assert_eq!(disk.read(&file, 0, 100).expect("reads still work"), b"content");
    disk.run(write(&other, 0, b"CON", WriteSync::Data)).expect("another handle works");
    assert_eq!(disk.read(&file, 0, 100).expect("reads still work"), b"CONtent");
}

fn no_file_reaches_behind_the_last_position<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    // The largest offset means "where the descriptor stands" to the kernel; it must not be written there.
    for at in [u64::MAX, u64::MAX - 1, i64::MAX as u64] {
        let (file, _) = disk.open("a", OpenHow::OpenOrCreate).expect("it opens");
        assert!(disk.run(write(&file, at, b"xx", WriteSync::None)).is_err());
        let (file, _) = disk.open("a", OpenHow::OpenOrCreate).expect("it opens");
        assert!(disk.run(Op::ZeroFill { file, at, len: 2 }).is_err());
        let (file, _) = disk.open("a", OpenHow::OpenOrCreate).expect("it opens");
        assert!(file.write_now(at, b"xx", WriteSync::None).is_err());
        assert_eq!(file.len().expect("it is open"), 0);
        let mut buf = [0; 4];
        assert_eq!(file.read_now(at, &mut buf, ReadHow::MayBlock).expect("it reads"), ReadNow::Read(0));
    }
}

fn operations_on_the_callers_thread_agree_with_submitted_ones<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"0123456789");
    file.write_now(8, b"abcd", WriteSync::None).expect("it writes");
    file.write_now(0, b"AB", WriteSync::Data).expect("it writes");
    file.sync_now().expect("it syncs");
    assert_eq!(disk.read(&file, 0, 100).expect("it reads"), b"AB234567abcd");
    let mut buf = [0; 5];
    assert_eq!(file.read_now(9, &mut buf, ReadHow::MayBlock).expect("it reads"), ReadNow::Read(3));
    assert_eq!(&buf[..3], b"bcd");
    match file.read_now(0, &mut buf, ReadHow::CachedOnly).expect("it reads") {
        ReadNow::Read(n) => assert_eq!(&buf[..n], b"AB234"),
        // A file system may have none of it in memory, or not know.
        ReadNow::NotCached => {}
    }
}

fn sealed_files_are_mapped<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"sealed");
    let map = file.map_sealed().expect("it maps");
    drop(disk.run(Op::Remove { path: "a".into() }));
    drop(file);
    assert_eq!((&map[..], &map.clone()[1..3]), (b"sealed".as_slice(), b"ea".as_slice()));
    let empty = create(&mut disk, "b", b"");
    assert_eq!(empty.map_sealed().expect("nothing maps too").len(), 0);
}

fn syncs_and_synced_writes_in_flight_all_succeed<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let files: Vec<_> = (0..4).map(|i| create(&mut disk, &format!("f{i}"), b"")).collect();
    for i in 0..40u64 {
        let file = &files[(i % 4) as usize];
        let op = match i % 5 {
            0 => Op::Sync { file: file.clone() },
            1 => Op::ZeroFill { file: file.clone(), at: i * 1000, len: 1000 },
            2 => write(file, i * 1000, &[1; 1000], WriteSync::Data),
            3 => write(file, i * 1000, &[1; 1000], WriteSync::None),
            _ => Op::Read { file: file.clone(), at: 0, buf: vec![0; 10] },
        };
        disk.submit(OpId(i), op);
    }
    assert!(reap_all(&mut disk, 40).into_iter().all(|d| d.result.is_ok()));
}

fn dropping_a_disk_finishes_what_is_in_flight<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"");
    for i in 0..400u64 {
        disk.submit(OpId(i), write(&file, i * 4096, &[i as u8; 4096], WriteSync::None));
        if i == 200 {
            disk.reap(Wait::No, &mut Vec::new());
        }
    }
    drop(disk);
    let mut disk = home.disk().expect("another disk");
    let bytes = disk.read(&file, 0, 400 * 4096).expect("it reads");
    for (i, block) in bytes.chunks(4096).enumerate() {
        assert!(block.len() == 4096 && block.iter().all(|b| *b == i as u8), "block {i}");
    }
}

fn handles_work_on_other_threads_and_outlive_the_disk<H: Home>(home: &H) {
    let file: FileOf<H> = {
        let mut disk = home.disk().expect("a disk");
        create(&mut disk, "a", &[0; 8])
    };
    std::thread::scope(|scope| {
        for i in 0..8u8 {
            let file = &file;
            scope.spawn(move || file.write_now(u64::from(i), &[i + 1], WriteSync::None).expect("it writes"));
        }
    });
    let mut buf = [0; 8];
    assert_eq!(file.read_now(0, &mut buf, ReadHow::MayBlock).expect("it reads"), ReadNow::Read(8));
    assert_eq!(buf, [1, 2, 3, 4, 5, 6, 7, 8]);
}

fn nothing_is_an_operation_too<H: Home>(home: &H) {
    let mut disk = home.disk().expect("a disk");
    let file = create(&mut disk, "a", b"x");
    for sync in [WriteSync::None, WriteSync::Data] {
        disk.run(write(&file, 500, b"", sync)).expect("nothing is written");
        file.write_now(500, b"", sync).expect("nothing is written");
    }
    disk.run(Op::ZeroFill { file: file.clone(), at: 500, len: 0 }).expect("nothing is written");
    assert_eq!(disk.read(&file, 0, 0).expect("nothing is read"), b"");
    assert_eq!(file.len().expect("it is open"), 1);
}

fn run_refuses_to_lose_a_completion<H: Home>(home: &H) {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut disk = home.disk().expect("a disk");
        let file = create(&mut disk, "a", b"x");
        for i in 0..3 {
            disk.submit(OpId(i), write(&file, 0, b"y", WriteSync::None));
        }
        for _ in 0..4 {
            let _ = disk.run(Op::Sync { file: file.clone() });
        }
    }));
    assert!(caught.is_err());
}

#[test]
fn a_full_file_system_does_not_poison_and_other_errors_do() {
    for backend in [Backend::Blocking, Backend::Auto] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::os::unix::fs::symlink("/dev/full", folder.path().join("full")).expect("a link");
        let home = OsHome::open(folder.path(), backend).expect("the folder is free");
        let mut disk = home.disk().expect("a disk");
        let (file, _) = disk.open("full", OpenHow::Existing).expect("it opens");
        for _ in 0..2 {
            assert_eq!(fails(&mut disk, write(&file, 0, b"x", WriteSync::None)), DiskErrorKind::NoSpace);
            assert_eq!(
                file.write_now(0, b"x", WriteSync::None).expect_err("full").kind,
                DiskErrorKind::NoSpace
            );
        }
        // The device of the test knows no synced writes, so the error is another one; it poisons all the same.
        fails(&mut disk, write(&file, 0, b"x", WriteSync::Data));
        assert_eq!(fails(&mut disk, write(&file, 0, b"x", WriteSync::None)), DiskErrorKind::Poisoned);
    }
}

#[test]
fn a_folder_has_one_home_at_a_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = OsHome::open(folder.path().join("new/folder"), Backend::Auto).expect("it is created");
    let (chosen, why) = home.backend_chosen();
    assert!(chosen == "io_uring" && why.is_none() || chosen == "blocking" && why.is_some());
    // The second one waits for the last clone and the last disk of the first.
    let disk = home.clone().disk().expect("a disk");
    let root = home.root().to_owned();
    drop(home);
    let second = std::thread::spawn(move || OsHome::open(root, Backend::Auto));
    std::thread::yield_now();
    assert!(!second.is_finished());
    drop(disk);
    let second = second.join().expect("the waiting thread").expect("the folder is free again");
    // And gives up after a while.
    let error = OsHome::open(second.root(), Backend::Auto).expect_err("the folder is in use");
    assert_eq!(error.kind, DiskErrorKind::InUse);
    assert!(error.to_string().contains("another process is using this folder"), "{error}");
}

/// The kernel takes a closed ring down some 50 ms later and with it what the ring had registered: the lock.
#[test]
fn a_folder_is_free_as_soon_as_its_last_disk_is_dropped() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let reopening = || {
        let home = OsHome::open(folder.path(), Backend::Auto).expect("the folder is free");
        let mut disk = home.disk().expect("a disk");
        let (file, _) = disk.open("a", OpenHow::OpenOrCreate).expect("it opens");
        disk.run(write(&file, 0, b"x", WriteSync::Data)).expect("it writes");
        drop((disk, home));
        let started = Instant::now();
        drop(OsHome::open(folder.path(), Backend::Auto).expect("the folder is free"));
        started.elapsed()
    };
    let quickest = (0..10).map(|_| reopening()).min().expect("there were some");
    assert!(quickest < Duration::from_millis(15), "{quickest:?}");
}
