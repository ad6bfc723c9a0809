//! The push cache: resources in memory or from routes, each tied to the pages that need it. The
//! same list serves 103 Early Hints and pushes.
//!
//! ```
//! use tidegate::push::{Preload, PushCache};
//! use tidegate_http::Priority;
//!
//! let list = PushCache::new([
//!     // Answered by the routes, as if the client had requested it.
//!     Preload::new("/style.css").page("/").page("/about"),
//!     // Answered from memory, whatever the routes say.
//!     Preload::new("/app.js")
//!         .page("/")
//!         .content("text/javascript", "console.log('here before it was requested')")
//!         .header("cache-control", "max-age=3600")
//!         .priority(Priority { urgency: 2, incremental: false }),
//! ])?;
//! assert_eq!(list.links("/about"), ["</style.css>; rel=preload; as=style"]);
//! # Ok::<(), tidegate::push::PreloadError>(())
//! ```

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use tidegate_http::{Priority, ResponseHead};

use super::Destination;
use crate::path::RequestPath;

/// The most pages in a list. Each page takes memory in every worker.
pub const MAX_PAGES: usize = 1024;

/// The most resources in a list.
pub const MAX_RESOURCES: usize = 1024;

/// The most resources that one page needs. Their `link` fields stay far below the size of heads
/// that clients take.
pub const MAX_NEEDS: usize = 32;

/// A resource for the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preload {
    path: String,
    pages: Vec<String>,
    destination: Option<Destination>,
    content: Option<Content>,
    headers: Vec<(String, String)>,
    priority: Option<Priority>,
}

impl Preload {
    /// Whether this is the path of the resource, or of a page that needs it.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.path == path || self.pages.iter().any(|page| page == path)
    }
}

/// Content in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) content_type: String,
    pub(crate) bytes: Bytes,
}

impl Preload {
    /// Returns a resource at this path, which includes the query. The routes give its content.
    /// [`PushCache::new`] checks the path.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            pages: Vec::new(),
            destination: None,
            content: None,
            headers: Vec::new(),
            priority: None,
        }
    }

    /// Adds a page that needs the resource: a path without query.
    #[must_use]
    pub fn page(mut self, path: impl Into<String>) -> Self {
        self.pages.push(path.into());
        self
    }

    /// Sets the destination. By default the content type or the extension of the path decides.
    #[must_use]
    pub fn destination(mut self, destination: Destination) -> Self {
        self.destination = Some(destination);
        self
    }

    /// Sets the content, which is used in place of what the routes have.
    #[must_use]
    pub fn content(mut self, content_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        self.content = Some(Content {
            content_type: content_type.into(),
            bytes: bytes.into(),
        });
        self
    }

    /// Adds a field to successful answers, whether pushed or requested. The name must be in lower
    /// case.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the priority of a push. Default: one urgency below the page's.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Whether only pages are set.
    fn is_plain(&self) -> bool {
        self.destination.is_none()
            && self.content.is_none()
            && self.headers.is_empty()
            && self.priority.is_none()
    }
}

/// Why a list can't be used. `Display` gives one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreloadError {
    /// A path that no request can have.
    InvalidPath(String),
    /// A page's path with a query.
    PageWithQuery(String),
    /// The resource at this path has no destination, and its name doesn't show one.
    UnknownDestination(String),
    /// No page needs the resource at this path.
    WithoutPage(String),
    /// Two entries have settings for the resource at this path.
    Repeated(String),
    /// A resource's path and the name of a field that can't be sent, or that the server sets
    /// itself.
    InvalidHeader(String, String),
    /// Too many items of a kind: the kind, and the limit.
    TooMany(&'static str, usize),
}

impl PreloadError {
    /// Returns the path of the resource or page that the error is about.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::InvalidPath(path)
            | Self::PageWithQuery(path)
            | Self::UnknownDestination(path)
            | Self::WithoutPage(path)
            | Self::Repeated(path)
            | Self::InvalidHeader(path, _) => Some(path),
            Self::TooMany(..) => None,
        }
    }
}

