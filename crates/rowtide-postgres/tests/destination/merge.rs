//! Keyed writes.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Field};
use rowtide_core::traits::Writer;
use rowtide_core::{
    ErrorKind, MergeWrite, MetadataColumns, Mode, Patches, TablePlan, TableSchema, TableWrite,
};

use crate::support::{
    Db, Item, commit_at, in_time, item_rows, items, plan, rows_of, schema, soft_items,
    with_metadata,
};

const ALL: &str = "SELECT string_agg(concat_ws(':', id, coalesce(name, '-'), coalesce(note, '-')), \
     ' ' ORDER BY id) FROM items";

fn upserts(plan: &TablePlan, items: &[Item<'_>]) -> TableWrite {
    let upserts = Some(item_rows(plan, items));
    TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
}

fn deletes(plan: &TablePlan, ids: &[i64]) -> RecordBatch {
    let rows: Vec<_> = ids.iter().map(|id| (*id, None, None)).collect();
    rows_of(plan, &rows, "delete")
}

/// Patches of `note` unchanged, each with the key of its base.
fn patches(plan: &TablePlan, rows: &[(i64, &str, i64)]) -> Patches {
    let items: Vec<_> = rows.iter().map(|(id, name, _)| (*id, Some(*name), None)).collect();
    let base: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>());
    Patches {
        rows: item_rows(plan, &items),
        unchanged: vec![(2, BooleanBuffer::new_set(rows.len()))],
        base: RecordBatch::try_new(plan.source.key_arrow(), vec![base]).unwrap(),
    }
}

pub(crate) async fn rows_are_inserted_changed_moved_and_removed(db: &Db<'_>) {
    let plan = items();
    let mut writer = db.begin(&plan).await;
    let rows = [(1, Some("one"), Some("a")), (2, Some("two"), None), (3, None, Some("c"))];
    writer.write(&plan, upserts(&plan, &rows)).await.unwrap();
    // Twice in one epoch, and an empty write.
    writer.write(&plan, upserts(&plan, &[(2, Some("zwei"), Some("b"))])).await.unwrap();
    writer.write(&plan, TableWrite::Merge(MergeWrite::default())).await.unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM items"), "0", "nothing is seen before the commit");
    commit_at(&mut writer, 1).await.unwrap();
    assert_eq!(db.sql(ALL), "1:one:a 2:zwei:b 3:-:c");
    // 1 goes, 2 moves to 5, 4 is new, and a deletion of what is not there does nothing.
    let write = MergeWrite {
        deletes: Some(deletes(&plan, &[1, 2, 99])),
        upserts: Some(item_rows(&plan, &[(4, Some("four"), None)])),
        patches: Some(patches(&plan, &[(5, "moved", 2)])),
    };
    writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    assert_eq!(db.sql(ALL), "3:-:c 4:four:- 5:moved:b");
    // What is dropped before its commit never was.
    writer.write(&plan, upserts(&plan, &[(9, None, None)])).await.unwrap();
    drop(writer);
    let mut writer =
        rowtide_core::Destination::open(&db.destination(), db.pipeline()).await.unwrap();
    assert_eq!(db.sql(ALL), "3:-:c 4:four:- 5:moved:b");
    // Mode append takes no notice of keys.
    let history = TablePlan {
        mode: Mode::Append,
        metadata: MetadataColumns::append(),
        ..plan_called("history")
    };
    writer.promote(&history).await.unwrap();
    for _ in 0..2 {
        let rows = item_rows(&history, &[(1, None, None)]);
        writer.write(&history, TableWrite::Append(rows)).await.unwrap();
    }
    commit_at(&mut writer, 3).await.unwrap();
    assert_eq!(db.sql("SELECT count(*), max(_rowtide_op) FROM history"), "2|update");
}

fn plan_called(name: &str) -> TablePlan {
    plan(schema((8, name), crate::support::item_fields(), vec![0]))
}

