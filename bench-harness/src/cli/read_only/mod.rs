//! `workbench read-only`: stores that are built in batches, swapped in at once and rolled back.

mod build;
mod folders;
mod input;
mod placed;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use engine_env::{OsDisk, OsFile};
use kv_engine::{
    ReadOnlyCheck, ReadOnlyConfig, ReadOnlyOpenError, ReadOnlyStore, SwapError, Swapped, read_only_versions,
    roll_back_read_only, swap_read_only, verify_read_only,
};

use super::Failure;
use folders::NodeFolder;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench read-only build --input members.jsonl --dir /data/cluster --nodes 3 --partitions 12 --copies 2
  workbench read-only swap --dir /data/cluster                serve what was built, on all nodes
  workbench read-only get --dir /data/cluster 4f206e94-9d1c-4ff6-9d99-0efcf1f30fb3
  workbench read-only rollback --dir /data/cluster            serve the version before again
  workbench read-only verify --dir /data/cluster              every byte and every record; exit code 1 if damaged

A version is built beside the one that is served and changes nothing until it is swapped in; a swap is one rename, so a
crash leaves the old version or the new one. Files are those of Voldemort's read-only format 2.")]
pub(super) struct ReadOnlyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the next version from a file of records, for one node or for all of a cluster
    Build(build::BuildArgs),
    /// Verify a newer version and serve it, on all nodes or on none
    Swap(SwapArgs),
    /// Serve an older version again and set newer ones aside, on all nodes
    Rollback(SwapArgs),
    /// Print the value of a key from the served version
    Get(GetArgs),
    /// Read all of a version and name what isn't as it was built
    Verify(VerifyArgs),
    /// List versions by node
    List(ListArgs),
}

/// Which store.
#[derive(Debug, Args)]
struct StoreArgs {
    /// Folder of a cluster (with node-N/STORE in it), or of one store
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Name of the store in a cluster's folder
    #[arg(long, value_name = "NAME", default_value = DEFAULT_STORE)]
    store: String,
}

const DEFAULT_STORE: &str = "members";

#[derive(Debug, Args)]
struct SwapArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Version to serve [default: the newest for a swap, the one before the served one for a rollback]
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// How many older versions a swap keeps for a rollback; older ones are removed
    #[arg(long, value_name = "N", default_value_t = 1)]
    backups: usize,
}

#[derive(Debug, Args)]
struct GetArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The key, as text
    #[arg(value_name = "KEY")]
    key: String,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Version to verify [default: the served one]
    #[arg(long, value_name = "N")]
    version: Option<u64>,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn read_only(args: &ReadOnlyArgs) -> Result<(), Failure> {
    match &args.command {
        Command::Build(args) => build::build(args),
        Command::Swap(args) => change(args, &SWAP),
        Command::Rollback(args) => change(args, &ROLLBACK),
        Command::Get(args) => get(args),
        Command::Verify(args) => verify(args),
        Command::List(args) => list(args),
    }
}

/// Swaps in what was built a moment ago.
fn swap_in(dir: &Path, store: &str, version: u64) -> Result<(), Failure> {
    let store = StoreArgs { dir: dir.to_owned(), store: store.to_owned() };
    let args = SwapArgs { store, version: Some(version), backups: ReadOnlyConfig::default().backups };
    change(&args, &SWAP)
}

/// A swap or a rollback.
struct Change {
    make: Make,
    newer: bool,
    done: &'static str,
}

type Make = fn(&mut OsDisk, Option<u64>, &ReadOnlyConfig) -> Result<Swapped, SwapError>;

const SWAP: Change = Change { make: swap_read_only, newer: true, done: "swapped in" };
const ROLLBACK: Change = Change { make: roll_back_read_only, newer: false, done: "rolled back to" };

fn find(args: &StoreArgs) -> Result<Vec<NodeFolder>, Failure> {
    folders::find(&args.dir, &args.store)
}

fn about(folder: &NodeFolder, error: &impl std::fmt::Display) -> Failure {
    Failure::Input(format!("{}: {error}", folder.path.display()))
}

/// Changes every node to the same version. If one can't, those that were changed already go back where they can.
fn change(args: &SwapArgs, change: &Change) -> Result<(), Failure> {
    let mut folders = find(&args.store)?;
    let version = common(&mut folders, args.version, change.newer)?;
    let config = ReadOnlyConfig::keeping(args.backups);
    let mut changed: Vec<Option<u64>> = Vec::new();
    for at in 0..folders.len() {
        let folder = &mut folders[at];
        match (change.make)(&mut folder.disk, version, &config) {
            Ok(swapped) => {
                changed.push(swapped.from);
                let _ = writeln!(std::io::stdout(), "{}: {}", folder.name(), told(&swapped, change.done));
            }
            Err(error) => {
                let mut why = format!("{}: {error}", folder.path.display());
                for (folder, from) in folders.iter_mut().zip(changed) {
                    why.push_str(&undo(folder, from, &config));
                }
                return Err(Failure::Input(why));
            }
        }
    }
    Ok(())
}

