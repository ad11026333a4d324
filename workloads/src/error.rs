//! Why a workload could not be opened: input errors read `FILE:LINE: what (got VALUE); way out`.

use std::fmt;
use std::io;

/// Why a workload could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkloadError {
    /// The text of a file is not what its format asks for.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The file could not be read.
    #[error("{file}: cannot read ({source}); check the path and its permissions")]
    Unreadable {
        /// As the user named it.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Neither a registered workload nor a file.
    #[error("no workload and no file is named {name:?}{}; `workbench list workloads` shows the names", did_you_mean(.nearest.as_deref()))]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The registered name nearest to it, if one is near.
        nearest: Option<String>,
    },
    /// The format could not be told from the content.
    #[error("{file}: format not known (begins with {begins}); name it with --format {known}")]
    UnknownFormat {
        /// As the user named it.
        file: String,
        /// The first characters of its first line.
        begins: String,
        /// The formats, separated by `|`.
        known: String,
    },
    /// `--set` of a key or value that the workload does not take.
    #[error("--set {key}={value}: {what}; {way_out}")]
    Setting {
        /// The key given.
        key: String,
        /// The value given.
        value: String,
        /// What is wrong.
        what: String,
        /// What to do instead.
        way_out: String,
    },
    /// `--set` on a workload that has no settings.
    #[error("--set {key}: workload {workload} has no settings; leave --set out")]
    NoSettings {
        /// Its name.
        workload: String,
        /// The key given.
        key: String,
    },
}

/// A place in an input file and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// As the user named it; `<standard input>` for `-`.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
    /// What is wrong.
    pub what: String,
    /// The text that was found there, shortened.
    pub got: Option<String>,
    /// What to do about it.
    pub way_out: String,
}

impl InputError {
    pub(crate) fn new(file: &str, line: u64, what: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into(), got: None, way_out: way_out.into() }
    }

    pub(crate) fn got(mut self, got: impl AsRef<str>) -> Self {
        self.got = Some(shorten(got.as_ref()));
        self
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)?;
        if let Some(got) = &self.got {
            write!(f, " (got {got})")?;
        }
        write!(f, "; {}", self.way_out)
    }
}

impl std::error::Error for InputError {}

/// At most 60 characters, control characters escaped: an error is one line.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

/// The candidate nearest to `name`, if it is near enough to be a slip of the finger.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean {name:?}?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_error_reads_file_line_what_got_way_out() {
        let error =
            InputError::new("a.csv", 7, "value_bytes is not a number", "give whole bytes").got("12x\n");
        assert_eq!(error.to_string(), "a.csv:7: value_bytes is not a number (got 12x\\n); give whole bytes");
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("memberz", ["members", "mix.read"]), Some("members"));
        assert_eq!(nearest("xyzzy", ["members", "mix.read"]), None);
    }
}
