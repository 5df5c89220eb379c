//! The proof at the end: both sides hold the same rows.
//!
//! Every row is written as one canonical text and hashed (MD5), on each side by its own SQL; the
//! sums of the hashes do not depend on the order of rows. Where they differ, the rows themselves
//! are compared and the first few that differ are shown.

use std::collections::HashMap;

use rowtide_core::{Error, Result};
use rowtide_duckdb::DuckdbDestination;
use tokio_postgres::Client;

use super::shop::failed;

/// How many differing rows are shown per table.
const SHOWN: usize = 5;

/// One table's comparison.
pub(super) struct Verdict {
    pub(super) table: &'static str,
    pub(super) source: Side,
    pub(super) destination: Side,
    /// Rows that differ, in words; empty when the sides are equal.
    pub(super) differences: Vec<String>,
}

impl Verdict {
    pub(super) fn is_equal(&self) -> bool {
        self.source == self.destination
    }
}

/// One side's row count and order-free checksum.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) rows: u64,
    high: u128,
    low: u128,
}

impl Side {
    /// The checksum, short enough to be looked at.
    pub(super) fn checksum(&self) -> String {
        let mixed = self.high.rotate_left(64) ^ self.low;
        let folded = (mixed ^ (mixed >> 64)) & u128::from(u64::MAX);
        format!("{folded:016x}")
    }

    fn parse(cells: &[Option<String>]) -> Result<Self> {
        let number = |at: usize| {
            let text = cells.get(at).and_then(Option::as_deref);
            text.and_then(|text| text.parse::<u128>().ok())
                .ok_or_else(|| Error::internal("a checksum is not a number"))
        };
        Ok(Self {
            rows: u64::try_from(number(0)?).unwrap_or(u64::MAX),
            high: number(1)?,
            low: number(2)?,
        })
    }
}

/// A column's canonical text on both sides.
struct Canonical {
    source: Vec<String>,
    destination: Vec<String>,
}

/// Compares `table` on both sides.
///
/// # Errors
/// If a side cannot be read.
pub(super) async fn compare(
    client: &Client,
    destination: &DuckdbDestination,
    table: &'static str,
) -> Result<Verdict> {
    let canonical = canonical_columns(client, table).await?;
    let (from, to) = (row_text(&canonical.source), row_text(&canonical.destination));
    let hashed = |row: &str| format!("(SELECT md5({row}) AS h FROM public.{table}) AS hashed");

    let piece = |at: u32| {
        format!("coalesce(sum(('x0' || substr(h, {at}, 15))::bit(64)::bigint::numeric), 0)::text")
    };
    let sql = format!("SELECT count(*)::text, {}, {} FROM {}", piece(1), piece(16), hashed(&from));
    let row = client.query_one(&sql, &[]).await.map_err(|error| failed("the proof", error))?;
    let source = Side::parse(&[row.get(0), row.get(1), row.get(2)])?;

    let piece = |at: u32| format!("coalesce(sum(('0x' || substr(h, {at}, 15))::BIGINT), 0)");
    let sql = format!("SELECT count(*), {}, {} FROM {}", piece(1), piece(16), hashed(&to));
    let rows = destination.select(&sql).await?;
    let destination_side = Side::parse(rows.first().map(Vec::as_slice).unwrap_or_default())?;

    let mut verdict =
        Verdict { table, source, destination: destination_side, differences: Vec::new() };
    if !verdict.is_equal() {
        let text = |row: &str| format!("SELECT {row} FROM public.{table}");
        verdict.differences = differences(client, destination, (&text(&from), &text(&to))).await?;
    }
    Ok(verdict)
}

fn row_text(columns: &[String]) -> String {
    let columns: Vec<_> =
        columns.iter().map(|column| format!("coalesce({column}, '<null>')")).collect();
    format!("concat_ws('|', {})", columns.join(", "))
}

/// How each type becomes the same text on both sides.
async fn canonical_columns(client: &Client, table: &str) -> Result<Canonical> {
    const COLUMNS: &str = "SELECT attname::text, format_type(atttypid, NULL)
        FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
        ORDER BY attnum";
    let name = format!("public.{table}");
    let rows = client.query(COLUMNS, &[&name]).await.map_err(|error| failed("the proof", error))?;
    let mut canonical = Canonical { source: Vec::new(), destination: Vec::new() };
    for row in rows {
        let (column, kind): (String, String) = (row.get(0), row.get(1));
        let (source, destination) = match kind.as_str() {
            "timestamp with time zone" | "timestamp without time zone" => (
                format!("((extract(epoch FROM \"{column}\") * 1000000)::bigint)::text"),
                format!("epoch_us(\"{column}\")::VARCHAR"),
            ),
            "bytea" => {
                (format!("encode(\"{column}\", 'hex')"), format!("lower(hex(\"{column}\"))"))
            }
            list if list.ends_with("[]") => (
                format!("array_to_string(\"{column}\", ',')"),
                format!("array_to_string(\"{column}\", ',')"),
            ),
            _ => (format!("\"{column}\"::text"), format!("\"{column}\"::VARCHAR")),
        };
        canonical.source.push(source);
        canonical.destination.push(destination);
    }
    Ok(canonical)
}

/// Compares the rows as multisets.
async fn differences(
    client: &Client,
    destination: &DuckdbDestination,
    (from, to): (&str, &str),
) -> Result<Vec<String>> {
    let mut balance: HashMap<String, i64> = HashMap::new();
    let rows = client.query(from, &[]).await.map_err(|error| failed("the proof", error))?;
    for row in rows {
        *balance.entry(row.get(0)).or_default() += 1;
    }
    for mut row in destination.select(to).await? {
        let text = row.pop().flatten().unwrap_or_default();
        *balance.entry(text).or_default() -= 1;
    }
    let mut found: Vec<_> = balance.into_iter().filter(|(_, count)| *count != 0).collect();
    found.sort();
    let (total, shown) = (found.len(), found.into_iter().take(SHOWN));
    let mut lines: Vec<String> = shown
        .map(|(text, count)| {
            let text: String = text.chars().take(160).collect();
            match count {
                0.. => format!("{count} × only in PostgreSQL: {text}"),
                _ => format!("{} × only in DuckDB: {text}", -count),
            }
        })
        .collect();
    if total > SHOWN {
        lines.push(format!("… and {} more", total - SHOWN));
    }
    Ok(lines)
}
