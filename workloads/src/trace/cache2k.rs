//! Object reads of an online shop as cache2k publishes them, in CSV: `seq,key,type,id,index` with that header.
//!
//! Every row is a read; there are no times and no sizes. The key is the original 32-bit number in decimal; type, id and
//! index are parts of it.

use super::requests::{Request, Row, Rows};
use super::rows::each;
use crate::error::WorkloadError;
use crate::source::Source;

pub(super) const HEADER: [&str; 5] = ["seq", "key", "type", "id", "index"];

/// Assumed: the file tells no sizes. About that of a member's record.
const VALUE_BYTES: u32 = 1000;

pub(super) fn read(source: Source) -> Result<Rows, WorkloadError> {
    let mut rows = Rows::default();
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
        for (at, column) in HEADER.iter().enumerate() {
            row.number(at, column, u64::from(u32::MAX))?;
        }
        let key = rows.keys.number(row.bytes(1));
        rows.list.push(Row { ts_s: 0, key, value_bytes: VALUE_BYTES, request: Request::Get });
        Ok(())
    })?;
    Ok(rows)
}
