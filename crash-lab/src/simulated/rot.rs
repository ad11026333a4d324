//! Damage to a closed folder: one flipped bit, or bytes of another place or an earlier time. Whatever is served is right,
//! the rest is reported with its place, and no more is lost than what was hit.

use std::collections::HashSet;

use engine_env::sim::Crash;
use rand::RngExt as _;

use super::life::{History, Lived, Recovery, listed};
use super::plan::Plan;
use super::subject::Subject;
use super::summary::FaultClass;
use crate::stress::{Dump, DumpLine, Token, Violation};

/// What the device reads and writes as a unit.
const SECTOR: u64 = 512;
/// How many ways of damaging it a closed folder is put through.
const TIMES: u64 = 8;

/// One bit of a closed folder flips.
pub(super) fn rot<S: Subject>(seed: u64, plan: &Plan<'_>) -> Lived {
    damaged::<S>("rot", seed, plan, flip)
}

/// A sector or a record of a closed folder holds what belongs elsewhere, or what it held before it was last written.
pub(super) fn misdirected<S: Subject>(seed: u64, plan: &Plan<'_>) -> Lived {
    damaged::<S>("misdirected", seed, plan, misdirect::<S>)
}

/// What was done to the folder, in words, and how many keys it may have cost; nothing if there was nothing to damage.
type Hit = Option<(String, usize)>;

