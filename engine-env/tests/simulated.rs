//! The simulated disk keeps its promises: what a sync covers survives every crash, what none covers survives in any
//! combination, failed syncs leave clean and wrong pages, and one seed gives one trace.

use engine_env::rng::Seed;
use engine_env::sim::{Crash, Fault, FaultRates, SimDisk, SimFile, SimHome};
use engine_env::{
    Disk, DiskError, DiskErrorKind, File, Home, Op, OpId, OpenHow, Outcome, ReadHow, ReadNow, Wait, WriteSync,
};
use proptest::prelude::*;

fn write(file: &SimFile, at: u64, bytes: impl Into<Vec<u8>>, sync: WriteSync) -> Op<SimFile> {
    Op::Write { file: file.clone(), at, buf: bytes.into(), sync }
}

fn sync_root(disk: &mut SimDisk) {
    disk.run(Op::SyncDir { dir: String::new() }).expect("the folder syncs");
}

/// A machine with one file of the given durable content.
fn with_file(seed: u64, path: &str, bytes: &[u8]) -> (SimHome, SimDisk, SimFile) {
    let home = SimHome::new(Seed(seed));
    let mut disk = home.disk().expect("the power is on");
    let (file, _) = disk.open(path, OpenHow::CreateNew).expect("the name is free");
    disk.run(write(&file, 0, bytes, WriteSync::Data)).expect("the write succeeds");
    sync_root(&mut disk);
    (home, disk, file)
}

fn exists(home: &SimHome, path: &str) -> bool {
    home.files().iter().any(|f| f == path)
}

#[test]
fn what_was_synced_survives_and_what_was_not_is_lost() {
    let (home, mut disk, file) = with_file(1, "a", &[1; 1000]);
    disk.run(write(&file, 500, vec![2; 1000], WriteSync::None)).expect("the write succeeds");
    assert_eq!(home.seen_bytes("a").expect("it exists").len(), 1500);
    assert_eq!(home.durable_bytes("a").expect("it exists"), [1; 1000]);
    let synced = home.fork();
    disk.run(Op::Sync { file }).expect("the sync succeeds");
    home.reboot(Crash::LoseUnsynced);
    assert_eq!(home.seen_bytes("a").expect("it exists"), [vec![1; 500], vec![2; 1000]].concat());
    synced.reboot(Crash::LoseUnsynced);
    assert_eq!(synced.seen_bytes("a").expect("it exists"), [1; 1000]);
}

#[test]
fn a_power_cut_loses_keeps_and_tears_single_sectors_and_invents_nothing() {
    let (home, mut disk, file) = with_file(2, "a", &[b'o'; 64 * 512]);
    disk.run(write(&file, 100, vec![b'n'; 60 * 512], WriteSync::None)).expect("the write succeeds");
    let (mut lost, mut kept, mut torn, mut holes) = (0, 0, 0, 0);
    for seed in 0..200 {
        let cut = home.fork();
        cut.reboot(Crash::PowerCut(Seed(seed)));
        let bytes = cut.seen_bytes("a").expect("it exists");
        assert_eq!(bytes.len(), 64 * 512);
        assert!(bytes[..100].iter().chain(&bytes[100 + 60 * 512..]).all(|b| *b == b'o'));
        assert!(bytes.iter().all(|b| [b'o', b'n'].contains(b)));
        let whole = |i: usize, b| bytes[i * 512..(i + 1) * 512].iter().all(|x| *x == b);
        lost += (1..60).filter(|i| whole(*i, b'o')).count();
        kept += (1..60).filter(|i| whole(*i, b'n')).count();
        torn += (1..60).filter(|i| !whole(*i, b'n') && !whole(*i, b'o')).count();
        holes += (1..59).filter(|i| whole(*i, b'o') && whole(i + 1, b'n')).count();
    }
    assert!(lost > 1000 && kept > 1000 && torn > 500 && holes > 200, "{lost} {kept} {torn} {holes}");
}

