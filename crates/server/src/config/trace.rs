//! Which connections are traced, and the file.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_http::Config as EngineConfig;
use tidegate_trace::Values;

use super::error::ConfigError;
use super::lasting::Lasting;
use crate::flags::{Flags, Switch};
use crate::trace::destination::Destination;
use crate::trace::{Filter, Settings};
use crate::user::owner;

/// Returns what is traced, with the path of the file. A file that is open already stays open.
pub(super) fn settings(
    flags: &Flags,
    former: Option<&Lasting>,
    engine: &Arc<EngineConfig>,
) -> Result<Option<(PathBuf, Arc<Settings>)>, ConfigError> {
    let Some(path) = &flags.tracing.trace else {
        return Ok(None);
    };
    let destination = match former.and_then(|former| former.trace.as_ref()) {
        Some((open, settings)) if open == path => settings.destination.clone(),
        _ => Destination::open(path, owner(flags.user.as_deref()))
            .map_err(|error| ConfigError::NoTrace(path.clone(), error))?,
    };
    let filter = Filter::new(
        flags.tracing.trace_client.clone(),
        &flags.tracing.trace_site,
        flags.tracing.trace_sample,
    );
    let values = match flags.tracing.trace_values {
        Switch::On => Values::Most,
        Switch::Off => Values::Protocol,
    };
    let settings = Settings::new(
        destination,
        filter,
        (values, flags.tracing.trace_ring),
        Arc::clone(engine),
    );
    Ok(Some((path.clone(), Arc::new(settings))))
}
