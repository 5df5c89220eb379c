//! PostgreSQL, oldest and newest major version, passes what every destination must do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use rowtide_core::{Destination, TableName};
use rowtide_postgres::{
    PostgresDestination, PostgresDestinationOptions, identifier, literal, table_name,
};
use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, PostgresServer, ServerOptions};
use rowtide_testkit::conformance::destination::DestinationSubject;
use rowtide_testkit::conformance::model::Kind;
use rowtide_testkit::conformance::oracle::TextRow;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A server of its own.
struct Postgres {
    server: PostgresServer,
}

impl Postgres {
    fn start(major: Major) -> Option<Self> {
        Some(Self { server: start_or_skip(&ServerOptions::for_major(major))? })
    }

    fn url(&self) -> String {
        self.server.url("postgres")
    }

    async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn select(&self, sql: &str) -> Vec<TextRow> {
        let messages = self.connect().await.simple_query(sql).await.unwrap();
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }
}

fn rendered(name: &str, kind: Kind) -> String {
    let name = identifier(name);
    match kind {
        Kind::Integer | Kind::Text | Kind::Boolean => format!("{name}::text"),
        Kind::Instant => format!("(extract(epoch FROM {name}) * 1000000)::bigint::text"),
        Kind::Texts => format!("array_to_string({name}, ',')"),
    }
}

#[async_trait]
impl DestinationSubject for Postgres {
    fn destination(&self) -> Arc<dyn Destination> {
        let options = PostgresDestinationOptions::from_url(&self.url(), &|_| None).unwrap();
        Arc::new(PostgresDestination::new(options))
    }

    async fn rows(&self, table: &TableName, columns: &[(String, Kind)]) -> Option<Vec<TextRow>> {
        let found = format!(
            "SELECT 1 FROM pg_tables WHERE schemaname = {} AND tablename = {}",
            literal(&table.schema),
            literal(&table.name)
        );
        if self.select(&found).await.is_empty() {
            return None;
        }
        let columns: Vec<String> =
            columns.iter().map(|(name, kind)| rendered(name, *kind)).collect();
        let table = table_name(table);
        Some(self.select(&format!("SELECT {} FROM {table}", columns.join(", "))).await)
    }

    async fn inventory(&self) -> BTreeSet<String> {
        let sql = "SELECT nspname FROM pg_namespace \
                   WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \
                   UNION ALL SELECT nspname || '.' || relname FROM pg_class \
                   JOIN pg_namespace n ON n.oid = relnamespace \
                   WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \
                   UNION ALL SELECT nspname || '.' || proname FROM pg_proc \
                   JOIN pg_namespace n ON n.oid = pronamespace \
                   WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \
                   UNION ALL SELECT 'origin.' || roname FROM pg_replication_origin";
        self.select(sql).await.into_iter().filter_map(|mut row| row.remove(0)).collect()
    }

    async fn make_foreign(&self, table: &TableName) {
        let sql = format!(
            "CREATE SCHEMA IF NOT EXISTS {}; CREATE TABLE {} AS SELECT 1::bigint AS precious",
            identifier(&table.schema),
            table_name(table)
        );
        self.connect().await.batch_execute(&sql).await.unwrap();
    }

    fn most_columns(&self) -> usize {
        1_600
    }
}

mod postgres_14 {
    rowtide_testkit::destination_conformance!(|| super::Postgres::start(super::Major::V14));
}

mod postgres_18 {
    rowtide_testkit::destination_conformance!(|| super::Postgres::start(super::Major::V18));
}
