//! [`Dump`]: what a recovered folder holds, as the lines of `stress dump`.
//!
//! ```text
//! val KEYHEX VALUECRC CLOCK                  one per version of a key
//! rec TOPIC-PARTITION OFFSET ID VALUECRC     one per record
//! end TOPIC-PARTITION START END              one per partition; END is the offset that comes next
//! bad WHERE WHY                              damage; WHERE has no spaces
//! ```
//!
//! Lines are sorted: `val` by key and clock, `rec` by partition and offset, then `end`, then `bad`. Damage in a
//! partition is located as `TOPIC-PARTITION@FROM..TO`, the offsets that can't be served.

use std::fmt;
use std::io::{self, Write as _};
use std::ops::Range;
use std::str::FromStr;

use super::clock::Clock;
use super::number;
use super::token::{Fields, Key, Partition, RecordId, TokenError, ValueCrc};

/// A line of a dump. The order of the variants is the order of the lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DumpLine {
    /// A version of a key.
    Val {
        /// The key.
        key: Key,
        /// Its clock.
        clock: Clock,
        /// Checksum of the bytes that were read.
        value: ValueCrc,
    },
    /// A record of a partition.
    Rec {
        /// The partition.
        of: Partition,
        /// The record's offset.
        offset: u64,
        /// Its name.
        id: RecordId,
        /// Checksum of the bytes that were read.
        value: ValueCrc,
    },
    /// A partition's ends.
    End {
        /// The partition.
        of: Partition,
        /// Its first offset.
        start: u64,
        /// The offset after its last record.
        end: u64,
    },
    /// Damage.
    Bad {
        /// Where: a file and position, or a range of offsets. No spaces.
        place: String,
        /// What is wrong.
        why: String,
    },
}

impl DumpLine {
    /// Damage at `place`. Spaces in `place` become `_`, line ends in either become spaces, so that a line stays one.
    #[must_use]
    pub fn bad(place: &str, why: &str) -> Self {
        let place = place.replace(char::is_whitespace, "_");
        let why = why.replace(char::is_control, " ");
        let place = if place.is_empty() { "-".to_owned() } else { place };
        Self::Bad { place, why: why.trim().to_owned() }
    }

    /// Damage to `offsets` of a partition.
    #[must_use]
    pub fn bad_offsets(of: &Partition, offsets: &Range<u64>, why: &str) -> Self {
        Self::bad(&format!("{of}@{}..{}", offsets.start, offsets.end), why)
    }

    /// The offsets of a partition that this line calls damaged, if it is such a line.
    #[must_use]
    pub fn damaged_offsets(&self) -> Option<(Partition, Range<u64>)> {
        let Self::Bad { place, .. } = self else { return None };
        let (partition, range) = place.rsplit_once('@')?;
        let (start, end) = range.split_once("..")?;
        Some((partition.parse().ok()?, number(start)?..number(end)?))
    }
}

impl fmt::Display for DumpLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Val { key, clock, value } => write!(f, "val {key} {value} {clock}"),
            Self::Rec { of, offset, id, value } => write!(f, "rec {of} {offset} {id} {value}"),
            Self::End { of, start, end } => write!(f, "end {of} {start} {end}"),
            Self::Bad { place, why } => write!(f, "bad {place} {why}"),
        }
    }
}

impl FromStr for DumpLine {
    type Err = TokenError;

    fn from_str(line: &str) -> Result<Self, TokenError> {
        let (word, rest) = match line.split_once(' ') {
            Some((word, rest)) => (word, Some(rest)),
            None => (line, None),
        };
        match word {
            "val" => {
                let mut fields = Fields::after("val", rest);
                let key = fields.next("KEYHEX")?.parse()?;
                let value = fields.next("VALUECRC")?.parse()?;
                let clock = fields.next("CLOCK")?.parse()?;
                fields.end()?;
                Ok(Self::Val { key, clock, value })
            }
            "rec" => {
                let mut fields = Fields::after("rec", rest);
                let of = fields.next("TOPIC-PARTITION")?.parse()?;
                let offset = fields.number("OFFSET")?;
                let id = fields.next("ID")?.parse()?;
                let value = fields.next("VALUECRC")?.parse()?;
                fields.end()?;
                Ok(Self::Rec { of, offset, id, value })
            }
            "end" => {
                let mut fields = Fields::after("end", rest);
                let of = fields.next("TOPIC-PARTITION")?.parse()?;
                let start = fields.number("START")?;
                let end = fields.number("END")?;
                fields.end()?;
                Ok(Self::End { of, start, end })
            }
            "bad" => {
                let mut fields = Fields::after("bad", rest);
                let place = fields.next("WHERE")?.to_owned();
                let why = fields.remainder().ok_or(TokenError::Missing { field: "WHY", after: "bad" })?;
                Ok(Self::Bad { place, why: why.to_owned() })
            }
            other => Err(TokenError::Word { word: other.to_owned(), expected: "val, rec, end, bad" }),
        }
    }
}

