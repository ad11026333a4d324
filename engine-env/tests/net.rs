//! One suite for every network: what a protocol may rely on, whatever carries its messages.

use std::time::{Duration, Instant};

use engine_env::rng::Seed;
use engine_env::sim::{SimNet, SimPorts};
use engine_env::{
    Arrival, CompletionQueue, Delay, LocalNet, MESSAGE_BYTES_MAX, Net, NetError, Peer, Port, TcpNet,
    UNREAD_BYTES_MAX, Wait,
};

/// Longer than anything here takes, so that a lost message fails a test instead of hanging it.
const LIMIT: Duration = Duration::from_secs(10);

const NODES: [Peer; 3] = [Peer(0), Peer(1), Peer(2)];
const CLIENT: Peer = Peer(1000);

fn message(from: Peer, bytes: impl Into<Vec<u8>>) -> Arrival {
    Arrival::Message { from, bytes: bytes.into() }
}

fn unreachable(peer: Peer) -> Arrival {
    Arrival::Unreachable { peer }
}

/// The next `n` arrivals.
fn receive(port: &mut impl Port, n: usize) -> Vec<Arrival> {
    let mut out = Vec::new();
    let begun = Instant::now();
    while out.len() < n {
        port.receive(Wait::AtMost(LIMIT), &mut out);
        assert!(begun.elapsed() < LIMIT, "{} got {} of {n} arrivals: {out:?}", port.me(), out.len());
    }
    assert_eq!(out.len(), n, "{} got more than {n} arrivals", port.me());
    out
}

fn messages_arrive_whole_and_in_order<N: Net>(net: &N) {
    let mut a = net.join(NODES[0]).expect("the name is free");
    let mut b = net.join(NODES[1]).expect("the name is free");
    let sizes = [0, 1, 2, 1000, 65_536, 65_537, 300_000, 0, 5];
    let expected: Vec<_> = (0..=255u8)
        .flat_map(|i| sizes.map(|n| vec![i; n]))
        .filter(|bytes| bytes.len() < 1000 || bytes[0] < 3)
        .collect();
    for bytes in &expected {
        a.send(NODES[1], bytes.clone());
    }
    a.flush();
    // On TCP the sender must go on writing what the socket didn't take at once.
    let mut got = Vec::new();
    let begun = Instant::now();
    while got.len() < expected.len() {
        b.receive(Wait::No, &mut got);
        a.receive(Wait::No, &mut got);
        assert!(begun.elapsed() < LIMIT, "{} of {} messages", got.len(), expected.len());
    }
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        assert!(*got == message(NODES[0], expected.clone()), "message {i} of {} bytes", expected.len());
    }
    let stats = a.stats();
    assert_eq!(stats.messages, expected.len() as u64);
    assert_eq!(stats.bytes, expected.iter().map(|bytes| bytes.len() as u64).sum::<u64>());
}

fn a_client_is_answered_and_a_port_reaches_itself<N: Net>(net: &N) {
    let mut node = net.join(NODES[0]).expect("the name is free");
    let mut client = net.join(CLIENT).expect("the name is free");
    assert_eq!((node.me(), client.me()), (NODES[0], CLIENT));
    client.send(NODES[0], b"ask".to_vec());
    client.flush();
    assert_eq!(receive(&mut node, 1), [message(CLIENT, b"ask")]);
    // `receive` sends what is queued before it waits.
    node.send(CLIENT, b"answer".to_vec());
    node.send(NODES[0], b"note".to_vec());
    assert_eq!(receive(&mut node, 1), [message(NODES[0], b"note")]);
    assert_eq!(receive(&mut client, 1), [message(NODES[0], b"answer")]);
}

fn both_may_speak_first<N: Net>(net: &N) {
    let mut a = net.join(NODES[0]).expect("the name is free");
    let mut b = net.join(NODES[1]).expect("the name is free");
    for i in 0..100u8 {
        a.send(NODES[1], vec![i]);
        b.send(NODES[0], vec![i]);
        a.flush();
        b.flush();
    }
    let all = |from| (0..100u8).map(|i| message(from, vec![i])).collect::<Vec<_>>();
    assert_eq!(receive(&mut a, 100), all(NODES[1]));
    assert_eq!(receive(&mut b, 100), all(NODES[0]));
}

