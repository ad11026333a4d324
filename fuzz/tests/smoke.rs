//! The bounded smoke: each decoder with its seeds, with what becomes of them, and with noise; under a cap of memory.
//!
//! `PROPTEST_CASES` scales (256 by default). A failure names the target and writes the input to a file for
//! `cargo fuzz run`.

mod seeds;

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use cap::Cap;
use engine_env::rng::{Rng, Seed};
use fuzz::{TARGETS, Target};
use rand::{Rng as _, RngExt as _};

/// A packed batch may unpack to 128 MiB. Whoever asks for more than this believes a length that lies: the process is aborted.
const BYTES_MAX: usize = 192 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

fn cases() -> u64 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(256)
}

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name)
}

fn seeds_of(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(folder(target)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a readable file"))).collect()
}

/// Damage of the usual kinds, several at once.
fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    const TELLING: [u64; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, u64::MAX / 2, u64::MAX];
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=bytes.len());
        let left = bytes.len() - at;
        match rng.random_range(0..8) {
            0 => bytes.truncate(at),
            1 if left > 0 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 if left > 0 => bytes[at] = rng.random(),
            3 => {
                let len = [1, 2, 4, 8][rng.random_range(0..4)].min(left);
                let value = TELLING[rng.random_range(0..TELLING.len())];
                let value = if rng.random_bool(0.5) { value.to_le_bytes() } else { value.to_be_bytes() };
                let from = if rng.random_bool(0.5) { 0 } else { 8 - len };
                bytes[at..at + len].copy_from_slice(&value[from..from + len]);
            }
            4 => {
                let mut noise = vec![0; rng.random_range(1..20)];
                rng.fill_bytes(&mut noise);
                drop(bytes.splice(at..at, noise));
            }
            5 => drop(bytes.drain(at..at + rng.random_range(0..=left.min(40)))),
            6 => {
                let copy = bytes[at..at + left.min(rng.random_range(1..60))].to_vec();
                let to = rng.random_range(0..=bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            _ => {
                let len = left.min(rng.random_range(1..60));
                bytes[at..at + len].fill(0);
            }
        }
    }
}

fn survives(target: &Target, bytes: &[u8], from: &str) -> bool {
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + BYTES_MAX).expect("more than is allocated");
    let accepted = catch_unwind(AssertUnwindSafe(|| (target.accepts)(bytes)));
    ALLOCATOR.set_limit(usize::MAX).expect("no limit");
    accepted.unwrap_or_else(|_| {
        let file = std::env::temp_dir().join(format!("{}-{}", target.name, crash_name(bytes)));
        std::fs::write(&file, bytes).expect("a file for the input");
        panic!("{} doesn't survive {from}; its {} bytes are in {}", target.name, bytes.len(), file.display())
    })
}

fn crash_name(bytes: &[u8]) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[test]
fn every_decoder_survives_its_seeds_what_becomes_of_them_and_noise() {
    seeds::write_anew_if_asked();
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + BYTES_MAX).expect("more than is allocated");
    assert!(Vec::<u8>::new().try_reserve(BYTES_MAX + 1).is_err(), "the cap holds");
    for target in TARGETS {
        let seeds = seeds_of(target);
        assert!(!seeds.is_empty(), "{} has no seed in {}", target.name, folder(target).display());
        let (mut accepted, mut refused) = (0, 0);
        for (path, seed) in &seeds {
            assert!(survives(target, seed, &path.display().to_string()), "{} is refused", path.display());
            let mut rng = Seed(1).derive(target.name, seed.len() as u64).rng();
            for n in 0..cases() / seeds.len().min(8) as u64 {
                let mut bytes = seed.clone();
                mutate(&mut bytes, &mut rng);
                match survives(target, &bytes, &format!("{}, changed {n} times", path.display())) {
                    true => accepted += 1,
                    false => refused += 1,
                }
            }
        }
        let mut rng = Seed(2).derive(target.name, 0).rng();
        for n in 0..cases() {
            let mut bytes = vec![0; rng.random_range(0..600)];
            rng.fill_bytes(&mut bytes);
            survives(target, &bytes, &format!("noise {n}"));
        }
        assert!(refused > 0, "{} refuses nothing: {accepted} were accepted", target.name);
    }
}
