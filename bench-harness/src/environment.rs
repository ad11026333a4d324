//! [`Environment`]: the machine that a run took place on, as far as it says.
//!
//! Everything is optional: containers hide files, laptops have no cgroup, tarballs no git. What is missing is shown
//! as unknown, never guessed. [`CpuTimes`] tells how much of the processors went elsewhere during a run.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine, its limits, and what it was built with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Processor model as the kernel calls it.
    pub cpu_model: Option<String>,
    /// Processors that the machine has.
    pub cpus_online: Option<u32>,
    /// Processors that this process may run on.
    pub cpus_allowed: Option<u32>,
    /// Frequency governor of the first allowed processor.
    pub cpu_governor: Option<String>,
    /// Processor time that the control group allows, in processors; `None` = no limit, or not known.
    pub cgroup_cpus: Option<f64>,
    /// Memory that the control group allows, bytes; `None` = no limit, or not known.
    pub cgroup_memory_bytes: Option<u64>,
    /// Memory of the machine, bytes.
    pub memory_bytes: Option<u64>,
    /// Memory that was free or easily freed at the start, bytes.
    pub memory_available_bytes: Option<u64>,
    /// Kernel name and release.
    pub kernel: Option<String>,
    /// Operating system's name.
    pub os: Option<String>,
    /// Hypervisor or container that is known to be in between.
    pub virtualization: Option<String>,
    /// The folder that data was written to.
    pub data_folder: Option<PathBuf>,
    /// Its file system's type.
    pub file_system: Option<String>,
    /// Its mount options.
    pub mount_options: Option<String>,
    /// The block device below it.
    pub device: Option<String>,
    /// The device's model.
    pub device_model: Option<String>,
    /// `write back` (volatile cache: a sync must flush it) or `write through`.
    pub device_write_cache: Option<String>,
    /// Whether the device says that it spins.
    pub device_rotational: Option<bool>,
    /// Free space for data, bytes.
    pub free_bytes: Option<u64>,
    /// Whether this process may use io_uring.
    pub io_uring_permitted: Option<bool>,
    /// Features of io_uring that the kernel has, of those that matter here.
    pub io_uring_features: Vec<String>,
    /// Why io_uring is refused, if it is.
    pub io_uring_refused: Option<String>,
    /// Compiler that built this program.
    pub rustc: Option<String>,
    /// Build profile: `release` (with `bench`), or `debug`, whose figures mean nothing.
    pub build_profile: Option<String>,
    /// Target that this program was built for.
    pub target: Option<String>,
    /// Version of the workbench.
    pub version: Option<String>,
    /// Commit of the source tree.
    pub git_commit: Option<String>,
    /// Whether the source tree had changes that no commit holds.
    pub git_dirty: Option<bool>,
    /// Load average over the minute before the start.
    pub load_before: Option<f64>,
    /// Share of processor time that the hypervisor gave to others during the run, 0 to 1.
    pub steal_share: Option<f64>,
}

impl Environment {
    /// Looks around, for a run whose data goes to `data_folder` (which need not exist yet). Takes milliseconds.
    #[must_use]
    pub fn capture(data_folder: &Path) -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let meminfo = read("/proc/meminfo").unwrap_or_default();
        let folder = existing_ancestor(data_folder);
        let mount = folder.as_deref().and_then(Mount::of);
        let device = mount.as_ref().and_then(|m| BlockDevice::of(&m.device_number));
        let uname = rustix::system::uname();
        let (io_uring_permitted, io_uring_features, io_uring_refused) = probe_io_uring();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self {
            cpu_model: cpu_model(&cpuinfo),
            cpus_online: Some(cpuinfo.lines().filter(|l| l.starts_with("processor")).count())
                .filter(|n| *n > 0)
                .and_then(|n| u32::try_from(n).ok()),
            cpus_allowed: rustix::thread::sched_getaffinity(None).ok().map(|set| set.count()),
            cpu_governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            cgroup_cpus: cgroup_value("cpu.max").as_deref().and_then(parse_cpu_max),
            cgroup_memory_bytes: cgroup_value("memory.max").and_then(|v| v.parse().ok()),
            memory_bytes: meminfo_bytes(&meminfo, "MemTotal:"),
            memory_available_bytes: meminfo_bytes(&meminfo, "MemAvailable:"),
            kernel: Some(format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            )),
            os: read("/etc/os-release").as_deref().and_then(os_name),
            virtualization: virtualization(&cpuinfo),
            data_folder: Some(crate::result_folder::shown(data_folder)),
            file_system: mount.as_ref().map(|m| m.file_system.clone()),
            mount_options: mount.as_ref().map(|m| m.options.clone()),
            device: mount.as_ref().map(|m| m.source.clone()),
            device_model: device.as_ref().and_then(|d| d.attribute("device/model")),
            device_write_cache: device.as_ref().and_then(|d| d.attribute("queue/write_cache")),
            device_rotational: device
                .as_ref()
                .and_then(|d| d.attribute("queue/rotational"))
                .map(|v| v == "1"),
            free_bytes: folder
                .as_deref()
                .and_then(|f| rustix::fs::statvfs(f).ok())
                .map(|s| s.f_bavail.saturating_mul(s.f_frsize)),
            io_uring_permitted,
            io_uring_features,
            io_uring_refused,
            rustc: option_env!("WORKBENCH_RUSTC").map(str::to_owned),
            build_profile: option_env!("WORKBENCH_PROFILE").map(str::to_owned),
            target: option_env!("WORKBENCH_TARGET").map(str::to_owned),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            git_commit: git(source, &["rev-parse", "HEAD"]),
            git_dirty: git(source, &["status", "--porcelain"]).map(|changes| !changes.is_empty()),
            load_before: read("/proc/loadavg").and_then(|l| l.split(' ').next()?.parse().ok()),
            steal_share: None,
        }
    }

    /// The commit in seven digits, with a `+` if the tree had changes; for names of result folders.
    #[must_use]
    pub fn short_commit(&self) -> Option<String> {
        let commit = self.git_commit.as_deref()?;
        let short = commit.get(..7).unwrap_or(commit);
        Some(if self.git_dirty == Some(true) { format!("{short}+") } else { short.to_owned() })
    }
}

