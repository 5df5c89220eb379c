//! The rows that stand, told from the history that an append table holds.
//!
//! A row stands if the last event of its key neither removed it nor was overtaken by a TRUNCATE or
//! by another copy of the table. A value that an event does not repeat is that of the key's event
//! before; of a row that moved to another key, that of the key it came from.
//!
//! Every event is there once. One that is there twice shows as a row too many.

use arrow_schema::DataType;
use rowtide_core::{Column, Error, Result, TablePlan};

use crate::client::{Sql, get};
use crate::quote::{identifier, literal};

/// The metadata columns that tell the history, quoted.
struct Told {
    op: String,
    position: String,
    seq: String,
    unchanged: Option<String>,
}

/// How many events are looked at by one statement.
const EVENTS_AT_ONCE: i64 = 200_000;
/// A history has so many parts at most: for each of them it is read once.
const MOST_PARTS: i64 = 64;

/// What the history holds.
struct Facts {
    /// How many events.
    events: i64,
    /// What an event fulfils that no TRUNCATE or other copy made void.
    valid: String,
    /// The columns whose value some event does not repeat, as indices.
    unrepeated: Vec<usize>,
    /// Some rows moved to another key and did not repeat all values.
    moved: bool,
}

/// Something to select from: the rows that stand, under the names of their columns; and the same
/// in parts, each of the rows of some keys. `table` is what stands behind FROM for the history.
///
/// # Errors
/// `Config` if the table lacks the columns that tell its history.
pub(super) async fn rows(
    sql: &Sql,
    plan: &TablePlan,
    table: &str,
) -> Result<(String, Vec<String>)> {
    let told = told(plan)?;
    let facts = facts(sql, plan, (table, &told)).await?;
    let rows = |part: &str| {
        let from = (table, &told, part);
        let query = match plan.source.is_keyed() {
            true => keyed(plan, from, &facts),
            false => multiset(plan, from, &facts),
        };
        format!("({query}) AS history")
    };
    let whole = rows("true");
    // What a row that moved between keys holds may stand under any of them.
    let many = facts.events.div_euclid(EVENTS_AT_ONCE) + 1;
    let told_by_text = !plan.source.is_keyed()
        || plan.source.key.iter().all(|&at| is_told_by_text(&plan.source.columns[at]));
    let many = if facts.moved || !told_by_text { 1 } else { many.min(MOST_PARTS) };
    let hash = part_hash(plan);
    // Not the remainder: that of a negative number is negative.
    let many = many.unsigned_abs().next_power_of_two();
    let part = |number| rows(&format!("({hash} & {}) = {number}", many - 1));
    let parts = match many {
        1 => vec![whole.clone()],
        many => (0..many).map(part).collect(),
    };
    Ok((whole, parts))
}

fn told(plan: &TablePlan) -> Result<Told> {
    let metadata = &plan.metadata;
    let column = |name: &Option<String>, what: &str| {
        name.as_deref().map(identifier).ok_or_else(|| {
            Error::config(format!(
                "the history in {} has no column for {what}: which rows stand cannot be told",
                plan.target
            ))
            .of_one_table()
            .with_hint("let the table have the metadata columns op, position and seq")
        })
    };
    Ok(Told {
        op: column(&metadata.op, "the kind of event")?,
        position: column(&metadata.position, "an event's position")?,
        seq: column(&metadata.seq, "an event's order")?,
        unchanged: metadata.unchanged.as_deref().map(identifier),
    })
}

/// What tells the rows of a history apart, as a number.
fn part_hash(plan: &TablePlan) -> String {
    let all = 0..plan.source.columns.len();
    let by = match plan.source.is_keyed() {
        true => plan.source.key.clone(),
        false => all.collect(),
    };
    let by = by.iter().map(|&at| identifier(plan.source.columns[at].name()));
    let by: Vec<String> = by.collect();
    format!("pg_catalog.hashtext(ROW({})::text COLLATE \"C\")", by.join(", "))
}

