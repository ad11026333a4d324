//! [`MissedKeys`]: which keys a node of the store missed while it was away, a sample of them; and whether it has them.
//!
//! The engine can't tell: each node knows what it has, nobody what a peer lacks. So the client keeps the keys of acknowledged
//! writes with their clocks, those with the smallest hashes (a bottom-k sketch: every key is as likely to be in it, however
//! often it is written), and the node is asked for its clocks of them over the network, a few at a time, so that asking costs
//! the cluster little.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher as _};
use std::time::{Duration, Instant};

use engine_env::{Arrival, Peer, Port, Wait};
use kv_engine::{Occurred, Request, RequestId, Response, VectorClock};

/// Keys that are kept.
const SAMPLE: usize = 1_000;
/// Keys that are asked for at once.
const WINDOW: usize = 16;
/// A node that doesn't answer so long is asked again later.
const ANSWER: Duration = Duration::from_millis(50);

/// A key, and the clock of the last write to it that was acknowledged.
type Missed = (Box<[u8]>, VectorClock);

/// Keys that a node missed.
#[derive(Debug, Default)]
pub(super) struct MissedKeys {
    by_hash: BTreeMap<u64, Missed>,
    /// Those that are still asked for; none before the first question.
    lacking: Option<VecDeque<Missed>>,
    asked: usize,
    last_id: u64,
}

impl MissedKeys {
    /// A write was acknowledged without the node.
    pub(super) fn missed(&mut self, key: Box<[u8]>, clock: VectorClock) {
        let mut hasher = DefaultHasher::new();
        hasher.write(&key);
        let hash = hasher.finish();
        let is_full = self.by_hash.len() >= SAMPLE;
        if is_full && self.by_hash.last_key_value().is_some_and(|(largest, _)| *largest < hash) {
            return;
        }
        self.by_hash.insert(hash, (key, clock));
        if self.by_hash.len() > SAMPLE {
            self.by_hash.pop_last();
        }
    }

    /// Keys that are asked for, and how many of them were lacking when they were asked for last.
    pub(super) fn counts(&self) -> (usize, usize) {
        match &self.lacking {
            Some(lacking) => (self.asked, lacking.len()),
            None => (self.by_hash.len(), self.by_hash.len()),
        }
    }

    /// Asks the node for some of the keys; whether it has them all by now. A key that it lacks goes to the end of the line.
    pub(super) fn ask<P: Port>(&mut self, port: &mut P, node: Peer) -> bool {
        let lacking = self.lacking.get_or_insert_with(|| {
            self.asked = self.by_hash.len();
            std::mem::take(&mut self.by_hash).into_values().collect()
        });
        while !lacking.is_empty() {
            let window: Vec<Missed> = lacking.drain(..lacking.len().min(WINDOW)).collect();
            let first = self.last_id + 1;
            for ((key, _), id) in window.iter().zip(first..) {
                port.send(node, Request::GetVersions { key }.encode(RequestId(id)));
            }
            self.last_id += window.len() as u64;
            let clocks = answers(port, node, first, window.len());
            let before = lacking.len();
            lacking.extend(
                window
                    .into_iter()
                    .zip(clocks)
                    .filter(|(missed, has)| !covers(has, &missed.1))
                    .map(|(m, _)| m),
            );
            if lacking.len() > before {
                return false;
            }
        }
        true
    }
}

/// Whether a node with these clocks has the version, or one that descends from it.
fn covers(has: &[VectorClock], clock: &VectorClock) -> bool {
    has.iter().any(|other| clock.compare(other) == Occurred::Before)
}

/// The clocks that a node answers to questions `first` and following; none where it doesn't answer in time.
fn answers<P: Port>(port: &mut P, node: Peer, first: u64, count: usize) -> Vec<Vec<VectorClock>> {
    let mut found = vec![Vec::new(); count];
    let mut left = count;
    let until = Instant::now() + ANSWER;
    let mut arrivals = Vec::new();
    while left > 0 {
        let wait = until.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            break;
        }
        port.receive(Wait::AtMost(wait), &mut arrivals);
        for arrival in arrivals.drain(..) {
            match arrival {
                Arrival::Message { from, bytes } if from == node => {
                    let Ok((id, response)) = Response::decode(&bytes) else { continue };
                    // Late answers to earlier questions have smaller numbers.
                    let at = id.0.checked_sub(first).and_then(|at| usize::try_from(at).ok());
                    let Some(place) = at.and_then(|at| found.get_mut(at)) else { continue };
                    left -= 1;
                    if let Response::Versions(clocks) = response {
                        *place = clocks;
                    }
                }
                Arrival::Message { .. } => {}
                Arrival::Unreachable { .. } => return found,
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::{AtomicBool, Ordering};

    use engine_env::{LocalNet, Net as _};

    fn clock(text: &str) -> VectorClock {
        text.parse().expect("a clock")
    }

    fn key(number: u32) -> Box<[u8]> {
        number.to_be_bytes().into()
    }

    #[test]
    fn the_sample_is_the_same_whatever_the_order_and_how_often_a_key_is_written() {
        let sample = |numbers: &mut dyn Iterator<Item = u32>| {
            let mut keys = MissedKeys::default();
            numbers.for_each(|number| keys.missed(key(number), clock("0:1")));
            keys.by_hash
        };
        let forward = sample(&mut (0..5_000));
        assert_eq!(forward.len(), SAMPLE);
        assert_eq!(forward, sample(&mut (0..5_000).rev().chain((0..9_000).map(|n| n % 7))));
        // Neither the first nor the last of them: a fifth of each fifth.
        let of_first = forward.values().filter(|(k, _)| **k < *key(1_000)).count();
        assert!((150..250).contains(&of_first), "{of_first}");
    }

    /// A node that has what was written or more, and one that has less.
    #[test]
    fn a_node_has_all_when_each_version_or_a_later_one_is_there() {
        let net = LocalNet::default();
        let mut keys = MissedKeys::default();
        (0..40).for_each(|number| keys.missed(key(number), clock("0:2")));
        keys.missed(key(3), clock("0:3"));
        let mut port = net.join(Peer(9)).expect("a free name");
        assert!(!keys.ask(&mut port, Peer(0)), "nobody is there");
        assert_eq!(keys.counts(), (40, 40));

        let mut node = net.join(Peer(0)).expect("a free name");
        let (stop, lags) = (AtomicBool::new(false), AtomicBool::new(true));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut arrivals = Vec::new();
                // The limit is for a test that fails: it must not wait for this thread.
                while !stop.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(20) {
                    node.receive(Wait::AtMost(Duration::from_millis(10)), &mut arrivals);
                    for arrival in arrivals.drain(..) {
                        let Arrival::Message { from, bytes } = arrival else { continue };
                        let (id, request) = Request::decode(&bytes).expect("a request");
                        let Request::GetVersions { key: asked } = request else { panic!("{request:?}") };
                        let is_behind = lags.load(Ordering::SeqCst) && *asked == *key(3);
                        let has = if is_behind { "0:2" } else { "0:3" };
                        node.send(from, Response::Versions(vec![clock(has)]).encode(id));
                    }
                    node.flush();
                }
            });
            while keys.counts().1 > 1 {
                assert!(!keys.ask(&mut port, Peer(0)), "it lacks the third write of a key");
                assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", keys.counts());
            }
            lags.store(false, Ordering::SeqCst);
            while !keys.ask(&mut port, Peer(0)) {
                assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", keys.counts());
            }
            assert_eq!(keys.counts(), (40, 0));
            stop.store(true, Ordering::SeqCst);
        });
    }
}
