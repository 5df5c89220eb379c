//! The tables made, copied, changed and compared.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rowtide_testkit::{Finished, Result, Rowtide, wait_for};

use super::corpus::kept;
use super::plan::{Kind, Table, folded, quoted, tables};
use crate::stage::{End, Stage};

/// How long any step may take.
const LIMIT: Duration = Duration::from_secs(900);
/// How much SQL psql is given at once: an argument's length is limited.
const ARGUMENT: usize = 60_000;
/// How many tables one query compares.
const AT_ONCE: usize = 40;

/// What was tried, and came out the same.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    tables: usize,
    schemas: usize,
    columns: usize,
    excluded: usize,
    rows: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tables in {} schemas with {} columns and {} rows arrived as they are, {} were \
             excluded by name",
            self.tables, self.schemas, self.columns, self.rows, self.excluded
        )
    }
}

/// Sends every name of the corpus through the pipeline of `stage`, in every place.
///
/// # Errors
/// What did not arrive, or arrived otherwise.
pub fn attempt(stage: &Stage) -> Result<Outcome> {
    let tables = tables();
    make(stage, &tables)?;
    let excluded = tables.iter().filter(|table| table.excluded).map(pattern);
    let excluded: Vec<String> = excluded.map(|pattern| toml(&pattern)).collect();
    let selected = format!("include = [\"*.*\"]\nexclude = [{}]", excluded.join(", "));
    let appended = tables.iter().filter(|table| table.kind == Kind::Append);
    let rule = |table: &Table| {
        format!("[[table]]\nmatch = {}\nmode = \"append\"\n\n", toml(&pattern(table)))
    };
    stage.select(&selected, &appended.map(rule).collect::<String>())?;
    stage.once()?;
    let mut run = stage.follow()?;
    change(stage, &tables)?;
    caught_up(stage, &mut run)?;
    run.terminate()?;
    quiet(&run.wait(LIMIT).and_then(Finished::success)?.stderr)?;
    commands(stage, &tables)?;
    compare(stage, &tables)
}

fn make(stage: &Stage, tables: &[Table]) -> Result<()> {
    let mut statements = vec!["SET client_min_messages = warning".to_owned()];
    for table in tables {
        let name = table.quoted();
        let types = ["bigint", "text", "integer", "text"];
        let columns = table.columns.iter().zip(types);
        let columns: Vec<String> =
            columns.map(|(column, kind)| format!("{} {kind}", quoted(column))).collect();
        let key = match table.kind {
            Kind::Keyless => String::new(),
            _ => format!(", PRIMARY KEY ({})", quoted(&table.columns[0])),
        };
        statements.push(format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&table.schema)));
        statements.push(format!("CREATE TABLE {name} ({}{key})", columns.join(", ")));
        if table.kind == Kind::Keyless {
            statements.push(format!("ALTER TABLE {name} REPLICA IDENTITY FULL"));
        }
        statements.push(format!(
            "INSERT INTO {name} SELECT n, 'copied ' || n, n * 2, 'b' FROM generate_series(1, 3) n"
        ));
    }
    execute(stage, &statements)
}

/// Rows come, change and go, and some columns with them.
fn change(stage: &Stage, tables: &[Table]) -> Result<()> {
    let mut statements = Vec::new();
    for table in tables {
        let name = table.quoted();
        let [key, second, third, fourth] = [0, 1, 2, 3].map(|at| quoted(&table.columns[at]));
        statements.push(format!("INSERT INTO {name} VALUES (4, 'streamed', 8, 'b')"));
        statements.push(format!("UPDATE {name} SET {second} = 'changed' WHERE {key} = 1"));
        statements.push(format!("UPDATE {name} SET {key} = 20 WHERE {key} = 2"));
        statements.push(format!("DELETE FROM {name} WHERE {key} = 3"));
        if let Some(renamed) = &table.renamed {
            let renamed = quoted(renamed);
            statements.push(format!("ALTER TABLE {name} RENAME COLUMN {second} TO {renamed}"));
            statements.push(format!("UPDATE {name} SET {renamed} = 'renamed' WHERE {key} = 4"));
        }
        if let Some(added) = &table.added {
            let added = quoted(added);
            statements.push(format!("ALTER TABLE {name} ADD COLUMN {added} text"));
            statements.push(format!(
                "INSERT INTO {name} ({key}, {third}, {fourth}, {added}) VALUES (5, 1, 'x', 'added')"
            ));
        }
    }
    execute(stage, &statements)
}

