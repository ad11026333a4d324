//! [`Token`]: one operation of the stress writer, as one line of text.
//!
//! ```text
//! put KEYHEX VALUECRC CLOCK                  VALUECRC = CRC-32 of the value, 8 hex digits; CLOCK as in clock.rs
//! del KEYHEX CLOCK                           CLOCK = the clock that was read
//! app TOPIC-PARTITION ID VALUECRC [OFFSET]   ID = RUN.THREAD.SEQ; OFFSET only once it is acknowledged. In a compacted
//!                                            topic ID = RUN.THREAD.SEQ@KEY, and VALUECRC 00000000 is a tombstone
//! cut TOPIC-PARTITION OFFSET                 the log may start as late as OFFSET; acknowledged: no earlier
//! exp TOPIC-PARTITION OFFSET                 tombstones below OFFSET were kept for their time and may go; never acknowledged
//! ```
//!
//! Invariants: what prints parses back to the same token, and only that one text parses to it (no leading zeros, no
//! upper case, single spaces), so lines may also be compared as text. A key of no bytes is written `-`.

use std::fmt;
use std::str::FromStr;

use super::clock::{Clock, ClockError};
use super::number;

/// The longest topic name (Kafka's limit).
const TOPIC_LEN_MAX: usize = 249;

/// A key, printed in hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub Vec<u8>);

/// CRC-32 (IEEE) of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueCrc(pub u32);

impl ValueCrc {
    /// Of a tombstone in a compacted topic, where no value is empty.
    pub const TOMBSTONE: Self = Self(0);

    /// The checksum of `value`.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        Self(crc32fast::hash(value))
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// The topic: 1 to 249 of `[a-zA-Z0-9._-]`.
    pub topic: String,
    /// The partition's number.
    pub partition: u32,
}

/// Names a record once and for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId {
    /// Which run of the writer on this folder, from 1; durable in the folder before the run's first operation.
    pub run: u64,
    /// Which thread of the run.
    pub thread: u32,
    /// Rises per thread and partition.
    pub seq: u64,
    /// In a compacted topic: which key it has there. A later record of the key may replace it.
    pub key: Option<u32>,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Token {
    /// A put of a version.
    Put {
        /// The key.
        key: Key,
        /// Checksum of the value.
        value: ValueCrc,
        /// The exact clock that is written.
        clock: Clock,
    },
    /// A delete of everything up to a clock.
    Del {
        /// The key.
        key: Key,
        /// The clock that was read.
        clock: Clock,
    },
    /// An append of one record.
    App {
        /// Where to.
        to: Partition,
        /// The record's name, which is its key in the log.
        id: RecordId,
        /// Checksum of the record's value.
        value: ValueCrc,
        /// Where it landed; known once acknowledged.
        offset: Option<u64>,
    },
    /// The records below an offset may be let go; acknowledged: readers were told that the log starts there or behind.
    Cut {
        /// The partition.
        of: Partition,
        /// The first offset that has to stay.
        offset: u64,
    },
    /// The tombstones below an offset were kept for as long as promised.
    Expired {
        /// The partition.
        of: Partition,
        /// The first offset whose tombstone has to stay.
        offset: u64,
    },
}

/// Why a text is no token or no line of a dump.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The first word isn't one of those expected.
    #[error("{word:?} begins no line here; expected one of {expected}")]
    Word {
        /// What stood there.
        word: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A field is missing.
    #[error("{field} is missing after {after:?}")]
    Missing {
        /// The field.
        field: &'static str,
        /// The first word of the line.
        after: &'static str,
    },
    /// Something follows the last field.
    #[error("unexpected {rest:?} at the end")]
    Trailing {
        /// What follows.
        rest: String,
    },
    /// A field has a wrong form.
    #[error("{field} is {text:?}, which is not {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What stood there.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The clock is none.
    #[error(transparent)]
    Clock(#[from] ClockError),
}

/// The fields of one line, taken from the left.
pub(super) struct Fields<'a> {
    rest: Option<&'a str>,
    word: &'static str,
}

impl<'a> Fields<'a> {
    /// The fields that follow the first word, which the caller has recognised as `word`.
    pub(super) fn after(word: &'static str, rest: Option<&'a str>) -> Self {
        Self { rest, word }
    }

    pub(super) fn optional(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (field, behind) = match rest.split_once(' ') {
            Some((field, behind)) => (field, Some(behind)),
            None => (rest, None),
        };
        self.rest = behind;
        Some(field)
    }

    pub(super) fn next(&mut self, field: &'static str) -> Result<&'a str, TokenError> {
        self.optional().ok_or(TokenError::Missing { field, after: self.word })
    }

    pub(super) fn number(&mut self, field: &'static str) -> Result<u64, TokenError> {
        let text = self.next(field)?;
        number(text).ok_or_else(|| wrong(field, text, "a whole number without leading zeros"))
    }

    /// Everything that is left, spaces included.
    pub(super) fn remainder(&mut self) -> Option<&'a str> {
        self.rest.take()
    }

