//! The fold against an oracle that applies the changes one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, Int32Array, RecordBatch};
use arrow_schema::{DataType, Field};
use proptest::prelude::*;

use super::fold;
use crate::{
    ChangeBatch, Column, Commit, CommitRun, DeleteMode, Exceptions, Identity, MetadataColumns,
    Mode, Offset, Op, Refused, TableName, TablePlan, TableSchema, TableWrite, Unchanged,
};

/// A row of the test table `(k, a, b)`; `a` and `b` play the parts of large values.
type Row = (i32, i32, i32);

#[derive(Debug, Clone)]
enum Action {
    Insert(i32, i32, i32),
    /// `None`: the log does not repeat the value.
    Update(i32, Option<i32>, Option<i32>),
    Move(i32, i32, Option<i32>, Option<i32>),
    Delete(i32),
    /// A new version of the row that cannot be represented.
    Refuse(i32),
}

fn table(identity: Identity) -> Arc<TableSchema> {
    let column = |name: &str, number| Column {
        field: Arc::new(Field::new(name, DataType::Int32, true)),
        native_type: "int4".into(),
        number,
    };
    let columns = vec![column("k", 1), column("a", 2), column("b", 3)];
    let key = if identity == Identity::Key { vec![0] } else { vec![] };
    Arc::new(TableSchema::new((1, TableName::new("public", "t")), 1, columns, key, identity))
}

fn plan(table: &Arc<TableSchema>) -> TablePlan {
    TablePlan {
        source: Arc::clone(table),
        target: table.name.clone(),
        mode: Mode::Merge,
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
    }
}

type Cells = (Op, [Option<i32>; 3], [bool; 2]);

fn batch(table: &Arc<TableSchema>, cells: &[Cells]) -> ChangeBatch {
    let column = |at: usize| -> Arc<dyn Array> {
        Arc::new(cells.iter().map(|(_, values, _)| values[at]).collect::<Int32Array>())
    };
    let rows = RecordBatch::try_new(table.arrow(), vec![column(0), column(1), column(2)]).unwrap();
    let mask = |at: usize| (at + 1, cells.iter().map(|(_, _, missing)| missing[at]).collect());
    ChangeBatch {
        table: Arc::clone(table),
        ops: cells.iter().map(|(op, _, _)| *op).collect(),
        rows,
        unchanged: Unchanged::new([mask(0), mask(1)]),
        commits: vec![CommitRun {
            commit: Commit { position: Offset(1), xid: 1, committed_at: 0 },
            rows: cells.len(),
        }],
        ordinals: (0..u32::try_from(cells.len()).unwrap()).collect(),
        exceptions: refusals(cells),
    }
}

fn refusals(cells: &[Cells]) -> Exceptions {
    let refused = Refused {
        change: Op::Update,
        columns: vec![2],
        column: "a".into(),
        reason: "it is refused".into(),
        key: None,
        values: None,
    };
    let rows = (0_u32..).zip(cells).filter(|(_, (op, ..))| *op == Op::Refuse);
    let refused = rows.map(|(row, _)| (row, refused.clone())).collect();
    Exceptions { refused, ..Exceptions::default() }
}

fn log_of(action: &Action) -> Vec<Cells> {
    let masked =
        |k, a: Option<i32>, b: Option<i32>, op| (op, [Some(k), a, b], [a.is_none(), b.is_none()]);
    let key_only = |k, op| (op, [Some(k), None, None], [false, false]);
    match *action {
        Action::Insert(k, a, b) => vec![masked(k, Some(a), Some(b), Op::Insert)],
        Action::Update(k, a, b) => vec![masked(k, a, b, Op::Update)],
        Action::Move(from, to, a, b) => {
            vec![key_only(from, Op::MoveOut), masked(to, a, b, Op::MoveIn)]
        }
        Action::Delete(k) => vec![key_only(k, Op::Delete)],
        Action::Refuse(k) => vec![key_only(k, Op::Refuse)],
    }
}

