//! The spec of a `member-update` workload: its keys, their defaults, and how a TOML file or `--set` changes them.
//!
//! One table, [`KEYS`], is the whole grammar. A file is
//! read over the defaults of its `base`; what is not in the table is refused with the nearest key that is.

mod keys;

use crate::arrivals::{Arrivals, BatchSizes};
use crate::error::{InputError, WorkloadError, nearest};
use crate::keys::{KeyChoice, Scrambled, Uniform, Zipfian};
use crate::sine_day::SineDay;
use crate::spike::Spike;
use crate::workload::Parameter;
use engine_env::rng::Seed;
use keys::{KEYS, Refused, Slot};
use std::collections::HashMap;
use toml::de::{DeTable, DeValue};

/// The specs that come with the workbench, by name.
pub(crate) const STANDARD: [(&str, &str); 6] = [
    ("member-update", include_str!("../../specs/member-update.toml")),
    ("member-read-mostly", include_str!("../../specs/member-read-mostly.toml")),
    ("member-contended", include_str!("../../specs/member-contended.toml")),
    ("hot-profile", include_str!("../../specs/hot-profile.toml")),
    ("news-spike", include_str!("../../specs/news-spike.toml")),
    ("feed-fanout", include_str!("../../specs/feed-fanout.toml")),
];

/// Every parameter of the family. The defaults are those of `specs/member-update.toml`; a test compares them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemberSpec {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) story: String,
    pub(crate) family: Family,
    pub(crate) members: u32,
    pub(crate) key_bytes: u32,
    pub(crate) mix_read: f64,
    pub(crate) mix_update: f64,
    pub(crate) mix_increment: f64,
    pub(crate) mix_delete: f64,
    pub(crate) reads: Popularity,
    pub(crate) updates: Popularity,
    pub(crate) celebrities: u32,
    pub(crate) celebrity_reads: f64,
    pub(crate) celebrity_updates: f64,
    pub(crate) followers_median: f64,
    pub(crate) followers_sigma: f64,
    pub(crate) followers_max: u32,
    pub(crate) value_mu: f64,
    pub(crate) value_sigma: f64,
    pub(crate) value_min: u32,
    pub(crate) value_max: u32,
    pub(crate) update_more: f64,
    pub(crate) arrival: ArrivalKind,
    pub(crate) batches: BatchSizes,
    pub(crate) sine_amplitude: f64,
    pub(crate) spike: Spike,
}

impl Default for MemberSpec {
    fn default() -> Self {
        Self {
            name: "member-update".into(),
            about: String::new(),
            story: String::new(),
            family: Family::Profiles,
            members: 1_000_000,
            key_bytes: 16,
            mix_read: 0.6,
            mix_update: 0.399,
            mix_increment: 0.0,
            mix_delete: 0.001,
            reads: Popularity { kind: PopularityKind::ScrambledZipfian, exponent: 0.99 },
            updates: Popularity { kind: PopularityKind::ScrambledZipfian, exponent: 0.2 },
            celebrities: 0,
            celebrity_reads: 0.0,
            celebrity_updates: 0.0,
            followers_median: 107.0,
            followers_sigma: 0.87,
            followers_max: 1000,
            value_mu: 7.0,
            value_sigma: 0.4,
            value_min: 400,
            value_max: 9000,
            update_more: 0.15,
            arrival: ArrivalKind::Batches,
            batches: BatchSizes::MEMBER_COMMITS,
            sine_amplitude: SineDay::DEFAULT.amplitude,
            spike: Spike::DEFAULT,
        }
    }
}

/// How keys are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Popularity {
    pub(crate) kind: PopularityKind,
    pub(crate) exponent: f64,
}

/// The name in the spec and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PopularityKind {
    Uniform,
    Zipfian,
    ScrambledZipfian,
}

impl Popularity {
    pub(crate) fn choice(self, keys: u32, seed: Seed) -> KeyChoice {
        match self.kind {
            PopularityKind::Uniform => KeyChoice::Uniform(Uniform::new(keys)),
            PopularityKind::Zipfian => KeyChoice::Zipfian(Zipfian::new(keys, self.exponent)),
            PopularityKind::ScrambledZipfian => {
                KeyChoice::Scrambled(Scrambled::new(keys, self.exponent, seed))
            }
        }
    }
}

