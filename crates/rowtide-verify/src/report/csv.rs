//! The differing rows as CSV: a line per row, and per column that differs in it.

use super::{Report, Side, shown};
use crate::compare::{Difference, Shown};

const HEADINGS: &str = "table,verdict,row,key,difference,rows_at_source,rows_at_destination,column,nature,source,\
     destination\n";

/// The whole report; a table without differing rows has one line.
pub fn csv(report: &Report) -> String {
    let mut out = HEADINGS.to_owned();
    for table in &report.tables {
        let head = [table.table.to_string(), table.verdict.as_str().to_owned()];
        for gap in &table.columns {
            let (difference, nature) = match gap.only_at {
                Side::Source => ("missing column", "only at the source"),
                Side::Destination => ("extra column", "only at the destination"),
            };
            let [table, verdict] = &head;
            let cells = [Some(table.as_str()), Some(verdict), None, None, Some(difference)];
            let column = [None, None, Some(&*gap.column), Some(nature), None, None];
            line(&mut out, cells.into_iter().chain(column));
        }
        if table.differences.is_empty() && table.columns.is_empty() {
            line(&mut out, head.iter().map(|cell| Some(cell.as_str())).chain([None; 9]));
        }
        for difference in &table.differences {
            rows(&mut out, &head, difference);
        }
    }
    out
}

fn rows(out: &mut String, head: &[String; 2], difference: &Difference) {
    let ours = difference.at_source.to_string();
    let theirs = difference.at_destination.to_string();
    let (key, kind) = (key_text(&difference.key), difference.kind.to_string());
    let row = [&difference.row, &key, &kind, &ours, &theirs];
    let natures: Vec<String> =
        difference.columns.iter().map(|one| one.nature.to_string()).collect();
    let head = || {
        let cells = head.iter().chain(row).map(String::as_str);
        cells.map(|cell| Some(cell).filter(|cell| !cell.is_empty()))
    };
    if difference.columns.is_empty() {
        line(out, head().chain([None; 4]));
    }
    for (column, nature) in difference.columns.iter().zip(&natures) {
        let (source, destination) = (column.source.as_deref(), column.destination.as_deref());
        let told = [Some(&*column.column), Some(nature.as_str()), source, destination];
        line(out, head().chain(told));
    }
}

/// A key as `column=value` pairs.
pub(super) fn key_text(key: &[Shown]) -> String {
    let pair = |one: &Shown| format!("{}={}", one.column, shown(one.value.as_deref()));
    key.iter().map(pair).collect::<Vec<_>>().join(", ")
}

/// Nothing stands for NULL, `""` for an empty text, as where PostgreSQL writes CSV.
fn line<'a>(out: &mut String, cells: impl Iterator<Item = Option<&'a str>>) {
    let quoted = |cell: Option<&str>| {
        let Some(cell) = cell else { return String::new() };
        // A spreadsheet would take these for formulas.
        let formula = cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
        let text = if formula { format!("'{cell}") } else { cell.to_owned() };
        match text.is_empty() || text.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        }
    };
    out.push_str(&cells.map(quoted).collect::<Vec<_>>().join(","));
    out.push('\n');
}
