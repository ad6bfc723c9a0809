//! Finds the file of a request's path below a directory, and never one outside of it.

#[cfg(test)]
mod tests;

use std::ffi::{CStr, OsStr};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::percent_decode;
use rustix::io::Errno;

use super::asset::fingerprint;
use super::beneath::{Links, Means, Pace, Purpose, Storage};

/// Seconds for which another change of a file may leave its times the same.
const UNSETTLED: u64 = 2;

/// RFC 8615 §3: "A well-known URI is a URI whose path component begins with the characters
/// "/.well-known/"".
const WELL_KNOWN: &[u8] = b".well-known";

/// Makes the line about walked paths appear once, however many roots there are.
static WALKING: Once = Once::new();

/// The number of the next root.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A directory whose files are served.
#[derive(Clone, Debug)]
pub struct Root {
    number: u64,
    directory: PathBuf,
    means: Means,
    storage: Storage,
}

/// The result of finding a path.
#[derive(Debug)]
pub enum Found {
    /// A regular file.
    File(Located),
    /// A directory whose path was requested without a slash at its end.
    Directory,
}

/// A regular file below the root.
#[derive(Debug)]
pub struct Located {
    /// The file's path below the root, as requested.
    pub below: PathBuf,
    /// The file, open for reading.
    pub file: File,
    /// The file and its version.
    pub identity: Identity,
    /// Whether symbolic links led to the file.
    pub links: Links,
}

/// Identifies a file and the version of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
    /// The file's length in bytes.
    pub length: u64,
    /// When the content last changed: seconds since 1970, and nanoseconds.
    pub modified: (i64, i64),
    /// When anything about the file last changed.
    changed: (i64, i64),
}

impl Identity {
    /// Returns the identity in this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns the identity of what is at this path. Symbolic links on the way are followed; a link
    /// at the end isn't. Does the same as [`Identity::of`] in fewer steps, for frequent requests.
    ///
    /// # Errors
    /// The system's error.
    #[cfg(target_os = "linux")]
    pub fn at(path: &CStr) -> io::Result<Self> {
        use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
        let stat = statx(
            CWD,
            path,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::BASIC_STATS,
        )?;
        Ok(Self {
            device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            length: stat.stx_size,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec.into()),
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec.into()),
        })
    }

    /// Returns the identity of what is at this path. Symbolic links on the way are followed; a link
    /// at the end isn't.
    ///
    /// # Errors
    /// The system's error.
    #[cfg(not(target_os = "linux"))]
    pub fn at(path: &CStr) -> io::Result<Self> {
        let path = Path::new(OsStr::from_bytes(path.to_bytes()));
        Ok(Self::of(&fs::symlink_metadata(path)?))
    }

    /// Whether a further change at `second`, in seconds since 1970, would show in the identity. The
    /// system's clock for files is coarse: two changes in succession may get the same time.
    pub fn is_settled(&self, second: u64) -> bool {
        let last = |(second, _): (i64, i64)| u64::try_from(second).unwrap_or(0);
        let (modified, changed) = (last(self.modified), last(self.changed));
        // Any program may set the time of modification to the future. The time of a change is in
        // the future only if the clock was set back.
        let is_past = |then: u64| then + UNSETTLED < second;
        is_past(changed) && (is_past(modified) || modified > second)
    }

    /// Returns a number that identifies this version of this file. Settled versions of one file
    /// differ in the time of the change, which no program can set. Versions that exist side by side
    /// before one is moved into place are different files.
    pub fn fingerprint(&self) -> u64 {
        let Self {
            device,
            inode,
            length,
            modified,
            changed,
        } = *self;
        let numbers = [device, inode, length];
        let times = [modified.0, modified.1, changed.0, changed.1];
        let times = times.map(i64::to_le_bytes);
        fingerprint(&[numbers.map(u64::to_le_bytes).concat(), times.concat()].concat())
    }
}

