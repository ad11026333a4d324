//! A change stream as JSON lines: `{"ts":1773158206,"op":"put","key":"...","dir":"...","value":{...}}`.
//!
//! `ts` is in seconds, `op` is `put` or `delete`, `value` is any JSON and is kept byte for byte; a delete has none.
//! `dir` is allowed and not used.

use super::VALUE_MAX;
use super::changes::{Change, Changes, Content};
use super::rows::each_line;
use crate::error::{InputError, WorkloadError, nearest};
use crate::source::Source;
use crate::values::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

const FIELDS: [&str; 5] = ["ts", "op", "key", "dir", "value"];

/// Reads the stream; with `lenient`, unknown fields are warned of (once per field) instead of refused.
pub(super) fn read(mut source: Source, lenient: bool) -> Result<(Changes, Vec<String>), WorkloadError> {
    let file = source.name().to_owned();
    let mut changes = Changes::default();
    let mut warned: BTreeMap<String, String> = BTreeMap::new();
    each_line(&mut source, |line, bytes| {
        if bytes.is_empty() {
            return Ok(());
        }
        let error =
            |what: &str, got: &str, way_out: &str| InputError::new(&file, line, what, way_out).got(got);
        let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(bytes).map_err(|fault| {
            let what = if fault.is_eof() { "the line is cut short" } else { "the line is not a JSON object" };
            error(what, &String::from_utf8_lossy(bytes), "delete the line or fetch the file again")
        })?;
        for name in fields.keys().filter(|name| !FIELDS.contains(&name.as_ref())) {
            let way_out = match nearest(name, FIELDS) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the fields are {}", FIELDS.join(", ")),
            };
            let unknown = error("unknown field", name, &way_out);
            if !lenient {
                return Err(unknown.into());
            }
            warned.entry(name.to_string()).or_insert_with(|| format!("{unknown} (ignored)"));
        }
        let field = |name: &str| {
            let way_out = "a line has ts, op, key and, for a put, value";
            fields
                .get(name)
                .ok_or_else(|| InputError::new(&file, line, format!("{name} is missing"), way_out))
        };
        let ts = field("ts")?.get();
        let ts_s: u64 =
            ts.parse().map_err(|_| error("ts is not a whole number of seconds", ts, "write unix seconds"))?;
        let text = |name: &str| -> Result<String, InputError> {
            let raw = field(name)?.get();
            serde_json::from_str(raw)
                .map_err(|_| error(&format!("{name} is not a text"), raw, "put it in quotes"))
        };
        let (op, key) = (text("op")?, text("key")?);
        if key.is_empty() {
            return Err(error("key is empty", "\"\"", "give the record's key").into());
        }
        let content = match op.as_str() {
            "put" => {
                let value = field("value")?.get();
                if value.len() as u64 > VALUE_MAX {
                    return Err(error("value is longer than 64 MiB", value, "leave the change out").into());
                }
                Content::Recorded(Value::recorded(value.as_bytes().to_vec()))
            }
            "delete" => Content::Deleted,
            other => return Err(error("unknown op", other, "write put or delete").into()),
        };
        let key = changes.keys.number(key.as_bytes());
        changes.list.push(Change { ts_s, key, content });
        Ok(())
    })?;
    Ok((changes, warned.into_values().collect()))
}