/// Runs statements, each as a transaction of its own.
fn execute(stage: &Stage, statements: &[String]) -> Result<()> {
    let mut batch = String::new();
    for statement in statements {
        if batch.len() + statement.len() > ARGUMENT {
            stage.sql(&batch)?;
            batch.clear();
        }
        batch.push_str(statement);
        batch.push_str(";\n");
    }
    stage.sql(&batch).map(drop)
}

fn caught_up(stage: &Stage, run: &mut Rowtide) -> Result<()> {
    let head = stage.sql("SELECT pg_current_wal_flush_lsn()")?;
    wait_for("the changes to be durable", LIMIT, || {
        if !run.is_running() {
            return Err(format!("rowtide ended: {}", run.stderr()));
        }
        let reached = stage.sql(&format!(
            "SELECT bool_and(confirmed_flush_lsn >= '{}') FROM pg_replication_slots",
            head.trim()
        ))?;
        Ok((reached.trim() == "t").then_some(()))
    })
}

/// A name must not reach a terminal as anything but text.
fn quiet(said: &str) -> Result<()> {
    let loud = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    match said.lines().find(|line| line.contains(loud)) {
        Some(line) => Err(format!("a name's characters were written as they are: {line:?}")),
        None => Ok(()),
    }
}

/// `status` shows every table, and does no harm with it; what it shows is taken back by `table`.
fn commands(stage: &Stage, tables: &[Table]) -> Result<()> {
    let status = stage.command("status", &["--log", "text"]).run(LIMIT)?.success()?;
    quiet(&status.stdout)?;
    quiet(&status.stderr)?;
    let json = stage.command("status", &["--json"]).run(LIMIT)?.success()?.stdout;
    let shown: Vec<String> = json
        .lines()
        .filter_map(|line| line.trim().strip_prefix("\"table\": "))
        .filter_map(|rest| serde_json::from_str(rest.trim_end_matches(',')).ok())
        .collect();
    let followed = tables.iter().filter(|table| !table.excluded).count();
    if shown.len() != followed {
        return Err(format!("{followed} tables are followed, and status shows {}", shown.len()));
    }
    for verb in ["pause", "resync"] {
        let mut arguments = vec![verb];
        // Each opens the destination anew.
        arguments.extend(shown.iter().step_by(9).map(String::as_str));
        let said = stage.command("table", &arguments).run(LIMIT)?.success()?;
        quiet(&said.stdout)?;
    }
    // As written in the configuration, too.
    let names: Vec<String> =
        tables.iter().filter(|table| !table.excluded).step_by(9).map(pattern).collect();
    let again: Vec<&str> = names.iter().flat_map(|name| ["--resync", name]).collect();
    let mut once = vec!["--once"];
    once.extend(again);
    let finished = stage.command("run", &once).run(LIMIT)?.success()?;
    quiet(&finished.stderr)
}

/// Compares the names and the rows of all tables.
fn compare(stage: &Stage, tables: &[Table]) -> Result<Outcome> {
    let mut standing = standing(stage)?;
    let mut outcome = Outcome::default();
    let mut schemas = std::collections::BTreeSet::new();
    for table in tables {
        let place = place(stage, table);
        let arrived = standing.remove(&place);
        if table.excluded {
            outcome.excluded += 1;
            if let Some(columns) = arrived {
                return Err(format!("{place:?} is excluded, but stands there: {columns:?}"));
            }
            continue;
        }
        let mut arrived = arrived.ok_or_else(|| format!("{place:?} did not arrive"))?;
        if table.kind == Kind::Append {
            arrived.retain(|column| !column.starts_with("_rowtide_"));
        }
        let mut wanted = table.columns_at_last();
        arrived.sort_unstable();
        wanted.sort_unstable();
        if arrived != wanted {
            return Err(format!("the columns of {place:?} are {arrived:?}, not {wanted:?}"));
        }
        outcome.tables += 1;
        outcome.columns += wanted.len();
        schemas.insert(table.schema.clone());
    }
    outcome.schemas = schemas.len();
    let followed: Vec<&Table> = tables.iter().filter(|table| !table.excluded).collect();
    for part in followed.chunks(AT_ONCE) {
        outcome.rows += rows(stage, part)?;
    }
    Ok(outcome)
}

