//! Tables with as many columns as there can be: what is staged beside their rows has no room.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field};
use rowtide_core::{MergeWrite, MultisetWrite, Patches, TablePlan, TableWrite};

use crate::support::{Db, commit_at, plan, schema};

const COLUMNS: i64 = 1_600;
const ROWS: i64 = 190;
/// By how much every key changes.
const MOVED: i64 = 1_000;

/// The value of the row that began as `id` in column `at`. Rows are sparse, for they have to fit
/// into a page, and of very different sizes, so that later ones fit where earlier ones did not.
fn value(kind: &str, id: i64, at: i64) -> Option<String> {
    let length = usize::try_from(id * id * 7919 % 101).unwrap();
    (at % 40 == id % 40).then(|| format!("{kind} {id} {at} {}", "x".repeat(length)))
}

fn wide(key: Vec<usize>) -> TablePlan {
    let text = (1..COLUMNS).map(|at| Field::new(format!("c{at}"), DataType::Utf8, true));
    let id = Field::new("c0", DataType::Int64, true);
    plan(schema((31, "wide"), std::iter::once(id).chain(text).collect(), key))
}

fn rows(plan: &TablePlan, by: i64, kind: impl Fn(i64, i64) -> Option<&'static str>) -> RecordBatch {
    let ids: Int64Array = (0..ROWS).map(|id| Some(id + by)).collect();
    let mut columns: Vec<ArrayRef> = vec![Arc::new(ids)];
    for at in 1..COLUMNS {
        let values = (0..ROWS).map(|id| kind(id, at).and_then(|kind| value(kind, id, at)));
        columns.push(Arc::new(values.collect::<StringArray>()));
    }
    RecordBatch::try_new(plan.target_arrow(), columns).unwrap()
}

/// Half of the columns, one half for every other row.
fn is_missing(id: i64, at: i64) -> bool {
    (at % 80 >= 40) == (id % 2 == 1)
}

pub(crate) async fn wide_rows_are_completed(db: &Db<'_>) {
    let plan = wide(vec![0]);
    let mut writer = db.begin(&plan).await;
    let upserts = Some(rows(&plan, 0, |_, _| Some("old")));
    let write = TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() });
    writer.write(&plan, write).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    // More than once: temporary tables that were used before may be filled in another order.
    for time in 1..=3 {
        let kind = if time == 3 { "new" } else { "old" };
        let by = MOVED * time;
        let keys: Int64Array = (0..ROWS).map(|id| Some(id + by - MOVED)).collect();
        let unchanged = (1..COLUMNS).map(|at| {
            let bits: BooleanBuffer = (0..ROWS).map(|id| is_missing(id, at)).collect();
            (usize::try_from(at).unwrap(), bits)
        });
        let patches = Patches {
            rows: rows(&plan, by, |id, at| (!is_missing(id, at)).then_some(kind)),
            unchanged: unchanged.collect(),
            base: RecordBatch::try_new(plan.source.key_arrow(), vec![Arc::new(keys)]).unwrap(),
        };
        // The rows that stand under the old keys go, as the fold would say.
        let write = MergeWrite {
            deletes: Some(rows(&plan, by - MOVED, |_, _| None)),
            patches: Some(patches),
            ..MergeWrite::default()
        };
        writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
        commit_at(&mut writer, 1 + u64::try_from(time).unwrap()).await.unwrap();
    }
    let cells = format!(
        "SELECT c0 - 3 * {MOVED} AS id, substr(key, 2)::bigint AS at, value \
         FROM wide, jsonb_each_text(to_jsonb(wide)) WHERE key <> 'c0'"
    );
    let expected = "CASE WHEN at % 40 = id % 40 THEN concat_ws(' ', \
             CASE WHEN (at % 80 >= 40) = (id % 2 = 1) THEN 'old' ELSE 'new' END, id, at, \
             repeat('x', (id * id * 7919 % 101)::int)) END";
    let query = format!(
        "SELECT count(*), count(value), count(*) FILTER (WHERE value IS DISTINCT FROM {expected}) \
         FROM ({cells}) AS cells"
    );
    let filled = (1..COLUMNS).map(|at| (0..ROWS).filter(|id| at % 40 == id % 40).count());
    let filled: usize = filled.sum();
    assert_eq!(db.sql(&query), format!("{}|{filled}|0", ROWS * (COLUMNS - 1)));
}

pub(crate) async fn wide_rows_without_a_key_are_removed(db: &Db<'_>) {
    let plan = wide(Vec::new());
    let mut writer = db.begin(&plan).await;
    let all = rows(&plan, 0, |_, _| Some("old"));
    for write in [
        MultisetWrite { removes: None, inserts: Some(all.clone()) },
        MultisetWrite {
            removes: Some(all.slice(10, usize::try_from(ROWS).unwrap() - 30)),
            inserts: Some(all.slice(0, 5)),
        },
    ] {
        writer.write(&plan, TableWrite::Multiset(write)).await.unwrap();
        commit_at(&mut writer, 1).await.unwrap();
    }
    let left = "SELECT count(*), count(DISTINCT c0), sum(c0) FROM wide";
    let sum: i64 = (0..ROWS).chain(0..5).filter(|id| !(10..ROWS - 20).contains(id)).sum();
    assert_eq!(db.sql(left), format!("35|30|{sum}"));
}