/// When operations arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArrivalKind {
    Batches,
    Poisson,
    Constant,
    Sine,
    Spike,
}

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Profiles,
    Feeds,
}

fn unknown_key(key: &str) -> Refused {
    let way_out = match nearest(key, KEYS.iter().map(|(name, ..)| *name)) {
        Some(near) => format!("did you mean {near}?"),
        None => "the keys are listed in docs/formats/workload-spec.md".to_owned(),
    };
    Refused::new(format!("unknown key {key}"), way_out)
}

impl MemberSpec {
    pub(crate) fn arrivals(&self) -> Arrivals {
        match self.arrival {
            ArrivalKind::Batches => Arrivals::Batches(self.batches),
            ArrivalKind::Poisson => Arrivals::Poisson,
            ArrivalKind::Constant => Arrivals::Constant,
            ArrivalKind::Sine => {
                Arrivals::Sine(SineDay { amplitude: self.sine_amplitude, ..SineDay::DEFAULT })
            }
            ArrivalKind::Spike => Arrivals::Spike(self.spike),
        }
    }

    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let meaning = |slot: &Slot, meaning: &str| match slot.choices() {
            Some(choices) => format!("{meaning}: {choices}"),
            None => meaning.to_owned(),
        };
        KEYS.iter()
            .filter(|(key, ..)| !matches!(*key, "name" | "about" | "story"))
            .map(|(key, slot, text)| Parameter::new(*key, slot.get(self), meaning(slot, text)))
            .collect()
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), Refused> {
        let (_, slot, _) = KEYS.iter().find(|(name, ..)| *name == key).ok_or_else(|| unknown_key(key))?;
        slot.set(self, key, text)
    }

    /// What only shows when all keys are known: the key to blame, and what is wrong.
    fn check(&self) -> Result<(), (&'static str, Refused)> {
        let sum = self.mix_read + self.mix_update + self.mix_increment + self.mix_delete;
        if (sum - 1.0).abs() > 1e-6 {
            let sum = (sum * 1e6).round() / 1e6;
            let what = format!("mix.read + mix.update + mix.increment + mix.delete is {sum}");
            return Err(("mix", Refused::new(what, "make the four shares add up to 1")));
        }
        if self.mix_increment > 0.0 && self.mix_update + self.mix_delete > 0.0 {
            // A count means nothing on a profile that plain updates overwrite.
            let what = "mix.increment stands beside mix.update or mix.delete";
            return Err(("mix", Refused::new(what, "set both of them to 0")));
        }
        if self.family == Family::Feeds && self.mix_increment > 0.0 {
            let what = "mix.increment with family = \"feeds\"";
            return Err(("mix", Refused::new(what, "use mix.update, which posts, or family = \"profiles\"")));
        }
        if self.celebrities > self.members {
            let what = format!("keys.celebrities {} is above members {}", self.celebrities, self.members);
            return Err(("keys", Refused::new(what, "name fewer of them")));
        }
        if self.value_min > self.value_max {
            let what = format!("value.min {} is above value.max {}", self.value_min, self.value_max);
            return Err(("value", Refused::new(what, "swap them, or raise value.max")));
        }
        Ok(())
    }

    /// Applies `--set key=value`, in order.
    pub(crate) fn apply(&mut self, settings: &[(String, String)]) -> Result<(), WorkloadError> {
        let refuse = |key: &str, value: &str, refused: Refused| WorkloadError::Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            what: refused.what,
            way_out: refused.way_out,
        };
        for (key, value) in settings {
            self.set(key, value).map_err(|refused| refuse(key, value, refused))?;
        }
        self.check().map_err(|(part, refused)| {
            let blamed = settings.iter().rev().find(|(key, _)| key.starts_with(part));
            let (key, value) = blamed.map_or((part, ""), |(key, value)| (key.as_str(), value.as_str()));
            refuse(key, value, refused)
        })
    }
}

