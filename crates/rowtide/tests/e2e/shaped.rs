//! A case on a chosen server, towards a chosen destination.

use rowtide_sandbox::{Major, ServerOptions};
use rowtide_testkit::{Copied, Finished, Rows, Rowtide, compare, wait_for};

use crate::case::{Case, DB, LIMIT};

/// The kinds of destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Duckdb,
    Postgres,
}

/// The database of a PostgreSQL destination, on the source's server.
const WAREHOUSE: &str = "warehouse";

pub(crate) struct Shaped {
    pub(crate) case: Case,
    pub(crate) major: Major,
    to: To,
}

/// The oldest server towards one destination, and the newest towards the other.
pub(crate) fn crosswise(sql: &str, test: impl Fn(&Shaped)) {
    for (major, to) in [(Major::V14, To::Duckdb), (Major::V18, To::Postgres)] {
        if let Some(shaped) = Shaped::start(major, to, sql) {
            test(&shaped);
        }
    }
}

/// Each of `majors`, towards DuckDB.
pub(crate) fn each(majors: &[Major], sql: &str, test: impl Fn(&Shaped)) {
    for major in majors {
        if let Some(shaped) = Shaped::start(*major, To::Duckdb, sql) {
            test(&shaped);
        }
    }
}

impl Shaped {
    pub(crate) fn start(major: Major, to: To, sql: &str) -> Option<Self> {
        let options =
            ServerOptions::for_major(major).with_setting("max_prepared_transactions", "4");
        let case = Case::start_on(&options, sql)?;
        case.sql(&format!("CREATE DATABASE {WAREHOUSE}"));
        let shaped = Self { case, major, to };
        shaped.configure("", "\"public.*\"", "");
        Some(shaped)
    }

    /// Writes the configuration: lines for the source, the tables, further sections.
    pub(crate) fn configure(&self, source: &str, include: &str, extra: &str) {
        let to = match self.to {
            To::Duckdb => format!("duckdb:{}", self.case.file().display()),
            To::Postgres => self.case.server.url(WAREHOUSE),
        };
        let text = format!(
            "version = 1\npipeline = \"case\"\n\n[source]\nurl = \"{}\"\n{source}\n\n\
             [destination]\nurl = \"{to}\"\n\n[tables]\ninclude = [{include}]\n\n{extra}\n",
            self.case.server.url(DB)
        );
        std::fs::write(self.case.directory.path().join("rowtide.toml"), text).unwrap();
    }

    fn copied(&self) -> (Copied<'_>, std::path::PathBuf) {
        (Copied::Postgres(&self.case.server, WAREHOUSE), self.case.file())
    }

    pub(crate) fn compare(&self, tables: &[&str]) {
        for table in tables {
            let (there, file) = self.copied();
            let copied = if self.to == To::Duckdb { Copied::Duckdb(&file) } else { there };
            let found = compare((&self.case.server, DB), copied, table, Rows::All).unwrap();
            assert!(found.is_equal(), "{} {:?}: {found:#?}", self.major, self.to);
        }
    }

    /// A one-column query at the destination.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let (there, file) = self.copied();
        let copied = if self.to == To::Duckdb { Copied::Duckdb(&file) } else { there };
        copied.rows(sql).unwrap()
    }

    /// Catches up, then compares.
    pub(crate) fn settle(&self, tables: &[&str]) -> Finished {
        let run = self.case.once();
        self.compare(tables);
        run
    }

    /// Catches up, which must end with `code` and say `words`.
    pub(crate) fn ends(&self, code: i32, words: &[&str]) {
        let run = self.case.run(&["--once"]).run(LIMIT).unwrap();
        assert_eq!(run.code(), code, "{}: {run:?}", self.major);
        for word in words {
            assert!(run.stderr.contains(word), "{}: `{word}` is missing: {run:?}", self.major);
        }
    }

    /// What `check` prints, with its exit code.
    pub(crate) fn check(&self) -> (i32, String) {
        let config = self.case.directory.path().join("rowtide.toml").display().to_string();
        let run = self.case.command(&["check", "--config", &config]).run(LIMIT).unwrap();
        (run.code(), format!("{}{}", run.stdout, run.stderr))
    }

    /// A pipeline that runs and has copied `tables` tables.
    pub(crate) fn following(&self, tables: usize) -> Rowtide {
        let mut running = self.case.run(&[]).spawn().unwrap();
        self.case.wait_until_copied(&mut running, tables);
        self.case.wait_until_streaming(&mut running);
        running
    }

    /// Waits until a running pipeline says `words` for the `times`th time.
    pub(crate) fn wait_until_said(&self, running: &mut Rowtide, words: &str, times: usize) {
        wait_for(&format!("{words} (PostgreSQL {})", self.major), LIMIT, || {
            let log = running.stderr();
            if !running.is_running() {
                return Err(format!("rowtide ended: {log}"));
            }
            Ok((log.matches(words).count() >= times).then_some(()))
        })
        .unwrap();
    }

    /// The same of a pipeline that ends with a stopped table.
    pub(crate) fn settle_stopped(&self, mut running: Rowtide, tables: &[&str]) {
        self.case.wait_until_caught_up(&mut running);
        running.terminate().unwrap();
        let ended = running.wait(LIMIT).unwrap();
        assert_eq!(ended.code(), 5, "{ended:?}");
        self.compare(tables);
    }

    /// Stops a running pipeline once it is up to date, and compares.
    pub(crate) fn settle_running(&self, mut running: Rowtide, tables: &[&str]) {
        self.case.wait_until_caught_up(&mut running);
        self.case.stop(running);
        self.compare(tables);
    }
}

impl Shaped {
    /// Compares `columns` of a table whose key is `id`, also generated ones.
    pub(crate) fn compare_columns(&self, table: &str, columns: &[&str]) {
        let list = columns.join(", ");
        let query = format!("SELECT concat_ws(' ', id, {list}) FROM {table} ORDER BY id");
        assert_eq!(self.rows(&query).join("\n"), self.case.value(&query), "{}", self.major);
    }
}
