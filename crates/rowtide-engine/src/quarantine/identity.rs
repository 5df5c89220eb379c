//! A key as text that stays the same for as long as it is remembered.

use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use rowtide_core::Result;

/// Per row the identity of its `key`; `None` where a part of it is NULL.
pub(super) fn identities(rows: &RecordBatch, key: &[usize]) -> Result<Vec<Option<String>>> {
    let columns: Vec<_> = key.iter().map(|&at| rows.column(at)).collect();
    let one = |row: usize| {
        let mut out = String::new();
        for column in &columns {
            if column.is_null(row) {
                return None;
            }
            let start = out.len();
            write(&mut out, column.as_ref(), row);
            // The length in front keeps two texts apart from one.
            let length = out.len() - start;
            out.insert_str(start, &format!("{length}:"));
        }
        Some(out)
    };
    Ok((0..rows.num_rows()).map(one).collect())
}

/// The `key` of one row as a JSON object of texts.
pub(super) fn shown(rows: &RecordBatch, key: &[usize], row: usize) -> String {
    let schema = rows.schema();
    let one = |&at: &usize| {
        let mut text = String::new();
        write(&mut text, rows.column(at).as_ref(), row);
        (schema.field(at).name().clone(), serde_json::Value::from(text))
    };
    serde_json::Value::from(key.iter().map(one).collect::<serde_json::Map<_, _>>()).to_string()
}

fn write(out: &mut String, column: &dyn Array, row: usize) {
    // Writing to a string cannot fail.
    let _ = match column.data_type() {
        DataType::Boolean => write!(out, "{}", column.as_boolean().value(row)),
        DataType::Int16 => write!(out, "{}", column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => write!(out, "{}", column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(out, "{}", column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => write!(out, "{}", column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => write!(out, "{}", column.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => {
            write!(out, "{:x}", column.as_primitive::<Float32Type>().value(row).to_bits())
        }
        DataType::Float64 => {
            write!(out, "{:x}", column.as_primitive::<Float64Type>().value(row).to_bits())
        }
        DataType::Decimal128(..) => {
            write!(out, "{}", column.as_primitive::<Decimal128Type>().value(row))
        }
        DataType::Date32 => write!(out, "{}", column.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(_) => {
            write!(out, "{}", column.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(..) => {
            write!(out, "{}", column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Utf8 => write!(out, "{}", column.as_string::<i32>().value(row)),
        DataType::Binary => hexadecimal(out, column.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(_) => hexadecimal(out, column.as_fixed_size_binary().value(row)),
        _ => write!(out, "{:?}", column.slice(row, 1)),
    };
}

fn hexadecimal(out: &mut String, bytes: &[u8]) -> std::fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BinaryArray, Int64Array, StringArray};

    use super::*;

    #[test]
    fn keys_are_the_same_only_if_they_are_equal() {
        let texts = StringArray::from(vec![Some("a"), Some("a1:b"), Some("a"), None]);
        let others = StringArray::from(vec!["1:bc", "c", "1:bc", "x"]);
        let columns: Vec<(&str, ArrayRef)> = vec![("a", Arc::new(texts)), ("b", Arc::new(others))];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let found = identities(&rows, &[0, 1]).unwrap();
        assert_eq!(found[0], found[2]);
        assert_ne!(found[0], found[1]);
        assert_eq!(found[3], None);
    }

    #[test]
    fn every_type_of_key_has_one() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![i64::MIN]));
        let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..]]));
        let rows = RecordBatch::try_from_iter([("n", numbers), ("b", bytes)]).unwrap();
        let found = identities(&rows, &[1, 0]).unwrap();
        assert_eq!(found, [Some("4:00ff20:-9223372036854775808".to_owned())]);
    }
}
