//! Marking what is written as replicated, so that whoever reads this server's log can leave it
//! out: two pipelines that copy a table to and fro would otherwise never come to rest.
//!
//! Only the writer marks. An origin belongs to one session at a time, and loaders fill tables that
//! nobody replicates before the writer puts them in place.

use std::time::{Duration, Instant};

use rowtide_core::{Error, Result};
use tokio_postgres::error::SqlState;

use super::link::Link;
use super::{OriginUse, Place};
use crate::client::{Sql, get};
use crate::error::{from_driver, is_state};

/// How long an older session may hold on to the origin after it was ended.
const LETTING_GO: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// The functions that are needed.
pub(super) const FUNCTIONS: [&str; 2] = [
    "pg_catalog.pg_replication_origin_create(text)",
    "pg_catalog.pg_replication_origin_session_setup(text)",
];

/// The origin of `pipeline`. Origins are of the whole server, pipelines of one database.
pub(super) fn name(place: &Place, pipeline: &str) -> String {
    format!("rowtide_{pipeline}@{}", place.connection.database())
}

/// Whether the role may mark what it writes.
pub(super) async fn is_allowed(sql: &Sql) -> Result<bool> {
    let query = "SELECT pg_catalog.bool_and(pg_catalog.has_function_privilege(f, 'EXECUTE')) \
         FROM unnest($1::text[]) AS f";
    let row = sql.row("looking at the role's rights", query, &[&FUNCTIONS.as_slice()]).await?;
    get(&row, 0)
}

/// Marks what `link` writes from now on, as the options say.
pub(super) async fn set_up(place: &Place, link: &Link, pipeline: &str) -> Result<()> {
    let origin = place.options.origin;
    if origin == OriginUse::Off {
        return Ok(());
    }
    let marked = match is_allowed(&link.sql).await? {
        true => mark(&link.sql, &name(place, pipeline)).await,
        false => Err(missing_rights()),
    };
    match marked {
        Err(error) if origin == OriginUse::Auto && !link.sql.client().is_closed() => {
            tracing::debug!(error = %error.chain(), "what is written has no replication origin");
            Ok(())
        }
        marked => marked,
    }
}

/// The role lacks what `origin = "required"` needs.
pub(super) fn missing_rights() -> Error {
    Error::access("the role may not use replication origins").with_hint(format!(
        "as a superuser: GRANT EXECUTE ON FUNCTION {} TO the role; or set origin to auto or off",
        FUNCTIONS.join(", ")
    ))
}

async fn mark(sql: &Sql, name: &str) -> Result<()> {
    let doing = "setting up the replication origin";
    let client = sql.client();
    let find = "SELECT 1 FROM pg_catalog.pg_replication_origin WHERE roname = $1";
    if sql.rows(doing, find, &[&name]).await?.is_empty() {
        let create = "SELECT pg_catalog.pg_replication_origin_create($1)";
        match client.query(create, &[&name]).await {
            Err(error) if !is_state(&error, &SqlState::UNIQUE_VIOLATION) => {
                return Err(from_driver(doing, error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    let deadline = Instant::now() + LETTING_GO;
    loop {
        let set_up = "SELECT pg_catalog.pg_replication_origin_session_setup($1)";
        match client.query(set_up, &[&name]).await {
            Ok(_) => return Ok(()),
            Err(error)
                if is_state(&error, &SqlState::OBJECT_IN_USE) && Instant::now() < deadline =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(from_driver(doing, error)),
        }
    }
}