#[test]
fn subsets_are_never_torn_and_lengths_come_without_bytes() {
    let (home, mut disk, file) = with_file(3, "a", &[]);
    disk.run(write(&file, 0, vec![7; 4096], WriteSync::None)).expect("the write succeeds");
    for seed in 0..50 {
        let cut = home.fork();
        cut.reboot(Crash::Subset(Seed(seed)));
        let bytes = cut.seen_bytes("a").expect("it exists");
        assert!(bytes.chunks(512).all(|s| s.iter().all(|b| *b == s[0])));
        assert_eq!(cut.counts().sectors_torn, 0);
    }
    home.reboot(Crash::LengthsOnly);
    assert_eq!(home.seen_bytes("a").expect("it exists"), [0; 4096]);
}

#[test]
fn a_sync_does_not_cover_a_write_that_is_in_flight_with_it() {
    let mut lost = 0;
    for seed in 0..50 {
        let (home, mut disk, file) = with_file(seed, "a", &[1; 512]);
        disk.submit(OpId(1), write(&file, 0, vec![2; 512], WriteSync::None));
        disk.submit(OpId(2), Op::Sync { file });
        let mut done = Vec::new();
        while done.len() < 2 {
            disk.reap(Wait::Forever, &mut done);
        }
        home.reboot(Crash::LoseUnsynced);
        lost += u32::from(home.seen_bytes("a").expect("it exists") == [1; 512]);
    }
    assert_eq!(lost, 50);
}

#[test]
fn operations_in_flight_complete_in_every_order() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (_home, mut disk, file) = with_file(seed, "a", &[]);
        for i in 0..3u64 {
            disk.submit(OpId(i), write(&file, i * 512, vec![1; 512], WriteSync::None));
        }
        let mut done = Vec::new();
        while done.len() < 3 {
            disk.reap(Wait::Forever, &mut done);
        }
        orders.insert(done.iter().map(|d| d.id.0).collect::<Vec<_>>());
    }
    assert_eq!(orders.len(), 6);
}

#[test]
fn names_are_lost_or_kept_until_their_folder_is_synced() {
    let (home, mut disk, _) = with_file(4, "old", b"x");
    disk.run(Op::CreateDir { dir: "d".into() }).expect("it is created");
    disk.open("d/new", OpenHow::CreateNew).expect("it is created");
    disk.run(Op::SyncDir { dir: "d".into() }).expect("it syncs");
    disk.run(Op::Remove { path: "old".into() }).expect("it is removed");
    let (mut back, mut gone, mut new, mut without_parent) = (0, 0, 0, 0);
    for seed in 0..100 {
        let cut = home.fork();
        cut.reboot(Crash::PowerCut(Seed(seed)));
        *(if exists(&cut, "old") { &mut back } else { &mut gone }) += 1;
        *(if exists(&cut, "d/new") { &mut new } else { &mut without_parent }) += 1;
        if exists(&cut, "old") {
            assert_eq!(cut.seen_bytes("old").expect("it came back"), b"x");
        }
    }
    assert!(back > 10 && gone > 10 && new > 10 && without_parent > 10);
    sync_root(&mut disk);
    home.reboot(Crash::LoseUnsynced);
    assert_eq!(home.files(), ["d/new"]);
}

#[test]
fn a_rename_leaves_the_old_name_or_the_new_or_both_never_neither() {
    let (home, mut disk, file) = with_file(5, "a", b"target");
    let (tmp, _) = disk.open("tmp", OpenHow::CreateNew).expect("it is created");
    disk.run(write(&tmp, 0, b"source".to_vec(), WriteSync::Data)).expect("it is written");
    sync_root(&mut disk);
    disk.run(Op::Rename { from: "tmp".into(), to: "a".into() }).expect("it is renamed");
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let cut = home.fork();
        cut.reboot(Crash::PowerCut(Seed(seed)));
        let a = cut.seen_bytes("a").expect("the name is never gone");
        seen.insert((a, exists(&cut, "tmp")));
    }
    let expected = [(b"source".to_vec(), false), (b"source".to_vec(), true), (b"target".to_vec(), true)];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(file.len().expect("the replaced file is still open"), 6);
}

