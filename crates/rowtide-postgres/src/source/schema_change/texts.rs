//! The columns for values that stand as text, which follow those that they belong to.

use std::sync::Arc;

use rowtide_core::{Column, Identity, SchemaChange, TableSchema};

use super::{Comparison, replaced, with, without};
use crate::source::policy::{text_column, text_name};

impl Comparison<'_> {
    /// Why a column for texts has no place: a column of the server's bears its name.
    pub(super) fn taken(&self, known: &TableSchema) -> Option<String> {
        let texts = known.columns.iter().filter(|column| column.text_of().is_some());
        let mut taken = texts.filter(|column| self.announced(column.name()).is_some());
        taken.next().map(|text| occupied(text.name()))
    }

    /// Renames and drops columns for texts with those that they belong to, and adds those that
    /// are missing.
    pub(super) fn texts(
        &self,
        known: &TableSchema,
        table: &mut Arc<TableSchema>,
        changes: &mut Vec<SchemaChange>,
    ) -> Result<(), String> {
        for text in known.columns.iter().filter(|column| column.text_of().is_some()) {
            let of = text.text_of();
            let Some(column) = table.columns.iter().find(|column| Some(column.number) == of) else {
                *table = without(table, text.number);
                let column = text.name().to_owned();
                changes.push(SchemaChange::DropColumn { table: Arc::clone(table), column });
                continue;
            };
            let name = text_name(column);
            if name == text.name() {
                continue;
            }
            self.check_free(table, &name)?;
            let field = Arc::new(text.field.as_ref().clone().with_name(name));
            *table = replaced(table, &Column { field, ..text.clone() });
            let at = table.columns.iter().position(|column| column.number == text.number);
            changes.push(SchemaChange::RenameColumn {
                table: Arc::clone(table),
                column: at.unwrap_or_default(),
                from: text.name().to_owned(),
            });
        }
        for index in 0..table.columns.len() {
            let Some(text) = text_column(table, index, &self.policies.values) else { continue };
            if table.columns.iter().any(|column| column.number == text.number) {
                continue;
            }
            self.check_free(table, text.name())?;
            let of = text.text_of();
            let old = known.columns.iter().any(|column| Some(column.number) == of);
            if old && known.identity == Identity::FullRow {
                // Whole rows are compared: what older ones hold in it matters.
                return Err(format!("the column {} was added for values as text", text.name()));
            }
            *table = with(table, text);
            let column = table.columns.len() - 1;
            let table = Arc::clone(table);
            changes.push(SchemaChange::AddColumn { table, column, fill: None });
        }
        Ok(())
    }

    fn check_free(&self, table: &TableSchema, name: &str) -> Result<(), String> {
        let free = table.index_of(name).is_none() && self.announced(name).is_none();
        if free { Ok(()) } else { Err(occupied(name)) }
    }
}

fn occupied(name: &str) -> String {
    format!(
        "it has a column {name}, which is the name of the column for values that stand as text: \
         rename it, or choose another policy than \"text\" for the column it would belong to"
    )
}
