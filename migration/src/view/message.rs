//! What goes over the wire between a view and its readers. Documented in docs/formats/view.md.
//!
//! Invariant: any bytes decode to a message or to an error, never to a panic, and nothing is allocated for a length that
//! wasn't compared with the bytes that are left.

use log_engine::Offset;

/// From a reader to the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The value of a key.
    Get {
        /// Comes back with the answer.
        id: u64,
        /// Answer only once this partition is applied up to and with this offset; at once if there is none.
        at_least: Option<(u32, Offset)>,
        /// How long to wait for that, in milliseconds.
        wait_ms: u32,
        /// The key.
        key: Vec<u8>,
    },
    /// From now on, say how far the view is whenever it has moved.
    Watch,
}

/// From the view to a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The value of the key, or that it has none.
    Value {
        /// Of the request.
        id: u64,
        /// The value.
        value: Option<Vec<u8>>,
    },
    /// The offset wasn't applied in time.
    TimedOut {
        /// Of the request.
        id: u64,
        /// The offset that the partition's next record will have.
        next: Offset,
    },
    /// The view can't answer this.
    Failed {
        /// Of the request.
        id: u64,
        /// Why, in words.
        why: String,
    },
    /// To watchers: everything below `next` is visible.
    Moved {
        /// The partition.
        partition: u32,
        /// The offset that comes next.
        next: Offset,
    },
}

/// Why bytes aren't a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Another version, or none of ours.
    #[error(
        "a view's message begins with {VERSION}, not {found}: the sender is another program or another version"
    )]
    Version {
        /// The first byte.
        found: u8,
    },
    /// No such message.
    #[error("a view has no message of kind {found}")]
    Kind {
        /// The second byte.
        found: u8,
    },
    /// Too short for what it says it is.
    #[error("a view's message of {len} bytes ends too early")]
    Truncated {
        /// Its length.
        len: usize,
    },
    /// Longer than what it says it is.
    #[error("a view's message has {left} bytes too many")]
    LeftOver {
        /// How many are left.
        left: usize,
    },
    /// A mark that is neither 0 nor 1.
    #[error("a view's message has {found} where only 0 and 1 have a meaning")]
    Flag {
        /// What is there.
        found: u8,
    },
    /// Words that aren't UTF-8.
    #[error("a view's message gives a reason that isn't UTF-8")]
    Words,
}

const VERSION: u8 = 1;
const GET: u8 = 1;
const WATCH: u8 = 2;
const VALUE: u8 = 129;
const TIMED_OUT: u8 = 130;
const FAILED: u8 = 131;
const MOVED: u8 = 132;

impl Request {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Get { id, at_least, wait_ms, key } => {
                let mut out = Vec::with_capacity(27 + key.len());
                out.extend_from_slice(&[VERSION, GET]);
                out.extend_from_slice(&id.to_le_bytes());
                out.push(u8::from(at_least.is_some()));
                let (partition, offset) = at_least.unwrap_or_default();
                out.extend_from_slice(&partition.to_le_bytes());
                out.extend_from_slice(&offset.0.to_le_bytes());
                out.extend_from_slice(&wait_ms.to_le_bytes());
                out.extend_from_slice(key);
                out
            }
            Self::Watch => vec![VERSION, WATCH],
        }
    }

    /// The message that the bytes are.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut left = Left::begin(bytes)?;
        match left.u8()? {
            GET => {
                let id = left.u64()?;
                let is_set = left.flag()?;
                let at = (left.u32()?, Offset(left.u64()?));
                let wait_ms = left.u32()?;
                Ok(Self::Get { id, at_least: is_set.then_some(at), wait_ms, key: left.rest().to_vec() })
            }
            WATCH => left.end(Self::Watch),
            found => Err(MessageError::Kind { found }),
        }
    }
}

