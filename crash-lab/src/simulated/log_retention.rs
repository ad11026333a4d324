//! [`Retained`]: a log whose start moves, by size, by age, and because somebody asks.
//!
//! How far a limit lets it move is computed here from the batches that can be read, and told as a `cut` before the engine
//! looks at its limits: a log that lets go of more is found.

use engine_env::Wait;
use engine_env::rng::Rng;
use log_engine::{LogConfig, Offset, TopicPartition};
use rand::{Rng as _, RngExt as _};

use super::log::{IN_FLIGHT_MAX, LogSubject, Use, allow_start, any_partition, partitions};
use super::subject::Notes;
use crate::stress::batch_plan::Draft;

const BYTES: u64 = 12_000;
const AGE_MS: u64 = 5_000;
const FETCH_BYTES: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Retained;

impl Use for Retained {
    fn settings(config: LogConfig) -> LogConfig {
        LogConfig { segment_bytes: 4096, retention_bytes: Some(BYTES), retention_ms: Some(AGE_MS), ..config }
    }

    fn step(log: &mut LogSubject<Self>, rng: &mut Rng, notes: &mut Notes) -> Result<(), String> {
        match rng.random_range(0..100) {
            0..40 if log.in_flight() < IN_FLIGHT_MAX => {
                let to = any_partition(rng);
                let records = rng.random_range(1..4);
                let drafts: Vec<_> = (0..records)
                    .map(|_| {
                        let mut value = vec![0; rng.random_range(0..500)];
                        rng.fill_bytes(&mut value);
                        Draft::new(&to, log.next_id(0, None), Some(value))
                    })
                    .collect();
                log.begin(&to, &drafts, notes)?;
            }
            40..62 => log.pump(Wait::No),
            62..67 => log.read(rng, notes)?,
            67..72 => log.cut(rng, notes),
            72..80 => log.look_at_limits(notes)?,
            80..84 => log.now_ms += rng.random_range(0..4_000),
            _ => log.keep_up(),
        }
        Ok(())
    }
}

impl LogSubject<Retained> {
    fn look_at_limits(&mut self, notes: &mut Notes) -> Result<(), String> {
        for of in partitions() {
            let start = self.start_within_limits(&of)?;
            if let Some(start) = start {
                allow_start(&of, start, notes);
            }
        }
        self.note(format_args!("look at the limits at {}", self.now_ms));
        self.log.enforce_retention(self.now_ms);
        Ok(())
    }

    /// The last offset at which the limits let a partition start; nothing if they want nothing.
    fn start_within_limits(&self, of: &TopicPartition) -> Result<Option<Offset>, String> {
        let start = self.log.ends(of).expect("it was created at opening").start;
        let end = self.readable_end(of);
        // First offset, bytes and time of each batch.
        let (mut batches, mut at) = (Vec::new(), start);
        while at < end {
            let fetched = self.log.fetch(of, at, FETCH_BYTES).map_err(|e| e.to_string())?;
            batches
                .extend(fetched.batches().map(|b| (b.base_offset(), b.len() as u64, b.max_timestamp_ms())));
            if fetched.next_offset() <= at {
                return Err(format!("nothing can be fetched from {of} at {at}, and it ends at {end}"));
            }
            at = fetched.next_offset();
        }
        // As much as the size lets go of, and behind it whatever is too old: no segment with one younger batch goes by age.
        let (mut by_size, mut behind) = (start, self.bytes_in_flight(of));
        for (base, bytes, _) in batches.iter().rev() {
            behind += bytes;
            if behind >= BYTES {
                by_size = *base;
                break;
            }
        }
        let is_young = |time_ms: i64| time_ms.saturating_add_unsigned(AGE_MS) >= self.now_ms;
        let young = batches.iter().find(|(base, _, time_ms)| *base >= by_size && is_young(*time_ms));
        let allowed = young.map_or(end, |(base, ..)| *base);
        Ok((allowed > start).then_some(allowed))
    }
}
