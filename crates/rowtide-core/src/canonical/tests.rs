//! Canonical forms of whole rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryBuilder, FixedSizeBinaryBuilder, Float64Builder, IntervalMonthDayNanoBuilder,
    ListBuilder, StringBuilder,
};
use arrow_array::types::IntervalMonthDayNano;
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int16Array, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{Digest, Encoder};
use crate::{Column, Identity, TableName, TableSchema, ext};

fn table(fields: Vec<Field>, key: Vec<usize>) -> TableSchema {
    let columns = fields.into_iter().zip(1..).map(|(field, number)| Column {
        field: Arc::new(field),
        native_type: "?".to_owned(),
        number,
    });
    let identity = if key.is_empty() { Identity::FullRow } else { Identity::Key };
    TableSchema::new((1, TableName::new("s", "t")), 1, columns.collect(), key, identity)
}

/// A table with one column per array, and its rows.
fn rows(columns: Vec<(Field, ArrayRef)>, key: Vec<usize>) -> (TableSchema, RecordBatch) {
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let table = table(fields, key);
    let rows = RecordBatch::try_new(table.arrow(), arrays).unwrap();
    (table, rows)
}

fn of(array: impl Array + 'static) -> (Field, ArrayRef) {
    (Field::new("v", array.data_type().clone(), true), Arc::new(array))
}

fn forms(columns: Vec<(Field, ArrayRef)>) -> Vec<String> {
    let (table, rows) = rows(columns, vec![]);
    let forms = Encoder::new(&table).unwrap().forms(&rows).unwrap();
    forms.into_iter().map(|form| String::from_utf8(form.into()).unwrap()).collect()
}

#[test]
fn every_type_has_a_form() {
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value([Some("a"), None, Some("null"), Some(""), Some("b \"\\")]);
    list.append_null();
    let parts: Vec<(Arc<Field>, ArrayRef)> = vec![
        (Arc::new(Field::new("a", DataType::Int16, true)), Arc::new(Int16Array::from(vec![1, 2]))),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![None, Some("x y")])),
        ),
    ];
    let mut uuid = FixedSizeBinaryBuilder::new(16);
    uuid.append_value([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xEF]).unwrap();
    uuid.append_null();
    let mut times = FixedSizeBinaryBuilder::new(8);
    times.append_value((1_i64 << 24 | 57_599).to_le_bytes()).unwrap();
    times.append_null();
    let mut intervals = IntervalMonthDayNanoBuilder::new();
    intervals.append_value(IntervalMonthDayNano::new(1, 30, 0));
    intervals.append_value(IntervalMonthDayNano::new(0, 60, 1_000));
    let decimals = Decimal128Array::from(vec![Some(-5), Some(12_345)]);
    let bits: [&[u8]; 2] = [&[5, 0b1111_1101], &[0, 0b1000_0001]];
    let columns = vec![
        of(BooleanArray::from(vec![true, false])),
        of(Int64Array::from(vec![i64::MIN, 7])),
        of(UInt64Array::from(vec![Some(u64::MAX), None])),
        of(decimals.with_precision_and_scale(10, 2).unwrap()),
        of(Float32Array::from(vec![-0.0, 1.5])),
        of(Float64Array::from(vec![f64::from_bits(0xFFF8_0000_0000_0001), 0.0])),
        of(StringArray::from(vec![Some(""), None])),
        of(BinaryArray::from_vec(vec![b"\x00\xFF", b""])),
        (ext::bit("v"), Arc::new(BinaryArray::from_vec(bits.to_vec())) as ArrayRef),
        (ext::uuid("v"), Arc::new(uuid.finish()) as ArrayRef),
        (ext::timetz("v"), Arc::new(times.finish()) as ArrayRef),
        of(Date32Array::from(vec![-1, -719_163])),
        of(TimestampMicrosecondArray::from(vec![1, i64::MAX]).with_timezone("UTC")),
        of(intervals.finish()),
        of(list.finish()),
        of(StructArray::from(parts)),
    ];
    let expected = [
        concat!(
            r#"(t,-9223372036854775808,18446744073709551615,-0.05,80000000,7ff8000000000000,"","#,
            r#""\\x00ff",101,01020304-0506-0708-090a-0b0c0d0e0fef,00:00:00.000001+00,1969-12-31,"#,
            r#""1970-01-01 00:00:00.000001+00","1 mon 30 days","#,
            r#""{a,NULL,""null"","""",""b \\""\\\\""}","(1,)")"#
        ),
        concat!(
            r#"(f,7,,123.45,3fc00000,0000000000000000,,"\\x",10000001,,,"0001-12-31 BC",infinity,"#,
            r#""60 days 00:00:00.000001",,"(2,""x y"")")"#
        ),
    ];
    assert_eq!(forms(columns), expected);
}