    pub(super) fn end(self) -> Result<(), TokenError> {
        match self.rest {
            None => Ok(()),
            Some(rest) => Err(TokenError::Trailing { rest: rest.to_owned() }),
        }
    }
}

pub(super) fn wrong(field: &'static str, text: &str, expected: &'static str) -> TokenError {
    TokenError::Field { field, text: text.to_owned(), expected }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One lower-case hex digit.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Key {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text == "-" {
            return Ok(Self(Vec::new()));
        }
        let (pairs, odd) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|&[high, low]| Some(nibble(high)? << 4 | nibble(low)?)).collect();
        match bytes {
            Some(bytes) if odd.is_empty() && !bytes.is_empty() => Ok(Self(bytes)),
            _ => Err(wrong(
                "KEYHEX",
                text,
                "an even number of lower-case hex digits, or - for a key of no bytes",
            )),
        }
    }
}

impl fmt::Display for ValueCrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for ValueCrc {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bad = || wrong("VALUECRC", text, "8 lower-case hex digits");
        if text.len() != 8 {
            return Err(bad());
        }
        let crc = text.bytes().try_fold(0u32, |crc, digit| Some(crc << 4 | u32::from(nibble(digit)?)));
        crc.map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl FromStr for Partition {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bad = || wrong("TOPIC-PARTITION", text, "a topic of [a-zA-Z0-9._-], a dash and a number");
        let (topic, partition) = text.rsplit_once('-').ok_or_else(bad)?;
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if topic.is_empty() || topic.len() > TOPIC_LEN_MAX || !topic.bytes().all(legal) {
            return Err(bad());
        }
        Ok(Self { topic: topic.to_owned(), partition: number(partition).ok_or_else(bad)? })
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.run, self.thread, self.seq)?;
        self.key.map_or(Ok(()), |key| write!(f, "@{key}"))
    }
}

impl FromStr for RecordId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bad = || wrong("ID", text, "RUN.THREAD.SEQ or RUN.THREAD.SEQ@KEY in whole numbers");
        let (name, key) = match text.split_once('@') {
            Some((name, key)) => (name, Some(number(key).ok_or_else(bad)?)),
            None => (text, None),
        };
        let mut parts = name.splitn(3, '.');
        let mut part = || parts.next().ok_or_else(bad);
        let (run, thread, seq) = (part()?, part()?, part()?);
        Ok(Self {
            run: number(run).ok_or_else(bad)?,
            thread: number(thread).ok_or_else(bad)?,
            seq: number(seq).ok_or_else(bad)?,
            key,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value, clock } => write!(f, "put {key} {value} {clock}"),
            Self::Del { key, clock } => write!(f, "del {key} {clock}"),
            Self::App { to, id, value, offset: None } => write!(f, "app {to} {id} {value}"),
            Self::App { to, id, value, offset: Some(offset) } => write!(f, "app {to} {id} {value} {offset}"),
            Self::Cut { of, offset } => write!(f, "cut {of} {offset}"),
            Self::Expired { of, offset } => write!(f, "exp {of} {offset}"),
        }
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(line: &str) -> Result<Self, TokenError> {
        let (word, rest) = match line.split_once(' ') {
            Some((word, rest)) => (word, Some(rest)),
            None => (line, None),
        };
        match word {
            "put" => {
                let mut fields = Fields::after("put", rest);
                let key = fields.next("KEYHEX")?.parse()?;
                let value = fields.next("VALUECRC")?.parse()?;
                let clock = fields.next("CLOCK")?.parse()?;
                fields.end()?;
                Ok(Self::Put { key, value, clock })
            }
            "del" => {
                let mut fields = Fields::after("del", rest);
                let key = fields.next("KEYHEX")?.parse()?;
                let clock = fields.next("CLOCK")?.parse()?;
                fields.end()?;
                Ok(Self::Del { key, clock })
            }
            "app" => {
                let mut fields = Fields::after("app", rest);
                let to = fields.next("TOPIC-PARTITION")?.parse()?;
                let id = fields.next("ID")?.parse()?;
                let value = fields.next("VALUECRC")?.parse()?;
                let offset = match fields.optional() {
                    None => None,
                    Some(text) => Some(
                        number(text)
                            .ok_or_else(|| wrong("OFFSET", text, "a whole number without leading zeros"))?,
                    ),
                };
                fields.end()?;
                Ok(Self::App { to, id, value, offset })
            }
            "cut" => {
                let (of, offset) = offset_of_partition("cut", rest)?;
                Ok(Self::Cut { of, offset })
            }
            "exp" => {
                let (of, offset) = offset_of_partition("exp", rest)?;
                Ok(Self::Expired { of, offset })
            }
            other => Err(TokenError::Word { word: other.to_owned(), expected: "put, del, app, cut, exp" }),
        }
    }
}

