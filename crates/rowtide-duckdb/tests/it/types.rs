//! Every type that is written reads back as it was, at its edges, wherever a batch is cut.

use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, Int64Builder, ListBuilder, StringBuilder};
use arrow_array::types::Float64Type;
use arrow_array::*;
use arrow_schema::{DataType, Field, TimeUnit};
use proptest::prelude::*;
use rowtide_core::traits::Progress;
use rowtide_core::{Mode, TablePlan, TableWrite, ext};

use crate::support::{Place, place, plan, schema};

fn append_plan(fields: Vec<Field>) -> TablePlan {
    let source = schema((1, "values"), 1, fields, vec![]);
    TablePlan { mode: Mode::Append, ..plan(source) }
}

async fn write(place: &Place, plan: &TablePlan, batches: Vec<RecordBatch>) {
    let mut writer = place.begin(plan).await;
    for batch in batches {
        writer.write(plan, TableWrite::Append(batch)).await.unwrap();
    }
    writer.commit(Progress::default()).await.unwrap();
}

/// Writes `array` alone, then sliced, and before and after other columns; expects `text`.
async fn round_trip(field: Field, array: ArrayRef, kind: &str, text: &[&str]) {
    let place = place();
    let field = field.with_name("v");
    let other = Field::new("other", DataType::Utf8, true);
    let fields = vec![field.clone(), other, field.with_name("w")];
    let plan = append_plan(fields);
    let words: ArrayRef = Arc::new(
        (0..array.len())
            .map(|n| Some(format!("a longer text, number {n}")))
            .collect::<StringArray>(),
    );
    let batch = RecordBatch::try_new(
        plan.target_arrow(),
        vec![Arc::clone(&array), words, Arc::clone(&array)],
    )
    .unwrap();
    let cut = array.len() / 2;
    let slices = vec![batch.slice(0, cut), batch.slice(cut, array.len() - cut)];
    write(&place, &plan, slices).await;
    let kinds = place.rows("SELECT typeof(v) FROM public.values LIMIT 1").await;
    assert_eq!(kinds, [kind]);
    let expected: Vec<String> = text.iter().map(|text| format!("{text}|{text}")).collect();
    let order = "SELECT v, w FROM (SELECT *, regexp_extract(other, '\\d+')::INT AS n FROM public.values) ORDER BY n";
    assert_eq!(place.rows(order).await, expected, "{kind}");
}

fn nullable(kind: DataType) -> Field {
    Field::new("v", kind, true)
}

#[tokio::test]
async fn integers() {
    let array = Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)]);
    round_trip(nullable(DataType::Int16), Arc::new(array), "SMALLINT", &["-32768", "∅", "32767"])
        .await;
    let array = Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)]);
    let text = ["-2147483648", "∅", "2147483647"];
    round_trip(nullable(DataType::Int32), Arc::new(array), "INTEGER", &text).await;
    let array = Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX), Some(0)]);
    let text = ["-9223372036854775808", "∅", "9223372036854775807", "0"];
    round_trip(nullable(DataType::Int64), Arc::new(array), "BIGINT", &text).await;
    let array = UInt32Array::from(vec![None, Some(u32::MAX)]);
    round_trip(nullable(DataType::UInt32), Arc::new(array), "UINTEGER", &["∅", "4294967295"]).await;
}

#[tokio::test]
async fn floats_and_booleans() {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324, 0.1];
    let array: PrimitiveArray<Float64Type> = values.into_iter().map(Some).collect();
    let text = ["nan", "inf", "-inf", "-0.0", "5e-324", "0.1"];
    round_trip(nullable(DataType::Float64), Arc::new(array), "DOUBLE", &text).await;
    let array = Float32Array::from(vec![Some(f32::MAX), None, Some(-0.5)]);
    let text = ["3.4028235e+38", "∅", "-0.5"];
    round_trip(nullable(DataType::Float32), Arc::new(array), "FLOAT", &text).await;
    let array = BooleanArray::from(vec![Some(true), None, Some(false), Some(true), None]);
    let text = ["true", "∅", "false", "true", "∅"];
    round_trip(nullable(DataType::Boolean), Arc::new(array), "BOOLEAN", &text).await;
}

