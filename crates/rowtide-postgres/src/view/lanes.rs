//! More connections with the snapshot of a view, so that the server works on several pieces at
//! once.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures::future::{BoxFuture, try_join_all};
use rowtide_core::Result;
use tokio_postgres::Row;

use super::pieces::{Piece, Pieces};
use crate::client::{Sql, get};
use crate::quote::literal;

/// How many pieces are worked on at once, at most: as many as a server with the usual settings
/// gives to a query of its own.
const LANES: usize = 3;
/// Tables of fewer pages are summed up by one connection.
const SMALL: u64 = 2_048;

/// Opens a connection to the server of a view.
pub(crate) type Connect = Box<dyn Fn() -> BoxFuture<'static, Result<Sql>> + Send + Sync>;

/// The connections besides the view's own, as many as `pages` of `whole` are worth.
///
/// Few are no error: a server may have none left, and who waits for the table's lock must not be
/// waited for (he waits for the view, and the server cannot see that the two belong together).
pub(super) async fn open(sql: &Sql, connect: &Connect, (whole, pages): (&str, u64)) -> Vec<Sql> {
    let mut lanes = Vec::new();
    while lanes.len() + 1 < LANES && pages >= SMALL {
        match open_one(sql, connect, whole).await {
            Ok(lane) => lanes.push(lane),
            Err(error) => {
                tracing::debug!(%error, "no further connection for a view");
                break;
            }
        }
    }
    lanes
}

async fn open_one(sql: &Sql, connect: &Connect, whole: &str) -> Result<Sql> {
    let doing = "sharing a view's snapshot";
    let exported = sql.row(doing, "SELECT pg_catalog.pg_export_snapshot()", &[]).await?;
    let lane = connect().await?;
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; \
         SET LOCAL jit = off; LOCK TABLE {whole} IN ACCESS SHARE MODE NOWAIT",
        literal(get(&exported, 0)?)
    );
    lane.execute(doing, &begin).await?;
    Ok(lane)
}

/// Runs a query for each piece on whichever of `lanes` is free, and gathers what each lane found
/// in a `T` of its own.
pub(super) async fn ask<T: Clone>(
    lanes: &[&Sql],
    (doing, pieces): (&str, Pieces),
    query: impl Fn(&Piece) -> String,
    (none, add): (T, impl Fn(&mut T, &Row) -> Result<()>),
) -> Result<Vec<T>> {
    let pieces = Mutex::new(pieces);
    let lock = || pieces.lock().unwrap_or_else(PoisonError::into_inner);
    let lane = async |sql: &Sql| {
        let mut found = none.clone();
        loop {
            let Some(piece) = lock().next() else { return Ok(found) };
            let began = Instant::now();
            let rows = sql.rows(doing, &query(&piece), &[]).await?;
            lock().took(began.elapsed());
            rows.iter().try_for_each(|row| add(&mut found, row))?;
        }
    };
    try_join_all(lanes.iter().map(|sql| lane(sql))).await
}
