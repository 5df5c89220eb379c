//! DuckDB folds its log into the file at any commit, of any connection, and then packs rows anew.

use rowtide_core::traits::Progress;
use rowtide_core::{
    DeleteMode, Destination, MetadataColumns, MultisetWrite, TablePlan, TableWrite,
};

use crate::support::{Item, PIPELINE, at, item_fields, item_rows, items, place, plan, schema};

/// How many rows of each of three kinds stand before each epoch.
const EACH: usize = 40;

/// Between finding the rows that are to go and removing them, rows must keep their numbers
/// whatever copies begin in the meantime: others would be removed in their place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_keep_their_numbers_while_copies_begin() {
    let place = place();
    let bag = TablePlan {
        delete: DeleteMode::Hard,
        metadata: MetadataColumns::default(),
        ..plan(schema((9, "bag"), 1, item_fields(), vec![]))
    };
    let mut writer = place.begin(&bag).await;
    let (done, ended) = tokio::sync::watch::channel(());
    let other = at(place.path.clone());
    let copying = tokio::spawn(async move {
        while ended.has_changed().is_ok() {
            // Each new staging table folds the log into the file.
            for loader in other.load(PIPELINE, &items(), 1).await.unwrap() {
                loader.finish().await.unwrap();
            }
        }
    });
    let kinds: [Item<'_>; 3] = [(1, None, None), (2, Some("x"), None), (3, None, Some("y"))];
    let all: Vec<Item<'_>> = kinds.iter().flat_map(|kind| [*kind; EACH]).collect();
    let write = |removes: &[Item<'_>], inserts: &[Item<'_>]| {
        TableWrite::Multiset(MultisetWrite {
            removes: (!removes.is_empty()).then(|| item_rows(&bag, removes)),
            inserts: Some(item_rows(&bag, inserts)),
        })
    };
    writer.write(&bag, write(&[], &all)).await.unwrap();
    writer.commit(Progress::default()).await.unwrap();
    for epoch in 0..200 {
        let kind = kinds[epoch % 3];
        let (removed, other) = (&[kind; EACH / 2], kinds[(epoch + 1) % 3]);
        let result = writer.write(&bag, write(removed, &[kind; EACH / 2])).await;
        result.unwrap_or_else(|error| panic!("epoch {epoch}: {error}"));
        let swapped = write(&[other; EACH / 4], &[other; EACH / 4]);
        writer.write(&bag, swapped).await.unwrap_or_else(|error| panic!("epoch {epoch}: {error}"));
        writer.commit(Progress::default()).await.unwrap();
    }
    drop(done);
    copying.await.unwrap();
    let counts = "SELECT id, count(*) FROM public.bag GROUP BY id ORDER BY id";
    assert_eq!(place.rows(counts).await, [1, 2, 3].map(|id| format!("{id}|{EACH}")));
}
