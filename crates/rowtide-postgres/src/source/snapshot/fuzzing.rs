//! What `fuzz/` feeds to the reader of copied rows.

use std::sync::Arc;

use arrow_array::RecordBatch;
use rowtide_core::{Identity, Result, TableName, TableSchema};

use super::RowReader;
use crate::fuzzing::Input;
use crate::options::Unrepresentable;
use crate::source::fuzzing::column;
use crate::types::Kind;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

fn table(binary: bool) -> Arc<TableSchema> {
    // One column that has no binary form makes the copy a text copy.
    let (kind, native) = if binary { (Kind::Bytes, "bytea") } else { (Kind::Opaque, "inet") };
    let columns = vec![
        column("id", &Kind::Int32, "integer", 1),
        column("v", &Kind::Text, "text", 2),
        column("b", &kind, native, 3),
    ];
    let name = TableName::new("public", "t");
    Arc::new(TableSchema::new((1, name), 1, columns, vec![0], Identity::Key))
}

/// The form, then rows in pieces: any bytes, and rows that are written in both forms.
pub(crate) fn copy(bytes: &[u8]) {
    let mut input = Input(bytes);
    let flags = input.u8();
    let binary = flags & 1 != 0;
    let rest = input.0;
    let mut messages = Vec::new();
    while let Some(piece) = input.piece() {
        messages.push(piece.to_vec());
    }
    if flags & 2 == 0 {
        let _ = read(binary, messages.clone());
    }
    if binary && messages.first().is_some_and(|first| !first.is_empty()) {
        // The header may come alone or with the first row.
        let apart = [&[HEADER.to_vec()][..], &messages].concat();
        let first = [HEADER, messages.first().map_or(&[][..], Vec::as_slice)].concat();
        let together = [&[first][..], messages.get(1..).unwrap_or_default()].concat();
        let (apart, together) = (read(true, apart), read(true, together));
        assert_eq!(apart.is_ok(), together.is_ok());
        assert_eq!(apart.ok().flatten(), together.ok().flatten());
    }
    both_forms(rest);
}

fn read(binary: bool, messages: Vec<Vec<u8>>) -> Result<Option<RecordBatch>> {
    let mut rows = RowReader::new(&table(binary), &Unrepresentable::Fail.into());
    rows.begin();
    for message in messages {
        rows.row(&message)?;
    }
    Ok(rows.take()?.map(|(batch, _)| batch))
}

/// Rows of a number and two texts, written as the server would, in both forms.
fn both_forms(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (mut text, mut binary) = (Vec::new(), vec![HEADER.to_vec()]);
    while let Some(head) = input.byte() {
        let number = i32::from(head) - 100;
        let value = (head & 1 == 0)
            .then(|| String::from_utf8_lossy(input.take(usize::from(head & 31))).into_owned());
        let mut row = 3_i16.to_be_bytes().to_vec();
        row.extend([0, 0, 0, 4]);
        row.extend(number.to_be_bytes());
        for _ in 0..2 {
            match &value {
                Some(value) => {
                    row.extend(u32::try_from(value.len()).unwrap_or(0).to_be_bytes());
                    row.extend(value.as_bytes());
                }
                None => row.extend((-1_i32).to_be_bytes()),
            }
        }
        binary.push(row);
        let shown = value.as_deref().map_or("\\N".to_owned(), escaped);
        text.push(format!("{number}\t{shown}\t{shown}\n").into_bytes());
    }
    binary.push(vec![0xff, 0xff]);
    let count = text.len();
    let (text, binary) = (read(false, text), read(true, binary));
    let (Ok(text), Ok(binary)) = (text, binary) else { unreachable!("well-formed rows are read") };
    assert_eq!(text.as_ref().map_or(0, RecordBatch::num_rows), count);
    let values = |batch: Option<RecordBatch>| {
        batch.map(|batch| (Arc::clone(batch.column(0)), Arc::clone(batch.column(1))))
    };
    assert_eq!(values(text), values(binary));
}

fn escaped(value: &str) -> String {
    let mut out = String::new();
    for letter in value.chars() {
        match letter {
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            other => out.push(other),
        }
    }
    out
}
