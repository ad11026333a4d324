//! [`Replica`]: the server's side of every operation. Requests and completions go in, answers come out; it names no
//! thread, clock or socket.
//!
//! Invariants:
//! * A write is answered once it is as durable as the store promises: at once, or when its completion comes.
//! * Each request that can be read has one answer, to whoever sent it, under its id.
//! * Keys that this node doesn't hold by its ring are refused. (The original answers getVersions also then; a delete by the
//!   ring before could find nothing at a node that has given the key away, and be told that there is nothing to delete.)
//! * So is what was routed by a ring that is neither this node's nor next to it: see [`Replica::is_near`].

use std::collections::VecDeque;
use std::error::Error;
use std::sync::Arc;

use engine_env::Peer;

use crate::anti_entropy::is_in_slice;
use crate::handoff::Slop;
use crate::message::{ReplicaError, Request, RequestId, Response, routed_by};
use crate::ring::{NodeId, Ring, Routing, RoutingStrategy};
use crate::storage::memory::MemoryStorage;
use crate::storage::{DeleteError, GetError, PutError, Storage};
use crate::version::{VectorClock, Versioned};

/// The ticket of a write that nobody waits for: its completion isn't told to [`Replica::completed`].
pub const NOBODYS: u64 = u64::MAX;

/// How far a write has come when the store has taken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is as durable as the store promises.
    Done {
        /// Whether a delete removed something.
        removed: bool,
    },
    /// It will be told to [`Replica::completed`].
    Later,
}

/// A store as a replica uses it: many writes under way at once.
pub trait ReplicaStorage {
    /// All versions of a key, in order of arrival.
    ///
    /// # Errors
    /// A version can't be read, or isn't what was written.
    fn read(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError>;

    /// The clocks of all versions of a key.
    ///
    /// # Errors
    /// None so far.
    fn clocks(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError>;

    /// Takes a put, without waiting for the disk. Whoever asks may count it as a copy that the version is obsolete: where
    /// what makes it so isn't as durable as the store promises yet, that is told later, too.
    ///
    /// # Errors
    /// The version is obsolete, or the store takes no writes: then nothing comes later.
    fn start_put(&self, key: &[u8], version: &Versioned, ticket: u64) -> Result<Taken, PutError>;

    /// Takes a delete, without waiting for the disk.
    ///
    /// # Errors
    /// The store takes no writes: then nothing comes later.
    fn start_delete(&self, key: &[u8], clock: &VectorClock, ticket: u64) -> Result<Taken, DeleteError>;

    /// Calls `each` with the keys of a slice of the store, one of [`SLICES`](crate::SLICES) by their hashes, and the clocks
    /// of their versions, in no particular order, without reading a disk. `false` if this store can't be walked through:
    /// then it has no part in anti-entropy.
    fn clocks_of_slice(&self, slice: usize, each: &mut dyn FnMut(&[u8], &[VectorClock])) -> bool {
        let _ = (slice, each);
        false
    }

    /// Takes a hint, to be kept for another node under its key in the slop store. `None` if there is no slop store.
    fn start_hint(&self, key: &[u8], version: &Versioned, ticket: u64) -> Option<Result<Taken, PutError>> {
        let _ = (key, version, ticket);
        None
    }
}

impl ReplicaStorage for MemoryStorage {
    fn read(&self, key: &[u8]) -> Result<Vec<Versioned>, GetError> {
        self.get(key)
    }

    fn clocks(&self, key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
        self.get_versions(key)
    }

    fn start_put(&self, key: &[u8], version: &Versioned, _ticket: u64) -> Result<Taken, PutError> {
        self.put(key, version)?;
        Ok(Taken::Done { removed: false })
    }

    fn start_delete(&self, key: &[u8], clock: &VectorClock, _ticket: u64) -> Result<Taken, DeleteError> {
        Ok(Taken::Done { removed: self.delete(key, clock)? })
    }

    fn clocks_of_slice(&self, slice: usize, each: &mut dyn FnMut(&[u8], &[VectorClock])) -> bool {
        self.for_each(|key, versions| {
            if is_in_slice(key, slice) {
                let clocks: Vec<_> = versions.iter().map(|version| version.clock.clone()).collect();
                each(key, &clocks);
            }
        });
        true
    }
}

/// What a replica has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplicaStats {
    /// Gets.
    pub gets: u64,
    /// GetAlls.
    pub get_alls: u64,
    /// GetVersions.
    pub version_reads: u64,
    /// Puts.
    pub puts: u64,
    /// Deletes.
    pub deletes: u64,
    /// Hints.
    pub hints: u64,
    /// Requests that were answered with a refusal.
    pub refused: u64,
    /// Messages that were no requests: another build, or damage on the way. They were dropped.
    pub garbled: u64,
}

/// The most bytes of values that one answer to a getAll holds; keys and lengths come on top.
const GET_ALL_BYTES_MAX: usize = engine_env::MESSAGE_BYTES_MAX / 4 * 3;

/// A write that waits for the disk.
#[derive(Debug)]
struct Pending {
    from: Peer,
    id: RequestId,
    is_delete: bool,
    /// By which ring it was taken.
    ring_version: u64,
}

/// The server's side of a node.
#[derive(Debug)]
pub struct Replica {
    me: NodeId,
    routing: Routing,
    ring_version: u64,
    /// A mistake put in on purpose.
    #[cfg(feature = "planted-bugs")]
    accepts_stale_rings: bool,
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
    outputs: VecDeque<(Peer, Vec<u8>)>,
    /// Where a put's value is gathered: reused, so that a put allocates nothing.
    scratch: Versioned,
    stats: ReplicaStats,
}

impl Replica {
    /// The replica that `me` is, of keys with `n` replicas by consistent routing.
    #[must_use]
    pub fn new(me: NodeId, ring: Arc<Ring>, n: u16) -> Self {
        Self::routed(me, Routing::new(ring, RoutingStrategy::Consistent, n))
    }

