//! Values of every kind, in both forms.

use arrow_array::{Array, ArrayRef};

use super::Input;
use crate::options::Unrepresentable;
use crate::types::{Attribute, Kind};
use crate::value::{ColumnBuilder, ValueError};

const KINDS: [Kind; 21] = [
    Kind::Bool,
    Kind::Int16,
    Kind::Int32,
    Kind::Int64,
    Kind::Float32,
    Kind::Float64,
    Kind::Decimal { precision: 12, scale: 3 },
    Kind::Decimal { precision: 38, scale: 38 },
    Kind::NumericText,
    Kind::Text,
    Kind::Jsonb,
    Kind::Bytes,
    Kind::Date,
    Kind::Time,
    Kind::TimestampTz,
    Kind::Uuid,
    Kind::TimeTz,
    Kind::Bit,
    Kind::BitText,
    Kind::Vector,
    Kind::UInt64,
];

/// The types of the attributes of a struct, in the binary form.
const OIDS: [u32; 3] = [23, 25, 16];

fn kind(code: u8) -> Kind {
    let kind = match KINDS.get(usize::from(code & 31)) {
        Some(kind) => kind.clone(),
        None => [Kind::Opaque, Kind::Json, Kind::Timestamp][usize::from(code) % 3].clone(),
    };
    let kind = match code & 64 {
        0 => kind,
        _ => Kind::Struct(attributes([Kind::Int32, kind, Kind::Text])),
    };
    if code & 32 != 0 && kind != Kind::Opaque { Kind::List(Box::new(kind)) } else { kind }
}

fn attributes(kinds: [Kind; 3]) -> Vec<Attribute> {
    let named = kinds.into_iter().zip(OIDS).zip(["a", "b", "c"]);
    named
        .map(|((kind, oid), name)| {
            let native = if kind == Kind::Int32 { "integer" } else { "text" };
            Attribute { name: name.into(), oid, native: native.into(), kind }
        })
        .collect()
}

/// A kind, a policy, then any bytes as values of both forms: a value that is refused leaves
/// nothing behind, and what is accepted is a valid array.
pub fn value(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (code, flags) = (input.u8(), input.u8());
    let kind = kind(code);
    let policy = if flags & 1 == 0 { Unrepresentable::Fail } else { Unrepresentable::Null };
    let mut builder = ColumnBuilder::new(&kind, policy);
    let mut count = 0;
    while let Some(head) = input.byte() {
        let len = if head >> 2 == 63 { input.0.len() } else { usize::from(head >> 2) };
        let value = input.take(len);
        let appended = match head & 3 {
            0 => {
                builder.append_null();
                Ok(())
            }
            1 | 3 => builder.append_text(value),
            _ => builder.append_binary(value),
        };
        match appended {
            Ok(()) => count += 1,
            Err(ValueError::Unrepresentable(why)) => {
                assert_eq!(policy, Unrepresentable::Fail, "{why}");
            }
            Err(ValueError::Malformed(_) | ValueError::Changed(_)) => {}
        }
        assert_eq!(builder.len(), count);
        if appended.is_err() && matches!(kind, Kind::List(_) | Kind::Struct(_)) {
            if flags & 2 == 0 {
                break; // A part of it is in; what came before is taken.
            }
            builder.append_null_instead();
            count += 1;
            assert_eq!(builder.len(), count);
        }
    }
    let _ = builder.take_growth();
    finished(&mut builder, &kind, count);
}

fn finished(builder: &mut ColumnBuilder, kind: &Kind, count: usize) -> ArrayRef {
    let array = builder.finish();
    assert_eq!(array.len(), count);
    assert_eq!(*array.data_type(), kind.data_type());
    let valid = array.to_data().validate_full();
    assert!(valid.is_ok(), "{valid:?}");
    array
}

/// The array of one value out of both of its forms; `None` if it is unrepresentable in both.
pub(super) fn agreed(kind: &Kind, binary: &[u8], text: &[u8]) -> Option<ArrayRef> {
    let builder = || ColumnBuilder::new(kind, Unrepresentable::Fail);
    let (mut left, mut right) = (builder(), builder());
    let outcomes = (left.append_binary(binary), right.append_text(text));
    let shown = String::from_utf8_lossy(text);
    match outcomes {
        (Ok(()), Ok(())) => {
            let (left, right) = (finished(&mut left, kind, 1), finished(&mut right, kind, 1));
            assert_eq!(&left, &right, "{kind:?} {shown}");
            Some(left)
        }
        (Err(ValueError::Unrepresentable(_)), Err(ValueError::Unrepresentable(_))) => None,
        _ => unreachable!("binary and text differ for {kind:?} {shown}: {outcomes:?}"),
    }
}

