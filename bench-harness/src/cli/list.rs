//! `workbench list`: what this build knows.

use std::io::Write as _;

use clap::{Args, ValueEnum};

use super::{Failure, Workbench};

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// What to list
    what: What,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// What can be measured, with settings
    Engines,
    /// What can be asked
    Workloads,
    /// What was published, and how this build stands towards it
    Claims,
}

pub(super) fn list(args: &ListArgs, workbench: &Workbench) -> Result<(), Failure> {
    let entries: Vec<serde_json::Value> = match args.what {
        What::Engines => workbench
            .engines
            .iter()
            .map(|e| {
                let settings: Vec<_> = e
                    .settings()
                    .iter()
                    .map(|s| serde_json::json!({"name": s.name, "default": s.default, "meaning": s.meaning}))
                    .collect();
                serde_json::json!({"name": e.name(), "about": e.about(), "settings": settings})
            })
            .collect(),
        What::Workloads => workbench
            .workloads
            .names()
            .iter()
            .map(|(name, about)| serde_json::json!({"name": name, "about": about}))
            .collect(),
        What::Claims => crate::experiments::claims()
            .iter()
            .map(|c| {
                let about = format!("{}: {}. {}", c.statement, c.verdict, c.why);
                serde_json::json!({
                    "name": c.id, "about": about, "statement": c.statement, "claimed": c.claimed, "verdict": c.verdict,
                    "why": c.why,
                })
            })
            .collect(),
    };
    let mut out = std::io::stdout().lock();
    // A reader that has seen enough closes the pipe; that is no failure.
    if args.json {
        let _ = writeln!(out, "{:#}", serde_json::Value::Array(entries));
        return Ok(());
    }
    for entry in entries {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(out, "{:<20} {}", text("name"), text("about"));
        for setting in entry["settings"].as_array().into_iter().flatten() {
            let _ = writeln!(
                out,
                "{:<20}   --set {}={}  {}",
                "",
                setting["name"].as_str().unwrap_or_default(),
                setting["default"].as_str().unwrap_or_default(),
                setting["meaning"].as_str().unwrap_or_default()
            );
        }
    }
    Ok(())
}
