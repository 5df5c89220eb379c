//! Copies of tables that were copied before.

use std::sync::Arc;

use rowtide_core::{MetadataColumns, Mode, Phase, TablePlan, TableSchema};

use crate::load::load;
use crate::support::{Db, commit_at, items, state_of};

async fn copy(
    db: &Db<'_>,
    plan: &TablePlan,
    ids: std::ops::Range<i64>,
) -> rowtide_core::Result<()> {
    use rowtide_core::Destination;
    let destination = db.destination();
    let mut writer = destination.open(db.pipeline()).await.unwrap();
    let mut state = state_of(plan, Phase::Copying);
    if let Some(known) = writer.state().await.unwrap().tables.pop() {
        state = rowtide_core::TableState { phase: Phase::Copying, ..known };
    }
    writer.remember(&state).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
    load(&destination, db.pipeline(), (plan, ids)).await;
    writer.promote(plan).await?;
    writer.remember(&state_of(plan, Phase::Streaming)).await.unwrap();
    commit_at(&mut writer, 1).await
}

pub(crate) async fn a_second_copy_keeps_what_users_added(db: &Db<'_>) {
    let plan = items();
    copy(db, &plan, 0..10).await.unwrap();
    let first = db.sql("SELECT 'items'::regclass::oid::int8");
    // With nothing of theirs on it, the table is another one.
    copy(db, &plan, 0..20).await.unwrap();
    let second = db.sql("SELECT 'items'::regclass::oid::int8");
    assert_ne!(first, second);
    db.sql(
        "CREATE INDEX named ON items (name); CREATE VIEW seen AS SELECT id FROM items; \
         COMMENT ON TABLE items IS 'ours'; CREATE ROLE reader_of_items; \
         GRANT SELECT ON items TO reader_of_items",
    );
    copy(db, &plan, 5..35).await.unwrap();
    assert_eq!(db.sql("SELECT 'items'::regclass::oid::int8"), second);
    assert_eq!(db.sql("SELECT count(*), min(id) FROM seen"), "30|5");
    let kept = "SELECT to_regclass('named') IS NOT NULL, obj_description('items'::regclass), \
         has_table_privilege('reader_of_items', 'items', 'SELECT')";
    assert_eq!(db.sql(kept), "t|ours|t");
    db.sql("DROP OWNED BY reader_of_items; DROP ROLE reader_of_items");
}

pub(crate) async fn a_second_copy_may_have_other_columns(db: &Db<'_>) {
    let plan = items();
    copy(db, &plan, 0..10).await.unwrap();
    db.sql("CREATE INDEX named ON items (name)");
    // Another key, one column less by name and one more, and metadata.
    let mut source: TableSchema = (*plan.source).clone();
    let field = source.columns[2].field.as_ref().clone().with_name("remark");
    source.columns[2].field = Arc::new(field);
    source.key = vec![1, 0];
    let metadata = MetadataColumns::merge();
    let other = TablePlan { metadata, ..plan.with_source(Arc::new(source)) };
    copy(db, &other, 0..5).await.unwrap();
    let columns = "SELECT string_agg(attname, ',' ORDER BY attname) FROM pg_attribute \
         WHERE attrelid = 'items'::regclass AND attnum > 0 AND NOT attisdropped \
         AND attname NOT LIKE '\\_rowtide%'";
    assert_eq!(db.sql(columns), "id,name,remark");
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE conrelid = 'items'::regclass AND contype = 'p'";
    assert_eq!(db.sql(key), "PRIMARY KEY (name, id)");
    assert_eq!(db.sql("SELECT to_regclass('named') IS NOT NULL, count(*) FROM items"), "t|5");
    // A view that needs a column which goes is not dropped with it.
    db.sql("CREATE VIEW remarks AS SELECT remark FROM items");
    let error = copy(db, &plan, 0..3).await.unwrap_err();
    assert_eq!(error.kind(), rowtide_core::ErrorKind::SchemaDrift, "{}", error.chain());
    assert_eq!(db.sql("SELECT count(*) FROM remarks"), "5");
}

pub(crate) async fn history_is_added_to(db: &Db<'_>) {
    let history = |plan: TablePlan| TablePlan {
        mode: Mode::Append,
        metadata: MetadataColumns::append(),
        ..plan
    };
    let plan = history(items());
    copy(db, &plan, 0..10).await.unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM pg_index WHERE indrelid = 'items'::regclass"), "0");
    let mut source: TableSchema = (*plan.source).clone();
    let field = source.columns[2].field.as_ref().clone().with_name("remark");
    source.columns[2].field = Arc::new(field);
    let other = plan.with_source(Arc::new(source));
    copy(db, &other, 0..10).await.unwrap();
    let counts = "SELECT count(*), count(DISTINCT id), count(note), count(remark) FROM items";
    assert_eq!(db.sql(counts), "20|10|0|0");
    // As a table of rows it is none of that.
    copy(db, &items(), 0..4).await.unwrap();
    assert_eq!(db.sql("SELECT count(*) FROM items"), "4");
}
