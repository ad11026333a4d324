//! OpenMessaging Benchmark's workload files: messages of one size into the partitions of some topics.
//!
//! A message is a write under a key. OMB draws its keys from 10,000; where a file says `NO_KEY`, the same number of
//! keys is gone through in turn, since an engine here needs one to be asked for a message again. What is acknowledged
//! is verified: at the end every key is read. Consumers are not operations; the harness measures how long a write
//! takes to become visible by an engine's own subscriber.

mod yaml;

use crate::arrivals::Arrivals;
use crate::error::{InputError, WorkloadError, nearest};
use crate::op::{Key, Op, OpKind};
use crate::values::{StreamTag, Value};
use crate::workload::{Ops, Parameter, Workload};
use engine_env::rng::{Rng, Seed};
use rand::RngExt;
use std::path::Path;
use std::sync::Arc;
use yaml::{Entry, Written};

/// As many keys as OMB's key distributor has.
const KEYS: u32 = 10_000;

/// How a message gets its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    None,
    RoundRobin,
    Random,
}

const KEY_NAMES: [(&str, Keys); 3] =
    [("NO_KEY", Keys::None), ("KEY_ROUND_ROBIN", Keys::RoundRobin), ("RANDOM_NANO", Keys::Random)];

/// A workload file with OMB's defaults.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Omb {
    name: String,
    title: String,
    about: String,
    topics: u32,
    partitions: u32,
    keys: Keys,
    message_size: u32,
    producer_rate: f64,
    duration_minutes: f64,
    producers: u32,
    subscriptions: u32,
    consumers: u32,
}

/// Names of a workload file, with what they mean here.
const KNOWN: &[(&str, &str)] = &[
    ("name", "the title"),
    ("topics", "topics"),
    ("partitionsPerTopic", "partitions of each topic"),
    ("keyDistributor", "keys of the messages: NO_KEY, KEY_ROUND_ROBIN, RANDOM_NANO"),
    ("messageSize", "bytes of a message, header of the self-checking value included"),
    ("producerRate", "messages a second over all topics: ask for it with --rate; 0: search with --find-max"),
    ("testDurationMinutes", "length of OMB's run: ask for it with --duration"),
    ("producersPerTopic", "producers of each topic; here one driver sends for all"),
    ("subscriptionsPerTopic", "subscriptions of each topic; not imitated"),
    ("consumerPerSubscription", "consumers of each subscription; not imitated"),
    ("payloadFile", "not used: a message's content is text that checks itself"),
    ("useRandomizedPayloads", "not used"),
    ("randomBytesRatio", "not used"),
    ("randomizedPayloadPoolSize", "not used"),
    ("consumerBacklogSizeGB", "not imitated"),
    ("backlogDrainRatio", "not imitated"),
    ("warmupDurationMinutes", "use --warmup"),
];

/// Names that only a fork knows.
const FORKS: [(&str, &str); 5] = [
    ("producerRateList", "AutoMQ's fork"),
    ("partitionsPerTopicList", "AutoMQ's fork"),
    ("producersPerTopicList", "AutoMQ's fork"),
    ("logIntervalMillis", "AutoMQ's fork"),
    ("sampleRateMillis", "Redpanda's fork"),
];

/// Whether a text has lines of a workload file, or of a driver file.
pub(crate) fn looks_like_workload(text: &str) -> bool {
    text.lines().any(|line| {
        let key = line.split_once(':').map_or("", |(key, _)| key);
        key != "name" && (KNOWN.iter().any(|(name, _)| *name == key) || key == "driverClass")
    })
}

/// Opens a workload file; gives what was read and not used.
pub(crate) fn open(
    file: &str,
    stem: String,
    text: &str,
    lenient: bool,
) -> Result<(Omb, Vec<String>), WorkloadError> {
    let mut omb = Omb {
        title: stem.clone(),
        name: stem,
        about: String::new(),
        topics: 1,
        partitions: 1,
        keys: Keys::None,
        message_size: 1024,
        producer_rate: 0.0,
        duration_minutes: 0.0,
        producers: 1,
        subscriptions: 1,
        consumers: 1,
    };
    let entries = yaml::read(file, text)?;
    if let Some(driver) = entries.iter().find(|entry| entry.key == "driverClass") {
        let what = "a driver file, which says how a system is reached, not what it is asked";
        return Err(
            InputError::new(file, driver.line, what, "give the workload file that goes with it").into()
        );
    }
    let mut warnings = Vec::new();
    for entry in &entries {
        match omb.take(file, entry) {
            Ok(None) => {}
            Ok(Some(warning)) => warnings.push(warning),
            Err((error, unknown)) if unknown && lenient => warnings.push(format!("{error} (ignored)")),
            Err((error, _)) => return Err(error.into()),
        }
    }
    omb.about = format!(
        "OMB: {} ({} topics x {} partitions, messages of {} bytes)",
        omb.title, omb.topics, omb.partitions, omb.message_size
    );
    Ok((omb, warnings))
}

