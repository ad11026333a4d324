//! [`Compacted`]: a compacted topic with few keys, some of whose records are tombstones and some of which have no key to
//! be replaced by.

use engine_env::Wait;
use engine_env::rng::Rng;
use log_engine::LogConfig;
use rand::{Rng as _, RngExt as _};

use super::log::{IN_FLIGHT_MAX, LogSubject, TOPIC, Use, any_partition, partitions};
use super::subject::Notes;
use crate::stress::batch_plan::Draft;
use crate::stress::{Token, dump_log};

const KEYS: u32 = 5;
const TOMBSTONES_MS: u64 = 1_000;

#[derive(Default)]
pub(super) struct Compacted;

impl Use for Compacted {
    fn settings(config: LogConfig) -> LogConfig {
        LogConfig {
            segment_bytes: 4096,
            compacted_topics: vec![TOPIC.to_owned()],
            tombstone_retention_ms: TOMBSTONES_MS,
            compaction_dirty_percent: 10,
            ..config
        }
    }

    fn step(log: &mut LogSubject<Self>, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        match rng.random_range(0..100) {
            0..38 if log.in_flight() < IN_FLIGHT_MAX => {
                let to = any_partition(rng);
                let records = rng.random_range(1..4);
                let drafts: Vec<_> = (0..records)
                    .map(|_| {
                        let key = rng.random_bool(0.9).then(|| rng.random_range(0..KEYS));
                        let is_tombstone = key.is_some() && rng.random_bool(0.15);
                        let mut value = vec![0; rng.random_range(1..400)];
                        rng.fill_bytes(&mut value);
                        Draft::new(&to, log.next_id(0, key), (!is_tombstone).then_some(value))
                    })
                    .collect();
                log.begin(&to, &drafts, notes)?;
            }
            38..58 => log.pump(Wait::No),
            58..63 => log.read(rng, notes)?,
            63..78 => log.compact(),
            78..80 => log.tombstones_expire(notes),
            _ => log.keep_up(),
        }
        Ok(())
    }
}

impl LogSubject<Compacted> {
    fn compact(&mut self) {
        self.note(format_args!("compact at {}", self.now_ms));
        self.log.compact(&mut self.upkeep, self.now_ms);
    }

    /// So much time passes that every tombstone that was met by compaction may go.
    fn tombstones_expire(&mut self, notes: &mut Notes) {
        for of in partitions() {
            let end = self.log.ends(&of).expect("it was created at opening").end;
            notes.attempted.push(Token::Expired { of: dump_log::told(&of), offset: end.0 });
        }
        self.now_ms = self.now_ms.saturating_add_unsigned(TOMBSTONES_MS + 1);
        self.note(format_args!("it is {}", self.now_ms));
    }
}
