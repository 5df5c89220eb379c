//! A pipeline from PostgreSQL to PostgreSQL, which `Case` alone is not.

use rowtide_testkit::{Copied, Finished, Rows, compare};

use crate::case::{Case, DB, LIMIT};

/// A command of `case`, with the configuration that stands.
pub(crate) fn cli(case: &Case, words: &[&str]) -> Finished {
    let config = case.directory.path().join("rowtide.toml").display().to_string();
    let all: Vec<&str> = words.iter().copied().chain(["--config", &config]).collect();
    case.command(&all).run(LIMIT).unwrap()
}

/// A pipeline into a database of the same server, as a role that is no superuser.
pub(crate) struct Warehouse {
    pub(crate) case: Case,
}

impl Warehouse {
    const NAME: &str = "warehouse";

    pub(crate) fn start(sql: &str, extra: &str) -> Option<Self> {
        let case = Case::start(sql)?;
        case.sql("CREATE ROLE loader LOGIN;\nCREATE DATABASE warehouse OWNER loader");
        let there = Self { case };
        there.sql("ALTER SCHEMA public OWNER TO loader");
        let text = format!(
            "version = 1\npipeline = \"case\"\n\n[source]\nurl = \"{}\"\n\n[destination]\n\
             url = \"postgres://loader@127.0.0.1:{}/{}\"\n\n[tables]\ninclude = [\"public.*\"]\n\n\
             [retry]\ninitial = \"20ms\"\nmax = \"200ms\"\n\n{extra}\n",
            there.case.server.url(DB),
            there.case.server.port(),
            Self::NAME
        );
        std::fs::write(there.case.directory.path().join("rowtide.toml"), text).unwrap();
        Some(there)
    }

    /// Runs `sql` at the destination.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.case.server.psql(Self::NAME, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) fn compare(&self, table: &str, what: &str) {
        let copied = Copied::Postgres(&self.case.server, Self::NAME);
        let found = compare((&self.case.server, DB), copied, table, Rows::All).unwrap();
        assert!(found.is_equal(), "{what}: {found:#?}");
    }
}
