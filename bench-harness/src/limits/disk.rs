//! What the disk can do: durable writes with and without a second thread, appending, cached reads, and the two
//! backends under the same design.
//!
//! Everything runs over `engine_env`'s disk, so what an engine lacks against these figures is the engine's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_env::{
    Backend, CompletionQueue, Disk, DiskError, Done, File as _, Home as _, Op, OpId, OpenHow, OsDisk, OsFile,
    OsHome, ReadHow, ReadNow, Wait, WriteSync,
};

use super::{AppendLimit, BackendLimit, LatencyLimit, Limits, LimitsPlan, Samples};

const PAGE: usize = 4096;
/// Large enough that consecutive writes fall into different flash pages, small enough to be filled in a moment.
const PREPARED_BYTES: u64 = 16 << 20;
const APPEND_CALL: usize = 256 * 1024;

/// A folder below the measured one, gone when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it: a leftover is a few files that say in their folder's name what they were for.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Measures everything that needs the disk.
pub(super) fn measure(
    limits: &mut Limits,
    folder: &Path,
    plan: &LimitsPlan,
    progress: &mut dyn FnMut(&str),
) -> Result<(), DiskError> {
    let there_before = folder.exists();
    let scratch = Scratch(folder.join(format!("limits-{}", std::process::id())));
    let home = OsHome::open(&scratch.0, Backend::Blocking)?;
    let mut disk = home.disk()?;
    let mut failed = Vec::new();
    let mut keep = |what: &str, result: Result<LatencyLimit, DiskError>| match result {
        Ok(limit) => Some(limit).filter(|limit| limit.samples > 0),
        Err(e) => {
            failed.push(format!("{what}: {e}"));
            None
        }
    };

    progress("durable overwrite");
    let overwrite = |i: u64| i * PAGE as u64 % PREPARED_BYTES;
    let growing = |i: u64| i * PAGE as u64;
    let prepared = prepared_file(&mut disk, "prepared")?;
    limits.write_sync = keep("durable overwrite", on_this_thread(&prepared, plan, overwrite));
    progress("durable overwrite, handed over");
    limits.write_sync_handed_over =
        keep("durable overwrite, handed over", handed_over(&prepared, plan, plan.step, overwrite));
    progress("durable append to a growing file");
    let file = new_file(&mut disk, "growing")?;
    limits.write_sync_growing =
        keep("durable append to a growing file", on_this_thread(&file, plan, growing));
    progress("durable append to a growing file, handed over");
    let file = new_file(&mut disk, "growing-handed-over")?;
    limits.write_sync_growing_handed_over = keep(
        "durable append to a growing file, handed over",
        handed_over(&file, plan, plan.step / 3, growing),
    );
    if !plan.stopped() {
        rest(limits, &scratch.0, &mut disk, plan, progress, &mut failed)?;
    }
    limits.failed.append(&mut failed);
    drop((file, prepared, disk, home, scratch));
    if !there_before {
        let _ = std::fs::remove_dir(folder);
    }
    Ok(())
}

/// What takes longest, and needs no second thread.
fn rest(
    limits: &mut Limits,
    folder: &Path,
    disk: &mut OsDisk,
    plan: &LimitsPlan,
    progress: &mut dyn FnMut(&str),
    failed: &mut Vec<String>,
) -> Result<(), DiskError> {
    progress("io_uring against blocking calls");
    match backends(folder, plan) {
        Ok((measured, refused)) => {
            limits.backends = measured;
            failed.extend(refused);
        }
        Err(e) => failed.push(format!("io_uring against blocking calls: {e}")),
    }
    if plan.stopped() {
        return Ok(());
    }
    progress("sequential append");
    let file = new_file(disk, "append")?;
    match append(&file, plan) {
        Ok(_) if plan.stopped() => {}
        Ok(limit) => {
            progress("reading from the page cache");
            match cached_reads(&file, limit.bytes, plan) {
                Ok(limit) => limits.cached_read = Some(limit),
                Err(e) => failed.push(format!("reading from the page cache: {e}")),
            }
            progress("reading around the page cache");
            match direct_reads(&folder.join("append"), limit.bytes, plan) {
                Ok(limit) => limits.direct_read = Some(limit),
                Err(e) => failed.push(format!("reading around the page cache: {e}")),
            }
            limits.append = Some(limit);
        }
        Err(e) => failed.push(format!("sequential append: {e}")),
    }
    Ok(())
}

fn new_file(disk: &mut OsDisk, name: &str) -> Result<OsFile, DiskError> {
    let (file, _) = disk.open(name, OpenHow::CreateNew)?;
    disk.run(Op::SyncDir { dir: String::new() })?;
    Ok(file)
}

