//! Databases in other encodings than UTF-8.

use rowtide_sandbox::testing::start_or_skip;
use rowtide_sandbox::{Major, PostgresServer, ServerOptions};
use rowtide_testkit::{Finished, RowtideCommand, duckdb_rows};

use crate::case::LIMIT;

/// A database of one encoding, and a pipeline from it.
struct Encoded {
    server: PostgresServer,
    directory: tempfile::TempDir,
}

impl Encoded {
    fn start(major: Major, encoding: &str) -> Option<Self> {
        let server = start_or_skip(&ServerOptions::for_major(major))?;
        let make = format!(
            "CREATE DATABASE enc ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        );
        server.psql("postgres", &make).unwrap();
        // What psql sends is UTF-8; what Rowtide asks for is its own affair.
        let utf8 = "ALTER DATABASE enc SET client_encoding = 'UTF8'";
        server.psql("postgres", utf8).unwrap();
        Some(Self { server, directory: tempfile::tempdir().unwrap() })
    }

    fn sql(&self, sql: &str) {
        self.server.psql("enc", sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("w.duckdb")
    }

    fn run(&self, tables: &str) -> Finished {
        let (from, to) = (self.server.url("enc"), format!("duckdb:{}", self.file().display()));
        let words = ["run", "--once", "--from", &from, "--to", &to, "--tables", tables];
        RowtideCommand::new(env!("CARGO_BIN_EXE_rowtide"), self.directory.path(), words)
            .run(LIMIT)
            .unwrap()
    }
}

#[test]
fn text_and_names_arrive_in_utf8_whatever_the_database_holds() {
    for (major, encoding, sample) in [
        (Major::V14, "LATIN1", "gr\u{fc}\u{df} \u{e9}\u{ff}"),
        (Major::V18, "LATIN1", "gr\u{fc}\u{df} \u{e9}\u{ff}"),
        (Major::V15, "WIN1252", "\u{20ac} \u{201c}q\u{201d}"),
        (Major::V17, "EUC_JP", "\u{65e5}\u{672c}\u{8a9e}"),
    ] {
        let Some(encoded) = Encoded::start(major, encoding) else { continue };
        // The second table is read in text form.
        encoded.sql(&format!(
            "CREATE TABLE \"{sample}\" (id int PRIMARY KEY, \"c{sample}\" text, j jsonb, a text[]); \
             CREATE TABLE texts (id int PRIMARY KEY, v varchar(40), n numeric, p point); \
             INSERT INTO \"{sample}\" VALUES (1, '{sample}', '{{\"{sample}\": 1}}', ARRAY['{sample}', NULL]); \
             INSERT INTO texts VALUES (1, '{sample}', 1.50, '(1,2)')"
        ));
        encoded.run("public.*").success().unwrap();
        encoded.sql(&format!(
            "INSERT INTO \"{sample}\" SELECT 2, \"c{sample}\" || '!', j, a FROM \"{sample}\"; \
             INSERT INTO texts VALUES (2, '{sample}!', 2.50, '(3,4)'); \
             ALTER TABLE texts ADD COLUMN \"d{sample}\" text DEFAULT '{sample}'; \
             UPDATE texts SET n = 0 WHERE id = 1"
        ));
        encoded.run("public.*").success().unwrap();
        let rows = |sql: &str| duckdb_rows(&encoded.file(), sql).unwrap();
        let found = rows(&format!("SELECT \"c{sample}\" FROM public.\"{sample}\" ORDER BY id"));
        assert_eq!(found, [sample.to_owned(), format!("{sample}!")], "{encoding}");
        let found = rows(&format!("SELECT a[1] || json_keys(j)[1] FROM public.\"{sample}\""));
        assert_eq!(found, [sample.repeat(2), sample.repeat(2)], "{encoding}");
        let found = rows(&format!("SELECT v || \"d{sample}\" FROM public.texts ORDER BY id"));
        assert_eq!(found, [sample.repeat(2), format!("{sample}!{sample}")], "{encoding}");
    }
}

#[test]
fn bytes_that_are_no_utf8_stop_their_table_and_are_never_replaced() {
    for major in [Major::V14, Major::V18] {
        let Some(encoded) = Encoded::start(major, "SQL_ASCII") else { return };
        encoded.sql(
            "CREATE TABLE good (id int PRIMARY KEY, v text); \
             CREATE TABLE bad (id int PRIMARY KEY, v text); \
             CREATE TABLE later (id int PRIMARY KEY, v text); \
             INSERT INTO good VALUES (1, 'gr\u{fc}\u{df}'); \
             INSERT INTO bad VALUES (1, E'a\\xff')",
        );
        let run = encoded.run("public.*");
        assert_eq!(run.code(), 5, "{run:?}");
        for word in ["public.bad", "column v", "UTF-8"] {
            assert!(run.stderr.contains(word), "`{word}` is missing: {run:?}");
        }
        encoded.sql(
            "INSERT INTO later VALUES (1, E'\\xe9'); INSERT INTO good VALUES (2, 'after'); \
             INSERT INTO later VALUES (2, 'fine')",
        );
        let run = encoded.run("public.*");
        assert_eq!(run.code(), 5, "{run:?}");
        assert!(run.stderr.contains("public.later"), "{run:?}");
        let rows = |sql: &str| duckdb_rows(&encoded.file(), sql).unwrap();
        assert_eq!(rows("SELECT v FROM public.good ORDER BY id"), ["gr\u{fc}\u{df}", "after"]);
        assert_eq!(rows("SELECT count(*) FROM public.later"), ["0"]);
    }
}

#[test]
fn names_that_are_no_utf8_are_an_error_that_says_so() {
    let Some(encoded) = Encoded::start(Major::V18, "SQL_ASCII") else { return };
    encoded.sql("CREATE TABLE good (id int PRIMARY KEY)");
    // A name of raw bytes can only be made by a statement of raw bytes.
    encoded.sql("DO $$ BEGIN EXECUTE E'CREATE TABLE \"n\\xff\" (id int PRIMARY KEY)'; END $$");
    let run = encoded.run("public.*");
    assert_eq!(run.code(), 2, "{run:?}");
    assert!(run.stderr.contains("UTF-8"), "{run:?}");
}
