//! The use that a page makes of a resource, and the link that names both.

/// The use of a resource: the `as` of a preload link (HTML §4.6.7.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A style sheet.
    Style,
    /// A classic script.
    Script,
    /// A JavaScript module: `rel=modulepreload`.
    Module,
    /// An image.
    Image,
    /// A font.
    Font,
    /// Data that scripts fetch, such as JSON.
    Fetch,
    /// Subtitles.
    Track,
}

impl Destination {
    const NAMES: [(&str, Self); 7] = [
        ("style", Self::Style),
        ("script", Self::Script),
        ("module", Self::Module),
        ("image", Self::Image),
        ("font", Self::Font),
        ("fetch", Self::Fetch),
        ("track", Self::Track),
    ];

    /// Returns the destination of this name, such as `style`.
    pub fn of_name(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(other, _)| *other == name);
        found.map(|(_, destination)| *destination)
    }

    /// Returns all names, for messages.
    pub(super) fn names() -> String {
        Self::NAMES.map(|(name, _)| name).join(", ")
    }

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, other)| *other == self);
        found.map_or("fetch", |(name, _)| *name)
    }

    /// Returns the destination of this type of content. Types that pages don't load, such as HTML,
    /// have none.
    pub(super) fn of_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence {
            "text/css" => Some(Self::Style),
            "text/javascript" | "application/javascript" => Some(Self::Script),
            "text/vtt" => Some(Self::Track),
            "application/json" | "application/wasm" => Some(Self::Fetch),
            "application/font-woff" | "application/vnd.ms-fontobject" => Some(Self::Font),
            _ if essence.starts_with("image/") => Some(Self::Image),
            _ if essence.starts_with("font/") => Some(Self::Font),
            _ => None,
        }
    }

    /// Returns the destination by a path's extension.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        if path.ends_with(".mjs") {
            return Some(Self::Module);
        }
        Self::of_type(mime_guess::from_path(path).first_raw()?)
    }

    /// Returns the value of a `link` field (RFC 8288) for this path.
    pub(super) fn link(self, path: &str) -> String {
        match self {
            Self::Module => format!("<{path}>; rel=modulepreload"),
            // Pages load these by CORS, even from their own origin. A preload without it would be
            // loaded twice.
            Self::Font | Self::Fetch => {
                format!("<{path}>; rel=preload; as={}; crossorigin", self.name())
            }
            _ => format!("<{path}>; rel=preload; as={}", self.name()),
        }
    }
}
