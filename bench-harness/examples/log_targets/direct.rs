//! One commit at a time at the end of a prepared file, in two ways: buffered, as the log's segments are written, and around
//! the page cache with a copy of the last block in memory, which is written again with each commit that begins inside it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::io::ReadWriteFlags;
use rustix::time::{ClockId, clock_gettime};

use super::Plan;
use super::append::{histogram, us};
use super::table::{Table, Target};

/// Room for commits; then they begin at its start again.
const PREPARED_BYTES: usize = 64 << 20;
/// What `O_DIRECT` wants positions, lengths and addresses to be multiples of.
const BLOCK: usize = 4096;

pub(crate) fn direct_or_buffered(plan: &Plan, table: &mut Table) {
    let folder = plan.folder("direct");
    std::fs::create_dir_all(&folder).expect("a folder that can be written");
    let mut ways = [Way::buffered(&folder), Way::direct(&folder)];
    for (bytes, name) in [(1 << 10, "1 KiB"), (16 << 10, "16 KiB"), (64 << 10, "64 KiB"), (1 << 20, "1 MiB")]
    {
        let measured = ways.each_mut().map(|way| way.commit_for(plan.cell, bytes));
        let [buffered, direct] = &measured;
        for (what, m) in [("buffered", buffered), ("direct", direct)] {
            table.note(format!("commit of {name}, {what}, p50"), "us", us(&m.latency, 0.5));
            table.note(format!("commit of {name}, {what}, p99"), "us", us(&m.latency, 0.99));
            table.note(format!("commit of {name}, {what}, this thread's CPU"), "us", m.cpu_us);
        }
        let ratio = us(&direct.latency, 0.5) / us(&buffered.latency, 0.5);
        table.add(format!("commit of {name}, direct / buffered, p50"), "ratio", ratio, None, Target::None);
    }
    let _ = std::fs::remove_dir_all(&folder);
}

struct Measured {
    latency: Histogram<u64>,
    /// A commit's.
    cpu_us: f64,
}

struct Way {
    file: File,
    is_direct: bool,
    /// Where the next commit goes.
    at: usize,
    /// Aligned from `from` on; of a direct way its first block is the file's last one.
    memory: Vec<u8>,
    from: usize,
}

impl Way {
    fn buffered(folder: &Path) -> Self {
        let file = prepared(&folder.join("buffered"));
        Self { file, is_direct: false, at: 0, memory: vec![0x5a; 1 << 20], from: 0 }
    }

    fn direct(folder: &Path) -> Self {
        let path = folder.join("direct");
        drop(prepared(&path));
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path);
        let memory = vec![0x5a; (1 << 20) + 3 * BLOCK];
        let from = memory.as_ptr().align_offset(BLOCK);
        Self { file: file.expect("a file system that knows O_DIRECT"), is_direct: true, at: 0, memory, from }
    }

    fn commit_for(&mut self, time: Duration, bytes: usize) -> Measured {
        let (mut latency, started, cpu) = (histogram(), Instant::now(), cpu_time());
        while started.elapsed() < time {
            let before = Instant::now();
            self.commit(bytes);
            latency.saturating_record(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        let cpu_us = (cpu_time() - cpu).as_secs_f64() * 1e6 / latency.len().max(1) as f64;
        Measured { latency, cpu_us }
    }

    fn commit(&mut self, bytes: usize) {
        if self.at + bytes > PREPARED_BYTES {
            self.at = 0;
        }
        let (begin, end) = if self.is_direct {
            (self.at / BLOCK * BLOCK, (self.at + bytes).next_multiple_of(BLOCK))
        } else {
            (self.at, self.at + bytes)
        };
        // What an engine does: the records are encoded behind those that stand in the last block already.
        let inside = self.at - begin;
        self.memory[self.from + inside..self.from + inside + bytes].fill(self.at as u8);
        let written = &self.memory[self.from..self.from + (end - begin)];
        let slices = [std::io::IoSlice::new(written)];
        let n = rustix::io::pwritev2(&self.file, &slices, begin as u64, ReadWriteFlags::DSYNC);
        assert_eq!(n, Ok(written.len()), "a healthy disk writes it whole");
        self.at += bytes;
        if self.is_direct {
            let last = (self.at / BLOCK * BLOCK).saturating_sub(begin);
            self.memory.copy_within(self.from + last..self.from + last + BLOCK, self.from);
        }
    }
}

/// A file whose blocks are all written and durable.
fn prepared(path: &Path) -> File {
    let file = File::create(path).expect("a folder that can be written");
    let zeros = vec![0; 1 << 20];
    for at in (0..PREPARED_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at as u64).expect("space on the disk");
    }
    file.sync_all().expect("a healthy disk");
    file
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).expect("below a second"))
}
