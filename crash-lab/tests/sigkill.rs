//! Writers killed with `kill -9`, round after round on one folder: nothing acknowledged is lost, nothing is there that
//! was never attempted, and recovering twice changes nothing.
//!
//! What this can't show: a killed process leaves the page cache, so a missing sync goes unnoticed here. The simulated
//! power cuts are for that.
//!
//! `WORKBENCH_ROUNDS=500 cargo test -p crash-lab --test sigkill` kills 500 writers for each of the four tests.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crash_lab::stress::{Engine, Transcript, check};
use engine_env::rng::Seed;
use rand::RngExt as _;

const ROUNDS: u64 = 20;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number in the environment"))
}

/// An empty folder on the file system of the build, which is a real one where `/tmp` may be memory.
fn fresh(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if dir.exists() {
        fs::remove_dir_all(&dir).expect("the folder of an earlier test can be removed");
    }
    fs::create_dir_all(&dir).expect("a folder can be created below the build's");
    dir
}

fn wait(span: Duration) {
    let until = Instant::now() + span;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

#[expect(clippy::print_stderr, reason = "a random test tells its seed and what it saw")]
fn kill_again_and_again(engine: Engine, durability: &str) {
    let rounds = number("WORKBENCH_ROUNDS", ROUNDS);
    let seed = number("WORKBENCH_SEED", 20_261_122);
    let place = fresh(&format!("sigkill-{engine}-{durability}"));
    let dir = place.join("data");
    let mut rng = Seed(seed).derive(durability, 0).rng();
    let mut transcript = Transcript::default();
    for round in 1..=rounds {
        let context = format!("{engine} {durability}, seed {seed}, round {round}, in {}", place.display());
        let printed = place.join("printed");
        let complaints = place.join("complaints");
        let mut writer = Command::new(env!("CARGO_BIN_EXE_stress-writer"))
            .arg(engine.to_string())
            .arg(&dir)
            .arg((seed + round).to_string())
            .arg(durability)
            .stdin(Stdio::null())
            .stdout(File::create(&printed).expect("a file for the lines"))
            .stderr(File::create(&complaints).expect("a file for the errors"))
            .spawn()
            .expect("the writer starts");
        // Some are killed while they still recover what the one before them left.
        wait(Duration::from_millis(if round % 5 == 0 {
            rng.random_range(1..50)
        } else {
            rng.random_range(50..300)
        }));
        if let Some(status) = writer.try_wait().expect("the writer's state is known") {
            let complaints = fs::read_to_string(&complaints).unwrap_or_default();
            panic!("the writer ended by itself with {status}: {complaints} ({context})");
        }
        writer.kill().expect("the writer can be killed");
        writer.wait().expect("the killed writer ends");
        let lines = fs::read(&printed).expect("the lines can be read");
        transcript.add_run("printed", &lines).unwrap_or_else(|e| panic!("{e} ({context})"));
        if !dir.exists() {
            continue;
        }
        let verdict = check(engine, &dir, &transcript.acked(), Some(&transcript.attempted()))
            .unwrap_or_else(|e| panic!("{e} ({context})"));
        let found: Vec<String> = verdict.violations.iter().take(20).map(ToString::to_string).collect();
        assert!(
            found.is_empty(),
            "{} violations ({context}):\n{}",
            verdict.violations.len(),
            found.join("\n")
        );
        assert!(verdict.damage.is_empty(), "a kill damages nothing: {:?} ({context})", verdict.damage);
    }
    let (attempted, acked) = transcript.counts();
    eprintln!(
        "{engine} {durability}: {rounds} kills, {attempted} operations attempted, {acked} acknowledged"
    );
    assert!(
        acked as u64 > 10 * rounds,
        "the writers hardly got to write: {acked} acknowledged in {rounds} rounds"
    );
    // With `os` an operation is in flight for microseconds, and few kills hit one.
    assert!(attempted > acked || durability == "os", "no kill hit an operation in flight");
    fs::remove_dir_all(&place).expect("the folder can be removed");
}

#[test]
fn kv_keeps_what_it_acknowledged_over_kills_with_os() {
    kill_again_and_again(Engine::Kv, "os");
}

#[test]
fn kv_keeps_what_it_acknowledged_over_kills_with_synced() {
    kill_again_and_again(Engine::Kv, "synced");
}

#[test]
fn log_keeps_what_it_acknowledged_over_kills_with_os() {
    kill_again_and_again(Engine::Log, "os");
}

#[test]
fn log_keeps_what_it_acknowledged_over_kills_with_synced() {
    kill_again_and_again(Engine::Log, "synced");
}
