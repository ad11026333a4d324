//! What a YCSB property file may say: its keys with YCSB's own defaults, checked one by one.

use super::properties;
use crate::error::{InputError, WorkloadError, nearest};
use crate::workload::Parameter;

/// Which key an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    Uniform,
    Zipfian,
    Latest,
    Hotspot,
    Exponential,
    Sequential,
}

/// How long a field or a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Constant,
    Uniform,
    Zipfian,
}

/// Every key of a `CoreWorkload` that matters here, with YCSB's defaults.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct YcsbSpec {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) story: String,
    /// 0: the file gives none.
    pub(super) record_count: u32,
    pub(super) operation_count: u32,
    pub(super) insert_start: u32,
    /// 0: all from `insert_start` on.
    pub(super) insert_count: u32,
    pub(super) field_count: u32,
    pub(super) field_length: u32,
    pub(super) field_length_min: u32,
    pub(super) field_lengths: Length,
    pub(super) read: f64,
    pub(super) update: f64,
    pub(super) insert: f64,
    pub(super) scan: f64,
    pub(super) read_modify_write: f64,
    pub(super) request: Request,
    pub(super) hashed: bool,
    pub(super) zero_padding: u32,
    pub(super) scan_min: u32,
    pub(super) scan_max: u32,
    pub(super) scan_lengths: Length,
    pub(super) hot_data: f64,
    pub(super) hot_operations: f64,
    pub(super) exponential_percentile: f64,
    pub(super) exponential_fraction: f64,
}

/// Records where a file gives no `recordcount`: as many as the core files have.
pub(super) const RECORDS_DEFAULT: u32 = 1000;

impl Default for YcsbSpec {
    fn default() -> Self {
        Self {
            name: String::new(),
            about: String::new(),
            story: String::new(),
            record_count: 0,
            operation_count: 0,
            insert_start: 0,
            insert_count: 0,
            field_count: 10,
            field_length: 100,
            field_length_min: 1,
            field_lengths: Length::Constant,
            read: 0.95,
            update: 0.05,
            insert: 0.0,
            scan: 0.0,
            read_modify_write: 0.0,
            request: Request::Uniform,
            hashed: true,
            zero_padding: 1,
            scan_min: 1,
            scan_max: 1000,
            scan_lengths: Length::Uniform,
            hot_data: 0.2,
            hot_operations: 0.8,
            exponential_percentile: 95.0,
            exponential_fraction: 0.857_142_857_1,
        }
    }
}

const REQUESTS: &[(&str, Request)] = &[
    ("uniform", Request::Uniform),
    ("zipfian", Request::Zipfian),
    ("latest", Request::Latest),
    ("hotspot", Request::Hotspot),
    ("exponential", Request::Exponential),
    ("sequential", Request::Sequential),
];
const FIELD_LENGTHS: &[(&str, Length)] =
    &[("constant", Length::Constant), ("uniform", Length::Uniform), ("zipfian", Length::Zipfian)];
const SCAN_LENGTHS: &[(&str, Length)] = &[("uniform", Length::Uniform), ("zipfian", Length::Zipfian)];

/// What a key takes and where it lives.
enum Slot {
    Whole(fn(&mut YcsbSpec) -> &mut u32, u32, u32),
    Number(fn(&mut YcsbSpec) -> &mut f64, f64, f64),
    Request(fn(&mut YcsbSpec) -> &mut Request),
    Length(fn(&mut YcsbSpec) -> &mut Length, &'static [(&'static str, Length)]),
    /// `hashed` or anything else.
    Order,
    /// The class of the workload.
    Class,
    /// Read and not used, as it says how YCSB itself runs, measures or names things.
    Unused,
}

const COUNT_MAX: u32 = 2_000_000_000;

