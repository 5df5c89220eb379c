//! W5: rows with a value of 8 kB, updated beside it. The log does not repeat the value, so that
//! the destination's row must keep it.

use rowtide_testkit::Result;

use crate::arena::Arena;
use crate::catching_up::{Backlog, contest};
use crate::options::Options;
use crate::ranges::{Numbered, check_equal_by_ranges};
use crate::report::{Line, Outcome};

/// Bytes of the value beside the changed columns.
const VALUE: u64 = 8192;

/// Rows updated by one transaction.
const AT_ONCE: u64 = 100;

fn tables(rows: u64) -> String {
    // Random digits, so that neither side gains by compressing them.
    let digests = VALUE / 32;
    format!(
        "CREATE TABLE doc (id bigint PRIMARY KEY, n int NOT NULL, note text NOT NULL, body text NOT NULL);
         ALTER TABLE doc ALTER body SET STORAGE EXTERNAL;
         INSERT INTO doc SELECT i, 0, 'note', (SELECT string_agg(md5(i || ' ' || j), '')
            FROM generate_series(1, {digests}) j) FROM generate_series(1, {rows}) i;
         CREATE PROCEDURE touch() LANGUAGE plpgsql AS $$
         BEGIN
           FOR low IN 1 .. {rows} BY {AT_ONCE} LOOP
             UPDATE doc SET n = n + 1, note = 'note ' || n
               WHERE id >= low AND id < low + {AT_ONCE};
             COMMIT;
           END LOOP;
         END $$"
    )
}

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let arena = Arena::start(options)?;
    let rows = options.toast_rows;
    arena.sql(&tables(rows))?;
    let before = arena.sql("SELECT pg_current_wal_insert_lsn()")?;
    let backlog = Backlog {
        make: &|| arena.sql("CALL touch()").map(drop),
        mark: "UPDATE doc SET n = n WHERE id = 1",
    };
    let contest = contest(options, &arena, &backlog, |pipeline| {
        let numbered = Numbered { table: "public.doc", columns: "n, note, body", step: 5_000 };
        check_equal_by_ranges(&arena, pipeline, &numbered)
    })?;
    let log =
        arena.sql(&format!("SELECT (pg_current_wal_insert_lsn() - '{before}')::bigint >> 10"))?;
    let log: f64 = log.parse().map_err(|e| format!("{log}: {e}"))?;
    let mut outcome = Outcome::default();
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (kept, rounds) = ((rows * VALUE) as f64 / 1e6, options.runs as f64);
    outcome.line(Line::said(
        "load of each round",
        format!(
            "{rows} rows of {VALUE} bytes ({kept:.0} MB) updated in transactions of {AT_ONCE}, the \
             long value untouched; {:.1} MB of log",
            log * 1.024e-3 / rounds
        ),
    ));
    for line in contest.lines(rows + 1) {
        // The reader sees nothing of the values.
        outcome.line(match line.taken.filter(|_| line.ratio.is_some()) {
            Some(taken) => line.note(format!("{:.0} MB/s of values kept", kept / taken.wall)),
            None => line,
        });
    }
    outcome.series.extend(contest.series("toast"));
    Ok(outcome)
}
