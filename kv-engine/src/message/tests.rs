use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::fields::VERSION;
use super::*;
use crate::ring::{NodeId, Ring, Zone, ZoneId};
use crate::version::{VectorClock, Versioned};

fn clock() -> impl Strategy<Value = VectorClock> {
    (proptest::collection::btree_map(0u16..100, 1u64..1000, 0..4), any::<i64>())
        .prop_map(|(entries, at)| VectorClock::from_entries(entries, at).expect("in range"))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..50)
}

fn version() -> impl Strategy<Value = Versioned> {
    (clock(), bytes()).prop_map(|(clock, value)| Versioned::new(clock, value))
}

fn change() -> impl Strategy<Value = NodeChange> {
    prop_oneof![
        (bytes(), version()).prop_map(|(key, version)| NodeChange::Put { key, version }),
        (bytes(), clock()).prop_map(|(key, version)| NodeChange::Deleted { key, version }),
        ".{0,30}".prop_map(|why| NodeChange::Damaged { why }),
    ]
}

fn ring() -> impl Strategy<Value = Arc<Ring>> {
    (1u16..6, 1u32..30, 1u16..4).prop_map(|(nodes, partitions, zones)| {
        let zone = |id| Zone::new(ZoneId(id), (0..zones).map(ZoneId));
        let node = |id: u16| {
            let partitions = (u32::from(id)..partitions).step_by(usize::from(nodes));
            (NodeId(id * 3), ZoneId(id % zones), partitions.collect())
        };
        Arc::new(Ring::zoned((0..zones).map(zone), (0..nodes).map(node)).expect("a ring"))
    })
}

fn places() -> impl Strategy<Value = Vec<TreePlace>> {
    vec(place(), 0..5)
}

fn place() -> impl Strategy<Value = TreePlace> {
    (any::<u32>(), any::<u16>()).prop_map(|(partition, at)| TreePlace { partition, at })
}

fn leaf() -> impl Strategy<Value = TreeLeaf> {
    (place(), vec((bytes(), vec(clock(), 0..3)), 0..3)).prop_map(|(place, keys)| TreeLeaf { place, keys })
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        (any::<u64>(), vec(change(), 0..4)).prop_map(|(next, changes)| Response::Changes { next, changes }),
        vec(version(), 0..4).prop_map(Response::Values),
        vec((bytes(), vec(version(), 0..3)), 0..4).prop_map(Response::AllValues),
        (any::<u64>(), ring()).prop_map(|(version, ring)| Response::Ring { version, ring }),
        vec(clock(), 0..4).prop_map(Response::Versions),
        vec(any::<u64>(), 0..5).prop_map(Response::Hashes),
        vec(leaf(), 0..3).prop_map(Response::Leaves),
        Just(Response::Stored),
        any::<bool>().prop_map(Response::Deleted),
        Just(Response::Pong),
        clock().prop_map(|stored| Response::Refused(ReplicaError::ObsoleteVersion { stored })),
        Just(Response::Refused(ReplicaError::InvalidMetadata)),
        ".{0,30}".prop_map(|why| Response::Refused(ReplicaError::Persistence { why })),
        ".{0,30}".prop_map(|why| Response::Refused(ReplicaError::Application { why })),
        any::<u16>()
            .prop_map(|donor| { Response::Refused(ReplicaError::ProxyUnreachable { donor: NodeId(donor) }) }),
    ]
}