fn who_isnt_there_is_unreachable_until_it_comes<N: Net>(net: &N) {
    let mut a = net.join(NODES[0]).expect("the name is free");
    a.send(NODES[1], b"lost".to_vec());
    a.send(NODES[1], b"lost, too".to_vec());
    assert_eq!(receive(&mut a, 1), [unreachable(NODES[1])]);
    let mut b = net.join(NODES[1]).expect("the name is free");
    a.send(NODES[1], b"hello".to_vec());
    a.flush();
    assert_eq!(receive(&mut b, 1), [message(NODES[0], b"hello")]);
}

fn a_death_is_told_to_both_kinds_of_partners<N: Net>(net: &N) {
    let mut a = net.join(NODES[0]).expect("the name is free");
    let mut b = net.join(NODES[1]).expect("the name is free");
    let mut client = net.join(CLIENT).expect("the name is free");
    let mut stranger = net.join(NODES[2]).expect("the name is free");
    client.send(NODES[1], b"ask".to_vec());
    client.flush();
    b.send(NODES[0], b"forward".to_vec());
    assert_eq!(receive(&mut b, 1), [message(CLIENT, b"ask")]);
    assert_eq!(receive(&mut a, 1), [message(NODES[1], b"forward")]);
    // Its last words come before the news of its death.
    b.send(CLIENT, b"last word".to_vec());
    b.flush();
    drop(b);
    assert_eq!(receive(&mut client, 2), [message(NODES[1], b"last word"), unreachable(NODES[1])]);
    assert_eq!(receive(&mut a, 1), [unreachable(NODES[1])]);
    let mut nothing = Vec::new();
    stranger.receive(Wait::No, &mut nothing);
    assert_eq!(nothing, []);
    // The name is free again, and the first to speak finds its successor.
    let mut b = net.join(NODES[1]).expect("its owner is dead");
    a.send(NODES[1], b"back?".to_vec());
    client.send(NODES[1], b"back?".to_vec());
    a.flush();
    client.flush();
    let mut got = receive(&mut b, 2);
    got.sort_by_key(|arrival| matches!(arrival, Arrival::Message { from: CLIENT, .. }));
    assert_eq!(got, [message(NODES[0], b"back?"), message(CLIENT, b"back?")]);
}

fn a_node_learns_that_its_client_died<N: Net>(net: &N) {
    let mut node = net.join(NODES[0]).expect("the name is free");
    let mut client = net.join(CLIENT).expect("the name is free");
    client.send(NODES[0], b"ask".to_vec());
    client.flush();
    assert_eq!(receive(&mut node, 1), [message(CLIENT, b"ask")]);
    drop(client);
    assert_eq!(receive(&mut node, 1), [unreachable(CLIENT)]);
    // Nobody listens for a client any more.
    node.send(CLIENT, b"answer".to_vec());
    assert_eq!(receive(&mut node, 1), [unreachable(CLIENT)]);
}

fn a_name_is_given_once<N: Net>(net: &N) {
    for peer in [NODES[0], CLIENT] {
        let first = net.join(peer).expect("the name is free");
        assert!(matches!(net.join(peer), Err(NetError::Taken { peer: taken }) if taken == peer));
        drop(first);
        net.join(peer).expect("the name is free again");
    }
}

fn what_is_too_long_isnt_sent<N: Net>(net: &N) {
    let mut a = net.join(NODES[0]).expect("the name is free");
    let mut b = net.join(NODES[1]).expect("the name is free");
    a.send(NODES[1], vec![0; MESSAGE_BYTES_MAX + 1]);
    assert_eq!(receive(&mut a, 1), [unreachable(NODES[1])]);
    a.send(NODES[1], b"shorter".to_vec());
    a.flush();
    assert_eq!(receive(&mut b, 1), [message(NODES[0], b"shorter")]);
}

