//! [`Slop`]: a hint as it lies in the slop store. Its version there is that of the write, so that a newer hint replaces
//! an older one as a newer value would.
//!
//! Bytes, as in the original. Key: operation (0 put, 1 delete), 00, store name, 00, `u32` node (big-endian), 00, key.
//! Value: `u32` length (big-endian), then a protobuf message with the same, the write's value, and when it arrived.

use prost::Message;

use crate::ring::NodeId;

/// The length in front of a value.
const LENGTH_LEN: usize = 4;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlopOperation {
    Put,
    Delete,
}

/// What is to be done, in which store, on which node, and to which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slop<'a> {
    pub(crate) operation: SlopOperation,
    pub(crate) store: &'a str,
    pub(crate) node: NodeId,
    pub(crate) key: &'a [u8],
}

/// The original's message `Slop`, all of whose fields but the value are always there.
#[derive(Clone, PartialEq, Message)]
struct SlopMessage {
    #[prost(string, required, tag = "1")]
    store: String,
    #[prost(string, required, tag = "2")]
    operation: String,
    #[prost(bytes = "vec", required, tag = "3")]
    key: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "4")]
    value: Option<Vec<u8>>,
    #[prost(int32, required, tag = "5")]
    node_id: i32,
    #[prost(int64, required, tag = "6")]
    arrived: i64,
}

impl<'a> Slop<'a> {
    /// What a slop key has beside the write's.
    pub(crate) fn header_len(store: &str) -> usize {
        1 + 1 + store.len() + 1 + 4 + 1
    }

    /// Its key in the slop store.
    pub(crate) fn encode_key(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::header_len(self.store) + self.key.len());
        bytes.extend_from_slice(&[u8::from(self.operation == SlopOperation::Delete), 0]);
        bytes.extend_from_slice(self.store.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&u32::from(self.node.0).to_be_bytes());
        bytes.push(0);
        bytes.extend_from_slice(self.key);
        bytes
    }

    /// Reads what [`Slop::encode_key`] wrote; `None` if it is something else.
    pub(crate) fn decode_key(bytes: &'a [u8]) -> Option<Self> {
        let [operation @ (0 | 1), 0, rest @ ..] = bytes else { return None };
        let operation = if *operation == 0 { SlopOperation::Put } else { SlopOperation::Delete };
        // A store's name holds no zero byte.
        let end = rest.iter().position(|byte| *byte == 0)?;
        let store = str::from_utf8(&rest[..end]).ok()?;
        let [n0, n1, n2, n3, 0, key @ ..] = &rest[end + 1..] else { return None };
        let node = u16::try_from(u32::from_be_bytes([*n0, *n1, *n2, *n3])).ok()?;
        Some(Self { operation, store, node: NodeId(node), key })
    }

    /// Its value in the slop store: with the write's value, empty for a delete.
    pub(crate) fn encode_value(&self, value: &[u8], arrived_ms: i64) -> Vec<u8> {
        let is_put = self.operation == SlopOperation::Put;
        let message = SlopMessage {
            store: self.store.to_owned(),
            operation: if is_put { "PUT" } else { "DELETE" }.to_owned(),
            key: self.key.to_vec(),
            value: is_put.then(|| value.to_vec()),
            node_id: self.node.0.into(),
            arrived: arrived_ms,
        };
        let len = u32::try_from(message.encoded_len()).expect("keys and values are far shorter");
        let mut bytes = Vec::with_capacity(LENGTH_LEN + len as usize);
        bytes.extend_from_slice(&len.to_be_bytes());
        message.encode(&mut bytes).expect("a vector grows");
        bytes
    }

    /// The write's value from the hint's, empty for a delete; `None` if the bytes aren't this hint's.
    pub(crate) fn decode_value(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (len, message) = bytes.split_first_chunk::<LENGTH_LEN>()?;
        if u32::from_be_bytes(*len) as usize != message.len() {
            return None;
        }
        let message = SlopMessage::decode(message).ok()?;
        let operation = match message.operation.as_str() {
            "PUT" => SlopOperation::Put,
            "DELETE" => SlopOperation::Delete,
            _ => return None,
        };
        let same = (operation, message.store.as_str(), message.node_id, message.key.as_slice())
            == (self.operation, self.store, i32::from(self.node.0), self.key);
        let value = message.value.unwrap_or_default();
        same.then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_keys_layout_is_the_originals() {
        let slop = Slop { operation: SlopOperation::Delete, store: "st", node: NodeId(258), key: b"k" };
        assert_eq!(slop.encode_key(), [1, 0, b's', b't', 0, 0, 0, 1, 2, 0, b'k']);
        assert_eq!(slop.encode_key().len(), Slop::header_len("st") + 1);
    }

    #[test]
    fn the_values_layout_is_the_originals() {
        let put = Slop { operation: SlopOperation::Put, store: "st", node: NodeId(258), key: b"k" };
        let expected = [
            &[0, 0, 0, 23][..],
            &[0x0a, 2, b's', b't'],
            &[0x12, 3, b'P', b'U', b'T'],
            &[0x1a, 1, b'k'],
            &[0x22, 2, b'v', b'w'],
            &[0x28, 0x82, 0x02],
            &[0x30, 0xac, 0x02],
        ];
        let mut expected = expected.concat();
        expected[3] = u8::try_from(expected.len() - LENGTH_LEN).expect("short");
        assert_eq!(put.encode_value(b"vw", 300), expected);
        let delete = Slop { operation: SlopOperation::Delete, ..put.clone() };
        let expected = [
            &[0, 0, 0, 21][..],
            &[0x0a, 2, b's', b't'],
            &[0x12, 6, b'D', b'E', b'L', b'E', b'T', b'E'],
            &[0x1a, 1, b'k'],
            &[0x28, 0x82, 0x02],
            &[0x30, 0x00],
        ];
        let mut expected = expected.concat();
        expected[3] = u8::try_from(expected.len() - LENGTH_LEN).expect("short");
        assert_eq!(delete.encode_value(b"", 0), expected, "zero is written, and a delete has no value");
        assert_eq!(delete.decode_value(&expected), Some(Vec::new()));
        assert_eq!(put.decode_value(&expected), None, "another hint's");
    }

    proptest! {
        #[test]
        fn it_reads_as_it_was_written_and_any_bytes_are_judged(
            put: bool, store in "[a-z$_.-]{0,12}", node in 0u16..32_768,
            key: Vec<u8>, value: Vec<u8>, at: i64, any: Vec<u8>,
        ) {
            let operation = if put { SlopOperation::Put } else { SlopOperation::Delete };
            let slop = Slop { operation, store: &store, node: NodeId(node), key: &key };
            let bytes = slop.encode_key();
            prop_assert_eq!(Slop::decode_key(&bytes), Some(slop.clone()));
            let _ = Slop::decode_key(&any);
            let bytes = slop.encode_value(&value, at);
            let expected = if put { value } else { Vec::new() };
            prop_assert_eq!(slop.decode_value(&bytes), Some(expected));
            for cut in 0..bytes.len() {
                prop_assert_eq!(slop.decode_value(&bytes[..cut]), None);
            }
            let _ = slop.decode_value(&any);
            let len = u32::try_from(any.len()).expect("short").to_be_bytes();
            let _ = slop.decode_value(&[&len[..], &any].concat());
        }
    }
}
