//! A change stream without its values: `ts,key,op,value_bytes` with that header. Values of the recorded length
//! are generated.

use super::VALUE_MAX;
use super::changes::{Change, Changes, Content};
use super::rows::each;
use crate::error::WorkloadError;
use crate::source::Source;

pub(super) const HEADER: [&str; 4] = ["ts", "key", "op", "value_bytes"];

pub(super) fn read(source: Source) -> Result<Changes, WorkloadError> {
    let mut changes = Changes::default();
    let mut header = false;
    each(source, |row| {
        row.expect_columns(&HEADER)?;
        if !header {
            header = true;
            if (0..HEADER.len()).any(|at| row.bytes(at) != HEADER[at].as_bytes()) {
                let way_out = format!("begin the file with {}", HEADER.join(","));
                return Err(row.error("the header is missing", &row.whole(), way_out));
            }
            return Ok(());
        }
        let ts_s = row.number(0, "ts", u64::MAX)?;
        if row.bytes(1).is_empty() {
            return Err(row.error("key is empty", &row.whole(), "give the record's key, or delete the row"));
        }
        let bytes = row.number(3, "value_bytes", VALUE_MAX)?;
        let content = match row.bytes(2) {
            b"put" => Content::Length(bytes as u32),
            b"delete" => Content::Deleted,
            _ => return Err(row.error("unknown op", &row.text(2), "write put or delete")),
        };
        let key = changes.keys.number(row.bytes(1));
        changes.list.push(Change { ts_s, key, content });
        Ok(())
    })?;
    Ok(changes)
}
