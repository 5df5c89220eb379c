//! The tables of the corpus on a stage, and the changes that bring their values there by each
//! path.

use std::collections::HashMap;

use rowtide_sandbox::Major;
use rowtide_testkit::Result;

use super::corpus::Case;
use super::facts::{Fact, Facts};
use crate::stage::{End, Stage};

/// By which path the rows with ids from a number on came.
pub(super) const PATHS: [(u32, &str); 3] =
    [(0, "copied"), (UPDATED, "updated"), (INSERTED, "inserted")];
/// Rows that were copied without their value, and given it while followed.
const UPDATED: u32 = 1000;
/// Rows that were inserted while followed.
const INSERTED: u32 = 2000;
/// Statements are handed over in pieces of this many tables.
const AT_ONCE: usize = 20;

/// What the session that looks at values sets, so that both sides print them alike.
pub(super) const SESSION: &str = "SET datestyle = ISO; SET intervalstyle = postgres; SET timezone = UTC; \
    SET extra_float_digits = 1; SET bytea_output = hex; SET lc_monetary = 'C'; SET search_path = ''; ";

/// A case that is on a stage.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) case: Case,
    /// The column's type by `format_type`.
    pub(super) printed: String,
    /// What the reference says of it.
    pub(super) fact: Fact,
    /// What the catalog says of it that decides its class: the letters of its sort and category,
    /// its name, and whether it has a modifier.
    pub(super) sort: [String; 4],
}

impl Placed {
    /// The table of the values that arrive.
    pub(super) fn table(&self) -> String {
        format!("t_{}", self.case.name)
    }

    /// The table of those that do not.
    pub(super) fn refused_table(&self) -> String {
        format!("r_{}", self.case.name)
    }

    /// Its tables, each with its values.
    pub(super) fn tables(&self, end: End) -> [(String, Vec<&String>); 2] {
        let (held, refused) = self.case.for_end(end, &self.fact.becomes);
        [(self.table(), held), (self.refused_table(), refused)]
    }
}

/// Which cases are wanted.
pub(super) type Wanted<'a> = &'a dyn Fn(&Case, Option<bool>) -> bool;

/// Makes the types of `cases`, and learns what is said of them; also says which are not here.
pub(super) fn place(
    stage: &Stage,
    (major, facts): (Major, &Facts),
    cases: &[Case],
    wanted: Wanted<'_>,
) -> Result<(Vec<Placed>, Vec<String>)> {
    let mut made: HashMap<&str, bool> = HashMap::new();
    let (mut placed, mut absent) = (Vec::new(), Vec::new());
    stage.sql("CREATE TABLE public.followed (id int PRIMARY KEY, v int); INSERT INTO public.followed VALUES (1, 1)")?;
    let mut here = Vec::new();
    for case in cases.iter().filter(|case| case.since <= major) {
        let setup = case.setup.as_str();
        let is_made = setup.is_empty()
            || *made.entry(setup).or_insert_with(|| {
                let made = stage.sql(setup).is_ok();
                // Where the destination lacks it, its column will not be what the reference says.
                if made && !case.only_there {
                    drop(stage.copy_sql(setup));
                }
                made
            });
        match is_made {
            true => here.push(case),
            false => absent.push(case.name.clone()),
        }
    }
    for (case, [printed, sort @ ..]) in here.iter().zip(describe(stage, &here)?) {
        let fact = facts.tell(stage.end, case, &printed)?;
        if wanted(case, fact.binary) {
            placed.push(Placed { case: Case::clone(case), printed, fact, sort });
        }
    }
    Ok((placed, absent))
}

/// The name of each case's type, and what decides its class.
fn describe(stage: &Stage, cases: &[&Case]) -> Result<Vec<[String; 5]>> {
    let columns = cases.iter().enumerate().map(|(at, case)| format!("c{at} {}", case.sql_type));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let sql = format!(
        "CREATE TABLE public.described ({columns}); {SESSION} \
         SELECT concat_ws(E'\\t', format_type(a.atttypid, a.atttypmod), t.typtype, t.typcategory, \
         t.typname, a.atttypmod <> -1) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         WHERE attrelid = 'public.described'::regclass AND attnum > 0 ORDER BY attnum; \
         DROP TABLE public.described"
    );
    let said = stage.sql(&sql)?;
    let described = said.lines().map(|line| {
        let parts: Vec<String> = line.split('\t').map(str::to_owned).collect();
        parts.try_into().map_err(|parts| format!("a type is described by {parts:?}"))
    });
    described.collect()
}

/// Makes the tables, with the rows that the copy is to find.
pub(super) fn before(stage: &Stage, placed: &[Placed]) -> Result<()> {
    in_pieces(stage, placed, |table, sql_type, values| {
        let rows: Vec<String> =
            (1..).zip(values).map(|(id, value)| format!("({id}, ({value})::{sql_type})")).collect();
        format!(
            "CREATE TABLE public.{table} (id int PRIMARY KEY, v {sql_type}); \
             INSERT INTO public.{table} VALUES (0, NULL), {}; \
             INSERT INTO public.{table} SELECT id + {UPDATED}, NULL FROM public.{table} WHERE id > 0; \
             INSERT INTO public.{table} SELECT {UPDATED}, v FROM public.{table} WHERE id = 1; ",
            rows.join(", ")
        )
    })
}

/// Brings the same values by the log.
pub(super) fn after(stage: &Stage, placed: &[Placed]) -> Result<()> {
    in_pieces(stage, placed, |table, _, _| {
        format!(
            "INSERT INTO public.{table} SELECT id + {INSERTED}, v FROM public.{table} WHERE id < {UPDATED}; \
             UPDATE public.{table} t SET v = s.v FROM public.{table} s \
             WHERE t.id >= {UPDATED} AND t.id < {INSERTED} AND s.id = t.id - {UPDATED}; "
        )
    })?;
    stage.sql("INSERT INTO public.followed VALUES (2, 2)").map(drop)
}

fn in_pieces(
    stage: &Stage,
    placed: &[Placed],
    statement: impl Fn(&str, &str, &[&String]) -> String,
) -> Result<()> {
    for piece in placed.chunks(AT_ONCE) {
        let tables =
            piece.iter().flat_map(|placed| placed.tables(stage.end).map(|table| (placed, table)));
        let statements = tables.filter(|(_, (_, values))| !values.is_empty());
        let sql: String = statements
            .map(|(placed, (table, values))| statement(&table, &placed.case.sql_type, &values))
            .collect();
        if !sql.is_empty() {
            stage.sql(&sql)?;
        }
    }
    Ok(())
}