/// Applies one action to the oracle if it is possible there; tells whether it was. Rows that are
/// kept out are in `held`: the log changes them, but only what is whole brings them back.
fn apply(rows: &mut BTreeMap<i32, Row>, held: &mut BTreeSet<i32>, action: &Action) -> bool {
    let free = |rows: &BTreeMap<i32, Row>, held: &BTreeSet<i32>, k| {
        !rows.contains_key(&k) && !held.contains(&k)
    };
    match *action {
        Action::Insert(k, a, b) => free(rows, held, k) && rows.insert(k, (k, a, b)).is_none(),
        Action::Refuse(k) => {
            rows.remove(&k);
            held.insert(k);
            true
        }
        Action::Update(k, Some(a), Some(b)) if held.remove(&k) => {
            rows.insert(k, (k, a, b)).is_none()
        }
        Action::Update(k, a, b) => rows.get_mut(&k).is_some_and(|row| {
            *row = (k, a.unwrap_or(row.1), b.unwrap_or(row.2));
            true
        }),
        Action::Move(from, to, a, b) => {
            if from == to || !free(rows, held, to) {
                return false;
            }
            if let (Some(a), Some(b)) = (a, b)
                && held.remove(&from)
            {
                return rows.insert(to, (to, a, b)).is_none();
            }
            let Some(old) = rows.remove(&from) else {
                return false;
            };
            rows.insert(to, (to, a.unwrap_or(old.1), b.unwrap_or(old.2)));
            true
        }
        Action::Delete(k) => held.remove(&k) | rows.remove(&k).is_some(),
    }
}

fn ints(batch: &RecordBatch, column: usize) -> Vec<Option<i32>> {
    batch.column(column).as_primitive::<Int32Type>().iter().collect()
}

/// What a destination does with a folded write.
fn land(rows: &mut BTreeMap<i32, Row>, write: TableWrite) {
    let TableWrite::Merge(write) = write else { panic!("not a merge") };
    let before = rows.clone();
    let mut insert = Vec::new();
    for batch in write.deletes.iter().chain(&write.upserts) {
        for key in ints(batch, 0) {
            rows.remove(&key.unwrap());
        }
    }
    if let Some(upserts) = &write.upserts {
        let (k, a, b) = (ints(upserts, 0), ints(upserts, 1), ints(upserts, 2));
        insert.extend((0..k.len()).map(|i| (k[i].unwrap(), a[i].unwrap(), b[i].unwrap())));
    }
    if let Some(patches) = &write.patches {
        let (k, a, b) = (ints(&patches.rows, 0), ints(&patches.rows, 1), ints(&patches.rows, 2));
        let missing = |column, row: usize| {
            patches.unchanged.iter().any(|(at, bits)| *at == column && bits.value(row))
        };
        for (i, base) in ints(&patches.base, 0).into_iter().enumerate() {
            let base = before[&base.unwrap()];
            let a = if missing(1, i) { base.1 } else { a[i].unwrap() };
            let b = if missing(2, i) { base.2 } else { b[i].unwrap() };
            rows.remove(&k[i].unwrap());
            insert.push((k[i].unwrap(), a, b));
        }
    }
    for row in insert {
        assert!(rows.insert(row.0, row).is_none(), "a key twice in one write");
    }
}

