//! What is written here is read back by the source's own decoders.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::BytesMut;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rowtide_core::{ErrorKind, ext};

use super::{RowEncoder, TargetColumn, accepts, binary, numeric, temporal};
use crate::options::Unrepresentable;
use crate::protocol::copy::{BinaryRows, TextRow, binary_field};
use crate::types::{Kind, item_field};
use crate::value::ColumnBuilder;

/// A value as the server sends it.
#[derive(Debug, Clone)]
enum Wire {
    Binary(Vec<u8>),
    Text(String),
}

fn scalars() -> Vec<Kind> {
    vec![
        Kind::Bool,
        Kind::Int16,
        Kind::Int32,
        Kind::Int64,
        Kind::Float32,
        Kind::Float64,
        Kind::Decimal { precision: 38, scale: 0 },
        Kind::Decimal { precision: 38, scale: 38 },
        Kind::Decimal { precision: 38, scale: 9 },
        Kind::Decimal { precision: 12, scale: 2 },
        Kind::NumericText,
        Kind::Text,
        Kind::Json,
        Kind::Jsonb,
        Kind::Bytes,
        Kind::Date,
        Kind::Time,
        Kind::Timestamp,
        Kind::TimestampTz,
        Kind::Uuid,
    ]
}

fn kinds() -> Vec<Kind> {
    let lists = scalars().into_iter().map(|item| Kind::List(Box::new(item)));
    scalars().into_iter().chain(lists).collect()
}

fn bits(width: usize) -> BoxedStrategy<Wire> {
    let edges = [0x00_u8, 0xff, 0x7f, 0x80];
    prop_oneof![
        vec(any::<u8>(), width),
        (proptest::sample::select(edges.to_vec()), any::<u8>()).prop_map(move |(first, rest)| {
            let mut bytes = vec![if rest % 2 == 0 { 0 } else { 0xff }; width];
            bytes[0] = first;
            bytes
        }),
    ]
    .prop_map(Wire::Binary)
    .boxed()
}

fn number(range: std::ops::Range<i64>, infinities: bool) -> BoxedStrategy<i64> {
    let edges = match infinities {
        true => vec![i64::MIN, i64::MAX, range.start, range.end - 1, 0],
        false => vec![range.start, range.end - 1, 0],
    };
    prop_oneof![4 => range, 1 => proptest::sample::select(edges)].boxed()
}

fn decimal(precision: usize, scale: usize) -> BoxedStrategy<Wire> {
    (any::<bool>(), vec(0..10_u8, precision), 0..=precision)
        .prop_map(move |(negative, mut digits, zeros)| {
            digits[..zeros].fill(0);
            let text: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
            let (whole, fraction) = text.split_at(precision - scale);
            let sign = if negative { "-" } else { "" };
            Wire::Text(format!("{sign}0{whole}.{fraction}0"))
        })
        .boxed()
}

/// Any number as the server prints it.
fn numeric_text() -> BoxedStrategy<Wire> {
    let special = ["NaN", "Infinity", "-Infinity", "0", "0.00", "10000", "-0.0001"];
    prop_oneof![
        1 => proptest::sample::select(special.to_vec()).prop_map(str::to_owned),
        3 => "-?([1-9]0{0,9}[0-9]{0,40}|0)(\\.0{0,12}[0-9]{1,30})?",
    ]
    .prop_filter("there is no negative zero", |text| {
        !text.starts_with('-')
            || text.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
            || text == "-Infinity"
    })
    .prop_map(Wire::Text)
    .boxed()
}

