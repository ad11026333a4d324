//! The report as a reader gets it: made from a folder of raw files, then opened in a real browser.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use bench_harness::environment::Environment;
use bench_harness::limits::{AppendLimit, BackendLimit, LatencyLimit, Limits};
use bench_harness::report::histograms::{self, Row};
use bench_harness::report::record::{
    Better, Claim, ClaimPart, ClaimVerdict, ClaimedFigures, Comparison, ComparisonVerdict, Load, LoadKind,
    MeasuredFigures, Measurement, Parameter, Percentiles, Replication, Resources, Run, SCHEMA, Subject,
};
use bench_harness::report::series::{self, Second};
use bench_harness::report::{Rebuilt, rebuild};
use hdrhistogram::Histogram;

const MAIN: &str = "equal load";
const BESIDE: &str = "what batching is worth";
const PAIRS: u32 = 6;
const SECONDS: u32 = 9;
const RATE: u64 = 4_000;

/// A small seeded generator: the fixture must be the same on every machine.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal, by the central limit.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

fn summary(h: &Histogram<u64>) -> Percentiles {
    let at = |q: f64| (h.len() as f64 * (1.0 - q) >= 100.0).then(|| h.value_at_quantile(q) as f64 / 1e3);
    Percentiles {
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        max: Some(h.max() as f64 / 1e3),
        mean: Some(h.mean() / 1e3),
    }
}

