//! The reference of types: prose around tables that the mapping itself fills.

use std::fmt::Write;

use rowtide_core::Result;
use rowtide_postgres::reference::{Class, Reading, readings};

/// The page, with a place for each table.
const PAGE: &str = include_str!("page.md");

/// A source type at both destinations.
struct Row {
    name: String,
    duckdb: End,
    postgres: End,
}

/// A source type at one destination.
struct End {
    /// The type there.
    becomes: String,
    class: Class,
    binary: bool,
    refused: Option<&'static str>,
}

impl End {
    fn of(reading: &Reading) -> Result<Self> {
        let becomes = match &reading.own {
            Some(own) => own.clone(),
            None => rowtide_duckdb::column_type(&reading.field)?,
        };
        let Reading { class, binary, refused, .. } = *reading;
        Ok(Self { becomes, class, binary, refused })
    }
}

/// The page in Markdown, or its facts in `lines`.
///
/// # Errors
/// If a type has no place at a destination.
pub(super) fn reference(lines: bool) -> Result<String> {
    let (foreign, native) = (readings(false), readings(true));
    let rows = foreign.iter().zip(&native).map(|(foreign, native)| {
        Ok(Row {
            name: foreign.name.clone(),
            duckdb: End::of(foreign)?,
            postgres: End::of(native)?,
        })
    });
    let rows = rows.collect::<Result<Vec<Row>>>()?;
    Ok(if lines { facts(&rows) } else { page(&rows) })
}

fn facts(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        for (to, end) in [("duckdb", &row.duckdb), ("postgres", &row.postgres)] {
            let form = if end.binary { "binary" } else { "text" };
            let (name, becomes, class) = (&row.name, &end.becomes, end.class.as_str());
            let _ = writeln!(text, "{to}\t{name}\t{becomes}\t{class}\t{form}");
        }
    }
    text
}

fn page(rows: &[Row]) -> String {
    let (arrays, singles): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| row.name.ends_with("[]"));
    let (texts, lists): (Vec<&Row>, Vec<&Row>) =
        arrays.into_iter().partition(|row| row.duckdb.becomes == "VARCHAR");
    let mut lists = table(&lists);
    if let Some(other) = texts.first() {
        let (becomes, class) = (&other.duckdb.becomes, other.duckdb.class.as_str());
        let _ = writeln!(
            lists,
            "| array of any other type | `{becomes}` | {class} | its own type | exact | |"
        );
    }
    PAGE.replace("{types}\n", &table(&singles)).replace("{arrays}\n", &lists)
}

fn table(rows: &[&Row]) -> String {
    let mut text = "| PostgreSQL | in DuckDB | | in PostgreSQL | | left to `unrepresentable` |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        let name = code(&row.name);
        let (duckdb, postgres) = (&row.duckdb, &row.postgres);
        let own = match postgres.becomes == row.name {
            true => "the same".to_owned(),
            false => code(&postgres.becomes),
        };
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {own} | {} | {} |",
            code(&duckdb.becomes),
            duckdb.class.as_str(),
            postgres.class.as_str(),
            refused(row)
        );
    }
    text
}

/// Names of types as code, descriptions of sorts of types as words.
fn code(name: &str) -> String {
    match name.starts_with("a ") || name.starts_with("an ") || name.starts_with("any ") {
        true => name.to_owned(),
        false => format!("`{name}`"),
    }
}

fn refused(row: &Row) -> String {
    match (row.duckdb.refused, row.postgres.refused) {
        (Some(there), Some(here)) if there == here => there.to_owned(),
        (there, here) => {
            let told = [("DuckDB", there), ("PostgreSQL", here)];
            let told = told.iter().filter_map(|(end, what)| what.map(|what| (end, what)));
            told.map(|(end, what)| format!("{what} ({end})")).collect::<Vec<_>>().join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables_are_in_the_page() {
        let page = reference(false).unwrap();
        for line in ["| `integer` | `INTEGER` | exact |", "| `integer[]` | `INTEGER[]` | policy |"]
        {
            assert!(page.contains(line), "{line}");
        }
        let places = ["{types}", "{arrays}"];
        assert!(!places.iter().any(|place| page.contains(place)), "a table has no place in it");
        assert!(reference(true).unwrap().contains("duckdb\tinteger\tINTEGER\texact\tbinary\n"));
    }
}
