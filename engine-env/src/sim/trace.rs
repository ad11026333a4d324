//! [`Trace`]: what happened, line by line; always as a hash, and as text on request.

use std::fmt;

use crate::rng::mix;

#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

/// Folds text into a hash without building it.
struct Folder(u64);

impl fmt::Write for Folder {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0 = digest_from(self.0, s.as_bytes());
        Ok(())
    }
}

fn digest_from(mut hash: u64, bytes: &[u8]) -> u64 {
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash.rotate_left(5) ^ u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 56));
    }
    hash
}

/// A hash of a buffer, for trace lines.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    digest_from(0, bytes)
}

impl Trace {
    pub(super) fn record(&mut self) {
        self.lines.get_or_insert_default();
    }

    pub(super) fn line(&mut self, line: fmt::Arguments<'_>) {
        let mut folder = Folder(mix(self.hash ^ 1));
        fmt::write(&mut folder, line).expect("folding never fails");
        self.hash = folder.0;
        if let Some(lines) = &mut self.lines {
            lines.push(line.to_string());
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
