//! Conditions that choose rows: by bucket, by key, by who wrote them.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use rowtide_core::canonical::{BucketSet, Encoder};
use rowtide_core::view::KeyRange;
use rowtide_core::{Error, Result, TableSchema};

use super::Shown;
use super::form::bucket_hash;
use crate::quote::literal;

/// How many keys one statement looks for.
const KEYS: usize = 1_000;

/// The rows of `buckets`, which are chosen by the columns with these forms.
pub(super) fn buckets(columns: &[String], buckets: &BucketSet) -> String {
    let mask = (1_u64 << buckets.bits) - 1;
    let numbers: Vec<String> = buckets.buckets.iter().map(ToString::to_string).collect();
    let hash = bucket_hash(columns);
    format!("({hash} & {mask}) = ANY ('{{{}}}'::int8[])", numbers.join(","))
}

/// The rows under `keys`, whose columns are `columns`: for each statement what it looks for.
pub(super) fn keys(
    table: &TableSchema,
    columns: &[&Shown],
    keys: &RecordBatch,
) -> Result<VecDeque<String>> {
    let names = columns.iter().map(|column| column.name.clone());
    let names: Option<Vec<String>> = names.collect();
    let names = names.ok_or_else(|| Error::internal("a key's column is not read"))?;
    // The key alone, as if it were all.
    let all = table.key.iter().map(|&at| table.columns[at].clone()).collect();
    let key = (0..table.key.len()).collect();
    let id = (table.id, table.name.clone());
    let encoder = Encoder::new(&TableSchema::new(id, 1, all, key, table.identity))?;
    let mut literals = Vec::with_capacity(keys.num_rows());
    for row in 0..keys.num_rows() {
        let texts = encoder.texts(keys, row)?;
        let cells = texts.into_iter().zip(columns).zip(keys.columns());
        let cells = cells.map(|((text, column), array)| {
            let text = text.map(|text| literal(&readable(text, array.data_type())));
            // Of a key that is NULL there are no rows.
            format!("{}::{}", text.unwrap_or_else(|| "NULL".to_owned()), column.sql_type)
        });
        literals.push(format!("({})", cells.collect::<Vec<_>>().join(", ")));
    }
    let names = names.join(", ");
    let chunks = literals.chunks(KEYS);
    Ok(chunks.map(|some| format!("({names}) IN (VALUES {})", some.join(", "))).collect())
}

/// The rows in a range of keys, whose columns are `columns`. Text is in the order of its bytes,
/// whatever order its column has.
pub(super) fn range(table: &TableSchema, columns: &[&Shown], range: &KeyRange) -> Result<String> {
    let names = columns.iter().map(|column| column.name.clone());
    let names: Option<Vec<String>> = names.collect();
    let names = names.ok_or_else(|| Error::internal("a key's column is not read"))?;
    let column = |at: usize| {
        let field = &table.columns[table.key[at]].field;
        match field.data_type() {
            DataType::Utf8 => format!("{} COLLATE \"C\"", names[at]),
            _ => names[at].clone(),
        }
    };
    let value = |at: usize, value: &str| format!("{}::{}", literal(value), columns[at].sql_type);
    Ok(range.condition(column, value))
}

/// A value's canonical form in a form that the server reads: of floats that is not the same.
fn readable(text: String, data_type: &DataType) -> String {
    let special = |value: f64| match value {
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        finite => format!("{finite:e}"),
    };
    match data_type {
        DataType::Float32 => match u32::from_str_radix(&text, 16).map(f32::from_bits) {
            Ok(value) if value.is_finite() => format!("{value:e}"),
            Ok(value) => special(value.into()),
            Err(_) => text,
        },
        DataType::Float64 => {
            u64::from_str_radix(&text, 16).map(f64::from_bits).map_or(text, special)
        }
        _ => text,
    }
}

/// The rows written since the moment that bore `mark`, at the moment that bears `now`, and maybe
/// some more; `None` for all.
///
/// Every transaction that the older snapshot did not see has a number from its `xmin` on. (Those in
/// between that it did see cannot be told apart: it does not list the subtransactions of those it
/// did not, and rows name subtransactions.) Rows name their writer with the lowest 32 bits alone;
/// one frozen long ago may seem new thereby, a new one never old.
pub(super) fn since(mark: &str, now: &str) -> Result<Option<String>> {
    let bad = || Error::internal("a mark is not of the form xmin:xmax:xip");
    let number =
        |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).ok_or_else(bad);
    let since = number(mark.split(':').next())?;
    let end = number(now.split(':').nth(1))?;
    let Some(age) = end.checked_sub(since).filter(|age| *age < 1 << 31) else { return Ok(None) };
    let low = end & u64::from(u32::MAX);
    let all = u32::MAX;
    Ok(Some(format!("(({low} - xmin::text::int8) & {all}) <= {age}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_chosen(condition: &str, xid: u64) -> bool {
        let numbers: Vec<i64> = condition
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|part| part.parse().ok())
            .collect();
        // The 8 is of int8.
        let [low, 8, all, age] = numbers[..] else { panic!("{condition}") };
        (low - i64::try_from(xid & 0xffff_ffff).unwrap()) & all <= age
    }

    #[test]
    fn what_is_new_is_chosen_across_the_wrap_of_numbers() {
        for start in [1000, (1 << 32) - 5, 5_u64 << 32, (7 << 32) + 3, u64::from(u32::MAX)] {
            let mark = format!("{start}:{}:{start}", start + 3);
            let condition = since(&mark, &format!("{}:{}:", start + 8, start + 10)).unwrap();
            let condition = condition.unwrap();
            for xid in start..start + 10 {
                assert!(is_chosen(&condition, xid), "{xid} since {start}");
            }
            for xid in [start - 1, start - 900] {
                assert!(!is_chosen(&condition, xid), "{xid} before {start}");
            }
        }
        assert_eq!(since("5:5:", "4294967296:4294967296:").unwrap(), None);
        assert_eq!(since("50:50:", "20:20:").unwrap(), None, "the mark of another server");
        assert!(since("", "1:1:").is_err());
    }

    #[test]
    fn floats_are_read_again() {
        for value in [0.0, -0.0, 0.1, f64::MAX, f64::MIN_POSITIVE, f64::NEG_INFINITY] {
            let text = readable(format!("{:016x}", value.to_bits()), &DataType::Float64);
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!(readable("7ff8000000000000".into(), &DataType::Float64), "NaN");
        assert_eq!(readable("7fc00000".into(), &DataType::Float32), "NaN");
        assert_eq!(readable("3dcccccd".into(), &DataType::Float32), "1e-1");
        assert_eq!(readable("a".into(), &DataType::Utf8), "a");
    }
}
