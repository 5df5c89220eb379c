//! What `fuzz/` feeds to what puts streamed transactions together.

use super::{Assembler, Step};
use crate::fuzzing::Input;

/// What the decoder would see, and where the first error was.
type Seen = (Vec<Vec<u8>>, Option<usize>);

/// Whether empty transactions count; then messages in pieces.
pub(crate) fn assemble(bytes: &[u8]) {
    let mut input = Input(bytes);
    let empty_too = input.u8() & 1 != 0;
    let in_memory = read(input.0, usize::MAX, empty_too);
    let in_files = read(input.0, 16, empty_too);
    assert_eq!(in_memory, in_files, "where it is kept changed what is read back");
}

fn read(bytes: &[u8], limit: usize, empty_too: bool) -> Seen {
    let mut assembler = Assembler::new(limit, std::env::temp_dir(), empty_too);
    let mut seen = Vec::new();
    let mut input = Input(bytes);
    let mut index = 0;
    while let Some(message) = input.piece() {
        match assembler.take(message) {
            Ok(Step::Pass) => seen.push(message.to_vec()),
            Ok(Step::Kept) => {}
            Ok(Step::Whole(_)) => {
                let from = seen.len();
                while let Ok(Some(message)) = assembler.next() {
                    seen.push(message.to_vec());
                }
                let whole = seen.get(from..).unwrap_or_default();
                assert!(!empty_too || whole.len() >= 2);
                assert!(whole.first().is_none_or(|first| first.first() == Some(&b'B')));
                assert!(whole.last().is_none_or(|last| last.first() == Some(&b'C')));
            }
            Err(_) => return (seen, Some(index)),
        }
        index += 1;
    }
    (seen, None)
}
