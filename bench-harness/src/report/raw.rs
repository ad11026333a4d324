//! [`RawFiles`]: the histogram logs and series that a record names, read once, with what was missing or damaged.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use hdrhistogram::Histogram;

use crate::report::histograms;
use crate::report::record::Measurement;
use crate::report::series::{self, Second};

/// What a file held, by tag or in order; `None` if it can't be read.
type Read<T> = RefCell<BTreeMap<String, Option<T>>>;

/// The raw files of a result folder. A file that can't be read costs the report a curve, and the reader is told
/// which and why; it never costs the report.
#[derive(Debug)]
pub(crate) struct RawFiles {
    dir: PathBuf,
    histograms: Read<BTreeMap<String, Histogram<u64>>>,
    series: Read<Vec<Second>>,
    problems: RefCell<Vec<String>>,
}

impl RawFiles {
    pub(crate) fn of(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            histograms: RefCell::default(),
            series: RefCell::default(),
            problems: RefCell::default(),
        }
    }

    /// What could not be read, a sentence each.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.problems.borrow().clone()
    }

    /// A record is text that anyone may have edited: only names inside the folder are followed.
    fn inside(&self, name: &str) -> Option<PathBuf> {
        let plain = stays_inside(name);
        if !plain {
            self.problem(format!(
                "{name}: a raw file's name must stay inside the result folder; it was not read"
            ));
        }
        plain.then(|| self.dir.join(name))
    }

    fn problem(&self, sentence: String) {
        let mut problems = self.problems.borrow_mut();
        if !problems.contains(&sentence) {
            problems.push(sentence);
        }
    }

    /// The distribution of a measurement's times of a kind (`response`, `service`, `wait`). For `all` without a
    /// distribution of its own, the sum over the kinds of operation.
    pub(crate) fn distribution(&self, m: &Measurement, kind: &str) -> Option<Histogram<u64>> {
        let name = m.histogram.as_deref()?;
        let mut files = self.histograms.borrow_mut();
        let file = files.entry(name.to_owned()).or_insert_with(|| {
            let path = self.inside(name)?;
            histograms::read(&path).map_err(|e| self.problem(e.to_string())).ok()
        });
        let tags = file.as_ref()?;
        if let Some(own) = tags.get(&histograms::tag(&m.operation, kind)) {
            return Some(own.clone());
        }
        if m.operation != "all" {
            return None;
        }
        let suffix = format!(".{kind}");
        let mut sum: Option<Histogram<u64>> = None;
        for part in tags.iter().filter(|(tag, _)| tag.ends_with(&suffix)).map(|(_, h)| h) {
            match &mut sum {
                None => sum = Some(part.clone()),
                Some(sum) => {
                    if let Err(e) = sum.add(part) {
                        self.problem(format!("{name}: its distributions don't add up ({e})"));
                    }
                }
            }
        }
        sum
    }

    /// The seconds of a measurement's kind of operation, in order.
    pub(crate) fn seconds(&self, m: &Measurement) -> Vec<Second> {
        let Some(name) = m.series.as_deref() else { return Vec::new() };
        let mut files = self.series.borrow_mut();
        let file = files.entry(name.to_owned()).or_insert_with(|| {
            let path = self.inside(name)?;
            series::read(&path).map_err(|e| self.problem(e.to_string())).ok()
        });
        let rows = file.as_deref().unwrap_or(&[]);
        let mut seconds: Vec<Second> =
            rows.iter().filter(|s| s.operation == m.operation && s.second.is_finite()).cloned().collect();
        seconds.sort_by(|a, b| a.second.total_cmp(&b.second));
        seconds
    }
}

/// Whether a name from a record leads to a file below the folder.
pub(crate) fn stays_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}
