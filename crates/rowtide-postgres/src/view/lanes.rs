//! More connections with the snapshot of a view, so that the server works on several pieces at
//! once: as many as the view's share has to spare, whenever it has.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::{BoxFuture, Either};
use futures::stream::FuturesUnordered;
use rowtide_core::Result;
use rowtide_core::view::{Share, Spare};
use tokio_postgres::Row;

use super::pieces::{Piece, Pieces};
use crate::client::{Sql, get};
use crate::quote::literal;

/// What is left of a table is worth another connection if it has so many pages.
const WORTH: u64 = 2_048;

/// Opens a connection to the server of a view.
pub(crate) type Connect = Box<dyn Fn() -> BoxFuture<'static, Result<Sql>> + Send + Sync>;

/// The view that asks.
#[derive(Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) sql: &'a Sql,
    pub(super) connect: &'a Connect,
    pub(super) share: &'a dyn Share,
    /// What is locked.
    pub(super) whole: &'a str,
    pub(super) doing: &'a str,
}

/// A connection besides the view's own, and what is given back behind it.
struct Lane {
    sql: Sql,
    _spare: Spare,
}

/// What a lane has come to; `None` stands for the view's own connection.
enum Done {
    Opened(Result<Lane>),
    Asked(Option<Lane>, Result<Vec<Row>>, Duration),
}

/// Runs a query for each piece on whichever connection is free, and adds what it answers to
/// `found`.
///
/// Few connections are no error: a server may have none left, and who waits for the table's lock
/// must not be waited for (he waits for the view, and the server cannot see that the two belong
/// together).
pub(super) async fn ask<T>(
    host: Host<'_>,
    mut pieces: Pieces,
    query: impl Fn(&Piece) -> String,
    (mut found, add): (T, impl Fn(&mut T, &Row) -> Result<()>),
) -> Result<T> {
    let mut working = FuturesUnordered::new();
    let mut free = vec![None];
    let mut may_open = true;
    loop {
        while let Some(lane) = free.pop() {
            // Without a piece it is closed.
            let Some(piece) = pieces.next() else { continue };
            working.push(Either::Left(one(host, lane, query(&piece))));
        }
        if may_open
            && pieces.left() >= WORTH
            && let Some(spare) = host.share.spare()
        {
            working.push(Either::Right(open(host, spare)));
        }
        match working.next().await {
            Some(Done::Opened(Ok(lane))) => free.push(Some(lane)),
            Some(Done::Opened(Err(error))) => {
                tracing::debug!(%error, "no further connection for a view");
                may_open = false;
            }
            Some(Done::Asked(lane, rows, time)) => {
                pieces.took(time);
                rows?.iter().try_for_each(|row| add(&mut found, row))?;
                free.push(lane);
            }
            None => return Ok(found),
        }
    }
}

async fn one(host: Host<'_>, lane: Option<Lane>, query: String) -> Done {
    host.share.turn().await;
    let sql = lane.as_ref().map_or(host.sql, |lane| &lane.sql);
    let began = Instant::now();
    let rows = sql.rows(host.doing, &query, &[]).await;
    Done::Asked(lane, rows, began.elapsed())
}

async fn open(host: Host<'_>, spare: Spare) -> Done {
    let opened = share_snapshot(host).await;
    Done::Opened(opened.map(|sql| Lane { sql, _spare: spare }))
}

async fn share_snapshot(host: Host<'_>) -> Result<Sql> {
    let doing = "sharing a view's snapshot";
    let exported = host.sql.row(doing, "SELECT pg_catalog.pg_export_snapshot()", &[]).await?;
    let lane = (host.connect)().await?;
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}; \
         SET LOCAL jit = off; LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT",
        literal(get(&exported, 0)?),
        host.whole
    );
    lane.execute(doing, &begin).await?;
    Ok(lane)
}
