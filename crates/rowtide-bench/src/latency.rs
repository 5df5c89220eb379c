//! W3: single-row transactions at a steady rate, half of them inserts and half updates; how long
//! until the destination has them.
//!
//! DuckDB's file can be read by no other process meanwhile: what counts is the program's own
//! figure, from the commit at the source to the durable commit there. In PostgreSQL a session
//! watches the rows appear.

use std::time::Duration;

use rowtide_testkit::{Finished, Result, peak_rss_bytes};

use crate::arena::{Arena, DB, LIMIT, Pipeline};
use crate::delays::Delays;
use crate::options::{Options, To};
use crate::report::{Kind, Line, Outcome, Series};
use crate::series::{messages, telling};
use crate::stopwatch::{Taken, cpu_seconds, time_command};
use crate::targets::{Target, W3_DUCKDB, W3_POSTGRES};
use crate::watch::Watch;

/// Rows that stand when the load begins.
const ROWS: u64 = 100_000;

/// The rate for which there is a target.
const TARGET_RATE: u64 = 500;

const INSERT: &str = "INSERT INTO hot SELECT 1000000 + seq, 1, seq, clock_timestamp() \
    FROM (SELECT nextval('numbers') AS seq) AS next;\n";
const UPDATE: &str = "\\set id random(1, 100000)\n\
    UPDATE hot SET v = v + 1, seq = nextval('numbers'), at = clock_timestamp() WHERE id = :id;\n";

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for to in &options.to {
        for (at, rate) in options.rates.iter().enumerate() {
            // The first rate is the one that counts.
            let seconds = if at == 0 { options.seconds } else { (options.seconds / 3).max(2) };
            steady(options, *to, (*rate, seconds), &mut outcome)?;
        }
    }
    Ok(outcome)
}

/// What one load showed.
struct Measured {
    /// Transactions that pgbench made.
    transactions: f64,
    taken: Taken,
    /// From commit to durable, by the program's own count.
    durable: Delays,
    /// From statement to visible, where that can be watched.
    visible: Option<Delays>,
}

fn steady(
    options: &Options,
    to: To,
    (rate, seconds): (u64, u64),
    outcome: &mut Outcome,
) -> Result<()> {
    let arena = Arena::start(&Options { to: vec![to], ..options.clone() })?;
    arena.sql(&format!(
        "CREATE SEQUENCE numbers;
         CREATE TABLE hot (id bigint PRIMARY KEY, v int, seq bigint, at timestamptz);
         INSERT INTO hot SELECT i, 0 FROM generate_series(1, {ROWS}) i"
    ))?;
    let pipeline = arena.pipeline("latency", to)?;
    pipeline.once()?;
    let measured = follow(&arena, (&pipeline, to), (rate, seconds))?;
    report(outcome, to, (rate, seconds), &measured);
    Ok(())
}

