//! The open loop: operations become due by a schedule, whatever the engine does.
//!
//! A driver that is late neither skips nor plans again: the operation is still due when it was, and its response
//! counts from there. That is what a member sees whose request waits behind a stalled engine.

use workloads::Op;

use super::clock::Clock;
use super::driver::Driver;
use super::lag::LagTrend;
use super::{Bound, Pace, Phase, WAIT_MAX};

/// More than this in flight is a saturated engine; going on would only fill the memory.
const OUTSTANDING_MAX: usize = 2_000_000;

/// Offers `ops` at the due times of `pace` until the bound is reached, then waits for the last answers.
pub fn open_loop<C: Clock>(
    driver: &mut Driver<'_, C>,
    ops: &mut dyn Iterator<Item = Op>,
    pace: &mut Pace,
    bound: Bound,
) -> Phase {
    let clock = driver.clock();
    let start_ns = clock.now_ns();
    let length_ns = bound.time_ns().min(pace.nanoseconds_of(bound.count()));
    let end_ns = start_ns.saturating_add(bound.time_ns());
    driver.watch((length_ns < u64::MAX).then(|| LagTrend::of_last_third(start_ns, length_ns)));
    let (ended_before, count) = (driver.ended(), bound.count());
    let mut offered = 0;
    let mut flooded = false;
    // The next operation is made while there is time, before it is due.
    let mut next = |offered: u64| {
        if offered >= count {
            return None;
        }
        let due_ns = start_ns.saturating_add(pace.next_due_ns()?);
        if due_ns >= end_ns { None } else { Some((due_ns, ops.next()?)) }
    };
    let mut upcoming = next(0);
    let mut last_due_ns = start_ns;
    let mut now_ns = clock.now_ns();
    while let Some((due_ns, _)) = upcoming {
        if driver.stopped() || driver.outstanding() > OUTSTANDING_MAX {
            flooded = !driver.stopped();
            break;
        }
        if due_ns <= now_ns {
            let mut round = 0;
            while let Some((due_ns, op)) = upcoming.take_if(|(due_ns, _)| *due_ns <= now_ns && round < 512) {
                driver.offer(op, due_ns);
                last_due_ns = due_ns;
                offered += 1;
                round += 1;
                upcoming = next(offered);
                // No reading of the clock of its own, which would be a tenth of the driver's cost: what has become due
                // since the engine returned is met in the next round.
                now_ns = now_ns.max(driver.engine_returned_ns());
            }
            driver.reap(None);
        } else if driver.in_flight() == 0 && driver.outstanding() == 0 {
            clock.sleep_until(due_ns.min(now_ns + WAIT_MAX.as_nanos() as u64));
        } else {
            driver.reap(Some(due_ns));
        }
        now_ns = clock.now_ns();
    }
    let stopped = driver.stopped();
    // A phase by time lasts that time, also when nothing is due at its very end.
    let planned_end_ns = if stopped || flooded {
        now_ns
    } else if bound.time.is_some() && offered < count {
        end_ns
    } else {
        last_due_ns
    };
    let unanswered = driver.drain().unanswered;
    Phase {
        start_ns,
        planned_ns: planned_end_ns - start_ns,
        elapsed_ns: driver.last_done_ns().max(planned_end_ns) - start_ns,
        offered,
        ended: driver.ended() - ended_before,
        lag_grows: driver.lag_grows() || flooded,
        unanswered,
        stopped,
    }
}