impl Omb {
    /// Takes one entry; gives a warning, or the error and whether it is about a name that isn't known.
    fn take(&mut self, file: &str, entry: &Entry) -> Result<Option<String>, (InputError, bool)> {
        let Entry { key, value, line } = entry;
        let error = |what: String, way_out: String| InputError::new(file, *line, what, way_out);
        let is_known = KNOWN.iter().any(|(name, _)| name == key);
        let text = match value {
            Written::Scalar(text) => text.trim(),
            Written::Nested if is_known || key == "nameFormat" => {
                let what = format!("{key} is a list, so this is a template for a set of workloads");
                return Err((error(what, "write one file for each of them".to_owned()), false));
            }
            Written::Nested => "",
        };
        if !is_known {
            let fork = FORKS.iter().find(|(name, _)| name == key);
            let (what, way_out) = match (fork, nearest(key, KNOWN.iter().map(|(name, _)| *name))) {
                (Some((_, fork)), _) => (
                    format!("{key} is a key of {fork}, which OMB itself doesn't have"),
                    "take it out, or warn only with --lenient".to_owned(),
                ),
                (None, Some(near)) => (format!("unknown key {key}"), format!("did you mean {near}?")),
                (None, None) => {
                    (format!("unknown key {key}"), "take it out, or warn only with --lenient".to_owned())
                }
            };
            return Err((error(what, way_out).got(text), true));
        }
        let digits = text.replace('_', "");
        let whole = |min: u32, max: u32| {
            digits.parse::<u32>().ok().filter(|n| (min..=max).contains(n)).ok_or_else(|| {
                let what = format!("{key} is not a whole number in range");
                (error(what, format!("write {min} to {max}")).got(text), false)
            })
        };
        let number = || {
            digits.parse::<f64>().ok().filter(|n| (0.0..=1e9).contains(n)).ok_or_else(|| {
                let what = format!("{key} is not a number in range");
                (error(what, "write 0 to 1000000000".to_owned()).got(text), false)
            })
        };
        match key.as_str() {
            "name" => self.title = text.to_owned(),
            "topics" => self.topics = whole(1, 10_000)?,
            "partitionsPerTopic" => self.partitions = whole(1, 100_000)?,
            "messageSize" => self.message_size = whole(0, 64 << 20)?,
            "producerRate" => self.producer_rate = number()?,
            "testDurationMinutes" => self.duration_minutes = number()?,
            "producersPerTopic" => self.producers = whole(1, 100_000)?,
            "subscriptionsPerTopic" => self.subscriptions = whole(0, 100_000)?,
            "consumerPerSubscription" => self.consumers = whole(0, 100_000)?,
            "keyDistributor" => {
                let keys = KEY_NAMES.iter().find(|(name, _)| *name == text).map(|(_, keys)| *keys);
                self.keys = keys.ok_or_else(|| {
                    let names = KEY_NAMES.map(|(name, _)| name).join(", ");
                    (
                        error(
                            "keyDistributor is none of the known ones".into(),
                            format!("write one of {names}"),
                        )
                        .got(text),
                        false,
                    )
                })?;
            }
            "payloadFile" => {
                // Beside the workload file, or where OMB itself runs, which is a folder above.
                let folder = Path::new(file).parent().unwrap_or(Path::new(""));
                let there = [folder, folder.parent().unwrap_or(folder)];
                if !there.iter().any(|folder| folder.join(text).exists()) {
                    let missing = error(
                        "payloadFile is not there".to_owned(),
                        "messages of generated text take its place".to_owned(),
                    );
                    return Ok(Some(missing.got(text).to_string()));
                }
            }
            "consumerBacklogSizeGB" if number()? > 0.0 => {
                let warning = error(
                    "a backlog that consumers let grow is not imitated".to_owned(),
                    "only the producing side is run".to_owned(),
                );
                return Ok(Some(warning.got(text).to_string()));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Keys of all topics together.
    fn key_count(&self) -> u32 {
        self.topics.saturating_mul(KEYS)
    }

    /// The key number `index`: topics take turns, so that all of them are written from the start.
    fn key(&self, index: u32) -> Key {
        Key::from(format!("topic-{}/{}", index % self.topics, index / self.topics))
    }
}

impl Workload for Omb {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> &str {
        &self.about
    }

    fn records(&self) -> u64 {
        0
    }

    fn preload(&self, _seed: Seed) -> Ops<'_> {
        Box::new(std::iter::empty())
    }

    fn stream(&self, seed: Seed) -> Ops<'_> {
        let stream = StreamTag::of(seed);
        let mut rng: Rng = seed.derive("omb", 0).rng();
        let keys = self.key_count();
        Box::new((1..u64::MAX).map(move |version| {
            let index = match self.keys {
                Keys::None | Keys::RoundRobin => ((version - 1) % u64::from(keys)) as u32,
                Keys::Random => rng.random_range(0..keys),
            };
            let value = Value::generate(stream, index, version, self.message_size as usize);
            Op::with_value(OpKind::Put, index, self.key(index), value)
        }))
    }

    fn arrivals(&self) -> Arrivals {
        Arrivals::Constant
    }

    fn finale(&self, streamed: u64) -> Ops<'_> {
        let begun = match self.keys {
            Keys::Random => u64::from(self.key_count()),
            Keys::None | Keys::RoundRobin => streamed.min(u64::from(self.key_count())),
        };
        Box::new((0..begun as u32).map(|index| Op::get(index, self.key(index))))
    }

