//! Where a test takes place.

use std::io::Write;

use rowtide_fidelity::stage::{End, Stage};
use rowtide_sandbox::Major;
use rowtide_sandbox::testing::in_ci;
use rowtide_testkit::binary;

/// A stage on the newest server that is here; `None` if there is none, or no binary (a visible
/// skip, and a failure in CI).
pub(crate) fn stage(end: End) -> Option<Stage> {
    let newest = Major::installed().into_iter().max().ok_or("there is no PostgreSQL".to_owned());
    match newest.and_then(|major| Ok((major, binary()?))) {
        Ok((major, binary)) => Some(Stage::new(major, end, &binary, ("", "")).unwrap()),
        Err(why) if in_ci() => panic!("{why}"),
        Err(why) => {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
            None
        }
    }
}
