//! Looking at targets as rows of their source.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field};
use arrow_select::concat::concat_batches;
use rowtide_core::canonical::{BucketSet, Digest, Encoder};
use rowtide_core::traits::Progress;
use rowtide_core::view::{Fixed, RowsOf, TableView, ViewRequest};
use rowtide_core::{
    Destination, Error, ErrorKind, MergeWrite, MetadataColumns, Mode, Phase, Result, TablePlan,
    TableWrite,
};

use crate::support::{
    Db, checkpoint, commit_at, item_fields, item_rows, items, plan, schema, soft_items,
};

async fn open(db: &Db<'_>, plan: &TablePlan) -> Result<Box<dyn TableView>> {
    let request = ViewRequest {
        pipeline: db.pipeline().into(),
        plan: plan.clone(),
        condition: None,
        range: None,
        share: Fixed::of(3),
        batch_bytes: 1_000,
        statement: Duration::from_millis(20),
    };
    let destination = db.destination();
    destination.inspect().unwrap().view(request).await
}

async fn look(db: &Db<'_>, plan: &TablePlan) -> Box<dyn TableView> {
    open(db, plan).await.unwrap()
}

async fn refused(db: &Db<'_>, plan: &TablePlan) -> Error {
    match open(db, plan).await {
        Ok(_) => panic!("{} is not to be looked at", plan.target),
        Err(error) => error,
    }
}

async fn read(view: &mut Box<dyn TableView>, rows: RowsOf, plan: &TablePlan) -> RecordBatch {
    view.begin(rows).await.unwrap();
    let mut batches = Vec::new();
    while let Some(viewed) = view.next().await.unwrap() {
        assert_eq!(viewed.versions, None);
        batches.push(viewed.rows);
    }
    concat_batches(&plan.source.arrow(), &batches).unwrap()
}

/// Each row as its texts, in order.
fn shown(plan: &TablePlan, rows: &RecordBatch) -> Vec<String> {
    let encoder = Encoder::new(&plan.source).unwrap();
    let forms = encoder.forms(rows).unwrap();
    let mut forms: Vec<_> =
        forms.iter().map(|form| String::from_utf8_lossy(form).into_owned()).collect();
    forms.sort_unstable();
    forms
}

/// The rows of `plan`'s target, which are counted and summed up as they are read.
async fn standing(db: &Db<'_>, plan: &TablePlan) -> Vec<String> {
    let mut view = look(db, plan).await;
    let rows = read(&mut view, RowsOf::All, plan).await;
    assert_eq!(view.count().await.unwrap(), rows.num_rows() as u64);
    let mut here = Digest::empty(3);
    Encoder::new(&plan.source).unwrap().sum_up(&rows, &mut here).unwrap();
    assert_eq!(view.digest(3).await.unwrap().unwrap(), here);
    shown(plan, &rows)
}

fn keys(plan: &TablePlan, ids: &[i64]) -> RowsOf {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RowsOf::Keys(RecordBatch::try_new(plan.source.key_arrow(), vec![ids]).unwrap())
}

fn ids(rows: &RecordBatch) -> Vec<i64> {
    let mut ids = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
    ids.sort_unstable();
    ids
}

pub(crate) async fn a_view_is_of_its_checkpoint(db: &Db<'_>) {
    let plan = items();
    let mut writer = db.begin(&plan).await;
    let upserts = |items: &[(i64, Option<&str>, Option<&str>)]| {
        let upserts = Some(item_rows(&plan, items));
        TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
    };
    let first = [(1, Some(""), None), (2, Some("a \"b\"\\"), Some("x,y")), (3, None, Some("é\t"))];
    writer.write(&plan, upserts(&first)).await.unwrap();
    commit_at(&mut writer, 5).await.unwrap();
    let mut view = look(db, &plan).await;
    writer.write(&plan, upserts(&[(1, Some("later"), None), (9, None, None)])).await.unwrap();
    commit_at(&mut writer, 6).await.unwrap();
    assert_eq!(view.moment().checkpoint, checkpoint(5));
    let rows = read(&mut view, RowsOf::All, &plan).await;
    assert_eq!(rows.schema(), plan.source.arrow());
    assert_eq!(
        shown(&plan, &rows),
        ["(1,\"\",)", "(2,\"a \"\"b\"\"\\\\\",\"x,y\")", "(3,,\"é\t\")"]
    );
    drop(view);
    let mut view = look(db, &plan).await;
    assert_eq!(view.moment().checkpoint, checkpoint(6));
    assert_eq!(view.moment().mark, None);
    assert_eq!(ids(&read(&mut view, keys(&plan, &[9, 10, 2]), &plan).await), [2, 9]);
    assert_eq!(ids(&read(&mut view, RowsOf::Since("1:1:".into()), &plan).await), [1, 2, 3, 9]);
    drop(view);
    // Many rows, in many pieces.
    db.sql("ALTER TABLE items SET (fillfactor = 10)");
    db.sql(
        "INSERT INTO items SELECT n, repeat('n', 100), n::text FROM generate_series(100, 20099) n",
    );
    assert_eq!(standing(db, &plan).await.len(), 20_004);
    let mut view = look(db, &plan).await;
    let buckets = BucketSet { bits: 5, buckets: [0, 30].into() };
    let found = read(&mut view, RowsOf::Buckets(buckets.clone()), &plan).await;
    let hashes = Encoder::new(&plan.source).unwrap().hash(&found).unwrap().keys;
    assert!(hashes.len() > 500 && hashes.iter().all(|hash| buckets.contains(*hash)));
}

