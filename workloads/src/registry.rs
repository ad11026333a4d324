//! Where workloads are found: by name among the registered ones, or as a file.

use crate::error::{WorkloadError, nearest, shorten};
use crate::member::{self, MemberUpdate};
use crate::omb;
use crate::source::Source;
use crate::trace;
use crate::workload::Workload;
use crate::ycsb;
use std::str::FromStr;
use std::sync::Arc;
use std::{fmt, io};

/// The format of a workload file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// Told from the content.
    #[default]
    Auto,
    /// Our TOML spec (docs/formats/workload-spec.md).
    Spec,
    /// A YCSB property file of a `CoreWorkload`.
    Ycsb,
    /// A workload file of the OpenMessaging Benchmark (YAML).
    Omb,
    /// A recorded change stream, one JSON object `{ts, op, key, value}` a line.
    ChangesJsonl,
    /// A recorded change stream as CSV with the header `ts,key,op,value_bytes`.
    ChangesCsv,
    /// Twitter's cache trace: seven columns, no header.
    TwitterRaw,
    /// Object reads of a shop from cache2k, as CSV with the header `seq,key,type,id,index`.
    Cache2k,
    /// Twitter's cache trace as libCacheSim prints it: `# time, object, size, next_access_vtime`.
    TwitterVtime,
}

impl Format {
    /// Every format that can be named.
    pub const NAMED: [Self; 8] = [
        Self::Spec,
        Self::Ycsb,
        Self::Omb,
        Self::ChangesJsonl,
        Self::ChangesCsv,
        Self::TwitterRaw,
        Self::Cache2k,
        Self::TwitterVtime,
    ];

    /// The name, as in `--format NAME`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Spec => "spec",
            Self::Ycsb => "ycsb",
            Self::Omb => "omb",
            Self::ChangesJsonl => "changes-jsonl",
            Self::ChangesCsv => "changes-csv",
            Self::TwitterRaw => "twitter-raw",
            Self::Cache2k => "cache2k",
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
        let mut registry = Self::empty();
        for (name, text) in member::STANDARD {
            let (spec, _) =
                member::parse(name, text, false).expect("an embedded spec is sound, a test reads it");
            registry.add(MemberUpdate::new(spec));
        }
        ycsb::standard().for_each(|workload| registry.add(workload));
        registry
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

    /// Opens a workload from bytes that are at hand, whatever their format. `name` is what errors call them.
    ///
    /// # Errors
    /// As [`Registry::open`] of a file.
    pub fn read(
        name: &str,
        bytes: impl io::BufRead + 'static,
        options: &OpenOptions,
    ) -> Result<Opened, WorkloadError> {
        open_source(Source::read(name, name, Box::new(bytes))?, options)
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
        let Some(source) = Source::open(name_or_file)? else {
            let nearest = nearest(name_or_file, self.workloads.iter().map(|w| w.name())).map(str::to_owned);
            return Err(WorkloadError::UnknownName { name: name_or_file.to_owned(), nearest });
        };
        let mut opened = open_source(source, options)?;
        if !options.set.is_empty() {
            opened.workload = opened.workload.configured(&options.set)?;
        }
        Ok(opened)
    }
}

/// Opens a file in its format.
fn open_source(mut source: Source, options: &OpenOptions) -> Result<Opened, WorkloadError> {
    let format = match options.format {
        Format::Auto => detect(&source)?,
        named => named,
    };
    match format {
        Format::Auto | Format::Spec => {
            let file = source.name().to_owned();
            let (mut spec, warnings) = member::parse(&file, &source.text()?, options.lenient)?;
            if spec.name.is_empty() {
                spec.name = source.stem();
            }
            Ok(Opened { workload: Arc::new(MemberUpdate::new(spec)), warnings })
        }
        Format::Ycsb => {
            let (file, stem) = (source.name().to_owned(), source.stem());
            let (workload, warnings) = ycsb::open(&file, stem, &source.text()?, options.lenient)?;
            Ok(Opened { workload: Arc::new(workload), warnings })
        }
        Format::Omb => {
            let (file, stem) = (source.name().to_owned(), source.stem());
            let (workload, warnings) = omb::open(&file, stem, &source.text()?, options.lenient)?;
            Ok(Opened { workload: Arc::new(workload), warnings })
        }
        Format::ChangesJsonl => {
            let (workload, warnings) = trace::open_jsonl(source, options.lenient)?;
            Ok(Opened { workload: Arc::new(workload), warnings })
        }
        Format::ChangesCsv => Ok(without_warnings(trace::open_csv(source)?)),
        Format::TwitterRaw => Ok(without_warnings(trace::open_twitter_raw(source)?)),
        Format::Cache2k => Ok(without_warnings(trace::open_cache2k(source)?)),
        Format::TwitterVtime => Ok(without_warnings(trace::open_twitter_vtime(source)?)),
    }
}

fn without_warnings(workload: impl Workload + 'static) -> Opened {
    Opened { workload: Arc::new(workload), warnings: Vec::new() }
}

