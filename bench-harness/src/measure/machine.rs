//! [`MachineTime`]: what the whole machine did with its processors, so that what was taken from a run can be told.
//!
//! The kernel counts in ticks of a hundredth of a second: over a second of two processors, 1 % is two ticks. Whatever
//! can't be read is `None`, never 0.

use std::path::{Path, PathBuf};

/// Ticks of the machine and of this process since their beginnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MachineTime {
    /// All processors, idle time included.
    total: u64,
    /// Of programs, not of the kernel.
    programs: u64,
    /// Given to others by the hypervisor.
    stolen: u64,
    /// Of this process, outside of the kernel.
    own: u64,
}

impl MachineTime {
    pub(super) fn now() -> Option<Self> {
        let machine = std::fs::read_to_string("/proc/stat").ok()?;
        let process = std::fs::read_to_string("/proc/self/stat").ok()?;
        Self::of(&machine, &process)
    }

    fn of(machine: &str, process: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal; guest time is inside user time already.
        let ticks: Vec<u64> = machine
            .lines()
            .next()?
            .split_whitespace()
            .skip(1)
            .take(8)
            .map_while(|t| t.parse().ok())
            .collect();
        // The name in parentheses may hold anything; user time is the twelfth field behind it.
        let own = process.rsplit_once(')')?.1.split_whitespace().nth(11)?.parse().ok()?;
        Some(Self {
            total: ticks.iter().sum(),
            programs: ticks.first()? + ticks.get(1)?,
            stolen: *ticks.get(7)?,
            own,
        })
    }

    /// Shares of all processors' time since `before`: stolen by the hypervisor, and used by other programs. The
    /// kernel's own threads count as nobody's: they write back what the engine wrote.
    pub(super) fn shares_since(&self, before: &Self) -> Option<(f64, f64)> {
        let total = self.total.checked_sub(before.total).filter(|t| *t > 0)? as f64;
        let stolen = self.stolen.saturating_sub(before.stolen) as f64;
        let programs = self.programs.saturating_sub(before.programs);
        let others = programs.saturating_sub(self.own.saturating_sub(before.own)) as f64;
        Some((stolen / total, others / total))
    }
}

/// Seconds for which this process's control groups were not let run because they had used up their quota, since they
/// exist. `None` where no quota can be set.
pub(super) fn throttled_s() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut worst = None;
    for line in groups.lines() {
        // HIERARCHY:CONTROLLERS:PATH; the unified hierarchy names no controllers.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let root = match controllers {
            "" => PathBuf::from("/sys/fs/cgroup"),
            c if c.split(',').any(|c| c == "cpu") => Path::new("/sys/fs/cgroup").join(c),
            _ => continue,
        };
        // A quota further up stops this process as well, and is counted there.
        let group = root.join(path.trim_start_matches('/'));
        for dir in group.ancestors().take_while(|dir| dir.starts_with(&root)) {
            let stat = std::fs::read_to_string(dir.join("cpu.stat")).unwrap_or_default();
            if let Some(s) = throttled_in(&stat) {
                worst = Some(f64::max(s, worst.unwrap_or(0.0)));
            }
        }
    }
    worst
}

fn throttled_in(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let per_s = match name {
            "throttled_usec" => 1e6,
            // The first version of control groups counts nanoseconds.
            "throttled_time" => 1e9,
            _ => return None,
        };
        Some(value.trim().parse::<f64>().ok()? / per_s)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stolen_and_what_others_used_are_shares_of_all_processors() {
        let process = |own: u64| format!("7 (a (b) c) R 1 1 1 0 -1 0 0 0 0 0 {own} 55 0 0 20 0 3 0 9 9 9");
        let before =
            MachineTime::of("cpu  1000 0 500 8000 0 0 0 100 0 0\ncpu0 ...", &process(700)).expect("ticks");
        // 200 ticks: 90 of programs, 60 of them ours; 10 stolen; the kernel's 40 are nobody's.
        let after = MachineTime::of("cpu  1080 10 540 8060 0 0 0 110 0 0\n", &process(760)).expect("ticks");
        let (stolen, others) = after.shares_since(&before).expect("time passed");
        assert!((stolen - 0.05).abs() < 1e-12 && (others - 0.15).abs() < 1e-12, "{stolen} {others}");
        assert_eq!(after.shares_since(&after), None, "no time passed");
        assert_eq!(MachineTime::of("cpu 1 2", &process(1)), None);
        assert!(MachineTime::now().is_some());
    }

    #[test]
    fn both_versions_of_control_groups_are_read() {
        assert_eq!(throttled_in("nr_periods 9\nnr_throttled 2\nthrottled_usec 2500000\n"), Some(2.5));
        assert_eq!(throttled_in("nr_periods 9\nnr_throttled 2\nthrottled_time 1500000000\n"), Some(1.5));
        assert_eq!(throttled_in("usage_usec 7\n"), None);
    }
}
