//! `rowtide tap`: the source's changes as JSON lines.
//!
//! It follows the log through a temporary slot that dies with its connection. Where the
//! pipeline's publication does not hold the selected tables it makes one for the time being.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rowtide_core::traits::{ChangeStream, Segment, Source, StreamItem};
use rowtide_core::{ChangeBatch, Commit, Error, Identity, Result, TableName, TableSchema};
use rowtide_postgres::{PostgresSource, identifier, table_name};
use tokio_postgres::Client;

use crate::cli::Tap;
use crate::output::{self, Output};
use crate::registry::postgres;
use crate::{configuration, json, signals};

/// How many bytes of decoded changes may wait to be printed.
const BUFFER_BYTES: usize = 4 << 20;

/// Prints changes until the limit, the time, or Ctrl-C.
pub(super) async fn execute(arguments: Tap, output: &Output) -> Result<ExitCode> {
    let configuration = configuration::load_source(&arguments.pipeline)?;
    let source = postgres::build(&configuration.source, &configuration.pipeline)?;
    let tables = tables(&source, &configuration.settings.selection, output).await?;
    let (_shutdown, asked) = signals::listen(output)?;
    let client = source.connect_sql().await?;
    let publication = Publication::find_or_make(&client, &source, &tables).await?;

    let followed = tokio::select! {
        followed = follow(&source, (tables, &publication.name), &arguments, output) => followed,
        () = signals::asked(&asked) => Ok(()),
        () = time_up(arguments.seconds) => Ok(()),
    };
    publication.drop(&client).await?;
    followed?;
    Ok(ExitCode::SUCCESS)
}

async fn time_up(seconds: Option<f64>) {
    match seconds.map(Duration::try_from_secs_f64) {
        Some(Ok(time)) => tokio::time::sleep(time).await,
        Some(Err(_)) | None => std::future::pending().await,
    }
}

/// The selected tables whose updates the server can log.
async fn tables(
    source: &PostgresSource,
    selection: &rowtide_core::TableSelection,
    output: &Output,
) -> Result<Vec<Arc<TableSchema>>> {
    let mut tables = source.discover(selection).await?;
    tables.retain(|table| {
        // Publishing such a table would make the applications' own updates fail.
        let usable = table.identity != Identity::None;
        if !usable {
            output.note(&format!("{} is left out: it has no replica identity", table.name));
        }
        usable
    });
    if tables.is_empty() {
        return Err(Error::config("no table at the source matches the selection")
            .with_hint("check --tables"));
    }
    Ok(tables)
}

async fn follow(
    source: &PostgresSource,
    (tables, publication): (Vec<Arc<TableSchema>>, &str),
    arguments: &Tap,
    output: &Output,
) -> Result<()> {
    let count = tables.len();
    let mut stream = source.tap(tables, publication, BUFFER_BYTES).await?;
    output.note(&format!("listening to {count} table(s); Ctrl-C ends it"));
    let limit = arguments.limit.unwrap_or(u64::MAX);
    let mut printed = 0;
    while printed < limit {
        let segment = stream.next().await?;
        printed += print(&segment, limit - printed)?;
    }
    end(stream).await
}

/// The slot goes with the connection in any case.
async fn end(stream: Box<dyn ChangeStream>) -> Result<()> {
    match tokio::time::timeout(Duration::from_secs(2), stream.close()).await {
        Ok(closed) => closed,
        Err(_) => Ok(()),
    }
}

/// Prints up to `limit` events; returns how many.
fn print(segment: &Segment, limit: u64) -> Result<u64> {
    let mut lines = String::new();
    let mut count = 0;
    for item in &segment.items {
        match item {
            StreamItem::Changes(batch) => {
                let commits = batch.commit_indices();
                for (row, commit) in commits.iter().enumerate() {
                    if count == limit {
                        break;
                    }
                    let commit = &batch.commits[*commit as usize].commit;
                    change(&mut lines, (batch, row), commit);
                    count += 1;
                }
            }
            StreamItem::Truncate { tables, commit, ordinal } => {
                for table in
                    tables.iter().take(usize::try_from(limit - count).unwrap_or(usize::MAX))
                {
                    head(&mut lines, (&table.name, "truncate"), (commit, *ordinal));
                    lines.push_str("}\n");
                    count += 1;
                }
            }
            StreamItem::Schema { change, .. } => {
                // Not an event of a row, but readers should know that the columns change here.
                tracing::info!(table = %change.table().name, "the table's schema changed");
            }
        }
    }
    output::print_as_is(&lines)?;
    Ok(count)
}

