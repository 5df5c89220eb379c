//! Values as they stand in SQL, for the statements of a plan.

use arrow_array::{Array, RecordBatch};
use arrow_schema::Field;
use rowtide_core::Result;
use rowtide_core::view::Wording;

use super::PostgresView;
use crate::encode::input;
use crate::quote::literal;

impl Wording for PostgresView {
    fn value(&self, _: &Field, values: &dyn Array, row: usize) -> Result<String> {
        spelled(values, row)
    }

    /// As texts of whole rows: unlike equality every type has one, and it tells 1.0 from 1.00.
    fn same(&self, rows: &RecordBatch, row: usize) -> Result<String> {
        let mut names = Vec::new();
        let mut values = Vec::new();
        for (column, array) in self.subject.columns.iter().zip(rows.columns()) {
            let (Some(name), sql_type) = (&column.name, &column.sql_type) else { continue };
            names.push(format!("{name}::{sql_type}"));
            values.push(format!("{}::{sql_type}", spelled(array.as_ref(), row)?.trim_start()));
        }
        Ok(format!("ROW({})::text = ROW({})::text", names.join(", "), values.join(", ")))
    }

    fn place(&self) -> &'static str {
        "ctid"
    }
}

fn spelled(values: &dyn Array, row: usize) -> Result<String> {
    Ok(input(values, row)?.map_or_else(|| "NULL".to_owned(), |text| literal(&text)))
}