    /// The replica that `me` is, of keys that are dealt out this way.
    #[must_use]
    pub fn routed(me: NodeId, routing: Routing) -> Self {
        Self {
            me,
            routing,
            ring_version: 0,
            #[cfg(feature = "planted-bugs")]
            accepts_stale_rings: false,
            pending: Vec::new(),
            free: Vec::new(),
            outputs: VecDeque::new(),
            scratch: Versioned::new(VectorClock::empty(0), Vec::new()),
            stats: ReplicaStats::default(),
        }
    }

    /// From now on it goes by this ring: keys that it doesn't hold by it are refused, and clients that ask get it.
    /// Versions rise with each change.
    pub fn set_ring(&mut self, version: u64, ring: Arc<Ring>) {
        self.routing = self.routing.on(ring);
        self.ring_version = version;
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn accept_stale_rings(&mut self) {
        self.accepts_stale_rings = true;
    }

    /// Whether whoever has routed this message goes by this node's ring, or by the one before or after it. From one ring to
    /// the next each node that joins a key's replicas stands in for one that leaves, so nodes that hold it by either ring stand
    /// for different copies. Over more rings a node may leave and come back in another one's place: it passes questions on to
    /// the very node that is asked beside it, and one copy counts as two.
    pub(crate) fn is_near(&self, message: &[u8]) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.accepts_stale_rings {
            return true;
        }
        routed_by(message).is_none_or(|version| version.abs_diff(self.ring_version) <= 1)
    }

