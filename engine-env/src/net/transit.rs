//! [`Transit`]: what has reached a port and isn't due yet. Every backend delays here, so that all delay alike.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU64;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{Arrival, Delay};

/// The machine's monotonic clock in nanoseconds: the same for all processes since it was started.
pub(super) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let ns = |n: i64| u64::try_from(n).expect("the monotonic clock counts from the start of the machine");
    ns(now.tv_sec) * 1_000_000_000 + ns(now.tv_nsec)
}

/// Arrivals ordered by when they are due. Those of one sender carry rising times, and equal ones stay in order.
#[derive(Debug)]
pub(super) struct Transit {
    delay_ns: u64,
    held: BinaryHeap<Reverse<Held>>,
    count: u64,
}

#[derive(Debug)]
struct Held {
    due_ns: u64,
    number: u64,
    arrival: Arrival,
}

impl Held {
    fn rank(&self) -> (u64, u64) {
        (self.due_ns, self.number)
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Transit {
    pub(super) fn new(delay: Delay) -> Self {
        let delay_ns = u64::try_from(delay.0.as_nanos()).unwrap_or(u64::MAX);
        Self { delay_ns, held: BinaryHeap::new(), count: 0 }
    }

    /// Whether anything is held at all. Without a delay nobody need read the clock.
    pub(super) fn delays(&self) -> bool {
        self.delay_ns > 0
    }

    pub(super) fn hold(&mut self, sent_ns: u64, arrival: Arrival) {
        self.count += 1;
        let due_ns = sent_ns.saturating_add(self.delay_ns);
        self.held.push(Reverse(Held { due_ns, number: self.count, arrival }));
    }

    /// Moves what is due to the end of `out`.
    pub(super) fn release(&mut self, now_ns: u64, out: &mut Vec<Arrival>) {
        while let Some(Reverse(next)) = self.held.peek()
            && next.due_ns <= now_ns
        {
            let Reverse(held) = self.held.pop().expect("it was seen just now");
            out.push(held.arrival);
        }
    }

    /// How long until the next one is due.
    pub(super) fn next_in(&self, now_ns: u64) -> Option<Duration> {
        let Reverse(next) = self.held.peek()?;
        Some(Duration::from_nanos(next.due_ns.saturating_sub(now_ns)))
    }
}

/// Lets the calling thread's timed waits end on time. By default Linux may add 50 µs, a fifth of what [`Delay`] is on a
/// local network.
pub(super) fn wait_exactly() {
    thread_local! {
        static ASKED: Cell<bool> = const { Cell::new(false) };
    }
    if !ASKED.replace(true) {
        // Where it is refused, waits are late by 50 µs: the delay is a little longer, nothing breaks.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Peer;
    use super::*;

    #[test]
    fn arrivals_come_when_due_and_keep_their_senders_order() {
        let mut transit = Transit::new(Delay(Duration::from_nanos(100)));
        let message = |from, byte| Arrival::Message { from: Peer(from), bytes: vec![byte] };
        transit.hold(10, message(1, 1));
        transit.hold(10, message(1, 2));
        transit.hold(5, message(2, 3));
        assert_eq!(transit.next_in(100), Some(Duration::from_nanos(5)));
        let mut out = Vec::new();
        transit.release(104, &mut out);
        assert_eq!(out, []);
        transit.release(105, &mut out);
        assert_eq!(out, [message(2, 3)]);
        transit.release(1000, &mut out);
        assert_eq!(out, [message(2, 3), message(1, 1), message(1, 2)]);
        assert_eq!(transit.next_in(0), None);
    }
}
