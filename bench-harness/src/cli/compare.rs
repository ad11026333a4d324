//! `workbench compare`, which is also what `cargo bench` runs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use engine_env::Durability;
use workloads::{OpenOptions, Workload};

use super::choice::{self, WorkloadArgs};
use super::{Failure, Workbench, no_file_in_the_way, result_folder, stop_on_ctrl_c, text};
use crate::engine::{Engine, Place, check_settings};
use crate::environment::Environment;
use crate::experiments::{
    Campaign, CampaignSetup, ComparePlan, Effort, Excursions, compare as make_comparison,
};
use crate::progress::Progress;
use crate::report;
use crate::report::curves::HIGHEST_METRIC;
use crate::report::quantity::interval;
use crate::report::record::{Plan, Run};
use crate::result_folder::{ResultFolder, default_data_folder};

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  workbench compare                                       the two replicated engines, os and synced, about four minutes
  workbench compare --workload changes.jsonl              the same under a recorded stream of changes
  workbench compare --engines kv-store,log --durability synced --rate 20000
  workbench compare --time-limit 90m                      decides, with shorter runs than --full
  workbench compare --full --out results/big              decides, C1 first; many hours, goes on where it was ended

Both sides of a pair get the same operations at the same due times, in the order A B, B A, A B ... Every answer is checked;
an engine that answered wrongly has no numbers. Ctrl-C keeps what was measured and still writes the report.")]
pub(super) struct CompareArgs {
    /// A few minutes; verdicts are at best about the direction (the default)
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Many hours; long enough to decide. The pre-registered pairs come first: after more than an hour C1 is decided, and
    /// Ctrl-C keeps that. The same command with the same --out goes on where it was ended
    #[arg(long)]
    full: bool,
    /// About this long, 10m or more: as many pairs as --full, runs as long as fits. With 60m or more it decides; what doesn't
    /// fit is left out and named
    #[arg(long, value_name = "TIME", conflicts_with_all = ["quick", "full"], value_parser = time_limit)]
    time_limit: Option<Duration>,
    /// Seconds; only to see that everything runs
    #[arg(long, hide = true, conflicts_with_all = ["quick", "full", "time_limit"])]
    pub(super) smoke: bool,
    /// Workload by name, a file, or - for standard input. Repeatable [default: member-update]
    #[arg(long = "workload", value_name = "W")]
    workloads: Vec<String>,
    /// Engines to compare, the first against each other one [default: kv-cluster,log-view]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    engines: Vec<String>,
    /// When a write is acknowledged: os, synced or interval:MS. Repeatable [default: os and synced]
    #[arg(long = "durability", value_name = "D")]
    durabilities: Vec<Durability>,
    /// Offer this many operations a second, instead of shares of what both engines sustain
    #[arg(long, value_name = "N", value_parser = text::rate)]
    rate: Option<f64>,
    /// Operations in flight in the closed loops that tell where to look for the highest rate
    #[arg(long, value_name = "T", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: u32,
    /// Seed of everything that is drawn
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    workload_args: WorkloadArgs,
    /// Folder for the engines' data, emptied after each run; a real disk, not tmpfs
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Folder for the results [default: results/TIME-COMMIT in the workspace]
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Print the comparisons as JSON
    #[arg(long)]
    json: bool,
}

/// What is compared unless the user says so; the ones behind where a program has no such engines.
const DEFAULT_ENGINES: [[&str; 2]; 2] = [["kv-cluster", "log-view"], ["kv-store", "log"]];
/// Keys of generated workloads in a comparison whose time is limited, where the user doesn't say.
const QUICK_RECORDS: u64 = 100_000;
/// The same for replicated engines in a quick one: each run fills all copies anew before it measures.
const QUICK_RECORDS_REPLICATED: u64 = 10_000;
const SMOKE_RECORDS: u64 = 2_000;

/// A comparison that was made.
pub(super) struct Compared {
    /// The page, absolute.
    pub(super) report: PathBuf,
    wrong_answers: u64,
}

pub(super) fn compare(args: &CompareArgs, workbench: &Workbench) -> Result<(), Failure> {
    let command = std::env::args().collect();
    let compared = perform(args, workbench, command)?;
    let _ = writeln!(std::io::stdout(), "report: {}", compared.report.display());
    compared.verdict()
}

impl Compared {
    /// Wrong answers end a comparison with exit code 1, after its report was written.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        match self.wrong_answers {
            0 => Ok(()),
            wrong => Err(Failure::Check(format!(
                "{wrong} wrong answers; the engines that gave them have no numbers, see the report"
            ))),
        }
    }
}

