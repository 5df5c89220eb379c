//! PostgreSQL, every major version, passes what every source must do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rowtide_core::Source;
use rowtide_postgres::{PostgresOptions, PostgresSource, Streaming};
use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, PostgresServer, ServerOptions, StopMode};
use rowtide_testkit::conformance::model::Kind;
use rowtide_testkit::conformance::oracle::TextRow;
use rowtide_testkit::conformance::source::{Dialect, Session, SourceSubject};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A server of its own.
struct Postgres {
    server: Mutex<PostgresServer>,
    url: String,
    streaming: Streaming,
}

impl Postgres {
    fn start(major: Major) -> Option<Self> {
        Self::start_with(&ServerOptions::for_major(major), Streaming::Off)
    }

    /// One that streams what it can before it is committed: from 16 on every change, before that
    /// what exceeds the least memory there is.
    fn start_streaming(major: Major, streaming: Streaming) -> Option<Self> {
        let options = ServerOptions::for_major(major);
        let options = options.with_setting("logical_decoding_work_mem", "64kB");
        let options = match major {
            Major::V14 | Major::V15 => options,
            _ => options.with_setting("debug_logical_replication_streaming", "immediate"),
        };
        Self::start_with(&options, streaming)
    }

    fn start_with(options: &ServerOptions, streaming: Streaming) -> Option<Self> {
        let server = start_or_skip(options)?;
        let url = server.url("postgres");
        Some(Self { server: Mutex::new(server), url, streaming })
    }

    async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn with_server(&self, act: impl FnOnce(&mut PostgresServer)) {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        // Stopping waits; what still reads from the server must go on.
        tokio::task::block_in_place(|| act(&mut server));
    }
}

struct Application(Client);

#[async_trait]
impl Session for Application {
    async fn execute(&mut self, sql: &str) {
        if let Err(error) = self.0.batch_execute(sql).await {
            panic!("{sql:.300}: {error:?}");
        }
    }
}

struct PostgresDialect;

impl Dialect for PostgresDialect {
    fn schema(&self) -> &str {
        "public"
    }

    fn type_of(&self, kind: Kind) -> &str {
        match kind {
            Kind::Integer => "bigint",
            Kind::Text => "text",
            Kind::Boolean => "boolean",
            Kind::Instant => "timestamptz",
            Kind::Texts => "text[]",
        }
    }

    fn text(&self, expression: &str, _kind: Kind) -> String {
        format!("{expression}::text")
    }

    fn keep_apart(&self, table: &str, column: &str) -> Option<String> {
        Some(format!("ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL"))
    }

    fn log_full_rows(&self, table: &str) -> Option<String> {
        Some(format!("ALTER TABLE {table} REPLICA IDENTITY FULL"))
    }
}

#[async_trait]
impl SourceSubject for Postgres {
    fn source(&self, pipeline: &str) -> Arc<dyn Source> {
        let mut options = PostgresOptions::from_url(&self.url, &|_| None).unwrap();
        options.streaming = self.streaming;
        Arc::new(PostgresSource::new(options, pipeline))
    }

    async fn session(&self) -> Box<dyn Session> {
        Box::new(Application(self.connect().await))
    }

    async fn rows(&self, select: &str) -> Vec<TextRow> {
        let messages = self.connect().await.simple_query(select).await.unwrap();
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        };
        messages.iter().filter_map(row).collect()
    }

    async fn restart(&self) {
        self.with_server(|server| {
            server.stop(StopMode::Fast).unwrap();
            server.start_again().unwrap();
        });
    }

    async fn kill(&self) {
        self.with_server(|server| {
            server.kill9();
            server.start_again().unwrap();
        });
    }

    async fn lose_position(&self, pipeline: &str) {
        let sql = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
             WHERE slot_name LIKE '%{pipeline}%'"
        );
        assert_eq!(self.rows(&sql).await.len(), 1);
    }

    async fn leftovers(&self) -> BTreeSet<String> {
        let sql = "SELECT 'slot ' || slot_name FROM pg_replication_slots \
                   UNION ALL SELECT 'publication ' || pubname FROM pg_publication \
                   UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin \
                   UNION ALL SELECT 'schema ' || nspname FROM pg_namespace \
                   UNION ALL SELECT 'function ' || proname FROM pg_proc \
                   JOIN pg_namespace n ON n.oid = pronamespace \
                   WHERE nspname NOT IN ('pg_catalog', 'information_schema') \
                   UNION ALL SELECT 'trigger ' || evtname FROM pg_event_trigger";
        self.rows(sql).await.into_iter().filter_map(|mut row| row.remove(0)).collect()
    }

    fn most_columns(&self) -> usize {
        1_600
    }

    fn dialect(&self) -> &dyn Dialect {
        &PostgresDialect
    }
}

mod postgres_14 {
    rowtide_testkit::source_conformance!(|| super::Postgres::start(super::Major::V14));
}

mod postgres_15 {
    rowtide_testkit::source_conformance!(|| super::Postgres::start(super::Major::V15));
}

mod postgres_16 {
    rowtide_testkit::source_conformance!(|| super::Postgres::start(super::Major::V16));
}

mod postgres_17 {
    rowtide_testkit::source_conformance!(|| super::Postgres::start(super::Major::V17));
}

mod postgres_18 {
    rowtide_testkit::source_conformance!(|| super::Postgres::start(super::Major::V18));
}

mod postgres_14_streaming {
    use super::{Major, Postgres, Streaming};

    rowtide_testkit::source_conformance!(|| Postgres::start_streaming(Major::V14, Streaming::On));
}

mod postgres_16_streaming {
    use super::{Major, Postgres, Streaming};

    rowtide_testkit::source_conformance!(|| Postgres::start_streaming(
        Major::V16,
        Streaming::Parallel
    ));
}

mod postgres_18_streaming {
    use super::{Major, Postgres, Streaming};

    rowtide_testkit::source_conformance!(|| Postgres::start_streaming(Major::V18, Streaming::On));
}
