//! What `cargo bench` runs: the comparison with `--quick` under `--bench`, a smoke run without.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::compare::{self, CompareArgs};
use super::{Failure, Workbench};
use crate::result_folder::build_folder;

/// Flags of `workbench compare`, after `--`.
#[derive(Debug, Parser)]
#[command(name = "comparison")]
struct Bench {
    #[command(flatten)]
    compare: CompareArgs,
}

/// The main function of a comparison bench: `args` as cargo gives them, program name first.
///
/// With `--bench` among them, which `cargo bench` adds, this is `workbench compare` and its last line on standard
/// output is `report: PATH`. Without, as under `cargo test --benches`, it is a smoke run of seconds whose results go
/// away. Paths among the flags are taken from the workspace's folder.
#[must_use]
pub fn comparison(args: impl IntoIterator<Item = OsString>, workbench: &Workbench) -> ExitCode {
    // Cargo starts a bench in its package's folder; whoever typed a path meant the workspace's.
    if let Err(error) = std::env::set_current_dir(crate::result_folder::workspace()) {
        let _ = writeln!(std::io::stderr(), "comparison: the workspace's folder can't be entered: {error}");
        return ExitCode::from(2);
    }
    let mut args: Vec<OsString> = args.into_iter().collect();
    let before = args.len();
    args.retain(|a| a != "--bench");
    let measured = args.len() < before;
    if args.iter().any(|a| a == "--list") {
        // Asked by test runners: there are no test cases in here.
        return ExitCode::SUCCESS;
    }
    if measured
        && let Some(filter) = args.get(1).and_then(|a| a.to_str()).filter(|a| !a.starts_with('-'))
        && !"comparison".contains(filter)
    {
        let _ = writeln!(std::io::stderr(), "comparison: left out, `{filter}` names other benches");
        return ExitCode::SUCCESS;
    }
    if args.get(1).is_some_and(|a| a == "comparison") {
        args.remove(1);
    }
    let mut parsed = match Bench::try_parse_from(&args) {
        Ok(bench) => bench.compare,
        // `cargo test --benches -- --nocapture` and the like are meant for others.
        Err(_) if !measured && args.iter().skip(1).all(meant_for_libtest) => {
            Bench::parse_from(["comparison"]).compare
        }
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    parsed.smoke |= !measured;
    let scratch = (parsed.smoke && parsed.out.is_none())
        .then(|| crate::result_folder::default_data_folder().with_extension("smoke"));
    if let Some(scratch) = &scratch {
        parsed.out = Some(scratch.clone());
    }
    let command = std::env::args().collect();
    let result = compare::perform(&parsed, workbench, command).and_then(|compared| {
        compared.verdict()?;
        Ok(compared.report)
    });
    if let Some(scratch) = &scratch {
        // Made by this process; what can't be removed stays below the build folder.
        let _ = std::fs::remove_dir_all(scratch);
    }
    match result {
        Ok(_) if scratch.is_some() => {
            let _ = writeln!(std::io::stdout(), "comparison: the smoke run is fine; `cargo bench` measures");
            ExitCode::SUCCESS
        }
        Ok(report) => {
            let line = format!("report: {}", report.display());
            remember(&line);
            let _ = writeln!(std::io::stdout(), "{line}");
            ExitCode::SUCCESS
        }
        Err(Failure::Check(message)) => fail(&message, 1),
        Err(Failure::Input(message)) => fail(&message, 2),
    }
}

fn meant_for_libtest(arg: &OsString) -> bool {
    let arg = arg.to_string_lossy();
    const FLAGS: [&str; 9] = [
        "--nocapture",
        "--no-capture",
        "--quiet",
        "-q",
        "--exact",
        "--ignored",
        "--include-ignored",
        "--show-output",
        "--test-threads",
    ];
    FLAGS.iter().any(|f| arg == *f || arg.starts_with(&format!("{f}="))) || !arg.starts_with('-')
}

fn fail(message: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "comparison: {message}");
    ExitCode::from(code)
}

/// Keeps the line for [`repeat_report_line`], with the process that runs all benches.
fn remember(line: &str) {
    let Some(parent) = rustix::process::getppid() else { return };
    let text = format!("{}\n{line}\n", parent.as_raw_nonzero());
    let file = last_report_file();
    // Without it the line is only printed once.
    let _ = std::fs::create_dir_all(build_folder());
    let _ = std::fs::write(file, text);
}

/// Prints the report's line again, if the comparison ran under the same `cargo bench` as the caller.
///
/// Cargo runs the benches of packages by name, so the engines' micro benches come after the comparison and would
/// bury its line.
pub fn repeat_report_line() {
    let Ok(text) = std::fs::read_to_string(last_report_file()) else {
        return;
    };
    let mut lines = text.lines();
    let same = rustix::process::getppid()
        .is_some_and(|parent| lines.next() == Some(parent.as_raw_nonzero().to_string().as_str()));
    if let Some(line) = lines.next().filter(|_| same) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

fn last_report_file() -> PathBuf {
    build_folder().join("workbench-last-report")
}
