//! [`Slop`]: a hint's key in the slop store. Its version there is that of the write, so that a newer hint replaces an
//! older one as a newer value would.
//!
//! Bytes, as in the original: operation (0 put, 1 delete), 00, store name (ours has none), 00, `u32` node (big-endian),
//! 00, key.

use crate::ring::NodeId;

/// What a hint's key has before the write's.
pub(crate) const SLOP_HEADER_LEN: usize = 1 + 1 + 1 + 4 + 1;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlopOperation {
    Put,
    Delete,
}

/// What is to be done, where, and to which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slop<'a> {
    pub(crate) operation: SlopOperation,
    pub(crate) node: NodeId,
    pub(crate) key: &'a [u8],
}

impl<'a> Slop<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOP_HEADER_LEN + self.key.len());
        bytes.extend_from_slice(&[u8::from(self.operation == SlopOperation::Delete), 0, 0]);
        bytes.extend_from_slice(&u32::from(self.node.0).to_be_bytes());
        bytes.push(0);
        bytes.extend_from_slice(self.key);
        bytes
    }

    /// Reads what [`Slop::encode`] wrote; `None` if it is something else.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let [operation @ (0 | 1), 0, 0, n0, n1, n2, n3, 0, key @ ..] = bytes else { return None };
        let operation = if *operation == 0 { SlopOperation::Put } else { SlopOperation::Delete };
        let node = u16::try_from(u32::from_be_bytes([*n0, *n1, *n2, *n3])).ok()?;
        Some(Self { operation, node: NodeId(node), key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_layout_is_the_originals() {
        let slop = Slop { operation: SlopOperation::Delete, node: NodeId(258), key: b"k" };
        assert_eq!(slop.encode(), [1, 0, 0, 0, 0, 1, 2, 0, b'k']);
    }

    proptest! {
        #[test]
        fn it_reads_as_it_was_written_and_any_bytes_are_judged(
            put: bool, node in 0u16..32_768, key: Vec<u8>, any: Vec<u8>
        ) {
            let operation = if put { SlopOperation::Put } else { SlopOperation::Delete };
            let slop = Slop { operation, node: NodeId(node), key: &key };
            let bytes = slop.encode();
            prop_assert_eq!(Slop::decode(&bytes), Some(slop));
            let _ = Slop::decode(&any);
        }
    }
}
