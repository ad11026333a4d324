//! Topics, partitions and offsets: the names of things.

use std::fmt;

/// A record's place in its partition, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `n` further on.
    #[must_use]
    pub fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition of a topic. Displays as its folder is named: `topic-0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// Partition number `partition` of `topic`.
    #[must_use]
    pub fn new(topic: impl Into<String>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// The partition whose folder is called `name`, if that is a partition's name.
    #[must_use]
    pub fn of_folder(name: &str) -> Option<Self> {
        let (topic, number) = name.rsplit_once('-')?;
        let partition: u32 = number.parse().ok()?;
        // `t-01` and `t-+1` would parse, and would be a second name of the same partition.
        (is_topic_name(topic) && number == partition.to_string()).then(|| Self::new(topic, partition))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Kafka's rule: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`.
pub(crate) fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_are_partitions_and_nothing_else_is() {
        for (name, expected) in [
            ("a-0", Some(TopicPartition::new("a", 0))),
            ("member-events-12", Some(TopicPartition::new("member-events", 12))),
            ("a-01", None),
            ("a-+1", None),
            ("a", None),
            ("-1", None),
            ("a/b-1", None),
            ("..-x", None),
        ] {
            assert_eq!(TopicPartition::of_folder(name), expected, "{name}");
        }
    }
}
