//! What the processor and the kernel can do: copying memory, waking a thread, ending a sleep on time.

use std::convert::Infallible;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_env::{CompletionQueue, Wait};
use rustix::thread::{ClockId, clock_nanosleep_absolute, current_timer_slack, set_current_timer_slack};
use rustix::time::{Timespec, clock_gettime};

use super::{LatencyLimit, Limits, LimitsPlan, Samples};

/// Measures everything that needs no disk.
pub(super) fn measure(limits: &mut Limits, plan: &LimitsPlan, progress: &mut dyn FnMut(&str)) {
    if plan.stopped() {
        return;
    }
    progress("copying memory");
    limits.memcpy_bytes_per_s = Some(memcpy(plan.step / 4));
    progress("waking another thread");
    limits.wake_up = Some(wake_up(plan.step / 2, plan));
    progress("lateness of a timed sleep");
    match timer(plan) {
        Ok(limit) => limits.timer = Some(limit),
        Err(e) => limits.failed.push(format!("lateness of a timed sleep: {e}")),
    }
}

/// Far larger than any cache, so that memory is what is measured.
fn memcpy(limit: Duration) -> f64 {
    const BYTES: usize = 64 << 20;
    let from = vec![1u8; BYTES];
    let mut to = vec![0u8; BYTES];
    // The first copy pays for the pages; it isn't counted.
    to.copy_from_slice(&from);
    let started = Instant::now();
    let mut copies = 0u32;
    while copies == 0 || started.elapsed() < limit {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        copies += 1;
    }
    f64::from(copies) * BYTES as f64 / started.elapsed().as_secs_f64()
}

/// One way, from the push until the woken thread has its item, over the queue that engines use.
fn wake_up(limit: Duration, plan: &LimitsPlan) -> LatencyLimit {
    let there: Arc<CompletionQueue<Option<Instant>>> = Arc::default();
    let back: Arc<CompletionQueue<Duration>> = Arc::default();
    let sleeper = {
        let (there, back) = (Arc::clone(&there), Arc::clone(&back));
        std::thread::spawn(move || {
            let mut batch = Vec::new();
            loop {
                there.drain(Wait::Forever, &mut batch);
                let now = Instant::now();
                for one in batch.drain(..) {
                    let Some(sent) = one else { return };
                    back.push(now.duration_since(sent));
                }
            }
        })
    };
    let mut samples = Samples::new();
    let mut answers = Vec::new();
    let rounds: Result<Samples, Infallible> = Samples::repeat(limit, plan.samples_max, &plan.stop, |_| {
        there.push(Some(Instant::now()));
        back.drain(Wait::Forever, &mut answers);
        answers.drain(..).for_each(|took| samples.record(took));
        Ok(())
    });
    there.push(None);
    sleeper.join().expect("the sleeper only answers");
    samples.busy = rounds.map_or(Duration::ZERO, |r| r.busy);
    samples.limit()
}

/// Sleeps to absolute times with the least slack the kernel grants, as the load driver does.
fn timer(plan: &LimitsPlan) -> rustix::io::Result<LatencyLimit> {
    let slack_before = current_timer_slack()?;
    set_current_timer_slack(NonZeroU64::new(1))?;
    let started = Instant::now();
    let mut samples = Samples::new();
    let mut result = Ok(());
    while samples.count() < plan.samples_max && started.elapsed() < plan.step && !plan.stopped() {
        // Between 50 and 113 us: long enough to really sleep, uneven so as not to fall in step with a tick.
        let ahead_ns = 50_000 + (samples.count() % 64) as i64 * 1_000;
        let due = after(clock_gettime(rustix::time::ClockId::Monotonic), ahead_ns);
        match clock_nanosleep_absolute(ClockId::Monotonic, &due) {
            Ok(()) => samples.record(since(clock_gettime(rustix::time::ClockId::Monotonic), due)),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => {
                result = Err(e);
                break;
            }
        }
    }
    samples.busy = started.elapsed();
    set_current_timer_slack(NonZeroU64::new(slack_before))?;
    result.map(|()| samples.limit())
}

fn after(time: Timespec, ns: i64) -> Timespec {
    let total = time.tv_nsec + ns;
    Timespec { tv_sec: time.tv_sec + total / 1_000_000_000, tv_nsec: total % 1_000_000_000 }
}

fn since(now: Timespec, then: Timespec) -> Duration {
    let ns = (now.tv_sec - then.tv_sec) * 1_000_000_000 + now.tv_nsec - then.tv_nsec;
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}
