//! [`Recorder`]: latencies of a run in HDR histograms, one set a second.
//!
//! The driver only increments counters. Once a second it swaps the set for a clean one and hands the full one to a
//! thread of its own, which encodes it into the `.hlog` file, adds it to the totals and makes the second's row: none
//! of that may happen between two operations.
//!
//! Invariants: values are nanoseconds; 3 significant digits up to an hour; nothing is clamped (a longer value is
//! counted as out of range, and the run says so); percentiles are never averaged, only histograms added.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use workloads::OpKind;

use crate::report::histograms::{HistogramFileError, HistogramLog, RESPONSE, Row, SERVICE, WAIT, tag};
use crate::report::series::{Second, SeriesError, SeriesFile};

/// What the time from an update to its visibility is called beside the kinds of operation.
pub const VISIBLE: &str = "visible";

const HOUR_NS: u64 = 3_600_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HOUR_NS, 3).expect("1 ns to 1 h with 3 digits is a valid range")
}

/// The three times of one kind of operation, nanoseconds.
#[derive(Debug, Clone)]
pub struct ClassLatency {
    /// Done minus due.
    pub response: Histogram<u64>,
    /// Done minus handed over.
    pub service: Histogram<u64>,
    /// Handed over minus due.
    pub wait: Histogram<u64>,
}

impl ClassLatency {
    fn new() -> Self {
        Self { response: histogram(), service: histogram(), wait: histogram() }
    }

    /// Without a sample.
    pub(crate) fn empty() -> Self {
        Self::new()
    }

    fn boxed() -> Box<Self> {
        Box::new(Self::new())
    }

    /// Whether all three times could be counted.
    fn record(&mut self, due_ns: u64, start_ns: u64, end_ns: u64) -> bool {
        let parts = [
            self.response.record(end_ns.saturating_sub(due_ns)),
            self.service.record(end_ns.saturating_sub(start_ns)),
            self.wait.record(start_ns.saturating_sub(due_ns)),
        ];
        parts.iter().all(Result::is_ok)
    }

