//! A Kafka-style segmented append log in the on-disk format of Apache Kafka.
//!
//! [`Log`] holds topics with partitions in one folder; [`Producer`] batches records for it and [`Consumer`] reads
//! them. A cluster of [`Broker`]s holds copies of partitions, and [`LogClient`] is its client. [`SteppedLog`],
//! [`SteppedBroker`] and [`Session`] are the same without threads and clocks, for simulators. [`inspect`] reads files without a log.
//!
//! Floors, each above the ones before it: `record` (bytes of a batch), `segment` (one file and its index), `log`
//! (one partition: append, fetch, roll, recovery, truncation), `replication` and `message` (leader, follower, and what
//! they say), `broker` (the machine that joins them), then the edges `store`, `broker::edge` and `client`. All but the
//! edges name no thread, no clock, no socket and no file system: bytes go through [`engine_env::Disk`], time comes as an
//! argument.

mod broker;
mod client;
mod cluster;
mod config;
mod core;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod inspect;
mod log;
mod message;
mod record;
mod replication;
mod segment;
mod stepped;
mod store;
mod topic;

pub use broker::config::BrokerConfig;
pub use broker::edge::Broker;
pub use broker::stats::{BrokerStats, PartitionStats};
pub use broker::stepped::{StartError, SteppedBroker};
pub use client::consumer::{Consumed, Consumer};
pub use client::log_client::{Fetching, LogClient, LogClientConfig};
pub use client::numbering::ProducerIdentity;
pub use client::outcome::{Fetches, ProduceError, ProduceOutcome, SubscriptionError};
pub use client::partitioner::partition_for_key;
pub use client::producer::{Producer, ProducerConfig, SendError};
pub use client::session::Session;
pub use client::time_queries::FindTimeError;
pub use cluster::{BrokerId, ClusterLayout, LayoutError, PartitionLayout};
#[cfg(feature = "planted-bugs")]
pub use config::PlantedBug;
pub use config::{ConfigError, LogConfig};
pub use engine_env::Durability;
pub use log::append::AppendError;
pub use log::fetch::{FetchError, Fetched, FetchedRecords};
pub use log::mark::Mark;
pub use log::partition_log::LogDone;
pub use log::producer_state::SequenceError;
pub use log::recovery::{PartitionReport, RecoveryReport, TailTruncated};
pub use message::{Acks, MessageError};
pub use record::batch::{BATCH_HEADER_LEN, Batch, BatchError, Records, UnpackedBatch};
pub use record::builder::{BatchBuilder, EncodeError, EncodedBatch, Sequence};
pub use record::compression::{Compression, UNPACKED_BYTES_MAX, UnknownCompression};
pub use record::record::{Header, Headers, NO_TIMESTAMP, OwnedRecord, Record, RecordView};
pub use segment::offset_index::IndexEntry;
pub use segment::segment::Damage;
pub use segment::time_index::TimeEntry;
pub use segment::time_search::TimedOffset;
pub use stepped::{Appending, CreateTopicError, Ends, Interval, LogStats, OpenError, SteppedLog};
pub use store::Log;
pub use topic::{Offset, TopicPartition};