/// Tells the format from the first line that says something.
fn detect(source: &Source) -> Result<Format, WorkloadError> {
    let head = source.head();
    let first = head.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if let Some(format) = trace::detect(first) {
        return Ok(format);
    }
    if omb::looks_like_workload(&head) {
        return Ok(Format::Omb);
    }
    if ycsb::looks_like_properties(&head) {
        return Ok(Format::Ycsb);
    }
    if member::looks_like_spec(&head) {
        return Ok(Format::Spec);
    }
    Err(unknown_format(source))
}

fn unknown_format(source: &Source) -> WorkloadError {
    let head = source.head();
    let begins = head.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    WorkloadError::UnknownFormat {
        file: source.name().to_owned(),
        begins: shorten(begins),
        known: Format::names(),
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.workloads.iter().map(|w| w.name())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_env::rng::Seed;
    use proptest::prelude::*;

    fn open(text: &str, options: &OpenOptions) -> Result<Opened, WorkloadError> {
        let dir = tempfile::tempdir().expect("a folder for the test");
        let file = dir.path().join("mine.toml");
        std::fs::write(&file, text).expect("written");
        Registry::standard().open(file.to_str().expect("a plain path"), options)
    }

    #[test]
    fn the_standard_workloads_open_by_name_with_settings() {
        let registry = Registry::standard();
        assert_eq!(registry.names()[0].0, "member-update");
        let set = vec![("members".to_owned(), "123".to_owned())];
        let opened =
            registry.open("member-update", &OpenOptions { set, ..OpenOptions::default() }).expect("opens");
        assert_eq!(opened.workload.records(), 123);
        let error =
            registry.open("member-updat", &OpenOptions::default()).expect_err("no such name").to_string();
        assert!(error.contains("did you mean \"member-update\"?"), "{error}");
    }

    #[test]
    fn a_spec_file_opens_under_its_own_name_or_the_file_s() {
        let opened = open("base = \"member-update\"\nmembers = 9\n", &OpenOptions::default()).expect("opens");
        assert_eq!((opened.workload.name(), opened.workload.records()), ("mine", 9));
        let opened = open("name = \"other\"\nmembers = 9\n", &OpenOptions::default()).expect("opens");
        assert_eq!(opened.workload.name(), "other");
        let set = vec![("members".to_owned(), "10".to_owned())];
        let opened = open("members = 9\n", &OpenOptions { set, ..OpenOptions::default() }).expect("opens");
        assert_eq!(opened.workload.records(), 10);
    }

    #[test]
    fn an_unknown_format_and_an_empty_file_are_named() {
        let error = open("PK\u{3}\u{4}zip", &OpenOptions::default()).expect_err("not known").to_string();
        assert!(error.contains("format not known") && error.contains("--format spec|"), "{error}");
        let error = open(" \n\n", &OpenOptions::default()).expect_err("empty").to_string();
        assert!(error.contains("mine.toml:1: the file is empty"), "{error}");
    }

    #[test]
    fn format_names_read_back() {
        for format in Format::NAMED {
            assert_eq!(format.name().parse(), Ok(format));
        }
        assert!("yaml".parse::<Format>().is_err());
    }

    fn read(bytes: Vec<u8>, options: &OpenOptions) -> Result<Opened, WorkloadError> {
        open_source(Source::read("x", "x", Box::new(std::io::Cursor::new(bytes)))?, options)
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_format_give_a_workload_or_an_error_and_never_panic(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                "[-a-z0-9,.{}\":\\[\\]=# \n]{0,200}".prop_map(String::into_bytes),
                "(ts,key,op,value_bytes\n)?([0-9]{1,3},[a-c],(put|delete),[0-9]{1,4}\n){0,9}[a-z0-9,]{0,9}"
                    .prop_map(String::into_bytes),
                "((topics|messageSize|name|colour): ?[a-z0-9\\[]{0,4}\n){0,5}".prop_map(String::into_bytes),
                "((recordcount|insertproportion|scanproportion|requestdistribution)=[a-z0-9.]{0,4}\n){0,5}"
                    .prop_map(String::into_bytes),
                "([0-9]{1,2},[a-c],[0-9],[0-9]{1,4},1,(get|set|delete),0\n){0,9}[a-z0-9,]{0,9}"
                    .prop_map(String::into_bytes),
            ],
            format in prop::sample::select(Format::NAMED.into_iter().chain([Format::Auto]).collect::<Vec<_>>()),
            lenient in any::<bool>(),
        ) {
            if let Ok(opened) = read(bytes, &OpenOptions { format, lenient, set: Vec::new() }) {
                let workload = opened.workload;
                if workload.records() < 1000 {
                    workload.preload(Seed(1)).for_each(drop);
                    let taken = workload.stream(Seed(1)).take(50).count();
                    workload.finale(taken as u64).for_each(drop);
                }
                prop_assert!(workload.arrivals().due_times(Seed(1), 10.0).take(50).is_sorted());
            }
        }
    }
}
