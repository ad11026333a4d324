//! The log against a list of records: appends of many sizes, rolls, closing and reopening, fetches from anywhere.

use std::sync::Arc;

use engine_env::rng::Seed;
use engine_env::sim::{Crash, SimHome};
use engine_env::{CompletionQueue, Home, Wait, drive_until_idle};
use log_engine::{Appending, Durability, Interval, LogConfig, Offset, Record, SteppedLog, TopicPartition};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<u16>),
    Commit,
    Upkeep,
    Close,
    Kill,
    Fetch { from: u8, max_bytes: u16 },
    FindTime(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => proptest::collection::vec(0..700u16, 1..8).prop_map(Step::Append),
        3 => Just(Step::Commit),
        3 => Just(Step::Upkeep),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        4 => (any::<u8>(), 1..9_000u16).prop_map(|(from, max_bytes)| Step::Fetch { from, max_bytes }),
        3 => any::<u8>().prop_map(Step::FindTime),
    ]
}

fn value(offset: usize, len: u16) -> Vec<u8> {
    (0..len).map(|i| (offset as u8).wrapping_mul(31).wrapping_add(i as u8)).collect()
}

/// Rising on the whole, and up and down from record to record.
fn time_of(offset: usize) -> i64 {
    5 + 3 * offset as i64 + [0, 11, -7, 2, 40, 0, -3][offset % 7]
}

struct Run {
    home: SimHome,
    log: SteppedLog<SimHome>,
    partition: TopicPartition,
    config: LogConfig,
    model: Vec<Vec<u8>>,
    done: Arc<CompletionQueue<log_engine::LogDone>>,
}

impl Run {
    fn start(durability: Durability) -> Self {
        let home = SimHome::new(Seed(7));
        #[allow(clippy::needless_update, reason = "the feature planted-bugs adds a field")]
        let config = LogConfig {
            durability,
            segment_bytes: 8192,
            index_interval_bytes: 600,
            zero_fill_step_bytes: 4096,
            recent_bytes: 3000,
            ..LogConfig::default()
        };
        let (log, _) = SteppedLog::open(home.clone(), config.clone()).expect("an empty folder");
        log.create_topic("t", 1).expect("a new topic");
        let partition = TopicPartition::new("t", 0);
        Self { home, log, partition, config, model: Vec::new(), done: Arc::default() }
    }

    fn append(&mut self, sizes: &[u16]) {
        let base = self.model.len();
        let values: Vec<_> = sizes.iter().enumerate().map(|(i, &len)| value(base + i, len)).collect();
        let records: Vec<_> = values
            .iter()
            .zip(base..)
            .map(|(v, offset)| Record { timestamp_ms: time_of(offset), ..Record::of_value(v) })
            .collect();
        let mut disk = self.home.disk().expect("powered");
        loop {
            match self.log.append(&self.partition, &records, 5, 0, &self.done).expect("no faults here") {
                Appending::Accepted(offset) => {
                    assert_eq!(offset, Offset(base as u64));
                    break;
                }
                Appending::NeedsUpkeep => {
                    // Sealing needs the commits done; then there is always a task that makes room.
                    drive_until_idle(&mut disk, &*self.log.machine(), std::time::Duration::from_secs(9));
                    assert!(self.log.upkeep(&mut disk, Interval::Running), "room is never made");
                }
            }
        }
        self.model.extend(values);
    }

    fn commit(&self) {
        let mut disk = self.home.disk().expect("powered");
        drive_until_idle(&mut disk, &*self.log.machine(), std::time::Duration::from_secs(9));
    }

    fn reopen(&mut self, kill: bool) {
        self.commit();
        let partition = self.partition.clone();
        let ends = self.log.ends(&partition).expect("the partition");
        let home = self.home.clone();
        if kill {
            home.reboot(Crash::ProcessKill(Seed(3)));
        }
        let (log, report) = SteppedLog::open(home, self.config.clone()).expect("it opens");
        let old = std::mem::replace(&mut self.log, log);
        if !kill {
            // Closing after the other one was opened would be wrong in life; here it only has to be the old one.
            drop(old);
        }
        assert!(report.partitions[0].damage.is_empty(), "{report}");
        let after = self.log.ends(&partition).expect("the partition");
        assert_eq!((after.start, after.end), (ends.start, ends.end), "{report}");
        assert_eq!(after.durable, after.end, "recovery makes everything durable");
    }

