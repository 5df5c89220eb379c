//! Values as DuckDB's SQL has them, for the statements of a plan.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, IntervalMonthDayNanoType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Field, Fields};
use rowtide_core::view::Wording;
use rowtide_core::{Error, Result, canonical, ext};

use crate::quote::{Ident, join};

/// How DuckDB has it.
pub(super) struct Words;

impl Wording for Words {
    fn value(&self, field: &Field, values: &dyn Array, row: usize) -> Result<String> {
        literal(field, values, row)
    }

    fn same(&self, rows: &RecordBatch, row: usize) -> Result<String> {
        let schema = rows.schema();
        let columns = schema.fields().iter().zip(rows.columns());
        let condition = |(field, values): (&std::sync::Arc<Field>, &arrow_array::ArrayRef)| {
            let (name, value) = (Ident(field.name()), literal(field, values.as_ref(), row)?);
            Ok(match field.data_type() {
                // Compared, a month is 30 days and a day 24 hours.
                DataType::Interval(_) => {
                    format!("{name}::VARCHAR IS NOT DISTINCT FROM ({value})::VARCHAR")
                }
                _ => format!("{name} IS NOT DISTINCT FROM {value}"),
            })
        };
        Ok(columns.map(condition).collect::<Result<Vec<_>>>()?.join(" AND "))
    }

    fn place(&self) -> &'static str {
        "rowid"
    }
}

fn literal(field: &Field, values: &dyn Array, row: usize) -> Result<String> {
    if values.is_null(row) {
        return Ok("NULL".to_owned());
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let printed = || {
        let text = canonical::text(field, values, row)?;
        text.ok_or_else(|| Error::internal("a value that is not NULL has no text"))
    };
    let typed = |name: &str| Ok::<_, Error>(format!("{}::{name}", quoted(&printed()?)));
    match (ext::name_of(field), field.data_type()) {
        (_, DataType::Boolean) => Ok(values.as_boolean().value(row).to_string()),
        (_, DataType::Float32) => {
            Ok(format!("'{:e}'::FLOAT", values.as_primitive::<Float32Type>().value(row)))
        }
        (_, DataType::Float64) => {
            Ok(format!("'{:e}'::DOUBLE", values.as_primitive::<Float64Type>().value(row)))
        }
        (_, DataType::Decimal128(precision, scale)) => {
            typed(&format!("DECIMAL({precision},{scale})"))
        }
        (_, DataType::Utf8) => Ok(quoted(&printed()?)),
        (Some(ext::BIT), DataType::Binary) => typed("BIT"),
        (_, DataType::Binary) => {
            let bytes = values.as_binary::<i32>().value(row);
            Ok(format!("'{}'::BLOB", join(bytes, "", |byte| format!("\\x{byte:02X}"))))
        }
        (Some(ext::UUID), _) => typed("UUID"),
        (Some(ext::TIMETZ), _) => typed("TIMETZ"),
        (_, DataType::Date32) => Ok(format!("{}::DATE", quoted(&era(&printed()?)))),
        (_, DataType::Time64(_)) => typed("TIME"),
        (_, DataType::Timestamp(_, zone)) => {
            let name = if zone.is_some() { "TIMESTAMPTZ" } else { "TIMESTAMP" };
            Ok(format!("{}::{name}", quoted(&era(&printed()?))))
        }
        (_, DataType::Interval(_)) => {
            let value = values.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let (months, days, micros) = (value.months, value.days, value.nanoseconds / 1_000);
            Ok(format!("(to_months({months}) + to_days({days}) + to_microseconds({micros}))"))
        }
        (_, DataType::List(item)) => {
            let items = values.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|at| literal(item, items.as_ref(), at));
            Ok(format!("[{}]", items.collect::<Result<Vec<_>>>()?.join(", ")))
        }
        (_, DataType::Struct(fields)) => record(fields, values, row),
        _ => printed(),
    }
}

fn record(fields: &Fields, values: &dyn Array, row: usize) -> Result<String> {
    let columns = fields.iter().zip(values.as_struct().columns());
    let part = |(field, values): (&std::sync::Arc<Field>, &arrow_array::ArrayRef)| {
        Ok(format!("{}: {}", Ident(field.name()), literal(field, values.as_ref(), row)?))
    };
    Ok(format!("{{{}}}", columns.map(part).collect::<Result<Vec<_>>>()?.join(", ")))
}

/// A date before Christ has its era behind the day here, in parentheses.
fn era(text: &str) -> String {
    let Some(text) = text.strip_suffix(" BC") else { return text.to_owned() };
    match text.split_once(' ') {
        Some((day, rest)) => format!("{day} (BC) {rest}"),
        None => format!("{text} (BC)"),
    }
}
