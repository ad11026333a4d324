//! A TCP port among strangers: pieces, garbage, and partners that die in the middle of a message.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use engine_env::{Arrival, Delay, MESSAGE_BYTES_MAX, Net, Peer, Port, TcpNet, TcpPort, Wait};

const NODE: Peer = Peer(0);
const OTHER: Peer = Peer(1);
const LIMIT: Duration = Duration::from_secs(10);

/// The hello of `docs/formats/net-frame.md`.
fn hello(peer: Peer, incarnation: u64) -> Vec<u8> {
    [&b"wb-net"[..], &[1, 0], &peer.0.to_le_bytes(), &incarnation.to_le_bytes(), &[0; 16]].concat()
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_le_bytes()[..], &[0; 8], message].concat()
}

fn message(from: Peer, bytes: &[u8]) -> Arrival {
    Arrival::Message { from, bytes: bytes.to_vec() }
}

fn next(port: &mut TcpPort) -> Vec<Arrival> {
    let mut out = Vec::new();
    port.receive(Wait::AtMost(LIMIT), &mut out);
    out
}

/// A node, and a stranger's connection to it.
fn node_and_stranger() -> (TcpNet, TcpPort, TcpStream) {
    let net = TcpNet::loopback(&[NODE, OTHER], Delay::default()).expect("two ports are free");
    let node = net.join(NODE).expect("the name is free");
    let stranger = TcpStream::connect(net.address(NODE).expect("a node has one")).expect("it listens");
    stranger.set_read_timeout(Some(LIMIT)).expect("a timeout can be set");
    (net, node, stranger)
}

/// Whether the node has closed the connection.
fn is_closed(node: &mut TcpPort, stranger: &mut TcpStream) -> bool {
    let mut nothing = Vec::new();
    for _ in 0..10 {
        node.receive(Wait::AtMost(Duration::from_millis(1)), &mut nothing);
    }
    assert_eq!(nothing, []);
    let mut rest = Vec::new();
    // With unread bytes on it, a closed connection ends by a reset.
    match stranger.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(e) => e.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_message_may_come_byte_by_byte() {
    let (_net, mut node, mut stranger) = node_and_stranger();
    stranger.set_nodelay(true).expect("it is a socket");
    let mut out = Vec::new();
    for byte in [hello(OTHER, 1), frame(b"slow"), frame(b""), frame(b"end")].concat() {
        stranger.write_all(&[byte]).expect("it is open");
        node.receive(Wait::No, &mut out);
    }
    while out.len() < 3 {
        out.extend(next(&mut node));
    }
    assert_eq!(out, [message(OTHER, b"slow"), message(OTHER, b""), message(OTHER, b"end")]);
    // And is answered on the same connection, after the node's own hello.
    node.send(OTHER, b"got it".to_vec());
    node.flush();
    let mut answer = vec![0; 36 + 12 + 6];
    stranger.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[..12], hello(NODE, 0)[..12]);
    assert_eq!(answer[36..], frame(b"got it"));
}

#[test]
fn a_peer_that_dies_within_a_message_is_unreachable_and_the_piece_is_dropped() {
    let (_net, mut node, mut stranger) = node_and_stranger();
    let mut bytes = [hello(OTHER, 1), frame(b"whole"), frame(&[7; 1000])].concat();
    bytes.truncate(bytes.len() - 1);
    stranger.write_all(&bytes).expect("it is open");
    assert_eq!(next(&mut node), [message(OTHER, b"whole")]);
    drop(stranger);
    assert_eq!(next(&mut node), [Arrival::Unreachable { peer: OTHER }]);
}

#[test]
fn a_successor_ends_its_predecessors_connection_before_it_is_heard() {
    let (net, mut node, mut first) = node_and_stranger();
    first.write_all(&[hello(OTHER, 1), frame(b"first")].concat()).expect("it is open");
    assert_eq!(next(&mut node), [message(OTHER, b"first")]);
    // The first one's machine lost power: its connection says nothing any more, not even that it ended.
    let mut second = TcpStream::connect(net.address(NODE).expect("a node has one")).expect("it listens");
    second.write_all(&[hello(OTHER, 2), frame(b"second")].concat()).expect("it is open");
    let mut out = Vec::new();
    while out.len() < 2 {
        out.extend(next(&mut node));
    }
    assert_eq!(out, [Arrival::Unreachable { peer: OTHER }, message(OTHER, b"second")]);
    assert!(is_closed(&mut node, &mut first));
    node.send(OTHER, b"welcome".to_vec());
    node.flush();
    let mut answer = vec![0; 36 + 12 + 7];
    second.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[48..], *b"welcome");
}

#[test]
fn garbage_closes_the_connection_and_nothing_else() {
    let giant = [hello(OTHER, 1), (MESSAGE_BYTES_MAX as u32 + 1).to_le_bytes().to_vec(), vec![0; 8]].concat();
    let pretender = [hello(NODE, 1), frame(b"I am you")].concat();
    let mut newer = hello(OTHER, 1);
    newer[6] = 2;
    for bytes in [b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n".to_vec(), pretender, newer] {
        let (_net, mut node, mut stranger) = node_and_stranger();
        stranger.write_all(&bytes).expect("it is open");
        assert!(is_closed(&mut node, &mut stranger));
    }
    // After a hello it is known who can't be understood.
    let (_net, mut node, mut stranger) = node_and_stranger();
    stranger.write_all(&giant).expect("it is open");
    assert_eq!(next(&mut node), [Arrival::Unreachable { peer: OTHER }]);
}

#[test]
fn who_answers_in_another_ones_place_isnt_believed() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let net = TcpNet::new(BTreeMap::from([(OTHER, address)]), Delay::default());
    let mut client = net.join(Peer(1000)).expect("the name is free");
    client.send(OTHER, b"are you there?".to_vec());
    client.flush();
    let (mut wrong, _) = listener.accept().expect("it was dialled");
    wrong.write_all(&[hello(Peer(2), 1), frame(b"sure")].concat()).expect("it is open");
    assert_eq!(next(&mut client), [Arrival::Unreachable { peer: OTHER }]);
}

#[test]
fn an_address_that_is_taken_is_refused_by_name() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("it is bound");
    let net = TcpNet::new(BTreeMap::from([(NODE, address)]), Delay::default());
    let error = net.join(NODE).expect_err("somebody listens there").to_string();
    assert!(error.contains("peer 0") && error.contains(&address.to_string()), "{error}");
    drop(listener);
    net.join(NODE).expect("a failed join gives the name back");
}
