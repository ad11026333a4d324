//! The log of one partition: plain structs over `Disk` and `File`. No thread, no clock.

pub(crate) mod append;
pub(crate) mod batch_cache;
pub(crate) mod cleaner;
pub(crate) mod fetch;
pub(crate) mod format;
mod latest_offsets;
pub(crate) mod leader_epochs;
pub(crate) mod mark;
pub(crate) mod offset_for_time;
pub(crate) mod partition_log;
pub(crate) mod producer_recovery;
pub(crate) mod producer_snapshot;
pub(crate) mod producer_state;
pub(crate) mod recent;
pub(crate) mod recovery;
pub(crate) mod retention;
mod scan;
pub(crate) mod seal;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod truncate;
pub(crate) mod upkeep;
