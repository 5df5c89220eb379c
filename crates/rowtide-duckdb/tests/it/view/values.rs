//! What is loaded is what a view shows, value by value: generated rows of every type.

use std::sync::Arc;

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_array::types::IntervalMonthDayNano;
use arrow_array::*;
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use proptest::prelude::*;
use rowtide_core::canonical::{Digest, Encoder};
use rowtide_core::view::RowsOf;
use rowtide_core::{TablePlan, ext};

use super::{all_rows, loaded, view};
use crate::support::{place, plan, schema};

const DAY: i64 = 86_400_000_000;

/// A sequence of numbers that looks random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    fn between(&mut self, first: i64, last: i64) -> i64 {
        let span = last.wrapping_sub(first).cast_unsigned();
        let step = if span == u64::MAX { self.roll() } else { self.below(span + 1) };
        match self.below(8) {
            0 => first,
            1 => last,
            _ => first.wrapping_add(step.cast_signed()),
        }
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }

    /// `count` values, some of them NULL.
    fn values<T>(&mut self, count: usize, value: impl Fn(&mut Self) -> T) -> Vec<Option<T>> {
        (0..count).map(|_| (self.below(5) > 0).then(|| value(self))).collect()
    }

    fn text(&mut self) -> String {
        let pieces = ["", "a", "ü", "🦆", " ", "\0", "\"", "NULL", "a longer piece of text", "{}"];
        (0..self.below(4)).map(|_| self.of(&pieces)).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(20)).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }

    fn bits(&mut self) -> Vec<u8> {
        let padding = self.below(8);
        let first = 0xFF_u64 << (8 - padding) & 0xFF | self.below(1 << (8 - padding));
        let mut bytes = vec![u8::try_from(padding).unwrap(), u8::try_from(first).unwrap()];
        bytes.extend(self.bytes());
        bytes
    }

    fn fixed(&mut self, count: usize, value: impl Fn(&mut Self) -> Vec<u8>, size: i32) -> ArrayRef {
        let mut builder = FixedSizeBinaryBuilder::new(size);
        for value in self.values(count, value) {
            match value {
                Some(value) => builder.append_value(value).unwrap(),
                None => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }

    fn valid(&mut self, count: usize) -> NullBuffer {
        (0..count).map(|_| self.below(5) > 0).collect::<Vec<_>>().into()
    }

    fn column(&mut self, field: &Field, count: usize) -> ArrayRef {
        if let Some(name) = ext::name_of(field) {
            return self.extended(name, count);
        }
        match field.data_type() {
            DataType::Boolean => {
                Arc::new(BooleanArray::from(self.values(count, |dice| dice.below(2) == 0)))
            }
            DataType::Utf8 => Arc::new(StringArray::from_iter(self.values(count, Self::text))),
            DataType::Binary => Arc::new(BinaryArray::from_iter(self.values(count, Self::bytes))),
            DataType::List(item) => {
                let lengths: Vec<usize> =
                    (0..count).map(|_| usize::try_from(self.below(4)).unwrap()).collect();
                let items = self.column(item, lengths.iter().sum());
                let offsets = OffsetBuffer::from_lengths(lengths);
                let valid = self.valid(count);
                Arc::new(ListArray::new(Arc::clone(item), offsets, items, Some(valid)))
            }
            DataType::Struct(fields) => {
                let columns = fields.iter().map(|field| self.column(field, count)).collect();
                Arc::new(StructArray::new(fields.clone(), columns, Some(self.valid(count))))
            }
            kind if kind.is_temporal() => self.times(kind, count),
            kind => self.numbers(kind, count),
        }
    }

    fn extended(&mut self, name: &str, count: usize) -> ArrayRef {
        match name {
            ext::UUID => {
                let uuid = |dice: &mut Self| [dice.roll(), dice.roll()].map(u64::to_be_bytes);
                self.fixed(count, |dice| uuid(dice).concat(), 16)
            }
            ext::TIMETZ => {
                let packed = |dice: &mut Self| {
                    let (time, east) = (dice.between(0, DAY), dice.between(-57_599, 57_599));
                    (time << 24 | (57_599 - east)).to_le_bytes().to_vec()
                };
                self.fixed(count, packed, 8)
            }
            ext::BIT => Arc::new(BinaryArray::from_iter(self.values(count, Self::bits))),
            ext::JSON => {
                let documents = ["null", "{\"a\": [1, 1e400]}", "\"\"", "{\"a\":1,\"a\":2}", "[]"];
                Arc::new(StringArray::from(self.values(count, |dice| dice.of(&documents))))
            }
            other => panic!("no values of {other}"),
        }
    }

    fn numbers(&mut self, kind: &DataType, count: usize) -> ArrayRef {
        match kind {
            DataType::Int16 => Arc::new(Int16Array::from_iter(self.values(count, |dice| {
                i16::try_from(dice.between(i16::MIN.into(), i16::MAX.into())).unwrap()
            }))),
            DataType::Int32 => Arc::new(Int32Array::from_iter(
                self.values(count, |dice| small(dice.between(i32::MIN.into(), i32::MAX.into()))),
            )),
            DataType::Int64 => Arc::new(Int64Array::from_iter(
                self.values(count, |dice| dice.between(i64::MIN, i64::MAX)),
            )),
            DataType::UInt32 => {
                Arc::new(UInt32Array::from_iter(self.values(count, |dice| {
                    u32::try_from(dice.between(0, u32::MAX.into())).unwrap()
                })))
            }
            DataType::UInt64 => Arc::new(UInt64Array::from_iter(self.values(count, Self::roll))),
            DataType::Decimal128(precision, scale) => {
                let most = 10_i128.pow(u32::from(*precision)) - 1;
                let value = |dice: &mut Self| {
                    let wide = i128::from(dice.roll()) << 64 | i128::from(dice.roll());
                    dice.of(&[most, -most, 0, wide % most, wide % 1_000, wide % most])
                };
                let array = Decimal128Array::from_iter(self.values(count, value));
                Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
            }
            // One of 0 and -0 alone: DuckDB makes them one where it packs a column.
            DataType::Float32 => {
                let all = [-0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN, 1e-45, 0.1];
                Arc::new(Float32Array::from_iter(self.values(count, |dice| dice.of(&all))))
            }
            DataType::Float64 => {
                let all = [-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN, 5e-324, 0.1];
                Arc::new(Float64Array::from_iter(self.values(count, |dice| dice.of(&all))))
            }
            other => panic!("no values of {other}"),
        }
    }

    fn times(&mut self, kind: &DataType, count: usize) -> ArrayRef {
        match kind {
            DataType::Date32 => Arc::new(Date32Array::from_iter(self.values(count, |dice| {
                let day = small(dice.between(-2_440_588, 2_145_042_905));
                dice.of(&[i32::MAX, -i32::MAX, day, day, day])
            }))),
            DataType::Time64(_) => Arc::new(Time64MicrosecondArray::from_iter(
                self.values(count, |dice| dice.between(0, DAY)),
            )),
            DataType::Timestamp(_, zone) => {
                let value = |dice: &mut Self| {
                    let at = dice.between(-210_866_803_200_000_000, 9_223_371_244_799_999_999);
                    dice.of(&[i64::MAX, -i64::MAX, at, at, at])
                };
                let array = TimestampMicrosecondArray::from_iter(self.values(count, value));
                Arc::new(array.with_timezone_opt(zone.clone()))
            }
            DataType::Interval(_) => {
                let value = |dice: &mut Self| {
                    let mut part = || small(dice.between(i32::MIN.into(), i32::MAX.into()));
                    let (months, days) = (part(), part());
                    let most = i64::MAX / 1_000;
                    IntervalMonthDayNano::new(months, days, dice.between(-most, most) * 1_000)
                };
                Arc::new(IntervalMonthDayNanoArray::from_iter(self.values(count, value)))
            }
            other => panic!("no values of {other}"),
        }
    }
}

fn small(value: i64) -> i32 {
    i32::try_from(value).unwrap()
}

fn simple_types() -> Vec<Field> {
    let of = |data_type| Field::new("v", data_type, true);
    let micros = TimeUnit::Microsecond;
    let plain = [
        DataType::Boolean,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Decimal128(4, 2),
        DataType::Decimal128(9, 0),
        DataType::Decimal128(18, 3),
        DataType::Decimal128(38, 10),
        DataType::Float32,
        DataType::Float64,
        DataType::Utf8,
        DataType::Binary,
        DataType::Date32,
        DataType::Time64(micros),
        DataType::Timestamp(micros, None),
        DataType::Timestamp(micros, Some("UTC".into())),
        DataType::Interval(IntervalUnit::MonthDayNano),
    ];
    let mut all: Vec<Field> = plain.into_iter().map(of).collect();
    all.extend([ext::uuid("v"), ext::json("v"), ext::bit("v"), ext::timetz("v")]);
    all
}

/// A table with a column of every type, of lists of every type, and of all in one struct, which
/// stands in a list too.
fn everything() -> TablePlan {
    let simple = simple_types();
    let list = |item: &Field| DataType::List(Arc::new(item.clone().with_name("item")));
    let mut fields = vec![Field::new("id", DataType::Int64, true)];
    for field in &simple {
        fields.push(field.clone().with_name(format!("v{}", fields.len())));
        fields.push(Field::new(format!("l{}", fields.len()), list(field), true));
    }
    let named = |(at, field): (usize, &Field)| field.clone().with_name(format!("Part {at}"));
    let parts: Vec<Field> = simple.iter().enumerate().map(named).collect();
    let parts = Field::new("parts", DataType::Struct(parts.into()), true);
    fields.push(Field::new("all parts", list(&parts), true));
    fields.push(parts);
    plan(schema((3, "everything"), 1, fields, vec![0]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn a_view_shows_what_was_loaded(seed: u64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let (place, plan) = (place(), everything());
            let mut dice = Dice(seed);
            let count = 1 + usize::try_from(dice.below(3_000)).unwrap();
            let fields = plan.source.arrow();
            let mut columns: Vec<ArrayRef> =
                vec![Arc::new(Int64Array::from_iter_values(0..i64::try_from(count).unwrap()))];
            columns.extend(fields.fields()[1..].iter().map(|field| dice.column(field, count)));
            let rows = RecordBatch::try_new(plan.source.arrow(), columns).unwrap();
            loaded(&place, &plan, vec![rows.clone()]).await;

            let mut view = view(&place, &plan).await;
            view.begin(RowsOf::All).await.unwrap();
            let shown = all_rows(&mut view, &plan).await;
            for (at, field) in fields.fields().iter().enumerate() {
                // Arrow compares floats by their bits.
                assert_eq!(shown.column(at), rows.column(at), "{field:?}");
            }
            let mut expected = Digest::empty(6);
            Encoder::new(&plan.source).unwrap().sum_up(&rows, &mut expected).unwrap();
            assert_eq!(view.digest(6).await.unwrap(), Some(expected));
            assert_eq!(view.count().await.unwrap(), count as u64);
        });
    }
}