    fn parameters(&self) -> Vec<Parameter> {
        let key = KEY_NAMES.iter().find(|(_, keys)| *keys == self.keys).map_or("", |(name, _)| name);
        let values = [
            ("topics", self.topics.to_string()),
            ("partitionsPerTopic", self.partitions.to_string()),
            ("keyDistributor", key.to_owned()),
            ("messageSize", self.message_size.to_string()),
            ("producerRate", self.producer_rate.to_string()),
            ("testDurationMinutes", self.duration_minutes.to_string()),
            ("producersPerTopic", self.producers.to_string()),
            ("subscriptionsPerTopic", self.subscriptions.to_string()),
            ("consumerPerSubscription", self.consumers.to_string()),
        ];
        values
            .into_iter()
            .map(|(name, value)| {
                let meaning =
                    KNOWN.iter().find(|(known, _)| *known == name).map_or("", |(_, meaning)| meaning);
                Parameter::new(name, value, meaning)
            })
            .collect()
    }

    fn configured(&self, settings: &[(String, String)]) -> Result<Arc<dyn Workload>, WorkloadError> {
        let mut changed = self.clone();
        for (key, value) in settings {
            let entry = Entry { key: key.clone(), value: Written::Scalar(value.clone()), line: 1 };
            changed.take("--set", &entry).map_err(|(error, _)| WorkloadError::Setting {
                key: key.clone(),
                value: value.clone(),
                what: error.what,
                way_out: error.way_out,
            })?;
        }
        Ok(Arc::new(changed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_text(text: &str, lenient: bool) -> Result<(Omb, Vec<String>), WorkloadError> {
        open("w.yaml", "w".to_owned(), text, lenient)
    }

    fn message(text: &str) -> String {
        open_text(text, false).expect_err("refused").to_string()
    }

    #[test]
    fn a_file_gives_messages_of_its_size_to_all_topics() {
        let text = "name: two\ntopics: 2\npartitionsPerTopic: 3\nmessageSize: 100\nproducerRate: 1_000\npayloadFile: \"payload/none\"\n";
        let (omb, warnings) = open_text(text, false).expect("sound");
        assert_eq!((omb.producer_rate, omb.partitions), (1000.0, 3));
        assert_eq!(
            warnings,
            [
                "w.yaml:6: payloadFile is not there (got payload/none); messages of generated text take its place"
            ]
        );
        let ops: Vec<Op> = omb.stream(Seed(1)).take(30_000).collect();
        assert!(ops.iter().all(|op| op.value.as_ref().is_some_and(|value| value.len() == 100)));
        let keys: std::collections::HashSet<&Key> = ops.iter().map(|op| &op.key).collect();
        assert_eq!(keys.len(), 20_000);
        assert_eq!(ops[0].key.as_bytes(), b"topic-0/0");
        assert_eq!(ops[1].key.as_bytes(), b"topic-1/0");
        assert_eq!((omb.finale(30_000).count(), omb.finale(7).count()), (20_000, 7));
    }

    #[test]
    fn errors_name_file_line_value_and_way_out() {
        assert_eq!(
            message("topics: 1\nmessagesize: 10\n"),
            "w.yaml:2: unknown key messagesize (got 10); did you mean messageSize?"
        );
        let fork = message("topics: 1\nproducerRateList:\n  - [0, 0, 5]\n");
        assert!(fork.starts_with("w.yaml:2: producerRateList is a key of AutoMQ's fork"), "{fork}");
        assert!(message("topics: [1, 2]\n").contains("a template for a set"));
        assert!(
            message("topics: many\n")
                .starts_with("w.yaml:1: topics is not a whole number in range (got many)")
        );
        assert!(message("keyDistributor: SOME").contains("write one of NO_KEY"));
        assert!(message("name: Kafka\ndriverClass: io.x\n").starts_with("w.yaml:2: a driver file"));
    }

    #[test]
    fn lenient_warns_of_unknown_names_and_a_backlog_is_told() {
        let text = "topics: 1\nsampleRateMillis: 5\ncolour: red\nconsumerBacklogSizeGB: 100\n";
        let (_, warnings) = open_text(text, true).expect("lenient");
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("Redpanda") && warnings[2].contains("backlog"), "{warnings:?}");
    }
}
