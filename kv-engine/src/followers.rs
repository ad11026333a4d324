//! [`Followers`]: who follows a node's store. A question for changes is answered at once if there are any, and kept
//! otherwise: the next commit rings the node's port, and the answer goes out as if it were pushed.
//!
//! Invariants: a follower has one question open at most; an open feed, which keeps files of merged segments, ends when
//! its follower can't be reached any more.

use std::collections::HashMap;

use engine_env::{Home, Peer, Wait, Waker};

use crate::message::{NodeChange, ReplicaError, Request, RequestId, Response};
use crate::storage::bitcask::{Change, ChangeEvent, FeedError, FeedPosition};
use crate::store::{KvFeed, KvStore};

/// So many may follow one node.
const FOLLOWERS_MAX: usize = 64;

struct Follower<H: Home> {
    feed: KvFeed<H>,
    /// The open question, and how many bytes its answer may have.
    asked: Option<(RequestId, u64)>,
}

/// Those who follow a node's store.
pub(crate) struct Followers<H: Home> {
    by_peer: HashMap<Peer, Follower<H>>,
    waker: Waker,
    outputs: Vec<(Peer, Vec<u8>)>,
    /// Reused.
    changes: Vec<Change>,
}

impl<H: Home> Followers<H> {
    /// Nobody yet. `waker` is rung when a kept question may have an answer.
    pub(crate) fn new(waker: Waker) -> Self {
        Self { by_peer: HashMap::new(), waker, outputs: Vec::new(), changes: Vec::new() }
    }

    /// A question for changes came. What can't be read is dropped, like any garbled request.
    pub(crate) fn handle(&mut self, from: Peer, message: &[u8], store: &KvStore<H>) {
        let Ok((id, Request::Changes { from: position, max_bytes })) = Request::decode(message) else {
            return;
        };
        match self.follow(from, FeedPosition(position), store) {
            Ok(follower) => follower.asked = Some((id, max_bytes.into())),
            Err(why) => self.outputs.push((from, Response::Refused(why).encode(id))),
        }
    }

    fn follow(
        &mut self,
        peer: Peer,
        position: FeedPosition,
        store: &KvStore<H>,
    ) -> Result<&mut Follower<H>, ReplicaError> {
        let goes_on = self.by_peer.get(&peer).is_some_and(|follower| follower.feed.position() == position);
        if !goes_on {
            self.by_peer.remove(&peer);
            if self.by_peer.len() >= FOLLOWERS_MAX {
                let why = format!("{FOLLOWERS_MAX} follow this node already");
                return Err(ReplicaError::Application { why });
            }
            let feed = store.feed(position).map_err(|error| refusal(&error))?;
            feed.wake_with(self.waker.clone());
            self.by_peer.insert(peer, Follower { feed, asked: None });
        }
        Ok(self.by_peer.get_mut(&peer).expect("it is there, or was put there"))
    }

    /// A follower can't be reached: its feed ends.
    pub(crate) fn unreachable(&mut self, peer: Peer) {
        self.by_peer.remove(&peer);
    }

    /// Answers the questions that can be answered by now.
    pub(crate) fn tell(&mut self) {
        let Self { by_peer, outputs, changes, .. } = self;
        by_peer.retain(|peer, follower| {
            let Some((id, max_bytes)) = follower.asked else { return true };
            let read = follower.feed.poll(max_bytes, Wait::No, changes);
            if !changes.is_empty() {
                let next = follower.feed.position().0;
                let changes = changes.drain(..).map(told).collect();
                outputs.push((*peer, Response::Changes { next, changes }.encode(id)));
                follower.asked = None;
            }
            match read {
                Ok(()) => true,
                Err(error) => {
                    outputs.push((*peer, Response::Refused(refusal(&error)).encode(id)));
                    false
                }
            }
        });
    }

    /// Messages to be sent, and to whom.
    pub(crate) fn outputs(&mut self) -> impl Iterator<Item = (Peer, Vec<u8>)> {
        self.outputs.drain(..)
    }
}

fn refusal(error: &FeedError) -> ReplicaError {
    ReplicaError::Persistence { why: error.to_string() }
}

fn told(change: Change) -> NodeChange {
    match change.event {
        ChangeEvent::Put { key, version } => NodeChange::Put { key, version },
        ChangeEvent::Deleted { key, version } => NodeChange::Deleted { key, version },
        ChangeEvent::Damaged(damage) => NodeChange::Damaged {
            why: format!("{}@{}, {} bytes: {}", damage.file, damage.position, damage.bytes, damage.why),
        },
    }
}
