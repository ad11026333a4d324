//! Records for a build: JSON lines or CSV, told by the first byte. What is wrong is told with file, line and the way out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use clap::ValueEnum;
use serde_json::value::RawValue;

use crate::cli::Failure;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum InputFormat {
    /// By the first byte: a brace begins JSON lines
    Auto,
    /// A JSON object a line, with key, value, and op (put or delete) if there are deletes
    Jsonl,
    /// Columns named in the first row: key, value, and op if there are deletes
    Csv,
}

/// A change of a key: its new value, or `None` for a delete.
pub(super) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// Takes a record, or says why not.
pub(super) type Take<'a> = &'a mut dyn FnMut(Change<'_>) -> Result<(), String>;

/// A line without an end mustn't fill the memory.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// Where an input stands, for messages.
struct At<'a> {
    name: &'a str,
    line: u64,
}

impl At<'_> {
    fn wrong(&self, what: impl std::fmt::Display, way_out: &str) -> Failure {
        Failure::Input(format!("{}:{}: {what}; {way_out}", self.name, self.line))
    }
}

/// The beginning of what was found, for a message.
fn got(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    if bytes.len() > SHOWN { format!("got `{text}...`") } else { format!("got `{text}`") }
}

/// Hands every record of `path` (`-`: standard input) to `take`.
pub(super) fn each_record(path: &Path, format: InputFormat, take: Take<'_>) -> Result<(), Failure> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let unreadable = |e: io::Error| Failure::Input(format!("{name}: can't be read ({e}); check the path"));
    let mut reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::with_capacity(1 << 20, File::open(path).map_err(unreadable)?))
    };
    let is_json = match format {
        InputFormat::Jsonl => true,
        InputFormat::Csv => false,
        InputFormat::Auto => {
            let head = reader.fill_buf().map_err(unreadable)?;
            head.iter().find(|b| !b.is_ascii_whitespace()).is_none_or(|b| *b == b'{')
        }
    };
    if is_json { json_lines(&mut reader, &name, take) } else { csv_rows(&mut reader, &name, take) }
}

fn json_lines(reader: &mut dyn BufRead, name: &str, take: Take<'_>) -> Result<(), Failure> {
    let mut line = Vec::new();
    for number in 1.. {
        let at = At { name, line: number };
        line.clear();
        let read = reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|e| at.wrong(format!("can't be read ({e})"), "check the file"))? == 0 {
            break;
        }
        if line.len() as u64 == LINE_BYTES_MAX {
            return Err(at.wrong("the line is longer than 1 GiB", "a record is one line"));
        }
        let bytes = line.trim_ascii();
        if bytes.is_empty() {
            continue;
        }
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(bytes)
            .map_err(|e| at.wrong(format!("no JSON object ({e}; {})", got(bytes)), "write one a line"))?;
        let text = |field: &str| -> Result<Option<Cow<'_, str>>, Failure> {
            let Some(raw) = fields.get(field) else { return Ok(None) };
            let not_text =
                |_| at.wrong(format!("{field} is no text ({})", got(raw.get().as_bytes())), "quote it");
            serde_json::from_str::<Cow<'_, str>>(raw.get()).map(Some).map_err(not_text)
        };
        let key = text("key")?.ok_or_else(|| at.wrong("key is missing", "each record has one"))?;
        let value = fields.get("value").map(|raw| raw.get().as_bytes());
        let change = change(&at, key.as_bytes(), text("op")?.as_deref(), value)?;
        take(change).map_err(|why| at.wrong(why, "leave the record out, or mend it"))?;
    }
    Ok(())
}

