//! The statement that selects the rows of a target that the source should have.

use rowtide_core::{DeleteMode, Error, Mode, Result, TableName, TablePlan};

use super::columns::{Selected, drift, places};
use super::history::History;
use crate::destination::apply::deleted_column;
use crate::error::During;
use crate::ffi::Connection;
use crate::quote::{Ident, TableRef, join};

/// How many events of a history are looked at together.
const EVENTS_AT_ONCE: u64 = 200_000;
/// Values up to this length need no care.
const LONG: u64 = 64 << 10;

/// One of so many parts of a history, by the hash of what tells its rows apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    number: u64,
    of: u64,
}

impl Part {
    /// Holds of what is in it, by the hash of `values`.
    fn holds(part: Option<&Self>, values: &str) -> String {
        match part {
            Some(Self { number, of }) => format!("hash({values}) % {of}::UBIGINT = {number}"),
            None => "true".to_owned(),
        }
    }
}

/// The rows of a target that stand for rows of the source.
pub(super) struct Relation {
    target: TableRef,
    name: TableName,
    /// The value of each column of the source in the row `t`, then a mark where one is no value
    /// of the source's type.
    values: Vec<String>,
    /// Which of them are the key.
    key: Vec<usize>,
    /// The source's names of the columns.
    names: Vec<String>,
    /// Which rows of the target count at all.
    only: Option<String>,
    /// If the target holds events instead of rows.
    history: Option<History>,
    /// What the rows are to fulfil, in the source's names.
    condition: Option<String>,
}

impl Relation {
    /// The rows of `target` under `plan` that fulfil `condition`.
    ///
    /// # Errors
    /// `SchemaDrift` if a value does not fit the type that it should be of.
    pub(super) fn new(
        connection: &Connection,
        (target, plan): (TableRef, &TablePlan),
        columns: Vec<Selected>,
        condition: Option<String>,
    ) -> Result<Self> {
        let soft = plan.mode == Mode::Merge && plan.delete == DeleteMode::Soft;
        let only = match soft {
            true => Some(format!("t.{} IS DISTINCT FROM true", Ident(deleted_column(plan)?))),
            false => None,
        };
        let (mut values, mut misfits) = (Vec::new(), Vec::new());
        for column in columns {
            values.push(column.value);
            misfits.extend(column.misfit);
        }
        let first = values.len();
        values.extend(misfits.iter().map(|misfit| misfit.condition.clone()));
        let mut relation = Self {
            target,
            name: plan.target.clone(),
            values,
            key: if plan.source.is_keyed() { plan.source.key.clone() } else { Vec::new() },
            names: plan.source.columns.iter().map(|column| column.name().to_owned()).collect(),
            only,
            history: None,
            condition,
        };
        if plan.mode == Mode::Append {
            let key: Vec<_> = relation.key.iter().map(|&at| &relation.values[at]).collect();
            let history = History::read(connection, (&relation.target, plan), &key)?;
            relation.history = Some(history);
            relation.refuse_unknown(connection)?;
        }
        for (misfit, at) in misfits.iter().zip(first..) {
            let mut found = 0;
            for part in relation.parts() {
                let sql = relation.rows(&[at], None, part.as_ref());
                let sql = format!("SELECT count(*) FROM ({sql}) WHERE c{at}");
                found += count(connection, &sql)?;
            }
            if found > 0 {
                return Err(drift(format!(
                    "table {}: {}, and holds {found} values that are none of that type",
                    plan.target, misfit.words
                )));
            }
        }
        Ok(relation)
    }

    /// The table's name, for messages.
    pub(super) fn name(&self) -> &TableName {
        &self.name
    }

    /// Which columns are the key.
    pub(super) fn key(&self) -> &[usize] {
        &self.key
    }

    /// The parts whose rows are selected one after the other: `None` alone for all at once. Where
    /// rows moved between keys, they cannot be told apart by keys.
    pub(super) fn parts(&self) -> Vec<Option<Part>> {
        let Some(history) = self.history.as_ref().filter(|history| !history.moves()) else {
            return vec![None];
        };
        match history.events().div_ceil(EVENTS_AT_ONCE) {
            0 | 1 => vec![None],
            of => (0..of).map(|number| Some(Part { number, of })).collect(),
        }
    }

    /// Whether a value may be long, as far as DuckDB remembers of its columns.
    pub(super) fn has_long_values(&self, connection: &Connection) -> Result<bool> {
        let columns = self.values.iter().take(self.names.len());
        let stats = join(columns, ", ", |value| format!("stats({value})"));
        let sql = format!("SELECT {stats} FROM {} AS t LIMIT 1", self.target);
        let rows = connection.query(&sql, &[]).during(|| format!("looking at {}", self.name))?;
        let texts = rows.iter().flatten().filter_map(|cell| cell.text());
        let lengths = texts.filter_map(|text| {
            let (_, length) = text.split_once("Max String Length: ")?;
            let digits = length.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u64>().ok()
        });
        Ok(lengths.sum::<u64>() > LONG)
    }

