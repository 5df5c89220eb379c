//! How a verification's report is shown.

use std::path::Path;

use rowtide_core::{Error, Result};
use rowtide_verify::report::{csv, html, sentence, shown, summary};
use rowtide_verify::{Difference, Repaired, Report, TableReport, Verdict};

use crate::cli::Verify;
use crate::output::{self, Align, Output, Table, count, seconds};

/// Tells of a table that was compared just now.
pub(super) fn progress(table: &TableReport, output: &Output) {
    if output.draws_bars() {
        output.note(&format!(
            "{} {}: {}",
            mark(table.verdict, output),
            table.table,
            sentence(table)
        ));
    }
}

/// Shows the whole report, in the form that was asked for.
///
/// # Errors
/// `Unavailable` if it cannot be written.
pub(super) fn report(report: &Report, arguments: &Verify, output: &Output) -> Result<()> {
    if let Some(path) = &arguments.csv {
        write(path, &csv(report))?;
    }
    if let Some(path) = &arguments.html {
        let began = jiff::Timestamp::from_microsecond(report.started_at);
        let began = began.map(|at| format!("begun {at:.0}")).unwrap_or_default();
        write(path, &html(report, &began))?;
    }
    if arguments.json {
        let internal = |error| Error::internal("the report is no JSON").with_source(error);
        return output::print_json(&serde_json::to_value(report).map_err(internal)?);
    }
    // No colours stand in it: what looks like one comes from a row.
    output::print(&console(report).replace('\u{1b}', "\\u{1b}"))?;
    for trouble in report.tables.iter().filter_map(|table| table.trouble.as_ref()) {
        if let Some(hint) = &trouble.hint {
            output.note(&format!("hint: {hint}"));
        }
    }
    Ok(())
}

/// Makes sure that the files can be written, before the work whose result they are to hold.
///
/// # Errors
/// `Unavailable` if one cannot be.
pub(super) fn prepare(arguments: &Verify) -> Result<()> {
    for path in [&arguments.csv, &arguments.html].into_iter().flatten() {
        let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| unwritable(path, error))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|error| unwritable(path, error))
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("could not write the report {}", path.display()))
        .with_source(error)
        .with_hint("name a file in a directory that exists and that you may write to")
}

fn mark(verdict: Verdict, output: &Output) -> String {
    match verdict {
        Verdict::Equal => output.paint("32", "✓"),
        Verdict::Unsettled | Verdict::NotCompared => output.paint("33", "!"),
        Verdict::Differs | Verdict::Failed => output.paint("31", "✗"),
    }
}

fn console(report: &Report) -> String {
    let mut table = Table::new(&[
        ("table", Align::Left),
        ("source", Align::Right),
        ("destination", Align::Right),
        ("time", Align::Right),
        ("verdict", Align::Left),
    ]);
    for one in &report.tables {
        table.row([
            one.table.to_string(),
            count(one.source_rows),
            count(one.destination_rows),
            seconds(one.seconds()),
            sentence(one),
        ]);
    }
    let mut out = table.render();
    for one in report.tables.iter().filter(|table| !table.differences.is_empty()) {
        out.push_str(&format!("\n{}\n", one.table));
        for difference in &one.differences {
            out.push_str(&line(difference));
        }
        let listed = one.differences.len() as u64;
        if listed < one.differing {
            out.push_str(&format!("  … and {} more\n", count(one.differing - listed)));
        }
    }
    for one in &report.tables {
        if let Some(repaired) = &one.repair {
            out.push_str(&repair(&one.table.to_string(), repaired));
        }
    }
    out.push_str(&format!("\n{}\n", summary(report)));
    out
}

/// What a repair did to a table, or would do.
fn repair(table: &str, repaired: &Repaired) -> String {
    let kinds = [
        (repaired.missing, "missing"),
        (repaired.extra, "extra"),
        (repaired.changed, "changed"),
        (repaired.repeated, "repeated"),
    ];
    let kinds = kinds.iter().filter(|(rows, _)| *rows > 0);
    let kinds: Vec<String> = kinds.map(|(rows, what)| format!("{} {what}", count(*rows))).collect();
    let done = if repaired.planned { "to be repaired" } else { "repaired" };
    let mut out = format!("\n{table}: {done}: {}", count(repaired.rows()));
    if !kinds.is_empty() {
        out.push_str(&format!(" ({})", kinds.join(", ")));
    }
    if repaired.left > 0 {
        out.push_str(&format!("; {} kept moving", count(repaired.left)));
    }
    out.push('\n');
    for statement in &repaired.statements {
        out.push_str(&format!("  {statement}\n"));
    }
    if repaired.planned && repaired.rows() > 0 && repaired.statements.is_empty() {
        out.push_str("  -- with --show-values it is told as SQL\n");
    }
    if repaired.unlisted > 0 {
        let more = count(repaired.unlisted);
        out.push_str(&format!("  -- and what {more} more rows take: --limit lists more\n"));
    }
    out
}

fn line(difference: &Difference) -> String {
    let key: Vec<String> = difference
        .key
        .iter()
        .map(|one| format!("{}={}", one.column, shown(one.value.as_deref())))
        .collect();
    let shows = !key.is_empty();
    let name = if shows { key.join(", ") } else { format!("row {}", difference.row) };
    let mut out = format!("  {name}: {}", difference.kind);
    if difference.at_source > 1 || difference.at_destination > 1 {
        let (ours, theirs) = (difference.at_source, difference.at_destination);
        out.push_str(&format!(" ({ours} at the source, {theirs} at the destination)"));
    }
    for column in &difference.columns {
        out.push_str(&format!("\n    {}: {}", column.column, column.nature));
        if shows {
            let (one, other) =
                (shown(column.source.as_deref()), shown(column.destination.as_deref()));
            out.push_str(&format!(": {one} → {other}"));
        }
    }
    out.push('\n');
    out
}
