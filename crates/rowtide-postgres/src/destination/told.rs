//! What is told of rows in quarantine, read back.

use rowtide_core::ledger::{self, Told};
use rowtide_core::{Offset, Result, TableName};

use super::state;
use crate::client::{Sql, get};

/// What is told of the rows of `pipeline`, oldest first.
pub(super) async fn read(sql: &Sql, pipeline: &str, with_values: bool) -> Result<Vec<Told>> {
    if !(state::exists(sql).await? && state::has_ledger(sql).await?) {
        return Ok(Vec::new());
    }
    let micros = "(pg_catalog.date_part('epoch', t.quarantined_at) * 1000000)::int8";
    let select = ledger::told(with_values, micros);
    let doing = "reading what is told of rows in quarantine";
    let rows = sql.rows(doing, &select, &[&pipeline]).await?;
    let told = |row: &tokio_postgres::Row| {
        let position: i64 = get(row, 5)?;
        Ok(Told {
            table: TableName::new(get::<&str>(row, 0)?, get::<&str>(row, 1)?),
            column: get(row, 2)?,
            op: get(row, 3)?,
            reason: get(row, 4)?,
            position: Offset(u64::try_from(position).unwrap_or_default()),
            ordinal: get(row, 6)?,
            key: get(row, 7)?,
            values: get(row, 8)?,
            at: get(row, 9)?,
        })
    };
    rows.iter().map(told).collect()
}