fn action() -> impl Strategy<Value = Action> {
    let value = || proptest::option::of(0..100_i32);
    prop_oneof![
        (0..5, 0..100_i32, 0..100_i32).prop_map(|(k, a, b)| Action::Insert(k, a, b)),
        (0..5, value(), value()).prop_map(|(k, a, b)| Action::Update(k, a, b)),
        (0..5, 0..5, value(), value()).prop_map(|(f, t, a, b)| Action::Move(f, t, a, b)),
        (0..5).prop_map(Action::Delete),
        (0..5).prop_map(Action::Refuse),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn folding_equals_applying_one_by_one(
        seed in proptest::collection::btree_map(0..5_i32, (0..100_i32, 0..100_i32), 0..5),
        actions in proptest::collection::vec(action(), 0..24),
        cut in 0_usize..24,
    ) {
        let table = table(Identity::Key);
        let mut oracle: BTreeMap<i32, Row> =
            seed.into_iter().map(|(k, (a, b))| (k, (k, a, b))).collect();
        let mut landed = oracle.clone();
        let mut held = BTreeSet::new();
        let possible = |action: &Action| apply(&mut oracle, &mut held, action);
        let valid: Vec<Action> = actions.into_iter().filter(possible).collect();
        let (first, second) = valid.split_at(cut.min(valid.len()));
        for part in [first, second] {
            let cells: Vec<Cells> = part.iter().flat_map(log_of).collect();
            land(&mut landed, fold(&batch(&table, &cells), &plan(&table), 0).unwrap());
        }
        prop_assert_eq!(landed, oracle);
    }

    #[test]
    fn a_multiset_folds_to_its_net_effect(
        ops in proptest::collection::vec((any::<bool>(), 0..3_i32, proptest::option::of(0..2_i32)), 0..30),
    ) {
        let table = table(Identity::FullRow);
        let cells: Vec<Cells> = ops
            .iter()
            .map(|(insert, k, a)| {
                let op = if *insert { Op::Insert } else { Op::Delete };
                (op, [Some(*k), *a, None], [false, false])
            })
            .collect();
        let mut net: BTreeMap<(i32, Option<i32>), i64> = BTreeMap::new();
        for (insert, k, a) in &ops {
            *net.entry((*k, *a)).or_default() += if *insert { 1 } else { -1 };
        }
        net.retain(|_, count| *count != 0);
        let write = fold(&batch(&table, &cells), &plan(&table), 0).unwrap();
        let TableWrite::Multiset(write) = write else { panic!("not a multiset") };
        let mut got: BTreeMap<(i32, Option<i32>), i64> = BTreeMap::new();
        for (rows, sign) in [(&write.inserts, 1), (&write.removes, -1)] {
            for rows in rows.iter() {
                for (k, a) in ints(rows, 0).into_iter().zip(ints(rows, 1)) {
                    *got.entry((k.unwrap(), a)).or_default() += sign;
                }
            }
        }
        prop_assert_eq!(got, net);
    }
}

#[test]
fn a_row_whose_key_cannot_be_represented_removes_nothing() {
    let table = table(Identity::Key);
    let nobody = (Op::Refuse, [None, None, None], [false, false]);
    let cells = [&log_of(&Action::Insert(1, 1, 1))[..], &[nobody]].concat();
    let write = fold(&batch(&table, &cells), &plan(&table), 0).unwrap();
    let TableWrite::Merge(write) = write else { panic!("not a merge") };
    assert!(write.deletes.is_none());
    assert_eq!(write.upserts.unwrap().num_rows(), 1);
}

#[test]
fn a_row_that_is_kept_out_comes_back_only_whole() {
    let table = table(Identity::Key);
    let cells = [Action::Refuse(1), Action::Update(1, Some(1), None)];
    let cells: Vec<Cells> = cells.iter().flat_map(log_of).collect();
    let error = fold(&batch(&table, &cells), &plan(&table), 0).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Data);
}

#[test]
fn a_row_kept_out_of_a_multiset_is_neither_added_nor_removed() {
    let table = table(Identity::FullRow);
    let cells = [(Op::Refuse, [None, None, None], [false, false])];
    let write = fold(&batch(&table, &cells), &plan(&table), 0).unwrap();
    let TableWrite::Multiset(write) = write else { panic!("not a multiset") };
    assert!(write.removes.is_none() && write.inserts.is_none());
}

#[test]
fn an_update_after_a_delete_is_a_contradiction() {
    let table = table(Identity::Key);
    let cells = [Action::Delete(1), Action::Update(1, Some(1), None)];
    let cells: Vec<Cells> = cells.iter().flat_map(log_of).collect();
    let error = fold(&batch(&table, &cells), &plan(&table), 0).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Data);
}

#[test]
fn a_fence_leaves_out_what_the_copy_has() {
    let table = table(Identity::Key);
    let actions =
        [Action::Insert(1, 1, 1), Action::Insert(2, 2, 2), Action::Update(2, None, Some(3))];
    let cells: Vec<Cells> = actions.iter().flat_map(log_of).collect();
    let mut batch = batch(&table, &cells);
    let commit = |position| Commit { position: Offset(position), xid: 0, committed_at: 0 };
    batch.commits =
        vec![CommitRun { commit: commit(10), rows: 1 }, CommitRun { commit: commit(20), rows: 2 }];
    let fence = crate::Fence::Below(Offset(20));
    let rest = batch.clone().outside(&fence).unwrap().unwrap();
    rest.validate().unwrap();
    assert_eq!(ints(&rest.rows, 0), [Some(2), Some(2)]);
    assert_eq!(rest.ordinals, [1, 2]);
    assert!(rest.unchanged.is_set(1, 1) && !rest.unchanged.is_set(0, 1));
    assert!(batch.clone().outside(&crate::Fence::Below(Offset(21))).unwrap().is_none());
    assert_eq!(batch.outside(&crate::Fence::Nothing).unwrap().unwrap().len(), 3);
}
