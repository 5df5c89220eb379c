//! What a history of events has come to.
//!
//! Under a key a row is the key's last event, unless that removed it; columns whose value an event
//! does not repeat have it from the event before. Without a key the rows are those that came,
//! less those that went. What a copy brought stands for everything from before its position, and
//! a TRUNCATE removes everything before itself.
//!
//! An event that stands twice is a fault of the history which its last events may not show: each
//! time too many counts as a row, so that it is found.

use std::collections::BTreeMap;

use arrow_schema::DataType;
use rowtide_core::{Error, Result, TablePlan};

use super::columns::places;
use super::relation::count;
use crate::error::During;
use crate::ffi::{Cell, Connection};
use crate::quote::{Ident, TableRef, fold, join};

/// After these a row stands.
const LIVE: &str = "o IN ('insert', 'update', 'snapshot')";
/// Events from the log, each with a place of its own.
const STREAMED: &str = "s IS NOT NULL AND o <> 'truncate'";
/// Rows that a copy brought.
const COPIED: &str = "o = 'snapshot'";

/// What is to be known of a history before its rows can be selected.
pub(super) struct History {
    /// The metadata columns as `o`, `p`, `s` and `u`.
    metadata: String,
    /// Which events still matter.
    since: String,
    /// Columns that some event does not repeat, with their names there.
    left_out: BTreeMap<usize, String>,
    /// Whether some of them moved to another key.
    moves: bool,
    /// Whether an event stands twice, and whether a copied row does.
    repeated: (bool, bool),
    /// How many events there are.
    events: u64,
    /// Columns whose values are equal to others than themselves, so that their text is compared.
    inexact: Vec<usize>,
}

impl History {
    /// Looks through `target`, in whose row `t` the key is `key`.
    ///
    /// # Errors
    /// `Config` if the history lacks the columns that tell the order of events.
    pub(super) fn read(
        connection: &Connection,
        (target, plan): (&TableRef, &TablePlan),
        key: &[&String],
    ) -> Result<Self> {
        let metadata = metadata(plan)?;
        let by = join(1..=key.len(), "", |at| format!(", k{at}"));
        let key_values = join(key.iter().zip(1..), "", |(value, at)| format!(", {value} AS k{at}"));
        let events = format!("SELECT {metadata}{key_values} FROM {target} AS t");
        let twice = |by: &str, which: &str| {
            let groups = format!("SELECT 1 FROM ({events}) WHERE {which} GROUP BY {by}");
            let sql = format!("SELECT count(*) FROM ({groups} HAVING count(*) > 1)");
            count(connection, &sql).map(|found| found > 0)
        };
        let moved = format!("SELECT count(*) FROM ({events}) WHERE o = 'insert' AND len(u) > 0");
        let total = format!("SELECT count(*) FROM {target}");
        let columns = plan.source.columns.iter().enumerate();
        let inexact = columns.filter(|(_, column)| !is_exact(column.field.data_type()));
        Ok(Self {
            since: since(connection, &events)?,
            left_out: left_out(connection, &events, plan)?,
            moves: count(connection, &moved)? > 0,
            events: u64::try_from(count(connection, &total)?).unwrap_or(0),
            repeated: (
                twice("p, s", STREAMED)?,
                !key.is_empty() && twice(&format!("p{by}"), COPIED)?,
            ),
            inexact: inexact.map(|(at, _)| at).collect(),
            metadata,
        })
    }

    /// What is selected of each event besides the source's columns.
    pub(super) fn metadata(&self) -> &str {
        &self.metadata
    }

