//! [`Workers`]: who does work that can be divided. Storage has no threads, so whoever opens an engine brings them.

use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};

/// Who does work that can be divided.
pub trait Workers: Sync {
    /// Calls `job` once with each number below `jobs`, in any order, on any threads; returns when all are done.
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync));
}

/// The caller's own thread, one job after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneWorker;

impl Workers for OneWorker {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).for_each(job);
    }
}

/// As many threads as the machine has processors.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllCores;

impl Workers for AllCores {
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).into_par_iter().with_max_len(1).for_each(job);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn each_job_is_done_once_also_from_within_a_job() {
        for workers in [&OneWorker as &dyn Workers, &AllCores] {
            let done: Vec<AtomicU32> = (0..60).map(|_| AtomicU32::new(0)).collect();
            workers.run(6, &|outer| {
                workers.run(10, &|inner| {
                    done[outer * 10 + inner].fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(done.iter().all(|times| times.load(Ordering::Relaxed) == 1));
            workers.run(0, &|_| panic!("there is no job"));
        }
    }
}
