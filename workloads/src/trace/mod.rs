//! Recorded workloads: change streams, whose every change is exercised, and request traces, which are replayed.

mod cache2k;
mod changes;
mod csv_stream;
mod jsonl;
mod recorded;
mod requests;
mod rows;
mod twitter_raw;
mod twitter_vtime;

pub(crate) use changes::ChangeStream;
pub(crate) use requests::Requests;

use crate::error::{InputError, WorkloadError};
use crate::source::Source;

/// Longest value a file may ask for, in bytes: beyond that a number is a slip, not a size.
const VALUE_MAX: u64 = 64 << 20;
/// Streams shorter than this are replayed again and again.
const SHORT: usize = 10_000;

/// A change stream of JSON lines.
pub(crate) fn open_jsonl(
    source: Source,
    lenient: bool,
) -> Result<(ChangeStream, Vec<String>), WorkloadError> {
    let name = source.stem();
    let file = source.name().to_owned();
    let (changes, warnings) = jsonl::read(source, lenient)?;
    refuse_nothing(&file, changes.list.is_empty())?;
    Ok((ChangeStream::new(name, changes), warnings))
}

/// A change stream of CSV rows.
pub(crate) fn open_csv(source: Source) -> Result<ChangeStream, WorkloadError> {
    let (name, file) = (source.stem(), source.name().to_owned());
    let changes = csv_stream::read(source)?;
    refuse_nothing(&file, changes.list.is_empty())?;
    Ok(ChangeStream::new(name, changes))
}

/// Twitter's seven columns.
pub(crate) fn open_twitter_raw(source: Source) -> Result<Requests, WorkloadError> {
    let (name, file) = (source.stem(), source.name().to_owned());
    let rows = twitter_raw::read(source)?;
    refuse_nothing(&file, rows.list.is_empty())?;
    Ok(rows.into_workload(name))
}

/// Twitter's trace as libCacheSim prints it.
pub(crate) fn open_twitter_vtime(source: Source) -> Result<Requests, WorkloadError> {
    let (name, file) = (source.stem(), source.name().to_owned());
    let rows = twitter_vtime::read(source)?;
    refuse_nothing(&file, rows.list.is_empty())?;
    Ok(rows.into_workload(name))
}

/// cache2k's object reads.
pub(crate) fn open_cache2k(source: Source) -> Result<Requests, WorkloadError> {
    let (name, file) = (source.stem(), source.name().to_owned());
    let rows = cache2k::read(source)?;
    refuse_nothing(&file, rows.list.is_empty())?;
    Ok(rows.into_workload(name))
}

/// A run without operations would measure nothing.
fn refuse_nothing(file: &str, nothing: bool) -> Result<(), WorkloadError> {
    if nothing {
        return Err(
            InputError::new(file, 1, "the file holds no operations", "give a file with rows in it").into()
        );
    }
    Ok(())
}

/// The format a file's first line shows, if it is one of these.
pub(crate) fn detect(first_line: &str) -> Option<crate::Format> {
    let columns: Vec<&str> = first_line.split(',').map(str::trim).collect();
    if first_line.starts_with('{') {
        Some(crate::Format::ChangesJsonl)
    } else if first_line.starts_with('#') && columns.contains(&"next_access_vtime") {
        Some(crate::Format::TwitterVtime)
    } else if columns == csv_stream::HEADER {
        Some(crate::Format::ChangesCsv)
    } else if columns == cache2k::HEADER {
        Some(crate::Format::Cache2k)
    } else if columns.len() == 7 && columns[0].parse::<u64>().is_ok() {
        Some(crate::Format::TwitterRaw)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
