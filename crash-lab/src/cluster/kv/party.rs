//! [`KvParty`]: who talks to the nodes: a client, or the one who moves their partitions.

use engine_env::rng::Rng;
use engine_env::{Arrival, Peer};

use super::client::KvPeer;
use super::mover::Mover;
use super::registers::Registers;
use crate::cluster::process::Client;

/// See the module.
pub(super) enum KvParty {
    Peer(Box<KvPeer>),
    Mover(Box<Mover>),
}

impl KvParty {
    pub(super) fn peer(&self) -> Option<&KvPeer> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Mover(_) => None,
        }
    }

    pub(super) fn peer_mut(&mut self) -> Option<&mut KvPeer> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Mover(_) => None,
        }
    }

    pub(super) fn mover(&self) -> Option<&Mover> {
        match self {
            Self::Mover(mover) => Some(mover),
            Self::Peer(_) => None,
        }
    }
}

impl Client for KvParty {
    type Ledger = Registers;

    fn begin(&mut self, now_ns: u64, rng: &mut Rng, ledger: &mut Registers, said: &mut Vec<String>) {
        match self {
            Self::Peer(peer) => peer.begin(now_ns, rng, ledger),
            Self::Mover(mover) => mover.begin(now_ns, rng, said),
        }
    }

    fn handle(&mut self, now_ns: u64, arrival: Arrival) {
        match self {
            Self::Peer(peer) => peer.handle(now_ns, &arrival),
            Self::Mover(mover) => mover.handle(now_ns, &arrival),
        }
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        match self {
            Self::Peer(peer) => peer.poll_timeout(),
            Self::Mover(mover) => mover.poll_timeout(),
        }
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        match self {
            Self::Peer(peer) => peer.handle_timeout(now_ns),
            Self::Mover(mover) => mover.handle_timeout(now_ns),
        }
    }

    fn take_outcomes(
        &mut self,
        now_ns: u64,
        ledger: &mut Registers,
        said: &mut Vec<String>,
    ) -> Result<(), String> {
        match self {
            Self::Peer(peer) => peer.take_outcomes(now_ns, ledger, said),
            Self::Mover(mover) => mover.take_outcome(said),
        }
    }

    fn poll_output(&mut self) -> Option<(Peer, Vec<u8>)> {
        match self {
            Self::Peer(peer) => peer.poll_output(),
            Self::Mover(mover) => mover.poll_output(),
        }
    }

    fn jump_clock(&mut self, by_ms: i64) {
        if let Self::Peer(peer) = self {
            peer.jump_clock(by_ms);
        }
    }

    fn is_idle(&self) -> bool {
        match self {
            Self::Peer(peer) => peer.is_idle(),
            Self::Mover(mover) => mover.current().is_some(),
        }
    }
}