#[test]
fn a_folder_is_under_its_old_name_or_the_new_one_and_a_removed_one_is_whole_or_gone() {
    let (home, mut disk, _) = with_file(7, "other", b"x");
    disk.run(Op::CreateDir { dir: "d".into() }).expect("it is created");
    let (file, _) = disk.open("d/a", OpenHow::CreateNew).expect("it is created");
    disk.run(write(&file, 0, b"content".to_vec(), WriteSync::Data)).expect("it is written");
    disk.run(Op::SyncDir { dir: "d".into() }).expect("it syncs");
    sync_root(&mut disk);
    let mut seen = std::collections::BTreeSet::new();
    let mut look = |home: &SimHome| {
        for seed in 0..100 {
            let cut = home.fork();
            cut.reboot(Crash::PowerCut(Seed(seed)));
            seen.insert(cut.files().join(" "));
        }
        std::mem::take(&mut seen).into_iter().collect::<Vec<_>>()
    };
    disk.run(Op::RenameDir { from: "d".into(), to: "new".into() }).expect("it is renamed");
    assert_eq!(look(&home), ["d/a other", "new/a other"]);
    sync_root(&mut disk);
    assert_eq!(look(&home), ["new/a other"]);
    disk.run(Op::Remove { path: "new/a".into() }).expect("it is removed");
    disk.run(Op::RemoveDir { dir: "new".into() }).expect("it is empty");
    assert_eq!(look(&home), ["new/a other", "other"]);
    drop(file);
    home.set_free_bytes(Some(0));
    sync_root(&mut disk);
    assert_eq!(look(&home), ["other"]);
    assert_eq!(home.free_bytes(), Some(512), "what the removed folder held is free");
}

#[test]
fn files_that_rotate_over_each_other_never_vanish() {
    let (home, mut disk, _) = with_file(6, "current", b"first");
    let (tmp, _) = disk.open("next", OpenHow::CreateNew).expect("it is created");
    disk.run(write(&tmp, 0, b"second".to_vec(), WriteSync::Data)).expect("it is written");
    disk.run(Op::CreateDir { dir: "d".into() }).expect("it is created");
    sync_root(&mut disk);
    disk.run(Op::Rename { from: "current".into(), to: "d/previous".into() }).expect("it is renamed");
    disk.run(Op::Rename { from: "next".into(), to: "current".into() }).expect("it is renamed");
    for with_sync in [false, true] {
        if with_sync {
            sync_root(&mut disk);
        }
        for seed in 0..200 {
            let cut = home.fork();
            cut.reboot(Crash::PowerCut(Seed(seed)));
            let mut contents: Vec<_> =
                cut.files().iter().map(|path| cut.seen_bytes(path).expect("it is listed")).collect();
            contents.sort();
            contents.dedup();
            assert_eq!(contents, [b"first".to_vec(), b"second".to_vec()], "seed {seed}");
        }
    }
}

