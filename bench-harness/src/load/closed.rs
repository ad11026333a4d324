//! The closed loop: a number of clients, each of which sends its next operation when it has its answer.
//!
//! It tells what an engine can do at most. Its latencies are deceptive: while the engine stalls, nobody asks.

use workloads::Op;

use super::clock::Clock;
use super::driver::Driver;
use super::{Bound, Phase};

/// Keeps `clients` operations of `ops` outstanding until the bound is reached, then waits for the last answers.
pub fn closed_loop<C: Clock>(
    driver: &mut Driver<'_, C>,
    ops: &mut dyn Iterator<Item = Op>,
    clients: u32,
    bound: Bound,
) -> Phase {
    let clock = driver.clock();
    driver.watch(None);
    let start_ns = clock.now_ns();
    let end_ns = start_ns.saturating_add(bound.time_ns());
    let (ended_before, count) = (driver.ended(), bound.count());
    let mut offered = 0;
    let mut open = true;
    let mut now_ns = start_ns;
    while open {
        while open && driver.outstanding() < clients as usize {
            now_ns = clock.now_ns();
            open = now_ns < end_ns && offered < count && !driver.stopped();
            if !open {
                break;
            }
            let Some(op) = ops.next() else {
                open = false;
                break;
            };
            // Making an operation isn't waiting for one: the clock starts when there is something to ask.
            now_ns = clock.now_ns();
            driver.offer(op, now_ns);
            offered += 1;
        }
        if open {
            driver.reap(Some(end_ns));
            now_ns = clock.now_ns();
            open = now_ns < end_ns && !driver.stopped();
        }
    }
    let offering_ended_ns = now_ns;
    let stopped = driver.stopped();
    let unanswered = driver.drain().unanswered;
    let ended = driver.ended() - ended_before;
    Phase {
        start_ns,
        planned_ns: offering_ended_ns - start_ns,
        elapsed_ns: driver.last_done_ns().max(offering_ended_ns) - start_ns,
        offered,
        ended,
        lag_grows: false,
        unanswered,
        stopped,
    }
}
