//! Differences between random tables, applied as what they are: removals, then rows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Int32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field};
use async_trait::async_trait;
use proptest::prelude::*;
use rowtide_core::canonical::{Digest, Encoder};
use rowtide_core::view::{Moment, RowsOf, TableView, ViewedRows};
use rowtide_core::{Column, Identity, Result, TableName, TableSchema};

use super::difference::{Counts, Side, Sides, find};

type Rows = Vec<(i32, String)>;

fn table(keyed: bool) -> TableSchema {
    let column = |name: &str, data_type, number| Column {
        field: Arc::new(Field::new(name, data_type, true)),
        native_type: "any".into(),
        number,
    };
    let columns = vec![column("id", DataType::Int32, 1), column("v", DataType::Utf8, 2)];
    let (key, identity) =
        if keyed { (vec![0], Identity::Key) } else { (vec![], Identity::FullRow) };
    TableSchema::new((7, TableName::new("public", "t")), 1, columns, key, identity)
}

fn batch(rows: &[(i32, String)]) -> RecordBatch {
    let ids = Int32Array::from_iter_values(rows.iter().map(|row| row.0));
    let values = StringArray::from_iter_values(rows.iter().map(|row| &row.1));
    RecordBatch::try_new(table(true).arrow(), vec![Arc::new(ids), Arc::new(values)]).unwrap()
}

/// A view that gives other buckets' rows too, as a view may.
struct View {
    table: TableSchema,
    rows: Rows,
    sums_up: bool,
    left: VecDeque<Rows>,
    moment: Moment,
}

#[async_trait]
impl TableView for View {
    fn moment(&self) -> &Moment {
        &self.moment
    }

    async fn digest(&mut self, bits: u32) -> Result<Option<Digest>> {
        let mut digest = Digest::empty(bits);
        Encoder::new(&self.table)?.sum_up(&batch(&self.rows), &mut digest)?;
        Ok(self.sums_up.then_some(digest))
    }

    async fn count(&mut self) -> Result<u64> {
        Ok(self.rows.len() as u64)
    }

    async fn begin(&mut self, _: RowsOf) -> Result<()> {
        self.left = self.rows.chunks(3).map(<[_]>::to_vec).collect();
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<ViewedRows>> {
        let next = self.left.pop_front();
        Ok(next.map(|rows| ViewedRows { rows: batch(&rows), versions: None }))
    }
}

/// What is found, and what becomes of `standing` with it: rows and how often they stand.
fn mended(
    keyed: bool,
    (source, standing): (&Rows, &Rows),
) -> (Option<Counts>, BTreeMap<(i32, String), usize>) {
    let view = |rows: &Rows, sums_up| View {
        table: table(keyed),
        rows: rows.clone(),
        sums_up,
        left: VecDeque::new(),
        moment: Moment::default(),
    };
    let (source, ours) = (view(source, true), view(standing, false));
    let mut sides = Sides { source: Box::new(source), standing: Box::new(ours) };
    let (mut goes, mut comes): (Rows, Rows) = (Vec::new(), Vec::new());
    let mut take = |side, rows: RecordBatch| {
        let (ids, values) =
            (rows.column(0).as_primitive::<Int32Type>(), rows.column(1).as_string::<i32>());
        let rows = ids.values().iter().copied().zip(values.iter().flatten().map(str::to_owned));
        match side {
            Side::Source => comes.extend(rows),
            Side::Standing => goes.extend(rows),
        }
        Ok(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(find(&mut sides, &table(keyed), &mut take)).unwrap();
    let mut rows = BTreeMap::new();
    for row in standing {
        *rows.entry(row.clone()).or_insert(0) += 1;
    }
    for row in goes {
        let times = rows.get_mut(&row).expect("only what stands goes");
        *times -= 1;
    }
    for row in comes {
        *rows.entry(row).or_insert(0) += 1;
    }
    rows.retain(|_, times| *times > 0);
    (found, rows)
}

fn counted(rows: &Rows) -> BTreeMap<(i32, String), usize> {
    mended(false, (rows, rows)).1
}

/// Few different rows, so that many are equal, repeated or under one key.
fn some_rows() -> impl Strategy<Value = Rows> {
    prop::collection::vec((0_i32..30, (0_u8..3).prop_map(|v| format!("v{v}"))), 0..60)
}

proptest! {
    #[test]
    fn what_differs_makes_one_table_the_other(one in some_rows(), other in some_rows()) {
        let (found, rows) = mended(false, (&one, &other));
        prop_assert!(found.is_some());
        prop_assert_eq!(rows, counted(&one));
        // One row per key.
        let keyed = |rows: Rows| rows.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
        let (one, other): (Rows, Rows) = (keyed(one), keyed(other));
        let (found, rows) = mended(true, (&one, &other));
        prop_assert_eq!(&rows, &counted(&one));
        let counts = found.unwrap();
        let lacks = |of: &Rows, rows: &Rows| rows.iter().filter(|row| !of.contains(row)).count();
        prop_assert_eq!(counts.come, lacks(&other, &one) as u64);
        prop_assert_eq!(counts.go, lacks(&one, &other) as u64);
    }
}

#[test]
fn a_table_that_is_all_different_is_rather_copied() {
    let rows = |n: i32, word: &str| (0..n).map(|id| (id, word.to_owned())).collect::<Rows>();
    let (one, other) = (rows(30_000, "one"), rows(30_000, "other"));
    assert_eq!(mended(true, (&one, &other)).0, None);
    assert_eq!(mended(true, (&one, &Vec::new())).0, None);
    let (one, other) = (rows(9_000, "one"), rows(9_000, "other"));
    assert!(mended(true, (&one, &other)).0.is_some());
}
