//! `measurements.csv`: every measurement as a row, for a statistics program.
//!
//! Column names are the record's, with dots for what is nested; an empty cell is a value that isn't known.

use std::path::Path;

use crate::report::record::{Measurement, Percentiles, RecordError, Run, write_whole};

/// The file's name inside a result folder.
pub(crate) const TIDY_FILE: &str = "measurements.csv";

fn text<T: ToString>(v: &Option<T>) -> String {
    v.as_ref().map(T::to_string).unwrap_or_default()
}

/// A row's cells with their columns: one place, so that head and rows can't drift apart.
fn cells(m: &Measurement) -> Vec<(String, String)> {
    let mut row: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, value: String| row.push((name.to_owned(), value));
    put("experiment", m.experiment.clone());
    put("workload", m.workload.clone());
    put("engine", m.engine.clone());
    put("variant", m.variant.clone());
    put("durability", m.durability.clone());
    put("replication", text(&m.replication));
    put("copies_durable_at_ack.min", text(&m.copies_durable_at_ack.as_ref().map(|c| c.min)));
    put("copies_durable_at_ack.p50", text(&m.copies_durable_at_ack.as_ref().map(|c| c.p50)));
    put("pair", text(&m.pair));
    put("order", m.order.to_string());
    put("repeat", m.repeat.to_string());
    put("world", m.world.to_string());
    put("load.kind", format!("{:?}", m.load.kind).to_lowercase());
    put("load.offered_per_s", text(&m.load.offered_per_s));
    put("load.clients", text(&m.load.clients));
    put("load.label", text(&m.load.label));
    put("achieved_per_s", m.achieved_per_s.to_string());
    put("saturated", m.saturated.to_string());
    put("driver_limited", m.driver_limited.to_string());
    put("operation", m.operation.clone());
    put("count", m.count.to_string());
    put("errors", m.errors.to_string());
    put("unsupported", m.unsupported.to_string());
    put("wrong_answers", m.wrong_answers.to_string());
    for (name, p) in [("response_us", &m.response_us), ("service_us", &m.service_us), ("wait_us", &m.wait_us)]
    {
        let Percentiles { p50, p90, p95, p99, p999, max, mean } = p;
        for (quantile, v) in [
            ("p50", p50),
            ("p90", p90),
            ("p95", p95),
            ("p99", p99),
            ("p999", p999),
            ("max", max),
            ("mean", mean),
        ] {
            put(&format!("{name}.{quantile}"), text(v));
        }
    }
    put("lateness_us.p99", text(&m.lateness_us.and_then(|l| l.p99)));
    let r = &m.resources;
    put("resources.cpu_s", text(&r.cpu_s));
    put("resources.driver_cpu_s", text(&r.driver_cpu_s));
    put("resources.rss_peak_bytes", text(&r.rss_peak_bytes));
    put("resources.written_bytes", text(&r.written_bytes));
    put("resources.disk_bytes", text(&r.disk_bytes));
    put("resources.live_bytes", text(&r.live_bytes));
    put("resources.read_bytes", text(&r.read_bytes));
    put("resources.syncs", text(&r.syncs));
    put("resources.device_flushes", text(&r.device_flushes));
    put("resources.write_amp", text(&r.write_amp));
    put("resources.space_amp", text(&r.space_amp));
    put("resources.messages", text(&r.messages));
    put("resources.message_bytes", text(&r.message_bytes));
    let c = m.consistency.as_ref();
    put("consistency.reads", text(&c.map(|c| c.reads)));
    put("consistency.stale_reads", text(&c.map(|c| c.stale_reads)));
    put("consistency.siblings", text(&c.map(|c| c.siblings)));
    put("consistency.retries", text(&c.map(|c| c.retries)));
    put("consistency.unseen", text(&c.filter(|c| c.subscribed).map(|c| c.unseen)));
    put("consistency.order_violations", text(&c.filter(|c| c.subscribed).map(|c| c.order_violations)));
    put("resources.involuntary_switches", text(&r.involuntary_switches));
    put("resources.steal_share", text(&r.steal_share));
    put("tail_events", m.tail_events.values().sum::<u64>().to_string());
    put("warmup_s", text(&m.warmup_s));
    put("measured_s", text(&m.measured_s));
    put("seed", text(&m.seed));
    put("verified_answers", text(&m.verified_answers));
    put("io", text(&m.io));
    put("noisy", text(&m.noisy));
    put("rejected", text(&m.rejected));
    put("histogram", text(&m.histogram));
    put("series", text(&m.series));
    row
}

/// Writes the file.
///
/// # Errors
/// The folder can't be written.
pub(crate) fn write(run: &Run, dir: &Path) -> Result<(), RecordError> {
    let file = dir.join(TIDY_FILE);
    let failed = |e: csv::Error| RecordError::Write { file: file.clone(), source: std::io::Error::other(e) };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells(&Measurement::default()).into_iter().map(|(name, _)| name)).map_err(failed)?;
    for m in &run.measurements {
        writer.write_record(cells(m).into_iter().map(|(_, value)| value)).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(e.into_error().into()))?;
    write_whole(&file, &bytes)
}
