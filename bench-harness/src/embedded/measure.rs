//! Measuring: the same work for every contender, by turns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine_env::rng::{Seed, mix};
use hdrhistogram::Histogram;
use rand::RngExt as _;

use super::contender::{self, Contender, ContenderError, Kind};
use super::plan::EmbeddedPlan;
use super::table::{EmbeddedReport, Row, Sample, What};
use crate::measure::{device_written_bytes, disk_bytes, write_back};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No such contender in this build.
    #[error("this build knows no {name:?}; it knows {known}; others come with --features peers")]
    Unknown {
        /// The name.
        name: String,
        /// Whom it knows.
        known: String,
    },
    /// A contender failed.
    #[error("{name}, {doing}: {source}")]
    Failed {
        /// Who.
        name: &'static str,
        /// At what.
        doing: String,
        /// Why.
        source: ContenderError,
    },
    /// A contender gave a wrong answer: then no figure of it counts.
    #[error("{name} gave a wrong answer for key {id}: {answer}")]
    WrongAnswer {
        /// Who.
        name: &'static str,
        /// The key's number.
        id: u64,
        /// What it said.
        answer: String,
    },
    /// The folder can't be used.
    #[error("{}: {source}", dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Keys for commits that wait for the disk: these measure the disk's order, not the size of a store.
const SYNCED_KEYS_MAX: u64 = 100_000;
/// Updates of every key, before space is measured.
const OVERWRITES: u64 = 10;

fn key(id: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(id).to_be_bytes());
    key[8..].copy_from_slice(&mix(!id).to_be_bytes());
    key
}

/// Values that no store can make smaller, each with its key's number in front.
struct Values {
    noise: Vec<u8>,
    len: usize,
}

impl Values {
    fn new(len: usize) -> Self {
        let mut rng = Seed(5).rng();
        Self { noise: (0..len + 4096).map(|_| rng.random()).collect(), len }
    }

    fn put_into(&self, value: &mut Vec<u8>, id: u64, turn: u64) {
        let from = (mix(id ^ turn) % 4096) as usize;
        value.clear();
        value.extend_from_slice(&self.noise[from..from + self.len]);
        value[..8].copy_from_slice(&id.to_le_bytes());
    }

    fn check(&self, id: u64, found: Option<&[u8]>) -> Result<(), String> {
        match found {
            None => Err("nothing".to_owned()),
            Some(value) if value.len() != self.len => Err(format!("{} bytes", value.len())),
            Some(value) if value[..8] != id.to_le_bytes() => Err("another key's value".to_owned()),
            Some(_) => Ok(()),
        }
    }
}

/// A contender at work.
struct Running {
    kind: Kind,
    dir: PathBuf,
    store: Option<Box<dyn Contender>>,
}

impl Running {
    fn open(kind: Kind, dir: PathBuf, synced: bool) -> Result<Self, EmbeddedError> {
        std::fs::create_dir_all(&dir).map_err(|source| EmbeddedError::Folder { dir: dir.clone(), source })?;
        let mut running = Self { kind, dir, store: None };
        running.reopen(synced)?;
        Ok(running)
    }

    fn reopen(&mut self, synced: bool) -> Result<(), EmbeddedError> {
        self.store = Some((self.kind.open)(&self.dir, synced).map_err(|e| self.failed("opening", e))?);
        Ok(())
    }

    fn close(&mut self) -> Result<(), EmbeddedError> {
        let store = self.store.take().expect("it is open");
        store.close().map_err(|e| self.failed("closing", e))
    }

    fn store(&self) -> &dyn Contender {
        self.store.as_deref().expect("it is open")
    }

    fn failed(&self, doing: &str, source: ContenderError) -> EmbeddedError {
        EmbeddedError::Failed { name: self.kind.name, doing: doing.to_owned(), source }
    }
}

/// What a turn is spent on.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// The keys of a range, one after the other.
    Load {
        from: u64,
        to: u64,
    },
    Get,
    Update,
}

/// One turn: this work on so many threads.
struct Turn<'a> {
    work: Work,
    threads: usize,
    keys: u64,
    values: &'a Values,
    limit: Duration,
    number: u64,
    stop: &'a AtomicBool,
}

/// Every this many operations one is timed.
const TIMED_EACH: u64 = 16;

