//! [`Outage`]: a member that is away for a while; and [`OutageWatch`]: what that does to writes, and when the member has
//! everything again.
//!
//! The thread that makes the outage notes three moments: the member is gone, it is started again, it lacks nothing any
//! more. The session notes a fourth one: somebody takes writes of the member's own keys again.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::engine::monotonic_ns;
use crate::report::record::Recovery;

/// A member that is away for a while: killed like a process, and started again on its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) after: Duration,
    pub(crate) length: Duration,
    pub(crate) member: u16,
}

impl FromStr for Outage {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(':');
        let mut next = || parts.next()?.parse::<u64>().ok();
        let (after, length, member) = (next().ok_or(())?, next().ok_or(())?, next().ok_or(())?);
        if parts.next().is_some() {
            return Err(());
        }
        Ok(Self {
            after: Duration::from_millis(after),
            length: Duration::from_millis(length),
            member: u16::try_from(member).map_err(|_| ())?,
        })
    }
}

/// When what happened, by [`monotonic_ns`]; 0 before it has.
#[derive(Debug, Default)]
pub(super) struct Moments {
    gone_ns: AtomicU64,
    back_ns: AtomicU64,
    whole_ns: AtomicU64,
}

impl Moments {
    /// The member has ended.
    pub(super) fn gone(&self) {
        self.gone_ns.store(monotonic_ns(), Ordering::Release);
    }

    /// It is about to be started again.
    pub(super) fn back(&self) {
        self.back_ns.store(monotonic_ns(), Ordering::Release);
    }

    /// It lacks nothing of what it missed.
    pub(super) fn whole(&self) {
        self.whole_ns.store(monotonic_ns(), Ordering::Release);
    }
}

/// A session's view of an outage.
#[derive(Debug)]
pub(super) struct OutageWatch {
    moments: Arc<Moments>,
    member: u16,
    /// Writes of the member's own keys that were handed over after it had gone, until the first one is acknowledged.
    waiting: HashSet<u64>,
    accepted_ns: Option<u64>,
}

impl OutageWatch {
    pub(super) fn new(moments: Arc<Moments>, member: u16) -> Self {
        Self { moments, member, waiting: HashSet::new(), accepted_ns: None }
    }

    /// Who is, was or will be away.
    pub(super) fn member(&self) -> u16 {
        self.member
    }

    pub(super) fn is_away(&self) -> bool {
        self.moments.gone_ns.load(Ordering::Acquire) > 0 && self.moments.back_ns.load(Ordering::Acquire) == 0
    }

    /// A write is about to be handed over, of a key that belongs to `home` first of all.
    pub(super) fn handed_over(&mut self, token: u64, home: impl FnOnce() -> u16) {
        let is_gone = self.moments.gone_ns.load(Ordering::Acquire) > 0;
        if is_gone && self.accepted_ns.is_none() && home() == self.member {
            self.waiting.insert(token);
        }
    }

    /// An operation has ended; it need not be a write that was told.
    pub(super) fn ended(&mut self, token: u64, is_acknowledged: bool) {
        if self.waiting.remove(&token) && is_acknowledged {
            self.accepted_ns = Some(monotonic_ns());
            self.waiting.clear();
        }
    }

    /// What is known by now; `None` before the member has come back.
    pub(super) fn recovery(&self) -> Option<Recovery> {
        let known = |moment: &AtomicU64| Some(moment.load(Ordering::Acquire)).filter(|ns| *ns > 0);
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
        let (gone, back) = (known(&self.moments.gone_ns)?, known(&self.moments.back_ns)?);
        Some(Recovery {
            member: self.member,
            outage_s: seconds(gone, back),
            writes_accepted_s: self.accepted_ns.map(|accepted| seconds(gone, accepted)),
            replicated_s: known(&self.moments.whole_ns).map(|whole| seconds(back, whole)),
            watched_s: seconds(back, monotonic_ns()),
            keys_asked: None,
            keys_lacking: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_has_three_numbers() {
        let outage = Outage { after: Duration::from_millis(500), length: Duration::from_secs(1), member: 2 };
        assert_eq!("500:1000:2".parse(), Ok(outage));
        for wrong in ["", "1:2", "1:2:3:4", "a:1:1", "1:1:70000", "-1:1:1"] {
            assert_eq!(wrong.parse::<Outage>(), Err(()), "{wrong}");
        }
    }

    /// A write that was on its way when the member died, one of another member's keys, and one that failed don't show that
    /// anybody takes the dead member's writes.
    #[test]
    fn writes_are_accepted_again_when_one_of_the_members_own_that_came_later_is_acknowledged() {
        let moments = Arc::new(Moments::default());
        let mut watch = OutageWatch::new(Arc::clone(&moments), 1);
        watch.handed_over(1, || 1);
        assert!(!watch.is_away());
        moments.gone();
        assert!(watch.is_away() && watch.recovery().is_none(), "it hasn't come back");
        watch.ended(1, true);
        watch.handed_over(2, || 0);
        watch.ended(2, true);
        watch.handed_over(3, || 1);
        watch.ended(3, false);
        moments.back();
        let recovery = watch.recovery().expect("it is back");
        assert_eq!((recovery.writes_accepted_s, recovery.replicated_s), (None, None));
        watch.handed_over(4, || 1);
        watch.ended(4, true);
        moments.whole();
        let recovery = watch.recovery().expect("it is back");
        assert!(recovery.writes_accepted_s >= Some(recovery.outage_s), "{recovery:?}");
        assert!(recovery.replicated_s <= Some(recovery.watched_s) && recovery.replicated_s.is_some());
    }
}