fn value(kind: &Kind) -> BoxedStrategy<Wire> {
    let micros = -211_813_488_000_000_000..9_222_425_352_054_775_807;
    match kind {
        Kind::Bool => any::<bool>().prop_map(|bit| Wire::Binary(vec![bit.into()])).boxed(),
        Kind::Int16 => bits(2),
        Kind::Int32 | Kind::Float32 => bits(4),
        Kind::Int64 | Kind::Float64 => bits(8),
        Kind::Uuid => bits(16),
        Kind::Decimal { precision, scale } => {
            decimal(usize::from(*precision), usize::try_from(*scale).unwrap())
        }
        Kind::NumericText => numeric_text(),
        Kind::Bytes => vec(any::<u8>(), 0..30).prop_map(Wire::Binary).boxed(),
        Kind::Date => number(-2_451_545..2_145_031_949, true)
            .prop_map(|days| {
                let days = days.clamp(i32::MIN.into(), i32::MAX.into());
                Wire::Binary(i32::try_from(days).unwrap().to_be_bytes().to_vec())
            })
            .boxed(),
        Kind::Time => number(0..86_400_000_001, false)
            .prop_map(|micros| Wire::Binary(micros.to_be_bytes().to_vec()))
            .boxed(),
        Kind::Timestamp | Kind::TimestampTz => number(micros, true)
            .prop_map(|micros| Wire::Binary(micros.to_be_bytes().to_vec()))
            .boxed(),
        _ => prop_oneof![
            "[\\x01-\\x7f]{0,20}",
            "\\PC{0,20}",
            Just("NULL".to_owned()),
            Just("\\N".to_owned()),
            Just("\\.".to_owned()),
            Just(String::new()),
        ]
        .prop_map(Wire::Text)
        .boxed(),
    }
}

fn array(kind: &Kind, values: &[Option<Wire>]) -> ArrayRef {
    let mut builder = ColumnBuilder::new(kind, Unrepresentable::Fail);
    for value in values {
        match value {
            None => builder.append_null(),
            Some(Wire::Binary(bytes)) => builder.append_binary(bytes).unwrap(),
            Some(Wire::Text(text)) => builder.append_text(text.as_bytes()).unwrap(),
        }
    }
    builder.finish()
}

const ROWS: usize = 6;

fn column(kind: &Kind) -> BoxedStrategy<ArrayRef> {
    let Kind::List(item) = kind.clone() else {
        let kind = kind.clone();
        return vec(option::of(value(&kind)), ROWS)
            .prop_map(move |values| array(&kind, &values))
            .boxed();
    };
    vec(option::of(vec(option::of(value(&item)), 0..5)), ROWS)
        .prop_map(move |lists| {
            let lengths = lists.iter().map(|list| list.as_ref().map_or(0, Vec::len));
            let offsets = OffsetBuffer::from_lengths(lengths);
            let nulls: NullBuffer = lists.iter().map(Option::is_some).collect();
            let items: Vec<_> = lists.iter().flatten().flatten().cloned().collect();
            let field = Arc::new(item_field(&item));
            let nulls = (nulls.null_count() > 0).then_some(nulls);
            Arc::new(ListArray::new(field, offsets, array(&item, &items), nulls)) as ArrayRef
        })
        .boxed()
}

fn table() -> (Vec<TargetColumn>, SchemaRef) {
    let kinds = kinds();
    let name = |index: usize| format!("c{index}");
    let columns = kinds.iter().enumerate();
    let columns = columns.map(|(n, kind)| TargetColumn::described(&name(n), "any", kind.clone()));
    let fields: Vec<_> = kinds.iter().enumerate().map(|(n, kind)| kind.field(&name(n))).collect();
    (columns.collect(), Arc::new(Schema::new(fields)))
}

fn builders() -> Vec<ColumnBuilder> {
    kinds().iter().map(|kind| ColumnBuilder::new(kind, Unrepresentable::Fail)).collect()
}

fn encoded(mut encoder: RowEncoder, batches: &[RecordBatch]) -> BytesMut {
    let mut out = BytesMut::new();
    encoder.begin(&mut out);
    for batch in batches {
        encoder.encode(batch, &mut out).unwrap();
    }
    encoder.end(&mut out);
    out
}

fn read_binary(mut bytes: &[u8]) -> Vec<ArrayRef> {
    let mut builders = builders();
    let mut rows = BinaryRows::default();
    while let Some(mut row) = rows.row(bytes, builders.len()).unwrap() {
        for builder in &mut builders {
            match binary_field(&mut row).unwrap() {
                None => builder.append_null(),
                Some(field) => builder.append_binary(field).unwrap(),
            }
        }
        bytes = row.rest();
    }
    assert_eq!(bytes, [0xff, 0xff]);
    builders.iter_mut().map(ColumnBuilder::finish).collect()
}

