//! Looks at both sides, and judges.

use std::collections::HashMap;

use rowtide_testkit::Result;

use super::corpus::Told;
use super::place::{PATHS, Placed, SESSION};
use super::report::{Report, Tried};
use super::shape::{BETWEEN, NULL, Shape, with_bits};
use crate::stage::{End, Stage};

/// Values longer than so many octets are compared by their digests.
const LONGEST: usize = 20_000;
/// Tables that one statement looks at.
const AT_ONCE: usize = 10;

/// Every value of a side, by table and id; NULL is absent.
type Values = HashMap<(String, u32), Option<String>>;

/// Compares all values of `placed`, which came `by` this form of the log.
pub(super) fn check(
    (stage, by): (&Stage, (&str, String)),
    placed: &[Placed],
    report: &mut Report,
) -> Result<()> {
    let types = types(stage)?;
    let (mut here, mut there) = (Values::new(), Values::new());
    for piece in placed.chunks(AT_ONCE) {
        let looks = looks(stage, piece, &types);
        here.extend(values(
            stage.sql(&format!("{SESSION} {}", looks.0.join(" UNION ALL ")))?.lines(),
        )?);
        let query = looks.1.join(" UNION ALL ");
        let rows = match stage.end {
            End::Duckdb => stage.rows(&query)?,
            End::Postgres => stage.rows(&format!("{SESSION} {query}"))?,
        };
        there.extend(values(rows.iter().map(String::as_str))?);
    }
    let sides = (&here, &there);
    for placed in placed {
        let at = types.get(&placed.table()).map_or("nothing", String::as_str);
        judge((stage.end, &by), (placed, at), sides, report);
    }
    Ok(())
}

/// The columns that stand at the destination.
fn types(stage: &Stage) -> Result<HashMap<String, String>> {
    let rows = match stage.end {
        End::Duckdb => stage.rows(
            "SELECT table_name || chr(9) || data_type FROM duckdb_columns() \
             WHERE schema_name = 'public' AND column_name = 'v'",
        )?,
        End::Postgres => stage.rows(&format!(
            "{SESSION} SELECT relname || E'\\t' || format_type(atttypid, atttypmod) \
             FROM pg_attribute JOIN pg_class c ON c.oid = attrelid \
             WHERE relnamespace = 'public'::regnamespace AND attname = 'v'"
        ))?,
    };
    let pair = |row: &String| {
        row.split_once('\t').map(|(table, kind)| (table.to_owned(), kind.to_owned()))
    };
    Ok(rows.iter().filter_map(pair).collect())
}

/// The statements that look at the tables of `piece`, one side each.
fn looks(
    stage: &Stage,
    piece: &[Placed],
    types: &HashMap<String, String>,
) -> (Vec<String>, Vec<String>) {
    let mut looks = (Vec::new(), Vec::new());
    for placed in piece {
        for (table, values) in placed.tables(stage.end) {
            let Some(kind) = types.get(&table).filter(|_| !values.is_empty()) else { continue };
            let (own, theirs) = match stage.end {
                End::Duckdb => {
                    let (own, theirs) = Shape::parse(kind).rendered(("v", "v"), 0);
                    (look(&table, &own), look_there(&table, &theirs))
                }
                End::Postgres => {
                    let own = look(&table, &printed(&placed.printed));
                    (own.clone(), own)
                }
            };
            looks.0.push(own);
            looks.1.push(theirs);
        }
    }
    looks
}

/// What PostgreSQL prints of a value; of bytes, which can be too many to be printed, a digest.
fn printed(kind: &str) -> String {
    match kind {
        "bytea" => "md5(v) || ' ' || length(v)".to_owned(),
        _ => "CASE WHEN v IS DISTINCT FROM NULL THEN format('%s', v) END".to_owned(),
    }
}

fn look(table: &str, rendered: &str) -> String {
    format!(
        "SELECT '{table}' || chr(9) || id || chr(9) || coalesce(CASE WHEN octet_length(x) > {LONGEST} \
         THEN 'digest ' || md5(x) || ' ' || octet_length(x) \
         ELSE encode(convert_to(x, 'UTF8'), 'hex') END, 'NULL') \
         FROM (SELECT id, {rendered} AS x FROM public.{table} OFFSET 0) AS looked_at"
    )
}

fn look_there(table: &str, rendered: &str) -> String {
    format!(
        "SELECT '{table}' || chr(9) || id || chr(9) || coalesce(CASE WHEN strlen(x) > {LONGEST} \
         THEN 'digest ' || md5(x) || ' ' || strlen(x) ELSE lower(hex(encode(x))) END, 'NULL') \
         FROM (SELECT id, {rendered} AS x FROM public.{table}) AS looked_at"
    )
}

