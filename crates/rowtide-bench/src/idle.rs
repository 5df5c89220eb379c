//! What pipelines take while nothing happens, all of them at the same time.

use std::time::{Duration, Instant};

use rowtide_testkit::{Result, Rowtide};

use crate::arena::{Arena, Pipeline};
use crate::options::{Options, To};
use crate::report::{Line, Outcome};
use crate::series::Sampler;
use crate::stopwatch::cpu_seconds;
use crate::targets::{IDLE_DUCKDB, IDLE_POSTGRES};

/// A pipeline with nothing to do.
struct Idle<'a> {
    to: To,
    pipeline: Pipeline<'a>,
    rowtide: Rowtide,
}

impl Idle<'_> {
    fn cpu(&self) -> Result<f64> {
        let ended = || format!("rowtide ended by itself: {}", self.rowtide.stderr());
        cpu_seconds(self.rowtide.pid()).ok_or_else(ended)
    }

    fn resident_mib(&self) -> u64 {
        let sampler = Sampler::start(self.rowtide.pid());
        sampler.finish().last().map_or(0, |sample| sample.rss_bytes >> 20)
    }
}

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let arena = Arena::start(options)?;
    arena.sql("CREATE TABLE calm (id int PRIMARY KEY); INSERT INTO calm VALUES (1)")?;
    let mut all = Vec::new();
    for to in &options.to {
        let pipeline = arena.pipeline(&format!("idle_{}", to.to_string().to_lowercase()), *to)?;
        pipeline.once()?;
        let rowtide = pipeline.spawn(&[])?;
        arena.wait_until_active(&pipeline.slot())?;
        all.push(Idle { to: *to, pipeline, rowtide });
    }
    arena.sql("INSERT INTO calm VALUES (2)")?;
    for idle in &all {
        arena.wait_until_caught_up(&idle.pipeline.slot())?;
    }
    let (began, clock) = (Instant::now(), arena.clock());
    let before: Vec<f64> = all.iter().map(Idle::cpu).collect::<Result<_>>()?;
    let until = began + Duration::from_secs(options.idle_seconds);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
    let (server, seconds) = (clock.seconds(), began.elapsed().as_secs_f64());
    let mut outcome = Outcome::default();
    for (idle, before) in all.into_iter().zip(before) {
        let (took, resident) = (idle.cpu()? - before, idle.resident_mib());
        let Idle { to, pipeline, rowtide } = idle;
        rowtide.terminate()?;
        rowtide.wait(Duration::from_secs(60))?.success()?;
        pipeline.compare(&["public.calm"])?;
        let target = if to == To::Duckdb { IDLE_DUCKDB } else { IDLE_POSTGRES };
        outcome.line(
            Line::of(format!("CPU of an idle pipeline into {to}"), took / seconds * 100.0, "%")
                .target(target)
                .note(format!("of a core; {took:.2} s in {seconds:.0} s, {resident} MiB resident")),
        );
    }
    let what = "CPU of the servers, for all of these";
    outcome.line(Line::of(what, server / seconds * 100.0, "%").note("of a core"));
    Ok(outcome)
}
