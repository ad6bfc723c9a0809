//! The routes: which target is at each path.

use std::path::Path;
use std::sync::Arc;

use super::ConfigError;
use super::upstreams::Upstreams;
use crate::flags::{FileAt, Flags, HttpRedirect, RouteTarget};
use crate::handlers::Named;
use crate::handlers::beneath::Pace;
use crate::handlers::fallback::{Directory, Fallback};
use crate::handlers::lookup::Root;
use crate::path::RequestPath;
use crate::response_fields::ResponseFields;
use crate::router::Router;
use crate::rules::Rules;
use crate::settings::SiteSettings;
use crate::site::{Routed, Target};

/// The routes.
pub(super) struct Routes {
    /// The route of each path.
    pub(super) all: Router<Routed>,
    /// Paths on which WebSockets pass to an upstream.
    pub(super) websockets: Router<()>,
    /// Whether no flag names a route.
    pub(super) are_built_in: bool,
}

impl Routes {
    /// Returns the routes that a site names, or the built-in ones.
    pub(super) fn new(
        settings: &SiteSettings,
        upstreams: &mut Upstreams<'_>,
    ) -> Result<Self, ConfigError> {
        let flags = &settings.flags;
        let mut routes = Vec::new();
        if let Some(directory) = &flags.root {
            let target = files(directory, "/", flags).map_err(|error| error.about("root", 0))?;
            routes.push(("/".to_owned(), routed(target, flags)));
        }
        for (nth, (route, own)) in flags.route.iter().zip(&settings.routes).enumerate() {
            let own = &own.flags;
            let target = match &route.target {
                RouteTarget::Named(named) => Ok(Target::Named(*named)),
                RouteTarget::Directory(directory) => files(directory, &route.path, own),
                RouteTarget::Redirect(redirect) => Ok(Target::Redirect(Arc::new(redirect.clone()))),
                RouteTarget::Upstream(target) => upstreams.route(target, own),
                RouteTarget::NamedUpstream(target) => upstreams.route_to_named(target, own),
            };
            let target = target.map_err(|error| {
                if error.flag().is_some() {
                    error.of_route(nth)
                } else {
                    error.about("route", nth)
                }
            })?;
            routes.push((route.path.clone(), routed(target, own)));
        }
        let are_built_in = routes.is_empty();
        if are_built_in {
            routes.push(("/".to_owned(), routed(Target::Demo, flags)));
            routes.extend(Named::ALL.iter().map(|named| {
                let path = format!("/{}", named.word());
                (path, routed(Target::Named(*named), flags))
            }));
        }

        let all = Router::new(routes);
        for (nth, path) in flags.websocket.iter().enumerate() {
            if !matches!(target_at(&all, path), Some(Target::Proxy(_))) {
                let error = ConfigError::WebSocketUnrouted(path.clone());
                return Err(error.about("websocket", nth));
            }
        }
        let websockets = flags.websocket.iter().map(|path| (path.clone(), ()));
        Ok(Self {
            all,
            websockets: Router::new(websockets),
            are_built_in,
        })
    }
}

/// Returns the target at a path that was typed.
pub(super) fn target_at<'r>(routes: &'r Router<Routed>, path: &str) -> Option<&'r Target> {
    let path = RequestPath::read(path.as_bytes()).ok()?;
    routes.find(&path).map(|found| &found.target.target)
}

/// Returns a target with the rules that the flags of its route describe.
fn routed(target: Target, flags: &Flags) -> Routed {
    Routed {
        target,
        rules: rules(flags),
    }
}

/// Returns the rules that the flags of a route or a site describe, or `None` if they describe none.
pub(super) fn rules(flags: &Flags) -> Option<Arc<Rules>> {
    let rules = Rules {
        fields: ResponseFields::new(&flags.response_field),
        to_https: match &flags.http_redirect {
            HttpRedirect::Off => None,
            HttpRedirect::To(redirect) => Some(redirect.clone()),
        },
        max_body: match flags.max_body.0 {
            0 => u64::MAX,
            bytes => bytes,
        },
        priority: flags.default_priority,
    };
    let is_empty = rules.fields.is_empty()
        && rules.to_https.is_none()
        && rules.max_body == u64::MAX
        && rules.priority.is_none();
    (!is_empty).then(|| Arc::new(rules))
}

/// Returns the files below a directory, at the path of a route.
fn files(directory: &Path, route: &str, flags: &Flags) -> Result<Target, ConfigError> {
    let root = Root::new(directory)
        .map_err(|error| ConfigError::NoDirectory(directory.to_owned(), error))?;
    let fallback = match &flags.fallback {
        FileAt::None => None,
        FileAt::Path(file) => {
            if root.find(file.as_bytes(), Pace::Patient).is_err() {
                log::warn!(
                    "the directory {} has no {file} now: paths that don't exist get 404 until it \
                     has",
                    directory.display()
                );
            }
            Some(Arc::new(Fallback::new(route, file)))
        }
    };
    Ok(Target::Files(Directory { root, fallback }))
}
