//! Which record an operation takes: YCSB's six request distributions over the records inserted so far.

use super::spec::{Request, YcsbSpec};
use crate::keys::{Gray, Uniform};
use engine_env::rng::Rng;
use rand::RngExt;

/// YCSB's hash of a key number: FNV-1a over its eight bytes, least first, as an absolute value.
pub(super) fn hash(number: u64) -> u64 {
    let hash = number.to_le_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211)
    });
    (hash as i64).unsigned_abs()
}

/// The items that YCSB's scrambled zipfian ranks, and the sum of their weights, both constants there.
const SCRAMBLED_ITEMS: u64 = 10_000_000_000;
const SCRAMBLED_ZETA: f64 = 26.469_028_201_783_02;

/// Chooses records by their number, counted from the first that exists before the run.
#[derive(Debug)]
pub(super) struct KeyNumbers {
    /// How many there are by now.
    count: u32,
    choice: Choice,
}

#[derive(Debug)]
enum Choice {
    Uniform(Uniform),
    /// Ranks of very many items, hashed onto the records there are and those that are expected.
    Zipfian {
        ranks: Gray,
        onto: u64,
    },
    Latest(Gray),
    Hotspot {
        hot: u32,
        records: u32,
        share: f64,
    },
    /// Mean distance from the newest record.
    Exponential {
        mean: f64,
    },
    Sequential {
        next: u32,
        records: u32,
    },
}

impl KeyNumbers {
    pub(super) fn new(spec: &YcsbSpec) -> Self {
        let records = spec.records();
        let weights = spec.read + spec.update + spec.insert + spec.scan + spec.read_modify_write;
        let choice = match spec.request {
            Request::Uniform => Choice::Uniform(Uniform::new(records)),
            Request::Zipfian => {
                // Twice the expected inserts, so that the hash need not change while records are added.
                let inserts = f64::from(spec.operation_count) * spec.insert / weights * 2.0;
                Choice::Zipfian {
                    ranks: Gray::with_zeta(SCRAMBLED_ITEMS, Gray::THETA, SCRAMBLED_ZETA),
                    onto: u64::from(records) + inserts as u64 + 1,
                }
            }
            Request::Latest => Choice::Latest(Gray::new(u64::from(records), Gray::THETA)),
            Request::Hotspot => Choice::Hotspot {
                hot: (f64::from(records) * spec.hot_data) as u32,
                records,
                share: spec.hot_operations,
            },
            Request::Exponential => {
                let reach = f64::from(records) * spec.exponential_fraction;
                Choice::Exponential { mean: reach / -(1.0 - spec.exponential_percentile / 100.0).ln() }
            }
            Request::Sequential => Choice::Sequential { next: 0, records },
        };
        Self { count: records, choice }
    }

    /// The number of the next record that is inserted; `None` once the numbers are used up.
    pub(super) fn insert(&mut self) -> Option<u32> {
        let number = self.count;
        self.count = self.count.checked_add(1)?;
        Some(number)
    }

    pub(super) fn sample(&mut self, rng: &mut Rng) -> u32 {
        let newest = self.count - 1;
        match &mut self.choice {
            Choice::Uniform(uniform) => uniform.sample(rng),
            Choice::Zipfian { ranks, onto } => loop {
                let number = hash(ranks.rank(rng.random())) % *onto;
                if number <= u64::from(newest) {
                    return number as u32;
                }
            },
            Choice::Latest(ranks) => {
                ranks.grow_to(u64::from(self.count));
                newest - ranks.rank(rng.random()) as u32
            }
            Choice::Hotspot { hot, records, share } => {
                let cold = *records - *hot;
                if *hot > 0 && (cold == 0 || rng.random::<f64>() < *share) {
                    rng.random_range(0..*hot)
                } else {
                    *hot + rng.random_range(0..cold)
                }
            }
            Choice::Exponential { mean } => loop {
                // Whole records back, as YCSB cuts it: a lone record is hit by whatever stays below one.
                let back = (-(1.0 - rng.random::<f64>()).ln() * *mean) as u64;
                if back <= u64::from(newest) {
                    return newest - back as u32;
                }
            },
            Choice::Sequential { next, records } => {
                let number = *next;
                *next = (number + 1) % *records;
                number
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_env::rng::Seed;

    /// Vectors of YCSB's `Utils.fnvhash64`.
    #[test]
    fn the_hash_is_ycsb_s() {
        let expected = [
            (0, 6_284_781_860_667_377_211),
            (1, 8_517_097_267_634_966_620),
            (2, 1_820_151_046_732_198_393),
            (3, 4_052_466_453_699_787_802),
            (999, 2_071_219_101_098_386_137),
        ];
        for (number, hashed) in expected {
            assert_eq!(hash(number), hashed, "{number}");
        }
    }

    fn drawn(request: Request, records: u32, inserts: u32) -> Vec<u32> {
        let spec = YcsbSpec { record_count: records, request, ..YcsbSpec::default() };
        let mut numbers = KeyNumbers::new(&spec);
        (0..inserts).for_each(|_| assert!(numbers.insert().is_some()));
        let mut rng = Seed(3).rng();
        (0..100_000).map(|_| numbers.sample(&mut rng)).collect()
    }

    fn share(drawn: &[u32], of: impl Fn(u32) -> bool) -> f64 {
        drawn.iter().filter(|number| of(**number)).count() as f64 / drawn.len() as f64
    }

    #[test]
    fn each_distribution_has_the_shares_that_define_it() {
        let near = |measured: f64, expected: f64| {
            assert!((measured - expected).abs() < 0.01, "{measured} {expected}")
        };
        let uniform = drawn(Request::Uniform, 1000, 0);
        near(share(&uniform, |n| n < 100), 0.1);
        for records in [1000, 50_000] {
            let zipfian = drawn(Request::Zipfian, records, 0);
            let mut counts = vec![0_u32; records as usize];
            zipfian.iter().for_each(|n| counts[*n as usize] += 1);
            let hottest = *counts.iter().max().expect("some");
            // 1/26.47 of ten thousand million items' weights, and what else is hashed there.
            near(f64::from(hottest) / 100_000.0, 0.0378 + 0.002);
        }
        let latest = drawn(Request::Latest, 1000, 500);
        let zeta = |n: u32| (1..=n).map(|rank| f64::from(rank).powf(-0.99)).sum::<f64>();
        near(share(&latest, |n| n == 1499), 1.0 / zeta(1500));
        near(share(&latest, |n| n >= 1000), zeta(500) / zeta(1500));
        let hotspot = drawn(Request::Hotspot, 1000, 0);
        near(share(&hotspot, |n| n < 200), 0.8);
        let exponential = drawn(Request::Exponential, 10_000, 0);
        near(
            share(&exponential, |n| n >= 10_000 - 8571),
            0.95 / (1.0 - 0.05_f64.powf(1.0 / 0.857_142_857_1)),
        );
        let sequential = drawn(Request::Sequential, 1000, 0);
        assert_eq!(sequential[..3], [0, 1, 2]);
        assert_eq!(sequential[1000], 0);
    }

    #[test]
    fn one_record_is_enough_for_each() {
        for request in [
            Request::Uniform,
            Request::Zipfian,
            Request::Latest,
            Request::Hotspot,
            Request::Exponential,
            Request::Sequential,
        ] {
            assert!(drawn(request, 1, 0).iter().all(|number| *number == 0), "{request:?}");
        }
    }
}