#[test]
fn a_failed_sync_leaves_pages_clean_and_wrong_and_poisons_the_handle() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..40 {
        let (home, mut disk, file) = with_file(seed, "a", &[1; 8192]);
        disk.run(write(&file, 0, vec![2; 8192], WriteSync::None)).expect("the write succeeds");
        home.fail_next(Fault::SyncError);
        let failed = disk.run(Op::Sync { file: file.clone() }).expect_err("the fault strikes");
        assert_eq!(failed.kind, DiskErrorKind::Os(5));
        assert_eq!(home.dirty_sectors(), 0, "the pages are clean");
        let again = disk.run(Op::Sync { file: file.clone() }).expect_err("the handle is poisoned");
        assert_eq!(again.kind, DiskErrorKind::Poisoned);
        let refused = file.write_now(0, b"x", WriteSync::None).expect_err("the handle is poisoned");
        assert_eq!(refused.kind, DiskErrorKind::Poisoned);
        assert_eq!(disk.read(&file, 0, 8192).expect("reads still work"), [2; 8192]);
        // A fresh handle syncs with success, and that proves nothing.
        let (fresh, _) = disk.open("a", OpenHow::Existing).expect("it opens");
        disk.run(Op::Sync { file: fresh.clone() }).expect("there is nothing left to sync");
        assert_eq!(disk.read(&fresh, 0, 8192).expect("it reads"), [2; 8192]);
        home.evict();
        let platter = disk.read(&fresh, 0, 8192).expect("it reads");
        lost += platter.iter().filter(|b| **b == 1).count();
        kept += platter.iter().filter(|b| **b == 2).count();
    }
    assert!(lost > 8192 && kept > 8192, "{lost} {kept}");
}

#[test]
fn the_page_cache_survives_a_kill_and_not_the_power_cut_behind_it() {
    let (home, mut disk, file) = with_file(8, "a", b"old");
    file.write_now(0, b"new", WriteSync::None).expect("the write succeeds");
    disk.open("unsynced", OpenHow::CreateNew).expect("it is created");
    home.reboot(Crash::ProcessKill(Seed(1)));
    assert_eq!(home.seen_bytes("a").expect("it exists"), b"new");
    assert!(exists(&home, "unsynced"));
    assert_eq!(
        file.len().expect_err("handles of the killed process are dead").kind,
        DiskErrorKind::PowerLost
    );
    home.reboot(Crash::LoseUnsynced);
    assert_eq!(home.seen_bytes("a").expect("it exists"), b"old");
    assert!(!exists(&home, "unsynced"));
}

#[test]
fn a_full_disk_takes_a_part_and_works_again_when_there_is_space() {
    let (home, mut disk, file) = with_file(9, "a", &[1; 512]);
    home.set_free_bytes(Some(1024));
    let full = file.write_now(512, &[2; 2048], WriteSync::None).expect_err("there is space for two sectors");
    assert_eq!((full.kind, full.at), (DiskErrorKind::NoSpace, Some(512 + 1024)));
    assert_eq!(file.len().expect("it is open"), 512 + 1024);
    file.write_now(0, &[3; 512], WriteSync::None).expect("space that is there can be written again");
    home.set_free_bytes(Some(4096));
    file.write_now(512, &[2; 2048], WriteSync::None).expect("there is space again");
    assert_eq!(home.free_bytes(), Some(4096 - 1024));
    disk.run(Op::Remove { path: "a".into() }).expect("it is removed");
    drop(file);
    sync_root(&mut disk);
    assert_eq!(home.free_bytes(), Some(4096 - 1024 + 2560));
    let (file, _) = disk.open("b", OpenHow::CreateNew).expect("it is created");
    let error = file.write_now(0, &[1; 8192], WriteSync::Data).expect_err("too much");
    assert_eq!(error.kind, DiskErrorKind::NoSpace);
    let error = file.write_now(0, b"x", WriteSync::None).expect_err("a synced write leaves it unknown");
    assert_eq!(error.kind, DiskErrorKind::Poisoned);
}

#[test]
fn without_power_everything_fails_until_the_reboot() {
    let (home, mut disk, file) = with_file(10, "a", b"x");
    home.crash_at_step(home.steps());
    let at_once = file.write_now(0, b"yyy", WriteSync::None).expect_err("this is the step");
    assert_eq!(at_once.kind, DiskErrorKind::PowerLost);
    let (result, buf) = disk.run_with_buf(write(&file, 0, vec![1], WriteSync::None));
    assert_eq!(result.expect_err("no power").kind, DiskErrorKind::PowerLost);
    assert_eq!(buf, Some(vec![1]), "the buffer comes back all the same");
    assert_eq!(home.disk().expect_err("no power").kind, DiskErrorKind::PowerLost);
    home.reboot(Crash::PowerCut(Seed(3)));
    assert_eq!(home.steps(), 0);
    assert_eq!(disk.list("").expect_err("a disk of before").kind, DiskErrorKind::PowerLost);
    assert_eq!(home.disk().and_then(|mut disk| disk.list("")).expect("the power is on").len(), 1);
}