fn head(out: &mut String, (table, op): (&TableName, &str), (commit, seq): (&Commit, u32)) {
    out.push_str("{\"table\":");
    json::string(out, &table.to_string());
    let at = jiff::Timestamp::from_microsecond(commit.committed_at);
    let at = at.map(|at| at.to_string()).unwrap_or_default();
    out.push_str(&format!(
        ",\"op\":\"{op}\",\"position\":\"{}\",\"seq\":{seq},\"committed_at\":\"{at}\",\"xid\":{}",
        commit.position, commit.xid
    ));
}

fn change(out: &mut String, (batch, row): (&ChangeBatch, usize), commit: &Commit) {
    let op = batch.ops[row].as_str();
    head(out, (&batch.table.name, op), (commit, batch.ordinals[row]));
    let is_key = |column: usize| batch.table.key.contains(&column);
    if !batch.table.key.is_empty() {
        out.push_str(",\"key\":");
        object(out, (batch, row), is_key);
    }
    let only_key = op == "delete" && batch.table.is_keyed();
    if !only_key {
        out.push_str(",\"row\":");
        object(out, (batch, row), |column| !batch.unchanged.is_set(row, column));
    }
    let missing: Vec<_> = (0..batch.table.columns.len())
        .filter(|&column| batch.unchanged.is_set(row, column))
        .map(|column| batch.table.columns[column].name())
        .collect();
    if !missing.is_empty() {
        out.push_str(",\"unchanged\":");
        out.push_str(&serde_json::Value::from(missing).to_string());
    }
    out.push_str("}\n");
}

fn object(out: &mut String, (batch, row): (&ChangeBatch, usize), wanted: impl Fn(usize) -> bool) {
    out.push('{');
    let mut first = true;
    for (at, column) in batch.table.columns.iter().enumerate().filter(|(at, _)| wanted(*at)) {
        if !first {
            out.push(',');
        }
        first = false;
        json::string(out, column.name());
        out.push(':');
        json::value(out, (&column.field, batch.rows.column(at).as_ref()), row);
    }
    out.push('}');
}

/// The publication that is listened to, and whether it goes afterwards.
struct Publication {
    name: String,
    temporary: bool,
}

impl Publication {
    async fn find_or_make(
        client: &Client,
        source: &PostgresSource,
        tables: &[Arc<TableSchema>],
    ) -> Result<Self> {
        use rowtide_core::traits::SourceOperations as _;
        let intent = source.intent();
        let own = intent.0.get("publication").and_then(|name| name.as_str()).unwrap_or_default();
        let sql = "SELECT schemaname::text, tablename::text FROM pg_catalog.pg_publication_tables \
                   WHERE pubname = $1::text";
        let rows = client.query(sql, &[&own]).await;
        let rows = rows.map_err(|error| failed("looking for the publication", error))?;
        let published: BTreeSet<(String, String)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let name_of =
            |table: &TableSchema| (table.name.schema.to_string(), table.name.name.to_string());
        if tables.iter().all(|table| published.contains(&name_of(table))) {
            return Ok(Self { name: own.to_owned(), temporary: false });
        }
        let name = format!("rowtide_tap_{:016x}", rand::random::<u64>());
        let list: Vec<_> = tables.iter().map(|table| table_name(&table.name)).collect();
        let sql = format!("CREATE PUBLICATION {} FOR TABLE {}", identifier(&name), list.join(", "));
        let made = client.batch_execute(&sql).await;
        made.map_err(|error| failed("creating a publication for the time being", error))?;
        Ok(Self { name, temporary: true })
    }

    async fn drop(self, client: &Client) -> Result<()> {
        if !self.temporary {
            return Ok(());
        }
        let sql = format!("DROP PUBLICATION IF EXISTS {}", identifier(&self.name));
        let dropped = client.batch_execute(&sql).await;
        dropped.map_err(|error| failed(&format!("dropping the publication {}", self.name), error))
    }
}

fn failed(doing: &str, error: tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(refused) => Error::access(format!("{doing}: {}", refused.message())).with_hint(
            "tap needs REPLICATION, and owns the tables or uses the pipeline's publication",
        ),
        None => Error::unavailable(format!("{doing} failed")).with_source(error),
    }
}