/// What follows `cut` and `exp`.
fn offset_of_partition(word: &'static str, rest: Option<&str>) -> Result<(Partition, u64), TokenError> {
    let mut fields = Fields::after(word, rest);
    let of = fields.next("TOPIC-PARTITION")?.parse()?;
    let offset = fields.number("OFFSET")?;
    fields.end()?;
    Ok((of, offset))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_contract_s_own_lines_parse_to_their_fields() {
        let put: Token = "put 6b31 0a0b0c0d 1:2,7:1".parse().expect("a put");
        let Token::Put { key, value, clock } = put else { panic!("not a put") };
        assert_eq!((key.0.as_slice(), value.0), (b"k1".as_slice(), 0x0a0b_0c0d));
        assert_eq!(clock.entries(), [(1, 2), (7, 1)]);
        let app: Token = "app member-changes-12 3.0.99 00000000 41".parse().expect("an append");
        let Token::App { to, id, offset, .. } = app else { panic!("not an append") };
        assert_eq!((to.topic.as_str(), to.partition), ("member-changes", 12));
        assert_eq!((id, offset), (RecordId { run: 3, thread: 0, seq: 99, key: None }, Some(41)));
        let keyed: Token = "app t-0 3.0.99@7 00000000".parse().expect("a tombstone");
        let Token::App { id, value, .. } = keyed else { panic!("not an append") };
        assert_eq!((id.key, value), (Some(7), ValueCrc::TOMBSTONE));
        let cut: Token = "cut t-0 12".parse().expect("a cut");
        assert_eq!(cut, Token::Cut { of: Partition { topic: "t".to_owned(), partition: 0 }, offset: 12 });
    }

    #[test]
    fn a_bad_line_says_which_field_is_wrong() {
        let check = |line: &str, part: &str| {
            let error = line.parse::<Token>().expect_err(line).to_string();
            assert!(error.contains(part), "{line:?}: {error}");
        };
        check("", "expected one of put, del, app, cut, exp");
        check("cut t-0", "OFFSET is missing");
        check("exp t-0 x", "OFFSET");
        check("app t-0 1.1.1@ 00000000", "ID");
        check("app t-0 1.1.1@1@2 00000000", "ID");
        check("get 00 1:1", "\"get\"");
        check("put", "KEYHEX is missing");
        check("put 6b 00000000", "CLOCK is missing");
        check("put 6 00000000 1:1", "KEYHEX");
        check("put 6B 00000000 1:1", "KEYHEX");
        check("put 6b 0000000g 1:1", "VALUECRC");
        check("put 6b 0000000 1:1", "VALUECRC");
        check("put 6b 00000000 1:1 more", "unexpected \"more\"");
        check("put  6b 00000000 1:1", "KEYHEX");
        check("del 6b 1:0", "clock entry");
        check("app t 1.1.1 00000000", "TOPIC-PARTITION");
        check("app -0 1.1.1 00000000", "TOPIC-PARTITION");
        check("app a/b-0 1.1.1 00000000", "TOPIC-PARTITION");
        check("app t-0 1.1 00000000", "ID");
        check("app t-0 1.1.1.1 00000000", "ID");
        check("app t-0 1.1.1 00000000 01", "OFFSET");
    }

    pub(crate) fn clocks() -> impl Strategy<Value = Clock> {
        prop::collection::btree_map(0u16..=32_767, 1u64.., 0..6)
            .prop_map(|m| Clock::from_entries(m).expect("a map's keys rise"))
    }

    fn tokens() -> impl Strategy<Value = Token> {
        let key = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Key);
        let put = (key(), any::<u32>(), clocks()).prop_map(|(key, crc, clock)| Token::Put {
            key,
            value: ValueCrc(crc),
            clock,
        });
        let del = (key(), clocks()).prop_map(|(key, clock)| Token::Del { key, clock });
        let app = (
            "[a-zA-Z0-9._-]{1,249}",
            any::<u32>(),
            any::<(u64, u32, u64, Option<u32>)>(),
            any::<u32>(),
            any::<Option<u64>>(),
        )
            .prop_map(|(topic, partition, (run, thread, seq, key), crc, offset)| Token::App {
                to: Partition { topic, partition },
                id: RecordId { run, thread, seq, key },
                value: ValueCrc(crc),
                offset,
            });
        let cut = ("[a-zA-Z0-9._-]{1,249}", any::<(u32, u64, bool)>()).prop_map(
            |(topic, (partition, offset, expired))| {
                let of = Partition { topic, partition };
                if expired { Token::Expired { of, offset } } else { Token::Cut { of, offset } }
            },
        );
        prop_oneof![put, del, app, cut]
    }

    proptest! {
        #[test]
        fn every_token_prints_to_a_line_that_parses_back_to_it(token in tokens()) {
            let line = token.to_string();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(line.parse::<Token>(), Ok(token));
        }

        #[test]
        fn a_line_that_parses_is_the_only_text_of_its_token(
            line in "(put|del|app|cut|exp)( [0-9a-f.:,@-]{0,12}){0,5}| ?[ -~]{0,40}",
        ) {
            if let Ok(token) = line.parse::<Token>() {
                prop_assert_eq!(token.to_string(), line);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = text.parse::<Token>();
        }
    }
}
