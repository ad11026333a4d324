//! A segment: one `.log` file of a partition, and the index that finds offsets in it.

pub(crate) mod name;
pub(crate) mod offset_index;
#[expect(clippy::module_inception, reason = "a segment is what this folder is named for")]
pub(crate) mod segment;
pub(crate) mod window;
