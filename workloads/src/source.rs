//! An input file, or standard input: its name for errors, its first bytes to tell the format by, then its lines.

use crate::error::{InputError, WorkloadError};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// Enough to see what a file is.
const HEAD_MAX: u64 = 16 * 1024;
/// A spec is written by hand; whatever is longer is something else.
const TEXT_MAX: u64 = 1 << 20;

/// An open input.
pub(crate) struct Source {
    name: String,
    stem: String,
    head: Vec<u8>,
    rest: Box<dyn BufRead>,
}

impl Source {
    /// Opens a file, or standard input for `-`; `None` if there is no such file.
    pub(crate) fn open(path: &str) -> Result<Option<Self>, WorkloadError> {
        if path == "-" {
            return Self::read("<standard input>", "standard-input", Box::new(io::stdin().lock())).map(Some);
        }
        let unreadable = |source| WorkloadError::Unreadable { file: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let stem = Path::new(path).file_stem().map_or(path.into(), |stem| stem.to_string_lossy());
        Self::read(path, &stem, Box::new(BufReader::with_capacity(1 << 16, file))).map(Some)
    }

    /// An input of these bytes.
    pub(crate) fn read(name: &str, stem: &str, mut rest: Box<dyn BufRead>) -> Result<Self, WorkloadError> {
        let mut head = Vec::new();
        rest.by_ref()
            .take(HEAD_MAX)
            .read_to_end(&mut head)
            .map_err(|source| WorkloadError::Unreadable { file: name.to_owned(), source })?;
        if head.iter().all(u8::is_ascii_whitespace) {
            return Err(
                InputError::new(name, 1, "the file is empty", "give a file with a workload in it").into()
            );
        }
        Ok(Self { name: name.to_owned(), stem: stem.to_owned(), head, rest })
    }

    /// As the user named it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The file's name without folder and extension.
    pub(crate) fn stem(&self) -> String {
        self.stem.clone()
    }

    /// The first bytes as text.
    pub(crate) fn head(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    /// All of it, if it is short enough to be a spec.
    pub(crate) fn text(&mut self) -> Result<String, WorkloadError> {
        let mut bytes = Vec::new();
        let read = self.reader().take(TEXT_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|source| WorkloadError::Unreadable { file: self.name.clone(), source })?;
        if bytes.len() as u64 > TEXT_MAX {
            let way_out = "name the format with --format if it is a trace";
            return Err(
                InputError::new(&self.name, 1, "longer than 1 MiB, too long for a spec", way_out).into()
            );
        }
        String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|b| **b == b'\n').count() as u64;
            InputError::new(&self.name, line, "not UTF-8", "save the file as UTF-8").into()
        })
    }

    /// The bytes from the first on.
    pub(crate) fn reader(&mut self) -> impl BufRead + '_ {
        io::Cursor::new(&self.head).chain(&mut self.rest)
    }
}
