//! The grammar of a spec as one table, [`KEYS`]: what may be written, what it means, where it lives and its bounds.

use super::{ArrivalKind, Family, MemberSpec, PopularityKind};
use crate::member::profile::RECORD_MIN;
use crate::sine_day::SineDay;

const POPULARITIES: &[(&str, PopularityKind)] = &[
    ("uniform", PopularityKind::Uniform),
    ("zipfian", PopularityKind::Zipfian),
    ("scrambled-zipfian", PopularityKind::ScrambledZipfian),
];
const ARRIVALS: &[(&str, ArrivalKind)] = &[
    ("batches", ArrivalKind::Batches),
    ("poisson", ArrivalKind::Poisson),
    ("constant", ArrivalKind::Constant),
    ("sine", ArrivalKind::Sine),
    ("spike", ArrivalKind::Spike),
];
const FAMILIES: &[(&str, Family)] = &[("profiles", Family::Profiles), ("feeds", Family::Feeds)];

/// What a key takes, where it lives in the spec, and its bounds.
pub(super) enum Slot {
    Text(fn(&mut MemberSpec) -> &mut String),
    Whole(fn(&mut MemberSpec) -> &mut u32, u32, u32),
    Number(fn(&mut MemberSpec) -> &mut f64, f64, f64),
    Bytes(fn(&mut MemberSpec) -> &mut u32),
    Popularity(fn(&mut MemberSpec) -> &mut PopularityKind),
    Arrival(fn(&mut MemberSpec) -> &mut ArrivalKind),
    Family(fn(&mut MemberSpec) -> &mut Family),
}

/// Key, what it takes, meaning with unit.
pub(super) const KEYS: &[(&str, Slot, &str)] = &[
    ("name", Slot::Text(|s| &mut s.name), "the workload's name in reports"),
    ("about", Slot::Text(|s| &mut s.about), "one line on what it imitates"),
    ("story", Slot::Text(|s| &mut s.story), "the same in a few sentences, shown by describe"),
    ("family", Slot::Family(|s| &mut s.family), "what a key holds: a member's profile, or a member's feed"),
    ("members", Slot::Whole(|s| &mut s.members, 1, 400_000_000), "members that exist before the run"),
    (
        "key.bytes",
        Slot::Bytes(|s| &mut s.key_bytes),
        "bytes of a key: 8 binary, 16 hexadecimal, 36 as a uuid",
    ),
    ("mix.read", Slot::Number(|s| &mut s.mix_read, 0.0, 1.0), "share of operations that read a profile"),
    (
        "mix.update",
        Slot::Number(|s| &mut s.mix_update, 0.0, 1.0),
        "share that change a profile and write all of it",
    ),
    (
        "mix.increment",
        Slot::Number(|s| &mut s.mix_increment, 0.0, 1.0),
        "share that read a profile and write it back with a count one higher, overlapping each other",
    ),
    ("mix.delete", Slot::Number(|s| &mut s.mix_delete, 0.0, 1.0), "share that delete a profile"),
    ("keys.reads", Slot::Popularity(|s| &mut s.reads.kind), "which members are read"),
    ("keys.reads_exponent", Slot::Number(|s| &mut s.reads.exponent, 0.0, 5.0), "zipf exponent of the reads"),
    ("keys.updates", Slot::Popularity(|s| &mut s.updates.kind), "which members are changed or deleted"),
    (
        "keys.updates_exponent",
        Slot::Number(|s| &mut s.updates.exponent, 0.0, 5.0),
        "zipf exponent of the changes",
    ),
    (
        "keys.celebrities",
        Slot::Whole(|s| &mut s.celebrities, 0, 1_000_000),
        "members that everybody knows, beside the zipf popularity",
    ),
    (
        "keys.celebrity_reads",
        Slot::Number(|s| &mut s.celebrity_reads, 0.0, 1.0),
        "share of the reads that go to them, evenly",
    ),
    (
        "keys.celebrity_updates",
        Slot::Number(|s| &mut s.celebrity_updates, 0.0, 1.0),
        "share of the changes (feeds: of the posts) that are theirs, evenly",
    ),
    (
        "feed.followers_median",
        Slot::Number(|s| &mut s.followers_median, 1.0, 1e6),
        "median number of followers that a post goes to; feeds only",
    ),
    (
        "feed.followers_sigma",
        Slot::Number(|s| &mut s.followers_sigma, 0.0, 3.0),
        "sigma of their lognormal number",
    ),
    ("feed.followers_max", Slot::Whole(|s| &mut s.followers_max, 1, 1_000_000), "nobody has more followers"),
    (
        "value.mu",
        Slot::Number(|s| &mut s.value_mu, 0.0, 14.0),
        "mu of the records' lognormal length, ln bytes",
    ),
    ("value.sigma", Slot::Number(|s| &mut s.value_sigma, 0.0, 3.0), "sigma of the records' lognormal length"),
    ("value.min", Slot::Whole(|s| &mut s.value_min, RECORD_MIN as u32, 1 << 20), "shortest record, bytes"),
    ("value.max", Slot::Whole(|s| &mut s.value_max, RECORD_MIN as u32, 1 << 20), "longest record, bytes"),
    (
        "update.more",
        Slot::Number(|s| &mut s.update_more, 0.0, 0.99),
        "probability that one more field changes",
    ),
    ("arrivals.kind", Slot::Arrival(|s| &mut s.arrival), "when operations arrive"),
    ("arrivals.single", Slot::Number(|s| &mut s.batches.single, 0.0, 1.0), "probability of a batch of one"),
    (
        "arrivals.median",
        Slot::Number(|s| &mut s.batches.median, 1.0, 1e6),
        "median of the other batches, operations",
    ),
    ("arrivals.sigma", Slot::Number(|s| &mut s.batches.sigma, 0.0, 3.0), "sigma of their lognormal size"),
    ("arrivals.cap", Slot::Whole(|s| &mut s.batches.cap, 1, 1_000_000), "largest batch, operations"),
    (
        "arrivals.amplitude",
        Slot::Number(|s| &mut s.sine_amplitude, 0.0, SineDay::AMPLITUDE_MAX),
        "how far a sine day swings around its mean rate, as a share; the day is as long as the run",
    ),
    (
        "arrivals.spike_factor",
        Slot::Number(|s| &mut s.spike.factor, 1.0, 1000.0),
        "how many times the quiet rate the burst of kind spike is; the mean rate is kept",
    ),
    (
        "arrivals.spike_start",
        Slot::Number(|s| &mut s.spike.start, 0.0, 0.99),
        "when the burst begins, as a share of the run",
    ),
    (
        "arrivals.spike_length",
        Slot::Number(|s| &mut s.spike.length, 0.001, 1.0),
        "how long the burst lasts, as a share of the run",
    ),
];

