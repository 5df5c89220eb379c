//! What is known of rows in quarantine, change by change.

use std::sync::Arc;

use arrow_array::{Int32Array, RecordBatch};
use arrow_schema::{DataType, Field};
use rowtide_core::{
    Column, Commit, CommitRun, DeleteMode, Exceptions, Identity, MetadataColumns, TableName,
    TableSchema, TableWrite, fold,
};

use super::*;

/// A row of `(k, bad, big)`: whether `bad` is refused, and what the log leaves out.
#[derive(Clone, Copy)]
struct Change {
    op: Op,
    key: Option<i32>,
    refused: Option<Op>,
    missing: [bool; 2],
}

fn good(op: Op, key: i32) -> Change {
    Change { op, key: Some(key), refused: None, missing: [false; 2] }
}

fn bad(change: Op, key: i32) -> Change {
    Change { refused: Some(change), ..good(Op::Refuse, key) }
}

fn without(change: Change, bad: bool, big: bool) -> Change {
    Change { missing: [bad, big], ..change }
}

fn plan(mode: Mode) -> TablePlan {
    let column = |name: &str, number| Column {
        field: Arc::new(Field::new(name, DataType::Int32, true)),
        native_type: "int4".into(),
        number,
    };
    let columns = vec![column("k", 1), column("bad", 2), column("big", 3)];
    let name = TableName::new("public", "t");
    let table = TableSchema::new((1, name.clone()), 1, columns, vec![0], Identity::Key);
    TablePlan {
        source: Arc::new(table),
        target: name,
        mode,
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    }
}

fn batch(changes: &[Change]) -> ChangeBatch {
    let table = plan(Mode::Merge).source;
    let keys: Int32Array = changes.iter().map(|change| change.key).collect();
    let values: Int32Array = changes.iter().map(|_| Some(7)).collect();
    let columns: Vec<arrow_array::ArrayRef> =
        vec![Arc::new(keys), Arc::new(values.clone()), Arc::new(values)];
    let mask = |at: usize| (at + 1, changes.iter().map(|change| change.missing[at]).collect());
    let refused = (0_u32..).zip(changes).filter_map(|(row, change)| {
        let refused = Refused {
            change: change.refused?,
            columns: vec![2],
            column: "bad".into(),
            reason: "it is bad".into(),
            key: Some(format!("{{\"k\":\"{:?}\"}}", change.key)),
            values: None,
        };
        Some((row, refused))
    });
    let commit = Commit { position: Offset(9), xid: 1, committed_at: 0 };
    ChangeBatch {
        ops: changes.iter().map(|change| change.op).collect(),
        rows: RecordBatch::try_new(table.arrow(), columns).unwrap(),
        unchanged: Unchanged::new([mask(0), mask(1)]),
        commits: vec![CommitRun { commit, rows: changes.len() }],
        ordinals: (0..).take(changes.len()).collect(),
        exceptions: Exceptions { refused: refused.collect(), ..Exceptions::default() },
        table,
    }
}

fn told(known: &ValueTally, changes: &[Change]) -> (ChangeBatch, Vec<Quarantined>, ValueTally) {
    match settle(batch(changes), &plan(Mode::Merge), known).unwrap() {
        Settled::Told(batch, told, known) => (batch, told, known),
        other => panic!("{other:?}"),
    }
}

fn ops(told: &[Quarantined]) -> Vec<(&str, u32)> {
    told.iter().map(|one| (one.op, one.ordinal.unwrap())).collect()
}

#[test]
fn a_batch_without_exceptions_is_left_alone() {
    let settled = settle(batch(&[good(Op::Insert, 1)]), &plan(Mode::Merge), &ValueTally::default());
    assert!(matches!(settled, Ok(Settled::Untouched(_))));
}

#[test]
fn a_refused_row_is_held_until_it_comes_back_whole() {
    let (_, first, known) = told(&ValueTally::default(), &[bad(Op::Insert, 1)]);
    assert_eq!(ops(&first), [("insert", 0)]);
    assert_eq!((known.quarantined, known.open()), (1, 1));
    let changes = [good(Op::Insert, 2), good(Op::Update, 1)];
    let (batch, second, known) = told(&known, &changes);
    assert_eq!(ops(&second), [("resolved", 1)]);
    assert_eq!((known.quarantined, known.open()), (1, 0));
    assert_eq!(batch.ops, [Op::Insert, Op::Update]);
}

#[test]
fn what_is_deleted_is_no_longer_held() {
    let changes = [bad(Op::Insert, 1), good(Op::Delete, 1), bad(Op::Update, 2), bad(Op::Delete, 2)];
    let (_, told, known) = told(&ValueTally::default(), &changes);
    assert_eq!(ops(&told), [("insert", 0), ("resolved", 1), ("update", 2), ("delete", 3)]);
    assert_eq!((known.quarantined, known.open()), (2, 0));
}

#[test]
fn a_refused_value_that_is_not_repeated_is_still_refused() {
    let later = without(good(Op::Update, 1), true, false);
    let (batch, told, known) = told(&ValueTally::default(), &[bad(Op::Insert, 1), later]);
    assert_eq!(batch.ops, [Op::Refuse, Op::Refuse]);
    assert!(batch.unchanged.is_empty());
    assert_eq!(ops(&told), [("insert", 0), ("update", 1)]);
    assert_eq!((known.quarantined, known.open()), (2, 1));
    // And nothing of it is asked of the destination.
    let TableWrite::Merge(write) = fold(&batch, &plan(Mode::Merge), 0).unwrap() else { panic!() };
    assert!(write.patches.is_none() && write.upserts.is_none());
}