#[test]
fn a_type_without_a_form_is_named() {
    let odd = table(vec![Field::new("speed", DataType::Float16, true)], vec![]);
    let error = Encoder::new(&odd).unwrap_err();
    assert!(error.message().contains("\"speed\""), "{error}");
}

#[test]
fn keys_fall_into_the_same_bucket_however_they_are_read() {
    let ids = || Int64Array::from(vec![1, 2, 3]);
    let words = || StringArray::from(vec!["x", "y z", ""]);
    let columns = vec![of(BooleanArray::from(vec![true; 3])), of(ids()), of(words())];
    let (table, all) = rows(columns, vec![2, 1]);
    let keys = RecordBatch::try_new(table.key_arrow(), vec![Arc::new(words()), Arc::new(ids())]);
    let keys = keys.unwrap();
    let encoder = Encoder::new(&table).unwrap();
    let hashes = encoder.hash(&all).unwrap();
    assert_eq!(hashes.keys, encoder.keys(&keys).unwrap());
    assert_eq!(*encoder.key_forms(&keys).unwrap()[1], *br#"("y z",2)"#);
    assert!(encoder.keys(&all).is_err());
    let texts = encoder.texts(&all, 2).unwrap();
    assert_eq!(texts, [Some("t".to_owned()), Some("3".to_owned()), Some(String::new())]);
    let mut whole = Digest::empty(3);
    encoder.sum_up(&all, &mut whole).unwrap();
    let mut parts = Digest::empty(3);
    for row in [2, 0, 1] {
        let mut part = Digest::empty(3);
        encoder.sum_up(&all.slice(row, 1), &mut part).unwrap();
        parts.merge(&part);
    }
    assert_eq!((parts.rows(), &parts), (3, &whole));
    assert_eq!(whole.bucket_of(hashes.keys[0]), usize::try_from(hashes.keys[0] % 8).unwrap());
}

type Pair = (Option<String>, Option<String>);

/// A row of columns whose values easily look like others, or like what is around them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Tricky {
    text: Option<String>,
    other: Option<String>,
    list: Option<Vec<Option<String>>>,
    lists: Option<Vec<Option<Vec<Option<String>>>>>,
    pair: Option<Pair>,
    bytes: Option<Vec<u8>>,
    float: Option<u64>,
    interval: Option<(i32, i32, i64)>,
}

fn word() -> impl Strategy<Value = Option<String>> {
    let pieces = ["a", ",", "\"", "\\", "(", ")", "{", "}", " ", "NULL", "\u{a0}", "\n"];
    let piece = proptest::sample::select(pieces.to_vec());
    option::of(vec(piece, 0..3).prop_map(|pieces| pieces.concat()))
}

fn tricky() -> impl Strategy<Value = Tricky> {
    let list = || vec(word(), 0..3);
    let float = prop_oneof![Just(0.0_f64), Just(-0.0), Just(f64::INFINITY), Just(1.0)];
    let interval = (-13_i32..14, -31_i32..32, -2_i64..3);
    (
        (word(), word(), option::of(list()), option::of(vec(option::of(list()), 0..3))),
        option::of((word(), word())),
        option::of(vec(any::<u8>(), 0..2)),
        option::of(float.prop_map(f64::to_bits)),
        option::of(interval),
    )
        .prop_map(|((text, other, list, lists), pair, bytes, float, interval)| Tricky {
            text,
            other,
            list,
            lists,
            pair,
            bytes,
            float,
            interval,
        })
}

