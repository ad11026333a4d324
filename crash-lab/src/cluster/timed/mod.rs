//! Clusters with time: the real nodes and clients of a cluster in virtual time, where a [`HardwareProfile`](engine_env::sim::HardwareProfile) says what each
//! step costs. They explain published numbers, and decide no claim.
//!
//! A request that reaches a node waits for one of its service threads. The thread takes the processor time of a message and
//! of what storage finds in the page cache, then waits for what isn't there; the answer is sent after that. Commits, upkeep,
//! reads that miss and what the kernel writes back queue for the node's one disk. Now and then all threads of a node pause.
//!
//! | room | what is there |
//! | --- | --- |
//! | `device` | the disk: a queue in front of its channels |
//! | `node` | a node: its threads, what waits for them, its disk |
//! | `world` | the queue of events, the network, the clients |
//! | `outage` | a node that dies and returns: what it misses, and until when |
//! | `run` | a load, from the preload to the figures; the judge of answers |
//! | `figures` | what is told of a run |
//! | `sensitivity` | the same run with each quantity halved and doubled |
//!
//! What is simplified: a node's code runs at the moment when a thread takes the request, and its effects are there from then
//! on; what it costs is told by what it moved. Processors are counted by threads alone. A link's speed is that of a pair of
//! parties, not of a machine. Clients cost nothing. A process that starts needs the time of the reads with which it recovers, and
//! none for what it maps.

mod device;
mod figures;
mod node;
mod outage;
mod run;
mod sensitivity;
#[cfg(test)]
mod tests;
mod world;

pub use super::kv::timed::{TimedKv, timed_kv};
pub use super::log::timed::{TimedLog, timed_log};
pub use figures::{Figures, Latencies, NodeFigures, OutageFigures, Station};
pub use outage::Outage;
pub use run::{Asked, Load, What};
pub use sensitivity::{Sensitivity, sensitivity};

pub(super) use outage::Holds;
pub(super) use run::run;
pub(super) use world::{Answer, Asker, Ended, TimedWorld};
