//! Programs that this one runs: each is ended by its own handle, however the run ends.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tidegate_testkit::signals::{check_ended, eventually};

use crate::samples::sha256;

/// A step that fails when the machine does, as opposed to a check that doesn't hold.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long a program may take to exit after it was asked to.
const EXIT: Duration = Duration::from_secs(60);

/// Returns a command that reads nothing.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

/// A running program in a process group of its own, which is killed when dropped.
pub(crate) struct Process {
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.process_group(0).spawn();
        let child = child.map_err(|error| format!("can't run {command:?}: {error}"))?;
        Ok(Self {
            child,
            status: None,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the end of a pipe that the program writes to.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends a signal, unless the program has exited.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result {
        if !self.has_exited()? {
            signal::kill(self.pid(), signal)?;
        }
        Ok(())
    }

    pub(crate) fn has_exited(&mut self) -> Result<bool> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status.is_some())
    }

    /// Waits for the program to exit, and kills it if that takes too long. Returns its exit code,
    /// or `None` if a signal ended it.
    pub(crate) fn reap(&mut self) -> Result<Option<i32>> {
        if !eventually(EXIT, || self.has_exited())? {
            self.kill();
        }
        Ok(self.status.and_then(|status| status.code()))
    }

    /// Ends the program by SIGTERM.
    pub(crate) fn stop(&mut self) -> Result<Option<i32>> {
        self.signal(Signal::SIGTERM)?;
        self.reap()
    }

    /// Kills the program and those that it started.
    pub(crate) fn kill(&mut self) {
        if self.status.is_none() {
            // Until the program was waited for, nothing else can have its number.
            let _ = signal::killpg(self.pid(), Signal::SIGKILL);
            self.status = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the numbers of a process's children.
pub(crate) fn children_of(id: u32) -> Result<Vec<u32>> {
    let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    Ok(list.split_whitespace().flat_map(str::parse).collect())
}

/// A program's output in a file.
pub(crate) struct Log(pub(crate) PathBuf);

impl Log {
    pub(crate) fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.0)?).into_owned())
    }

    /// Returns what follows `prefix` on the first line that begins with it.
    pub(crate) fn find(&self, prefix: &str) -> Result<Option<String>> {
        let text = self.text()?;
        let found = text.lines().find_map(|line| line.strip_prefix(prefix));
        Ok(found.map(str::to_owned))
    }

    /// Returns how many lines there are with `part`.
    pub(crate) fn count(&self, part: &str) -> Result<usize> {
        let text = self.text()?;
        Ok(text.lines().filter(|line| line.contains(part)).count())
    }

    /// Waits for a line with `part`.
    pub(crate) fn waits_for(&self, part: &str) -> Result<bool> {
        eventually(Duration::from_secs(20), || Ok(self.count(part)? > 0))
    }
}

/// The output of a program that has ended.
pub(crate) struct Output {
    pub(crate) bytes: Vec<u8>,
    /// The exit code, or `None` if a signal ended the program.
    pub(crate) code: Option<i32>,
}

impl Output {
    /// Returns the output as text, without line ends at its end.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.trim_end_matches('\n').to_owned()
    }

    pub(crate) fn sum(&self) -> String {
        sha256(&self.bytes)
    }
}

/// A running program whose output is collected.
pub(crate) struct Running {
    process: Process,
    output: Receiver<Vec<u8>>,
}

/// Starts a program.
pub(crate) fn begin(command: &mut Command) -> Result<Running> {
    let mut process = Process::start(command.stdout(Stdio::piped()))?;
    let mut pipe = process.take_stdout().ok_or("no pipe")?;
    let (sender, output) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What has arrived counts, whatever the error.
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    Ok(Running { process, output })
}

impl Running {
    pub(crate) fn has_exited(&mut self) -> Result<bool> {
        self.process.has_exited()
    }

    /// Waits until the program has ended, and kills it if it hasn't after `bound`.
    pub(crate) fn finish(mut self, bound: Duration) -> Result<Output> {
        let deadline = Instant::now() + bound;
        let bytes = loop {
            match self.output.recv_timeout(Duration::from_millis(100)) {
                Ok(bytes) => break bytes,
                Err(RecvTimeoutError::Timeout) => check_ended()?,
                Err(RecvTimeoutError::Disconnected) => return Err("an output was lost".into()),
            }
            if Instant::now() > deadline {
                self.process.kill();
                break self.output.recv_timeout(EXIT).unwrap_or_default();
            }
        };
        let code = self.process.reap()?;
        Ok(Output { bytes, code })
    }
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command, bound: Duration) -> Result<Output> {
    begin(command)?.finish(bound)
}

/// Requires that a program is installed.
pub(crate) fn need(name: &str) -> Result {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&paths).any(|dir| dir.join(name).is_file());
    if is_there {
        Ok(())
    } else {
        Err(format!("{name} is not installed; .ci/run installs what this program uses").into())
    }
}

/// Starts a program whose output goes to a file.
pub(crate) fn launch(command: &mut Command, log: &Path) -> Result<(Process, Log)> {
    let file = fs::File::create(log)?;
    command.stdout(file.try_clone()?).stderr(file);
    Ok((Process::start(command)?, Log(log.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_and_exit_codes_are_collected() -> Result {
        let output = run(
            program("sh").args(["-c", "echo a; exit 3"]),
            Duration::from_secs(60),
        )?;
        assert_eq!((output.text().as_str(), output.code), ("a", Some(3)));
        Ok(())
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() -> Result {
        let hangs = "echo begun; sleep 1000 & sleep 1000";
        let output = run(program("sh").args(["-c", hangs]), Duration::ZERO)?;
        assert_eq!(output.code, None);
        Ok(())
    }
}