    /// A message came.
    pub fn handle(&mut self, from: Peer, message: &[u8], storage: &impl ReplicaStorage) {
        let (id, request) = match Request::decode(message) {
            Ok(decoded) => decoded,
            Err(_) => {
                self.stats.garbled += 1;
                return;
            }
        };
        let response = match request {
            _ if !self.is_near(message) => Some(Response::Refused(ReplicaError::InvalidMetadata)),
            Request::Ping => Some(Response::Pong),
            Request::GetHashes { .. } | Request::GetLeaves { .. } => {
                let why = "this node compares nothing now: its anti-entropy is off, or it is rebalancing"
                    .to_owned();
                Some(Response::Refused(ReplicaError::Application { why }))
            }
            // A node answers these itself, because it may have to keep them.
            Request::Changes { .. } => {
                let why = "nobody here follows the store".to_owned();
                Some(Response::Refused(ReplicaError::Application { why }))
            }
            // Whoever keeps a node's metadata stands in front of its replica, and answers these.
            Request::Rebalance(_) => {
                let why = "this node keeps no metadata: it can't take part in a rebalance".to_owned();
                Some(Response::Refused(ReplicaError::Application { why }))
            }
            Request::GetRing => {
                Some(Response::Ring { version: self.ring_version, ring: Arc::clone(self.routing.ring()) })
            }
            Request::GetAll { keys } => {
                self.stats.get_alls += 1;
                Some(self.all_values(&keys, |key| storage.read(key)))
            }
            Request::GetVersions { key } => {
                self.stats.version_reads += 1;
                Some(match self.holds(key) {
                    true => storage.clocks(key).map_or_else(|error| persistence(&error), Response::Versions),
                    false => Response::Refused(ReplicaError::InvalidMetadata),
                })
            }
            Request::Get { key } => {
                self.stats.gets += 1;
                Some(match self.holds(key) {
                    true => storage.read(key).map_or_else(|error| persistence(&error), Response::Values),
                    false => Response::Refused(ReplicaError::InvalidMetadata),
                })
            }
            Request::Put { key, clock, value } => {
                self.stats.puts += 1;
                self.put(from, id, key, clock, value, storage)
            }
            Request::Hint { key, clock, value } => {
                self.stats.hints += 1;
                self.hint(from, id, key, clock, value, storage)
            }
            Request::Delete { key, clock } => {
                self.stats.deletes += 1;
                self.delete(from, id, key, &clock, storage)
            }
        };
        if let Some(response) = response {
            self.respond(from, id, &response);
        }
    }

    /// The answer to a getAll of these keys.
    pub(crate) fn all_values(
        &self,
        keys: &[&[u8]],
        mut read: impl FnMut(&[u8]) -> Result<Vec<Versioned>, GetError>,
    ) -> Response {
        if !keys.iter().all(|key| self.holds(key)) {
            return Response::Refused(ReplicaError::InvalidMetadata);
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        for key in keys {
            match read(key) {
                Ok(versions) if versions.is_empty() => {}
                Ok(versions) => {
                    bytes += versions.iter().map(|v| v.clock.encoded_len() + v.value.len()).sum::<usize>();
                    if bytes > GET_ALL_BYTES_MAX {
                        let why = format!(
                            "the values of {} keys don't fit into one message; ask for fewer at once",
                            keys.len()
                        );
                        return Response::Refused(ReplicaError::Application { why });
                    }
                    found.push((key.to_vec(), versions));
                }
                Err(error) => return persistence(&error),
            }
        }
        Response::AllValues(found)
    }

    fn put(
        &mut self,
        from: Peer,
        id: RequestId,
        key: &[u8],
        clock: VectorClock,
        value: &[u8],
        storage: &impl ReplicaStorage,
    ) -> Option<Response> {
        if !self.holds(key) {
            return Some(Response::Refused(ReplicaError::InvalidMetadata));
        }
        self.scratch.clock = clock;
        self.scratch.value.clear();
        self.scratch.value.extend_from_slice(value);
        let ticket = self.reserve(Pending { from, id, is_delete: false, ring_version: self.ring_version });
        match storage.start_put(key, &self.scratch, ticket) {
            Ok(Taken::Later) => None,
            Ok(Taken::Done { .. }) => {
                self.release(ticket);
                Some(Response::Stored)
            }
            Err(error) => {
                self.release(ticket);
                Some(refused_put(error))
            }
        }
    }

    fn hint(
        &mut self,
        from: Peer,
        id: RequestId,
        key: &[u8],
        clock: VectorClock,
        value: &[u8],
        storage: &impl ReplicaStorage,
    ) -> Option<Response> {
        let for_another = |slop: Slop<'_>| slop.node != self.me && slop.decode_value(value).is_some();
        if !Slop::decode_key(key).is_some_and(for_another) {
            let why = "a hint says what is to be done for another node".to_owned();
            return Some(Response::Refused(ReplicaError::Application { why }));
        }
        let ticket = self.reserve(Pending { from, id, is_delete: false, ring_version: self.ring_version });
        let taken = storage.start_hint(key, &Versioned::new(clock, value), ticket);
        if let Some(Ok(Taken::Later)) = taken {
            return None;
        }
        self.release(ticket);
        Some(match taken {
            Some(Ok(_)) => Response::Stored,
            Some(Err(error)) => refused_put(error),
            None => {
                let why = "this node keeps no hints".to_owned();
                Response::Refused(ReplicaError::Application { why })
            }
        })
    }

    fn delete(
        &mut self,
        from: Peer,
        id: RequestId,
        key: &[u8],
        clock: &VectorClock,
        storage: &impl ReplicaStorage,
    ) -> Option<Response> {
        if !self.holds(key) {
            return Some(Response::Refused(ReplicaError::InvalidMetadata));
        }
        let ticket = self.reserve(Pending { from, id, is_delete: true, ring_version: self.ring_version });
        match storage.start_delete(key, clock, ticket) {
            Ok(Taken::Later) => None,
            Ok(Taken::Done { removed }) => {
                self.release(ticket);
                Some(Response::Deleted(removed))
            }
            Err(error) => {
                self.release(ticket);
                Some(refused_delete(&error))
            }
        }
    }

    /// A write that was taken for later has come to its end.
    ///
    /// # Panics
    /// If no such write is under way.
    pub fn completed(&mut self, ticket: u64, removed: bool, result: Result<(), PutError>) {
        let Pending { from, id, is_delete, .. } =
            self.release(ticket).expect("a store completes what it has taken, once");
        let response = match result {
            Ok(()) if is_delete => Response::Deleted(removed),
            Ok(()) => Response::Stored,
            Err(error) => refused_put(error),
        };
        self.respond(from, id, &response);
    }

    /// A message to be sent, and to whom.
    pub fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        self.outputs.pop_front()
    }

