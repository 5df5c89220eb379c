//! `numeric`: from base-10000 groups or from digits, to a scaled 128-bit integer or to the exact
//! text the server prints.

use super::{Decoded, ValueError};
use crate::protocol::Cursor;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

const NOT_FINITE: ValueError =
    ValueError::Unrepresentable("NaN and infinity do not fit a decimal type");
const TOO_LARGE: ValueError =
    ValueError::Unrepresentable("it has more digits than the decimal type holds");
const TOO_FINE: ValueError =
    ValueError::Unrepresentable("it has more digits after the point than the decimal type holds");
const BAD: ValueError = ValueError::Malformed("it is not a number");

/// A decimal type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) precision: u8,
    pub(super) scale: i8,
}

impl Decimal {
    fn checked(self, value: i128) -> Decoded<i128> {
        match pow10(i32::from(self.precision)) {
            Some(limit) if value.unsigned_abs() >= limit.unsigned_abs() => Err(TOO_LARGE),
            _ => Ok(value),
        }
    }

    /// The binary form, as an integer of this scale.
    #[inline]
    pub(super) fn read_binary(self, bytes: &[u8]) -> Decoded<i128> {
        let header = Header::read(bytes)?;
        if !header.is_finite() {
            return Err(NOT_FINITE);
        }
        let mut value = 0_i128;
        let mut left = 0;
        // The power of ten, in units of the scale, that the current group counts.
        let mut power = header.weight * 4 + i32::from(self.scale);
        for group in header.groups {
            let digits = i128::from(group_value(*group)?);
            if power >= 0 {
                value = value
                    .checked_mul(10_000)
                    .and_then(|v| v.checked_add(digits))
                    .ok_or(TOO_LARGE)?;
                left = power;
            } else {
                value = add_partial(value, digits, power, &mut left)?;
            }
            power -= 4;
        }
        if value != 0 && left > 0 {
            let factor = pow10(left).ok_or(TOO_LARGE)?;
            value = value.checked_mul(factor).ok_or(TOO_LARGE)?;
        }
        self.checked(if header.sign == NEGATIVE { -value } else { value })
    }

    /// The text form, as an integer of this scale.
    pub(super) fn read_text(self, text: &[u8]) -> Decoded<i128> {
        let (negative, digits) = match text.split_first() {
            Some((b'-', digits)) => (true, digits),
            _ => (false, text),
        };
        if matches!(digits.first(), Some(b'N' | b'I')) {
            return Err(NOT_FINITE);
        }
        let mut value = 0_i128;
        let mut fraction: Option<i8> = None;
        let mut any = false;
        for &byte in digits {
            let digit = match byte {
                b'0'..=b'9' => i128::from(byte - b'0'),
                b'.' if fraction.is_none() => {
                    fraction = Some(0);
                    continue;
                }
                _ => return Err(BAD),
            };
            any = true;
            match &mut fraction {
                Some(read) if *read == self.scale => {
                    if digit != 0 {
                        return Err(TOO_FINE);
                    }
                    continue;
                }
                Some(read) => *read += 1,
                None => {}
            }
            value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or(TOO_LARGE)?;
        }
        if !any {
            return Err(BAD);
        }
        let missing = i32::from(self.scale) - i32::from(fraction.unwrap_or(0));
        let factor = pow10(missing).ok_or(TOO_LARGE)?;
        value = value.checked_mul(factor).ok_or(TOO_LARGE)?;
        self.checked(if negative { -value } else { value })
    }
}

/// Adds a group that lies partly or wholly below the scale.
fn add_partial(value: i128, digits: i128, power: i32, left: &mut i32) -> Decoded<i128> {
    let kept = (4 + power).max(0);
    let divisor = pow10(4 - kept).ok_or(BAD)?;
    if digits % divisor != 0 {
        return Err(TOO_FINE);
    }
    if kept == 0 {
        // Nothing of this group counts; what came before may still lie above the scale.
        return Ok(value);
    }
    *left = 0;
    let factor = pow10(kept).ok_or(BAD)?;
    value.checked_mul(factor).and_then(|v| v.checked_add(digits / divisor)).ok_or(TOO_LARGE)
}

