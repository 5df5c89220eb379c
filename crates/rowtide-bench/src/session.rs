//! One session of a server that is asked again and again, where starting `psql` for each question
//! would cost more than the answer.

use rowtide_testkit::Result;
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

pub(crate) struct Session {
    runtime: Runtime,
    client: Client,
}

impl Session {
    pub(crate) fn open(url: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("start a runtime: {e}"))?;
        let connected = runtime.block_on(tokio_postgres::connect(url, NoTls));
        let (client, connection) = connected.map_err(|e| format!("connect: {e}"))?;
        // What ends the connection, the next question tells.
        runtime.spawn(async move { drop(connection.await) });
        Ok(Self { runtime, client })
    }

    /// Runs statements that give nothing back.
    pub(crate) fn set(&self, sql: &str) -> Result<()> {
        self.runtime.block_on(self.client.batch_execute(sql)).map_err(|e| failed(sql, &e))
    }

    pub(crate) fn prepare(&self, sql: &str) -> Result<Statement> {
        self.runtime.block_on(self.client.prepare(sql)).map_err(|e| failed(sql, &e))
    }

    pub(crate) fn ask(
        &self,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        let asked = self.client.query(statement, values);
        self.runtime.block_on(asked).map_err(|e| failed("a prepared statement", &e))
    }
}

fn failed(what: &str, error: &tokio_postgres::Error) -> String {
    let said = error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned());
    format!("{what}: {said}")
}
