//! [`PhaseMeter`]: what one phase of a run cost: processor, memory, the engine's own counts, the device's, the disk's.

use std::io;
use std::path::Path;

use super::{Cost, ResourceMeter, device_flushes, disk_bytes};
use crate::engine::EngineStats;
use crate::report::record::Resources;

/// Taken before and after a phase.
#[derive(Debug)]
pub(crate) struct PhaseMeter<'a> {
    dir: &'a Path,
    before: EngineStats,
    flushes: Option<u64>,
    meter: ResourceMeter,
}

/// What a phase cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Spent {
    /// Of the machine.
    pub cost: Cost,
    /// What the engine counted.
    pub engine: EngineStats,
    /// Flushes that the block device counted meanwhile, whoever asked for them.
    pub device_flushes: Option<u64>,
    /// Size of the engine's files at the end.
    pub disk_bytes: u64,
    /// Bytes of keys and values alive at the end.
    pub live_bytes: u64,
    /// What the workload asked for.
    pub asked: Asked,
}

/// Bytes that the workload asked for in a phase, and got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Of keys and values in acknowledged writes.
    pub written_bytes: u64,
    /// Of values that reads returned.
    pub read_bytes: u64,
}

impl<'a> PhaseMeter<'a> {
    /// Starts metering an engine in `dir` that has counted `before` so far.
    pub(crate) fn start(dir: &'a Path, before: EngineStats) -> Self {
        Self { dir, before, flushes: device_flushes(dir), meter: ResourceMeter::start() }
    }

    /// The cost until now, where the engine has counted `after`.
    ///
    /// # Errors
    /// The engine's folder can't be read.
    pub(crate) fn stop(self, after: EngineStats, live_bytes: u64, asked: Asked) -> io::Result<Spent> {
        // First of all, so that looking around isn't counted.
        let cost = self.meter.stop();
        let flushes = self.flushes.zip(device_flushes(self.dir));
        Ok(Spent {
            cost,
            engine: after.since(&self.before),
            device_flushes: flushes.map(|(before, after)| after.saturating_sub(before)),
            disk_bytes: disk_bytes(self.dir)?,
            live_bytes,
            asked,
        })
    }
}

impl Spent {
    /// As the record keeps it.
    #[must_use]
    pub fn resources(&self) -> Resources {
        let ratio = |a: u64, b: u64| (b > 0 && a > 0).then(|| a as f64 / b as f64);
        Resources {
            cpu_s: Some(self.cost.cpu_s),
            rss_peak_bytes: self.cost.rss_peak_bytes,
            written_bytes: Some(self.engine.written_bytes),
            disk_bytes: Some(self.disk_bytes),
            live_bytes: Some(self.live_bytes),
            read_bytes: Some(self.asked.read_bytes),
            syncs: Some(self.engine.syncs),
            write_amp: ratio(self.engine.written_bytes, self.asked.written_bytes),
            space_amp: ratio(self.disk_bytes, self.live_bytes),
            device_flushes: self.device_flushes,
            messages: Some(self.engine.messages).filter(|n| *n > 0),
            message_bytes: Some(self.engine.message_bytes).filter(|n| *n > 0),
            driver_cpu_s: Some(self.cost.driver_cpu_s),
            voluntary_switches: self.cost.voluntary_switches,
            involuntary_switches: self.cost.involuntary_switches,
            steal_share: self.cost.steal_share,
            others_share: self.cost.others_share,
            throttled_s: self.cost.throttled_s,
        }
    }
}
