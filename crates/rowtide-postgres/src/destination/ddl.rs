//! Changing definitions inside an epoch, without standing in the way of readers.
//!
//! Such a statement wants a table for itself alone, and everybody who comes after it waits behind
//! it. So it waits only a moment, lets the others pass, and tries again.

use std::time::Duration;

use rowtide_core::{Error, ErrorKind, Result};
use tokio_postgres::error::SqlState;

use super::session::LOCK_TIMEOUT;
use crate::client::Sql;
use crate::error::from_driver;

/// How often a table is tried to be had.
const TRIES: usize = 15;

/// How long the others are let pass.
const PAUSE: Duration = Duration::from_millis(250);

/// Why the server refused a statement. The transaction goes on as if it had not been tried.
pub(super) struct Refused {
    pub(super) state: SqlState,
    pub(super) error: Error,
}

/// Runs `statement` in the open transaction.
pub(super) async fn run(sql: &Sql, doing: &str, statement: &str) -> Result<()> {
    attempt(sql, doing, statement).await?.map_err(|refused| refused.error)
}

/// Runs `statement` in the open transaction; tells how the server refused it, if it did.
pub(super) async fn attempt(
    sql: &Sql,
    doing: &str,
    statement: &str,
) -> Result<Result<(), Refused>> {
    let mut tries = 0;
    loop {
        tries += 1;
        sql.execute(doing, "SAVEPOINT rowtide_ddl; SET LOCAL lock_timeout = '2s'").await?;
        let Err(failure) = sql.client().batch_execute(statement).await else {
            let release =
                format!("RELEASE SAVEPOINT rowtide_ddl; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'");
            sql.execute(doing, &release).await?;
            return Ok(Ok(()));
        };
        let Some(state) = failure.code().cloned() else {
            return Err(from_driver(doing, failure));
        };
        if failure.is_closed() {
            return Err(from_driver(doing, failure));
        }
        sql.execute(doing, "ROLLBACK TO SAVEPOINT rowtide_ddl; RELEASE SAVEPOINT rowtide_ddl")
            .await?;
        if state == SqlState::LOCK_NOT_AVAILABLE && tries < TRIES {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        if state == SqlState::OBJECT_IN_USE && tries == 1 {
            // Deferred checks of this epoch's rows are pending, and an ALTER waits for none.
            sql.execute(doing, "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
                .await?;
            continue;
        }
        return Ok(Err(Refused { error: explained(doing, &state, failure), state }));
    }
}

fn explained(doing: &str, state: &SqlState, failure: tokio_postgres::Error) -> Error {
    let message = failure.as_db_error().map_or("", |db| db.message()).to_owned();
    if *state == SqlState::LOCK_NOT_AVAILABLE {
        return Error::unavailable(format!("{doing}: others hold the table all the time"))
            .of_one_table()
            .with_hint("look for long transactions: SELECT * FROM pg_stat_activity");
    }
    if *state == SqlState::DEPENDENT_OBJECTS_STILL_EXIST {
        return Error::new(ErrorKind::SchemaDrift, format!("{doing}: {message}")).with_hint(
            "views, foreign keys or other objects of yours need it: drop them, or make them anew \
             afterwards; Rowtide drops nothing that it did not make",
        );
    }
    from_driver(doing, failure)
}