/// Processor time of the whole machine so far, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    total: u64,
    steal: u64,
}

impl CpuTimes {
    /// Reads the kernel's counters; `None` where there are none.
    #[must_use]
    pub fn now() -> Option<Self> {
        Self::parse(&read("/proc/stat")?)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find(|l| l.starts_with("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|t| t.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time is part of user already.
        let steal = *ticks.get(7)?;
        Some(Self { total: ticks.iter().take(8).sum(), steal })
    }

    /// Share of the time since `earlier` that the hypervisor gave to others, 0 to 1.
    #[must_use]
    pub fn steal_share_since(&self, earlier: &Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        if total == 0 { 0.0 } else { self.steal.saturating_sub(earlier.steal) as f64 / total as f64 }
    }
}

/// A small text file, trimmed; `None` if it is missing, unreadable or empty.
fn read(path: impl AsRef<Path>) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    ["model name", "Model", "cpu model"].iter().find_map(|wanted| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == *wanted && !value.trim().is_empty()).then(|| value.trim().to_owned())
        })
    })
}

fn virtualization(cpuinfo: &str) -> Option<String> {
    let product = read("/sys/class/dmi/id/product_name");
    let vendor = read("/sys/class/dmi/id/sys_vendor");
    let guest = cpuinfo.lines().any(|l| l.starts_with("flags") && l.split(' ').any(|f| f == "hypervisor"));
    guest.then(|| match (vendor, product) {
        (Some(v), Some(p)) => format!("virtual machine ({v} {p})"),
        (Some(one), None) | (None, Some(one)) => format!("virtual machine ({one})"),
        (None, None) => "virtual machine".to_owned(),
    })
}

fn meminfo_bytes(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix(key))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn os_name(os_release: &str) -> Option<String> {
    let line = os_release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// The tightest value on the way from this process's control group to the root. Version 2 only: version 1 splits
/// its controllers over several trees and is leaving.
fn cgroup_value(file: &str) -> Option<String> {
    let own = read("/proc/self/cgroup")?;
    let path = own.lines().find_map(|l| l.strip_prefix("0::"))?;
    let mut folder = PathBuf::from("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    while folder.starts_with("/sys/fs/cgroup") {
        if let Some(value) = read(folder.join(file)).filter(|v| !v.starts_with("max")) {
            return Some(value);
        }
        folder.pop();
    }
    None
}

/// `QUOTA PERIOD` of `cpu.max`, in processors.
fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (period > 0.0).then(|| quota / period)
}

fn existing_ancestor(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|p| p.exists())?;
    there.canonicalize().ok()
}

/// The mount that a folder lives on.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device_number: String,
    file_system: String,
    source: String,
    options: String,
}

impl Mount {
    fn of(folder: &Path) -> Option<Self> {
        Self::find(&read("/proc/self/mountinfo")?, folder)
    }

    /// The mount with the longest mount point that `folder` lies below; among equals the last, which covers the rest.
    fn find(mountinfo: &str, folder: &Path) -> Option<Self> {
        let mut best: Option<(usize, Self)> = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(number), Some(point), Some(options)) = (left.get(2), left.get(4), left.get(5)) else {
                continue;
            };
            let (Some(file_system), Some(source)) = (right.first(), right.get(1)) else { continue };
            let point = point.replace("\\040", " ");
            if !folder.starts_with(&point) || best.as_ref().is_some_and(|(len, _)| *len > point.len()) {
                continue;
            }
            // The options of the mount, then those of the file system that add something.
            let mut all: Vec<&str> = options.split(',').collect();
            for option in right.get(2).unwrap_or(&"").split(',').filter(|o| !o.is_empty()) {
                if !all.contains(&option) {
                    all.push(option);
                }
            }
            let mount = Self {
                device_number: (*number).to_owned(),
                file_system: (*file_system).to_owned(),
                source: (*source).to_owned(),
                options: all.join(","),
            };
            best = Some((point.len(), mount));
        }
        best.map(|(_, mount)| mount)
    }
}

