//! What `fuzz/` feeds to the state of a stream, and the tables it follows.

use std::collections::BTreeMap;
use std::sync::Arc;

use rowtide_core::traits::{Segment, StreamItem};
use rowtide_core::{Column, Identity, TableName, TableSchema};

use super::decoder::{Decoder, Event};
use crate::fuzzing::Input;
use crate::options::Unrepresentable;
use crate::types::Kind;

pub(crate) use super::assemble::fuzzing::assemble;
pub(crate) use super::snapshot::fuzzing::copy;

pub(super) fn column(name: &str, kind: &Kind, native_type: &str, number: i32) -> Column {
    Column { field: Arc::new(kind.field(name)), native_type: native_type.into(), number }
}

/// The tables of the captures.
fn tables() -> Vec<Arc<TableSchema>> {
    let decimal = Kind::Decimal { precision: 8, scale: 2 };
    let t = vec![
        column("id", &Kind::Int32, "integer", 1),
        column("v", &Kind::Text, "text", 2),
        column("big", &Kind::Text, "text", 3),
        column("d", &decimal, "numeric(8,2)", 4),
    ];
    let f = vec![column("a", &Kind::Int32, "integer", 1), column("b", &Kind::Text, "text", 2)];
    let name = |name: &str| TableName::new("public", name);
    vec![
        Arc::new(TableSchema::new((16_384, name("t")), 1, t, vec![0], Identity::Key)),
        Arc::new(TableSchema::new((16_391, name("f")), 1, f, vec![], Identity::FullRow)),
    ]
}

/// Where segments end, as bits; then messages in pieces.
pub(crate) fn stream(bytes: &[u8]) {
    let mut input = Input(bytes);
    let flags = input.u8();
    let policy = match flags & 3 {
        0 => Unrepresentable::Fail,
        1 => Unrepresentable::Null,
        2 => Unrepresentable::Quarantine,
        _ => Unrepresentable::Text,
    };
    let cuts = input.u16();
    let whole = decode(input.0, policy, 0);
    assert_eq!(decode(input.0, policy, cuts), whole, "where segments end changed what they hold");
}

/// Per table what happened to it, and where the first error was.
fn decode(
    bytes: &[u8],
    policy: Unrepresentable,
    cuts: u16,
) -> (BTreeMap<String, Vec<String>>, Option<usize>) {
    let mut decoder = Decoder::new(tables(), 0, policy);
    let mut found = BTreeMap::new();
    let mut at = 0;
    let mut input = Input(bytes);
    let mut index = 0;
    while let Some(message) = input.piece() {
        let read = match decoder.message(message) {
            Ok(Event::Relation(relation)) => decoder.relation(&relation, Vec::new()),
            Ok(Event::Continue | Event::Committed | Event::Stranger(_) | Event::Told(_)) => Ok(()),
            Err(error) => Err(error),
        };
        if read.is_err() {
            // What came before stands; of the message itself nothing may be kept.
            return (BTreeMap::new(), Some(index));
        }
        if cuts >> (index % 16) & 1 != 0 {
            take(&mut decoder, &mut found, &mut at);
        }
        index += 1;
    }
    take(&mut decoder, &mut found, &mut at);
    (found, None)
}

fn take(decoder: &mut Decoder, found: &mut BTreeMap<String, Vec<String>>, at: &mut u64) {
    let open = decoder.open().is_some();
    let Ok(segment) = decoder.take() else { unreachable!("what was read makes batches") };
    assert_eq!(segment.watermark.is_none(), open);
    if let Some(watermark) = &segment.watermark {
        let position = watermark.checkpoint.position().0;
        assert!(position >= *at, "a watermark never goes back");
        *at = position;
    }
    for (table, line) in lines(&segment) {
        found.entry(table).or_default().push(line);
    }
}

fn lines(segment: &Segment) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for item in &segment.items {
        match item {
            StreamItem::Changes(batch) => {
                assert!(batch.validate().is_ok());
                let runs = batch.commit_indices();
                for row in 0..batch.len() {
                    let run = runs.get(row).and_then(|run| batch.commits.get(*run as usize));
                    let place = (run.map(|run| run.commit), batch.ordinals.get(row));
                    let columns = batch.rows.columns().iter().enumerate();
                    let values: Vec<_> = columns
                        .map(|(at, column)| {
                            (batch.unchanged.is_set(row, at), format!("{:?}", column.slice(row, 1)))
                        })
                        .collect();
                    let line = format!("{:?} {place:?} {values:?}", batch.ops.get(row));
                    lines.push((batch.table.name.to_string(), line));
                }
            }
            StreamItem::Schema { change, .. } => {
                lines.push((change.table().name.to_string(), format!("{change:?}")));
            }
            StreamItem::Truncate { tables, commit, ordinal } => {
                let line = format!("truncate {commit:?} {ordinal}");
                lines.extend(tables.iter().map(|table| (table.name.to_string(), line.clone())));
            }
        }
    }
    lines
}
