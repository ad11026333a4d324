//! [`Position`]: how far a partition is applied, as it stands in the view's store. Documented in docs/formats/view.md.

use log_engine::Offset;

/// How far a partition is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The offset that comes next: everything below it is applied.
    pub next: Offset,
    /// The timestamp of the newest record applied, in milliseconds since the Unix epoch; 0 if there was none.
    pub newest_ms: i64,
}

/// Why bytes aren't a position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// Written by another version of this program.
    #[error(
        "a position of format {found} can't be read by this program, which knows {VERSION}; build the view again"
    )]
    Version {
        /// The format's number.
        found: u8,
    },
    /// Cut or grown.
    #[error("a position has {LEN} bytes, not {len}; build the view again")]
    Length {
        /// How many there are.
        len: usize,
    },
}

const VERSION: u8 = 1;
const NEXT_AT: usize = 1;
const NEWEST_AT: usize = NEXT_AT + 8;
const LEN: usize = NEWEST_AT + 8;
const _: () = assert!(LEN == 17);

impl Position {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LEN);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.next.0.to_le_bytes());
        bytes.extend_from_slice(&self.newest_ms.to_le_bytes());
        bytes
    }

    /// What the bytes say.
    ///
    /// # Errors
    /// They aren't a position.
    pub fn decode(bytes: &[u8]) -> Result<Self, PositionError> {
        match bytes.first() {
            Some(&VERSION) if bytes.len() == LEN => Ok(Self {
                next: Offset(u64::from_le_bytes(bytes[NEXT_AT..NEWEST_AT].try_into().expect("eight bytes"))),
                newest_ms: i64::from_le_bytes(bytes[NEWEST_AT..LEN].try_into().expect("eight bytes")),
            }),
            None | Some(&VERSION) => Err(PositionError::Length { len: bytes.len() }),
            Some(&found) => Err(PositionError::Version { found }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_position_comes_back(next in any::<u64>(), newest_ms in any::<i64>()) {
            let position = Position { next: Offset(next), newest_ms };
            prop_assert_eq!(Position::decode(&position.encode()), Ok(position));
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(position) = Position::decode(&bytes) {
                prop_assert_eq!(position.encode(), bytes);
            }
        }
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let position = Position { next: Offset(258), newest_ms: 3 };
        assert_eq!(position.encode(), [1, 2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
    }
}