/// One run of an engine: its files in `dir`, its measurements in `into`.
fn one_run(
    dir: &Path,
    into: &mut Vec<Measurement>,
    (experiment, engine, variant): (&str, &str, &str),
    durability: &str,
    pair: u32,
    order: u32,
) {
    let mut dice = Dice(0x9e37_79b9 + u64::from(order) * 7_919 + durability.len() as u64);
    let median_us = match (engine, durability) {
        ("memory", _) => 2.1,
        ("kv-store", "os") => 9.0,
        ("log", "os") => 6.0,
        ("kv-store", _) => 190.0,
        _ => 165.0,
    };
    let luck = 1.0 + dice.normal() * 0.04;
    let new = || Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3).expect("bounds");
    let mut sums: BTreeMap<&str, [Histogram<u64>; 3]> = BTreeMap::new();
    let (mut all, mut seconds) = ([new(), new(), new()], Vec::new());
    for second in 0..SECONDS {
        let mut this_second = new();
        let stalled = engine != "memory" && second % 4 == 2;
        for i in 0..RATE {
            let operation = if dice.unit() < 0.6 { "read-profile" } else { "update-profile" };
            let mut service = median_us * luck * (dice.normal() * 0.35).exp();
            if operation == "read-profile" && durability == "synced" {
                service = 3.0 * (dice.normal() * 0.3).exp();
            }
            let wait = if stalled && i < RATE / 40 { 1_500.0 * dice.unit() } else { 0.4 * dice.unit() };
            let times = [service + wait, service, wait].map(|us| ((us * 1e3) as u64).max(1));
            let sums = sums.entry(operation).or_insert_with(|| [new(), new(), new()]);
            for ((one, every), ns) in sums.iter_mut().zip(&mut all).zip(times) {
                one.record(ns).expect("in range");
                every.record(ns).expect("in range");
            }
            this_second.record(times[0]).expect("in range");
        }
        let us = |q: f64| Some(this_second.value_at_quantile(q) as f64 / 1e3);
        seconds.push(Second {
            second: f64::from(second),
            operation: "all".into(),
            count: RATE,
            errors: 0,
            p50_us: us(0.5),
            p99_us: us(0.99),
            max_us: us(1.0),
            lag_us: Some(if stalled { 1_500.0 } else { 0.4 }),
            copies_missed: 0,
        });
    }
    let beside = if experiment == MAIN { "" } else { "-beside" };
    let name = format!("{engine}-{durability}-{order}{beside}");
    let rows: Vec<Row<'_>> = sums
        .iter()
        .flat_map(|(operation, times)| {
            times.iter().zip([histograms::RESPONSE, histograms::SERVICE, histograms::WAIT]).map(
                |(histogram, kind)| Row {
                    tag: histograms::tag(operation, kind),
                    start: Duration::ZERO,
                    length: Duration::from_secs(u64::from(SECONDS)),
                    histogram,
                },
            )
        })
        .collect();
    histograms::write(
        &dir.join(format!("{name}.hlog")),
        UNIX_EPOCH + Duration::from_secs(1_767_225_600),
        &rows,
    )
    .expect("histograms written");
    series::write(&dir.join(format!("{name}.csv")), &seconds).expect("series written");
    let stored = engine != "memory";
    for (operation, times) in [("all", &all)].into_iter().chain(sums.iter().map(|(o, t)| (*o, t))) {
        into.push(Measurement {
            experiment: experiment.into(),
            workload: "member-update".into(),
            engine: engine.into(),
            variant: variant.into(),
            replication: match engine {
                "kv-store" => Some(Replication::Quorum { n: 3, r: 2, w: 2 }),
                "log" => Some(Replication::InSync { n: 3, acks: "all".into(), min_isr: 2 }),
                _ => None,
            },
            durability: durability.into(),
            pair: stored.then_some(pair),
            order,
            repeat: pair - 1,
            load: Load {
                kind: LoadKind::Open,
                offered_per_s: Some(RATE as f64),
                clients: None,
                label: Some("50 % of the slower engine's maximum".into()),
            },
            achieved_per_s: times[0].len() as f64 / f64::from(SECONDS),
            operation: operation.into(),
            count: times[0].len(),
            response_us: summary(&times[0]),
            service_us: summary(&times[1]),
            wait_us: summary(&times[2]),
            histogram: Some(format!("{name}.hlog")),
            series: Some(format!("{name}.csv")),
            resources: Resources {
                cpu_s: Some(all[0].len() as f64 * median_us.min(20.0) * 0.9e-6),
                rss_peak_bytes: Some(310 << 20),
                written_bytes: stored.then_some(33_000_000),
                disk_bytes: stored.then_some(150_000_000),
                live_bytes: Some(110_000_000),
                read_bytes: Some(24_000_000),
                syncs: stored.then_some(if durability == "synced" { 21_000 } else { 3 }),
                write_amp: stored.then_some(if engine == "log" { 1.06 } else { 1.04 }),
                space_amp: stored.then_some(1.36),
                involuntary_switches: Some(812),
                ..Resources::default()
            },
            warmup_s: Some(2.0),
            measured_s: Some(f64::from(SECONDS)),
            seed: Some(u64::from(pair) * 1_000_003),
            verified_answers: Some(times[0].len()),
            lateness_us: Some(Percentiles { p99: Some(61.0), ..Percentiles::default() }),
            tail_events: if stored { BTreeMap::from([("rolls".to_owned(), 112)]) } else { BTreeMap::new() },
            io: stored.then(|| "io_uring".to_owned()),
            ..Measurement::default()
        });
    }
}