    /// How many writes wait for the disk.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len() - self.free.len()
    }

    /// Whether a write waits for the disk that was taken by a ring before this one.
    pub(crate) fn has_pending_before(&self, ring_version: u64) -> bool {
        self.pending.iter().flatten().any(|pending| pending.ring_version < ring_version)
    }

    /// Which nodes hold which keys, as it goes by.
    #[must_use]
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// The version of the ring that it goes by.
    #[must_use]
    pub fn ring_version(&self) -> u64 {
        self.ring_version
    }

    /// What it has counted.
    #[must_use]
    pub fn stats(&self) -> ReplicaStats {
        self.stats
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.routing.replicas(key).contains(&self.me)
    }

    fn respond(&mut self, to: Peer, id: RequestId, response: &Response) {
        self.stats.refused += u64::from(matches!(response, Response::Refused(_)));
        self.outputs.push_back((to, response.encode(id)));
    }

    fn reserve(&mut self, pending: Pending) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.pending.push(None);
            self.pending.len() - 1
        });
        self.pending[place] = Some(pending);
        place as u64
    }

    fn release(&mut self, ticket: u64) -> Option<Pending> {
        let pending = self.pending.get_mut(usize::try_from(ticket).ok()?)?.take()?;
        self.free.push(ticket as usize);
        Some(pending)
    }
}

/// What is answered to a put that wasn't done.
pub(crate) fn refused_put(error: PutError) -> Response {
    match error {
        PutError::ObsoleteVersion { stored, .. } => {
            Response::Refused(ReplicaError::ObsoleteVersion { stored })
        }
        PutError::KeyTooLong { .. } | PutError::ValueTooLong { .. } | PutError::ClockTooLong { .. } => {
            application(&error)
        }
        _ => persistence(&error),
    }
}

/// What is answered to a delete that wasn't done.
pub(crate) fn refused_delete(error: &DeleteError) -> Response {
    match error {
        DeleteError::ClockTooLong { .. } => application(error),
        _ => persistence(error),
    }
}

fn application(error: &dyn Error) -> Response {
    Response::Refused(ReplicaError::Application { why: with_causes(error) })
}

/// What is answered when the store fails.
pub(crate) fn persistence(error: &dyn Error) -> Response {
    Response::Refused(ReplicaError::Persistence { why: with_causes(error) })
}

