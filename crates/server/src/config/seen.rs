//! Files as they were before they were read.

use std::fs;
use std::path::{Path, PathBuf};

use crate::handlers::lookup::Identity;

/// Files as they were at one moment. A change after that is noticed, even if it comes while they
/// are read.
#[derive(Clone, Debug, Default)]
pub struct Seen(Vec<(PathBuf, Option<Identity>)>);

impl Seen {
    /// Looks at these files.
    pub fn look<'a>(paths: impl Iterator<Item = &'a Path>) -> Self {
        Self(paths.map(|path| (path.into(), identity(path))).collect())
    }

    /// Looks at the files again. Returns whether one of them is another or has other content, and
    /// all are there: files that are there in part are being replaced.
    pub fn have_changed(&mut self) -> bool {
        let now = Self::look(self.0.iter().map(|(path, _)| &**path));
        let are_there = now.0.iter().all(|(_, identity)| identity.is_some());
        if now.0 == self.0 || !are_there {
            return false;
        }
        *self = now;
        true
    }
}

fn identity(path: &Path) -> Option<Identity> {
    // Links are followed: ACME clients keep the files elsewhere.
    Some(Identity::of(&fs::metadata(path).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_noticed_once_all_files_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a"), dir.path().join("b")];
        let write = |place: usize, text: &str| fs::write(&paths[place], text).unwrap();
        write(0, "1");
        write(1, "1");
        let mut seen = Seen::look(paths.iter().map(|path| &**path));
        assert!(!seen.have_changed());
        write(0, "22");
        assert!(seen.have_changed() && !seen.have_changed());
        fs::remove_file(&paths[1]).unwrap();
        write(0, "333");
        assert!(!seen.have_changed());
        write(1, "1");
        assert!(seen.have_changed() && !seen.have_changed());
    }
}