pub(crate) async fn what_was_changed_by_hand_is_told(db: &Db<'_>) {
    let plan = items();
    let mut writer = db.begin(&plan).await;
    let upserts = Some(item_rows(&plan, &[(1, Some("a"), None)]));
    let write = TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() });
    writer.write(&plan, write).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    // A type that holds all is read as well, and a column of somebody else's is theirs.
    db.sql("ALTER TABLE items ALTER id TYPE numeric, ADD COLUMN theirs int DEFAULT 5");
    let mut view = look(db, &plan).await;
    assert!(view.digest(3).await.unwrap().is_none());
    assert_eq!(shown(&plan, &read(&mut view, RowsOf::All, &plan).await), ["(1,a,)"]);
    assert_eq!(ids(&read(&mut view, keys(&plan, &[1, 2]), &plan).await), [1]);
    drop(view);
    let gaps = db.destination().inspect().unwrap().column_gaps(db.pipeline(), &plan).await.unwrap();
    assert_eq!((gaps.missing, gaps.extra), (vec![], vec!["theirs".to_owned()]));
    db.sql("ALTER TABLE items ALTER id TYPE smallint");
    let error = refused(db, &plan).await;
    assert_eq!(error.kind(), ErrorKind::SchemaDrift);
    assert!(error.message().contains("\"id\" is smallint"), "{error}");
    db.sql("ALTER TABLE items ALTER id TYPE bigint, DROP COLUMN note");
    let error = refused(db, &plan).await;
    assert_eq!(error.kind(), ErrorKind::SchemaDrift);
    assert!(error.message().contains("\"note\" is gone"), "{error}");
    db.sql(
        "ALTER TABLE items RENAME TO was; CREATE VIEW items AS SELECT *, ''::text AS note FROM was",
    );
    let error = refused(db, &plan).await;
    assert_eq!(error.kind(), ErrorKind::Access);
    assert!(error.message().contains("is a view"), "{error}");
    db.sql("DROP VIEW items");
    assert_eq!(refused(db, &plan).await.kind(), ErrorKind::SchemaDrift);
}

pub(crate) async fn rows_marked_deleted_do_not_stand(db: &Db<'_>) {
    let plan = soft_items();
    db.begin(&plan).await;
    db.sql(
        "INSERT INTO items (id, name, _rowtide_deleted) \
         VALUES (1, 'a', false), (2, 'b', true), (3, 'c', NULL)",
    );
    assert_eq!(standing(db, &plan).await, ["(1,a,)", "(3,c,)"]);
    let mut view = look(db, &plan).await;
    assert_eq!(ids(&read(&mut view, keys(&plan, &[1, 2]), &plan).await), [1]);
}

fn history(key: Vec<usize>) -> TablePlan {
    TablePlan {
        mode: Mode::Append,
        metadata: MetadataColumns::append(),
        ..plan(schema((7, "items"), item_fields(), key))
    }
}

/// Adds events: position, order, kind, the row, and the columns that are not repeated.
fn happened(db: &Db<'_>, events: &[(i64, Option<i64>, &str, &str, &str)]) {
    let event = |(position, seq, op, row, unchanged): &(i64, Option<i64>, &str, &str, &str)| {
        let seq = seq.map_or("NULL".to_owned(), |seq| seq.to_string());
        let unchanged = if unchanged.is_empty() { "NULL" } else { unchanged };
        format!("({row}, '{op}', {position}, {seq}, {unchanged})")
    };
    let events: Vec<_> = events.iter().map(event).collect();
    db.sql(&format!(
        "INSERT INTO items (id, name, note, _rowtide_op, _rowtide_position, _rowtide_seq, \
         _rowtide_unchanged) VALUES {}",
        events.join(", ")
    ));
}