fn pow10(exponent: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

#[inline]
fn group_value(group: [u8; 2]) -> Decoded<u16> {
    match u16::from_be_bytes(group) {
        value @ 0..=9999 => Ok(value),
        _ => Err(BAD),
    }
}

struct Header<'a> {
    weight: i32,
    sign: u16,
    scale: usize,
    groups: &'a [[u8; 2]],
}

impl<'a> Header<'a> {
    #[inline]
    fn read(bytes: &'a [u8]) -> Decoded<Self> {
        let mut cursor = Cursor::new(bytes);
        let count = usize::from(cursor.u16()?);
        let weight = i32::from(cursor.i16()?);
        let sign = cursor.u16()?;
        let scale = usize::from(cursor.u16()? & 0x3FFF);
        let (groups, odd) = cursor.rest().as_chunks::<2>();
        if groups.len() != count || !odd.is_empty() {
            return Err(ValueError::Malformed("it has another length"));
        }
        Ok(Self { weight, sign, scale, groups })
    }

    fn is_finite(&self) -> bool {
        matches!(self.sign, 0 | NEGATIVE)
    }

    /// The group that counts 10000^`weight`; zero where none was sent.
    fn group(&self, weight: i32) -> Decoded<u16> {
        let at = usize::try_from(self.weight - weight).ok();
        at.and_then(|at| self.groups.get(at)).map_or(Ok(0), |group| group_value(*group))
    }
}

/// Writes the binary form as the server prints it.
pub(super) fn print(bytes: &[u8], out: &mut String) -> Decoded<()> {
    let header = Header::read(bytes)?;
    match header.sign {
        0 => {}
        NEGATIVE => out.push('-'),
        NAN => {
            out.push_str("NaN");
            return Ok(());
        }
        INFINITY => {
            out.push_str("Infinity");
            return Ok(());
        }
        NEGATIVE_INFINITY => {
            out.push_str("-Infinity");
            return Ok(());
        }
        _ => return Err(BAD),
    }
    if header.weight < 0 {
        out.push('0');
    }
    for weight in (0..=header.weight).rev() {
        let digits = group_digits(header.group(weight)?);
        let skip = if weight == header.weight { leading_zeros(&digits) } else { 0 };
        out.extend(digits.iter().skip(skip).map(|digit| char::from(*digit)));
    }
    if header.scale > 0 {
        out.push('.');
        let mut weight = -1;
        let mut missing = header.scale;
        while missing > 0 {
            let digits = group_digits(header.group(weight)?);
            out.extend(digits.iter().take(missing).map(|digit| char::from(*digit)));
            missing = missing.saturating_sub(4);
            weight -= 1;
        }
    }
    Ok(())
}

fn leading_zeros(digits: &[u8; 4]) -> usize {
    digits.iter().take(3).take_while(|digit| **digit == b'0').count()
}

