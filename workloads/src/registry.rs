//! Where workloads are found: by name among the registered ones, or as a file.

use crate::error::{WorkloadError, nearest};
use crate::workload::Workload;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The format of a workload file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// Told from the content.
    #[default]
    Auto,
    /// Our TOML spec (docs/formats/workload-spec.md).
    Spec,
    /// A recorded change stream, one JSON object `{ts, op, key, value}` a line.
    ChangesJsonl,
    /// A recorded change stream as CSV with the header `ts,key,op,value_bytes`.
    ChangesCsv,
    /// Twitter's cache trace: seven columns, no header.
    TwitterRaw,
    /// Twitter's cache trace as libCacheSim prints it: `# time, object, size, next_access_vtime`.
    TwitterVtime,
}

impl Format {
    /// Every format that can be named.
    pub const NAMED: [Self; 5] =
        [Self::Spec, Self::ChangesJsonl, Self::ChangesCsv, Self::TwitterRaw, Self::TwitterVtime];

    /// The name, as in `--format NAME`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Spec => "spec",
            Self::ChangesJsonl => "changes-jsonl",
            Self::ChangesCsv => "changes-csv",
            Self::TwitterRaw => "twitter-raw",
            Self::TwitterVtime => "twitter-vtime",
        }
    }

    /// The names of all formats that can be named, separated by `|`.
    #[must_use]
    pub fn names() -> String {
        Self::NAMED.map(Self::name).join("|")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("format {got:?} is not known; write auto or one of {}", Format::names())]
pub struct UnknownFormatName {
    /// What was written.
    pub got: String,
}

impl FromStr for Format {
    type Err = UnknownFormatName;

    fn from_str(text: &str) -> Result<Self, UnknownFormatName> {
        Self::NAMED
            .into_iter()
            .chain([Self::Auto])
            .find(|format| format.name() == text)
            .ok_or_else(|| UnknownFormatName { got: text.to_owned() })
    }
}

/// How to open a workload.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The format of a file; told from the content by default.
    pub format: Format,
    /// Warn about what is not known instead of refusing it.
    pub lenient: bool,
    /// `--set key=value`, in order; applied after everything else.
    pub set: Vec<(String, String)>,
}

/// A workload, ready to run.
#[derive(Clone)]
pub struct Opened {
    /// The workload.
    pub workload: Arc<dyn Workload>,
    /// What was ignored, one sentence each (only with `lenient`).
    pub warnings: Vec<String>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("workload", &self.workload.name())
            .field("warnings", &self.warnings)
            .finish()
    }
}

/// The workloads that can be named.
#[derive(Clone, Default)]
pub struct Registry {
    workloads: Vec<Arc<dyn Workload>>,
}

impl Registry {
    /// A registry without any workload.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The workloads that come with the workbench.
    #[must_use]
    pub fn standard() -> Self {
        Self::empty()
    }

    /// Adds a workload under its own name; one of that name that is already there is replaced.
    pub fn add(&mut self, workload: impl Workload + 'static) {
        self.workloads.retain(|other| other.name() != workload.name());
        self.workloads.push(Arc::new(workload));
    }

    /// Names and what each is about, in the order of registration.
    #[must_use]
    pub fn names(&self) -> Vec<(String, String)> {
        self.workloads.iter().map(|w| (w.name().to_owned(), w.about().to_owned())).collect()
    }

    /// The workload of that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<dyn Workload>> {
        self.workloads.iter().find(|w| w.name() == name).cloned()
    }

    /// Opens a workload by name, or a file (`-` is standard input), and applies the settings.
    ///
    /// # Errors
    /// [`WorkloadError`]: input errors read `FILE:LINE: what (got VALUE); way out`.
    pub fn open(&self, name_or_file: &str, options: &OpenOptions) -> Result<Opened, WorkloadError> {
        if let Some(workload) = self.by_name(name_or_file) {
            let workload =
                if options.set.is_empty() { workload } else { workload.configured(&options.set)? };
            return Ok(Opened { workload, warnings: Vec::new() });
        }
        let nearest = nearest(name_or_file, self.workloads.iter().map(|w| w.name())).map(str::to_owned);
        Err(WorkloadError::UnknownName { name: name_or_file.to_owned(), nearest })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.workloads.iter().map(|w| w.name())).finish()
    }
}
