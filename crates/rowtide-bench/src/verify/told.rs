//! What `rowtide verify --json` told, and whether it is what is so.

use rowtide_testkit::{Finished, Result};
use serde::Deserialize;

use super::wrong::{CHANGED_COLUMN, WrongRows};

/// A report of one table, with how the program ended.
pub(super) struct Told {
    code: i32,
    table: Table,
}

#[derive(Debug, Deserialize)]
struct Report {
    tables: Vec<Table>,
}

/// What is told of a table.
#[derive(Debug, Deserialize)]
struct Table {
    verdict: String,
    source_rows: u64,
    destination_rows: u64,
    differing: u64,
    at_least: bool,
    unsettled: u64,
    differences: Vec<Difference>,
    /// In microseconds since 1970.
    started_at: i64,
    ended_at: i64,
}

#[derive(Debug, Deserialize)]
struct Difference {
    kind: String,
    key: Vec<Shown>,
    #[serde(default)]
    columns: Vec<Column>,
}

#[derive(Debug, Deserialize)]
struct Shown {
    value: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Column {
    column: String,
}

impl Told {
    /// Reads what it printed; nothing to read, or another number of tables than one, is an error.
    pub(super) fn read(finished: &Finished) -> Result<Self> {
        let failed = |why: &str| {
            let (code, stderr) = (finished.code(), &finished.stderr);
            format!("rowtide verify, exit code {code}: {why}\n{}\n{stderr}", finished.stdout)
        };
        let report: Report =
            serde_json::from_str(&finished.stdout).map_err(|e| failed(&e.to_string()))?;
        match <[Table; 1]>::try_from(report.tables) {
            Ok([table]) => Ok(Self { code: finished.code(), table }),
            Err(tables) => Err(failed(&format!("{} tables", tables.len()))),
        }
    }

    /// How long the table took.
    #[expect(clippy::cast_precision_loss, reason = "to be looked at")]
    pub(super) fn seconds(&self) -> f64 {
        (self.table.ended_at - self.table.started_at) as f64 / 1e6
    }

    /// Checks that `rows` were compared and found equal.
    pub(super) fn check_equal(&self, rows: u64) -> Result<()> {
        let Table { verdict, source_rows, destination_rows, .. } = &self.table;
        let is_so = (self.code, verdict.as_str()) == (0, "equal")
            && (*source_rows, *destination_rows) == (rows, rows);
        self.ensure(is_so, "equal tables")
    }

    /// Checks that exactly the rows that are wrong were found, and how they are.
    pub(super) fn check_wrong(&self, wrong: &WrongRows) -> Result<()> {
        let Table { verdict, differing, at_least, unsettled, .. } = &self.table;
        let is_so = (self.code, verdict.as_str()) == (1, "differs")
            && (*differing, *at_least, *unsettled) == (3, false, 0);
        self.ensure(is_so, "three wrong rows")?;
        let mut named: Vec<String> = self.table.differences.iter().map(Difference::words).collect();
        let mut wanted = [
            format!("{} changed {CHANGED_COLUMN}", wrong.changed),
            format!("{} missing ", wrong.missing),
            format!("{} extra ", wrong.extra),
        ];
        named.sort_unstable();
        wanted.sort_unstable();
        self.ensure(named == wanted, &format!("{wanted:?}"))
    }

    fn ensure(&self, is_so: bool, what: &str) -> Result<()> {
        match is_so {
            true => Ok(()),
            false => Err(format!(
                "rowtide verify was to find {what}; it told, with exit code {}: {:#?}",
                self.code, self.table
            )),
        }
    }
}

impl Difference {
    /// The key, the kind, and the columns that differ.
    fn words(&self) -> String {
        let key: Vec<&str> =
            self.key.iter().map(|one| one.value.as_deref().unwrap_or("NULL")).collect();
        let columns: Vec<&str> = self.columns.iter().map(|one| one.column.as_str()).collect();
        format!("{} {} {}", key.join(","), self.kind, columns.join(","))
    }
}
