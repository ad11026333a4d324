//! [`Progress`]: what is going on, on standard error: a bar on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Tells a person how far a long command has come.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    started: Instant,
    steps: u64,
    step: u64,
}

impl Progress {
    /// Progress over `steps` steps.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps);
            let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} {wide_msg}")
                .expect("a fixed template");
            bar.set_style(style.progress_chars("=> "));
            // The only ticking thread of a measurement; twice a second costs nothing that can be measured.
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { bar, quiet: false, started: Instant::now(), steps, step: 0 }
    }

    /// No progress at all: for tests.
    #[must_use]
    pub fn silent() -> Self {
        Self { bar: None, quiet: true, started: Instant::now(), steps: 0, step: 0 }
    }

    /// The next step begins.
    pub fn step(&mut self, what: &str) {
        self.step += 1;
        self.steps = self.steps.max(self.step);
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.steps);
                bar.set_position(self.step.saturating_sub(1));
                bar.set_message(what.to_owned());
            }
            None if self.quiet => {}
            None => {
                let seconds = self.started.elapsed().as_secs();
                let line =
                    format!("{:>3}:{:02} [{}/{}] {what}", seconds / 60, seconds % 60, self.step, self.steps);
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
    }

    /// Something that should stay on the screen.
    pub fn note(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(what),
            None if self.quiet => {}
            None => {
                let _ = writeln!(std::io::stderr(), "{what}");
            }
        }
    }

    /// So many steps are still to come.
    pub fn expect_more(&mut self, steps: u64) {
        self.steps = self.step + steps;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