fn columns_of(rows: &[Tricky]) -> Vec<(Field, ArrayRef)> {
    let texts = |text: fn(&Tricky) -> &Option<String>| {
        of(rows.iter().map(|row| text(row).as_deref()).collect::<StringArray>())
    };
    let mut list = ListBuilder::new(StringBuilder::new());
    let mut lists = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    let mut bytes = BinaryBuilder::new();
    let mut floats = Float64Builder::new();
    let mut intervals = IntervalMonthDayNanoBuilder::new();
    for row in rows {
        list.append_option(row.list.clone());
        for inner in row.lists.iter().flatten() {
            lists.values().append_option(inner.clone());
        }
        lists.append(row.lists.is_some());
        bytes.append_option(row.bytes.as_deref());
        floats.append_option(row.float.map(f64::from_bits));
        let interval = row.interval.map(|(m, d, n)| IntervalMonthDayNano::new(m, d, n * 1_000));
        intervals.append_option(interval);
    }
    let half = |half: fn(&Pair) -> &Option<String>| -> ArrayRef {
        let halves = rows.iter().map(|row| row.pair.as_ref().and_then(|pair| half(pair).clone()));
        Arc::new(halves.collect::<StringArray>())
    };
    let fields = ["a", "b"].map(|name| Field::new(name, DataType::Utf8, true));
    let valid: Vec<bool> = rows.iter().map(|row| row.pair.is_some()).collect();
    let pairs = vec![half(|pair| &pair.0), half(|pair| &pair.1)];
    let pairs = StructArray::new(fields.to_vec().into(), pairs, Some(valid.into()));
    vec![
        texts(|row| &row.text),
        texts(|row| &row.other),
        of(list.finish()),
        of(lists.finish()),
        of(pairs),
        of(bytes.finish()),
        of(floats.finish()),
        of(intervals.finish()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Of many rows, with each column alone and all together, those have the same form that are
    /// the same.
    #[test]
    fn different_rows_have_different_forms(rows in vec(tricky(), 100)) {
        let columns = columns_of(&rows);
        let alone: [fn(&Tricky) -> String; 8] = [
            |row| format!("{:?}", row.text),
            |row| format!("{:?}", row.other),
            |row| format!("{:?}", row.list),
            |row| format!("{:?}", row.lists),
            |row| format!("{:?}", row.pair),
            |row| format!("{:?}", row.bytes),
            |row| format!("{:?}", row.float),
            |row| format!("{:?}", row.interval),
        ];
        for (column, value) in columns.iter().zip(alone) {
            let forms = forms(vec![column.clone()]);
            let mut seen = HashMap::new();
            for (form, row) in forms.into_iter().zip(&rows) {
                let value = value(row);
                let known = seen.entry(form.clone()).or_insert_with(|| value.clone());
                prop_assert_eq!(&*known, &value, "both are {}", form);
            }
            let values: std::collections::HashSet<_> = rows.iter().map(value).collect();
            prop_assert_eq!(seen.len(), values.len());
        }
        let two = |rows: &[Tricky]| forms(columns_of(rows).into_iter().take(2).collect());
        let mut seen = HashMap::new();
        for (form, row) in two(&rows).into_iter().zip(&rows) {
            let value = (&row.text, &row.other);
            let known = *seen.entry(form.clone()).or_insert(value);
            prop_assert_eq!(known, value, "both are {}", form);
        }
        let whole = forms(columns);
        for (one, form) in rows.iter().zip(&whole) {
            for (two, other) in rows.iter().zip(&whole) {
                prop_assert_eq!(one == two, form == other);
            }
        }
    }
}
