//! W4: one transaction that updates many rows; time after its commit, and peak memory.

use std::time::{Duration, Instant};

use rowtide_testkit::{Result, peak_rss_bytes};

use crate::arena::{Arena, Pipeline};
use crate::options::{Options, To};
use crate::ranges::{Numbered, check_equal_by_ranges};
use crate::report::{Kind, Line, Outcome, Series};
use crate::series::{Sample, Sampler, memory};
use crate::stopwatch::{Taken, cpu_seconds, mib};
use crate::targets::{W4_DUCKDB, W4_POSTGRES};

/// DuckDB's limit in this measurement, in mebibytes: what the program gives it by default.
const DUCKDB_MIB: f64 = 1024.0;

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for to in &options.to {
        let mut peaks = Vec::new();
        for rows in &options.large_rows {
            let arena = Arena::start(&Options { to: vec![*to], ..options.clone() })?;
            let measured = update(&arena, *to, *rows)?;
            report(&mut outcome, *to, *rows, &measured);
            peaks.push(mib(measured.taken.peak_bytes));
        }
        // Flat is what grows by nothing.
        if let ([least, .., most], [first, .., last]) = (&options.large_rows[..], &peaks[..]) {
            let what = format!("{to}: peak memory beyond that of {least} rows, {most} rows");
            outcome.line(Line::of(what, last - first, "MiB"));
        }
    }
    Ok(outcome)
}

struct Measured {
    /// From the commit on.
    taken: Taken,
    /// The peak before the transaction.
    peak_before: u64,
    samples: Vec<Sample>,
}

fn update(arena: &Arena, to: To, rows: u64) -> Result<Measured> {
    arena.sql(&format!(
        "CREATE TABLE big (id bigint PRIMARY KEY, n int NOT NULL, amount numeric(12,2) NOT NULL,
            body text NOT NULL);
         INSERT INTO big SELECT i, 0, i / 100.0, repeat(md5(i::text), 2)
            FROM generate_series(1, {rows}) i"
    ))?;
    let pipeline = arena.pipeline("large", to)?;
    pipeline.once()?;
    let measured = follow(arena, &pipeline)?;
    let numbered = Numbered { table: "public.big", columns: "n, amount, body", step: 500_000 };
    check_equal_by_ranges(arena, &pipeline, &numbered)?;
    Ok(measured)
}

fn follow(arena: &Arena, pipeline: &Pipeline<'_>) -> Result<Measured> {
    let rowtide = pipeline.spawn(&[])?;
    let sampler = Sampler::start(rowtide.pid());
    arena.wait_until_active(&pipeline.slot())?;
    arena.wait_until_caught_up(&pipeline.slot())?;
    let peak = || peak_rss_bytes(rowtide.pid()).ok_or_else(|| "no peak to read".to_owned());
    let cpu = || cpu_seconds(rowtide.pid()).unwrap_or_default();
    let (peak_before, cpu_before) = (peak()?, cpu());
    arena.sql("UPDATE big SET n = n + 1, amount = amount * 2")?;
    let (committed, clock) = (Instant::now(), arena.clock());
    arena.wait_until_caught_up(&pipeline.slot())?;
    let taken = Taken {
        wall: committed.elapsed().as_secs_f64(),
        cpu: cpu() - cpu_before,
        server_cpu: clock.seconds(),
        peak_bytes: peak()?,
    };
    let samples = sampler.finish();
    rowtide.terminate()?;
    rowtide.wait(Duration::from_secs(60))?.success()?;
    Ok(Measured { taken, peak_before, samples })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(outcome: &mut Outcome, to: To, rows: u64, measured: &Measured) {
    let (taken, name) = (measured.taken, |what: &str| format!("{to}, {rows} rows: {what}"));
    outcome.line(
        Line::of(name("changes/s after the commit"), rows as f64 / taken.wall, "/s")
            .taken(taken)
            .note("from the commit until acknowledged; CPU in that time, and while it was made"),
    );
    outcome.line(Line::of(name("peak memory before it"), mib(measured.peak_before), "MiB"));
    let peak = mib(taken.peak_bytes);
    outcome.line(match to {
        To::Duckdb => Line::of(name("peak memory beyond DuckDB's limit"), peak - DUCKDB_MIB, "MiB")
            .target(W4_DUCKDB)
            .note(format!("peak {peak:.0} MiB, limit {DUCKDB_MIB:.0} MiB")),
        To::Postgres => Line::of(name("peak memory"), peak, "MiB").target(W4_POSTGRES),
    });
    outcome.series.push(Series {
        name: format!("large-memory-{}-{rows}", to.to_string().to_lowercase()),
        x_unit: "s",
        y_unit: "MiB resident",
        points: memory(&measured.samples),
        kind: Kind::Line,
    });
}