fn a_wake_ends_a_wait_and_isnt_lost_before_it<N: Net>(net: &N) {
    let mut a = net.join(NODES[0]).expect("the name is free");
    let waker = a.waker();
    let mut out = Vec::new();
    waker.wake();
    assert!(a.receive(Wait::Forever, &mut out));
    // One wake ends one wait.
    let begun = Instant::now();
    assert!(!a.receive(Wait::AtMost(Duration::from_millis(5)), &mut out));
    assert!(begun.elapsed() >= Duration::from_millis(5));
    // It is told beside what arrives, too.
    a.send(NODES[0], b"to itself".to_vec());
    waker.wake();
    let mut arrived = Vec::new();
    assert!(a.receive(Wait::Forever, &mut arrived));
    assert_eq!(arrived, [message(NODES[0], b"to itself")]);
    // Results that come another way: each of 2000 must end a wait, whichever side is faster.
    let queue = std::sync::Arc::new(CompletionQueue::with_waker(a.waker()));
    let pusher = {
        let queue = std::sync::Arc::clone(&queue);
        std::thread::spawn(move || {
            for i in 0..2000 {
                queue.push(i);
            }
        })
    };
    let mut got = Vec::new();
    while got.len() < 2000 {
        a.receive(Wait::Forever, &mut out);
        queue.drain(Wait::No, &mut got);
    }
    pusher.join().expect("the pusher ends");
    assert_eq!(got, (0..2000).collect::<Vec<_>>());
    assert_eq!(out, []);
}

fn who_doesnt_read_is_cut_off_and_others_are_served<N: Net>(net: &N) {
    let mut a = net.join(NODES[0]).expect("the name is free");
    let mut deaf = net.join(NODES[1]).expect("the name is free");
    let mut b = net.join(NODES[2]).expect("the name is free");
    // The socket buffers of the operating system are a few mebibytes.
    let chunk = 4 << 20;
    let mut sent = 0;
    let mut news = Vec::new();
    while news.is_empty() {
        assert!(sent < 4 * UNREAD_BYTES_MAX, "{sent} bytes are queued for a peer that doesn't read");
        a.send(NODES[1], vec![7; chunk]);
        sent += chunk;
        a.receive(Wait::No, &mut news);
    }
    assert_eq!(news, [unreachable(NODES[1])]);
    assert!(sent > UNREAD_BYTES_MAX / 2, "cut after {sent} bytes");
    a.send(NODES[2], b"are you well?".to_vec());
    a.flush();
    assert_eq!(receive(&mut b, 1), [message(NODES[0], b"are you well?")]);
    // What did go through comes first, and is what was sent.
    let mut got = Vec::new();
    let begun = Instant::now();
    while got.last() != Some(&unreachable(NODES[0])) {
        deaf.receive(Wait::AtMost(LIMIT), &mut got);
        assert!(begun.elapsed() < LIMIT);
    }
    got.pop();
    assert!(got.iter().all(|arrival| *arrival == message(NODES[0], vec![7; chunk])));
    a.send(NODES[1], b"again".to_vec());
    a.flush();
    assert_eq!(receive(&mut deaf, 1), [message(NODES[0], b"again")]);
}

fn a_delay_is_kept_and_counts_from_the_sending<N: Net>(net: &N, delay: Duration) {
    let mut a = net.join(NODES[0]).expect("the name is free");
    let mut b = net.join(NODES[1]).expect("the name is free");
    let begun = Instant::now();
    for i in 0..10u8 {
        a.send(NODES[1], vec![i]);
        a.flush();
    }
    let mut early = Vec::new();
    b.receive(Wait::No, &mut early);
    assert_eq!(early, [], "nothing arrives at once");
    let got = receive_slowly(&mut b, 10);
    assert!(begun.elapsed() >= delay);
    assert_eq!(got, (0..10u8).map(|i| message(NODES[0], vec![i])).collect::<Vec<_>>());
    // The receiver is busy for longer than the delay; then the message is there without another wait.
    a.send(NODES[1], b"meanwhile".to_vec());
    a.flush();
    let begun = Instant::now();
    while begun.elapsed() < delay * 2 {
        std::hint::spin_loop();
    }
    let mut got = Vec::new();
    b.receive(Wait::No, &mut got);
    assert_eq!(got, [message(NODES[0], b"meanwhile")]);
    // The news of a death travels no faster.
    drop(b);
    let mut early = Vec::new();
    a.receive(Wait::No, &mut early);
    assert_eq!(early, []);
    assert_eq!(receive(&mut a, 1), [unreachable(NODES[1])]);
}

