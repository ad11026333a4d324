//! When operations are due: a schedule that does not depend on how fast the engine answers.
//!
//! Due times are nanoseconds since the start of the run, never decreasing.

use crate::sine_day::SineDay;
use crate::spike::Spike;
use engine_env::rng::{Rng, Seed};
use rand::RngExt;
use rand_distr::{Distribution, Exp1, StandardNormal};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const NS_PER_S: f64 = 1e9;

/// The process by which operations arrive.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// Independent of each other: exponential gaps.
    Poisson,
    /// Batches at Poisson instants; all operations of a batch are due at once.
    Batches(BatchSizes),
    /// Independent of each other, at a rate that swings like a day's.
    Sine(SineDay),
    /// Independent of each other, with one burst.
    Spike(Spike),
    /// As a file recorded them.
    Recorded(Recording),
}

impl Arrivals {
    /// Due times at a mean of `rate_per_s` operations a second.
    ///
    /// Endless, but for a recording at its own speed, which ends after its last operation. A recording at
    /// [`Speed::Original`] or [`Speed::Times`] ignores the rate, see [`own_rate_per_s`](Self::own_rate_per_s).
    ///
    /// # Panics
    /// If `rate_per_s` is not a positive finite number.
    #[must_use]
    pub fn due_times(&self, seed: Seed, rate_per_s: f64) -> DueTimes {
        assert!(
            rate_per_s.is_finite() && rate_per_s > 0.0,
            "a rate is a positive number of operations a second"
        );
        let (shape, mean_batch) = match self {
            Self::Constant => (Shape::Constant, 1.0),
            Self::Poisson => (Shape::Poisson, 1.0),
            Self::Batches(sizes) => (Shape::Batches { sizes: *sizes, left: 0 }, sizes.mean()),
            Self::Sine(day) => (Shape::Sine(*day), 1.0),
            Self::Spike(spike) => (Shape::Spike(*spike), 1.0),
            Self::Recorded(recording) => match recording.speed.factor() {
                None => (Shape::Constant, 1.0),
                Some(factor) => (Shape::Recorded { recording: recording.clone(), factor, at: 0 }, 1.0),
            },
        };
        DueTimes {
            rng: seed.derive("arrivals", 0).rng(),
            shape,
            gap_ns: NS_PER_S * mean_batch / rate_per_s,
            now_ns: 0.0,
            taken: 0,
        }
    }

    /// The same arrivals for a phase of `length_s` seconds: a [`SineDay`] or [`Spike`] without a length of its own
    /// gets this one.
    #[must_use]
    pub fn scaled_to(&self, length_s: f64) -> Self {
        match self {
            Self::Sine(day) if day.period_s.is_none() => {
                Self::Sine(SineDay { period_s: Some(length_s), ..*day })
            }
            Self::Spike(spike) if spike.period_s.is_none() => {
                Self::Spike(Spike { period_s: Some(length_s), ..*spike })
            }
            other => other.clone(),
        }
    }

    /// The mean rate in operations a second, where the arrivals dictate one (a recording at its own speed).
    #[must_use]
    pub fn own_rate_per_s(&self) -> Option<f64> {
        let Self::Recorded(recording) = self else { return None };
        let factor = recording.speed.factor()?;
        Some(recording.due_ns.len() as f64 / (recording.pass_ns as f64 / NS_PER_S).max(1e-9) * factor)
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Poisson => f.write_str("poisson"),
            Self::Batches(sizes) => {
                write!(f, "batches of {:.1} on average at Poisson instants", sizes.mean())
            }
            Self::Sine(day) => write!(f, "sine day, {:.0} % around the mean", day.amplitude * 100.0),
            Self::Spike(spike) => write!(
                f,
                "one burst at {} times the quiet rate, {:.0} % of the run from {:.0} % on",
                spike.factor,
                spike.length * 100.0,
                spike.start * 100.0
            ),
            Self::Recorded(recording) => write!(f, "recorded, speed {}", recording.speed),
        }
    }
}

/// How many operations arrive at once: 1 with probability `single`, otherwise lognormal, rounded, at least 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchSizes {
    /// Probability of a batch of one, 0 to 1.
    pub single: f64,
    /// Median of the lognormal sizes, in operations.
    pub median: f64,
    /// Sigma of the lognormal sizes.
    pub sigma: f64,
    /// No batch is larger, in operations.
    pub cap: u32,
}