proptest! {
    #[test]
    fn a_request_reads_as_it_was_written(
        id: u64, kind in 0..11, keys in vec(bytes(), 0..4), key in bytes(), clock in clock(), value in bytes(),
        at in places(), level: u8, by_ring: bool, ring_version: u64
    ) {
        let request = match kind {
            0 => Request::Get { key: &key },
            1 => Request::GetVersions { key: &key },
            2 => Request::Put { key: &key, clock, value: &value },
            3 => Request::Delete { key: &key, clock },
            4 => Request::Hint { key: &key, clock, value: &value },
            5 => Request::Changes { from: id, max_bytes: id as u32 },
            6 => Request::GetAll { keys: keys.iter().map(Vec::as_slice).collect() },
            7 => Request::GetRing,
            8 => Request::GetHashes { level, at },
            9 => Request::GetLeaves { at },
            _ => Request::Ping,
        };
        let bytes = if by_ring {
            request.encode_routed(RequestId(id), ring_version)
        } else {
            request.encode(RequestId(id))
        };
        let is_routed = by_ring && matches!(kind, 0..=3 | 6);
        prop_assert_eq!(routed_by(&bytes), is_routed.then_some(ring_version));
        prop_assert_eq!(Request::decode(&bytes), Ok((RequestId(id), request)));
        for cut in 0..bytes.len() {
            prop_assert!(Request::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_response_reads_as_it_was_written(id: u64, response in response()) {
        let bytes = response.encode(RequestId(id));
        prop_assert_eq!(Response::decode(&bytes), Ok((RequestId(id), response)));
        for cut in 0..bytes.len() {
            prop_assert!(Response::decode(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn any_bytes_give_a_message_or_an_error(
        bytes in vec(any::<u8>(), 0..200), kind in prop_oneof![
            any::<u8>(), 1u8..5, Just(10), 0x41u8..0x45, Just(0x4a), 32u8..38, 0x81u8..0x85, Just(0x8a),
            0xa2u8..0xa6, Just(0xff)
        ]
    ) {
        let _ = Request::decode(&bytes);
        let _ = Response::decode(&bytes);
        let mut bytes = bytes;
        // Past the version and the kind, where the lengths and counts are.
        if bytes.len() > 2 {
            (bytes[0], bytes[1]) = (VERSION, kind);
            let _ = Request::decode(&bytes);
            let _ = Response::decode(&bytes);
        }
    }
}

// One golden message each way: it fails when a byte moves.
#[test]
fn the_layout_stands_as_documented() {
    let clock = VectorClock::from_entries([(1, 2)], 3).expect("in range");
    let clock_bytes = [0, 1, 1, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3];
    let put = Request::Put { key: b"k", clock: clock.clone(), value: b"va" }.encode(RequestId(5));
    let expected = [&[1, 2, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'k'][..], &clock_bytes, &[2, 0, 0, 0, b'v', b'a']];
    assert_eq!(put, expected.concat());
    let get = Request::Get { key: b"k" }.encode_routed(RequestId(5), 6);
    assert_eq!(get, [1, 0x41, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'k']);
    let values = Response::Values(vec![Versioned::new(clock.clone(), b"v")]).encode(RequestId(6));
    let expected = [&[1, 0x81, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 15, 0, 0, 0][..], &clock_bytes, b"v"];
    assert_eq!(values, expected.concat());
    let asked = Request::Changes { from: 8, max_bytes: 9 }.encode(RequestId(6));
    assert_eq!(asked, [1, 34, 6, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
    let changes = vec![
        NodeChange::Put { key: b"k".to_vec(), version: Versioned::new(clock.clone(), b"v") },
        NodeChange::Deleted { key: b"k".to_vec(), version: clock },
        NodeChange::Damaged { why: "x".to_owned() },
    ];
    let told = Response::Changes { next: 8, changes }.encode(RequestId(6));
    let expected = [
        &[1, 0xa2, 6, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0][..],
        &[0, 1, 0, b'k', 15, 0, 0, 0],
        &clock_bytes,
        b"v",
        &[1, 1, 0, b'k'],
        &clock_bytes,
        &[2, 1, 0, b'x'],
    ];
    assert_eq!(told, expected.concat());
    let at = vec![TreePlace { partition: 7, at: 8 }];
    let asked = Request::GetHashes { level: 2, at: at.clone() }.encode(RequestId(6));
    assert_eq!(asked, [1, 36, 6, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 7, 0, 0, 0, 8, 0]);
    let asked = Request::GetLeaves { at }.encode(RequestId(6));
    assert_eq!(asked, [1, 37, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 8, 0]);
    let told = Response::Hashes(vec![9]).encode(RequestId(6));
    assert_eq!(told, [1, 0xa4, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    let keys = vec![(b"k".to_vec(), vec![VectorClock::from_entries([(1, 2)], 3).expect("in range")])];
    let told = Response::Leaves(vec![TreeLeaf { place: TreePlace { partition: 7, at: 8 }, keys }]);
    let expected = [
        &[1, 0xa5, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 8, 0][..],
        &[1, 0, 0, 0, 1, 0, b'k', 1, 0, 0, 0],
        &clock_bytes,
    ];
    assert_eq!(told.encode(RequestId(6)), expected.concat());
    let refused = Response::Refused(ReplicaError::InvalidMetadata).encode(RequestId(7));
    assert_eq!(refused, [1, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0]);
}

#[test]
fn errors_name_what_is_wrong() {
    assert_eq!(Request::decode(&[2, 1]), Err(MessageError::Version { found: 2 }));
    assert_eq!(Request::decode(&[1]), Err(MessageError::Truncated { field: "header", got: 1 }));
    let header = |kind: u8| [&[1, kind][..], &[0; 8]].concat();
    assert_eq!(Request::decode(&header(0x60)), Err(MessageError::Kind { found: 0x60 }));
    let cut = Err(MessageError::Truncated { field: "ring version", got: 10 });
    assert_eq!(Request::decode(&header(0x41)), cut);
    assert_eq!(Request::decode(&header(0x81)), Err(MessageError::Kind { found: 0x81 }));
    assert_eq!(Response::decode(&header(1)), Err(MessageError::Kind { found: 1 }));
    let wild = [header(0x81), vec![0xff; 4]].concat();
    assert_eq!(Response::decode(&wild), Err(MessageError::Count { count: u32::MAX, left: 0 }));
    let long = [header(32), vec![0]].concat();
    assert_eq!(Request::decode(&long), Err(MessageError::Trailing { extra: 1 }));
}
