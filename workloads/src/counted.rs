//! A counted value: what an increment reads and writes.
//!
//! Behind the header of a generated value ([`values`](crate::values)) stand 8 bytes, little-endian: how many
//! increments this value has seen, in the chain of reads and writes that led to it. An increment that somebody else's
//! write replaced unseen is missing in every later count, which is how it is found out.

use crate::text;
use crate::values::{HEADER_LEN, Label, Value, ValueFault, read_label};
use engine_env::rng::mix;

/// No counted value is shorter.
pub(crate) const COUNTED_MIN: usize = COUNT_AT + size_of::<u64>();

const COUNT_AT: usize = HEADER_LEN;

/// A value of `len` bytes (at least [`COUNTED_MIN`]) with the count 0.
pub(crate) fn template(label: Label, len: usize) -> Value {
    let mut bytes = Value::room(len);
    bytes.extend_from_slice(&0_u64.to_le_bytes());
    let start = mix(u64::from(label.key_index) ^ label.version.rotate_left(32));
    text::corpus().fill(&mut bytes, len.saturating_sub(COUNTED_MIN), start);
    Value::seal(bytes, label)
}

/// The count in a value.
///
/// # Errors
/// [`ValueFault`]: damaged, or too short for a count.
pub(crate) fn count(bytes: &[u8]) -> Result<u64, ValueFault> {
    read_label(bytes)?;
    let count = bytes.get(COUNT_AT..COUNTED_MIN).ok_or(ValueFault::NoCount { found: bytes.len() })?;
    Ok(u64::from_le_bytes(count.try_into().expect("8 bytes")))
}

/// The same value with another count.
pub(crate) fn with_count(value: &Value, count: u64) -> Value {
    let label = value.label().expect("a counted value is a generated one");
    let mut bytes = value.as_bytes().to_vec();
    bytes[COUNT_AT..COUNTED_MIN].copy_from_slice(&count.to_le_bytes());
    Value::seal(bytes, label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{StreamTag, check};

    const LABEL: Label = Label { key_index: 9, stream: StreamTag(4), version: 17 };

    #[test]
    fn a_counted_value_checks_at_any_count_and_keeps_its_text() {
        for len in [COUNTED_MIN, 400, 1100] {
            let zero = template(LABEL, len);
            assert_eq!((zero.len(), count(zero.as_bytes())), (len, Ok(0)));
            let many = with_count(&zero, u64::MAX);
            assert_eq!(count(many.as_bytes()), Ok(u64::MAX));
            assert_eq!(check(many.as_bytes(), LABEL), Ok(()));
            assert_eq!(many.as_bytes()[COUNTED_MIN..], zero.as_bytes()[COUNTED_MIN..]);
        }
    }

    #[test]
    fn a_value_without_room_for_a_count_is_named() {
        let short = Value::generate(LABEL.stream, 9, 17, COUNTED_MIN - 1);
        assert_eq!(count(short.as_bytes()), Err(ValueFault::NoCount { found: COUNTED_MIN - 1 }));
    }
}
