//! [`Maintenance`]: the thread that prepares segments, lets versions expire, and merges under its rate.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_env::{Disk, DiskError, File, FileOf, Home, clock};

use super::bell::Bell;
use super::gate::Gate;
use crate::config::KvConfig;
use crate::storage::bitcask::{Bitcask, MaintenanceStep};

/// How often to look whether something has expired.
const EXPIRY_LOOK: Duration = Duration::from_secs(10);
/// How often a merge that waits for its rate to allow the next step looks whether there is still time to.
const BLOAT_LOOK: Duration = Duration::from_millis(500);
const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// Lets expire what is older than so many days.
pub(super) fn expire<F: File>(core: &Bitcask<F>, retention_days: Option<u32>) {
    if let Some(days) = retention_days {
        core.expire_before(clock::wall_ms().saturating_sub(i64::from(days) * MS_PER_DAY));
    }
}

/// How long to wait before a failed preparation is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The maintenance thread. Dropping it ends the thread after the step it is at.
#[derive(Debug)]
pub(super) struct Maintenance {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

impl Maintenance {
    pub(super) fn spawn<H: Home>(
        home: &H,
        core: &Arc<Bitcask<FileOf<H>>>,
        bell: &Arc<Bell>,
        gate: &Arc<Gate>,
        config: &KvConfig,
    ) -> Result<Self, DiskError> {
        let (merge_bytes_per_s, retention_days) = (config.merge_bytes_per_s, config.retention_days);
        let (ready, built) = std::sync::mpsc::channel();
        let home = home.clone();
        let (core, ringing, gate) = (Arc::clone(core), Arc::clone(bell), Arc::clone(gate));
        let thread = std::thread::Builder::new()
            .name("kv-maintain".to_owned())
            .spawn(move || match home.disk() {
                Err(error) => drop(ready.send(Err(error))),
                Ok(mut disk) => {
                    let _ = ready.send(Ok(()));
                    let keeper = Keeper {
                        core: &core,
                        bell: &ringing,
                        gate: &gate,
                        merge_bytes_per_s,
                        retention_days,
                    };
                    keeper.run(&mut disk);
                }
            })
            .expect("the operating system refused a thread");
        built.recv().expect("the thread reports before it works")?;
        Ok(Self { bell: Arc::clone(bell), thread: Some(thread) })
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.bell.stop();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook; a second one here would only hide it.
            let _ = thread.join();
        }
    }
}

/// What the maintenance thread runs.
struct Keeper<'a, F> {
    core: &'a Bitcask<F>,
    bell: &'a Bell,
    gate: &'a Gate,
    merge_bytes_per_s: u64,
    retention_days: Option<u32>,
}

impl<F: File> Keeper<'_, F> {
    fn run<D: Disk<File = F>>(&self, disk: &mut D) {
        while !self.bell.is_stopped() {
            expire(self.core, self.retention_days);
            let step = self.core.maintain(disk);
            self.gate.look(|| self.core.is_overgrown());
            match step {
                Ok(MaintenanceStep::Worked { merge_bytes: 0 }) => {}
                Ok(MaintenanceStep::Worked { .. }) if self.core.is_bloated() => {}
                Ok(MaintenanceStep::Worked { merge_bytes }) => {
                    let pause = merge_bytes as f64 / self.merge_bytes_per_s as f64;
                    self.keep_the_rate(disk, Duration::from_secs_f64(pause));
                }
                Ok(MaintenanceStep::Idle) => self.bell.wait(self.retention_days.map(|_| EXPIRY_LOOK)),
                // Nobody rings when space comes free or a device answers again.
                Ok(MaintenanceStep::NoSpace) | Err(_) => self.bell.wait(Some(RETRY)),
            }
        }
    }

    /// Lets the time pass that the merge's last step is worth; writers are served meanwhile.
    fn keep_the_rate<D: Disk<File = F>>(&self, disk: &mut D, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.bell.is_stopped() {
            while let Ok(MaintenanceStep::Worked { .. }) = self.core.serve_writers(disk) {
                self.gate.look(|| self.core.is_overgrown());
            }
            // The last step may have failed to prepare a segment: nobody should wait for it either.
            self.gate.look(|| self.core.is_overgrown());
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.core.is_bloated() {
                return;
            }
            self.bell.wait(Some(left.min(BLOAT_LOOK)));
        }
    }
}