fn read_text(bytes: &[u8]) -> Vec<ArrayRef> {
    let mut builders = builders();
    let mut scratch = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let mut row = TextRow::new(line, builders.len()).unwrap();
        for builder in &mut builders {
            match row.field(&mut scratch).unwrap().unwrap() {
                None => builder.append_null(),
                Some(field) => builder.append_text(field).unwrap(),
            }
        }
        assert!(row.is_done());
    }
    builders.iter_mut().map(ColumnBuilder::finish).collect()
}

proptest! {
    #[test]
    fn both_forms_are_read_back(arrays in kinds().iter().map(column).collect::<Vec<_>>()) {
        let (columns, schema) = table();
        let whole = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
        // Slices see their own rows alone.
        let batches = [whole.slice(0, 1), whole.slice(1, ROWS - 3), whole.slice(ROWS - 2, 2)];
        let encoder = RowEncoder::new(&columns, &schema).unwrap();
        prop_assert!(encoder.is_binary());
        let binary = read_binary(&encoded(encoder, &batches));
        let text = read_text(&encoded(RowEncoder::as_text(&columns, &schema), &batches));
        for (index, kind) in kinds().iter().enumerate() {
            prop_assert_eq!(&binary[index], whole.column(index), "{:?} in binary", kind);
            prop_assert_eq!(&text[index], whole.column(index), "{:?} in text", kind);
        }
    }

    #[test]
    fn a_number_does_not_depend_on_how_it_came(value in any::<i128>(), few in 0_u32..38, scale in 0_i8..39) {
        let value = value / 10_i128.pow(few);
        let (mut text, mut ours, mut theirs) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
        numeric::print(value, scale, &mut text);
        numeric::from_decimal(value, scale, &mut ours).unwrap();
        numeric::from_text(std::str::from_utf8(&text).unwrap(), &mut theirs).unwrap();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn nothing_panics(text in "[-0-9.eNInf]{0,12}", micros: i64, days: i32) {
        let mut out = BytesMut::new();
        let _ = numeric::from_text(&text, &mut out);
        let _ = temporal::print_timestamp(micros, true, &mut out);
        let _ = temporal::print_date(days, &mut out);
        let _ = temporal::print_time(micros, &mut out);
    }
}

#[test]
fn the_longest_numbers_are_exact() {
    for text in [
        "9".repeat(131_072) + "." + &"9".repeat(16_383),
        "1".to_owned() + &"0".repeat(131_071),
        "-0.".to_owned() + &"0".repeat(16_382) + "1",
        "0.".to_owned() + &"0".repeat(16_383),
    ] {
        let mut bytes = BytesMut::new();
        numeric::from_text(&text, &mut bytes).unwrap();
        let mut builder = ColumnBuilder::new(&Kind::NumericText, Unrepresentable::Fail);
        builder.append_binary(&bytes).unwrap();
        let read = builder.finish();
        let read = read.as_any().downcast_ref::<StringArray>().unwrap().value(0).to_owned();
        assert!(read == text, "{}… became {}…", &text[..9], &read[..9]);
    }
    let mut out = BytesMut::new();
    for bad in ["", "-", ".", "1e5", "1.2.3", "--1", "+1", " 1", "nan", "0x1", "1_0"] {
        assert!(numeric::from_text(bad, &mut out).is_err(), "{bad}");
    }
    assert!(numeric::from_text(&("0.".to_owned() + &"0".repeat(16_384)), &mut out).is_err());
    assert!(numeric::from_text(&"1".repeat(140_000), &mut out).is_err());
}

#[test]
fn no_shift_makes_an_infinity() {
    for days in [i32::MIN, i32::MIN + 2, i32::MIN + 10_957, i32::MAX - 1, -2_451_546 + 10_957] {
        assert!(temporal::date(days).is_err(), "{days}");
    }
    for micros in [i64::MIN, i64::MIN + 946_684_800_000_000, -i64::MAX + 1] {
        assert!(temporal::timestamp(micros).is_err(), "{micros}");
    }
    assert!(temporal::time(86_400_000_000).is_ok());
    assert!(temporal::time(86_400_000_001).is_err());
    assert!(temporal::time(-1).is_err());
    assert!(binary::length(usize::try_from(i32::MAX).unwrap()).is_ok());
    assert!(binary::length(usize::try_from(i32::MAX).unwrap() + 1).is_err());
}

#[test]
fn one_column_without_a_binary_form_makes_the_table_text() {
    let columns = [
        TargetColumn::described("n", "integer", Kind::Int32),
        TargetColumn::described("span", "interval", Kind::Opaque),
    ];
    let fields = [("n", DataType::Int32), ("span", DataType::Utf8)];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
    let schema: SchemaRef = Arc::new(Schema::new(fields.to_vec()));
    assert!(!RowEncoder::new(&columns, &schema).unwrap().is_binary());
    let first = Arc::new(Schema::new(fields[..1].to_vec()));
    assert!(RowEncoder::new(&columns[..1], &first).unwrap().is_binary());
    assert!(RowEncoder::new(&columns[..1], &schema).is_err());
    // The Arrow type is not what a value of this type would be.
    let wide = [TargetColumn::described("n", "bigint", Kind::Int64)];
    assert!(!RowEncoder::new(&wide, &first).unwrap().is_binary());
}

#[test]
fn a_refusal_names_the_column_and_not_the_value() {
    let columns = [TargetColumn::described("price", "numeric", Kind::NumericText)];
    let schema = Arc::new(Schema::new(vec![Field::new("price", DataType::Utf8, true)]));
    let rows = StringArray::from(vec!["secret"]);
    let batch = RecordBatch::try_new(Arc::clone(&schema) as _, vec![Arc::new(rows)]).unwrap();
    let mut encoder = RowEncoder::new(&columns, &schema).unwrap();
    let error = encoder.encode(&batch, &mut BytesMut::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("column price (numeric) of public.t"), "{error}");
    assert!(!error.chain().contains("secret"));

    let odd = Arc::new(Schema::new(vec![Field::new("price", DataType::UInt64, true)]));
    assert_eq!(RowEncoder::new(&columns, &odd).unwrap_err().kind(), ErrorKind::Config);
    let strange = RecordBatch::new_empty(Arc::new(Schema::new(vec![ext::uuid("price")])));
    assert_eq!(
        encoder.encode(&strange, &mut BytesMut::new()).unwrap_err().kind(),
        ErrorKind::Internal
    );
}

#[test]
fn only_what_holds_every_value_is_accepted() {
    let text = |sql_type| TargetColumn::described("c", sql_type, Kind::Text);
    let opaque = |sql_type| TargetColumn::described("c", sql_type, Kind::Opaque);
    let number = |sql_type| TargetColumn::described("c", sql_type, Kind::NumericText);
    let ints = TargetColumn::described("c", "integer[]", Kind::List(Box::new(Kind::Int32)));
    for (standing, wanted, expected) in [
        ("integer", number("smallint"), true),
        ("smallint", number("integer"), false),
        ("real", number("integer"), false),
        ("numeric", number("numeric(12,2)"), true),
        ("numeric(14,3)", number("numeric(12,2)"), true),
        ("numeric(13,3)", number("numeric(12,2)"), true),
        ("numeric(12,3)", number("numeric(12,2)"), false),
        ("numeric(12,2)", number("numeric"), false),
        ("numeric(19,0)", number("bigint"), true),
        ("numeric(18,0)", number("bigint"), false),
        ("text", number("numeric"), false),
        ("text", text("character varying(10)"), true),
        ("character varying(9)", text("character varying(10)"), false),
        ("character varying", text("text"), true),
        ("text", text("character(5)"), false),
        ("text", text("public.mood"), true),
        ("text", opaque("interval"), true),
        ("text", TargetColumn::described("c", "jsonb", Kind::Jsonb), true),
        ("jsonb", TargetColumn::described("c", "json", Kind::Json), false),
        ("timestamp(3) with time zone", number("timestamp with time zone"), false),
        ("timestamp with time zone", number("timestamp(3) with time zone"), true),
        ("timestamp without time zone", number("timestamp with time zone"), false),
        ("bigint[]", ints.clone(), true),
        ("smallint[]", ints.clone(), false),
        ("text", ints.clone(), true),
        ("integer", ints, false),
        ("public.mood", text("public.mood"), true),
        ("public.other", text("public.mood"), false),
    ] {
        assert_eq!(accepts(standing, &wanted), expected, "{standing} for {}", wanted.sql_type);
    }
}
