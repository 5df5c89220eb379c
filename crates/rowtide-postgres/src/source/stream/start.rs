//! Beginning to read the log: what has to be known first, and the command.

use std::sync::Arc;
use std::time::Duration;

use rowtide_core::traits::StreamStart;
use rowtide_core::{Checkpoint, Error, ErrorKind, Offset, Result, TableSchema, XidSnapshot};
use tokio::sync::{mpsc, oneshot, watch};

use super::care::Care;
use super::protocol::Protocol;
use super::reader::{Reader, Turn};
use super::untold::Untold;
use super::{Demand, PostgresStream};
use crate::catalog::{CatalogTable, load_tables, load_types};
use crate::client::{Sql, get};
use crate::options::Origin;
use crate::quote::{identifier, identifier_list, replication_literal};
use crate::replication::{Feedback, Progress, ReplicationConnection};
use crate::source::decoder::Decoder;
use crate::source::guard::Guard;
use crate::source::history::History;
use crate::source::identity::parse_lsn;
use crate::source::policy::needs_text;
use crate::source::{PostgresSource, partition, slot};
use crate::types::{Kind, TypeMap};

/// The server's wait for us if it waits for ever.
pub(in crate::source) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts streaming.
pub(in crate::source) async fn open(
    source: &PostgresSource,
    start: StreamStart,
    durable: watch::Receiver<Checkpoint>,
) -> Result<PostgresStream> {
    let slot = source.names.slot.clone();
    let sql = source.sql().await?;
    refuse_origin(source, &sql).await?;
    let binary = !source.text_only() && all_read_binary(source, &sql, &start).await?;
    let guard = Guard::new(source, &sql, &start.tables).await?;
    let publications = guard.names(source);
    let covered = match start.copying.is_empty() {
        true => None,
        false => Some(covered(&sql).await?),
    };
    let mut connection = source.replication().await?;
    let timeout = connection.sender_timeout().await?.unwrap_or(DEFAULT_TIMEOUT);
    let (alarm, raised) = oneshot::channel();
    let (notices, noticed) = mpsc::channel(16);
    let with = Start {
        slot,
        publications,
        binary,
        timeout,
        start,
        durable,
        covered,
        alarm: Some(raised),
        untold: Some(Untold::new(guard.known(), guard.look(), noticed)),
        sql: Some(sql.clone()),
    };
    let mut stream = start_on(source, connection, with).await?;
    source.spare.keep(sql);
    stream.guard = Some(tokio::spawn(guard.run(source.clone(), alarm, notices)));
    Ok(stream)
}

/// Checks that the server can tell changes by their origin, if that is asked for.
async fn refuse_origin(source: &PostgresSource, sql: &Sql) -> Result<()> {
    if source.options.origin == Origin::Any {
        return Ok(());
    }
    let query = "SELECT pg_catalog.current_setting('server_version_num')::int4";
    let version: i32 = get(&sql.row("reading the server's version", query, &[]).await?, 0)?;
    if version < FIRST_WITH_ORIGIN {
        return Err(Error::config(format!(
            "origin = \"none\": PostgreSQL {} cannot leave out what another replication wrote",
            version / 10_000
        ))
        .with_hint("it takes PostgreSQL 16 at the source; leave the option out"));
    }
    Ok(())
}

/// The first version whose log can be read by origin.
pub(in crate::source) const FIRST_WITH_ORIGIN: i32 = 160_000;

/// What any copy that begins from now on will have.
async fn covered(sql: &Sql) -> Result<XidSnapshot> {
    let doing = "reading the snapshot before copies";
    let row = sql.row(doing, "SELECT pg_catalog.pg_current_snapshot()::text", &[]).await?;
    let end = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text";
    let end = parse_lsn(get(&sql.row(doing, end, &[]).await?, 0)?)?;
    XidSnapshot::parse(get(&row, 0)?, Offset(end))
}

/// Everything that is known before the stream begins.
pub(in crate::source) struct Start {
    pub(in crate::source) slot: String,
    pub(in crate::source) publications: Vec<String>,
    pub(in crate::source) binary: bool,
    pub(in crate::source) timeout: Duration,
    pub(in crate::source) start: StreamStart,
    pub(in crate::source) durable: watch::Receiver<Checkpoint>,
    /// What any copy that is still to come will have.
    pub(in crate::source) covered: Option<XidSnapshot>,
    /// Says that the stream can no longer be trusted.
    pub(in crate::source) alarm: Option<oneshot::Receiver<Error>>,
    /// What happens to tables beside the log, if somebody stores it.
    pub(in crate::source) untold: Option<Untold>,
    /// To look the slot up, if the log is to be proved.
    pub(in crate::source) sql: Option<Sql>,
}

