//! Reading a table in portions, where one statement would take too much memory.
//!
//! DuckDB reads 2,048 rows at a time, on each thread, and what it reads of long values is beyond
//! its memory limit. So of a table with long values the keys are read first, and then the rows, so
//! many keys at a time as about [`TARGET`] bytes come with. What a history has come to is found out
//! by [parts](super::relation::Part) of its keys.

use arrow_array::RecordBatch;

use super::relation::Part;

/// How many bytes of rows a portion is to bring.
const TARGET: usize = 16 << 20;
/// How many keys the first portion has.
const FIRST: usize = 16;
/// How many more the next one may have.
const GROWTH: usize = 4;
/// DuckDB looks so many keys up in any order. More of them it only takes for a range, from the
/// first to the last.
const SCATTERED: usize = 48;
/// So many keys are staged at once, at most.
const MOST: usize = 100_000;

/// What is still to be read.
pub(super) enum Portions {
    /// The rows under these keys.
    Keys(Keys),
    /// These parts.
    Parts(std::vec::IntoIter<Part>),
}

/// Keys of rows that are still to be read.
pub(super) struct Keys {
    left: Vec<RecordBatch>,
    most: usize,
    /// How many the next portion has.
    step: usize,
    /// How many the last one had, and what came of them.
    last: (usize, usize),
}

impl Keys {
    /// The rows under `keys`, which may be in order.
    pub(super) fn new(mut keys: Vec<RecordBatch>, in_order: bool) -> Self {
        keys.reverse();
        let most = if in_order { MOST } else { SCATTERED };
        Self { left: keys, most, step: FIRST, last: (0, 0) }
    }

    /// Learns that rows of so many bytes came.
    pub(super) fn came(&mut self, bytes: usize) {
        self.last.1 += bytes;
    }

    /// The keys of the next portion; none at the end.
    pub(super) fn next(&mut self) -> Vec<RecordBatch> {
        let (keys, bytes) = self.last;
        if keys > 0 {
            let fitting = TARGET.saturating_mul(keys) / bytes.max(1);
            self.step = fitting.clamp(1, keys.saturating_mul(GROWTH)).min(self.most);
        }
        let mut portion = Vec::new();
        let mut room = self.step;
        while room > 0
            && let Some(batch) = self.left.pop()
        {
            let taken = batch.num_rows().min(room);
            room -= taken;
            portion.push(batch.slice(0, taken));
            if taken < batch.num_rows() {
                self.left.push(batch.slice(taken, batch.num_rows() - taken));
            }
        }
        self.last = (self.step - room, 0);
        portion
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    fn keys(from: i64, to: i64) -> RecordBatch {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
        RecordBatch::try_from_iter([("k", keys)]).unwrap()
    }

    #[test]
    fn every_key_comes_once_and_portions_fit_what_comes() {
        for (in_order, bytes) in [(true, 200_000), (true, 10), (false, 10), (true, 100 << 20)] {
            let mut left = Keys::new(vec![keys(0, 10), keys(10, 10), keys(10, 5000)], in_order);
            let mut seen = 0;
            let mut largest = 0;
            loop {
                let portion = left.next();
                let many: usize = portion.iter().map(RecordBatch::num_rows).sum();
                if many == 0 {
                    break;
                }
                for batch in portion {
                    for key in batch.column(0).as_primitive::<Int64Type>().values() {
                        assert_eq!(*key, seen);
                        seen += 1;
                    }
                }
                largest = largest.max(if seen > 16 { many } else { 0 });
                left.came(many * bytes);
            }
            assert_eq!(seen, 5000);
            assert!(largest * bytes <= TARGET || largest == 1, "{largest} of {bytes} bytes");
            assert!(in_order || largest <= SCATTERED);
        }
    }
}
