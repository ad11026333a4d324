//! Both engines on a simulated machine whose power fails, whose syncs fail, whose disk fills and rots, judged from
//! outside by what was acknowledged.
//!
//! Everything follows from one seed and one thread: an engine is moved by single steps (begin an operation, submit a
//! commit, complete some of what is in flight, a piece of upkeep), in an order that the seed chooses. The same seed gives
//! the same trace. The tokens and the judge are those of the stress writer. Whole clusters have a world of their own
//! (`crash-lab/src/cluster`), and are run, counted and shrunk like the rest.

mod kv;
pub(crate) mod life;
mod log;
mod log_compaction;
mod log_retention;
mod log_retries;
mod losses;
mod many;
pub(crate) mod plan;
mod rot;
mod scenario;
mod shrink;
pub(crate) mod subject;
pub(crate) mod summary;

pub use losses::{CrashKind, Losses, losses};
pub use many::{Many, Pick, simulate_many};
pub use scenario::{Failure, Recorded, Scenario, Setup, UnknownScenario, commit, record, simulate};
pub use shrink::{Shrunk, shrink};
pub use summary::{FaultClass, Summary};