/// Starts streaming on `connection`.
pub(in crate::source) async fn start_on(
    source: &PostgresSource,
    mut connection: ReplicationConnection,
    with: Start,
) -> Result<PostgresStream> {
    let position = with.start.checkpoint.get(&partition()).unwrap_or_default();
    let mut history = History::of(&with.start.checkpoint, source.asked());
    let sql = with.sql.as_ref().filter(|_| history.is_marked());
    let care = Care::take(source, sql, position).await?;
    // With nothing said, the server begins where the slot stands.
    let from = sql.map_or(position, |_| Offset(0));
    let protocol = Protocol::with(&mut connection, source.options.streaming).await?;
    let command = command(source, &with, (from, protocol.words));
    let doing = format!("reading the log by the replication slot `{}`", with.slot);
    let (frames, writer, thread) =
        connection.stream(&doing, &command).await.map_err(|error| lost(error, &with.slot))?;
    let mut begin = position.0;
    if let Some(sql) = sql {
        begin = slot::confirmed(sql, &with.slot).await?;
        history.begins_at(begin, position)?;
    }

    let progress = Arc::new(Progress::new(begin, history.is_proved()));
    let feedback = Feedback {
        writer,
        progress: Arc::clone(&progress),
        durable: with.durable,
        partition: partition(),
        start: begin,
        interval: (with.timeout / 3).min(Duration::from_secs(10)),
    };
    let feedback = thread.spawn(feedback.run());
    let demand = Arc::new(Demand::default());
    let (sender, segments) = mpsc::channel(1);
    let policies = source.value_policies();
    let silence = (with.timeout * 2).max(Duration::from_secs(5));
    let mut decoder = Decoder::new(with.start.tables, position.0, policies)
        .in_place(with.start.fences)
        .knowing(history);
    if let Some(covered) = with.covered {
        decoder = decoder.copying(&with.start.copying, covered);
    }
    let reader = Reader {
        source: source.clone(),
        sql: None,
        frames,
        decoder,
        assembler: protocol.assembler(with.start.buffer_bytes, with.start.spool_directory),
        alarm: with.alarm,
        untold: with.untold,
        progress: Arc::clone(&progress),
        demand: Arc::clone(&demand),
        sender,
        buffer_bytes: with.start.buffer_bytes,
        silence,
        binary: with.binary,
        slot: with.slot,
        turn: Turn::default(),
        care,
        watch: thread.interval(silence / 4),
    };
    let heartbeat = source
        .options
        .heartbeat
        .map(|every| tokio::spawn(heartbeat(source.clone(), every.duration())));
    let reader = thread.spawn(reader.run());
    Ok(PostgresStream {
        segments,
        demand,
        progress,
        reader,
        heartbeat,
        guard: None,
        feedback: Some(feedback),
    })
}

fn command(source: &PostgresSource, with: &Start, (from, protocol): (Offset, &str)) -> String {
    let names = identifier_list(with.publications.iter().map(String::as_str));
    let binary = if with.binary { ", binary 'true'" } else { "" };
    let origin = match source.options.origin {
        Origin::Any => "",
        Origin::None => ", origin 'none'",
    };
    let messages = if source.options.ddl_events { ", messages 'true'" } else { "" };
    format!(
        "START_REPLICATION SLOT {} LOGICAL {from} ({protocol}, publication_names {}{binary}{origin}{messages})",
        identifier(&with.slot),
        replication_literal(&names),
    )
}

/// A failure to start that means that the log is gone.
pub(super) fn lost(error: Error, slot: &str) -> Error {
    let gone = error.kind() == ErrorKind::PositionLost
        || error.message().contains("(SQLSTATE 42704)")
        || error.message().contains("(SQLSTATE 55000)");
    if !gone {
        return error;
    }
    Error::position_lost(error.message()).with_hint(format!(
        "the slot `{slot}` can no longer be read: copy the tables again (`resync`)"
    ))
}

/// Whether every column of the followed tables can be read in binary: those the destination
/// knows, and those the tables have by now.
async fn all_read_binary(source: &PostgresSource, sql: &Sql, start: &StreamStart) -> Result<bool> {
    if !start.tables.iter().all(|table| reads_binary(source, table)) {
        return Ok(false);
    }
    let oids: Vec<u32> =
        start.tables.iter().filter_map(|table| u32::try_from(table.id).ok()).collect();
    let tables = load_tables(sql, Some(&oids)).await?;
    let mut types = TypeMap::default();
    let used = tables.iter().flat_map(CatalogTable::replicated).map(|column| column.type_oid);
    load_types(sql, &mut types, used).await?;
    let mapping = source.options.mapping();
    let mut tables = tables.iter().map(|table| table.schema(&types, mapping));
    Ok(tables.all(|table| reads_binary(source, &table)))
}

/// Whether the rows of `table` can be read in binary, and nobody needs the server's texts of them.
pub(super) fn reads_binary(source: &PostgresSource, table: &TableSchema) -> bool {
    let mut kinds = table.columns.iter().map(Kind::of);
    kinds.all(|kind| kind.reads_binary()) && !needs_text(table, &source.value_policies())
}

/// Writes a message into the log now and then. Best effort: the next stream tries again.
async fn heartbeat(source: PostgresSource, every: Duration) {
    const EMIT: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'rowtide', '')";
    let mut sql: Option<Sql> = None;
    let mut beat = tokio::time::interval(every.max(Duration::from_millis(100)));
    loop {
        beat.tick().await;
        if sql.is_none() {
            sql = source.sql().await.ok();
        }
        if let Some(connected) = &sql
            && let Err(error) = connected.execute("writing a heartbeat", EMIT).await
        {
            tracing::warn!(error = %error.chain(), "heartbeat failed");
            sql = None;
        }
    }
}