/// A file whose blocks have all been written and synced: overwriting them changes no metadata.
fn prepared_file(disk: &mut OsDisk, name: &str) -> Result<OsFile, DiskError> {
    let file = new_file(disk, name)?;
    disk.run(Op::ZeroFill { file: file.clone(), at: 0, len: PREPARED_BYTES })?;
    disk.run(Op::Sync { file: file.clone() })?;
    Ok(file)
}

fn on_this_thread(
    file: &OsFile,
    plan: &LimitsPlan,
    position: impl Fn(u64) -> u64,
) -> Result<LatencyLimit, DiskError> {
    let page = [0x5a; PAGE];
    let samples = Samples::repeat(plan.step, plan.samples_max, &plan.stop, |i| {
        file.write_now(position(i), &page, WriteSync::Data)
    })?;
    Ok(samples.limit())
}

/// The submitter hands each write to a committer thread and waits for its answer, over the queue that engines use.
fn handed_over(
    file: &OsFile,
    plan: &LimitsPlan,
    limit: Duration,
    position: impl Fn(u64) -> u64,
) -> Result<LatencyLimit, DiskError> {
    let wanted: Arc<CompletionQueue<Option<u64>>> = Arc::default();
    let done: Arc<CompletionQueue<Result<(), DiskError>>> = Arc::default();
    let committer = {
        let (file, wanted, done) = (file.clone(), Arc::clone(&wanted), Arc::clone(&done));
        std::thread::spawn(move || {
            let page = [0x5a; PAGE];
            let mut batch = Vec::new();
            loop {
                wanted.drain(Wait::Forever, &mut batch);
                for one in batch.drain(..) {
                    let Some(at) = one else { return };
                    done.push(file.write_now(at, &page, WriteSync::Data));
                }
            }
        })
    };
    let mut answers = Vec::with_capacity(1);
    let samples = Samples::repeat(limit, plan.samples_max, &plan.stop, |i| {
        wanted.push(Some(position(i)));
        done.drain(Wait::Forever, &mut answers);
        answers.pop().expect("the drain ends with an answer")
    });
    wanted.push(None);
    committer.join().expect("the committer only writes and answers");
    Ok(samples?.limit())
}

fn append(file: &OsFile, plan: &LimitsPlan) -> Result<AppendLimit, DiskError> {
    let block = vec![0xa5; APPEND_CALL];
    // A first part tells how much this disk takes in the time there is: a final sync of 1 GiB would be ten seconds
    // on a slow one.
    let probe = (plan.append_bytes_max / 16).max(APPEND_CALL as u64);
    let write = |from: u64, bytes: u64, calls: &mut Samples| -> Result<(Duration, Duration), DiskError> {
        let started = Instant::now();
        let mut before = started;
        let mut at = from;
        while at < from + bytes && !plan.stopped() {
            file.write_now(at, &block, WriteSync::None)?;
            let after = Instant::now();
            calls.record(after.duration_since(before));
            before = after;
            at += APPEND_CALL as u64;
        }
        let written = started.elapsed();
        if !plan.stopped() {
            file.sync_now()?;
        }
        Ok((written, started.elapsed()))
    };
    let (_, probe_took) = write(0, probe, &mut Samples::new())?;
    let affordable = probe as f64 / probe_took.as_secs_f64().max(1e-6) * plan.step.as_secs_f64() * 0.7;
    let calls = (affordable as u64).clamp(probe, plan.append_bytes_max) / APPEND_CALL as u64;
    let bytes = calls * APPEND_CALL as u64;
    let mut samples = Samples::new();
    let (written, synced) = write(probe, bytes, &mut samples)?;
    samples.busy = written;
    Ok(AppendLimit {
        bytes_per_s: bytes as f64 / synced.as_secs_f64(),
        burst_bytes_per_s: bytes as f64 / written.as_secs_f64(),
        bytes,
        write_call: samples.limit(),
    })
}

fn cached_reads(file: &OsFile, bytes: u64, plan: &LimitsPlan) -> Result<LatencyLimit, DiskError> {
    let blocks = (bytes / 1024).max(1);
    let mut into = [0u8; 1024];
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut samples = Samples::new();
    let started = Instant::now();
    // One clock reading a read would be a tenth of what is measured; sixteen reads share one.
    const GROUP: u32 = 16;
    while samples.count() < plan.samples_max * 4 && started.elapsed() < plan.step / 4 && !plan.stopped() {
        let before = Instant::now();
        let mut all_cached = true;
        for _ in 0..GROUP {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = state % blocks * 1024;
            if file.read_now(at, &mut into, ReadHow::CachedOnly)? == ReadNow::NotCached {
                all_cached = false;
                file.read_now(at, &mut into, ReadHow::MayBlock)?;
            }
            std::hint::black_box(&into);
        }
        let took = before.elapsed();
        if all_cached {
            samples.record(took / GROUP);
            samples.busy += took;
        }
    }
    let mut limit = samples.limit();
    limit.per_s *= f64::from(GROUP);
    Ok(limit)
}

