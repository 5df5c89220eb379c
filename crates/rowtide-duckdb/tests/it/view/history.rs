//! What a view shows of an append table: the rows that its history has come to.

use rowtide_core::view::{Inspect, RowsOf, ViewRequest};
use rowtide_core::{ErrorKind, MetadataColumns, Mode, TablePlan};

use super::{all_rows, request, texts, view};
use crate::support::{Place, item_fields, items, place, plan, raw, schema};

pub(super) fn history(plan: TablePlan) -> TablePlan {
    TablePlan { mode: Mode::Append, metadata: MetadataColumns::append(), ..plan }
}

/// Adds events: their id, name and note, and as what, where and which they came, and what they
/// leave out.
async fn events(place: &Place, table: &str, events: &[&str]) {
    for event in events {
        let [row, op, position, seq, unchanged] =
            event.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
        let sql = format!(
            "INSERT INTO public.{table} (id, name, note, _rowtide_op, _rowtide_position, \
             _rowtide_seq, _rowtide_unchanged) \
             VALUES ({row}, '{op}', {position}, {seq}, {unchanged})"
        );
        raw(place, &sql).await;
    }
}

async fn shown(place: &Place, plan: &TablePlan) -> Vec<String> {
    let mut view = view(place, plan).await;
    let rows = texts(&mut view, plan).await;
    assert_eq!(view.count().await.unwrap(), rows.len() as u64);
    rows
}

#[tokio::test]
async fn the_last_event_of_each_key_counts() {
    let (place, plan) = (place(), history(items()));
    drop(place.begin(&plan).await);
    events(
        &place,
        "items",
        &[
            "1, 'copied', 'a' | snapshot | 10 | NULL | NULL",
            "2, 'copied', 'b' | snapshot | 10 | NULL | NULL",
            "3, 'copied', 'c' | snapshot | 10 | NULL | NULL",
            "3, NULL, NULL | delete | 10 | 0 | NULL",
            "2, 'first', 'x' | update | 20 | 0 | NULL",
            "2, 'second', NULL | update | 20 | 1 | ['note']",
            "4, 'new', 'y' | insert | 20 | 2 | NULL",
            "5, 'new', 'z' | insert | 20 | 3 | NULL",
            "5, NULL, NULL | quarantine | 30 | 0 | NULL",
            "6, NULL, NULL | delete | 30 | 1 | NULL",
            "6, 'again', NULL | insert | 30 | 2 | NULL",
            "1, 'third', NULL | update | 40 | 0 | ['note']",
            "1, NULL, NULL | update | 50 | 0 | ['note', 'name']",
            "4, 'none', NULL | update | 50 | 1 | NULL",
        ],
    )
    .await;
    let expected = ["(1,third,a)", "(2,second,x)", "(4,none,)", "(6,again,)"];
    assert_eq!(shown(&place, &plan).await, expected);
    // By key, and by what the rows have become.
    let mut view = view(&place, &plan).await;
    let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![1, 3, 4]));
    let keys = arrow_array::RecordBatch::try_new(plan.source.key_arrow(), vec![ids]).unwrap();
    view.begin(RowsOf::Keys(keys)).await.unwrap();
    assert_eq!(all_rows(&mut view, &plan).await.num_rows(), 2);
    let condition = Some("note = 'a' OR name = 'copied'".to_owned());
    let asked = ViewRequest { condition, ..request(&plan) };
    let mut view = place.destination.view(asked).await.unwrap();
    assert_eq!(texts(&mut view, &plan).await, ["(1,third,a)"]);
}

#[tokio::test]
async fn a_truncate_and_a_new_copy_begin_anew() {
    let (place, plan) = (place(), history(items()));
    drop(place.begin(&plan).await);
    events(
        &place,
        "items",
        &[
            "1, 'a', NULL | snapshot | 10 | NULL | NULL",
            "2, 'b', NULL | insert | 20 | 0 | NULL",
            "NULL, NULL, NULL | truncate | 20 | 1 | NULL",
            "3, 'c', NULL | insert | 20 | 2 | NULL",
            "4, 'd', NULL | insert | 30 | 0 | NULL",
        ],
    )
    .await;
    assert_eq!(shown(&place, &plan).await, ["(3,c,)", "(4,d,)"]);
    events(
        &place,
        "items",
        &[
            "4, 'd', 'copied' | snapshot | 40 | NULL | NULL",
            "5, 'e', NULL | insert | 40 | 0 | NULL",
        ],
    )
    .await;
    assert_eq!(shown(&place, &plan).await, ["(4,d,copied)", "(5,e,)"]);
}

