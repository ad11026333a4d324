//! A request trace, replayed: gets become reads of keys that were there before, writes become puts of generated
//! values of the recorded size.
//!
//! A cache trace tells sizes and order, not contents. Whatever changes a value (set, add, replace, cas, append,
//! prepend, incr, decr) is a put of a whole value of the row's size; a short trace is replayed again and again.

use crate::arrivals::{Arrivals, Recording, Speed};
use crate::error::WorkloadError;
use crate::op::{Key, Op};
use crate::trace::SHORT;
use crate::trace::recorded::{KeyTable, due_times, parse_speed, refuse, speed_parameter};
use crate::values::{StreamTag, Value};
use crate::workload::{Ops, Parameter, Workload};
use engine_env::rng::{Rng, Seed};
use rand::RngExt;
use std::sync::Arc;

/// What a row asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Get,
    Put,
    Delete,
    /// The file does not say; the mix does.
    Drawn,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) ts_s: u32,
    pub(super) key: u32,
    pub(super) value_bytes: u32,
    pub(super) request: Request,
}

/// A trace as it was read.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) list: Vec<Row>,
    pub(super) keys: KeyTable,
}

impl Rows {
    /// Numbers the keys that must be there before the run first: those whose first request is a get that hit.
    pub(super) fn into_workload(self, name: String) -> Requests {
        let Self { mut list, keys } = self;
        let keys = keys.into_keys();
        let mut first: Vec<Option<Row>> = vec![None; keys.len()];
        for row in &list {
            first[row.key as usize].get_or_insert(*row);
        }
        let is_there = |row: &Option<Row>| {
            row.is_some_and(|row| match row.request {
                Request::Drawn => true,
                Request::Get => row.value_bytes > 0,
                Request::Put | Request::Delete => false,
            })
        };
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.sort_by_key(|key| !is_there(&first[*key as usize]));
        let mut number = vec![0; keys.len()];
        for (new, old) in order.iter().enumerate() {
            number[*old as usize] = new as u32;
        }
        for row in &mut list {
            row.key = number[row.key as usize];
        }
        let preload: Vec<u32> = order
            .iter()
            .filter_map(|old| first[*old as usize].filter(|row| is_there(&Some(*row))))
            .map(|row| row.value_bytes)
            .collect();
        let drawn = list.iter().any(|row| row.request == Request::Drawn);
        Requests {
            about: format!(
                "{} recorded requests of {} keys, {} of them there before",
                list.len(),
                keys.len(),
                preload.len()
            ),
            name,
            keys: order.iter().map(|old| keys[*old as usize].clone()).collect(),
            preload: preload.into(),
            repeats: list.len() < SHORT,
            rows: list.into(),
            speed: Speed::Max,
            reads: drawn.then_some(Requests::CLUSTER_52_READS),
        }
    }
}

/// The workload.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    name: String,
    about: String,
    rows: Arc<[Row]>,
    keys: Arc<[Key]>,
    /// Value lengths of the keys that are there before the run, which come first in `keys`.
    preload: Arc<[u32]>,
    repeats: bool,
    speed: Speed,
    /// The share of reads, where the file names no operations.
    reads: Option<f64>,
}

impl Requests {
    /// Cluster 52: get .91, gets .02; add .04, cas .02; the published shares add up to .99.
    const CLUSTER_52_READS: f64 = 0.93 / 0.99;

    fn op(&self, at: u64, stream: StreamTag, rng: &mut Rng) -> Option<Op> {
        let len = self.rows.len() as u64;
        if len == 0 || (at >= len && !self.repeats) {
            return None;
        }
        let row = self.rows[(at % len) as usize];
        let key = self.keys[row.key as usize].clone();
        let request = match (row.request, self.reads) {
            (Request::Drawn, Some(reads)) if rng.random::<f64>() < reads => Request::Get,
            (Request::Drawn, _) => Request::Put,
            (named, _) => named,
        };
        Some(match request {
            Request::Get => Op::get(row.key, key),
            Request::Delete => Op::delete(row.key, key),
            Request::Put | Request::Drawn => {
                Op::put(row.key, key, Value::generate(stream, row.key, at + 1, row.value_bytes as usize))
            }
        })
    }
}

impl Workload for Requests {
    fn name(&self) -> &str {
        &self.name
    }

    fn about(&self) -> &str {
        &self.about
    }

    fn records(&self) -> u64 {
        self.preload.len() as u64
    }

    fn preload(&self, seed: Seed) -> Ops<'_> {
        let stream = StreamTag::of(seed);
        Box::new(self.preload.iter().enumerate().map(move |(at, len)| {
            let key = at as u32;
            Op::put(key, self.keys[at].clone(), Value::generate(stream, key, 0, *len as usize))
        }))
    }

    fn stream(&self, seed: Seed) -> Ops<'_> {
        let stream = StreamTag::of(seed);
        let mut rng = seed.derive("requests", 0).rng();
        Box::new((0..u64::MAX).map_while(move |at| self.op(at, stream, &mut rng)))
    }

    fn is_recording(&self) -> bool {
        true
    }

    fn arrivals(&self) -> Arrivals {
        let (due_ns, pass_ns) = due_times(self.rows.iter().map(|row| u64::from(row.ts_s)), 1);
        Arrivals::Recorded(Recording {
            due_ns: due_ns.into(),
            pass_ns,
            repeats: self.repeats,
            speed: self.speed,
        })
    }

    fn parameters(&self) -> Vec<Parameter> {
        let mut shown = vec![speed_parameter(self.speed)];
        if let Some(reads) = self.reads {
            let meaning = "share of reads, drawn, as the file names no operations (published: 0.9394)";
            shown.push(Parameter::new("reads", format!("{reads:.4}"), meaning));
        }
        shown.push(Parameter::new("requests", self.rows.len(), "recorded requests (not to be set)"));
        shown.push(Parameter::new("keys", self.keys.len(), "distinct keys (not to be set)"));
        shown
    }

    fn configured(&self, settings: &[(String, String)]) -> Result<Arc<dyn Workload>, WorkloadError> {
        let mut changed = self.clone();
        for (key, value) in settings {
            let refuse = |what: &str, way_out: &str| refuse(key, value, what, way_out);
            match key.as_str() {
                "speed" => changed.speed = parse_speed(value)?,
                "reads" if self.reads.is_some() => {
                    let share = value.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
                    changed.reads = Some(share.ok_or_else(|| refuse("not a share", "write 0 to 1"))?);
                }
                "reads" => return Err(refuse("the file names its operations", "leave it out")),
                _ => {
                    return Err(refuse(
                        "unknown key",
                        "a request trace takes speed and, without operations, reads",
                    ));
                }
            }
        }
        Ok(Arc::new(changed))
    }
}
