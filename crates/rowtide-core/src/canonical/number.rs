//! Numbers as text.
#![expect(clippy::cast_possible_truncation, reason = "remainders are small")]

/// Every number from 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut at = 0;
    while at < 100 {
        pairs[at] = [b'0' + at as u8 / 10, b'0' + at as u8 % 10];
        at += 1;
    }
    pairs
};

/// As many digits as the largest number of 128 bits has, and one more to begin a fraction with.
const MOST: usize = 40;

/// As many characters as a number of 64 bits has with its sign.
const LONGEST: usize = 20;

/// A short text in the making, which costs less than to make room in a long one bit by bit.
pub(super) struct Short {
    bytes: [u8; 80],
    length: usize,
}

impl Short {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 80], length: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[inline]
    pub(super) fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    #[inline]
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// `number`, below 100, with two digits.
    #[inline]
    pub(super) fn pair(&mut self, number: u64) {
        let pair = PAIRS[(number % 100) as usize];
        self.bytes[self.length..self.length + 2].copy_from_slice(&pair);
        self.length += 2;
    }

    pub(super) fn number(&mut self, number: u64) {
        let mut digits = [b'0'; LONGEST];
        let first = fill(&mut digits, LONGEST, number);
        self.add(&digits[first..]);
    }

    /// Up to nine digits behind a point, without zeros at the end: nothing for 0.
    pub(super) fn fraction(&mut self, nanos: u64) {
        if nanos == 0 {
            return;
        }
        let mut digits = [b'0'; 9];
        fill(&mut digits, 9, nanos);
        let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        self.push(b'.');
        self.add(&digits[..end]);
    }

    /// Appends it to `out`.
    #[inline]
    pub(super) fn end(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.length]);
    }
}

pub(super) fn signed(number: i64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; LONGEST];
    let mut first = fill(&mut digits, LONGEST, number.unsigned_abs());
    if number < 0 {
        first -= 1;
        digits[first] = b'-';
    }
    out.extend_from_slice(&digits[first..]);
}

pub(super) fn unsigned(number: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; LONGEST];
    let first = fill(&mut digits, LONGEST, number);
    out.extend_from_slice(&digits[first..]);
}

/// `number` · 10^-`scale`, with that many digits behind the point.
pub(super) fn decimal(number: i128, scale: usize, out: &mut Vec<u8>) {
    /// What 64 bits surely hold.
    const PART: u128 = 10_u128.pow(19);
    let mut digits = [b'0'; MOST];
    let magnitude = number.unsigned_abs();
    let first = match u64::try_from(magnitude) {
        Ok(small) => fill(&mut digits, MOST, small),
        Err(_) => {
            let (above, below) = (magnitude / PART, (magnitude % PART) as u64);
            fill(&mut digits, MOST, below);
            match u64::try_from(above) {
                Ok(above) => fill(&mut digits, MOST - 19, above),
                Err(_) => {
                    fill(&mut digits, MOST - 19, (above % PART) as u64);
                    fill(&mut digits, MOST - 38, (above / PART) as u64)
                }
            }
        }
    };
    if number < 0 {
        out.push(b'-');
    }
    let point = MOST.saturating_sub(scale).max(1);
    out.extend_from_slice(&digits[first.min(point - 1)..point]);
    if point < MOST {
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
}

pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    for (to, byte) in out[start..].as_chunks_mut().0.iter_mut().zip(bytes) {
        *to = hex_of(*byte);
    }
}

/// The two digits of a byte.
#[inline]
pub(super) fn hex_of(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Writes the digits of `number` so that they end before `end`; returns where they begin. There is
/// at least one.
fn fill(digits: &mut [u8], end: usize, mut number: u64) -> usize {
    let mut at = end;
    while number >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if number >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[number as usize]);
    } else {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_have_the_digits_of_their_scale() {
        for (number, scale, expected) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (-5, 2, "-0.05"),
            (123, 2, "1.23"),
            (-100, 0, "-100"),
            (1, 38, "0.00000000000000000000000000000000000001"),
            (10_i128.pow(38) - 1, 38, "0.99999999999999999999999999999999999999"),
            (10_i128.pow(38) - 1, 0, "99999999999999999999999999999999999999"),
            (10_i128.pow(37), 1, "1000000000000000000000000000000000000.0"),
        ] {
            assert_eq!(text(|out| decimal(number, scale, out)), expected);
        }
    }

    proptest! {
        #[test]
        fn numbers_are_printed_as_everybody_does(
            number: i64, large: i128, shift in 0_u32..128, nanos in 0_u64..1_000_000_000,
        ) {
            let large = large >> shift;
            prop_assert_eq!(text(|out| signed(number >> (shift % 64), out)),
                (number >> (shift % 64)).to_string());
            prop_assert_eq!(text(|out| decimal(large, 0, out)), large.to_string());
            let nine = format!(".{nanos:09}");
            let mut short = Short::new();
            short.fraction(nanos);
            prop_assert_eq!(text(|out| short.end(out)),
                nine.trim_end_matches('0').trim_end_matches('.'));
        }
    }
}
