//! What a key-value store's folder holds, through the store's own recovery and reads.

use engine_env::{Durability, File, Home};
use kv_engine::{Bitcask, GetError, RecoveryReport};

use super::dump_line::{Dump, DumpLine};
use super::token::{Key, ValueCrc};
use super::write_kv::{clock_of, config};

/// Recovers the folder and reads everything. With `synced`: what is told is on the disk afterwards.
pub(super) fn read<H: Home>(home: H) -> Result<Dump, Box<dyn std::error::Error + Send + Sync>> {
    let mut disk = home.disk()?;
    let (store, report) = Bitcask::open(&mut disk, config(Durability::Synced))?;
    Ok(dump(&store, &report))
}

/// All versions of all keys, and all damage.
pub(crate) fn dump<F: File>(store: &Bitcask<F>, report: &RecoveryReport) -> Dump {
    let damage = report.damage.iter().map(|damage| {
        let why = format!("{} bytes: {}", damage.bytes, damage.why);
        DumpLine::bad(&format!("{}@{}", damage.file, damage.position), &why)
    });
    let mut lines: Vec<DumpLine> = damage.collect();
    store.for_each(|key, versions| {
        let key = Key(key.to_vec());
        match versions {
            Ok(versions) => lines.extend(versions.iter().map(|version| DumpLine::Val {
                key: key.clone(),
                clock: clock_of(&version.clock),
                value: ValueCrc::of(&version.value),
            })),
            Err(GetError::Corrupt { file, position, why }) => {
                lines.push(DumpLine::bad(&format!("{file}@{position}"), &format!("key {key}: {why}")));
            }
            Err(error) => lines.push(DumpLine::bad(&format!("key:{key}"), &error.to_string())),
        }
    });
    Dump::new(lines)
}
