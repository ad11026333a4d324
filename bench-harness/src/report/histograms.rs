//! `*.hlog`: the full latency distributions of a run, as HdrHistogram's interval log, version 2.
//!
//! Values are nanoseconds. Each row's tag is `OPERATION.KIND`, KIND being `response`, `service` or `wait`; several
//! rows of one tag (one a second, say) add up. Invariant: any bytes give histograms or an error, with memory bounded
//! by the file's size and by what one histogram can need.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};

/// Tag suffix of latencies from the moment an operation was due.
pub const RESPONSE: &str = "response";
/// Tag suffix of latencies from the moment an operation was handed over.
pub const SERVICE: &str = "service";
/// Tag suffix of the time from due to handed over.
pub const WAIT: &str = "wait";

/// Largest file that is read: far above what a run writes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Largest decoded histogram: five significant digits over 64 bits need 12 M counts of at most 9 bytes.
const DECODED_BYTES_MAX: u64 = 128 << 20;
const COOKIE_V2: u32 = 0x1c84_9303;
const COOKIE_V2_DEFLATED: u32 = 0x1c84_9304;
/// Both cookies carry the word size in bits 4 to 7; version 2 writers put 1 there.
const COOKIE_WORD_SIZE: u32 = 0x10;
const HEADER_LEN: usize = 40;

/// The tag of a kind of operation and a kind of latency; letters that a tag can't hold become `_`.
#[must_use]
pub fn tag(operation: &str, kind: &str) -> String {
    format!("{operation}.{kind}").replace([',', ' ', '\n', '\r', '\t'], "_")
}

/// One row.
#[derive(Debug)]
pub struct Row<'a> {
    /// See [`tag`]; empty for none.
    pub tag: String,
    /// Start, from the start of the run.
    pub start: Duration,
    /// Length of the interval.
    pub length: Duration,
    /// The distribution, nanoseconds.
    pub histogram: &'a Histogram<u64>,
}

/// Why a histogram file can't be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistogramFileError {
    /// The file can't be written.
    #[error("can't write {file}: {why}; free some space or choose another folder with --out")]
    Write {
        /// The file.
        file: PathBuf,
        /// The reason.
        why: String,
    },
    /// The file can't be read.
    #[error("can't read {file}: {source}; without it the report has no percentile spectrum for this run")]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is larger than any run writes.
    #[error("{file} has {bytes} bytes, more than any run writes ({FILE_BYTES_MAX}); is it a histogram log?")]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A row isn't a histogram.
    #[error("{file}:{line}: not a histogram ({why}); restore the file, or delete it to rebuild without it")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// A histogram file that is being written. Making it and filling it are two steps, so that a folder that can't be
/// written is known before anything is measured.
#[derive(Debug)]
pub struct HistogramLog {
    path: PathBuf,
    file: File,
}