pub(crate) async fn unique_values_change_places(db: &Db<'_>) {
    let plan = items();
    let mut writer = db.begin(&plan).await;
    db.sql("CREATE UNIQUE INDEX ON items (name)");
    let rows = [(1, Some("a"), Some("x")), (2, Some("b"), Some("y"))];
    writer.write(&plan, upserts(&plan, &rows)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    // The values change places.
    let rows = [(1, Some("b"), None), (2, Some("a"), None)];
    writer.write(&plan, upserts(&plan, &rows)).await.unwrap();
    // The keys change places, through a third, with values that were not repeated.
    let write = MergeWrite {
        patches: Some(patches(&plan, &[(1, "a", 2), (2, "b", 1)])),
        ..MergeWrite::default()
    };
    let rows = [(1, Some("b"), Some("x")), (2, Some("a"), Some("y"))];
    writer.write(&plan, upserts(&plan, &rows)).await.unwrap();
    writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    assert_eq!(db.sql(ALL), "1:a:y 2:b:x");
}

pub(crate) async fn values_that_were_not_repeated_come_from_the_base(db: &Db<'_>) {
    let plan = items();
    let mut writer = db.begin(&plan).await;
    let rows = [(1, Some("a"), Some("x")), (2, Some("b"), None), (3, Some("c"), Some("z"))];
    writer.write(&plan, upserts(&plan, &rows)).await.unwrap();
    // Some cells of a column, in the same epoch: the base is what stands, not what stood.
    let rows = [(1, Some("A"), None), (2, Some("B"), None), (3, None, Some("Z"))];
    let base: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let patches = Patches {
        rows: item_rows(&plan, &rows),
        unchanged: vec![
            (1, BooleanBuffer::from(vec![false, false, true])),
            (2, BooleanBuffer::from(vec![true, true, false])),
        ],
        base: RecordBatch::try_new(plan.source.key_arrow(), vec![base]).unwrap(),
    };
    let write = MergeWrite { patches: Some(patches), ..MergeWrite::default() };
    writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    assert_eq!(db.sql(ALL), "1:A:x 2:B:- 3:c:Z");
}

/// A long value beside the changed one is neither read nor stored again.
pub(crate) async fn long_values_that_were_not_repeated_stay_where_they_are(db: &Db<'_>) {
    let plan = items();
    let mut writer = db.begin(&plan).await;
    let long: String = (0_u64..12_500)
        .map(|at| format!("{:08x}", (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32))
        .collect();
    let rows = [(1, Some("a"), Some(&*long)), (2, Some("b"), Some(&*long))];
    writer.write(&plan, upserts(&plan, &rows)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    let stored = "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE relname = 'items'";
    let before = db.sql(stored);
    assert!(before.parse::<u64>().unwrap() >= 200_000, "{before} bytes");
    for position in 2..=4 {
        let name = format!("name {position}");
        let write = MergeWrite {
            patches: Some(patches(&plan, &[(1, &name, 1), (2, &name, 2)])),
            ..MergeWrite::default()
        };
        writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
        commit_at(&mut writer, position).await.unwrap();
    }
    assert_eq!(db.sql("SELECT string_agg(name, ' ') FROM items"), "name 4 name 4");
    assert_eq!(db.sql("SELECT count(DISTINCT note), min(length(note)) FROM items"), "1|100000");
    assert_eq!(db.sql(stored), before, "the long values were stored again");
    // Something else is unique: values change places.
    let write = |(one, two): (&str, &str)| {
        TableWrite::Merge(MergeWrite {
            patches: Some(patches(&plan, &[(1, one, 1), (2, two, 2)])),
            ..MergeWrite::default()
        })
    };
    writer.write(&plan, write(("a", "b"))).await.unwrap();
    commit_at(&mut writer, 5).await.unwrap();
    db.sql("CREATE UNIQUE INDEX ON items (name)");
    writer.write(&plan, write(("b", "a"))).await.unwrap();
    commit_at(&mut writer, 6).await.unwrap();
    assert_eq!(db.sql("SELECT string_agg(name, ' ' ORDER BY id) FROM items"), "b a");
    assert_eq!(db.sql("SELECT count(DISTINCT note), min(length(note)) FROM items"), "1|100000");
}

pub(crate) async fn a_lost_base_stops_the_table(db: &Db<'_>) {
    let plan = items();
    let mut writer = db.begin(&plan).await;
    writer.write(&plan, upserts(&plan, &[(1, None, None)])).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    let write = MergeWrite {
        patches: Some(patches(&plan, &[(1, "is there", 1), (2, "is not", 2)])),
        ..MergeWrite::default()
    };
    let error = writer.write(&plan, TableWrite::Merge(write)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("public.items"), "{}", error.message());
    assert_eq!(writer.state().await.unwrap_err().kind(), ErrorKind::Internal, "used after failure");
    assert_eq!(db.sql(ALL), "1:-:-");
}

pub(crate) async fn soft_deletes_mark_and_removals_win(db: &Db<'_>) {
    let plan = soft_items();
    let mut writer = db.begin(&plan).await;
    let rows = [(1, Some("a"), Some("x")), (2, Some("b"), None), (3, Some("c"), None)];
    writer.write(&plan, upserts(&plan, &rows)).await.unwrap();
    let write = MergeWrite {
        deletes: Some(deletes(&plan, &[1, 2])),
        upserts: Some(item_rows(&plan, &[(2, Some("anew"), None)])),
        patches: None,
    };
    writer.write(&plan, TableWrite::Merge(write)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    let all = "SELECT string_agg(concat_ws(':', id, name, _rowtide_op, _rowtide_deleted::text), \
         ' ' ORDER BY id) FROM items";
    assert_eq!(db.sql(all), "1:a:delete:true 2:anew:update:false 3:c:update:false");
    assert_eq!(db.sql("SELECT note FROM items WHERE id = 1"), "x");
    let marker = rows_of(&plan, &[(0, None, None)], "delete");
    let source = arrow_array::new_null_array(&DataType::Int64, 1);
    let mut columns = marker.columns().to_vec();
    columns[0] = source;
    let marker = RecordBatch::try_new(marker.schema(), columns).unwrap();
    writer.write(&plan, TableWrite::Truncate { marker }).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM items WHERE _rowtide_deleted"), "3");
}

pub(crate) async fn keys_of_any_type_are_matched(db: &Db<'_>) {
    db.sql("CREATE TYPE public.mood AS ENUM ('sad', 'ok')");
    let fields = vec![
        Field::new("f", DataType::Float64, true),
        Field::new("m", DataType::Utf8, true),
        Field::new("v", DataType::Int32, true),
    ];
    let mut source = schema((11, "odd"), fields, vec![1, 0]);
    for (column, native) in
        source.columns.iter_mut().zip(["double precision", "public.mood: enum", "integer"])
    {
        column.native_type = native.to_owned();
    }
    let plan = plan(TableSchema { system: Some("postgresql".to_owned()), ..source });
    let rows = |v: i32| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, -0.0, 1.5])),
            Arc::new(StringArray::from(vec!["sad", "ok", "ok", "sad"])),
            Arc::new(Int32Array::from(vec![v; 4])),
        ];
        let upserts = Some(with_metadata(&plan, columns, "update"));
        TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
    };
    let mut writer = db.begin(&plan).await;
    for v in 1..=3 {
        writer.write(&plan, rows(v)).await.unwrap();
        commit_at(&mut writer, u64::try_from(v).unwrap()).await.unwrap();
        assert_eq!(db.sql("SELECT count(*), min(v), max(v) FROM odd"), format!("4|{v}|{v}"));
    }
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE conrelid = 'odd'::regclass AND contype = 'p'";
    assert_eq!(db.sql(key), "PRIMARY KEY (m, f)");
}

