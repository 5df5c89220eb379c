//! Large values and wide tables.

use super::Case;
use super::applier::Applier;
use crate::conformance::model::Kind;

/// 64 MiB of text through the copy and through the stream.
pub async fn a_huge_value(case: Case) {
    case.create_items("t").await;
    let t = case.table("t");
    let huge = |letter: &str| letter.repeat(64 << 20);
    case.run(&format!("INSERT INTO {t} VALUES (1, 'copied', '{}')", huge("c"))).await;
    let tables = case.discover(&["t"]).await;
    let attached = case.attach(&tables).await;
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.copy_all(2).await;
    case.run(&format!("INSERT INTO {t} VALUES (2, 'streamed', '{}')", huge("s"))).await;
    case.run(&format!("UPDATE {t} SET name = 'moved', id = 3 WHERE id = 1")).await;
    case.run(&format!("UPDATE {t} SET name = 'small', note = 'small' WHERE id = 2")).await;
    applier.catch_up().await;
    applier.check_all(&case).await;
}

/// As many columns as a table may have, copied and streamed.
pub async fn as_many_columns_as_there_can_be(case: Case) {
    let columns = case.subject.most_columns().min(1_600);
    let names: Vec<String> = (0..columns).map(|at| format!("c{at}")).collect();
    let kinds: Vec<(&str, Kind)> = names.iter().map(|name| (&**name, Kind::Integer)).collect();
    case.create("wide", &kinds, 1).await;
    let wide = case.table("wide");
    // Not all at once: a row has to fit into a page of some systems.
    let row = |id: usize| {
        let value = |at: usize| match at {
            0 => id.to_string(),
            at if at % 4 == id % 4 => (at * 10 + id).to_string(),
            _ => "NULL".to_owned(),
        };
        format!("({})", (0..columns).map(value).collect::<Vec<_>>().join(", "))
    };
    case.run(&format!("INSERT INTO {wide} VALUES {}, {}", row(1), row(2))).await;
    let tables = case.discover(&["wide"]).await;
    assert_eq!(tables[0].columns.len(), columns);
    let attached = case.attach(&tables).await;
    let mut applier = Applier::start(&case, &attached.checkpoint, &tables).await;
    applier.copy_all(2).await;
    let last = columns - 1;
    for sql in [
        format!("INSERT INTO {wide} VALUES {}, {}", row(3), row(4)),
        format!("UPDATE {wide} SET c{last} = 77 WHERE c0 = 1"),
        format!("UPDATE {wide} SET c0 = 9 WHERE c0 = 4"),
        format!("DELETE FROM {wide} WHERE c0 = 2"),
    ] {
        case.run(&sql).await;
    }
    applier.catch_up().await;
    applier.check_all(&case).await;
}
