//! What is a range, and what is none.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};

use super::*;
use crate::{Column, ErrorKind, Identity, TableName, ext};

fn table(columns: &[(Field, &str)]) -> TableSchema {
    let column = |(number, (field, native)): (i32, &(Field, &str))| Column {
        field: Arc::new(field.clone()),
        native_type: (*native).to_owned(),
        number,
    };
    let columns: Vec<Column> = (1..).zip(columns).map(column).collect();
    let key = (0..columns.len()).collect();
    TableSchema::new((1, TableName::new("public", "t")), 1, columns, key, Identity::Key)
}

fn of(name: &str, data_type: DataType, native: &'static str) -> (Field, &'static str) {
    (Field::new(name, data_type, false), native)
}

fn condition(text: &str, table: &TableSchema) -> Result<String> {
    let range = text.parse::<RangeText>()?.of(table)?;
    let literal = |_: usize, value: &str| format!("'{}'", value.replace('\'', "''"));
    Ok(range.condition(|at| format!("k{at}"), literal))
}

#[test]
fn ranges_are_what_is_written() {
    let one = table(&[of("a", DataType::Int64, "bigint")]);
    let two = table(&[of("a", DataType::Int32, "integer"), of("b", DataType::Utf8, "text")]);
    for (table, text, expected) in [
        (&one, "1..10", "(k0 >= '1') AND (k0 < '10')"),
        (&one, " -5 ..= +7 ", "(k0 >= '-5') AND (k0 <= '7')"),
        (&one, "100..", "(k0 >= '100')"),
        (&one, "..(100)", "(k0 < '100')"),
        (&two, "1..2", "(k0 >= '1') AND (k0 < '2')"),
        (
            &two,
            "row(1,'it''s, a..b (c)')..",
            "(k0 >= '1' AND (k0 > '1' OR (k0 = '1' AND k1 >= 'it''s, a..b (c)')))",
        ),
        (&two, "..=3, x y", "(k0 <= '3' AND (k0 < '3' OR (k0 = '3' AND k1 <= 'x y')))"),
        (&two, "1,''..", "(k0 >= '1' AND (k0 > '1' OR (k0 = '1' AND k1 >= '')))"),
    ] {
        assert_eq!(condition(text, table).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_is_no_range_is_refused() {
    let two = table(&[of("a", DataType::Int32, "integer"), of("b", DataType::Utf8, "text")]);
    for text in [
        "",
        "..",
        "..=",
        "1",
        "1.2",
        "1,2,3..",
        "x..",
        "2147483648..",
        "1,..",
        "(1..2",
        "'1..2",
        "1;DROP TABLE t..",
        "1 OR true..",
        "1..2)",
        "1,'a'b..",
        "1,a'b..",
        "1.5..2",
        "1,a\0..",
        "(1,2)(3)..",
    ] {
        let error = condition(text, &two).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Config, "{text}: {error}");
        assert!(error.hint().is_some(), "{text}: {error}");
    }
    let keyless = TableSchema { key: Vec::new(), identity: Identity::FullRow, ..two };
    let error = condition("1..", &keyless).unwrap_err();
    assert!(error.to_string().contains("has no key"), "{error}");
}

#[test]
fn values_are_read_by_their_type() {
    let timestamp =
        |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Arc::from));
    let zoned = of("a", timestamp(Some("UTC")), "timestamp with time zone");
    for (column, good, bad) in [
        (of("a", DataType::Boolean, "boolean"), "true", "yes"),
        (of("a", DataType::Int16, "smallint"), "-32768", "32768"),
        (of("a", DataType::Decimal128(4, 2), "numeric(4,2)"), "-99.99", "1.005"),
        (of("a", DataType::Decimal128(4, 2), "numeric(4,2)"), ".5", "100"),
        (of("a", DataType::Utf8, "text"), "é", "\0"),
        (of("a", DataType::Binary, "bytea"), "\\xDEAD", "\\xabc"),
        ((ext::uuid("a"), "uuid"), "12345678-1234-1234-1234-123456789ABC", "1234-5678"),
        (of("a", DataType::Date32, "date"), "2024-02-29", "2023-02-29"),
        (of("a", DataType::Time64(TimeUnit::Microsecond), "time"), "23:59:59.999999", "24:00"),
        (of("a", timestamp(None), "timestamp"), "2024-01-01T00:00:00", "2024-01-01 00:00+01"),
        (zoned.clone(), "2024-01-01 00:00:00.5-03:30", "2024-01-01 00:00:00"),
        (zoned, "2024-01-01 10:00Z", "2024-01-01 25:00Z"),
    ] {
        let table = table(&[column]);
        let quoted = |text: &str| format!("'{}'..", text.replace('\'', "''"));
        assert!(condition(&quoted(good), &table).is_ok(), "{good}");
        assert!(condition(&quoted(bad), &table).is_err(), "{bad}");
    }
}

#[test]
fn keys_in_another_order_elsewhere_have_no_ranges() {
    for column in [
        of("a", DataType::Utf8, "numeric"),
        of("a", DataType::Utf8, "character(5)"),
        of("a", DataType::Utf8, "public.citext"),
        of("a", DataType::Float64, "double precision"),
        (ext::json("a"), "jsonb"),
    ] {
        let error = condition("1..", &table(&[column])).unwrap_err();
        assert!(error.to_string().contains("same order"), "{error}");
    }
}
