//! [`sensitivity`]: how much of a result rests on each quantity of a profile.

use engine_env::sim::{HardwareProfile, Quantity};
use rayon::prelude::*;

use super::figures::Figures;

/// The same run with one quantity changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    /// Which one.
    pub quantity: Quantity,
    /// With half of it; `None` where half of it is the same.
    pub halved: Option<Figures>,
    /// With twice as much; `None` where that is the same.
    pub doubled: Option<Figures>,
}

/// Runs `run` with each quantity halved and doubled, on all cores.
///
/// # Errors
/// The first run that has no figures.
pub fn sensitivity(
    profile: &HardwareProfile,
    run: impl Fn(&HardwareProfile) -> Result<Figures, String> + Sync,
) -> Result<Vec<Sensitivity>, String> {
    let with = |quantity, factor| profile.scaled(quantity, factor).map(|scaled| run(&scaled)).transpose();
    Quantity::ALL
        .into_par_iter()
        .map(|quantity| {
            Ok(Sensitivity { quantity, halved: with(quantity, 0.5)?, doubled: with(quantity, 2.0)? })
        })
        .collect()
}