pub(crate) async fn what_stands_is_told_from_history(db: &Db<'_>) {
    const NOTE: &str = "'{note}'::text[]";
    let plan = history(vec![0]);
    db.begin(&plan).await;
    assert!(standing(db, &plan).await.is_empty());
    happened(
        db,
        &[
            (10, None, "snapshot", "1, 'one', 'n1'", ""),
            (10, None, "snapshot", "2, 'two', 'n2'", ""),
            (10, None, "snapshot", "3, 'three', 'n3'", ""),
            (10, Some(0), "update", "1, 'uno', 'm1'", ""),
            (12, Some(3), "delete", "3, NULL, NULL", ""),
            (12, Some(4), "quarantine", "NULL, NULL, NULL", ""),
            (12, Some(5), "insert", "4, 'four', 'n4'", ""),
            (12, Some(1), "insert", "4, 'before', 'it'", ""),
            (12, Some(2), "delete", "4, NULL, NULL", ""),
            (12, Some(6), "insert", "6, 'six', ''", ""),
            (13, Some(0), "quarantine", "6, NULL, NULL", ""),
        ],
    );
    assert_eq!(standing(db, &plan).await, ["(1,uno,m1)", "(2,two,n2)", "(4,four,n4)"]);
    // Values that are not repeated: over several updates, and not from an earlier life of the key.
    happened(
        db,
        &[
            (20, Some(0), "update", "2, 'zwei', NULL", NOTE),
            (21, Some(0), "update", "2, NULL, NULL", "'{note,name}'::text[]"),
            (22, Some(0), "update", "1, 'eins', 'o1'", ""),
            (22, Some(1), "update", "1, 'einz', NULL", NOTE),
            (23, Some(0), "delete", "4, NULL, NULL", ""),
            (23, Some(1), "insert", "4, 'vier', NULL", ""),
            (24, Some(0), "update", "4, 'vierr', NULL", NOTE),
        ],
    );
    assert_eq!(standing(db, &plan).await, ["(1,einz,o1)", "(2,zwei,n2)", "(4,vierr,)"]);
    // Rows that move to other keys, and take along what is not repeated.
    happened(
        db,
        &[
            (30, Some(0), "delete", "2, NULL, NULL", ""),
            (30, Some(1), "insert", "5, 'five', NULL", NOTE),
            (30, Some(2), "delete", "1, NULL, NULL", ""),
            (30, Some(3), "insert", "2, 'two again', NULL", NOTE),
            (31, Some(0), "delete", "5, NULL, NULL", ""),
            (31, Some(1), "insert", "1, NULL, NULL", "'{note,name}'::text[]"),
            (32, Some(0), "update", "1, 'last', NULL", NOTE),
        ],
    );
    let stand = ["(1,last,n2)", "(2,\"two again\",o1)", "(4,vierr,)"];
    assert_eq!(standing(db, &plan).await, stand);
    let mut view = look(db, &plan).await;
    let found = read(&mut view, keys(&plan, &[1, 5, 4]), &plan).await;
    assert_eq!(shown(&plan, &found), ["(1,last,n2)", "(4,vierr,)"]);
    drop(view);
    // An event that is there twice is a row too many, whether its row stands or not.
    happened(
        db,
        &[
            (32, Some(0), "update", "1, 'last', NULL", NOTE),
            (12, Some(3), "delete", "3, NULL, NULL", ""),
            (10, None, "snapshot", "2, 'two', 'n2'", ""),
        ],
    );
    assert_eq!(standing(db, &plan).await.len(), 6);
}

pub(crate) async fn truncates_and_copies_make_history_void(db: &Db<'_>) {
    let plan = history(vec![0]);
    db.begin(&plan).await;
    happened(
        db,
        &[
            (10, None, "snapshot", "1, 'one', NULL", ""),
            (11, Some(0), "insert", "2, 'two', NULL", ""),
            (12, Some(1), "truncate", "NULL, NULL, NULL", ""),
            (12, Some(0), "insert", "3, 'three', NULL", ""),
            (12, Some(2), "insert", "4, 'four', NULL", ""),
            (13, Some(0), "insert", "1, 'again', NULL", ""),
        ],
    );
    assert_eq!(standing(db, &plan).await, ["(1,again,)", "(4,four,)"]);
    // Another copy holds what there was then, and what is not in it was gone.
    happened(
        db,
        &[
            (20, None, "snapshot", "4, 'four', 'copied'", ""),
            (20, Some(0), "insert", "7, 'seven', NULL", ""),
            (19, Some(0), "insert", "6, 'six', NULL", ""),
        ],
    );
    assert_eq!(standing(db, &plan).await, ["(4,four,copied)", "(7,seven,)"]);
    let bare = TablePlan { metadata: MetadataColumns::default(), ..plan };
    assert_eq!(refused(db, &bare).await.kind(), ErrorKind::Config);
}

