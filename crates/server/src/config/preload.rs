//! The preload list, and whether to send hints and pushes.

use std::sync::Arc;

use super::ConfigError;
use super::routes::{Routes, target_at};
use crate::flags::{Flags, Switch};
use crate::handlers::demo;
use crate::push::{self, Mode, PushCache};
use crate::router::Router;
use crate::site::{Routed, Target};

/// Reads the preload list.
pub(super) fn options(flags: &Flags, routes: &Routes) -> Result<push::Options, ConfigError> {
    let mut preloads = match &flags.preload_file {
        Some(file) => push::file::read(file).map_err(ConfigError::PreloadFile)?,
        None => Vec::new(),
    };
    preloads.extend(flags.preload.iter().cloned());
    let is_built_in = preloads.is_empty() && routes.are_built_in;
    if is_built_in {
        preloads.extend(demo::preloads());
    }
    let placed = |error: ConfigError, path: Option<&str>| {
        let mut typed = flags.preload.iter();
        match path.and_then(|path| typed.position(|preload| preload.has(path))) {
            Some(nth) => error.about("preload", nth),
            None if flags.preload_file.is_some() => error.about("preload-file", 0),
            None => error,
        }
    };
    let list = PushCache::new(preloads).map_err(|error| {
        let path = error.path().map(str::to_owned);
        placed(ConfigError::Preload(error), path.as_deref())
    })?;
    if let Some(path) = unrouted(&list, &routes.all) {
        let error = ConfigError::PreloadUnrouted(path.to_owned());
        return Err(placed(error, Some(path)));
    }
    if list.is_empty() && flags.push != Mode::Off {
        return Err(ConfigError::NothingToPush);
    }
    Ok(push::Options {
        list: Arc::new(list),
        // The demo site mostly has a certificate that nobody trusts. Browsers don't cache what
        // comes over such a connection, so they would load hinted resources twice.
        early_hints: flags
            .early_hints
            .map_or(!is_built_in, |early_hints| early_hints == Switch::On),
        mode: flags.push,
    })
}

/// Returns a path in the list of which a GET returns no content, as of uploads and echoes.
fn unrouted<'l>(list: &'l PushCache, routes: &Router<Routed>) -> Option<&'l str> {
    let has_content = |path: &str| match target_at(routes, path) {
        Some(Target::Files(_) | Target::Demo | Target::Proxy(_)) => true,
        Some(Target::Named(named)) => named.has_content(),
        Some(Target::Redirect(_)) | None => false,
    };
    list.routed().find(|path| !has_content(path))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{config, error};
    use super::*;

    fn push(line: &str) -> push::Options {
        config(line).unwrap().served.sites.remove(0).push
    }

    #[test]
    fn the_demo_page_has_a_preload_list_unless_another_is_given() {
        let demo = push("--listen none --push on");
        assert!(!demo.early_hints, "off by default");
        assert!(push("--early-hints on").early_hints);
        let hinted = push("--listen none --preload /=/tide.svg");
        assert!(hinted.early_hints);
        assert_eq!((demo.list.links("/").len(), demo.mode), (3, Mode::On));
        let own = push("--listen none --preload /=/tide.svg --early-hints off");
        assert_eq!(own.list.links("/"), ["</tide.svg>; rel=preload; as=image"]);
        assert!(!own.early_hints && own.mode == Mode::Off);
        let routed = push("--listen none --route /health=status");
        assert!(routed.list.is_empty());
    }

    #[test]
    fn a_preload_list_needs_routes_or_content() {
        for (line, words) in [
            (
                "--push on --route /health=status",
                "there is nothing to push",
            ),
            (
                "--preload /=/a.css --route /a=status",
                "/ can't be preloaded, because no route serves it",
            ),
            (
                "--preload /a=/b.css --route /a=status",
                "/b.css can't be preloaded, because no route",
            ),
            (
                "--preload /a=/b.css --route /a=status --route /b.css=echo",
                "/b.css can't",
            ),
            ("--preload /=/style", "as = \"style\""),
            ("--preload /=//host/style.css", "begins with one /"),
        ] {
            let error = error(&format!("--listen none {line}"));
            assert!(error.to_string().contains(words), "{line}: {error}");
            assert_eq!(error.exit_status(), 2, "{line}");
        }
        let missing = error("--listen none --preload-file /nonexistent");
        assert_eq!(missing.exit_status(), 1);

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("preload.toml");
        let line = format!(
            "--listen none --route /a=status --preload-file {}",
            file.display()
        );
        let text = "[[resource]]\npath = \"/b.css\"\npages = [\"/a\"]\ncontent = \"x\"";
        fs::write(&file, text).unwrap();
        assert_eq!(push(&line).list.links("/a").len(), 1);
        fs::write(&file, text.replace("pages", "page")).unwrap();
        assert_eq!(error(&line).exit_status(), 2);
    }
}
