//! `numeric`: bytes to groups, to the server's text, and back.

use arrow_array::cast::AsArray;

use super::Input;
use super::values::agreed;
use crate::options::Unrepresentable;
use crate::types::Kind;
use crate::value::ColumnBuilder;

/// A number as the server sends it: its text leads back to its bytes, and every decimal type
/// reads the same out of both, or refuses both.
pub fn numeric(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (precision, scale) = (input.u8() % 38 + 1, input.u8());
    let negative = input.u8() & 1 != 0;
    let weight = i32::from(input.u8()) - 128;
    let digits = usize::from(input.u8());
    let groups: Vec<u16> =
        input.0.chunks(2).map(|pair| Input(pair).u16() % 10_000).take(120).collect();
    let binary = canonical(groups, (weight, negative, digits));
    let text = text(&binary);
    assert_eq!(sent(&text), binary, "{text}");
    let scale = i8::try_from(scale % (precision + 1)).unwrap_or(0);
    for (precision, scale) in [(precision, scale), (38, 0), (38, scale), (38, 38)] {
        let kind = Kind::Decimal { precision, scale };
        let _ = agreed(&kind, &binary, text.as_bytes());
    }
    assert!(agreed(&Kind::NumericText, &binary, text.as_bytes()).is_some());
}

/// The text that is made of the binary form.
fn text(binary: &[u8]) -> String {
    let mut builder = ColumnBuilder::new(&Kind::NumericText, Unrepresentable::Fail);
    assert_eq!(builder.append_binary(binary), Ok(()));
    builder.finish().as_string::<i32>().value(0).to_owned()
}

/// The binary form without zero groups at either end, and with a scale that shows every digit:
/// the server stores no other.
fn canonical(mut groups: Vec<u16>, number: (i32, bool, usize)) -> Vec<u8> {
    let (mut weight, mut negative, mut scale) = number;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    match groups.last() {
        None => (weight, negative) = (0, false),
        Some(last) => {
            let zeros = (1..4).take_while(|power| last % 10_u16.pow(*power) == 0).count();
            let after = i32::try_from(groups.len()).unwrap_or(0) - 1 - weight;
            let needed = usize::try_from(after * 4).unwrap_or(0).saturating_sub(zeros);
            scale = scale.max(needed);
        }
    }
    assembled(&groups, (weight, negative, scale))
}

fn assembled(groups: &[u16], (weight, negative, scale): (i32, bool, usize)) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(u16::try_from(groups.len()).unwrap_or(0).to_be_bytes());
    out.extend(i16::try_from(weight).unwrap_or(0).to_be_bytes());
    out.extend(if negative { 0x4000_u16 } else { 0 }.to_be_bytes());
    out.extend(u16::try_from(scale).unwrap_or(0).to_be_bytes());
    out.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    out
}

/// The binary form of a decimal text, as the server's `numeric_send` makes it.
fn sent(text: &str) -> Vec<u8> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let before = whole.len().div_ceil(4);
    let mut padded = format!("{whole:0>width$}{fraction}", width = before * 4);
    while padded.len() % 4 != 0 {
        padded.push('0');
    }
    let group = |four: &[u8]| four.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    let groups: Vec<u16> = padded.as_bytes().chunks(4).map(group).collect();
    let weight = i32::try_from(before).unwrap_or(0) - 1;
    canonical(groups, (weight, negative, fraction.len()))
}