/// A value of a fixed or simple type: both of its forms are the same, and there is one array.
pub fn scalar(bytes: &[u8]) {
    let mut input = Input(bytes);
    let code = input.u8();
    let number = input.u64().to_be_bytes();
    let (&first2, &first4) = match (number.first_chunk::<2>(), number.first_chunk::<4>()) {
        (Some(two), Some(four)) => (two, four),
        _ => return,
    };
    let (kind, binary, text) = match code % 10 {
        0 => {
            let set = first2[0] & 1;
            (Kind::Bool, vec![set], ["f", "t"][usize::from(set)].to_owned())
        }
        1 => (Kind::Int16, first2.to_vec(), i16::from_be_bytes(first2).to_string()),
        2 => (Kind::Int32, first4.to_vec(), i32::from_be_bytes(first4).to_string()),
        3 => (Kind::Int64, number.to_vec(), i64::from_be_bytes(number).to_string()),
        4 => (Kind::Float32, first4.to_vec(), printed(f32::from_be_bytes(first4), code)),
        5 => (Kind::Float64, number.to_vec(), printed(f64::from_be_bytes(number), code)),
        6 => (Kind::Bytes, input.0.to_vec(), format!("\\x{}", hex(input.0))),
        7 => {
            let mut uuid = number.to_vec();
            uuid.extend(input.u64().to_be_bytes());
            let mut text = hex(&uuid);
            for at in [20, 16, 12, 8] {
                text.insert(at, '-');
            }
            (Kind::Uuid, uuid, text)
        }
        8 => {
            let text = String::from_utf8_lossy(input.0).into_owned();
            (Kind::Jsonb, [&[1], text.as_bytes()].concat(), text)
        }
        _ => {
            let text = String::from_utf8_lossy(input.0).into_owned();
            (Kind::Text, text.clone().into_bytes(), text)
        }
    };
    assert!(agreed(&kind, &binary, text.as_bytes()).is_some());
}

/// A float as the server may print it: the shortest digits, with an exponent or without.
fn printed<F: std::fmt::Display + std::fmt::LowerExp>(value: F, code: u8) -> String {
    let plain = value.to_string();
    match plain.as_str() {
        "inf" => "Infinity".into(),
        "-inf" => "-Infinity".into(),
        "NaN" => plain,
        _ if code & 128 == 0 => plain,
        _ => format!("{value:e}").replace('e', "e+").replace("e+-", "e-"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An array of one dimension: both forms end in the same list, of as many items.
pub fn list(bytes: &[u8]) {
    let mut input = Input(bytes);
    let code = input.u8();
    let mut items: Vec<Option<(Vec<u8>, String)>> = Vec::new();
    while let Some(head) = input.byte() {
        items.push((head != 255).then(|| item(code, input.take(usize::from(head & 15)))));
    }
    let kind = match code % 4 {
        0 => Kind::Int32,
        1 => Kind::Bytes,
        2 => Kind::Jsonb,
        _ => Kind::Text,
    };
    let list = Kind::List(Box::new(kind));
    let dimensions = u32::from(!items.is_empty());
    let mut binary = [dimensions.to_be_bytes(), [0; 4], [0; 4]].concat();
    if dimensions > 0 {
        binary.extend(u32::try_from(items.len()).unwrap_or(0).to_be_bytes());
        binary.extend(1_u32.to_be_bytes());
    }
    let mut texts = Vec::new();
    for item in &items {
        match item {
            None => {
                binary.extend((-1_i32).to_be_bytes());
                texts.push("NULL".to_owned());
            }
            Some((bytes, text)) => {
                binary.extend(u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
                binary.extend(bytes);
                texts.push(quoted(text));
            }
        }
    }
    let text = format!("{{{}}}", texts.join(","));
    let array = agreed(&list, &binary, text.as_bytes());
    let data = array.map(|array| array.to_data());
    assert!(data.is_some_and(|data| data.child_data().iter().all(|c| c.len() == items.len())));
}

fn item(code: u8, bytes: &[u8]) -> (Vec<u8>, String) {
    match code % 4 {
        0 => {
            let number = bytes.iter().fold(0_i32, |n, byte| n.wrapping_mul(251) ^ i32::from(*byte));
            (number.to_be_bytes().to_vec(), number.to_string())
        }
        1 => (bytes.to_vec(), format!("\\x{}", hex(bytes))),
        form => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let version: &[u8] = if form == 2 { &[1] } else { &[] };
            ([version, text.as_bytes()].concat(), text)
        }
    }
}

/// An item as the server's `array_out` prints it.
fn quoted(text: &str) -> String {
    let special = |c: char| matches!(c, '"' | '\\' | '{' | '}' | ',') || c.is_ascii_whitespace();
    if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    text.to_owned()
}
