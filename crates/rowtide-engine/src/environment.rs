//! Everything that reaches the engine from outside its two ends: time, chance, tasks, and where
//! temporary files go. The engine asks nobody else (clippy refuses it), so that a simulation that
//! chooses these values decides the whole run.

#![allow(
    clippy::disallowed_methods,
    reason = "the one place that asks the machine; everybody else asks an `Environment`"
)]

use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Where the engine takes time, chance and tasks from. Cheap to clone; clones share the chance.
#[derive(Clone)]
pub struct Environment {
    wall_clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    chance: Arc<Mutex<StdRng>>,
    temporary: PathBuf,
}

impl Environment {
    /// This machine's.
    pub fn real() -> Self {
        Self::new(Arc::new(now_micros), StdRng::from_os_rng())
    }

    /// Decided by `seed` alone, on a runtime whose time is paused: the wall clock starts at a
    /// fixed moment and follows the runtime's time. To be called within the runtime.
    pub fn seeded(seed: u64) -> Self {
        const START: i64 = 1_767_225_600_000_000;
        let began = Instant::now();
        let elapsed = move || i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
        let clock = Arc::new(move || START.saturating_add(elapsed()));
        Self::new(clock, StdRng::seed_from_u64(seed))
    }

    fn new(wall_clock: Arc<dyn Fn() -> i64 + Send + Sync>, chance: StdRng) -> Self {
        let chance = Arc::new(Mutex::new(chance));
        Self { wall_clock, chance, temporary: std::env::temp_dir() }
    }

    /// The wall clock: microseconds since 1970 UTC.
    pub(crate) fn now_micros(&self) -> i64 {
        (self.wall_clock)()
    }

    /// The clock that only goes forward.
    pub(crate) fn instant(&self) -> Instant {
        Instant::now()
    }

    /// A number from `range`, by chance.
    pub(crate) fn fraction(&self, range: RangeInclusive<f64>) -> f64 {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(range)
    }

    /// Waits.
    pub(crate) async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Runs `task` beside the caller, as one of `tasks`.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        tasks: &mut JoinSet<T>,
        task: impl Future<Output = T> + Send + 'static,
    ) {
        tasks.spawn(task);
    }

    /// Where temporary files go unless the settings say otherwise.
    pub(crate) fn temporary_directory(&self) -> PathBuf {
        self.temporary.clone()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
