//! What a view of a table shows, and when.

mod history;
mod memory;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch, UInt32Array};
use arrow_schema::{DataType, Field};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use rowtide_core::canonical::{BucketSet, Digest, Encoder};
use rowtide_core::view::{Fixed, Inspect, RowsOf, TableView, ViewRequest};
use rowtide_core::{
    DeleteMode, Destination, ErrorKind, MergeWrite, MetadataColumns, Phase, TablePlan, TableWrite,
};

use crate::support::{
    Item, PIPELINE, Place, checkpoint, commit_at, item_fields, item_rows, items, place, plan, raw,
    schema, state_of,
};

pub(crate) fn request(plan: &TablePlan) -> ViewRequest {
    ViewRequest {
        pipeline: PIPELINE.into(),
        plan: plan.clone(),
        condition: None,
        range: None,
        share: Fixed::of(1),
        batch_bytes: 1 << 20,
        statement: std::time::Duration::from_secs(1),
    }
}

pub(crate) async fn view(place: &Place, plan: &TablePlan) -> Box<dyn TableView> {
    place.destination.view(request(plan)).await.unwrap()
}

/// All rows that `view` still gives, ordered by the first column.
pub(crate) async fn all_rows(view: &mut Box<dyn TableView>, plan: &TablePlan) -> RecordBatch {
    let mut batches = Vec::new();
    while let Some(viewed) = view.next().await.unwrap() {
        assert!(viewed.versions.is_none());
        batches.push(viewed.rows);
    }
    let rows = concat_batches(&plan.source.arrow(), &batches).unwrap();
    let ids: &Int64Array = rows.column(0).as_primitive();
    let mut order: Vec<u32> = (0..u32::try_from(rows.num_rows()).unwrap()).collect();
    order.sort_by_key(|&row| ids.is_valid(row as usize).then(|| ids.value(row as usize)));
    take_record_batch(&rows, &UInt32Array::from(order)).unwrap()
}

/// The rows as text, in the order of their first column.
pub(crate) async fn texts(view: &mut Box<dyn TableView>, plan: &TablePlan) -> Vec<String> {
    view.begin(RowsOf::All).await.unwrap();
    let rows = all_rows(view, plan).await;
    let forms = Encoder::new(&plan.source).unwrap().forms(&rows).unwrap();
    forms.into_iter().map(|form| String::from_utf8(form.into()).unwrap()).collect()
}

/// Copies `batches` to the target of `plan`.
pub(crate) async fn loaded(place: &Place, plan: &TablePlan, batches: Vec<RecordBatch>) {
    let mut writer = place.destination.open(PIPELINE).await.unwrap();
    for mut loader in place.destination.load(PIPELINE, plan, 1).await.unwrap() {
        for batch in &batches {
            loader.write(batch.clone()).await.unwrap();
        }
        loader.finish().await.unwrap();
    }
    writer.promote(plan).await.unwrap();
    writer.remember(&state_of(plan, Phase::Streaming)).await.unwrap();
    commit_at(&mut writer, 1).await.unwrap();
}

