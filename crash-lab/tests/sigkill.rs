//! Writers killed with `kill -9`, round after round on one folder: nothing acknowledged is lost, nothing is there that
//! was never attempted, and recovering twice changes nothing.
//!
//! What this can't show: a killed process leaves the page cache, so a missing sync goes unnoticed here. The simulated
//! power cuts are for that.
//!
//! `WORKBENCH_ROUNDS=500 cargo test -p crash-lab --test sigkill` kills 500 writers for each of the ten tests.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crash_lab::stress::{Engine, LogTasks, Transcript, WriteOptions, check, dump, write};
use engine_env::Durability;
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
fn kill_again_and_again(engine: Engine, durability: &str, tasks: Option<&str>) {
    let rounds = number("WORKBENCH_ROUNDS", ROUNDS);
    let seed = number("WORKBENCH_SEED", 20_261_122);
    let place = fresh(&format!("sigkill-{engine}-{durability}-{}", tasks.unwrap_or("appends")));
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
            .args(tasks)
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
    kill_again_and_again(Engine::Kv, "os", None);
}

#[test]
fn kv_keeps_what_it_acknowledged_over_kills_with_synced() {
    kill_again_and_again(Engine::Kv, "synced", None);
}

#[test]
fn log_keeps_what_it_acknowledged_over_kills_with_os() {
    kill_again_and_again(Engine::Log, "os", None);
}

#[test]
fn log_keeps_what_it_acknowledged_over_kills_with_synced() {
    kill_again_and_again(Engine::Log, "synced", None);
}

#[test]
fn log_keeps_what_it_must_over_kills_while_it_is_compacted_cut_and_sent_to_again_with_os() {
    kill_again_and_again(Engine::Log, "os", Some("compaction,retention,retries"));
}

#[test]
fn log_keeps_what_it_must_over_kills_while_it_is_compacted_cut_and_sent_to_again_with_synced() {
    kill_again_and_again(Engine::Log, "synced", Some("compaction,retention,retries"));
}

/// One writer that isn't killed: segments are sealed, compacted and removed while it writes, and the folder has it all.
#[test]
fn log_keeps_what_it_must_while_it_is_compacted_cut_and_sent_to_again() {
    let place = fresh("log-tasks");
    let dir = place.join("data");
    let lines = Mutex::new(Vec::new());
    let tasks: LogTasks = "compaction,retention,retries".parse().expect("the names of tasks");
    let options = WriteOptions {
        seed: 5,
        ops: Some(number("WORKBENCH_OPS", 12_000)),
        durability: Durability::Os,
        log: tasks,
    };
    write(Engine::Log, &dir, &options, &lines, &AtomicBool::new(false)).expect("it writes");
    let lines = lines.into_inner().expect("no writer panicked").join("\n") + "\n";
    let mut transcript = Transcript::default();
    transcript.add_run("printed", lines.as_bytes()).expect("each ack has its try");
    let verdict =
        check(Engine::Log, &dir, &transcript.acked(), Some(&transcript.attempted())).expect("it opens");
    let found: Vec<String> = verdict.violations.iter().take(20).map(ToString::to_string).collect();
    assert!(found.is_empty() && verdict.damage.is_empty(), "{}\n{:?}", found.join("\n"), verdict.damage);
    let acked = lines.lines().filter(|line| line.starts_with("ack app")).count();
    let cuts = lines.lines().filter(|line| line.starts_with("ack cut")).count();
    assert!(cuts > 5, "the start was moved {cuts} times");
    assert!(
        verdict.lines < acked / 2,
        "{} lines are left of {acked} records: little was let go of",
        verdict.lines
    );
    fs::remove_dir_all(&place).expect("the folder can be removed");
}

#[test]
fn the_key_value_cluster_keeps_what_it_acknowledged_over_kills_with_os() {
    kill_again_and_again(Engine::KvCluster, "os", None);
}

#[test]
fn the_key_value_cluster_keeps_what_it_acknowledged_over_kills_with_synced() {
    kill_again_and_again(Engine::KvCluster, "synced", None);
}

#[test]
fn the_log_cluster_keeps_what_it_acknowledged_over_kills_with_os() {
    kill_again_and_again(Engine::LogCluster, "os", None);
}

#[test]
fn the_log_cluster_keeps_what_it_acknowledged_over_kills_with_synced() {
    kill_again_and_again(Engine::LogCluster, "synced", None);
}

/// Nodes die and return while the writer runs on, and runs again: what a killed writer's short life hardly shows.
fn nodes_die_and_return(engine: Engine) {
    let place = fresh(&format!("outages-{engine}"));
    let dir = place.join("data");
    let mut transcript = Transcript::default();
    let mut outages = 0;
    for (run, durability) in [(1, Durability::Os), (2, Durability::Synced)] {
        let lines = Mutex::new(Vec::new());
        let options = WriteOptions {
            seed: number("WORKBENCH_SEED", 7),
            ops: Some(number("WORKBENCH_OPS", 6_000)),
            durability,
            log: LogTasks::default(),
        };
        let written = write(engine, &dir, &options, &lines, &AtomicBool::new(false));
        let written = written.unwrap_or_else(|e| panic!("{e} ({engine}, run {run}, in {})", place.display()));
        outages += written.outages;
        let lines = lines.into_inner().expect("no writer panicked").join("\n") + "\n";
        transcript.add_run("printed", lines.as_bytes()).unwrap_or_else(|e| panic!("{e} ({engine})"));
        let verdict = check(engine, &dir, &transcript.acked(), Some(&transcript.attempted()));
        let verdict = verdict.unwrap_or_else(|e| panic!("{e} ({engine}, run {run}, in {})", place.display()));
        let found: Vec<String> = verdict.violations.iter().take(20).map(ToString::to_string).collect();
        assert!(found.is_empty(), "{engine}, run {run}, in {}:\n{}", place.display(), found.join("\n"));
        assert!(verdict.damage.is_empty(), "a kill damages nothing: {:?} ({engine})", verdict.damage);
    }
    let (attempted, acked) = transcript.counts();
    assert!(outages >= 2, "{engine}: {outages} outages");
    assert!(acked > attempted / 8, "{engine}: only {acked} of {attempted} acknowledged");
    fs::remove_dir_all(&place).expect("the folder can be removed");
}

#[test]
fn the_key_value_cluster_keeps_what_it_acknowledged_while_nodes_die_and_return() {
    nodes_die_and_return(Engine::KvCluster);
}

#[test]
fn the_log_cluster_keeps_what_it_acknowledged_while_nodes_die_and_return() {
    nodes_die_and_return(Engine::LogCluster);
}

/// A folder that lost a node is refused: an empty node instead would look as if the cluster had lost data.
#[test]
fn a_cluster_that_lacks_a_node_is_refused() {
    let place = fresh("lacks-a-node");
    let options =
        WriteOptions { seed: 1, ops: Some(10), durability: Durability::Os, log: LogTasks::default() };
    for engine in [Engine::KvCluster, Engine::LogCluster] {
        let dir = place.join(engine.to_string());
        write(engine, &dir, &options, &Mutex::new(Vec::new()), &AtomicBool::new(false)).expect("it writes");
        fs::remove_dir_all(dir.join("node-1")).expect("it is there");
        let told = dump(engine, &dir).expect_err("a node is missing").to_string();
        assert!(told.contains("node-1 is missing"), "{told}");
    }
    fs::remove_dir_all(&place).expect("the folder can be removed");
}
