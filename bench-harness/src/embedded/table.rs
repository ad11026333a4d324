//! The table: a row for each thing measured, the ratio to the best of the others, and what we set out to reach.

use std::fmt;

use engine_env::rng::Seed;
use serde::Serialize;

use crate::stats::paired_ratio;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Putting new keys, in any order.
    Load,
    /// Reading random keys.
    Get,
    /// Replacing the values of random keys.
    Update,
    /// Memory for each key.
    KeyMemory,
    /// Opening after a clean close.
    ReopenClean,
    /// Opening what a killed process left, without hint files.
    ReopenCrashed,
    /// Space after overwriting, for each byte of key and value.
    Space,
    /// Bytes that the device was written, by its own count and everything written back, for each byte put: the same
    /// overwriting, merges and all. A busy device counts others' writes too.
    Written,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Load => "load",
            Self::Get => "get",
            Self::Update => "update",
            Self::KeyMemory => "memory/key, B",
            Self::ReopenClean => "reopen clean, s",
            Self::ReopenCrashed => "reopen crashed, s",
            Self::Space => "space ÷ live, 10x",
            Self::Written => "written ÷ put, 10x",
        })
    }
}

/// One turn of one contender.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sample {
    /// Operations a second.
    pub per_s: f64,
    /// 99th percentile of those that were timed, microseconds.
    pub p99_us: f64,
}

/// What a contender reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Who.
    pub name: &'static str,
    /// Median of operations a second over the rounds; or bytes, seconds, a share.
    pub value: f64,
    /// Median of the rounds' 99th percentiles, microseconds.
    pub p99_us: Option<f64>,
    /// Every round.
    pub samples: Vec<Sample>,
}

/// The first contender against the best of the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Against {
    /// The best of the others in this row.
    pub name: &'static str,
    /// First ÷ best.
    pub ratio: f64,
    /// 95 % interval over the rounds, if there were enough.
    pub ci95: Option<[f64; 2]>,
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was measured.
    pub what: What,
    /// Length of values.
    pub value_bytes: usize,
    /// Threads; 0 where it means nothing.
    pub threads: usize,
    /// Whether each write was on the disk when it returned.
    pub synced: bool,
    /// Who reached what.
    pub cells: Vec<Cell>,
    /// Against the best of the others; the ceiling isn't one.
    pub against: Option<Against>,
    /// Against the ceiling.
    pub of_ceiling: Option<f64>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

impl Row {
    pub(super) fn of_samples(
        what: What,
        value_bytes: usize,
        threads: usize,
        synced: bool,
        samples: Vec<(&'static str, Vec<Sample>)>,
    ) -> Self {
        let cells = samples
            .into_iter()
            .map(|(name, samples)| Cell {
                name,
                value: median(samples.iter().map(|s| s.per_s).collect()),
                p99_us: Some(median(samples.iter().map(|s| s.p99_us).collect())),
                samples,
            })
            .collect();
        Self { what, value_bytes, threads, synced, cells, against: None, of_ceiling: None }.judged()
    }

    pub(super) fn of_values(what: What, value_bytes: usize, values: Vec<(&'static str, f64)>) -> Self {
        let cells = values
            .into_iter()
            .map(|(name, value)| Cell { name, value, p99_us: None, samples: Vec::new() })
            .collect();
        Self { what, value_bytes, threads: 0, synced: false, cells, against: None, of_ceiling: None }.judged()
    }

    /// What each of its stores did, in a line.
    pub(crate) fn told(&self) -> String {
        let cells: Vec<_> =
            self.cells.iter().map(|c| format!("{} {}", c.name, short(self.what, c.value))).collect();
        format!("{}, {} B: {}", self.what, self.value_bytes, cells.join(", "))
    }

    fn more_is_better(&self) -> bool {
        matches!(self.what, What::Load | What::Get | What::Update)
    }

    fn judged(mut self) -> Self {
        let Some((first, others)) = self.cells.split_first() else { return self };
        self.of_ceiling = others.iter().find(|cell| cell.name == "ceiling").map(|c| first.value / c.value);
        let rivals = others.iter().filter(|cell| cell.name != "ceiling");
        let best = if self.more_is_better() {
            rivals.max_by(|a, b| a.value.total_cmp(&b.value))
        } else {
            rivals.min_by(|a, b| a.value.total_cmp(&b.value))
        };
        self.against = best.map(|best| {
            let pairs: Vec<(f64, f64)> =
                first.samples.iter().zip(&best.samples).map(|(a, b)| (a.per_s, b.per_s)).collect();
            let ratio = paired_ratio(&pairs, Seed(1));
            Against {
                name: best.name,
                ratio: ratio.as_ref().map_or(first.value / best.value, |ratio| ratio.ratio),
                ci95: ratio.and_then(|ratio| ratio.ci95),
            }
        });
        self
    }

    /// What we set out to reach, and whether it was; none where nothing was promised.
    fn target(&self, keys: u64) -> Option<(String, bool)> {
        let at_least = |name: &str, want: f64| {
            let rival = self.cells.iter().find(|cell| cell.name == name)?;
            let ratio = self.cells.first()?.value / rival.value;
            Some((format!("≥ {want}x {name}: {ratio:.2}x"), ratio >= want))
        };
        let at_most = |want: f64, unit: &str| {
            let value = self.cells.first()?.value;
            Some((format!("≤ {want} {unit}"), value <= want))
        };
        match self.what {
            What::Get if self.threads == 1 => at_least("lmdb", 1.3),
            What::Update if !self.synced && self.threads <= 4 => at_least("fjall-blobs", 2.0),
            What::Update if self.synced => {
                let want = if self.threads == 1 { 1.3 } else { 2.0 };
                let against = self.against.as_ref()?;
                Some((format!("≥ {want}x the best"), against.ratio >= want))
            }
            What::Space => at_most(2.0, "x"),
            What::KeyMemory => at_most(100.0, "B"),
            // Promised for ten million small keys.
            What::ReopenClean if keys >= 10_000_000 => at_most(3.0, "s"),
            What::ReopenCrashed if keys >= 10_000_000 => at_most(15.0, "s"),
            _ => None,
        }
    }
}

fn short(what: What, value: f64) -> String {
    match what {
        What::Load | What::Get | What::Update if value >= 1e6 => format!("{:.2} M", value / 1e6),
        What::Load | What::Get | What::Update if value >= 1e4 => format!("{:.0} k", value / 1e3),
        What::Load | What::Get | What::Update => format!("{:.1} k", value / 1e3),
        What::KeyMemory => format!("{value:.0}"),
        What::ReopenClean | What::ReopenCrashed | What::Space | What::Written => format!("{value:.2}"),
    }
}

/// All rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmbeddedReport {
    /// Keys in each store.
    pub keys: u64,
    /// Rounds behind each ratio.
    pub rounds: usize,
    /// The rows.
    pub rows: Vec<Row>,
}

impl EmbeddedReport {
    fn names(&self) -> Vec<&'static str> {
        self.rows.first().map_or_else(Vec::new, |row| row.cells.iter().map(|cell| cell.name).collect())
    }
}

