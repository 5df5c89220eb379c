//! Conditions in SQL that users give.

use rowtide_core::{Error, Result, TableName};

use crate::client::Sql;
use crate::quote::table_name;

/// In brackets that a comment at its end does not swallow.
pub(super) fn own_line(condition: &str) -> String {
    format!("({condition}\n)")
}

/// Refuses a `condition` that the server does not understand of the table `name`. Says nothing of
/// a table that cannot be looked at at all.
///
/// # Errors
/// `Config` if it does not; `Unavailable` if the server does not answer.
pub(crate) async fn check(sql: &Sql, name: &TableName, condition: &str) -> Result<()> {
    let from = format!("SELECT FROM {}", table_name(name));
    if sql.client().prepare(&from).await.is_err() {
        return Ok(());
    }
    let refused = |why: &str| {
        Error::config(format!("--where: {why} (in table {name})")).with_hint(
            "write a condition with the source's column names; --table names the tables that have \
             them",
        )
    };
    let query = format!("{from} WHERE {}", own_line(condition));
    match sql.client().prepare(&query).await {
        Ok(statement) if statement.params().is_empty() => Ok(()),
        Ok(_) => Err(refused("the condition has a parameter, for which there is no value")),
        Err(error) => match error.as_db_error() {
            // A value in the condition, which the message quotes, is the user's own word.
            Some(answer) => Err(refused(answer.message())),
            None => Err(Error::unavailable(format!("asking about {name}")).with_source(error)),
        },
    }
}