fn csv_rows(reader: &mut dyn BufRead, name: &str, take: Take<'_>) -> Result<(), Failure> {
    let mut rows = csv::ReaderBuilder::new().from_reader(reader);
    let head = At { name, line: 1 };
    let broken = |at: At<'_>, e: &csv::Error| at.wrong(format!("no CSV ({e})"), "mend the row");
    let columns = rows.byte_headers().map_err(|e| broken(At { name, line: 1 }, &e))?.clone();
    let column = |wanted: &str| columns.iter().position(|c| c.trim_ascii() == wanted.as_bytes());
    let named =
        columns.iter().map(|c| String::from_utf8_lossy(c).into_owned()).collect::<Vec<_>>().join(", ");
    let (Some(key), Some(value)) = (column("key"), column("value")) else {
        return Err(head.wrong(
            format!("no column key, or none value (got {named})"),
            "name the columns in the first row; a file of sizes has nothing to store",
        ));
    };
    let op = column("op");
    let mut row = csv::ByteRecord::new();
    loop {
        let line = rows.position().line();
        let at = At { name, line };
        if !rows.read_byte_record(&mut row).map_err(|e| broken(At { name, line }, &e))? {
            return Ok(());
        }
        let op = op.and_then(|op| row.get(op)).map(String::from_utf8_lossy);
        let change = change(&at, row.get(key).unwrap_or_default(), op.as_deref(), row.get(value))?;
        take(change).map_err(|why| at.wrong(why, "leave the record out, or mend it"))?;
    }
}

fn change<'a>(
    at: &At<'_>,
    key: &'a [u8],
    op: Option<&str>,
    value: Option<&'a [u8]>,
) -> Result<Change<'a>, Failure> {
    match (op, value) {
        (None | Some("put" | ""), Some(value)) => Ok((key, Some(value))),
        (None | Some("put" | ""), None) => Err(at.wrong("value is missing", "a put has one")),
        (Some("delete"), _) => Ok((key, None)),
        (Some(other), _) => Err(at.wrong(format!("op is `{other}`"), "write put or delete")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("it is written");
        let mut records = Vec::new();
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let result = each_record(file.path(), InputFormat::Auto, &mut |(key, value)| {
            records.push((lossy(key), value.map(lossy)));
            if key == b"refused" { Err("it was refused".to_owned()) } else { Ok(()) }
        });
        match result {
            Ok(()) => Ok(records),
            Err(Failure::Input(why) | Failure::Check(why)) => {
                Err(why.replace(&file.path().display().to_string(), "FILE"))
            }
        }
    }

    #[test]
    fn json_lines_keep_values_byte_for_byte() {
        let text =
            "{\"key\":\"a\",\"value\":{\"n\": 1.0}}\n\n{\"op\":\"delete\",\"key\":\"\\u00e4\",\"ts\":7}\n";
        let expected = [("a", Some("{\"n\": 1.0}")), ("ä", None)];
        let expected: Vec<_> =
            expected.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect();
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read(""), Ok(vec![]));
    }

    #[test]
    fn csv_columns_are_found_by_name() {
        let text = "ts,value,key,op\n1,\"x,\n\"\"y\",a,put\n2,,b,delete\n";
        let expected = vec![("a".to_owned(), Some("x,\n\"y".to_owned())), ("b".to_owned(), None)];
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, why) in [
            ("{\"key\":\"a\",\"value\":1}\n{\"value\":1}\n", "FILE:2: key is missing"),
            ("{\"key\":1,\"value\":1}\n", "FILE:1: key is no text (got `1`)"),
            ("{\"key\":\"a\"}\n", "FILE:1: value is missing"),
            ("{\"key\":\"a\",\"op\":\"patch\",\"value\":1}", "FILE:1: op is `patch`"),
            ("{\"key\":\"a\"", "FILE:1: no JSON object"),
            ("{\"key\":\"refused\",\"value\":1}\n", "FILE:1: it was refused"),
            ("ts,key,op,value_bytes\n1,a,put,3\n", "FILE:1: no column key, or none value (got ts, key, op"),
            ("key,value\na,1\nb\n", "FILE:3: no CSV"),
            ("key,value,op\na,1,put\nb,2,patch\n", "FILE:3: op is `patch`"),
        ] {
            let told = read(text).expect_err(text);
            assert!(told.contains(why), "{told}");
        }
    }
}
