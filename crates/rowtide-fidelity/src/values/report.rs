//! What was tried and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::corpus::Told;
use super::place::Placed;
use crate::stage::End;

/// A type at a destination.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    end: End,
    /// The type.
    name: String,
    /// What it is there.
    becomes: String,
    /// What the values showed.
    pub(super) class: &'static str,
    kept: usize,
    refused: usize,
}

impl Tried {
    pub(super) fn new(end: End, placed: &Placed, becomes: &str) -> Self {
        let name = match placed.case.told_as {
            Told::ByName => placed.printed.clone(),
            _ => format!("{} ({})", placed.printed, placed.case.name),
        };
        Self { end, name, becomes: becomes.to_owned(), class: "", kept: 0, refused: 0 }
    }

    pub(super) fn count(&mut self, kept: usize, refused: usize) {
        (self.kept, self.refused) = (kept, refused);
    }
}

#[derive(Debug, Default)]
struct Sum {
    outcomes: BTreeSet<(String, &'static str)>,
    kept: usize,
    refused: usize,
    majors: BTreeSet<String>,
}

/// What all trials showed.
#[derive(Debug, Default)]
pub struct Report {
    types: BTreeMap<(&'static str, String), Sum>,
    absent: BTreeMap<String, BTreeSet<String>>,
    silent: Vec<String>,
    stopped: usize,
}

impl Report {
    /// Adds what became of a type's values.
    pub(super) fn add(&mut self, tried: Tried, major: &str) {
        let end = match tried.end {
            End::Duckdb => "DuckDB",
            End::Postgres => "PostgreSQL",
        };
        let sum = self.types.entry((end, tried.name)).or_default();
        sum.outcomes.insert((tried.becomes, tried.class));
        sum.kept += tried.kept;
        sum.refused += tried.refused;
        sum.majors.insert(major.to_owned());
    }

    /// A case could not be tried on a server.
    pub(super) fn absent(&mut self, case: String, major: &str) {
        self.absent.entry(case).or_default().insert(major.to_owned());
    }

    /// A value changed, or arrived otherwise than it is told.
    pub(super) fn silent(&mut self, what: String) {
        self.silent.push(what);
    }

    /// So many tables stopped for a value, each alone.
    pub(super) fn stopped(&mut self, tables: usize) {
        self.stopped += tables;
    }

    /// All that went wrong.
    #[must_use]
    pub fn failures(&self) -> &[String] {
        &self.silent
    }

    /// How many values were compared.
    #[must_use]
    pub fn values(&self) -> usize {
        self.types.values().map(|sum| sum.kept + sum.refused).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for end in ["DuckDB", "PostgreSQL"] {
            let of_end = || self.types.iter().filter(|((at, _), _)| *at == end);
            if of_end().next().is_none() {
                continue;
            }
            writeln!(
                f,
                "\nto {end}\n{:<34} {:<34} {:<8} {:>7} {:>7}  majors",
                "type", "becomes", "class", "kept", "policy"
            )?;
            for ((_, name), sum) in of_end() {
                let majors: Vec<&str> = sum.majors.iter().map(String::as_str).collect();
                for (becomes, class) in &sum.outcomes {
                    let (kept, refused, majors) = (sum.kept, sum.refused, majors.join(" "));
                    writeln!(
                        f,
                        "{name:<34} {becomes:<34} {class:<8} {kept:>7} {refused:>7}  {majors}"
                    )?;
                }
            }
            let total = |pick: fn(&Sum) -> usize| of_end().map(|(_, sum)| pick(sum)).sum::<usize>();
            writeln!(
                f,
                "{} types, {} values kept, {} left to the policy",
                of_end().count(),
                total(|sum| sum.kept),
                total(|sum| sum.refused)
            )?;
        }
        for (case, majors) in &self.absent {
            let majors: Vec<&str> = majors.iter().map(String::as_str).collect();
            writeln!(f, "not installed: {case} (PostgreSQL {})", majors.join(", "))?;
        }
        writeln!(f, "{} tables stopped for a value, each alone", self.stopped)?;
        for what in &self.silent {
            writeln!(f, "SILENT {what}")?;
        }
        write!(f, "silent: {}", self.silent.len())
    }
}
