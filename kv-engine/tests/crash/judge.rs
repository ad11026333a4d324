//! The judge: what may be there after a crash. It knows what was taken and what was acknowledged, and nothing of
//! how the store works.

use kv_engine::{MemoryStorage, Storage};

use crate::program::{Dump, History, Write};

pub(crate) fn dump(model: &MemoryStorage) -> Dump {
    let mut dump = Dump::new();
    model.for_each(|key, versions| drop(dump.insert(key.to_vec(), versions.to_vec())));
    dump
}

fn load(base: &Dump) -> MemoryStorage {
    let model = MemoryStorage::new();
    for (key, versions) in base {
        for version in versions {
            model.put(key, version).expect("siblings stand beside each other");
        }
    }
    model
}

fn apply(model: &MemoryStorage, write: &Write) -> Result<(), String> {
    match write {
        Write::Put { key, version } => model.put(key, version).map_err(|e| format!("wrongly taken: {e}")),
        Write::Delete { key, version } => model.delete(key, version).map(drop).map_err(|e| e.to_string()),
    }
}

/// The found state is the one after some of the writes: all of the first `at_least`, and then a prefix of the rest.
///
/// Writes become durable in the order in which they were taken, so this covers K1 to K5 at once: nothing acknowledged
/// is lost, nothing deleted comes back, nothing appears that was never written, no sibling is lost, no write is there
/// in part.
///
/// # Errors
/// It isn't: both states, in words.
pub(crate) fn check_prefix(
    base: &Dump,
    history: &History,
    at_least: usize,
    found: &Dump,
) -> Result<(), String> {
    let model = load(base);
    let mut reached = Vec::new();
    for n in 0..=history.taken.len() {
        if n > 0 {
            apply(&model, &history.taken[n - 1])?;
        }
        if n >= at_least {
            let state = dump(&model);
            if state == *found {
                return Ok(());
            }
            reached.push(state);
        }
    }
    Err(format!(
        "{} writes taken, {at_least} must be there\nfound {}\nnearest allowed {}",
        history.taken.len(),
        show(found),
        reached.first().map_or_else(String::new, show),
    ))
}

/// No version is there that was never written (K3): all that `os` promises after a power cut.
///
/// # Errors
/// One is.
pub(crate) fn check_no_phantom(base: &Dump, history: &History, found: &Dump) -> Result<(), String> {
    for (key, versions) in found {
        for version in versions {
            let known = base.get(key).is_some_and(|old| old.contains(version))
                || history
                    .taken
                    .iter()
                    .any(|w| matches!(w, Write::Put { key: k, version: v } if k == key && v == version));
            if !known {
                return Err(format!("{key:?} at {} was never written", version.clock));
            }
        }
    }
    Ok(())
}

pub(crate) fn show(dump: &Dump) -> String {
    let keys = dump.iter().map(|(key, versions)| {
        let versions = versions.iter().map(|v| format!("{}={}B", v.clock, v.value.len()));
        format!("{}:[{}]", key[1], versions.collect::<Vec<_>>().join(" "))
    });
    keys.collect::<Vec<_>>().join(" ")
}
