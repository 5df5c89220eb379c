//! The log that everybody drains.

use rowtide_testkit::Result;

use crate::arena::{Arena, DB, LIMIT};
use crate::data;
use crate::options::Options;
use crate::stopwatch::time_command;

/// What is followed.
pub(super) const PUBLICATION: &str = "backlog";

pub(super) const TABLES: [&str; 5] = [
    "public.item",
    "public.pgbench_accounts",
    "public.pgbench_branches",
    "public.pgbench_tellers",
    "public.pgbench_history",
];

/// Whether the last change is there.
pub(super) const ARRIVED: &str = "EXISTS (SELECT FROM item WHERE id = -1)";

const ITEM: &str = "CREATE TABLE item (id bigint PRIMARY KEY, n int, amount numeric(12,2), \
                    body text, at timestamptz)";

/// Inserts, half as many updates and a tenth as many deletes.
const PROCEDURE: &str = "
    CREATE PROCEDURE backlog(first bigint, last bigint, size int) LANGUAGE plpgsql AS $$
    DECLARE cursor_id bigint := first;
    BEGIN
      WHILE cursor_id <= last LOOP
        INSERT INTO item SELECT i, i % 1000, (i % 10000) / 100.0, 'body ' || md5(i::text), now()
          FROM generate_series(cursor_id, least(cursor_id + size - 1, last)) i;
        COMMIT;
        IF (cursor_id / size) % 2 = 0 THEN
          UPDATE item SET n = n + 1, amount = amount + 1
            WHERE id BETWEEN cursor_id AND cursor_id + size - 1;
          COMMIT;
        END IF;
        IF (cursor_id / size) % 10 = 0 THEN
          DELETE FROM item WHERE id BETWEEN cursor_id AND cursor_id + size - 1;
          COMMIT;
        END IF;
        cursor_id := cursor_id + size;
      END LOOP;
    END $$";

/// Where the backlog ends.
#[derive(Debug)]
pub(super) struct Backlog {
    /// The last transaction commits after this position, and no other does.
    pub(super) last: String,
    /// A position after its commit.
    pub(super) end: String,
}

/// Makes the tables and their publication at the source.
pub(super) fn make_tables(arena: &Arena, options: &Options) -> Result<()> {
    arena.sql(ITEM)?;
    data::fill_pgbench(arena, &arena.server, DB, options.drain_scale)?;
    arena.sql(PROCEDURE)?;
    let tables = TABLES.join(", ");
    arena.sql(&format!("CREATE PUBLICATION {PUBLICATION} FOR TABLE {tables}")).map(drop)
}

/// Makes the tables with the same rows in a new database `there` of the second server.
pub(super) fn make_copy(arena: &Arena, options: &Options, there: &str) -> Result<()> {
    arena.sql_there(DB, &format!("CREATE DATABASE {there}"))?;
    arena.sql_there(there, ITEM)?;
    data::fill_pgbench(arena, arena.warehouse()?, there, options.drain_scale)
}

/// Writes all transactions: a third of the inserts each in transactions of 1, 10 and 1,000 rows,
/// then pgbench's, then one by which the end is known.
pub(super) fn write(arena: &Arena, options: &Options) -> Result<Backlog> {
    let third = options.drain_inserts / 3;
    for (part, size) in (0..).zip([1_u64, 10, 1_000]) {
        let (first, last) = (part * third + 1, (part + 1) * third);
        arena.sql(&format!("CALL backlog({first}, {last}, {size})"))?;
    }
    if options.drain_pgbench > 0 {
        let each = (options.drain_pgbench / 2).to_string();
        let mut pgbench = arena.tool("pgbench")?;
        time_command(pgbench.args(["-n", "-c", "2", "-t", &each, DB]), LIMIT)?;
    }
    let last = arena.sql("SELECT pg_current_wal_insert_lsn()")?;
    arena.sql("INSERT INTO item (id) VALUES (-1)")?;
    let end = arena.sql("SELECT pg_current_wal_insert_lsn()")?;
    arena.sql("CHECKPOINT")?;
    Ok(Backlog { last, end })
}
