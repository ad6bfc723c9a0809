//! Peers that are programs in this repository, built outside of the workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::process::{Result, need};
use crate::site::{self, Site};

/// The manifest of the server on hyper. Written where it is built, because no manifest in this
/// repository may depend on another HTTP/2 engine.
const HYPER_MANIFEST: &str = r#"
[package]
name = "peer"
version = "0.0.0"
edition = "2024"

[[bin]]
name = "peer"
path = "main.rs"

[dependencies]
bytes = "1"
http-body-util = "0.1"
hyper = { version = "1", features = ["http2", "server"] }
hyper-util = { version = "0.1", features = ["tokio"] }
tokio = { version = "1", features = ["macros", "net", "rt-multi-thread"] }
tokio-rustls = { version = "0.26", default-features = false, features = ["aws_lc_rs", "logging", "tls12"] }

[profile.release]
codegen-units = 1
lto = "fat"

[workspace]
"#;

const HYPER_MAIN: &str = include_str!("../peers/hyper/main.rs");

/// Why a program couldn't be built, so that nothing is tried twice.
static FAILED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Builds the server on hyper, unless it was built before. Returns its path.
pub(crate) fn hyper(site: &Site) -> Result<PathBuf> {
    let dir = site.target.join("compare/hyper");
    fs::create_dir_all(&dir)?;
    for (name, text) in [("Cargo.toml", HYPER_MANIFEST), ("main.rs", HYPER_MAIN)] {
        let path = dir.join(name);
        // A file that is written anew is compiled anew.
        if fs::read_to_string(&path).ok().as_deref() != Some(text) {
            fs::write(path, text)?;
        }
    }
    let program = dir.join("target/release/peer");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--quiet"])
        .current_dir(&dir);
    cargo.env("CARGO_TARGET_DIR", dir.join("target"));
    build(&mut cargo, program)
}

/// Builds the server in Go, unless it was built before. Returns its path.
pub(crate) fn go(site: &Site) -> Result<PathBuf> {
    let program = site.target.join("compare/upstream-go");
    let mut go = Command::new(need("go")?);
    go.args(["build", "-o"]).arg(&program).arg(".");
    go.current_dir(site.root.join("tools/upstream-go"));
    build(&mut go, program)
}

/// Builds the server's release binary.
pub(crate) fn tidegate() -> Result {
    let status = Command::new("cargo")
        .args(["build", "--release", "--package", "tidegate"])
        .current_dir(site::root()?)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("tidegate can't be built".into())
    }
}

fn build(command: &mut Command, program: PathBuf) -> Result<PathBuf> {
    let Ok(mut failed) = FAILED.lock() else {
        return Err("not built".into());
    };
    if failed.contains(&program) || !succeeds(command, &program) {
        failed.push(program);
        return Err("could not be built".into());
    }
    Ok(program)
}

/// Runs a compiler. A program that can't be built anew counts if it was built before.
fn succeeds(command: &mut Command, program: &Path) -> bool {
    let output = command.stdin(Stdio::null()).output();
    let succeeds = output.as_ref().is_ok_and(|output| output.status.success());
    if !succeeds && let Ok(output) = output {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    succeeds && program.is_file()
}