/// A ratio over pairs, as far as the fixture needs statistics.
fn compare(
    all: &[Measurement],
    durability: &str,
    metric: &str,
    of: fn(&Measurement) -> Option<f64>,
) -> Comparison {
    let value = |engine: &str, pair: u32| {
        let m = all.iter().find(|m| {
            m.experiment == MAIN
                && m.engine == engine
                && m.durability == durability
                && m.pair == Some(pair)
                && m.operation == "all"
        });
        of(m.expect("the run")).expect("a value")
    };
    let pair_ratios: Vec<f64> = (1..=PAIRS).map(|p| value("kv-store", p) / value("log", p)).collect();
    let logs: Vec<f64> = pair_ratios.iter().map(|r| r.ln()).collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (logs.len() - 1) as f64;
    let half = 2.571 * (variance / logs.len() as f64).sqrt();
    let ci = [(mean - half).exp(), (mean + half).exp()];
    let higher = metric == "achieved_per_s";
    let verdict = match (ci[0] > 1.03, ci[1] < 0.97, higher) {
        (true, _, false) | (_, true, true) => ComparisonVerdict::BBetter,
        (_, true, false) | (true, _, true) => ComparisonVerdict::ABetter,
        _ => ComparisonVerdict::NoDifference,
    };
    let first = all.iter().find(|m| m.durability == durability && m.pair.is_some()).expect("a run");
    Comparison {
        metric: metric.into(),
        better: if higher { Better::Higher } else { Better::Lower },
        experiment: MAIN.into(),
        operation: "all".into(),
        workload: "member-update".into(),
        durability: durability.into(),
        load: first.load.clone(),
        a: "kv-store".into(),
        b: "log".into(),
        pairs: PAIRS,
        ratio: Some(mean.exp()),
        ci95: Some(ci),
        aa_ci95: Some([0.962, 1.041]),
        aa_a_ci95: Some([0.951, 1.052]),
        aa_b_ci95: Some([0.973, 1.029]),
        verdict,
        why: String::new(),
        pair_ratios,
        bootstrap_ci95: Some(ci),
        run_sigma: Some(0.1),
        sign_test_p: Some(0.031),
    }
}

fn latency(p50: f64, p99: f64) -> Option<LatencyLimit> {
    Some(LatencyLimit { p50_us: Some(p50), p99_us: Some(p99), samples: 12_000, per_s: 1e6 / p50 })
}