    fn parts(&self) -> [(&'static str, &Histogram<u64>); 3] {
        [(RESPONSE, &self.response), (SERVICE, &self.service), (WAIT, &self.wait)]
    }

    fn add(&mut self, other: &Self) {
        const SAME: &str = "all histograms have the same bounds";
        self.response.add(&other.response).expect(SAME);
        self.service.add(&other.service).expect(SAME);
        self.wait.add(&other.wait).expect(SAME);
    }

    fn reset(&mut self) {
        self.response.reset();
        self.service.reset();
        self.wait.reset();
    }
}

/// All latencies of a run.
#[derive(Debug)]
pub struct LatencyRecord {
    /// By kind of operation, in the order of [`OpKind::ALL`]; only kinds that occurred.
    pub classes: Vec<(OpKind, ClassLatency)>,
    /// From an update's due time, and from its being handed over, until the engine's subscriber saw it. No kind of
    /// operation: the same updates stand in `classes` with the times of their acknowledgements.
    pub visible: Option<ClassLatency>,
    /// How late the driver woke up or came round, nanoseconds.
    pub lateness: Histogram<u64>,
    /// Times longer than an hour, which no histogram holds.
    pub out_of_range: u64,
    /// Rows of each second: all operations, then each kind that occurred in it.
    pub series: Vec<Second>,
}

impl LatencyRecord {
    /// All kinds of operations together.
    #[must_use]
    pub fn all(&self) -> ClassLatency {
        let mut all = ClassLatency::new();
        for (_, class) in &self.classes {
            all.add(class);
        }
        all
    }
}

/// Why latencies couldn't be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The distributions.
    #[error(transparent)]
    Histograms(#[from] HistogramFileError),
    /// The rows over time.
    #[error(transparent)]
    Series(#[from] SeriesError),
}

/// Where the histograms of a run go, and what its rows say about themselves.
#[derive(Debug, Clone)]
pub struct HistogramFile {
    /// The `.hlog` file.
    pub hlog: PathBuf,
    /// The file of rows.
    pub series: PathBuf,
    /// Comment lines at the head of the `.hlog`: what was run.
    pub comments: Vec<String>,
}

/// One second's counters.
#[derive(Debug)]
struct Interval {
    start_ns: u64,
    end_ns: u64,
    classes: [Option<Box<ClassLatency>>; OpKind::ALL.len()],
    visible: Option<Box<ClassLatency>>,
    lateness: Histogram<u64>,
    out_of_range: u64,
    errors: [u64; OpKind::ALL.len()],
    lag_ns: u64,
    copies_missed: u64,
}

impl Interval {
    fn new() -> Self {
        Self {
            start_ns: 0,
            end_ns: 0,
            classes: std::array::from_fn(|_| None),
            visible: None,
            lateness: histogram(),
            out_of_range: 0,
            errors: [0; OpKind::ALL.len()],
            lag_ns: 0,
            copies_missed: 0,
        }
    }

    fn reset(&mut self) {
        for class in self.classes.iter_mut().flatten().chain(&mut self.visible) {
            class.reset();
        }
        self.lateness.reset();
        self.out_of_range = 0;
        self.errors = [0; OpKind::ALL.len()];
        self.lag_ns = 0;
        self.copies_missed = 0;
    }
}

/// Takes times from the driver. Finish it to get the totals.
#[derive(Debug)]
pub struct Recorder {
    current: Box<Interval>,
    next_ns: u64,
    full: Option<mpsc::Sender<Box<Interval>>>,
    clean: mpsc::Receiver<Box<Interval>>,
    keeper: Option<JoinHandle<Result<LatencyRecord, RecordingError>>>,
}

impl Recorder {
    /// Starts recording at `start_ns` of the driver's clock; with a `file`, everything is also written there.
    ///
    /// # Errors
    /// The file can't be created.
    ///
    /// # Panics
    /// If the operating system refuses a thread.
    pub fn start(start_ns: u64, file: Option<HistogramFile>) -> Result<Self, RecordingError> {
        let sink = file.map(Sink::create).transpose()?;
        let (full, full_out) = mpsc::channel::<Box<Interval>>();
        let (clean_in, clean) = mpsc::channel::<Box<Interval>>();
        // Two spare sets: one is being counted into while the other is being written.
        for _ in 0..2 {
            let _ = clean_in.send(Box::new(Interval::new()));
        }
        let keeper = std::thread::Builder::new()
            .name("latency-keeper".to_owned())
            .spawn(move || keep(start_ns, sink, &full_out, &clean_in))
            .expect("the operating system refused a thread");
        let mut current = Box::new(Interval::new());
        current.start_ns = start_ns;
        Ok(Self { current, next_ns: start_ns + SECOND_NS, full: Some(full), clean, keeper: Some(keeper) })
    }

    /// Counts an answered operation. `due_ns <= start_ns <= done_ns` on the driver's clock.
    pub fn record(&mut self, kind: OpKind, due_ns: u64, start_ns: u64, done_ns: u64) {
        if done_ns >= self.next_ns {
            self.turn(done_ns);
        }
        let class = self.current.classes[kind.index()].get_or_insert_with(ClassLatency::boxed);
        let in_range = class.record(due_ns, start_ns, done_ns);
        self.current.out_of_range += u64::from(!in_range);
        self.current.lag_ns = self.current.lag_ns.max(start_ns.saturating_sub(due_ns));
    }

    /// Counts an update that the engine's subscriber saw at `seen_ns`, which may lie in a second that is over.
    pub fn record_visible(&mut self, due_ns: u64, start_ns: u64, seen_ns: u64) {
        if seen_ns >= self.next_ns {
            self.turn(seen_ns);
        }
        let class = self.current.visible.get_or_insert_with(ClassLatency::boxed);
        let in_range = class.record(due_ns, start_ns, seen_ns);
        self.current.out_of_range += u64::from(!in_range);
    }

    /// Counts an operation that failed at `done_ns`.
    pub fn record_error(&mut self, kind: OpKind, done_ns: u64) {
        if done_ns >= self.next_ns {
            self.turn(done_ns);
        }
        self.current.errors[kind.index()] += 1;
    }

    /// Counts copies that acknowledged writes didn't get, known at `now_ns`.
    pub fn record_copies_missed(&mut self, copies: u64, now_ns: u64) {
        if now_ns >= self.next_ns {
            self.turn(now_ns);
        }
        self.current.copies_missed += copies;
    }

    /// Counts how late the driver was for a due operation.
    pub fn record_lateness(&mut self, ns: u64) {
        self.current.out_of_range += u64::from(self.current.lateness.record(ns).is_err());
    }

    /// Hands the second over.
    fn turn(&mut self, now_ns: u64) {
        let clean = self.clean.try_recv().unwrap_or_else(|_| Box::new(Interval::new()));
        let mut full = std::mem::replace(&mut self.current, clean);
        let boundary = now_ns - (now_ns - self.next_ns) % SECOND_NS;
        full.end_ns = boundary;
        self.current.start_ns = boundary;
        self.next_ns = boundary + SECOND_NS;
        if let Some(sender) = &self.full {
            // Refused only when the keeper has ended on an error, which finish() reports.
            let _ = sender.send(full);
        }
    }

    /// Ends the recording at `end_ns`.
    ///
    /// # Errors
    /// A file couldn't be written.
    ///
    /// # Panics
    /// If the keeper panicked.
    pub fn finish(mut self, end_ns: u64) -> Result<LatencyRecord, RecordingError> {
        self.current.end_ns = end_ns.max(self.current.start_ns);
        let last = std::mem::replace(&mut self.current, Box::new(Interval::new()));
        if let Some(sender) = self.full.take() {
            let _ = sender.send(last);
        }
        let keeper = self.keeper.take().expect("finish() takes the recorder, so it runs once");
        keeper.join().expect("the keeper doesn't panic")
    }
}

/// Files of a run.
struct Sink {
    comments: Vec<String>,
    hlog: HistogramLog,
    series: SeriesFile,
}

impl Sink {
    fn create(names: HistogramFile) -> Result<Self, RecordingError> {
        let hlog = HistogramLog::create(&names.hlog)?;
        let series = SeriesFile::create(&names.series)?;
        let mut comments = vec![
            "tags are OPERATION.response (done - due), OPERATION.service (done - handed over)".to_owned(),
            "and OPERATION.wait (handed over - due)".to_owned(),
        ];
        comments.extend(names.comments);
        Ok(Self { comments, hlog, series })
    }
}

/// The keeper's thread: until the recorder hangs up.
fn keep(
    origin_ns: u64,
    sink: Option<Sink>,
    full: &mpsc::Receiver<Box<Interval>>,
    clean: &mpsc::Sender<Box<Interval>>,
) -> Result<LatencyRecord, RecordingError> {
    let mut totals = Totals {
        classes: std::array::from_fn(|_| None),
        visible: None,
        lateness: histogram(),
        out_of_range: 0,
        series: Vec::new(),
        origin_ns,
    };
    match sink {
        None => {
            for interval in full {
                totals.take(&interval);
                give_back(interval, clean);
            }
        }
        Some(Sink { comments, hlog, mut series }) => {
            hlog.fill(SystemTime::now(), &comments, |add| {
                for interval in full {
                    totals.take(&interval).iter().try_for_each(|row| series.add(row))?;
                    write_interval(&interval, origin_ns, add)?;
                    give_back(interval, clean);
                }
                Ok::<(), RecordingError>(())
            })?;
            series.finish()?;
        }
    }
    Ok(totals.record())
}

/// Adds a row for each kind of operation and of latency.
fn write_interval(
    interval: &Interval,
    origin_ns: u64,
    add: &mut dyn FnMut(&Row<'_>) -> Result<(), HistogramFileError>,
) -> Result<(), HistogramFileError> {
    let start = Duration::from_nanos(interval.start_ns.saturating_sub(origin_ns));
    let length = Duration::from_nanos(interval.end_ns - interval.start_ns);
    let kinds = OpKind::ALL.iter().map(|kind| kind.name()).zip(&interval.classes);
    for (name, class) in kinds.chain([(VISIBLE, &interval.visible)]) {
        let Some(class) = class.as_ref().filter(|class| !class.response.is_empty()) else { continue };
        for (part, histogram) in class.parts() {
            add(&Row { tag: tag(name, part), start, length, histogram })?;
        }
    }
    Ok(())
}

fn give_back(mut interval: Box<Interval>, clean: &mpsc::Sender<Box<Interval>>) {
    interval.reset();
    // Nobody waits for it any more once the recorder is gone.
    let _ = clean.send(interval);
}

struct Totals {
    classes: [Option<ClassLatency>; OpKind::ALL.len()],
    visible: Option<ClassLatency>,
    lateness: Histogram<u64>,
    out_of_range: u64,
    series: Vec<Second>,
    origin_ns: u64,
}

impl Totals {
    /// Adds a second, and gives the rows that it makes: one of all operations first, then one of each kind.
    fn take(&mut self, interval: &Interval) -> &[Second] {
        let rows_before = self.series.len();
        let second = interval.start_ns.saturating_sub(self.origin_ns) as f64 / 1e9;
        let lag_us = interval.lag_ns as f64 / 1e3;
        let row = |operation: &str, responses: &Histogram<u64>, errors: u64| {
            let us = |q| (!responses.is_empty()).then(|| responses.value_at_quantile(q) as f64 / 1e3);
            Second {
                second,
                operation: operation.to_owned(),
                count: responses.len(),
                errors,
                p50_us: us(0.5),
                p99_us: us(0.99),
                max_us: us(1.0),
                lag_us: Some(lag_us),
                copies_missed: interval.copies_missed,
            }
        };
        let mut all = histogram();
        self.series.push(row("all", &all, 0));
        let classes = self.classes.iter_mut().zip(&interval.classes).zip(OpKind::ALL).zip(interval.errors);
        for (((total, class), kind), errors) in classes {
            let Some(class) = class else { continue };
            if class.response.is_empty() && errors == 0 {
                continue;
            }
            total.get_or_insert_with(ClassLatency::new).add(class);
            all.add(&class.response).expect("all histograms have the same bounds");
            self.series.push(row(kind.name(), &class.response, errors));
        }
        self.series[rows_before] = row("all", &all, interval.errors.iter().sum());
        if let Some(visible) = interval.visible.as_ref().filter(|v| !v.response.is_empty()) {
            self.visible.get_or_insert_with(ClassLatency::new).add(visible);
            self.series.push(row(VISIBLE, &visible.response, 0));
        }
        self.lateness.add(&interval.lateness).expect("all histograms have the same bounds");
        self.out_of_range += interval.out_of_range;
        &self.series[rows_before..]
    }

    fn record(self) -> LatencyRecord {
        LatencyRecord {
            classes: OpKind::ALL
                .iter()
                .zip(self.classes)
                .filter_map(|(kind, class)| Some((*kind, class?)))
                .collect(),
            visible: self.visible,
            lateness: self.lateness,
            out_of_range: self.out_of_range,
            series: self.series,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn seconds_are_kept_apart_added_up_and_read_back_from_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = HistogramFile {
            hlog: dir.path().join("run.hlog"),
            series: dir.path().join("run.csv"),
            comments: vec!["engine=test".to_owned()],
        };
        let origin = 5 * SECOND_NS;
        let mut recorder = Recorder::start(origin, Some(files.clone())).expect("started");
        for i in 0..2_500_u64 {
            let due = origin + i * 1_000_000;
            recorder.record(OpKind::Put, due, due + 10_000, due + 30_000);
        }
        recorder.record(OpKind::Get, origin, origin, origin + 2 * SECOND_NS + 600_000_000);
        recorder.record_lateness(2 * HOUR_NS);
        let record = recorder.finish(origin + 2 * SECOND_NS + 700_000_000).expect("finished");

        assert_eq!(record.out_of_range, 1, "two hours aren't clamped to one");
        let all: Vec<_> =
            record.series.iter().filter(|r| r.operation == "all").map(|r| (r.second, r.count)).collect();
        assert_eq!(all, [(0.0, 1000), (1.0, 1000), (2.0, 501)]);
        assert_eq!(
            record.classes.iter().map(|(k, c)| (*k, c.response.len())).collect::<Vec<_>>(),
            [(OpKind::Get, 1), (OpKind::Put, 2500)]
        );
        let put = &record.classes[1].1;
        for (histogram, expected) in
            [(&put.response, 30_000.0), (&put.service, 20_000.0), (&put.wait, 10_000.0)]
        {
            assert!((histogram.mean() / expected - 1.0).abs() < 0.001);
        }
        assert_eq!(record.all().response.len(), 2501);

        let bytes = std::fs::read(&files.hlog).expect("the log is there");
        let mut read = 0;
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(row) = entry.expect("a readable log") {
                use base64_of_hlog as decode;
                if row.tag().map(|t| t.as_str()) == Some("put.response") {
                    let raw = decode(row.encoded_histogram());
                    let one: Histogram<u64> =
                        Deserializer::new().deserialize(&mut raw.as_slice()).expect("a readable histogram");
                    read += one.len();
                }
            }
        }
        assert_eq!(read, 2500);
        let series = std::fs::read_to_string(&files.series).expect("the series is there");
        assert_eq!(series.lines().count(), 1 + 2 + 2 + 3, "{series}");
    }

    /// The test's own base64, so that the file is checked by something else than what wrote it.
    fn base64_of_hlog(text: &str) -> Vec<u8> {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
        for byte in text.bytes().filter(|b| *b != b'=') {
            let value = LETTERS.iter().position(|l| *l == byte).expect("a base64 letter");
            bits = bits << 6 | u32::try_from(value).expect("below 64");
            count += 6;
            if count >= 8 {
                count -= 8;
                out.push((bits >> count) as u8);
            }
        }
        out
    }
}
