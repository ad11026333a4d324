//! [`Tree`]: the simulated folder's names, as the running system sees them and as the platter holds them.
//!
//! Invariants:
//! * A change of a name is durable after a sync of its directory that was submitted after the change completed.
//! * Of the changes not yet durable a power cut leaves any subset that keeps the order per name: a change that is kept
//!   takes the earlier ones of the same names along. A rename leaves the old name, the new one, or both, never neither;
//!   one that replaced a file leaves the old or the new file under that name.
//! * A directory whose own name is lost takes everything below it along. Its rename is one change: it is under the old
//!   name or the new one, never under both.

use std::collections::{BTreeMap, BTreeSet};

use super::contents::Severity;
use super::dice::Dice;
use crate::{DiskErrorKind, Entry, EntryKind};

/// `ENOTDIR` and `EISDIR`, as the real backends report them.
const NOT_A_DIRECTORY: DiskErrorKind = DiskErrorKind::Os(20);
pub(super) const IS_A_DIRECTORY: DiskErrorKind = DiskErrorKind::Os(21);
/// `EINVAL`: a directory can't be moved below itself.
const BELOW_ITSELF: DiskErrorKind = DiskErrorKind::Os(22);
/// `ENOTEMPTY`.
const NOT_EMPTY: DiskErrorKind = DiskErrorKind::Os(39);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(pub(super) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DirId(u64);

const ROOT: DirId = DirId(0);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(Inode),
    Dir(DirId),
}

#[derive(Debug, Clone, Default)]
struct Dir {
    seen: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    dir: DirId,
    name: String,
}

#[derive(Debug, Clone)]
enum Change {
    Link { to: Place, node: Node },
    Unlink { from: Place },
    Rename { from: Place, to: Place, node: Node },
}

impl Change {
    fn places(&self) -> impl Iterator<Item = &Place> {
        let (one, other) = match self {
            Self::Link { to, .. } => (to, None),
            Self::Unlink { from } => (from, None),
            Self::Rename { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(one).chain(other)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Tree {
    dirs: BTreeMap<u64, Dir>,
    pending: Vec<(u64, Change)>,
    next_dir: u64,
}

/// What became of the unsynced changes of names.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NameFates {
    pub(super) lost: u64,
    pub(super) kept: u64,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { dirs: BTreeMap::from([(ROOT.0, Dir::default())]), pending: Vec::new(), next_dir: 1 }
    }

    fn dir(&self, id: DirId) -> &Dir {
        self.dirs.get(&id.0).expect("a directory lives while a name or a change refers to it")
    }

    fn dir_mut(&mut self, id: DirId) -> &mut Dir {
        self.dirs.get_mut(&id.0).expect("a directory lives while a name or a change refers to it")
    }

    fn find_dir(&self, path: &str) -> Result<DirId, DiskErrorKind> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = match self.dir(at).seen.get(name) {
                Some(Node::Dir(dir)) => *dir,
                Some(Node::File(_)) => return Err(NOT_A_DIRECTORY),
                None => return Err(DiskErrorKind::NotFound),
            };
        }
        Ok(at)
    }

