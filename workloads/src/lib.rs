//! What is asked of an engine, never how it is answered.
//!
//! A [`Workload`] turns a seed into a stream of [`Op`]s and says when they are due ([`Arrivals`]). The
//! [`Registry`] finds one by name or opens a file. Values say themselves whether they are right ([`Value`],
//! [`read_label`], [`check`]), and the [`Model`] judges every answer from outside the engine.
//!
//! Nothing here waits, reads a clock or starts a thread: the same seed gives the same stream.

mod arrivals;
mod counted;
mod error;
pub mod keys;
mod member;
mod model;
mod omb;
mod op;
mod registry;
mod rescheduled;
mod sine_day;
mod source;
mod spike;
mod text;
mod trace;
mod values;
mod workload;
mod ycsb;

pub use arrivals::{Arrivals, BatchSizes, DueTimes, Recording, Speed, UnknownSpeed};
pub use engine_env::rng::Seed;
pub use error::{InputError, WorkloadError};
pub use model::{
    Expected, Freshness, Got, IncrementHandle, LostUpdates, Model, Promise, ReadHandle, Staleness, Why,
    WriteHandle, WrongAnswer,
};
pub use op::{Access, Key, Op, OpKind};
pub use registry::{Format, OpenOptions, Opened, Registry, UnknownFormatName};
pub use rescheduled::Rescheduled;
pub use sine_day::SineDay;
pub use spike::Spike;
pub use values::{Fingerprint, HEADER_LEN, Label, StreamTag, Value, ValueFault, check, read_label};
pub use workload::{Ops, Parameter, Workload};
