//! W1: a wide realistic table, copied.

use rowtide_testkit::Result;

use crate::arena::{Arena, DB, LIMIT};
use crate::stopwatch::{time_command, time_rowtide};
use crate::{Options, Rows};

/// The wide table of every copy measurement.
pub(crate) fn wide_table(rows: u64) -> String {
    format!(
        "CREATE TABLE wide (id bigint PRIMARY KEY, a int, b int, amount numeric(12,2), code text,
            body text, at timestamptz, day date, ok bool, ref uuid, doc jsonb);
         INSERT INTO wide SELECT i, i % 1000, (i * 7) % 100000, (i % 100000) / 100.0, 'c' || i % 500,
            repeat(md5(i::text), 3), timestamptz '2024-01-01' + i * interval '1 second',
            date '2020-01-01' + (i % 2000)::int, i % 3 = 0, md5(i::text)::uuid,
            jsonb_build_object('n', i, 'tag', 't' || i % 10) FROM generate_series(1, {rows}) i"
    )
}

pub(crate) fn measure(options: &Options) -> Result<Rows> {
    let arena = Arena::start(options)?;
    arena.sql(&wide_table(options.copy_rows))?;
    arena.sql("CHECKPOINT")?;
    let bytes = arena.sql("SELECT pg_size_pretty(pg_table_size('wide'))")?;
    let limit = |format: &str| -> Result<f64> {
        let copy = format!("\\copy wide to '/dev/null' with (format {format})");
        time_command(arena.tool("psql")?.args(["-d", DB, "-q", "-c", &copy]))
    };
    limit("binary")?;
    let (binary, text) = (limit("binary")?, limit("text")?);
    let (taken, _) = time_rowtide(arena.rowtide("copy", "", &["--once"])?.spawn()?, LIMIT)?;
    arena.compare("copy", &["public.wide"])?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = |seconds: f64| format!("{:.0} rows/s", options.copy_rows as f64 / seconds);
    Ok(vec![
        ("table".into(), format!("{} rows, {bytes}", options.copy_rows)),
        ("`COPY … (FORMAT binary)` to nothing".into(), format!("{binary:.2} s, {}", rate(binary))),
        ("`COPY … (FORMAT text)` to nothing".into(), format!("{text:.2} s, {}", rate(text))),
        ("rowtide, whole run".into(), format!("{taken}, {}", rate(taken.wall))),
        ("rowtide / binary COPY".into(), format!("{:.2}", binary / taken.wall)),
    ])
}
