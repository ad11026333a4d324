//! A materialized view: the newest value of each key of a topic, in a key-value store, read over one hop.
//!
//! ```text
//! producers -> log -> [Source] -> [Applier] -> KvStore <- [ViewCore] <- requests over Net <- [ViewClient]
//!                       consumer thread                    reader thread
//! ```
//!
//! Invariants:
//! * The position (the next offset of each partition) is written last in the very commit that holds what was applied. A
//!   crash leaves a prefix of a commit, so a stored position never says more than was applied. It may say less: then a few
//!   records are applied again. Their clocks come from partition and offset, so the store refuses them as obsolete.
//! * A reader that asks for an offset is answered only when everything up to it is applied, as durably as the view's
//!   store promises. That is read-your-writes for a producer that knows the offset of its own last write.
//! * Nothing but the log goes in: a view that is lost or in doubt is built again from offset 0, and is the same.
//!
//! A key that was deleted, whose records are applied again after a crash, may show its older values until the position is
//! where it had been. A reader that asks for an offset never sees that.
//!
//! The order between commits is kept over a process kill, and in `synced` over a power cut. After a power cut in `os` or
//! `interval` a later commit may be there without an earlier one: build the view again.
//!
//! [`Applier`] and [`ViewCore`] are state machines without threads, clocks or sockets; [`ViewServer`] is their edge.

mod applier;
mod client;
mod cluster_source;
mod core;
mod message;
mod position;
mod server;
mod source;

pub use self::core::{Output, ViewCore, ViewCoreConfig};
pub use applier::{Applied, Applier, ApplierError, Change, Skipped, resolve, stored_key};
pub use client::{ViewClient, ViewClientConfig, ViewEvent, ViewReadError};
pub use cluster_source::ClusterSource;
pub use message::{MessageError, Reply, Request};
pub use position::{Position, PositionError};
pub use server::{ViewConfig, ViewServer, ViewStartError, ViewStats, ViewStopError};
pub use source::{LocalSource, Source, SourceError};
