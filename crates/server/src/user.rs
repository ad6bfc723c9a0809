//! The user that the server becomes once it has opened its ports and files.

use std::ffi::CString;
use std::fmt;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, initgroups, setgid, setuid};

/// A user and a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Why the server can't become a user. `Display` gives one sentence.
#[derive(Debug)]
pub enum UserError {
    /// There is no user or group of this name.
    Unknown(String),
    /// Only root can become another user.
    NotRoot(String, u32),
    /// The system refuses it.
    System(String, Errno),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "--user: there is no user or group {name}"),
            Self::NotRoot(name, uid) => write!(
                f,
                "--user {name}: only root can become another user, and this process belongs to \
                 user {uid}; start it as root, or leave out --user"
            ),
            Self::System(name, error) => {
                write!(f, "--user {name}: can't become that user: {error}")
            }
        }
    }
}

/// Returns the user and group that new files of logs belong to, if the process is to become `user`.
pub(crate) fn owner(user: Option<&str>) -> Option<(u32, u32)> {
    // A user that doesn't exist is an error later.
    let user = user.filter(|_| geteuid().is_root());
    user.and_then(|user| Some(Account::find(user).ok()?.ids()))
}

impl Account {
    /// Finds a user, written as `USER` or `USER:GROUP`.
    ///
    /// # Errors
    /// There is no such user or group.
    pub(crate) fn find(typed: &str) -> Result<Self, UserError> {
        let (name, group) = match typed.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (typed, None),
        };
        let unknown = |name: &str| UserError::Unknown(name.to_owned());
        let system = |error| UserError::System(typed.to_owned(), error);
        let user = User::from_name(name).map_err(system)?;
        let user = user.ok_or_else(|| unknown(name))?;
        let gid = match group {
            None => user.gid,
            Some(group) => {
                let found = Group::from_name(group).map_err(system)?;
                found.ok_or_else(|| unknown(group))?.gid
            }
        };
        Ok(Self {
            name: name.to_owned(),
            uid: user.uid,
            gid,
        })
    }

    /// Returns the user and the group, for files.
    pub(crate) fn ids(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }

    /// Becomes the user, with the user's groups, for good.
    ///
    /// # Errors
    /// The process isn't root's, and not the user's either.
    pub(crate) fn assume(&self) -> Result<(), UserError> {
        if (geteuid(), getegid()) == (self.uid, self.gid) {
            // For example after an upgrade.
            return Ok(());
        }
        if !geteuid().is_root() {
            return Err(UserError::NotRoot(self.name.clone(), geteuid().as_raw()));
        }
        let system = |error| UserError::System(self.name.clone(), error);
        let name = CString::new(&*self.name).map_err(|_| system(Errno::EINVAL))?;
        // The user is last: afterwards nothing else may be changed.
        initgroups(&name, self.gid).map_err(system)?;
        setgid(self.gid).map_err(system)?;
        setuid(self.uid).map_err(system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let root = Account::find("root").unwrap();
        assert_eq!(root.ids(), (0, 0));
        assert_eq!(Account::find("root:root").unwrap(), root);
        for (typed, says) in [
            (
                "nobody-of-this-name",
                "there is no user or group nobody-of-this-name",
            ),
            (
                "root:no-such-group",
                "there is no user or group no-such-group",
            ),
        ] {
            let error = Account::find(typed).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
