//! [`Versioned`]: a value and the clock it was written with.

use super::{ClockDecodeError, Clocked, VectorClock};

/// A value and the clock it was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The clock.
    pub clock: VectorClock,
    /// The value's bytes.
    pub value: Vec<u8>,
}

impl Versioned {
    /// A value under a clock.
    #[must_use]
    pub fn new(clock: VectorClock, value: impl Into<Vec<u8>>) -> Self {
        Self { clock, value: value.into() }
    }

    /// Voldemort's bytes of one version: the clock, and the value directly behind it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.clock.encoded_len() + self.value.len());
        self.clock.encode(&mut bytes);
        bytes.extend_from_slice(&self.value);
        bytes
    }

    /// Reads what [`Versioned::encode`] wrote.
    ///
    /// # Errors
    /// The bytes don't begin with a clock.
    pub fn decode(bytes: &[u8]) -> Result<Self, ClockDecodeError> {
        let (clock, used) = VectorClock::decode(bytes)?;
        Ok(Self { clock, value: bytes[used..].to_vec() })
    }
}

impl Clocked for Versioned {
    fn clock(&self) -> &VectorClock {
        &self.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_follows_the_clock_directly() {
        let clock = VectorClock::from_entries([(1, 2)], 7).expect("a valid clock");
        let version = Versioned::new(clock, b"hi");
        assert_eq!(version.encode(), [0, 1, 1, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 7, b'h', b'i']);
        assert_eq!(Versioned::decode(&version.encode()), Ok(version));
    }
}