fn upserts(plan: &TablePlan, rows: &[Item<'_>]) -> TableWrite {
    let upserts = Some(item_rows(plan, rows));
    TableWrite::Merge(MergeWrite { upserts, ..MergeWrite::default() })
}

fn deletes(plan: &TablePlan, ids: &[i64]) -> TableWrite {
    let rows: Vec<Item<'_>> = ids.iter().map(|id| (*id, None, None)).collect();
    let deletes = crate::support::with_metadata(
        plan,
        item_rows(&items(), &rows).columns().to_vec(),
        "delete",
    );
    TableWrite::Merge(MergeWrite { deletes: Some(deletes), ..MergeWrite::default() })
}

#[tokio::test]
async fn a_view_stands_still_while_epochs_go_on() {
    let (place, plan) = (place(), items());
    let mut writer = place.begin(&plan).await;
    let many: Vec<Item<'_>> = (0..20_000).map(|id| (id, Some("before"), None)).collect();
    writer.write(&plan, upserts(&plan, &many)).await.unwrap();
    commit_at(&mut writer, 5).await.unwrap();
    let mut view = view(&place, &plan).await;
    assert_eq!(view.moment().checkpoint, checkpoint(5));
    view.begin(RowsOf::All).await.unwrap();
    let first = view.next().await.unwrap().unwrap().rows;
    let mut digests = Vec::new();
    for epoch in 0..6 {
        let gone: Vec<i64> = (epoch * 3_000..epoch * 3_000 + 2_500).collect();
        writer.write(&plan, deletes(&plan, &gone)).await.unwrap();
        writer.write(&plan, upserts(&plan, &[(epoch, Some("after"), Some("x"))])).await.unwrap();
        commit_at(&mut writer, 6 + epoch.cast_unsigned()).await.unwrap();
        // Each new staging table folds the log into the file, if it can.
        let other =
            TablePlan { target: rowtide_core::TableName::new("public", "o"), ..plan.clone() };
        for loader in place.destination.load("other", &other, 1).await.unwrap() {
            loader.finish().await.unwrap();
        }
        if epoch == 0 {
            // What was begun goes on, as it was.
            let rest = all_rows(&mut view, &plan).await;
            assert_eq!(first.num_rows() + rest.num_rows(), 20_000);
        }
        digests.push(view.digest(4).await.unwrap().unwrap());
    }
    let mut expected = Digest::empty(4);
    let encoder = Encoder::new(&plan.source).unwrap();
    encoder.sum_up(&item_rows(&plan, &many), &mut expected).unwrap();
    assert_eq!(digests, vec![expected; 6]);
    let keys: Vec<i64> = (0..20_000).step_by(7).collect();
    let keys = vec![Arc::new(Int64Array::from(keys)) as arrow_array::ArrayRef];
    let keys = RecordBatch::try_new(plan.source.key_arrow(), keys).unwrap();
    view.begin(RowsOf::Keys(keys.clone())).await.unwrap();
    assert_eq!(all_rows(&mut view, &plan).await.num_rows(), keys.num_rows());
    drop(view);
    let counted = self::view(&place, &plan).await.count().await.unwrap();
    assert_eq!(counted, 20_000 - 6 * 2_500 + 6);
}

#[tokio::test]
async fn rows_are_picked_by_bucket_and_by_key() {
    let (place, plan) = (place(), items());
    let many: Vec<Item<'_>> = (0..5_000).map(|id| (id, Some("x"), None)).collect();
    let rows = item_rows(&plan, &many);
    loaded(&place, &plan, vec![rows.clone()]).await;
    let mut view = view(&place, &plan).await;
    let encoder = Encoder::new(&plan.source).unwrap();
    let buckets = BucketSet { bits: 8, buckets: BTreeSet::from([0, 77, 255]) };
    view.begin(RowsOf::Buckets(buckets.clone())).await.unwrap();
    let shown = all_rows(&mut view, &plan).await;
    let hashes = encoder.hash(&rows).unwrap().keys;
    let wanted: Vec<u32> = (0_u32..)
        .zip(&hashes)
        .filter(|(_, hash)| buckets.contains(**hash))
        .map(|(row, _)| row)
        .collect();
    assert!(!wanted.is_empty() && wanted.len() < 200, "{}", wanted.len());
    assert_eq!(shown, take_record_batch(&rows, &UInt32Array::from(wanted)).unwrap());

    let keys = vec![Arc::new(Int64Array::from(vec![4_999, -5, 0, 77])) as arrow_array::ArrayRef];
    let keys = RecordBatch::try_new(plan.source.key_arrow(), keys).unwrap();
    view.begin(RowsOf::Keys(keys)).await.unwrap();
    let shown = all_rows(&mut view, &plan).await;
    assert_eq!(shown.column(0).as_primitive::<Int64Type>().values(), &[0, 77, 4_999]);
    assert!(view.next().await.unwrap().is_none());

    // Nothing was written for it.
    view.begin(RowsOf::Since("anything".to_owned())).await.unwrap();
    assert_eq!(all_rows(&mut view, &plan).await, rows);
    let tables =
        "SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND schema_name <> '_rowtide'";
    assert_eq!(place.rows(tables).await, ["items"]);
}

#[tokio::test]
async fn rows_marked_deleted_are_none() {
    let place = place();
    let soft =
        TablePlan { delete: DeleteMode::Soft, metadata: MetadataColumns::soft_delete(), ..items() };
    let mut writer = place.begin(&soft).await;
    let rows = [(1, Some("a"), None), (2, Some(""), None), (3, None, Some("b"))];
    writer.write(&soft, upserts(&soft, &rows)).await.unwrap();
    writer.write(&soft, deletes(&soft, &[1])).await.unwrap();
    commit_at(&mut writer, 9).await.unwrap();
    let mut view = view(&place, &soft).await;
    assert_eq!(texts(&mut view, &soft).await, [r#"(2,"",)"#, "(3,,b)"]);
    assert_eq!(view.count().await.unwrap(), 2);
    drop(view);
    raw(&place, "UPDATE public.items SET _rowtide_deleted = NULL WHERE id = 1").await;
    let mut view = self::view(&place, &soft).await;
    assert_eq!(view.count().await.unwrap(), 3);
    assert_eq!(view.moment().checkpoint, checkpoint(9));
}

#[tokio::test]
async fn rows_are_those_that_fulfil_the_condition() {
    let (place, plan) = (place(), items());
    let rows = [(1, Some("a"), None), (2, Some("b"), None), (3, None, Some("b"))];
    loaded(&place, &plan, vec![item_rows(&plan, &rows)]).await;
    let asked =
        |condition: &str| ViewRequest { condition: Some(condition.to_owned()), ..request(&plan) };
    let some = asked("name = 'b' OR note = 'b' -- and nothing else");
    let mut view = place.destination.view(some).await.unwrap();
    assert_eq!(texts(&mut view, &plan).await, ["(2,b,)", "(3,,b)"]);
    assert_eq!(view.count().await.unwrap(), 2);
    for wrong in ["nowhere = 1", "name = ", "true; DROP TABLE public.items", "1 +"] {
        let error = place.destination.view(asked(wrong)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}: {error}");
    }
    assert_eq!(view.count().await.unwrap(), 2);
}

#[tokio::test]
async fn rows_without_a_key_are_all_shown() {
    let place = place();
    let bag = plan(schema((9, "bag"), 1, item_fields(), vec![]));
    let rows = [(1, Some("a"), None), (1, Some("a"), None), (2, None, None)];
    loaded(&place, &bag, vec![item_rows(&bag, &rows)]).await;
    let mut view = view(&place, &bag).await;
    assert_eq!(texts(&mut view, &bag).await, ["(1,a,)", "(1,a,)", "(2,,)"]);
    let buckets = BucketSet { bits: 4, buckets: BTreeSet::from([1]) };
    view.begin(RowsOf::Buckets(buckets)).await.unwrap();
    assert_eq!(all_rows(&mut view, &bag).await.num_rows(), 3);
}

#[tokio::test]
async fn columns_that_differ_are_named() {
    let (place, plan) = (place(), items());
    loaded(&place, &plan, vec![item_rows(&plan, &[(1, Some("12"), None)])]).await;
    let refused = async |sql: &str, kind: ErrorKind, words: &[&str]| {
        raw(&place, sql).await;
        let error = place.destination.view(request(&plan)).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        for word in words {
            assert!(error.message().contains(word), "{sql}: {error}");
        }
    };
    let drift = ErrorKind::SchemaDrift;
    // The rows are shown all the same; that there is more in them is told apart.
    raw(&place, "ALTER TABLE public.items ADD COLUMN more INT").await;
    assert_eq!(view(&place, &plan).await.count().await.unwrap(), 1);
    let gaps = place.destination.column_gaps("p", &plan).await.unwrap();
    assert_eq!((gaps.missing, gaps.extra), (vec![], vec!["more".to_owned()]));
    refused(
        "ALTER TABLE public.items DROP COLUMN more; ALTER TABLE public.items DROP COLUMN note",
        drift,
        &["\"note\"", "missing"],
    )
    .await;
    refused("ALTER TABLE public.items ADD COLUMN note INT", drift, &["\"note\"", "INTEGER"]).await;
    refused("ALTER TABLE public.items RENAME TO old", drift, &["gone"]).await;
    refused("CREATE VIEW public.items AS FROM public.old", ErrorKind::Access, &["view"]).await;
    let other = ViewRequest { pipeline: "nobody".into(), ..request(&plan) };
    let error = place.destination.view(other).await.err().unwrap();
    assert!(error.message().contains("nobody"), "{error}");
    let nowhere = crate::support::at(place.path.with_extension("missing"));
    assert!(nowhere.view(request(&plan)).await.is_err());
    assert!(!place.path.with_extension("missing").exists());
}

/// A target may be wider than its source after changes; a value that the source cannot have is
/// then no rounded one.
#[tokio::test]
async fn wider_columns_show_what_the_source_can_have() {
    let place = place();
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("n", DataType::Decimal128(6, 2), true),
        Field::new("d", DataType::Date32, true),
    ];
    let plan = plan(schema((4, "wide"), 1, fields, vec![0]));
    loaded(&place, &plan, vec![]).await;
    raw(&place, "ALTER TABLE public.wide ALTER n TYPE DECIMAL(12,4); ALTER TABLE public.wide ALTER d TYPE VARCHAR; \
        INSERT INTO public.wide VALUES (1, 12.34, '2024-01-02'), (2, NULL, 'infinity'), (3, -1, NULL)").await;
    let mut shown = view(&place, &plan).await;
    let expected = ["(1,12.34,2024-01-02)", "(2,,infinity)", "(3,-1.00,)"];
    assert_eq!(texts(&mut shown, &plan).await, expected);
    drop(shown);
    raw(&place, "INSERT INTO public.wide VALUES (4, 12.345, NULL)").await;
    let error = place.destination.view(request(&plan)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::SchemaDrift, "{error}");
    assert!(error.message().contains("\"n\"") && !error.message().contains("345"), "{error}");
}
