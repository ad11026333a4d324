//! The part of YAML that OpenMessaging Benchmark's files are written in: one mapping from names to scalars.

use crate::error::{InputError, WorkloadError};
use yaml_rust2::parser::{Event, Parser};

/// What stands behind a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    Scalar(String),
    /// A list or another mapping.
    Nested,
}

/// One line of the mapping.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Written,
    pub(super) line: u64,
}

/// Reads the first document; what is nested is walked over, not built.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Entry>, WorkloadError> {
    let mut parser = Parser::new_from_str(text);
    let mut entries = Vec::new();
    // How deep below the document we are; the key of the entry that is open on the first level.
    let mut depth = 0_u32;
    let mut open: Option<(String, u64)> = None;
    loop {
        let (event, mark) = parser.next_token().map_err(|error| {
            let what = format!("not YAML: {}", error.info().replace('\n', " "));
            InputError::new(file, error.marker().line() as u64, what, "see https://yaml.org")
        })?;
        let line = mark.line() as u64;
        let not_a_mapping = || {
            InputError::new(file, line, "not a mapping of names to values", "write name: value, one a line")
        };
        match event {
            Event::StreamEnd | Event::DocumentEnd => return Ok(entries),
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                if depth == 0 && matches!(event, Event::SequenceStart(..)) {
                    return Err(not_a_mapping().into());
                }
                if depth == 1 {
                    let (key, line) = open.take().ok_or_else(not_a_mapping)?;
                    entries.push(Entry { key, value: Written::Nested, line });
                }
                depth += 1;
            }
            Event::MappingEnd | Event::SequenceEnd => depth = depth.saturating_sub(1),
            Event::Scalar(..) | Event::Alias(..) if depth == 0 => return Err(not_a_mapping().into()),
            Event::Scalar(value, ..) if depth == 1 => match open.take() {
                None => open = Some((value, line)),
                Some((key, line)) => entries.push(Entry { key, value: Written::Scalar(value), line }),
            },
            Event::Alias(..) if depth == 1 => {
                let (key, line) = open.take().ok_or_else(not_a_mapping)?;
                entries.push(Entry { key, value: Written::Nested, line });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mapping_is_read_with_its_lines() {
        let text = "# c\nname: 1 topic / 1 partition  # why\n\ntopics: 1\nlist:\n  - 1\n  - a: b\nblock: |\n  x=1\nlast: \"q\"\n";
        let read: Vec<_> =
            read("x", text).expect("YAML").into_iter().map(|e| (e.line, e.key, e.value)).collect();
        let scalar = |text: &str| Written::Scalar(text.to_owned());
        assert_eq!(
            read,
            [
                (2, "name".to_owned(), scalar("1 topic / 1 partition")),
                (4, "topics".to_owned(), scalar("1")),
                (5, "list".to_owned(), Written::Nested),
                (8, "block".to_owned(), scalar("x=1\n")),
                (10, "last".to_owned(), scalar("q")),
            ]
        );
    }

    #[test]
    fn what_is_no_mapping_is_refused_with_its_line() {
        assert!(read("x", "- 1\n").expect_err("a list").to_string().starts_with("x:1: not a mapping"));
        assert!(read("x", "a: 1\n b: 2\n").expect_err("bad").to_string().starts_with("x:2: not YAML"));
    }

    proptest! {
        #[test]
        fn any_text_gives_entries_or_an_error(text in "[-a:{}\\[\\]|>&*!#\"' \n\t1]{0,80}") {
            let _ = read("x", &text);
        }
    }

    /// Depth must cost no stack.
    #[test]
    fn deep_nesting_is_an_error_or_walked_over() {
        for open in ["[", "{a: ", "- "] {
            let _ = read("x", &format!("a: {}", open.repeat(100_000)));
        }
    }
}