#[tokio::test]
async fn decimals_of_every_width() {
    for (precision, scale, kind) in [
        (4, 2, "DECIMAL(4,2)"),
        (9, 2, "DECIMAL(9,2)"),
        (18, 2, "DECIMAL(18,2)"),
        (38, 2, "DECIMAL(38,2)"),
    ] {
        let array = Decimal128Array::from(vec![Some(9999), None, Some(-9999), Some(0)])
            .with_precision_and_scale(precision, scale)
            .unwrap();
        let text = ["99.99", "∅", "-99.99", "0.00"];
        round_trip(nullable(array.data_type().clone()), Arc::new(array), kind, &text).await;
    }
    let most = 10_i128.pow(38) - 1;
    let array = Decimal128Array::from(vec![Some(most), Some(-most)])
        .with_precision_and_scale(38, 0)
        .unwrap();
    let nines = "9".repeat(38);
    let text = [nines.as_str(), &format!("-{nines}")];
    round_trip(nullable(array.data_type().clone()), Arc::new(array), "DECIMAL(38,0)", &text).await;
}

#[tokio::test]
async fn texts_and_bytes() {
    let long = "ü".repeat(5_000);
    let array = StringArray::from(vec![Some(""), None, Some("🦆"), Some(&long), Some("a\0b")]);
    let text = ["", "∅", "🦆", &long, "a\0b"];
    round_trip(nullable(DataType::Utf8), Arc::new(array), "VARCHAR", &text).await;
    let array = BinaryArray::from_opt_vec(vec![Some(b"".as_slice()), None, Some(&[0, 255, b'a'])]);
    round_trip(nullable(DataType::Binary), Arc::new(array), "BLOB", &["", "∅", "\\x00\\xFFa"])
        .await;
    let array = StringArray::from(vec![Some("null"), None, Some("{\"a\": [1, 1e400]}")]);
    let text = ["null", "∅", "{\"a\": [1, 1e400]}"];
    round_trip(ext::json("v"), Arc::new(array), "JSON", &text).await;
    let mut uuids = FixedSizeBinaryBuilder::new(16);
    uuids.append_value([0; 16]).unwrap();
    uuids.append_null();
    uuids.append_value([255; 16]).unwrap();
    uuids.append_value([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]).unwrap();
    let text = [
        "00000000-0000-0000-0000-000000000000",
        "∅",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "01020304-0506-0708-090a-0b0c0d0e0f10",
    ];
    round_trip(ext::uuid("v"), Arc::new(uuids.finish()), "UUID", &text).await;
}

#[tokio::test]
async fn dates_and_times() {
    let array =
        Date32Array::from(vec![Some(0), None, Some(i32::MAX), Some(-i32::MAX), Some(-719_529)]);
    let text = ["1970-01-01", "∅", "infinity", "-infinity", "0002-12-31 (BC)"];
    round_trip(nullable(DataType::Date32), Arc::new(array), "DATE", &text).await;
    let array = Time64MicrosecondArray::from(vec![Some(0), None, Some(86_400_000_000), Some(1)]);
    let text = ["00:00:00", "∅", "24:00:00", "00:00:00.000001"];
    round_trip(nullable(DataType::Time64(TimeUnit::Microsecond)), Arc::new(array), "TIME", &text)
        .await;
    let values =
        vec![Some(0), None, Some(i64::MAX), Some(-i64::MAX), Some(253_402_300_800_000_000)];
    let array = TimestampMicrosecondArray::from(values.clone());
    let text = ["1970-01-01 00:00:00", "∅", "infinity", "-infinity", "10000-01-01 00:00:00"];
    let kind = array.data_type().clone();
    round_trip(nullable(kind), Arc::new(array), "TIMESTAMP", &text).await;
    let array = TimestampMicrosecondArray::from(values).with_timezone("UTC");
    let text = ["1970-01-01 00:00:00+00", "∅", "infinity", "-infinity", "10000-01-01 00:00:00+00"];
    let kind = array.data_type().clone();
    round_trip(nullable(kind), Arc::new(array), "TIMESTAMP WITH TIME ZONE", &text).await;
}

#[tokio::test]
async fn lists_and_lists_of_lists() {
    let mut numbers = ListBuilder::new(Int64Builder::new());
    numbers.append_value([Some(1), None, Some(3)]);
    numbers.append_null();
    numbers.append_value([]);
    numbers.append_value([Some(4)]);
    let numbers = numbers.finish();
    let kind = numbers.data_type().clone();
    let text = ["[1, NULL, 3]", "∅", "[]", "[4]"];
    round_trip(nullable(kind), Arc::new(numbers), "BIGINT[]", &text).await;
    let mut nested = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    for row in 0..4 {
        nested.values().append_value([Some(format!("{row}")), None]);
        nested.values().append_null();
        nested.append(row != 2);
    }
    let nested = nested.finish();
    let kind = nested.data_type().clone();
    let text = ["[[0, NULL], NULL]", "[[1, NULL], NULL]", "∅", "[[3, NULL], NULL]"];
    round_trip(nullable(kind), Arc::new(nested), "VARCHAR[][]", &text).await;
}

