//! [`ResultFolder`]: the folder that a measurement leaves behind, written as results come.
//!
//! Invariants: nothing that isn't ours is ever overwritten; a folder that can't be written is refused before anything
//! is measured; after every save the folder holds a whole record.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::measure::HistogramFile;
use crate::report::record::{ENVIRONMENT_FILE, RUN_FILE, RecordError, Run};
use crate::utc;

/// A folder of results, ready to be written.
#[derive(Debug, Clone)]
pub struct ResultFolder {
    path: PathBuf,
    /// When the run began that was there before.
    replaced: Option<String>,
}

/// Why results can't go there. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResultFolderError {
    /// It holds files that no run of ours wrote.
    #[error(
        "output folder {path}: holds something else than a run of this program (found `{found}`); choose an empty or new folder with --out"
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// One of the files.
        found: String,
    },
    /// It can't be made or written.
    #[error("output folder {path}: can't be written ({source}); choose another one with --out")]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl ResultFolder {
    /// The folder `path`: made if it isn't there, emptied if it holds an earlier run of ours and nothing else.
    ///
    /// # Errors
    /// It holds something else, or can't be written; nothing was changed then.
    pub fn claim(path: &Path) -> Result<Self, ResultFolderError> {
        let unwritable = |source| ResultFolderError::Unwritable { path: path.to_owned(), source };
        let mut ours = Vec::new();
        match std::fs::read_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(path).map_err(unwritable)?;
            }
            Err(e) => return Err(unwritable(e)),
            Ok(entries) => {
                for entry in entries {
                    ours.push(entry.map_err(unwritable)?.path());
                }
            }
        }
        let foreign = |found: &Path| ResultFolderError::Foreign {
            path: path.to_owned(),
            found: found.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        };
        if let Some(other) = ours.iter().find(|file| !looks_like_ours(file)) {
            return Err(foreign(other));
        }
        let mut replaced = None;
        if let Some(first) = ours.first() {
            match Run::read(path) {
                Ok(earlier) => replaced = Some(earlier.started),
                Err(RecordError::Missing { .. } | RecordError::Schema { .. }) => return Err(foreign(first)),
                Err(_) => replaced = Some("an unknown time, whose record is damaged".to_owned()),
            }
        }
        // Before the old run goes: can a new one be written at all?
        let probe = path.join(format!(".{RUN_FILE}.probe"));
        std::fs::write(&probe, b"probe").and_then(|()| std::fs::remove_file(&probe)).map_err(unwritable)?;
        for file in ours {
            std::fs::remove_file(file).map_err(unwritable)?;
        }
        let path = std::path::absolute(path).map_err(unwritable)?;
        Ok(Self { path, replaced })
    }

    /// The folder `path` with everything in it, to go on with the run that it holds.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep(path: &Path) -> Result<Self, ResultFolderError> {
        let unwritable = |source| ResultFolderError::Unwritable { path: path.to_owned(), source };
        let probe = path.join(format!(".{RUN_FILE}.probe"));
        std::fs::write(&probe, b"probe").and_then(|()| std::fs::remove_file(&probe)).map_err(unwritable)?;
        Ok(Self { path: std::path::absolute(path).map_err(unwritable)?, replaced: None })
    }

    /// A new folder below the workspace's `results/`, named by time and commit.
    ///
    /// # Errors
    /// It can't be written.
    pub fn by_time(started: SystemTime, commit: &str) -> Result<Self, ResultFolderError> {
        let results = workspace().join("results");
        let name = format!("{}-{commit}", utc::compact(started));
        // Two runs in one second: the second gets a number.
        let mut path = results.join(&name);
        let mut number = 2;
        while path.exists() {
            path = results.join(format!("{name}-{number}"));
            number += 1;
        }
        Self::claim(&path)
    }

    /// When the run began that was there before and is gone now.
    #[must_use]
    pub fn replaced(&self) -> Option<&str> {
        self.replaced.as_deref()
    }

    /// Where it is, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name: what the run is called.
    #[must_use]
    pub fn id(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Files for the distributions of the run called `stem`.
    #[must_use]
    pub fn histograms(&self, stem: &str, comments: Vec<String>) -> HistogramFile {
        HistogramFile {
            hlog: self.path.join(format!("{stem}.hlog")),
            series: self.path.join(format!("{stem}.csv")),
            comments,
        }
    }
}

/// Whether a file's name is one that a run writes.
fn looks_like_ours(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let known = [RUN_FILE, ENVIRONMENT_FILE, "report.html", "report.md", "measurements.csv"];
    file.is_file()
        && (known.contains(&&*name)
            || name.ends_with(".part")
            || name.ends_with(".hlog")
            || (name.starts_with("run-") && name.ends_with(".csv")))
}

/// The workspace this program was built from, wherever it is called; the current folder if that is gone.
#[must_use]
pub fn workspace() -> PathBuf {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    if built_from.join("Cargo.toml").is_file() { built_from.to_owned() } else { PathBuf::from(".") }
}

/// Cargo's build folder: the only place that this program writes to unasked.
pub(crate) fn build_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Where engines keep their data by default: beside the build, so on a real file system more often than `/tmp` is.
#[must_use]
pub fn default_data_folder() -> PathBuf {
    build_folder().join("workbench-data").join(std::process::id().to_string())
}

/// A path as a record shows it: relative where it lies below the workspace, so that a folder that is handed on says
/// nothing about where it was made.
pub(crate) fn shown(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.strip_prefix(workspace()).map(Path::to_owned).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_somebody_elses_files_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("thesis.tex"), "years of work").expect("written");
        let error = ResultFolder::claim(dir.path()).expect_err("not ours").to_string();
        assert!(error.contains("thesis.tex") && error.contains("--out"), "{error}");
        assert!(dir.path().join("thesis.tex").exists());
        // A lone csv could be anybody's, even with a name like ours.
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("run-1.csv"), "mine").expect("written");
        assert!(matches!(ResultFolder::claim(dir.path()), Err(ResultFolderError::Foreign { .. })));
        assert!(dir.path().join("run-1.csv").exists());
    }

    #[test]
    fn a_new_folder_is_made_and_a_file_in_the_way_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a/b");
        let folder = ResultFolder::claim(&path).expect("made");
        assert!(path.is_dir() && folder.id() == "b");
        std::fs::write(dir.path().join("file"), "x").expect("written");
        assert!(matches!(
            ResultFolder::claim(&dir.path().join("file")),
            Err(ResultFolderError::Unwritable { .. })
        ));
    }
}
