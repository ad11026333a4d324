//! A segment: one `.log` file of a partition, and the indexes that find offsets and times in it.

pub(crate) mod index;
pub(crate) mod index_builder;
pub(crate) mod name;
pub(crate) mod offset_index;
#[expect(clippy::module_inception, reason = "a segment is what this folder is named for")]
pub(crate) mod segment;
pub(crate) mod time_index;
pub(crate) mod time_search;
pub(crate) mod window;
