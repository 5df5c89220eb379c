//! `COPY` with nobody in between.

use std::process::{Command, Stdio};

use rowtide_testkit::Result;

use crate::arena::{Arena, LIMIT};
use crate::stopwatch::{Taken, time_all};

/// `COPY … TO STDOUT (FORMAT binary)` of all tables, thrown away, by so many sessions at once,
/// each with its own range of every table's pages.
pub(crate) fn copy_to_nothing(
    arena: &Arena,
    db: &str,
    tables: &[&str],
    lanes: u64,
) -> Result<Taken> {
    let mut sessions = Vec::new();
    for lane in 0..lanes {
        let mut psql = arena.tool("psql")?;
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", db]);
        for table in tables {
            let pages =
                format!("SELECT pg_relation_size('{table}') / current_setting('block_size')::int");
            let pages = arena.sql_in(db, &pages)?;
            let pages: u64 = pages.parse().map_err(|e| format!("{table}: {pages}: {e}"))?;
            let rows = match lanes {
                1 => (*table).to_owned(),
                _ => lane_of(table, pages, lane, lanes),
            };
            psql.args(["-c", &format!("COPY {rows} TO STDOUT (FORMAT binary)")]);
        }
        psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        sessions.push(psql);
    }
    arena.with_servers(|| time_all(&mut sessions, LIMIT))
}

/// The rows of `table` on the pages of one lane; the last one's have no end.
fn lane_of(table: &str, pages: u64, lane: u64, lanes: u64) -> String {
    let first = pages * lane / lanes;
    let below = match lane + 1 == lanes {
        true => String::new(),
        false => format!(" AND ctid < '({},0)'", pages * (lane + 1) / lanes),
    };
    format!("(SELECT * FROM {table} WHERE ctid >= '({first},0)'{below})")
}

/// `COPY … TO STDOUT | COPY … FROM STDIN` of all tables, one after the other, into database
/// `there` of the second server, where empty ones stand.
pub(crate) fn copy_to_copy(
    arena: &Arena,
    (db, tables): (&str, &[&str]),
    there: &str,
) -> Result<Taken> {
    let psql = |server, db: &str, command: String| -> Result<Command> {
        let mut psql = arena.tool_of(server, "psql")?;
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", db, "-c", &command]);
        psql.stderr(Stdio::piped());
        Ok(psql)
    };
    arena.with_servers(|| {
        let mut whole = Taken::default();
        for table in tables {
            let mut from =
                psql(&arena.server, db, format!("COPY {table} TO STDOUT (FORMAT binary)"))?;
            let mut into = psql(
                arena.warehouse()?,
                there,
                format!("COPY {table} FROM STDIN (FORMAT binary)"),
            )?;
            let (reader, writer) = std::io::pipe().map_err(|e| format!("make a pipe: {e}"))?;
            from.stdin(Stdio::null()).stdout(writer);
            into.stdin(reader).stdout(Stdio::null());
            let both = time_all(&mut [from, into], LIMIT)?;
            whole.wall += both.wall;
            whole.cpu += both.cpu;
            whole.peak_bytes = whole.peak_bytes.max(both.peak_bytes);
        }
        Ok(whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_meet_without_overlapping() {
        let first = "(SELECT * FROM t WHERE ctid >= '(0,0)' AND ctid < '(3,0)')";
        assert_eq!(lane_of("t", 7, 0, 2), first);
        assert_eq!(lane_of("t", 7, 1, 2), "(SELECT * FROM t WHERE ctid >= '(3,0)')");
    }
}
