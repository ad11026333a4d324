//! `*.csv` beside a run: what happened second by second, for the plots over time.
//!
//! Columns: `second,operation,count,errors,p50_us,p99_us,max_us,lag_us,copies_missed`. A second is counted from the start of the measured
//! time by when the operations were answered; an empty cell means that nothing was answered, or too little to say.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A second of one kind of operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Start of the interval, seconds from the start of the measured time.
    pub second: f64,
    /// Kind of operation, or `all`.
    pub operation: String,
    /// Operations answered.
    pub count: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Median response time, microseconds.
    pub p50_us: Option<f64>,
    /// 99th percentile of the response time within this second, microseconds: a shape to look at, not a result.
    pub p99_us: Option<f64>,
    /// Longest response time, microseconds.
    pub max_us: Option<f64>,
    /// How far the run was behind its schedule at worst, microseconds: the longest wait of any operation before it
    /// was handed over. 0 in a closed loop.
    #[serde(default)]
    pub lag_us: Option<f64>,
    /// Copies that acknowledged writes didn't get, because their node was down, unreachable or late; of all operations
    /// together.
    #[serde(default)]
    pub copies_missed: u64,
}

/// Why a series can't be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeriesError {
    /// The file can't be written.
    #[error("can't write {file}: {source}; free some space or choose another folder with --out")]
    Write {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: csv::Error,
    },
    /// The file can't be read, or a row isn't a second.
    #[error("{file}{}: {what}; restore the file, or delete it to rebuild without the plots over time",
        line.map(|l| format!(":{l}")).unwrap_or_default())]
    Read {
        /// The file.
        file: PathBuf,
        /// Line, from 1, where it is known.
        line: Option<u64>,
        /// What is wrong.
        what: String,
    },
}

/// A series that is being written, a row at a time.
#[derive(Debug)]
pub struct SeriesFile {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl SeriesFile {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn create(path: &Path) -> Result<Self, SeriesError> {
        let writer = csv::Writer::from_path(path)
            .map_err(|source| SeriesError::Write { file: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), writer })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn add(&mut self, second: &Second) -> Result<(), SeriesError> {
        self.writer.serialize(second).map_err(|source| SeriesError::Write { file: self.path.clone(), source })
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn finish(mut self) -> Result<(), SeriesError> {
        self.writer.flush().map_err(|e| SeriesError::Write { file: self.path, source: e.into() })
    }
}

/// Writes a whole series.
///
/// # Errors
/// The file can't be written.
pub fn write(file: &Path, seconds: &[Second]) -> Result<(), SeriesError> {
    let mut series = SeriesFile::create(file)?;
    seconds.iter().try_for_each(|second| series.add(second))?;
    series.finish()
}

/// Reads a series.
///
/// # Errors
/// The file can't be read, or a row isn't a second.
pub fn read(file: &Path) -> Result<Vec<Second>, SeriesError> {
    let failed = |e: csv::Error| SeriesError::Read {
        file: file.to_owned(),
        line: e.position().map(csv::Position::line),
        what: e.to_string(),
    };
    csv::Reader::from_path(file).map_err(failed)?.into_deserialize().map(|row| row.map_err(failed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_come_back_with_their_gaps_and_a_bad_row_names_its_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("s.csv");
        let seconds = vec![
            Second {
                second: 0.0,
                operation: "all".into(),
                count: 10,
                p50_us: Some(1.5),
                ..Second::default()
            },
            Second { second: 1.0, operation: "all".into(), count: 0, errors: 3, ..Second::default() },
        ];
        write(&file, &seconds).expect("written");
        assert_eq!(read(&file).expect("read"), seconds);
        std::fs::write(
            &file,
            "second,operation,count,errors,p50_us,p99_us,max_us\n0,all,1,0,,,\n1,all,many,0,,,\n",
        )
        .expect("written");
        let said = read(&file).expect_err("many is no number").to_string();
        assert!(said.contains("s.csv:3: "), "{said}");
        assert!(read(&dir.path().join("none.csv")).is_err());
    }
}
