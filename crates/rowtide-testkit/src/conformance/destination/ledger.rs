//! The tables in which Rowtide tells what it did.

use std::sync::Arc;

use rowtide_core::ledger::{self, Entry, Occasion};
use rowtide_core::{Destination, Offset, SchemaChange, TableWrite};

use super::{Case, PIPELINE, commit};
use crate::conformance::batches::LOADED_AT;
use crate::conformance::model::{Kind, Table};
use crate::conformance::oracle::TextRow;

/// What `pipeline` tells of a column of `items` that got another name at `position`.
fn entry(pipeline: &str, position: u64) -> Entry {
    let table = Table::items().renamed("note", "it's \"remarkable\"");
    let source = Arc::clone(&table.plan.source);
    let change = SchemaChange::RenameColumn { table: source, column: 2, from: "note".to_owned() };
    let occasion = Occasion { pipeline, position: Offset(position), now: LOADED_AT };
    ledger::schema_history(&table.plan.source, &change, occasion).unwrap()
}

async fn told(case: &Case) -> Option<Vec<TextRow>> {
    let columns = [
        ("pipeline", Kind::Text),
        ("source_schema", Kind::Text),
        ("source_table", Kind::Text),
        ("version", Kind::Integer),
        ("position", Kind::Integer),
        ("change", Kind::Text),
        ("applied_at", Kind::Instant),
    ];
    let columns = columns.map(|(name, kind)| (name.to_owned(), kind));
    let plan = &ledger::tables()[0];
    let mut rows = case.subject.rows(&plan.target, &columns).await?;
    rows.sort();
    Some(rows)
}

fn expected(entries: &[(&str, u64)]) -> Vec<TextRow> {
    let row = |(pipeline, position): &(&str, u64)| {
        let (position, now) = (position.to_string(), LOADED_AT.to_string());
        let change = "column note renamed to it's \"remarkable\"";
        [pipeline, "public", "items", "2", &position, change, &now]
            .map(|cell| Some(cell.to_owned()))
            .to_vec()
    };
    entries.iter().map(row).collect()
}

/// It stands from the beginning, is written with the data, and belongs to all pipelines: each
/// takes its own rows with it, and the last one the table.
pub async fn what_was_done_is_told_with_the_data(case: Case) {
    let destination: Arc<dyn Destination> = case.destination();
    let before = case.subject.inventory().await;
    let mut writer = case.open().await;
    assert_eq!(told(&case).await.expect("it stands when a pipeline is opened"), expected(&[]));
    let mut neighbour = destination.open("neighbour").await.unwrap();
    for position in [17, 18] {
        let entry = entry("neighbour", position);
        neighbour.write(&entry.plan, TableWrite::Append(entry.row)).await.unwrap();
        commit(&mut neighbour, 1).await.unwrap();
    }
    // Not without its epoch.
    let own = entry(PIPELINE, 5);
    writer.write(&own.plan, TableWrite::Append(own.row.clone())).await.unwrap();
    drop(writer);
    let neighbours = [("neighbour", 17), ("neighbour", 18)];
    assert_eq!(told(&case).await.unwrap(), expected(&neighbours));
    let mut writer = case.open().await;
    writer.write(&own.plan, TableWrite::Append(own.row)).await.unwrap();
    commit(&mut writer, 1).await.unwrap();
    let all = [&neighbours[..], &[(PIPELINE, 5)]].concat();
    assert_eq!(told(&case).await.unwrap(), expected(&all));
    drop((writer, neighbour));
    destination.teardown(PIPELINE).await.unwrap();
    assert_eq!(told(&case).await.unwrap(), expected(&neighbours));
    // And it goes on being written.
    let mut neighbour = destination.open("neighbour").await.unwrap();
    let entry = entry("neighbour", 19);
    neighbour.write(&entry.plan, TableWrite::Append(entry.row)).await.unwrap();
    commit(&mut neighbour, 2).await.unwrap();
    drop(neighbour);
    let all = [&neighbours[..], &[("neighbour", 19)]].concat();
    assert_eq!(told(&case).await.unwrap(), expected(&all));
    destination.teardown("neighbour").await.unwrap();
    assert_eq!(told(&case).await, None);
    assert_eq!(case.subject.inventory().await, before);
}
