//! Waiting on conditions, never on time alone.

use std::time::{Duration, Instant};

use crate::Result;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Asks `condition` until it gives a value.
///
/// # Errors
/// Names `what` and the last thing `condition` said if `limit` passes first.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    let mut last = String::from("the condition was false");
    while Instant::now() < deadline {
        match condition() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = error,
        }
        std::thread::park_timeout(POLL);
    }
    Err(format!("waited {limit:?} for {what}: {last}"))
}
