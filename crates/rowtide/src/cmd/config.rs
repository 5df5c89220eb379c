//! `rowtide config`: what is in effect, and what there is.

use std::process::ExitCode;

use rowtide_core::Result;
use rowtide_engine::config;

use crate::cli::Config;
use crate::configuration::Unchecked;
use crate::registry::CONNECTORS;
use crate::{metrics, output};

/// Prints what was asked for.
pub(super) fn execute(arguments: Config) -> Result<ExitCode> {
    match arguments {
        Config::Show(arguments) => {
            let unchecked = Unchecked::gather(&arguments.pipeline)?;
            output::print_as_is(&unchecked.show()?)?;
        }
        Config::Schema => output::print_json(&config::json_schema(CONNECTORS))?,
        Config::Reference => output::print_as_is(&config::reference(CONNECTORS))?,
        Config::Metrics => output::print_as_is(&metrics::reference())?,
        #[cfg(all(feature = "postgres", feature = "duckdb"))]
        Config::Types(arguments) => {
            output::print_as_is(&super::types::reference(arguments.lines)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
