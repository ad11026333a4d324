//! [`NetProfile`]: delays under a name, so that two engines are compared on one network.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Delay;

/// A network's one-way delay, added to what the machine itself takes.
///
/// It is latency alone: no loss, no jitter, no bandwidth. The report says so wherever a profile is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum NetProfile {
    /// Nothing added: what this machine takes between two of its threads or sockets.
    #[default]
    Loopback,
    /// 250 µs one way, half of the round trip of 500 µs within a datacenter in Jeff Dean's "Numbers Everyone Should Know"
    /// (LADIS keynote, 2009). Switches have become faster since; for today's it is an upper bound.
    Lan,
    /// 30 ms one way, a round trip of 60 ms between two datacenters: assumed, about the width of North America.
    Wan,
}

impl NetProfile {
    /// The one-way delay.
    #[must_use]
    pub fn delay(self) -> Delay {
        Delay(match self {
            Self::Loopback => Duration::ZERO,
            Self::Lan => Duration::from_micros(250),
            Self::Wan => Duration::from_millis(30),
        })
    }
}

impl From<NetProfile> for Delay {
    fn from(profile: NetProfile) -> Self {
        profile.delay()
    }
}

/// Not a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a network profile (got `{text}`); say loopback, lan or wan")]
pub struct UnknownNetProfile {
    /// What was given.
    pub text: String,
}

impl FromStr for NetProfile {
    type Err = UnknownNetProfile;

    fn from_str(text: &str) -> Result<Self, UnknownNetProfile> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "lan" => Ok(Self::Lan),
            "wan" => Ok(Self::Wan),
            _ => Err(UnknownNetProfile { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for NetProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Lan => "lan",
            Self::Wan => "wan",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_reads_what_it_shows_and_nothing_else() {
        for profile in [NetProfile::Loopback, NetProfile::Lan, NetProfile::Wan] {
            assert_eq!(profile.to_string().parse(), Ok(profile));
        }
        let error = "LAN".parse::<NetProfile>().expect_err("names are lower case").to_string();
        assert!(error.contains("`LAN`") && error.contains("loopback, lan or wan"), "{error}");
    }
}
