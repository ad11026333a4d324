//! [`LineSink`]: where the writer's lines go, each in one write.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

/// Takes whole lines from several threads.
///
/// When `line` returns, the line must survive the death of this process: a sink that buffers would let an
/// acknowledgement be lost, or an attempt come too late.
pub trait LineSink: Sync {
    /// Takes one line, given without its end.
    ///
    /// # Errors
    /// The line can't be handed over; the writer stops.
    fn line(&self, line: &str) -> io::Result<()>;
}

/// A descriptor that gets each line as one `write(2)`, without a buffer.
#[derive(Debug)]
pub struct FdLines {
    file: Mutex<File>,
}

impl FdLines {
    /// Lines to a duplicate of this descriptor, such as standard output.
    ///
    /// # Errors
    /// The descriptor can't be duplicated.
    pub fn to(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self { file: Mutex::new(fd.as_fd().try_clone_to_owned()?.into()) })
    }
}

impl LineSink for FdLines {
    fn line(&self, line: &str) -> io::Result<()> {
        let whole = format!("{line}\n");
        // The lock keeps a line whole even where the kernel takes only a part of it at first.
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(whole.as_bytes())
    }
}

/// Lines kept in memory, for tests.
impl LineSink for Mutex<Vec<String>> {
    fn line(&self, line: &str) -> io::Result<()> {
        self.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
        Ok(())
    }
}
