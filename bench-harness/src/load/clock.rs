//! [`Clock`]: what the load loops take as time.

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// A clock and the waiting that goes with it.
pub trait Clock {
    /// Nanoseconds since the clock's own zero; never goes back.
    fn now_ns(&self) -> u64;

    /// A moment of the machine's monotonic clock, on this one. The same number for a clock that isn't the machine's.
    fn at_monotonic(&self, ns: u64) -> u64 {
        ns
    }

    /// Returns at `ns` or later.
    fn sleep_until(&self, ns: u64);
}

/// The machine's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct OsClock {
    zero_ns: u64,
}

impl OsClock {
    /// A clock that reads 0 now. Sets the calling thread's timer slack to 1 ns: the default lets the kernel wake a
    /// sleeper 50 µs late, which would be reported as the engine's latency.
    #[must_use]
    pub fn start() -> Self {
        // Refused only where the kernel lacks it; the recorded lateness then shows what that costs.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        Self { zero_ns: monotonic_ns() }
    }
}

/// The machine's monotonic clock, nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec.unsigned_abs() * 1_000_000_000 + t.tv_nsec.unsigned_abs()
}

impl Clock for OsClock {
    fn now_ns(&self) -> u64 {
        monotonic_ns() - self.zero_ns
    }

    fn at_monotonic(&self, ns: u64) -> u64 {
        ns.saturating_sub(self.zero_ns)
    }

    fn sleep_until(&self, ns: u64) {
        let at = self.zero_ns.saturating_add(ns);
        let at = Timespec {
            tv_sec: i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(at % 1_000_000_000).expect("below a second"),
        };
        // Absolute, so a signal that interrupts it costs nothing: the same call again ends at the same moment.
        while let Err(rustix::io::Errno::INTR) = clock_nanosleep_absolute(ClockId::Monotonic, &at) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_at_its_moment_and_not_before() {
        let clock = OsClock::start();
        let target = clock.now_ns() + 5_000_000;
        clock.sleep_until(target);
        assert!(clock.now_ns() >= target);
        clock.sleep_until(0);
    }
}