#[tokio::test]
async fn lists_of_uuids_keep_their_type() {
    let item = Arc::new(ext::uuid("item"));
    let mut uuids = FixedSizeBinaryBuilder::new(16);
    uuids.append_value([7; 16]).unwrap();
    uuids.append_null();
    let offsets = arrow_buffer::OffsetBuffer::from_lengths([2, 0]);
    let array = ListArray::new(Arc::clone(&item), offsets, Arc::new(uuids.finish()), None);
    let text = ["[07070707-0707-0707-0707-070707070707, NULL]", "[]"];
    round_trip(nullable(DataType::List(item)), Arc::new(array), "UUID[]", &text).await;
}

#[tokio::test]
async fn bit_strings_and_times_with_an_offset() {
    // A count of padding, padding of ones, bits.
    let bits: [Option<&[u8]>; 5] = [
        Some(&[5, 0b1111_1101]),
        None,
        Some(&[0, 0b1000_0001]),
        Some(&[7, 0xFE, 0]),
        Some(&[7, 0xFF]),
    ];
    let array = BinaryArray::from_opt_vec(bits.to_vec());
    let text = ["101", "∅", "10000001", "000000000", "1"];
    round_trip(ext::bit("v"), Arc::new(array), "BIT", &text).await;
    let packed = |micros: i64, east: i64| (micros << 24 | (57_599 - east)).to_le_bytes();
    let mut times = FixedSizeBinaryBuilder::new(8);
    times.append_value(packed(86_400_000_000, -57_599)).unwrap();
    times.append_null();
    times.append_value(packed(0, 57_599)).unwrap();
    times.append_value(packed(43_200_000_001, 19_800)).unwrap();
    times.append_value(packed(43_200_500_000, 0)).unwrap();
    let text =
        ["24:00:00-15:59:59", "∅", "00:00:00+15:59:59", "12:00:00.000001+05:30", "12:00:00.5+00"];
    round_trip(ext::timetz("v"), Arc::new(times.finish()), "TIME WITH TIME ZONE", &text).await;
    let array = UInt64Array::from(vec![None, Some(u64::MAX)]);
    let text = ["∅", "18446744073709551615"];
    round_trip(nullable(DataType::UInt64), Arc::new(array), "UBIGINT", &text).await;
}

/// A struct of a number, a bit string and a text, NULL where `valid` says so.
fn structs(rows: usize, valid: impl Fn(usize) -> bool) -> StructArray {
    let numbers: Int64Array =
        (0..rows).map(|n| (n % 3 != 1).then(|| i64::try_from(n).unwrap())).collect();
    let bits = BinaryArray::from_iter(
        (0..rows).map(|n| (n % 4 != 2).then_some([7, 254 | u8::from(n % 2 == 1)])),
    );
    let texts: StringArray =
        (0..rows).map(|n| (n % 5 != 3).then(|| format!("text, {n}"))).collect();
    let fields = vec![
        Arc::new(nullable(DataType::Int64)),
        Arc::new(ext::bit("bits")),
        Arc::new(Field::new("Te xt", DataType::Utf8, true)),
    ];
    let nulls = (0..rows).map(valid).collect::<Vec<_>>().into();
    StructArray::new(
        fields.into(),
        vec![Arc::new(numbers), Arc::new(bits), Arc::new(texts)],
        Some(nulls),
    )
}

#[tokio::test]
async fn structs_keep_their_fields() {
    let array = structs(5, |row| row != 2);
    let text = [
        "{'v': 0, 'bits': 0, 'Te xt': 'text, 0'}",
        "{'v': NULL, 'bits': 1, 'Te xt': 'text, 1'}",
        "∅",
        "{'v': 3, 'bits': 1, 'Te xt': NULL}",
        "{'v': NULL, 'bits': 0, 'Te xt': 'text, 4'}",
    ];
    let kind = "STRUCT(v BIGINT, bits BIT, \"Te xt\" VARCHAR)";
    round_trip(nullable(array.data_type().clone()), Arc::new(array), kind, &text).await;
}

