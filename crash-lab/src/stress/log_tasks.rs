//! [`LogTasks`]: what a stressed log does beside appends.

use std::fmt;
use std::str::FromStr;

/// One thing that a log may do while it is stressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogTask {
    /// A topic is compacted: of each key the latest record stays.
    Compaction,
    /// The log's start is moved again and again.
    Retention,
    /// Producers are idempotent, and send batches again.
    Retries,
}

impl LogTask {
    const ALL: [Self; 3] = [Self::Compaction, Self::Retention, Self::Retries];
}

/// A log has no such task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is nothing that a log does; there are compaction, retention and retries, with commas between them"
)]
pub struct UnknownLogTask {
    /// The name.
    pub name: String,
}

impl FromStr for LogTask {
    type Err = UnknownLogTask;

    fn from_str(name: &str) -> Result<Self, UnknownLogTask> {
        let found = Self::ALL.into_iter().find(|task| task.to_string() == name);
        found.ok_or_else(|| UnknownLogTask { name: name.to_owned() })
    }
}

impl fmt::Display for LogTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compaction => "compaction",
            Self::Retention => "retention",
            Self::Retries => "retries",
        })
    }
}

/// A set of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogTasks {
    /// A topic is compacted.
    pub compaction: bool,
    /// The log's start is moved again and again.
    pub retention: bool,
    /// Producers are idempotent, and send batches again.
    pub retries: bool,
}

impl LogTasks {
    /// Whether there is nothing beside appends.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl FromIterator<LogTask> for LogTasks {
    fn from_iter<I: IntoIterator<Item = LogTask>>(tasks: I) -> Self {
        tasks.into_iter().fold(Self::default(), |all, task| match task {
            LogTask::Compaction => Self { compaction: true, ..all },
            LogTask::Retention => Self { retention: true, ..all },
            LogTask::Retries => Self { retries: true, ..all },
        })
    }
}

/// Names with commas between them.
impl FromStr for LogTasks {
    type Err = UnknownLogTask;

    fn from_str(names: &str) -> Result<Self, UnknownLogTask> {
        names.split(',').map(LogTask::from_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_are_a_set_and_an_unknown_one_is_told() {
        let some: LogTasks = "retries,compaction".parse().expect("two names");
        assert_eq!(some, LogTasks { compaction: true, retention: false, retries: true });
        assert!(!some.is_empty() && LogTasks::default().is_empty());
        let error = "retries,sleep".parse::<LogTasks>().expect_err("no such task").to_string();
        assert!(error.contains("\"sleep\"") && error.contains("retention"), "{error}");
    }
}
