//! Opens files below a directory, and never one outside of it, even if something is renamed or
//! linked meanwhile.

use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// How often an opening is tried if concurrent renames disturb it.
const TRIES: usize = 16;

/// `NONBLOCK`, because opening a FIFO would otherwise wait for a writer.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Whether the caller can wait for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// No: data that isn't in the system's caches fails with [`io::ErrorKind::WouldBlock`].
    AtOnce,
    /// Yes.
    Patient,
}

/// Where the files of a directory are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// On this machine: what is in its caches is available immediately.
    Local,
    /// On another machine or in another program, which is asked even for what was read before.
    Remote,
}

impl Storage {
    /// Numbers of remote file systems, as in statfs(2): NFS, SMB, CIFS, Ceph, 9P, FUSE, AFS, Coda,
    /// Lustre, GPFS, GFS2, VirtualBox's.
    const REMOTE: [u32; 12] = [
        0x0000_6969,
        0xfe53_4d42,
        0xff53_4d42,
        0x00c3_6400,
        0x0102_1997,
        0x6573_5546,
        0x5346_414f,
        0x7375_7245,
        0x0bd0_0bd0,
        0x4750_4653,
        0x0116_1970,
        0x786f_4256,
    ];

    /// Returns the storage of this directory. File systems mounted below it may differ.
    ///
    /// # Errors
    /// The system's error.
    #[cfg(target_os = "linux")]
    pub fn of(directory: &Path) -> io::Result<Self> {
        let number = rustix::fs::statfs(directory)?.f_type as u32;
        Ok(if Self::REMOTE.contains(&number) {
            Self::Remote
        } else {
            Self::Local
        })
    }

    /// Returns `Remote`, because this system can't tell.
    ///
    /// # Errors
    /// Never.
    #[cfg(not(target_os = "linux"))]
    pub fn of(_directory: &Path) -> io::Result<Self> {
        Ok(Self::Remote)
    }
}

/// How openings are kept below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// The kernel resolves a whole path and refuses to leave the directory: openat2 of Linux 5.6.
    Openat2,
    /// The server opens one part of the path after the other and follows no link. It can't tell
    /// what is in the system's caches, so a worker opens nothing itself.
    Walk,
}

/// The purpose of opening a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To read it.
    Read,
    /// To check whether it is a directory.
    Directory,
}

/// Whether there were symbolic links on the way, below the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// No.
    None,
    /// Yes, and they stayed inside.
    Followed,
}