impl Turn<'_> {
    fn take(&self, running: &Running) -> Result<Sample, EmbeddedError> {
        let wrong = Mutex::new(None);
        let over = AtomicBool::new(false);
        let started = Instant::now();
        let done: Vec<(u64, Histogram<u64>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| {
                    let (wrong, over) = (&wrong, &over);
                    scope.spawn(move || {
                        let mut times = Histogram::new(3).expect("three digits");
                        let result = self.work_on(running, thread as u64, started, over, &mut times);
                        let ops = result.unwrap_or_else(|error| {
                            over.store(true, Ordering::Relaxed);
                            *wrong.lock().expect("nobody panics with it") = Some(error);
                            0
                        });
                        (ops, times)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("it doesn't panic")).collect()
        });
        let took = started.elapsed().as_secs_f64();
        if let Some(error) = wrong.into_inner().expect("nobody panics with it") {
            return Err(error);
        }
        let mut times = Histogram::<u64>::new(3).expect("three digits");
        let mut ops = 0;
        for (count, one) in done {
            ops += count;
            times.add(one).expect("histograms of one sort");
        }
        Ok(Sample { per_s: ops as f64 / took, p99_us: times.value_at_quantile(0.99) as f64 / 1000.0 })
    }

    fn work_on(
        &self,
        running: &Running,
        thread: u64,
        started: Instant,
        over: &AtomicBool,
        times: &mut Histogram<u64>,
    ) -> Result<u64, EmbeddedError> {
        let store = running.store();
        let mut rng = Seed(9).derive("embedded", self.number << 8 | thread).rng();
        let mut value = Vec::with_capacity(self.values.len);
        let (mut next, to) = match self.work {
            Work::Load { from, to } => (from + thread, to),
            Work::Get | Work::Update => (0, u64::MAX),
        };
        let mut ops = 0;
        while next < to {
            let timed = (ops % TIMED_EACH == 0).then(Instant::now);
            let failed = |doing: &str, e| running.failed(doing, e);
            match self.work {
                Work::Get => {
                    let id = rng.random_range(0..self.keys);
                    let found = store.get(&key(id)).map_err(|e| failed("get", e))?;
                    self.values.check(id, found.as_deref()).map_err(|answer| EmbeddedError::WrongAnswer {
                        name: running.kind.name,
                        id,
                        answer,
                    })?;
                }
                Work::Update => {
                    let id = rng.random_range(0..self.keys);
                    self.values.put_into(&mut value, id, self.number);
                    store.put(&key(id), &value).map_err(|e| failed("update", e))?;
                }
                Work::Load { .. } => {
                    self.values.put_into(&mut value, next, 0);
                    store.put(&key(next), &value).map_err(|e| failed("load", e))?;
                    next += self.threads as u64;
                }
            }
            ops += 1;
            if let Some(at) = timed {
                let now = Instant::now();
                times.record((now - at).as_nanos() as u64).expect("it grows with what it is told");
                let is_over = now - started >= self.limit
                    || over.load(Ordering::Relaxed)
                    || self.stop.load(Ordering::Relaxed);
                if is_over && !matches!(self.work, Work::Load { .. }) {
                    break;
                }
            }
        }
        Ok(ops)
    }
}

/// Measures all that the plan says. `progress` is told what comes next, `told` gets each row when it is there.
///
/// # Errors
/// Somebody failed, or gave a wrong answer.
pub fn run(
    plan: &EmbeddedPlan,
    progress: &mut dyn FnMut(&str),
    told: &mut dyn FnMut(&Row),
) -> Result<EmbeddedReport, EmbeddedError> {
    let all = contender::all();
    let mut kinds = Vec::new();
    for name in &plan.engines {
        let kind = all.iter().find(|kind| kind.name == name).ok_or_else(|| EmbeddedError::Unknown {
            name: name.clone(),
            known: all.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", "),
        })?;
        kinds.push(*kind);
    }
    let mut round = Rounds { plan, kinds, rows: Vec::new(), progress, told, number: 0 };
    for &len in &plan.value_bytes {
        round.of_size(len)?;
    }
    Ok(EmbeddedReport { keys: plan.keys, rounds: plan.rounds, rows: round.rows })
}

