//! Where a read-only store lies: one folder, or one of each node of a cluster.

use std::path::{Path, PathBuf};

use engine_env::{Backend, Home as _, OsDisk, OsHome};
use kv_engine::NodeId;

use crate::cli::Failure;

/// A node's folder of a store, open and locked.
pub(super) struct NodeFolder {
    /// `None` for a folder that was named itself.
    pub(super) node: Option<NodeId>,
    pub(super) path: PathBuf,
    pub(super) disk: OsDisk,
}

impl NodeFolder {
    /// How its lines begin.
    pub(super) fn name(&self) -> String {
        self.node.map_or_else(|| "the store".to_owned(), |node| node.to_string())
    }
}

/// The folder of a node's store in the folder of a cluster.
pub(super) fn of_node(cluster: &Path, node: NodeId, store: &str) -> PathBuf {
    cluster.join(format!("node-{}", node.0)).join(store)
}

/// Opens a folder, which is made if it isn't there.
pub(super) fn open(path: &Path) -> Result<OsHome, Failure> {
    OsHome::open(path, Backend::Blocking).map_err(|e| Failure::Input(format!("{}: {e}", path.display())))
}

/// The store's folders below `dir`, which is a cluster's folder with `node-N/STORE` in it, or the store's own.
pub(super) fn find(dir: &Path, store: &str) -> Result<Vec<NodeFolder>, Failure> {
    let entries = std::fs::read_dir(dir)
        .map_err(|e| Failure::Input(format!("{}: {e}; name a folder that was built in", dir.display())))?;
    let mut nodes = Vec::new();
    let mut is_store = false;
    for entry in entries {
        let entry = entry.map_err(|e| Failure::Input(format!("{}: {e}", dir.display())))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        is_store |= name == "latest" || name.starts_with("version-");
        let node = name.strip_prefix("node-").and_then(|n| n.parse().ok()).map(NodeId);
        nodes.extend(node.filter(|node| of_node(dir, *node, store).is_dir()));
    }
    nodes.sort_unstable();
    let found: Vec<(Option<NodeId>, PathBuf)> = if is_store {
        vec![(None, dir.to_owned())]
    } else {
        nodes.into_iter().map(|node| (Some(node), of_node(dir, node, store))).collect()
    };
    if found.is_empty() {
        return Err(Failure::Input(format!(
            "{}: neither a read-only store nor a cluster's folder with node-N/{store} in it; name another one with \
             --dir, or the store with --store",
            dir.display()
        )));
    }
    found
        .into_iter()
        .map(|(node, path)| {
            let home = open(&path)?;
            let disk = home.disk().map_err(|e| Failure::Input(format!("{}: {e}", path.display())))?;
            Ok(NodeFolder { node, path, disk })
        })
        .collect()
}
