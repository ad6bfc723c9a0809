//! The site that all servers serve: files of given sizes, and one certificate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tidegate_testkit::signals::eventually;

use crate::process::Result;

/// Names and sizes of files besides those of [`static_files`].
pub(crate) const SMALL: File = File("small.txt", 15);
pub(crate) const KB1: File = File("1k.bin", 1 << 10);
pub(crate) const KB10: File = File("10k.bin", 10 << 10);
pub(crate) const KB20: File = File("20k.bin", 20 << 10);
pub(crate) const KB100: File = File("100k.bin", 100 << 10);
pub(crate) const MB1: File = File("1m.bin", 1 << 20);
pub(crate) const MB10: File = File("10m.bin", 10 << 20);

/// The body of tidegate's route `status`, which others have at the same path.
pub(crate) const STATUS: &str = "{\"status\":\"ok\"}";

/// A file's name and its size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File(pub(crate) &'static str, pub(crate) u64);

/// Twenty files from 3 KB to 300 KB, as a page's resources may be. Each is larger than the one
/// before by the same factor.
pub(crate) fn static_files() -> impl Iterator<Item = (String, u64)> {
    (0..20).map(|n| {
        let size = 3_000.0 * 100f64.powf(f64::from(n) / 19.0);
        (format!("static/{n}.bin"), size as u64)
    })
}

/// A directory with the files, and room for configurations and logs.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    /// The repository.
    pub(crate) root: PathBuf,
    /// The directory for what cargo builds.
    pub(crate) target: PathBuf,
    /// The server's binary.
    pub(crate) tidegate: PathBuf,
}

impl Site {
    /// Makes the files, and waits until servers trust that they stay as they are.
    pub(crate) fn make(tidegate: Option<PathBuf>) -> Result<Self> {
        let root = root()?;
        let target = std::env::var_os("CARGO_TARGET_DIR");
        let target = target.map_or_else(|| root.join("target"), PathBuf::from);
        let tidegate = tidegate.unwrap_or_else(|| target.join("release/tidegate"));
        let site = Self {
            dir: tempfile::tempdir()?,
            root,
            target: std::path::absolute(target)?,
            tidegate: std::path::absolute(tidegate)?,
        };
        // Servers that are started by root turn into another user.
        fs::set_permissions(site.dir.path(), fs::Permissions::from_mode(0o755))?;
        let www = site.www();
        fs::create_dir_all(www.join("static"))?;
        for File(name, size) in [SMALL, KB1, KB10, KB20, KB100, MB1, MB10] {
            fs::write(www.join(name), text(size))?;
        }
        for (name, size) in static_files() {
            fs::write(www.join(name), text(size))?;
        }
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        fs::write(site.certificate(), &certificate)?;
        fs::write(site.key(), &key)?;
        fs::write(site.pair(), certificate + &key)?;
        // tidegate reads a file again for each turn until its last change is 3 seconds ago.
        let changed = SystemTime::now();
        eventually(Duration::from_secs(10), || {
            let age = changed.elapsed().unwrap_or_default();
            Ok(age > Duration::from_secs(4))
        })?;
        Ok(site)
    }

    /// Returns the path of a file beside the served ones.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn www(&self) -> PathBuf {
        self.path("www")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("pair.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path("pair.key")
    }

    /// Returns the file with the certificate and the key.
    pub(crate) fn pair(&self) -> PathBuf {
        self.path("pair.pem")
    }
}

/// Returns the repository's directory.
pub(crate) fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    Ok(fs::canonicalize(root)?)
}

/// Returns a text of this many bytes.
fn text(size: u64) -> Vec<u8> {
    let line = b"fifteen bytes.\n";
    line.iter().copied().cycle().take(size as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_files_grow_from_3_to_300_kb() {
        let sizes: Vec<_> = static_files().map(|(_, size)| size).collect();
        assert_eq!((sizes.len(), sizes[0]), (20, 3_000));
        assert!((299_000..=300_000).contains(&sizes[19]));
    }
}