/// Whether equal values of the column have equal texts, which is not so of -0 and 0, 1.0 and 1.00.
fn is_told_by_text(column: &Column) -> bool {
    let native = &column.native_type;
    match column.field.data_type() {
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt32
        | DataType::Decimal128(..)
        | DataType::Binary
        | DataType::Date32
        | DataType::Timestamp(..) => true,
        DataType::FixedSizeBinary(_) => native == "uuid",
        DataType::Utf8 => native == "text" || native.starts_with("character varying"),
        _ => false,
    }
}

async fn facts(sql: &Sql, plan: &TablePlan, (table, told): (&str, &Told)) -> Result<Facts> {
    let doing = format!("looking at {}", plan.target);
    let Told { op, position, seq, unchanged } = told;
    let query = format!(
        "SELECT pg_catalog.max({position}) FILTER (WHERE {op} = 'snapshot'), \
         (SELECT ARRAY[{position}, {seq}] FROM {table} WHERE {op} = 'truncate' \
          ORDER BY {position} DESC, {seq} DESC LIMIT 1), pg_catalog.count(*) FROM {table}"
    );
    let row = sql.row(&doing, &query, &[]).await?;
    let copied: Option<i64> = get(&row, 0)?;
    let emptied: Option<Vec<i64>> = get(&row, 1)?;
    let mut valid = "true".to_owned();
    if let Some(copied) = copied {
        valid.push_str(&format!(" AND {position} >= {copied}"));
    }
    if let Some([at, order]) = emptied.as_deref() {
        let later = format!("({position} > {at} OR {position} = {at} AND {seq} > {order})");
        valid.push_str(&format!(" AND {later}"));
    }
    let events = get(&row, 2)?;
    let mut facts = Facts { events, valid, unrepeated: Vec::new(), moved: false };
    if let Some(unchanged) = unchanged {
        let query = format!(
            "SELECT name, pg_catalog.bool_or(moved) FROM \
             (SELECT DISTINCT pg_catalog.unnest({unchanged}) AS name, {op} = 'insert' AS moved \
              FROM {table} WHERE {unchanged} IS NOT NULL) AS u GROUP BY name"
        );
        for row in &sql.rows(&doing, &query, &[]).await? {
            facts.moved |= get::<bool>(row, 1)?;
            let name: Option<&str> = get(row, 0)?;
            facts.unrepeated.extend(name.and_then(|name| plan.source.index_of(name)));
        }
    }
    Ok(facts)
}

/// What stands behind FROM for the history, what tells it, and a condition for a part of it.
type From<'a> = (&'a str, &'a Told, &'a str);

/// The source's columns as `c0`, `c1` …, and what tells the history.
fn events(plan: &TablePlan, (table, told, part): From<'_>, valid: &str) -> String {
    let columns = plan.source.columns.iter().enumerate();
    let columns = columns.map(|(at, column)| format!("{} AS c{at}", identifier(column.name())));
    let Told { op, position, seq, unchanged } = told;
    let unchanged = unchanged.as_deref().unwrap_or("NULL::text[]");
    let key = plan.source.key.iter().map(|&at| identifier(plan.source.columns[at].name()));
    // A row whose key cannot be represented is kept out under no key.
    let keyed: Vec<String> = key.map(|key| format!("{key} IS NOT NULL")).collect();
    let keyed = match plan.source.is_keyed() {
        true => format!("({op} <> 'quarantine' OR {})", keyed.join(" AND ")),
        false => format!("{op} <> 'quarantine'"),
    };
    format!(
        "SELECT {}, {op} AS op, {position} AS pos, {seq} AS seq, {unchanged} AS unchanged, \
         ({valid}) IS TRUE AS valid FROM {table} WHERE {op} <> 'truncate' AND {keyed} \
         AND {part}",
        columns.collect::<Vec<_>>().join(", ")
    )
}