/// Structs in lists in structs, more of them than one vector holds, NULLs at every level.
#[tokio::test]
async fn nested_structs_longer_than_a_vector() {
    let place = place();
    let rows = 5_000;
    let items = structs(rows * 3, |row| row % 7 != 0);
    let item = Arc::new(Field::new("item", items.data_type().clone(), true));
    let lengths: Vec<usize> = (0..rows).map(|row| (row % 4) * 2).collect();
    let used: usize = lengths.iter().sum();
    let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths);
    let valid = (0..rows).map(|row| row % 11 != 0).collect::<Vec<_>>();
    let list = ListArray::new(item, offsets, Arc::new(items.slice(0, used)), Some(valid.into()));
    let numbers: Int64Array = (0..5_000).map(Some).collect();
    let fields = vec![
        Arc::new(nullable(DataType::Int64).with_name("n")),
        Arc::new(nullable(list.data_type().clone()).with_name("list")),
    ];
    let valid = (0..rows).map(|row| row % 13 != 0).collect::<Vec<_>>();
    let outer = StructArray::new(
        fields.into(),
        vec![Arc::new(numbers), Arc::new(list)],
        Some(valid.into()),
    );
    let plan = append_plan(vec![
        nullable(DataType::Int64).with_name("id"),
        nullable(outer.data_type().clone()),
    ]);
    let ids: Int64Array = (0..5_000).map(Some).collect();
    let batch =
        RecordBatch::try_new(plan.target_arrow(), vec![Arc::new(ids), Arc::new(outer)]).unwrap();
    write(&place, &plan, vec![batch.slice(3, 4_000), batch.slice(4_003, 997)]).await;
    let expected = (3..rows).filter(|row| row % 13 != 0).count();
    let lists = (3..rows).filter(|row| row % 13 != 0 && row % 11 != 0).count();
    let check = "SELECT count(*), count(v), count(v.list), \
                 count(*) FILTER (v IS NOT NULL AND v.n <> id) FROM public.values";
    assert_eq!(place.rows(check).await, [format!("4997|{expected}|{lists}|0")]);
    // Each item says where it stands.
    let mut at = 0;
    let (mut nulls, mut items, mut sum) = (0, 0, 0);
    for row in 0..rows {
        for n in at..at + (row % 4) * 2 {
            if row >= 3 && row % 13 != 0 && row % 11 != 0 {
                items += 1;
                nulls += usize::from(n % 7 == 0);
                sum += if n % 7 != 0 && n % 3 != 1 { n } else { 0 };
            }
        }
        at += (row % 4) * 2;
    }
    let check = "SELECT count(*), count(*) FILTER (i IS NULL), sum(i.v) FROM \
                 (SELECT unnest(v.list) AS i FROM public.values)";
    assert_eq!(place.rows(check).await, [format!("{items}|{nulls}|{sum}")]);
}

#[tokio::test]
async fn batches_longer_than_a_vector() {
    let place = place();
    let fields = vec![nullable(DataType::Int64), Field::new("s", DataType::Utf8, true)];
    let plan = append_plan(fields);
    let numbers: Int64Array = (0..10_001).map(|n| (n % 7 != 0).then_some(n)).collect();
    let texts: StringArray =
        (0..10_001).map(|n| (n % 5 != 0).then(|| format!("text of row {n}"))).collect();
    let batch = RecordBatch::try_new(plan.target_arrow(), vec![Arc::new(numbers), Arc::new(texts)])
        .unwrap();
    write(&place, &plan, vec![batch.slice(1, 10_000)]).await;
    let check = "SELECT count(*), count(v), sum(v), count(s), count(*) FILTER \
                 (v IS NOT NULL AND s IS NOT NULL AND s <> 'text of row ' || v) FROM public.values";
    assert_eq!(place.rows(check).await, ["10000|8572|42862858|8000|0"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any texts, cut anywhere, come back.
    #[test]
    fn any_texts_round_trip(
        texts in proptest::collection::vec(proptest::option::of(".{0,40}"), 1..200),
        cut in 0_usize..200,
    ) {
        let cut = cut.min(texts.len());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(async {
            let place = place();
            let fields = vec![Field::new("n", DataType::Int64, true), nullable(DataType::Utf8)];
            let plan = append_plan(fields);
            let numbers: Int64Array = (0..).take(texts.len()).map(Some).collect();
            let batch = RecordBatch::try_new(
                plan.target_arrow(),
                vec![Arc::new(numbers), Arc::new(StringArray::from(texts.clone()))],
            ).unwrap();
            let slices = vec![batch.slice(0, cut), batch.slice(cut, texts.len() - cut)];
            write(&place, &plan, slices).await;
            place.destination.select("SELECT v FROM public.values ORDER BY n").await.unwrap()
        });
        let read: Vec<_> = read.into_iter().map(|mut row| row.remove(0)).collect();
        prop_assert_eq!(read, texts);
    }
}