/// The error and what caused it, for whoever reads it far from here.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A store whose writes wait until the test completes them.
    #[derive(Default)]
    struct Waiting(RefCell<Vec<u64>>);

    impl ReplicaStorage for Waiting {
        fn read(&self, _key: &[u8]) -> Result<Vec<Versioned>, GetError> {
            Ok(Vec::new())
        }

        fn clocks(&self, _key: &[u8]) -> Result<Vec<VectorClock>, GetError> {
            Ok(Vec::new())
        }

        fn start_put(&self, _key: &[u8], _version: &Versioned, ticket: u64) -> Result<Taken, PutError> {
            self.0.borrow_mut().push(ticket);
            Ok(Taken::Later)
        }

        fn start_delete(&self, _k: &[u8], _clock: &VectorClock, ticket: u64) -> Result<Taken, DeleteError> {
            self.0.borrow_mut().push(ticket);
            Ok(Taken::Later)
        }
    }

    fn clock(text: &str) -> VectorClock {
        text.parse().expect("a clock")
    }

    fn ask(
        replica: &mut Replica,
        id: u64,
        request: &Request<'_>,
        storage: &impl ReplicaStorage,
    ) -> Option<Response> {
        replica.handle(Peer(1000), &request.encode(RequestId(id)), storage);
        let (to, bytes) = replica.poll_output()?;
        assert_eq!(to, Peer(1000));
        let (answered, response) = Response::decode(&bytes).expect("a response");
        assert_eq!(answered, RequestId(id));
        Some(response)
    }

    fn replica(n: u16) -> Replica {
        Replica::new(NodeId(0), Arc::new(Ring::even(3, 3).expect("a ring")), n)
    }

    #[test]
    fn a_replica_keeps_the_contract_of_its_store() {
        let (mut replica, store) = (replica(3), MemoryStorage::new());
        let put = |text, value| Request::Put { key: b"k", clock: clock(text), value };
        assert_eq!(ask(&mut replica, 1, &put("0:1", b"a"), &store), Some(Response::Stored));
        assert_eq!(ask(&mut replica, 2, &put("1:1", b"b"), &store), Some(Response::Stored));
        let obsolete = Response::Refused(ReplicaError::ObsoleteVersion { stored: clock("0:1") });
        assert_eq!(ask(&mut replica, 3, &put("0:1", b"c"), &store), Some(obsolete));
        let both = vec![Versioned::new(clock("0:1"), b"a"), Versioned::new(clock("1:1"), b"b")];
        assert_eq!(ask(&mut replica, 4, &Request::Get { key: b"k" }, &store), Some(Response::Values(both)));
        let delete = Request::Delete { key: b"k", clock: clock("0:1") };
        assert_eq!(ask(&mut replica, 5, &delete, &store), Some(Response::Deleted(true)));
        assert_eq!(ask(&mut replica, 6, &delete, &store), Some(Response::Deleted(false)));
        let versions = Response::Versions(vec![clock("1:1")]);
        assert_eq!(ask(&mut replica, 7, &Request::GetVersions { key: b"k" }, &store), Some(versions));
        assert_eq!(ask(&mut replica, 8, &Request::Ping, &store), Some(Response::Pong));
        assert_eq!(replica.pending(), 0);
    }

    #[test]
    fn keys_of_others_are_refused() {
        let (mut replica, store) = (replica(1), MemoryStorage::new());
        let ring = Ring::even(3, 3).expect("a ring");
        let key = (0u8..).map(|b| [b]).find(|key| ring.preference_list(key, 1)[0] != NodeId(0));
        let key = &key.expect("most keys are others'")[..];
        let refused = Some(Response::Refused(ReplicaError::InvalidMetadata));
        let put = Request::Put { key, clock: clock("0:1"), value: b"" };
        assert_eq!(ask(&mut replica, 1, &put, &store), refused);
        assert_eq!(ask(&mut replica, 2, &Request::Get { key }, &store), refused);
        assert_eq!(ask(&mut replica, 3, &Request::Delete { key, clock: clock("-") }, &store), refused);
        assert_eq!(ask(&mut replica, 4, &Request::GetVersions { key }, &store), refused);
        assert_eq!(store.keys(), 0);
    }

    #[test]
    fn several_keys_are_read_at_once_and_all_must_be_its_own() {
        let (mut replica, store) = (replica(3), MemoryStorage::new());
        for (key, value) in [(b"a", "1"), (b"b", "2")] {
            store.put(key, &Versioned::new(clock("0:1"), value)).expect("fresh");
        }
        let keys = vec![&b"b"[..], b"none", b"a"];
        let found = |value: &str| vec![Versioned::new(clock("0:1"), value)];
        let all = Response::AllValues(vec![(b"b".to_vec(), found("2")), (b"a".to_vec(), found("1"))]);
        assert_eq!(ask(&mut replica, 1, &Request::GetAll { keys: keys.clone() }, &store), Some(all));
        let mut replica = Replica::new(NodeId(0), Arc::new(Ring::even(3, 48).expect("a ring")), 1);
        let refused = Some(Response::Refused(ReplicaError::InvalidMetadata));
        assert_eq!(ask(&mut replica, 1, &Request::GetAll { keys }, &store), refused);
    }

    #[test]
    fn a_new_ring_is_gone_by_and_told() {
        let (mut replica, store) = (replica(1), MemoryStorage::new());
        let old = Arc::new(Ring::even(3, 3).expect("a ring"));
        let told = Response::Ring { version: 0, ring: Arc::clone(&old) };
        assert_eq!(ask(&mut replica, 1, &Request::GetRing, &store), Some(told));
        let key = (0u8..).map(|b| [b]).find(|key| old.preference_list(key, 1)[0] != NodeId(0));
        let key = &key.expect("most keys are others'")[..];
        let refused = Some(Response::Refused(ReplicaError::InvalidMetadata));
        assert_eq!(ask(&mut replica, 2, &Request::Get { key }, &store), refused);
        let alone = Arc::new(Ring::even(1, 3).expect("a ring"));
        replica.set_ring(4, Arc::clone(&alone));
        assert_eq!(ask(&mut replica, 3, &Request::Get { key }, &store), Some(Response::Values(vec![])));
        let told = Response::Ring { version: 4, ring: alone };
        assert_eq!(ask(&mut replica, 4, &Request::GetRing, &store), Some(told));
    }

    #[test]
    fn what_was_routed_by_a_ring_far_from_its_own_is_refused() {
        let (mut replica, store) = (replica(3), MemoryStorage::new());
        replica.set_ring(5, Arc::new(Ring::even(3, 3).expect("a ring")));
        let requests = [
            Request::Get { key: b"k" },
            Request::GetVersions { key: b"k" },
            Request::GetAll { keys: vec![b"k"] },
            Request::Put { key: b"k", clock: clock("0:1"), value: b"" },
            Request::Delete { key: b"k", clock: clock("0:1") },
        ];
        for request in requests {
            for version in 0..9 {
                replica.handle(Peer(1000), &request.encode_routed(RequestId(1), version), &store);
                let (_, bytes) = replica.poll_output().expect("an answer");
                let (_, response) = Response::decode(&bytes).expect("a response");
                let is_refused = response == Response::Refused(ReplicaError::InvalidMetadata);
                assert_eq!(is_refused, !(4..=6).contains(&version), "{request:?} by {version}: {response:?}");
            }
            assert!(
                !matches!(
                    ask(&mut replica, 1, &request, &store),
                    None | Some(Response::Refused(ReplicaError::InvalidMetadata))
                ),
                "between nodes: {request:?}"
            );
        }
    }

    #[test]
    fn a_write_is_answered_when_it_is_durable_in_any_order() {
        let (mut replica, store) = (replica(3), Waiting::default());
        let put = Request::Put { key: b"k", clock: clock("0:1"), value: b"a" };
        assert_eq!(ask(&mut replica, 1, &put, &store), None);
        assert_eq!(ask(&mut replica, 2, &Request::Delete { key: b"k", clock: clock("0:1") }, &store), None);
        assert_eq!(ask(&mut replica, 3, &put, &store), None);
        let tickets = store.0.take();
        assert_eq!((tickets.len(), replica.pending()), (3, 3));
        let mut answer = |ticket, removed, result| {
            replica.completed(ticket, removed, result);
            let (_, bytes) = replica.poll_output().expect("an answer");
            Response::decode(&bytes).expect("a response")
        };
        assert_eq!(answer(tickets[2], false, Ok(())), (RequestId(3), Response::Stored));
        assert_eq!(answer(tickets[1], true, Ok(())), (RequestId(2), Response::Deleted(true)));
        let (id, response) = answer(tickets[0], false, Err(PutError::Closed));
        let why = PutError::Closed.to_string();
        assert_eq!((id, response), (RequestId(1), Response::Refused(ReplicaError::Persistence { why })));
        assert_eq!(replica.pending(), 0);
    }

    #[test]
    fn what_is_no_request_is_counted_and_dropped() {
        let (mut replica, store) = (replica(3), MemoryStorage::new());
        replica.handle(Peer(1000), b"nonsense", &store);
        replica.handle(Peer(1000), &Response::Pong.encode(RequestId(1)), &store);
        assert_eq!((replica.poll_output(), replica.stats().garbled), (None, 2));
    }
}
