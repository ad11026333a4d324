//! Who is there.

mod failure_detector;

pub(crate) use failure_detector::FailureDetector;
pub use failure_detector::{DetectorConfig, DetectorKind, NodeFailure};
