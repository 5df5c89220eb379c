//! pgbench copied and followed while the binary is killed every few seconds, in merge and in
//! append mode at once.

use std::path::Path;
use std::time::{Duration, Instant};

use rowtide_testkit::{Result, compare_history, duckdb_rows};

use crate::arena::{Arena, DB, LIMIT};
use crate::options::{Options, To};
use crate::report::{Line, Outcome};

const TABLES: [&str; 4] = [
    "public.pgbench_accounts",
    "public.pgbench_branches",
    "public.pgbench_tellers",
    "public.pgbench_history",
];

/// Time between two kills, give or take a third.
const BETWEEN: Duration = Duration::from_secs(3);

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let arena = Arena::start(options)?;
    let run = |arguments: &[&str]| -> Result<()> {
        let mut pgbench = arena.tool("pgbench")?;
        crate::stopwatch::time_command(pgbench.args(arguments).arg(DB), LIMIT).map(drop)
    };
    run(&["-i", "-q", "-s", &options.scale.to_string()])?;
    arena.sql("ALTER TABLE pgbench_history REPLICA IDENTITY FULL")?;
    let append = "[[table]]\nmatch = \"public.*\"\nmode = \"append\"\n";
    let merged = arena.pipeline("merged", To::Duckdb)?;
    let appended = arena.pipeline("history", To::Duckdb)?.with_rules(append);
    let (merge, history) = (merged.run(&[])?, appended.run(&[])?);

    let seconds = options.seconds.to_string();
    let mut pgbench = arena.tool("pgbench")?;
    let mut load = pgbench
        .args(["-n", "-c", "4", "-T", &seconds, DB])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .map_err(|e| format!("start pgbench: {e}"))?;
    let started = Instant::now();
    let mut kills: u32 = 0;
    while load.try_wait().map_err(|e| e.to_string())?.is_none() {
        let mut runs = [merge.spawn()?, history.spawn()?];
        let third = BETWEEN / 3;
        std::thread::park_timeout(third * 2 + third * (kills % 3));
        for run in &mut runs {
            if !run.is_running() {
                return Err(format!("rowtide ended by itself: {}", run.stderr()));
            }
        }
        for run in runs {
            run.kill9()?;
            kills += 1;
        }
    }
    let loaded = started.elapsed().as_secs_f64();
    let catching_up = Instant::now();
    for command in [&merge, &history] {
        command.clone().with(&["--once"]).run(LIMIT)?.success()?;
    }
    let caught_up = catching_up.elapsed().as_secs_f64();

    merged.compare(&TABLES)?;
    let inserted = arena.sql("SELECT count(*) FROM pgbench_history")?;
    let events = check_history(&arena, &appended.file(), &inserted)?;
    let mut outcome = Outcome::default();
    for (what, found) in [
        (
            "load",
            format!("pgbench -s {} -c 4 for {loaded:.0} s, {inserted} transactions", options.scale),
        ),
        ("kill -9 (merge and append pipelines together)", kills.to_string()),
        ("catching up afterwards, both", format!("{caught_up:.1} s")),
        ("merge: tables equal row by row", "4 of 4".to_owned()),
        ("append: events, each (commit, ordinal) once", events.to_string()),
    ] {
        outcome.line(Line::said(what, found));
    }
    Ok(outcome)
}

/// Checks the append tables: the last events lead to the source's rows, and none is there twice.
/// Returns the number of events.
fn check_history(arena: &Arena, file: &Path, inserted: &str) -> Result<u64> {
    for (table, key) in [(TABLES[0], "aid"), (TABLES[1], "bid"), (TABLES[2], "tid")] {
        compare_history(&arena.server, DB, file, (table, key))?;
    }
    let mut events = 0;
    for table in TABLES {
        let counts = duckdb_rows(
            file,
            &format!(
                "SELECT concat_ws(' ', count(*), count(*) - count(DISTINCT (_rowtide_position, _rowtide_seq))) \
                 FROM {table} WHERE _rowtide_op <> 'snapshot'"
            ),
        )?;
        let counts = counts.first().cloned().unwrap_or_default();
        let (count, doubled) = counts.split_once(' ').unwrap_or(("0", "?"));
        if doubled != "0" {
            return Err(format!("{table}: {doubled} events twice"));
        }
        events += count.parse::<u64>().map_err(|e| format!("{counts}: {e}"))?;
    }
    let appended = duckdb_rows(file, "SELECT count(*) FROM public.pgbench_history")?;
    if appended != [inserted.to_owned()] {
        return Err(format!(
            "pgbench_history: {inserted} rows at the source, {appended:?} appended"
        ));
    }
    Ok(events)
}
