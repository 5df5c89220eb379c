//! Every type, with values that are likely to be lost, in one place.

mod bits;
mod documents;
mod lists;
mod made;
mod numbers;
mod objects;
mod places;
mod ranges;
mod texts;
mod times;

use rowtide_sandbox::Major;

use crate::stage::End;

/// A type of column, and values for it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// Tells its tables from others'.
    pub name: String,
    /// The column's type.
    pub sql_type: String,
    /// What must be made first, at both ends; where it cannot be, the case is left out and said so.
    pub setup: String,
    /// Made at the source alone.
    pub only_there: bool,
    /// What the reference calls the type.
    pub told_as: Told,
    /// The first major version that has it.
    pub since: Major,
    /// SQL expressions that arrive everywhere.
    pub values: Vec<String>,
    /// Those that DuckDB's type does not hold.
    pub beyond_duckdb: Vec<String>,
    /// Arrays that arrive where the whole is text, and that a list does not hold.
    pub beyond_lists: Vec<String>,
    /// Those that no destination is given.
    pub beyond: Vec<String>,
    /// Too large for anything but a run that asks for it.
    pub large: bool,
}

/// Where the reference tells of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// Under the name that `format_type` prints.
    ByName,
    /// Under this name.
    As(&'static str),
    /// In words beside the tables: its types and classes at DuckDB and at PostgreSQL.
    InWords([(&'static str, &'static str); 2]),
    /// Not at all: types are made up.
    Nowhere,
}

impl Case {
    pub(super) fn new(name: &str, sql_type: &str, values: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            sql_type: sql_type.to_owned(),
            setup: String::new(),
            only_there: false,
            told_as: Told::ByName,
            since: Major::V14,
            values: owned(values),
            beyond_duckdb: Vec::new(),
            beyond_lists: Vec::new(),
            beyond: Vec::new(),
            large: false,
        }
    }

    pub(super) fn told_nowhere(mut self) -> Self {
        self.told_as = Told::Nowhere;
        self
    }

    fn since(mut self, since: Major) -> Self {
        self.since = since;
        self
    }

    fn told_as(mut self, name: &'static str) -> Self {
        self.told_as = Told::As(name);
        self
    }

    fn in_words(
        mut self,
        duckdb: (&'static str, &'static str),
        own: (&'static str, &'static str),
    ) -> Self {
        self.told_as = Told::InWords([duckdb, own]);
        self
    }

    pub(super) fn made_by(mut self, setup: &str) -> Self {
        setup.clone_into(&mut self.setup);
        self
    }

    fn only_there(mut self) -> Self {
        self.only_there = true;
        self
    }

    fn beyond_duckdb(mut self, values: &[&str]) -> Self {
        self.beyond_duckdb = owned(values);
        self
    }

    fn beyond_lists(mut self, values: &[&str]) -> Self {
        self.beyond_lists = owned(values);
        self
    }

    fn beyond(mut self, values: &[&str]) -> Self {
        self.beyond = owned(values);
        self
    }

    fn large(mut self) -> Self {
        self.large = true;
        self
    }
}

fn owned(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

/// The whole corpus: what is written here, and an array of each type of it that has no array yet.
#[must_use]
pub(super) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = [
        numbers::cases(),
        texts::cases(),
        bits::cases(),
        times::cases(),
        documents::cases(),
        places::cases(),
        ranges::cases(),
        objects::cases(),
        made::cases(),
        lists::cases(),
    ]
    .concat();
    let arrays: Vec<Case> = all.iter().filter_map(array_of).collect();
    for array in arrays {
        if !all.iter().any(|case| case.sql_type == array.sql_type) {
            all.push(array);
        }
    }
    all
}

/// An array of all values of a case, if the reference tells of it by name.
fn array_of(case: &Case) -> Option<Case> {
    let named = case.told_as == Told::ByName && !case.sql_type.ends_with("[]");
    if !named || case.large {
        return None;
    }
    let casted = |value: &String| format!("({value})::{}", case.sql_type);
    let items: Vec<String> = case.values.iter().map(casted).collect();
    let mut array = case.clone();
    array.name = format!("{}_array", case.name);
    array.sql_type = format!("{}[]", case.sql_type);
    array.values = vec!["'{}'".to_owned(), format!("ARRAY[{}, NULL]", items.join(", "))];
    // A PostgreSQL destination is given arrays as their text, which has no end of time.
    let refused = case.beyond_duckdb.first().or(case.beyond.first());
    array.beyond_duckdb = refused.iter().map(|value| format!("ARRAY[{}]", casted(value))).collect();
    array.beyond = Vec::new();
    if let Some(first) = items.first() {
        array.beyond_lists = vec![
            format!("ARRAY[[{first}], [{first}]]"),
            format!("array_fill({first}, ARRAY[1], ARRAY[0])"),
        ];
    }
    Some(array)
}

impl Case {
    /// The values that `end` is to show, and those that it is not given, if it has the case's
    /// values in a column of type `becomes`.
    pub(super) fn for_end(&self, end: End, becomes: &str) -> (Vec<&String>, Vec<&String>) {
        let (duckdb, list) = (end == End::Duckdb, becomes.ends_with(']'));
        let groups = [
            (&self.values, false),
            (&self.beyond_duckdb, duckdb),
            (&self.beyond_lists, duckdb && list),
            (&self.beyond, true),
        ];
        let of = |refused: bool| {
            let groups = groups.iter().filter(move |(_, beyond)| *beyond == refused);
            groups.flat_map(|(values, _)| values.iter()).collect()
        };
        (of(false), of(true))
    }
}

/// Built-in types that no column of a user's table has, or whose values cannot be written.
pub(super) const NO_COLUMN: &[(&str, &str)] = &[
    ("gtsvector", "an index's own; its input function refuses every value"),
    ("pg_brin_bloom_summary", "an index's own; its input function refuses every value"),
    ("pg_brin_minmax_multi_summary", "an index's own; its input function refuses every value"),
    ("pg_dependencies", "the planner's statistics; its input function refuses every value"),
    ("pg_mcv_list", "the planner's statistics; its input function refuses every value"),
    ("pg_ndistinct", "the planner's statistics; its input function refuses every value"),
    ("pg_node_tree", "a parsed expression; its input function refuses every value"),
];
