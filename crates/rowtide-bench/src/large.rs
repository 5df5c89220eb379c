//! W4: one transaction that updates many rows; time after its commit, and peak memory.

use std::time::{Duration, Instant};

use rowtide_testkit::{Result, peak_rss_bytes};

use crate::arena::{Arena, LIMIT};
use crate::{Options, Rows};

/// DuckDB's limit in this measurement, in mebibytes.
const DUCKDB_MIB: u64 = 1024;

pub(crate) fn measure(options: &Options) -> Result<Rows> {
    let arena = Arena::start(options)?;
    let rows = options.large_rows;
    arena.sql(&format!(
        "CREATE TABLE big (id bigint PRIMARY KEY, n int, amount numeric(12,2), body text);
         INSERT INTO big SELECT i, 0, i / 100.0, repeat(md5(i::text), 2) FROM generate_series(1, {rows}) i"
    ))?;
    arena.rowtide("large", "", &["--once"])?.run(LIMIT)?.success()?;
    let rowtide = arena.rowtide("large", "", &[])?.spawn()?;
    arena.wait_until_active("rowtide_large")?;
    let peak = || peak_rss_bytes(rowtide.pid()).ok_or_else(|| "no peak to read".to_owned());
    let before = peak()?;
    arena.sql("UPDATE big SET n = n + 1, amount = amount * 2")?;
    let committed = Instant::now();
    arena.wait_until_caught_up("rowtide_large")?;
    let after_commit = committed.elapsed().as_secs_f64();
    let peak = peak()?;
    rowtide.terminate()?;
    rowtide.wait(Duration::from_secs(10))?.success()?;
    arena.compare("large", &["public.big"])?;
    let mib = |bytes: u64| bytes >> 20;
    Ok(vec![
        ("transaction".into(), format!("{rows} rows updated at once")),
        ("from its commit until acknowledged".into(), format!("{after_commit:.1} s")),
        ("peak RSS before it".into(), format!("{} MiB", mib(before))),
        ("peak RSS (VmHWM)".into(), format!("{} MiB", mib(peak))),
        (
            format!("peak beyond DuckDB's limit of {DUCKDB_MIB} MiB"),
            format!("{} MiB", mib(peak).saturating_sub(DUCKDB_MIB)),
        ),
    ])
}
