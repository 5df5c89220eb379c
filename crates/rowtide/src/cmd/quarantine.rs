//! `rowtide quarantine`: the rows that are kept out of the destination, and why.

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;

use rowtide_core::ledger::Told;
use rowtide_core::{Column, Error, ErrorKind, Offset, Pattern, PipelineState, Result, TableState};
use serde_json::{Value, json};

use crate::cli::Quarantine;
use crate::output::{self, Align, Output, Table, count};
use crate::{configuration, registry};

/// A table of which rows are in quarantine.
struct Kept<'a> {
    table: &'a TableState,
    /// What was told of them, oldest first.
    rows: Vec<&'a Told>,
}

/// Reads the destination and tells.
pub(super) async fn execute(arguments: Quarantine, output: &Output) -> Result<ExitCode> {
    let configuration = configuration::load(&arguments.pipeline)?;
    let name = &configuration.pipeline;
    let wanted: Vec<Pattern> = arguments
        .table
        .iter()
        .flat_map(|list| Pattern::split(list))
        .map(|text| text.parse().map_err(|error: Error| error.context("--table")))
        .collect::<Result<_>>()?;
    let destination = registry::destination(&configuration.destination, name)?;
    let state = destination.peek(name).await.map_err(in_use)?;
    let state = state.ok_or_else(|| {
        Error::config(format!("the destination knows no pipeline {name}"))
            .with_hint("name it as `rowtide run` does, with the same destination")
    })?;
    let told = destination.quarantine(name, arguments.show_values).await.map_err(in_use)?;
    let kept = kept(&state, &told, &wanted)?;
    if arguments.json {
        output::print_json(&as_json(name, &kept, arguments.show_values))?;
    } else {
        output::print(&as_text(&kept, arguments.show_values, output))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What holds the file is mostly the pipeline itself.
fn in_use(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unavailable => error.context(
            "the destination cannot be looked into (a DuckDB file cannot while the pipeline runs)",
        ),
        _ => error,
    }
}

/// The wanted tables that have rows in quarantine.
fn kept<'a>(
    state: &'a PipelineState,
    told: &'a [Told],
    wanted: &[Pattern],
) -> Result<Vec<Kept<'a>>> {
    let is_one = |pattern: &&Pattern| state.tables.iter().any(|t| pattern.matches(&t.schema.name));
    if let Some(unknown) = wanted.iter().find(|pattern| !is_one(pattern)) {
        return Err(Error::config(format!("--table {unknown} is no table of this pipeline"))
            .with_hint("`rowtide status` lists its tables"));
    }
    let is_wanted = |table: &&TableState| {
        let name = &table.schema.name;
        wanted.is_empty() || wanted.iter().any(|pattern| pattern.matches(name))
    };
    let tables = state.tables.iter().filter(is_wanted).filter(|table| table.values.open() > 0);
    let kept = tables.map(|table| {
        let held = table.values.held.values().filter_map(|held| held.key.as_deref());
        let held: HashSet<&str> = held.collect();
        // What is not held by key was told of one row after the other.
        let is_there = |one: &&Told| {
            let key = one.key.as_deref();
            one.table == table.schema.name
                && (table.values.unresolved > 0 || key.is_some_and(|key| held.contains(key)))
        };
        Kept { table, rows: told.iter().filter(is_there).collect() }
    });
    Ok(kept.collect())
}

impl Kept<'_> {
    /// The names of the columns that tell the rows apart.
    fn key(&self) -> Vec<&str> {
        let schema = &self.table.schema;
        schema.key.iter().filter_map(|at| schema.columns.get(*at)).map(Column::name).collect()
    }

    /// How many rows there are for each column and reason, and from where to where they were told.
    fn reasons(&self) -> BTreeMap<(&str, &str), (u64, Offset, Offset)> {
        let mut reasons = BTreeMap::new();
        for row in &self.rows {
            let why = (row.column.as_deref().unwrap_or("-"), row.reason.as_str());
            let found = reasons.entry(why).or_insert((0, row.position, row.position));
            *found = (found.0 + 1, found.1.min(row.position), found.2.max(row.position));
        }
        reasons
    }
}

fn as_text(kept: &[Kept<'_>], with_values: bool, output: &Output) -> String {
    if kept.is_empty() {
        return "No rows are in quarantine.\n".to_owned();
    }
    let mut text = String::new();
    for one in kept {
        let key = match one.key() {
            key if key.is_empty() => "no key".to_owned(),
            key => format!("key ({})", key.join(", ")),
        };
        let name = output.paint("1", &one.table.schema.name.to_string());
        let rows = count(one.table.values.open());
        text.push_str(&format!("{name}: {rows} in quarantine, {key}\n\n"));
        text.push_str(&if with_values { rows_of(one) } else { reasons_of(one) });
        text.push('\n');
    }
    text
}

fn reasons_of(kept: &Kept<'_>) -> String {
    let mut table = Table::new(&[
        ("told", Align::Right),
        ("column", Align::Left),
        ("first told at", Align::Left),
        ("last told at", Align::Left),
        ("reason", Align::Left),
    ]);
    for ((column, reason), (rows, first, last)) in kept.reasons() {
        let (first, last) = (first.to_string(), last.to_string());
        table.row([count(rows), column.to_owned(), first, last, reason.to_owned()]);
    }
    table.render()
}

fn rows_of(kept: &Kept<'_>) -> String {
    let mut table = Table::new(&[
        ("position", Align::Left),
        ("op", Align::Left),
        ("column", Align::Left),
        ("reason", Align::Left),
        ("key", Align::Left),
        ("values", Align::Left),
    ]);
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for row in &kept.rows {
        table.row([
            row.position.to_string(),
            row.op.clone(),
            shown(&row.column),
            row.reason.clone(),
            shown(&row.key),
            shown(&row.values),
        ]);
    }
    table.render()
}

fn as_json(pipeline: &str, kept: &[Kept<'_>], with_values: bool) -> Value {
    let parsed = |text: &Option<String>| -> Value {
        let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| json!(text));
        text.as_deref().map_or(Value::Null, read)
    };
    let row = |row: &&Told| {
        let at = jiff::Timestamp::from_microsecond(row.at).map(|at| at.to_string()).ok();
        let mut value = json!({
            "op": row.op,
            "column": row.column,
            "reason": row.reason,
            "position": row.position.to_string(),
            "ordinal": row.ordinal,
            "at": at,
        });
        if with_values {
            value["key"] = parsed(&row.key);
            value["values"] = parsed(&row.values);
        }
        value
    };
    let table = |one: &Kept<'_>| {
        json!({
            "table": one.table.schema.name.to_string(),
            "in_quarantine": one.table.values.open(),
            "key": one.key(),
            "rows": one.rows.iter().map(row).collect::<Vec<_>>(),
        })
    };
    json!({ "pipeline": pipeline, "tables": kept.iter().map(table).collect::<Vec<_>>() })
}