    /// How many events there are.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Selects `columns` of the rows that all `events` have come to; those that stand twice are
    /// looked for among `placed`.
    pub(super) fn rows(
        &self,
        (events, placed): (&str, &str),
        (columns, key): (&[usize], &[usize]),
    ) -> String {
        let shown = places(columns);
        let all = events;
        let events = &self.lasting(events);
        if key.is_empty() {
            let texts = join(&self.inexact, "", |at| format!(", c{at}::VARCHAR"));
            let part = |which: &str| format!("SELECT {shown}{texts} FROM ({events}) WHERE {which}");
            let (came, went) = (part(LIVE), part("o = 'delete'"));
            return format!("SELECT {shown} FROM ({came} EXCEPT ALL {went})");
        }
        let by = places(key);
        let last = format!(
            "row_number() OVER (PARTITION BY {by} ORDER BY p DESC, s DESC NULLS LAST) AS n"
        );
        let values = join(columns, "", |at| match self.left_out.contains_key(at) {
            true => format!("r{at}.v AS c{at}, "),
            false => format!("c{at}, "),
        });
        let filled = self.filled(events, &by);
        let mut rows = format!(
            "SELECT {shown} FROM (SELECT {values}o, {last} FROM ({filled})) WHERE n = 1 AND {LIVE}"
        );
        for (is_so, (by, all), which) in [
            (self.repeated.0, ("p, s".to_owned(), placed), STREAMED),
            (self.repeated.1, (format!("p, {by}"), all), COPIED),
        ] {
            if is_so {
                let number = format!("row_number() OVER (PARTITION BY {by}) AS n");
                rows = format!(
                    "{rows} UNION ALL SELECT {shown} FROM \
                     (SELECT *, {number} FROM ({all}) WHERE {which}) WHERE n > 1"
                );
            }
        }
        rows
    }

    /// Counts the rows of which a value is not known, as the events before are not all there.
    pub(super) fn unknown(&self, events: &str, key: &[usize]) -> Option<String> {
        let events = &self.lasting(events);
        if self.left_out.is_empty() || key.is_empty() {
            return None;
        }
        let by = places(key);
        let last = format!(
            "row_number() OVER (PARTITION BY {by} ORDER BY p DESC, s DESC NULLS LAST) AS n"
        );
        let lacking = join(&self.left_out, " OR ", |(at, _)| format!("r{at}.lacks"));
        let filled = self.filled(events, &by);
        Some(format!(
            "SELECT count(*) FROM (SELECT *, {last} FROM ({filled})) WHERE n = 1 AND {LIVE} \
             AND ({lacking})"
        ))
    }

    /// Events with each column that some leave out as a struct `r` and its number: the value, and
    /// whether that is not known. What was removed still has it there.
    fn filled(&self, events: &str, by: &str) -> String {
        let filled = join(&self.left_out, "", |(at, name)| {
            let lacks = format!("coalesce(list_contains(u, {}), false)", text(name));
            format!(
                ", last_value(CASE WHEN o IN ('insert', 'snapshot') OR o = 'update' AND NOT {lacks} \
                 THEN struct_pack(v := c{at}, lacks := {lacks}, p := p, s := s) END IGNORE NULLS) \
                 OVER (PARTITION BY {by} ORDER BY p, s NULLS FIRST \
                 ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS r{at}"
            )
        });
        let filled = format!("SELECT *{filled} FROM ({events})");
        if self.moves { self.followed(&filled) } else { filled }
    }

    /// The same where rows moved to another key, which are inserts that leave out values: those
    /// are what the row had that was removed directly before, which may have moved there itself.
    fn followed(&self, filled: &str) -> String {
        let values = join(self.left_out.keys(), "", |at| format!(", r{at}"));
        let ways = join(self.left_out.keys(), "", |at| {
            format!(
                ", w{at}(p, s, r) AS (\
                 SELECT f.p, f.s, m.r{at} FROM f JOIN m ON m.p = f.p AND m.s = f.s \
                 WHERE f.o = 'insert' AND (f.r{at}).lacks \
                 UNION ALL SELECT w.p, w.s, m.r{at} FROM w{at} AS w \
                 JOIN m ON m.p = (w.r).p AND m.s = (w.r).s WHERE (w.r).lacks)"
            )
        });
        let found = join(self.left_out.keys(), ", ", |at| {
            format!(
                "CASE WHEN (f.r{at}).lacks THEN coalesce(w{at}.r, f.r{at}) ELSE f.r{at} END AS r{at}"
            )
        });
        let joins = join(self.left_out.keys(), " ", |at| {
            format!(
                "LEFT JOIN w{at} ON w{at}.p = (f.r{at}).p AND w{at}.s = (f.r{at}).s \
                 AND NOT (w{at}.r).lacks"
            )
        });
        format!(
            "WITH RECURSIVE f AS ({filled}), \
             m AS (SELECT p, s + 1 AS s{values} FROM f WHERE o = 'delete'){ways} \
             SELECT f.* REPLACE ({found}) FROM f {joins}"
        )
    }

