//! Where metrics go: to whoever asks a running pipeline, or into a file.

mod page;

use std::path::Path;

use rowtide_core::{Error, Result};
use rowtide_engine::Monitor;
use rowtide_engine::config::Configuration;
use rowtide_verify::Report;

use crate::output::Output;

pub(crate) use page::reference;

/// Serves the metrics of this process as long as the result lives, if that is configured.
///
/// # Errors
/// `Config` if the address cannot be listened at.
#[cfg(feature = "server")]
pub(crate) async fn serve(
    configuration: &Configuration,
    monitor: &Monitor,
    output: &Output,
) -> Result<Option<rowtide_server::Server>> {
    use rowtide_server::{Serve, Server};
    let settings = &configuration.settings.metrics;
    let Some(address) = settings.listen else { return Ok(None) };
    let serve = Serve {
        address,
        token: settings.token.clone(),
        pipeline: configuration.pipeline.clone(),
        monitor: monitor.clone(),
    };
    let server = Server::start(serve).await?;
    let at = server.address();
    output.note(&format!("metrics at http://{at}/metrics, health at http://{at}/health"));
    Ok(Some(server))
}

/// Writes the metrics of `report` to the file at `path`, as a whole: who reads the file while it is
/// written reads what was there.
///
/// # Errors
/// `Config` if it cannot be written.
#[cfg(feature = "server")]
pub(crate) fn write(path: &Path, report: &Report) -> Result<()> {
    use std::fs::Permissions;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt;

    let text = rowtide_server::rendered(|| rowtide_verify::meter::record(report))?;
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    };
    let written = || {
        // Its name does not end as those of the files that are read do.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        // The collector is another user.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(path).map_err(|error| error.error)
    };
    written().map(drop).map_err(|error| {
        Error::config(format!("--metrics-file: could not write {}", path.display()))
            .with_source(error)
            .with_hint("its directory must be there, and be writable")
    })
}

#[cfg(not(feature = "server"))]
const ABSENT: &str = "this program was built without the feature `server`";

#[cfg(not(feature = "server"))]
pub(crate) async fn serve(
    configuration: &Configuration,
    _monitor: &Monitor,
    _output: &Output,
) -> Result<Option<std::convert::Infallible>> {
    match configuration.settings.metrics.listen {
        Some(_) => Err(Error::config(format!("metrics.listen: {ABSENT}"))),
        None => Ok(None),
    }
}

#[cfg(not(feature = "server"))]
pub(crate) fn write(_path: &Path, _report: &Report) -> Result<()> {
    Err(Error::config(format!("--metrics-file: {ABSENT}")))
}
