//! Arrow values as JSON text, for `tap`.
//!
//! Exact values stay exact: decimals are strings, JSON documents are put in as they are, bytes are
//! hexadecimal as PostgreSQL prints them. The `arrow-json` crate would change all three.

use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, ArrowPrimitiveType, StructArray};
use arrow_schema::{DataType, Field, Fields};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use rowtide_core::ext;

/// Appends `text` as a JSON string.
pub(crate) fn string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// Appends the value at `row` of `array`, which holds `field`.
pub(crate) fn value(out: &mut String, (field, array): (&Field, &dyn Array), row: usize) {
    if array.is_null(row) {
        out.push_str("null");
        return;
    }
    match array.data_type() {
        DataType::Boolean => display(out, array.as_boolean().value(row)),
        DataType::Int16 => display(out, primitive::<Int16Type>(array, row)),
        DataType::Int32 => display(out, primitive::<Int32Type>(array, row)),
        DataType::Int64 => display(out, primitive::<Int64Type>(array, row)),
        DataType::UInt32 => display(out, primitive::<UInt32Type>(array, row)),
        DataType::UInt64 => display(out, primitive::<UInt64Type>(array, row)),
        DataType::Float32 => float(out, f64::from(primitive::<Float32Type>(array, row))),
        DataType::Float64 => float(out, primitive::<Float64Type>(array, row)),
        DataType::Decimal128(..) => {
            string(out, &array.as_primitive::<Decimal128Type>().value_as_string(row));
        }
        DataType::Utf8 if ext::name_of(field) == Some(ext::JSON) => {
            document(out, array.as_string::<i32>().value(row));
        }
        DataType::Utf8 => string(out, array.as_string::<i32>().value(row)),
        DataType::Binary if ext::name_of(field) == Some(ext::BIT) => {
            bits(out, array.as_binary::<i32>().value(row));
        }
        DataType::Binary => hexadecimal(out, array.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(16) => uuid(out, array.as_fixed_size_binary().value(row)),
        DataType::FixedSizeBinary(8) => timetz(out, array.as_fixed_size_binary().value(row)),
        DataType::Date32 => date(out, primitive::<Date32Type>(array, row)),
        DataType::Time64(_) => time(out, primitive::<Time64MicrosecondType>(array, row)),
        DataType::Timestamp(_, zone) => {
            timestamp(out, primitive::<TimestampMicrosecondType>(array, row), zone.is_some());
        }
        DataType::Interval(_) => {
            interval(out, primitive::<IntervalMonthDayNanoType>(array, row));
        }
        DataType::List(item) => list(out, item, array.as_list::<i32>().value(row).as_ref()),
        DataType::Struct(fields) => record(out, fields, (array.as_struct(), row)),
        other => string(out, &format!("<{other}>")),
    }
}

fn primitive<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

fn display(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = write!(out, "{value}");
}

/// JSON has no NaN and no infinity: they become strings.
fn float(out: &mut String, value: f64) {
    match value {
        v if v.is_nan() => out.push_str("\"NaN\""),
        v if v.is_infinite() && v > 0.0 => out.push_str("\"Infinity\""),
        v if v.is_infinite() => out.push_str("\"-Infinity\""),
        v => out.push_str(&serde_json::Value::from(v).to_string()),
    }
}

/// Documents are put in as they are; one that spans lines is written anew on one line.
fn document(out: &mut String, text: &str) {
    if !text.contains(['\n', '\r']) {
        out.push_str(text);
        return;
    }
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(parsed) => out.push_str(&parsed.to_string()),
        Err(_) => string(out, text),
    }
}