fn values<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Values> {
    lines
        .map(|line| {
            let malformed = || format!("not a value: {line}");
            let (table, rest) = line.split_once('\t').ok_or_else(malformed)?;
            let (id, text) = rest.split_once('\t').ok_or_else(malformed)?;
            let text = match text {
                "NULL" => None,
                text if text.starts_with("digest ") => Some(text.to_owned()),
                text => Some(with_bits(&unhex(text).ok_or_else(malformed)?)),
            };
            Ok(((table.to_owned(), id.parse().map_err(|_| malformed())?), text))
        })
        .collect()
}

fn unhex(text: &str) -> Option<String> {
    let digits = text.as_bytes().as_chunks::<2>().0.iter();
    let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

fn judge(
    (end, (form, major)): (End, &(&str, String)),
    (placed, becomes): (&Placed, &str),
    (here, there): (&Values, &Values),
    report: &mut Report,
) {
    let of = format!(
        "PostgreSQL {major} to {end:?}, {form} log, {} ({})",
        placed.printed, placed.case.name
    );
    let [held, refused] = placed.tables(end);
    let mut tried = Tried::new(end, placed, becomes);
    let (mut kept, mut left_out) = (0, 0);
    for ((table, values), is_refused) in [(held, false), (refused, true)] {
        for (start, path) in PATHS {
            // Row 0 is NULL.
            for (at, value) in (start..).zip(std::iter::once(None).chain(values.iter().map(Some))) {
                if values.is_empty() {
                    break;
                }
                let expression = value.map_or("NULL", |value| value.as_str());
                let key = (table.clone(), at);
                let what = format!("{of}: {} {path}", short(expression));
                match (here.get(&key), there.get(&key), is_refused && value.is_some()) {
                    (Some(None), Some(None), _) if value.is_none() => kept += 1,
                    (Some(Some(own)), Some(Some(theirs)), false) if own == theirs => kept += 1,
                    (Some(Some(_)), Some(theirs), true) if is_null(theirs.as_deref()) => {
                        left_out += 1;
                    }
                    (Some(own), Some(theirs), true) if own == theirs => {
                        report.silent(format!(
                            "{what}: arrived, though the type there is said not to hold it"
                        ));
                    }
                    (own, theirs, _) => {
                        report.silent(format!("{what}: {} became {}", shown(own), shown(theirs)));
                    }
                }
            }
        }
    }
    tried.count(kept, left_out);
    if placed.case.told_as == Told::Nowhere {
        tried.class = "alike";
        report.add(tried, major);
        return;
    }
    let observed = class(end, placed, becomes, left_out > 0);
    let said = (placed.fact.becomes.as_str(), placed.fact.class.as_str());
    let same_name = matches!(placed.case.told_as, Told::As(name) if name == said.0)
        && becomes == placed.printed;
    // Some types stand for others of their sort in the reference.
    let stands_for = matches!(placed.case.told_as, Told::As(name) if name.contains('(') || name.starts_with("a composite"));
    if !(said.0 == becomes || same_name || stands_for) || said.1 != observed {
        report.silent(format!(
            "{of}: the reference says {} {}, and it is {becomes} {observed}",
            said.0, said.1
        ));
    }
    tried.class = observed;
    report.add(tried, major);
}

/// The class as both catalogs and the values show it.
fn class(end: End, placed: &Placed, becomes: &str, refused: bool) -> &'static str {
    if refused {
        return "policy";
    }
    let [sort, category, name, limited] = placed.sort.each_ref().map(String::as_str);
    let is_text = category == "S" && name != "char" || sort == "e";
    match end {
        End::Postgres if becomes == placed.printed => "exact",
        End::Postgres if becomes.trim_end_matches("[]") == "text" && sort != "e" => "text",
        End::Postgres => "widened",
        End::Duckdb
            if becomes.contains("VARCHAR") && !is_text && !becomes.starts_with("STRUCT") =>
        {
            "text"
        }
        End::Duckdb
            if matches!(sort, "e" | "d") || matches!(name, "name" | "citext" | "bpchar") =>
        {
            "widened"
        }
        End::Duckdb if limited == "t" && !becomes.contains("DECIMAL(") => "widened",
        End::Duckdb => "exact",
    }
}

/// Whether NULL stands in the place of a refused value: of the whole, or of each of its items.
fn is_null(text: Option<&str>) -> bool {
    text.is_none_or(|text| {
        let items = text.split_once(':').map(|(_, items)| items);
        items.is_some_and(|items| items.split(BETWEEN).all(|item| item == NULL))
    })
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn shown(value: Option<&Option<String>>) -> String {
    match value {
        None => "no row".to_owned(),
        Some(None) => "NULL".to_owned(),
        Some(Some(text)) => format!("{:?}", short(text)),
    }
}
