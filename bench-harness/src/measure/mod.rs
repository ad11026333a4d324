//! What a run leaves behind: latencies, a row a second, and what it cost.

mod latency;
mod noise;
mod resources;

pub use latency::{ClassLatency, HistogramFile, LatencyRecord, Recorder, RecordingError, VISIBLE};
pub use noise::Noise;
pub use resources::{Cost, ResourceMeter, device_flushes, disk_bytes, write_back};