#[test]
fn every_step_can_be_the_last_one() {
    let program = |home: &SimHome| -> Result<(), DiskError> {
        let mut disk = home.disk()?;
        let (file, _) = disk.open("a", OpenHow::CreateNew)?;
        disk.run(Op::SyncDir { dir: String::new() })?;
        let mut done = Vec::new();
        for i in 0..4u64 {
            disk.submit(OpId(i), write(&file, i * 512, vec![b'w'; 512], WriteSync::Data));
        }
        while done.len() < 4 {
            disk.reap(Wait::Forever, &mut done);
        }
        done.into_iter().try_for_each(|d| d.result.map(drop))
    };
    let whole = SimHome::new(Seed(7));
    program(&whole).expect("nothing fails");
    assert!(whole.steps() >= 6);
    let mut outcomes = std::collections::BTreeSet::new();
    for step in 0..whole.steps() {
        for seed in 0..10 {
            let home = SimHome::new(Seed(7));
            home.crash_at_step(step);
            assert_eq!(program(&home).expect_err("the power went").kind, DiskErrorKind::PowerLost);
            home.reboot(Crash::PowerCut(Seed(seed)));
            outcomes.insert(home.seen_bytes("a").ok());
        }
    }
    assert!(outcomes.contains(&None) && outcomes.len() > 10, "{} outcomes", outcomes.len());
}

#[test]
fn a_write_under_way_when_the_power_goes_leaves_any_of_its_sectors() {
    let (mut nothing, mut holes, mut whole) = (0, 0, 0);
    for seed in 0..100 {
        let (home, mut disk, file) = with_file(seed, "a", &[1; 4096]);
        home.crash_at_step(home.steps());
        let error = match seed % 3 {
            0 => file.write_now(0, &[2; 4096], WriteSync::Data).expect_err("the power went"),
            1 => disk.run(write(&file, 0, vec![2; 4096], WriteSync::Data)).expect_err("the power went"),
            _ => disk.run(Op::ZeroFill { file, at: 0, len: 4096 }).expect_err("the power went"),
        };
        assert_eq!(error.kind, DiskErrorKind::PowerLost);
        home.reboot(Crash::Subset(Seed(seed)));
        let bytes = home.seen_bytes("a").expect("it exists");
        let old: Vec<bool> = bytes.chunks(512).map(|sector| sector[0] == 1).collect();
        nothing += u32::from(old.iter().all(|old| *old));
        whole += u32::from(old.iter().all(|old| !old));
        holes += u32::from(old.windows(2).any(|pair| pair[0] && !pair[1]));
    }
    assert!(nothing > 5 && whole > 5 && holes > 20, "{nothing} {holes} {whole}");
}

#[test]
fn rot_and_unreadable_sectors_show_up_in_reads() {
    let (home, mut disk, file) = with_file(11, "a", &[0; 2048]);
    home.flip_bit("a", 8 * 700 + 3).expect("there is such a byte");
    assert_eq!(disk.read(&file, 700, 1).expect("it reads"), [8]);
    home.corrupt("a", 0, b"former life").expect("there are such bytes");
    assert_eq!(home.durable_bytes("a").expect("it exists")[..11], *b"former life");
    home.break_reads("a", 1024..1536).expect("it exists");
    let error = disk.read(&file, 900, 200).expect_err("the range is broken");
    assert_eq!((error.kind, error.at), (DiskErrorKind::Os(5), Some(1024)));
    assert!(disk.read(&file, 0, 1024).is_ok());
    assert!(home.flip_bit("a", 8 * 2048).is_err() && home.flip_bit("b", 0).is_err());
    home.fail_next(Fault::ReadError);
    assert!(disk.read(&file, 0, 1).is_err());
    assert!(disk.read(&file, 0, 1).is_ok());
}

