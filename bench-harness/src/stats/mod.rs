//! Statistics that a reviewer would accept: the run is the replicate, never the operation.
//!
//! One run's p99 moves by its own luck; an interval computed from inside one run covers the truth a tenth of the
//! time. So intervals come only from pairs of runs, percentiles only where enough samples stand behind them, and
//! "no difference shown" is an answer.

mod bootstrap;
mod detectable;
mod fisher;
mod holm;
mod pairs;
mod percentile;
mod sign_test;
mod student;
mod unpaired;
mod verdict;

pub use bootstrap::bootstrap_ci95;
pub use detectable::{run_sigma, smallest_detectable};
pub use fisher::fisher_p;
pub use holm::holm;
pub use pairs::{PairedRatio, paired_ratio, self_pairs};
pub use percentile::{percentile_us, summarize};
pub use sign_test::sign_test_p;
pub use student::{t_quantile, t_two_sided_p};
pub use unpaired::{UnpairedRatio, unpaired_ratio};
pub use verdict::judge;
