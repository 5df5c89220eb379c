//! The connectors this program has: by URL scheme or type to something that runs.
//!
//! A connector is one file here, behind its feature: the descriptions of its options, and how to
//! build it. Nothing else in the program names it, except commands that speak its language.

#[cfg(feature = "duckdb")]
pub(crate) mod duckdb;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;

use std::sync::Arc;

use rowtide_core::{Capabilities, Destination, Error, Result, Source, ValueRule};
use rowtide_engine::config::{Configuration, ConnectorSpec, Connectors, Endpoint};

/// All connectors, for the configuration.
pub(crate) const CONNECTORS: Connectors =
    Connectors { sources: SOURCES, destinations: DESTINATIONS };

const SOURCES: &[ConnectorSpec] = &[
    #[cfg(feature = "postgres")]
    postgres::SPEC,
];

const DESTINATIONS: &[ConnectorSpec] = &[
    #[cfg(feature = "duckdb")]
    duckdb::SPEC,
    #[cfg(feature = "postgres")]
    postgres::DESTINATION,
];

/// Builds both ends of a pipeline. Nothing is connected yet.
///
/// # Errors
/// `Config` if a connector refuses its options.
pub(crate) fn ends(
    configuration: &Configuration,
) -> Result<(Arc<dyn Source>, Arc<dyn Destination>)> {
    let name = &configuration.pipeline;
    let destination = destination(&configuration.destination, name)?;
    let capabilities = destination.capabilities();
    let rules = configuration.settings.value_rules();
    let source = source(&configuration.source, name, (capabilities, rules))?;
    Ok((source, destination))
}

/// Builds a source that reads for a destination with `capabilities`, and treats values by `rules`.
/// Nothing is connected yet.
///
/// # Errors
/// `Config` if the connector refuses its options.
pub(crate) fn source(
    end: &Endpoint,
    pipeline: &str,
    (capabilities, rules): (Capabilities, Vec<ValueRule>),
) -> Result<Arc<dyn Source>> {
    match end.kind {
        #[cfg(feature = "postgres")]
        "postgres" => {
            let source = postgres::build(end, pipeline)?;
            Ok(Arc::new(source.reading_for(capabilities).treating(rules)))
        }
        kind => Err(not_built_in(kind, pipeline)),
    }
}

/// Builds a destination. Nothing is opened yet.
///
/// # Errors
/// `Config` if the connector refuses its options.
pub(crate) fn destination(end: &Endpoint, pipeline: &str) -> Result<Arc<dyn Destination>> {
    match end.kind {
        #[cfg(feature = "duckdb")]
        "duckdb" => Ok(Arc::new(duckdb::build(end)?)),
        #[cfg(feature = "postgres")]
        "postgres" => Ok(Arc::new(postgres::build_destination(end)?)),
        kind => Err(not_built_in(kind, pipeline)),
    }
}

fn not_built_in(kind: &str, pipeline: &str) -> Error {
    Error::internal(format!("pipeline {pipeline}: there is no connector {kind} in this program"))
}

/// Deserializes a section into a connector's own options.
fn deserialize<T: serde::de::DeserializeOwned>(section: &toml::Table) -> Result<T> {
    section.clone().try_into().map_err(|error: toml::de::Error| {
        // Only the message: the error's own text would quote the section, secrets included.
        Error::config(error.message().trim().to_owned())
    })
}