/// What is wrong with a value, and what to write instead.
#[derive(Debug, PartialEq)]
pub(super) struct Refused {
    pub(super) what: String,
    pub(super) way_out: String,
}

impl Refused {
    pub(super) fn new(what: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { what: what.into(), way_out: way_out.into() }
    }
}

impl Slot {
    pub(super) fn set(&self, spec: &mut MemberSpec, key: &str, text: &str) -> Result<(), Refused> {
        let digits = || text.replace('_', "");
        match self {
            Self::Text(field) => *field(spec) = text.to_owned(),
            Self::Whole(field, min, max) => {
                let number = digits().parse::<u32>().ok().filter(|n| (min..=max).contains(&n));
                *field(spec) = number.ok_or_else(|| {
                    Refused::new(
                        format!("{key} is not a whole number in range"),
                        format!("write {min} to {max}"),
                    )
                })?;
            }
            Self::Number(field, min, max) => {
                let number = digits().parse::<f64>().ok().filter(|n| (min..=max).contains(&n));
                *field(spec) = number.ok_or_else(|| {
                    Refused::new(format!("{key} is not a number in range"), format!("write {min} to {max}"))
                })?;
            }
            Self::Bytes(field) => {
                let number = digits().parse::<u32>().ok().filter(|n| [8, 16, 36].contains(n));
                *field(spec) = number.ok_or_else(|| {
                    Refused::new(format!("{key} is not a length we make ids of"), "write 8, 16 or 36")
                })?;
            }
            Self::Popularity(field) => *field(spec) = one_of(key, text, POPULARITIES)?,
            Self::Arrival(field) => *field(spec) = one_of(key, text, ARRIVALS)?,
            Self::Family(field) => *field(spec) = one_of(key, text, FAMILIES)?,
        }
        Ok(())
    }

    pub(super) fn get(&self, spec: &MemberSpec) -> String {
        // The slots lend mutably, so that one function per key serves both ways; reading works on a copy.
        let spec = &mut spec.clone();
        match self {
            Self::Text(field) => field(spec).clone(),
            Self::Whole(field, ..) | Self::Bytes(field) => field(spec).to_string(),
            Self::Number(field, ..) => field(spec).to_string(),
            Self::Popularity(field) => name_of(*field(spec), POPULARITIES),
            Self::Arrival(field) => name_of(*field(spec), ARRIVALS),
            Self::Family(field) => name_of(*field(spec), FAMILIES),
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Popularity(_) | Self::Arrival(_) | Self::Family(_))
    }

    /// The choices, for `describe`.
    pub(super) fn choices(&self) -> Option<String> {
        match self {
            Self::Popularity(_) => Some(names(POPULARITIES)),
            Self::Arrival(_) => Some(names(ARRIVALS)),
            Self::Family(_) => Some(names(FAMILIES)),
            _ => None,
        }
    }
}

fn names<T>(choices: &[(&str, T)]) -> String {
    choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn name_of<T: PartialEq>(value: T, choices: &[(&str, T)]) -> String {
    choices.iter().find(|(_, v)| *v == value).map(|(name, _)| (*name).to_owned()).unwrap_or_default()
}

fn one_of<T: Copy>(key: &str, text: &str, choices: &[(&str, T)]) -> Result<T, Refused> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        Refused::new(format!("{key} is none of the known ones"), format!("write one of {}", names(choices)))
    })
}