#[test]
fn nothing_is_cached_after_a_reboot_until_it_was_read() {
    let (home, _, _) = with_file(12, "a", &[5; 10_000]);
    home.reboot(Crash::LoseUnsynced);
    let mut disk = home.disk().expect("the power is on");
    let (file, len) = disk.open("a", OpenHow::Existing).expect("it is there");
    assert_eq!(len, 10_000);
    let mut buf = [0; 100];
    assert_eq!(file.read_now(4090, &mut buf, ReadHow::CachedOnly).expect("it reads"), ReadNow::NotCached);
    assert_eq!(file.read_now(4090, &mut buf, ReadHow::MayBlock).expect("it reads"), ReadNow::Read(100));
    assert_eq!(file.read_now(4100, &mut buf, ReadHow::CachedOnly).expect("it reads"), ReadNow::Read(100));
    assert_eq!(file.read_now(9000, &mut buf, ReadHow::CachedOnly).expect("it reads"), ReadNow::NotCached);
    assert_eq!(file.read_now(20_000, &mut buf, ReadHow::CachedOnly).expect("it reads"), ReadNow::Read(0));
}

#[test]
fn planned_faults_strike_their_kind_of_operation_once() {
    let (home, mut disk, file) = with_file(13, "a", &[1; 512]);
    home.fail_next(Fault::NameError);
    home.fail_next(Fault::SyncDirError);
    home.fail_next(Fault::NoSpace);
    assert!(disk.run(Op::Rename { from: "a".into(), to: "b".into() }).is_err());
    assert!(exists(&home, "a"));
    assert!(disk.run(Op::SyncDir { dir: String::new() }).is_err());
    let full = file.write_now(0, &[2; 512], WriteSync::None).expect_err("planned");
    assert_eq!(full.kind, DiskErrorKind::NoSpace);
    file.write_now(0, &[2; 512], WriteSync::None).expect("only once");
    home.fail_at_step(home.steps() + 1, Fault::WriteError);
    file.write_now(0, &[3; 512], WriteSync::Data).expect("not yet");
    assert_eq!(file.write_now(0, &[4; 512], WriteSync::Data).expect_err("now").kind, DiskErrorKind::Os(5));
    sync_root(&mut disk);
}

#[test]
fn an_idle_reap_returns() {
    let (_home, mut disk, _) = with_file(14, "a", b"");
    let mut done = Vec::new();
    disk.waker().wake();
    disk.reap(Wait::Forever, &mut done);
    disk.reap(Wait::Forever, &mut done);
    assert!(done.is_empty());
}

/// One run with everything in it: many operations in flight, faults, crashes, reboots.
fn busy_run(seed: u64) -> (Vec<String>, u64) {
    let home = SimHome::new(Seed(seed));
    home.record_trace();
    home.set_fault_rates(FaultRates {
        write_error: 0.02,
        sync_error: 0.05,
        no_space: 0.02,
        read_error: 0.02,
        name_error: 0.05,
        sync_dir_error: 0.05,
    });
    for round in 0..6 {
        home.crash_at_step(90 + round);
        let Ok(mut disk) = home.disk() else { unreachable!("the machine was rebooted") };
        let mut done = Vec::new();
        let mut files = Vec::new();
        for i in 0..60u64 {
            let name = format!("f{}", i % 5);
            disk.submit(OpId(3 * i), Op::Open { path: name.clone(), how: OpenHow::OpenOrCreate });
            if let Some(file) = files.last() {
                disk.submit(OpId(3 * i + 1), write(file, i * 97, vec![i as u8; 700], WriteSync::None));
                disk.submit(OpId(3 * i + 2), Op::Sync { file: SimFile::clone(file) });
            }
            if i % 7 == 0 {
                disk.submit(OpId(1000 + i), Op::Rename { from: name, to: "g".into() });
                disk.submit(OpId(2000 + i), Op::SyncDir { dir: String::new() });
            }
            disk.reap(Wait::Forever, &mut done);
            files.extend(done.drain(..).filter_map(|d| match d.result {
                Ok(Outcome::Opened { file, .. }) => Some(file),
                _ => None,
            }));
        }
        home.reboot(match round % 3 {
            0 => Crash::PowerCut(Seed(seed + round)),
            1 => Crash::ProcessKill(Seed(seed + round)),
            _ => Crash::Subset(Seed(seed + round)),
        });
    }
    (home.trace(), home.trace_hash())
}