/// Key, what it takes, meaning.
const KEYS: &[(&str, Slot, &str)] = &[
    ("workload", Slot::Class, "the class; only CoreWorkload is known"),
    ("recordcount", Slot::Whole(|s| &mut s.record_count, 0, COUNT_MAX), "records of the whole key space"),
    (
        "operationcount",
        Slot::Whole(|s| &mut s.operation_count, 0, COUNT_MAX),
        "operations of YCSB's run; here it only makes room for inserts, the run's length is --duration or --operations",
    ),
    ("insertstart", Slot::Whole(|s| &mut s.insert_start, 0, COUNT_MAX), "first key number"),
    (
        "insertcount",
        Slot::Whole(|s| &mut s.insert_count, 0, COUNT_MAX),
        "records before the run; 0: recordcount - insertstart",
    ),
    ("fieldcount", Slot::Whole(|s| &mut s.field_count, 1, 1000), "fields of a record, written as one value"),
    (
        "fieldlength",
        Slot::Whole(|s| &mut s.field_length, 1, 1 << 20),
        "bytes of a field, the most where they vary",
    ),
    (
        "minfieldlength",
        Slot::Whole(|s| &mut s.field_length_min, 1, 1 << 20),
        "least bytes of a field where they vary",
    ),
    (
        "fieldlengthdistribution",
        Slot::Length(|s| &mut s.field_lengths, FIELD_LENGTHS),
        "how long a field is: constant, uniform, zipfian (short ones first)",
    ),
    ("readproportion", Slot::Number(|s| &mut s.read, 0.0, 1e9), "weight of reads of a whole record"),
    (
        "updateproportion",
        Slot::Number(|s| &mut s.update, 0.0, 1e9),
        "weight of updates; each writes the whole record, whatever writeallfields says",
    ),
    ("insertproportion", Slot::Number(|s| &mut s.insert, 0.0, 1e9), "weight of inserts of new records"),
    ("scanproportion", Slot::Number(|s| &mut s.scan, 0.0, 1e9), "weight of scans"),
    (
        "readmodifywriteproportion",
        Slot::Number(|s| &mut s.read_modify_write, 0.0, 1e9),
        "weight of a read and a write of the same record",
    ),
    (
        "requestdistribution",
        Slot::Request(|s| &mut s.request),
        "which record: uniform, zipfian, latest, hotspot, exponential, sequential",
    ),
    (
        "insertorder",
        Slot::Order,
        "hashed: key numbers are hashed; anything else: keys in the order of inserts",
    ),
    ("zeropadding", Slot::Whole(|s| &mut s.zero_padding, 1, 100), "least digits of a key"),
    ("minscanlength", Slot::Whole(|s| &mut s.scan_min, 1, COUNT_MAX), "fewest records of a scan"),
    ("maxscanlength", Slot::Whole(|s| &mut s.scan_max, 1, COUNT_MAX), "most records of a scan"),
    (
        "scanlengthdistribution",
        Slot::Length(|s| &mut s.scan_lengths, SCAN_LENGTHS),
        "how many records a scan takes: uniform, zipfian",
    ),
    (
        "hotspotdatafraction",
        Slot::Number(|s| &mut s.hot_data, 0.0, 1.0),
        "share of the records that are hot, for hotspot",
    ),
    (
        "hotspotopnfraction",
        Slot::Number(|s| &mut s.hot_operations, 0.0, 1.0),
        "share of the operations that go to them",
    ),
    (
        "exponential.percentile",
        Slot::Number(|s| &mut s.exponential_percentile, 0.001, 99.999_999),
        "share of the operations, in percent, that fall into exponential.frac",
    ),
    (
        "exponential.frac",
        Slot::Number(|s| &mut s.exponential_fraction, 1e-9, 1.0),
        "share of the records, newest first, that takes exponential.percentile of the operations",
    ),
    ("threadcount", Slot::Unused, "use --clients"),
    ("target", Slot::Unused, "use --rate"),
    ("maxexecutiontime", Slot::Unused, "use --duration"),
    ("db", Slot::Unused, "use --engine"),
    ("table", Slot::Unused, ""),
    ("fieldnameprefix", Slot::Unused, ""),
    ("fieldlengthhistogram", Slot::Unused, ""),
    ("readallfields", Slot::Unused, "a record is one value"),
    ("readallfieldsbyname", Slot::Unused, "a record is one value"),
    ("writeallfields", Slot::Unused, "a record is one value"),
    ("dataintegrity", Slot::Unused, "every answer is verified anyway"),
    ("core_workload_insertion_retry_limit", Slot::Unused, ""),
    ("core_workload_insertion_retry_interval", Slot::Unused, ""),
    ("measurementtype", Slot::Unused, ""),
    ("measurement.interval", Slot::Unused, ""),
    ("measurement.trackjvm", Slot::Unused, ""),
    ("measurement.raw.output_file", Slot::Unused, ""),
    ("measurement.raw.no_summary", Slot::Unused, ""),
    ("hdrhistogram.percentiles", Slot::Unused, ""),
    ("hdrhistogram.fileoutput", Slot::Unused, ""),
    ("hdrhistogram.output.path", Slot::Unused, ""),
    ("histogram.buckets", Slot::Unused, ""),
    ("timeseries.granularity", Slot::Unused, ""),
    ("reportlatencyforeacherror", Slot::Unused, ""),
    ("latencytrackederrors", Slot::Unused, ""),
    ("status", Slot::Unused, ""),
    ("status.interval", Slot::Unused, ""),
    ("exporter", Slot::Unused, ""),
    ("exportfile", Slot::Unused, ""),
    ("label", Slot::Unused, ""),
    ("spin.sleep", Slot::Unused, ""),
    ("dotransactions", Slot::Unused, ""),
];

