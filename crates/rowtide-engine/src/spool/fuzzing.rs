//! What `fuzz/` feeds to the frames of the spool.

#![allow(clippy::missing_panics_doc, reason = "a broken property is a panic")]

use std::sync::Arc;

use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field};
use rowtide_core::{
    ChangeBatch, Column, Commit, CommitRun, Exceptions, Identity, Offset, Op, Refused, Replaced,
    Result, TableName, TableSchema, Unchanged,
};

use super::frame;

/// A frame as it may lie in a file, then a batch made of the same bytes: any frame is read or
/// refused; a batch that is framed comes out the same; one that is damaged is refused.
pub fn spool(bytes: &[u8]) {
    let _ = frame::read(&mut &*bytes).map(|body| body.len());
    let Some((&first, rest)) = bytes.split_first() else { return };
    let Ok(batch) = batch(rest) else { return };
    let mut file = Vec::new();
    let body = frame::encode(&batch).unwrap_or_default();
    assert!(frame::write(&mut file, &body).is_ok());
    let read = frame::read(&mut file.as_slice()).ok();
    assert_eq!(read.as_ref(), Some(&body));
    let decoded = frame::decode(&body, Arc::clone(&batch.table));
    assert!(decoded.is_ok_and(|decoded| same(&decoded, &batch)));
    // An unknown operation is refused, and so is what ends before the columns begin. What the
    // columns are in is Arrow's, which believes its lengths: it is behind the checksum.
    let mut damaged = body;
    if let Some(byte) = damaged.get_mut(4) {
        *byte ^= first | 8;
    }
    let decode = |bytes: &[u8]| frame::decode(bytes, Arc::clone(&batch.table));
    assert!(batch.is_empty() || decode(&damaged).is_err());
    let beside = batch.len() * 5 + batch.commits.len() * 24 + 12;
    damaged.truncate(rest.len() % beside);
    assert!(decode(&damaged).is_err());
    let at = rest.len() % file.len();
    if let Some(byte) = file.get_mut(at) {
        *byte ^= first | 1;
    }
    assert!(frame::read(&mut file.as_slice()).is_err());
}

fn table() -> Arc<TableSchema> {
    let column = |name: &str, data_type, number| Column {
        field: Arc::new(Field::new(name, data_type, true)),
        native_type: String::new(),
        number,
    };
    let columns = vec![column("id", DataType::Int64, 1), column("body", DataType::Utf8, 2)];
    let name = TableName::new("public", "t");
    Arc::new(TableSchema::new((1, name), 1, columns, vec![0], Identity::Key))
}

/// One row for each run of eight bytes.
fn batch(bytes: &[u8]) -> Result<ChangeBatch> {
    let table = table();
    let rows: Vec<&[u8]> = bytes.chunks(8).collect();
    let number = |row: &&[u8]| row.iter().fold(0_i64, |n, byte| n << 8 | i64::from(*byte));
    let ids = Int64Array::from_iter_values(rows.iter().map(number));
    let text = |row: &&[u8]| std::str::from_utf8(row).ok().map(str::to_owned);
    let bodies = StringArray::from_iter(rows.iter().map(text));
    let missing: BooleanBuffer = (0..rows.len()).map(|row| bodies.is_null(row)).collect();
    let op = |row: &&[u8]| OPS[usize::from(row.first().copied().unwrap_or(0)) % OPS.len()];
    let commit = |at: usize| Commit { position: Offset(at as u64), xid: 9, committed_at: -5 };
    let run = |(at, rows): (usize, &[&[u8]])| CommitRun { commit: commit(at), rows: rows.len() };
    Ok(ChangeBatch {
        rows: RecordBatch::try_new(table.arrow(), vec![Arc::new(ids), Arc::new(bodies)])?,
        table,
        ops: rows.iter().map(op).collect(),
        unchanged: Unchanged::new([(1, missing)]),
        commits: rows.chunks(3).enumerate().map(run).collect(),
        ordinals: (0..).take(rows.len()).collect(),
        exceptions: exceptions(&rows),
    })
}

const OPS: [Op; 6] = [Op::Insert, Op::Update, Op::Delete, Op::MoveOut, Op::MoveIn, Op::Refuse];

/// Each refused row's reason is what it holds; every other row has lost a value.
fn exceptions(rows: &[&[u8]]) -> Exceptions {
    let mut exceptions = Exceptions::default();
    for (at, row) in (0_u32..).zip(rows) {
        if usize::from(row.first().copied().unwrap_or(0)) % OPS.len() != 5 {
            exceptions.replaced.push((at, Replaced { nulled: 1, as_text: at }));
            continue;
        }
        let text = String::from_utf8_lossy(row).into_owned();
        let refused = Refused {
            change: Op::Update,
            columns: vec![2],
            column: "body".to_owned(),
            reason: text.clone(),
            key: None,
            values: Some(text),
        };
        exceptions.refused.push((at, refused));
    }
    exceptions
}

fn same(left: &ChangeBatch, right: &ChangeBatch) -> bool {
    let masks = |batch: &ChangeBatch| -> Vec<(usize, Vec<bool>)> {
        batch.unchanged.columns().map(|(at, bits)| (at, bits.iter().collect())).collect()
    };
    left.rows == right.rows
        && left.ops == right.ops
        && left.commits == right.commits
        && left.ordinals == right.ordinals
        && left.exceptions == right.exceptions
        && masks(left) == masks(right)
}
