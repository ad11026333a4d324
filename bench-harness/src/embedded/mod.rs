//! The store beside other embedded stores, called directly: no driver, no schedule, no network. What a program that
//! embeds one of them gets from its own threads.
//!
//! Every figure is taken from all contenders by turns within seconds of each other, round after round, the order turned
//! round each time; a ratio is over those rounds. Every value that is read says whose it is, and is looked at: a wrong
//! answer ends the measurement. What isn't measured here: latency under a given rate (that is `workbench run`), and
//! replication.

mod ceiling;
mod contender;
mod kv;
mod measure;
#[cfg(feature = "peers")]
mod peer;
mod plan;
mod table;

pub use contender::ContenderError;
pub use measure::{EmbeddedError, run};
pub use plan::EmbeddedPlan;
pub use table::{EmbeddedReport, Row};

/// Whom this build can measure, in their order.
#[must_use]
pub fn contenders() -> Vec<&'static str> {
    contender::all().iter().map(|kind| kind.name).collect()
}
