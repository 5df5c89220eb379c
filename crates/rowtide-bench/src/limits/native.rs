//! PostgreSQL's own logical replication into a second server.

use std::time::Instant;

use rowtide_testkit::Result;

use crate::arena::Arena;
use crate::stopwatch::Taken;

/// Copies the tables of `publication` into database `there` of the second server, where empty
/// ones stand, by a subscription; it is gone afterwards. The servers do all of the work.
pub(crate) fn copy_by_subscription(
    arena: &Arena,
    (db, publication): (&str, &str),
    there: &str,
) -> Result<Taken> {
    let subscribe = format!(
        "CREATE SUBSCRIPTION {there} CONNECTION '{}' PUBLICATION {publication} \
         WITH (binary = true)",
        arena.server.url(db)
    );
    let taken = arena.with_servers(|| {
        let started = Instant::now();
        arena.sql_there(there, &subscribe)?;
        let copied = "NOT EXISTS (SELECT FROM pg_subscription_rel \
                      WHERE srsubstate NOT IN ('f', 's', 'r'))";
        arena.wait_in(arena.warehouse()?, there, copied)?;
        Ok(Taken { wall: started.elapsed().as_secs_f64(), ..Taken::default() })
    })?;
    // Only a worker that has no more to do lets itself be dropped without leaving slots behind.
    let settled = "NOT EXISTS (SELECT FROM pg_subscription_rel WHERE srsubstate <> 'r')";
    arena.wait_in(arena.warehouse()?, there, settled)?;
    arena.sql_there(there, &format!("DROP SUBSCRIPTION {there}"))?;
    Ok(taken)
}

/// A subscription that waits at the beginning of a backlog.
pub(crate) struct Subscription<'a> {
    arena: &'a Arena,
    /// The database of the second server; the subscription and its slot have the same name.
    there: String,
}

impl<'a> Subscription<'a> {
    /// Makes the slot and the subscription; nothing is read yet. The tables stand in `there`
    /// already, with the rows that the source has now.
    pub(crate) fn prepare(
        arena: &'a Arena,
        (db, publication): (&str, &str),
        there: &str,
    ) -> Result<Self> {
        arena.sql_in(
            db,
            &format!("SELECT pg_create_logical_replication_slot('{there}', 'pgoutput')"),
        )?;
        arena.sql_there(
            there,
            &format!(
                "CREATE SUBSCRIPTION {there} CONNECTION '{}' PUBLICATION {publication} \
                 WITH (binary = true, create_slot = false, slot_name = '{there}', \
                 copy_data = false, enabled = false)",
                arena.server.url(db)
            ),
        )?;
        Ok(Self { arena, there: there.to_owned() })
    }

    /// Applies the backlog until `arrived` is true at the destination; then it is gone.
    pub(crate) fn drain(self, arrived: &str) -> Result<Taken> {
        let Self { arena, there } = self;
        let taken = arena.with_servers(|| {
            let started = Instant::now();
            arena.sql_there(&there, &format!("ALTER SUBSCRIPTION {there} ENABLE"))?;
            arena.wait_in(arena.warehouse()?, &there, arrived)?;
            Ok(Taken { wall: started.elapsed().as_secs_f64(), ..Taken::default() })
        })?;
        arena.sql_there(&there, &format!("ALTER SUBSCRIPTION {there} DISABLE"))?;
        let gone = format!(
            "NOT EXISTS (SELECT FROM pg_stat_subscription WHERE subname = '{there}' \
             AND pid IS NOT NULL)"
        );
        arena.wait_in(arena.warehouse()?, &there, &gone)?;
        arena.sql_there(&there, &format!("DROP SUBSCRIPTION {there}"))?;
        Ok(taken)
    }
}
