//! [`SplitPort`]: one port for two clients of different servers, driven by one thread that must wait for both.
//!
//! Each half sees the arrivals of its own servers. A half that waits while something has come for the other one comes
//! back with nothing, as if it were woken: so a wait on either is a wait on both.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_env::{Arrival, Peer, Port, PortStats, Wait, Waker};

struct Whole<P> {
    port: P,
    /// By half: what has come and isn't taken yet.
    arrived: [Vec<Arrival>; 2],
    /// Which half a party belongs to.
    half_of: fn(Peer) -> usize,
    taken: Vec<Arrival>,
}

/// A half of a port. Dropping both leaves the network.
pub(super) struct SplitPort<P> {
    whole: Arc<Mutex<Whole<P>>>,
    half: usize,
    me: Peer,
    waker: Waker,
}

impl<P: Port> SplitPort<P> {
    /// Both halves; `half_of` says 0 or 1 for each party.
    pub(super) fn split(port: P, half_of: fn(Peer) -> usize) -> (Self, Self) {
        let (me, waker) = (port.me(), port.waker());
        let whole = Arc::new(Mutex::new(Whole {
            port,
            arrived: [Vec::new(), Vec::new()],
            half_of,
            taken: Vec::new(),
        }));
        let half = |half| Self { whole: Arc::clone(&whole), half, me, waker: waker.clone() };
        (half(0), half(1))
    }

    /// Both halves are one thread's, so nobody ever waits for this lock.
    fn whole(&self) -> MutexGuard<'_, Whole<P>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Port> Port for SplitPort<P> {
    fn me(&self) -> Peer {
        self.me
    }

    fn send(&mut self, to: Peer, bytes: Vec<u8>) {
        self.whole().port.send(to, bytes);
    }

    fn flush(&mut self) {
        self.whole().port.flush();
    }

    fn receive(&mut self, wait: Wait, out: &mut Vec<Arrival>) -> bool {
        let mut whole = self.whole();
        let Whole { port, arrived, half_of, taken } = &mut *whole;
        let wait = if arrived.iter().all(Vec::is_empty) { wait } else { Wait::No };
        let was_woken = port.receive(wait, taken);
        for arrival in taken.drain(..) {
            let (Arrival::Message { from: peer, .. } | Arrival::Unreachable { peer }) = &arrival;
            arrived[half_of(*peer)].push(arrival);
        }
        out.append(&mut arrived[self.half]);
        was_woken || !arrived[1 - self.half].is_empty()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What both halves have carried.
    fn stats(&self) -> PortStats {
        self.whole().port.stats()
    }
}

#[cfg(test)]
mod tests {
    use engine_env::{Delay, LocalNet, Net};

    use super::*;

    #[test]
    fn each_half_hears_its_own_servers_and_a_wait_ends_for_both() {
        let net = LocalNet::new(Delay::default());
        let (mut even, mut odd) =
            SplitPort::split(net.join(Peer(1000)).expect("free"), |peer| (peer.0 % 2) as usize);
        let (mut zero, mut one) = (net.join(Peer(0)).expect("free"), net.join(Peer(1)).expect("free"));
        even.send(Peer(0), b"to zero".to_vec());
        odd.send(Peer(1), b"to one".to_vec());
        let mut out = Vec::new();
        even.receive(Wait::No, &mut out);
        for server in [&mut zero, &mut one] {
            server.receive(Wait::Forever, &mut out);
            assert_eq!(out.len(), 1);
            server.send(Peer(1000), out.pop().map(|a| format!("{a:?}").into_bytes()).expect("a request"));
            server.flush();
        }
        // Whatever has come meanwhile is for one or the other; a wait never outlasts it.
        let (mut to_even, mut to_odd) = (Vec::new(), Vec::new());
        while to_even.is_empty() || to_odd.is_empty() {
            even.receive(if to_even.is_empty() { Wait::Forever } else { Wait::No }, &mut to_even);
            odd.receive(Wait::No, &mut to_odd);
        }
        assert!(matches!(&to_even[..], [Arrival::Message { from: Peer(0), .. }]));
        assert!(matches!(&to_odd[..], [Arrival::Message { from: Peer(1), .. }]));
        assert_eq!(even.stats().messages, 2);
    }
}
