//! `numeric` in its binary form: a sign, a weight, a scale for display, and groups of four
//! decimal digits without leading or trailing zero groups.

use bytes::{BufMut, BytesMut};

use super::{Encoded, Refusal};

const POSITIVE: u16 = 0;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;
/// What fits the field of the display scale.
const MAX_SCALE: usize = 0x3FFF;
/// Two bytes each: count of groups, weight, sign, scale.
const HEADER: usize = 8;

const BAD: Refusal = Refusal("it is not a number");
const TOO_LONG: Refusal = Refusal("it has more digits than a numeric holds");

/// Appends the number that `text` prints, as the server prints numbers: without an exponent.
pub(super) fn from_text(text: &str, out: &mut BytesMut) -> Encoded<()> {
    let (sign, digits) = match text.as_bytes() {
        b"NaN" => return special(NAN, out),
        b"Infinity" => return special(INFINITY, out),
        b"-Infinity" => return special(NEGATIVE_INFINITY, out),
        [b'-', digits @ ..] => (NEGATIVE, digits),
        digits => (POSITIVE, digits),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(BAD);
    }
    let zeros = whole.iter().take_while(|digit| **digit == b'0').count();
    let whole = &whole[zeros..];
    let mut groups = Groups::begin(out, whole.len().div_ceil(4), fraction.len())?;
    let (first, rest) = whole.split_at(whole.len() % 4);
    if !first.is_empty() {
        groups.push(group(first)?);
    }
    for four in rest.chunks(4) {
        groups.push(group(four)?);
    }
    for four in fraction.chunks(4) {
        let missing = [1, 10, 100, 1000][4 - four.len()];
        groups.push(group(four)? * missing);
    }
    groups.end(sign)
}

/// Appends a number of `scale` digits after the point.
pub(super) fn from_decimal(value: i128, scale: i8, out: &mut BytesMut) -> Encoded<()> {
    let sign = if value < 0 { NEGATIVE } else { POSITIVE };
    let mut rest = value.unsigned_abs();
    let (fraction, zeros) = match usize::try_from(scale) {
        Ok(fraction) => (fraction, 0),
        Err(_) => (0, u32::from(scale.unsigned_abs())),
    };
    rest = 10_u128.checked_pow(zeros).and_then(|power| rest.checked_mul(power)).ok_or(TOO_LONG)?;
    // From the last group to the first: at most 39 digits, and a group that the scale cuts.
    let mut reversed = [0_u16; 12];
    let mut count = 0;
    let cut = fraction % 4;
    if cut > 0 {
        let power = [1, 10, 100, 1000][cut];
        reversed[0] = small(rest % power) * [1, 1000, 100, 10][cut];
        rest /= power;
        count = 1;
    }
    while rest > 0 || count < fraction.div_ceil(4) {
        let (next, digits) = match u64::try_from(rest) {
            Ok(rest) => (u128::from(rest / 10_000), small(u128::from(rest % 10_000))),
            Err(_) => (rest / 10_000, small(rest % 10_000)),
        };
        rest = next;
        *reversed.get_mut(count).ok_or(TOO_LONG)? = digits;
        count += 1;
    }
    let mut groups = Groups::begin(out, count - fraction.div_ceil(4), fraction)?;
    for digits in reversed[..count].iter().rev() {
        groups.push(*digits);
    }
    groups.end(sign)
}

/// Four digits of a number.
fn small(digits: u128) -> u16 {
    u16::try_from(digits).unwrap_or(0)
}

/// The value of at most four digits.
#[inline]
fn group(digits: &[u8]) -> Encoded<u16> {
    digits.iter().try_fold(0_u16, |value, digit| match digit {
        b'0'..=b'9' => Ok(value * 10 + u16::from(digit - b'0')),
        _ => Err(BAD),
    })
}

fn special(sign: u16, out: &mut BytesMut) -> Encoded<()> {
    out.put_u32(0);
    out.put_u16(sign);
    out.put_u16(0);
    Ok(())
}

/// Groups being written behind a header that is filled in at the end.
struct Groups<'a> {
    out: &'a mut BytesMut,
    start: usize,
    /// The weight of the next group.
    next: i32,
    /// The weight of the first group that is not zero.
    weight: i32,
    /// Where the last group that is not zero ends.
    end: usize,
    scale: u16,
}

impl<'a> Groups<'a> {
    fn begin(out: &'a mut BytesMut, whole_groups: usize, scale: usize) -> Encoded<Self> {
        let next = i32::try_from(whole_groups).map_err(|_| TOO_LONG)? - 1;
        let start = out.len();
        let scale = u16::try_from(scale).ok().filter(|scale| usize::from(*scale) <= MAX_SCALE);
        out.put_u64(0);
        let end = out.len();
        Ok(Self { out, start, next, weight: 0, end, scale: scale.ok_or(TOO_LONG)? })
    }

    #[inline]
    fn push(&mut self, group: u16) {
        let any = self.end > self.start + HEADER;
        if group != 0 || any {
            if !any {
                self.weight = self.next;
            }
            self.out.put_u16(group);
            if group != 0 {
                self.end = self.out.len();
            }
        }
        self.next -= 1;
    }

    fn end(self, sign: u16) -> Encoded<()> {
        self.out.truncate(self.end);
        let count = (self.end - self.start - HEADER) / 2;
        let sign = if count == 0 { POSITIVE } else { sign };
        let count = u16::try_from(count).map_err(|_| TOO_LONG)?;
        let weight = i16::try_from(self.weight).map_err(|_| TOO_LONG)?;
        let mut header = &mut self.out[self.start..self.start + HEADER];
        header.put_u16(count);
        header.put_i16(weight);
        header.put_u16(sign);
        header.put_u16(self.scale);
        Ok(())
    }
}

/// Appends the digits of a number of `scale` digits after the point.
pub(super) fn print(value: i128, scale: i8, out: &mut BytesMut) {
    let mut reversed = [b'0'; 40];
    let mut rest = value.unsigned_abs();
    let mut count = 0;
    for digit in &mut reversed {
        if rest == 0 {
            break;
        }
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        count += 1;
    }
    let fraction = usize::try_from(scale).unwrap_or(0);
    if value < 0 {
        out.put_u8(b'-');
    }
    for place in (0..count.max(fraction + 1)).rev() {
        out.put_u8(reversed.get(place).copied().unwrap_or(b'0'));
        if place == fraction && fraction > 0 {
            out.put_u8(b'.');
        }
    }
    if scale < 0 && value != 0 {
        out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
    }
}