#[tokio::test]
async fn events_that_stand_twice_are_shown_twice() {
    let (place, plan) = (place(), history(items()));
    drop(place.begin(&plan).await);
    let fine = [
        "1, 'a', NULL | snapshot | 10 | NULL | NULL",
        "2, 'b', NULL | snapshot | 10 | NULL | NULL",
        "2, 'c', NULL | update | 20 | 0 | NULL",
        "2, 'd', NULL | update | 20 | 1 | NULL",
    ];
    events(&place, "items", &fine).await;
    assert_eq!(shown(&place, &plan).await, ["(1,a,)", "(2,d,)"]);
    events(&place, "items", &fine[2..3]).await;
    assert_eq!(shown(&place, &plan).await, ["(1,a,)", "(2,d,)", "(2,c,)"]);
    events(&place, "items", &fine[..1]).await;
    let mut all = shown(&place, &plan).await;
    all.sort();
    assert_eq!(all, ["(1,a,)", "(1,a,)", "(2,c,)", "(2,d,)"]);
}

/// A row that moves to another key takes along what the log does not repeat, however often.
#[tokio::test]
async fn values_are_followed_from_key_to_key() {
    let (place, plan) = (place(), history(items()));
    drop(place.begin(&plan).await);
    events(
        &place,
        "items",
        &[
            "1, 'a', 'long' | snapshot | 10 | NULL | NULL",
            "2, 'other', 'gone' | snapshot | 10 | NULL | NULL",
            "9, 'i', 'still' | snapshot | 10 | NULL | NULL",
            "2, NULL, NULL | delete | 15 | 0 | NULL",
            "1, NULL, NULL | delete | 20 | 0 | NULL",
            "2, 'b', NULL | insert | 20 | 1 | ['note']",
            "2, 'c', NULL | update | 25 | 0 | ['note']",
            "1, 'new', 'short' | insert | 25 | 1 | NULL",
            "2, NULL, NULL | delete | 30 | 4 | NULL",
            "3, NULL, NULL | insert | 30 | 5 | ['note', 'name']",
            "9, NULL, NULL | delete | 30 | 6 | NULL",
            "2, NULL, NULL | insert | 30 | 7 | ['note', 'name']",
        ],
    )
    .await;
    assert_eq!(shown(&place, &plan).await, ["(1,new,short)", "(2,i,still)", "(3,c,long)"]);
    let mut view = view(&place, &plan).await;
    let ids = std::sync::Arc::new(arrow_array::Int64Array::from(vec![3]));
    let keys = arrow_array::RecordBatch::try_new(plan.source.key_arrow(), vec![ids]).unwrap();
    view.begin(RowsOf::Keys(keys)).await.unwrap();
    let rows = all_rows(&mut view, &plan).await;
    let encoder = rowtide_core::canonical::Encoder::new(&plan.source).unwrap();
    assert_eq!(*encoder.forms(&rows).unwrap(), [b"(3,c,long)".to_vec().into()]);
    let condition = Some("note = 'long'".to_owned());
    let asked = ViewRequest { condition, ..request(&plan) };
    let mut view = place.destination.view(asked).await.unwrap();
    assert_eq!(texts(&mut view, &plan).await, ["(3,c,long)"]);
}

#[tokio::test]
async fn values_are_not_invented_for_events_that_lack() {
    let (place, plan) = (place(), history(items()));
    drop(place.begin(&plan).await);
    events(&place, "items", &["2, 'a', NULL | insert | 20 | 1 | ['note']"]).await;
    let error = place.destination.view(request(&plan)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    // A later event that repeats the value puts it right.
    events(&place, "items", &["2, 'a', 'long' | update | 30 | 0 | NULL"]).await;
    assert_eq!(shown(&place, &plan).await, ["(2,a,long)"]);
}

#[tokio::test]
async fn without_a_key_what_went_is_taken_from_what_came() {
    let place = place();
    let plan = history(plan(schema((9, "bag"), 1, item_fields(), vec![])));
    drop(place.begin(&plan).await);
    events(
        &place,
        "bag",
        &[
            "1, 'a', NULL | snapshot | 10 | NULL | NULL",
            "1, 'a', NULL | snapshot | 10 | NULL | NULL",
            "1, 'a', NULL | snapshot | 10 | NULL | NULL",
            "1, 'a', NULL | delete | 20 | 0 | NULL",
            "2, NULL, NULL | insert | 20 | 1 | NULL",
            "2, NULL, NULL | insert | 20 | 2 | NULL",
            "2, NULL, NULL | delete | 30 | 0 | NULL",
        ],
    )
    .await;
    assert_eq!(shown(&place, &plan).await, ["(1,a,)", "(1,a,)", "(2,,)"]);
}

#[tokio::test]
async fn a_history_without_an_order_is_refused() {
    let place = place();
    let metadata = MetadataColumns { seq: None, ..MetadataColumns::append() };
    let plan = TablePlan { metadata, ..history(items()) };
    drop(place.begin(&plan).await);
    let error = place.destination.view(request(&plan)).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}