    /// Selects `columns`, each called `c` and its number, of all rows, or of those whose keys
    /// stand in the columns `c0`, `c1` … of the table `among`; of a history only `part`.
    pub(super) fn rows(
        &self,
        columns: &[usize],
        among: Option<&TableRef>,
        part: Option<&Part>,
    ) -> String {
        let condition = self.condition.as_deref();
        let Some(history) = &self.history else {
            let values = join(columns, ", ", |&at| format!("{} AS c{at}", self.values[at]));
            let values = if columns.is_empty() { "1".to_owned() } else { values };
            return format!(
                "SELECT {values} FROM {} AS t{} WHERE {}",
                self.target,
                self.beside(among),
                self.conditions(condition, among)
            );
        };
        // Where rows moved between keys, they are picked once it is known what they are.
        let (early, late) = if history.moves() { (None, among) } else { (among, None) };
        let events = (&*self.events(history, early, part), &*self.placed(history, early, part));
        if condition.is_none() && late.is_none() {
            return history.rows(events, (columns, &self.key));
        }
        let all: Vec<usize> = (0..self.values.len()).collect();
        let rows = history.rows(events, (&all, &self.key));
        let picked = late.map_or("true".to_owned(), |_| self.among(|at| format!("x.c{at}")));
        let keys = self.beside(late);
        let rows = format!("SELECT x.* FROM ({rows}) AS x{keys} WHERE {picked}");
        let Some(condition) = condition else {
            return format!("SELECT {} FROM ({rows})", places(columns));
        };
        // The condition is about what the rows have become, by the source's names.
        let named = join(self.names.iter().enumerate(), ", ", |(at, name)| {
            format!("c{at} AS {}", Ident(name))
        });
        let back = join(columns, ", ", |&at| match self.names.get(at) {
            Some(name) => format!("{} AS c{at}", Ident(name)),
            None => format!("false AS c{at}"),
        });
        format!("SELECT {back} FROM (SELECT {named} FROM ({rows})) WHERE {}", own_line(condition))
    }

    /// The keys that stand in the table `keys`, each once, joined to what they pick from. DuckDB
    /// passes the keys of a join down to its scan, which leaves out whole row groups; of a semi
    /// join (`EXISTS`, `IN`) it does not, and reads every row.
    fn beside(&self, keys: Option<&TableRef>) -> String {
        let Some(keys) = keys else { return String::new() };
        let names = join(0..self.key.len(), ", ", |at| format!("c{at} AS _rowtide_key_{at}"));
        format!(", (SELECT DISTINCT {names} FROM {keys}) AS k")
    }

    /// That the key, of which `value` gives the columns, is that of [`Self::beside`].
    fn among(&self, value: impl Fn(usize) -> String) -> String {
        join(self.key.iter().enumerate(), " AND ", |(index, &at)| {
            format!("k._rowtide_key_{index} = {}", value(at))
        })
    }

    fn conditions(&self, condition: Option<&str>, among: Option<&TableRef>) -> String {
        let mut all: Vec<String> = vec!["true".to_owned()];
        all.extend(self.only.clone());
        all.extend(among.map(|_| self.among(|at| self.values[at].clone())));
        all.extend(condition.map(own_line));
        all.join(" AND ")
    }

    /// The events of a part, with all values: all those of the keys in it.
    fn events(&self, history: &History, among: Option<&TableRef>, part: Option<&Part>) -> String {
        let keyed = if self.key.is_empty() { 0..self.names.len() } else { 0..0 };
        let by = self.key.iter().copied().chain(keyed);
        let by: Vec<&str> = by.map(|at| &*self.values[at]).collect();
        // Rows of no columns are all alike.
        let by = if by.is_empty() { "0".to_owned() } else { by.join(", ") };
        let condition = Part::holds(part, &by);
        format!("{} AND {condition}", self.all_events(history, among))
    }

    /// The events of a part by their place in the log, so that all of one place are together.
    fn placed(&self, history: &History, among: Option<&TableRef>, part: Option<&Part>) -> String {
        let events = self.all_events(history, among);
        format!("SELECT * FROM ({events}) WHERE {}", Part::holds(part, "p, s"))
    }

    /// All events, with all values.
    fn all_events(&self, history: &History, among: Option<&TableRef>) -> String {
        let values =
            join(self.values.iter().enumerate(), "", |(at, value)| format!("{value} AS c{at}, "));
        let (metadata, keys) = (history.metadata(), self.beside(among));
        let conditions = self.conditions(None, among);
        format!("SELECT {values}{metadata} FROM {} AS t{keys} WHERE {conditions}", self.target)
    }

    /// Refuses a history from which a present row cannot be put together.
    fn refuse_unknown(&self, connection: &Connection) -> Result<()> {
        let Some(history) = &self.history else { return Ok(()) };
        let mut found = 0;
        for part in self.parts() {
            let events = self.events(history, None, part.as_ref());
            let Some(unknown) = history.unknown(&events, &self.key) else { return Ok(()) };
            found += count(connection, &unknown)?;
        }
        match found {
            0 => Ok(()),
            rows => Err(Error::data(format!(
                "table {}: the history of {rows} rows lacks events which hold values that later \
                 ones left out",
                self.name
            ))
            .with_hint("it was changed by hand, or is damaged: copy it again (resync)")),
        }
    }
}

/// In brackets that a comment at its end does not swallow.
pub(super) fn own_line(condition: &str) -> String {
    format!("({condition}\n)")
}

pub(super) fn count(connection: &Connection, sql: &str) -> Result<i64> {
    let rows = connection.query(sql, &[]).during(|| "counting rows".to_owned())?;
    let count = rows.first().and_then(|row| row[0].int());
    count.ok_or_else(|| Error::internal("a count is missing"))
}
