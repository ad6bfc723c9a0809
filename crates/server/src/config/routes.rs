//! The routes: which target is at each path.

use std::path::Path;

use super::ConfigError;
use super::upstreams::Upstreams;
use crate::flags::RouteTarget;
use crate::handlers::Named;
use crate::handlers::lookup::Root;
use crate::path::RequestPath;
use crate::router::Router;
use crate::settings::SiteSettings;
use crate::site::Target;

/// The routes.
pub(super) struct Routes {
    /// The target at each path.
    pub(super) all: Router<Target>,
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
            let target = files(directory).map_err(|error| error.about("root", 0))?;
            routes.push(("/".to_owned(), target));
        }
        for (nth, (route, own)) in flags.route.iter().zip(&settings.routes).enumerate() {
            let target = match &route.target {
                RouteTarget::Named(named) => Ok(Target::Named(*named)),
                RouteTarget::Directory(directory) => files(directory),
                RouteTarget::Upstream(target) => upstreams.route(target, own),
                RouteTarget::NamedUpstream(target) => upstreams.route_to_named(target, own),
            };
            let target = target.map_err(|error| error.about("route", nth))?;
            routes.push((route.path.clone(), target));
        }
        let are_built_in = routes.is_empty();
        if are_built_in {
            routes.push(("/".to_owned(), Target::Demo));
            let named = Named::ALL.iter();
            routes.extend(named.map(|named| (format!("/{}", named.word()), Target::Named(*named))));
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
pub(super) fn target_at<'r>(routes: &'r Router<Target>, path: &str) -> Option<&'r Target> {
    let path = RequestPath::read(path.as_bytes()).ok()?;
    routes.find(&path).map(|found| found.target)
}

fn files(directory: &Path) -> Result<Target, ConfigError> {
    match Root::new(directory) {
        Ok(root) => Ok(Target::Files(root)),
        Err(error) => Err(ConfigError::NoDirectory(directory.to_owned(), error)),
    }
}
