//! [`World`]: where a measurement was taken.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a measurement was taken. Native and simulated figures never share a row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum World {
    /// On this machine.
    #[default]
    Native,
    /// In the simulator, with the hardware profile of that name.
    Simulated(String),
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Simulated(profile) => write!(f, "simulated:{profile}"),
        }
    }
}

impl From<World> for String {
    fn from(world: World) -> Self {
        world.to_string()
    }
}

impl From<String> for World {
    fn from(text: String) -> Self {
        match text.strip_prefix("simulated:") {
            Some(profile) => Self::Simulated(profile.to_owned()),
            None if text == "native" => Self::Native,
            // Never taken for native: a world this build doesn't know is at least not this machine.
            None => Self::Simulated(text),
        }
    }
}
