//! [`Durability`]: what an acknowledged write has survived, as a typed value that every table's title carries.

use std::fmt;
use std::str::FromStr;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Durability {
    /// Handed to the kernel: survives the death of the process, not a power cut.
    Os,
    /// Handed to the kernel, and synced every so many milliseconds: a power cut costs at most that much.
    IntervalMs(u64),
    /// On stable storage: survives a power cut.
    Synced,
}

/// Not a durability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a durability (got `{0}`); say os, synced, or interval:MS with MS from 1 to 3600000, e.g. interval:100"
)]
pub struct NotADurability(String);

impl FromStr for Durability {
    type Err = NotADurability;

    fn from_str(text: &str) -> Result<Self, NotADurability> {
        match text {
            "os" => Ok(Self::Os),
            "synced" => Ok(Self::Synced),
            _ => text
                .strip_prefix("interval:")
                .and_then(|ms| ms.parse().ok())
                .filter(|ms| (1..=3_600_000).contains(ms))
                .map(Self::IntervalMs)
                .ok_or_else(|| NotADurability(text.to_owned())),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Os => f.write_str("os"),
            Self::IntervalMs(ms) => write!(f, "interval:{ms}"),
            Self::Synced => f.write_str("synced"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_go_both_ways_and_nonsense_is_refused_with_the_way_out() {
        for text in ["os", "synced", "interval:1", "interval:3600000"] {
            assert_eq!(text.parse::<Durability>().expect(text).to_string(), text);
        }
        for text in
            ["", "OS", "sync", "interval", "interval:", "interval:0", "interval:-1", "interval:3600001"]
        {
            let error = text.parse::<Durability>().expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("interval:100"), "{error}");
        }
    }
}
