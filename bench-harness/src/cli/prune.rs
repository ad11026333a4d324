//! `workbench prune`: the original's prune job, on a node's folder while the node is stopped.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use engine_env::{Backend, Durability, OsHome};
use kv_engine::{KvConfig, KvStore, PruneHow, Routing, RoutingStrategy};

use super::{Failure, ring};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  workbench prune --dir /data/node-0 --cluster config/cluster.xml --stores config/stores.xml --store members --dry-run
  workbench prune --dir /data/node-0 --cluster config/cluster.xml --copies 3

After partitions have moved, clocks still count what nodes wrote that no longer hold the key. Later blind writes count for
the present nodes only, so such an entry keeps the old version beside them for good. A prune deletes versions that are
obsolete once these entries don't count. Run it on all nodes, stopped or one after the other: a node that wasn't pruned
gives the others back what they have deleted, by read repair.")]
pub(super) struct PruneArgs {
    /// Folder of the node's store; no node may be using it
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The cluster's cluster.xml, as it is now
    #[arg(long, value_name = "FILE")]
    cluster: PathBuf,
    /// A stores.xml, or one file of config/STORES
    #[arg(long, value_name = "FILE", required_unless_present = "copies", conflicts_with = "copies")]
    stores: Option<PathBuf>,
    /// Which of its stores; needed where there are several
    #[arg(long, value_name = "NAME", requires = "stores")]
    store: Option<String>,
    /// Nodes that hold each key by consistent routing, in place of --stores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    copies: Option<u16>,
    /// Count what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn prune(args: &PruneArgs) -> Result<(), Failure> {
    let cluster = ring::cluster(&args.cluster)?;
    let routing = match &args.stores {
        Some(stores) => {
            let store = ring::store(stores, args.store.as_deref(), &cluster, &args.cluster)?;
            store.routing_in(&cluster, None, 0)
        }
        None => {
            let copies = args.copies.unwrap_or(1);
            Routing::new(cluster.ring().clone(), RoutingStrategy::Consistent, copies)
        }
    };
    let about = |error: &dyn std::fmt::Display| Failure::Input(format!("{}: {error}", args.dir.display()));
    // Opening an empty folder would make a store of it.
    if !args.dir.join("FORMAT").is_file() {
        return Err(about(&"no store of the key-value engine is here; name a node's folder with --dir"));
    }
    let home = OsHome::open(&args.dir, Backend::Auto).map_err(|error| about(&error))?;
    let config = KvConfig { durability: Durability::Synced, ..KvConfig::default() };
    let (store, _) = KvStore::open(home, config).map_err(|error| about(&error))?;
    let how = if args.dry_run { PruneHow::Count } else { PruneHow::Delete };
    let tells = std::io::stderr().is_terminal();
    let pruned = store.prune(&routing, how, |done, of| {
        if tells && (done.is_multiple_of(8) || done == of) {
            let _ = write!(std::io::stderr(), "\r{done} of {of} parts{}", if done == of { "\n" } else { "" });
        }
    });
    let closed = store.close();
    let pruned = pruned.map_err(|error| about(&error))?;
    closed.map_err(|error| about(&error))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let json = serde_json::json!({
            "keys": pruned.keys,
            "foreign": pruned.foreign,
            "obsolete": pruned.obsolete,
            "deleted": if args.dry_run { 0 } else { pruned.obsolete },
        });
        let _ = writeln!(out, "{}", serde_json::to_string_pretty(&json).map_err(Failure::input)?);
    } else {
        let _ = writeln!(
            out,
            "{} keys, {} of them with a clock that counts nodes that don't hold them; {} obsolete versions {}",
            pruned.keys,
            pruned.foreign,
            pruned.obsolete,
            if args.dry_run { "would be deleted" } else { "deleted" }
        );
    }
    Ok(())
}
