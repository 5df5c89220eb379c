//! W6: changes of 40 tables at once, most of them of a few: the table of rank n is changed 1/n as
//! often as the first.

use rowtide_testkit::Result;

use crate::arena::Arena;
use crate::catching_up::{Backlog, contest};
use crate::options::Options;
use crate::report::{Line, Outcome};

const TABLES: u64 = 40;

/// Rows of each table before the first change.
const ROWS: u64 = 1000;

/// Each transaction inserts ten rows into one table, updates ten of another, and deletes one of a
/// third. `work` returns how many rows it changed.
fn tables() -> String {
    let create = (1..=TABLES).map(|table| {
        format!(
            "CREATE TABLE skew_{table} (id bigint PRIMARY KEY, n int, body text, at timestamptz);
             INSERT INTO skew_{table} SELECT i, 0, md5(i::text), now()
                FROM generate_series(0, {ROWS}) i;\n"
        )
    });
    format!(
        "{} CREATE FUNCTION ranked() RETURNS int LANGUAGE sql VOLATILE AS
            'SELECT floor(exp(random() * ln({TABLES} + 1)))::int';
         CREATE PROCEDURE work(transactions int, INOUT changed bigint) LANGUAGE plpgsql AS $$
         DECLARE next bigint[]; t int; top bigint; n bigint;
         BEGIN
           PERFORM setseed(0.5);
           FOR t IN 1 .. {TABLES} LOOP
             EXECUTE format('SELECT max(id) + 1 FROM skew_%s', t) INTO top;
             next[t] := top;
           END LOOP;
           FOR i IN 1 .. transactions LOOP
             t := ranked(); top := next[t]; next[t] := top + 10;
             EXECUTE format('INSERT INTO skew_%s SELECT i, 0, md5(i::text), now()
               FROM generate_series($1, $1 + 9) i', t) USING top;
             changed := changed + 10;
             t := ranked(); top := floor(random() * next[t])::bigint;
             EXECUTE format('UPDATE skew_%s SET n = n + 1 WHERE id >= $1 AND id < $1 + 10', t) USING top;
             GET DIAGNOSTICS n = ROW_COUNT; changed := changed + n;
             t := ranked(); top := floor(random() * next[t])::bigint;
             EXECUTE format('DELETE FROM skew_%s WHERE id = $1 AND id > 0', t) USING top;
             GET DIAGNOSTICS n = ROW_COUNT; changed := changed + n;
             COMMIT;
           END LOOP;
         END $$",
        create.collect::<String>()
    )
}

pub(crate) fn measure(options: &Options) -> Result<Outcome> {
    let arena = Arena::start(options)?;
    arena.sql(&tables())?;
    let transactions = options.skew_transactions;
    let changed = std::cell::Cell::new(0_u64);
    let names: Vec<String> = (1..=TABLES).map(|table| format!("public.skew_{table}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let make = || {
        let said = arena.sql(&format!("CALL work({transactions}, 0)"))?;
        changed.set(changed.get() + said.parse::<u64>().map_err(|e| format!("{said}: {e}"))?);
        Ok(())
    };
    let backlog = Backlog { make: &make, mark: "UPDATE skew_1 SET n = n WHERE id = 0" };
    let contest = contest(options, &arena, &backlog, |pipeline| pipeline.compare(&names))?;
    let rounds = u64::try_from(options.runs).unwrap_or(1).max(1);
    let changes = changed.get() / rounds;
    let mut outcome = Outcome::default();
    outcome.line(Line::said(
        "load of each round",
        format!("{transactions} transactions, {changes} changes of {TABLES} tables"),
    ));
    contest.lines(changes + 1).into_iter().for_each(|line| outcome.line(line));
    outcome.series.extend(contest.series("skew"));
    Ok(outcome)
}
