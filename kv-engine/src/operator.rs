//! [`carry_out`]: a [`RebalanceController`] on a port, until it has ended. An edge: here is a clock.

use std::ops::ControlFlow;
use std::time::Duration;

use engine_env::clock::{Monotonic, wall_ms};
use engine_env::{Port, Wait};

use crate::membership::{ControllerConfig, RebalanceController, RebalanceOutcome, RebalancePlan};

/// Whether to go on, or to go back, and why.
pub type Proceed = ControlFlow<String>;

/// How often whoever waits is asked whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Has the nodes carry out a plan; nodes are `Peer(0..)` by their id. It keeps nothing of its own: begun again, also by
/// another process, it goes on where the nodes are. `each` is called a few times a second, to show how far it is; if it
/// breaks, everything goes back to the batch's first ring, unless nodes have forgotten that already.
pub fn carry_out<P: Port>(
    port: &mut P,
    plan: &RebalancePlan,
    config: ControllerConfig,
    mut each: impl FnMut(&RebalanceController) -> Proceed,
) -> RebalanceOutcome {
    let clock = Monotonic::start();
    // Answers to whoever was here before are told by their ids.
    let first_id = u64::try_from(wall_ms()).unwrap_or(0).wrapping_mul(1_000_000);
    let mut controller = RebalanceController::new(plan, clock.now_ns(), first_id, config);
    let mut arrivals = Vec::new();
    loop {
        if let Some(outcome) = controller.outcome() {
            return outcome.clone();
        }
        if let ControlFlow::Break(why) = each(&controller) {
            // Where there is no way back it goes on.
            controller.abort(clock.now_ns(), &why);
        }
        while let Some((to, bytes)) = controller.poll_output() {
            port.send(to, bytes);
        }
        port.flush();
        let due_ns = controller.poll_timeout().unwrap_or(u64::MAX);
        let left = Duration::from_nanos(due_ns.saturating_sub(clock.now_ns()));
        port.receive(Wait::AtMost(left.min(LOOK_EVERY)), &mut arrivals);
        let now_ns = clock.now_ns();
        for arrival in arrivals.drain(..) {
            controller.handle(now_ns, &arrival);
        }
        if controller.poll_timeout().is_some_and(|due_ns| due_ns <= now_ns) {
            controller.handle_timeout(now_ns);
        }
    }
}