impl BatchSizes {
    /// Fitted to the commits of a public register of members: p50 1, p90 107, p99 447, at most 1000.
    pub const MEMBER_COMMITS: Self = Self { single: 0.8, median: 107.0, sigma: 0.87, cap: 1000 };

    /// Draws one size.
    pub fn sample(&self, rng: &mut Rng) -> u32 {
        if rng.random::<f64>() < self.single {
            return 1;
        }
        let normal: f64 = StandardNormal.sample(rng);
        self.clamp(normal)
    }

    fn clamp(&self, normal: f64) -> u32 {
        (self.median * (self.sigma * normal).exp()).round().clamp(1.0, f64::from(self.cap)) as u32
    }

    /// The mean size, numerically: midpoints of 20,000 slices of the normal density.
    #[must_use]
    pub fn mean(&self) -> f64 {
        const SLICES: u32 = 20_000;
        const REACH: f64 = 8.0;
        let width = 2.0 * REACH / f64::from(SLICES);
        let (mut sum, mut mass) = (0.0, 0.0);
        for slice in 0..SLICES {
            let z = -REACH + (f64::from(slice) + 0.5) * width;
            let density = (-z * z / 2.0).exp();
            sum += density * f64::from(self.clamp(z));
            mass += density;
        }
        self.single + (1.0 - self.single) * sum / mass
    }
}

/// The times of a recorded stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Due time of each operation of one pass, in ns after the pass's start; never decreasing.
    pub due_ns: Arc<[u64]>,
    /// Length of one pass in ns: the next one starts then.
    pub pass_ns: u64,
    /// Whether the stream goes on with another pass.
    pub repeats: bool,
    /// How fast to replay.
    pub speed: Speed,
}

/// How fast a recorded stream is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Speed {
    /// At the recorded times.
    Original,
    /// This many times as fast.
    Times(f64),
    /// The recorded times are ignored: evenly spaced at the rate asked for, or as fast as the engine answers.
    #[default]
    Max,
}

