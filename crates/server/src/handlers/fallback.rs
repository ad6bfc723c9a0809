//! The file that answers for those that don't exist, as applications in a browser need it that
//! draw their pages themselves.

use std::sync::Arc;

use super::lookup::Root;
use crate::path;

/// A directory, and the file in it that answers for those that don't exist.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The directory.
    pub root: Root,
    /// The file, if there is one.
    pub fallback: Option<Arc<Fallback>>,
}

impl From<Root> for Directory {
    fn from(root: Root) -> Self {
        Self {
            root,
            fallback: None,
        }
    }
}

/// The path of a file as a request has it.
#[derive(Debug)]
pub struct Fallback {
    /// The path, behind that of the route.
    path: Box<str>,
    /// The length of the route's path.
    route: usize,
}

impl Fallback {
    /// Returns the file with this path below the directory of a route. Both paths are canonical.
    pub fn new(route: &str, file: &str) -> Self {
        let route = route.strip_suffix('/').unwrap_or(route);
        Self {
            path: format!("{route}{file}").into(),
            route: route.len(),
        }
    }

    /// Returns what is looked up.
    pub fn place(&self) -> Place<'_> {
        let path = self.path.as_bytes();
        Place {
            path,
            route: &path[..self.route],
        }
    }
}

/// A path to look up in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The path that was requested, by which a file is remembered.
    pub path: &'a [u8],
    /// The canonical path of the route, whose target is the directory.
    pub route: &'a [u8],
}

impl<'a> Place<'a> {
    /// Returns the part of the path below the directory.
    pub fn rest(&self) -> &'a [u8] {
        path::behind(self.path, self.route)
    }
}
