//! W7: the destination is out of reach while the load goes on; how long until the pipeline has
//! caught up with a load that still goes on then.
//!
//! DuckDB lives in the program, so there the program itself is stopped. For PostgreSQL the
//! destination's server is stopped and the program left to try again.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rowtide_sandbox::StopMode;
use rowtide_testkit::{Result, Rowtide, wait_for};

use crate::arena::{Arena, DB, LIMIT, Pipeline};
use crate::catching_up::{CaughtUp, seconds_since_1970};
use crate::options::{Options, To};
use crate::report::{Line, Outcome};
use crate::series::{Sampler, epochs, telling};
use crate::session::Session;
use crate::stopwatch::{Taken, cpu_seconds};

const NAME: &str = "outage";

const TABLES: [&str; 4] = [
    "public.pgbench_accounts",
    "public.pgbench_branches",
    "public.pgbench_tellers",
    "public.pgbench_history",
];

/// The program looks for its destination at least this often.
const RULES: &str = "[retry]\nmax = \"1s\"";

/// pgbench in the background, killed when dropped.
struct Load(Child);

impl Load {
    fn start(arena: &Arena, options: &Options) -> Result<Self> {
        let longest = options.outage_seconds + LIMIT.as_secs();
        let mut pgbench = arena.tool("pgbench")?;
        pgbench.args(["-n", "-M", "prepared", "-c", "4", "-R", &options.outage_rate.to_string()]);
        pgbench.args(["-T", &longest.to_string(), DB]);
        pgbench.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        pgbench.spawn().map(Self).map_err(|e| format!("start pgbench: {e}"))
    }

    /// Ends it, and waits until the server has seen to it.
    fn stop(self, arena: &Arena) -> Result<()> {
        drop(self);
        wait_for("the load to end", LIMIT, || {
            let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'";
            Ok((arena.sql(left)? == "0").then_some(()))
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for to in &options.to {
        let only = Options { to: vec![*to], ..options.clone() };
        let mut arena = Arena::start(&only)?;
        arena.fill_pgbench(&arena.server, DB, options.scale)?;
        arena.sql("ALTER TABLE pgbench_history REPLICA IDENTITY FULL")?;
        arena.pipeline(NAME, *to)?.with_rules(RULES).once()?;
        let measured = break_down(&mut arena, &only, *to)?;
        pipeline(&arena, *to).compare(&TABLES)?;
        report(&mut outcome, options, *to, &measured);
    }
    Ok(outcome)
}

fn pipeline(arena: &Arena, to: To) -> Pipeline<'_> {
    arena.made_pipeline(DB, NAME, to).with_rules(RULES)
}

/// How it caught up.
struct Measured {
    /// Log that had come together, in bytes.
    backlog: f64,
    /// From the end of the outage until it had caught up.
    taken: Taken,
    /// Changes applied in that time.
    changes: u64,
    whole: CaughtUp,
}

fn break_down(arena: &mut Arena, options: &Options, to: To) -> Result<Measured> {
    let start = |arena: &Arena| telling(pipeline(arena, to).run(&[])?).spawn();
    let slot = pipeline(arena, to).slot();
    let rowtide = start(arena)?;
    arena.wait_until_active(&slot)?;
    let load = Load::start(arena, options)?;
    arena.wait_until_caught_up(&slot)?;
    let rowtide = match to {
        To::Duckdb => {
            rowtide.terminate()?;
            rowtide.wait(Duration::from_secs(60))?.success()?;
            pass(options.outage_seconds);
            start(arena)?
        }
        To::Postgres => {
            arena.warehouse_mut()?.stop(StopMode::Fast).map_err(|e| e.to_string())?;
            pass(options.outage_seconds);
            arena.warehouse_mut()?.start_again().map_err(|e| e.to_string())?;
            rowtide
        }
    };
    follow(arena, options, (rowtide, load, &slot))
}

fn pass(seconds: u64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Watches the pipeline catch up; then the load ends, and the pipeline once it has all of it.
fn follow(
    arena: &Arena,
    options: &Options,
    (mut rowtide, load, slot): (Rowtide, Load, &str),
) -> Result<Measured> {
    let (began, started, clock) = (seconds_since_1970()?, Instant::now(), arena.clock());
    let cpu_before = cpu_seconds(rowtide.pid()).unwrap_or_default();
    let sampler = Sampler::start(rowtide.pid());
    let session = Session::open(&arena.server.url(DB))?;
    let lag = session.prepare(
        "SELECT (pg_current_wal_flush_lsn() - confirmed_flush_lsn)::float8 \
         FROM pg_replication_slots WHERE slot_name = $1",
    )?;
    let lag = || -> Result<f64> {
        let rows = session.ask(&lag, &[&slot])?;
        rows.first().map(|row| row.get(0)).ok_or_else(|| format!("slot {slot} is gone"))
    };
    let backlog = lag()?;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred seconds")]
    let a_second = backlog / options.outage_seconds.max(1) as f64;
    let caught_up = wait_for("the pipeline to catch up", LIMIT, || {
        match (rowtide.is_running(), lag()? <= a_second) {
            (true, caught_up) => Ok(caught_up.then_some(true)),
            // Waiting longer is of no use.
            (false, _) => Ok(Some(false)),
        }
    })?;
    if !caught_up {
        return Err(format!("rowtide ended by itself: {}", rowtide.stderr()));
    }
    let taken = Taken {
        wall: started.elapsed().as_secs_f64(),
        cpu: cpu_seconds(rowtide.pid()).unwrap_or_default() - cpu_before,
        server_cpu: clock.seconds(),
        peak_bytes: rowtide_testkit::peak_rss_bytes(rowtide.pid()).unwrap_or_default(),
    };
    load.stop(arena)?;
    arena.wait_until_caught_up(slot)?;
    rowtide.terminate()?;
    let run = rowtide.wait(Duration::from_secs(60))?.success()?;
    let (samples, epochs) = (sampler.finish(), epochs(&run.stderr)?);
    let during = began..=began + taken.wall;
    let changes = epochs.iter().filter(|epoch| during.contains(&epoch.at));
    let changes = changes.map(|epoch| epoch.changes).sum();
    Ok(Measured { backlog, taken, changes, whole: CaughtUp { taken, began, epochs, samples } })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(outcome: &mut Outcome, options: &Options, to: To, measured: &Measured) {
    let (seconds, taken) = (options.outage_seconds, measured.taken);
    let what = match to {
        To::Duckdb => "the program stopped",
        To::Postgres => "the destination's server stopped",
    };
    outcome.line(
        Line::of(format!("{to}: catching up after {seconds} s"), taken.wall, "s")
            .taken(taken)
            .note(format!(
                "{what}; {:.1} MB of log had come together, pgbench went on at {} \
                 transactions/s; caught up is less than a second behind",
                measured.backlog / 1e6,
                options.outage_rate
            )),
    );
    let rate = measured.changes as f64 / taken.wall;
    outcome.line(
        Line::of(format!("{to}: while catching up"), rate, "changes/s")
            .note(format!("{} changes", measured.changes)),
    );
    let name = format!("outage-{}", to.to_string().to_lowercase());
    outcome.series.extend(measured.whole.series(&name));
}
