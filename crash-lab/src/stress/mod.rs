//! The stress writer, the dump of what a folder holds, and the judge between them.
//!
//! A writer prints `try TOKEN` before an operation starts and `ack TOKEN` after it was acknowledged; somebody kills it,
//! or the machine; the folder is recovered and dumped; the judge compares. The judge works on text from outside and
//! shares no code with the engines, not even their clocks.

pub(crate) mod batch_plan;
mod check;
mod clock;
mod cluster;
pub(crate) mod dump_kv;
mod dump_kv_cluster;
mod dump_line;
pub(crate) mod dump_log;
mod dump_log_cluster;
mod folder;
pub(crate) mod kv_plan;
mod line_sink;
mod log_tasks;
mod pace;
mod run_number;
mod token;
mod token_file;
mod violation;
mod write;
mod write_kv;
mod write_kv_cluster;
mod write_log;
mod write_log_cluster;

use std::fmt;
use std::str::FromStr;

pub use check::{ForeignToken, judge, judge_repeated};
pub use clock::{Clock, ClockError, NODE_MAX, Order};
pub use dump_line::{Dump, DumpLine, DumpTextError};
pub use folder::{CheckError, DumpError, Verdict, check, dump};
pub use line_sink::{FdLines, LineSink};
pub use log_tasks::{LogTask, LogTasks, UnknownLogTask};
pub use pace::{FOLDER_BYTES_MAX, OPS_PER_SECOND_MAX};
pub use run_number::RunNumberError;
pub use token::{Key, Partition, RecordId, Token, TokenError, ValueCrc};
pub use token_file::{Role, TokenFile, TokenFileError, Transcript, TranscriptError};
pub use violation::{Cited, EndsFault, Found, FoundRecord, Violation};
pub use write::{WriteError, WriteOptions, Written, write};
pub(crate) use write_kv::{clock_of, version_of};

/// An engine that can be stressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// One node of the key-value store.
    Kv,
    /// One node of the log.
    Log,
    /// Three nodes of the key-value store, one of which is killed and returned again and again.
    KvCluster,
    /// Three brokers of the log, one of which is killed and returned again and again.
    LogCluster,
}

impl Engine {
    /// Whether its operations are appends; otherwise they are puts and deletes.
    fn appends(self) -> bool {
        matches!(self, Self::Log | Self::LogCluster)
    }
}

/// No engine of that name can be stressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no engine {name:?} to stress; there are kv, log, kv-cluster and log-cluster")]
pub struct UnknownEngine {
    /// The name.
    pub name: String,
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        match name {
            "kv" | "kv-store" => Ok(Self::Kv),
            "log" => Ok(Self::Log),
            "kv-cluster" => Ok(Self::KvCluster),
            "log-cluster" => Ok(Self::LogCluster),
            other => Err(UnknownEngine { name: other.to_owned() }),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kv => "kv",
            Self::Log => "log",
            Self::KvCluster => "kv-cluster",
            Self::LogCluster => "log-cluster",
        })
    }
}

/// A whole number in its one canonical form: digits, no sign, no leading zero.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}
