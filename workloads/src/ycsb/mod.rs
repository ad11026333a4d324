//! YCSB's `CoreWorkload`, from property files as users have them, and its six core workloads by name.
//!
//! Keys are YCSB's own: `user` and a number, hashed or in order. A record's fields become one value of their length
//! together, self-checking like every generated value, so an update writes the whole record. What decides latency
//! and load (mix, popularity, sizes, key order) is YCSB's; its random numbers are not.

mod keys;
mod properties;
mod spec;

use crate::arrivals::Arrivals;
use crate::error::WorkloadError;
use crate::op::{Key, Op, OpKind};
use crate::values::{StreamTag, Value};
use crate::workload::{Ops, Parameter, Workload};
use engine_env::rng::{Rng, Seed};
use keys::{KeyNumbers, hash};
use rand::RngExt;
use spec::{Length, YcsbSpec};
use std::sync::Arc;

/// The six core workloads, by name, as property text, with what each imitates.
const STANDARD: [(&str, &str, &str); 6] = [
    (
        "ycsb-a",
        include_str!("../../specs/ycsb-a.properties"),
        "YCSB A, update heavy: 50 % reads, 50 % updates, zipfian",
    ),
    (
        "ycsb-b",
        include_str!("../../specs/ycsb-b.properties"),
        "YCSB B, read mostly: 95 % reads, 5 % updates, zipfian",
    ),
    ("ycsb-c", include_str!("../../specs/ycsb-c.properties"), "YCSB C, read only: 100 % reads, zipfian"),
    (
        "ycsb-d",
        include_str!("../../specs/ycsb-d.properties"),
        "YCSB D, read latest: 95 % reads of what was inserted last, 5 % inserts",
    ),
    (
        "ycsb-e",
        include_str!("../../specs/ycsb-e.properties"),
        "YCSB E, short ranges: 95 % scans of up to 100 records, 5 % inserts",
    ),
    (
        "ycsb-f",
        include_str!("../../specs/ycsb-f.properties"),
        "YCSB F, read-modify-write: 50 % reads, 50 % read-modify-writes, zipfian",
    ),
];

const STORY: &str = "One of the six core workloads of the Yahoo! Cloud Serving Benchmark, which many stores publish \
figures for. A record of ten fields of 100 bytes is written as one value, so an update writes all of it. The keys are \
YCSB's, and so is the popularity: scrambled zipfian gives the hottest record 3.8 % of the requests however many \
records there are. YCSB's own default is 1,000 records; here it is 100,000, set another number with --records.";

/// The named ones.
pub(crate) fn standard() -> impl Iterator<Item = Ycsb> {
    STANDARD.into_iter().map(|(name, text, about)| {
        let (mut spec, _) =
            spec::parse(name, text, false).expect("an embedded file is sound, a test reads it");
        spec.name = name.to_owned();
        spec.about = about.to_owned();
        spec.story = STORY.to_owned();
        Ycsb { spec }
    })
}

/// Opens a property file; gives what was read and not understood.
pub(crate) fn open(
    file: &str,
    stem: String,
    text: &str,
    lenient: bool,
) -> Result<(Ycsb, Vec<String>), WorkloadError> {
    let (mut spec, warnings) = spec::parse(file, text, lenient)?;
    spec.name = stem;
    let percent = |weight: f64| {
        100.0 * weight / (spec.read + spec.update + spec.insert + spec.scan + spec.read_modify_write)
    };
    let parts: Vec<String> = [
        (spec.read, "reads"),
        (spec.update, "updates"),
        (spec.insert, "inserts"),
        (spec.scan, "scans"),
        (spec.read_modify_write, "read-modify-writes"),
    ]
    .into_iter()
    .filter(|(weight, _)| *weight > 0.0)
    .map(|(weight, name)| format!("{:.1} % {name}", percent(weight)))
    .collect();
    spec.about = format!("YCSB properties: {} on {} records", parts.join(", "), spec.records());
    Ok((Ycsb { spec }, warnings))
}

/// Whether a text assigns to keys of YCSB, line by line.
pub(crate) fn looks_like_properties(text: &str) -> bool {
    properties::read(text).iter().any(|property| spec::knows(&property.key))
}

/// A `CoreWorkload`.
#[derive(Debug, Clone)]
pub(crate) struct Ycsb {
    spec: YcsbSpec,
}

