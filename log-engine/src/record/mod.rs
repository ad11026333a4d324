//! Apache Kafka's record batch, version 2: `docs/formats/log-batch.md` has the byte table.

pub(crate) mod batch;
#[expect(clippy::module_inception, reason = "a record is what this folder is named for")]
pub(crate) mod record;
pub(crate) mod varint;
