//! [`WrongAnswer`]: what was returned, what would have been allowed, and what is wrong with it, in words.

use crate::values::{Label, StreamTag, ValueFault};
use std::fmt;

/// An answer that no write explains. A run that returned one has no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongAnswer {
    /// The key that was read.
    pub key_index: u32,
    /// What would have been allowed.
    pub expected: Vec<Expected>,
    /// What was returned.
    pub got: Got,
    /// What is wrong with it.
    pub why: Why,
}

/// An answer that would have been allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// The key is not there.
    NoValue,
    /// A value of ours; the version's low 32 bits.
    Generated {
        /// The stream that wrote it.
        stream: StreamTag,
        /// The operation of that stream.
        version: u32,
    },
    /// Recorded bytes, known by their fingerprint.
    Recorded {
        /// The fingerprint.
        fingerprint: u64,
    },
}

/// What an engine returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Got {
    /// The key is not there.
    NoValue,
    /// A value.
    Value {
        /// Its length.
        bytes: usize,
        /// Its fingerprint.
        fingerprint: u64,
        /// What its header says, where it has a sound one.
        label: Option<Label>,
    },
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// A value of this key that had been replaced before the read began.
    TooOld,
    /// A value of this key that had been deleted before the read began.
    CameBack,
    /// A whole value that belongs to another key.
    OtherKey {
        /// Whose it is.
        key_index: u32,
    },
    /// Nobody had written it to this key.
    NeverWritten,
    /// The bytes are not those that were written.
    Damaged {
        /// What their check says.
        fault: ValueFault,
    },
    /// The key must be there, and was said not to be.
    Missing,
    /// The rows of a scan are not in the order of their keys, or lie before its start.
    OutOfOrder,
    /// A scan returned more rows than it was asked for.
    TooManyRows,
}

impl fmt::Display for WrongAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: ", self.key_index)?;
        match self.why {
            Why::TooOld => f.write_str("the value is too old, it was replaced before the read began")?,
            Why::CameBack => f.write_str("a deleted value came back")?,
            Why::OtherKey { key_index } => write!(f, "the value belongs to key {key_index}")?,
            Why::NeverWritten => f.write_str("the value was never written to this key")?,
            Why::Damaged { fault } => write!(f, "the value is damaged: {fault}")?,
            Why::Missing => f.write_str("the key is missing")?,
            Why::OutOfOrder => f.write_str("the scan is not in the order of the keys from its start")?,
            Why::TooManyRows => f.write_str("the scan has more rows than asked for")?,
        }
        match self.got {
            Got::NoValue => f.write_str("; got no value")?,
            Got::Value { bytes, label: Some(label), .. } => {
                write!(f, "; got version {} of stream {:08x} ({bytes} bytes)", label.version, label.stream.0)?
            }
            Got::Value { bytes, fingerprint, label: None } => {
                write!(f, "; got {bytes} bytes with fingerprint {fingerprint:016x}")?;
            }
        }
        f.write_str("; allowed: ")?;
        for (at, expected) in self.expected.iter().take(4).enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            match expected {
                Expected::NoValue => f.write_str("no value")?,
                Expected::Generated { stream, version } => {
                    write!(f, "version {version} of stream {:08x}", stream.0)?;
                }
                Expected::Recorded { fingerprint } => write!(f, "fingerprint {fingerprint:016x}")?,
            }
        }
        if self.expected.len() > 4 {
            write!(f, " and {} more", self.expected.len() - 4)?;
        }
        Ok(())
    }
}

impl std::error::Error for WrongAnswer {}
