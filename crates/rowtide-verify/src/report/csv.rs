//! The differing rows as CSV: a line per row, and per column that differs in it.

use super::Report;
use crate::compare::{Difference, Shown};

const HEADINGS: &str = "table,verdict,row,key,difference,rows_at_source,rows_at_destination,column,nature,source,\
     destination\n";

/// The whole report; a table without differing rows has one line.
pub fn csv(report: &Report) -> String {
    let mut out = HEADINGS.to_owned();
    for table in &report.tables {
        let head = [table.table.to_string(), table.verdict.as_str().to_owned()];
        if table.differences.is_empty() {
            line(&mut out, head.iter().map(String::as_str).chain([""; 9]));
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
    let head = || head.iter().chain(row).map(String::as_str);
    if difference.columns.is_empty() {
        line(out, head().chain([""; 4]));
    }
    for column in &difference.columns {
        let nature = column.nature.to_string();
        let source = column.source.as_deref().unwrap_or_default();
        let destination = column.destination.as_deref().unwrap_or_default();
        line(out, head().chain([&column.column, nature.as_str(), source, destination]));
    }
}

/// A key as `column=value` pairs.
pub(super) fn key_text(key: &[Shown]) -> String {
    let pair = |shown: &Shown| {
        let value = shown.value.as_deref().unwrap_or("NULL");
        format!("{}={value}", shown.column)
    };
    key.iter().map(pair).collect::<Vec<_>>().join(", ")
}

fn line<'a>(out: &mut String, cells: impl Iterator<Item = &'a str>) {
    let quoted = |cell: &str| {
        // A spreadsheet would take these for formulas.
        let formula = cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
        let text = if formula { format!("'{cell}") } else { cell.to_owned() };
        match text.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text,
        }
    };
    out.push_str(&cells.map(quoted).collect::<Vec<_>>().join(","));
    out.push('\n');
}