/// Clients ask, nodes answer, one node dies again and again. Each answer is for a question that is open, in the order of
/// the questions, and a question that gets no answer is followed by news of a break.
fn answers_come_once_and_in_order_while_a_node_dies_and_returns<N: Net>(net: &N) {
    const CLIENTS: u32 = 3;
    const QUESTIONS: u64 = 1500;
    const STOP: &[u8] = b"stop";
    let node = |me: Peer| {
        let net = net.clone();
        std::thread::spawn(move || {
            let mut port = net.join(me).expect("the name is free");
            let (mut arrived, mut answered, mut deaths, mut is_over) = (Vec::new(), 0, 0, false);
            while !is_over {
                port.receive(Wait::AtMost(LIMIT), &mut arrived);
                for arrival in arrived.drain(..) {
                    let Arrival::Message { from, bytes } = arrival else { continue };
                    if bytes == STOP {
                        is_over = true;
                        continue;
                    }
                    port.send(from, bytes);
                    answered += 1;
                }
                if me == NODES[2] && deaths < 10 && answered > 50 * (deaths + 1) {
                    drop(port);
                    port = net.join(me).expect("its name is free again");
                    deaths += 1;
                }
            }
            deaths
        })
    };
    let client = |me: Peer| {
        let net = net.clone();
        std::thread::spawn(move || {
            let mut port = net.join(me).expect("the name is free");
            let mut open = NODES.map(|_| std::collections::VecDeque::new());
            let mut newest = NODES.map(|_| 0);
            let (mut asked, mut answered, mut breaks) = (0u64, 0u64, 0u64);
            let mut arrived = Vec::new();
            while asked < QUESTIONS || open.iter().any(|open| !open.is_empty()) {
                while asked < QUESTIONS && open.iter().map(|open| open.len()).sum::<usize>() < 20 {
                    asked += 1;
                    let to = (asked * 7 + u64::from(me.0)) as usize % NODES.len();
                    let mut bytes = asked.to_le_bytes().to_vec();
                    bytes.resize(8 + (asked as usize * 37) % 5000, asked as u8);
                    port.send(NODES[to], bytes);
                    open[to].push_back(asked);
                }
                let begun = Instant::now();
                port.receive(Wait::AtMost(LIMIT), &mut arrived);
                assert!(begun.elapsed() < LIMIT, "{me} waits for {open:?}");
                for arrival in arrived.drain(..) {
                    match arrival {
                        Arrival::Unreachable { peer } => {
                            breaks += 1;
                            open[peer.0 as usize].clear();
                        }
                        Arrival::Message { from, bytes } => {
                            let n = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
                            let node = from.0 as usize;
                            assert!(n > newest[node], "{me}: answer {n} of {from} came before");
                            newest[node] = n;
                            assert!(bytes[8..].iter().all(|&b| b == n as u8));
                            // A question may have gone out just before the news of a break was read.
                            if open[node].front().is_some_and(|&first| first <= n) {
                                assert_eq!(open[node].pop_front(), Some(n), "{me}: no answer of {from}");
                                answered += 1;
                            }
                        }
                    }
                }
            }
            (answered, breaks)
        })
    };
    let nodes = NODES.map(node);
    let clients: Vec<_> = (0..CLIENTS).map(|i| client(Peer(CLIENT.0 + i))).collect();
    let clients: Vec<_> = clients.into_iter().map(std::thread::JoinHandle::join).collect();
    let mut last = net.join(Peer(2000)).expect("the name is free");
    for node in NODES {
        last.send(node, STOP.to_vec());
    }
    last.flush();
    let clients: Vec<_> = clients.into_iter().map(|c| c.expect("a client ends well")).collect();
    let deaths = nodes.map(|n| n.join().expect("a node ends"));
    assert_eq!(deaths, [0, 0, 10]);
    let answered: u64 = clients.iter().map(|(answered, _)| answered).sum();
    let breaks: u64 = clients.iter().map(|(_, breaks)| breaks).sum();
    assert!(breaks > 0, "no client noticed a death");
    assert!(answered > u64::from(CLIENTS) * QUESTIONS / 2, "{answered} answers");
}