impl Ycsb {
    /// The key of the record number `index`, counted from the first that exists before the run.
    fn key(&self, index: u32) -> Key {
        let number = u64::from(self.spec.insert_start) + u64::from(index);
        let number = if self.spec.hashed { hash(number) } else { number };
        Key::from(format!("user{number:0>width$}", width = self.spec.zero_padding as usize))
    }

    fn value(&self, stream: StreamTag, index: u32, version: u64, rng: &mut Rng) -> Value {
        let spec = &self.spec;
        let varying = spec.field_length - spec.field_length_min.min(spec.field_length) + 1;
        let bytes = match spec.field_lengths {
            Length::Constant => u64::from(spec.field_count) * u64::from(spec.field_length),
            Length::Uniform => (0..spec.field_count)
                .map(|_| u64::from(spec.field_length_min + rng.random_range(0..varying)))
                .sum(),
            Length::Zipfian => {
                let lengths = crate::keys::Zipfian::new(varying, crate::keys::Gray::THETA);
                (0..spec.field_count).map(|_| u64::from(spec.field_length_min + lengths.sample(rng))).sum()
            }
        };
        Value::generate(stream, index, version, bytes as usize)
    }
}

impl Workload for Ycsb {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn about(&self) -> &str {
        &self.spec.about
    }

    fn story(&self) -> &str {
        &self.spec.story
    }

    fn records(&self) -> u64 {
        u64::from(self.spec.records())
    }

    fn preload(&self, seed: Seed) -> Ops<'_> {
        let stream = StreamTag::of(seed);
        let mut rng = seed.derive("ycsb", 1).rng();
        Box::new((0..self.spec.records()).map(move |index| {
            Op::with_value(OpKind::Insert, index, self.key(index), self.value(stream, index, 0, &mut rng))
        }))
    }

    fn stream(&self, seed: Seed) -> Ops<'_> {
        let spec = &self.spec;
        let weights = [spec.read, spec.update, spec.insert, spec.scan, spec.read_modify_write];
        Box::new(YcsbStream {
            workload: self,
            weights,
            sum: weights.iter().sum(),
            numbers: KeyNumbers::new(spec),
            scans: crate::keys::Zipfian::new(spec.scan_max - spec.scan_min + 1, crate::keys::Gray::THETA),
            rng: seed.derive("ycsb", 0).rng(),
            tag: StreamTag::of(seed),
            version: 0,
        })
    }

    fn arrivals(&self) -> Arrivals {
        Arrivals::Constant
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.spec.parameters()
    }

    fn configured(&self, settings: &[(String, String)]) -> Result<Arc<dyn Workload>, WorkloadError> {
        let mut spec = self.spec.clone();
        spec.apply(settings)?;
        Ok(Arc::new(Self { spec }))
    }
}

/// The endless stream of one run.
struct YcsbStream<'a> {
    workload: &'a Ycsb,
    weights: [f64; 5],
    sum: f64,
    numbers: KeyNumbers,
    scans: crate::keys::Zipfian,
    rng: Rng,
    tag: StreamTag,
    version: u64,
}

impl YcsbStream<'_> {
    fn write(&mut self, kind: OpKind, index: u32) -> Op {
        let value = self.workload.value(self.tag, index, self.version, &mut self.rng);
        Op::with_value(kind, index, self.workload.key(index), value)
    }
}

impl Iterator for YcsbStream<'_> {
    type Item = Op;

    fn next(&mut self) -> Option<Op> {
        self.version += 1;
        let mut dice = self.rng.random::<f64>() * self.sum;
        let chosen = self.weights.iter().position(|weight| {
            let here = dice < *weight;
            dice -= weight;
            here
        });
        // A rounding may leave the dice beyond the last weight: then it is the last kind that has one.
        let chosen = chosen.or_else(|| self.weights.iter().rposition(|w| *w > 0.0))?;
        if chosen == 2 {
            // The stream ends when the dense numbers are used up.
            let index = self.numbers.insert()?;
            return Some(self.write(OpKind::Insert, index));
        }
        let index = self.numbers.sample(&mut self.rng);
        Some(match chosen {
            0 => Op::get(index, self.workload.key(index)),
            1 => self.write(OpKind::Put, index),
            3 => {
                let spec = &self.workload.spec;
                let beyond = match spec.scan_lengths {
                    Length::Zipfian => self.scans.sample(&mut self.rng),
                    _ => self.rng.random_range(0..=spec.scan_max - spec.scan_min),
                };
                Op::scan(index, self.workload.key(index), spec.scan_min + beyond)
            }
            _ => self.write(OpKind::ReadModifyWrite, index),
        })
    }
}

#[cfg(test)]
mod tests;