impl HistogramLog {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn create(path: &Path) -> Result<Self, HistogramFileError> {
        match File::create(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file }),
            Err(e) => Err(HistogramFileError::Write { file: path.to_owned(), why: e.to_string() }),
        }
    }

    /// Fills the file: `rows` is called with what adds a row. `started` is when the measured time began; `comments`
    /// go to the head of the file, a line each.
    ///
    /// # Errors
    /// The file can't be written, a tag holds a comma or a blank, or `rows` says so.
    pub fn fill<E: From<HistogramFileError>>(
        self,
        started: SystemTime,
        comments: &[String],
        rows: impl FnOnce(&mut dyn FnMut(&Row<'_>) -> Result<(), HistogramFileError>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { path, file } = self;
        let failed = |why: String| HistogramFileError::Write { file: path.clone(), why };
        let mut out = BufWriter::new(file);
        let mut serializer = V2DeflateSerializer::new();
        let mut builder = IntervalLogWriterBuilder::new();
        builder
            .add_comment("[Histogram log format version 1.3]")
            .add_comment("[Values are nanoseconds; the maximum column is milliseconds]");
        for comment in comments {
            builder.add_comment(comment);
        }
        builder.with_start_time(started).with_base_time(started).with_max_value_divisor(1e6);
        {
            let mut log =
                builder.begin_log_with(&mut out, &mut serializer).map_err(|e| failed(e.to_string()))?;
            rows(&mut |row| {
                let tag = match Tag::new(&row.tag) {
                    _ if row.tag.is_empty() => None,
                    None => return Err(failed(format!("the tag `{}` holds a comma or a blank", row.tag))),
                    tag => tag,
                };
                log.write_histogram(row.histogram, row.start, row.length, tag)
                    .map_err(|e| failed(e.to_string()))
            })?;
        }
        out.flush().map_err(|e| failed(e.to_string()).into())
    }
}

/// Writes a whole histogram file; `started` is when the measured time began.
///
/// # Errors
/// The file can't be written, or a tag holds a comma or a blank.
pub fn write(file: &Path, started: SystemTime, rows: &[Row<'_>]) -> Result<(), HistogramFileError> {
    HistogramLog::create(file)?.fill(started, &[], |add| rows.iter().try_for_each(add))
}

/// Reads a histogram file: the sum of all rows for each tag; rows without a tag have the tag `""`.
///
/// # Errors
/// The file can't be read, or isn't a histogram log.
pub fn read(file: &Path) -> Result<BTreeMap<String, Histogram<u64>>, HistogramFileError> {
    let mut sums: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    read_rows(file, |row| match sums.get_mut(&row.tag) {
        Some(sum) => sum.add(row.histogram).map_err(|e| e.to_string()),
        None => {
            sums.insert(row.tag, row.histogram.clone());
            Ok(())
        }
    })?;
    for sum in sums.values_mut() {
        sum.auto(true);
    }
    Ok(sums)
}

/// Reads a histogram file row by row, one histogram in memory at a time; what `each` refuses is damage of that line.
///
/// # Errors
/// The file can't be read, or isn't a histogram log.
pub fn read_rows(
    file: &Path,
    mut each: impl FnMut(Row<'_>) -> Result<(), String>,
) -> Result<(), HistogramFileError> {
    let unreadable = |source| HistogramFileError::Read { file: file.to_owned(), source };
    let bytes = std::fs::metadata(file).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(HistogramFileError::TooLarge { file: file.to_owned(), bytes });
    }
    let text = std::fs::read(file).map_err(unreadable)?;
    let mut line_start = 0;
    for (index, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        line_start += line.len();
        let damaged =
            |why: String| HistogramFileError::Damaged { file: file.to_owned(), line: index + 1, why };
        if line.last() != Some(&b'\n') {
            return Err(damaged(format!("the line ends at byte {line_start} of the file without a newline")));
        }
        // Line by line, so that an error can name the line.
        for entry in IntervalLogIterator::new(line) {
            let LogEntry::Interval(interval) = entry
                .map_err(|_| damaged("neither a comment nor TAG,START,LENGTH,MAX,HISTOGRAM".to_owned()))?
            else {
                continue;
            };
            let histogram = decode(interval.encoded_histogram()).map_err(damaged)?;
            let tag = interval.tag().map_or("", |t| t.as_str()).to_owned();
            let (start, length) = (interval.start_timestamp(), interval.duration());
            each(Row { tag, start, length, histogram: &histogram }).map_err(damaged)?;
        }
    }
    Ok(())
}

/// Decodes one histogram. Everything that the crate would trust is checked before: lengths against what is there,
/// runs of zeros and counts against overflow.
fn decode(text: &str) -> Result<Histogram<u64>, String> {
    let coded = base64::engine::general_purpose::STANDARD.decode(text).map_err(|e| e.to_string())?;
    let word = |at: usize, bytes: &[u8]| -> Option<u32> {
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let cookie = word(0, &coded).ok_or("fewer than four bytes")?;
    if cookie != COOKIE_V2_DEFLATED | COOKIE_WORD_SIZE {
        return Err(format!("cookie {cookie:#x} instead of {:#x}", COOKIE_V2_DEFLATED | COOKIE_WORD_SIZE));
    }
    let length = word(4, &coded).ok_or("no length")? as usize;
    let deflated = coded.get(8..).filter(|rest| rest.len() >= length).ok_or("shorter than it says")?;
    let mut plain = Vec::new();
    flate2::read::ZlibDecoder::new(&deflated[..length])
        .take(DECODED_BYTES_MAX)
        .read_to_end(&mut plain)
        .map_err(|e| e.to_string())?;
    if word(0, &plain) != Some(COOKIE_V2 | COOKIE_WORD_SIZE) || plain.len() < HEADER_LEN {
        return Err("the compressed part isn't a histogram".to_owned());
    }
    if word(4, &plain).map(|n| n as usize) != Some(plain.len() - HEADER_LEN) {
        return Err("the counts are shorter or longer than they say".to_owned());
    }
    check_counts(&plain[HEADER_LEN..])?;
    Deserializer::new().deserialize(&mut plain.as_slice()).map_err(|e| e.to_string())
}

/// Walks the ZigZag LEB128 counts: a negative number is a run of zeros. The crate negates and adds without checks.
fn check_counts(mut bytes: &[u8]) -> Result<(), String> {
    const SLOTS_MAX: u64 = 16 << 20;
    let mut slots = 0u64;
    let mut total = 0u64;
    while !bytes.is_empty() {
        let mut coded = 0u64;
        let mut used = 0;
        loop {
            let byte = *bytes.get(used).ok_or("a count is cut off")?;
            // The ninth byte carries eight bits.
            let low = if used == 8 { u64::from(byte) } else { u64::from(byte & 0x7f) };
            coded |= low << (7 * used);
            used += 1;
            if byte & 0x80 == 0 || used == 9 {
                break;
            }
        }
        bytes = &bytes[used..];
        if coded & 1 == 1 {
            slots = slots.saturating_add((coded >> 1).saturating_add(1));
        } else {
            slots += 1;
            total = total.checked_add(coded >> 1).ok_or("the counts add up to more than 64 bits hold")?;
        }
        if slots > SLOTS_MAX {
            return Err("more values than any histogram has".to_owned());
        }
    }
    Ok(())
}

/// The percentile spectrum: `(q, nanoseconds)` at quantiles spaced evenly on the 1/(1-q) axis, as far as at least
/// 100 samples lie above.
#[must_use]
pub fn spectrum(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    const PER_DECADE: i32 = 24;
    let samples = histogram.len();
    let mut points = Vec::new();
    for step in 0.. {
        let tail = 10f64.powf(f64::from(-step) / f64::from(PER_DECADE));
        if samples as f64 * tail < 100.0 {
            break;
        }
        points.push((1.0 - tail, histogram.value_at_quantile(1.0 - tail)));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut h = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("bounds");
        for v in values {
            h.record(v).expect("in range");
        }
        h
    }

    fn written(dir: &Path) -> PathBuf {
        let file = dir.join("a.hlog");
        let (a, b) = (histogram(1_000..3_000), histogram([5_000_000_000]));
        let row = |tag: String, start, histogram| Row {
            tag,
            start: Duration::from_secs(start),
            length: Duration::from_secs(1),
            histogram,
        };
        let rows = [
            row(tag("read profile", RESPONSE), 0, &a),
            row(tag("all", WAIT), 0, &a),
            row(tag("all", WAIT), 1, &b),
        ];
        write(&file, SystemTime::now(), &rows).expect("written");
        file
    }

    #[test]
    fn rows_of_one_tag_add_up_and_the_values_come_back_within_three_digits() {
        let dir = tempfile::tempdir().expect("a folder");
        let sums = read(&written(dir.path())).expect("read");
        assert_eq!(sums.keys().collect::<Vec<_>>(), ["all.wait", "read_profile.response"]);
        let wait = &sums["all.wait"];
        assert_eq!(wait.len(), 2_001);
        assert!(wait.max().abs_diff(5_000_000_000) < 5_000_000, "{}", wait.max());
        assert!(sums["read_profile.response"].value_at_quantile(0.5).abs_diff(2_000) <= 2);
    }

    #[test]
    fn a_spectrum_ends_where_fewer_than_a_hundred_samples_lie_above() {
        let points = spectrum(&histogram(1..=100_000));
        let last = points.last().expect("points");
        assert!(last.0 <= 0.999 && last.0 > 0.998, "{last:?}");
        assert!(points.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1));
        assert!(spectrum(&histogram(1..50)).is_empty());
    }

    #[test]
    fn torn_and_bent_files_name_file_and_line_and_never_panic() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = written(dir.path());
        let good = std::fs::read(&file).expect("bytes");
        for cut in (1..good.len()).step_by(37) {
            std::fs::write(&file, &good[..cut]).expect("written");
            if let Err(e) = read(&file) {
                assert!(e.to_string().contains("a.hlog:"), "{e}");
            }
        }
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..1_000 {
            let mut bent = good.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 20) as usize % bent.len();
                bent[at] = (state >> 56) as u8;
            }
            std::fs::write(&file, &bent).expect("written");
            let _ = read(&file);
        }
    }

    #[test]
    fn hostile_counts_and_lengths_are_refused_before_memory_is_taken() {
        let hostile = |payload_len: u32, counts: &[u8]| {
            let mut plain = Vec::new();
            plain.extend((COOKIE_V2 | COOKIE_WORD_SIZE).to_be_bytes());
            plain.extend(payload_len.to_be_bytes());
            plain.extend([0, 0, 0, 0, 0, 0, 0, 3]);
            plain.extend(1u64.to_be_bytes());
            plain.extend(3_600_000_000_000u64.to_be_bytes());
            plain.extend(1f64.to_be_bytes());
            plain.extend(counts);
            let mut z = flate2::read::ZlibEncoder::new(plain.as_slice(), flate2::Compression::fast());
            let mut deflated = Vec::new();
            z.read_to_end(&mut deflated).expect("deflated");
            let mut coded = Vec::new();
            coded.extend((COOKIE_V2_DEFLATED | COOKIE_WORD_SIZE).to_be_bytes());
            coded.extend((deflated.len() as u32).to_be_bytes());
            coded.extend(deflated);
            decode(&base64::engine::general_purpose::STANDARD.encode(coded))
        };
        assert_eq!(hostile(2, &[2, 4]).expect("two counts").len(), 3);
        assert!(hostile(u32::MAX, &[2, 4]).is_err(), "4 GiB of counts that aren't there");
        assert!(hostile(9, &[0xff; 9]).is_err(), "a run of 2^63 zeros");
        assert!(hostile(1, &[0x80]).is_err(), "a count that is cut off");
        let most = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(hostile(27, &[most, most, most].concat()).is_err(), "counts above 64 bits");
    }
}