/// Like [`receive`], for arrivals that are due one after another.
fn receive_slowly(port: &mut impl Port, n: usize) -> Vec<Arrival> {
    let mut out = Vec::new();
    let begun = Instant::now();
    while out.len() < n {
        port.receive(Wait::Forever, &mut out);
        assert!(begun.elapsed() < LIMIT);
    }
    out
}

macro_rules! suite {
    ($backend:ident, $net:expr) => {
        mod $backend {
            use super::*;

            fn net() -> impl Net {
                let net: fn(Delay) -> _ = $net;
                net(Delay::default())
            }

            #[test]
            fn messages_arrive_whole_and_in_order() {
                super::messages_arrive_whole_and_in_order(&net());
            }

            #[test]
            fn a_client_is_answered_and_a_port_reaches_itself() {
                super::a_client_is_answered_and_a_port_reaches_itself(&net());
            }

            #[test]
            fn both_may_speak_first() {
                super::both_may_speak_first(&net());
            }

            #[test]
            fn who_isnt_there_is_unreachable_until_it_comes() {
                super::who_isnt_there_is_unreachable_until_it_comes(&net());
            }

            #[test]
            fn a_death_is_told_to_both_kinds_of_partners() {
                super::a_death_is_told_to_both_kinds_of_partners(&net());
            }

            #[test]
            fn a_name_is_given_once() {
                super::a_name_is_given_once(&net());
            }

            #[test]
            fn what_is_too_long_isnt_sent() {
                super::what_is_too_long_isnt_sent(&net());
            }
        }
    };
}

macro_rules! suite_with_threads {
    ($backend:ident, $net:expr) => {
        mod $backend {
            use super::*;

            fn net() -> impl Net {
                let net: fn(Delay) -> _ = $net;
                net(Delay::default())
            }

            #[test]
            fn a_node_learns_that_its_client_died() {
                super::a_node_learns_that_its_client_died(&net());
            }

            #[test]
            fn a_wake_ends_a_wait_and_isnt_lost_before_it() {
                super::a_wake_ends_a_wait_and_isnt_lost_before_it(&net());
            }

            #[test]
            fn who_doesnt_read_is_cut_off_and_others_are_served() {
                super::who_doesnt_read_is_cut_off_and_others_are_served(&net());
            }

            #[test]
            fn answers_come_once_and_in_order_while_a_node_dies_and_returns() {
                super::answers_come_once_and_in_order_while_a_node_dies_and_returns(&net());
            }

            #[test]
            fn a_delay_is_kept_and_counts_from_the_sending() {
                let delay = Duration::from_millis(20);
                let net: fn(Delay) -> _ = $net;
                super::a_delay_is_kept_and_counts_from_the_sending(&net(Delay(delay)), delay);
            }
        }
    };
}

suite!(local, |delay| LocalNet::new(delay));
suite_with_threads!(local_with_threads, |delay| LocalNet::new(delay));
suite!(tcp, |delay| TcpNet::loopback(&NODES, delay).expect("three ports are free"));
suite_with_threads!(tcp_with_threads, |delay| TcpNet::loopback(&NODES, delay).expect("three ports are free"));
suite!(simulated, |_| SimPorts::new(SimNet::new(Seed(1))));