struct Rounds<'a> {
    plan: &'a EmbeddedPlan,
    kinds: Vec<Kind>,
    rows: Vec<Row>,
    progress: &'a mut dyn FnMut(&str),
    told: &'a mut dyn FnMut(&Row),
    number: u64,
}

impl Rounds<'_> {
    fn of_size(&mut self, len: usize) -> Result<(), EmbeddedError> {
        let dir = self.plan.dir.join(format!("embedded-{}", std::process::id()));
        let result = self.all_of(len, &dir);
        // Whatever came of it, gigabytes don't stay behind.
        let removed = std::fs::remove_dir_all(&dir);
        result?;
        removed.map_err(|source| EmbeddedError::Folder { dir, source })
    }

    fn all_of(&mut self, len: usize, dir: &Path) -> Result<(), EmbeddedError> {
        let values = Values::new(len);
        let keys = self.plan.keys;
        let mut open = self.open_all(&dir.join("os"), false)?;
        let pieces = self.plan.rounds as u64;
        let load = |round: u64| Work::Load { from: keys * round / pieces, to: keys * (round + 1) / pieces };
        self.row(What::Load, len, 1, false, keys, &values, &open, &load)?;
        for &threads in &self.plan.threads.clone() {
            self.row(What::Get, len, threads, false, keys, &values, &open, &|_| Work::Get)?;
        }
        for &threads in &self.plan.threads.clone() {
            self.row(What::Update, len, threads, false, keys, &values, &open, &|_| Work::Update)?;
        }
        self.memory(len, &open);
        self.reopen(len, &values, &mut open)?;
        for one in &mut open {
            one.close()?;
        }
        let few = keys.min(SYNCED_KEYS_MAX);
        let mut open = self.open_all(&dir.join("synced"), false)?;
        for one in &mut open {
            if self.plan.stopped() {
                return Ok(());
            }
            self.turn(Work::Load { from: 0, to: few }, 1, few, &values).take(one)?;
            one.close()?;
            one.reopen(true)?;
        }
        let most = self.plan.threads.iter().copied().max().unwrap_or(1);
        for threads in [1, most] {
            self.row(What::Update, len, threads, true, few, &values, &open, &|_| Work::Update)?;
        }
        drop(open);
        self.space(len, &values, &dir.join("space"))
    }

    fn open_all(&self, dir: &Path, synced: bool) -> Result<Vec<Running>, EmbeddedError> {
        self.kinds.iter().map(|kind| Running::open(*kind, dir.join(kind.name), synced)).collect()
    }

    fn turn<'a>(&'a self, work: Work, threads: usize, keys: u64, values: &'a Values) -> Turn<'a> {
        let (limit, stop) = (self.plan.turn, &*self.plan.stop);
        Turn { work, threads, keys, values, limit, number: self.number, stop }
    }

    #[expect(clippy::too_many_arguments, reason = "what a row's first cells say")]
    fn row(
        &mut self,
        what: What,
        len: usize,
        threads: usize,
        synced: bool,
        keys: u64,
        values: &Values,
        open: &[Running],
        work: &dyn Fn(u64) -> Work,
    ) -> Result<(), EmbeddedError> {
        (self.progress)(&format!(
            "{what}, {len} B, threads {threads}, {}",
            if synced { "synced" } else { "os" }
        ));
        let mut samples: BTreeMap<usize, Vec<Sample>> = BTreeMap::new();
        for round in 0..self.plan.rounds {
            let mut order: Vec<usize> = (0..open.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for i in order {
                // A store that was loaded in part would give wrong answers later, so loading isn't left out.
                if self.plan.stopped() && what != What::Load {
                    return Ok(());
                }
                self.number += 1;
                let sample = self.turn(work(round as u64), threads, keys, values).take(&open[i])?;
                samples.entry(i).or_default().push(sample);
            }
        }
        let samples = samples.into_iter().map(|(i, samples)| (self.kinds[i].name, samples)).collect();
        self.add(Row::of_samples(what, len, threads, synced, samples));
        Ok(())
    }

    fn add(&mut self, row: Row) {
        (self.told)(&row);
        self.rows.push(row);
    }

    fn memory(&mut self, len: usize, open: &[Running]) {
        let bytes: Vec<_> =
            open.iter().filter_map(|one| Some((one.kind.name, one.store().key_bytes()?))).collect();
        self.add(Row::of_values(What::KeyMemory, len, bytes));
    }

    fn reopen(&mut self, len: usize, values: &Values, open: &mut [Running]) -> Result<(), EmbeddedError> {
        (self.progress)(&format!("reopening, {len} B"));
        let (mut clean, mut crashed) = (Vec::new(), Vec::new());
        for one in open.iter_mut().filter(|one| !one.kind.is_ceiling) {
            one.store().settle();
            one.close()?;
            let started = Instant::now();
            one.reopen(false)?;
            clean.push((one.kind.name, started.elapsed().as_secs_f64()));
            // Others write when they are dropped: only ours is known to be left as a killed process leaves it.
            if one.kind.name == super::kv::KIND.name {
                one.store = None;
                remove_hints(&one.dir)?;
                let started = Instant::now();
                one.reopen(false)?;
                crashed.push((one.kind.name, started.elapsed().as_secs_f64()));
            }
            let look =
                Turn { limit: Duration::from_millis(50), ..self.turn(Work::Get, 1, self.plan.keys, values) };
            look.take(one)?;
        }
        self.add(Row::of_values(What::ReopenClean, len, clean));
        self.add(Row::of_values(What::ReopenCrashed, len, crashed));
        Ok(())
    }

    fn space(&mut self, len: usize, values: &Values, dir: &Path) -> Result<(), EmbeddedError> {
        (self.progress)(&format!("space after overwriting everything {OVERWRITES} times, {len} B"));
        let keys = (self.plan.keys / 10).max(1);
        let (mut shares, mut written) = (Vec::new(), Vec::new());
        for kind in self.kinds.clone().into_iter().filter(|kind| !kind.is_ceiling) {
            let mut one = Running::open(kind, dir.join(kind.name), false)?;
            let failed = |source| EmbeddedError::Folder { dir: one.dir.clone(), source };
            write_back(&one.dir).map_err(failed)?;
            let before = device_written_bytes(&one.dir);
            for _ in 0..=OVERWRITES {
                if self.plan.stopped() {
                    return Ok(());
                }
                self.number += 1;
                self.turn(Work::Load { from: 0, to: keys }, 1, keys, values).take(&one)?;
            }
            one.store().settle();
            write_back(&one.dir).map_err(failed)?;
            let live = keys * (16 + len as u64);
            shares.push((kind.name, disk_bytes(&one.dir).map_err(failed)? as f64 / live as f64));
            if let Some((before, after)) = before.zip(device_written_bytes(&one.dir)) {
                let put = live * (OVERWRITES + 1);
                written.push((kind.name, (after - before) as f64 / put as f64));
            }
            one.close()?;
        }
        self.add(Row::of_values(What::Space, len, shares));
        self.add(Row::of_values(What::Written, len, written));
        Ok(())
    }
}

