//! The file with the number of the process, for scripts that send signals.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::process;

use crate::user::Account;

/// The file with the number of the process. Removed when dropped, unless another process has
/// written its number there.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file. It belongs to the user that the server becomes, so that a process that
    /// takes over can write it too.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn write(path: &Path, owner: Option<&Account>) -> io::Result<Self> {
        let options = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        let mut file = options?;
        writeln!(file, "{}", process::id())?;
        if let Some((user, group)) = owner.map(Account::ids)
            && nix::unistd::geteuid().is_root()
        {
            fchown(&file, Some(user), Some(group))?;
        }
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let is_own =
            fs::read_to_string(&self.0).is_ok_and(|text| text.trim().parse() == Ok(process::id()));
        // In a directory of another user the file can't be removed, but emptied.
        if is_own && fs::remove_file(&self.0).is_err() {
            let _ = File::create(&self.0);
        }
    }
}
