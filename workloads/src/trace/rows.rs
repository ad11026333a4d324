//! Rows of comma-separated values with their line numbers, and fields that name themselves when they are wrong.

use crate::error::{InputError, WorkloadError};
use crate::source::Source;
use std::io::{BufRead, Read};

/// A file without line breaks must not fill the memory; the longest value fits.
const LINE_MAX: u64 = 65 << 20;
/// No format here has more columns; what is beyond is counted, not kept.
const COLUMNS_MAX: usize = 8;

/// One row: where it stands and what it holds.
pub(crate) struct Row<'a> {
    file: &'a str,
    line: u64,
    whole: &'a [u8],
    fields: [&'a [u8]; COLUMNS_MAX],
    count: usize,
}

impl<'a> Row<'a> {
    pub(crate) fn bytes(&self, at: usize) -> &'a [u8] {
        self.fields.get(at).copied().unwrap_or_default()
    }

    pub(crate) fn text(&self, at: usize) -> String {
        String::from_utf8_lossy(self.bytes(at)).into_owned()
    }

    /// The whole row, for errors.
    pub(crate) fn whole(&self) -> String {
        String::from_utf8_lossy(self.whole).into_owned()
    }

    pub(crate) fn error(
        &self,
        what: impl Into<String>,
        got: &str,
        way_out: impl Into<String>,
    ) -> WorkloadError {
        InputError::new(self.file, self.line, what, way_out).got(got).into()
    }

    /// Refuses a row that has not exactly `columns` columns.
    pub(crate) fn expect_columns(&self, columns: &[&str]) -> Result<(), WorkloadError> {
        if self.count == columns.len() {
            return Ok(());
        }
        let what = if self.count < columns.len() {
            format!("the row is cut short: {} of {} columns", self.count, columns.len())
        } else {
            format!("{} columns where {} belong", self.count, columns.len())
        };
        let way_out = format!("a row reads {}; delete it or fetch the file again", columns.join(","));
        Err(self.error(what, &self.whole(), way_out))
    }

    /// A whole number of at most `max`.
    pub(crate) fn number(&self, at: usize, column: &str, max: u64) -> Result<u64, WorkloadError> {
        let number = std::str::from_utf8(self.bytes(at)).ok();
        let number = number.and_then(|text| text.parse::<u64>().ok());
        number.filter(|number| *number <= max).ok_or_else(|| {
            let what = format!("{column} is not a whole number in range");
            self.error(what, &self.text(at), format!("write 0 to {max}, or delete the row"))
        })
    }
}

/// Calls `take` with each row that is not blank. Blanks around fields are dropped; quotes mean nothing, as no
/// format here has a comma inside a field.
pub(crate) fn each(
    mut source: Source,
    mut take: impl FnMut(&Row<'_>) -> Result<(), WorkloadError>,
) -> Result<(), WorkloadError> {
    let file = source.name().to_owned();
    each_line(&mut source, |line, bytes| {
        let mut fields = [[].as_slice(); COLUMNS_MAX];
        let mut count = 0;
        for field in bytes.split(|b| *b == b',') {
            if let Some(place) = fields.get_mut(count) {
                *place = field.trim_ascii();
            }
            count += 1;
        }
        if bytes.is_empty() { Ok(()) } else { take(&Row { file: &file, line, whole: bytes, fields, count }) }
    })
}

/// Calls `take` with each line and its number, without the line's end.
pub(crate) fn each_line(
    source: &mut Source,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), WorkloadError>,
) -> Result<(), WorkloadError> {
    let file = source.name().to_owned();
    let mut reader = source.reader();
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        if read.map_err(|source| WorkloadError::Unreadable { file: file.clone(), source })? == 0 {
            return Ok(());
        }
        number += 1;
        if line.len() as u64 == LINE_MAX {
            let way_out = "check that the file is text with a line break after each row";
            return Err(InputError::new(&file, number, "the line is longer than 65 MiB", way_out).into());
        }
        take(number, line.trim_ascii_end())?;
    }
}