impl Means {
    /// Returns the best means that this system has for this directory.
    ///
    /// # Errors
    /// When the directory can't be opened.
    pub fn of(directory: &Path) -> io::Result<Self> {
        match openat2(CWD, directory, DIRECTORY, Resolve::Freely, Pace::Patient) {
            Ok(_) => Ok(Self::Openat2),
            // Old containers forbid unknown system calls: EPERM.
            Err(Errno::NOSYS | Errno::PERM) => Ok(Self::Walk),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the path `below` this directory. Returns the file and whether links led to it. The
    /// file may be of any kind, so check that.
    ///
    /// # Errors
    /// The system's error. A path that leads out of the directory isn't found.
    pub fn open(
        self,
        directory: &Path,
        below: &Path,
        purpose: Purpose,
        pace: Pace,
    ) -> io::Result<(File, Links)> {
        let flags = match purpose {
            Purpose::Read => READ,
            Purpose::Directory => DIRECTORY,
        };
        if (self, pace) == (Self::Walk, Pace::AtOnce) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let root = match self {
            Self::Openat2 => openat2(CWD, directory, DIRECTORY, Resolve::Freely, pace),
            Self::Walk => openat(CWD, directory, DIRECTORY, Mode::empty()),
        };
        let root = root.map_err(io::Error::from)?;
        match self.open_plain(&root, below, flags, pace) {
            Ok(file) => return Ok((File::from(file), Links::None)),
            Err(Errno::LOOP) => {}
            // In place of a directory, the walk sees a link as something that isn't one.
            Err(Errno::NOTDIR) if self == Self::Walk => {}
            Err(error) => return Err(error.into()),
        }
        if self == Self::Openat2 {
            match openat2(&root, below, flags, Resolve::Beneath, pace) {
                Ok(file) => return Ok((File::from(file), Links::Followed)),
                // An absolute link, or one that leads out and perhaps in again.
                Err(Errno::XDEV) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if pace == Pace::AtOnce {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // The links are resolved by name. The result is opened below the root without following any
        // link, so it isn't outside, whatever changes meanwhile.
        let real = fs::canonicalize(directory.join(below))?;
        let real = real.strip_prefix(fs::canonicalize(directory)?);
        let real = real.map_err(|_| io::ErrorKind::NotFound)?;
        match self.open_plain(&root, real, flags, pace) {
            Ok(file) => Ok((File::from(file), Links::Followed)),
            Err(Errno::LOOP) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a path without following links. Fails with [`Errno::LOOP`] if there is one.
    fn open_plain(
        self,
        root: &OwnedFd,
        below: &Path,
        flags: OFlags,
        pace: Pace,
    ) -> Result<OwnedFd, Errno> {
        let itself = Path::new(".");
        let below = if below.as_os_str().is_empty() {
            itself
        } else {
            below
        };
        match self {
            Self::Openat2 => openat2(root, below, flags, Resolve::Plainly, pace),
            Self::Walk => {
                let mut parts: Vec<_> = below.components().collect();
                let last = parts.pop().unwrap_or(Component::CurDir);
                let mut at = None;
                for part in parts {
                    let from = at.as_ref().unwrap_or(root);
                    let flags = DIRECTORY | OFlags::NOFOLLOW;
                    at = Some(openat(from, part.as_os_str(), flags, Mode::empty())?);
                }
                let from = at.as_ref().unwrap_or(root);
                let flags = flags | OFlags::NOFOLLOW;
                openat(from, last.as_os_str(), flags, Mode::empty())
            }
        }
    }
}

/// Which links are followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resolve {
    /// All.
    Freely,
    /// Those that don't leave the directory.
    Beneath,
    /// None.
    Plainly,
}

#[cfg(target_os = "linux")]
fn openat2(
    from: impl std::os::fd::AsFd,
    path: &Path,
    flags: OFlags,
    resolve: Resolve,
    pace: Pace,
) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags as Flags;
    let mut how = match resolve {
        Resolve::Freely => Flags::empty(),
        Resolve::Beneath => Flags::BENEATH | Flags::NO_MAGICLINKS,
        Resolve::Plainly => Flags::BENEATH | Flags::NO_MAGICLINKS | Flags::NO_SYMLINKS,
    };
    let open = |how| rustix::fs::openat2(from.as_fd(), path, flags, Mode::empty(), how);
    match pace {
        Pace::AtOnce => {
            how |= Flags::CACHED;
            // Linux before 5.12 doesn't know the flag.
            open(how).map_err(|error| {
                if error == Errno::INVAL {
                    Errno::AGAIN
                } else {
                    error
                }
            })
        }
        Pace::Patient => {
            let mut last = Errno::AGAIN;
            for _ in 0..TRIES {
                match open(how) {
                    Err(error @ (Errno::AGAIN | Errno::INTR)) => last = error,
                    other => return other,
                }
            }
            Err(last)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn openat2(
    _from: impl std::os::fd::AsFd,
    _path: &Path,
    _flags: OFlags,
    _resolve: Resolve,
    _pace: Pace,
) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// Reads bytes from position `at` of a file. Returns how many, 0 at its end.
///
/// # Errors
/// The system's error; with [`Pace::AtOnce`], [`io::ErrorKind::WouldBlock`] for what isn't in its
/// cache.
pub fn read_at(file: &File, buffer: &mut [u8], at: u64, pace: Pace) -> io::Result<usize> {
    loop {
        let read = match pace {
            Pace::AtOnce => read_cached(file, &mut [IoSliceMut::new(buffer)], at),
            Pace::Patient => rustix::io::pread(file, &mut *buffer, at),
        };
        match read {
            Err(Errno::INTR) => {}
            // These file systems can't tell what is in the cache.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if pace == Pace::AtOnce => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            other => return Ok(other?),
        }
    }
}

#[cfg(target_os = "linux")]
fn read_cached(file: &File, buffers: &mut [IoSliceMut<'_>], at: u64) -> Result<usize, Errno> {
    rustix::io::preadv2(file, buffers, at, rustix::io::ReadWriteFlags::NOWAIT)
}

#[cfg(not(target_os = "linux"))]
fn read_cached(_file: &File, _buffers: &mut [IoSliceMut<'_>], _at: u64) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}