    /// Whether a row under one key depends on events under others.
    pub(super) fn moves(&self) -> bool {
        self.moves
    }

    /// Those of `events` that still matter.
    fn lasting(&self, events: &str) -> String {
        format!("SELECT * FROM ({events}) WHERE {}", self.since)
    }
}

/// The metadata columns of an event `t`.
fn metadata(plan: &TablePlan) -> Result<String> {
    let names = &plan.metadata;
    let (Some(op), Some(position), Some(seq)) = (&names.op, &names.position, &names.seq) else {
        return Err(Error::config(format!(
            "table {}: without the metadata columns op, position and seq nobody can tell what \
             its history has come to",
            plan.target
        ))
        .with_hint("add them to the table's metadata, then copy it again (resync)"));
    };
    let unchanged = match &names.unchanged {
        Some(name) => format!("t.{}", Ident(name)),
        None => "NULL::VARCHAR[]".to_owned(),
    };
    let (op, position, seq) = (Ident(op), Ident(position), Ident(seq));
    Ok(format!("t.{op} AS o, t.{position} AS p, t.{seq} AS s, {unchanged} AS u"))
}

/// That an event is of the last copy or later, and after the last TRUNCATE.
fn since(connection: &Connection, events: &str) -> Result<String> {
    let first = |sql: String| {
        let rows = connection.query(&sql, &[]);
        let rows = rows.during(|| "looking through a history".to_owned())?;
        let number = |at: usize| rows.first().and_then(|row| row.get(at)).and_then(Cell::int);
        Ok::<_, Error>((number(0), number(1)))
    };
    let (copy, _) = first(format!("SELECT max(p) FROM ({events}) WHERE {COPIED}"))?;
    let truncate = first(format!(
        "SELECT p, s FROM ({events}) WHERE o = 'truncate' ORDER BY p DESC, s DESC LIMIT 1"
    ))?;
    let mut conditions = vec!["o <> 'truncate'".to_owned()];
    conditions.extend(copy.map(|copy| format!("p >= {copy}")));
    if let (Some(position), Some(seq)) = truncate {
        conditions.push(format!("(p > {position} OR (p = {position} AND s > {seq}))"));
    }
    Ok(conditions.join(" AND "))
}

/// The columns that some event leaves out.
fn left_out(
    connection: &Connection,
    events: &str,
    plan: &TablePlan,
) -> Result<BTreeMap<usize, String>> {
    let sql = format!("SELECT DISTINCT unnest(u) FROM ({events}) WHERE u IS NOT NULL");
    let names = connection.query(&sql, &[]);
    let names = names.during(|| "looking through a history".to_owned())?;
    let names = names.iter().filter_map(|row| row[0].text());
    let columns = &plan.source.columns;
    let found = names.filter_map(|name| {
        let at = columns.iter().position(|column| fold(column.name()) == fold(name))?;
        Some((at, name.to_owned()))
    });
    Ok(found.collect())
}

/// `value` as text in SQL. Only names stand in statements this way.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn is_exact(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 | DataType::Interval(_) => false,
        DataType::List(item) => is_exact(item.data_type()),
        DataType::Struct(fields) => fields.iter().all(|field| is_exact(field.data_type())),
        _ => true,
    }
}