fn follow(
    arena: &Arena,
    (pipeline, to): (&Pipeline<'_>, To),
    (rate, seconds): (u64, u64),
) -> Result<Measured> {
    let watch = match to {
        To::Duckdb => None,
        To::Postgres => {
            arena.sql_there("latency", "CREATE INDEX ON hot (seq)")?;
            Some(Watch::start(arena.warehouse()?.url("latency"), "hot"))
        }
    };
    let rowtide = telling(pipeline.run(&[])?).spawn()?;
    arena.wait_until_active(&pipeline.slot())?;
    arena.wait_until_caught_up(&pipeline.slot())?;
    let (clock, cpu) = (arena.clock(), || cpu_seconds(rowtide.pid()).unwrap_or_default());
    let before = cpu();
    let load = load(arena, rate, seconds)?;
    arena.wait_until_caught_up(&pipeline.slot())?;
    let taken = Taken {
        wall: load.wall,
        cpu: cpu() - before,
        server_cpu: clock.seconds(),
        peak_bytes: peak_rss_bytes(rowtide.pid()).unwrap_or_default(),
    };
    let visible = watch.map(Watch::finish).transpose()?;
    rowtide.terminate()?;
    let run = rowtide.wait(Duration::from_secs(60))?.success()?;
    pipeline.compare(&["public.hot"])?;
    let made = arena.sql("SELECT last_value FROM numbers")?;
    let transactions = made.parse().map_err(|e| format!("{made}: {e}"))?;
    Ok(Measured { transactions, taken, durable: durable(&run)?, visible })
}

/// Single-row transactions of four clients, at a steady rate.
fn load(arena: &Arena, rate: u64, seconds: u64) -> Result<Taken> {
    let mut pgbench = arena.tool("pgbench")?;
    let [rate, time] = [rate, seconds].map(|number| number.to_string());
    pgbench.args(["-n", "-M", "prepared", "-c", "4", "-R", &rate, "-T", &time]);
    for (name, script) in [("insert.sql", INSERT), ("update.sql", UPDATE)] {
        let path = arena.directory().join(name);
        std::fs::write(&path, script).map_err(|e| format!("write {}: {e}", path.display()))?;
        pgbench.arg("-f").arg(path);
    }
    time_command(pgbench.arg(DB), LIMIT)
}

/// The delays that a run counted and told of at its end.
fn durable(run: &Finished) -> Result<Delays> {
    let line = messages(&run.stderr, "delays counted")
        .last()
        .ok_or_else(|| format!("no delays were logged: {}", run.stderr))?;
    let text = line.get("delays_ms").and_then(|text| text.as_str()).unwrap_or_default();
    counted(text).ok_or_else(|| format!("these are no delays: {text}"))
}

/// Delays written as `1.5:20 3:4`.
fn counted(text: &str) -> Option<Delays> {
    let pair = |pair: &str| {
        let (delay, count) = pair.split_once(':')?;
        Some((delay.parse().ok()?, count.parse().ok()?))
    };
    text.split_whitespace().map(pair).collect::<Option<Vec<_>>>().map(Delays::new)
}

fn report(outcome: &mut Outcome, to: To, (rate, seconds): (u64, u64), measured: &Measured) {
    let reached = measured.transactions / measured.taken.wall;
    outcome.line(
        Line::of(format!("{to}: load of {rate} transactions/s for {seconds} s"), reached, "/s")
            .taken(measured.taken)
            .note("what pgbench reached; half inserts, half updates, one row each"),
    );
    let (delays, target, what, note) = match &measured.visible {
        None => (&measured.durable, W3_DUCKDB, "commit → durable", "counted by the program"),
        Some(seen) => (
            seen,
            W3_POSTGRES,
            "statement → visible",
            "seen by a session that asks each ms; the source's commit included",
        ),
    };
    let name = |what| format!("{to} at {rate}/s: {what}");
    let target = (rate == TARGET_RATE).then_some(target);
    for line in quantiles(&name(what), delays, target) {
        let (counted, made) = (delays.count(), measured.transactions);
        outcome.line(line.note(format!("{note}; {counted} of {made} transactions")));
    }
    if measured.visible.is_some() {
        for line in quantiles(&name("commit → durable"), &measured.durable, None) {
            outcome.line(line.note("counted by the program"));
        }
    }
    outcome.series.push(Series {
        name: format!("latency-{}-{rate}", to.to_string().to_lowercase()),
        x_unit: "ms",
        y_unit: "transactions",
        points: delays.points(),
        kind: Kind::Histogram,
    });
}

fn quantiles(name: &str, delays: &Delays, target: Option<Target>) -> Vec<Line> {
    let of = |what: &str, value: Option<f64>| {
        value.map(|value| Line::of(format!("{name}, {what}"), value, "ms"))
    };
    let p99 = of("p99", delays.quantile(0.99)).map(|line| match target {
        Some(target) => line.target(target),
        None => line,
    });
    let all = [of("p50", delays.quantile(0.5)), p99, of("max", delays.max())];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_delays_are_read() {
        let delays = counted("1.5:20 3:4").unwrap();
        assert_eq!((delays.count(), delays.max()), (24, Some(3.0)));
        assert!(counted("1.5").is_none() && counted("a:1").is_none());
    }

    #[test]
    fn only_the_99th_percentile_has_a_target() {
        let delays = Delays::new([(1.0, 99), (9.0, 1)]);
        let lines = quantiles("x", &delays, Some(W3_DUCKDB));
        let targets: Vec<_> = lines.iter().flat_map(Line::judged).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(targets, [(W3_DUCKDB, 1.0)]);
        assert!(quantiles("x", &Delays::default(), None).is_empty());
    }
}
