//! [`Rescheduled`]: a workload that asks the same at other times.

use crate::arrivals::Arrivals;
use crate::error::WorkloadError;
use crate::workload::{Ops, Parameter, Workload};
use engine_env::rng::Seed;
use std::fmt;
use std::sync::Arc;

/// A workload with another one's arrivals; all else is the workload's own.
#[derive(Clone)]
pub struct Rescheduled {
    workload: Arc<dyn Workload>,
    arrivals: Arrivals,
    about: String,
}

impl Rescheduled {
    /// `workload`, with operations due as `arrivals` says.
    #[must_use]
    pub fn new(workload: Arc<dyn Workload>, arrivals: Arrivals) -> Self {
        // Its own line may speak of its own arrivals.
        let about = format!("{}; arrivals of this run: {arrivals}", workload.about().trim_end_matches('.'));
        Self { workload, arrivals, about }
    }
}

impl fmt::Debug for Rescheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rescheduled({}, {})", self.workload.name(), self.arrivals)
    }
}

impl Workload for Rescheduled {
    fn name(&self) -> &str {
        self.workload.name()
    }

    fn about(&self) -> &str {
        &self.about
    }

    fn story(&self) -> &str {
        self.workload.story()
    }

    fn records(&self) -> u64 {
        self.workload.records()
    }

    fn preload(&self, seed: Seed) -> Ops<'_> {
        self.workload.preload(seed)
    }

    fn stream(&self, seed: Seed) -> Ops<'_> {
        self.workload.stream(seed)
    }

    fn is_recording(&self) -> bool {
        self.workload.is_recording()
    }

    fn arrivals(&self) -> Arrivals {
        self.arrivals.clone()
    }

    fn finale(&self, streamed: u64) -> Ops<'_> {
        self.workload.finale(streamed)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.workload.parameters();
        // What the workload says about its own arrivals would be false here.
        parameters.retain(|p| !p.name.starts_with("arrivals.") && p.name != "speed");
        parameters.push(Parameter::new("arrivals", &self.arrivals, "when operations arrive, as asked for"));
        parameters
    }

    fn configured(&self, settings: &[(String, String)]) -> Result<Arc<dyn Workload>, WorkloadError> {
        let workload = self.workload.configured(settings)?;
        Ok(Arc::new(Self::new(workload, self.arrivals.clone())))
    }
}
