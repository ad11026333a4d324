//! The record as a file: read, or refused with a reason, and written whole or not at all.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ENVIRONMENT_FILE, RUN_FILE, Run, SCHEMA};

/// Why a run's record can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// No such file.
    #[error("{file} does not exist; name a result folder, one that holds {RUN_FILE}")]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// The file can't be read.
    #[error("can't read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file can't be written.
    #[error("can't write {file}: {source}; free some space or choose another folder with --out")]
    Write {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file isn't a record.
    #[error("{file}:{line}: not a readable record ({what}); restore the file, or measure again")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// The file has a version that this build doesn't know.
    #[error(
        "{file}: schema {found}, this build reads schema {expected}; use the version of workbench that wrote it"
    )]
    Schema {
        /// The file.
        file: PathBuf,
        /// The version in the file, as it stands there.
        found: String,
        /// The version this build reads.
        expected: u64,
    },
    /// A value can't be written as JSON and read again; it names the field.
    #[error("{file}: a value is not a number that JSON can hold ({what}); nothing was written")]
    NotFinite {
        /// The file.
        file: PathBuf,
        /// What the reader would say.
        what: String,
    },
}

impl Run {
    /// Reads the record of a result folder, or a record by its own path.
    ///
    /// # Errors
    /// The file is missing, unreadable, damaged or of another schema version.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let path = path.as_ref();
        let file = if path.is_dir() { path.join(RUN_FILE) } else { path.to_owned() };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(RecordError::Missing { file }),
            Err(source) => return Err(RecordError::Read { file, source }),
        };
        Self::parse(&text, &file)
    }

    /// Reads a record from text; `file` is for messages.
    ///
    /// # Errors
    /// The text is damaged or of another schema version.
    pub fn parse(text: &str, file: &Path) -> Result<Self, RecordError> {
        // The version comes first: another version's record would fail on some field and name the wrong reason.
        #[derive(Deserialize)]
        struct Version {
            schema: Option<serde_json::Value>,
        }
        let damaged = |e: serde_json::Error| RecordError::Damaged {
            file: file.to_owned(),
            line: e.line(),
            what: e.to_string(),
        };
        let version: Version = serde_json::from_str(text).map_err(damaged)?;
        match version.schema {
            Some(v) if v.as_u64() == Some(SCHEMA) => {}
            found => {
                return Err(RecordError::Schema {
                    file: file.to_owned(),
                    found: found.map_or_else(|| "missing".to_owned(), |v| v.to_string()),
                    expected: SCHEMA,
                });
            }
        }
        serde_json::from_str(text).map_err(damaged)
    }

    /// Writes `run.json` and `environment.json` into `dir`, each at once: a reader sees the old file or the new.
    ///
    /// # Errors
    /// The folder can't be written, or a number isn't finite.
    pub fn write(&self, dir: impl AsRef<Path>) -> Result<(), RecordError> {
        let dir = dir.as_ref();
        let file = dir.join(RUN_FILE);
        let not_finite =
            |e: serde_json::Error| RecordError::NotFinite { file: file.clone(), what: e.to_string() };
        let text = serde_json::to_string_pretty(self).map_err(not_finite)?;
        serde_json::from_str::<Self>(&text).map_err(not_finite)?;
        let environment = serde_json::to_string_pretty(&self.environment).map_err(not_finite)?;
        write_whole(&file, text.as_bytes())?;
        write_whole(&dir.join(ENVIRONMENT_FILE), environment.as_bytes())
    }
}

/// Replaces `file` by `bytes` through a neighbour, so that nobody ever reads half a file.
pub(crate) fn write_whole(file: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let failed = |source| RecordError::Write { file: file.to_owned(), source };
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    std::fs::write(&part, bytes).map_err(failed)?;
    std::fs::rename(&part, file).map_err(failed)
}