fn damaged<S: Subject>(
    name: &'static str,
    seed: u64,
    plan: &Plan<'_>,
    damage: impl Fn(&mut History<'_>, &[(String, u64)]) -> Result<Hit, String>,
) -> Lived {
    let mut history = History::new(name, seed, plan, None);
    let mut lives = || -> Result<(), String> {
        let mut subject: S = history.recover(Recovery::Undisturbed)?;
        history.live(&mut subject, 200)?;
        subject.close(&mut history.notes).map_err(|e| format!("a healthy engine doesn't close: {e}"))?;
        let whole = history.home.clone();
        for _ in 0..TIMES {
            history.go_on_with(whole.fork());
            history.reboot(Crash::LoseUnsynced);
            let wants_records = history.rng.random_bool(0.8);
            let files = files::<S>(&history, wants_records);
            if files.is_empty() {
                continue;
            }
            let Some((place, keys_max)) = damage(&mut history, &files)? else { continue };
            history.note(format_args!("{place}"));
            look::<S>(&mut history, &place, if wants_records { keys_max } else { 0 })?;
        }
        Ok(())
    };
    let result = lives();
    history.finish(result)
}

/// The files that hold records, or the others, with their lengths.
fn files<S: Subject>(history: &History<'_>, with_records: bool) -> Vec<(String, u64)> {
    let files = history.home.files().into_iter();
    files
        .filter(|path| path != "FORMAT" && S::holds_records(path) == with_records)
        .map(|path| {
            let len = history.home.seen_bytes(&path).map_or(0, |bytes| bytes.len() as u64);
            (path, len)
        })
        .filter(|(_, len)| *len > 0)
        .collect()
}

fn flip(history: &mut History<'_>, files: &[(String, u64)]) -> Result<Hit, String> {
    let (path, len) = &files[history.rng.random_range(0..files.len())];
    let bit = history.rng.random_range(0..len * 8);
    history.home.flip_bit(path, bit).map_err(|e| e.to_string())?;
    history.summary.count(FaultClass::BitFlip, 1);
    Ok(Some((format!("bit {} of byte {} of {path} flipped", bit % 8, bit / 8), 1)))
}

fn misdirect<S: Subject>(history: &mut History<'_>, files: &[(String, u64)]) -> Result<Hit, String> {
    let (to, to_len) = files[history.rng.random_range(0..files.len())].clone();
    // Within one folder: nothing in Kafka's format ties a batch to its partition, so a batch of another one whose offset
    // happens to fit is beyond what the log can tell.
    let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let near: Vec<_> = files.iter().filter(|(path, _)| folder(path) == folder(&to)).collect();
    let (from, from_len) = near[history.rng.random_range(0..near.len())].clone();
    let bytes = history.home.seen_bytes(&from).map_err(|e| e.to_string())?;
    let target = history.home.seen_bytes(&to).map_err(|e| e.to_string())?;
    let (source, at, what) = match history.rng.random_range(0..3) {
        // A record where another one was: only what ties it to its place tells.
        0 => {
            let (sources, targets) = (S::records_in(&bytes), S::records_in(&target));
            if sources.is_empty() || targets.is_empty() {
                return Ok(None);
            }
            let source = sources[history.rng.random_range(0..sources.len())].clone();
            let at = targets[history.rng.random_range(0..targets.len())].start;
            let len = (source.end - source.start).min(to_len - at);
            let start = source.start as usize;
            (bytes[start..start + len as usize].to_vec(), at, format!("record at {start} of {from}"))
        }
        1 => {
            let start = history.rng.random_range(0..from_len.div_ceil(SECTOR)) * SECTOR;
            let at = history.rng.random_range(0..to_len.div_ceil(SECTOR)) * SECTOR;
            let len = SECTOR.min(from_len - start).min(to_len - at);
            let range = start as usize..(start + len) as usize;
            (bytes[range].to_vec(), at, format!("sector at {start} of {from}"))
        }
        // The write never reached the platter, and nobody was told: what the zero-filled space held.
        _ => {
            let at = history.rng.random_range(0..to_len.div_ceil(SECTOR)) * SECTOR;
            (vec![0; SECTOR.min(to_len - at) as usize], at, "zeros of before the write".to_owned())
        }
    };
    let (at_usize, end) = (at as usize, at as usize + source.len());
    if target[at_usize..end] == source[..] {
        return Ok(None);
    }
    history.home.corrupt(&to, at, &source).map_err(|e| e.to_string())?;
    history.summary.count(FaultClass::Misdirected, 1);
    Ok(Some((format!("{} bytes at {at} of {to} are the {what}", source.len()), usize::MAX)))
}

/// Opens the damaged folder and judges what it serves.
fn look<S: Subject>(history: &mut History<'_>, place: &str, keys_max: usize) -> Result<(), String> {
    history.begin_life();
    let subject: S =
        history.open(&history.home).map_err(|e| format!("{place}: the engine doesn't open: {e}"))?;
    let dump = subject.dump();
    history.summary.damage += dump.damage().count() as u64;
    let violations = history.violations::<S>(&dump);
    if violations.is_empty() || excused(&dump, &violations, keys_max) {
        return Ok(());
    }
    let damage: Vec<String> = dump.damage().map(ToString::to_string).collect();
    Err(format!("{place}:\n{}\nreported: [{}]", listed(&violations), damage.join("; ")))
}

/// Whether reported damage explains the violations: records lost within it, or versions of no more keys than were hit.
/// Wrong bytes are never excused.
fn excused(dump: &Dump, violations: &[Violation], keys_max: usize) -> bool {
    if keys_max == 0 || dump.damage().next().is_none() {
        return false;
    }
    let damaged: Vec<_> = dump.damage().filter_map(DumpLine::damaged_offsets).collect();
    let mut keys = HashSet::new();
    violations.iter().all(|violation| match violation {
        Violation::PutLost { put: cited, .. } | Violation::DeletedIsBack { del: cited, .. } => {
            if let Token::Put { key, .. } | Token::Del { key, .. } = &cited.token {
                keys.insert(key.clone());
            }
            keys.len() <= keys_max
        }
        Violation::RecordLost { app, .. } => match &app.token {
            Token::App { to, offset: Some(offset), .. } => {
                damaged.iter().any(|(of, offsets)| of == to && offsets.contains(offset))
            }
            _ => false,
        },
        _ => false,
    })
}