impl Speed {
    fn factor(self) -> Option<f64> {
        match self {
            Self::Original => Some(1.0),
            Self::Times(factor) => Some(factor),
            Self::Max => None,
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Original => f.write_str("original"),
            Self::Times(factor) => write!(f, "x{factor}"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// The text is none of `original`, `xK`, `max`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("speed {got:?} is not known; write original, max, or x and a factor, such as x60")]
pub struct UnknownSpeed {
    /// What was written.
    pub got: String,
}

impl FromStr for Speed {
    type Err = UnknownSpeed;

    fn from_str(text: &str) -> Result<Self, UnknownSpeed> {
        let factor = text.strip_prefix(['x', '×']).and_then(|k| k.parse::<f64>().ok());
        match (text, factor) {
            ("original", _) => Ok(Self::Original),
            ("max", _) => Ok(Self::Max),
            (_, Some(factor)) if factor.is_finite() && factor > 0.0 => Ok(Self::Times(factor)),
            _ => Err(UnknownSpeed { got: text.to_owned() }),
        }
    }
}

/// Due times in nanoseconds since the start of the run.
#[derive(Debug, Clone)]
pub struct DueTimes {
    rng: Rng,
    shape: Shape,
    gap_ns: f64,
    now_ns: f64,
    taken: u64,
}

#[derive(Debug, Clone)]
enum Shape {
    Constant,
    Poisson,
    Batches { sizes: BatchSizes, left: u32 },
    Sine(SineDay),
    Spike(Spike),
    Recorded { recording: Recording, factor: f64, at: u64 },
}

impl Iterator for DueTimes {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match &mut self.shape {
            Shape::Constant => self.now_ns = self.taken as f64 * self.gap_ns,
            Shape::Poisson => self.now_ns += self.gap_ns * self.rng.sample::<f64, _>(Exp1),
            Shape::Batches { sizes, left } => {
                if *left == 0 {
                    self.now_ns += self.gap_ns * self.rng.sample::<f64, _>(Exp1);
                    *left = sizes.sample(&mut self.rng);
                }
                *left -= 1;
            }
            Shape::Sine(day) => {
                self.now_ns = day.later_ns(self.now_ns, self.gap_ns, self.rng.sample::<f64, _>(Exp1));
            }
            Shape::Spike(spike) => {
                self.now_ns = spike.later_ns(self.now_ns, self.gap_ns, self.rng.sample::<f64, _>(Exp1));
            }
            Shape::Recorded { recording, factor, at } => {
                let len = recording.due_ns.len() as u64;
                if len == 0 || (*at >= len && !recording.repeats) {
                    return None;
                }
                let (pass, within) = (*at / len, *at % len);
                let due = recording.due_ns[within as usize] as f64 + pass as f64 * recording.pass_ns as f64;
                self.now_ns = due / *factor;
                *at += 1;
            }
        }
        self.taken += 1;
        Some(self.now_ns as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_rate(arrivals: &Arrivals, rate: f64, count: usize) -> f64 {
        let last = arrivals.due_times(Seed(1), rate).take(count).last().expect("endless");
        count as f64 / (last as f64 / NS_PER_S)
    }

    #[test]
    fn every_shape_keeps_the_mean_rate() {
        for (arrivals, tolerance) in [
            (Arrivals::Constant, 0.001),
            (Arrivals::Poisson, 0.01),
            (Arrivals::Batches(BatchSizes::MEMBER_COMMITS), 0.05),
        ] {
            let rate = mean_rate(&arrivals, 10_000.0, 1_000_000);
            assert!((rate / 10_000.0 - 1.0).abs() < tolerance, "{arrivals}: {rate}");
        }
    }

    #[test]
    fn due_times_never_decrease_and_repeat_with_the_seed() {
        for arrivals in [
            Arrivals::Poisson,
            Arrivals::Batches(BatchSizes::MEMBER_COMMITS),
            Arrivals::Sine(SineDay { amplitude: 0.3, period_s: Some(0.5) }),
        ] {
            let take = |seed| arrivals.due_times(Seed(seed), 5000.0).take(10_000).collect::<Vec<_>>();
            assert!(take(1).is_sorted());
            assert_eq!(take(1), take(1));
            assert_ne!(take(1), take(2));
        }
    }

    /// measuring.md, section e: commit sizes p50 1, p90 107, p99 447; about 81 % of events in batches of 100 or more.
    #[test]
    fn batch_sizes_have_the_published_percentiles() {
        let mut rng = Seed(3).rng();
        let mut sizes: Vec<u32> = (0..200_000).map(|_| BatchSizes::MEMBER_COMMITS.sample(&mut rng)).collect();
        sizes.sort_unstable();
        let at = |q: f64| f64::from(sizes[(q * sizes.len() as f64) as usize]);
        assert_eq!(at(0.5), 1.0);
        assert!((at(0.9) / 107.0 - 1.0).abs() < 0.05, "p90 {}", at(0.9));
        assert!((at(0.99) / 447.0 - 1.0).abs() < 0.05, "p99 {}", at(0.99));
        assert!(*sizes.last().expect("not empty") <= 1000);
        let all: u64 = sizes.iter().map(|s| u64::from(*s)).sum();
        let big: u64 = sizes.iter().filter(|s| **s >= 100).map(|s| u64::from(*s)).sum();
        let share = big as f64 / all as f64;
        assert!((0.74..0.84).contains(&share), "share in batches of 100 or more: {share}");
        let mean = all as f64 / sizes.len() as f64;
        assert!((mean / BatchSizes::MEMBER_COMMITS.mean() - 1.0).abs() < 0.03, "mean {mean}");
    }

    #[test]
    fn a_recording_is_replayed_at_its_speed_and_in_passes() {
        let mut recording = Recording {
            due_ns: [0, 10, 10, 40].into(),
            pass_ns: 100,
            repeats: false,
            speed: Speed::Original,
        };
        let times =
            |r: &Recording| Arrivals::Recorded(r.clone()).due_times(Seed(1), 1.0).take(6).collect::<Vec<_>>();
        assert_eq!(times(&recording), [0, 10, 10, 40]);
        recording.repeats = true;
        recording.speed = "x2".parse().expect("a speed");
        assert_eq!(times(&recording), [0, 5, 5, 20, 50, 55]);
        assert_eq!(Arrivals::Recorded(recording.clone()).own_rate_per_s(), Some(4.0 / 1e-7 * 2.0));
        recording.speed = Speed::Max;
        assert_eq!(
            times(&recording),
            [0, 1_000_000_000, 2_000_000_000, 3_000_000_000, 4_000_000_000, 5_000_000_000]
        );
        assert_eq!(Arrivals::Recorded(recording).own_rate_per_s(), None);
    }

    #[test]
    fn a_bad_speed_is_refused() {
        for bad in ["", "fast", "x", "x0", "x-1", "xinf", "xNaN", "2"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
        assert_eq!("x0.5".parse(), Ok(Speed::Times(0.5)));
    }
}