fn fixture(dir: &Path) -> Run {
    let mut measurements = Vec::new();
    for durability in ["os", "synced"] {
        let mut order = 0;
        for pair in 1..=PAIRS {
            let sides = if pair % 2 == 1 { ["kv-store", "log"] } else { ["log", "kv-store"] };
            for engine in sides {
                order += 1;
                one_run(dir, &mut measurements, (MAIN, engine, ""), durability, pair, order);
            }
        }
        one_run(dir, &mut measurements, (MAIN, "memory", ""), durability, 1, order + 1);
    }
    let mut comparisons = Vec::new();
    for durability in ["os", "synced"] {
        comparisons.push(compare(&measurements, durability, "response_us.p50", |m| m.response_us.p50));
        comparisons.push(compare(&measurements, durability, "response_us.p95", |m| m.response_us.p95));
        comparisons.push(compare(&measurements, durability, "response_us.p99", |m| m.response_us.p99));
        comparisons.push(compare(&measurements, durability, "achieved_per_s", |m| Some(m.achieved_per_s)));
    }
    for (pair, order) in [(1, 1), (2, 3)] {
        for (order, variant) in [(order, ""), (order + 1, "log batching=off")] {
            one_run(dir, &mut measurements, (BESIDE, "log", variant), "os", pair, order);
        }
    }
    comparisons.push(Comparison {
        experiment: BESIDE.into(),
        a: "log".into(),
        b: "log batching=off".into(),
        ..comparisons[2].clone()
    });
    let mut claims: Vec<Claim> = (1..=19)
        .map(|i| Claim {
            id: format!("C{i}"),
            statement: format!("Claim number {i}, as it was published"),
            why: "Needs a cluster, which this build does not have yet.".into(),
            ..Claim::default()
        })
        .collect();
    claims[0] = Claim {
        id: "C1".into(),
        statement: "Access latency: p99 from 200 to 25 ms".into(),
        claimed: ClaimedFigures {
            before: Some(200.0),
            after: Some(25.0),
            unit: "ms".into(),
            ratio: Some(8.0),
        },
        measured: Some(MeasuredFigures {
            before: Some(0.012),
            after: Some(0.008),
            unit: "ms".into(),
            ratio: Some(1.42),
            ci95: Some([1.31, 1.55]),
        }),
        verdict: ClaimVerdict::DirectionOnly,
        why:
            "Both sides are far below a millisecond: too fast for this clock to reproduce a factor of eight."
                .into(),
        parts: vec![ClaimPart {
            id: "C1a".into(),
            what: "write acknowledged".into(),
            durability: "os".into(),
            setting: "N=3 R=2 W=2 against N=3 acks=all min ISR 2".into(),
            measured: MeasuredFigures {
                before: Some(0.012),
                after: Some(0.008),
                unit: "ms, p99".into(),
                ratio: Some(1.42),
                ci95: Some([1.31, 1.55]),
            },
            aa_before_ci95: Some([0.95, 1.05]),
            aa_after_ci95: Some([0.97, 1.03]),
            pairs: PAIRS,
            verdict: None,
            why: String::new(),
        }],
    };
    let run = Run {
        schema: SCHEMA,
        id: "20260101T000000Z-1a2b3c4".into(),
        started: "2026-01-01T00:00:00Z".into(),
        finished: "2026-01-01T00:04:11Z".into(),
        command: ["workbench", "compare", "--quick"].map(str::to_owned).into(),
        seed: 42,
        quick: true,
        interrupted: false,
        environment: Environment {
            cpu_model: Some("Example 9000 <8 cores>".into()),
            cpus_online: Some(8),
            cpus_allowed: Some(2),
            memory_bytes: Some(16_000_000_000),
            kernel: Some("Linux 6.18".into()),
            file_system: Some("ext4".into()),
            mount_options: Some("rw,relatime".into()),
            device: Some("/dev/vda1".into()),
            device_write_cache: Some("write back".into()),
            io_uring_permitted: Some(true),
            rustc: Some("rustc 1.95.0".into()),
            build_profile: Some("release".into()),
            git_commit: Some("1a2b3c4d".into()),
            git_dirty: Some(false),
            ..Environment::default()
        },
        limits: Limits {
            folder: "/data".into(),
            took_s: 13.2,
            write_sync: latency(108.0, 210.0),
            write_sync_handed_over: latency(126.0, 305.0),
            write_sync_growing: latency(176.0, 1_900.0),
            append: Some(AppendLimit {
                bytes_per_s: 2.4e9,
                burst_bytes_per_s: 4.1e9,
                bytes: 1 << 30,
                write_call: LatencyLimit { p50_us: Some(55.0), p99_us: None, samples: 4096, per_s: 16_000.0 },
            }),
            cached_read: latency(0.7, 1.4),
            memcpy_bytes_per_s: Some(9.8e9),
            wake_up: latency(6.2, 21.0),
            timer: latency(54.0, 92.0),
            backends: ["blocking", "io_uring"]
                .map(|b| BackendLimit {
                    backend: b.into(),
                    depth: 16,
                    latency: LatencyLimit { p50_us: Some(310.0), p99_us: None, samples: 5_000, per_s: 48_000.0 },
                })
                .into(),
            ..Limits::default()
        },
        engines: vec![
            Subject {
                name: "kv-store".into(),
                about: "one node of a key-value store: every record sits in an append-only file, an index in memory \
                        says where"
                    .into(),
                parameters: vec![],
            },
            Subject {
                name: "log".into(),
                about: "one partitioned log: changes are appended in order, readers follow by offset".into(),
                parameters: vec![],
            },
            Subject { name: "memory".into(), about: "a table in memory, nothing stored".into(), parameters: vec![] },
        ],
        workloads: vec![Subject {
            name: "member-update".into(),
            about: "members read and update their profiles, 60 to 40".into(),
            parameters: vec![Parameter {
                name: "members".into(),
                value: "100000".into(),
                meaning: "profiles that exist before the run".into(),
            }],
        }],
        measurements,
        comparisons,
        claims,
        plan: None,
        not_measured: vec!["processor frequency was not fixed".into()],
        notes: vec![],
    };
    run.write(dir).expect("record written");
    run
}

