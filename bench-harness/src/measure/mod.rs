//! What a run leaves behind: latencies, a row a second, and what it cost.

mod latency;
mod machine;
mod noise;
mod phase;
mod resources;
mod steady_state;

pub use latency::{ClassLatency, HistogramFile, LatencyRecord, Recorder, RecordingError, VISIBLE};
pub use noise::Noise;
pub(crate) use phase::PhaseMeter;
pub use phase::{Asked, Spent};
pub use resources::{Cost, ResourceMeter, device_flushes, device_written_bytes, disk_bytes, write_back};
pub use steady_state::SteadyState;
pub(crate) use steady_state::{TIMES_MAX, WINDOW};
