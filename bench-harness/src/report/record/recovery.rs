//! [`Recovery`]: how a cluster recovered from an outage that was planned for a run.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::quantity::micros;

/// How a cluster recovered from the loss of one node. Times are seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Which node was away, by its number.
    pub member: u16,
    /// From the moment that it was gone until it was started again: how long the harness kept it away.
    pub outage_s: f64,
    /// From the moment that it was gone until a write was acknowledged that was handed over after that, to a key that
    /// belongs to it first of all: whose partition it leads, or masters. `None` if none was.
    pub writes_accepted_s: Option<f64>,
    /// From the moment that it was started again, its opening included and the outage not, until it had all that it missed.
    /// Of a log: all that its leaders had when it came back, and every leader counts all copies as in sync. Of a store: each
    /// of the keys asked about in its last acknowledged version or a later one. `None` if that didn't happen while it was
    /// watched.
    pub replicated_s: Option<f64>,
    /// How long it was watched after it was started again: to the end of the measured phase.
    pub watched_s: f64,
    /// Of a store: keys that the node was asked about, a sample of those that were written while it was away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_asked: Option<u64>,
    /// How many of them it lacked when it was asked for them last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_lacking: Option<u64>,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |seconds: f64| micros(seconds * 1e6);
        write!(f, "node {} was away for {}: ", self.member, time(self.outage_s))?;
        match self.writes_accepted_s {
            Some(seconds) => {
                write!(f, "writes of its own keys were accepted {} after its death, ", time(seconds))?
            }
            None => f.write_str("no write of its own keys was accepted after its death, ")?,
        }
        match (self.replicated_s, self.keys_asked, self.keys_lacking) {
            (Some(seconds), ..) => {
                write!(f, "and it had all that it missed {} after its start", time(seconds))
            }
            (None, Some(asked), Some(lacking)) => write!(
                f,
                "and {} after its start it still lacked {lacking} of {asked} keys asked about",
                time(self.watched_s)
            ),
            (None, ..) => {
                write!(f, "and {} after its start it still lacked something", time(self.watched_s))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_happened_and_what_did_not() {
        let whole = Recovery {
            outage_s: 3.0,
            writes_accepted_s: Some(0.012),
            replicated_s: Some(0.08),
            watched_s: 1.5,
            ..Recovery::default()
        };
        let said = "node 0 was away for 3.00 s: writes of its own keys were accepted 12.0 ms after its death, and it had all that \
                    it missed 80.0 ms after its start";
        assert_eq!(whole.to_string(), said);
        let lacking = Recovery {
            writes_accepted_s: None,
            replicated_s: None,
            keys_asked: Some(1_000),
            keys_lacking: Some(900),
            ..whole
        };
        let said = "node 0 was away for 3.00 s: no write of its own keys was accepted after its death, and 1.50 s after its start \
                    it still lacked 900 of 1000 keys asked about";
        assert_eq!(lacking.to_string(), said);
    }
}