/// A folder that outlives the test where a human wants to look at the page.
fn folder() -> (Option<tempfile::TempDir>, PathBuf) {
    match std::env::var_os("WORKBENCH_KEEP_REPORT") {
        Some(dir) => {
            std::fs::create_dir_all(&dir).expect("the folder to keep");
            (None, dir.into())
        }
        None => {
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().to_owned();
            (Some(dir), path)
        }
    }
}

/// A browser on PATH; says so where there is none.
#[expect(clippy::print_stderr, reason = "a skipped test must say that it was")]
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)))
        .find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: no chromium, chromium-browser or google-chrome on PATH");
    }
    found
}

/// The page's document after its scripts ran, and what the browser's console said.
fn opened(browser: &Path, page: &Path, width: u32) -> (String, String) {
    let profile = tempfile::tempdir().expect("a folder");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--no-first-run", "--enable-logging=stderr"])
        .args(["--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--window-size={width},1000"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("the browser starts");
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_browser_draws_every_plot_and_fetches_nothing() {
    let Some(browser) = chromium() else { return };
    let (_keep, dir) = folder();
    let run = fixture(&dir);
    let Rebuilt { html, problems, .. } = rebuild(&dir).expect("rebuilt");
    assert!(problems.is_empty(), "{problems:?}");

    let (dom, console) = opened(&browser, &html, 1_280);
    let body = dom.split("<body").nth(1).unwrap_or_else(|| panic!("no body; the browser said: {console}"));
    // The plotting script stands at the end, and holds the very words that are counted here.
    let body = body.split("plotly.js v").next().expect("split gives at least one part");
    // A forest plot, and for each of two settings a spectrum and three plots over time.
    assert_eq!(body.matches("js-plotly-plot").count(), 9, "{console}");
    assert!(!body.contains("could not be drawn") && !body.contains("needs JavaScript"), "{console}");
    // Lines: 3 engines and 12 thin ones in a spectrum, 13 runs over time; the forest's bands, pairs and means.
    let traces = body.matches("class=\"trace scatter").count();
    assert_eq!(traces, 2 * (3 + 12) + 6 * 13 + (8 + 1 + 1), "lines and point groups drawn");
    assert!(
        body.matches("<path class=\"point\"").count() >= 8 * PAIRS as usize,
        "each pair's ratio is a point"
    );
    assert!(body.matches("class=\"js-line\"").count() >= 2 * 15, "curves have paths");
    for text in [
        "kv-store against log",
        "handed to the kernel (os)",
        "quick",
        "direction only",
        "What batching is worth",
        "log batching=off",
        "store against itself",
        "read of 1 KiB from the page cache",
        "GB/s copying memory",
        "C19",
        "Example 9000 &lt;8 cores&gt;",
    ] {
        assert!(body.contains(text), "{text} is missing");
    }
    let first_table = body.find("<table").expect("a table");
    for said_first in
        ["Equal on both sides", "Different by design", "compare unlike things", "C1: Access latency"]
    {
        let at = body.find(said_first).unwrap_or_else(|| panic!("{said_first} is missing"));
        assert!(at < first_table, "{said_first} comes before any table");
    }
    let ratio = run.comparisons[2].ratio.expect("a ratio");
    assert!(body.contains(&format!("{ratio:.2}×")), "the p99 ratio {ratio} stands in the table");

    for refused in ["Refused to", "Content Security Policy", "Uncaught", "ERR_"] {
        assert!(!console.contains(refused), "the console says: {console}");
    }
    let page = std::fs::read_to_string(&html).expect("page");
    assert!(page.contains("default-src 'none'"), "the policy keeps the page offline");
    assert_eq!(page.matches("plotly.js v").count(), 1, "the script is in the page once");
    let own = &page[..page.find("plotly.js v").expect("the script")];
    assert!(
        !own.contains("src=\"http") && !own.contains("href=\"http") && !own.contains("url("),
        "nothing to fetch"
    );
}

#[test]
fn a_narrow_screen_is_never_wider_than_itself() {
    let Some(browser) = chromium() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    fixture(dir.path());
    let page = std::fs::read_to_string(rebuild(dir.path()).expect("rebuilt").html).expect("page");
    // The page can't be measured from outside, so a copy of it is told to write down what it measures.
    let probe = "<script>addEventListener('load',function(){document.title='widest '+Math.max.apply(null,\
                 [document.documentElement.scrollWidth].concat(Array.prototype.map.call(document.querySelectorAll('table'),\
                 function(t){return t.getBoundingClientRect().right})))+' of '+innerWidth});</script></body>";
    let copy = dir.path().join("probe.html");
    std::fs::write(&copy, page.replace("</body>", probe)).expect("written");
    for width in [500, 900] {
        let (dom, console) = opened(&browser, &copy, width);
        let title = dom.split("<title>").nth(1).and_then(|t| t.split("</title>").next()).unwrap_or_default();
        let mut numbers = title.split(' ').filter_map(|w| w.parse::<f64>().ok());
        let (Some(widest), Some(screen)) = (numbers.next(), numbers.next()) else {
            panic!("the page measured nothing: {title}; {console}");
        };
        assert!(widest <= screen + 0.5, "{widest} px of table on a screen of {screen} px");
    }
}

#[test]
fn a_damaged_folder_costs_curves_or_names_the_file_and_never_panics() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut run = fixture(dir.path());
    std::fs::write(dir.path().join("log-os-2.hlog"), "Tag=all.response,0,1,1,HISTFAAAA!\n").expect("written");
    std::fs::write(dir.path().join("log-os-2.csv"), "second,operation\n0,all\n").expect("written");
    std::fs::remove_file(dir.path().join("kv-store-os-1.hlog")).expect("removed");
    run.measurements[6].series = Some("../outside.csv".into());
    run.write(dir.path()).expect("written");
    let rebuilt = rebuild(dir.path()).expect("the rest is enough");
    for named in ["log-os-2.hlog:1", "log-os-2.csv", "kv-store-os-1.hlog", "../outside.csv"] {
        assert!(rebuilt.problems.iter().any(|p| p.contains(named)), "{named}: {:?}", rebuilt.problems);
    }
    let text = std::fs::read_to_string(&rebuilt.markdown).expect("text");
    assert!(text.contains("log-os-2.hlog") && text.contains("## Not read"), "the text says what it lacks");

    let record = std::fs::read(dir.path().join("run.json")).expect("record");
    for cut in (0..record.len() - 2).step_by(record.len() / 40) {
        std::fs::write(dir.path().join("run.json"), &record[..cut]).expect("written");
        let said = rebuild(dir.path()).expect_err("half a record").to_string();
        assert!(said.contains("run.json"), "{said}");
    }
}

#[test]
fn wrong_answers_take_the_figures_away_and_say_so_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut run = fixture(dir.path());
    for m in run.measurements.iter_mut().filter(|m| m.engine == "log" && m.durability == "os") {
        m.wrong_answers = 3;
        m.wrong_answer_examples = vec!["member 7: read version 4 after 5 was acknowledged".into()];
    }
    run.write(dir.path()).expect("written");
    let rebuilt = rebuild(dir.path()).expect("rebuilt");
    let page = std::fs::read_to_string(&rebuilt.html).expect("page");
    let banner = page.find("role=\"alert\"").expect("a banner");
    assert!(banner < page.find("<table").expect("a table"), "the banner comes before any figure");
    assert!(page.contains("member 7: read version 4"));
    let text = std::fs::read_to_string(&rebuilt.markdown).expect("text");
    let row = text.lines().find(|l| l.starts_with("| p99 latency")).expect("a row");
    assert!(row.contains("wrong answers"), "{row}");
}