/// Where a table is to stand. DuckDB takes schemas that differ only in case for one.
fn place(stage: &Stage, table: &Table) -> (String, String) {
    let schema = match stage.end {
        End::Duckdb => folded(&table.schema),
        End::Postgres => table.schema.clone(),
    };
    (schema, kept(&table.name).to_owned())
}

/// All tables that stand at the destination, with their columns.
fn standing(stage: &Stage) -> Result<BTreeMap<(String, String), Vec<String>>> {
    let hex = |column: &str| match stage.end {
        End::Duckdb => format!("lower(hex(encode({column})))"),
        End::Postgres => format!("encode(convert_to({column}::text, 'UTF8'), 'hex')"),
    };
    let [schema, table, column] = ["table_schema", "table_name", "column_name"].map(hex);
    let own = "table_schema NOT IN ('_rowtide', 'information_schema', 'pg_catalog')";
    let sql = format!(
        "SELECT {schema} || ' ' || {table} || ' ' || {column} FROM information_schema.columns \
         WHERE {own}"
    );
    let mut standing: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for row in stage.rows(&sql)? {
        let parts: Vec<String> = row.split(' ').map(text).collect::<Result<_>>()?;
        let [schema, table, column] = <[String; 3]>::try_from(parts)
            .map_err(|parts| format!("unexpected row of the catalog: {parts:?}"))?;
        let schema = if stage.end == End::Duckdb { folded(&schema) } else { schema };
        standing.entry((schema, table)).or_default().push(column);
    }
    Ok(standing)
}

/// The text that was written as hexadecimal digits.
fn text(hex: &str) -> Result<String> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    let bytes: Option<Vec<u8>> = digits.map(byte).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| format!("{hex} is no text"))
}

/// Compares the rows of `tables`; returns how many there are.
fn rows(stage: &Stage, tables: &[&Table]) -> Result<usize> {
    let select = |at: usize, table: &Table, from: &str| {
        let columns = table.columns_at_last();
        let parts: Vec<String> = columns
            .iter()
            .map(|column| format!("coalesce(cast({} AS varchar), '~')", quoted(column)))
            .collect();
        format!("SELECT concat('{at}', '|', {}) FROM {from}", parts.join(", '|', "))
    };
    let source = |(at, table): (usize, &&Table)| select(at, table, &table.standing());
    let copied = |(at, table): (usize, &&Table)| {
        let standing = table.standing();
        match table.kind {
            Kind::Append => select(at, table, &last(table, &standing)),
            _ => select(at, table, &standing),
        }
    };
    let union = |selects: Vec<String>| selects.join(" UNION ALL ");
    let wanted = stage.sql(&union(tables.iter().enumerate().map(source).collect()))?;
    let mut wanted: Vec<String> = wanted.lines().map(str::to_owned).collect();
    let mut arrived = stage.rows(&union(tables.iter().enumerate().map(copied).collect()))?;
    wanted.sort_unstable();
    arrived.sort_unstable();
    match wanted == arrived {
        true => Ok(wanted.len()),
        false => {
            let differing = wanted.iter().zip(&arrived).find(|(one, other)| one != other);
            let names: Vec<String> = tables.iter().map(|table| table.standing()).collect();
            Err(format!(
                "{} rows are {} at the destination; the first that differ: {differing:?}, of \
                 {names:?}",
                wanted.len(),
                arrived.len()
            ))
        }
    }
}

/// The last event of each key of a history, if it is not a delete.
fn last(table: &Table, standing: &str) -> String {
    let key = quoted(&table.columns[0]);
    format!(
        "(SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY \
         _rowtide_position DESC, _rowtide_seq DESC NULLS LAST) AS rowtide_rank_of_trial \
         FROM {standing}) AS history WHERE rowtide_rank_of_trial = 1 AND _rowtide_op <> 'delete') \
         AS last_of_trial"
    )
}

/// The table's name as a pattern takes it.
fn pattern(table: &Table) -> String {
    let part = |name: &str| match name.contains("${") {
        // In the configuration that would begin a reference.
        true => {
            let escaped = name.replace('\\', r"\\").replace('$', r"\0024");
            format!("U&{}", quoted(&escaped))
        }
        false => quoted(name),
    };
    format!("{}.{}", part(&table.schema), part(kept(&table.name)))
}

/// A string of TOML.
fn toml(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}