/// The last event of each key, completed.
fn keyed(plan: &TablePlan, from: From<'_>, facts: &Facts) -> String {
    let key: Vec<String> = plan.source.key.iter().map(|at| format!("c{at}")).collect();
    let key = key.join(", ");
    let events = events(plan, from, &facts.valid);
    let (source, row) = match (facts.unrepeated.is_empty(), facts.moved) {
        (true, _) => (format!("({events}) AS e"), None),
        (false, false) => {
            (format!("({}) AS e", lives(&key, &events)), Some(format!("{key}, life")))
        }
        (false, true) => (moving(&key, &events), Some("root".to_owned())),
    };
    let value = |at: usize| match &row {
        // What is not repeated comes last: before it, the latest value that is.
        Some(row) if facts.unrepeated.contains(&at) => format!(
            "pg_catalog.first_value(c{at}) OVER (PARTITION BY {row} ORDER BY \
             op IN ('delete', 'quarantine') OR coalesce({name} = ANY (unchanged), false), \
             pos DESC, seq DESC NULLS LAST) AS v{at}",
            name = literal(plan.source.columns[at].name()),
        ),
        _ => format!("c{at} AS v{at}"),
    };
    let count = plan.source.columns.len();
    let values: Vec<String> = (0..count).map(value).collect();
    let named = plan.source.columns.iter().enumerate();
    let named = named.map(|(at, column)| format!("v{at} AS {}", identifier(column.name())));
    format!(
        "SELECT {named} FROM (SELECT {values}, \
         (valid AND op NOT IN ('delete', 'quarantine')) AS stands, \
         pg_catalog.row_number() OVER w - pg_catalog.dense_rank() OVER w AS twice, \
         pg_catalog.lead(true) OVER w IS NULL AS last \
         FROM {source} WINDOW w AS (PARTITION BY {key} ORDER BY pos, seq NULLS FIRST)) AS e \
         CROSS JOIN LATERAL pg_catalog.generate_series(1, stands::int4 + twice) \
         WHERE last",
        named = named.collect::<Vec<_>>().join(", "),
        values = values.join(", "),
    )
}

/// The events of a key with the number of the life they belong to, which begins with an insert.
fn lives(key: &str, events: &str) -> String {
    format!(
        "SELECT e.*, pg_catalog.count(*) FILTER (WHERE op IN ('insert', 'snapshot')) OVER \
         (PARTITION BY {key} ORDER BY pos, seq NULLS FIRST) AS life FROM ({events}) AS e"
    )
}

/// The events with the row they belong to, whatever keys it had: the first of its lives.
fn moving(key: &str, events: &str) -> String {
    let lives = lives(key, events);
    format!(
        "(WITH RECURSIVE e AS MATERIALIZED (\
             SELECT l.*, pg_catalog.dense_rank() OVER (ORDER BY {key}, life) AS id \
             FROM ({lives}) AS l), \
         came AS (SELECT new.id, old.id AS before FROM e AS new JOIN e AS old \
             ON old.pos = new.pos AND old.seq = new.seq - 1 AND old.op = 'delete' \
             WHERE new.op = 'insert' AND new.unchanged IS NOT NULL), \
         roots (id, root) AS (\
             SELECT DISTINCT id, id FROM e WHERE id NOT IN (SELECT id FROM came) \
             UNION SELECT came.id, roots.root FROM came JOIN roots ON roots.id = came.before) \
         SELECT e.*, roots.root FROM e JOIN roots USING (id)) AS e"
    )
}

/// The rows that came and did not go, of a table whose rows have no key.
fn multiset(plan: &TablePlan, from: From<'_>, facts: &Facts) -> String {
    let count = plan.source.columns.len();
    let columns: Vec<String> = (0..count).map(|at| format!("c{at}")).collect();
    let columns = columns.join(", ");
    let events = events(plan, from, &facts.valid);
    let named = plan.source.columns.iter().enumerate();
    let named = named.map(|(at, column)| format!("c{at} AS {}", identifier(column.name())));
    format!(
        "SELECT {named} FROM (SELECT {columns}, op, \
         pg_catalog.row_number() OVER (PARTITION BY r, op = 'delete' ORDER BY pos DESC) AS n, \
         pg_catalog.count(*) FILTER (WHERE op = 'delete') OVER (PARTITION BY r) AS gone \
         FROM (SELECT e.*, ROW({columns})::text COLLATE \"C\" AS r \
               FROM ({events}) AS e WHERE valid OFFSET 0) AS e) AS e \
         WHERE op <> 'delete' AND n > gone",
        named = named.collect::<Vec<_>>().join(", "),
    )
}