fn group_digits(group: u16) -> [u8; 4] {
    let mut digits = [b'0'; 4];
    let mut rest = group;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The binary form of a decimal text, as the server's `numeric_send` makes it.
    pub(crate) fn encode(text: &str) -> Vec<u8> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (NEGATIVE, rest),
            None => (0, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole_groups = whole.len().div_ceil(4);
        let mut padded = format!("{whole:0>width$}", width = whole_groups * 4);
        padded.push_str(fraction);
        while padded.len() % 4 != 0 {
            padded.push('0');
        }
        let mut groups: Vec<u16> = padded.as_bytes().chunks(4).map(number).collect();
        let mut weight = i16::try_from(whole_groups).unwrap() - 1;
        while groups.first() == Some(&0) {
            groups.remove(0);
            weight -= 1;
        }
        while groups.last() == Some(&0) {
            groups.pop();
        }
        if groups.is_empty() {
            weight = 0;
        }
        let sign = if groups.is_empty() { 0 } else { sign };
        let mut out = Vec::new();
        out.extend(u16::try_from(groups.len()).unwrap().to_be_bytes());
        out.extend(weight.to_be_bytes());
        out.extend(sign.to_be_bytes());
        out.extend(u16::try_from(fraction.len()).unwrap().to_be_bytes());
        out.extend(groups.iter().flat_map(|g| g.to_be_bytes()));
        out
    }

    fn number(group: &[u8]) -> u16 {
        std::str::from_utf8(group).unwrap().parse().unwrap()
    }

    fn printed(text: &str) -> String {
        let mut out = String::new();
        print(&encode(text), &mut out).unwrap();
        out
    }

    proptest! {
        #[test]
        fn text_and_binary_agree(
            value in -10_i128.pow(36)..10_i128.pow(36), scale in 0_usize..20, trim in 0_u32..20
        ) {
            let value = value / 10_i128.pow(trim) ;
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let point = if scale > 0 { "." } else { "" };
            let sign = if value < 0 { "-" } else { "" };
            let text = format!("{sign}{whole}{point}{fraction}");
            prop_assert_eq!(&printed(&text), &text);
            for extra in [0_u8, 1, 3] {
                let scale = i8::try_from(scale).unwrap() + i8::try_from(extra).unwrap();
                let decimal = Decimal { precision: 38, scale };
                let expected = value.checked_mul(10_i128.pow(u32::from(extra)))
                    .filter(|v| v.unsigned_abs() < 10_u128.pow(38)).ok_or(TOO_LARGE);
                prop_assert_eq!(decimal.read_text(text.as_bytes()), expected);
                prop_assert_eq!(decimal.read_binary(&encode(&text)), expected);
            }
            let coarse = Decimal { precision: 38, scale: 2 };
            prop_assert_eq!(
                coarse.read_text(text.as_bytes()).ok(), coarse.read_binary(&encode(&text)).ok());
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(0_u8.., 0..40)) {
            let decimal = Decimal { precision: 20, scale: 5 };
            let _ = decimal.read_binary(&bytes);
            let _ = decimal.read_text(&bytes);
            let mut header = vec![0, u8::try_from(bytes.len() / 2).unwrap(), 0, 3, 0, 0, 0, 5];
            header.extend(&bytes);
            let _ = decimal.read_binary(&header);
            let mut out = String::new();
            let _ = print(&header, &mut out);
        }
    }

    #[test]
    fn values_that_do_not_fit_are_refused_not_rounded() {
        let decimal = Decimal { precision: 5, scale: 2 };
        assert_eq!(decimal.read_text(b"999.99"), Ok(99_999));
        assert_eq!(decimal.read_text(b"1000.00"), Err(TOO_LARGE));
        assert_eq!(decimal.read_text(b"1.234"), Err(TOO_FINE));
        assert_eq!(decimal.read_text(b"1.230"), Ok(123));
        assert_eq!(decimal.read_text(b"NaN"), Err(NOT_FINITE));
        assert_eq!(decimal.read_text(b"-Infinity"), Err(NOT_FINITE));
        assert_eq!(decimal.read_text(b""), Err(BAD));
        assert_eq!(decimal.read_binary(&encode("1.234")), Err(TOO_FINE));
        assert_eq!(decimal.read_binary(&encode("1000")), Err(TOO_LARGE));
        assert_eq!(decimal.read_binary(&[0, 0, 0, 0, 0xC0, 0, 0, 0]), Err(NOT_FINITE));
    }

    #[test]
    fn very_large_and_very_small_numbers_print_exactly() {
        for text in
            ["0", "0.00", "0.000000001", "10000", "100000000.0", "-1", "12345678901234567890"]
        {
            assert_eq!(printed(text), text);
        }
    }
}
