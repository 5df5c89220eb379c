//! Fold of a table without a key: equal inserts and removals cancel out.

use arrow_array::RecordBatch;
use hashbrown::HashMap;

use super::row_bytes;
use crate::batch::take_rows;
use crate::{ChangeBatch, Error, MultisetWrite, Op, Result};

/// Rows of the batch with equal values: those still to insert, and those still to remove.
#[derive(Debug, Default)]
struct Net {
    inserts: Vec<u32>,
    removes: Vec<u32>,
}

pub(super) fn fold(batch: &ChangeBatch, full: &RecordBatch) -> Result<MultisetWrite> {
    if !batch.unchanged.is_empty() {
        return Err(Error::internal(format!(
            "a change of {} misses values although its whole rows are logged",
            batch.table.name
        )));
    }
    let bytes = row_bytes(&batch.rows, 0..batch.rows.num_columns())?;
    let mut index: HashMap<&[u8], usize> = HashMap::with_capacity(batch.len());
    let mut nets: Vec<Net> = Vec::new();
    for (row, op) in (0_u32..).zip(&batch.ops) {
        let at = *index.entry(bytes.row(row as usize).data()).or_insert_with(|| {
            nets.push(Net::default());
            nets.len() - 1
        });
        let net = &mut nets[at];
        match op {
            // An insert after a removal of an equal row leaves the multiset as it was. The newer
            // row replaces the older only in its metadata, so the pair is kept out of the write.
            Op::Insert | Op::MoveIn => {
                if net.removes.pop().is_none() {
                    net.inserts.push(row);
                }
            }
            Op::Delete | Op::MoveOut => {
                if net.inserts.pop().is_none() {
                    net.removes.push(row);
                }
            }
            // It was never there, or what was there goes by a removal of its own.
            Op::Refuse => {}
            Op::Update => {
                return Err(Error::internal(format!(
                    "an update of {} by key, which has none",
                    batch.table.name
                )));
            }
        }
    }
    let collect = |pick: fn(&Net) -> &[u32]| -> Result<Option<RecordBatch>> {
        let mut rows: Vec<u32> = nets.iter().flat_map(|net| pick(net).iter().copied()).collect();
        rows.sort_unstable();
        if rows.is_empty() { Ok(None) } else { take_rows(full, &rows).map(Some) }
    };
    Ok(MultisetWrite {
        removes: collect(|net| &net.removes)?,
        inserts: collect(|net| &net.inserts)?,
    })
}