/// Reads of a page that the device must serve. The file was synced, so nothing waits to be written first.
fn direct_reads(path: &Path, bytes: u64, plan: &LimitsPlan) -> std::io::Result<LatencyLimit> {
    use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // The kernel wants the memory aligned as well.
    let mut memory = vec![0u8; 2 * PAGE];
    let from = memory.as_ptr().align_offset(PAGE);
    let page = &mut memory[from..from + PAGE];
    let pages = (bytes / PAGE as u64).max(1);
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let samples = Samples::repeat(plan.step / 2, plan.samples_max, &plan.stop, |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.read_exact_at(page, state % pages * PAGE as u64)
    })?;
    Ok(samples.limit())
}

/// One backend with its own prepared file.
struct Contender {
    name: &'static str,
    disk: OsDisk,
    file: OsFile,
    position: u64,
    by_depth: Vec<(u32, Samples)>,
}

/// io_uring and blocking calls under the same design, in the order ABBA ABBA, so that a disk that changes its mood
/// changes it for both. Gives the sentence to show where io_uring isn't to be had.
fn backends(folder: &Path, plan: &LimitsPlan) -> Result<(Vec<BackendLimit>, Option<String>), DiskError> {
    // One at a time yields few samples, so it gets most of the time.
    const DEPTHS: [(u32, u32); 2] = [(1, 5), (16, 15)];
    const ROUNDS: u32 = 4;
    let mut contenders = Vec::new();
    let mut refused = None;
    for (backend, name) in [(Backend::Blocking, "blocking"), (Backend::Uring, "io_uring")] {
        let opened = OsHome::open(folder.join(name), backend).and_then(|home| home.disk());
        match opened {
            Ok(mut disk) if backend == Backend::Blocking || disk.backend() != "blocking" => {
                let file = prepared_file(&mut disk, "prepared")?;
                let by_depth = DEPTHS.iter().map(|(depth, _)| (*depth, Samples::new())).collect();
                contenders.push(Contender { name, disk, file, position: 0, by_depth });
            }
            Ok(_) => refused = Some("io_uring: this build has no such backend".to_owned()),
            Err(e) => refused = Some(format!("io_uring: {e}")),
        }
    }
    for round in 0..ROUNDS {
        for (depth, (_, share)) in DEPTHS.iter().enumerate() {
            // Forward in even rounds, backward in odd ones.
            for turn in 0..contenders.len() {
                let index = if round % 2 == 0 { turn } else { contenders.len() - 1 - turn };
                contenders[index].write_for(plan.step / *share, depth, &plan.stop)?;
            }
        }
    }
    let measured = contenders
        .iter()
        .flat_map(|c| {
            c.by_depth.iter().map(|(depth, samples)| BackendLimit {
                backend: c.name.to_owned(),
                depth: *depth,
                latency: samples.limit(),
            })
        })
        .collect();
    Ok((measured, refused))
}

impl Contender {
    /// Keeps as many writes wanted as the depth says. A write is wanted from the moment its predecessor's completion
    /// was seen, so waiting behind others counts, whether in a ring or in a loop of blocking calls.
    fn write_for(&mut self, slice: Duration, depth_index: usize, stop: &AtomicBool) -> Result<(), DiskError> {
        let (depth, samples) = &mut self.by_depth[depth_index];
        let started = Instant::now();
        let mut free: Vec<(u64, Vec<u8>)> =
            (0..u64::from(*depth)).map(|slot| (slot, vec![0x5a; PAGE])).collect();
        let mut wanted_at = vec![started; free.len()];
        let mut in_flight = 0usize;
        let mut done: Vec<Done<OsFile>> = Vec::new();
        let mut failure = None;
        loop {
            let now = Instant::now();
            if now.duration_since(started) < slice && failure.is_none() && !stop.load(Ordering::Relaxed) {
                for (slot, buf) in free.drain(..) {
                    wanted_at[slot as usize] = now;
                    self.disk.submit(
                        OpId(slot),
                        Op::Write { file: self.file.clone(), at: self.position, buf, sync: WriteSync::Data },
                    );
                    self.position = (self.position + PAGE as u64) % PREPARED_BYTES;
                    in_flight += 1;
                }
            }
            if in_flight == 0 {
                break;
            }
            self.disk.reap(Wait::Forever, &mut done);
            let now = Instant::now();
            for one in done.drain(..) {
                in_flight -= 1;
                match one.result {
                    Ok(_) => samples.record(now.duration_since(wanted_at[one.id.0 as usize])),
                    Err(e) => failure = Some(e),
                }
                free.push((one.id.0, one.buf.unwrap_or_else(|| vec![0x5a; PAGE])));
            }
        }
        samples.busy += started.elapsed();
        failure.map_or(Ok(()), Err)
    }
}