/// Two hundred thousand keys against as many rows must be one pass, and one key no pass at all.
pub(crate) async fn a_large_epoch_is_no_loop(db: &Db<'_>) {
    const ROWS: i64 = 200_000;
    let plan = items();
    let mut writer = db.begin(&plan).await;
    let rows: Vec<Item<'_>> = (0..ROWS).map(|id| (id, Some("v"), None)).collect();
    for position in 1..=2 {
        let write = writer.write(&plan, upserts(&plan, &rows));
        in_time("a large write", write).await.unwrap();
        commit_at(&mut writer, position).await.unwrap();
    }
    db.sql("ANALYZE items");
    let scans = || db.sql("SELECT pg_stat_get_numscans('items'::regclass)");
    let scanned = async || {
        // Counters are sent when a session has been idle or ends.
        db.sql("SELECT pg_stat_clear_snapshot()");
        scans()
    };
    // Those of the large epochs first, or they would come while the small ones are counted.
    let sent = format!(
        "SELECT n_tup_ins + n_tup_upd >= {} FROM pg_stat_user_tables WHERE relname = 'items'",
        2 * ROWS
    );
    db.wait_until("the statistics of the large epochs", &sent, "t").await;
    let before = scanned().await;
    for position in 3..=6 {
        let id = i64::try_from(position).unwrap();
        writer.write(&plan, upserts(&plan, &[(id, Some("w"), None)])).await.unwrap();
        commit_at(&mut writer, position).await.unwrap();
    }
    drop(writer);
    db.wait_until(
        "the writer's end",
        "SELECT count(*) FROM pg_stat_activity \
         WHERE application_name LIKE 'rowtide:%' AND datname = current_database()",
        "0",
    )
    .await;
    let found = "SELECT idx_scan >= 4 FROM pg_stat_user_indexes WHERE relname = 'items'";
    db.wait_until("the statistics", found, "t").await;
    assert_eq!(scanned().await, before, "a single key read the whole table");
    assert_eq!(
        db.sql("SELECT count(*), count(*) FILTER (WHERE name = 'w') FROM items"),
        format!("{ROWS}|4")
    );
}

