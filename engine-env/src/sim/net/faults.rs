//! [`Link`]: how long a message takes from one party to another, and what may go wrong with it.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::net::{Delay, NetProfile};

/// One direction between two parties.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Link {
    /// A message takes at least this long, in nanoseconds.
    pub delay_ns: u64,
    /// And at most this long, each time another; values below `delay_ns` mean `delay_ns`.
    pub delay_max_ns: u64,
    /// What passes in a second, one message after the other; `None`: any amount.
    pub bytes_per_s: Option<NonZeroU64>,
    /// What goes wrong.
    pub faults: LinkFaults,
}

/// How likely each message meets a fault, from 0 (the default) to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LinkFaults {
    /// It is lost.
    pub loss: f64,
    /// It arrives twice.
    pub duplicate: f64,
    /// It takes up to twice as long, and what was sent later may overtake it.
    pub reorder: f64,
    /// The sender of a lost message (also one into a partition, or to a machine without power) is told
    /// [`Arrival::Unreachable`](crate::Arrival::Unreachable) after this long, in nanoseconds. `None`: never; the
    /// protocol's own timeouts must notice.
    pub told_after_ns: Option<u64>,
}

impl Link {
    /// A link without faults that takes always the same time.
    #[must_use]
    pub fn steady(delay: impl Into<Delay>) -> Self {
        let Delay(delay) = delay.into();
        let delay_ns = ns(delay);
        Self { delay_ns, delay_max_ns: delay_ns, ..Self::default() }
    }

    /// The same with these faults.
    #[must_use]
    pub fn with_faults(self, faults: LinkFaults) -> Self {
        Self { faults, ..self }
    }
}

impl From<NetProfile> for Link {
    fn from(profile: NetProfile) -> Self {
        Self::steady(profile)
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