pub(crate) async fn history_without_a_key_is_a_multiset(db: &Db<'_>) {
    let plan = history(Vec::new());
    db.begin(&plan).await;
    happened(
        db,
        &[
            (9, Some(0), "insert", "8, 'void', NULL", ""),
            (10, None, "snapshot", "1, 'a', NULL", ""),
            (10, None, "snapshot", "1, 'a', NULL", ""),
            (10, None, "snapshot", "1, 'a', ''", ""),
            (11, Some(0), "delete", "1, 'a', NULL", ""),
            (11, Some(1), "insert", "NULL, NULL, NULL", ""),
            (11, Some(2), "insert", "NULL, NULL, NULL", ""),
            (12, Some(0), "delete", "NULL, NULL, NULL", ""),
            (12, Some(1), "quarantine", "NULL, NULL, NULL", ""),
        ],
    );
    assert_eq!(standing(db, &plan).await, ["(,,)", "(1,a,\"\")", "(1,a,)"]);
}

/// A history of more events than one statement looks at: its parts are the whole.
pub(crate) async fn a_long_history_is_read_in_parts(db: &Db<'_>) {
    let history = history(vec![0]);
    db.begin(&history).await;
    db.sql(
        "INSERT INTO items (id, name, note, _rowtide_op, _rowtide_position, _rowtide_seq, \
         _rowtide_unchanged) \
         SELECT k, CASE WHEN n < 4 OR k % 7 > 0 THEN 'name ' || n END, \
         CASE n WHEN 0 THEN 'note ' || k END, \
         CASE WHEN n = 0 THEN 'snapshot' WHEN n = 4 AND k % 7 = 0 THEN 'delete' ELSE 'update' END, \
         10 + n, CASE WHEN n > 0 THEN k END, \
         CASE WHEN n > 0 AND (n < 4 OR k % 7 > 0) THEN '{note}'::text[] END \
         FROM generate_series(0, 4) n, generate_series(1, 84000) k",
    );
    let mut view = look(db, &history).await;
    let digest = view.digest(6).await.unwrap().unwrap();
    assert_eq!(view.count().await.unwrap(), 72_000);
    assert_eq!(digest.rows(), 72_000);
    let encoder = Encoder::new(&history.source).unwrap();
    let mut again = Digest::empty(6);
    view.begin(RowsOf::All).await.unwrap();
    let mut seen = 0;
    while let Some(viewed) = view.next().await.unwrap() {
        seen += viewed.rows.num_rows();
        encoder.sum_up(&viewed.rows, &mut again).unwrap();
    }
    assert_eq!((seen, again), (72_000, digest));
    let found = read(&mut view, keys(&history, &[7, 8]), &history).await;
    assert_eq!(shown(&history, &found), ["(8,\"name 4\",\"note 8\")"]);
}

pub(crate) async fn types_of_other_systems_are_looked_at(db: &Db<'_>) {
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("n", DataType::Decimal128(10, 2), true),
        Field::new("l", DataType::List(Arc::new(Field::new("item", DataType::Int32, true))), true),
        Field::new("f", DataType::Float64, true),
    ];
    let plan = plan(schema((9, "items"), fields, vec![0]));
    let mut writer = db.begin(&plan).await;
    writer.remember(&plan.state(Phase::Streaming)).await.unwrap();
    db.sql(
        "INSERT INTO items VALUES (1, 1.5, '{1,NULL}', '-0'), (2, -0.05, '{}', 'NaN'), \
         (3, NULL, '{5,6}', 1e300)",
    );
    let stand = standing(db, &plan).await;
    assert_eq!(stand[0], "(1,1.50,\"{1,NULL}\",8000000000000000)");
    assert!(stand[1].starts_with("(2,-0.05,{},7ff8000000000000"), "{stand:?}");
    assert!(stand[2].starts_with("(3,,\"{5,6}\","), "{stand:?}");
    let mut view = look(db, &plan).await;
    let rows = read(&mut view, keys(&plan, &[3]), &plan).await;
    assert!(rows.column(1).is_null(0));
}