/// Keys of YCSB's forks, with the fork that has them.
const FORKS: &[(&str, &str)] = &[
    ("field_len_dist", "YCSB-C and YCSB-cpp"),
    ("zipfian_const", "YCSB-C and YCSB-cpp"),
    ("limit.ops", "YCSB-cpp"),
    ("limit.file", "YCSB-cpp"),
    ("sleepafterload", "YCSB-cpp"),
    ("dbname", "YCSB-C and YCSB-cpp"),
    ("warmuptime", "go-ycsb"),
    ("keyprefix", "go-ycsb"),
    ("batch.size", "go-ycsb"),
    ("command", "go-ycsb"),
    ("prometheus.pushgateway", "go-ycsb"),
];

/// Whether a line of a file assigns to a key of YCSB.
pub(super) fn knows(key: &str) -> bool {
    KEYS.iter().any(|(name, slot, _)| *name == key && !matches!(slot, Slot::Unused))
}

struct Refused {
    what: String,
    way_out: String,
    /// Whether `--lenient` may go on without it.
    unknown: bool,
}

fn refused(what: impl Into<String>, way_out: impl Into<String>) -> Refused {
    Refused { what: what.into(), way_out: way_out.into(), unknown: false }
}

fn one_of<T: Copy>(key: &str, text: &str, choices: &[(&str, T)]) -> Result<T, Refused> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        refused(format!("{key} is none of the known ones"), format!("write one of {}", names.join(", ")))
    })
}

