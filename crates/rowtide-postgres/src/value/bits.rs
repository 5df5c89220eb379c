//! Bit strings. In binary: how many bits, then the bits from the highest of the first byte on.

use super::{Decoded, ValueError};
use crate::protocol::Cursor;

const BAD: ValueError = ValueError::Malformed("it is not a bit string");
const EMPTY: ValueError = ValueError::Unrepresentable("it is an empty bit string");

/// The bits of the binary form.
fn read(bytes: &[u8]) -> Decoded<impl Iterator<Item = bool>> {
    let mut cursor = Cursor::new(bytes);
    let count = cursor.length()?;
    let bytes = cursor.rest();
    if bytes.len() != count.div_ceil(8) {
        return Err(BAD);
    }
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1 == 1));
    Ok(bits.take(count))
}

/// Appends the zeros and ones of the binary form.
pub(super) fn print(bytes: &[u8], out: &mut String) -> Decoded<()> {
    out.extend(read(bytes)?.map(|bit| if bit { '1' } else { '0' }));
    Ok(())
}

/// Appends the [packed](rowtide_core::ext::BIT) form of the binary one.
pub(super) fn pack_binary(bytes: &[u8], out: &mut Vec<u8>) -> Decoded<()> {
    let count = Cursor::new(bytes).length()?;
    pack(count, read(bytes)?, out)
}

/// The same from zeros and ones.
pub(super) fn pack_text(text: &[u8], out: &mut Vec<u8>) -> Decoded<()> {
    if text.iter().any(|digit| !matches!(digit, b'0' | b'1')) {
        return Err(BAD);
    }
    pack(text.len(), text.iter().map(|digit| *digit == b'1'), out)
}

fn pack(count: usize, bits: impl Iterator<Item = bool>, out: &mut Vec<u8>) -> Decoded<()> {
    if count == 0 {
        return Err(EMPTY);
    }
    let padding = (8 - count % 8) % 8;
    out.push(u8::try_from(padding).unwrap_or(0));
    let mut byte = 0_u8;
    let padded = std::iter::repeat_n(true, padding).chain(bits);
    for (at, bit) in padded.enumerate() {
        byte = byte << 1 | u8::from(bit);
        if at % 8 == 7 {
            out.push(byte);
            byte = 0;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_forms_agree(bits in proptest::collection::vec(any::<bool>(), 0..80)) {
            let text: String = bits.iter().map(|bit| if *bit { '1' } else { '0' }).collect();
            let mut binary = u32::try_from(bits.len()).unwrap().to_be_bytes().to_vec();
            for chunk in bits.chunks(8) {
                binary.push(chunk.iter().enumerate().map(|(at, bit)| u8::from(*bit) << (7 - at)).sum());
            }
            let mut printed = String::new();
            print(&binary, &mut printed).unwrap();
            prop_assert_eq!(&printed, &text);
            let (mut left, mut right) = (Vec::new(), Vec::new());
            let outcomes = (pack_binary(&binary, &mut left), pack_text(text.as_bytes(), &mut right));
            if bits.is_empty() {
                prop_assert_eq!(outcomes, (Err(EMPTY), Err(EMPTY)));
            } else {
                prop_assert_eq!(outcomes, (Ok(()), Ok(())));
                prop_assert_eq!(&left, &right);
                prop_assert_eq!((left.len() - 1) * 8 - usize::from(left[0]), bits.len());
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = print(&bytes, &mut String::new());
            let _ = pack_binary(&bytes, &mut Vec::new());
            let _ = pack_text(&bytes, &mut Vec::new());
        }
    }

    #[test]
    fn padding_is_ones_before_the_bits() {
        let mut out = Vec::new();
        pack_text(b"101", &mut out).unwrap();
        assert_eq!(out, [5, 0b1111_1101]);
        out.clear();
        pack_binary(&[0, 0, 0, 9, 0b1000_0000, 0b1000_0000], &mut out).unwrap();
        assert_eq!(out, [7, 0b1111_1111, 0b0000_0001]);
        assert_eq!(pack_binary(&[0, 0, 0, 9, 0], &mut out), Err(BAD));
        assert_eq!(pack_text(b"102", &mut out), Err(BAD));
    }
}