#[test]
fn a_refused_row_moves_under_its_new_key() {
    let moved = [good(Op::MoveOut, 1), without(good(Op::MoveIn, 2), true, false)];
    let (_, _, known) = told(&ValueTally::default(), &[bad(Op::Insert, 1)]);
    let (batch, entries, known) = told(&known, &moved);
    assert_eq!(batch.ops, [Op::Delete, Op::Refuse]);
    assert_eq!(entries[0].key.as_deref(), Some("{\"k\":\"2\"}"));
    let whole = [good(Op::MoveOut, 2), good(Op::MoveIn, 3)];
    let (batch, entries, known) = told(&known, &whole);
    assert_eq!(batch.ops, [Op::MoveOut, Op::MoveIn]);
    assert_eq!((ops(&entries), known.open()), (vec![("resolved", 1)], 0));
}

#[test]
fn a_corrected_row_whose_other_values_are_not_repeated_needs_a_copy() {
    let corrected = without(good(Op::Update, 1), false, true);
    let settled =
        settle(batch(&[bad(Op::Insert, 1), corrected]), &plan(Mode::Merge), &ValueTally::default());
    assert!(matches!(settled, Ok(Settled::CopyAgain(_))));
}

#[test]
fn a_key_that_cannot_be_represented_is_known_by_its_text() {
    let nobody = |change| Change { key: None, ..bad(change, 0) };
    let (_, _, known) = told(&ValueTally::default(), &[nobody(Op::Insert)]);
    assert_eq!(known.open(), 1);
    let (batch, _, known) = told(&known, &[nobody(Op::Delete)]);
    assert_eq!(known.open(), 0);
    let TableWrite::Merge(write) = fold(&batch, &plan(Mode::Merge), 0).unwrap() else { panic!() };
    assert!(write.deletes.is_none());
}

#[test]
fn history_counts_and_remembers_no_key() {
    let changes = [bad(Op::Insert, 1), good(Op::Update, 1), bad(Op::Delete, 1)];
    let settled = settle(batch(&changes), &plan(Mode::Append), &ValueTally::default()).unwrap();
    let Settled::Told(_, told, known) = settled else { panic!("{settled:?}") };
    assert_eq!(ops(&told), [("insert", 0), ("delete", 2)]);
    assert!(known.held.is_empty());
    assert_eq!((known.quarantined, known.open()), (1, 1));
}

#[test]
fn rows_without_a_key_are_counted_and_one_that_never_came_needs_a_copy() {
    let mut bag = plan(Mode::Merge);
    let table = TableSchema { key: vec![], identity: Identity::FullRow, ..(*bag.source).clone() };
    bag.source = Arc::new(table);
    let settled =
        |known: &ValueTally, change| settle(batch(&[bad(change, 1)]), &bag, known).unwrap();
    let Settled::Told(_, told, known) = settled(&ValueTally::default(), Op::Insert) else {
        panic!()
    };
    assert_eq!((ops(&told), known.open()), (vec![("insert", 0)], 1));
    let Settled::Told(_, _, known) = settled(&known, Op::Delete) else { panic!() };
    assert_eq!((known.quarantined, known.open()), (1, 0));
    // It stands in the destination, with NULL in the value's place.
    assert!(matches!(settled(&known, Op::Delete), Settled::CopyAgain(_)));
}

#[test]
fn a_value_that_does_not_stand_is_counted_in_history_only() {
    let mut removed = batch(&[good(Op::Delete, 1), good(Op::Insert, 2)]);
    let one = Replaced { nulled: 1, as_text: 0 };
    removed.exceptions.replaced = vec![(0, one), (1, one)];
    for (mode, nulled) in [(Mode::Merge, 1), (Mode::Append, 2)] {
        let settled = settle(removed.clone(), &plan(mode), &ValueTally::default()).unwrap();
        let Settled::Told(_, _, known) = settled else { panic!("{settled:?}") };
        assert_eq!(known.nulled, nulled);
    }
}

#[test]
fn too_many_stop_the_table() {
    let many: Vec<Change> =
        (0..=i32::try_from(MOST_HELD).unwrap()).map(|key| bad(Op::Insert, key)).collect();
    let settled = settle(batch(&many), &plan(Mode::Merge), &ValueTally::default()).unwrap();
    assert!(matches!(settled, Settled::Stop(_)));
    let settled = settle(batch(&many[1..]), &plan(Mode::Merge), &ValueTally::default()).unwrap();
    assert!(matches!(settled, Settled::Told(..)));
}

#[test]
fn a_new_copy_resolves_what_was_there_and_tells_what_it_left_out() {
    let (_, _, known) = told(&ValueTally::default(), &[bad(Op::Insert, 1), bad(Op::Insert, 2)]);
    let mut left_out = LeftOut::default();
    let table = plan(Mode::Merge);
    let (_, refused) = batch(&[bad(Op::Insert, 2)]).exceptions.refused.remove(0);
    let keys =
        RecordBatch::try_new(table.source.key_arrow(), vec![Arc::new(Int32Array::from(vec![2]))]);
    let found = CopyExceptions {
        replaced: Replaced { nulled: 3, as_text: 1 },
        refused: vec![refused],
        keys: keys.ok(),
    };
    left_out.add(&table, found).unwrap();
    let (entries, known) = left_out.settle(&table, Offset(50), known);
    let shown: Vec<_> = entries.iter().map(|one| (one.op, one.position.0)).collect();
    assert_eq!(shown, [("resolved", 50), ("snapshot", 50)]);
    assert_eq!((known.nulled, known.as_text, known.quarantined), (3, 1, 3));
    assert_eq!(known.open(), 1);
    // The stream knows it under the same name.
    let (_, entries, known) = told(&known, &[good(Op::Update, 2)]);
    assert_eq!((ops(&entries), known.open()), (vec![("resolved", 0)], 0));
}
