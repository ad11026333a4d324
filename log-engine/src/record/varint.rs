//! Kafka's variable-length integers: zigzag, seven bits a byte, lowest first, the top bit says that more follow.

/// Most bytes that a 32-bit varint takes.
const VARINT_LEN_MAX: usize = 5;
/// Most bytes that a 64-bit varint takes.
const VARLONG_LEN_MAX: usize = 10;

fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

fn unzigzag(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}

/// How many bytes `value` takes.
#[inline]
pub(crate) fn len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends `value`. A varint and a varlong of the same value have the same bytes.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    if raw < 0x80 {
        out.push(raw as u8);
        return;
    }
    let mut bytes = [0u8; VARLONG_LEN_MAX];
    let mut n = 0;
    while raw >= 0x80 {
        bytes[n] = (raw as u8) | 0x80;
        raw >>= 7;
        n += 1;
    }
    bytes[n] = raw as u8;
    out.extend_from_slice(&bytes[..=n]);
}

/// Takes a 64-bit varint off the front of `input`; `None` if it is cut short or too long.
#[inline]
pub(crate) fn take_long(input: &mut &[u8]) -> Option<i64> {
    let mut raw = 0u64;
    for (i, &byte) in input.iter().take(VARLONG_LEN_MAX).enumerate() {
        // The tenth byte has room for one bit only.
        if i == VARLONG_LEN_MAX - 1 && byte > 1 {
            return None;
        }
        raw |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *input = &input[i + 1..];
            return Some(unzigzag(raw));
        }
    }
    None
}

/// Takes a 32-bit varint off the front of `input`; `None` if it is cut short, too long, or out of range.
#[inline]
pub(crate) fn take_int(input: &mut &[u8]) -> Option<i32> {
    let before = *input;
    let value = take_long(input).and_then(|v| i32::try_from(v).ok());
    if before.len() - input.len() > VARINT_LEN_MAX {
        return None;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_specification() {
        // Protocol Buffers' zigzag table, which Kafka's specification refers to.
        for (value, bytes) in [
            (0, [0x00].as_slice()),
            (-1, &[0x01]),
            (1, &[0x02]),
            (-2, &[0x03]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (2_147_483_647, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (-2_147_483_648, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(len(value), bytes.len(), "{value}");
            assert_eq!(take_long(&mut out.as_slice()), Some(value));
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: i64, rest: Vec<u8>) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(out.len(), len(value));
            out.extend_from_slice(&rest);
            let mut input = out.as_slice();
            prop_assert_eq!(take_long(&mut input), Some(value));
            prop_assert_eq!(input, rest.as_slice());
            prop_assert_eq!(take_int(&mut out.as_slice()), i32::try_from(value).ok());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..16)) {
            let _ = take_long(&mut bytes.as_slice());
            let _ = take_int(&mut bytes.as_slice());
        }
    }
}