pub(super) fn perform(
    args: &CompareArgs,
    workbench: &Workbench,
    command: Vec<String>,
) -> Result<Compared, Failure> {
    let names: Vec<&str> = match args.engines.as_slice() {
        [] => DEFAULT_ENGINES
            .into_iter()
            .find(|names| names.iter().all(|n| workbench.engines.by_name(n).is_some()))
            .map(Vec::from)
            .unwrap_or_default(),
        given => given.iter().map(String::as_str).collect(),
    };
    let engines: Vec<&dyn Engine> =
        names.iter().map(|name| choice::engine(workbench, name)).collect::<Result<_, _>>()?;
    if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
        return Err(Failure::Input(format!(
            "--engines names {} twice; an engine is compared with another one",
            twice.1
        )));
    }
    let floor = workbench.engines.by_name("memory").filter(|f| !names.contains(&f.name()));
    let settings = args.workload_args.settings(&engines);
    for engine in &engines {
        // A setting that only one side has is given to that side; one that nobody has went to the workload.
        let own = settings
            .of_engines
            .iter()
            .filter(|(name, _)| engine.settings().iter().any(|s| s.name == name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<BTreeMap<_, _>>();
        check_settings(*engine, &own).map_err(Failure::input)?;
    }
    let effort = if args.full {
        Effort::Full
    } else if let Some(total) = args.time_limit {
        Effort::Within(total)
    } else if args.smoke {
        Effort::Smoke
    } else {
        Effort::Quick
    };
    let wanted =
        if args.workloads.is_empty() { vec!["member-update".to_owned()] } else { args.workloads.clone() };
    let mut workloads = Vec::new();
    let replicated = engines.iter().any(|e| is_replicated(*e));
    for name in &wanted {
        let opened = args.workload_args.open(workbench, name, &settings)?;
        let said = args.workload_args.records.is_some();
        workloads.push(if said { opened } else { scaled(opened, effort, replicated) });
    }
    let durabilities = match (args.durabilities.as_slice(), effort) {
        ([], Effort::Smoke) => vec![Durability::Os],
        ([], _) => vec![Durability::Os, Durability::Synced],
        (given, _) => given.to_vec(),
    };
    // Both folders are tried before anything is measured.
    let data = args
        .dir
        .as_ref()
        .map_or_else(default_data_folder, |d| d.join(format!("workbench-{}", std::process::id())));
    let unfinished = match &args.out {
        Some(out) if effort == Effort::Full => unfinished(out),
        _ => None,
    };
    let folder = match (&args.out, &unfinished) {
        (Some(out), Some(_)) => ResultFolder::keep(out).map_err(Failure::input)?,
        (Some(out), None) => result_folder(out, &data)?,
        (None, _) => {
            no_file_in_the_way(&data)?;
            let commit = Environment::capture(&data).short_commit().unwrap_or_else(|| "unknown".to_owned());
            ResultFolder::by_time(SystemTime::now(), &commit).map_err(Failure::input)?
        }
    };
    std::fs::create_dir_all(&data).map_err(|e| {
        Failure::Input(format!("data folder {}: {e}; choose another one with --dir", data.display()))
    })?;
    let progress = if args.smoke { Progress::silent() } else { Progress::new(0) };
    let setup = CampaignSetup {
        folder,
        data,
        seed: args.seed,
        quick: !effort.schedule().decides,
        command,
        settings: settings.of_engines.clone(),
    };
    let mut campaign = Campaign::new(setup, stop_on_ctrl_c(), progress);
    let plan = ComparePlan {
        engines,
        floor,
        workloads,
        durabilities,
        schedule: effort.schedule(),
        clients: args.clients,
        rate_per_s: args.rate,
        excursions: excursions(workbench, effort)?,
    };
    if effort == Effort::Full {
        let key = plan.key(&campaign);
        if let Some(earlier) = unfinished {
            let planned = earlier.plan.as_ref().map_or("", |plan| plan.key.as_str());
            if planned != key {
                return Err(Failure::Input(format!(
                    "{} holds an unfinished run of another plan or build ({planned}); finish it with `{}`, remove the \
                     folder, or choose another one with --out",
                    campaign.folder().display(),
                    earlier.command.join(" ")
                )));
            }
            campaign.progress.note("going on with the unfinished run in the folder");
            campaign = campaign.continued(earlier);
        }
        campaign.announce(Plan { key, complete: false });
    }
    let ended = make_comparison(&mut campaign, &plan);
    if let Err(error) = &ended {
        campaign.run.notes.push(format!("The comparison ended early: {error}."));
    }
    campaign.save().map_err(Failure::input)?;
    let page = report::rebuild(campaign.folder()).map_err(Failure::input)?.html;
    if let Err(error) = ended {
        return Err(Failure::Input(format!("{error}\nwhat was measured before is in {}", page.display())));
    }
    if args.json {
        let json = serde_json::to_string_pretty(&campaign.run.comparisons).map_err(Failure::input)?;
        let _ = writeln!(std::io::stdout(), "{json}");
    } else if !args.smoke {
        let _ = std::io::stdout().write_all(findings(&campaign).as_bytes());
    }
    Ok(Compared { report: page, wrong_answers: campaign.wrong_answers() })
}

/// Shares of the reads that celebrities take.
const SKEWS: [f64; 3] = [0.0, 0.3, 0.9];

/// The workloads of other claims than C1 and C2, where the build has them.
fn excursions(workbench: &Workbench, effort: Effort) -> Result<Excursions, Failure> {
    let open = |name: &str, set: Vec<(String, String)>| -> Result<Option<Arc<dyn Workload>>, Failure> {
        let options = OpenOptions { set, ..OpenOptions::default() };
        let known = workbench.workloads.by_name(name).is_some();
        let opened =
            known.then(|| workbench.workloads.open(name, &options)).transpose().map_err(Failure::input)?;
        Ok(opened.map(|opened| opened.workload))
    };
    let contended = open("member-contended", Vec::new())?;
    let mut skewed = Vec::new();
    if effort != Effort::Smoke {
        for share in SKEWS {
            let set = vec![("keys.celebrity_reads".to_owned(), share.to_string())];
            skewed.extend(open("hot-profile", set)?.map(|w| (share, scaled(w, effort, true))));
        }
    }
    Ok(Excursions { contended, skewed })
}

/// Shorter than this, a search for a rate alone would take it all.
const TIME_LIMIT_MIN: Duration = Duration::from_secs(600);

fn time_limit(given: &str) -> Result<Duration, String> {
    let limit = text::duration(given)?;
    if limit < TIME_LIMIT_MIN {
        return Err("at least 10m; without --time-limit a comparison takes about four minutes".to_owned());
    }
    Ok(limit)
}

/// The record of a run that can be continued, if the folder holds one.
fn unfinished(out: &Path) -> Option<Run> {
    Run::read(out).ok().filter(|run| run.plan.as_ref().is_some_and(|plan| !plan.complete))
}

fn is_replicated(engine: &dyn Engine) -> bool {
    let place = Place { dir: PathBuf::new(), durability: Durability::Os, settings: BTreeMap::new() };
    engine.replication(&place).is_some()
}

/// Generated workloads get fewer keys in a short comparison.
fn scaled(workload: Arc<dyn Workload>, effort: Effort, replicated: bool) -> Arc<dyn Workload> {
    let records = match effort {
        Effort::Full => return workload,
        Effort::Quick if replicated => QUICK_RECORDS_REPLICATED,
        Effort::Quick | Effort::Within(_) => QUICK_RECORDS,
        Effort::Smoke => SMOKE_RECORDS,
    };
    if workload.records() <= records {
        return workload;
    }
    let has = |key: &str| workload.parameters().iter().any(|p| p.name == key);
    let Some(key) = ["members", "records"].into_iter().find(|k| has(k)) else { return workload };
    // A workload that refuses keeps its own number: slower, not wrong.
    workload.configured(&[(key.to_owned(), records.to_string())]).unwrap_or(workload)
}

/// The main comparisons for a person; the page has the rest.
fn findings(campaign: &Campaign) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let main = ["response_us.p50", "response_us.p99", HIGHEST_METRIC];
    for c in
        campaign.run.comparisons.iter().filter(|c| c.operation == "all" && main.contains(&c.metric.as_str()))
    {
        let ratio = match (c.ratio, c.ci95) {
            (Some(ratio), Some(ci95)) => format!("{ratio:.2} [{}]", interval(ci95)),
            (Some(ratio), None) => format!("{ratio:.2}"),
            _ => "-".to_owned(),
        };
        let verdict = serde_json::to_value(c.verdict).ok().and_then(|v| v.as_str().map(str::to_owned));
        let words = match verdict.as_deref() {
            Some("a better") => format!("{} better", c.a),
            Some("b better") => format!("{} better", c.b),
            other => other.unwrap_or_default().to_owned(),
        };
        let why = if c.why.is_empty() { String::new() } else { format!(" ({})", c.why) };
        let _ = writeln!(
            text,
            "{:<14} {:<8} {:<16} {}/{} = {ratio}, {} pairs: {words}{why}",
            c.workload, c.durability, c.metric, c.a, c.b, c.pairs
        );
    }
    for sentence in report::detectable::sentences(&campaign.run.comparisons) {
        let _ = writeln!(text, "{sentence}");
    }
    for claim in campaign.run.claims.iter().filter(|c| c.measured.is_some()) {
        let _ = writeln!(text, "{:<14} {}: {}. {}", claim.id, claim.statement, claim.verdict, claim.why);
    }
    text
}