impl fmt::Display for PreloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPath(path) => write!(
                f,
                "{path:?} can't be preloaded: write a path on this server that begins with one /, \
                 with spaces, quotes, <, >, # and what isn't ASCII as %XX"
            ),
            Self::PageWithQuery(page) => {
                write!(
                    f,
                    "the page {page} has a query: leave out ? and what follows"
                )
            }
            Self::UnknownDestination(path) => write!(
                f,
                "the name of {path} doesn't show its destination: set it in a --preload-file, as in \
                 as = \"style\", or one of {}",
                Destination::names()
            ),
            Self::WithoutPage(path) => {
                write!(f, "no page needs {path}: name one, as in pages = [\"/\"]")
            }
            Self::Repeated(path) => {
                write!(f, "{path} has settings in two places: put them together")
            }
            Self::InvalidHeader(path, name) => write!(
                f,
                "{path} can't have the field {name:?}: write a valid name in lower case and a valid \
                 value, and leave out fields that the server sets itself"
            ),
            Self::TooMany(what, limit) => {
                write!(
                    f,
                    "the preload list has more than {limit} {what}: leave out some"
                )
            }
        }
    }
}

impl std::error::Error for PreloadError {}

/// The checked list. Pages and resources are identified by numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushCache {
    by_path: HashMap<Box<[u8]>, Found>,
    pub(super) pages: Vec<Page>,
    pub(super) resources: Vec<Resource>,
}

/// The entry of a path in the list: a page, a resource, both or neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(super) page: Option<u16>,
    pub(super) resource: Option<u16>,
}

#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) path: String,
    /// The resources that the page needs, in the order of the list.
    pub(super) needs: Vec<u16>,
    /// Values of `link` fields, one for each resource.
    pub(super) links: Vec<String>,
    /// The 103 response with these links.
    pub(super) hint: ResponseHead,
}

impl PartialEq for Page {
    fn eq(&self, other: &Self) -> bool {
        // The hint follows from the links.
        (&self.path, &self.needs, &self.links) == (&other.path, &other.needs, &other.links)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resource {
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) priority: Option<Priority>,
    pub(super) content: Option<Content>,
}

impl PushCache {
    /// Returns the list of these resources. Entries with the same path are merged.
    ///
    /// # Errors
    /// The first problem in the list.
    pub fn new(list: impl IntoIterator<Item = Preload>) -> Result<Self, PreloadError> {
        let mut cache = Self::default();
        for preload in merge(list)? {
            cache.add(preload)?;
        }
        Ok(cache)
    }

    fn add(&mut self, preload: Preload) -> Result<(), PreloadError> {
        let Preload {
            path,
            pages,
            destination,
            content,
            headers,
            priority,
        } = preload;
        check_path(&path)?;
        check_headers(&path, &headers)?;
        let by_type = || {
            let content = content.as_ref()?;
            Destination::of_type(&content.content_type)
        };
        let destination = destination
            .or_else(by_type)
            .or_else(|| Destination::of_path(&path));
        let Some(destination) = destination else {
            return Err(PreloadError::UnknownDestination(path));
        };
        if pages.is_empty() {
            return Err(PreloadError::WithoutPage(path));
        }
        let resource = number(self.resources.len(), MAX_RESOURCES, "resources")?;
        self.found(&path).resource = Some(resource);
        let link = destination.link(&path);
        for page in pages {
            self.add_need(page, resource, &link)?;
        }
        self.resources.push(Resource {
            path,
            headers,
            priority,
            content,
        });
        Ok(())
    }

    fn add_need(&mut self, path: String, resource: u16, link: &str) -> Result<(), PreloadError> {
        check_path(&path)?;
        if path.contains('?') {
            return Err(PreloadError::PageWithQuery(path));
        }
        let page = match self.found(&path).page {
            Some(page) => page,
            None => {
                let page = number(self.pages.len(), MAX_PAGES, "pages")?;
                self.found(&path).page = Some(page);
                self.pages.push(Page {
                    path,
                    needs: Vec::new(),
                    links: Vec::new(),
                    hint: ResponseHead::new(103),
                });
                page
            }
        };
        let page = &mut self.pages[usize::from(page)];
        if page.needs.contains(&resource) {
            return Ok(());
        }
        number(page.needs.len(), MAX_NEEDS, "resources for one page")?;
        page.needs.push(resource);
        page.links.push(link.to_owned());
        page.hint.push("link", link);
        Ok(())
    }

    /// Returns the page with this number, which [`PushCache::find`] returned.
    pub(super) fn page(&self, number: u16) -> &Page {
        &self.pages[usize::from(number)]
    }

    /// Returns the resource with this number, which came from [`PushCache::find`] or a page.
    pub(super) fn resource(&self, number: u16) -> &Resource {
        &self.resources[usize::from(number)]
    }

