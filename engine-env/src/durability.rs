//! [`Durability`]: what an acknowledged write survives. Every engine, every command and every table says it with this one
//! type, so that two of them can't mean different things by one word.

use std::fmt;
use std::str::FromStr;

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Durability {
    /// Handed to the kernel: survives the death of the process, not a power cut.
    #[default]
    Os,
    /// Like [`Durability::Os`], and everything is synced this often, in milliseconds: a power cut costs at most that
    /// much, and what came while the last sync ran.
    IntervalMs(u64),
    /// On stable storage: survives a power cut.
    Synced,
}

/// The longest interval: an hour. A longer one is `os` with a false promise.
const INTERVAL_MS_MAX: u64 = 3_600_000;

/// Not a durability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a durability (got `{text}`); say os, synced, or interval:MS with MS from 1 to {INTERVAL_MS_MAX}, e.g. interval:100"
)]
pub struct UnknownDurability {
    /// What was given.
    pub text: String,
}

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, UnknownDurability> {
        match text {
            "os" => Ok(Self::Os),
            "synced" => Ok(Self::Synced),
            _ => text
                .strip_prefix("interval:")
                // One value has one text: no sign, no leading zero.
                .filter(|ms| ms.starts_with(|c: char| matches!(c, '1'..='9')))
                .and_then(|ms| ms.parse().ok())
                .filter(|ms| (1..=INTERVAL_MS_MAX).contains(ms))
                .map(Self::IntervalMs)
                .ok_or_else(|| UnknownDurability { text: text.to_owned() }),
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
        for text in [
            "",
            "OS",
            "sync",
            "interval",
            "interval:",
            "interval:0",
            "interval:-1",
            "interval:+1",
            "interval:01",
            "interval:3600001",
        ] {
            let error = text.parse::<Durability>().expect_err(text).to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("interval:100"), "{error}");
        }
    }
}