/// A whole block device in sysfs.
struct BlockDevice(PathBuf);

impl BlockDevice {
    fn of(device_number: &str) -> Option<Self> {
        let folder = PathBuf::from("/sys/dev/block").join(device_number).canonicalize().ok()?;
        // A partition has no queue of its own; the device it is part of is the folder above.
        if folder.join("queue").is_dir() {
            return Some(Self(folder));
        }
        let parent = folder.parent()?.to_owned();
        parent.join("queue").is_dir().then_some(Self(parent))
    }

    fn attribute(&self, name: &str) -> Option<String> {
        read(self.0.join(name))
    }
}

/// Builds a ring and drops it: permission depends on sysctl, seccomp and limits, and only the attempt knows.
fn probe_io_uring() -> (Option<bool>, Vec<String>, Option<String>) {
    match io_uring::IoUring::new(2) {
        Ok(ring) => {
            let params = ring.params();
            let mut features = Vec::new();
            for (has, name) in [
                (params.is_feature_nodrop(), "nodrop"),
                (params.is_feature_fast_poll(), "fast poll"),
                (params.is_feature_ext_arg(), "ext arg"),
                (params.is_feature_native_workers(), "native workers"),
                (params.is_feature_resource_tagging(), "resource tagging"),
            ] {
                if has {
                    features.push(name.to_owned());
                }
            }
            drop(ring);
            if io_uring::IoUring::<io_uring::squeue::Entry>::builder()
                .setup_single_issuer()
                .setup_defer_taskrun()
                .build(2)
                .is_ok()
            {
                features.push("single issuer, deferred task work".to_owned());
            }
            (Some(true), features, None)
        }
        Err(e) => (Some(false), Vec::new(), Some(e.to_string())),
    }
}

fn git(source: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(source).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capturing_for_a_folder_that_is_not_there_yet_describes_the_one_above_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let e = Environment::capture(&dir.path().join("not/yet"));
        assert!(e.kernel.as_deref().is_some_and(|k| k.starts_with("Linux ")), "{:?}", e.kernel);
        assert!(e.cpus_allowed.is_some_and(|n| n > 0), "{:?}", e.cpus_allowed);
        assert!(e.free_bytes.is_some_and(|n| n > 0), "{:?}", e.free_bytes);
        assert!(e.rustc.as_deref().is_some_and(|v| v.starts_with("rustc ")), "{:?}", e.rustc);
        let text = serde_json::to_string(&e).expect("json");
        assert_eq!(serde_json::from_str::<Environment>(&text).expect("read"), e);
    }

    #[test]
    fn the_deepest_mount_wins_and_options_are_those_of_mount_and_file_system() {
        let mountinfo = "\
22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw,errors=remount-ro
23 22 0:21 / /tmp rw,nosuid - tmpfs tmpfs rw,size=1024k
24 22 254:17 / /data rw,noatime shared:1 - xfs /dev/vdb1 rw,attr2
not a mount line";
        let at = |p: &str| Mount::find(mountinfo, Path::new(p)).expect("a mount");
        assert_eq!(at("/data/x").file_system, "xfs");
        assert_eq!(at("/data/x").options, "rw,noatime,attr2");
        assert_eq!(at("/database").source, "/dev/vda1", "a prefix of letters is not a prefix of folders");
        assert_eq!(at("/tmp/a/b").device_number, "0:21");
        assert_eq!(Mount::find("", Path::new("/")), None);
    }

    #[test]
    fn steal_is_a_share_of_all_ticks_and_older_kernels_give_none() {
        let before = CpuTimes::parse("cpu  10 0 10 70 0 0 0 10 0 0\ncpu0 1").expect("times");
        let after = CpuTimes::parse("cpu  30 0 20 120 0 0 0 30 0 0\n").expect("times");
        assert!((after.steal_share_since(&before) - 0.2).abs() < 1e-9);
        assert!(before.steal_share_since(&before).abs() < 1e-9);
        assert_eq!(CpuTimes::parse("cpu 1 2 3 4\n"), None);
    }

    #[test]
    fn cgroup_quota_is_in_processors() {
        assert_eq!(parse_cpu_max("150000 100000"), Some(1.5));
        assert_eq!(parse_cpu_max("max 100000"), None);
        assert_eq!(parse_cpu_max("5 0"), None);
    }
}