/// The version that all nodes will change to: the one asked for, or the best that all have whole. `None` if there is
/// none; then a node says what is missing.
fn common(folders: &mut [NodeFolder], asked: Option<u64>, newer: bool) -> Result<Option<u64>, Failure> {
    let mut nodes = Vec::new();
    for folder in folders {
        let versions = read_only_versions(&mut folder.disk).map_err(|e| about(folder, &e))?;
        nodes.push((folder.name(), versions));
    }
    if let Some(version) = asked {
        return match nodes.iter().find(|(_, versions)| !versions.whole.contains(&version)) {
            None => Ok(asked),
            Some((name, _)) => Err(Failure::Input(format!(
                "{name} has no whole version {version}, so no node was changed; `workbench read-only list` shows what \
                 there is"
            ))),
        };
    }
    let (_, first) = nodes.first().expect("at least one folder was found");
    let on_the_right_side = |version: u64| {
        first.served.is_none_or(|served| if newer { version > served } else { version < served })
    };
    let on_all = |version: u64| nodes.iter().all(|(_, versions)| versions.whole.contains(&version));
    Ok(first.whole.iter().rev().copied().find(|version| on_the_right_side(*version) && on_all(*version)))
}

/// Changes a node back to what it served; tells what came of it.
fn undo(folder: &mut NodeFolder, from: Option<u64>, config: &ReadOnlyConfig) -> String {
    let name = folder.name();
    let Some(version) = from else {
        return format!("\n{name} served nothing before and keeps the new version");
    };
    match roll_back_read_only(&mut folder.disk, Some(version), config) {
        Ok(_) => format!("\n{name} is back at version {version}"),
        Err(error) => format!("\n{name} couldn't go back to version {version}: {error}"),
    }
}

fn told(swapped: &Swapped, done: &str) -> String {
    let list = |versions: &[u64]| versions.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let mut text = format!("{done} version {}", swapped.to);
    if let Some(from) = swapped.from {
        text.push_str(&format!(", served before: {from}"));
    }
    if !swapped.removed.is_empty() {
        text.push_str(&format!(", removed: {}", list(&swapped.removed)));
    }
    if !swapped.set_aside.is_empty() {
        text.push_str(&format!(", set aside: {}", list(&swapped.set_aside)));
    }
    text
}

fn opened(folder: &mut NodeFolder) -> Result<ReadOnlyStore<OsFile>, Failure> {
    ReadOnlyStore::open(&mut folder.disk, ReadOnlyCheck::Indexes).map_err(|e| match e {
        ReadOnlyOpenError::Damaged { .. } => Failure::Check(format!("{}: {e}", folder.path.display())),
        e => about(folder, &e),
    })
}

fn get(args: &GetArgs) -> Result<(), Failure> {
    let key = args.key.as_bytes();
    let mut held = false;
    for mut folder in find(&args.store)? {
        let store = opened(&mut folder)?;
        if !store.holds(key) {
            continue;
        }
        held = true;
        let value =
            store.value(key).map_err(|e| Failure::Check(format!("{}: {e}", folder.path.display())))?;
        if let Some(value) = value {
            let mut out = std::io::stdout().lock();
            let written = out.write_all(&value).and_then(|()| out.write_all(b"\n"));
            return written.map_err(Failure::input);
        }
    }
    Err(Failure::Check(if held {
        format!("no value for `{}`", args.key)
    } else {
        format!("no node here holds the partition of `{}`; name the folder of the whole cluster", args.key)
    }))
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let mut places = 0;
    for mut folder in find(&args.store)? {
        let version = match args.version {
            Some(version) => version,
            None => served(&mut folder)?.ok_or_else(|| about(&folder, &ReadOnlyOpenError::Empty))?,
        };
        let verified = verify_read_only(&mut folder.disk, version);
        let mut out = std::io::stdout().lock();
        for damage in &verified.damage {
            let _ = writeln!(out, "{}: {damage}", folder.path.display());
        }
        let _ = writeln!(
            out,
            "{}: version {version}, {} keys, {} bytes, {} damaged places",
            folder.name(),
            verified.keys,
            verified.bytes,
            verified.damage.len()
        );
        places += verified.damage.len();
    }
    match places {
        0 => Ok(()),
        n => Err(Failure::Check(format!("{n} damaged places, listed above; build the version anew"))),
    }
}

fn served(folder: &mut NodeFolder) -> Result<Option<u64>, Failure> {
    read_only_versions(&mut folder.disk).map(|versions| versions.served).map_err(|e| about(folder, &e))
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut nodes = Vec::new();
    for mut folder in find(&args.store)? {
        let versions = read_only_versions(&mut folder.disk).map_err(|e| about(&folder, &e))?;
        nodes.push((folder, versions));
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(folder, versions)| {
                serde_json::json!({
                    "node": folder.node.map(|node| node.0),
                    "folder": folder.path,
                    "served": versions.served,
                    "whole": versions.whole,
                    "set_aside": versions.set_aside,
                })
            })
            .collect();
        let _ = writeln!(out, "{}", serde_json::to_string_pretty(&nodes).map_err(Failure::input)?);
        return Ok(());
    }
    for (folder, versions) in &nodes {
        let of = |version: &u64| {
            let mark = if Some(*version) == versions.served { " (served)" } else { "" };
            format!("{version}{mark}")
        };
        let whole = versions.whole.iter().map(of);
        let all: Vec<_> =
            whole.chain(versions.set_aside.iter().map(|v| format!("{v} (set aside)"))).collect();
        let all = if all.is_empty() { "none yet".to_owned() } else { all.join(", ") };
        let _ = writeln!(out, "{}: versions {all}", folder.name());
    }
    Ok(())
}
