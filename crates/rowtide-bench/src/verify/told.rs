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

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of three differences: (key, kind, columns).
    fn told(code: i32, differences: [(&str, &str, &[&str]); 3]) -> Told {
        let one = |(key, kind, columns): (&str, &str, &[&str])| Difference {
            kind: kind.to_owned(),
            key: vec![Shown { value: Some(key.to_owned()) }],
            columns: columns.iter().map(|name| Column { column: (*name).to_owned() }).collect(),
        };
        let table = Table {
            verdict: "differs".to_owned(),
            source_rows: 9,
            destination_rows: 9,
            differing: 3,
            at_least: false,
            unsettled: 0,
            differences: differences.map(one).into(),
            started_at: 1_000_000,
            ended_at: 2_500_000,
        };
        Told { code, table }
    }

    #[test]
    fn only_exactly_what_is_wrong_passes() {
        let wrong = WrongRows { changed: 3, missing: 6, extra: 10 };
        let found = [("10", "extra", &[][..]), ("3", "changed", &["doc"]), ("6", "missing", &[])];
        assert!(told(1, found).check_wrong(&wrong).is_ok());
        assert!(told(1, found).check_equal(9).is_err());
        assert!(told(0, found).check_wrong(&wrong).is_err());
        for (at, other) in [
            (0, ("11", "extra", &[][..])),
            (0, ("10", "missing", &[])),
            (1, ("3", "changed", &["body", "doc"])),
            (2, ("6", "extra", &[])),
        ] {
            let mut found = found;
            found[at] = other;
            assert!(told(1, found).check_wrong(&wrong).is_err(), "{other:?}");
        }
        let more = Table { differing: 4, ..told(1, found).table };
        assert!(Told { code: 1, table: more }.check_wrong(&wrong).is_err());
    }

    #[test]
    fn a_report_is_read_with_its_time() {
        let table = r#"{"verdict": "equal", "source_rows": 9, "destination_rows": 9, "rounds": 0,
            "differing": 0, "at_least": false, "unsettled": 0, "differences": [],
            "started_at": 1000000, "ended_at": 2500000}"#;
        let finished = |tables: &str| Finished {
            status: std::process::ExitStatus::default(),
            stdout: format!(r#"{{"pipeline": "p", "tables": [{tables}]}}"#),
            stderr: String::new(),
        };
        let told = Told::read(&finished(table)).unwrap();
        assert!((told.seconds() - 1.5).abs() < 1e-9);
        assert!(told.check_equal(9).is_ok() && told.check_equal(8).is_err());
        assert!(Told::read(&finished("")).is_err());
    }
}