impl Reply {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        let mut begin = |kind: u8, id: &u64| {
            out.extend_from_slice(&[VERSION, kind]);
            out.extend_from_slice(&id.to_le_bytes());
        };
        match self {
            Self::Value { id, value } => {
                begin(VALUE, id);
                out.push(u8::from(value.is_some()));
                out.extend_from_slice(value.as_deref().unwrap_or_default());
            }
            Self::TimedOut { id, next } => {
                begin(TIMED_OUT, id);
                out.extend_from_slice(&next.0.to_le_bytes());
            }
            Self::Failed { id, why } => {
                begin(FAILED, id);
                out.extend_from_slice(why.as_bytes());
            }
            Self::Moved { partition, next } => {
                out.extend_from_slice(&[VERSION, MOVED]);
                out.extend_from_slice(&partition.to_le_bytes());
                out.extend_from_slice(&next.0.to_le_bytes());
            }
        }
        out
    }

    /// The message that the bytes are.
    ///
    /// # Errors
    /// They are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut left = Left::begin(bytes)?;
        match left.u8()? {
            VALUE => {
                let id = left.u64()?;
                if left.flag()? {
                    Ok(Self::Value { id, value: Some(left.rest().to_vec()) })
                } else {
                    left.end(Self::Value { id, value: None })
                }
            }
            TIMED_OUT => {
                let message = Self::TimedOut { id: left.u64()?, next: Offset(left.u64()?) };
                left.end(message)
            }
            FAILED => {
                let id = left.u64()?;
                let why = std::str::from_utf8(left.rest()).map_err(|_| MessageError::Words)?;
                Ok(Self::Failed { id, why: why.to_owned() })
            }
            MOVED => {
                let message = Self::Moved { partition: left.u32()?, next: Offset(left.u64()?) };
                left.end(message)
            }
            found => Err(MessageError::Kind { found }),
        }
    }
}

/// The bytes that aren't read yet.
struct Left<'a> {
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Left<'a> {
    fn begin(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut left = Self { len: bytes.len(), bytes };
        match left.u8()? {
            VERSION => Ok(left),
            found => Err(MessageError::Version { found }),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (first, rest) =
            self.bytes.split_first_chunk::<N>().ok_or(MessageError::Truncated { len: self.len })?;
        self.bytes = rest;
        Ok(*first)
    }

    fn u8(&mut self) -> Result<u8, MessageError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, MessageError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, MessageError> {
        self.take().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, MessageError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(MessageError::Flag { found }),
        }
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    fn end<M>(&self, message: M) -> Result<M, MessageError> {
        match self.bytes.len() {
            0 => Ok(message),
            left => Err(MessageError::LeftOver { left }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offset() -> impl Strategy<Value = Offset> {
        any::<u64>().prop_map(Offset)
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..50)
    }

    fn request() -> impl Strategy<Value = Request> {
        prop_oneof![
            (any::<u64>(), prop::option::of((any::<u32>(), offset())), any::<u32>(), bytes())
                .prop_map(|(id, at_least, wait_ms, key)| Request::Get { id, at_least, wait_ms, key }),
            Just(Request::Watch),
        ]
    }

    fn reply() -> impl Strategy<Value = Reply> {
        prop_oneof![
            (any::<u64>(), prop::option::of(bytes())).prop_map(|(id, value)| Reply::Value { id, value }),
            (any::<u64>(), offset()).prop_map(|(id, next)| Reply::TimedOut { id, next }),
            (any::<u64>(), ".{0,20}").prop_map(|(id, why)| Reply::Failed { id, why }),
            (any::<u32>(), offset()).prop_map(|(partition, next)| Reply::Moved { partition, next }),
        ]
    }

    proptest! {
        #[test]
        fn messages_come_back(request in request(), reply in reply()) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
            prop_assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(mut bytes in bytes(), kind in any::<u8>(), ours in any::<bool>()) {
            if ours && bytes.len() >= 2 {
                bytes[0] = VERSION;
                bytes[1] = kind;
            }
            // A request without an offset leaves the bytes of the offset open; all else is canonical.
            if let Ok(request) = Request::decode(&bytes) {
                prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
            }
            if let Ok(reply) = Reply::decode(&bytes) {
                prop_assert_eq!(reply.encode(), bytes);
            }
        }

        #[test]
        fn a_message_cut_short_is_no_other_message_but_for_its_open_end(reply in reply(), cut in 1usize..60) {
            let whole = reply.encode();
            let part = &whole[..whole.len().saturating_sub(cut)];
            if let Ok(other) = Reply::decode(part) {
                let open_end = matches!(other, Reply::Value { value: Some(_), .. } | Reply::Failed { .. });
                prop_assert!(open_end, "{other:?}");
            }
        }
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let get = Request::Get { id: 2, at_least: Some((3, Offset(4))), wait_ms: 5, key: b"k".to_vec() };
        let expected = [
            &[1, 1][..],
            &[2, 0, 0, 0, 0, 0, 0, 0],
            &[1, 3, 0, 0, 0],
            &[4, 0, 0, 0, 0, 0, 0, 0],
            &[5, 0, 0, 0],
            b"k",
        ];
        assert_eq!(get.encode(), expected.concat());
        let value = Reply::Value { id: 2, value: Some(b"v".to_vec()) };
        assert_eq!(value.encode(), [&[1, 129, 2, 0, 0, 0, 0, 0, 0, 0, 1][..], b"v"].concat());
        let moved = Reply::Moved { partition: 1, next: Offset(9) };
        assert_eq!(moved.encode(), [1, 132, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    }
}
