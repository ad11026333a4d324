//! [`Trouble`]: what goes wrong in a cluster, beside what its network does to single messages.

use engine_env::rng::Rng;
use engine_env::sim::{Link, LinkFaults};
use rand::RngExt as _;

const US: u64 = 1_000;
const MS: u64 = 1_000_000;

/// One thing that goes wrong; each ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Machines and clients fall into two groups that don't hear each other.
    Split,
    /// Nothing that one machine sends reaches another party; the other way is open.
    OneWay,
    /// A machine's disk and links take many times as long.
    Slow,
    /// A process is stopped, and goes on where it stood.
    Pause,
    /// Syncs and writes of a machine's disk fail now and then.
    FailingDisk,
    /// A process dies, and its disk keeps what it was told.
    Kill,
    /// A machine loses power, now or in a few steps of its disk, and its disk what wasn't synced.
    PowerCut,
    /// All machines lose power at once.
    PowerCutOfAll,
    /// A client's wall clock is set, by up to an hour, forwards or back.
    ClockJump,
}

/// How often each comes, of so many in all.
pub(super) type Troubles = &'static [(Trouble, u32)];

/// Draws one by its weight.
pub(super) fn draw(troubles: Troubles, rng: &mut Rng) -> Trouble {
    let mut left = rng.random_range(0..troubles.iter().map(|(_, weight)| weight).sum::<u32>());
    for (trouble, weight) in troubles {
        match left.checked_sub(*weight) {
            Some(less) => left = less,
            None => return *trouble,
        }
    }
    unreachable!("what is drawn is less than the sum of the weights")
}

/// What the network and the disks are like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weather {
    pub(super) link: Link,
    /// How long a commit takes at least, and at most.
    pub(super) commit_ns: (u64, u64),
    /// How long after a piece of upkeep the next one comes.
    pub(super) upkeep_ns: u64,
}

/// Whether messages may come twice, and overtake each other: more than a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disorder {
    Any,
    None,
}

impl Weather {
    /// Bad weather of the generator's choice.
    pub(super) fn bad(rng: &mut Rng, disorder: Disorder) -> Self {
        let delay_ns = rng.random_range(20 * US..300 * US);
        let mut up_to = |most: f64| if rng.random_bool(0.3) { 0.0 } else { rng.random_range(0.0..most) };
        let mut faults = LinkFaults {
            loss: up_to(0.05),
            duplicate: up_to(0.05),
            reorder: up_to(0.2),
            told_after_ns: None,
        };
        if disorder == Disorder::None {
            (faults.duplicate, faults.reorder) = (0.0, 0.0);
        }
        if rng.random_bool(0.5) {
            faults.told_after_ns = Some(rng.random_range(MS..15 * MS));
        }
        let delay_max_ns = delay_ns * rng.random_range(1..20);
        let link = Link { delay_ns, delay_max_ns, bytes_per_s: None, faults };
        let commit_ns = rng.random_range(50 * US..500 * US);
        Self { link, commit_ns: (commit_ns, 4 * commit_ns), upkeep_ns: rng.random_range(2 * MS..15 * MS) }
    }

    /// Nothing goes wrong, and nothing takes long.
    pub(super) fn calm() -> Self {
        let link = Link { delay_ns: 100 * US, delay_max_ns: 100 * US, ..Link::default() };
        Self { link, commit_ns: (100 * US, 100 * US), upkeep_ns: 20 * MS }
    }
}
