//! W2: a backlog of small transactions, drained.

use rowtide_testkit::Result;

use crate::arena::{Arena, DB, LIMIT};
use crate::stopwatch::{time_command, time_rowtide};
use crate::{Options, Rows};

/// Inserts, half as many updates and a tenth as many deletes, in transactions of 1, 10 and 1,000
/// rows (a third of the rows each).
fn backlog(inserts: u64) -> String {
    format!(
        "CREATE PROCEDURE backlog(first bigint, last bigint, size int) LANGUAGE plpgsql AS $$
         DECLARE cursor_id bigint := first;
         BEGIN
           WHILE cursor_id <= last LOOP
             INSERT INTO item SELECT i, i % 1000, (i % 10000) / 100.0, 'body ' || md5(i::text), now()
               FROM generate_series(cursor_id, least(cursor_id + size - 1, last)) i;
             COMMIT;
             IF (cursor_id / size) % 2 = 0 THEN
               UPDATE item SET n = n + 1, amount = amount + 1 WHERE id BETWEEN cursor_id AND cursor_id + size - 1;
               COMMIT;
             END IF;
             IF (cursor_id / size) % 10 = 0 THEN
               DELETE FROM item WHERE id BETWEEN cursor_id AND cursor_id + size - 1;
               COMMIT;
             END IF;
             cursor_id := cursor_id + size;
           END LOOP;
         END $$;
         CREATE TABLE plan (first bigint, last bigint, size int);
         INSERT INTO plan VALUES (1, {0}, 1), ({0} + 1, {0} * 2, 10), ({0} * 2 + 1, {0} * 3, 1000)",
        inserts / 3
    )
}

pub(crate) fn measure(options: &Options) -> Result<Rows> {
    let arena = Arena::start(options)?;
    arena.sql("CREATE TABLE item (id bigint PRIMARY KEY, n int, amount numeric(12,2), body text, at timestamptz)")?;
    let only = "[[table]]\nmatch = \"public.*\"\n";
    arena.rowtide("drain", only, &["--once"])?.run(LIMIT)?.success()?;
    arena.sql("SELECT pg_create_logical_replication_slot('reference', 'pgoutput')")?;
    arena.sql(&backlog(options.drain_inserts))?;
    for third in ["1", "10", "1000"] {
        let call = arena.sql(&format!(
            "SELECT format('CALL backlog(%s, %s, %s)', first, last, size) FROM plan WHERE size = {third}"
        ))?;
        arena.sql(&call)?;
    }
    arena.sql("DROP TABLE plan")?;
    let end = arena.sql("SELECT pg_current_wal_insert_lsn()")?;
    let reference = |binary: &str| -> Result<f64> {
        let mut tool = arena.tool("pg_recvlogical")?;
        tool.args([
            "-d",
            DB,
            "--slot",
            "reference",
            "--start",
            "--file",
            "/dev/null",
            "--endpos",
            &end,
        ]);
        tool.args([
            "--no-loop",
            "-o",
            "proto_version=1",
            "-o",
            "publication_names=rowtide_drain",
            "-o",
            binary,
        ]);
        time_command(&mut tool)
    };
    let recvlogical = reference("binary=true")?;
    let (taken, _) = time_rowtide(arena.rowtide("drain", only, &["--once"])?.spawn()?, LIMIT)?;
    arena.compare("drain", &["public.item"])?;
    let inserts = options.drain_inserts / 3 * 3;
    let changes = inserts + inserts / 2 + inserts / 10;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = |seconds: f64| format!("{:.0} changes/s", changes as f64 / seconds);
    Ok(vec![
        (
            "backlog".into(),
            format!("about {changes} changes in transactions of 1, 10 and 1,000 rows"),
        ),
        (
            "pg_recvlogical (binary) to nothing".into(),
            format!("{recvlogical:.2} s, {}", rate(recvlogical)),
        ),
        ("rowtide, whole run".into(), format!("{taken}, {}", rate(taken.wall))),
        ("rowtide / pg_recvlogical".into(), format!("{:.2}", recvlogical / taken.wall)),
    ])
}
