//! What the policies for values mean for the columns of a table.
//!
//! Where a value may become text, the table has one more column, right behind all others: its
//! number is that of the column it belongs to, negated, so that the two stay together whatever
//! they are called.

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use rowtide_core::{Column, Error, Result, TableSchema, ValuePolicies, ValuePolicy};

use super::PostgresSource;
use crate::types::Kind;

impl PostgresSource {
    /// The policy of every column.
    pub(super) fn value_policies(&self) -> ValuePolicies {
        let default = self.options.unrepresentable;
        ValuePolicies { default, rules: self.options.value_rules.clone() }
    }
}

/// What happens to values of the column at `index`.
pub(super) fn policy_of(
    table: &TableSchema,
    index: usize,
    policies: &ValuePolicies,
) -> ValuePolicy {
    let name = table.columns.get(index).map_or("", Column::name);
    let policy = policies.of(&table.name, name);
    if table.key.contains(&index) { policy.of_key() } else { policy }
}

/// The column for the texts of the one at `index`, if it can need one.
pub(super) fn text_column(
    table: &TableSchema,
    index: usize,
    policies: &ValuePolicies,
) -> Option<Column> {
    let column = table.columns.get(index)?;
    let wanted = column.number > 0
        && policy_of(table, index, policies) == ValuePolicy::Text
        && Kind::of(column).can_refuse();
    wanted.then(|| Column {
        field: Arc::new(Field::new(text_name(column), DataType::Utf8, true)),
        native_type: "text".to_owned(),
        number: -column.number,
    })
}

/// What the text column of `column` is called.
pub(super) fn text_name(column: &Column) -> String {
    format!("{}_text", column.name())
}

/// `table` with the text columns that it needs.
///
/// # Errors
/// `Config` if it has columns of those names.
pub(super) fn with_text_columns(
    table: Arc<TableSchema>,
    policies: &ValuePolicies,
) -> Result<Arc<TableSchema>> {
    let texts: Vec<Column> =
        (0..table.columns.len()).filter_map(|index| text_column(&table, index, policies)).collect();
    if texts.is_empty() {
        return Ok(table);
    }
    if let Some(taken) = texts.iter().find(|text| table.index_of(text.name()).is_some()) {
        return Err(taken_name(&table, taken.name()));
    }
    let mut table = Arc::unwrap_or_clone(table);
    table.columns.extend(texts);
    Ok(Arc::new(table))
}

fn taken_name(table: &TableSchema, name: &str) -> Error {
    Error::config(format!(
        "{} has a column {name}, which is the name of the column for values that stand as text",
        table.name
    ))
    .with_hint("choose another policy than \"text\" for the column it would belong to")
}

/// Whether only the server's text form of the table's rows is enough.
pub(super) fn needs_text(table: &TableSchema, policies: &ValuePolicies) -> bool {
    table.columns.iter().enumerate().any(|(index, column)| {
        policy_of(table, index, policies).needs_text() && Kind::of(column).can_refuse()
    })
}

#[cfg(test)]
mod tests {
    use rowtide_core::{Identity, TableName};

    use super::*;

    fn table(names: [&str; 2]) -> Arc<TableSchema> {
        let decimal = Kind::Decimal { precision: 5, scale: 2 };
        let columns = names.iter().zip(1..).map(|(name, number)| Column {
            field: Arc::new(decimal.field(name)),
            native_type: "numeric(5,2)".into(),
            number,
        });
        let name = TableName::new("public", "t");
        Arc::new(TableSchema::new((1, name), 1, columns.collect(), vec![0], Identity::Key))
    }

    #[test]
    fn a_column_that_may_become_text_gets_one_beside_it() {
        let policies = ValuePolicies::from(ValuePolicy::Text);
        let with = with_text_columns(table(["id", "amount"]), &policies).unwrap();
        let columns: Vec<_> = with.columns.iter().map(|c| (c.name(), c.number)).collect();
        assert_eq!(columns, [("id", 1), ("amount", 2), ("amount_text", -2)]);
        assert_eq!(with.columns[2].text_of(), Some(2));
        assert_eq!(Kind::of(&with.columns[2]), Kind::Text);
        assert!(needs_text(&with, &policies));
        let plain = with_text_columns(table(["id", "amount"]), &ValuePolicies::default()).unwrap();
        assert_eq!(plain.columns.len(), 2);
        assert!(!needs_text(&plain, &ValuePolicies::from(ValuePolicy::Null)));
    }

    #[test]
    fn a_name_that_is_taken_is_an_error() {
        let policies = ValuePolicies::from(ValuePolicy::Text);
        let mut taken = Arc::unwrap_or_clone(table(["amount_text", "amount"]));
        taken.key.clear();
        let error = with_text_columns(Arc::new(taken), &policies).unwrap_err();
        assert!(error.message().contains("has a column amount_text"), "{error}");
    }
}