/// Whether a text looks like a spec rather than a table of rows: its first line that says something is a TOML
/// table header or an assignment to a bare key.
pub(crate) fn looks_like_spec(text: &str) -> bool {
    let Some(line) = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))
    else {
        return false;
    };
    let bare = |key: &str| {
        !key.is_empty()
            && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '"' | ' '))
    };
    line.starts_with('[') || line.split_once('=').is_some_and(|(key, _)| bare(key.trim()))
}

/// Reads a spec; `file` is named in errors; a spec that gives no name has an empty one. Returns the spec and, with `lenient`, what was ignored.
pub(crate) fn parse(
    file: &str,
    text: &str,
    lenient: bool,
) -> Result<(MemberSpec, Vec<String>), WorkloadError> {
    let line_of =
        |at: usize| 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() as u64;
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start));
        InputError::new(
            file,
            line,
            format!("not TOML: {}", error.message().replace('\n', " ")),
            "see https://toml.io",
        )
    })?;
    let mut entries = Vec::new();
    flatten(table.get_ref(), "", &mut entries);

    let mut warnings = Vec::new();
    let mut spec = MemberSpec::default();
    let names_itself = entries.iter().any(|entry| entry.key == "name");
    if let Some(entry) = entries.iter().find(|entry| entry.key == "base") {
        let base = STANDARD.iter().find(|(name, _)| *name == entry.text);
        let Some((name, text)) = base else {
            let names = STANDARD.map(|(name, _)| name).join(", ");
            return Err(InputError::new(
                file,
                line_of(entry.at),
                "unknown base",
                format!("write one of {names}"),
            )
            .got(&entry.text)
            .into());
        };
        // The embedded specs name no base in a circle: each comes after its base in the list.
        (spec, _) = parse(name, text, false)?;
        // What is changed may be what the story tells.
        spec.story.clear();
    }
    if !names_itself {
        // Two workloads of one name would be mixed up in a report; the opener knows the file's.
        spec.name.clear();
    }
    let mut lines: HashMap<&str, u64> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry.key != "base") {
        let line = line_of(entry.at);
        let known = KEYS.iter().find(|(name, ..)| *name == entry.key);
        let refused = match known {
            None => unknown_key(&entry.key),
            Some((_, slot, _)) if slot.is_text() != entry.is_text => {
                let wanted = if slot.is_text() { "a text in quotes" } else { "a number without quotes" };
                Refused::new(format!("{} is of the wrong type", entry.key), format!("write {wanted}"))
            }
            Some((name, slot, _)) => match slot.set(&mut spec, &entry.key, &entry.text) {
                Ok(()) => {
                    lines.insert(name.split('.').next().unwrap_or(name), line);
                    continue;
                }
                Err(refused) => refused,
            },
        };
        let error = InputError::new(file, line, refused.what, refused.way_out).got(&entry.text);
        if known.is_none() && lenient {
            warnings.push(format!("{error} (ignored)"));
        } else {
            return Err(error.into());
        }
    }
    spec.check().map_err(|(part, refused)| {
        InputError::new(file, lines.get(part).copied().unwrap_or(1), refused.what, refused.way_out)
    })?;
    Ok((spec, warnings))
}

/// A key of the file in dotted form, its value as text, and where it stands.
struct Entry {
    key: String,
    text: String,
    is_text: bool,
    at: usize,
}

fn flatten(table: &DeTable<'_>, prefix: &str, out: &mut Vec<Entry>) {
    for (key, value) in table {
        let dotted =
            if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let (text, is_text) = match value.get_ref() {
            DeValue::Table(inner) if !KEYS.iter().any(|(name, ..)| *name == dotted) => {
                flatten(inner, &dotted, out);
                continue;
            }
            DeValue::String(text) => (text.to_string(), true),
            DeValue::Integer(number) if number.radix() == 10 => (number.as_str().to_owned(), false),
            DeValue::Float(number) => (number.as_str().to_owned(), false),
            other => (format!("{} value", other.type_str()), false),
        };
        out.push(Entry { key: dotted, text, is_text, at: key.span().start });
    }
    // A table's order is not the file's; errors should name the first line that is wrong.
    out.sort_by_key(|entry| entry.at);
}

#[cfg(test)]
mod tests;
