//! What goes into the spool comes out again, in order, from memory and from disk.

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use proptest::prelude::*;
use rowtide_core::{
    Column, CommitRun, Exceptions, Identity, Offset, Op, Refused, Replaced, TableName, Unchanged,
};

use super::*;

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

fn batch(rows: &[(i64, Option<String>)], ops: &[Op]) -> ChangeBatch {
    let table = table();
    let ids = Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id));
    let bodies = StringArray::from_iter(rows.iter().map(|(_, body)| body.as_deref()));
    let missing = rows.iter().map(|(_, body)| body.is_none()).collect();
    let commit = |n: usize| Commit { position: Offset(n as u64), xid: 9, committed_at: -5 };
    ChangeBatch {
        rows: RecordBatch::try_new(table.arrow(), vec![Arc::new(ids), Arc::new(bodies)]).unwrap(),
        table,
        ops: (0..rows.len()).map(|row| ops[row % ops.len()]).collect(),
        unchanged: Unchanged::new([(1, missing)]),
        commits: (0..rows.len()).map(|n| CommitRun { commit: commit(n), rows: 1 }).collect(),
        ordinals: (0..).take(rows.len()).collect(),
        exceptions: exceptions(rows, ops),
    }
}

/// What became of the rows whose op is a refusal, and one value lost in every third row.
fn exceptions(rows: &[(i64, Option<String>)], ops: &[Op]) -> Exceptions {
    let mut exceptions = Exceptions::default();
    for (row, (_, body)) in (0_u32..).zip(rows) {
        if row % 3 == 0 {
            exceptions.replaced.push((row, Replaced { nulled: row, as_text: 1 }));
        }
        if ops[row as usize % ops.len()] == Op::Refuse {
            let refused = Refused {
                change: Op::Insert,
                columns: vec![2],
                column: "body".into(),
                reason: "why".into(),
                key: body.clone(),
                values: None,
            };
            exceptions.refused.push((row, refused));
        }
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

proptest! {
    #[test]
    fn a_frame_round_trips(
        rows in proptest::collection::vec((any::<i64>(), proptest::option::of(".{0,40}")), 1..50),
    ) {
        let ops =
            [Op::Insert, Op::Update, Op::Refuse, Op::Delete, Op::MoveOut, Op::MoveIn, Op::Refuse];
        let batch = batch(&rows, &ops);
        let mut file = Vec::new();
        frame::write(&mut file, &frame::encode(&batch).unwrap()).unwrap();
        let body = frame::read(&mut file.as_slice()).unwrap();
        prop_assert!(same(&frame::decode(&body, table()).unwrap(), &batch));
    }

    #[test]
    fn damage_is_noticed(at in 0_usize..200, bit in 0_u8..8) {
        let batch = batch(&[(1, Some("x".into())), (2, None)], &[Op::Insert]);
        let mut file = Vec::new();
        frame::write(&mut file, &frame::encode(&batch).unwrap()).unwrap();
        let at = at % file.len();
        file[at] ^= 1 << bit;
        prop_assert!(frame::read(&mut file.as_slice()).is_err());
    }
}

#[test]
fn order_is_kept_across_memory_and_disk() {
    let directory = tempfile::tempdir().unwrap();
    let memory = SpoolMemory::default();
    let mut spool = Spool::new(&memory);
    let big = "x".repeat(300_000);
    for id in 0..40 {
        let rows = [(id, Some(big.clone()))];
        spool.push(SpoolItem::Changes(batch(&rows, &[Op::Insert])), directory.path()).unwrap();
        if id % 10 == 0 {
            let commit = Commit { position: Offset(1), xid: 1, committed_at: 0 };
            spool.push(SpoolItem::Truncate { commit, ordinal: 7 }, directory.path()).unwrap();
        }
    }
    assert!(spool.byte_size() > 10_000_000 && spool.memory_bytes <= MEMORY_BYTES);
    assert_eq!(memory.0.load(Ordering::Relaxed), spool.memory_bytes);
    let mut reader = spool.into_reader().unwrap();
    let (mut id, mut truncates) = (0, 0);
    while let Some(item) = reader.next().unwrap() {
        match item {
            SpoolItem::Changes(found) => {
                assert!(same(&found, &batch(&[(id, Some(big.clone()))], &[Op::Insert])));
                id += 1;
            }
            SpoolItem::Truncate { .. } => truncates += 1,
            SpoolItem::Schema { .. } => panic!("nothing such was spooled"),
        }
    }
    assert_eq!((id, truncates), (40, 4));
    assert_eq!(memory.0.load(Ordering::Relaxed), 0);
}
