//! What every connector must do, as tests that a connector passes by adding one line.
//!
//! ```ignore
//! rowtide_testkit::destination_conformance!(Warehouse::start);
//! rowtide_testkit::source_conformance!(Database::start);
//! ```
//!
//! Each line expands to one `#[test]` per case. A case drives the connector through the traits of
//! [`rowtide_core`] alone, with changes that the suite makes up itself, and compares what stands
//! there afterwards with what a few lines of plain Rust say ([`oracle`]). What differs between
//! systems (SQL, limits, how a row is read back) is asked of a small *subject*.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "a test fails by panicking, in its helpers too, and prints the seed it ran with"
)]

pub mod batches;
pub mod destination;
pub mod model;
pub mod oracle;
pub mod seed;
pub mod source;

use std::future::Future;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// How long one case may take on a busy machine.
const CASE_LIMIT: Duration = Duration::from_secs(240);

/// Faults and the memory peak belong to the whole process. Under a runner that gives every test a
/// process of its own this lock is free; under one that does not, such cases run alone.
static PROCESS: RwLock<()> = RwLock::new(());

/// Runs one case beside others, in a runtime of its own.
pub fn together<F: Future<Output = ()>>(case: impl FnOnce() -> Option<F>) {
    let _guard = PROCESS.read().unwrap_or_else(PoisonError::into_inner);
    block_on(case);
}

/// Runs one case that changes or measures the whole process.
pub fn alone<F: Future<Output = ()>>(case: impl FnOnce() -> Option<F>) {
    let _guard = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    // Also after a case that panicked.
    let _disarmed = Disarmed::new();
    block_on(case);
}

fn block_on<F: Future<Output = ()>>(case: impl FnOnce() -> Option<F>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let Some(case) = case() else { return };
    runtime.block_on(async {
        tokio::time::timeout(CASE_LIMIT, case).await.expect("the case ends in time");
    });
}

/// No fault is armed before and after.
struct Disarmed;

impl Disarmed {
    fn new() -> Self {
        rowtide_core::fault::arm("").expect("nothing can be armed");
        Self
    }
}

impl Drop for Disarmed {
    fn drop(&mut self) {
        let _ = rowtide_core::fault::arm("");
    }
}

/// Fails instead of hanging.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}

/// One `#[test]` per case: `conformance_cases!(suite, start, together: module::{case, …}; …)`.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($suite:ident, $start:expr, $($how:ident: $module:ident::{$($case:ident),+ $(,)?};)+) => {
        $($(
            #[test]
            fn $case() {
                $crate::conformance::$how(|| {
                    let case = $crate::conformance::$suite::Case::new(($start)()?);
                    Some($crate::conformance::$suite::$module::$case(case))
                });
            }
        )+)+
    };
}

#[cfg(test)]
mod tests {
    /// A case that is written but not listed would never run.
    #[test]
    fn every_case_is_listed() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
        for suite in ["destination", "source"] {
            let listed = std::fs::read_to_string(root.join(suite).join("mod.rs")).unwrap();
            let mut cases = 0;
            for file in std::fs::read_dir(root.join(suite)).unwrap() {
                let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
                let names = text.lines().filter_map(|line| line.strip_prefix("pub async fn "));
                for name in names.filter_map(|rest| rest.split_once("(case: Case)")) {
                    cases += 1;
                    let name = name.0;
                    assert!(listed.contains(&format!(" {name},")), "{suite}: {name}");
                }
            }
            assert!(cases > 10, "{suite}: {cases} cases");
        }
    }
}
