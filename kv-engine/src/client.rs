//! [`KvClient`]: a [`Coordinator`] on a port. One thread drives it; nothing happens outside of its calls.

use std::sync::Arc;
use std::time::Duration;

use engine_env::clock::{Monotonic, wall_ms};
use engine_env::{Arrival, Port, PortStats, Wait, Waker};

use crate::coordinator::{ClientConfig, Coordinator, CoordinatorStats, KvOutcome, Now, Update};
use crate::ring::{NodeId, Ring};
use crate::version::VectorClock;

/// A client with many operations in flight. Start them, then [`KvClient::poll`].
#[derive(Debug)]
pub struct KvClient<P> {
    port: P,
    coordinator: Coordinator,
    clock: Monotonic,
    /// Reused.
    arrivals: Vec<Arrival>,
}

impl<P: Port> KvClient<P> {
    /// A client on a port, of a cluster with this ring.
    #[must_use]
    pub fn new(port: P, ring: Arc<Ring>, config: ClientConfig) -> Self {
        let coordinator = Coordinator::new(ring, config);
        Self { port, coordinator, clock: Monotonic::start(), arrivals: Vec::new() }
    }

    /// Reads a key's values from R replicas, resolved.
    pub fn get(&mut self, token: u64, key: &[u8]) {
        self.coordinator.get(self.now(), token, key);
    }

    /// Reads the values of several keys, each from R replicas, resolved.
    pub fn get_all(&mut self, token: u64, keys: &[&[u8]]) {
        self.coordinator.get_all(self.now(), token, keys);
    }

    /// Reads the clocks of a key's versions from R replicas.
    pub fn get_versions(&mut self, token: u64, key: &[u8]) {
        self.coordinator.get_versions(self.now(), token, key);
    }

    /// Puts a version that descends from `clock`, without reading first.
    pub fn put(&mut self, token: u64, key: &[u8], clock: VectorClock, value: &[u8]) {
        self.coordinator.put(self.now(), token, key, clock, value);
    }

    /// Reads the clocks from R replicas and puts a version that descends from all of them; starts again if it was
    /// obsolete by then.
    pub fn write(&mut self, token: u64, key: &[u8], value: &[u8]) {
        self.coordinator.write(self.now(), token, key, value);
    }

    /// Reads the versions from R replicas, has `update` make a value of them, and puts it; starts again if it was obsolete
    /// by then, and rolls back if it fails for good.
    pub fn apply_update(&mut self, token: u64, key: &[u8], update: Box<dyn Update>) {
        self.coordinator.apply_update(self.now(), token, key, update);
    }

    /// Reads the clocks from R replicas and deletes these versions.
    pub fn delete(&mut self, token: u64, key: &[u8]) {
        self.coordinator.delete(self.now(), token, key);
    }

    /// Deletes the versions before or equal to `clock`.
    pub fn delete_version(&mut self, token: u64, key: &[u8], clock: VectorClock) {
        self.coordinator.delete_version(self.now(), token, key, clock);
    }

    /// Sends what was started, takes what has arrived, and moves all outcomes to the end of `out`, waiting for a first
    /// one as `wait` says. Ends early, perhaps with nothing, when it is woken.
    pub fn poll(&mut self, wait: Wait, out: &mut Vec<KvOutcome>) {
        let before = out.len();
        let until_ns = match wait {
            Wait::AtMost(limit) => {
                let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
                self.clock.now_ns().saturating_add(limit_ns)
            }
            Wait::No => 0,
            Wait::Forever => u64::MAX,
        };
        loop {
            self.send();
            out.extend(std::iter::from_fn(|| self.coordinator.poll_outcome()));
            let timeout_ns = self.coordinator.poll_timeout().unwrap_or(u64::MAX);
            let now_ns = self.clock.now_ns();
            let wait = if out.len() > before {
                Wait::No
            } else {
                match until_ns.min(timeout_ns) {
                    u64::MAX => Wait::Forever,
                    due_ns if due_ns <= now_ns => Wait::No,
                    due_ns => Wait::AtMost(Duration::from_nanos(due_ns - now_ns)),
                }
            };
            let is_woken = self.port.receive(wait, &mut self.arrivals);
            let now = self.now();
            for arrival in self.arrivals.drain(..) {
                self.coordinator.handle(now, &arrival);
            }
            if now.ns >= timeout_ns {
                self.coordinator.handle_timeout(now);
            }
            out.extend(std::iter::from_fn(|| self.coordinator.poll_outcome()));
            if out.len() > before || is_woken || now.ns >= until_ns {
                // What the arrivals made due goes at once, not when the caller comes back.
                self.send();
                self.port.flush();
                return;
            }
        }
    }

    /// How many operations have no outcome yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.coordinator.in_flight()
    }

    /// The nodes that count as down.
    pub fn down(&self) -> impl Iterator<Item = NodeId> {
        self.coordinator.down()
    }

    /// Ends a waiting [`KvClient::poll`] from any thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.port.waker()
    }

    /// What its port has carried.
    #[must_use]
    pub fn port_stats(&self) -> PortStats {
        self.port.stats()
    }

    /// What its coordinator has counted.
    #[must_use]
    pub fn stats(&self) -> CoordinatorStats {
        self.coordinator.stats()
    }

    fn send(&mut self) {
        while let Some((to, bytes)) = self.coordinator.poll_output() {
            self.port.send(to, bytes);
        }
    }

    fn now(&self) -> Now {
        Now { ns: self.clock.now_ns(), wall_ms: wall_ms() }
    }
}
