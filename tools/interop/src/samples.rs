//! The files that are transferred, and their checksums.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use crate::process::Result;

/// The sizes of the files: around a frame's maximum and a window's initial size, and one that fits
/// in no buffer.
const SIZES: [usize; 8] = [0, 1, 16383, 16384, 16385, 65535, 65536, LARGE];

/// The size of the largest file.
pub(crate) const LARGE: usize = 50_000_000;

/// How many files the directory `hundred` has.
pub(crate) const HUNDRED: usize = 100;

/// A file of random bytes.
pub(crate) struct Sample {
    pub(crate) size: usize,
    /// The checksum, in hexadecimal digits.
    pub(crate) sum: String,
    pub(crate) path: PathBuf,
}

impl Sample {
    /// Returns the path in a URL.
    pub(crate) fn url(&self) -> String {
        format!("/{}.bin", self.size)
    }

    /// Returns the answer of `/upload` to this file.
    pub(crate) fn receipt(&self) -> String {
        format!("{{\"bytes\":{},\"sha256\":\"{}\"}}", self.size, self.sum)
    }

    /// Returns curl's argument for a body that is this file.
    pub(crate) fn as_body(&self) -> String {
        format!("@{}", self.path.display())
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        Ok(fs::read(&self.path)?)
    }
}

/// Returns the checksum of these bytes, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digits = digest(&SHA256, bytes);
    digits.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Returns how often each byte occurs. nghttp writes the bodies of its streams as their frames
/// arrive, interleaved.
pub(crate) fn histogram(bytes: &[u8]) -> BTreeMap<u8, usize> {
    let mut counts = BTreeMap::new();
    for byte in bytes {
        *counts.entry(*byte).or_insert(0) += 1;
    }
    counts
}

/// Creates the files in a directory, and a hundred small ones in `hundred` below it.
pub(crate) fn create(www: &Path) -> Result<Vec<Sample>> {
    let mut random = File::open("/dev/urandom")?;
    let mut write = |path: &Path, size: usize| -> io::Result<String> {
        let mut bytes = vec![0; size];
        random.read_exact(&mut bytes)?;
        fs::write(path, &bytes)?;
        Ok(sha256(&bytes))
    };
    let mut samples = Vec::new();
    for size in SIZES {
        let path = www.join(format!("{size}.bin"));
        let sum = write(&path, size)?;
        samples.push(Sample { size, sum, path });
    }
    let hundred = www.join("hundred");
    fs::create_dir_all(&hundred)?;
    for at in 1..=HUNDRED {
        write(&hundred.join(format!("{at}.bin")), at * at * 13)?;
    }
    Ok(samples)
}

/// Returns the names of the files in `wanted` that are missing or different in `got`.
pub(crate) fn differing(wanted: &Path, got: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(wanted)? {
        let entry = entry?;
        let same = fs::read(got.join(entry.file_name())).ok() == Some(fs::read(entry.path())?);
        if !same {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), sum);
    }

    #[test]
    fn files_that_differ_are_named() -> Result {
        let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
        for name in ["same", "changed", "missing"] {
            fs::write(one.path().join(name), name)?;
        }
        fs::write(other.path().join("same"), "same")?;
        fs::write(other.path().join("changed"), "?")?;
        let mut names = differing(one.path(), other.path())?;
        names.sort();
        assert_eq!(names, ["changed", "missing"]);
        Ok(())
    }
}