    /// Returns the place of a resource among those that a page needs, if the page needs it.
    pub(super) fn place(&self, page: u16, resource: u16) -> Option<usize> {
        let mut needs = self.page(page).needs.iter();
        needs.position(|other| *other == resource)
    }

    fn found(&mut self, path: &str) -> &mut Found {
        let read = RequestPath::read(path.as_bytes());
        let path = read.as_ref().map(RequestPath::canonical_target);
        self.by_path
            .entry(path.unwrap_or_default().into())
            .or_default()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    /// Returns the values of a page's `link` fields, none if the page isn't in the list.
    pub fn links(&self, page: &str) -> &[String] {
        match self.find_text(page).page {
            Some(page) => &self.page(page).links,
            None => &[],
        }
    }

    /// Returns all paths that the routes must answer: those of pages and resources that aren't in
    /// memory.
    pub(crate) fn routed(&self) -> impl Iterator<Item = &str> {
        let resources = self.resources.iter();
        let routed = resources.filter(|resource| resource.content.is_none());
        let pages = self.pages.iter().map(|page| page.path.as_str());
        pages
            .filter(|path| !self.is_in_memory(path))
            .chain(routed.map(|resource| resource.path.as_str()))
    }

    fn is_in_memory(&self, path: &str) -> bool {
        let found = self.find_text(path).resource;
        found.is_some_and(|resource| self.resource(resource).content.is_some())
    }

    /// Finds the entry of a request's path. A page is found with any query, a resource only with
    /// its own.
    pub(super) fn find(&self, path: &RequestPath<'_>) -> Found {
        let found = |path: &[u8]| self.by_path.get(path).copied().unwrap_or_default();
        let whole = found(&path.canonical_target());
        match path.query() {
            [] => whole,
            _ => Found {
                page: found(path.canonical()).page,
                resource: whole.resource,
            },
        }
    }

    fn find_text(&self, path: &str) -> Found {
        let path = RequestPath::read(path.as_bytes());
        path.map_or_else(|_| Found::default(), |path| self.find(&path))
    }
}

/// Merges entries with the same path, in the order of each path's first entry.
fn merge(list: impl IntoIterator<Item = Preload>) -> Result<Vec<Preload>, PreloadError> {
    let mut merged: Vec<Preload> = Vec::new();
    let mut places = HashMap::new();
    for mut preload in list {
        let Some(place) = places.get(&preload.path) else {
            places.insert(preload.path.clone(), merged.len());
            merged.push(preload);
            continue;
        };
        let known: &mut Preload = &mut merged[*place];
        if known.is_plain() {
            preload.pages.splice(..0, known.pages.drain(..));
            *known = preload;
        } else if preload.is_plain() {
            known.pages.append(&mut preload.pages);
        } else {
            return Err(PreloadError::Repeated(preload.path));
        }
    }
    Ok(merged)
}

/// Returns the number of the next item.
fn number(count: usize, limit: usize, what: &'static str) -> Result<u16, PreloadError> {
    match u16::try_from(count) {
        Ok(number) if count < limit => Ok(number),
        _ => Err(PreloadError::TooMany(what, limit)),
    }
}

/// Checks that a client can request the path on this authority, so not `//host`, and that the path
/// neither ends the `<…>` of a link nor makes a request invalid.
fn check_path(path: &str) -> Result<(), PreloadError> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"<>\"#\\^`{|}".contains(&byte);
    let can_be_asked_for = RequestPath::read(path.as_bytes()).is_ok();
    if path.starts_with('/') && can_be_asked_for && path.bytes().all(fits) {
        return Ok(());
    }
    Err(PreloadError::InvalidPath(path.into()))
}

/// Fields that answers have already.
const OWN_FIELDS: [&str; 10] = [
    "accept-ranges",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "last-modified",
    "link",
    "priority",
    "server",
];

fn check_headers(path: &str, headers: &[(String, String)]) -> Result<(), PreloadError> {
    for (name, value) in headers {
        let head = ResponseHead::new(200).field(name, value);
        let is_valid = ResponseHead::from_fields(head.into_fields()).is_ok();
        if !is_valid || OWN_FIELDS.contains(&name.as_str()) {
            return Err(PreloadError::InvalidHeader(path.into(), name.clone()));
        }
    }
    Ok(())
}
