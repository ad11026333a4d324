//! [`TcpNet`]: every port has a socket to each of its partners, and one thread waits for all of them.
//!
//! A port opens a connection when it first sends to a party with an address, and answers a party over the connection
//! that this one opened. A connection that breaks is opened again by the next send.

mod frame;
mod link;
mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

#[cfg(feature = "fuzzing")]
pub use frame::fuzz_frames;
pub use port::TcpPort;

use super::{Delay, Net, NetError, Peer};

/// A network of sockets. Clones are the same network; a process that was given the same addresses joins it too.
#[derive(Debug, Clone)]
pub struct TcpNet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    addresses: BTreeMap<Peer, SocketAddr>,
    delay: Delay,
    /// Those that this process has joined as.
    joined: Mutex<BTreeSet<Peer>>,
    /// Bound but not listening: while a node is dead, nobody else is given its port, and dialling it is refused.
    _reserved: Vec<OwnedFd>,
}

impl TcpNet {
    /// A network whose nodes listen at these addresses. Parties without an address can join as clients.
    #[must_use]
    pub fn new(listen: BTreeMap<Peer, SocketAddr>, delay: impl Into<Delay>) -> Self {
        Self::with(listen, delay.into(), Vec::new())
    }

    /// A network on this machine's loopback device, at ports that are free.
    ///
    /// # Errors
    /// [`NetError::Listen`]: the operating system has no port to give.
    pub fn loopback(nodes: &[Peer], delay: impl Into<Delay>) -> Result<Self, NetError> {
        let mut addresses = BTreeMap::new();
        let mut reserved = Vec::new();
        for &peer in nodes {
            let any = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
            let (socket, address) = bound(any).map_err(|e| refused(peer, any, &e))?;
            addresses.insert(peer, address);
            reserved.push(socket);
        }
        Ok(Self::with(addresses, delay.into(), reserved))
    }

    fn with(addresses: BTreeMap<Peer, SocketAddr>, delay: Delay, reserved: Vec<OwnedFd>) -> Self {
        Self(Arc::new(Shared { addresses, delay, joined: Mutex::default(), _reserved: reserved }))
    }

    /// Where a node listens.
    #[must_use]
    pub fn address(&self, peer: Peer) -> Option<SocketAddr> {
        self.0.addresses.get(&peer).copied()
    }

    /// Takes a name; `false`: it is taken.
    fn enter(&self, peer: Peer) -> bool {
        self.0.joined.lock().unwrap_or_else(PoisonError::into_inner).insert(peer)
    }

    fn leave(&self, peer: Peer) {
        self.0.joined.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
    }
}

impl Net for TcpNet {
    type Port = TcpPort;

    fn join(&self, me: Peer) -> Result<TcpPort, NetError> {
        if !self.enter(me) {
            return Err(NetError::Taken { peer: me });
        }
        TcpPort::open(self.clone(), me).inspect_err(|_| self.leave(me))
    }
}

fn refused(peer: Peer, address: SocketAddr, why: &io::Error) -> NetError {
    NetError::Listen { peer, address: address.to_string(), why: why.to_string() }
}

fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

/// A socket at an address, and the port that it got. A second one can be bound there, and listen.
fn bound(address: SocketAddr) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = socket(address)?;
    // Also lets a node come back while connections of its former life linger.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    let address = rustix::net::getsockname(&socket)?;
    Ok((socket, address.try_into()?))
}
