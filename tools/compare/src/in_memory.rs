//! The benches that run parts of tidegate in memory, and what valgrind counts in them: the function
//! `drive_server` alone. Nothing outside the program changes these counts, so they repeat.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{Result, need};
use crate::site;

/// Has the loader choose the C library's routines for any x86-64 processor. With those for this
/// machine's the figures may differ by 4 %.
const ROUTINES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,\
                        -SSE4_1,-SSE4_2,-SSSE3";

/// How many times as many requests the longer of two runs makes.
const LONGER: u64 = 5;

/// A bench's program.
pub(crate) struct Program(PathBuf);

impl Program {
    /// Builds benches/engine.rs: the engine alone.
    pub(crate) fn engine() -> Result<Self> {
        build("tidegate-http2", "engine")
    }

    /// Builds benches/server.rs: all of the server but the kernel.
    pub(crate) fn server() -> Result<Self> {
        build("tidegate", "server")
    }

    /// Returns the instructions of a run with these arguments.
    ///
    /// # Errors
    /// Returns an error if the program fails, or if nothing was counted: a function that has
    /// another name now would count as nothing.
    pub(crate) fn count(&self, arguments: &[String]) -> Result<u64> {
        let output = Command::new(need("valgrind")?)
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg("--toggle-collect=*drive_server*")
            .arg(&self.0)
            .args(arguments)
            .env("GLIBC_TUNABLES", ROUTINES)
            .stdin(Stdio::null())
            .output()?;
        let report = String::from_utf8_lossy(&output.stderr);
        let total = report
            .lines()
            .find_map(|line| line.split_once("Collected : "))
            .and_then(|(_, total)| total.trim().parse::<u64>().ok());
        match total {
            Some(total @ 1..) if output.status.success() => Ok(total),
            _ => Err(format!("{arguments:?} can't be counted: {report}").into()),
        }
    }

    /// Returns the instructions per request of benches/server.rs: the difference of two runs, so
    /// that the start and the connections' beginnings cancel out.
    ///
    /// # Errors
    /// As for [`Self::count`].
    pub(crate) fn per_request(&self, requests: u64, arguments: &[String]) -> Result<f64> {
        let count = |requests: u64| {
            let all = [&[requests.to_string()], arguments].concat();
            self.count(&all)
        };
        let (less, more) = (count(requests)?, count(requests * LONGER)?);
        Ok(more.saturating_sub(less) as f64 / (requests * (LONGER - 1)) as f64)
    }
}

fn build(package: &str, bench: &str) -> Result<Program> {
    let output = Command::new("cargo")
        .args(["bench", "--quiet", "--no-run", "--message-format=json"])
        .args(["--package", package, "--bench", bench])
        .current_dir(site::root()?)
        .stderr(Stdio::inherit())
        .output()?;
    let messages = String::from_utf8_lossy(&output.stdout);
    program(&messages, bench)
        .filter(|path| path.is_file())
        .map(Program)
        .ok_or_else(|| format!("can't build the bench {bench}").into())
}

/// Returns the path of the bench's program from cargo's messages: the only one that names the bench
/// before a hash.
fn program(messages: &str, bench: &str) -> Option<PathBuf> {
    let named = |word: &&str| {
        let name = Path::new(word).file_name().and_then(|name| name.to_str());
        let hash = name.and_then(|name| name.strip_prefix(bench)?.strip_prefix('-'));
        hash.is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    messages.split('"').find(named).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_the_name_of_its_bench_and_a_hash() {
        let messages = r#"{"filenames":["/t/deps/libserver-0123456789abcdef.rlib"],
            "executable":null}{"executable":"/t/deps/server-0123456789abcdef"}"#;
        let path = program(messages, "server");
        assert_eq!(path, Some("/t/deps/server-0123456789abcdef".into()));
        assert_eq!(program(messages, "engine"), None);
    }
}
