//! Records what the program is built with; a report says so beside its figures.

use std::process::Command;

fn main() {
    let env = |name: &str| std::env::var(name).unwrap_or_default();
    let rustc = Command::new(env("RUSTC")).arg("--version").output();
    if let Ok(output) = rustc {
        let version = String::from_utf8_lossy(&output.stdout);
        println!("cargo::rustc-env=WORKBENCH_RUSTC={}", version.trim());
    }
    println!("cargo::rustc-env=WORKBENCH_PROFILE={}", env("PROFILE"));
    println!("cargo::rustc-env=WORKBENCH_TARGET={}", env("TARGET"));
    println!("cargo::rerun-if-changed=build.rs");
}