    fn close(&mut self) {
        self.commit();
        let spare_home = SimHome::new(Seed(1));
        let (spare, _) = SteppedLog::open(spare_home, self.config.clone()).expect("an empty folder");
        std::mem::replace(&mut self.log, spare).close().expect("no faults here");
        let (log, report) = SteppedLog::open(self.home.clone(), self.config.clone()).expect("it opens");
        assert!(report.partitions.iter().all(|p| p.tail_truncated.is_none()), "{report}");
        self.log = log;
    }

    fn fetch(&self, from: u8, max_bytes: u16) {
        let ends = self.log.ends(&self.partition).expect("the partition");
        let readable = match self.config.durability {
            Durability::Synced => ends.durable,
            _ => ends.end,
        };
        let from = Offset(u64::from(from) * (readable.0 + 1) / 256);
        let fetched = self.log.fetch(&self.partition, from, usize::from(max_bytes)).expect("readable");
        assert_eq!(fetched.is_empty(), from == readable);
        let mut next = from;
        for record in fetched.records() {
            let record = record.expect("well formed");
            assert_eq!(record.offset, next);
            assert_eq!(record.value, Some(self.model[next.0 as usize].as_slice()), "offset {next}");
            assert_eq!(record.timestamp_ms, time_of(next.0 as usize));
            next = next.plus(1);
        }
        assert_eq!(next, fetched.next_offset());
        let batches = fetched.batches().count();
        assert!(batches <= 1 || fetched.len_bytes() <= usize::from(max_bytes), "more than was asked for");
    }

    fn find_time(&self, at: u8) {
        let ends = self.log.ends(&self.partition).expect("the partition");
        let readable = match self.config.durability {
            Durability::Synced => ends.durable,
            _ => ends.end,
        };
        let time = i64::from(at) * (3 * readable.0 as i64 + 60) / 256;
        let expected = (0..readable.0 as usize).find(|&o| time_of(o) >= time);
        let found = self.log.offset_for_time(&self.partition, time).expect("readable");
        assert_eq!(found.map(|f| f.offset.0 as usize), expected, "time {time}");
        assert_eq!(found.map(|f| f.timestamp_ms), expected.map(time_of));
    }

    fn read_all(&self) {
        let mut at = Offset(0);
        let end = self.log.ends(&self.partition).expect("the partition").end;
        while at < end {
            let fetched = self.log.fetch(&self.partition, at, 1000).expect("readable");
            assert!(!fetched.is_empty());
            for record in fetched.records() {
                let record = record.expect("well formed");
                assert_eq!(record.value, Some(self.model[at.0 as usize].as_slice()));
                at = at.plus(1);
            }
        }
        assert_eq!(at.0 as usize, self.model.len());
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(sizes) => self.append(sizes),
            Step::Commit => self.commit(),
            Step::Upkeep => {
                let mut disk = self.home.disk().expect("powered");
                self.log.upkeep(&mut disk, Interval::Passed);
            }
            Step::Close => self.close(),
            Step::Kill => self.reopen(true),
            Step::Fetch { from, max_bytes } => self.fetch(*from, *max_bytes),
            Step::FindTime(at) => self.find_time(*at),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_a_list_of_records(
        steps in proptest::collection::vec(step(), 1..60),
        durability in prop_oneof![
            Just(Durability::Os), Just(Durability::IntervalMs(5)), Just(Durability::Synced)
        ],
    ) {
        let mut run = Run::start(durability);
        for step in &steps {
            run.take(step);
        }
        run.commit();
        run.read_all();
        run.reopen(true);
        run.read_all();
        (0..=255).step_by(17).for_each(|at| run.find_time(at));
        run.done.drain(Wait::No, &mut Vec::new());
    }
}
