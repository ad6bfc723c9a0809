//! The file with the number of the process, for scripts that send signals.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::run_error::RunError;
use crate::user::Account;

/// The file with the number of the process. Removed when dropped, if it has the number of this
/// process.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Opens the file, as the user who has started the server may. It belongs to the user that the
    /// server becomes, so that a process that takes over can write it too. Its text stays, because
    /// another process may serve until this one does.
    ///
    /// # Errors
    /// The system's error, or that it isn't a regular file with this name only: others who may
    /// write to the directory must not choose which file is overwritten.
    pub(crate) fn open(path: &Path, owner: Option<&Account>) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create(true).truncate(false);
        // Without a reader, a pipe would keep the server from starting.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = options.custom_flags(flags.bits().cast_signed()).open(path);
        let file = file.map_err(|error| {
            if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
                io::Error::other("it is a symbolic link")
            } else {
                error
            }
        })?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it isn't a regular file"));
        }
        if metadata.nlink() != 1 {
            return Err(io::Error::other("it has other names too (hard links)"));
        }
        if let Some((user, group)) = owner.map(Account::ids)
            && nix::unistd::geteuid().is_root()
        {
            fchown(&file, Some(user), Some(group))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Writes the number of this process, in place of another's.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn write(&mut self) -> Result<(), RunError> {
        let text = format!("{}\n", process::id());
        // A full disk keeps the former number.
        let written = self.file.write_all_at(text.as_bytes(), 0);
        let cut = written.and_then(|()| self.file.set_len(text.len() as u64));
        cut.map_err(|error| RunError::PidFile(self.path.clone(), error))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let number = fs::read_to_string(&self.path);
        // It is empty if this process has created it, and couldn't start.
        let is_own =
            number.is_ok_and(|text| text.is_empty() || text.trim().parse() == Ok(process::id()));
        // In a directory of another user the file can't be removed, but emptied.
        if is_own && fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_other_file_is_written_by_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("other"), "other").unwrap();
        symlink(at("other"), at("symbolic")).unwrap();
        fs::hard_link(at("other"), at("hard")).unwrap();
        for (name, says) in [
            ("symbolic", "it is a symbolic link"),
            ("hard", "it has other names too (hard links)"),
        ] {
            let error = PidFile::open(&at(name), None).unwrap_err();
            assert_eq!(error.to_string(), says);
        }
        assert!(PidFile::open(dir.path(), None).is_err());
        assert_eq!(fs::read_to_string(at("other")).unwrap(), "other");
    }

    #[test]
    fn another_number_stays_until_this_process_serves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        // A process that can't start leaves nothing.
        drop(PidFile::open(&path, None).unwrap());
        assert!(!path.exists());
        let other = "4294967295\n";
        fs::write(&path, other).unwrap();
        let mut file = PidFile::open(&path, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), other);
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), other);
        file = PidFile::open(&path, None).unwrap();
        file.write().unwrap();
        let own = format!("{}\n", process::id());
        assert_eq!(fs::read_to_string(&path).unwrap(), own);
        drop(file);
        assert!(!path.exists());
    }
}