/// Whether a directory is at this path, not a symbolic link to one.
pub fn is_directory(path: &CStr) -> bool {
    use rustix::fs::{AtFlags, CWD, FileType, statat};
    statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// Why no file can be served for a path.
#[derive(Debug)]
pub enum Refusal {
    /// No file is there, or none that a client may know of.
    NotFound,
    /// The server may not read the file.
    Forbidden,
    /// The answer isn't in the system's caches, and the caller can't wait for a disk.
    WouldBlock,
    /// The file system failed.
    Failed(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::PermissionDenied => Self::Forbidden,
            Kind::NotFound | Kind::NotADirectory | Kind::InvalidFilename => Self::NotFound,
            Kind::WouldBlock => Self::WouldBlock,
            // The errors for a loop of symbolic links and for a socket have no stable kind.
            _ => match Errno::from_io_error(&error) {
                Some(Errno::LOOP | Errno::NXIO) => Self::NotFound,
                _ => Self::Failed(error),
            },
        }
    }
}

impl Root {
    /// Returns the root at this directory.
    ///
    /// # Errors
    /// When the directory doesn't exist, can't be read, or isn't a directory.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let directory = std::path::absolute(directory)?;
        // An unreadable directory is an error at start, not one for each request.
        fs::read_dir(&directory)?;
        let means = Means::of(&directory)?;
        if means == Means::Walk {
            WALKING.call_once(|| {
                log::info!(
                    "this system has no openat2, so opening files takes longer: each part of a path \
                     is opened separately"
                );
            });
        }
        let storage = Storage::of(&directory)?;
        Ok(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            directory,
            means,
            storage,
        })
    }

    /// Returns a number that only this root and its copies have. Another route, of the same or
    /// another site, has another root, though it may be the same directory.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns where the files are stored.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// Returns the same root, but treated as if its files were on another machine.
    #[cfg(test)]
    pub fn made_remote(self) -> Self {
        Self {
            storage: Storage::Remote,
            ..self
        }
    }

    /// Returns how openings are kept below the directory.
    pub fn means(&self) -> Means {
        self.means
    }

    /// Finds the file at `path`, the part of a request's path after its route, which is empty or
    /// begins with `/`. A path that ends in `/` leads to the index.html of that directory.
    ///
    /// # Errors
    /// Why there is no such file.
    pub fn find(&self, path: &[u8], pace: Pace) -> Result<Found, Refusal> {
        let (mut below, is_directory) = decode(path).ok_or(Refusal::NotFound)?;
        if is_directory {
            below.push("index.html");
        }
        let (file, links) = match self.open(&below, Purpose::Read, pace) {
            Ok(opened) => opened,
            // A directory that can't be read may have files that can.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_directory => {
                return match self.open(&below, Purpose::Directory, pace) {
                    Ok(_) => Ok(Found::Directory),
                    Err(_) => Err(error.into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() && !is_directory {
            return Ok(Found::Directory);
        }
        if !metadata.is_file() {
            return Err(Refusal::NotFound);
        }
        Ok(Found::File(Located {
            below,
            file,
            identity: Identity::of(&metadata),
            links,
        }))
    }

    /// Opens what is at this path below the root, of whatever kind.
    ///
    /// # Errors
    /// The system's error. A path that leads out of the root isn't found.
    pub fn open(&self, below: &Path, purpose: Purpose, pace: Pace) -> io::Result<(File, Links)> {
        // The root is opened by name each time, because it may be a symbolic link that is switched
        // to another version of the site.
        self.means.open(&self.directory, below, purpose, pace)
    }
}

/// Converts a request's path to one below the root. Returns it with whether the path ends in `/`.
/// Returns `None` if any segment is empty, begins with a dot (so `..` is excluded too), or has a
/// slash or NUL in its decoded form. `/.well-known` at the beginning is allowed.
fn decode(path: &[u8]) -> Option<(PathBuf, bool)> {
    let (path, is_directory) = match path.strip_suffix(b"/") {
        Some(path) => (path, true),
        None => (path, false),
    };
    let mut below = PathBuf::new();
    if path.is_empty() {
        return Some((below, is_directory));
    }
    let segments = path.strip_prefix(b"/")?.split(|byte| *byte == b'/');
    for (place, segment) in segments.enumerate() {
        let segment: Vec<u8> = percent_decode(segment).collect();
        let is_hidden = segment.starts_with(b".") && !(place == 0 && segment == WELL_KNOWN);
        if segment.is_empty() || is_hidden || segment.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return None;
        }
        below.push(OsStr::from_bytes(&segment));
    }
    Some((below, is_directory))
}
