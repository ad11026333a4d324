//! Twitter's cache trace as published: seven columns without a header.

use super::VALUE_MAX;
use super::requests::{Request, Row, Rows};
use super::rows::each;
use crate::error::{WorkloadError, nearest};
use crate::source::Source;

const COLUMNS: [&str; 7] = ["timestamp", "key", "key_size", "value_size", "client", "operation", "ttl"];

const OPERATIONS: [(&str, Request); 11] = [
    ("get", Request::Get),
    ("gets", Request::Get),
    ("set", Request::Put),
    ("add", Request::Put),
    ("replace", Request::Put),
    ("cas", Request::Put),
    ("append", Request::Put),
    ("prepend", Request::Put),
    ("delete", Request::Delete),
    ("incr", Request::Put),
    ("decr", Request::Put),
];

pub(super) fn read(source: Source) -> Result<Rows, WorkloadError> {
    let mut rows = Rows::default();
    each(source, |row| {
        row.expect_columns(&COLUMNS)?;
        let ts_s = row.number(0, COLUMNS[0], u64::from(u32::MAX))? as u32;
        if row.bytes(1).is_empty() {
            return Err(row.error("key is empty", &row.whole(), "delete the row"));
        }
        row.number(2, COLUMNS[2], VALUE_MAX)?;
        let value_bytes = row.number(3, COLUMNS[3], VALUE_MAX)? as u32;
        row.number(6, COLUMNS[6], u64::MAX)?;
        let operation = row.text(5);
        let request = OPERATIONS.iter().find(|(name, _)| *name == operation).map(|(_, request)| *request);
        let request = request.ok_or_else(|| {
            let way_out = match nearest(&operation, OPERATIONS.map(|(name, _)| name)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("write one of {}", OPERATIONS.map(|(name, _)| name).join(", ")),
            };
            row.error("unknown op", &operation, way_out)
        })?;
        let key = rows.keys.number(row.bytes(1));
        rows.list.push(Row { ts_s, key, value_bytes, request });
        Ok(())
    })?;
    Ok(rows)
}
