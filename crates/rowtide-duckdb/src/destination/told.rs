//! What is told of rows in quarantine, read back.

use rowtide_core::ledger::{self, Told};
use rowtide_core::{Error, Offset, Result, TableName};

use super::state;
use crate::error::During;
use crate::ffi::{Cell, Connection};

/// What is told of the rows of `pipeline`, oldest first.
pub(super) fn read(
    connection: &Connection,
    pipeline: &str,
    with_values: bool,
) -> Result<Vec<Told>> {
    let ledger = TableName::new(ledger::SCHEMA, "quarantine");
    if state::table_like(connection, &ledger)?.is_none() {
        return Ok(Vec::new());
    }
    let sql = ledger::told(with_values, "epoch_us(t.quarantined_at)");
    let rows = connection.query(&sql, &[pipeline.into()]);
    let rows = rows.during(|| "reading what is told of rows in quarantine".to_owned())?;
    rows.iter().map(|row| told(row).ok_or_else(broken)).collect()
}

fn told(row: &[Cell]) -> Option<Told> {
    let text = |at: usize| row.get(at).and_then(Cell::text).map(str::to_owned);
    let number = |at: usize| row.get(at).and_then(Cell::int);
    Some(Told {
        table: TableName::new(text(0)?, text(1)?),
        column: text(2),
        op: text(3)?,
        reason: text(4)?,
        position: Offset(u64::try_from(number(5)?).ok()?),
        ordinal: number(6),
        key: text(7),
        values: text(8),
        at: number(9)?,
    })
}

fn broken() -> Error {
    Error::data("_rowtide.quarantine holds something that Rowtide did not write")
}
