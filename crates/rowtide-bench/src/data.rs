//! The tables of the measurements, and what is true of them while nobody writes.

use rowtide_sandbox::PostgresServer;
use rowtide_testkit::{Copied, Digests, Result, Rows, compare};

use crate::arena::{Arena, DB};

/// Tables of one database of the source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dataset {
    pub(crate) db: &'static str,
    pub(crate) title: &'static str,
    pub(crate) tables: &'static [&'static str],
}

/// A wide realistic table.
pub(crate) const WIDE: Dataset = Dataset { db: DB, title: "wide table", tables: &["public.wide"] };

/// The tables of pgbench.
pub(crate) const PGBENCH: Dataset = Dataset {
    db: "bank",
    title: "pgbench tables",
    tables: &[
        "public.pgbench_accounts",
        "public.pgbench_branches",
        "public.pgbench_tellers",
        "public.pgbench_history",
    ],
};

const WIDE_COLUMNS: &str = "id bigint NOT NULL, a int, b int, amount numeric(12,2), code text, \
    body text, at timestamptz, day date, ok bool, ref uuid, doc jsonb";

const WIDE_ROWS: &str = "i, i % 1000, (i * 7) % 100000, (i % 100000) / 100.0, 'c' || i % 500, \
    repeat(md5(i::text), 3), timestamptz '2024-01-01' + i * interval '1 second', \
    date '2020-01-01' + (i % 2000)::int, i % 3 = 0, md5(i::text)::uuid, \
    jsonb_build_object('n', i, 'tag', 't' || i % 10)";

/// The history of pgbench has no key: its rows are told apart by all their columns.
const WHOLE_ROWS: &str = "ALTER TABLE pgbench_history REPLICA IDENTITY FULL";

/// Makes the wide table with so many rows at the source.
pub(crate) fn fill_wide(arena: &Arena, rows: u64) -> Result<()> {
    empty_wide(&arena.server, WIDE.db)?;
    arena.sql(&format!("INSERT INTO wide SELECT {WIDE_ROWS} FROM generate_series(1, {rows}) i"))?;
    arena.sql(&add_key("wide"))?;
    arena.sql("VACUUM ANALYZE wide").map(drop)
}

/// Makes the wide table without rows and without its key.
pub(crate) fn empty_wide(server: &PostgresServer, db: &str) -> Result<()> {
    let table = format!("CREATE TABLE wide ({WIDE_COLUMNS})");
    server.psql(db, &table).map(drop).map_err(|e| e.to_string())
}

pub(crate) fn add_key(table: &str) -> String {
    format!("ALTER TABLE {table} ADD PRIMARY KEY (id)")
}

/// Makes the tables of pgbench with their rows in database `db` of `server`: the same at each
/// place.
pub(crate) fn fill_pgbench(
    arena: &Arena,
    server: &PostgresServer,
    db: &str,
    scale: u64,
) -> Result<()> {
    arena.fill_pgbench(server, db, scale)?;
    server.psql(db, WHOLE_ROWS).map(drop).map_err(|e| e.to_string())
}

/// Makes the tables of pgbench without rows, with keys or without.
pub(crate) fn empty_pgbench(
    arena: &Arena,
    server: &PostgresServer,
    db: &str,
    keys: bool,
) -> Result<()> {
    arena.pgbench_steps(server, db, if keys { "tp" } else { "t" })?;
    server.psql(db, WHOLE_ROWS).map(drop).map_err(|e| e.to_string())
}

/// Adds the keys of pgbench's tables.
pub(crate) fn key_pgbench(arena: &Arena, server: &PostgresServer, db: &str) -> Result<()> {
    arena.pgbench_steps(server, db, "p")
}

impl Dataset {
    /// The rows of all tables.
    pub(crate) fn rows(&self, arena: &Arena) -> Result<u64> {
        let counts = self.tables.iter().map(|table| format!("(SELECT count(*) FROM {table})"));
        let sql = format!("SELECT {}", counts.collect::<Vec<_>>().join(" + "));
        let count = arena.sql_in(self.db, &sql)?;
        count.parse().map_err(|e| format!("{count}: {e}"))
    }

    /// The room that all tables take without their indexes.
    pub(crate) fn size(&self, arena: &Arena) -> Result<String> {
        let sizes = self.tables.iter().map(|table| format!("pg_table_size('{table}')"));
        let sizes = sizes.collect::<Vec<_>>().join(" + ");
        arena.sql_in(self.db, &format!("SELECT pg_size_pretty({sizes})"))
    }
}

/// What the tables of a source hold while nobody writes: read once, compared with many copies.
pub(crate) struct Truth<'a> {
    arena: &'a Arena,
    db: &'a str,
    tables: &'a [&'a str],
    /// Per kind of destination, as values may be rendered for it.
    known: Vec<(bool, Vec<Digests>)>,
}

impl<'a> Truth<'a> {
    pub(crate) fn of(arena: &'a Arena, db: &'a str, tables: &'a [&'a str]) -> Self {
        Self { arena, db, tables, known: Vec::new() }
    }

    /// Compares a copy with it, row by row; a difference is an error that shows rows.
    pub(crate) fn check(&mut self, copied: Copied<'_>) -> Result<()> {
        let source = (&self.arena.server, self.db);
        let kind = matches!(copied, Copied::Duckdb(_));
        if !self.known.iter().any(|(known, _)| *known == kind) {
            let of = |table: &&str| Digests::of_source(source, copied, table);
            let read = self.tables.iter().map(of).collect::<Result<_>>()?;
            self.known.push((kind, read));
        }
        let known = self.known.iter().find(|(known, _)| *known == kind);
        let known = known.map_or(&[][..], |(_, digests)| digests);
        for (table, wanted) in self.tables.iter().zip(known) {
            let found = Digests::of_copy(source, copied, table)?;
            if found != *wanted {
                let shown = compare(source, copied, table, Rows::All)?;
                return Err(format!(
                    "the copy of {table} has {} rows of {} and differs: {shown:#?}",
                    found.rows(),
                    wanted.rows()
                ));
            }
        }
        Ok(())
    }
}
