//! [`Placed`]: for which nodes a store is built, and which keys each of them holds: by a cluster's own files, or dealt out
//! in turn.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use kv_engine::{NodeId, Placement, Ring};

use super::DEFAULT_STORE;
use crate::cli::{Failure, ring};

#[derive(Debug, Args)]
pub(super) struct PlacedArgs {
    /// The cluster's cluster.xml: its nodes and their partitions
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "partitions"])]
    cluster: Option<PathBuf>,
    /// A stores.xml, or one file of config/STORES: how many nodes hold each key, and which
    #[arg(long, value_name = "FILE", requires = "cluster", conflicts_with = "copies")]
    stores: Option<PathBuf>,
    /// Name of the store [default: members, or the only one of --stores]
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// Nodes, with the partitions dealt out in turn
    #[arg(long, value_name = "N", default_value_t = 1)]
    nodes: u16,
    /// Partitions of the ring
    #[arg(long, value_name = "N", default_value_t = 12)]
    partitions: u32,
    /// Nodes that hold each key
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    copies: u16,
}

pub(super) struct Placed {
    pub(super) nodes: Vec<NodeId>,
    pub(super) placement: Placement,
    pub(super) store: String,
}

impl Placed {
    pub(super) fn of(args: &PlacedArgs) -> Result<Self, Failure> {
        let name = args.store.clone().unwrap_or_else(|| DEFAULT_STORE.to_owned());
        let Some(file) = &args.cluster else {
            let ring = Ring::even(args.nodes, args.partitions).map_err(Failure::input)?;
            return Self::consistent(&ring, args.copies, name, "add nodes with --nodes");
        };
        let cluster = ring::cluster(file)?;
        let Some(stores) = &args.stores else {
            let way_out = format!("{} lists no more", file.display());
            return Self::consistent(cluster.ring(), args.copies, name, &way_out);
        };
        let store = ring::store(stores, args.store.as_deref(), &cluster, file)?;
        if store.persistence != "read-only" {
            let _ = writeln!(
                std::io::stderr(),
                "{}: store {:?} has the persistence {:?}; nodes serve what is built here only with read-only",
                stores.display(),
                store.name,
                store.persistence
            );
        }
        let routing = store.routing_in(&cluster, None, 0);
        let nodes = cluster.ring().nodes().to_vec();
        Ok(Self { nodes, placement: Placement::routed(&routing), store: store.name })
    }

    fn consistent(ring: &Ring, copies: u16, store: String, way_out: &str) -> Result<Self, Failure> {
        let nodes = ring.nodes().to_vec();
        if usize::from(copies) > nodes.len() {
            return Err(Failure::Input(format!(
                "--copies {copies}: there are only {} nodes to hold them; {way_out}",
                nodes.len()
            )));
        }
        Ok(Self { nodes, placement: Placement::consistent(ring, copies), store })
    }
}
