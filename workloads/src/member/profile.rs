//! A member's record: fifteen fields of text as one JSON object behind the value's header.
//!
//! The record is a function of (member, how often each field was changed, length): a change gives one field other
//! text of the same length, so that two versions of a record differ where the member edited and nowhere else, and
//! a record keeps its length for life.

use crate::text::{self, STEP, append_step};
use crate::values::{HEADER_LEN, Label, Value};
use engine_env::rng::mix;

/// The number of fields of a record.
pub(crate) const FIELDS: usize = 15;

/// What stands before each field's text, and the field's share of a record's text in sixty-fourths. Names and
/// shares are those of the public register (openstates/people) that the sizes were measured on.
const SHARES: [(&[u8], u32); FIELDS] = [
    (b"{\"name\":\"", 2),
    (b"\",\"given_name\":\"", 1),
    (b"\",\"family_name\":\"", 1),
    (b"\",\"email\":\"", 3),
    (b"\",\"image\":\"", 7),
    (b"\",\"party\":\"", 2),
    (b"\",\"gender\":\"", 1),
    (b"\",\"birth_date\":\"", 1),
    (b"\",\"roles\":\"", 9),
    (b"\",\"offices\":\"", 12),
    (b"\",\"links\":\"", 8),
    (b"\",\"sources\":\"", 8),
    (b"\",\"other_names\":\"", 4),
    (b"\",\"other_identifiers\":\"", 3),
    (b"\",\"extras\":\"", 2),
];

const SHARES_SUM: u32 = {
    let (mut sum, mut at) = (0, 0);
    while at < FIELDS {
        sum += SHARES[at].1;
        at += 1;
    }
    sum
};
const _: () = assert!(SHARES_SUM == 64);

/// What stands before each field, filled up to a step, and its length.
static FRAMES: [([u8; STEP], usize); FIELDS] = {
    let mut frames = [([0; STEP], 0); FIELDS];
    let mut field = 0;
    while field < FIELDS {
        let before = SHARES[field].0;
        let mut at = 0;
        while at < before.len() {
            frames[field].0[at] = before[at];
            at += 1;
        }
        frames[field].1 = before.len();
        field += 1;
    }
    frames
};

/// Closes the last field and the object.
const END: &[u8] = b"\"}";

/// Bytes of a record that are not text: header, names, quotes, colons, commas, braces.
const FRAME_LEN: usize = {
    let (mut len, mut at) = (HEADER_LEN + END.len(), 0);
    while at < FIELDS {
        len += SHARES[at].0.len();
        at += 1;
    }
    len
};

/// No record is shorter: every field has at least two characters.
pub(crate) const RECORD_MIN: usize = FRAME_LEN + 2 * SHARES_SUM as usize;

/// How often each field of a member was changed.
pub(crate) type Changes = [u8; FIELDS];

/// The record of a member with these changes, `len` bytes long (at least [`RECORD_MIN`]).
pub(crate) fn record(label: Label, changes: &Changes, len: usize) -> Value {
    debug_assert!(len >= RECORD_MIN, "a record of {len} bytes has no room for its fields");
    let text_len = len.max(RECORD_MIN) - FRAME_LEN;
    let mut out = Value::room(len);
    let member = mix(u64::from(label.key_index) ^ 0x6d65_6d62_6572);
    let corpus = text::corpus();
    let mut left = text_len;
    for (field, ((before, before_len), (_, share))) in FRAMES.iter().zip(&SHARES).enumerate() {
        // The last field takes what rounding left over.
        let take = if field + 1 == FIELDS { left } else { text_len * *share as usize / SHARES_SUM as usize };
        left -= take;
        let text_from = out.len() + before_len;
        append_step(&mut out, before);
        out.truncate(text_from);
        corpus.fill(&mut out, take, mix(member ^ (field as u64) << 8 ^ u64::from(changes[field])));
    }
    out.extend_from_slice(END);
    Value::seal(out, label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{StreamTag, check};

    fn label(version: u64) -> Label {
        Label { key_index: 42, stream: StreamTag(1), version }
    }

    fn fields(value: &Value) -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_slice(&value.as_bytes()[HEADER_LEN..]).expect("the body is one JSON object")
    }

    #[test]
    fn a_record_has_its_length_its_header_and_fifteen_fields() {
        for len in [RECORD_MIN, 400, 1097, 9000] {
            let value = record(label(3), &[0; FIELDS], len);
            assert_eq!(value.len(), len);
            check(value.as_bytes(), label(3)).expect("self-checking");
            assert_eq!(fields(&value).len(), FIELDS);
        }
    }

    #[test]
    fn a_change_touches_its_field_and_no_other() {
        let before = fields(&record(label(1), &[0; FIELDS], 1097));
        let mut changes = [0; FIELDS];
        changes[9] = 1;
        let after = fields(&record(label(2), &changes, 1097));
        let differing: Vec<_> = before.iter().filter(|(name, text)| after[*name] != **text).collect();
        assert_eq!(differing.len(), 1);
        assert_eq!(differing[0].0, "offices");
    }

    #[test]
    fn the_smallest_size_of_the_default_workload_has_room() {
        const { assert!(RECORD_MIN <= 400) }
    }
}