fn name_of<T: PartialEq>(value: &T, choices: &[(&'static str, T)]) -> &'static str {
    choices.iter().find(|(_, v)| v == value).map_or("", |(name, _)| name)
}

impl YcsbSpec {
    /// Sets a key; gives a warning where something is read and not used.
    fn set(&mut self, key: &str, text: &str) -> Result<(), Refused> {
        let Some((_, slot, _)) = KEYS.iter().find(|(name, ..)| *name == key) else {
            let fork = FORKS.iter().find(|(name, _)| *name == key);
            let (what, way_out) = match (fork, nearest(key, KEYS.iter().map(|(name, ..)| *name))) {
                (Some((_, fork)), _) => (
                    format!("{key} is a key of {fork}, which YCSB itself doesn't have"),
                    "take it out, or warn only with --lenient".to_owned(),
                ),
                (None, Some(near)) => (format!("unknown key {key}"), format!("did you mean {near}?")),
                (None, None) => {
                    (format!("unknown key {key}"), "take it out, or warn only with --lenient".to_owned())
                }
            };
            return Err(Refused { what, way_out, unknown: true });
        };
        match slot {
            Slot::Whole(field, min, max) => {
                let number = text.parse::<u32>().ok().filter(|n| (min..=max).contains(&n));
                *field(self) = number.ok_or_else(|| {
                    refused(format!("{key} is not a whole number in range"), format!("write {min} to {max}"))
                })?;
            }
            Slot::Number(field, min, max) => {
                let number = text.parse::<f64>().ok().filter(|n| (min..=max).contains(&n));
                *field(self) = number.ok_or_else(|| {
                    refused(format!("{key} is not a number in range"), format!("write {min} to {max}"))
                })?;
            }
            Slot::Request(field) => *field(self) = one_of(key, text, REQUESTS)?,
            Slot::Length(field, choices) => {
                if text == "histogram" {
                    return Err(refused(
                        format!("{key} histogram needs a second file, which isn't read"),
                        "write constant, uniform or zipfian",
                    ));
                }
                *field(self) = one_of(key, text, choices)?;
            }
            Slot::Order => self.hashed = text == "hashed",
            Slot::Class => {
                let class = text.rsplit('.').next().unwrap_or(text);
                if class != "CoreWorkload" {
                    return Err(refused(
                        format!("workload class {class} is not known"),
                        "only CoreWorkload can be asked here",
                    ));
                }
            }
            Slot::Unused => {}
        }
        Ok(())
    }

    fn get(&self, slot: &Slot) -> Option<String> {
        let spec = &mut self.clone();
        Some(match slot {
            Slot::Whole(field, ..) => field(spec).to_string(),
            Slot::Number(field, ..) => field(spec).to_string(),
            Slot::Request(field) => name_of(field(spec), REQUESTS).to_owned(),
            Slot::Length(field, choices) => name_of(field(spec), choices).to_owned(),
            Slot::Order => (if self.hashed { "hashed" } else { "ordered" }).to_owned(),
            Slot::Class | Slot::Unused => return None,
        })
    }

    /// Records before the run.
    pub(super) fn records(&self) -> u32 {
        let all = if self.record_count == 0 { RECORDS_DEFAULT } else { self.record_count };
        match self.insert_count {
            0 => all.saturating_sub(self.insert_start),
            count => count,
        }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter> {
        KEYS.iter()
            .filter_map(|(key, slot, meaning)| Some(Parameter::new(*key, self.get(slot)?, *meaning)))
            .collect()
    }

    /// What only shows when all keys are known: the key to blame, and what is wrong.
    fn check(&self) -> Result<(), (&'static str, Refused)> {
        let weights = [self.read, self.update, self.insert, self.scan, self.read_modify_write];
        if weights.iter().sum::<f64>() <= 0.0 {
            return Err((
                "readproportion",
                refused("no operation has a weight", "give one of the proportions"),
            ));
        }
        if self.records() == 0 {
            let what = format!("insertstart {} leaves no records", self.insert_start);
            return Err(("insertstart", refused(what, "make it smaller than recordcount")));
        }
        if self.scan_min > self.scan_max {
            let what = format!("minscanlength {} is above maxscanlength {}", self.scan_min, self.scan_max);
            return Err(("minscanlength", refused(what, "swap them")));
        }
        let bytes = u64::from(self.field_count) * u64::from(self.field_length);
        if bytes > 64 << 20 {
            let what = format!("fieldcount x fieldlength is {bytes} bytes a record");
            return Err(("fieldlength", refused(what, "stay below 64 MiB")));
        }
        if self.field_lengths != Length::Constant && self.field_length_min > self.field_length {
            let what = format!(
                "minfieldlength {} is above fieldlength {}",
                self.field_length_min, self.field_length
            );
            return Err(("minfieldlength", refused(what, "swap them")));
        }
        Ok(())
    }

    /// Applies `--set key=value`, in order.
    pub(super) fn apply(&mut self, settings: &[(String, String)]) -> Result<(), WorkloadError> {
        let refuse = |key: &str, value: &str, refused: Refused| WorkloadError::Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            what: refused.what,
            way_out: refused.way_out,
        };
        for (key, value) in settings {
            self.set(key, value).map_err(|refused| refuse(key, value, refused))?;
        }
        self.check().map_err(|(key, refused)| {
            let value = settings.iter().rev().find(|(k, _)| k == key).map_or("", |(_, value)| value.as_str());
            refuse(key, value, refused)
        })
    }
}

/// Reads a property file; a later duplicate of a key wins, as in Java. Returns the spec and what was ignored.
pub(super) fn parse(file: &str, text: &str, lenient: bool) -> Result<(YcsbSpec, Vec<String>), WorkloadError> {
    let mut spec = YcsbSpec::default();
    let mut warnings = Vec::new();
    let properties = properties::read(text);
    for property in &properties {
        if let Err(refused) = spec.set(&property.key, &property.value) {
            let error =
                InputError::new(file, property.line, refused.what, refused.way_out).got(&property.value);
            if !(refused.unknown && lenient) {
                return Err(error.into());
            }
            warnings.push(format!("{error} (ignored)"));
        }
    }
    spec.check().map_err(|(key, refused)| {
        let line = properties.iter().rev().find(|p| p.key == key).map_or(1, |p| p.line);
        InputError::new(file, line, refused.what, refused.way_out)
    })?;
    if spec.record_count == 0 {
        warnings.push(format!(
            "{file}: no recordcount, so {RECORDS_DEFAULT} records; give another number with --records"
        ));
    }
    Ok((spec, warnings))
}