    fn place(&self, path: &str) -> Result<Place, DiskErrorKind> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() {
            return Err(DiskErrorKind::NotFound);
        }
        Ok(Place { dir: self.find_dir(dir)?, name: name.to_owned() })
    }

    fn node(&self, place: &Place) -> Option<Node> {
        self.dir(place.dir).seen.get(&place.name).copied()
    }

    /// The file of that name; `None` if the name is free.
    pub(super) fn find(&self, path: &str) -> Result<Option<Inode>, DiskErrorKind> {
        match self.node(&self.place(path)?) {
            Some(Node::File(inode)) => Ok(Some(inode)),
            Some(Node::Dir(_)) => Err(IS_A_DIRECTORY),
            None => Ok(None),
        }
    }

    pub(super) fn link(&mut self, seq: u64, path: &str, inode: Inode) -> Result<(), DiskErrorKind> {
        let to = self.place(path)?;
        self.dir_mut(to.dir).seen.insert(to.name.clone(), Node::File(inode));
        self.pending.push((seq, Change::Link { to, node: Node::File(inode) }));
        Ok(())
    }

    pub(super) fn create_dir(&mut self, seq: u64, path: &str) -> Result<(), DiskErrorKind> {
        if path.is_empty() {
            return Ok(());
        }
        let to = self.place(path)?;
        match self.node(&to) {
            Some(Node::Dir(_)) => Ok(()),
            Some(Node::File(_)) => Err(DiskErrorKind::AlreadyExists),
            None => {
                let node = Node::Dir(DirId(self.next_dir));
                self.dirs.insert(self.next_dir, Dir::default());
                self.next_dir += 1;
                self.dir_mut(to.dir).seen.insert(to.name.clone(), node);
                self.pending.push((seq, Change::Link { to, node }));
                Ok(())
            }
        }
    }

    pub(super) fn rename(&mut self, seq: u64, from: &str, to: &str) -> Result<(), DiskErrorKind> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        let node = match self.node(&from) {
            Some(node @ Node::File(_)) => node,
            Some(Node::Dir(_)) => return Err(IS_A_DIRECTORY),
            None => return Err(DiskErrorKind::NotFound),
        };
        if matches!(self.node(&to), Some(Node::Dir(_))) {
            return Err(IS_A_DIRECTORY);
        }
        if from != to {
            self.dir_mut(from.dir).seen.remove(&from.name);
            self.dir_mut(to.dir).seen.insert(to.name.clone(), node);
            self.pending.push((seq, Change::Rename { from, to, node }));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, seq: u64, path: &str) -> Result<(), DiskErrorKind> {
        let from = self.place(path)?;
        match self.node(&from) {
            Some(Node::File(_)) => {
                self.dir_mut(from.dir).seen.remove(&from.name);
                self.pending.push((seq, Change::Unlink { from }));
                Ok(())
            }
            Some(Node::Dir(_)) => Err(IS_A_DIRECTORY),
            None => Err(DiskErrorKind::NotFound),
        }
    }

    pub(super) fn rename_dir(&mut self, seq: u64, from: &str, to: &str) -> Result<(), DiskErrorKind> {
        let moved = self.find_dir(from)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        if self.node(&to).is_some() {
            return Err(DiskErrorKind::AlreadyExists);
        }
        if self.is_below(to.dir, moved) {
            return Err(BELOW_ITSELF);
        }
        self.dir_mut(from.dir).seen.remove(&from.name);
        self.dir_mut(to.dir).seen.insert(to.name.clone(), Node::Dir(moved));
        self.pending.push((seq, Change::Rename { from, to, node: Node::Dir(moved) }));
        Ok(())
    }

    fn is_below(&self, dir: DirId, above: DirId) -> bool {
        let below = |node: &Node| matches!(node, Node::Dir(under) if self.is_below(dir, *under));
        dir == above || self.dir(above).seen.values().any(below)
    }

    pub(super) fn remove_dir(&mut self, seq: u64, path: &str) -> Result<(), DiskErrorKind> {
        let removed = self.find_dir(path)?;
        let from = self.place(path)?;
        if !self.dir(removed).seen.is_empty() {
            return Err(NOT_EMPTY);
        }
        self.dir_mut(from.dir).seen.remove(&from.name);
        self.pending.push((seq, Change::Unlink { from }));
        Ok(())
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<Entry>, DiskErrorKind> {
        let dir = self.dir(self.find_dir(path)?);
        let entry = |(name, node): (&String, &Node)| Entry {
            name: name.clone(),
            kind: match node {
                Node::File(_) => EntryKind::File,
                Node::Dir(_) => EntryKind::Dir,
            },
        };
        Ok(dir.seen.iter().map(entry).collect())
    }

    /// Every file the running system sees, by path.
    pub(super) fn files(&self) -> Vec<(String, Inode)> {
        let mut found = Vec::new();
        let mut open = vec![(String::new(), ROOT)];
        while let Some((prefix, dir)) = open.pop() {
            for (name, node) in &self.dir(dir).seen {
                let path = format!("{prefix}{name}");
                match node {
                    Node::File(inode) => found.push((path, *inode)),
                    Node::Dir(below) => open.push((format!("{path}/"), *below)),
                }
            }
        }
        found.sort();
        found
    }

    /// Makes the changes in a directory durable that are older than `covers`.
    pub(super) fn sync_dir(&mut self, path: &str, covers: u64) -> Result<(), DiskErrorKind> {
        let mut synced = vec![self.find_dir(path)?];
        // A name that is gone for good needs its new place to be durable first, and that directory's earlier changes.
        loop {
            let before = synced.len();
            for (_, change) in self.pending.iter().filter(|(seq, _)| *seq < covers) {
                if let Change::Rename { from, to, .. } = change
                    && synced.contains(&from.dir)
                    && !synced.contains(&to.dir)
                {
                    synced.push(to.dir);
                }
            }
            if synced.len() == before {
                break;
            }
        }
        for (seq, change) in std::mem::take(&mut self.pending) {
            if seq >= covers || !change.places().any(|place| synced.contains(&place.dir)) {
                self.pending.push((seq, change));
                continue;
            }
            match change {
                // Only the new name was asked for: the old one may still be there after a power cut.
                Change::Rename { from, to, node: node @ Node::File(_) } if !synced.contains(&from.dir) => {
                    self.apply(&Change::Link { to, node });
                    self.pending.push((seq, Change::Unlink { from }));
                }
                change => self.apply(&change),
            }
        }
        self.forget_changes_in_removed_dirs();
        Ok(())
    }

    /// A directory that is gone for good takes what was still pending in it along; a file that left it stays.
    fn forget_changes_in_removed_dirs(&mut self) {
        let Self { dirs, pending, .. } = self;
        let is_gone = |place: &Place| !dirs.contains_key(&place.dir.0);
        for (_, change) in &mut *pending {
            if let Change::Rename { from, to, node } = change
                && is_gone(from)
            {
                *change = Change::Link { to: to.clone(), node: *node };
            }
        }
        pending.retain(|(_, change)| !change.places().any(is_gone));
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Link { to, node } => {
                self.dir_mut(to.dir).durable.insert(to.name.clone(), *node);
            }
            Change::Unlink { from } => {
                if let Some(Node::Dir(removed)) = self.dir_mut(from.dir).durable.remove(&from.name) {
                    self.dirs.remove(&removed.0);
                }
            }
            Change::Rename { from, to, node } => {
                self.dir_mut(from.dir).durable.remove(&from.name);
                self.dir_mut(to.dir).durable.insert(to.name.clone(), *node);
            }
        }
    }

    /// The power is cut: what the platter holds becomes all there is.
    pub(super) fn cut_power(&mut self, severity: Severity, dice: &mut Dice) -> NameFates {
        let mut fates = NameFates::default();
        let pending: Vec<Change> = std::mem::take(&mut self.pending).into_iter().map(|(_, c)| c).collect();
        let mut keep: Vec<bool> = Vec::with_capacity(pending.len());
        for _ in &pending {
            keep.push(match severity {
                Severity::Lose => false,
                Severity::Keep | Severity::LengthsOnly => true,
                Severity::Dice { keep, .. } => dice.chance(keep),
            });
        }
        for late in (1..pending.len()).rev() {
            if keep[late] {
                for early in 0..late {
                    keep[early] |= pending[early].places().any(|p| pending[late].places().any(|q| p == q));
                }
            }
        }
        for (change, keep) in pending.into_iter().zip(keep) {
            if !keep {
                fates.lost += 1;
                continue;
            }
            fates.kept += 1;
            match change {
                Change::Rename { to, node: node @ Node::File(_), .. }
                    if matches!(severity, Severity::Dice { .. }) && dice.chance(0.3) =>
                {
                    self.apply(&Change::Link { to, node });
                }
                change => self.apply(&change),
            }
        }
        for dir in self.dirs.values_mut() {
            dir.seen.clone_from(&dir.durable);
        }
        self.drop_unreachable();
        fates
    }

    fn drop_unreachable(&mut self) {
        let mut reachable = BTreeSet::new();
        let mut open = vec![ROOT];
        while let Some(dir) = open.pop() {
            reachable.insert(dir.0);
            open.extend(self.dir(dir).seen.values().filter_map(|node| match node {
                Node::Dir(below) => Some(*below),
                Node::File(_) => None,
            }));
        }
        self.dirs.retain(|id, _| reachable.contains(id));
    }

    /// The files that a name refers to, now or after some power cut.
    pub(super) fn referenced(&self) -> BTreeSet<Inode> {
        let named = self.dirs.values().flat_map(|d| d.seen.values().chain(d.durable.values()));
        let pending = self.pending.iter().filter_map(|(_, change)| match change {
            Change::Link { node, .. } | Change::Rename { node, .. } => Some(node),
            Change::Unlink { .. } => None,
        });
        named
            .chain(pending)
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                Node::Dir(_) => None,
            })
            .collect()
    }
}
