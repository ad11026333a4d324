//! Twitter's cache trace as libCacheSim prints it: a header that begins with `#`, then
//! `time, object, size, next_access_vtime`. The object is an unsigned 64-bit hash of the key, the size is that of
//! key and value together, and no column names the operation.

use super::VALUE_MAX;
use super::requests::{Request, Row, Rows};
use super::rows::each;
use crate::error::WorkloadError;
use crate::source::Source;

const COLUMNS: [&str; 4] = ["time", "object", "size", "next_access_vtime"];
/// The published key length of cluster 52, which is also the length of the largest hash in decimal.
const KEY_BYTES: u32 = 20;

pub(super) fn read(source: Source) -> Result<Rows, WorkloadError> {
    let mut rows = Rows::default();
    each(source, |row| {
        if row.bytes(0).starts_with(b"#") {
            return Ok(());
        }
        row.expect_columns(&COLUMNS)?;
        let ts_s = row.number(0, COLUMNS[0], u64::from(u32::MAX))? as u32;
        let object = row.number(1, COLUMNS[1], u64::MAX)?;
        let size = row.number(2, COLUMNS[2], VALUE_MAX)? as u32;
        // A request without a next one is written as -1, or as the largest number.
        if row.bytes(3) != b"-1" {
            row.number(3, COLUMNS[3], u64::MAX)?;
        }
        let key = rows.keys.number(format!("{object:020}").as_bytes());
        let value_bytes = size.saturating_sub(KEY_BYTES).max(1);
        rows.list.push(Row { ts_s, key, value_bytes, request: Request::Drawn });
        Ok(())
    })?;
    Ok(rows)
}
