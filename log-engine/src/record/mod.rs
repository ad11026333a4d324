//! Apache Kafka's record batch, version 2: `docs/formats/log-batch.md` has the byte table.

pub(crate) mod batch;
pub(crate) mod builder;
pub(crate) mod compacted;
pub(crate) mod compression;
#[expect(clippy::module_inception, reason = "a record is what this folder is named for")]
pub(crate) mod record;
#[cfg(test)]
mod tests;
pub(crate) mod varint;
