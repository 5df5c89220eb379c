//! Connections to the source that keep their transactions open between steps.

use rowtide_testkit::Result;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Who does something at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Ends what it begins within a step.
    Main,
    /// May leave a transaction open for some steps.
    Other,
}

/// Two connections.
pub(super) struct Sessions {
    runtime: Runtime,
    main: Client,
    other: Client,
}

impl Sessions {
    pub(super) fn connect(url: &str) -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
        let connect = || -> Result<Client> {
            let (client, connection) = runtime
                .block_on(tokio_postgres::connect(url, NoTls))
                .map_err(|e| format!("connect to the source: {e}"))?;
            // It ends with the client.
            drop(runtime.spawn(connection));
            Ok(client)
        };
        let (main, other) = (connect()?, connect()?);
        let sessions = Self { main, other, runtime };
        for who in [Who::Main, Who::Other] {
            sessions.run(who, "SET lock_timeout = '20s'; SET client_min_messages = 'error'")??;
        }
        Ok(sessions)
    }

    fn client(&self, who: Who) -> &Client {
        match who {
            Who::Main => &self.main,
            Who::Other => &self.other,
        }
    }

    /// Runs SQL; the inner error is what the server has against it, and then nothing is left open.
    ///
    /// # Errors
    /// If the connection is gone.
    pub(super) fn run(&self, who: Who, sql: &str) -> Result<Result<()>> {
        let client = self.client(who);
        let Err(error) = self.runtime.block_on(client.batch_execute(sql)) else {
            return Ok(Ok(()));
        };
        let Some(said) = error.as_db_error() else {
            return Err(format!("the source's connection: {error}"));
        };
        let said = said.to_string();
        let undone = self.runtime.block_on(client.batch_execute("ROLLBACK"));
        undone.map_err(|e| format!("roll back: {e}"))?;
        Ok(Err(said))
    }

    /// The rows of a query, as text.
    pub(super) fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let messages = self.runtime.block_on(self.main.simple_query(sql));
        let messages = messages.map_err(|e| format!("{sql}: {e:?}"))?;
        let cells = |message| match message {
            SimpleQueryMessage::Row(row) => {
                let cell = |at| row.get(at).unwrap_or_default().to_owned();
                Some((0..row.len()).map(cell).collect())
            }
            _ => None,
        };
        Ok(messages.into_iter().filter_map(cells).collect())
    }
}