/// All lines of a dump, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dump {
    lines: Vec<DumpLine>,
}

/// A line of a dump's text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dump line {line}: {why}; is this the output of stress dump?")]
pub struct DumpTextError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: TokenError,
}

impl Dump {
    /// A dump of these lines. Sorts them; keeps duplicates, which the judge wants to see.
    #[must_use]
    pub fn new(mut lines: Vec<DumpLine>) -> Self {
        lines.sort();
        Self { lines }
    }

    /// Reads a dump's text. Empty lines are skipped.
    ///
    /// # Errors
    /// A line isn't one of a dump.
    pub fn parse(text: &str) -> Result<Self, DumpTextError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
        let parsed = lines
            .map(|(i, line)| line.parse().map_err(|why| DumpTextError { line: i + 1, why }))
            .collect::<Result<_, _>>()?;
        Ok(Self::new(parsed))
    }

    /// The lines, sorted.
    #[must_use]
    pub fn lines(&self) -> &[DumpLine] {
        &self.lines
    }

    /// The lines that report damage.
    pub fn damage(&self) -> impl Iterator<Item = &DumpLine> {
        self.lines.iter().filter(|line| matches!(line, DumpLine::Bad { .. }))
    }

    /// Writes the lines to `out`, each with its line end.
    ///
    /// # Errors
    /// `out` fails.
    pub fn write_to(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(1 << 16, out);
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dump_prints_sorted_and_parses_back() {
        let text = "end t-0 0 11\nrec t-0 10 1.0.2 00000002\nbad t-0@3..5 two records are gone\n\
                    rec t-0 9 1.0.1 00000001\nval 6b 00000001 1:2\nval 6b 00000001 -\n";
        let dump = Dump::parse(text).expect("a dump");
        assert_eq!(
            dump.to_string(),
            "val 6b 00000001 -\nval 6b 00000001 1:2\nrec t-0 9 1.0.1 00000001\nrec t-0 10 1.0.2 00000002\n\
             end t-0 0 11\nbad t-0@3..5 two records are gone\n"
        );
        assert_eq!(Dump::parse(&dump.to_string()), Ok(dump.clone()));
        let mut written = Vec::new();
        dump.write_to(&mut written).expect("a Vec takes everything");
        assert_eq!(written, dump.to_string().into_bytes());
    }

    #[test]
    fn a_bad_line_is_located_by_its_number() {
        let error = Dump::parse("end t-0 0 1\n\nrec t-0 x 1.0.1 00000000").expect_err("x is no offset");
        assert_eq!(error.line, 3);
        assert!(error.to_string().contains("OFFSET"), "{error}");
        assert!(Dump::parse("bad place").is_err(), "WHY is missing");
    }

    #[test]
    fn damage_to_offsets_is_found_again_in_its_line() {
        let of: Partition = "a-b-3".parse().expect("a partition");
        let line = DumpLine::bad_offsets(&of, &(7..9), "checksum\ndiffers");
        assert_eq!(line.to_string(), "bad a-b-3@7..9 checksum differs");
        assert_eq!(line.damaged_offsets(), Some((of, 7..9)));
        assert_eq!(DumpLine::bad("00001.data@512", "x").damaged_offsets(), None);
    }

    proptest! {
        #[test]
        fn damage_of_any_words_stays_one_line_that_parses(place in any::<String>(), why in any::<String>()) {
            let line = DumpLine::bad(&place, &why);
            prop_assert_eq!(line.to_string().lines().count(), 1);
            prop_assert_eq!(line.to_string().parse::<DumpLine>(), Ok(line));
        }

        #[test]
        fn a_line_that_parses_prints_to_itself(
            line in "(val|rec|end|bad)( [0-9a-f.:,-]{0,12}){0,5}|[ -~]{0,40}",
        ) {
            if let Ok(parsed) = line.parse::<DumpLine>() {
                prop_assert_eq!(parsed.to_string(), line);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = Dump::parse(&text);
        }
    }
}