impl fmt::Display for EmbeddedReport {
    /// Markdown, aligned.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.names();
        let mut lines = vec![];
        let mut head = ["what", "value", "threads", "durability"].map(str::to_owned).to_vec();
        head.extend(names.iter().map(|name| format!("{name} (p99 µs)")));
        head.extend(["÷ best other", "95 %", "÷ ceiling", "set out for", ""].map(str::to_owned));
        lines.push(head);
        for row in &self.rows {
            let mut line = vec![
                row.what.to_string(),
                format!("{} B", row.value_bytes),
                if row.threads == 0 { String::new() } else { row.threads.to_string() },
                if row.threads == 0 || row.what == What::Get {
                    ""
                } else if row.synced {
                    "synced"
                } else {
                    "os"
                }
                .to_owned(),
            ];
            for name in &names {
                line.push(row.cells.iter().find(|cell| cell.name == *name).map_or_else(
                    String::new,
                    |cell| {
                        let value = short(row.what, cell.value);
                        cell.p99_us.map_or(value.clone(), |p99| format!("{value} ({p99:.1})"))
                    },
                ));
            }
            let against = row.against.as_ref();
            line.push(against.map_or_else(String::new, |a| format!("{:.2}x {}", a.ratio, a.name)));
            let ci95 = against.and_then(|a| a.ci95);
            line.push(ci95.map_or_else(String::new, |[lo, hi]| format!("{lo:.2} to {hi:.2}")));
            line.push(row.of_ceiling.map_or_else(String::new, |share| format!("{share:.2}x")));
            let target = row.target(self.keys);
            line.push(target.as_ref().map_or_else(String::new, |(text, _)| text.clone()));
            line.push(target.map_or("", |(_, met)| if met { "met" } else { "missed" }).to_owned());
            lines.push(line);
        }
        let widths: Vec<usize> = (0..lines[0].len())
            .map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0))
            .collect();
        for (n, line) in lines.iter().enumerate() {
            let cells: Vec<String> = line
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(i, (cell, width))| match i {
                    0 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                })
                .collect();
            writeln!(f, "| {} |", cells.join(" | "))?;
            if n == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "| {} |", rules.join(" | "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(per_s: [f64; 4]) -> Vec<Sample> {
        per_s.map(|per_s| Sample { per_s, p99_us: 2.0 }).to_vec()
    }

    #[test]
    fn a_row_is_judged_against_the_best_other_that_is_no_ceiling() {
        let row = Row::of_samples(
            What::Get,
            100,
            1,
            false,
            vec![
                ("kv-store", samples([200.0, 210.0, 190.0, 200.0])),
                ("ceiling", samples([400.0; 4])),
                ("lmdb", samples([100.0; 4])),
                ("redb", samples([50.0; 4])),
            ],
        );
        let against = row.against.clone().expect("there are others");
        assert_eq!(against.name, "lmdb");
        let [lo, hi] = against.ci95.expect("four rounds");
        assert!(lo < 2.0 && 2.0 < hi && (1.9..2.1).contains(&against.ratio), "{against:?}");
        assert_eq!(row.of_ceiling, Some(0.5));
        assert_eq!(row.target(1), Some(("≥ 1.3x lmdb: 2.00x".to_owned(), true)));
        let report = EmbeddedReport { keys: 1, rounds: 4, rows: vec![row] }.to_string();
        assert_eq!(report.lines().count(), 3, "{report}");
        assert!(report.contains("2.00x lmdb") && report.contains("met"), "{report}");
    }

    #[test]
    fn less_is_better_where_it_is_space_or_time() {
        let row = Row::of_values(What::Space, 100, vec![("kv-store", 2.5), ("lmdb", 3.0), ("redb", 2.0)]);
        assert_eq!(row.against.as_ref().map(|a| a.name), Some("redb"));
        assert_eq!(row.target(1).map(|(_, met)| met), Some(false));
        assert_eq!(row.told(), format!("{}, 100 B: kv-store 2.50, lmdb 3.00, redb 2.00", What::Space));
    }
}