/// The worst that a crash may leave: no hint file reached the disk.
fn remove_hints(dir: &Path) -> Result<(), EmbeddedError> {
    let failed = |source| EmbeddedError::Folder { dir: dir.to_owned(), source };
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "hint") {
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers after a while.
    struct Slow(Duration);

    impl Contender for Slow {
        #[expect(clippy::disallowed_methods, reason = "it is slow on purpose")]
        fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, ContenderError> {
            std::thread::sleep(self.0);
            Ok(Some(0_u64.to_le_bytes().to_vec()))
        }

        fn put(&self, _: &[u8], _: &[u8]) -> Result<(), ContenderError> {
            Ok(())
        }

        fn close(self: Box<Self>) -> Result<(), ContenderError> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_answer_shows_in_the_99th_percentile() {
        let wait = Duration::from_millis(3);
        let kind = Kind { name: "slow", open: |_, _| unreachable!("it is open"), is_ceiling: false };
        let running = Running { kind, dir: PathBuf::new(), store: Some(Box::new(Slow(wait))) };
        // One key only, number 0, which is what the answer says.
        let (values, stop) = (Values::new(8), AtomicBool::new(false));
        let limit = Duration::from_millis(20);
        let turn =
            Turn { work: Work::Get, threads: 2, keys: 1, values: &values, limit, number: 1, stop: &stop };
        let sample = turn.take(&running).expect("right answers");
        assert!(sample.p99_us >= 3_000.0 && sample.per_s < 1_000.0, "{sample:?}");
    }
}