fn hexadecimal(out: &mut String, bytes: &[u8]) {
    out.push_str("\"\\\\x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out.push('"');
}

fn uuid(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out.push('"');
}

fn date(out: &mut String, days: i32) {
    let span = jiff::Span::new().try_days(days);
    match span.and_then(|span| Date::constant(1970, 1, 1).checked_add(span)) {
        Ok(date) => string(out, &date.to_string()),
        // Beyond the calendar (PostgreSQL's infinity): the number of days since 1970.
        Err(_) => display(out, days),
    }
}

fn time(out: &mut String, micros: i64) {
    let span = jiff::Span::new().try_microseconds(micros);
    match span.and_then(|span| Time::midnight().checked_add(span)) {
        Ok(time) => string(out, &time.to_string()),
        // 24:00:00 is a time in PostgreSQL.
        Err(_) => string(out, "24:00:00"),
    }
}

fn timestamp(out: &mut String, micros: i64, zoned: bool) {
    match Timestamp::from_microsecond(micros) {
        Ok(at) if zoned => string(out, &at.to_string()),
        Ok(at) => string(out, &at.to_zoned(jiff::tz::TimeZone::UTC).datetime().to_string()),
        // Beyond the calendar (PostgreSQL's infinity): microseconds since 1970.
        Err(_) => display(out, micros),
    }
}

/// As ISO 8601 writes durations, with the three counts as they are.
fn interval(out: &mut String, interval: <IntervalMonthDayNanoType as ArrowPrimitiveType>::Native) {
    let sign = if interval.nanoseconds < 0 { "-" } else { "" };
    let (whole, part) = {
        let nanos = interval.nanoseconds.unsigned_abs();
        (nanos / 1_000_000_000, nanos % 1_000_000_000)
    };
    let (months, days) = (interval.months, interval.days);
    let text = format!("P{months}M{days}DT{sign}{whole}.{:06}S", part / 1000);
    string(out, &text);
}

fn list(out: &mut String, item: &Field, items: &dyn Array) {
    out.push('[');
    for row in 0..items.len() {
        if row > 0 {
            out.push(',');
        }
        value(out, (item, items), row);
    }
    out.push(']');
}

/// An object, whose members are in the fields' order.
fn record(out: &mut String, fields: &Fields, (values, row): (&StructArray, usize)) {
    out.push('{');
    for (at, (field, column)) in fields.iter().zip(values.columns()).enumerate() {
        if at > 0 {
            out.push(',');
        }
        string(out, field.name());
        out.push(':');
        value(out, (field, column.as_ref()), row);
    }
    out.push('}');
}

/// The zeros and ones of a bit string.
fn bits(out: &mut String, packed: &[u8]) {
    let (padding, bytes) = packed.split_first().unwrap_or((&0, &[]));
    let all = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
    out.push('"');
    out.extend(all.skip(usize::from(*padding)).map(|bit| if bit == 1 { '1' } else { '0' }));
    out.push('"');
}

/// As PostgreSQL prints it, with seconds in the offset only where there are some.
fn timetz(out: &mut String, packed: &[u8]) {
    let packed = packed.try_into().map_or(0, i64::from_le_bytes);
    let (micros, east) = (packed >> 24, 57_599 - (packed & 0xFF_FFFF));
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let clock = |s: i64| format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    let mut text = clock(seconds);
    if micros > 0 {
        let _ = write!(text, ".{micros:06}");
        text.truncate(text.trim_end_matches('0').len());
    }
    text.push(if east < 0 { '-' } else { '+' });
    let offset = clock(east.abs());
    text.push_str(offset.trim_end_matches(":00"));
    string(out, &text);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BinaryArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float64Array,
        Int64Array, StringArray, TimestampMicrosecondArray,
    };

    use super::*;

    fn shown(field: &Field, array: &ArrayRef) -> String {
        let mut out = String::new();
        value(&mut out, (field, array.as_ref()), 0);
        assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
        out
    }

    fn plain(array: &ArrayRef) -> String {
        shown(&Field::new("c", array.data_type().clone(), true), array)
    }

    fn array(array: impl Array + 'static) -> ArrayRef {
        Arc::new(array)
    }

    #[test]
    fn values_stay_exact() {
        assert_eq!(plain(&array(Int64Array::from(vec![i64::MIN]))), i64::MIN.to_string());
        let decimal = Decimal128Array::from(vec![-150]).with_precision_and_scale(38, 2).unwrap();
        assert_eq!(plain(&array(decimal)), "\"-1.50\"");
        assert_eq!(plain(&array(Float64Array::from(vec![f64::NAN]))), "\"NaN\"");
        assert_eq!(plain(&array(BinaryArray::from(vec![&b"\x00\xff"[..]]))), r#""\\x00ff""#);
        assert_eq!(plain(&array(StringArray::from(vec!["a\"\n"]))), r#""a\"\n""#);
        assert_eq!(plain(&array(StringArray::from(vec![None::<&str>]))), "null");
    }

    #[test]
    fn instants_read_as_usual_and_infinity_is_a_number() {
        let zoned = |at| TimestampMicrosecondArray::from(vec![at]).with_timezone("UTC");
        assert_eq!(plain(&array(zoned(1_500_000))), "\"1970-01-01T00:00:01.5Z\"");
        assert_eq!(plain(&array(zoned(i64::MAX))), i64::MAX.to_string());
        assert_eq!(plain(&array(Date32Array::from(vec![-1]))), "\"1969-12-31\"");
        assert_eq!(plain(&array(Date32Array::from(vec![i32::MAX]))), i32::MAX.to_string());
        let local = TimestampMicrosecondArray::from(vec![0]);
        assert_eq!(plain(&array(local)), "\"1970-01-01T00:00:00\"");
    }

    #[test]
    fn extension_types_have_their_own_form() {
        let bytes = [0x11_u8; 16];
        let uuids = FixedSizeBinaryArray::try_from_iter([bytes].iter()).unwrap();
        let text = "\"11111111-1111-1111-1111-111111111111\"";
        assert_eq!(shown(&ext::uuid("c"), &array(uuids)), text);
        let number = "{\"n\": 12345678901234567890.123}";
        let document: ArrayRef = Arc::new(StringArray::from(vec![number]));
        assert_eq!(shown(&ext::json("c"), &document), number);
        let lines: ArrayRef = Arc::new(StringArray::from(vec!["{\n\"a\":\n1}"]));
        assert_eq!(shown(&ext::json("c"), &lines), "{\"a\":1}");
    }
}