#[test]
fn one_seed_gives_one_trace() {
    let (first, second, other) = (busy_run(1), busy_run(1), busy_run(2));
    assert!(first.0.len() > 500, "{} lines", first.0.len());
    assert_eq!(first, second);
    assert_ne!(first.1, other.1);
}

#[derive(Debug, Clone)]
enum Edit {
    Write(u64, Vec<u8>, bool),
    Truncate(u64),
    Sync,
    Evict,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = 0u64..6000;
    let edit = prop_oneof![
        4 => (at.clone(), 1usize..1500, any::<u8>(), any::<bool>())
            .prop_map(|(at, len, byte, sync)| Edit::Write(at, vec![byte | 1; len], sync)),
        2 => at.prop_map(Edit::Truncate),
        1 => Just(Edit::Sync),
        1 => Just(Edit::Evict),
    ];
    prop::collection::vec(edit, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Reads see a plain file whatever was synced or evicted; a final sync makes exactly that durable; and a write
    /// that asked for a sync is there after any power cut unless something later touched its bytes.
    #[test]
    fn the_file_behaves_as_a_vector_and_a_sync_makes_it_durable(edits in edits(), seed in any::<u64>()) {
        let (home, mut disk, file) = with_file(seed, "a", b"");
        let mut model: Vec<u8> = Vec::new();
        // Bytes that a power cut must leave: position to value.
        let mut promised = std::collections::BTreeMap::new();
        for edit in edits {
            match edit {
                Edit::Write(at, bytes, sync) => {
                    let how = if sync { WriteSync::Data } else { WriteSync::None };
                    disk.run(write(&file, at, bytes.clone(), how)).expect("no faults");
                    let end = at as usize + bytes.len();
                    model.resize(model.len().max(end), 0);
                    model[at as usize..end].copy_from_slice(&bytes);
                    for (i, byte) in bytes.iter().enumerate() {
                        if sync { promised.insert(at + i as u64, *byte) } else { promised.remove(&(at + i as u64)) };
                    }
                }
                Edit::Truncate(len) => {
                    disk.run(Op::Truncate { file: file.clone(), len }).expect("no faults");
                    model.resize(len as usize, 0);
                    promised.retain(|at, _| *at < len);
                }
                Edit::Sync => {
                    disk.run(Op::Sync { file: file.clone() }).expect("no faults");
                    promised = model.iter().enumerate().map(|(i, b)| (i as u64, *b)).collect();
                    prop_assert_eq!(home.durable_bytes("a").expect("it exists"), &model[..]);
                }
                Edit::Evict => home.evict(),
            }
            prop_assert_eq!(&disk.read(&file, 0, 10_000).expect("it reads"), &model);
            for crash in [Crash::PowerCut(Seed(seed)), Crash::LoseUnsynced, Crash::LengthsOnly] {
                let cut = home.fork();
                cut.reboot(crash);
                let left = cut.seen_bytes("a").expect("the name is durable");
                for (at, byte) in &promised {
                    prop_assert_eq!(left.get(*at as usize), Some(byte), "byte {} after {:?}", at, crash);
                }
            }
            let kept = home.fork();
            kept.reboot(Crash::KeepUnsynced);
            prop_assert_eq!(&kept.seen_bytes("a").expect("the name is durable"), &model);
        }
    }
}
