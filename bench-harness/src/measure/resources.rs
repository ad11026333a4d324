//! [`ResourceMeter`]: what a run cost the machine: processor, memory, switches, disk.

use std::io;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

use super::machine::{MachineTime, throttled_s};

/// What was used between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Time that passed, seconds.
    pub seconds: f64,
    /// Processor time of the whole process, seconds.
    pub cpu_s: f64,
    /// Processor time of the driver's thread, seconds; it contains whatever the engine does on that thread.
    pub driver_cpu_s: f64,
    /// Largest resident set since the meter was started, bytes.
    pub rss_peak_bytes: Option<u64>,
    /// Times that one of the process's threads that still live gave the processor up, to wait for something.
    pub voluntary_switches: Option<u64>,
    /// Times that the kernel took the processor away from one of them.
    pub involuntary_switches: Option<u64>,
    /// Share of the processors' time that the hypervisor gave to others, 0 to 1.
    pub steal_share: Option<f64>,
    /// Share of the processors' time that other programs used, 0 to 1; the kernel's own work isn't counted.
    pub others_share: Option<f64>,
    /// Seconds for which the process was not let run because its control group had used up its quota.
    pub throttled_s: Option<f64>,
}

/// Taken before and after.
#[derive(Debug)]
pub struct ResourceMeter {
    started: std::time::Instant,
    cpu_s: f64,
    driver_cpu_s: f64,
    switches: Option<Switches>,
    machine: Option<MachineTime>,
    throttled_s: Option<f64>,
}

impl ResourceMeter {
    /// Starts metering, and sets the mark of the largest resident set back where the kernel permits it.
    #[must_use]
    pub fn start() -> Self {
        // "5" resets the peak; a kernel without it leaves the peak of the process's life, which is an upper bound.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self {
            started: std::time::Instant::now(),
            cpu_s: seconds(ClockId::ProcessCPUTime),
            driver_cpu_s: seconds(ClockId::ThreadCPUTime),
            switches: Switches::now(),
            machine: MachineTime::now(),
            throttled_s: throttled_s(),
        }
    }

    /// What was used since the start. Called from the thread that started it.
    #[must_use]
    pub fn stop(&self) -> Cost {
        let shares = self.machine.zip(MachineTime::now()).and_then(|(before, now)| now.shares_since(&before));
        let switches = self.switches.zip(Switches::now());
        Cost {
            seconds: self.started.elapsed().as_secs_f64(),
            cpu_s: seconds(ClockId::ProcessCPUTime) - self.cpu_s,
            driver_cpu_s: seconds(ClockId::ThreadCPUTime) - self.driver_cpu_s,
            rss_peak_bytes: status_field(Path::new("/proc/self/status"), "VmHWM:").map(|kib| kib * 1024),
            voluntary_switches: switches.map(|(a, b)| b.voluntary.saturating_sub(a.voluntary)),
            involuntary_switches: switches.map(|(a, b)| b.involuntary.saturating_sub(a.involuntary)),
            steal_share: shares.map(|(stolen, _)| stolen),
            others_share: shares.map(|(_, others)| others),
            throttled_s: self.throttled_s.zip(throttled_s()).map(|(a, b)| (b - a).max(0.0)),
        }
    }
}

fn seconds(clock: ClockId) -> f64 {
    let t = clock_gettime(clock);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

fn status_field(file: &Path, name: &str) -> Option<u64> {
    field(&std::fs::read_to_string(file).ok()?, name)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Context switches of the process's living threads.
#[derive(Debug, Clone, Copy)]
struct Switches {
    voluntary: u64,
    involuntary: u64,
}

impl Switches {
    fn now() -> Option<Self> {
        let mut sum = Self { voluntary: 0, involuntary: 0 };
        for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            sum.voluntary += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
            sum.involuntary += field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Some(sum)
    }
}

/// Bytes that the files below `dir` take on the disk: allocated blocks, so holes don't count and preallocation does.
///
/// # Errors
/// A folder can't be read. Files that vanish meanwhile are left out.
pub fn disk_bytes(dir: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += about.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}

/// Writes out whatever waits in the page cache for the file system of `dir`. Else a run would pay for what was written
/// before it: the preload, and the run before.
///
/// # Errors
/// The folder can't be opened, or the device failed.
pub fn write_back(dir: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(std::fs::File::open(dir)?)?)
}

/// Flush requests that the block device below `dir` has completed so far, by the kernel's count; `None` where there is
/// no such device or no such count. A device without a volatile cache needs none.
#[must_use]
pub fn device_flushes(dir: &Path) -> Option<u64> {
    // Documented order of the file: the sixteenth number counts flushes.
    device_count(dir, 15)
}

/// Bytes that the block device below `dir` has been written so far, by the kernel's count, whoever wrote them; `None`
/// where there is no such device. What waits in the page cache isn't in it: [`write_back`] first.
#[must_use]
pub fn device_written_bytes(dir: &Path) -> Option<u64> {
    // The seventh number counts sectors of 512 bytes, whatever the device's own are.
    device_count(dir, 6).map(|sectors| sectors * 512)
}

fn device_count(dir: &Path, nth: usize) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let device = std::fs::metadata(dir).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let block = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    // A partition's flushes are counted by its disk.
    let disk = if block.join("partition").exists() { block.parent()? } else { &block };
    std::fs::read_to_string(disk.join("stat")).ok()?.split_whitespace().nth(nth)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_processor_time_and_memory_as_resident_set() {
        let meter = ResourceMeter::start();
        let before = std::time::Instant::now();
        let mut block = vec![1_u8; 64 << 20];
        while before.elapsed().as_millis() < 30 {
            block.iter_mut().step_by(4096).for_each(|b| *b = b.wrapping_add(1));
        }
        let cost = meter.stop();
        assert!(std::hint::black_box(&block).len() > 1);
        assert!(cost.cpu_s > 0.005, "{cost:?}");
        assert!(cost.driver_cpu_s > 0.005 && cost.driver_cpu_s <= cost.cpu_s + 0.001, "{cost:?}");
        assert!(cost.rss_peak_bytes.is_some_and(|rss| rss > 64 << 20), "{cost:?}");
    }

    #[test]
    fn writing_back_needs_the_folder() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write_back(dir.path()).expect("its file system can be synced");
        assert!(write_back(&dir.path().join("gone")).is_err());
    }

    #[test]
    fn what_is_written_back_is_counted_by_the_device() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write_back(dir.path()).expect("its file system can be synced");
        // None on a file system without a block device.
        let Some(before) = device_written_bytes(dir.path()) else { return };
        std::fs::write(dir.path().join("data"), vec![7_u8; 4 << 20]).expect("a file");
        write_back(dir.path()).expect("its file system can be synced");
        let written = device_written_bytes(dir.path()).expect("it was there") - before;
        // Others write, too, so there is no upper bound to ask for.
        assert!(written >= 4 << 20, "{written}");
    }

    #[test]
    fn holes_take_no_bytes_and_written_blocks_do() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("below")).expect("a folder");
        std::fs::write(dir.path().join("below/data"), vec![7_u8; 100_000]).expect("a file");
        let hole = std::fs::File::create(dir.path().join("hole")).expect("a file");
        hole.set_len(1 << 30).expect("a hole");
        hole.sync_all().expect("synced");
        std::fs::File::open(dir.path().join("below/data")).expect("open").sync_all().expect("synced");
        let bytes = disk_bytes(dir.path()).expect("readable");
        assert!((100_000..1_000_000).contains(&bytes), "{bytes}");
    }
}