pub(crate) async fn tables_are_emptied(db: &Db<'_>) {
    let plan = items();
    let mut writer = db.begin(&plan).await;
    let marker = || item_rows(&plan, &[(0, None, None)]);
    writer.write(&plan, upserts(&plan, &[(1, None, None)])).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    writer.write(&plan, TableWrite::Truncate { marker: marker() }).await.unwrap();
    writer.write(&plan, upserts(&plan, &[(2, None, None)])).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    assert_eq!(db.sql(ALL), "2:-:-");
    // A foreign key forbids TRUNCATE, even of an empty referring table.
    db.sql("CREATE TABLE referring (id bigint REFERENCES items DEFERRABLE INITIALLY DEFERRED)");
    writer.write(&plan, TableWrite::Truncate { marker: marker() }).await.unwrap();
    commit_at(&mut writer, 3).await.unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM items"), "0");
}

pub(crate) async fn constraints_of_users_are_named_and_rows_are_not(db: &Db<'_>) {
    let plan = items();
    let attempt = async |write: TableWrite| {
        let destination = db.destination();
        let opened = rowtide_core::Destination::open(&destination, db.pipeline()).await;
        let mut writer: Box<dyn Writer> = opened.unwrap();
        writer.write(&plan, write).await?;
        commit_at(&mut writer, 9).await
    };
    drop(db.begin(&plan).await);
    db.sql("ALTER TABLE items ADD CONSTRAINT no_secrets CHECK (name <> 'hush-hush')");
    let error = attempt(upserts(&plan, &[(1, Some("hush-hush"), None)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("no_secrets"), "{}", error.chain());
    assert!(!format!("{error:?}{}", error.chain()).contains("hush-hush"), "{error:?}");
    assert!(error.hint().unwrap().contains("drop the constraint"));
    // One that is checked at the end is told of at the end.
    db.sql(
        "CREATE TABLE named (name text PRIMARY KEY); ALTER TABLE items ADD CONSTRAINT known \
         FOREIGN KEY (name) REFERENCES named DEFERRABLE INITIALLY DEFERRED",
    );
    let error = attempt(upserts(&plan, &[(1, Some("nobody"), None)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("known"), "{}", error.chain());
    // One that would take other rows away is refused beforehand.
    db.sql("CREATE TABLE parts (item bigint CONSTRAINT takes_along REFERENCES items ON DELETE CASCADE)");
    let error = attempt(upserts(&plan, &[(1, None, None)])).await.unwrap_err();
    assert!(error.message().contains("takes_along"), "{}", error.chain());
}

pub(crate) async fn a_narrowed_column_is_noticed(db: &Db<'_>) {
    let fields =
        vec![Field::new("id", DataType::Int64, true), Field::new("n", DataType::Float64, true)];
    let plan = plan(schema((12, "numbers"), fields, vec![0]));
    let mut writer = db.begin(&plan).await;
    let rows = |n: f64| {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![1])), Arc::new(Float64Array::from(vec![n]))];
        let upserts = Some(with_metadata(&plan, columns, "update"));
        TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
    };
    writer.write(&plan, rows(0.5)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    // While the writer runs. Rows would be rounded without a word.
    db.sql("ALTER TABLE numbers ALTER n TYPE integer");
    let error = writer.write(&plan, rows(0.25)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("\"n\""), "{}", error.chain());
    // A wider one takes the rows, converted.
    db.sql("ALTER TABLE numbers ALTER n TYPE double precision, ALTER id TYPE numeric");
    let mut writer =
        rowtide_core::Destination::open(&db.destination(), db.pipeline()).await.unwrap();
    writer.write(&plan, rows(0.75)).await.unwrap();
    commit_at(&mut writer, 2).await.unwrap();
    assert_eq!(db.sql("SELECT id, n FROM numbers"), "1|0.75");
}
