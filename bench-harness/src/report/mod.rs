//! The report: one record and its raw files in, one page that opens offline out.
//!
//! [`rebuild`] reads a result folder and writes `report.html`, `report.md` and `measurements.csv` into it. It knows
//! nothing that isn't in the folder, so a report can be made again on another machine and long after.

pub mod curves;
pub(crate) mod detectable;
mod findings;
pub mod histograms;
mod html;
mod markdown;
mod method;
mod plots;
pub(crate) mod quantity;
mod raw;
pub mod record;
pub mod series;
mod tables;
mod tidy;
mod told;

use std::path::{Path, PathBuf};

use findings::Findings;
use raw::{RawFiles, stays_inside};
use record::{ENVIRONMENT_FILE, RUN_FILE, RecordError, Run, write_whole};

/// The page's file name inside a result folder.
pub const HTML_FILE: &str = "report.html";
/// The text's file name inside a result folder.
pub const MARKDOWN_FILE: &str = "report.md";

/// What [`rebuild`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The page, as an absolute path.
    pub html: PathBuf,
    /// The text, as an absolute path.
    pub markdown: PathBuf,
    /// Raw files that could not be read, a sentence each; the page lacks their curves and says so.
    pub problems: Vec<String>,
}

/// Makes the report of a result folder again from its raw data.
///
/// A damaged or missing histogram or series costs its curves and is named in [`Rebuilt::problems`]; only a record
/// that can't be read ends it.
///
/// # Errors
/// `run.json` is missing, damaged or of another schema version, or the folder can't be written.
pub fn rebuild(dir: &Path) -> Result<Rebuilt, RecordError> {
    let run = Run::read(dir)?;
    // The record may have been named by its own path.
    let dir = if dir.is_dir() { dir } else { dir.parent().unwrap_or(Path::new(".")) };
    let findings = Findings::of(&run);
    let raw = RawFiles::of(dir);
    tidy::write(&run, dir)?;
    let page = html::page(&findings, &raw, &raw_files(&run, dir));
    // The text is made second: by then every raw file has been tried.
    let text = markdown::text(&findings, &raw);
    let (html, markdown) = (dir.join(HTML_FILE), dir.join(MARKDOWN_FILE));
    write_whole(&html, page.as_bytes())?;
    write_whole(&markdown, text.as_bytes())?;
    let absolute = |p: PathBuf| std::path::absolute(&p).unwrap_or(p);
    Ok(Rebuilt { html: absolute(html), markdown: absolute(markdown), problems: raw.problems() })
}

/// Files to link to: those of the record that are there.
fn raw_files(run: &Run, dir: &Path) -> Vec<String> {
    let mut files: Vec<String> =
        [RUN_FILE, tidy::TIDY_FILE, ENVIRONMENT_FILE, MARKDOWN_FILE].map(str::to_owned).into();
    for name in run.measurements.iter().flat_map(|m| m.histogram.iter().chain(&m.series)) {
        if !files.contains(name) && stays_inside(name) && dir.join(name).is_file() {
            files.push(name.clone());
        }
    }
    files
}
